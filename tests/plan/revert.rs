//! The reverts that a run leaves on servers before it switches: armed in time, confirmed before anything stops, and harmless whenever they
//! fire. Deliberately absent: the shell that carries them out (see `revert_scripts`), and resuming after one (see `sweep`).
use crate::cases::{case, plan};
use crate::driver::{Effect, Servers, Trouble, drive};
use crate::invariants::dead_routes;
use crate::runnable;
use flipside::facts::RevertState;
use flipside::model::{Action, ServerName, StepId, Verdict};
use flipside::plan::{Change, Intent, Level, Plan, WaveKind, revert_notes};
use flipside::remote::fake::FakeServer;
use std::collections::BTreeSet;

fn action<'a>(plan: &'a Plan, id: &StepId) -> &'a Action {
    &plan.step(id).unwrap().action
}

fn last(plan: &Plan, wanted: impl Fn(&Action) -> bool) -> StepId {
    plan.step_ids().filter(|id| wanted(action(plan, id))).last().unwrap()
}

#[test]
fn every_switch_but_those_of_first_deploys_and_handovers_can_go_back_by_itself() {
    let (mut n_armed, mut n_first, mut n_handed_over) = (0, 0, 0);
    for (case, plan) in runnable() {
        let mut armed: BTreeSet<ServerName> = BTreeSet::new();
        for (index, wave) in plan.waves.iter().enumerate().filter(|(_, wave)| wave.kind != WaveKind::Cleanup) {
            let ids = plan.step_ids().filter(|id| id.wave == index);
            let actions: Vec<(ServerName, &Action)> = ids.map(|id| (id.server.clone(), action(&plan, &id))).collect();
            let stops = actions.iter().any(|(_, action)| matches!(action, Action::StopContainer { .. }));
            if stops || actions.iter().any(|(_, action)| matches!(action, Action::Drain { .. })) {
                assert!(armed.is_empty(), "{}: {} begins while {armed:?} may go back", case.name, wave.name);
            }
            let hands_over =
                plan.services.values().any(|service| service.hands_over && service.from.is_some() && service.change != Change::Keep);
            let first = !plan.services.values().any(|service| service.from.is_some());
            for (server, action) in &actions {
                match action {
                    Action::ArmRevert { .. } => assert!(armed.insert(server.clone()), "{}: {server} is armed twice", case.name),
                    Action::ConfirmSwitch { .. } => assert!(armed.remove(server), "{}: {server} has nothing to confirm", case.name),
                    Action::Switch { .. } if first => n_first += 1,
                    Action::Switch { .. } if armed.contains(server) => n_armed += 1,
                    Action::Switch { .. } => {
                        assert!(hands_over, "{}: {server} switches in {} and has no way back", case.name, wave.name);
                        n_handed_over += 1;
                    }
                    _ => {}
                }
            }
        }
        assert!(armed.is_empty(), "{}: never confirmed: {armed:?}", case.name);
    }
    assert!(n_armed > 20 && n_first > 5 && n_handed_over > 3, "{n_armed} armed, {n_first} first, {n_handed_over} handed over");
}

#[test]
fn wherever_a_run_is_cut_off_going_back_makes_nothing_dead() {
    let mut problems = Vec::new();
    let mut n_back = 0;
    for (case, plan) in runnable() {
        for n_steps in 0..plan.n_steps() {
            let mut servers = case.servers.clone();
            drive(&plan, &mut servers, &Trouble { fails: None, cut_after: Some(n_steps) }, &mut |_, _| {});
            let waits = |server: &FakeServer| {
                server.base.revert.as_ref().is_some_and(|revert| server.base.nginx.live.as_ref() != Some(&revert.back))
            };
            if !servers.values().any(waits) {
                continue;
            }
            // What was dead before the run may be dead again.
            let mut before = dead_routes(&servers, &case.inventory, &case.playbook);
            let known = dead_routes(&case.servers, &case.inventory, &case.playbook);
            let n = go_back(&mut servers);
            before.extend(
                dead_routes(&servers, &case.inventory, &case.playbook)
                    .into_iter()
                    .filter(|(service, _)| known.iter().any(|(dead, _)| dead == service)),
            );
            let new: Vec<_> = dead_routes(&servers, &case.inventory, &case.playbook).difference(&before).cloned().collect();
            if n > 0 && !new.is_empty() {
                problems.push(format!("{}, cut off after {n_steps}: {new:?}", case.name));
            }
            n_back += n;
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(n_back > 50 || std::env::var_os("CASE").is_some(), "only {n_back} servers went back");
}

/// All leases are free, and the grace is over. How many servers put themselves back.
fn go_back(servers: &mut Servers) -> usize {
    for server in servers.values_mut() {
        server.base.lease = None;
        server.grace_is_over();
    }
    servers.values().filter(|server| server.base.revert.as_ref().is_some_and(|revert| revert.state == RevertState::Reverted)).count()
}

#[test]
fn nothing_is_confirmed_on_a_server_that_went_back_and_nothing_goes_back_under_a_lease() {
    let case = case("second_to_secondary_three_servers");
    let (plan, _) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
    let cut = Trouble {
        fails: None,
        cut_after: Some(plan.step_ids().position(|id| matches!(action(&plan, &id), Action::ConfirmSwitch { .. })).unwrap()),
    };
    let mut servers = case.servers.clone();
    drive(&plan, &mut servers, &cut, &mut |_, _| {});
    let confirm = plan.step_ids().find(|id| matches!(action(&plan, id), Action::ConfirmSwitch { .. })).unwrap();
    let server: &mut FakeServer = servers.get_mut(&confirm.server).unwrap();
    server.grace_is_over();
    assert!(server.apply(action(&plan, &confirm)).is_ok(), "the run holds the lease");
    assert_eq!(go_back(&mut servers), 2);
    let server = servers.values_mut().last().unwrap();
    let confirm = last(&plan, |action| matches!(action, Action::ConfirmSwitch { .. }));
    let seen = server.apply(action(&plan, &confirm));
    assert!(seen.is_err(), "{seen:?}");
}

#[test]
fn an_undo_is_watched_over_too() {
    let case = case("second_to_secondary_three_servers");
    let (plan, _) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
    let retire = last(&plan, |action| matches!(action, Action::StopContainer { .. }));
    let mut servers = case.servers.clone();
    let old = |servers: &Servers| servers.values().map(|server| server.base.nginx.live.clone()).collect::<Vec<_>>();
    let (before, mut known, mut n_back) = (old(&servers), old(&servers), 0);
    let ended = drive(&plan, &mut servers, &Trouble { fails: Some((retire, Effect::None)), cut_after: None }, &mut |step, servers| {
        let now = old(servers);
        for ((_, server), _) in
            servers.iter().zip(now.iter().zip(&known)).filter(|(_, (now, known))| now != known && step.contains("undo of"))
        {
            n_back += 1;
            assert!(server.base.revert.is_some(), "{step}: nobody watches");
        }
        known = now;
    });
    assert_eq!((ended.verdict, old(&servers), n_back), (Some(Verdict::PutBack), before, 3));
    assert!(servers.values().all(|server| server.base.revert.is_none()), "nothing is left armed");
}

#[test]
fn a_later_batch_that_fails_is_stopped_once_everybody_before_it_has_switched_back() {
    let case = case("rolling");
    let (plan, _) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
    let old = |servers: &Servers| servers.values().map(|server| server.base.nginx.live.clone()).collect::<Vec<_>>();
    let before = old(&case.servers);
    let mut n_seen = 0;
    for number in [2, 3] {
        let start = format!("start, batch {number} of 3");
        let wave = plan.waves.iter().position(|wave| wave.name == start).unwrap();
        for fails in plan.step_ids().filter(|id| id.wave == wave) {
            let trouble = Trouble { fails: Some((fails, Effect::Whole)), cut_after: None };
            let mut servers = case.servers.clone();
            let ended = drive(&plan, &mut servers, &trouble, &mut |step, servers| {
                if step.contains("undo of: start") {
                    assert_eq!(old(servers), before, "batch {number}: {step}");
                    n_seen += 1;
                }
            });
            assert_eq!(ended.verdict, Some(Verdict::PutBack));
        }
    }
    assert!(n_seen > 10, "{n_seen} undos");
}

#[test]
fn everybody_is_told_of_a_run_that_was_cut_off_and_the_next_run_takes_over() {
    let case = case("second_to_secondary_three_servers");
    let (cut_off, _) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
    let n_steps = cut_off.step_ids().position(|id| matches!(action(&cut_off, &id), Action::ConfirmSwitch { .. })).unwrap();
    let mut servers = case.servers.clone();
    drive(&cut_off, &mut servers, &Trouble { fails: None, cut_after: Some(n_steps - 1) }, &mut |_, _| {});
    let told = |servers: &Servers| -> Vec<(Level, String)> {
        let fleet = servers.iter().map(|(name, server)| (name.clone(), server.facts())).collect();
        revert_notes(&fleet).into_iter().map(|note| (note.level, note.text)).collect()
    };
    assert!(told(&servers).is_empty(), "a run that goes on is nobody's business");
    servers.values_mut().for_each(|server| server.base.lease = None);
    let notes = told(&servers);
    assert!(
        notes.len() == 3 && notes.iter().all(|(level, text)| *level == Level::Note && text.contains("will put itself back")),
        "{notes:?}"
    );

    // Another workstation is quick: what is armed is taken away under its lease, and a plan from before is refused.
    let (quick, findings) = plan(&case.playbook, &case.inventory, &servers, &case.ask);
    assert_eq!(quick.step_ids().filter(|id| *action(&quick, id) == Action::DisarmRevert).count(), 3);
    assert_eq!(findings.iter().filter(|finding| finding.text.contains("will put itself back")).count(), 3);
    let mut taken = servers.clone();
    assert_eq!(drive(&quick, &mut taken, &Trouble::default(), &mut |_, _| {}).verdict, Some(Verdict::Done));
    assert_eq!(go_back(&mut taken), 0);

    // It is slow: the servers have gone back, say so, and the plan from before is refused.
    let mut slow = servers.clone();
    assert_eq!(go_back(&mut slow), 3);
    assert!(told(&slow).iter().all(|(_, text)| text.contains("put itself back to generation")), "{:?}", told(&slow));
    let refused = drive(&quick, &mut slow.clone(), &Trouble::default(), &mut |_, _| {});
    assert_eq!(refused.verdict, Some(Verdict::PutBack), "{:?}", refused.log);
    let (again, _) = plan(&case.playbook, &case.inventory, &slow, &case.ask);
    assert_eq!(again.intent, Intent::Deploy);
    assert_eq!(drive(&again, &mut slow, &Trouble::default(), &mut |_, _| {}).verdict, Some(Verdict::Done));
    assert!(told(&slow).is_empty());

    // A server that was started anew watches no more, and that is said.
    for server in servers.values_mut() {
        server.base.revert.as_mut().unwrap().state = RevertState::Lost;
    }
    assert!(told(&servers).iter().all(|(level, text)| *level == Level::Warning && text.contains("started anew")), "{:?}", told(&servers));
    assert_eq!(go_back(&mut servers), 0);
}
