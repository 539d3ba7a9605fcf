//! Which requests are sent when, and which failures count: `api` moves on two servers, `db` is handed over, `web` is new, `old` leaves `s2`.
use super::super::sample::deploy_of;
use super::*;
use crate::model::{Failure, Millis, ProbeAsk, ProbeKind, Protocol, RouteCheck, ServerName, Side, Verdict};
use crate::plan::{Change, ServicePlan, Step, UndoKind, Wave};
use std::collections::BTreeSet;

fn server(name: &str) -> ServerName {
    ServerName::new(name).unwrap()
}

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

fn at(name: &str, machine: &str) -> ProbeAt {
    ProbeAt { service: service(name), server: server(machine) }
}

fn step(of: Option<&str>, action: Action) -> Step {
    let service = of.map(service);
    Step {
        title: "step".to_owned(),
        service,
        first: Vec::new(),
        action,
        undo: Vec::new(),
        undo_kind: UndoKind::Restores,
        within: Millis::seconds(1),
    }
}

fn check(name: &str) -> Step {
    let check = RouteCheck { service: name.to_owned(), socket: String::new(), kind: ProbeKind::Tcp, deadline: Millis::seconds(1) };
    step(Some(name), Action::CheckRoute(check))
}

fn switch() -> Step {
    step(None, Action::Switch { expect: None, to: GenerationId("new".to_owned()) })
}

fn wave(name: &str, kind: WaveKind, servers: &[(&str, Vec<Step>)]) -> Wave {
    Wave { name: name.to_owned(), kind, servers: servers.iter().map(|(name, steps)| (server(name), steps.clone())).collect() }
}

fn planned(change: Change, hands_over: bool) -> ServicePlan {
    ServicePlan {
        change,
        reason: String::new(),
        image: String::new(),
        protocol: Protocol::Http,
        from: (change != Change::Create).then_some(Side::Primary),
        to: Some(Side::Secondary),
        from_version: None,
        to_version: None,
        servers: BTreeSet::new(),
        replicas: 1,
        port: Some(8000),
        base_ports: BTreeMap::new(),
        app_port: None,
        app_base_ports: BTreeMap::new(),
        internal_port: Some(5123),
        hands_over,
        takes_over: BTreeMap::new(),
    }
}

const STOP: usize = 1;
const SWITCH: usize = 2;
const RETIRE: usize = 3;
const FINISH: usize = 4;

fn plan() -> Plan {
    let lock = || vec![step(None, Action::Lock)];
    let stop = |name: &str| vec![step(Some(name), Action::StopContainer { name: name.to_owned(), timeout: Millis::seconds(1) })];
    let work = WaveKind::Work;
    let services = BTreeMap::from([
        (service("api"), planned(Change::Toggle, false)),
        (service("db"), planned(Change::Toggle, true)),
        (service("web"), planned(Change::Create, false)),
    ]);
    let waves = vec![
        wave("lock", work, &[("s1", lock()), ("s2", lock())]),
        wave("stop", work, &[("s1", stop("db"))]),
        wave("switch", work, &[("s1", vec![switch(), check("api"), check("db"), check("web")]), ("s2", vec![switch(), check("api")])]),
        wave("retire", work, &[("s1", stop("api"))]),
        wave("finish", WaveKind::Cleanup, &[("s1", vec![step(None, Action::PruneGenerations { keep: 5, stems: String::new() })])]),
    ];
    deploy_of(services, waves)
}

fn probed(name: &str, machine: &str, is_live: bool) -> Probed {
    let ask = ProbeAsk::Tcp;
    let target = ProbeTarget { at: at(name, machine), door: None, socket: String::new(), ask, within: Millis::seconds(5) };
    let leaves_with = (name == "old").then(|| GenerationId("new".to_owned()));
    Probed { target, is_live, leaves_with }
}

fn watched() -> Probes {
    let targets = vec![
        probed("api", "s1", true),
        probed("api", "s2", true),
        probed("db", "s1", true),
        probed("web", "s1", false),
        probed("old", "s2", true),
    ];
    Probes::new(&plan(), &Ledger::default(), targets, BTreeMap::new(), 0)
}

/// Where requests begin (`+`) and end (`-`) after an event.
fn orders(probes: &mut Probes, kind: EventKind, when: u64) -> Vec<String> {
    let name = |at: &ProbeAt| format!("{} {}", at.service, at.server);
    let text = |order: Order| match order {
        Order::Begin(target) => format!("+{}", name(&target.at)),
        Order::End(at) => format!("-{}", name(&at)),
        Order::EndAll => "-".to_owned(),
    };
    probes.event(&plan(), &Event { seq: 0, at: when, kind }).into_iter().map(text).collect()
}

fn id(wave: usize, machine: &str, index: usize) -> StepId {
    StepId { wave, server: server(machine), index }
}

fn started(wave: usize, machine: &str) -> EventKind {
    EventKind::StepStarted { step: id(wave, machine, 0) }
}

fn done(wave: usize, machine: &str, index: usize) -> EventKind {
    EventKind::StepEnded { step: id(wave, machine, index), outcome: Outcome::Done { seen: String::new() } }
}

fn sample(name: &str, machine: &str, began: u64, answer: Answer) -> Sample {
    Sample { at: at(name, machine), began, took: Millis(10), answer }
}

fn bad() -> Answer {
    Answer::Bad("status 502".to_owned())
}

#[test]
fn what_is_live_is_asked_while_the_locks_are_held_and_what_is_new_once_the_mesh_reaches_it() {
    let mut probes = watched();
    let nothing: [&str; 0] = [];
    assert_eq!(orders(&mut probes, started(0, "s1"), 1), nothing, "not before the locks");
    assert_eq!(orders(&mut probes, EventKind::GatePassed { wave: 0 }, 2), ["+api s1", "+api s2", "+db s1", "+old s2"]);
    assert_eq!(orders(&mut probes, started(SWITCH, "s1"), 3), nothing);
    assert_eq!(orders(&mut probes, started(SWITCH, "s2"), 3), ["-old s2"], "its route goes away there");
    assert_eq!(orders(&mut probes, done(SWITCH, "s1", 1), 4), nothing);
    assert_eq!(orders(&mut probes, done(SWITCH, "s1", 3), 4), ["+web s1"]);
    assert_eq!(orders(&mut probes, EventKind::GatePassed { wave: SWITCH }, 5), nothing);
    assert_eq!(
        orders(&mut probes, EventKind::GatePassed { wave: RETIRE }, 6),
        ["-"],
        "before anything is tidied up and any lock is let go"
    );
}

#[test]
fn one_failure_too_many_undoes_the_run_once_and_says_where() {
    let mut probes = watched();
    orders(&mut probes, EventKind::GatePassed { wave: 0 }, 2);
    assert_eq!(probes.sample(&sample("api", "s1", 10, Answer::Good)), None);
    assert_eq!(probes.sample(&sample("api", "s1", 20, Answer::Unmeasured("lost".to_owned()))), None, "no failed request");
    orders(&mut probes, started(SWITCH, "s1"), 25);
    let reason = probes.sample(&sample("api", "s1", 30, bad())).unwrap();
    assert_eq!(reason, "1 of 2 probes failed, and --probe-budget allows 0: api through s1's NGINX: status 502");
    assert_eq!(probes.tally.failures[0].wave, "switch");
    assert_eq!(probes.sample(&sample("api", "s1", 40, bad())), None, "once");
    // It is counted on while the run is undone; what was new is not asked any more.
    assert_eq!(orders(&mut probes, EventKind::UndoStarted { step: id(SWITCH, "s1", 0) }, 50), ["-web s1"]);
    assert_eq!(probes.sample(&sample("web", "s1", 45, bad())), None);
    probes.sample(&sample("api", "s2", 52, Answer::Good));
    probes.sample(&sample("api", "s2", 55, bad()));
    assert_eq!((probes.tally.total().failed, probes.tally.failures[2].wave.as_str()), (3, "undo switch"));
}

#[test]
fn a_budget_is_what_may_fail() {
    let mut probes = watched();
    probes.tally.budget = 2;
    orders(&mut probes, EventKind::GatePassed { wave: 0 }, 2);
    probes.sample(&sample("api", "s1", 10, Answer::Good));
    let asked: Vec<bool> = (20..24).map(|when| probes.sample(&sample("api", "s1", when, bad())).is_some()).collect();
    assert_eq!(asked, [false, false, true, false]);
}

#[test]
fn what_is_handed_over_may_fail_from_its_stop_to_its_first_answer_and_nobody_else_may() {
    let mut probes = watched();
    orders(&mut probes, EventKind::GatePassed { wave: 0 }, 2);
    for name in ["db", "api"] {
        probes.sample(&sample(name, "s1", 10, Answer::Good));
    }
    orders(&mut probes, started(STOP, "s1"), 100);
    // Under way when it was stopped, in the gap, and under way at its end.
    for when in [95, 150, 299] {
        assert_eq!(probes.sample(&sample("db", "s1", when, bad())), None);
    }
    orders(&mut probes, done(SWITCH, "s1", 2), 300);
    assert_eq!(probes.sample(&sample("db", "s1", 300, bad())), None);
    let total = probes.tally.total();
    assert_eq!((total.in_gap, total.failed), (4, 0));
    assert!(probes.sample(&sample("db", "s1", 301, bad())).is_some(), "afterwards it answers");
    let mut other = watched();
    other.sample(&sample("api", "s1", 10, Answer::Good));
    orders(&mut other, started(STOP, "s1"), 100);
    assert!(other.sample(&sample("api", "s1", 150, bad())).is_some(), "the gap is that of db alone");
}

#[test]
fn a_service_that_was_down_before_the_run_is_no_reason_to_undo_it_until_it_has_answered() {
    let mut probes = watched();
    orders(&mut probes, EventKind::GatePassed { wave: 0 }, 2);
    assert_eq!(probes.sample(&sample("api", "s1", 10, bad())), None);
    assert_eq!(probes.tally.total().early, 1);
    orders(&mut probes, done(SWITCH, "s1", 1), 50);
    assert_eq!(probes.sample(&sample("api", "s1", 45, bad())), None, "begun before the mesh was seen to reach it");
    assert!(probes.sample(&sample("api", "s1", 51, bad())).is_some());
}

#[test]
fn past_the_last_gate_nothing_is_undone_but_everything_is_counted() {
    let mut probes = watched();
    orders(&mut probes, EventKind::GatePassed { wave: 0 }, 2);
    probes.sample(&sample("api", "s1", 10, Answer::Good));
    orders(&mut probes, EventKind::GatePassed { wave: RETIRE }, 90);
    orders(&mut probes, started(FINISH, "s1"), 91);
    assert_eq!(probes.sample(&sample("api", "s1", 85, bad())), None);
    assert_eq!(probes.tally.total().failed, 1);
    assert_eq!(orders(&mut probes, EventKind::RunClosed { verdict: Verdict::Done }, 99), ["-"]);
    // A step that fails turns the run before any probe does.
    let mut failed = watched();
    failed.sample(&sample("api", "s1", 10, Answer::Good));
    let failure = EventKind::StepEnded { step: id(STOP, "s1", 0), outcome: Outcome::Failed(Failure::default()) };
    orders(&mut failed, failure, 20);
    assert_eq!(failed.sample(&sample("api", "s1", 30, bad())), None);
}

#[test]
fn a_run_that_is_resumed_is_watched_at_once_and_knows_what_was_stopped() {
    let plan = plan();
    let mut ledger = Ledger::default();
    let kinds = [
        EventKind::RunOpened { run: "r".to_owned(), plan: "p".to_owned() },
        EventKind::GatePassed { wave: 0 },
        started(STOP, "s1"),
        done(STOP, "s1", 0),
    ];
    for (seq, kind) in (0..).zip(kinds) {
        ledger.apply(&Event { seq, at: 0, kind }).unwrap();
    }
    let mut probes = Probes::new(&plan, &ledger, vec![probed("db", "s1", true)], BTreeMap::new(), 0);
    assert_eq!(probes.begin(&ledger).len(), 1);
    assert_eq!(probes.sample(&sample("db", "s1", 10, bad())), None);
    assert_eq!(probes.tally.total().in_gap, 1);
}
