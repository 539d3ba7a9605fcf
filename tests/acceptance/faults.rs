//! Every fault at every wave of a deploy: what befalls one server of three while the deployer begins a wave, and how the run ends. Two of
//! them whenever the tests run, all of them with `FLIPSIDE_SWEEP=full` (`make sweep`), and a spread of them for a quarter of so many minutes
//! with a number.
//! Deliberately absent: faults that need a moment of their own, which stand in `trouble` and `server_fails`.
use crate::fleet::Fleet;
use crate::project::Project;
use crate::server::Server;
use crate::shop::{api_on, deploy, header, status};
use crate::sweep::Extent;
use std::time::{Duration, Instant};

/// From a fault to the end of the run: 40 s until a hanging engine is believed to hang, 3 s for each step that is undone there, and what a
/// busy machine needs.
const BOUND: Duration = Duration::from_secs(120);
const HANG: &str = "kill -STOP $(cat /run/docker.pid)";
const UNHANG: &str = "kill -CONT $(cat /run/docker.pid)";

/// What befalls a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The network is cut: nothing comes back, nothing is refused.
    Cut,
    /// The whole server stands still.
    Frozen,
    /// The engine is stopped, and every container with it.
    EngineStopped,
    /// The engine is there and does not answer.
    EngineHangs,
    /// The connection is reset; the next one is accepted.
    Reset,
}

const FAULTS: [Fault; 5] = [Fault::Cut, Fault::Frozen, Fault::EngineStopped, Fault::EngineHangs, Fault::Reset];

/// The waves of a deploy.
const WAVES: [&str; 8] = ["lock", "prepare", "start", "switch", "confirm", "drain", "retire", "finish"];

/// What is tried whenever the tests run.
const FEW: [(&str, Fault); 2] = [("switch", Fault::EngineStopped), ("confirm", Fault::Frozen)];
/// Steps of so many lead through all pairs of a wave and a fault, and any beginning is spread over them.
const STRIDE: usize = 7;

/// How a run may end that this befalls. Where two are possible, what decides is whether the script of the wave was on its way already.
fn exits(wave: &str, fault: Fault) -> &'static [i32] {
    match (wave, fault) {
        (_, Fault::Reset) | ("finish", _) => &[0],
        // Nothing that requests hang on has changed there.
        ("lock" | "prepare" | "start", _) => &[5],
        ("switch", _) => &[5, 6],
        // The server has switched, and cannot be put back; or its old side is gone, which is only tidiness.
        ("retire", _) => &[0, 6],
        _ => &[6],
    }
}

impl Fault {
    fn happens(self, server: &Server) {
        match self {
            Self::Cut => server.fault("cut", &[]),
            Self::Frozen => server.fault("freeze", &[]),
            Self::EngineStopped => server.fault("dockerd-stop", &[]),
            Self::EngineHangs => drop(server.must(HANG)),
            // The session that does it goes, too.
            Self::Reset => drop(server.run("ss -K sport = :22 >/dev/null 2>&1")),
        }
    }

    fn ends(self, server: &Server) {
        match self {
            Self::Cut => server.fault("heal", &[]),
            Self::Frozen => server.fault("thaw", &[]),
            Self::EngineStopped => server.fault("dockerd-start", &[]),
            Self::EngineHangs => drop(server.must(UNHANG)),
            Self::Reset => {}
        }
    }
}

/// The fleet between two faults.
struct Ordeal<'a> {
    fleet: &'a Fleet,
    project: &'a Project,
    /// The version that is live, and the one that is not.
    versions: [&'static str; 2],
}

impl Ordeal<'_> {
    /// One deploy of the other version, and this fault on the last server when a wave has begun.
    fn befalls(&mut self, wave: &str, fault: Fault) {
        let [old, new] = self.versions;
        let last = self.fleet.server(3);
        let (fleet, project) = (self.fleet, self.project);
        project.playbook(&(header(new) + &api_on(3, new, "").replace("200ms", "600ms")));
        let mut run = project.start(&["deploy", "-y"]);
        run.until(&format!("== {wave} "));
        run.signal("STOP");
        fault.happens(&last);
        run.signal("CONT");
        let began = Instant::now();
        let output = run.end();
        let took = began.elapsed();
        fault.ends(&last);
        let what = format!("{fault:?} at {wave}: {}", output.all());
        assert!(took < BOUND, "{took:?}: {what}");
        assert!(output.exit.is_some_and(|exit| exits(wave, fault).contains(&exit)), "{what}");
        if output.exit != Some(0) {
            assert!(output.all().contains("server3"), "{what}");
            for number in [1, 2] {
                let (status, body) = fleet.server(number).get(crate::traffic::HOST, "/");
                assert!(status == 200 && body.starts_with(old), "server{number} answers {status} {body}: {what}");
            }
        }
        let next = deploy(project).exits(0);
        let seen = status(project, "api");
        assert!(seen["state"] == "RUNNING" && seen["versions"][0] == new, "{seen:#}: {}\n{what}", next.all());
        self.versions = [new, old];
    }
}

#[test]
fn every_fault_at_every_wave_ends_in_bounded_time_and_the_next_deploy_mends_it() {
    let fleet = Fleet::take();
    let project = Project::new(&fleet, &(header("1.0") + &api_on(3, "1.0", "")));
    deploy(&project).exits(0);
    let mut ordeal = Ordeal { fleet: &fleet, project: &project, versions: ["1.0", "2.0"] };
    let all: Vec<_> = WAVES.into_iter().flat_map(|wave| FAULTS.map(|fault| (wave, fault))).collect();
    let spread = (0..all.len()).map(|number| all[number * STRIDE % all.len()]);
    let (wanted, time): (Vec<_>, Duration) = match Extent::wanted() {
        Extent::Few => (FEW.to_vec(), Duration::MAX),
        Extent::For(time) => (spread.collect(), time / 4),
        Extent::All => (all, Duration::MAX),
    };
    let began = Instant::now();
    for (wave, fault) in wanted.into_iter().take_while(|_| began.elapsed() < time) {
        ordeal.befalls(wave, fault);
    }
}
