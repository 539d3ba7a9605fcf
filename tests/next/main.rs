//! `plan::next` on random plans and random outcomes, against what must hold at every moment of any run. The rules below are written from
//! the outside: they know the plan and what was begun and ended, not the ledger's states. Deliberately absent: what steps mean.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
mod model;
mod old_side;

use flipside::ledger::Ledger;
use flipside::model::{Action, EnvName, Event, EventKind, Failure, Millis, Outcome, ProjectName, ServerName, StepId, Verdict};
use flipside::plan::{Basis, Intent, Move, PLAN_FORMAT, Plan, Step, UndoKind, Wave, WaveKind, next};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What a random step is: whether its undo does something, and what hangs on it.
type Sketch = (bool, bool);

fn plan(waves: &[Vec<Vec<Sketch>>], n_cleanup: usize) -> Plan {
    let step = |(undoable, restores): Sketch| Step {
        title: "step".to_owned(),
        service: None,
        first: Vec::new(),
        action: Action::Lock,
        undo: if undoable { vec![Action::Lock] } else { Vec::new() },
        undo_kind: if restores { UndoKind::Restores } else { UndoKind::Cleans },
        within: Millis::seconds(1),
    };
    let wave = |(index, servers): (usize, &Vec<Vec<Sketch>>)| Wave {
        name: format!("w{index}"),
        kind: if index + n_cleanup >= waves.len() { WaveKind::Cleanup } else { WaveKind::Work },
        servers: servers
            .iter()
            .enumerate()
            .filter(|(_, steps)| !steps.is_empty())
            .map(|(n, steps)| (server(n), steps.iter().copied().map(step).collect()))
            .collect(),
    };
    let basis = Basis { playbook: String::new(), inventory: String::new(), templates: String::new(), facts: BTreeMap::new() };
    Plan {
        format: PLAN_FORMAT,
        intent: Intent::Deploy,
        project: ProjectName::new("p").unwrap(),
        env: EnvName::new("e").unwrap(),
        version: String::new(),
        mode: flipside::model::BackendMode::SingleServer,
        basis,
        services: BTreeMap::new(),
        left_out: std::collections::BTreeSet::new(),
        on_failure: flipside::config::OnFailure::Rollback,
        found: BTreeMap::new(),
        waves: waves.iter().enumerate().map(wave).collect(),
    }
}

fn server(n: usize) -> ServerName {
    ServerName::new(format!("s{n}")).unwrap()
}

/// What the world knows of one step.
#[derive(Debug, Clone, Default)]
struct Seen {
    /// It was begun at least once.
    begun: bool,
    /// Begun, and not yet ended.
    runs: bool,
    /// Nobody saw how it ended.
    lost: bool,
    n_lost: u32,
    done: bool,
    failed: bool,
    undo_begun: bool,
    undo_runs: bool,
    undone: bool,
    undo_failed: bool,
    n_undo_lost: u32,
}

struct World<'a> {
    plan: &'a Plan,
    ledger: Ledger,
    journal: Vec<Event>,
    steps: BTreeMap<StepId, Seen>,
    passed: usize,
    aborted: bool,
    failed: bool,
    closed: Option<Verdict>,
    /// The queue of each server: what was begun together and ends in order; `true` is an undo.
    queues: BTreeMap<ServerName, Vec<(StepId, bool)>>,
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan) -> World<'a> {
        let steps = plan.step_ids().map(|id| (id, Seen::default())).collect();
        let (ledger, journal, queues) = (Ledger::default(), Vec::new(), BTreeMap::new());
        World { plan, ledger, journal, steps, passed: 0, aborted: false, failed: false, closed: None, queues }
    }

    fn event(&mut self, kind: EventKind) {
        let event = Event { seq: self.ledger.next_seq(), at: 0, kind };
        self.ledger.apply(&event).unwrap_or_else(|error| panic!("{error}"));
        self.journal.push(event);
    }

    fn is_cleanup(&self, id: &StepId) -> bool {
        self.plan.waves[id.wave].kind == WaveKind::Cleanup
    }

    fn past_undoing(&self) -> bool {
        self.steps.iter().any(|(id, seen)| self.is_cleanup(id) && seen.begun)
    }

    fn backward(&self) -> bool {
        (self.failed || self.aborted) && !self.past_undoing()
    }

    fn stuck_on(&self, server: Option<&ServerName>) -> bool {
        self.steps.iter().any(|(id, seen)| seen.undo_failed && self.restores(id) && server.is_none_or(|server| id.server == *server))
    }

    fn restores(&self, id: &StepId) -> bool {
        self.plan.step(id).unwrap().undo_kind == UndoKind::Restores
    }

    /// It may have had an effect that is still there, it can be taken back, and nothing forbids that.
    fn wants_undo(&self, id: &StepId, seen: &Seen) -> bool {
        let touched = seen.done || seen.failed || seen.lost;
        let forbidden = if self.restores(id) { self.stuck_on(Some(&id.server)) } else { self.stuck_on(None) };
        touched && !seen.undone && !seen.undo_failed && !self.plan.step(id).unwrap().undo.is_empty() && !forbidden
    }

    /// Checks every move against the rules, and begins it. The moves of one answer are judged by the world before any of them.
    fn begin(&mut self, moves: Vec<Move>) {
        let mut batch: BTreeMap<ServerName, Vec<(StepId, bool)>> = BTreeMap::new();
        for one in &moves {
            match one {
                Move::Do(id) => {
                    let seen = &self.steps[id];
                    assert!(!self.backward(), "{id} is begun while the run goes back");
                    assert!(!seen.lost && !seen.runs && !seen.done && !seen.failed, "{id} is begun twice: {seen:?}");
                    assert_eq!(self.passed, id.wave, "{id} is begun before the gate, or after it");
                    self.in_order(id, batch.get(&id.server));
                }
                Move::Recheck(id) => {
                    let seen = &self.steps[id];
                    assert!(!self.backward() && seen.lost && !seen.runs, "{id} is looked at without need: {seen:?}");
                    assert_eq!(self.passed, id.wave);
                    self.in_order(id, batch.get(&id.server));
                }
                Move::Undo(id) => {
                    assert!(self.backward(), "{id} is undone while the run goes forward");
                    assert!(self.steps.values().all(|seen| !seen.runs), "{id} is undone while a step runs");
                    assert!(self.wants_undo(id, &self.steps[id]), "{id} is undone without need: {:?}", self.steps[id]);
                    for (other, seen) in &self.steps {
                        let later = other.wave > id.wave;
                        assert!(!(later && (seen.undo_runs || self.wants_undo(other, seen))), "{id} is undone before {other}");
                        let after = other.wave == id.wave && other.server == id.server && other.index > id.index;
                        let queued = batch.get(&id.server).is_some_and(|queue| queue.iter().any(|(queued, _)| queued == other));
                        assert!(!after || queued || !self.wants_undo(other, seen), "{id} is undone before {other}");
                    }
                }
                Move::PassGate(wave) => {
                    assert_eq!(moves.len(), 1);
                    assert_eq!(*wave, self.passed);
                    for (id, seen) in self.steps.iter().filter(|(id, _)| id.wave == *wave) {
                        assert!(seen.done || (seen.failed && self.is_cleanup(id)), "the gate of {wave} is passed although {id}: {seen:?}");
                    }
                    assert!(!self.backward());
                }
                Move::Hold => panic!("these plans put back"),
                Move::Close(verdict) => {
                    assert_eq!(moves.len(), 1);
                    assert!(self.steps.values().all(|seen| !seen.runs && !seen.undo_runs), "closed while something runs");
                    assert_eq!(*verdict, self.verdict());
                }
            }
            if let Move::Do(id) | Move::Recheck(id) | Move::Undo(id) = one {
                let undo = matches!(one, Move::Undo(_));
                assert!(self.queues.get(&id.server).is_none_or(Vec::is_empty), "{id} is begun while its server is busy");
                batch.entry(id.server.clone()).or_default().push((id.clone(), undo));
            }
        }
        for one in moves {
            match one {
                Move::Do(step) | Move::Recheck(step) => {
                    let seen = self.steps.get_mut(&step).unwrap();
                    (seen.begun, seen.runs, seen.lost) = (true, true, false);
                    self.event(EventKind::StepStarted { step });
                }
                Move::Undo(step) => {
                    let seen = self.steps.get_mut(&step).unwrap();
                    (seen.undo_begun, seen.undo_runs) = (true, true);
                    self.event(EventKind::UndoStarted { step });
                }
                Move::Hold => self.event(EventKind::RunHeld),
                Move::PassGate(wave) => {
                    self.passed += 1;
                    self.event(EventKind::GatePassed { wave });
                }
                Move::Close(verdict) => {
                    self.closed = Some(verdict);
                    self.event(EventKind::RunClosed { verdict });
                }
            }
        }
        self.queues.extend(batch);
    }

    /// Every step before it on its server in its wave is over, or goes before it in the same batch.
    fn in_order(&self, id: &StepId, batch: Option<&Vec<(StepId, bool)>>) {
        for (other, seen) in
            self.steps.iter().filter(|(other, _)| other.wave == id.wave && other.server == id.server && other.index < id.index)
        {
            let over = seen.done || (seen.failed && self.is_cleanup(other));
            assert!(over || batch.is_some_and(|batch| batch.iter().any(|(queued, _)| queued == other)), "{id} is begun before {other}");
        }
    }

    fn verdict(&self) -> Verdict {
        if self.backward() {
            for (id, seen) in &self.steps {
                assert!(!self.wants_undo(id, seen), "closed, and {id} is not undone: {seen:?}");
            }
            return if self.stuck_on(None) { Verdict::Stuck } else { Verdict::PutBack };
        }
        assert_eq!(self.passed, self.plan.waves.len(), "closed before the last gate");
        if self.steps.values().all(|seen| seen.done) { Verdict::Done } else { Verdict::DoneWithLeftovers }
    }

    /// The first of a server's queue ends. What comes after a failure is not reached.
    fn end(&mut self, server: &ServerName, luck: u8) {
        let Some(queue) = self.queues.get_mut(server).filter(|queue| !queue.is_empty()) else { return };
        let (step, undo) = queue.remove(0);
        let failure = Failure::default();
        let outcome = match luck {
            0..=11 => Outcome::Done { seen: String::new() },
            12..=13 => Outcome::Failed(failure),
            _ => Outcome::Unknown(failure),
        };
        let rest = if matches!(outcome, Outcome::Done { .. }) { Vec::new() } else { std::mem::take(queue) };
        for (step, outcome) in std::iter::once((step, outcome)).chain(rest.into_iter().map(|(step, _)| (step, Outcome::NotReached))) {
            let cleanup = self.is_cleanup(&step);
            let seen = self.steps.get_mut(&step).unwrap();
            if undo {
                seen.undo_runs = false;
                match outcome {
                    Outcome::Done { .. } => seen.undone = true,
                    Outcome::Unknown(_) if seen.n_undo_lost < 2 => seen.n_undo_lost += 1,
                    Outcome::Failed(_) | Outcome::Unknown(_) => seen.undo_failed = true,
                    Outcome::NotReached => {}
                }
                self.event(EventKind::UndoEnded { step, outcome });
                continue;
            }
            seen.runs = false;
            match outcome {
                Outcome::Done { .. } => seen.done = true,
                Outcome::Failed(_) => seen.failed = true,
                Outcome::Unknown(_) if seen.n_lost == 1 => seen.failed = true,
                Outcome::Unknown(_) => (seen.lost, seen.n_lost) = (true, 1),
                Outcome::NotReached => {}
            }
            self.failed |= seen.failed && !cleanup;
            self.event(EventKind::StepEnded { step, outcome });
        }
    }

    /// The program dies, and a new one reads the journal and opens the run again.
    fn kill(&mut self) {
        self.ledger = self.folded();
        self.event(EventKind::RunOpened { run: "r".to_owned(), plan: "p".to_owned() });
        self.queues.clear();
        for seen in self.steps.values_mut() {
            seen.lost |= seen.runs;
            seen.runs = false;
            seen.undo_runs = false;
        }
    }

    fn folded(&self) -> Ledger {
        let mut ledger = Ledger::default();
        for event in &self.journal {
            ledger.apply(event).unwrap_or_else(|error| panic!("the journal cannot be read back: {error}"));
        }
        ledger
    }
}

/// Runs a plan to its close. `dice` says what happens next; when it is used up, everything succeeds.
fn run(plan: &Plan, dice: &[(u8, u8)]) -> Verdict {
    let mut world = World::new(plan);
    world.event(EventKind::RunOpened { run: "r".to_owned(), plan: "p".to_owned() });
    let mut dice = dice.iter().copied();
    for _ in 0..5_000 {
        let moves = next(plan, &world.ledger);
        let busy: BTreeSet<ServerName> =
            world.queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(server, _)| server.clone()).collect();
        assert!(!moves.is_empty() || !busy.is_empty(), "nothing comes next, and nothing runs");
        world.begin(moves);
        if let Some(verdict) = world.closed {
            assert!(next(plan, &world.ledger).is_empty(), "a closed run goes on");
            assert_eq!(world.folded(), world.ledger, "the journal says what the ledger says");
            return verdict;
        }
        let (what, luck) = dice.next().unwrap_or((0, 0));
        match what {
            250.. => world.kill(),
            247..250 if !world.aborted => {
                world.aborted = true;
                world.event(EventKind::AbortRequested { reason: "a signal".to_owned() });
            }
            _ => {
                let busy: Vec<ServerName> =
                    world.queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(server, _)| server.clone()).collect();
                if let Some(server) = busy.get(what as usize % busy.len().max(1)) {
                    world.end(server, luck);
                }
            }
        }
    }
    panic!("the run does not end");
}

fn sketches() -> impl Strategy<Value = (Vec<Vec<Vec<Sketch>>>, usize)> {
    let steps = proptest::collection::vec((any::<bool>(), any::<bool>()), 0..4);
    let waves = proptest::collection::vec(proptest::collection::vec(steps, 1..4), 0..5);
    (waves, 0..2usize)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_run_keeps_the_rules((waves, n_cleanup) in sketches(), dice in proptest::collection::vec((any::<u8>(), 0..16u8), 0..80)) {
        run(&plan(&waves, n_cleanup), &dice);
    }

    #[test]
    fn a_calm_run_is_done((waves, n_cleanup) in sketches(), order in proptest::collection::vec(0..247u8, 0..60)) {
        let dice: Vec<(u8, u8)> = order.into_iter().map(|server| (server, 0)).collect();
        prop_assert_eq!(run(&plan(&waves, n_cleanup), &dice), Verdict::Done);
    }
}

/// One wave, one server, steps as sketched; the dice are `(which server, luck)`.
fn one(steps: &[Sketch], dice: &[(u8, u8)]) -> Verdict {
    run(&plan(&[vec![steps.to_vec()]], 0), dice)
}

const DONE: (u8, u8) = (0, 0);
const FAILED: (u8, u8) = (0, 12);
const LOST: (u8, u8) = (0, 15);

#[test]
fn verdicts_by_hand() {
    assert_eq!(one(&[(true, true)], &[DONE]), Verdict::Done);
    assert_eq!(one(&[(true, true), (true, true)], &[DONE, FAILED]), Verdict::PutBack);
    assert_eq!(one(&[(true, true)], &[LOST]), Verdict::Done, "what was lost sight of is looked at again");
    assert_eq!(one(&[(true, true)], &[LOST, LOST]), Verdict::PutBack, "lost twice is failed");
    assert_eq!(one(&[(true, true)], &[FAILED, FAILED]), Verdict::Stuck, "the undo failed, and requests hang on it");
    assert_eq!(one(&[(true, false)], &[FAILED, FAILED]), Verdict::PutBack, "the undo failed, and only tidiness hangs on it");
    let cleanup = plan(&[vec![vec![(false, false)]], vec![vec![(false, false), (false, false)]]], 1);
    assert_eq!(run(&cleanup, &[DONE, DONE, FAILED]), Verdict::DoneWithLeftovers);
}

#[test]
fn one_server_that_cannot_be_restored_leaves_all_cleaning_undone_and_the_others_restored() {
    // Started (cleans), then switched (restores), on two servers; the second switch fails, and so does its undo.
    let plan = plan(&[vec![vec![(true, false)]; 2], vec![vec![(true, true)]; 2]], 0);
    let id = |wave, n| StepId { wave, server: server(n), index: 0 };
    let mut world = World::new(&plan);
    let mut step = |moves: &[Move], ends: &[(usize, u8)]| {
        let found = next(&plan, &world.ledger);
        assert_eq!(found, moves);
        world.begin(found);
        ends.iter().for_each(|(n, luck)| world.end(&server(*n), *luck));
    };
    step(&[Move::Do(id(0, 0)), Move::Do(id(0, 1))], &[(0, 0), (1, 0)]);
    step(&[Move::PassGate(0)], &[]);
    step(&[Move::Do(id(1, 0)), Move::Do(id(1, 1))], &[(0, 0), (1, 12)]);
    step(&[Move::Undo(id(1, 0)), Move::Undo(id(1, 1))], &[(1, 12), (0, 0)]);
    step(&[Move::Close(Verdict::Stuck)], &[]);
}
