//! A task for every lease that is held: a run may have nothing to do on a server for minutes, and its lease goes with a connection that
//! breaks meanwhile. It is taken again long before that server thinks the run dead and puts itself back. Deliberately absent: how a lease
//! is taken again, and when that is refused (see `servers` and `leases`).
use super::servers::{Servers, Site, SurveyError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::{AbortHandle, JoinHandle};

/// Between two looks. A server waits for 15 s before it puts itself back, and a new connection takes a second or two.
const LOOK: Duration = Duration::from_secs(1);
/// After a refusal: whoever holds the lease now is not asked all the time.
const REFUSED: Duration = Duration::from_secs(10);

/// The task of one server, while its lease is held.
#[derive(Debug, Default)]
pub(super) struct Keeper(Mutex<Option<AbortHandle>>);

impl Keeper {
    fn is(&self, task: Option<&JoinHandle<()>>) {
        let task = task.map(JoinHandle::abort_handle);
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), task);
        before.iter().for_each(AbortHandle::abort);
    }

    /// The lease is about to be given back: nobody takes it again.
    pub(super) fn end(&self) {
        self.is(None);
    }
}

impl Servers {
    /// The lease of this server has just been taken: it is taken again whenever it is lost, until the keeper's end. While this process
    /// stands still, so does the task.
    pub(super) fn keep(&self, site: &Arc<Site>) {
        let (servers, kept) = (self.clone(), Arc::clone(site));
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                // What is wrong is told by the next step on this server.
                if let Err(SurveyError::Lease { .. }) = servers.connection_in_passing(&kept).await {
                    tokio::time::sleep(REFUSED).await;
                }
            }
        });
        site.keeper.is(Some(&task));
    }
}
