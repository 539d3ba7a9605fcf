//! A run that is held: a step failed, and nothing is undone until somebody decides. Deliberately absent: what comes after that, which is a
//! run like any other.
use super::next::Move;
use super::types::{Plan, Step, Wave, WaveKind};
use crate::config::OnFailure;
use crate::ledger::{Ledger, StepState};
use crate::model::{Action, StepId, Verdict, WaveIndex};

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
    let verdict = if ledger.first_failure.is_some() { Verdict::Held } else { Verdict::Waiting };
    if moves.is_empty() { vec![Move::Close(verdict)] } else { moves }
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

/// Nobody has said yet that the wave may begin.
pub(super) fn waits(ledger: &Ledger, index: WaveIndex, wave: &Wave) -> bool {
    match wave.kind {
        WaveKind::AfterPromotion => !ledger.promoted.contains(&index),
        WaveKind::Work | WaveKind::Unrouted | WaveKind::Cleanup => false,
    }
}

/// The wave that is next, where nothing has failed and it waits for somebody to let it begin.
#[must_use]
pub fn waits_for_promotion(plan: &Plan, ledger: &Ledger) -> Option<WaveIndex> {
    let goes_on = ledger.first_failure.is_none() && ledger.abort.is_none();
    let (index, wave) = plan.waves.iter().enumerate().find(|(index, _)| !ledger.passed.contains(index))?;
    (goes_on && waits(ledger, index, wave)).then_some(index)
}

/// The steps that waited until new containers were well, where requests are yet to be switched to these: a run that was cut off, is held or
/// waits for promotion may have been left for days, and nobody has asked them since; another workstation may have stopped them.
#[must_use]
pub fn asked_anew(plan: &Plan, ledger: &Ledger) -> Vec<StepId> {
    let is_to_switch = |id: &StepId| {
        let switches = plan.step(id).is_some_and(|step| matches!(step.action, Action::Switch { .. }));
        switches && ledger.state(id) != StepState::Done
    };
    let last = plan.step_ids().filter(is_to_switch).map(|id| id.wave).max();
    let is_asked = |id: &StepId| {
        let waits = plan.step(id).is_some_and(|step| matches!(step.action, Action::AwaitHealthy { .. }));
        waits && ledger.state(id) == StepState::Done && last.is_some_and(|last| id.wave < last)
    };
    plan.step_ids().filter(is_asked).collect()
}

/// The run goes on forward from where it was cut off, and there is something to ask once more before it does.
#[must_use]
pub fn is_asked_anew(plan: &Plan, ledger: &Ledger) -> bool {
    !ledger.unwinding() && waits_for_promotion(plan, ledger).is_none() && !asked_anew(plan, ledger).is_empty()
}

/// The run goes on forward when it is taken up: it is held, or died before that was written down.
#[must_use]
pub fn is_tried_again(plan: &Plan, ledger: &Ledger) -> bool {
    ledger.abort.is_none() && ledger.first_failure.is_some() && (ledger.held || holds(plan, ledger))
}
