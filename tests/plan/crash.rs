//! The real engine (dispatch, journal, resume) on servers in memory: our process ends before and after every action of a run, and then
//! the run is resumed or undone, or somebody without its journal deploys again. Deliberately absent: time, bytes, half-done actions.
use crate::cases::{Ask, Case, case, plan};
use crate::driver::{Servers, Trouble, drive};
use crate::invariants::{Snapshot, dead_routes, double_writers, snapshot};
use flipside::facts::RevertState;
use flipside::ledger::Ledger;
use flipside::model::{Action, Verdict};
use flipside::plan::{Change, Plan, back_by_themselves, is_fatal, overtaken, past_undoing};
use flipside::remote::fake::{FakeFleet, FakeServer, Fate, is_up};
use flipside::run::{Journal, Notice, Stop, dispatch, open_runs};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::watch;

/// What becomes of a run that was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Resume,
    Abort,
    DeployAgain,
}

/// What servers do by themselves before anybody comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    OneGoesBack,
    AllGoBack,
}

impl Meanwhile {
    /// What can happen where so many servers have switched and are not confirmed.
    fn all(n_waiting: usize) -> &'static [Meanwhile] {
        match n_waiting {
            0 => &[Meanwhile::Nothing],
            1 => &[Meanwhile::Nothing, Meanwhile::AllGoBack],
            _ => &[Meanwhile::Nothing, Meanwhile::OneGoesBack, Meanwhile::AllGoBack],
        }
    }

    fn happens(self, servers: &mut Servers) {
        let waiting = servers.values_mut().filter(|server| waits(server));
        match self {
            Meanwhile::Nothing => {}
            Meanwhile::OneGoesBack => waiting.take(1).for_each(FakeServer::grace_is_over),
            Meanwhile::AllGoBack => waiting.for_each(FakeServer::grace_is_over),
        }
    }
}

/// The server has switched, and will go back unless somebody confirms or takes over.
fn waits(server: &FakeServer) -> bool {
    let revert = server.base.revert.as_ref().filter(|revert| revert.state == RevertState::Watching);
    revert.is_some_and(|revert| server.base.nginx.live.as_ref() != Some(&revert.back))
}

/// Runs to the end, or until our process dies. The servers afterwards, the verdict, and how many calls there were.
async fn engine(
    plan: &Plan,
    mut ledger: Ledger,
    mut journal: Journal,
    servers: Servers,
    dies: Option<(usize, Fate)>,
) -> (Servers, Option<Verdict>, usize) {
    let fate = move |n: usize, _: &_| dies.filter(|(at, _)| *at == n).map_or(Fate::Performed, |(_, fate)| fate);
    let fleet = Arc::new(FakeFleet::new(servers, Box::new(fate)));
    let (_stop, stopped) = watch::channel(Stop::No);
    let mut tell = |_: Notice<'_>| {};
    let verdict = tokio::select! {
        ended = dispatch(plan, &mut ledger, &mut journal, &fleet, stopped, &mut tell) => Some(ended.unwrap()),
        () = fleet.died() => None,
    };
    (fleet.servers(), verdict, fleet.n_calls())
}

async fn begin(state: &Path, plan: &Plan, servers: Servers, dies: Option<(usize, Fate)>) -> (Servers, Option<Verdict>, usize) {
    let mut ledger = Ledger::default();
    let journal = Journal::create(state, plan, &mut ledger).unwrap();
    engine(plan, ledger, journal, servers, dies).await
}

/// None where it is past undoing, and was to be undone.
async fn take_up(state: &Path, mut servers: Servers, then: Then) -> Option<(Servers, Option<Verdict>)> {
    let mut run = open_runs(state).unwrap().pop().unwrap();
    if then == Then::Abort && past_undoing(&run.plan, &run.ledger) {
        return None;
    }
    for server in run.plan.servers() {
        servers.get_mut(server).unwrap().base.lease = Some("this run".to_owned());
    }
    let fleet = servers.iter().map(|(name, server)| (name.clone(), server.facts())).collect();
    let back = if run.ledger.unwinding() { Vec::new() } else { back_by_themselves(&run.plan, &run.ledger, &fleet) };
    let mut journal = Journal::reopen(&mut run).unwrap();
    if then == Then::Abort {
        journal.ask_to_undo(&mut run.ledger, "abort").unwrap();
    } else if !back.is_empty() {
        journal.ask_to_undo(&mut run.ledger, &back.join("; ")).unwrap();
    }
    let (servers, verdict, _) = engine(&run.plan, run.ledger, journal, servers, None).await;
    Some((servers, verdict))
}

/// Journals are flushed at every step: where there is a disk in memory, they go there.
fn state_folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory).unwrap() } else { TempDir::new().unwrap() }
}

struct Sweep {
    case: Case,
    before: Snapshot,
    /// Where a calm run ends.
    after: Snapshot,
    calm: Verdict,
    problems: Vec<String>,
    /// How often servers went back by themselves.
    n_back: usize,
}

impl Sweep {
    /// Everybody is served by the old side, or everybody by the new one; and nothing else is amiss.
    fn check(&mut self, servers: &Servers, verdict: Verdict, what: &str) {
        let now = snapshot(servers, &self.case.playbook);
        let wanted = match verdict {
            Verdict::Done | Verdict::DoneWithLeftovers => &self.after,
            Verdict::PutBack => &self.before,
            Verdict::Stuck => return self.problems.push(format!("{what}: stuck")),
        };
        if now.routes() != wanted.routes() {
            self.problems.push(format!("{what}: {verdict:?}, and NGINX routes {:?}", now.routes()));
        }
        let dead = dead_routes(servers, &self.case.inventory, &self.case.playbook);
        if !dead.is_empty() {
            self.problems.push(format!("{what}: {verdict:?}, and dead are {dead:?}"));
        }
        let twice = double_writers(servers, &self.case.playbook);
        if !twice.is_empty() {
            self.problems.push(format!("{what}: {verdict:?}, and two at once are {twice:?}"));
        }
        let locked: Vec<_> = servers.iter().filter(|(_, server)| server.facts().lease.is_some()).map(|(name, _)| name).collect();
        if !locked.is_empty() {
            self.problems.push(format!("{what}: {verdict:?}, and locked are {locked:?}"));
        }
    }

    /// Going back makes nothing dead; and when all do, everybody is served by the old side again.
    fn goes_back(&mut self, servers: &mut Servers, meanwhile: Meanwhile, what: &str) {
        let dead = |servers: &Servers, case: &Case| dead_routes(servers, &case.inventory, &case.playbook);
        let before = dead(servers, &self.case);
        meanwhile.happens(servers);
        let new: Vec<_> = dead(servers, &self.case).difference(&before).cloned().collect();
        if !new.is_empty() {
            self.problems.push(format!("{what}: a server that went back routes to what is dead: {new:?}"));
        }
        let hands_over = self.case.playbook.services.values().any(flipside::config::Service::hands_over);
        let now = snapshot(servers, &self.case.playbook);
        for (name, server) in servers.iter().filter(|_| meanwhile == Meanwhile::AllGoBack && !hands_over) {
            let is_confirmed = server.base.revert.is_none();
            if !is_confirmed && now.routes().get(name) != self.before.routes().get(name) {
                self.problems.push(format!("{what}: {name} went back, and NGINX routes {:?}", now.routes().get(name)));
            }
        }
        self.n_back += usize::from(meanwhile != Meanwhile::Nothing);
    }

    /// What was asked to be undone is: routes and containers are those of before the run.
    fn is_as_before(&mut self, servers: &Servers, verdict: Verdict, what: &str) {
        if verdict != Verdict::PutBack {
            self.problems.push(format!("{what}: it was to be undone, and ended as {verdict:?}"));
        } else if snapshot(servers, &self.case.playbook) != self.before {
            let now = snapshot(servers, &self.case.playbook);
            self.problems.push(format!("{what}: not as before\n  {:?}\n  {now:?}", self.before));
        }
    }

    /// What `resume` asks first.
    fn is_untouched(&self, state: &Path, servers: &Servers) -> bool {
        let run = open_runs(state).unwrap().pop().unwrap();
        let fleet = servers.iter().map(|(name, server)| (name.clone(), server.facts())).collect();
        overtaken(&run.plan, &run.ledger, &self.case.inventory, &fleet).is_empty()
    }

    /// Plans anew from what the servers are. A calm run that fails, fails again; one that does not has three deploys to settle.
    fn deploy_again(&mut self, mut servers: Servers, what: &str) {
        let ask: Ask = self.case.ask.whole();
        for _ in 0..3 {
            let (plan, findings) = plan(&self.case.playbook, &self.case.inventory, &servers, &ask);
            if is_fatal(&findings) {
                return self.problems.push(format!("{what}: refused: {findings:?}"));
            }
            if plan.waves.is_empty() {
                break;
            }
            let ended = drive(&plan, &mut servers, &Trouble::default(), &mut |_, _| {});
            if ended.verdict != Some(self.calm) {
                return self.problems.push(format!("{what}: {:?}:\n{}", ended.verdict, ended.log.join("\n")));
            }
        }
        for server in servers.values_mut() {
            server.base.lease = None;
        }
        let dead = dead_routes(&servers, &self.case.inventory, &self.case.playbook);
        let twice = double_writers(&servers, &self.case.playbook);
        if !dead.is_empty() || !twice.is_empty() {
            self.problems.push(format!("{what}: dead are {dead:?}, two at once are {twice:?}"));
        }
        let (plan, _) = plan(&self.case.playbook, &self.case.inventory, &servers, &ask);
        if self.calm == Verdict::Done && !plan.waves.is_empty() {
            self.problems.push(format!("{what}: still something to do after three deploys"));
        }
    }
}

/// Runs the case's plan calmly once, and then ends the process before and after each of its calls.
async fn sweep(case: Case, calm: Verdict) {
    let (plan, findings) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
    assert!(!is_fatal(&findings) && case.servers.len() >= 3, "{findings:?}");
    let state = state_folder();
    let (servers, verdict, n_calls) = begin(state.path(), &plan, case.servers.clone(), None).await;
    assert_eq!(verdict, Some(calm));
    assert!(open_runs(state.path()).unwrap().is_empty(), "a run that has ended is not open");
    let before = snapshot(&case.servers, &case.playbook);
    let after = snapshot(&servers, &case.playbook);
    assert_eq!(before.routes() == after.routes(), calm == Verdict::PutBack);
    let mut sweep = Sweep { case, before, after, calm, problems: Vec::new(), n_back: 0 };
    sweep.check(&servers, calm, "a calm run");
    let mut n_refused = 0;
    for call in 0..n_calls {
        for fate in [Fate::DiesBefore, Fate::DiesAfter] {
            let mut n_waiting = None;
            let ways = [Then::Resume, Then::Abort, Then::DeployAgain];
            for (meanwhile, then) in Meanwhile::all(3).iter().flat_map(|m| ways.map(|then| (*m, then))) {
                if n_waiting.is_some_and(|n| !Meanwhile::all(n).contains(&meanwhile)) {
                    continue;
                }
                let what = format!("{}: {fate:?} call {call} of {n_calls}, {meanwhile:?}, then {then:?}", sweep.case.name);
                let state = state_folder();
                let (mut servers, verdict, _) = begin(state.path(), &plan, sweep.case.servers.clone(), Some((call, fate))).await;
                assert_eq!(verdict, None, "{what}: it did not die");
                n_waiting = Some(servers.values().filter(|server| waits(server)).count());
                sweep.goes_back(&mut servers, meanwhile, &what);
                match then {
                    Then::DeployAgain => sweep.deploy_again(servers, &what),
                    Then::Resume | Then::Abort if !sweep.is_untouched(state.path(), &servers) => {
                        sweep.problems.push(format!("{what}: its own steps look foreign"))
                    }
                    Then::Resume | Then::Abort => match take_up(state.path(), servers, then).await {
                        Some((servers, Some(verdict))) => {
                            sweep.check(&servers, verdict, &what);
                            if then == Then::Abort {
                                sweep.is_as_before(&servers, verdict, &what);
                            } else if meanwhile == Meanwhile::Nothing && verdict != calm {
                                sweep.problems.push(format!("{what}: {verdict:?}, although nothing had happened meanwhile"));
                            }
                            sweep.deploy_again(servers, &format!("{what}, and a deploy"));
                        }
                        Some((_, None)) => sweep.problems.push(format!("{what}: it died again")),
                        None => n_refused += 1,
                    },
                }
            }
        }
    }
    // A first deploy has nothing to go back to, and a handover no way back.
    let armed = plan.step_ids().any(|id| matches!(plan.step(&id).unwrap().action, Action::ArmRevert { .. }));
    assert_eq!(sweep.n_back > 0, armed && calm == Verdict::Done, "{} times servers went back", sweep.n_back);
    // A run is past undoing from the first call of its last wave on: where it dies after it, or before the second.
    assert!(n_refused < 2 * n_calls, "{n_refused} undos were refused in {n_calls} calls");
    let shown: Vec<&str> = sweep.problems.iter().take(20).map(String::as_str).collect();
    assert!(sweep.problems.is_empty(), "{} problems in {n_calls} calls:\n{}", sweep.problems.len(), shown.join("\n"));
}

/// The ids of all containers that run.
fn running(servers: &Servers) -> BTreeSet<&str> {
    let containers = servers.values().flat_map(|server| &server.base.containers);
    containers.filter(|container| is_up(container)).map(|container| container.id.as_str()).collect()
}

/// Somebody deploys what was there before a run that was cut off: nothing of that run runs on, and what waits for a rollback is what did.
#[tokio::test]
async fn a_deploy_of_the_old_version_takes_back_what_a_run_left_behind() {
    let mut problems = Vec::new();
    let case = case("second_to_secondary_three_servers");
    let whole = case.ask.whole();
    // Two releases, so that both sides have containers; and a third that is cut off.
    let (second, _) = plan(&case.playbook, &case.inventory, &case.servers, &whole);
    let (servers, verdict, _) = begin(state_folder().path(), &second, case.servers.clone(), None).await;
    assert_eq!(verdict, Some(Verdict::Done));
    let mut third = case.playbook.clone();
    for service in third.services.values_mut() {
        service.env.insert("ANOTHER".to_owned(), "release".to_owned());
    }
    let (new, _) = plan(&third, &case.inventory, &servers, &whole);
    let before = snapshot(&servers, &case.playbook);
    let (_, _, n_calls) = begin(state_folder().path(), &new, servers.clone(), None).await;
    let mut n_tidied = 0;
    for call in 0..n_calls {
        let (mut now, verdict, _) = begin(state_folder().path(), &new, servers.clone(), Some((call, Fate::DiesAfter))).await;
        assert_eq!(verdict, None);
        if snapshot(&now, &case.playbook).routes() != before.routes() {
            continue;
        }
        let (tidy, _) = plan(&case.playbook, &case.inventory, &now, &whole);
        n_tidied += usize::from(!tidy.waves.is_empty());
        drive(&tidy, &mut now, &Trouble::default(), &mut |_, _| {});
        let (next, _) = plan(&case.playbook, &case.inventory, &now, &whole);
        let after = snapshot(&now, &case.playbook);
        if !next.waves.is_empty() || after.routes() != before.routes() || !before.is_kept_in(&after) || running(&now) != running(&servers) {
            let left = now.values().flat_map(|server| &server.base.containers).map(|container| &container.name).collect::<Vec<_>>();
            problems.push(format!("after {call} of {n_calls}: {} steps left, {left:?}", next.n_steps()));
        }
    }
    assert!(n_tidied > 1, "only {n_tidied} of {n_calls} cuts left anything behind");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[tokio::test]
async fn a_first_deploy() {
    sweep(case("first_three_servers"), Verdict::Done).await;
}

#[tokio::test]
async fn a_toggle() {
    sweep(case("second_to_secondary_three_servers"), Verdict::Done).await;
}

#[tokio::test]
async fn a_handover() {
    sweep(case("volume_handover_three_servers"), Verdict::Done).await;
}

#[tokio::test]
async fn a_toggle_without_a_server_that_is_out_of_reach() {
    sweep(case("behind_one_of_three"), Verdict::Done).await;
}

#[tokio::test]
async fn a_server_that_was_left_behind_is_brought_level() {
    sweep(case("behind_catch_up"), Verdict::Done).await;
}

#[tokio::test]
async fn a_toggle_with_a_server_that_was_left_behind() {
    sweep(case("behind_another_release_with_it"), Verdict::Done).await;
}

#[tokio::test]
async fn a_deploy_that_fails() {
    let mut case = case("second_to_secondary_three_servers");
    let (plan, _) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
    let toggled = plan.services.values().find(|service| service.change == Change::Toggle).unwrap();
    let last = toggled.servers.last().unwrap();
    case.servers.get_mut(last).unwrap().unhealthy.insert(toggled.image.clone());
    sweep(case, Verdict::PutBack).await;
}
