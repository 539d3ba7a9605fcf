//! The smallest run: ask `next`, journal, perform, journal. One thread, no time, faults on demand. Deliberately absent: any decision.
use flipside::ledger::Ledger;
use flipside::model::{Event, EventKind, Failure, Outcome, ServerName, StepId, Verdict};
use flipside::plan::{Move, Plan, asked_anew, next, waits_for_promotion};
use flipside::remote::fake::FakeServer;
use std::collections::BTreeMap;

/// The fleet.
pub type Servers = BTreeMap<ServerName, FakeServer>;

/// What goes wrong in a run.
#[derive(Debug, Clone, Default)]
pub struct Trouble {
    /// This step fails, once.
    pub fails: Option<(StepId, Effect)>,
    /// The run is cut off after so many steps and undos.
    pub cut_after: Option<usize>,
}

/// Whether a step that fails has had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It failed before it did anything.
    None,
    /// It did everything, and then its end was reported as a failure.
    Whole,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// None when it was cut off.
    pub verdict: Option<Verdict>,
    /// All that happened.
    pub ledger: Ledger,
    /// What each failing step and undo said, for the message of a test.
    pub log: Vec<String>,
}

/// Runs a plan. `observe` sees the fleet after every step and every undo.
pub fn drive(plan: &Plan, servers: &mut Servers, trouble: &Trouble, observe: &mut dyn FnMut(&str, &Servers)) -> Ended {
    let mut run = Run { plan, servers, trouble, observe, ledger: Ledger::default(), log: Vec::new(), n_done: 0 };
    for _ in 0..10_000 {
        let moves = next(plan, &run.ledger);
        assert!(!moves.is_empty(), "nothing comes next, and nothing runs:\n{}", run.log.join("\n"));
        let mut by_server: BTreeMap<ServerName, Vec<(StepId, bool)>> = BTreeMap::new();
        for one in moves {
            match one {
                // Somebody is there who promotes at once.
                Move::Hold => match waits_for_promotion(plan, &run.ledger) {
                    Some(wave) => run.event(EventKind::Promoted { wave, anew: asked_anew(plan, &run.ledger) }),
                    None => run.event(EventKind::RunHeld),
                },
                Move::PassGate(wave) => run.event(EventKind::GatePassed { wave }),
                Move::Close(verdict) => {
                    run.event(EventKind::RunClosed { verdict });
                    assert!(next(plan, &run.ledger).is_empty(), "a closed run goes on");
                    return Ended { verdict: Some(verdict), ledger: run.ledger, log: run.log };
                }
                Move::Do(id) | Move::Recheck(id) => by_server.entry(id.server.clone()).or_default().push((id, false)),
                Move::Undo(id) => by_server.entry(id.server.clone()).or_default().push((id, true)),
            }
        }
        for batch in by_server.into_values() {
            if !run.batch(batch) {
                return Ended { verdict: None, ledger: run.ledger, log: run.log };
            }
        }
    }
    panic!("the run does not end:\n{}", run.log.join("\n"));
}

struct Run<'a> {
    plan: &'a Plan,
    servers: &'a mut Servers,
    trouble: &'a Trouble,
    observe: &'a mut dyn FnMut(&str, &Servers),
    ledger: Ledger,
    log: Vec<String>,
    n_done: usize,
}

impl Run<'_> {
    fn event(&mut self, kind: EventKind) {
        let event = Event { seq: self.ledger.next_seq(), at: 0, kind };
        if let Err(error) = self.ledger.apply(&event) {
            panic!("{error}\n{}", self.log.join("\n"));
        }
    }

    /// The moves of one server in one answer: they travel together. False when the run was cut off.
    fn batch(&mut self, batch: Vec<(StepId, bool)>) -> bool {
        for (step, undo) in batch.iter().cloned() {
            self.event(if undo { EventKind::UndoStarted { step } } else { EventKind::StepStarted { step } });
        }
        let mut broken = false;
        for (step, undo) in batch {
            if self.trouble.cut_after == Some(self.n_done) {
                return false;
            }
            self.n_done += 1;
            let outcome = if broken { Outcome::NotReached } else { self.perform(&step, undo) };
            broken |= !matches!(outcome, Outcome::Done { .. });
            self.event(if undo { EventKind::UndoEnded { step, outcome } } else { EventKind::StepEnded { step, outcome } });
        }
        true
    }

    fn perform(&mut self, id: &StepId, undo: bool) -> Outcome {
        let Some(step) = self.plan.step(id) else { panic!("the plan has no step {id}") };
        let what = if undo { format!("{id} undo of: {}", step.title) } else { format!("{id} {}", step.title) };
        let fails = self.trouble.fails.as_ref().filter(|(at, _)| at == id && !undo).map(|(_, effect)| *effect);
        let mut result = Ok(String::new());
        if fails != Some(Effect::None) {
            let actions = if undo { step.undo.clone() } else { step.actions() };
            for action in &actions {
                let Some(server) = self.servers.get_mut(&id.server) else { panic!("there is no server {}", id.server) };
                result = server.apply(action);
                (self.observe)(&what, self.servers);
                if result.is_err() {
                    break;
                }
            }
        }
        match (result, fails) {
            (Ok(seen), None) => {
                self.log.push(format!("{what}: {seen}"));
                Outcome::Done { seen }
            }
            (Ok(_), Some(effect)) => {
                self.log.push(format!("{what}: FAILED on demand ({effect:?})"));
                Outcome::Failed(Failure { seen: "made to fail".to_owned(), ..Failure::default() })
            }
            (Err(failure), _) => {
                self.log.push(format!("{what}: FAILED: {}", failure.seen));
                Outcome::Failed(failure)
            }
        }
    }
}
