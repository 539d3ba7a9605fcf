//! The real servers: one connection each, their facts. Deliberately absent: leases (see `leases`), and what is done to them (see `execute`).
use super::ssh::{ChannelError, ConnectError, Connection, Connector, Held, NoKeyAtAll, Target, TargetError};
use crate::config::Inventory;
use crate::facts::{Facts, FactsError, question, read};
use crate::model::{Redactor, Secrets, ServerName};
use crate::script::{Claim, ScriptContext};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// The facts of one server may take this long.
const FACTS_DEADLINE: Duration = Duration::from_secs(30);
/// A server that could not be connected to is not tried again for this long: a run that is being put back asks it for one undo after another.
const NOT_AGAIN: Duration = Duration::from_secs(20);

/// Why a server has no facts.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// The inventory does not say how to reach it.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// It cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It could not be reached a moment ago.
    #[error("{why} (tried {} s ago)", ago.as_secs())]
    StillAway {
        /// What was seen then.
        why: String,
        /// When that was.
        ago: Duration,
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
    /// Its lease was lost, with the connection or because we stood still for too long, and is not ours any more.
    #[error("{server}: its lock was lost, and is not to be had again: {why}")]
    Lease {
        /// The server.
        server: ServerName,
        /// Who holds it now, or why it is not to be had.
        why: String,
    },
}

/// One server in use.
pub(super) struct Site {
    pub(super) target: Target,
    pub(super) context: ScriptContext,
    connection: Mutex<Option<Connection>>,
    pub(super) lease: Mutex<Option<Held>>,
    /// When it could not be connected to, and why.
    away: Mutex<Option<(Instant, String)>>,
}

/// All servers in use. Clones share their connections and leases.
#[derive(Clone)]
pub struct Servers {
    connector: Connector,
    pub(super) sites: Arc<BTreeMap<ServerName, Arc<Site>>>,
    pub(super) holder: Arc<str>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) redactor: Arc<Redactor>,
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
            let site = Site { target, context, connection: Mutex::new(None), lease: Mutex::new(None), away: Mutex::new(None) };
            sites.insert(name.clone(), Arc::new(site));
        }
        Ok(Servers {
            connector,
            sites: Arc::new(sites),
            holder: holder.into(),
            secrets: Arc::new(Secrets::none()),
            redactor: Arc::default(),
        })
    }

    /// The same servers, with the values of secrets that actions may need. Nothing that is told of an action shows one.
    #[must_use]
    pub fn with_secrets(self, secrets: Secrets) -> Servers {
        let redactor = Arc::new(Redactor::new(secrets.values()));
        Servers { secrets: Arc::new(secrets), redactor, ..self }
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
            let lost = |error: super::leases::LeaseError| SurveyError::Lease { server: site.target.name.clone(), why: error.to_string() };
            let held = self.lease_over(&connection, site, Claim::Again).await.map_err(lost)?;
            *lease = Some(held);
        }
        *slot = Some(connection.clone());
        Ok(connection)
    }

    async fn connect(&self, site: &Site) -> Result<Connection, SurveyError> {
        let mut away = site.away.lock().await;
        if let Some((when, why)) = away.as_ref().filter(|(when, _)| when.elapsed() < NOT_AGAIN) {
            return Err(SurveyError::StillAway { why: why.clone(), ago: when.elapsed() });
        }
        *away = None;
        let connected = self.connector.connect(&site.target).await;
        if let Err(error) = &connected {
            *away = Some((Instant::now(), error.to_string()));
        }
        Ok(connected?)
    }

    /// The connection as it is: none is made, and one that is being made is not waited for.
    pub(super) async fn present_connection(&self, server: &ServerName) -> Option<Connection> {
        let site = self.site(server)?;
        let slot = tokio::time::timeout(Duration::from_secs(1), site.connection.lock()).await.ok()?;
        slot.clone()
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

    /// Asks one server for its facts: one round trip.
    pub(super) async fn facts(&self, site: &Site) -> Result<Facts, SurveyError> {
        let connection = self.connection(site).await?;
        let script = question(&site.context.docker, &site.context.remote_root);
        let mut answer = String::new();
        connection
            .run_script(&script, FACTS_DEADLINE, &mut |line| {
                answer.push_str(line);
                answer.push('\n');
            })
            .await?;
        read(&answer).map_err(|source| SurveyError::Facts { server: site.target.name.clone(), source })
    }

    /// Gives all leases back and closes all connections.
    pub async fn release(&self) {
        self.free_leases().await;
        let mut tasks = JoinSet::new();
        for site in self.sites.values().cloned() {
            tasks.spawn(async move {
                if let Some(connection) = site.connection.lock().await.take() {
                    connection.close().await;
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }
}
