//! The sweep: at every action of every kind of deploy our process dies, stands still, loses a server, is told of an error, or does a thing
//! twice; and whoever comes then, with the journal or from another workstation, dies again. Every action that is performed is followed by a
//! look at what clients see. Where there are too many points, some are taken at regular distances; how many were tried is printed,
//! and `FLIPSIDE_SWEEP=full` (`make sweep`) tries more.
//! Deliberately absent: time, bytes, half-done actions.
mod held;
mod kills;
mod mishaps;
mod neighbours;

use crate::baseline::{Baseline, essence};
use crate::cases::{Case, case, plan};
use crate::driver::Servers;
use crate::engine::{Mishap, Ran, Workstation, unleased};
use crate::invariants::{Snapshot, snapshot};
use flipside::facts::RevertState;
use flipside::model::{Action, ServerName, Verdict};
use flipside::plan::{Change, Intent, Plan, is_fatal};
use flipside::remote::fake::FakeServer;
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

#[derive(Debug, Default)]
struct Counts {
    actions: usize,
    kills: usize,
    /// How often servers went back by themselves.
    back: usize,
    settled: usize,
    frozen: usize,
    mishaps: usize,
    stuck: usize,
    pairs: usize,
}

struct Sweep {
    case: Arc<Case>,
    base: Baseline,
    plan: Plan,
    calm: Verdict,
    before: Snapshot,
    /// Where a calm run ends.
    after: Snapshot,
    /// What clients get once a calm run was followed by deploys until nothing was left to do.
    settled: BTreeSet<String>,
    /// Fleets from which that was seen to be reached.
    known: Vec<Servers>,
    counts: Counts,
    problems: Vec<String>,
}

/// How much alike a run must leave a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alike {
    /// Routes, and every container that is not set aside.
    Whole,
    /// Routes: something that nobody uses may be left behind.
    Routes,
}

/// So many points, or four times as many where the environment asks for the long sweep.
fn points(few: usize) -> usize {
    if std::env::var("FLIPSIDE_SWEEP").as_deref() == Ok("full") { 4 * few } else { few }
}

/// Every how-manieth of `n` to take for at most `limit`.
fn stride(n: usize, limit: usize) -> usize {
    n.div_ceil(limit.max(1)).max(1)
}

impl Sweep {
    fn problem(&mut self, what: &str, problem: impl std::fmt::Display) {
        self.problems.push(format!("{}: {what}: {problem}", self.case.name));
    }

    /// What must not have been on the way.
    fn faults(&mut self, ran: &Ran, what: &str) {
        ran.faults.iter().take(2).for_each(|fault| self.problem(what, fault));
    }

    /// Nothing was amiss on the way, and nothing is at the end: everybody is served by the old side, or everybody by the new one.
    fn check(&mut self, ran: &Ran, what: &str, wanted: &[Verdict], alike: Alike) {
        self.faults(ran, what);
        let Some(verdict) = ran.verdict.filter(|verdict| wanted.contains(verdict)) else {
            return self.problem(what, format!("{:?} instead of {wanted:?}", ran.verdict));
        };
        let now = snapshot(&ran.servers, &self.case.playbook);
        let target = match verdict {
            Verdict::Done | Verdict::DoneWithLeftovers => Some(&self.after),
            Verdict::PutBack => Some(&self.before),
            Verdict::Stuck | Verdict::Held | Verdict::Waiting => None,
        };
        let different = target.filter(|target| target.routes() != now.routes()).map(|_| format!("NGINX routes {:?}", now.routes()));
        let whole = alike == Alike::Whole && verdict != Verdict::DoneWithLeftovers;
        let left = target.filter(|target| whole && **target != now).map(|target| format!("not as it should be\n  {target:?}\n  {now:?}"));
        if let Some(problem) = different.or(left) {
            self.problem(what, format!("{verdict:?}, and {problem}"));
        }
        let broken = match verdict {
            Verdict::Stuck | Verdict::Held | Verdict::Waiting => self.base.clone().where_one_is_enough().broken(&self.case, &ran.servers),
            Verdict::Done | Verdict::DoneWithLeftovers | Verdict::PutBack => self.base.broken_at_the_end(&self.case, &ran.servers),
        };
        if !broken.is_empty() {
            self.problem(what, format!("{verdict:?}, and {broken:?}"));
        }
        let case = Arc::clone(&self.case);
        self.is_left_alone(&case.servers, &ran.servers, verdict, what);
    }

    /// Nobody holds a lock any more; and no server goes back later, but where the run itself says that it could not put it back, or where
    /// it has put back everything and found the server so.
    fn is_left_alone(&mut self, found: &Servers, servers: &Servers, verdict: Verdict, what: &str) {
        let named = |is: &dyn Fn(&ServerName) -> bool| servers.keys().filter(|name| is(name)).cloned().collect::<Vec<_>>();
        let locked = named(&|name| servers[name].base.lease.is_some());
        let armed = named(&|name| will_go_back(&servers[name]) && !(verdict == Verdict::PutBack && will_go_back(&found[name])));
        if !locked.is_empty() {
            self.problem(what, format!("{verdict:?}, and locked are {locked:?}"));
        }
        if !armed.is_empty() && verdict != Verdict::Stuck {
            self.problem(what, format!("{verdict:?}, and armed are {armed:?}"));
        }
    }

    /// What the same command, or a deploy of everything, is planned to do from here. Nothing where nothing is left to do.
    fn plan_anew(&mut self, servers: &Servers, what: &str) -> Option<Plan> {
        let repeats = ["remove", "maintenance on"].contains(&self.case.ask.intent.as_str());
        let ask = if repeats { self.case.ask.again() } else { self.case.ask.whole() };
        let (plan, findings) = plan(&self.case.playbook, &self.case.inventory, servers, &ask);
        if is_fatal(&findings) {
            self.problem(what, format!("refused: {findings:?}"));
            return None;
        }
        (!plan.waves.is_empty()).then_some(plan)
    }

    /// Somebody without the journal deploys until nothing is left to do: three times at most, once where a calm run fails.
    async fn settle(&mut self, mut servers: Servers, what: &str) {
        if self.known.contains(&servers) {
            return;
        }
        let first = servers.clone();
        self.counts.settled += 1;
        let n_problems = self.problems.len();
        for round in 0..4 {
            let what = format!("{what}, then deploy {round} from another workstation");
            let Some(plan) = self.plan_anew(&servers, &what) else { break };
            if round == 3 || (round == 1 && self.calm == Verdict::PutBack) {
                if self.calm != Verdict::PutBack {
                    self.problem(&what, "still something to do");
                }
                break;
            }
            let (base, found) = (self.base.seen_again(&self.case, &servers), servers.clone());
            let ran = Workstation::new("another workstation").run(&self.case, &base, &plan, servers, Mishap::None).await;
            self.faults(&ran, &what);
            servers = ran.servers;
            // What fails in a calm run may have to wait for another service, and is not tried then.
            let waits = self.calm == Verdict::PutBack && ran.verdict == Some(Verdict::Done);
            if ran.verdict != Some(self.calm) && !waits {
                self.problem(&what, format!("{:?}", ran.verdict));
                break;
            }
            self.is_left_alone(&found, &servers, self.calm, &what);
        }
        // A deploy that fails puts back what it found: in the middle of a handover nobody runs.
        let broken = match self.calm {
            Verdict::PutBack => self.base.broken(&self.case, &servers),
            Verdict::Done | Verdict::DoneWithLeftovers | Verdict::Stuck | Verdict::Held | Verdict::Waiting => {
                self.base.broken_at_the_end(&self.case, &servers)
            }
        };
        if !broken.is_empty() {
            self.problem(what, format!("settled, and {broken:?}"));
        }
        let essence = essence(&self.case, &servers);
        // And it may find half of what the one before it did.
        if self.calm != Verdict::PutBack && !self.settled.is_empty() && essence != self.settled {
            let differ: Vec<_> = essence.symmetric_difference(&self.settled).collect();
            self.problem(what, format!("settled in another fleet than a calm run: {differ:?}"));
        }
        if self.settled.is_empty() {
            self.settled = essence;
        }
        if self.problems.len() == n_problems {
            self.known.push(first);
        }
    }
}

/// The server serves what a run has switched to, and will put itself back unless somebody takes over.
fn will_go_back(server: &FakeServer) -> bool {
    let revert = server.base.revert.as_ref().filter(|revert| revert.state == RevertState::Watching);
    revert.is_some_and(|revert| server.base.nginx.live.as_ref() != Some(&revert.back))
}

fn at(moment: usize) -> String {
    format!("{} action {}", if moment.is_multiple_of(2) { "before" } else { "after" }, moment / 2)
}

/// Runs the case's plan calmly once, and then with everything that can happen.
async fn sweep(mut case: Case, calm: Verdict) {
    case.servers = unleased(&case.servers);
    let (plan, findings) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
    assert!(!is_fatal(&findings) && !plan.waves.is_empty(), "{findings:?}");
    let case = Arc::new(case);
    let base = Baseline::new(&case, &case.servers);
    let station = Workstation::new("this workstation");
    let ran = station.run(&case, &base, &plan, case.servers.clone(), Mishap::Record).await;
    assert!(!station.has_open_run(), "a run that has ended is not open");
    let (before, after) = (snapshot(&case.servers, &case.playbook), snapshot(&ran.servers, &case.playbook));
    assert_eq!((ran.verdict, before == after), (Some(calm), calm == Verdict::PutBack), "{:?}", ran.faults);
    let counts = Counts { actions: ran.steps.len(), ..Counts::default() };
    let armed = plan.step_ids().any(|id| matches!(plan.step(&id).unwrap().action, Action::ArmRevert { .. }));
    let settled = BTreeSet::new();
    let mut sweep = Sweep { case, base, plan, calm, before, after, settled, known: Vec::new(), counts, problems: Vec::new() };
    sweep.check(&ran, "a calm run", &[calm], Alike::Whole);
    sweep.settle(ran.servers.clone(), "a calm run").await;
    sweep.kills(&station, &ran).await;
    sweep.mishaps(&station, &ran).await;
    sweep.pairs(&station, &ran).await;
    let Sweep { case, counts, problems, .. } = sweep;
    // Not by println!, which a test that passes shows to nobody.
    let Counts { actions, kills, back, mishaps, stuck, pairs, frozen, settled } = counts;
    let line = format!(
        "  swept {}: {actions} actions, {kills} kills ({back} with servers that went back), {mishaps} mishaps ({stuck} stuck), \
         {pairs} pairs of kills, {frozen} frozen; {settled} fleets settled from another workstation\n",
        case.name
    );
    drop(std::io::stderr().write_all(line.as_bytes()));
    let shown: Vec<&str> = problems.iter().take(20).map(String::as_str).collect();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), shown.join("\n"));
    // A first deploy has nothing to go back to, and a handover no way back.
    assert!(back > 0 || !armed || calm != Verdict::Done, "no server went back by itself");
}

macro_rules! sweeps {
    ($($test:ident: $case:literal,)*) => {
        /// The cases that are swept.
        pub(crate) const SWEPT: &[&str] = &[$($case),*];

        $(
            #[tokio::test]
            async fn $test() {
                sweep(case($case), Verdict::Done).await;
            }
        )*
    };
}

sweeps! {
    a_first_deploy_to_one_server: "first_one_server",
    a_first_deploy_to_three_servers: "first_three_servers",
    a_toggle_on_one_server: "second_to_secondary",
    a_toggle_on_three_servers: "second_to_secondary_three_servers",
    a_toggle_of_replicas: "replicas_on_two_servers",
    a_toggle_of_three_that_use_one_another: "uses_three_levels_again",
    a_toggle_with_other_secrets: "secrets_changed",
    a_toggle_with_hooks: "hooks",
    a_toggle_that_is_watched: "watched",
    a_toggle_with_hooks_that_is_watched: "watched_with_hooks",
    a_change_of_public_hosts: "ingress_changed",
    a_renewed_certificate: "tls_renewed",
    a_service_that_goes_into_maintenance: "maintenance_on",
    a_toggle_whose_hosts_have_a_port_of_their_own: "app_port_two_servers",
    a_toggle_by_name_that_adds_such_a_port: "app_port_added_one_server",
    a_canary_on_three_servers: "canary_three_servers",
    a_canary_on_one_of_three_servers: "canary_on_one_of_them",
    a_canary_by_name: "canary_by_name",
    a_deploy_after_a_canary_that_was_cut_off: "canary_cut_off",
    a_handover_on_one_server: "volume_handover",
    a_handover_on_three_servers: "volume_handover_three_servers",
    a_handover_of_a_singleton: "singleton",
    a_singleton_that_moves: "singleton_moves",
    a_fleet_that_grows: "grow_from_one_to_two",
    a_fleet_that_shrinks: "shrink_from_two_to_one",
    a_rollback: "rollback",
    a_rollback_of_a_handover: "rollback_volume",
    a_removal: "remove_a_service",
    a_toggle_that_takes_orphans_away: "orphans_go",
    a_toggle_that_takes_orphans_away_beside_others: "orphans_of_nobody_else_go",
    a_deploy_after_one_that_was_cut_off: "half_switched",
    a_deploy_after_a_handover_that_was_cut_off: "cut_off_handover",
    a_toggle_without_a_server_that_is_out_of_reach: "behind_one_of_three",
    a_server_that_was_left_behind_and_is_brought_level: "behind_catch_up",
    a_first_deploy_that_takes_over_three_servers: "adopt_three_servers",
    a_first_deploy_that_takes_over_a_port_of_the_door: "adopt_three_servers_with_their_port",
    a_first_deploy_that_takes_over_a_public_port: "adopt_port_80_beside_a_neighbour",
    a_first_deploy_that_takes_over_a_volume_and_its_port: "adopt_volume_and_port",
    a_first_deploy_that_takes_over_a_volume_and_a_public_port: "adopt_volume_and_port_80",
    a_first_deploy_that_takes_over_host_ports: "adopt_host_port",
    a_toggle_with_a_server_that_was_left_behind: "behind_another_release_with_it",
    a_toggle_whose_old_side_stays_warm: "warm",
    a_toggle_onto_a_warm_side: "warm_third",
    a_rollback_to_a_warm_side: "warm_rollback",
    a_toggle_that_rolls: "rolling",
    a_toggle_that_rolls_over_two_levels: "rolling_two_levels",
    a_toggle_that_rolls_without_a_server: "rolling_without_one",
    a_toggle_that_rolls_and_brings_a_server_level: "rolling_brings_one_level",
    a_deploy_after_a_roll_that_was_cut_off: "rolling_half_switched",
    copies_that_fail_are_taken_out: "watch_out",
    copies_that_pass_are_taken_in_again: "watch_in_again",
    a_copy_that_fails_on_one_server: "watch_one_server",
}

/// The last server of the first service that moves cannot run its new release.
async fn fails(name: &str) {
    let mut case = case(name);
    let (plan, _) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
    let moving = plan.services.values().find(|service| matches!(service.change, Change::Toggle | Change::Create)).unwrap();
    let last = moving.servers.last().unwrap();
    case.servers.get_mut(last).unwrap().unhealthy.insert(moving.image.clone());
    case.name += ", failing";
    sweep(case, Verdict::PutBack).await;
}

#[tokio::test]
async fn a_toggle_that_fails() {
    fails("second_to_secondary_three_servers").await;
}

/// The new side is well, and does not listen at the port that its hosts would be served from.
#[tokio::test]
async fn a_toggle_whose_hosts_would_not_be_served() {
    let mut case = case("app_port_two_servers");
    case.servers.values_mut().for_each(|server| server.deaf.extend(["shop/broker:2".to_owned()]));
    case.name += ", failing";
    sweep(case, Verdict::PutBack).await;
}

/// The new side answers, and fails while it is watched.
#[tokio::test]
async fn a_toggle_that_fails_while_it_is_watched() {
    let mut case = case("watched");
    case.servers.values_mut().for_each(|server| server.short_lived.extend(["shop/api:2".to_owned()]));
    case.name += ", failing";
    sweep(case, Verdict::PutBack).await;
}

#[tokio::test]
async fn a_toggle_that_rolls_and_fails_in_its_last_batch() {
    fails("rolling").await;
}

#[tokio::test]
async fn a_first_deploy_that_fails() {
    fails("first_three_servers").await;
}

#[tokio::test]
async fn a_first_deploy_that_fails_to_take_over() {
    fails("adopt_three_servers").await;
}

#[tokio::test]
async fn a_first_deploy_that_fails_to_take_over_a_volume_and_a_public_port() {
    fails("adopt_volume_and_port_80").await;
}

#[tokio::test]
async fn a_first_deploy_that_fails_to_take_over_host_ports() {
    fails("adopt_host_port").await;
}

#[tokio::test]
async fn a_handover_that_fails() {
    fails("volume_handover_three_servers").await;
}

#[tokio::test]
async fn a_toggle_that_fails_before_orphans_go() {
    fails("orphans_go").await;
}

#[tokio::test]
async fn a_fleet_that_fails_to_grow() {
    fails("grow_from_one_to_two").await;
}
