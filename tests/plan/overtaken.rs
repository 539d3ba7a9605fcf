//! A run that was cut off may be taken up on a fleet that only this run has touched, and on no other.
use crate::cases::{Ask, Case, case, plan};
use crate::driver::{Servers, Trouble, drive};
use flipside::config::Inventory;
use flipside::ledger::Ledger;
use flipside::model::Action;
use flipside::plan::{Fleet, Plan, overtaken};

fn reasons(plan: &Plan, ledger: &Ledger, inventory: &Inventory, servers: &Servers) -> Vec<String> {
    let fleet: Fleet = servers.iter().map(|(name, server)| (name.clone(), server.facts())).collect();
    overtaken(plan, ledger, inventory, &fleet)
}

#[test]
fn a_run_goes_on_where_it_left_off_and_not_after_another_one() {
    for name in ["first_three_servers", "force", "grow_from_one_to_two"] {
        let case = case(name);
        let (cut_off, _) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
        for n_done in (0..cut_off.n_steps()).step_by(3) {
            let mut servers = case.servers.clone();
            let ended = drive(&cut_off, &mut servers, &Trouble { cut_after: Some(n_done), ..Trouble::default() }, &mut |_, _| {});
            assert_eq!(
                reasons(&cut_off, &ended.ledger, &case.inventory, &servers),
                Vec::<String>::new(),
                "{name}, cut off after {n_done} steps"
            );
        }

        // Somebody else finishes it from another workstation, and goes on to another release.
        let mut servers = case.servers.clone();
        drive(&cut_off, &mut servers, &Trouble::default(), &mut |_, _| {});
        let mut playbook = case.playbook.clone();
        for service in playbook.services.values_mut() {
            service.env.insert("ANOTHER".to_owned(), "release".to_owned());
        }
        let (other, _) = plan(&playbook, &case.inventory, &servers, &Ask::default());
        assert!(other.n_steps() > 0, "{name}");
        drive(&other, &mut servers, &Trouble::default(), &mut |_, _| {});
        let seen = reasons(&cut_off, &Ledger::default(), &case.inventory, &servers).join("\n");
        assert!(seen.contains("neither found nor made") && seen.contains("deployed after the run was cut off"), "{name}: {seen}");
    }
}

#[test]
fn a_run_does_not_go_on_with_another_inventory() {
    let case = case("force");
    let (cut_off, _) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
    let mut inventory = case.inventory.clone();
    inventory.servers.values_mut().for_each(|server| server.port = 2222);
    assert_eq!(reasons(&cut_off, &Ledger::default(), &inventory, &case.servers), ["the inventory is another one than that of the run"]);
}

#[test]
fn a_run_does_not_go_on_once_somebody_else_has_carried_out_the_same_plan() {
    let case = case("first_three_servers");
    let (cut_off, _) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
    let ended = drive(&cut_off, &mut case.servers.clone(), &Trouble { cut_after: Some(9), ..Trouble::default() }, &mut |_, _| {});
    let mut servers = case.servers.clone();
    drive(&cut_off, &mut servers, &Trouble::default(), &mut |_, _| {});
    let seen = reasons(&cut_off, &ended.ledger, &case.inventory, &servers).join("\n");
    assert!(seen.contains("which the run neither found nor made"), "{seen}");
}

/// The run of a case, cut off before its first step of this kind.
fn cut_off(name: &str, before: impl Fn(&Action) -> bool) -> (Case, Plan, Ledger, Servers) {
    let case = case(name);
    let (plan, _) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
    let cut_after = plan.step_ids().position(|id| before(&plan.step(&id).unwrap().action));
    let mut servers = case.servers.clone();
    let ended = drive(&plan, &mut servers, &Trouble { cut_after, ..Trouble::default() }, &mut |_, _| {});
    servers.values_mut().for_each(|server| server.base.lease = None);
    (case, plan, ended.ledger, servers)
}

#[test]
fn a_run_does_not_go_back_to_an_old_side_that_somebody_else_has_stopped() {
    let (case, cut_off, ledger, mut servers) =
        cut_off("second_to_secondary_three_servers", |action| matches!(action, Action::Drain { .. }));
    assert_eq!(reasons(&cut_off, &ledger, &case.inventory, &servers), Vec::<String>::new());
    // For somebody else the new side is the one that stays, and the old one is what a run left behind.
    let (tidy, _) = plan(&case.playbook, &case.inventory, &servers, &case.ask.whole());
    drive(&tidy, &mut servers, &Trouble::default(), &mut |_, _| {});
    let seen = reasons(&cut_off, &ledger, &case.inventory, &servers).join("\n");
    assert!(seen.contains("of the old side was stopped since the run was cut off"), "{seen}");
}

#[test]
fn a_run_does_not_go_on_where_another_one_has_taken_a_revert_over() {
    let (case, cut_off, ledger, mut servers) =
        cut_off("second_to_secondary_three_servers", |action| matches!(action, Action::ConfirmSwitch { .. }));
    let (last, server) = servers.iter_mut().last().unwrap();
    server.apply(&Action::DisarmRevert).unwrap();
    let wanted = format!("{last}: another run has taken it over since this one was cut off");
    assert_eq!(reasons(&cut_off, &ledger, &case.inventory, &servers), [wanted]);
}

#[test]
fn the_next_run_takes_over_and_drains_also_where_the_last_route_was_taken_away() {
    let (case, cut_off, _, servers) = cut_off("remove_a_service", |action| matches!(action, Action::ConfirmSwitch { .. }));
    let (again, _) = plan(&case.playbook, &case.inventory, &servers, &case.ask.again());
    let n = |plan: &Plan, wanted: fn(&Action) -> bool| plan.step_ids().filter(|id| wanted(&plan.step(id).unwrap().action)).count();
    let drains = |action: &Action| matches!(action, Action::Drain { .. });
    assert_eq!((n(&again, drains), n(&again, |action| *action == Action::DisarmRevert)), (n(&cut_off, drains), servers.len()));
    assert!(n(&again, drains) > 0);
}
