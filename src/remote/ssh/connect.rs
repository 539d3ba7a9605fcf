//! From a target to a connection: resolve, connect, shake hands, log in, through any number of jump hosts, with bounded
//! parallelism and retries. Deliberately absent: what the connection is used for.
use super::connection::Connection;
use super::error::{ConnectError, Lost, NoKeyAtAll};
use super::identity::{Identities, Passphrase};
use super::login::{Login, login};
use super::session::{Client, Failure, Session, config};
use super::target::{Hop, Reach, Surroundings, Target};
use super::trust::Trust;
use super::tunnel::Tunnel;
use super::wire::{Greeting, Road, Wire};
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// How connections are made.
#[derive(Clone)]
pub struct ConnectOptions {
    /// Handshakes under way at one time. sshd's default MaxStartups begins to drop connections at 10 that are not logged in yet;
    /// what it drops is tried again. Default 32.
    pub parallel: usize,
    /// For one TCP connection, over all addresses of a name. Default 10 s.
    pub tcp_timeout: Duration,
    /// For one server in all, with retries, from the moment its turn comes. A jump host has a deadline of its own. Default 30 s.
    pub deadline: Duration,
    /// The agent's socket. Default: SSH_AUTH_SOCK.
    pub agent: Option<PathBuf>,
    /// Asks for passphrases. Default: none, an encrypted key must be in the agent.
    pub passphrase: Option<Passphrase>,
    /// Home directory and user.
    pub surroundings: Surroundings,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        let agent = std::env::var_os("SSH_AUTH_SOCK").filter(|value| !value.is_empty()).map(PathBuf::from);
        ConnectOptions {
            parallel: 32,
            tcp_timeout: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
            agent,
            passphrase: None,
            surroundings: Surroundings::of_this_process(),
        }
    }
}

/// Makes connections. One for a whole run: it reads every known_hosts and key file once, and jump hosts are connected once.
#[derive(Clone)]
pub struct Connector(Arc<Shared>);

struct Shared {
    options: ConnectOptions,
    trust: Arc<Trust>,
    identities: Identities,
    turns: Semaphore,
    jumps: Mutex<HashMap<Hop, Arc<tokio::sync::Mutex<Jump>>>>,
}

/// What is known of a jump host.
#[derive(Default)]
struct Jump {
    session: Weak<Session>,
    /// The last failure: whoever was waiting at that time shares it.
    failed: Option<(Instant, Arc<ConnectError>)>,
}

/// What one attempt came to.
enum Attempt {
    Done(Session),
    /// The server hung up before it was told who we are, as sshd does when it has too many at the door.
    Dropped(ConnectError),
    Failed(ConnectError),
}

impl Connector {
    /// Makes a connector. Nothing is read or connected yet.
    #[must_use]
    pub fn new(options: ConnectOptions) -> Connector {
        let home = options.surroundings.home.clone();
        Connector(Arc::new(Shared {
            trust: Arc::new(Trust::new(home.clone())),
            identities: Identities::new(home, options.agent.clone(), options.passphrase.clone()),
            turns: Semaphore::new(options.parallel.max(1)),
            jumps: Mutex::default(),
            options,
        }))
    }

    /// Home directory, user and ssh_config.
    #[must_use]
    pub fn surroundings(&self) -> &Surroundings {
        &self.0.options.surroundings
    }

    /// Reads the key files of these targets, which asks for their passphrases. To be called once, before anything starts:
    /// a question that comes up while connecting takes its time from the deadline.
    ///
    /// # Errors
    /// What is wrong with the keys, each once, where there is none for any target: connecting is in vain then.
    pub async fn prepare(&self, targets: &[&Target]) -> Result<(), NoKeyAtAll> {
        let mut problems = BTreeSet::new();
        let mut has_a_road = targets.is_empty();
        for target in targets {
            let mut hop = match &target.reach {
                Reach::Local => None,
                Reach::Ssh(hop) => Some(hop),
            };
            let mut has_keys = true;
            while let Some(here) = hop {
                let offer = self.0.identities.offer(here).await;
                has_keys &= !offer.candidates.is_empty();
                problems.extend(offer.unusable);
                hop = here.jump.as_deref();
            }
            has_a_road |= has_keys;
        }
        if has_a_road { Ok(()) } else { Err(NoKeyAtAll { problems: problems.into_iter().collect() }) }
    }

    /// Connects and logs in; with `sudo`, sees that it works. Waits for its turn first.
    ///
    /// # Errors
    /// [`ConnectError`], after at most `deadline` for each hop.
    pub async fn connect(&self, target: &Target) -> Result<Connection, ConnectError> {
        let connection = match &target.reach {
            Reach::Local => Connection::local(target),
            Reach::Ssh(hop) => Connection::ssh(target, self.session(hop).await?),
        };
        if target.sudo {
            connection.check_sudo(target, self.0.options.deadline).await?;
        }
        Ok(connection)
    }

    /// A new session. Boxed, because a hop's road leads through another session.
    fn session<'a>(&'a self, hop: &'a Hop) -> Pin<Box<dyn Future<Output = Result<Arc<Session>, ConnectError>> + Send + 'a>> {
        Box::pin(async move {
            let under = match &hop.jump {
                None => None,
                Some(jump) => {
                    Some(self.jump(jump).await.map_err(|source| ConnectError::Jump { at: hop.at(), hop: jump.label.clone(), source })?)
                }
            };
            self.attempts(hop, under).await.map(Arc::new)
        })
    }

    /// The session of a jump host, which everybody behind it shares.
    async fn jump(&self, hop: &Hop) -> Result<Arc<Session>, Arc<ConnectError>> {
        let asked = Instant::now();
        let slot = {
            let mut jumps = self.0.jumps.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(jumps.entry(hop.clone()).or_default())
        };
        let mut slot = slot.lock().await;
        if let Some(session) = slot.session.upgrade().filter(|session| !session.is_lost()) {
            return Ok(session);
        }
        if let Some((_, error)) = slot.failed.as_ref().filter(|(when, _)| *when >= asked) {
            return Err(Arc::clone(error));
        }
        match self.session(hop).await {
            Ok(session) => {
                *slot = Jump { session: Arc::downgrade(&session), failed: None };
                Ok(session)
            }
            Err(error) => {
                let error = Arc::new(error);
                slot.failed = Some((Instant::now(), Arc::clone(&error)));
                Err(error)
            }
        }
    }

    async fn attempts(&self, hop: &Hop, under: Option<Arc<Session>>) -> Result<Session, ConnectError> {
        let mut until = None;
        let mut pause = Duration::from_millis(150);
        loop {
            let attempt = {
                let _turn = self.0.turns.acquire().await;
                let until = *until.get_or_insert_with(|| Instant::now() + self.0.options.deadline);
                self.attempt(hop, under.as_ref(), until).await
            };
            match attempt {
                Attempt::Done(session) => return Ok(session),
                Attempt::Failed(error) => return Err(error),
                Attempt::Dropped(error) => {
                    let wait = jittered(pause);
                    if until.is_none_or(|until| Instant::now() + wait >= until) {
                        return Err(error);
                    }
                    tokio::time::sleep(wait).await;
                    pause = (pause * 2).min(Duration::from_secs(3));
                }
            }
        }
    }

    async fn attempt(&self, hop: &Hop, under: Option<&Arc<Session>>, until: Instant) -> Attempt {
        let known = match self.0.trust.kinds(hop) {
            Ok(known) => known,
            Err(error) => return Attempt::Failed(error),
        };
        let road = match under {
            None => self.tcp(hop, until).await.map(Road::Tcp),
            Some(session) => self.through(hop, session, until).await.map(|tunnel| Road::Tunnel(Box::new(tunnel))),
        };
        let road = match road {
            Ok(road) => road,
            Err(error) => return Attempt::Failed(error),
        };
        let greeting = Greeting::default();
        let (wire, switch) = Wire::new(road, greeting.clone());
        let (client, lost) = Client::new(hop.clone(), Arc::clone(&self.0.trust));
        let shaking = russh::client::connect_stream(Arc::new(config(&known)), wire, client);
        let mut handle = match timeout_at(until, shaking).await {
            Err(_) => return Attempt::Failed(self.too_late(hop, handshake_stage(&greeting))),
            Ok(Err(failure)) => return handshake_failure(hop, failure, &greeting),
            Ok(Ok(handle)) => handle,
        };
        match timeout_at(until, login(&mut handle, hop, &self.0.identities)).await {
            Err(_) => Attempt::Failed(self.too_late(hop, "the login was under way".to_owned())),
            Ok(Login::Done) => Attempt::Done(Session::new(hop.label.clone(), handle, lost, switch)),
            Ok(Login::Refused(error)) => Attempt::Failed(error),
            Ok(Login::Broken(key)) => Attempt::Failed(broken_login(hop, key, lost).await),
        }
    }

    fn too_late(&self, hop: &Hop, doing: String) -> ConnectError {
        ConnectError::Deadline { at: hop.at(), doing, after: self.0.options.deadline }
    }

    async fn through(&self, hop: &Hop, session: &Arc<Session>, until: Instant) -> Result<Tunnel, ConnectError> {
        match timeout_at(until, session.tcp(&hop.address, hop.port)).await {
            Ok(Ok(channel)) => Ok(Tunnel::channel(Arc::clone(session), channel)),
            Ok(Err(source)) => Err(ConnectError::JumpTunnel { at: hop.at(), hop: session.label.clone(), source }),
            Err(_) => Err(self.too_late(hop, format!("the jump host {} was opening a way there", session.label))),
        }
    }

    async fn tcp(&self, hop: &Hop, until: Instant) -> Result<TcpStream, ConnectError> {
        let until = until.min(Instant::now() + self.0.options.tcp_timeout);
        let resolve = |cause| ConnectError::Resolve { at: hop.at(), cause };
        let addresses: Vec<SocketAddr> = match timeout_at(until, tokio::net::lookup_host((hop.address.as_str(), hop.port))).await {
            Err(_) => return Err(resolve("the resolver does not answer".to_owned())),
            Ok(Err(error)) => return Err(resolve(error.to_string())),
            Ok(Ok(found)) => found.collect(),
        };
        if addresses.is_empty() {
            return Err(resolve("it has no address".to_owned()));
        }
        let tcp = |cause| ConnectError::Tcp { at: hop.at(), cause };
        match timeout_at(until, race(&addresses)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(|error| tcp(error.to_string()))?;
                Ok(stream)
            }
            Ok(Err(causes)) => Err(tcp(causes)),
            Err(_) => Err(tcp("no answer in time".to_owned())),
        }
    }
}

/// Tries the addresses of a name, each 250 ms after the one before; the first that answers wins (after RFC 8305).
async fn race(addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let mut tries = JoinSet::new();
    for (index, &address) in addresses.iter().take(8).enumerate() {
        tries.spawn(async move {
            tokio::time::sleep(Duration::from_millis(250) * u32::try_from(index).unwrap_or(0)).await;
            TcpStream::connect(address).await.map_err(|error| format!("{address}: {error}"))
        });
    }
    let mut causes = Vec::new();
    while let Some(tried) = tries.join_next().await {
        match tried {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(cause)) => causes.push(cause),
            Err(error) => causes.push(error.to_string()),
        }
    }
    Err(causes.join(", "))
}

fn handshake_stage(greeting: &Greeting) -> String {
    match greeting.line().as_str() {
        "" => "it accepts connections, but sends no SSH greeting".to_owned(),
        line => format!("the handshake with \"{line}\" was under way"),
    }
}

fn handshake_failure(hop: &Hop, failure: Failure, greeting: &Greeting) -> Attempt {
    let error = match failure {
        Failure::Connect(error) => return Attempt::Failed(*error),
        Failure::Ssh(error) => error,
    };
    let line = greeting.line();
    let seen = match line.as_str() {
        "" => format!("it hung up without a greeting ({error})"),
        line if line.starts_with("SSH-") => format!("{error}, with \"{line}\""),
        line => format!("it does not greet like an SSH server, but with \"{line}\""),
    };
    let hung_up = matches!(error, russh::Error::Disconnect | russh::Error::HUP | russh::Error::IO(_));
    let failed = ConnectError::Handshake { at: hop.at(), seen };
    if hung_up { Attempt::Dropped(failed) } else { Attempt::Failed(failed) }
}

/// The server's own words, where it had time for some, mean a refusal; silence means that the connection broke.
async fn broken_login(hop: &Hop, key: String, mut lost: watch::Receiver<Option<Lost>>) -> ConnectError {
    let (at, user) = (hop.at(), hop.user.clone());
    let reason = tokio::time::timeout(Duration::from_millis(500), lost.wait_for(Option::is_some)).await;
    match reason.ok().and_then(Result::ok).and_then(|reason| (*reason).clone()) {
        Some(Lost::Said(words)) => {
            let tried = format!("the server hung up at {key} and said: {words}");
            ConnectError::NoKeyAccepted { at, user, tried, unusable: String::new(), methods: "no further try".to_owned() }
        }
        Some(Lost::Closed(_) | Lost::Silent | Lost::Ours) | None => {
            ConnectError::Handshake { at, seen: format!("the connection ended during the login of user {user}") }
        }
    }
}

/// Between half and one and a half of `pause`, so that workers that were dropped together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let dice = RandomState::new().hash_one(0_u8) % 1000;
    pause.mul_f64(0.5 + dice as f64 / 1000.0)
}
