//! Whether a run that was cut off may still be taken up: a fleet that somebody else deployed to since would be damaged by its remaining
//! steps, and one that went back by itself must be undone. Deliberately absent: doing so.
use super::containers::digest;
use super::next::past_undoing;
use super::present::Fleet;
use super::types::{Change, Plan, Step, UndoKind};
use crate::config::Inventory;
use crate::facts::{Facts, RevertState};
use crate::ledger::{Ledger, StepState};
use crate::model::{Action, ContainerSpec, GenerationId, ServerName, StepId, label};

/// Why a run of this plan must not go on, one sentence a reason; empty when it may.
///
/// It may when the inventory is the one of the plan, when each server's NGINX serves a generation that this run found or made there, and
/// when no container of its project and environment is of a later release. What other projects have deployed since is no reason, in a plan
/// that is [`super::rebased`] on it. A generation is named by its content: one that this run would have made, and by its ledger has not begun
/// to, was made by somebody else's run of the same playbook. A server that does not answer gives no reason. And every container that it has
/// started is still there, unless it is on its way back; and what it has not stopped of the old side runs; and no other run has taken away
/// the revert of a server that has switched.
#[must_use]
pub fn overtaken(plan: &Plan, ledger: &Ledger, inventory: &Inventory, fleet: &Fleet) -> Vec<String> {
    let mut reasons = Vec::new();
    if !is_same_inventory(plan, inventory) {
        reasons.push("the inventory is another one than that of the run".to_owned());
    }
    let release = releases(plan).max();
    for (server, facts) in fleet {
        let known = generations(plan, ledger, server);
        let restores = is_to_restore(plan, ledger, server);
        if let Some(live) = facts.nginx.live.as_ref().filter(|live| !restores && !known.is_empty() && !known.contains(live)) {
            reasons.push(format!("{server}: NGINX serves generation {live}, which the run neither found nor made"));
        }
        let later = facts.containers.iter().find(|container| {
            let is = |key: &str, value: &str| container.labels.get(key).is_some_and(|found| found == value);
            let found: Option<u64> = container.labels.get(label::RELEASE).and_then(|text| text.parse().ok());
            is(label::PROJECT, plan.project.as_str()) && is(label::ENV, plan.env.as_str()) && release.is_some() && found > release
        });
        if let Some(later) = later {
            reasons.push(format!("{server}: {} is of a release that was deployed after the run was cut off", later.name));
        }
        reasons.extend(missing(plan, ledger, server, facts));
        reasons.extend(stopped(plan, ledger, server, facts));
        reasons.extend(taken_over(plan, ledger, server, facts));
    }
    reasons
}

/// The run was planned with this inventory.
#[must_use]
pub fn is_same_inventory(plan: &Plan, inventory: &Inventory) -> bool {
    digest(inventory) == plan.basis.inventory
}

/// The servers that went back to the generation from before while the run was cut off: what it has switched is not what they serve any
/// more; and those where the shell that would do so is gone, so that nobody would put them back if the run died again. One sentence each; a
/// run with any is to be undone.
#[must_use]
pub fn back_by_themselves(plan: &Plan, ledger: &Ledger, fleet: &Fleet) -> Vec<String> {
    let mut reasons = Vec::new();
    for (server, facts) in fleet {
        let (mut armed, mut switched) = (None, None);
        for id in plan.step_ids().filter(|id| id.server == *server && ledger.state(id) != StepState::Pending) {
            let Some(step) = plan.step(&id) else { continue };
            match (&step.action, ledger.state(&id)) {
                (Action::ArmRevert { back, .. }, StepState::Done) => (armed, switched) = (Some(back), None),
                (Action::Switch { to, .. }, StepState::Done) => switched = Some(to),
                (Action::ConfirmSwitch { .. }, _) => armed = None,
                _ => {}
            }
        }
        let Some(back) = armed else { continue };
        let watches = facts.revert.as_ref().is_some_and(|revert| revert.state == RevertState::Watching);
        if let Some(switched) = switched.filter(|_| facts.nginx.live.as_ref() == Some(back)) {
            reasons.push(format!("{server} put itself back from generation {switched} to {back}, since the run was cut off"));
        } else if !watches && !ledger.held {
            reasons.push(format!("{server} has no revert any more that would put it back if this run ended again"));
        }
    }
    reasons
}

/// Containers that the run has started on the server, and that somebody else has taken away or set aside since.
fn missing(plan: &Plan, ledger: &Ledger, server: &ServerName, facts: &Facts) -> Vec<String> {
    let of_run = |spec: &ContainerSpec| {
        let release = spec.labels.get(label::RELEASE);
        facts.containers.iter().any(|container| container.name == spec.name && container.labels.get(label::RELEASE) == release)
    };
    let here = || plan.step_ids().filter(|id| id.server == *server);
    let removes = |id: &StepId, gone: &str| {
        let is_it = |step: &Step| matches!(&step.action, Action::RemoveContainer { name, .. } if name == gone);
        ledger.state(id) != StepState::Pending && plan.step(id).is_some_and(is_it)
    };
    let started = here().filter(|id| !ledger.unwinding() && ledger.state(id) == StepState::Done);
    let specs = started.filter_map(|id| match &plan.step(&id)?.action {
        Action::RunContainer(spec) if !of_run(spec) && !here().any(|id| removes(&id, &spec.name)) => Some(spec),
        _ => None,
    });
    specs.map(|spec| format!("{server}: {}, which the run started, is not there any more", spec.name)).collect()
}

/// Containers of the old side that are gone, or that the run has not stopped, or has started again, and that do not run: somebody took the
/// new side for the one that stays. There would be no way back.
fn stopped(plan: &Plan, ledger: &Ledger, server: &ServerName, facts: &Facts) -> Vec<String> {
    let here = plan.step_ids().filter(|id| id.server == *server && !past_undoing(plan, ledger));
    let stops = here.filter_map(|id| match plan.step(&id)? {
        Step { action: Action::StopContainer { name, .. }, undo_kind: UndoKind::Restores, .. } => Some((ledger.state(&id), name)),
        _ => None,
    });
    let gone = stops.filter(|(state, name)| match facts.containers.iter().find(|container| container.name == **name) {
        None => true,
        Some(there) => matches!(state, StepState::Pending | StepState::Undone) && there.state.is_stopped(),
    });
    gone.map(|(_, name)| format!("{server}: {name} of the old side was stopped since the run was cut off, and not by it")).collect()
}

/// Where the server serves what this run has switched to and its revert is gone without a trace, another run has taken it over. What that
/// one did next cannot be told from here: what the server would go back to may be stopped by now.
fn taken_over(plan: &Plan, ledger: &Ledger, server: &ServerName, facts: &Facts) -> Option<String> {
    let mut armed = None;
    for id in plan.step_ids().filter(|id| id.server == *server) {
        match (&plan.step(&id)?.action, ledger.state(&id)) {
            (Action::ArmRevert { to, .. }, StepState::Done) => armed = Some(to),
            (Action::ConfirmSwitch { .. }, StepState::Pending) => {}
            (Action::ConfirmSwitch { .. }, _) => armed = None,
            _ => {}
        }
    }
    let live = facts.nginx.live.as_ref()?;
    let taken = !ledger.unwinding() && !ledger.held && facts.revert.is_none() && armed?.contains(live);
    taken.then(|| format!("{server}: another run has taken it over since this one was cut off"))
}

/// The run is yet to lead the server's link back: it found one that leads elsewhere.
pub(super) fn is_to_restore(plan: &Plan, ledger: &Ledger, server: &ServerName) -> bool {
    let mut here = plan.step_ids().filter(|id| id.server == *server && ledger.state(id) != StepState::Done);
    here.any(|id| plan.step(&id).is_some_and(|step| matches!(step.action, Action::RestoreGeneration { .. })))
}

/// The generations that this run found on the server, first, and has begun to make live there, in order.
pub(super) fn generations<'a>(plan: &'a Plan, ledger: &Ledger, server: &ServerName) -> Vec<&'a GenerationId> {
    let mut known = Vec::new();
    for id in plan.step_ids().filter(|id| id.server == *server) {
        if let Some(Action::Switch { expect, to }) = plan.step(&id).map(|step| &step.action) {
            if known.is_empty() {
                known.extend(expect);
            }
            if ledger.state(&id) != StepState::Pending {
                known.push(to);
            }
        }
    }
    known
}

fn actions(plan: &Plan) -> impl Iterator<Item = (&ServerName, &Action)> {
    plan.waves.iter().flat_map(|wave| &wave.servers).flat_map(|(server, steps)| steps.iter().map(move |step| (server, &step.action)))
}

/// The releases of the containers that the plan starts.
fn releases(plan: &Plan) -> impl Iterator<Item = u64> {
    // What servers had missed is as old as what the others have.
    let is_new = |spec: &ContainerSpec| {
        let service = spec.labels.get(label::SERVICE).and_then(|name| plan.services.iter().find(|(there, _)| there.as_str() == name));
        service.is_none_or(|(_, service)| service.change != Change::CatchUp)
    };
    actions(plan).filter_map(move |(_, action)| match action {
        Action::RunContainer(spec) if is_new(spec) => spec.labels.get(label::RELEASE)?.parse().ok(),
        _ => None,
    })
}
