//! A run that is held: a step failed, and nothing is undone until somebody decides. Deliberately absent: what comes after that, which is a
//! run like any other.
use super::next::Move;
use super::types::{Plan, Step};
use crate::config::OnFailure;
use crate::ledger::{Ledger, StepState};
use crate::model::{Action, StepId, Verdict};

/// The plan wants what failed to stay as it is, and there is something that can. Before the servers are ours nothing is to be held.
pub(super) fn holds(plan: &Plan, ledger: &Ledger) -> bool {
    let is_ours = |step: &Step| !matches!(step.action, Action::Lock | Action::ConfirmFacts { .. } | Action::DisarmRevert);
    let failed = ledger.first_failure.as_ref().and_then(|id| plan.step(id));
    match plan.on_failure {
        OnFailure::Rollback => false,
        OnFailure::Hold => ledger.abort.is_none() && failed.is_some_and(is_ours),
    }
}

/// What would put servers back once the run has ended is taken away, and then it ends: nobody but a person decides.
pub(super) fn disarm(plan: &Plan, ledger: &Ledger) -> Vec<Move> {
    let is_busy = plan.step_ids().any(|id| ledger.state(&id) == StepState::Undoing);
    if ledger.runs() || is_busy {
        return Vec::new();
    }
    let moves: Vec<Move> = plan.step_ids().filter(|id| is_armed(plan, ledger, id)).map(Move::Undo).collect();
    if moves.is_empty() { vec![Move::Close(Verdict::Held)] } else { moves }
}

/// The step has left a revert on its server, or may have, and no later step has confirmed what it would put back.
fn is_armed(plan: &Plan, ledger: &Ledger, id: &StepId) -> bool {
    let arms = plan.step(id).is_some_and(|step| matches!(step.action, Action::ArmRevert { .. }));
    let has_begun = matches!(ledger.state(id), StepState::Done | StepState::Failed | StepState::Unknown);
    let mut later = plan.step_ids().filter(|other| other.server == id.server && other.wave > id.wave);
    arms && has_begun
        && !later.any(|other| {
            let confirms = plan.step(&other).is_some_and(|step| matches!(step.action, Action::ConfirmSwitch { .. }));
            confirms && ledger.state(&other) == StepState::Done
        })
}

/// The run goes on forward when it is taken up: it is held, or died before that was written down.
#[must_use]
pub fn is_tried_again(plan: &Plan, ledger: &Ledger) -> bool {
    ledger.abort.is_none() && (ledger.held || holds(plan, ledger))
}
