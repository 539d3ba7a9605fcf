//! A connection to a server, by SSH or to this machine: scripts, tunnels, and a script that is held. Deliberately absent: what the scripts say.
use super::error::{ChannelError, ConnectError, Lost, TunnelError};
use super::inbox::Piece;
use super::lines::{Endless, Lines, Tail};
use super::process::{Process, Role};
use super::session::Session;
use super::target::{Reach, Target};
use super::tunnel::Tunnel;
use crate::model::ServerName;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout, timeout_at};

/// After the exit status, this long is waited for output that a leftover process may still hold back.
const LINGER: Duration = Duration::from_secs(5);

/// A server that is logged in to. Clones share one connection, which ends when the last of them, the last tunnel and the last held
/// script are dropped.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

struct Inner {
    name: ServerName,
    role: Role,
    way: Way,
}

enum Way {
    Local,
    Ssh(Arc<Session>),
}

/// How a script ended, as far as the transport saw it. Whether it did what it should is for its own output to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptEnd {
    /// The exit status; None where the channel was closed without one: the outcome is unknown.
    pub exit: Option<u32>,
    /// The signal that ended it, where the server says so.
    pub signal: Option<String>,
    /// What came on stdout after the last newline. It was not handed over as a line, because it may be cut off.
    pub unfinished: String,
    /// The last 8 KiB of stderr.
    pub stderr_tail: String,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.0.name).finish()
    }
}

impl Connection {
    pub(super) fn local(target: &Target) -> Connection {
        Connection::new(target, Way::Local)
    }

    pub(super) fn ssh(target: &Target, session: Arc<Session>) -> Connection {
        Connection::new(target, Way::Ssh(session))
    }

    fn new(target: &Target, way: Way) -> Connection {
        Connection(Arc::new(Inner { name: target.name.clone(), role: if target.sudo { Role::Root } else { Role::User }, way }))
    }

    /// The server's name in the inventory.
    #[must_use]
    pub fn name(&self) -> &ServerName {
        &self.0.name
    }

    /// Feeds `script` to `sh -s` (or `sudo -n sh -s`) on a channel of its own; every complete line of stdout is handed to `on_line`
    /// as it comes. The script's commands have /dev/null as stdin. It does not survive this call, whatever ends it (the rules are in
    /// `guard.rs`: SIGTERM to its process group, SIGKILL five seconds later).
    ///
    /// # Errors
    /// [`ChannelError`]; after any but `Refused` and `NoChannel` the script may have done all, something or nothing.
    pub async fn run_script(
        &self,
        script: &str,
        deadline: Duration,
        on_line: &mut (dyn FnMut(&str) + Send),
    ) -> Result<ScriptEnd, ChannelError> {
        let until = Instant::now() + deadline;
        let mut output = Output::new(self.clone(), deadline);
        let mut process = match timeout_at(until, self.start(script)).await {
            Ok(started) => started?,
            Err(_) => return Err(output.no_channel()),
        };
        output.read_to_end(&mut process, until, on_line).await
    }

    /// Starts a script that is to run as long as we hold it, such as a lease.
    ///
    /// # Errors
    /// [`ChannelError`] when it cannot be started before the deadline.
    pub async fn hold(&self, script: &str, deadline: Duration) -> Result<Held, ChannelError> {
        let output = Output::new(self.clone(), deadline);
        match timeout(deadline, self.start(script)).await {
            Ok(process) => Ok(Held { process: process?, output, waiting: std::collections::VecDeque::new(), end: None }),
            Err(_) => Err(output.no_channel()),
        }
    }

    /// A byte stream to `host:port` as seen from the server: direct-tcpip over SSH, a plain connection for this machine.
    ///
    /// # Errors
    /// [`TunnelError`].
    pub async fn tunnel(&self, host: &str, port: u16, deadline: Duration) -> Result<Tunnel, TunnelError> {
        let to = || format!("{host}:{port}");
        match &self.0.way {
            Way::Ssh(session) => match timeout(deadline, session.tcp(host, port)).await {
                Ok(channel) => Ok(Tunnel::channel(Arc::clone(session), channel?)),
                Err(_) => Err(self.tunnel_too_late(to(), deadline)),
            },
            Way::Local => match timeout(deadline, TcpStream::connect((host, port))).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true).map_err(|error| self.local_tunnel_error(to(), &error))?;
                    Ok(Tunnel::tcp(stream))
                }
                Ok(Err(error)) => Err(self.local_tunnel_error(to(), &error)),
                Err(_) => Err(self.tunnel_too_late(to(), deadline)),
            },
        }
    }

    /// A byte stream to a unix socket of the server (direct-streamlocal). It is opened as the SSH user, also with `sudo`.
    ///
    /// # Errors
    /// [`TunnelError`].
    pub async fn tunnel_unix(&self, path: &str, deadline: Duration) -> Result<Tunnel, TunnelError> {
        match &self.0.way {
            Way::Ssh(session) => match timeout(deadline, session.unix(path)).await {
                Ok(channel) => Ok(Tunnel::channel(Arc::clone(session), channel?)),
                Err(_) => Err(self.tunnel_too_late(path.to_owned(), deadline)),
            },
            Way::Local => match timeout(deadline, UnixStream::connect(path)).await {
                Ok(Ok(stream)) => Ok(Tunnel::unix(stream)),
                Ok(Err(error)) => Err(self.local_tunnel_error(path.to_owned(), &error)),
                Err(_) => Err(self.tunnel_too_late(path.to_owned(), deadline)),
            },
        }
    }

    /// Resolves when the connection is gone, within 12 s of the server's last sign of life; never for this machine.
    pub async fn lost(&self) -> Lost {
        match &self.0.way {
            Way::Ssh(session) => session.lost().await,
            Way::Local => std::future::pending().await,
        }
    }

    /// Ends the connection for all its clones. Scripts that still run on it are stopped by the server.
    pub async fn close(self) {
        match &self.0.way {
            Way::Ssh(session) => session.close().await,
            Way::Local => {}
        }
    }

    /// Sees that `sudo -n` works.
    pub(super) async fn check_sudo(&self, target: &Target, deadline: Duration) -> Result<(), ConnectError> {
        let (at, user) = match &target.reach {
            Reach::Ssh(hop) => (hop.at(), hop.user.clone()),
            Reach::Local => (super::error::At { server: self.0.name.to_string(), socket: String::new() }, "of this machine".to_owned()),
        };
        let mut root = false;
        let end =
            self.run_script("printf '\\nflipside-uid %s\\n' \"$(id -u)\"", deadline, &mut |line| root |= line == "flipside-uid 0").await;
        match end {
            Ok(_) if root => Ok(()),
            Ok(end) => {
                let words = end.stderr_tail.trim();
                let seen = words.lines().find(|line| line.contains("sudo")).or(words.lines().last()).unwrap_or("nothing").trim().to_owned();
                Err(ConnectError::Sudo { at, user, seen })
            }
            Err(error) => Err(ConnectError::Shell { at, seen: error.to_string() }),
        }
    }

    async fn start(&self, script: &str) -> Result<Process, ChannelError> {
        match &self.0.way {
            Way::Ssh(session) => Process::start_ssh(session, self.0.role, script).await,
            Way::Local => Process::start_local(self.0.name.as_str(), self.0.role, script),
        }
    }

    fn tunnel_too_late(&self, to: String, after: Duration) -> TunnelError {
        TunnelError::Deadline { server: self.0.name.to_string(), to, after }
    }

    fn local_tunnel_error(&self, to: String, error: &io::Error) -> TunnelError {
        let server = self.0.name.to_string();
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound | io::ErrorKind::HostUnreachable => {
                TunnelError::Refused { server, to }
            }
            _ => TunnelError::Failed { server, to, seen: error.to_string() },
        }
    }
}

/// A script that is held. It ends when this is dropped or closed, when this process dies, or by itself.
pub struct Held {
    process: Process,
    output: Output,
    waiting: std::collections::VecDeque<String>,
    end: Option<ScriptEnd>,
}

impl Held {
    /// The next line of its stdout; None when it has ended by itself. Heartbeats go on whether or not this is asked.
    ///
    /// # Errors
    /// [`ChannelError`]; after `Deadline` it still runs, and may be asked again.
    pub async fn line(&mut self, within: Duration) -> Result<Option<String>, ChannelError> {
        self.output.deadline = within;
        let until = Instant::now() + within;
        loop {
            if let Some(line) = self.waiting.pop_front() {
                return Ok(Some(line));
            }
            if self.end.is_some() {
                return Ok(None);
            }
            let waiting = &mut self.waiting;
            match timeout_at(until, self.process.inbox.take()).await {
                Ok(piece) => self.end = self.output.add(piece, &mut |line| waiting.push_back(line.to_owned())).await?,
                Err(_) => return Err(self.output.too_late()),
            }
        }
    }

    /// Whether it is known to have ended, of itself or with its connection. Waits for nothing.
    pub async fn has_ended(&mut self) -> bool {
        loop {
            match self.line(Duration::ZERO).await {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(error) => return !matches!(error, ChannelError::Deadline { .. }),
            }
        }
    }

    /// Ends its stdin, which makes the server stop it, and waits for its end. Lines that come meanwhile are dropped.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn close(mut self, deadline: Duration) -> Result<ScriptEnd, ChannelError> {
        if let Some(end) = self.end {
            return Ok(end);
        }
        self.output.deadline = deadline;
        self.process.end_stdin();
        self.output.read_to_end(&mut self.process, Instant::now() + deadline, &mut |_| {}).await
    }
}

/// What a script has said so far.
struct Output {
    connection: Connection,
    deadline: Duration,
    lines: Lines,
    errors: Tail,
    exit: Option<u32>,
    signal: Option<String>,
}

impl Output {
    fn new(connection: Connection, deadline: Duration) -> Output {
        Output { connection, deadline, lines: Lines::default(), errors: Tail::default(), exit: None, signal: None }
    }

    async fn read_to_end(
        &mut self,
        process: &mut Process,
        until: Instant,
        on_line: &mut (dyn FnMut(&str) + Send),
    ) -> Result<ScriptEnd, ChannelError> {
        loop {
            let ended = self.exit.is_some() || self.signal.is_some();
            let wait = if ended { until.min(Instant::now() + LINGER) } else { until };
            match timeout_at(wait, process.inbox.take()).await {
                Ok(piece) => {
                    if let Some(end) = self.add(piece, on_line).await? {
                        return Ok(end);
                    }
                }
                Err(_) if ended => return Ok(self.end()),
                Err(_) => return Err(self.too_late()),
            }
        }
    }

    async fn add(&mut self, piece: Option<Piece>, on_line: &mut (dyn FnMut(&str) + Send)) -> Result<Option<ScriptEnd>, ChannelError> {
        let server = || self.connection.0.name.to_string();
        match piece {
            Some(Piece::Out(bytes)) => match self.lines.push(&bytes, on_line) {
                Ok(()) => Ok(None),
                Err(Endless) => Err(ChannelError::Flood { server: server() }),
            },
            Some(Piece::Err(bytes)) => {
                self.errors.push(&bytes);
                Ok(None)
            }
            Some(Piece::Eof) => Ok(None),
            Some(Piece::Exit(status)) => {
                self.exit = Some(status);
                Ok(None)
            }
            Some(Piece::Signal(name)) => {
                self.signal = Some(name);
                Ok(None)
            }
            Some(Piece::NotRun) => {
                Err(ChannelError::Refused { server: server(), seen: "it does not run commands for this user".to_owned() })
            }
            Some(Piece::Closed) => Ok(Some(self.end())),
            Some(Piece::Flood) => Err(ChannelError::Flood { server: server() }),
            None => Err(ChannelError::Lost { server: server(), reason: self.connection.why().await }),
        }
    }

    fn end(&self) -> ScriptEnd {
        let (exit, signal) = (self.exit, self.signal.clone());
        ScriptEnd { exit, signal, unfinished: self.lines.rest(), stderr_tail: self.errors.text() }
    }

    fn no_channel(&self) -> ChannelError {
        ChannelError::NoChannel { server: self.connection.0.name.to_string(), after: self.deadline }
    }

    fn too_late(&self) -> ChannelError {
        let server = self.connection.0.name.to_string();
        ChannelError::Deadline { server, after: self.deadline, stderr_tail: self.errors.text() }
    }
}

impl Connection {
    /// The reason, for somebody who has just seen that the connection is gone.
    async fn why(&self) -> Lost {
        match &self.0.way {
            Way::Ssh(session) => session.why().await,
            Way::Local => Lost::Closed("its output ended before it did".to_owned()),
        }
    }
}
