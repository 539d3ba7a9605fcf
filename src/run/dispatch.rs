//! The loop: what is next, on disk; do it; what came of it, on disk; and again. It decides nothing.
use super::journal::{Journal, JournalError};
use crate::ledger::{Ledger, StepState};
use crate::model::{Action, Event, EventKind, Outcome, ServerName, StepId, Verdict};
use crate::plan::{Move, Plan, Step, next, past_undoing};
use crate::remote::{Call, Remote, Update};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep_until};

/// Why a run ended without a verdict. It can be resumed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The journal cannot be written.
    #[error("the journal cannot be written, so nothing more is begun: {0}")]
    Journal(#[from] JournalError),
    /// The user insisted.
    #[error("stopped at once, in the middle of the run")]
    Stopped,
    /// Nothing is next, nothing runs, and the run is not over: a bug.
    #[error("the run does not know what is next; this is a bug")]
    Stalled,
}

/// What somebody asked of a run from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Nothing: go on.
    No,
    /// Undo the run.
    Undo,
    /// Undo the run, for this reason.
    UndoFor(String),
    /// Stop where it stands.
    AtOnce,
}

/// What is told of a run while it goes on.
#[derive(Debug)]
pub enum Notice<'a> {
    /// On disk.
    Event(&'a Event),
    /// A step is being worked on, of those that were started together.
    Begun(&'a StepId),
    /// Passing progress.
    Chatter(&'a StepId, &'a str),
    /// For so long no step has come back. Told after [`QUIET`], and then each time that it has become twice as long.
    Quiet(Duration),
}

/// Silence that is worth a word.
const QUIET: Duration = Duration::from_secs(10);
/// So many updates are taken in at a time: a hook may print faster than anybody shows it, and others have their turn in between.
const TOGETHER: usize = 256;

/// Runs the plan from wherever the ledger stands to its end.
///
/// # Errors
/// [`RunError`] where the run has no end yet.
pub async fn dispatch<R: Remote>(
    plan: &Plan,
    ledger: &mut Ledger,
    journal: &mut Journal,
    remote: &Arc<R>,
    mut stop: watch::Receiver<Stop>,
    tell: &mut (dyn FnMut(Notice<'_>) + Send),
) -> Result<Verdict, RunError> {
    let (sender, mut updates) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    let mut under_way: BTreeSet<StepId> = BTreeSet::new();
    let (mut since, mut pause) = (Instant::now(), QUIET);
    let mut come = Vec::new();
    // Only the end of a step changes what is next, and somebody who wants the run to stop.
    let mut has_news = true;
    loop {
        if let Some(verdict) = ledger.closed {
            return Ok(verdict);
        }
        if has_news && ledger.unwinding() && !past_undoing(plan, ledger) && !under_way.is_empty() && only_wait(plan, ledger, &under_way) {
            tasks.abort_all();
            let outcome = Outcome::NotReached;
            let given_up = std::mem::take(&mut under_way).into_iter().map(|step| EventKind::StepEnded { step, outcome: outcome.clone() });
            record(ledger, journal, given_up.collect(), tell)?;
        }
        if has_news {
            let moves = next(plan, ledger);
            if moves.is_empty() && under_way.is_empty() {
                return Err(RunError::Stalled);
            }
            let (events, calls) = sort(plan, moves);
            record(ledger, journal, events, tell)?;
            for (server, calls) in calls {
                under_way.extend(calls.iter().map(|call| call.id.clone()));
                let (remote, sender) = (Arc::clone(remote), sender.clone());
                tasks.spawn(async move { remote.perform(server, calls, sender).await });
            }
            if under_way.is_empty() {
                continue;
            }
        }
        has_news = false;
        tokio::select! {
            n_come = updates.recv_many(&mut come, TOGETHER) => {
                // What came together is taken in together: the question what is next is not cheap in a big fleet.
                for update in come.drain(..) {
                    if matches!(update, Update::Ended(..)) {
                        (since, pause) = (Instant::now(), QUIET);
                        has_news = true;
                    }
                    take(ledger, journal, &mut under_way, update, tell)?;
                }
                if n_come == TOGETHER {
                    yield_now().await;
                }
            }
            () = sleep_until(since + pause) => {
                tell(Notice::Quiet(pause));
                pause *= 2;
            }
            Some(Err(error)) = tasks.join_next(), if !tasks.is_empty() => {
                if error.is_panic() {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
            Ok(()) = stop.changed() => {
                let asked = stop.borrow_and_update().clone();
                let reason = match asked {
                    Stop::No => continue,
                    Stop::Undo => "asked to stop".to_owned(),
                    Stop::UndoFor(reason) => reason,
                    Stop::AtOnce => return Err(RunError::Stopped),
                };
                record(ledger, journal, vec![EventKind::AbortRequested { reason }], tell)?;
                has_news = true;
            }
        }
    }
}

/// All that is under way is waiting: for the old side's connections to end, for a pause to be over, or watching the new side. It changes
/// nothing, so nothing is lost when nobody waits any more; and the clients of a new side that is to be taken back wait for nothing else.
fn only_wait(plan: &Plan, ledger: &Ledger, under_way: &BTreeSet<StepId>) -> bool {
    let waits = |step: &Step| {
        matches!(step.action, Action::Drain { .. } | Action::Pause { .. } | Action::StayHealthy { .. } | Action::JudgeCanary(_))
    };
    under_way.iter().all(|id| ledger.state(id) == StepState::Running && plan.step(id).is_some_and(waits))
}

/// Moves as events that come before their effect, and as calls, one bundle a server.
fn sort(plan: &Plan, moves: Vec<Move>) -> (Vec<EventKind>, BTreeMap<ServerName, Vec<Call>>) {
    let mut events = Vec::new();
    let mut calls: BTreeMap<ServerName, Vec<Call>> = BTreeMap::new();
    for step_move in moves {
        let (id, actions, within) = match step_move {
            Move::PassGate(wave) => {
                events.push(EventKind::GatePassed { wave });
                continue;
            }
            Move::Hold => {
                events.push(EventKind::RunHeld);
                continue;
            }
            Move::Close(verdict) => {
                events.push(EventKind::RunClosed { verdict });
                continue;
            }
            Move::Do(id) | Move::Recheck(id) => {
                events.push(EventKind::StepStarted { step: id.clone() });
                let step = plan.step(&id);
                (id, step.map(Step::actions), step.map(Step::actions_within))
            }
            Move::Undo(id) => {
                events.push(EventKind::UndoStarted { step: id.clone() });
                let step = plan.step(&id);
                (id, step.map(|step| step.undo.clone()), step.map(Step::undo_within))
            }
        };
        let call = Call { id: id.clone(), actions: actions.unwrap_or_default(), within: within.unwrap_or_default() };
        calls.entry(id.server).or_default().push(call);
    }
    (events, calls)
}

fn record(
    ledger: &mut Ledger,
    journal: &mut Journal,
    kinds: Vec<EventKind>,
    tell: &mut (dyn FnMut(Notice<'_>) + Send),
) -> Result<(), JournalError> {
    if kinds.is_empty() {
        return Ok(());
    }
    for event in journal.write(ledger, kinds)? {
        tell(Notice::Event(&event));
    }
    Ok(())
}

fn take(
    ledger: &mut Ledger,
    journal: &mut Journal,
    under_way: &mut BTreeSet<StepId>,
    update: Update,
    tell: &mut (dyn FnMut(Notice<'_>) + Send),
) -> Result<(), JournalError> {
    match update {
        Update::Begun(id) => tell(Notice::Begun(&id)),
        Update::Chatter(id, text) => tell(Notice::Chatter(&id, &text)),
        Update::Ended(step, outcome) => {
            if !under_way.remove(&step) {
                // It came back in the moment that it was given up.
                return Ok(());
            }
            let kind = match ledger.state(&step) {
                StepState::Undoing => EventKind::UndoEnded { step, outcome },
                _ => EventKind::StepEnded { step, outcome },
            };
            record(ledger, journal, vec![kind], tell)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::sample::deploy_of;
    use super::*;
    use crate::model::{DrainPolicy, GenerationId, Millis};
    use crate::plan::{UndoKind, Wave, WaveKind};
    use std::sync::OnceLock;
    use tokio::sync::mpsc::UnboundedSender;

    /// Of one step on one server.
    fn plan() -> Plan {
        let (old, new) = (GenerationId("a1".to_owned()), GenerationId("b2".to_owned()));
        let policy = DrainPolicy { quiet: Millis::seconds(10), timeout: Millis::seconds(3600) };
        let drain = Action::Drain { backends: Vec::new(), policy };
        let step = Step {
            title: "switch".to_owned(),
            service: None,
            first: Vec::new(),
            action: Action::Switch { expect: Some(old.clone()), to: new.clone() },
            undo: vec![Action::SwitchBack { from: new, to: old }, drain],
            undo_kind: UndoKind::Restores,
            within: Millis::seconds(60),
        };
        let servers = BTreeMap::from([(ServerName::new("s1").unwrap(), vec![step])]);
        deploy_of(BTreeMap::new(), vec![Wave { name: "switch".to_owned(), kind: WaveKind::Work, servers }])
    }

    #[test]
    fn an_undo_has_the_time_of_its_own_actions() {
        let plan = plan();
        let id = StepId { wave: 0, server: ServerName::new("s1").unwrap(), index: 0 };
        let within = |step_move| sort(&plan, vec![step_move]).1.into_values().flatten().map(|call| call.within).collect::<Vec<_>>();
        assert_eq!(within(Move::Do(id.clone())), [Millis::seconds(60)]);
        assert_eq!(within(Move::Undo(id)), [Millis::seconds(90 + 3630)], "back, and the whole drain");
    }

    /// A step that has begun to tell, and never comes back.
    #[derive(Default)]
    struct Talks(OnceLock<UnboundedSender<Update>>);

    impl Remote for Talks {
        async fn perform(&self, _: ServerName, calls: Vec<Call>, tell: UnboundedSender<Update>) {
            tell.send(Update::Chatter(calls[0].id.clone(), "a line".to_owned())).unwrap();
            self.0.set(tell).unwrap();
            std::future::pending().await
        }
    }

    #[tokio::test]
    async fn a_step_that_tells_without_end_keeps_nobody_from_stopping_the_run() {
        let plan = plan();
        let (folder, mut ledger) = (tempfile::tempdir().unwrap(), Ledger::default());
        let mut journal = Journal::create(folder.path(), &plan, &mut ledger).unwrap();
        let (talks, (stop, stopped)) = (Arc::new(Talks::default()), watch::channel(Stop::No));
        let mut n_told = 0;
        // With each line that is told there is one more.
        let mut tell = |notice: Notice<'_>| {
            if let Notice::Chatter(id, text) = notice {
                stop.send(Stop::AtOnce).unwrap();
                n_told += 1;
                assert!(n_told < 100 * TOGETHER, "nobody else has a turn");
                talks.0.get().unwrap().send(Update::Chatter(id.clone(), text.to_owned())).unwrap();
            }
        };
        let ended = dispatch(&plan, &mut ledger, &mut journal, &talks, stopped, &mut tell).await;
        assert!(matches!(ended, Err(RunError::Stopped)), "{ended:?}");
    }
}
