//! A fleet in memory behind [`Remote`], so that whole runs can be driven: performed, failing, lost sight of, or cut off at any action.
//! Deliberately absent: parallel work; servers answer one after another.
use super::server::FakeServer;
use super::{refuse, seen};
use crate::model::{Action, Failure, Outcome, ServerName, StepId};
use crate::remote::{Call, Remote, Update};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

/// What becomes of one action. A step has one, an undo may have several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is performed, and its end is told.
    Performed,
    /// It is performed twice, and the second end is told.
    Repeated,
    /// It fails before it has had any effect.
    Fails,
    /// It has its effect, and then it is told to have failed.
    FailsAfter,
    /// The connection is lost, and the lease with it, before it had any effect: its end is told to be unknown.
    LostBefore,
    /// The connection is lost, and the lease with it, when it had its effect: its end is told to be unknown.
    LostAfter,
    /// Whoever asked dies before it had any effect: no end is told, of this and of all later ones.
    DiesBefore,
    /// Whoever asked dies when it had its effect: no end is told, of this and of all later ones.
    DiesAfter,
}

/// Says what becomes of an action; the number counts all actions that came so far, from 0.
pub type Oracle = dyn Fn(usize, &StepId) -> Fate + Send + Sync;

/// Sees the servers after every action that was performed.
pub type Watch = dyn FnMut(&StepId, &Action, &BTreeMap<ServerName, FakeServer>) + Send;

/// The fleet. Leases are taken and freed as the kernel does it: they end with whoever took them, see [`FakeFleet::servers`].
pub struct FakeFleet {
    state: Mutex<State>,
    fate: Box<Oracle>,
    holder: String,
    /// Servers that stay lost put themselves back.
    goes_back: bool,
    died: Notify,
}

struct State {
    servers: BTreeMap<ServerName, FakeServer>,
    watch: Option<Box<Watch>>,
    n_calls: usize,
    is_dead: bool,
    /// Servers whose lease went with a lost connection. It is taken again by the next action, as the real thing does.
    lost: BTreeSet<ServerName>,
    unlocked: Vec<String>,
}

impl FakeFleet {
    /// A fleet to be run on by one process of ours.
    #[must_use]
    pub fn new(servers: BTreeMap<ServerName, FakeServer>, fate: Box<Oracle>) -> FakeFleet {
        let state = State { servers, watch: None, n_calls: 0, is_dead: false, lost: BTreeSet::new(), unlocked: Vec::new() };
        FakeFleet { state: Mutex::new(state), fate, holder: "this run".to_owned(), goes_back: false, died: Notify::new() }
    }

    /// The same, under this name in its leases.
    #[must_use]
    pub fn held_by(mut self, holder: &str) -> FakeFleet {
        self.holder = holder.to_owned();
        self
    }

    /// The same, where the grace of a revert is over as soon as a server that was lost is asked in vain.
    #[must_use]
    pub fn going_back(mut self) -> FakeFleet {
        self.goes_back = true;
        self
    }

    /// The same, watched.
    #[must_use]
    pub fn watched(self, watch: Box<Watch>) -> FakeFleet {
        self.lock().watch = Some(watch);
        self
    }

    /// The servers as they are once our process has ended: its leases are gone with it.
    #[must_use]
    pub fn servers(&self) -> BTreeMap<ServerName, FakeServer> {
        let mut servers = self.servers_meanwhile();
        for server in servers.values_mut() {
            server.base.lease.take_if(|holder| *holder == self.holder);
        }
        servers
    }

    /// The servers while our process is still there, with its leases: as when it stands still.
    #[must_use]
    pub fn servers_meanwhile(&self) -> BTreeMap<ServerName, FakeServer> {
        self.lock().servers.clone()
    }

    /// How many actions came.
    #[must_use]
    pub fn n_calls(&self) -> usize {
        self.lock().n_calls
    }

    /// Everything that was done to a server whose lease was not ours. Must stay empty.
    #[must_use]
    pub fn unlocked(&self) -> Vec<String> {
        self.lock().unlocked.clone()
    }

    /// Takes the leases of these servers again, for a run that was cut off.
    ///
    /// # Errors
    /// The first server whose lease somebody else holds, and who.
    pub fn lease_again(&self, servers: &BTreeSet<&ServerName>) -> Result<(), (ServerName, Failure)> {
        let mut state = self.lock();
        for (name, server) in state.servers.iter_mut().filter(|(name, _)| servers.contains(name)) {
            self.lease(server).map_err(|failure| (name.clone(), failure))?;
        }
        Ok(())
    }

    /// Comes back once our process has died by a [`Fate`]. Whoever runs a plan drops it then.
    pub async fn died(&self) {
        self.died.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lease(&self, server: &mut FakeServer) -> Result<String, Failure> {
        match &server.base.lease {
            Some(other) if *other != self.holder => refuse(format!("locked by {other}")),
            Some(_) | None => {
                server.base.lease = Some(self.holder.clone());
                seen("locked")
            }
        }
    }

    /// [`None`] when nobody is told how it ended.
    fn call(&self, server: &ServerName, call: &Call) -> Option<Outcome> {
        let mut last = String::new();
        for action in &call.actions {
            match self.act(server, &call.id, action)? {
                Outcome::Done { seen } => last = seen,
                other @ (Outcome::Failed(_) | Outcome::Unknown(_) | Outcome::NotReached) => return Some(other),
            }
        }
        Some(Outcome::Done { seen: last })
    }

    /// [`None`] when nobody is told how it ended.
    fn act(&self, name: &ServerName, id: &StepId, action: &Action) -> Option<Outcome> {
        let mut state = self.lock();
        let State { servers, watch, n_calls, is_dead, lost, unlocked } = &mut *state;
        if *is_dead {
            return None;
        }
        let fate = (self.fate)(*n_calls, id);
        *n_calls += 1;
        let failure = |seen: &str| Failure { seen: seen.to_owned(), ..Failure::default() };
        let Some(server) = servers.get_mut(name) else {
            return Some(Outcome::Failed(failure("there is no such server")));
        };
        let n_times = match fate {
            Fate::Performed | Fate::FailsAfter | Fate::LostAfter | Fate::DiesAfter => 1,
            Fate::Repeated => 2,
            Fate::Fails | Fate::LostBefore | Fate::DiesBefore => 0,
        };
        // Out of reach for long: its lease is free, and it does what it was armed to.
        if fate == Fate::Fails && self.goes_back && lost.contains(name) {
            server.grace_is_over();
        }
        let mut done = seen("");
        for _ in 0..n_times {
            if lost.remove(name) {
                done = self.lease(server);
            }
            if done.is_ok() {
                if server.base.lease.as_ref() != Some(&self.holder) && !matches!(action, Action::Lock) {
                    unlocked.push(format!("{id} on {name}, whose lease is {:?}", server.base.lease));
                }
                done = if matches!(action, Action::Lock) { self.lease(server) } else { server.apply(action) };
            }
            if done.is_err() {
                break;
            }
        }
        if matches!(fate, Fate::LostBefore | Fate::LostAfter) && server.base.lease.take_if(|holder| *holder == self.holder).is_some() {
            lost.insert(name.clone());
        }
        if let Some(watch) = watch.as_mut() {
            watch(id, action, servers);
        }
        match (fate, done) {
            (Fate::DiesBefore | Fate::DiesAfter, _) => {
                *is_dead = true;
                self.died.notify_one();
                None
            }
            (Fate::LostBefore | Fate::LostAfter, _) => Some(Outcome::Unknown(failure("lost on demand"))),
            (Fate::Fails | Fate::FailsAfter, _) => Some(Outcome::Failed(failure("made to fail"))),
            (Fate::Performed | Fate::Repeated, Ok(seen)) => Some(Outcome::Done { seen }),
            (Fate::Performed | Fate::Repeated, Err(failure)) => Some(Outcome::Failed(failure)),
        }
    }
}

impl Remote for FakeFleet {
    async fn perform(&self, server: ServerName, calls: Vec<Call>, tell: UnboundedSender<Update>) {
        let mut is_broken = false;
        for call in calls {
            let outcome = if is_broken { Some(Outcome::NotReached) } else { self.call(&server, &call) };
            let Some(outcome) = outcome else {
                // Whoever asked is dead: this future is never finished, only dropped.
                return std::future::pending().await;
            };
            is_broken |= !matches!(outcome, Outcome::Done { .. });
            let _ = tell.send(Update::Begun(call.id.clone()));
            let _ = tell.send(Update::Ended(call.id, outcome));
            // What has ended may be written down before the next one begins.
            tokio::task::yield_now().await;
        }
    }
}
