//! The one decision: what comes next, given all that should happen and all that has happened.
//! A fresh run, a resumed run and an unwinding run are the same question with a different ledger.
use super::held::{disarm, holds, waits};
use super::types::{Plan, Step, UndoKind, Wave, WaveKind};
use crate::ledger::{Ledger, StepState};
use crate::model::{Action, ServerName, StepId, Verdict, WaveIndex};
use std::collections::BTreeSet;

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
    /// Nothing is undone: the run is held.
    Hold,
    /// The run is over.
    Close(Verdict),
}

/// What comes next. Empty while nothing can be begun before something that runs has ended, and after the end.
#[must_use]
pub fn next(plan: &Plan, ledger: &Ledger) -> Vec<Move> {
    if ledger.closed.is_some() {
        return Vec::new();
    }
    if ledger.held && !ledger.unwinding() {
        return disarm(plan, ledger);
    }
    match ledger.unwinding() && !past_undoing(plan, ledger) {
        true if holds(plan, ledger) => vec![Move::Hold],
        true => backward(plan, ledger),
        false => forward(plan, ledger),
    }
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
    if waits(ledger, index, wave) {
        return vec![Move::Hold];
    }
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
    if ledger.runs() {
        return Vec::new();
    }
    let left = Left::of(plan, ledger);
    let stuck = !left.servers.is_empty();
    let gone = left.old_side_gone();
    // What a wave has started that nobody is routed to, until everybody has switched back who serves what was switched to before it.
    let mut later = Vec::new();
    for (index, wave) in plan.waves.iter().enumerate().rev() {
        let mut moves = Vec::new();
        let mut busy = false;
        for (server, steps) in &wave.servers {
            let server_stuck = left.servers.contains(server);
            for (position, step) in steps.iter().enumerate().rev() {
                let id = StepId { wave: index, server: server.clone(), index: position };
                match ledger.state(&id) {
                    StepState::Undoing => busy = true,
                    StepState::Done | StepState::Failed | StepState::Unknown => {
                        let skipped = step.undo.is_empty()
                            || match step.undo_kind {
                                UndoKind::Restores => {
                                    server_stuck || gone.is_some_and(|wave| index < wave) || left.second_writer(&id, step)
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
        match (moves.is_empty(), later.is_empty()) {
            (true, _) => {}
            (false, true) if wave.kind == WaveKind::Unrouted => later = moves,
            (false, true) => return moves,
            (false, false) if wave.kind == WaveKind::Unrouted => {}
            (false, false) => return if switches_back(plan, &moves) { moves } else { later },
        }
    }
    match later.is_empty() {
        true => vec![Move::Close(if stuck { Verdict::Stuck } else { Verdict::PutBack })],
        false => later,
    }
}

fn switches_back(plan: &Plan, moves: &[Move]) -> bool {
    let undone = moves.iter().filter_map(|one| if let Move::Undo(id) = one { plan.step(id) } else { None });
    undone.flat_map(|step| &step.undo).any(|action| matches!(action, Action::SwitchBack { .. }))
}

/// What is not taken back any more. Found once for every question: a big fleet has ten thousand steps, and all of them may be undone.
struct Left<'a> {
    ledger: &'a Ledger,
    /// The servers where an undo has failed on which requests hang.
    servers: BTreeSet<&'a ServerName>,
    /// What started a container of a service, and is left as it is.
    starts: Vec<(StepId, &'a Step)>,
    /// What stopped one, or tried.
    stops: Vec<(StepId, &'a Step)>,
}

impl<'a> Left<'a> {
    fn of(plan: &'a Plan, ledger: &'a Ledger) -> Left<'a> {
        let restores = |id: &&StepId| plan.step(id).is_some_and(|step| step.undo_kind == UndoKind::Restores);
        let servers = ledger.undo_failures.keys().filter(restores).map(|id| &id.server).collect();
        let mut left = Left { ledger, servers, starts: Vec::new(), stops: Vec::new() };
        if left.servers.is_empty() {
            return left;
        }
        for (id, step) in plan.waves.iter().enumerate().flat_map(|(index, wave)| ids(index, wave)) {
            if matches!(step.action, Action::StopContainer { .. } | Action::StopAdopted { .. }) {
                left.stops.push((id, step));
            } else if matches!(step.action, Action::RunContainer(_) | Action::StartContainer { .. })
                && step.service.is_some()
                && left.is_left(&id, step)
            {
                left.starts.push((id, step));
            }
        }
        left
    }

    /// The wave that stopped an old side which could not be started again on any server, or must not be: whoever is not switched back to it
    /// yet stays where everything runs. Where it runs on another server, that one answers, and whoever can be put back is put back.
    fn old_side_gone(&self) -> Option<WaveIndex> {
        let (down, up): (Vec<_>, Vec<_>) = self.stops.iter().partition(|(id, step)| self.stays_down(id, step));
        let elsewhere =
            |id: &StepId, step: &Step| up.iter().any(|(other, found)| other.server != id.server && found.service == step.service);
        down.iter().filter(|(id, step)| !elsewhere(id, step)).map(|(id, _)| id.wave).max()
    }

    /// A step that stopped an old side is not taken back.
    fn stays_down(&self, id: &StepId, step: &Step) -> bool {
        self.ledger.state(id) != StepState::Pending && (self.is_left(id, step) || self.second_writer(id, step))
    }

    /// Taking the step back would start the old one of a service beside a new one that could not be stopped, on whatever server that is. Only
    /// of what must not run twice is the new one in the way of the old one.
    fn second_writer(&self, id: &StepId, step: &Step) -> bool {
        let in_the_way = |(at, started): &(StepId, &Step)| at.wave > id.wave && started.service == step.service;
        matches!(step.action, Action::StopContainer { .. } | Action::StopAdopted { .. }) && self.starts.iter().any(in_the_way)
    }

    /// What requests hang on is not taken back any more: its undo has failed, or that of another step of its server.
    fn is_left(&self, id: &StepId, step: &Step) -> bool {
        step.undo_kind == UndoKind::Restores
            && match self.ledger.state(id) {
                StepState::UndoFailed => true,
                StepState::Done | StepState::Failed | StepState::Unknown => !step.undo.is_empty() && self.servers.contains(&id.server),
                StepState::Pending | StepState::Running | StepState::Undoing | StepState::Undone => false,
            }
    }
}

fn ids(index: WaveIndex, wave: &Wave) -> impl Iterator<Item = (StepId, &Step)> + '_ {
    wave.servers.iter().flat_map(move |(server, steps)| {
        steps.iter().enumerate().map(move |(position, step)| (StepId { wave: index, server: server.clone(), index: position }, step))
    })
}
