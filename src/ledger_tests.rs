//! The state machine of a run, event by event.
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

#[test]
fn a_run_that_is_held_goes_on_from_what_failed_or_back() {
    let asks = StepId { wave: 0, ..id() };
    let arms = StepId { wave: 1, ..id() };
    let fails = StepId { wave: 2, ..id() };
    let done = || Outcome::Done { seen: String::new() };
    let of =
        |step: &StepId, outcome| vec![EventKind::StepStarted { step: step.clone() }, EventKind::StepEnded { step: step.clone(), outcome }];
    let mut ledger = Ledger::default();
    feed(&mut ledger, vec![opened()]).unwrap();
    feed(&mut ledger, of(&asks, done())).unwrap();
    feed(&mut ledger, of(&arms, done())).unwrap();
    feed(&mut ledger, vec![EventKind::GatePassed { wave: 0 }, EventKind::GatePassed { wave: 1 }]).unwrap();
    feed(&mut ledger, of(&fails, Outcome::Failed(Failure::default()))).unwrap();
    assert!(ledger.unwinding());
    feed(&mut ledger, vec![EventKind::RunHeld]).unwrap();
    assert!(ledger.held && !ledger.unwinding());
    let undone = EventKind::UndoEnded { step: arms.clone(), outcome: done() };
    feed(&mut ledger, vec![EventKind::UndoStarted { step: arms.clone() }, undone.clone()]).unwrap();
    feed(&mut ledger, vec![EventKind::RunClosed { verdict: Verdict::Held }, opened()]).unwrap();
    assert_eq!((ledger.held, ledger.closed, ledger.state(&arms)), (true, None, StepState::Undone), "it waits to be told");

    let mut on = ledger.clone();
    feed(&mut on, vec![EventKind::RetryRequested { anew: vec![asks.clone()] }]).unwrap();
    assert_eq!((on.state(&arms), on.state(&fails), on.state(&asks)), (StepState::Pending, StepState::Unknown, StepState::Pending));
    assert!(on.passed.is_empty() && !on.held && !on.unwinding() && on.failures.is_empty());

    let abort = || EventKind::AbortRequested { reason: "a".to_owned() };
    feed(&mut ledger, vec![abort()]).unwrap();
    assert_eq!((ledger.state(&arms), ledger.state(&fails)), (StepState::Done, StepState::Failed), "what arms it again comes first");
    assert!(ledger.unwinding() && !ledger.held && ledger.passed.contains(&1));

    // Asked to undo in the very moment in which it comes to be held.
    let mut ledger = Ledger::default();
    feed(&mut ledger, of(&arms, done())).unwrap();
    feed(&mut ledger, of(&fails, Outcome::Failed(Failure::default()))).unwrap();
    feed(&mut ledger, vec![EventKind::RunHeld, EventKind::UndoStarted { step: arms.clone() }, abort(), undone]).unwrap();
    assert_eq!(ledger.state(&arms), StepState::Done);
}
