//! Another project deploys on the same servers while a run of ours is held, or waits for promotion: the run goes on forward and back all the
//! same, and the other one keeps what it has. Deliberately absent: what else may have happened to a run that is held (see `held`).
use super::*;
use crate::cases::Ask;
use crate::driver::{Trouble, drive};
use crate::engine::Way;
use flipside::config::{OnFailure, read_playbook};
use flipside::nginx::read_door;
use flipside::remote::fake::Fate;
use std::collections::BTreeMap;
use std::fs;

/// A release of another project, from its plan to its end.
fn blog(case: &Case, servers: &mut Servers, version: u32) {
    let text = fs::read_to_string(case.path.parent().unwrap().join("shared/blog.toml")).unwrap();
    let text = text.replace("version = \"1.0\"", &format!("version = \"{version}.0\""));
    let playbook = read_playbook("blog.toml", &text.replace("blog/api:1", &format!("blog/api:{version}")), None).unwrap();
    let (plan, findings) = plan(&playbook, &case.inventory, servers, &Ask::default());
    assert!(!is_fatal(&findings) && !plan.waves.is_empty(), "{findings:?}");
    let ended = drive(&plan, servers, &Trouble::default(), &mut |_, _| {});
    assert_eq!(ended.verdict, Some(Verdict::Done), "{}", ended.log.join("\n"));
    *servers = unleased(servers);
}

/// The ports that our project has open in each server's own namespace.
fn doors(servers: &Servers) -> Vec<BTreeMap<u16, String>> {
    let of = |server: &FakeServer| {
        let mut ports = read_door(server.base.nginx.doors.values().next().map_or("", String::as_str));
        ports.retain(|_, stem| stem.starts_with("shop_"));
        ports
    };
    servers.values().map(of).collect()
}

struct Neighbours {
    case: Arc<Case>,
    base: Baseline,
    station: Workstation,
    before: Snapshot,
    after: Snapshot,
    doors: Vec<BTreeMap<u16, String>>,
    n_taken_up: usize,
    problems: Vec<String>,
}

impl Neighbours {
    /// A run of the case has begun on these servers, beside a project that is there already or not, and would end like this.
    async fn new(name: &str, on_failure: OnFailure, is_there: bool) -> (Neighbours, Plan, Ran) {
        let mut case = case(name);
        case.playbook.rollout.on_failure = on_failure;
        if is_there {
            blog(&self::case(name), &mut case.servers, 1);
        }
        case.servers = unleased(&case.servers);
        let (plan, _) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
        let case = Arc::new(case);
        let base = Baseline::new(&case, &case.servers);
        let station = Workstation::new("this workstation");
        let mut calm = station.run(&case, &base, &plan, case.servers.clone(), Mishap::None).await;
        if calm.verdict == Some(Verdict::Waiting) {
            calm = station.take_up(&case, &base, calm.servers, Way::Promote, Mishap::None).await.unwrap();
        }
        assert_eq!(calm.verdict, Some(Verdict::Done));
        let [before, after] = [&case.servers, &calm.servers].map(|servers| snapshot(servers, &case.playbook));
        (Neighbours { case, base, station, before, after, doors: doors(&calm.servers), n_taken_up: 0, problems: Vec::new() }, plan, calm)
    }

    fn problem(&mut self, what: &str, problem: impl std::fmt::Display) {
        self.problems.push(format!("{}: {what}: {problem}", self.case.name));
    }

    /// The other project deploys, and then the run that stands here is taken up.
    async fn taken_up(&mut self, servers: &Servers, version: u32, way: Way, what: &str) -> Option<Ran> {
        let mut servers = servers.clone();
        blog(&self.case, &mut servers, version);
        let theirs = snapshot(&servers, &self.case.playbook).of("blog");
        let overtaken = self.station.overtaken(&self.case, &servers);
        if !overtaken.is_empty() {
            self.problem(what, format!("refused: {overtaken:?}"));
            return None;
        }
        let ran = self.station.take_up(&self.case, &self.base, servers, way, Mishap::Record).await?;
        self.n_taken_up += 1;
        ran.faults.iter().take(2).for_each(|fault| self.problem(what, fault));
        let now = snapshot(&ran.servers, &self.case.playbook);
        let (ours, theirs_now) = (now.of("shop"), now.of("blog"));
        if theirs_now != theirs {
            self.problem(what, format!("the other project had {theirs:?}\n  and has {theirs_now:?}"));
        }
        let (verdict, target) = match way {
            Way::Back => (Verdict::PutBack, self.before.of("shop")),
            Way::On | Way::Uninterrupted | Way::Promote => (Verdict::Done, self.after.of("shop")),
        };
        // What is started only now has another id than in a calm run.
        let is_there = if way == Way::Back { ours == target } else { ours.routes() == target.routes() };
        if ran.verdict != Some(verdict) || !is_there {
            self.problem(what, format!("{:?} instead of {verdict:?}\n  {target:?}\n  {ours:?}", ran.verdict));
        }
        if way != Way::Back && doors(&ran.servers) != self.doors {
            self.problem(what, format!("the host's doors are {:?}, and not {:?}", doors(&ran.servers), self.doors));
        }
        let (case, found) = (Arc::clone(&self.case), &ran.servers);
        if found.values().any(|server| server.base.lease.is_some() || will_go_back(server)) {
            self.problem(what, format!("locked or armed, of {}", case.inventory.servers.len()));
        }
        Some(ran)
    }

    /// Both ways on from where the run stands; and where our process dies on the way, and the other project deploys once more, back.
    async fn both_ways(&mut self, held: &Ran, on: Way, n_deaths: usize, what: &str) {
        for way in [on, Way::Back] {
            let what = format!("{what}, the other project deploys, then {way:?}");
            self.station.rewind(&held.journal);
            let Some(ran) = self.taken_up(&held.servers, 2, way, &what).await else { continue };
            for (number, moment) in ran.moments.iter().enumerate().step_by(stride(ran.moments.len(), n_deaths)) {
                // Where servers put themselves back meanwhile, a later generation may as well be another run's of this project: it is refused.
                let mut servers = unleased(&moment.servers);
                if servers.values().any(will_go_back) {
                    continue;
                }
                servers.values_mut().filter(|server| server.base.revert.is_some()).for_each(FakeServer::grace_is_over);
                self.station.cut(&ran.journal[..moment.journal]);
                if self.station.is_past_undoing() {
                    break;
                }
                let what = format!("{what}, killed {}, it deploys again, then Back", at(number));
                self.taken_up(&servers, 3, Way::Back, &what).await;
            }
        }
    }

    fn report(&self, n_taken_up: usize) {
        let shown: Vec<&str> = self.problems.iter().take(6).map(String::as_str).collect();
        assert!(self.problems.is_empty(), "{} problems:\n{}", self.problems.len(), shown.join("\n"));
        assert!(self.n_taken_up >= n_taken_up, "{} taken up", self.n_taken_up);
    }
}

async fn held_beside(name: &str, is_there: bool) {
    let (mut sweep, plan, calm) = Neighbours::new(name, OnFailure::Hold, is_there).await;
    let failing = calm.steps.iter().enumerate().filter(|(_, step)| step.wave > 0);
    let failing: Vec<_> = failing.step_by(stride(calm.steps.len(), 24)).collect();
    for (number, step) in failing {
        let what = format!("action {number} ({}) fails", plan.step(step).unwrap().title);
        let (case, base) = (Arc::clone(&sweep.case), sweep.base.clone());
        let held = sweep.station.run(&case, &base, &plan, case.servers.clone(), Mishap::Once(number, Fate::Fails)).await;
        if held.verdict == Some(Verdict::Held) {
            sweep.both_ways(&held, Way::On, 2, &what).await;
        }
    }
    sweep.report(40);
}

#[tokio::test]
async fn a_run_that_is_held_goes_on_or_back_after_another_project_has_deployed() {
    held_beside("held", true).await;
}

#[tokio::test]
async fn a_first_deploy_that_is_held_goes_on_or_back_after_another_project_has_come() {
    held_beside("first_three_servers", false).await;
}

#[tokio::test]
async fn a_run_that_is_held_with_an_app_port_goes_on_or_back_after_another_project_has_deployed() {
    held_beside("app_port_added_two_servers", true).await;
}

#[tokio::test]
async fn a_run_that_is_held_goes_on_or_back_after_another_project_has_come() {
    held_beside("held", false).await;
}

#[tokio::test]
async fn a_canary_is_promoted_or_taken_back_after_another_project_has_deployed() {
    let (mut sweep, plan, _) = Neighbours::new("canary_that_waits", OnFailure::Rollback, true).await;
    let (case, base) = (Arc::clone(&sweep.case), sweep.base.clone());
    let waits = sweep.station.run(&case, &base, &plan, case.servers.clone(), Mishap::None).await;
    assert_eq!(waits.verdict, Some(Verdict::Waiting));
    sweep.both_ways(&waits, Way::Promote, 12, "it waits").await;
    sweep.report(12);
}
