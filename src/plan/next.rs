//! The one decision: what comes next, given all that should happen and all that has happened.
//! A fresh run, a resumed run and an unwinding run are the same question with a different ledger.
use super::types::{Plan, Step, UndoKind, Wave, WaveKind};
use crate::ledger::{Ledger, StepState};
use crate::model::{Action, ServerName, StepId, Verdict, WaveIndex};

/// One thing that the run does next. Moves of one server in one answer are in order and may travel together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// Perform the step.
    Do(StepId),
    /// Nobody saw how the step ended: look, and perform it if it is not done.
    Recheck(StepId),
    /// Take the step back.
    Undo(StepId),
    /// Every step of the wave is done.
    PassGate(WaveIndex),
    /// The run is over.
    Close(Verdict),
}

/// What comes next. Empty while nothing can be begun before something that runs has ended, and after the end.
#[must_use]
pub fn next(plan: &Plan, ledger: &Ledger) -> Vec<Move> {
    if ledger.closed.is_some() {
        return Vec::new();
    }
    if ledger.unwinding() && !past_undoing(plan, ledger) { backward(plan, ledger) } else { forward(plan, ledger) }
}

/// A wave of cleaning up has begun: everything that matters is done, and the run can only be finished.
#[must_use]
pub fn past_undoing(plan: &Plan, ledger: &Ledger) -> bool {
    plan.waves
        .iter()
        .enumerate()
        .filter(|(_, wave)| wave.kind == WaveKind::Cleanup)
        .any(|(index, wave)| ids(index, wave).any(|(id, _)| ledger.state(&id) != StepState::Pending))
}

fn forward(plan: &Plan, ledger: &Ledger) -> Vec<Move> {
    let Some((index, wave)) = plan.waves.iter().enumerate().find(|(index, _)| !ledger.passed.contains(index)) else {
        let leftovers = plan.step_ids().any(|id| ledger.state(&id) != StepState::Done);
        return vec![Move::Close(if leftovers { Verdict::DoneWithLeftovers } else { Verdict::Done })];
    };
    let mut moves = Vec::new();
    let mut complete = true;
    for (server, steps) in &wave.servers {
        let (server_moves, server_complete) = forward_on(index, wave.kind, server, steps, ledger);
        moves.extend(server_moves);
        complete &= server_complete;
    }
    if complete { vec![Move::PassGate(index)] } else { moves }
}

fn forward_on(wave: WaveIndex, kind: WaveKind, server: &ServerName, steps: &[Step], ledger: &Ledger) -> (Vec<Move>, bool) {
    let mut moves = Vec::new();
    for index in 0..steps.len() {
        let id = StepId { wave, server: server.clone(), index };
        match ledger.state(&id) {
            StepState::Done => {}
            StepState::Failed if kind == WaveKind::Cleanup => {}
            StepState::Pending => moves.push(Move::Do(id)),
            StepState::Unknown => {
                if moves.is_empty() {
                    moves.push(Move::Recheck(id));
                }
                return (moves, false);
            }
            StepState::Running | StepState::Failed | StepState::Undoing | StepState::Undone | StepState::UndoFailed => {
                return (Vec::new(), false);
            }
        }
    }
    let complete = moves.is_empty();
    (moves, complete)
}

fn backward(plan: &Plan, ledger: &Ledger) -> Vec<Move> {
    if plan.step_ids().any(|id| matches!(ledger.state(&id), StepState::Running)) {
        return Vec::new();
    }
    let stuck = plan.step_ids().any(|id| is_stuck(plan, ledger, &id));
    let gone = old_side_gone(plan, ledger);
    for (index, wave) in plan.waves.iter().enumerate().rev() {
        let mut moves = Vec::new();
        let mut busy = false;
        for (server, steps) in &wave.servers {
            let server_stuck = (0..plan.waves.len()).any(|w| {
                let n_steps = plan.waves[w].servers.get(server).map_or(0, Vec::len);
                (0..n_steps).any(|i| is_stuck(plan, ledger, &StepId { wave: w, server: server.clone(), index: i }))
            });
            for (position, step) in steps.iter().enumerate().rev() {
                let id = StepId { wave: index, server: server.clone(), index: position };
                match ledger.state(&id) {
                    StepState::Undoing => busy = true,
                    StepState::Done | StepState::Failed | StepState::Unknown => {
                        let skipped = step.undo.is_empty()
                            || match step.undo_kind {
                                UndoKind::Restores => {
                                    server_stuck || gone.is_some_and(|wave| index < wave) || second_writer(plan, ledger, &id, step)
                                }
                                UndoKind::Cleans => stuck,
                            };
                        if !skipped {
                            moves.push(Move::Undo(id));
                        }
                    }
                    StepState::Pending | StepState::Running | StepState::Undone | StepState::UndoFailed => {}
                }
            }
        }
        if busy {
            return Vec::new();
        }
        if !moves.is_empty() {
            return moves;
        }
    }
    vec![Move::Close(if stuck { Verdict::Stuck } else { Verdict::PutBack })]
}

/// The wave that stopped an old side which could not be started again on any server, or must not be: whoever is not switched back to it
/// yet stays where everything runs. Where it runs on another server, that one answers, and whoever can be put back is put back.
fn old_side_gone(plan: &Plan, ledger: &Ledger) -> Option<WaveIndex> {
    let stops = |id: &StepId| plan.step(id).filter(|step| matches!(step.action, Action::StopContainer { .. }));
    let stays_down = |id: &StepId, step: &Step| is_left(plan, ledger, id) || second_writer(plan, ledger, id, step);
    let elsewhere = |id: &StepId, step: &Step| {
        plan.step_ids().any(|other| {
            let same = stops(&other).filter(|found| found.service == step.service);
            other.server != id.server && same.is_some_and(|found| !stays_down(&other, found))
        })
    };
    let gone = plan.step_ids().filter(|id| stops(id).is_some_and(|step| stays_down(id, step) && !elsewhere(id, step)));
    gone.map(|id| id.wave).max()
}

/// Taking the step back would start the old one of a service beside a new one that could not be stopped, on whatever server that is. Only
/// of what must not run twice is the new one in the way of the old one.
fn second_writer(plan: &Plan, ledger: &Ledger, id: &StepId, step: &Step) -> bool {
    let starts = |action: &Action| matches!(action, Action::RunContainer(_) | Action::StartContainer { .. });
    let in_the_way = |at: &StepId| {
        let failed = plan.step(at).filter(|failed| starts(&failed.action) && failed.service.is_some() && failed.service == step.service);
        at.wave > id.wave && failed.is_some() && is_left(plan, ledger, at)
    };
    matches!(step.action, Action::StopContainer { .. }) && plan.step_ids().any(|at| in_the_way(&at))
}

/// What requests hang on is not taken back any more: its undo has failed, or that of another step of its server.
fn is_left(plan: &Plan, ledger: &Ledger, id: &StepId) -> bool {
    let takes_back = |step: &Step| step.undo_kind == UndoKind::Restores && !step.undo.is_empty();
    let waits =
        matches!(ledger.state(id), StepState::Done | StepState::Failed | StepState::Unknown) && plan.step(id).is_some_and(takes_back);
    is_stuck(plan, ledger, id) || (waits && plan.step_ids().any(|other| other.server == id.server && is_stuck(plan, ledger, &other)))
}

/// An undo on which requests hang has failed.
fn is_stuck(plan: &Plan, ledger: &Ledger, id: &StepId) -> bool {
    ledger.state(id) == StepState::UndoFailed && plan.step(id).is_some_and(|step| step.undo_kind == UndoKind::Restores)
}

fn ids(index: WaveIndex, wave: &Wave) -> impl Iterator<Item = (StepId, &Step)> + '_ {
    wave.servers.iter().flat_map(move |(server, steps)| {
        steps.iter().enumerate().map(move |(position, step)| (StepId { wave: index, server: server.clone(), index: position }, step))
    })
}
