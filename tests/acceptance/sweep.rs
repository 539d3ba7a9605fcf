//! The crash sweep on real servers, under traffic: a deploy of three services to three servers (one on all of them, one with two replicas, one
//! with a volume that is handed over) is killed or stopped at one of its events after the other, and taken up by `resume` or by a deploy from
//! another workstation. No client of what does not have to stop notices, no data is lost, and nothing has to be cleared up.
//!
//! A spread of points as far as [`TIME`] goes; all of them, in every way, and lost servers too, with `FLIPSIDE_SWEEP=full` (`make sweep`), and
//! a spread of those for so many minutes with a number (`make sweep MINUTES=30`).
//! Deliberately absent: what the sweep of `tests/plan` shows in memory, at every action, twice in a row.
use crate::fleet::Fleet;
use crate::project::{Output, Project};
use crate::server::Server;
use crate::shop::{CHECK, deploy, ports, shop, status};
use crate::traffic::Traffic;
use serde_json::Value;
use std::io::Write;
use std::time::{Duration, Instant};

/// So long new points are begun, where not all are asked for.
const TIME: Duration = Duration::from_secs(90);
/// So many points are tried, where not all are asked for.
const N_POINTS: usize = 14;
/// A lease is free so soon after its holder's end.
const LEASE: Duration = Duration::from_secs(10);

/// The name under which the store is served.
const STORE: &str = "store.example.com";
const SERVICES: [&str; 3] = ["api", "echo", "store"];

/// How much is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// A few points, killed: what there is time for whenever the tests run.
    Few,
    /// Every kind of mishap, for about so long.
    For(Duration),
    /// Every kind at every event.
    All,
}

impl Extent {
    fn wanted() -> Self {
        match std::env::var("FLIPSIDE_SWEEP").as_deref() {
            Err(_) | Ok("") => Self::Few,
            Ok("full") => Self::All,
            Ok(minutes) => {
                Self::For(Duration::from_secs(60 * minutes.parse::<u64>().expect("FLIPSIDE_SWEEP is \"full\" or a number of minutes")))
            }
        }
    }

    /// Whether there is time for another point; the points at which servers are lost come last, and have a fifth of it.
    fn goes_on(self, n_points: usize, began: Instant, is_last: bool) -> bool {
        match self {
            Self::Few => !is_last && n_points < N_POINTS && began.elapsed() <= TIME,
            Self::For(time) => began.elapsed() <= if is_last { time } else { time * 4 / 5 },
            Self::All => true,
        }
    }

    fn mishaps(self, number: usize) -> Vec<Mishap> {
        match self {
            Self::Few => vec![WITHOUT_LOSS[number % WITHOUT_LOSS.len()]],
            Self::For(_) | Self::All => WITHOUT_LOSS.to_vec(),
        }
    }
}

/// More is asked for than what there is time for whenever the tests run.
pub(crate) fn is_long() -> bool {
    Extent::wanted() != Extent::Few
}

/// What befalls a deploy in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mishap {
    /// SIGKILL, and `resume`.
    Resumed,
    /// SIGKILL, and a deploy from another workstation.
    DeployedAnew,
    /// SIGKILL, `abort`, and the deploy again.
    Aborted,
    /// SIGINT at every other event and SIGTERM at the rest, and the deploy again.
    Interrupted,
    /// One server's packets are dropped until the run has ended.
    Cut,
}

/// What no client of a server may notice.
const WITHOUT_LOSS: [Mishap; 4] = [Mishap::Resumed, Mishap::DeployedAnew, Mishap::Interrupted, Mishap::Aborted];

/// What is deployed: `api` on every server, two copies of `echo`, and a store whose two sides never run at once.
fn playbook(tag: &str) -> String {
    shop(tag, tag)
        + &format!(
            "
replicas = 2

[services.store]
image = \"flipside/app:{tag}\"
port = 8000
protocol = \"http\"
servers = [\"server2\"]
volumes = [\"data:/data\"]
health_check = {CHECK}
proxy = {{ hosts = [\"{STORE}\"] }}
"
        )
}

/// Points in an order in which any beginning is spread over all.
fn spread(n_points: usize) -> Vec<usize> {
    let bits = usize::BITS - n_points.leading_zeros();
    let reversed = |n: usize| n.reverse_bits() >> (usize::BITS - bits);
    (0..1 << bits).map(reversed).filter(|point| (1..n_points).contains(point)).collect()
}

struct Sweep {
    project: Project,
    servers: Vec<Server>,
    /// The tag that is live, and the one that is not.
    tags: [&'static str; 2],
    /// The longest from a kill to a consistent fleet, and where.
    longest: (Duration, String),
    n_points: usize,
}

impl Sweep {
    /// Both services run in this version, on every server, and nobody holds a lease.
    fn is_consistent(&self, version: &str, what: &str) {
        for service in SERVICES {
            let seen = status(&self.project, service);
            let words = |key: &str| seen[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
            // A side that only runs beside the live one is told of, and the next deploy clears it away.
            let runs = seen["state"] == "RUNNING" || words("troubles").iter().all(|trouble| trouble.contains("side runs too"));
            assert!(runs && seen["n_running"] == seen["n_wanted"], "{what}: {service}: {seen:#}");
            assert_eq!(words("versions"), [version], "{what}: {service}: {seen:#}");
        }
        for server in &self.servers {
            let (code, body) = server.get(crate::traffic::HOST, "/");
            assert!(code == 200 && body.starts_with(version), "{what}: {} answers {code} {body}", server.name);
        }
    }

    /// Whoever comes next can have every lease, and finds no container that is not one of the two sides, set aside or failed.
    fn is_clear(&self, what: &str) {
        for server in &self.servers {
            let bound = LEASE.as_secs();
            let free = server.run(&format!("timeout {bound} flock /local/flipside/lock/lease echo free"));
            assert_eq!(free.trim(), "free", "{what}: the lease of {} is not free after {bound} s", server.name);
            for name in server.containers().into_keys().filter(|name| name.starts_with("shop_")) {
                let side =
                    name.trim_end_matches(".previous").trim_end_matches(".failed").trim_end_matches(".door").trim_end_matches("_secondary");
                assert!(
                    SERVICES.iter().any(|service| side == format!("shop_prod_{service}") || side == format!("shop_prod_{service}_r2")),
                    "{what}: {name} is left on {}",
                    server.name
                );
            }
        }
    }

    /// One deploy of the other tag, its mishap at this event, and what comes after it.
    fn point(&mut self, event: usize, mishap: Mishap) {
        let [old, new] = self.tags;
        let what = format!("{mishap:?} at event {event}, from {old} to {new}");
        self.project.playbook(&playbook(new));
        let mut run = self.project.start(&["deploy", "-y", "--output", "json"]);
        let struck = run.until_lines(event);
        let began = Instant::now();
        let last = match mishap {
            Mishap::Resumed => {
                run.signal("KILL");
                drop(run.end());
                // A kill after the last event leaves nothing to resume.
                self.project.flipside(&["resume"]).exits(0)
            }
            Mishap::DeployedAnew => {
                run.signal("KILL");
                drop(run.end());
                self.project.another_workstation();
                deploy(&self.project).exits(0)
            }
            Mishap::Aborted => {
                run.signal("KILL");
                drop(run.end());
                // What had confirmed the new side is past undoing, and a kill after the last event leaves nothing to undo.
                self.project.flipside(&["abort"]).exits(0);
                deploy(&self.project).exits(0)
            }
            Mishap::Interrupted => {
                if struck {
                    run.signal(if event.is_multiple_of(2) { "INT" } else { "TERM" });
                }
                self.after(run.end(), &what)
            }
            Mishap::Cut => {
                let server = self.servers[event % 3].clone();
                server.fault("cut", &[]);
                let output = run.end();
                server.fault("heal", &[]);
                self.after(output, &what)
            }
        };
        let took = began.elapsed();
        self.is_consistent(new, &format!("{what}: {}", last.all()));
        self.is_clear(&what);
        if struck && took > self.longest.0 {
            self.longest = (took, what);
        }
        self.tags = [new, old];
        self.n_points += 1;
    }

    /// Brings the fleet to the new version after a run that ended by itself.
    fn after(&self, output: Output, what: &str) -> Output {
        match output.exit {
            Some(0) => output,
            Some(5) => deploy(&self.project).exits(0),
            // What could not be put back is told, and the next deploy mends it.
            Some(6) => deploy(&self.project).exits(0),
            other => panic!("{what}: ended with {other:?}: {}", output.all()),
        }
    }
}

#[test]
fn a_deploy_that_is_killed_at_any_event_is_taken_up_and_nobody_notices() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let project = Project::new(&fleet, &playbook("1.0"));
    deploy(&project).exits(0);
    assert_eq!(servers[1].get(STORE, "/append?path=/data/log&text=one").0, 200);
    project.playbook(&playbook("2.0"));
    let n_events = project.flipside(&["deploy", "-y", "--output", "json"]).exits(0).stdout.lines().count();
    let (internal, ..) = ports(&project, "echo");
    let traffic = Traffic::http(&servers).and_inside(&servers[1], &[format!("tcp:127.0.0.1:{internal}")]);
    let longest = (Duration::ZERO, String::new());
    let mut sweep = Sweep { project, servers, tags: ["2.0", "1.0"], longest, n_points: 0 };

    let extent = Extent::wanted();
    let began = Instant::now();
    let points = spread(n_events).into_iter().enumerate().flat_map(|(number, event)| {
        let mishaps = extent.mishaps(number).into_iter();
        mishaps.map(move |mishap| (event, mishap))
    });
    for (event, mishap) in points {
        if !extent.goes_on(sweep.n_points, began, false) {
            break;
        }
        traffic.phase(&format!("{mishap:?} at event {event}"));
        sweep.point(event, mishap);
    }
    traffic.phase("afterwards");
    // One calm run later, exactly the new side runs, and five generations are kept beside the first.
    let [_, new] = sweep.tags;
    sweep.project.playbook(&playbook(new));
    deploy(&sweep.project).exits(0);
    sweep.is_consistent(new, "afterwards");
    for server in &sweep.servers {
        let running: Vec<String> = server.running("shop_prod_").into_iter().filter(|name| !name.ends_with(".door")).collect();
        let n_echo = running.iter().filter(|name| name.starts_with("shop_prod_echo")).count();
        assert!(running.len() == 1 + n_echo && n_echo <= 1, "{} runs {running:?}", server.name);
        let n_generations: usize = server.must("ls /local/flipside/nginx/releases | wc -l").trim().parse().expect("a number");
        assert!(n_generations <= 6, "{} keeps {n_generations} generations", server.name);
    }
    let sent: u64 = traffic.end().none_failed().0.targets.iter().map(|target| target.total.sent).sum();
    // Whoever talks to a server that is cut off is cut off too: nobody counts here.
    for event in spread(n_events) {
        if !extent.goes_on(sweep.n_points, began, true) {
            break;
        }
        sweep.point(event, Mishap::Cut);
    }
    let (took, what) = &sweep.longest;
    let line = format!(
        "  swept {} of {} points of a deploy with {n_events} events, under {sent} requests, 0 failed; longest from a kill to a consistent fleet: {:.1} s ({what})\n",
        sweep.n_points,
        if extent == Extent::Few { n_events } else { n_events * (WITHOUT_LOSS.len() + 1) },
        took.as_secs_f64()
    );
    // Not by println!, which a test that passes shows to nobody.
    drop(std::io::stderr().write_all(line.as_bytes()));
}
