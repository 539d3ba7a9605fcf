//! The real engine (dispatch, journal, resume) on servers in memory, with one mishap a run. What the servers and the disk held at every
//! action can be kept, so that a process that dies there need not be run up to there again. Deliberately absent: time, bytes, half-done
//! actions.
use crate::baseline::Baseline;
use crate::cases::Case;
use crate::driver::Servers;
use flipside::ledger::Ledger;
use flipside::model::{Action, StepId, Verdict};
use flipside::plan::{
    Fleet, Plan, asked_anew, back_by_themselves, is_asked_anew, is_tried_again, overtaken, past_undoing, rebased, waits_for_promotion,
};
use flipside::remote::fake::{FakeFleet, Fate};
use flipside::run::{Journal, Notice, OpenRun, Stop, dispatch, open_runs, stuck_run};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::sync::watch;

/// What goes wrong in a run. Actions are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// Nothing.
    None,
    /// Nothing; and what was there at every action is kept.
    Record,
    /// This action has this fate.
    Once(usize, Fate),
    /// This action is lost sight of, and so is its step when it is looked at again.
    LostTwice(usize),
    /// The connection to this action's server is lost, before its effect, and so many attempts to reach it fail after that.
    Gone { at: usize, n_fails: usize, server: Lost },
    /// Somebody asks to stop when this action comes.
    Stopped(usize),
}

/// What a server does that is out of reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Nothing, as one that stands still.
    Waits,
    /// It puts itself back where it is armed.
    GoesBack,
}

impl Mishap {
    /// What becomes of each action. It is told where somebody asks to stop.
    fn oracle(self, stop: watch::Sender<Stop>) -> impl Fn(usize, &StepId) -> Fate + Send + Sync {
        let struck: Mutex<Option<(StepId, usize)>> = Mutex::new(None);
        move |n, id| match self {
            Mishap::None | Mishap::Record => Fate::Performed,
            Mishap::Once(at, fate) => {
                if n == at {
                    fate
                } else {
                    Fate::Performed
                }
            }
            Mishap::Stopped(at) => {
                if n == at {
                    stop.send(Stop::Undo).unwrap();
                }
                Fate::Performed
            }
            Mishap::LostTwice(at) => {
                let mut struck = struck.lock().unwrap();
                if n == at {
                    *struck = Some((id.clone(), 0));
                }
                match struck.as_mut().filter(|(step, n_lost)| step == id && *n_lost < 2) {
                    Some((_, n_lost)) => {
                        *n_lost += 1;
                        Fate::LostAfter
                    }
                    None => Fate::Performed,
                }
            }
            Mishap::Gone { at, n_fails, .. } => {
                let mut struck = struck.lock().unwrap();
                if n == at {
                    *struck = Some((id.clone(), 0));
                    return Fate::LostBefore;
                }
                match struck.as_mut().filter(|(step, n)| step.server == id.server && *n < n_fails) {
                    Some((_, n_failed)) => {
                        *n_failed += 1;
                        Fate::Fails
                    }
                    None => Fate::Performed,
                }
            }
        }
    }
}

/// How a run that was cut off is taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    On,
    /// By the process that got so far, which lives: it asks nothing anew.
    Uninterrupted,
    Promote,
    Back,
}

/// What was there when our process could have died.
#[derive(Debug, Clone)]
pub struct Moment {
    /// With the leases of the process.
    pub servers: Servers,
    /// So many bytes of the journal were on disk.
    pub journal: usize,
}

/// The fleet after our process has ended, whose leases are gone with it.
pub fn unleased(servers: &Servers) -> Servers {
    let mut servers = servers.clone();
    servers.values_mut().for_each(|server| server.base.lease = None);
    servers
}

/// How a run came out.
#[derive(Debug)]
pub struct Ran {
    /// The servers, once our process has ended.
    pub servers: Servers,
    /// None when it did not come to an end.
    pub verdict: Option<Verdict>,
    /// The step of every action that was asked for.
    pub steps: Vec<StepId>,
    /// What must never be, and was: after which action, and what.
    pub faults: Vec<String>,
    /// Before and after each action, of a run that is recorded.
    pub moments: Vec<Moment>,
    /// The whole journal.
    pub journal: Vec<u8>,
}

/// A person's machine: a name, and a state folder with one run.
#[derive(Debug)]
pub struct Workstation {
    name: &'static str,
    state: TempDir,
    journal: RefCell<PathBuf>,
    /// The plan's file as it was when the run began.
    plan: RefCell<Vec<u8>>,
}

impl Workstation {
    /// Journals are flushed at every step: where there is a disk in memory, they go there.
    pub fn new(name: &'static str) -> Workstation {
        let memory = Path::new("/dev/shm");
        let state = if memory.is_dir() { TempDir::new_in(memory).unwrap() } else { TempDir::new().unwrap() };
        Workstation { name, state, journal: RefCell::default(), plan: RefCell::default() }
    }

    /// Runs a plan.
    pub async fn run(&self, case: &Arc<Case>, base: &Baseline, plan: &Plan, servers: Servers, mishap: Mishap) -> Ran {
        let mut ledger = Ledger::default();
        let journal = Journal::create(self.state.path(), plan, &mut ledger).unwrap();
        *self.journal.borrow_mut() = journal.folder().join("journal.jsonl");
        *self.plan.borrow_mut() = fs::read(journal.folder().join("plan.json")).unwrap();
        self.engine(case, base, (plan, ledger, journal), servers, mishap).await
    }

    /// Goes on with the run that was cut off, or undoes it, as `resume` and `abort` do. None where it is past undoing, and was to be undone.
    pub async fn take_up(&self, case: &Arc<Case>, base: &Baseline, servers: Servers, way: Way, mishap: Mishap) -> Option<Ran> {
        let mut run = self.left();
        let refused = match way {
            Way::On | Way::Uninterrupted => false,
            Way::Promote => waits_for_promotion(&run.plan, &run.ledger).is_none(),
            Way::Back => past_undoing(&run.plan, &run.ledger),
        };
        if refused {
            return None;
        }
        let fleet = FakeFleet::new(servers, Box::new(|_, _| Fate::Performed)).held_by(self.name);
        fleet.lease_again(&run.plan.servers()).unwrap();
        let servers = fleet.servers_meanwhile();
        let facts: Fleet = servers.iter().map(|(name, server)| (name.clone(), server.facts())).collect();
        run.plan = rebased(&run.plan, &run.ledger, &facts);
        let again = way == Way::On && is_tried_again(&run.plan, &run.ledger);
        let goes_back = run.ledger.unwinding() && !again;
        let back = if goes_back { Vec::new() } else { back_by_themselves(&run.plan, &run.ledger, &facts) };
        let mut journal = Journal::reopen(&mut run).unwrap();
        let anew = asked_anew(&run.plan, &run.ledger);
        if way == Way::Back {
            journal.ask_to_undo(&mut run.ledger, "abort").unwrap();
        } else if !back.is_empty() {
            journal.ask_to_undo(&mut run.ledger, &back.join("; ")).unwrap();
        } else if way == Way::Promote {
            let wave = waits_for_promotion(&run.plan, &run.ledger).unwrap();
            journal.promote(&mut run.ledger, wave, anew).unwrap();
        } else if again || (way == Way::On && is_asked_anew(&run.plan, &run.ledger)) {
            journal.ask_to_retry(&mut run.ledger, anew).unwrap();
        }
        Some(self.engine(case, base, (&run.plan, run.ledger, journal), servers, mishap).await)
    }

    /// Goes on with the run that was cut off.
    pub async fn resume(&self, case: &Arc<Case>, base: &Baseline, servers: Servers, mishap: Mishap) -> Ran {
        self.take_up(case, base, servers, Way::On, mishap).await.unwrap()
    }

    /// The run that was cut off, or else that could not be put back.
    fn left(&self) -> OpenRun {
        let cut_off = open_runs(self.state.path()).unwrap().pop();
        cut_off.or_else(|| stuck_run(self.state.path()).unwrap()).unwrap()
    }

    /// The journal as it was at some moment.
    pub fn cut(&self, journal: &[u8]) {
        fs::write(&*self.journal.borrow(), journal).unwrap();
    }

    /// The disk as it was at some moment. A plan that was made anew since is made anew again.
    pub fn rewind(&self, journal: &[u8]) {
        fs::write(self.journal.borrow().with_file_name("plan.json"), &*self.plan.borrow()).unwrap();
        self.cut(journal);
    }

    /// Why `resume` would refuse here.
    pub fn overtaken(&self, case: &Case, servers: &Servers) -> Vec<String> {
        let run = self.left();
        let fleet: Fleet = servers.iter().map(|(name, server)| (name.clone(), server.facts())).collect();
        overtaken(&rebased(&run.plan, &run.ledger, &fleet), &run.ledger, &case.inventory, &fleet)
    }

    /// Whether the run can only go on.
    pub fn is_past_undoing(&self) -> bool {
        let run = self.left();
        past_undoing(&run.plan, &run.ledger)
    }

    /// Whether a run was cut off here.
    pub fn has_open_run(&self) -> bool {
        !open_runs(self.state.path()).unwrap().is_empty()
    }

    async fn engine(
        &self,
        case: &Arc<Case>,
        base: &Baseline,
        (plan, mut ledger, mut journal): (&Plan, Ledger, Journal),
        servers: Servers,
        mishap: Mishap,
    ) -> Ran {
        let path = self.journal.borrow().clone();
        let on_disk = move || usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
        let steps: Arc<Mutex<Vec<StepId>>> = Arc::default();
        let faults: Arc<Mutex<Vec<(StepId, String)>>> = Arc::default();
        let moments: Arc<Mutex<Vec<Moment>>> = Arc::default();
        let keeps = mishap == Mishap::Record;
        let (stop, stopped) = watch::channel(Stop::No);
        let oracle = {
            let (steps, moments, on_disk, first, fate) =
                (Arc::clone(&steps), Arc::clone(&moments), on_disk.clone(), keeps.then(|| servers.clone()), mishap.oracle(stop));
            move |n: usize, id: &StepId| {
                steps.lock().unwrap().push(id.clone());
                if let Some(first) = &first {
                    let mut moments = moments.lock().unwrap();
                    let servers = moments.last().map_or_else(|| first.clone(), |last| last.servers.clone());
                    moments.push(Moment { servers, journal: on_disk() });
                }
                fate(n, id)
            }
        };
        let watch = {
            let (faults, moments, on_disk, case, base) =
                (Arc::clone(&faults), Arc::clone(&moments), on_disk.clone(), Arc::clone(case), base.clone());
            move |id: &StepId, action: &Action, servers: &Servers| {
                if matters(action) {
                    let broken = base.broken(&case, servers);
                    faults.lock().unwrap().extend(broken.into_iter().map(|what| (id.clone(), what)));
                }
                if keeps {
                    moments.lock().unwrap().push(Moment { servers: servers.clone(), journal: on_disk() });
                }
            }
        };
        let mut fleet = FakeFleet::new(servers, Box::new(oracle)).held_by(self.name).watched(Box::new(watch));
        if matches!(mishap, Mishap::Gone { server: Lost::GoesBack, .. }) {
            fleet = fleet.going_back();
        }
        let fleet = Arc::new(fleet);
        let mut tell = |_: Notice<'_>| {};
        let verdict = tokio::select! {
            ended = dispatch(plan, &mut ledger, &mut journal, &fleet, stopped, &mut tell) => Some(ended.unwrap()),
            () = fleet.died() => None,
        };
        let faults = std::mem::take(&mut *faults.lock().unwrap()).into_iter();
        let mut faults: Vec<String> =
            faults.map(|(id, what)| format!("after an action of {id} ({}): {what}", plan.step(&id).unwrap().title)).collect();
        faults.extend(fleet.unlocked());
        let steps = std::mem::take(&mut *steps.lock().unwrap());
        let moments = std::mem::take(&mut *moments.lock().unwrap());
        Ran { servers: fleet.servers(), verdict, steps, faults, moments, journal: fs::read(&*self.journal.borrow()).unwrap() }
    }
}

/// Whether an action may change what is served: all but those that only look, or write what nobody reads yet.
fn matters(action: &Action) -> bool {
    !matches!(
        action,
        Action::Lock
            | Action::ConfirmFacts { .. }
            | Action::EnsureNetwork(_)
            | Action::PullImage { .. }
            | Action::AwaitHealthy { .. }
            | Action::StayHealthy { .. }
            | Action::JudgeCanary(_)
            | Action::AwaitDoor { .. }
            | Action::StageNginx { .. }
            | Action::CheckRoute(_)
    )
}
