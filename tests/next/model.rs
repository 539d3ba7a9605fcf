//! `plan::next` against a small fleet that has a meaning: services with an old and a new side on every server, and routes. Whatever fails,
//! is lost sight of or is cut off, with an effect or without, somebody answers at every moment, nothing that must not run twice does, and
//! the end is the new fleet or the old one. Deliberately absent: the ledger's states (see `main`); what is checked is what servers would be.
use super::server;
use flipside::ledger::Ledger;
use flipside::model::{
    Action, BackendMode, EnvName, Event, EventKind, Failure, GenerationId, Millis, Outcome, ProjectName, ServerName, ServiceName, StepId,
    Verdict,
};
use flipside::plan::{Basis, Intent, Move, PLAN_FORMAT, Plan, Step, UndoKind, Wave, WaveKind, next};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What a step does to one service of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Of what is handed over: its old side, before the new one starts.
    Stop(usize),
    Start(usize),
    Switch(usize),
    Retire(usize),
    Tidy(usize),
}

/// One service on one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    old_runs: bool,
    new_runs: bool,
    routes_new: bool,
    old_is_there: bool,
}

const BEFORE: Place = Place { old_runs: true, new_runs: false, routes_new: false, old_is_there: true };
const AFTER: Place = Place { old_runs: false, new_runs: true, routes_new: true, old_is_there: false };

impl Deed {
    fn service(self) -> usize {
        match self {
            Deed::Stop(service) | Deed::Start(service) | Deed::Switch(service) | Deed::Retire(service) | Deed::Tidy(service) => service,
        }
    }

    /// The step, of a service that is handed over or of another.
    fn step(self, hands_over: bool) -> Step {
        let (name, timeout) = ("app".to_owned(), Millis::seconds(1));
        let kept = if hands_over { UndoKind::Restores } else { UndoKind::Cleans };
        let (action, undo_kind) = match self {
            Deed::Stop(_) | Deed::Retire(_) => (Action::StopContainer { name, timeout }, UndoKind::Restores),
            Deed::Start(_) => (Action::StartContainer { name }, kept),
            Deed::Switch(_) => (Action::Switch { expect: None, to: GenerationId("a1".to_owned()) }, UndoKind::Restores),
            Deed::Tidy(_) => (Action::RemoveContainer { name, timeout }, UndoKind::Cleans),
        };
        let service = (!matches!(self, Deed::Switch(_))).then(|| ServiceName::new(format!("service{}", self.service())).unwrap());
        let generation = |id: &str| GenerationId(id.to_owned());
        let undo = match self {
            Deed::Tidy(_) => Vec::new(),
            Deed::Switch(_) => vec![Action::SwitchBack { from: generation("a1"), to: generation("a0") }],
            Deed::Stop(_) | Deed::Start(_) | Deed::Retire(_) => vec![Action::Lock],
        };
        Step { title: "step".to_owned(), service, first: Vec::new(), action, undo, undo_kind, within: timeout }
    }
}

/// How big a fleet, and what of it is handed over: the service of this number.
#[derive(Debug, Clone, Copy)]
struct Shape {
    n_servers: usize,
    n_services: usize,
    handed_over: Option<usize>,
    /// The first service runs on the first server alone. All servers route it.
    one_runs_alone: bool,
}

impl Shape {
    fn runs_on(self, service: usize, at: &ServerName) -> bool {
        !(self.one_runs_alone && service == 0) || *at == server(0)
    }

    /// The deeds of a wave that concern a server.
    fn here(self, wave: &[Deed], at: &ServerName) -> Vec<Deed> {
        wave.iter().copied().filter(|deed| matches!(deed, Deed::Switch(_)) || self.runs_on(deed.service(), at)).collect()
    }
}

/// Service by service: start everywhere, switch everywhere; where it is handed over, stop everywhere before that. Then everything else that
/// is old is retired, and then tidied away.
fn plan(shape: Shape) -> (Plan, BTreeMap<StepId, Deed>) {
    let Shape { n_servers, n_services, handed_over, .. } = shape;
    let mut waves: Vec<Vec<Deed>> = Vec::new();
    for service in 0..n_services {
        waves.extend((handed_over == Some(service)).then(|| vec![Deed::Stop(service)]));
        waves.extend([vec![Deed::Start(service)], vec![Deed::Switch(service)]]);
    }
    waves.push((0..n_services).filter(|service| handed_over != Some(*service)).map(Deed::Retire).collect());
    waves.push((0..n_services).map(Deed::Tidy).collect());
    waves.retain(|wave| !wave.is_empty());
    let mut deeds = BTreeMap::new();
    let waves = waves.into_iter().enumerate().map(|(wave, all)| {
        let mut servers = BTreeMap::new();
        for at in (0..n_servers).map(server) {
            let here = shape.here(&all, &at);
            deeds.extend(here.iter().enumerate().map(|(index, deed)| (StepId { wave, server: at.clone(), index }, *deed)));
            let steps: Vec<Step> = here.iter().map(|deed| deed.step(handed_over == Some(deed.service()))).collect();
            servers.extend((!steps.is_empty()).then_some((at, steps)));
        }
        let kind = match all[0] {
            Deed::Tidy(_) => WaveKind::Cleanup,
            Deed::Start(service) if service > 0 && !(0..=service).any(|service| handed_over == Some(service)) => WaveKind::Unrouted,
            Deed::Start(_) | Deed::Stop(_) | Deed::Switch(_) | Deed::Retire(_) => WaveKind::Work,
        };
        Wave { name: format!("w{wave}"), kind, servers }
    });
    let waves = waves.collect();
    let basis = Basis { playbook: String::new(), inventory: String::new(), templates: String::new(), facts: BTreeMap::new() };
    let plan = Plan {
        format: PLAN_FORMAT,
        intent: Intent::Deploy,
        left_out: BTreeSet::new(),
        on_failure: flipside::config::OnFailure::Rollback,
        project: ProjectName::new("p").unwrap(),
        env: EnvName::new("e").unwrap(),
        version: String::new(),
        mode: BackendMode::MultiServer,
        basis,
        services: BTreeMap::new(),
        found: BTreeMap::new(),
        waves,
    };
    (plan, deeds)
}

/// What becomes of the next action, or of everything.
#[derive(Debug, Clone, Copy)]
enum Luck {
    Done,
    Failed {
        effect: bool,
    },
    Lost {
        effect: bool,
    },
    /// Our process dies, and another one takes up its journal.
    Killed {
        effect: bool,
    },
    Abort,
}

struct Fleet {
    shape: Shape,
    deeds: BTreeMap<StepId, Deed>,
    places: BTreeMap<(ServerName, usize), Place>,
    /// Somewhere an undo has failed that requests hang on.
    is_stuck: bool,
    /// Places where an undo failed that only tidiness hangs on, or was left out because somebody is stuck.
    untidy: BTreeSet<(ServerName, usize)>,
}

impl Fleet {
    fn perform(&mut self, id: &StepId, undo: bool) {
        let deed = self.deeds[id];
        if !undo {
            match deed {
                Deed::Stop(_) => {}
                Deed::Start(service) if self.shape.handed_over == Some(service) => {
                    assert!(self.everywhere(service, |place| !place.old_runs), "{id} starts beside what still runs");
                }
                Deed::Start(_) => {}
                Deed::Switch(service) => assert!(self.everywhere(service, |place| place.new_runs), "{id} routes to what does not run"),
                // Nothing old is retired before everything new is switched.
                Deed::Retire(_) => assert!(self.places.values().all(|place| place.routes_new), "{id} retires what is still routed"),
                Deed::Tidy(service) => assert!(self.everywhere(service, |place| !place.old_runs), "{id} tidies before all is retired"),
            }
        }
        let place = self.places.get_mut(&(id.server.clone(), deed.service())).unwrap();
        match deed {
            Deed::Start(_) => place.new_runs = !undo,
            Deed::Switch(_) => place.routes_new = !undo,
            Deed::Stop(_) | Deed::Retire(_) => place.old_runs = undo,
            Deed::Tidy(_) => place.old_is_there = undo,
        }
        (0..self.shape.n_services).for_each(|service| self.look(id, service));
    }

    fn everywhere(&self, service: usize, holds: impl Fn(&Place) -> bool) -> bool {
        let mut running = self.places.iter().filter(|((at, of), _)| *of == service && self.shape.runs_on(service, at));
        running.all(|(_, place)| holds(place))
    }

    fn anywhere(&self, service: usize, holds: impl Fn(&Place) -> bool) -> bool {
        !self.everywhere(service, |place| !holds(place))
    }

    /// Every server's NGINX routes to all servers: what it routes to runs on every one, and on one at least when an undo has failed.
    fn look(&self, id: &StepId, service: usize) {
        if self.shape.handed_over == Some(service) {
            let both = self.anywhere(service, |place| place.old_runs) && self.anywhere(service, |place| place.new_runs);
            assert!(!both, "after {id}: both sides of service {service} run: {:?}", self.places);
            return;
        }
        for ((at, _), place) in self.places.iter().filter(|((_, of), _)| *of == service) {
            let runs = |other: &Place| if place.routes_new { other.new_runs } else { other.old_runs };
            let answers = if self.is_stuck { self.anywhere(service, runs) } else { self.everywhere(service, runs) };
            assert!(answers, "after {id}: {at} routes service {service} to a side that does not run: {:?}", self.places);
        }
    }

    /// The end is the new fleet, or the one from which the run began.
    fn ends(&self, verdict: Verdict) {
        for ((at, service), place) in &self.places {
            let what = format!("service {service} on {at} after {verdict:?}: {place:?}");
            if !self.shape.runs_on(*service, at) {
                let routes_new = matches!(verdict, Verdict::Done | Verdict::DoneWithLeftovers);
                assert!(verdict == Verdict::Stuck || place.routes_new == routes_new, "{what}");
                continue;
            }
            match verdict {
                Verdict::Done => assert_eq!(*place, AFTER, "{what}"),
                Verdict::DoneWithLeftovers => assert_eq!(Place { old_is_there: false, ..*place }, AFTER, "{what}"),
                Verdict::PutBack => {
                    let new_runs = place.new_runs && self.untidy.contains(&(at.clone(), *service));
                    assert_eq!(*place, Place { new_runs, ..BEFORE }, "{what}");
                }
                // That somebody answers was seen after every action.
                Verdict::Held | Verdict::Waiting => panic!("{what}: these plans put back"),
                Verdict::Stuck => assert!(self.is_stuck, "{what}: nobody is"),
            }
        }
    }
}

struct Run {
    plan: Plan,
    fleet: Fleet,
    ledger: Ledger,
}

impl Run {
    fn new(shape: Shape) -> Run {
        let (plan, deeds) = plan(shape);
        let all = (0..shape.n_servers).flat_map(|n| (0..shape.n_services).map(move |service| (server(n), service)));
        let places = all.map(|at| (at, BEFORE)).collect();
        let fleet = Fleet { shape, deeds, places, is_stuck: false, untidy: BTreeSet::new() };
        Run { plan, fleet, ledger: Ledger::default() }
    }

    fn event(&mut self, kind: EventKind) {
        let event = Event { seq: self.ledger.next_seq(), at: 0, kind };
        self.ledger.apply(&event).unwrap_or_else(|error| panic!("{error}"));
    }

    fn open(&mut self) {
        self.event(EventKind::RunOpened { run: "r".to_owned(), plan: "p".to_owned() });
    }

    /// Goes on to the close. When the luck is used up, everything succeeds.
    fn go(&mut self, luck: &[(u8, Luck)]) -> Verdict {
        self.open();
        let mut queues: BTreeMap<ServerName, Vec<(StepId, bool)>> = BTreeMap::new();
        let mut luck = luck.iter().copied();
        // Each step is begun at most twice and undone at most twice between two kills; and every kill uses up a piece of luck.
        let bound = 50 + 6 * self.plan.n_steps() * (2 + luck.len());
        for _ in 0..bound {
            for one in next(&self.plan, &self.ledger) {
                match one {
                    Move::Do(step) | Move::Recheck(step) => {
                        queues.entry(step.server.clone()).or_default().push((step.clone(), false));
                        self.event(EventKind::StepStarted { step });
                    }
                    Move::Undo(step) => {
                        queues.entry(step.server.clone()).or_default().push((step.clone(), true));
                        self.event(EventKind::UndoStarted { step });
                    }
                    Move::Hold => self.event(EventKind::RunHeld),
                    Move::PassGate(wave) => self.event(EventKind::GatePassed { wave }),
                    Move::Close(verdict) => {
                        self.event(EventKind::RunClosed { verdict });
                        self.fleet.ends(verdict);
                        return verdict;
                    }
                }
            }
            queues.retain(|_, queue| !queue.is_empty());
            let (which, what) = luck.next().unwrap_or((0, Luck::Done));
            if let Luck::Abort = what {
                self.event(EventKind::AbortRequested { reason: "a signal".to_owned() });
                continue;
            }
            let Some(at) = queues.keys().nth(which as usize % queues.len().max(1)).cloned() else { continue };
            let (step, undo) = queues.get_mut(&at).unwrap().remove(0);
            let (effect, outcome) = what.outcome();
            if undo && matches!(outcome, Some(Outcome::Failed(_) | Outcome::Unknown(_))) {
                match self.plan.step(&step).unwrap().undo_kind {
                    UndoKind::Restores => self.fleet.is_stuck = true,
                    UndoKind::Cleans => drop(self.fleet.untidy.insert((at.clone(), self.fleet.deeds[&step].service()))),
                }
            }
            if effect {
                self.fleet.perform(&step, undo);
            }
            let Some(outcome) = outcome else {
                queues.clear();
                self.open();
                continue;
            };
            let rest = if matches!(outcome, Outcome::Done { .. }) { Vec::new() } else { std::mem::take(queues.get_mut(&at).unwrap()) };
            let others = rest.into_iter().map(|one| (one, Outcome::NotReached));
            for ((step, undo), outcome) in std::iter::once(((step, undo), outcome)).chain(others) {
                self.event(if undo { EventKind::UndoEnded { step, outcome } } else { EventKind::StepEnded { step, outcome } });
            }
        }
        panic!("the run does not end within {bound} rounds");
    }
}

impl Luck {
    /// Whether there is an effect, and what is told; nothing where nobody lives to hear it.
    fn outcome(self) -> (bool, Option<Outcome>) {
        match self {
            Luck::Done | Luck::Abort => (true, Some(Outcome::Done { seen: String::new() })),
            Luck::Failed { effect } => (effect, Some(Outcome::Failed(Failure::default()))),
            Luck::Lost { effect } => (effect, Some(Outcome::Unknown(Failure::default()))),
            Luck::Killed { effect } => (effect, None),
        }
    }
}

/// Runs a plan to its close; and a run that could not put everything back is taken up once more, when nothing is in its way any more.
fn run(shape: Shape, luck: &[(u8, Luck)]) -> Verdict {
    let mut run = Run::new(shape);
    let verdict = run.go(luck);
    if verdict == Verdict::Stuck {
        run.fleet.untidy.clear();
        assert_eq!(run.go(&[]), Verdict::PutBack, "what was in the way is not any more");
    }
    verdict
}

/// Mishaps now and then; or none for a while, and then one after the other.
fn luck() -> impl Strategy<Value = Vec<(u8, Luck)>> {
    let one = |calm: u8| {
        (any::<u8>(), 0..calm, any::<bool>()).prop_map(|(which, what, effect)| {
            let luck = match what {
                0 => Luck::Failed { effect },
                1 | 2 => Luck::Lost { effect },
                3 | 4 => Luck::Killed { effect },
                5 if effect => Luck::Abort,
                _ => Luck::Done,
            };
            (which, luck)
        })
    };
    let gentle = proptest::collection::vec(one(40), 0..120);
    // Nothing goes wrong, then something does, and then undos fail.
    let rough = (0..40usize, proptest::collection::vec((any::<u8>(), any::<bool>(), any::<bool>()), 1..12));
    let rough = rough.prop_map(|(n_done, ends)| {
        let failed = |(which, fails, effect)| (which, if fails { Luck::Failed { effect } } else { Luck::Done });
        std::iter::repeat_n((0, Luck::Done), n_done).chain(ends.into_iter().map(failed)).collect::<Vec<_>>()
    });
    prop_oneof![gentle, rough]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn somebody_answers_at_every_moment_and_the_end_is_the_new_fleet_or_the_old_one(
        n_servers in 1..4usize, n_services in 1..3usize, handed_over in 0..4usize, one_runs_alone in any::<bool>(), luck in luck()
    ) {
        run(Shape { n_servers, n_services, handed_over: Some(handed_over).filter(|service| *service < n_services), one_runs_alone }, &luck);
    }
}

#[test]
fn every_single_mishap_and_every_pair_of_them_ends_well() {
    let kinds = |effect| [Luck::Failed { effect }, Luck::Lost { effect }, Luck::Killed { effect }, Luck::Abort];
    let all: Vec<Luck> = [true, false].into_iter().flat_map(kinds).collect();
    let mut seen = BTreeSet::new();
    // Two servers with two services: 16 or 18 steps, and as many undos.
    let points = (0..38).flat_map(|first| [0, 1, 4].map(move |second| (first, second)));
    for (handed_over, (first, second)) in points.flat_map(|at| [None, Some(1)].map(|handed_over| (handed_over, at))) {
        for (one, other) in all.iter().flat_map(|one| all.iter().map(move |other| (*one, *other))) {
            let mut luck = vec![(0, Luck::Done); first];
            luck.push((0, one));
            luck.extend(vec![(1, Luck::Done); second]);
            luck.push((1, other));
            seen.insert(format!("{:?}", run(Shape { n_servers: 2, n_services: 2, handed_over, one_runs_alone: first % 2 == 0 }, &luck)));
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["Done", "DoneWithLeftovers", "PutBack", "Stuck"]);
}
