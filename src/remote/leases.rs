//! The leases of the servers that a run involves: all of them or none, who holds one that is not to be had, and ending one by hand.
//! Deliberately absent: the lock itself (see `script::lease`), and waiting for it.
use super::servers::{Servers, Site, SurveyError};
use super::ssh::{ChannelError, Connection, Held};
use crate::model::{Millis, ServerName};
use crate::script::revert::ITSELF;
use crate::script::{Claim, lease, lease_end, lease_sight, lease_unused};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Taking the lease may take this long.
const LEASE_DEADLINE: Duration = Duration::from_secs(15);
/// What an older run left running on a server ends within this time; the server says so when it waits for it.
const WORK_DEADLINE: Duration = Duration::from_secs(60);
/// A server frees the lease of a connection that fell silent after 20 s: that long our own old lease may stand in our way.
const OWN_LEASE_ENDS: Duration = Duration::from_secs(30);
/// Between two questions for it.
const OWN_LEASE_AGAIN: Duration = Duration::from_millis(500);
/// A run that has had a lease for longer has got all that it wanted, or has given it back.
const JUST_BEGUN: Millis = Millis::seconds(15);
/// So often a lease is asked for again that another run gives back; the server tries for some three seconds each time.
const ROUNDS: u32 = 4;
/// Ending a run by hand: SIGTERM, five seconds, SIGKILL.
const END_DEADLINE: Duration = Duration::from_secs(20);

/// How the words of a lock begin that somebody else holds, in an error and in a failure.
pub const LOCKED_BY: &str = "locked by ";

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// In words for a person: `ann@laptop: flipside deploy of shop/prod (pid 4711, since …)`.
    pub who: String,
    /// Since it was taken, by the server's clock; None where that is not known.
    pub age: Option<Millis>,
}

impl Holder {
    /// It is no run, but the server, which puts back what a run left half switched.
    #[must_use]
    pub fn is_the_server_itself(&self) -> bool {
        self.who.starts_with(ITSELF)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.who)?;
        match self.age {
            Some(Millis(age)) if age < 120_000 => write!(f, ", held for {} s", age / 1000),
            Some(Millis(age)) if age < 7_200_000 => write!(f, ", held for {} min", age / 60_000),
            Some(Millis(age)) => write!(f, ", held for {} h", age / 3_600_000),
            None => Ok(()),
        }
    }
}

/// Why a lease was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else holds it.
    #[error("{LOCKED_BY}{0}")]
    Held(Holder),
    /// It could not be asked for.
    #[error("{0}")]
    Failed(String),
    /// The connection failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

impl From<SurveyError> for LeaseError {
    fn from(error: SurveyError) -> Self {
        LeaseError::Failed(error.to_string())
    }
}

impl Servers {
    /// Takes the leases of all these servers, or of none. They are held until [`Servers::release`] or [`Servers::free_leases`], or until
    /// we die. A lease that somebody else holds is not waited for, so two runs never wait for each other.
    ///
    /// The first server by name comes alone and the others together, so that of two runs that begin in the same moment on the same servers
    /// one gets them all and the other none. Where their servers overlap only in part, each may find the other on one that it wants: then
    /// the run whose words come first keeps what it has and asks again, while the other gives back what it has.
    ///
    /// # Errors
    /// The first server whose lease is not to be had, and why; then no lease is held.
    pub async fn take_leases(&self, servers: &BTreeSet<&ServerName>) -> Result<(), (ServerName, LeaseError)> {
        let mut names = servers.iter().map(|name| (*name).clone());
        let first: Vec<ServerName> = names.by_ref().take(1).collect();
        let mut refused = self.take_together(first).await;
        if refused.is_empty() {
            refused = self.take_together(names.collect()).await;
            let mut rounds = ROUNDS;
            while rounds > 0 && !refused.is_empty() && refused.values().all(|error| self.is_given_way(error)) {
                rounds -= 1;
                refused = self.take_together(refused.into_keys().collect()).await;
            }
        }
        match refused.into_iter().next() {
            None => Ok(()),
            Some(error) => {
                self.give_back_leases().await;
                Err(error)
            }
        }
    }

    /// Takes these leases at once, and says which are not to be had.
    async fn take_together(&self, names: Vec<ServerName>) -> BTreeMap<ServerName, LeaseError> {
        let mut tasks = JoinSet::new();
        for name in names {
            let Some(site) = self.site(&name) else { continue };
            let servers = self.clone();
            tasks.spawn(async move { (name, servers.take_lease(&site).await) });
        }
        let mut refused: BTreeMap<ServerName, LeaseError> = BTreeMap::new();
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok((name, Err(error))) => drop(refused.insert(name, error)),
                Ok((_, Ok(_))) => {}
                // What has not said that it has the lease has not got it.
                Err(broken) if broken.is_panic() => std::panic::resume_unwind(broken.into_panic()),
                Err(_) => {}
            }
        }
        refused
    }

    /// Whether it is held by a run that may be taking its leases at this moment, as we are, and that would give way to us. A run that is
    /// giving it back shows no age, and the words of whoever had it before.
    fn is_given_way(&self, error: &LeaseError) -> bool {
        match error {
            LeaseError::Held(Holder { who, age }) => age.is_none_or(|age| age < JUST_BEGUN && *self.holder < **who),
            LeaseError::Failed(_) | LeaseError::Channel(_) => false,
        }
    }

    /// Gives all leases back, and keeps the connections.
    pub async fn free_leases(&self) {
        self.let_go(None).await;
    }

    /// As [`Servers::free_leases`], of a run that has changed nothing: whoever held them before may take them again, as if we had not been
    /// here.
    pub async fn give_back_leases(&self) {
        self.let_go(Some(&self.holder)).await;
    }

    async fn let_go(&self, unused_by: Option<&str>) {
        let mut tasks = JoinSet::new();
        for site in self.sites.values().cloned() {
            site.keeper.end();
            let unused = unused_by.map(|holder| lease_unused(&site.context, holder));
            tasks.spawn(async move {
                let connection = site.connection.lock().await.clone();
                let Some(held) = site.lease.lock().await.take() else { return };
                if let Some((unused, connection)) = unused.zip(connection) {
                    let _ = connection.run_script(&unused, LEASE_DEADLINE, &mut |_| {}).await;
                }
                let _ = held.close(Duration::from_secs(5)).await;
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Who holds the leases of these servers; None for one that is free. Takes none.
    pub async fn holders(&self, names: &BTreeSet<&ServerName>) -> BTreeMap<ServerName, Result<Option<Holder>, LeaseError>> {
        let mut tasks = JoinSet::new();
        for name in names {
            let Some(site) = self.site(name) else { continue };
            let (servers, name) = (self.clone(), (*name).clone());
            tasks.spawn(async move { (name, servers.holder_of(&site).await) });
        }
        let mut all = BTreeMap::new();
        while let Some(done) = tasks.join_next().await {
            if let Ok((name, holder)) = done {
                all.insert(name, holder);
            }
        }
        all
    }

    async fn holder_of(&self, site: &Arc<Site>) -> Result<Option<Holder>, LeaseError> {
        let connection = self.connection(site).await?;
        let mut told = Told::default();
        connection.run_script(&lease_sight(&site.context), LEASE_DEADLINE, &mut |line| told.hear(line)).await?;
        Ok(told.held.map(|who| Holder { who, age: told.age }))
    }

    /// Ends the run that holds the server's lease, with all its scripts there, and says how many processes that were. `holder` is who was
    /// seen to hold it: nobody else is ended.
    ///
    /// # Errors
    /// [`LeaseError`] where it is held all the same, or went to somebody else.
    pub async fn end_lease(&self, server: &ServerName, holder: &Holder) -> Result<u64, LeaseError> {
        let Some(site) = self.site(server) else { return Ok(0) };
        let connection = self.connection(&site).await?;
        let mut told = Told::default();
        let script = lease_end(&site.context, &holder.who, &self.holder);
        connection.run_script(&script, END_DEADLINE, &mut |line| told.hear(line)).await?;
        match (told.failed, told.ended) {
            (Some(why), _) => Err(LeaseError::Failed(why)),
            (None, Some(n_ended)) => Ok(n_ended),
            (None, None) => Err(LeaseError::Failed("the server ended the script without a word".to_owned())),
        }
    }

    /// Takes the server's lease; it is held until [`Servers::release`], until the connection is lost, or until we die.
    pub(super) async fn take_lease(&self, site: &Arc<Site>) -> Result<(), LeaseError> {
        let connection = self.connection(site).await?;
        let mut slot = site.lease.lock().await;
        if slot.is_some() {
            return Ok(());
        }
        *slot = Some(self.lease_over(&connection, site, Claim::First).await?);
        self.keep(site);
        Ok(())
    }

    /// Takes the lease over this connection. One that an older connection of ours still holds, or a server that puts itself back at this
    /// moment, is waited for.
    pub(super) async fn lease_over(&self, connection: &Connection, site: &Site, claim: Claim) -> Result<Held, LeaseError> {
        let until = tokio::time::Instant::now() + OWN_LEASE_ENDS;
        loop {
            match self.ask_for_lease(connection, site, claim).await {
                Err(LeaseError::Held(holder))
                    if (*holder.who == *self.holder || holder.is_the_server_itself()) && tokio::time::Instant::now() < until =>
                {
                    tokio::time::sleep(OWN_LEASE_AGAIN).await;
                }
                answer => return answer,
            }
        }
    }

    async fn ask_for_lease(&self, connection: &Connection, site: &Site, claim: Claim) -> Result<Held, LeaseError> {
        // What a start-up file of the login shell has said last may have no line feed: it gets one.
        let script = format!("echo\n{}", lease(&site.context, &self.holder, claim));
        let mut held = connection.hold(&script, LEASE_DEADLINE).await?;
        let mut told = Told::default();
        loop {
            let within = if told.waits { WORK_DEADLINE } else { LEASE_DEADLINE };
            match held.line(within).await? {
                None => return Err(LeaseError::Failed("the server ended the lease's script without a word".to_owned())),
                Some(line) if line == "locked" => return Ok(held),
                Some(line) => told.hear(&line),
            }
            if let Some(who) = told.held {
                return Err(LeaseError::Held(Holder { who, age: told.age }));
            }
            if let Some(why) = told.failed {
                return Err(LeaseError::Failed(why));
            }
        }
    }
}

/// What the scripts of a lease say.
#[derive(Default)]
struct Told {
    age: Option<Millis>,
    held: Option<String>,
    failed: Option<String>,
    ended: Option<u64>,
    waits: bool,
}

impl Told {
    fn hear(&mut self, line: &str) {
        if line == "waiting" {
            self.waits = true;
        }
        let Some((key, value)) = line.split_once(": ") else { return };
        match key {
            "age" => self.age = value.parse().ok().map(Millis::seconds),
            "held" => self.held = Some(value.to_owned()),
            "failed" => self.failed = Some(value.to_owned()),
            "ended" => self.ended = value.parse().ok(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_named_with_the_age_of_its_lease() {
        let text = |age| Holder { who: "ann@laptop: flipside deploy of shop/prod".to_owned(), age }.to_string();
        assert_eq!(text(None), "ann@laptop: flipside deploy of shop/prod");
        assert!(text(Some(Millis::seconds(119))).ends_with(", held for 119 s"));
        assert!(text(Some(Millis::seconds(7199))).ends_with(", held for 119 min"));
        assert!(text(Some(Millis::seconds(7200))).ends_with(", held for 2 h"));
    }
}
