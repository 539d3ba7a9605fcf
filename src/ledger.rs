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
    /// How it ended.
    pub closed: Option<Verdict>,
    last_seq: Option<u64>,
}

impl Ledger {
    /// The run is on its way back: a step failed, or somebody asked.
    #[must_use]
    pub fn unwinding(&self) -> bool {
        self.first_failure.is_some() || self.abort.is_some()
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
        let taken_up = self.closed == Some(Verdict::Stuck) && matches!(event.kind, EventKind::RunOpened { .. });
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
        if self.closed.take().is_some() {
            self.undo_failures.clear();
            self.lost_undos.clear();
            self.steps.values_mut().filter(|state| **state == StepState::UndoFailed).for_each(|state| *state = StepState::Done);
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
mod tests {
    use super::*;
    use crate::model::ServerName;

    fn id() -> StepId {
        StepId { wave: 0, server: ServerName::new("s1").unwrap(), index: 0 }
    }

    fn feed(ledger: &mut Ledger, kinds: Vec<EventKind>) -> Result<(), LedgerError> {
        kinds.into_iter().try_for_each(|kind| {
            let event = Event { seq: ledger.next_seq(), at: 0, kind };
            ledger.apply(&event)
        })
    }

    fn opened() -> EventKind {
        EventKind::RunOpened { run: "r".to_owned(), plan: "p".to_owned() }
    }

    fn ended(outcome: Outcome) -> EventKind {
        EventKind::StepEnded { step: id(), outcome }
    }

    fn lost() -> EventKind {
        ended(Outcome::Unknown(Failure::default()))
    }

    #[test]
    fn what_ran_when_a_run_was_cut_off_is_unknown_however_often() {
        let mut ledger = Ledger::default();
        feed(&mut ledger, vec![opened(), EventKind::StepStarted { step: id() }, opened()]).unwrap();
        assert_eq!(ledger.state(&id()), StepState::Unknown);
        feed(&mut ledger, vec![EventKind::StepStarted { step: id() }, opened()]).unwrap();
        assert_eq!(ledger.state(&id()), StepState::Unknown);
        assert!(!ledger.unwinding());
    }

    #[test]
    fn an_undo_that_was_cut_off_is_done_again() {
        let mut ledger = Ledger::default();
        let failed = ended(Outcome::Failed(Failure::default()));
        feed(&mut ledger, vec![EventKind::StepStarted { step: id() }, failed, EventKind::UndoStarted { step: id() }, opened()]).unwrap();
        assert_eq!(ledger.state(&id()), StepState::Done);
        assert_eq!(ledger.first_failure, Some(id()));
        feed(&mut ledger, vec![EventKind::UndoStarted { step: id() }]).unwrap();
    }

    #[test]
    fn lost_once_is_unknown_and_twice_is_failed() {
        let mut ledger = Ledger::default();
        feed(&mut ledger, vec![EventKind::StepStarted { step: id() }, lost()]).unwrap();
        assert_eq!((ledger.state(&id()), ledger.unwinding()), (StepState::Unknown, false));
        feed(&mut ledger, vec![EventKind::StepStarted { step: id() }, lost()]).unwrap();
        assert_eq!((ledger.state(&id()), ledger.unwinding()), (StepState::Failed, true));
    }

    #[test]
    fn an_undo_that_is_lost_is_done_again_twice() {
        let mut ledger = Ledger::default();
        feed(&mut ledger, vec![EventKind::StepStarted { step: id() }, ended(Outcome::Failed(Failure::default()))]).unwrap();
        for expected in [StepState::Done, StepState::Done, StepState::UndoFailed] {
            let lost = EventKind::UndoEnded { step: id(), outcome: Outcome::Unknown(Failure::default()) };
            feed(&mut ledger, vec![EventKind::UndoStarted { step: id() }, lost]).unwrap();
            assert_eq!(ledger.state(&id()), expected);
        }
        assert!(ledger.undo_failures.contains_key(&id()));
    }

    #[test]
    fn a_run_that_could_not_be_put_back_can_be_taken_up_and_no_other_that_has_ended() {
        let mut ledger = Ledger::default();
        let failed = || Outcome::Failed(Failure::default());
        feed(&mut ledger, vec![opened(), EventKind::StepStarted { step: id() }, ended(failed())]).unwrap();
        feed(&mut ledger, vec![EventKind::UndoStarted { step: id() }, EventKind::UndoEnded { step: id(), outcome: failed() }]).unwrap();
        feed(&mut ledger, vec![EventKind::RunClosed { verdict: Verdict::Stuck }]).unwrap();
        assert!(feed(&mut ledger, vec![EventKind::UndoStarted { step: id() }]).is_err());
        feed(&mut ledger, vec![opened()]).unwrap();
        assert_eq!((ledger.closed, ledger.state(&id()), ledger.undo_failures.len()), (None, StepState::Done, 0));
        assert!(ledger.unwinding());
        feed(&mut ledger, vec![EventKind::RunClosed { verdict: Verdict::PutBack }]).unwrap();
        assert!(feed(&mut ledger, vec![opened()]).is_err());
    }

    #[test]
    fn an_illegal_event_changes_nothing_and_names_the_step() {
        let mut ledger = Ledger::default();
        let error = feed(&mut ledger, vec![lost()]).unwrap_err();
        assert_eq!(error.to_string(), "step 0/s1/0 is pending, so it cannot have ended");
        assert_eq!(ledger, Ledger::default());
        assert!(feed(&mut ledger, vec![EventKind::UndoStarted { step: id() }]).is_err());
        let gap = Event { seq: 2, at: 0, kind: opened() };
        assert!(matches!(ledger.apply(&gap), Err(LedgerError::Sequence { .. })));
        feed(&mut ledger, vec![EventKind::RunClosed { verdict: Verdict::Done }]).unwrap();
        assert!(matches!(feed(&mut ledger, vec![opened()]), Err(LedgerError::AfterClose { .. })));
    }
}
