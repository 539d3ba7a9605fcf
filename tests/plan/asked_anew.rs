//! A run that has waited for somebody asks the new containers once more before it leads all requests to them: one may have ceased to be well
//! meanwhile. Deliberately absent: mishaps on the way, which are those of any run (see `sweep`).
use crate::baseline::Baseline;
use crate::cases::{Case, case, plan};
use crate::driver::Servers;
use crate::engine::{Mishap, Way, Workstation, unleased};
use crate::invariants::snapshot;
use flipside::model::{Action, StepId, Verdict};
use flipside::plan::Plan;
use flipside::remote::fake::Fate;
use std::sync::Arc;

const NEW: &str = "shop/api:2";

fn ready(name: &str) -> (Arc<Case>, Baseline, Plan, Workstation) {
    let mut case = case(name);
    case.servers = unleased(&case.servers);
    let (plan, _) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
    let base = Baseline::new(&case, &case.servers);
    (Arc::new(case), base, plan, Workstation::new("this workstation"))
}

/// The new copy on one server hangs from now on.
fn hangs(servers: &Servers) -> Servers {
    let mut servers = unleased(servers);
    servers.values_mut().take(1).for_each(|server| server.unhealthy.extend([NEW.to_owned()]));
    servers
}

/// How often something was done, or undone, that gives the new side all requests.
fn switches(plan: &Plan, steps: &[StepId]) -> usize {
    let is_switch = |id: &StepId| matches!(plan.step(id).unwrap().action, Action::Switch { .. });
    let last = plan.step_ids().filter(is_switch).map(|id| id.wave).max().unwrap();
    steps.iter().filter(|id| id.wave == last && is_switch(id)).count()
}

#[tokio::test]
async fn a_canary_of_which_a_copy_hangs_by_now_is_not_promoted() {
    let (case, base, plan, station) = ready("canary_that_waits");
    let waits = station.run(&case, &base, &plan, case.servers.clone(), Mishap::None).await;
    assert_eq!(waits.verdict, Some(Verdict::Waiting));
    let back = station.take_up(&case, &base, hangs(&waits.servers), Way::Promote, Mishap::None).await.unwrap();
    assert_eq!((back.verdict, switches(&plan, &back.steps)), (Some(Verdict::PutBack), 0), "{:?}", back.faults);
    assert_eq!(snapshot(&back.servers, &case.playbook), snapshot(&case.servers, &case.playbook));
}

#[tokio::test]
async fn a_run_that_was_cut_off_before_its_switch_does_not_switch_to_a_copy_that_hangs_by_now() {
    let (case, base, plan, station) = ready("second_to_secondary_three_servers");
    let calm = station.run(&case, &base, &plan, case.servers.clone(), Mishap::Record).await;
    let last = calm.steps.iter().rposition(|id| matches!(plan.step(id).unwrap().action, Action::AwaitHealthy { .. })).unwrap();
    let moment = &calm.moments[2 * last + 2];
    station.rewind(&calm.journal[..moment.journal]);
    let back = station.resume(&case, &base, hangs(&moment.servers), Mishap::None).await;
    // Which of the switches had begun nobody knows: they are undone.
    assert_eq!((back.verdict, &back.faults), (Some(Verdict::PutBack), &Vec::new()));
    assert_eq!(snapshot(&back.servers, &case.playbook), snapshot(&case.servers, &case.playbook));
    // Where all of them are well the run goes on to its end.
    station.rewind(&calm.journal[..moment.journal]);
    let done = station.resume(&case, &base, unleased(&moment.servers), Mishap::None).await;
    assert_eq!((done.verdict, &done.faults), (Some(Verdict::Done), &Vec::new()));
}

#[tokio::test]
async fn a_run_that_is_held_goes_on_once_its_copies_are_well_again() {
    let (case, base, plan, station) = ready("held");
    let calm = station.run(&case, &base, &plan, case.servers.clone(), Mishap::None).await;
    let after = snapshot(&calm.servers, &case.playbook);
    let first = calm.steps.iter().position(|id| matches!(plan.step(id).unwrap().action, Action::Switch { .. })).unwrap();
    let held = station.run(&case, &base, &plan, case.servers.clone(), Mishap::Once(first, Fate::Fails)).await;
    assert_eq!(held.verdict, Some(Verdict::Held));
    let again = station.take_up(&case, &base, hangs(&held.servers), Way::On, Mishap::None).await.unwrap();
    assert_eq!((again.verdict, switches(&plan, &again.steps)), (Some(Verdict::Held), 0), "{:?}", again.faults);
    let mut servers = unleased(&again.servers);
    servers.values_mut().for_each(|server| server.unhealthy.clear());
    let done = station.take_up(&case, &base, servers, Way::On, Mishap::None).await.unwrap();
    assert_eq!((done.verdict, snapshot(&done.servers, &case.playbook)), (Some(Verdict::Done), after), "{:?}", done.faults);
    assert_eq!(switches(&plan, &done.steps), 1, "on the server where it had failed");
}
