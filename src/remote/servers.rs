//! The real servers: one connection each, their facts. Deliberately absent: leases (see `leases`), and what is done to them (see `execute`).
use super::keeper::Keeper;
use super::leases::LeaseError;
use super::ssh::{ChannelError, ConnectError, Connection, Connector, Held, NoKeyAtAll, Target, TargetError, TunnelError};
use crate::config::Inventory;
use crate::facts::{Facts, FactsError, question, question_again, read, read_digest};
use crate::model::{EnvName, ProjectName, Redactor, Secrets, ServerName};
use crate::script::{Claim, ScriptContext};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// The facts of one server may take this long.
const FACTS_DEADLINE: Duration = Duration::from_secs(30);
/// Reaching a server that was reached in this run before is tried for so long, also where nothing leads to it at once: the network of this
/// machine may be gone for a moment.
const AGAIN_WITHIN: Duration = Duration::from_secs(10);
/// Between two of these tries.
const PAUSE: Duration = Duration::from_millis(500);
/// Reaching a server that was out of reach when it was tried last may take this long: a run that is put back asks it for one undo after another.
const RECONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Asking whether there are tunnels may take this long.
const TUNNEL_DEADLINE: Duration = Duration::from_secs(3);

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
    pub(super) connection: Mutex<Option<Connection>>,
    pub(super) lease: Mutex<Option<Held>>,
    pub(super) keeper: Keeper,
    /// There was a connection to it in this run.
    was_reached: AtomicBool,
    /// The last connection to it was not to be had.
    out_of_reach: AtomicBool,
    /// Its engine did not answer when it was asked last.
    pub(super) engine_hangs: AtomicBool,
}

/// All servers in use. Clones share their connections and leases.
#[derive(Clone)]
pub struct Servers {
    connector: Connector,
    pub(super) sites: Arc<BTreeMap<ServerName, Arc<Site>>>,
    pub(super) holder: Arc<str>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) redactor: Arc<Redactor>,
    /// What hooks are told and where those of the workstation run.
    pub(super) run: Arc<RunPlace>,
}

/// What a plan does not say of a run.
#[derive(Debug, Default)]
pub(super) struct RunPlace {
    pub(super) id: String,
    pub(super) folder: PathBuf,
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
                keeper: Keeper::default(),
                engine_hangs: AtomicBool::new(false),
                was_reached: AtomicBool::new(false),
                out_of_reach: AtomicBool::new(false),
            };
            sites.insert(name.clone(), Arc::new(site));
        }
        Ok(Servers {
            connector,
            sites: Arc::new(sites),
            holder: holder.into(),
            secrets: Arc::new(Secrets::none()),
            redactor: Arc::default(),
            run: Arc::default(),
        })
    }

    /// The same servers, with the values of secrets that actions may need. Nothing that is told of an action shows one.
    #[must_use]
    pub fn with_secrets(self, secrets: Secrets) -> Servers {
        let redactor = Arc::new(Redactor::new(secrets.values()));
        Servers { secrets: Arc::new(secrets), redactor, ..self }
    }

    /// The same servers for the run of this id: hooks are told it, and those of the workstation run in this folder.
    #[must_use]
    pub fn for_run(self, id: &str, folder: &Path) -> Servers {
        Servers { run: Arc::new(RunPlace { id: id.to_owned(), folder: folder.to_owned() }), ..self }
    }

    /// The same servers without these: nobody asks them any more.
    #[must_use]
    pub fn without(&self, names: &BTreeSet<ServerName>) -> Servers {
        let mut sites = (*self.sites).clone();
        sites.retain(|name, _| !names.contains(name));
        Servers { sites: Arc::new(sites), ..self.clone() }
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
        self.connection_with(site, None).await
    }

    /// The same, for who has the time: while it tries to reach a server that was out of reach a moment ago, no step waits for it that will
    /// try the same.
    pub(super) async fn connection_in_passing(&self, site: &Site) -> Result<Connection, SurveyError> {
        let made = match site.out_of_reach.load(Ordering::Relaxed) {
            true => Some(self.connect(site).await?),
            false => None,
        };
        self.connection_with(site, made).await
    }

    async fn connection_with(&self, site: &Site, made: Option<Connection>) -> Result<Connection, SurveyError> {
        let mut slot = site.connection.lock().await;
        match self.connection_in(&mut slot, site, made).await {
            // What broke a moment ago may show at the lease before it shows at the connection: then it is made anew.
            Err(SurveyError::Channel(ChannelError::Lost { .. })) if slot.is_some() => {
                *slot = None;
                self.connection_in(&mut slot, site, None).await
            }
            answer => answer,
        }
    }

    /// `made` is a connection that is used where there is none.
    async fn connection_in(&self, slot: &mut Option<Connection>, site: &Site, made: Option<Connection>) -> Result<Connection, SurveyError> {
        let mut is_new = false;
        let connection = match slot.as_ref() {
            Some(connection) if tokio::time::timeout(Duration::ZERO, connection.lost()).await.is_err() => connection.clone(),
            Some(_) | None => {
                *slot = None;
                is_new = true;
                match made {
                    Some(made) => made,
                    None => self.connect(site).await?,
                }
            }
        };
        let mut lease = site.lease.lock().await;
        if let Some(held) = lease.as_mut()
            && (is_new || held.has_ended().await)
        {
            let lost = |error: LeaseError| SurveyError::Lease { server: site.target.name.clone(), why: error.to_string() };
            let held = match self.lease_over(&connection, site, Claim::Again).await {
                Err(LeaseError::Channel(error @ ChannelError::Lost { .. })) if !is_new => return Err(error.into()),
                answer => answer.map_err(lost)?,
            };
            *lease = Some(held);
        }
        *slot = Some(connection.clone());
        site.was_reached.store(true, Ordering::Relaxed);
        Ok(connection)
    }

    /// The connection as it is: none is made, and one that is being made is not waited for.
    pub(super) async fn present_connection(&self, server: &ServerName) -> Option<Connection> {
        let site = self.site(server)?;
        let slot = tokio::time::timeout(Duration::from_secs(1), site.connection.lock()).await.ok()?;
        slot.clone()
    }

    /// A new connection. One to a server that was reached before is tried for again and again. A server that was out of reach a moment ago is
    /// given less time: what is undone on it is many steps, one by one.
    async fn connect(&self, site: &Site) -> Result<Connection, SurveyError> {
        let was_out_of_reach = site.out_of_reach.load(Ordering::Relaxed);
        let until = Instant::now() + if was_out_of_reach { RECONNECT_DEADLINE } else { AGAIN_WITHIN };
        let again = || site.was_reached.load(Ordering::Relaxed) && Instant::now() + PAUSE < until;
        let connecting = async {
            loop {
                match self.connector.connect(&site.target).await {
                    Err(error) if error.is_unreachable() && again() => sleep(PAUSE).await,
                    answer => break answer,
                }
            }
        };
        let connected = if was_out_of_reach {
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
        self.survey_by(|servers, site| async move { servers.facts(&site).await }).await
    }

    /// What each server answers when it is asked in this way, in parallel.
    pub(super) async fn survey_by<A>(&self, ask: impl Fn(Self, Arc<Site>) -> A) -> BTreeMap<ServerName, Result<Facts, SurveyError>>
    where
        A: Future<Output = Result<Facts, SurveyError>> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for (name, site) in self.sites.iter() {
            let (name, answer) = (name.clone(), ask(self.clone(), Arc::clone(site)));
            tasks.spawn(async move { (name, answer.await) });
        }
        let mut all = BTreeMap::new();
        while let Some(done) = tasks.join_next().await {
            all.extend(done.ok());
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
        let script = question(&site.context.docker, &site.context.remote_root);
        self.asked(site, &script, |answer| read(answer)).await
    }

    /// Asks one server for the digest of what a plan of this project relies on: one round trip.
    pub(super) async fn facts_digest(&self, site: &Site, project: &ProjectName, env: &EnvName) -> Result<String, SurveyError> {
        let script = question_again(&site.context.docker, &site.context.remote_root);
        self.asked(site, &script, |answer| read_digest(answer, project, env)).await
    }

    async fn asked<T>(&self, site: &Site, script: &str, read: impl Fn(&str) -> Result<T, FactsError>) -> Result<T, SurveyError> {
        let connection = self.connection(site).await?;
        let mut answer = String::from("\n");
        let asked = connection
            .run_script(script, FACTS_DEADLINE, &mut |line| {
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
