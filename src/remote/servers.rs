//! The real servers: one connection each, their facts, their leases. Deliberately absent: what is done to them (see `execute`).
use super::ssh::{ChannelError, ConnectError, Connection, Connector, Held, NoKeyAtAll, Target, TargetError, TunnelError};
use crate::config::Inventory;
use crate::facts::{Facts, FactsError, question, read};
use crate::model::ServerName;
use crate::script::{ScriptContext, lease};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// The facts of one server may take this long.
const FACTS_DEADLINE: Duration = Duration::from_secs(30);
/// Reaching a server that was out of reach when it was tried last may take this long.
const RECONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Asking whether there are tunnels may take this long.
const TUNNEL_DEADLINE: Duration = Duration::from_secs(3);
/// Taking the lease may take this long.
const LEASE_DEADLINE: Duration = Duration::from_secs(15);
/// A server frees the lease of a connection that fell silent after 20 s: that long our own old lease may stand in our way.
const OWN_LEASE_ENDS: Duration = Duration::from_secs(30);
/// Between two questions for it.
const OWN_LEASE_AGAIN: Duration = Duration::from_millis(500);

/// Why a server has no facts.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// The inventory does not say how to reach it.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// It cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It could not be reached before, and cannot be reached now.
    #[error("{server} still cannot be reached: no connection within {seconds} s")]
    StillOutOfReach {
        /// The server.
        server: ServerName,
        /// How long was waited this time.
        seconds: u64,
    },
    /// It was reached, and then lost or silent.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// It answered something that is no facts.
    #[error("{server}: {source}")]
    Facts {
        /// The server.
        server: ServerName,
        /// Why.
        source: FactsError,
    },
    /// It was lost and reached again, but its lease is not ours any more.
    #[error("{server}: the connection was lost and made again, but the lock went with it: {why}")]
    Lease {
        /// The server.
        server: ServerName,
        /// Who holds it now, or why it is not to be had.
        why: String,
    },
}

/// How the words of a lock begin that somebody else holds, in an error and in a failure.
pub const LOCKED_BY: &str = "locked by ";

/// Why a lease was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else holds it.
    #[error("{LOCKED_BY}{0}")]
    Held(String),
    /// It could not be asked for.
    #[error("{0}")]
    Failed(String),
    /// The connection failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

/// One server in use.
pub(super) struct Site {
    pub(super) target: Target,
    pub(super) context: ScriptContext,
    connection: Mutex<Option<Connection>>,
    lease: Mutex<Option<Held>>,
    /// The last connection to it was not to be had.
    out_of_reach: AtomicBool,
    /// Its engine did not answer when it was asked last.
    pub(super) engine_hangs: AtomicBool,
}

/// All servers in use. Clones share their connections and leases.
#[derive(Clone)]
pub struct Servers {
    connector: Connector,
    sites: Arc<BTreeMap<ServerName, Arc<Site>>>,
    holder: Arc<str>,
}

impl Servers {
    /// Prepares every server of the inventory; nothing is connected yet. `holder` is who takes leases, in words for a person.
    ///
    /// # Errors
    /// [`TargetError`] when the inventory does not say how to reach a server.
    pub fn new(connector: Connector, inventory: &Inventory, inventory_dir: &Path, holder: &str) -> Result<Servers, TargetError> {
        let mut sites = BTreeMap::new();
        for (name, server) in &inventory.servers {
            let target = Target::resolve(inventory, name, inventory_dir, connector.surroundings())?;
            let context = ScriptContext { docker: server.docker.clone(), remote_root: server.remote_root.clone() };
            let site = Site {
                target,
                context,
                connection: Mutex::new(None),
                lease: Mutex::new(None),
                engine_hangs: AtomicBool::new(false),
                out_of_reach: AtomicBool::new(false),
            };
            sites.insert(name.clone(), Arc::new(site));
        }
        Ok(Servers { connector, sites: Arc::new(sites), holder: holder.into() })
    }

    /// Reads the keys for all servers, which asks for passphrases. Before anything is connected.
    ///
    /// # Errors
    /// There is no key for any server.
    pub async fn prepare(&self) -> Result<(), NoKeyAtAll> {
        let targets: Vec<&Target> = self.sites.values().map(|site| &site.target).collect();
        self.connector.prepare(&targets).await
    }

    pub(super) fn site(&self, server: &ServerName) -> Option<Arc<Site>> {
        self.sites.get(server).cloned()
    }

    /// The connection, made when there is none or when it was lost. A lease that went with it is taken again; so is one that the server
    /// gave up because this process stood still for too long (Ctrl-Z, a closed lid), if nobody else held it in between.
    pub(super) async fn connection(&self, site: &Site) -> Result<Connection, SurveyError> {
        let mut slot = site.connection.lock().await;
        match self.connection_in(&mut slot, site).await {
            // What broke a moment ago may show at the lease before it shows at the connection: then it is made anew.
            Err(SurveyError::Channel(ChannelError::Lost { .. })) if slot.is_some() => {
                *slot = None;
                self.connection_in(&mut slot, site).await
            }
            answer => answer,
        }
    }

    async fn connection_in(&self, slot: &mut Option<Connection>, site: &Site) -> Result<Connection, SurveyError> {
        let mut is_new = false;
        let connection = match slot.as_ref() {
            Some(connection) if tokio::time::timeout(Duration::ZERO, connection.lost()).await.is_err() => connection.clone(),
            Some(_) | None => {
                *slot = None;
                is_new = true;
                self.connect(site).await?
            }
        };
        let mut lease = site.lease.lock().await;
        if let Some(held) = lease.as_mut()
            && (is_new || held.has_ended().await)
        {
            let lost = |why: String| SurveyError::Lease { server: site.target.name.clone(), why };
            let (held, before) = match self.lease_over(&connection, site).await {
                Err(LeaseError::Channel(error @ ChannelError::Lost { .. })) if !is_new => return Err(error.into()),
                answer => answer.map_err(|error| lost(error.to_string()))?,
            };
            if before.as_ref().is_some_and(|who| who != &*self.holder) {
                return Err(lost(format!("in between it was held by {}", before.unwrap_or_default())));
            }
            *lease = Some(held);
        }
        *slot = Some(connection.clone());
        Ok(connection)
    }

    /// A new connection. A server that was out of reach a moment ago is given less time: what is undone on it is many steps, one by one.
    async fn connect(&self, site: &Site) -> Result<Connection, SurveyError> {
        let connecting = self.connector.connect(&site.target);
        let connected = if site.out_of_reach.load(Ordering::Relaxed) {
            let late = |_| SurveyError::StillOutOfReach { server: site.target.name.clone(), seconds: RECONNECT_DEADLINE.as_secs() };
            tokio::time::timeout(RECONNECT_DEADLINE, connecting).await.map_err(late)?
        } else {
            connecting.await
        };
        site.out_of_reach.store(connected.as_ref().is_err_and(ConnectError::is_unreachable), Ordering::Relaxed);
        Ok(connected?)
    }

    /// Connects to all servers and asks each for its facts, in parallel.
    pub async fn survey(&self) -> BTreeMap<ServerName, Result<Facts, SurveyError>> {
        let mut tasks = JoinSet::new();
        for (name, site) in self.sites.iter() {
            let (servers, name, site) = (self.clone(), name.clone(), Arc::clone(site));
            tasks.spawn(async move {
                let facts = servers.facts(&site).await;
                (name, facts)
            });
        }
        let mut all = BTreeMap::new();
        while let Some(done) = tasks.join_next().await {
            if let Ok((name, facts)) = done {
                all.insert(name, facts);
            }
        }
        all
    }

    /// The servers whose sshd forbids forwarding, of those that are connected. Asked by way of a port where nobody listens.
    pub async fn without_tunnels(&self) -> BTreeSet<ServerName> {
        let mut tasks = JoinSet::new();
        for (name, site) in self.sites.iter() {
            let (name, connection) = (name.clone(), site.connection.lock().await.clone());
            tasks.spawn(async move {
                let tunnel = connection?.tunnel("127.0.0.1", 1, TUNNEL_DEADLINE).await;
                matches!(tunnel, Err(TunnelError::Forbidden { .. })).then_some(name)
            });
        }
        let mut all = BTreeSet::new();
        while let Some(done) = tasks.join_next().await {
            all.extend(done.ok().flatten());
        }
        all
    }

    /// Asks one server for its facts: one round trip.
    pub(super) async fn facts(&self, site: &Site) -> Result<Facts, SurveyError> {
        let connection = self.connection(site).await?;
        let script = question(&site.context.docker, &site.context.remote_root);
        let mut answer = String::from("\n");
        let asked = connection
            .run_script(&script, FACTS_DEADLINE, &mut |line| {
                answer.push_str(line);
                answer.push('\n');
            })
            .await;
        if matches!(asked, Err(ChannelError::Deadline { .. })) {
            let source = FactsError::late(answer.as_bytes(), &site.context.docker, FACTS_DEADLINE.as_secs());
            site.engine_hangs.store(matches!(source, FactsError::DaemonHangs { .. }), Ordering::Relaxed);
            return Err(SurveyError::Facts { server: site.target.name.clone(), source });
        }
        asked?;
        read(&answer).map_err(|source| SurveyError::Facts { server: site.target.name.clone(), source })
    }

    /// Takes the server's lease; it is held until [`Servers::release`], until the connection is lost, or until we die.
    pub(super) async fn take_lease(&self, site: &Site) -> Result<(), LeaseError> {
        let connection = self.connection(site).await.map_err(|error| LeaseError::Failed(error.to_string()))?;
        let mut slot = site.lease.lock().await;
        if slot.is_some() {
            return Ok(());
        }
        *slot = Some(self.lease_over(&connection, site).await?.0);
        Ok(())
    }

    /// Takes the lease over this connection, and says who held it last. One that an older connection of ours still holds is waited for.
    async fn lease_over(&self, connection: &Connection, site: &Site) -> Result<(Held, Option<String>), LeaseError> {
        let until = tokio::time::Instant::now() + OWN_LEASE_ENDS;
        loop {
            match self.ask_for_lease(connection, site).await {
                Err(LeaseError::Held(who)) if who == *self.holder && tokio::time::Instant::now() < until => {
                    tokio::time::sleep(OWN_LEASE_AGAIN).await;
                }
                answer => return answer,
            }
        }
    }

    async fn ask_for_lease(&self, connection: &Connection, site: &Site) -> Result<(Held, Option<String>), LeaseError> {
        // What a start-up file of the login shell has said last may have no line feed: it gets one.
        let script = format!("echo\n{}", lease(&site.context, &self.holder));
        let mut held = connection.hold(&script, LEASE_DEADLINE).await?;
        let mut before = None;
        loop {
            match held.line(LEASE_DEADLINE).await? {
                None => return Err(LeaseError::Failed("the server ended the lease's script without a word".to_owned())),
                Some(line) if line == "locked" => return Ok((held, before)),
                Some(line) => {
                    if let Some(who) = line.strip_prefix("before: ") {
                        before = Some(who.to_owned());
                    }
                    if let Some(who) = line.strip_prefix("held: ") {
                        return Err(LeaseError::Held(who.to_owned()));
                    }
                    if let Some(why) = line.strip_prefix("failed: ") {
                        return Err(LeaseError::Failed(why.to_owned()));
                    }
                }
            }
        }
    }

    /// Takes the leases of these servers again, for a run that was cut off.
    ///
    /// # Errors
    /// The first server whose lease is not to be had, and why.
    pub async fn lease_again(&self, servers: &BTreeSet<&ServerName>) -> Result<(), (ServerName, LeaseError)> {
        for server in servers {
            if let Some(site) = self.site(server) {
                self.take_lease(&site).await.map_err(|error| ((*server).clone(), error))?;
            }
        }
        Ok(())
    }

    /// Gives all leases back and closes all connections.
    pub async fn release(&self) {
        let mut tasks = JoinSet::new();
        for site in self.sites.values().cloned() {
            tasks.spawn(async move {
                if let Some(held) = site.lease.lock().await.take() {
                    let _ = held.close(Duration::from_secs(5)).await;
                }
                if let Some(connection) = site.connection.lock().await.take() {
                    connection.close().await;
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }
}
