//! What has happened to each step of a run: the fold of its events. An event that the state machine does not allow is an error.
use crate::model::{Event, EventKind, Failure, Outcome, StepId, Verdict, WaveIndex};
use std::collections::{BTreeMap, BTreeSet};

/// The state of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepState {
    /// Not begun.
    Pending,
    /// Begun; its end is not known yet.
    Running,
    /// Nobody saw how it ended: it is looked at before anything else happens on that server.
    Unknown,
    /// Seen to be done.
    Done,
    /// Seen to fail, or lost sight of twice.
    Failed,
    /// Its undo has begun.
    Undoing,
    /// Its undo was seen to be done.
    Undone,
    /// Its undo failed, or was lost sight of three times.
    UndoFailed,
}

/// An event that cannot follow what the ledger holds: the journal is damaged, or was written by another plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A number is missing or repeated.
    #[error("event {found} follows event {last}: the journal has a gap")]
    Sequence {
        /// The last number.
        last: u64,
        /// The number that came.
        found: u64,
    },
    /// The step is not in a state in which this can happen.
    #[error("step {step} is {state}, so it cannot have {what}")]
    Illegal {
        /// The step.
        step: StepId,
        /// Its state.
        state: String,
        /// What the event says.
        what: &'static str,
    },
    /// Something after the end.
    #[error("event {seq} comes after the run was closed")]
    AfterClose {
        /// Its number.
        seq: u64,
    },
}

/// What has happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    steps: BTreeMap<StepId, StepState>,
    lost: BTreeMap<StepId, u32>,
    lost_undos: BTreeMap<StepId, u32>,
    /// Why steps failed, and undos.
    pub failures: BTreeMap<StepId, Failure>,
    /// Why undos failed.
    pub undo_failures: BTreeMap<StepId, Failure>,
    /// What was seen when a step was done.
    pub seen: BTreeMap<StepId, String>,
    /// The step that failed first.
    pub first_failure: Option<StepId>,
    /// Waves that are complete.
    pub passed: BTreeSet<WaveIndex>,
    /// Somebody asked to undo the run.
    pub abort: Option<String>,
    /// A step failed, or a wave waits for promotion, and nothing is done until somebody decides.
    pub held: bool,
    /// Waves that wait for somebody, and that somebody has let begin.
    pub promoted: BTreeSet<WaveIndex>,
    /// What was undone all the same because the run is held: steps that would act by themselves once nobody is there.
    disarmed: BTreeSet<StepId>,
    /// How it ended.
    pub closed: Option<Verdict>,
    last_seq: Option<u64>,
}

impl Ledger {
    /// The run is on its way back: a step failed, or somebody asked. One that is held is not.
    #[must_use]
    pub fn unwinding(&self) -> bool {
        (self.first_failure.is_some() && !self.held) || self.abort.is_some()
    }

    /// The state of a step.
    #[must_use]
    pub fn state(&self, step: &StepId) -> StepState {
        self.steps.get(step).cloned().unwrap_or(StepState::Pending)
    }

    /// Some step has begun, and its end is not known yet.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.steps.values().any(|state| *state == StepState::Running)
    }

    /// The number of the next event.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.last_seq.map_or(0, |seq| seq + 1)
    }

    /// Takes in one event.
    ///
    /// # Errors
    /// [`LedgerError`] when it cannot follow what has happened; the ledger is then unchanged.
    pub fn apply(&mut self, event: &Event) -> Result<(), LedgerError> {
        if event.seq != self.next_seq() {
            return Err(LedgerError::Sequence { last: self.last_seq.unwrap_or(0), found: event.seq });
        }
        let taken_up = matches!(self.closed, Some(Verdict::Stuck | Verdict::Held | Verdict::Waiting))
            && matches!(event.kind, EventKind::RunOpened { .. });
        if self.closed.is_some() && !taken_up {
            return Err(LedgerError::AfterClose { seq: event.seq });
        }
        match &event.kind {
            EventKind::RunOpened { .. } => {
                self.cut_off();
                self.undo_again();
            }
            EventKind::GatePassed { wave } => {
                self.passed.insert(*wave);
            }
            EventKind::AbortRequested { reason } => {
                self.abort.get_or_insert_with(|| reason.clone());
                self.undo_what_was_held();
            }
            EventKind::RunHeld => self.held = true,
            EventKind::RetryRequested { anew } => self.try_again(anew),
            EventKind::Promoted { wave, anew } => {
                self.promoted.insert(*wave);
                self.try_again(anew);
            }
            EventKind::RunClosed { verdict } => self.closed = Some(*verdict),
            EventKind::StepStarted { step } => self.started(step)?,
            EventKind::StepEnded { step, outcome } => self.ended(step, outcome)?,
            EventKind::UndoStarted { step } => self.undo_started(step)?,
            EventKind::UndoEnded { step, outcome } => self.undo_ended(step, outcome)?,
        }
        self.last_seq = Some(event.seq);
        Ok(())
    }

    /// A journal that was cut off: what was running is now unknown, an undo that was running is to be done again. A run that is taken
    /// up writes that it is opened once more, so that its journal can be read back as often as it is cut off.
    pub fn cut_off(&mut self) {
        for state in self.steps.values_mut() {
            match state {
                StepState::Running => *state = StepState::Unknown,
                StepState::Undoing => *state = StepState::Done,
                StepState::Pending
                | StepState::Unknown
                | StepState::Done
                | StepState::Failed
                | StepState::Undone
                | StepState::UndoFailed => {}
            }
        }
    }

    /// A run that could not be put back as a whole and is taken up has its failed undos before it again.
    fn undo_again(&mut self) {
        if self.closed.take() == Some(Verdict::Stuck) {
            self.undo_failures.clear();
            self.lost_undos.clear();
            self.steps.values_mut().filter(|state| **state == StepState::UndoFailed).for_each(|state| *state = StepState::Done);
        }
    }

    /// A run that is held is to be undone: what was undone already for its sake is undone once more at its place, since what comes before
    /// may do it again.
    fn undo_what_was_held(&mut self) {
        self.held = false;
        for id in &self.disarmed {
            if let Some(state) = self.steps.get_mut(id)
                && matches!(state, StepState::Undone | StepState::UndoFailed)
            {
                *state = StepState::Done;
                self.undo_failures.remove(id);
            }
        }
        self.disarmed.retain(|id| self.steps.get(id) == Some(&StepState::Undoing));
    }

    /// A run that is held, or was cut off, goes on: what failed is looked at again, and what was undone for its sake is done again, in
    /// waves that were complete without it. So are the steps of `anew`.
    fn try_again(&mut self, anew: &[StepId]) {
        self.held = false;
        self.first_failure = None;
        self.lost.clear();
        for (id, state) in self.steps.iter_mut().filter(|(_, state)| **state == StepState::Failed) {
            *state = StepState::Unknown;
            self.failures.remove(id);
        }
        for id in std::mem::take(&mut self.disarmed) {
            let again = if self.state(&id) == StepState::Undone { StepState::Pending } else { StepState::Unknown };
            self.undo_failures.remove(&id);
            self.lost_undos.remove(&id);
            self.passed.remove(&id.wave);
            self.steps.insert(id, again);
        }
        for id in anew {
            if let Some(state) = self.steps.get_mut(id).filter(|state| **state == StepState::Done) {
                *state = StepState::Pending;
                self.passed.remove(&id.wave);
            }
        }
    }

    fn started(&mut self, step: &StepId) -> Result<(), LedgerError> {
        match self.state(step) {
            StepState::Pending | StepState::Unknown => {
                self.steps.insert(step.clone(), StepState::Running);
                Ok(())
            }
            state => Err(illegal(step, &state, "started")),
        }
    }

    fn ended(&mut self, step: &StepId, outcome: &Outcome) -> Result<(), LedgerError> {
        let state = self.state(step);
        if state != StepState::Running {
            return Err(illegal(step, &state, "ended"));
        }
        let new = match outcome {
            Outcome::Done { seen } => {
                self.seen.insert(step.clone(), seen.clone());
                StepState::Done
            }
            Outcome::Failed(failure) => {
                self.first_failure.get_or_insert_with(|| step.clone());
                self.failures.insert(step.clone(), failure.clone());
                StepState::Failed
            }
            Outcome::Unknown(failure) => {
                self.failures.insert(step.clone(), failure.clone());
                let ends = self.lost.entry(step.clone()).or_insert(0);
                *ends += 1;
                if *ends < 2 {
                    StepState::Unknown
                } else {
                    self.first_failure.get_or_insert_with(|| step.clone());
                    StepState::Failed
                }
            }
            Outcome::NotReached => StepState::Pending,
        };
        self.steps.insert(step.clone(), new);
        Ok(())
    }

    fn undo_started(&mut self, step: &StepId) -> Result<(), LedgerError> {
        match self.state(step) {
            StepState::Done | StepState::Failed | StepState::Unknown => {
                self.steps.insert(step.clone(), StepState::Undoing);
                if self.held {
                    self.disarmed.insert(step.clone());
                }
                Ok(())
            }
            state => Err(illegal(step, &state, "begun to be undone")),
        }
    }

    fn undo_ended(&mut self, step: &StepId, outcome: &Outcome) -> Result<(), LedgerError> {
        let state = self.state(step);
        if state != StepState::Undoing {
            return Err(illegal(step, &state, "been undone"));
        }
        // Begun because the run was held, and ended when it no more was.
        if !self.held && self.disarmed.remove(step) {
            self.steps.insert(step.clone(), StepState::Done);
            return Ok(());
        }
        let new = match outcome {
            Outcome::Done { .. } => StepState::Undone,
            Outcome::Unknown(_) if self.lost_undos.get(step).copied().unwrap_or(0) < 2 => {
                *self.lost_undos.entry(step.clone()).or_insert(0) += 1;
                StepState::Done
            }
            Outcome::Failed(failure) | Outcome::Unknown(failure) => {
                self.undo_failures.insert(step.clone(), failure.clone());
                StepState::UndoFailed
            }
            Outcome::NotReached => StepState::Done,
        };
        self.steps.insert(step.clone(), new);
        Ok(())
    }
}

fn illegal(step: &StepId, state: &StepState, what: &'static str) -> LedgerError {
    let state = match state {
        StepState::Pending => "pending",
        StepState::Running => "running",
        StepState::Unknown => "unknown",
        StepState::Done => "done",
        StepState::Failed => "failed",
        StepState::Undoing => "being undone",
        StepState::Undone => "undone",
        StepState::UndoFailed => "not undone",
    };
    LedgerError::Illegal { step: step.clone(), state: state.to_owned(), what }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
