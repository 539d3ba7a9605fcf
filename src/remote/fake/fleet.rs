//! A fleet in memory behind [`Remote`], so that whole runs can be driven: performed, failing, or cut off at any step.
//! Deliberately absent: parallel work; servers answer one after another.
use super::server::FakeServer;
use crate::model::{Failure, Outcome, ServerName, StepId};
use crate::remote::{Call, Remote, Update};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

/// What becomes of one step or undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is performed, and its end is told.
    Performed,
    /// It fails before it has had any effect.
    Fails,
    /// Whoever asked dies before it had any effect: no end is told, of this and of all later ones.
    DiesBefore,
    /// Whoever asked dies when it had its effect: no end is told, of this and of all later ones.
    DiesAfter,
}

/// Says what becomes of a call; the number counts all calls that came so far, from 0.
pub type Oracle = dyn Fn(usize, &StepId) -> Fate + Send + Sync;

/// The fleet. Leases are taken and freed as the kernel does it: they end with whoever took them, see [`FakeFleet::servers`].
pub struct FakeFleet {
    state: Mutex<State>,
    fate: Box<Oracle>,
    died: Notify,
}

struct State {
    servers: BTreeMap<ServerName, FakeServer>,
    n_calls: usize,
    is_dead: bool,
}

impl FakeFleet {
    /// A fleet to be run on by one process of ours.
    #[must_use]
    pub fn new(servers: BTreeMap<ServerName, FakeServer>, fate: Box<Oracle>) -> FakeFleet {
        FakeFleet { state: Mutex::new(State { servers, n_calls: 0, is_dead: false }), fate, died: Notify::new() }
    }

    /// The servers as they are once our process has ended: its leases are gone with it.
    #[must_use]
    pub fn servers(&self) -> BTreeMap<ServerName, FakeServer> {
        let mut servers = self.lock().servers.clone();
        for server in servers.values_mut() {
            server.base.lease = None;
        }
        servers
    }

    /// How many calls came.
    #[must_use]
    pub fn n_calls(&self) -> usize {
        self.lock().n_calls
    }

    /// Comes back once our process has died by a [`Fate`]. Whoever runs a plan drops it then.
    pub async fn died(&self) {
        self.died.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// [`None`] when nobody is told how it ended.
    fn call(&self, server: &ServerName, call: &Call) -> Option<Outcome> {
        let mut state = self.lock();
        if state.is_dead {
            return None;
        }
        let fate = (self.fate)(state.n_calls, &call.id);
        state.n_calls += 1;
        state.is_dead = matches!(fate, Fate::DiesBefore | Fate::DiesAfter);
        if state.is_dead {
            self.died.notify_one();
        }
        let refused = |seen: String| Outcome::Failed(Failure { seen, ..Failure::default() });
        let outcome = match (fate, state.servers.get_mut(server)) {
            (_, None) => refused(format!("there is no server {server}")),
            (Fate::Fails, Some(_)) => refused("made to fail".to_owned()),
            (Fate::DiesBefore, Some(_)) => return None,
            (Fate::Performed | Fate::DiesAfter, Some(server)) => {
                let done = call.actions.iter().try_fold(String::new(), |_, action| server.apply(action));
                match done {
                    Ok(seen) => Outcome::Done { seen },
                    Err(failure) => Outcome::Failed(failure),
                }
            }
        };
        (fate != Fate::DiesAfter).then_some(outcome)
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
