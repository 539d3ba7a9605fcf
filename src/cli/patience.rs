//! Waiting for other runs, on the servers and on this workstation (`--lock-wait`). While it waits it holds nothing, so that two runs never
//! wait for each other. Deliberately absent: what is done once a run may go on.
use super::exit::Outcome;
use super::print::{complain, talk};
use crate::model::{Millis, ServerName};
use crate::plan::prose;
use crate::remote::{LeaseError, Servers};
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// Between two looks at a lock, give or take a half: runs that were refused together do not come back together.
const AGAIN: Duration = Duration::from_secs(1);

/// How long somebody is ready to wait, in all.
#[derive(Debug)]
pub(super) struct Patience {
    wait: Duration,
    began: Instant,
    told: Option<String>,
}

impl Patience {
    /// Begins now. None at all where it is zero.
    pub(super) fn new(wait: Millis) -> Patience {
        Patience { wait: wait.duration(), began: Instant::now(), told: None }
    }

    /// There was some to begin with.
    pub(super) fn is_given(&self) -> bool {
        !self.wait.is_zero()
    }

    /// Says once whom it waits for, and waits a moment. False when there is no time left. `who` tells the same run from another.
    pub(super) async fn pause(&mut self, who: &str, text: &str) -> bool {
        let left = self.wait.saturating_sub(self.began.elapsed());
        if left.is_zero() {
            return false;
        }
        if self.told.as_deref() != Some(who) {
            talk(&format!("flipside: waiting, {} at most: {}\n", Millis::seconds(left.as_secs().max(1)), prose::clean(text)));
            self.told = Some(who.to_owned());
        }
        let dice = RandomState::new().hash_one(0_u8) % 1000;
        let pause = AGAIN.mul_f64(0.5 + f64::from(u32::try_from(dice).unwrap_or(0)) / 1000.0);
        tokio::time::sleep(pause.min(left)).await;
        true
    }

    /// Waits until nobody holds the lease of any of these servers, and says whether it had to. Takes none. Without patience nothing is asked.
    ///
    /// # Errors
    /// The outcome to exit with.
    pub(super) async fn until_free(&mut self, servers: &Servers, names: &BTreeSet<&ServerName>) -> Result<bool, Outcome> {
        let mut waited = false;
        while self.is_given() {
            let holders = servers.holders(names).await;
            let Some((name, answer)) = holders.into_iter().find(|(_, answer)| !matches!(answer, Ok(None))) else { break };
            match answer {
                Ok(None) => {}
                Ok(Some(holder)) => {
                    self.wait_for(&name, LeaseError::Held(holder)).await?;
                    waited = true;
                }
                Err(error) => return Err(refused(&name, &error)),
            }
        }
        Ok(waited)
    }

    /// Takes the leases of all these servers, and says whether it had to wait.
    ///
    /// # Errors
    /// The outcome to exit with; no lease is held then.
    pub(super) async fn take_leases(&mut self, servers: &Servers, names: &BTreeSet<&ServerName>) -> Result<bool, Outcome> {
        let mut waited = false;
        while let Err((name, error)) = servers.take_leases(names).await {
            self.wait_for(&name, error).await?;
            self.until_free(servers, names).await?;
            waited = true;
        }
        Ok(waited)
    }

    async fn wait_for(&mut self, name: &ServerName, error: LeaseError) -> Result<(), Outcome> {
        match &error {
            LeaseError::Held(holder) if self.pause(&holder.who, &format!("{name}: {error}")).await => Ok(()),
            LeaseError::Held(_) | LeaseError::Failed(_) | LeaseError::Channel(_) => Err(refused(name, &error)),
        }
    }
}

/// Says why a lease is not to be had.
fn refused(name: &ServerName, error: &LeaseError) -> Outcome {
    complain(&format!("{name}: {error}; nothing was changed"));
    match error {
        LeaseError::Held(_) => Outcome::Locked,
        LeaseError::Failed(_) | LeaseError::Channel(_) => Outcome::Unreachable,
    }
}
