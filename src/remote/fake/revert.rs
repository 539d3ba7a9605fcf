//! The revert of a server in memory: armed, confirmed, or carried out when a test says that its time has come. Deliberately absent: time.
use super::server::FakeServer;
use super::{refuse, seen};
use crate::facts::{RevertFact, RevertState};
use crate::model::{Failure, GenerationId};

impl FakeServer {
    pub(super) fn arm(&mut self, back: &GenerationId, to: &[GenerationId]) -> Result<String, Failure> {
        self.n_reverts += 1;
        self.reverts = to.to_vec();
        let (holder, text) = (self.base.lease.clone().unwrap_or_default(), format!("{}-{}", self.base.hostname, self.n_reverts));
        let (state, at) = (RevertState::Watching, self.base.clock);
        self.base.revert = Some(RevertFact { state, at, back: back.clone(), to: to.to_vec(), holder, text });
        seen("armed")
    }

    pub(super) fn confirm(&mut self, to: &GenerationId) -> Result<String, Failure> {
        match &self.base.nginx.live {
            Some(live) if live == to => {
                self.base.revert = None;
                seen("confirmed")
            }
            live => refuse(format!("generation {live:?} is live instead of {to}")),
        }
    }

    /// The grace of an armed revert is over. Nothing happens while somebody holds the lease, or where nothing is armed.
    pub fn grace_is_over(&mut self) {
        let Some(revert) = self.base.revert.clone().filter(|revert| revert.state == RevertState::Watching) else { return };
        if self.base.lease.is_some() || self.base.nginx.live.as_ref() == Some(&revert.back) {
            self.base.revert = self.base.lease.is_some().then_some(revert);
            return;
        }
        let state = match self.base.nginx.live.clone().filter(|live| self.reverts.contains(live)) {
            None => RevertState::Left,
            Some(live) => match self.switch(Some(&live), &revert.back) {
                Ok(_) => RevertState::Reverted,
                Err(_) => return,
            },
        };
        self.base.revert = Some(RevertFact { state, to: Vec::new(), text: "by itself".to_owned(), ..revert });
    }
}
