//! What can go wrong between us and a server, each as one sentence: who, where, what was seen, what to do. Deliberately absent: retries.
use super::known_hosts::Place;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The server that an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// Its name in the inventory, or the jump host as it was written.
    pub server: String,
    /// `host:port`; empty for this machine.
    pub socket: String,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.socket.is_empty() { f.write_str(&self.server) } else { write!(f, "{} ({})", self.server, self.socket) }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("{at}: the name cannot be resolved: {cause}; check `address` in the inventory, or the DNS of this machine")]
    Resolve {
        /// Where.
        at: At,
        /// What the resolver said.
        cause: String,
    },
    /// No TCP connection: refused, no route, or no answer.
    #[error("{at}: no TCP connection: {cause}; check that the server is up, that sshd listens there, and the firewall")]
    Tcp {
        /// Where.
        at: At,
        /// What was seen, for each address that was tried.
        cause: String,
    },
    /// Something answers, but the SSH handshake does not come to an end.
    #[error("{at}: the SSH handshake failed: {seen}")]
    Handshake {
        /// Where.
        at: At,
        /// What was seen.
        seen: String,
    },
    /// A host key that no file knows.
    #[error(
        "{at}: its host key is not known: {kind} {fingerprint} is not in {files}; compare the fingerprint with the server's, then run: {fix}"
    )]
    UnknownKey {
        /// Where.
        at: At,
        /// The key's type.
        kind: String,
        /// `SHA256:…`.
        fingerprint: String,
        /// The files that were read.
        files: String,
        /// The command that makes it known.
        fix: String,
    },
    /// A host key that differs from the known one.
    #[error(
        "{at}: its host key has CHANGED: it shows {kind} {fingerprint}, but {place} knows {known}; either the server was reinstalled or somebody \
         listens in between; if you know why it changed, run: {fix}"
    )]
    ChangedKey {
        /// Where.
        at: At,
        /// The type of the key that was shown.
        kind: String,
        /// `SHA256:…` of the key that was shown.
        fingerprint: String,
        /// The line that knows another key.
        place: Place,
        /// The types that are known.
        known: String,
        /// The command that forgets the old key.
        fix: String,
    },
    /// A host key that is marked `@revoked`.
    #[error("{at}: its host key {fingerprint} is marked @revoked in {place}: give the server a new host key")]
    RevokedKey {
        /// Where.
        at: At,
        /// `SHA256:…`.
        fingerprint: String,
        /// The line that revokes it.
        place: Place,
    },
    /// The server is known through a certificate authority only.
    #[error(
        "{at}: {place} vouches for it by a certificate authority, and host certificates are not supported; its key is {fingerprint}; run: {fix}"
    )]
    AuthorityOnly {
        /// Where.
        at: At,
        /// The `@cert-authority` line.
        place: Place,
        /// `SHA256:…` of the key that was shown.
        fingerprint: String,
        /// The command that makes the plain key known.
        fix: String,
    },
    /// A known_hosts file cannot be read or written.
    #[error("{at}: {} cannot be used: {cause}", file.display())]
    KnownHosts {
        /// Where.
        at: At,
        /// The file.
        file: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// The server took none of the keys.
    #[error(
        "{at}: user {user} cannot log in: {tried}{unusable}; the server offers {methods}; put one of these keys into {user}'s authorized_keys, or name another by `identity_file`"
    )]
    NoKeyAccepted {
        /// Where.
        at: At,
        /// The user.
        user: String,
        /// The keys that were refused, as one phrase.
        tried: String,
        /// Keys that could not be tried, as one phrase; empty or starting with `; `.
        unusable: String,
        /// The methods that the server would go on with.
        methods: String,
    },
    /// There is no key to try.
    #[error("{at}: there is no key for user {user}{unusable}; load one with ssh-add, or name one by `identity_file`")]
    NoKey {
        /// Where.
        at: At,
        /// The user.
        user: String,
        /// Keys that could not be tried, as one phrase; empty or starting with `; `.
        unusable: String,
    },
    /// `sudo -n` does not work.
    #[error(
        "{at}: user {user} may not use sudo without a password (sudo said: {seen}); allow it with the line `{user} ALL=(ALL) NOPASSWD: ALL` in /etc/sudoers.d/, or log in as root"
    )]
    Sudo {
        /// Where.
        at: At,
        /// The user.
        user: String,
        /// What sudo said.
        seen: String,
    },
    /// Logged in, but no shell runs there.
    #[error("{at}: logged in, but `sh` does not run there: {seen}")]
    Shell {
        /// Where.
        at: At,
        /// What was seen.
        seen: String,
    },
    /// A hop on the way cannot be reached.
    #[error("{at} is reached through {hop}, and that hop failed: {source}")]
    Jump {
        /// The server that was wanted.
        at: At,
        /// The hop that failed.
        hop: String,
        /// Why.
        #[source]
        source: std::sync::Arc<ConnectError>,
    },
    /// The jump host is connected, but does not lead on.
    #[error("{at}: the jump host {hop} does not lead there: {source}")]
    JumpTunnel {
        /// The server that was wanted.
        at: At,
        /// The jump host.
        hop: String,
        /// Why.
        #[source]
        source: TunnelError,
    },
    /// Not done in time.
    #[error("{at}: not connected after {}: {doing}; the server, or the network to it, does not answer", seconds(*after))]
    Deadline {
        /// Where.
        at: At,
        /// What was being done.
        doing: String,
        /// How long was waited.
        after: Duration,
    },
}

impl ConnectError {
    /// The server did not answer as an SSH server: down, unreachable, too slow. False where it answered and we may not enter.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            ConnectError::Resolve { .. } | ConnectError::Tcp { .. } | ConnectError::Handshake { .. } | ConnectError::Deadline { .. } => {
                true
            }
            ConnectError::Jump { source, .. } => source.is_unreachable(),
            ConnectError::JumpTunnel { source, .. } => match source {
                TunnelError::Refused { .. } | TunnelError::Lost { .. } | TunnelError::Deadline { .. } => true,
                TunnelError::Forbidden { .. } | TunnelError::Failed { .. } => false,
            },
            ConnectError::UnknownKey { .. }
            | ConnectError::ChangedKey { .. }
            | ConnectError::RevokedKey { .. }
            | ConnectError::AuthorityOnly { .. }
            | ConnectError::KnownHosts { .. }
            | ConnectError::NoKeyAccepted { .. }
            | ConnectError::NoKey { .. }
            | ConnectError::Sudo { .. }
            | ConnectError::Shell { .. } => false,
        }
    }
}

/// There is no key to offer to any server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no SSH key to log in with: {}", self.problems())]
pub struct NoKeyAtAll {
    /// What is wrong with each of those that were looked at.
    pub problems: Vec<String>,
}

impl NoKeyAtAll {
    fn problems(&self) -> String {
        if self.problems.is_empty() {
            return "load one with ssh-add, or name one by `identity_file` in the inventory".to_owned();
        }
        self.problems.join(", ")
    }
}

/// Why a script has no end that we saw.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The server opens no channel, or runs no shell on it. The script did not start.
    #[error("{server}: the server refuses to run a script: {seen}")]
    Refused {
        /// The server.
        server: String,
        /// What was seen.
        seen: String,
    },
    /// The server opened no channel in time. The script did not start.
    #[error("{server}: no channel was opened for a script within {}; look for MaxSessions in its sshd_config: 10 is its default, 4 do", seconds(*after))]
    NoChannel {
        /// The server.
        server: String,
        /// How long was waited.
        after: Duration,
    },
    /// The connection went away. How far the script came is unknown; the server stops what is left of it.
    #[error("{server}: the connection was lost while a script ran: {reason}")]
    Lost {
        /// The server.
        server: String,
        /// Why, as far as it was seen.
        reason: Lost,
    },
    /// The time is over. The server stops what is left of the script.
    #[error("{server}: the script was not done after {}{}", seconds(*after), last_words(stderr_tail))]
    Deadline {
        /// The server.
        server: String,
        /// How long was waited.
        after: Duration,
        /// The end of its stderr.
        stderr_tail: String,
    },
    /// Output came faster than it was taken, 64 MiB are waiting.
    #[error("{server}: the script wrote more output than could be taken, and was stopped")]
    Flood {
        /// The server.
        server: String,
    },
}

/// Why there is no tunnel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TunnelError {
    /// sshd forbids forwarding: `AllowTcpForwarding`, `PermitOpen`, `AllowStreamLocalForwarding`, `DisableForwarding`.
    #[error("{server}: sshd forbids forwarding to {to}; look for AllowTcpForwarding, PermitOpen and DisableForwarding in its sshd_config")]
    Forbidden {
        /// The server.
        server: String,
        /// `host:port` or a path.
        to: String,
    },
    /// The server tried, and nothing listens there or no route leads there.
    #[error("{server}: nothing answers at {to}")]
    Refused {
        /// The server.
        server: String,
        /// `host:port` or a path.
        to: String,
    },
    /// The connection to the server went away.
    #[error("{server}: the connection was lost: {reason}")]
    Lost {
        /// The server.
        server: String,
        /// Why, as far as it was seen.
        reason: Lost,
    },
    /// No answer in time.
    #[error("{server}: no answer from {to} after {}", seconds(*after))]
    Deadline {
        /// The server.
        server: String,
        /// `host:port` or a path.
        to: String,
        /// How long was waited.
        after: Duration,
    },
    /// Anything else that the server gave as its reason.
    #[error("{server}: no tunnel to {to}: {seen}")]
    Failed {
        /// The server.
        server: String,
        /// `host:port` or a path.
        to: String,
        /// What was seen.
        seen: String,
    },
}

/// Why a connection is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The server answers no keepalive.
    #[error("the server does not answer any more")]
    Silent,
    /// The server said goodbye, in these words.
    #[error("the server said: {0}")]
    Said(String),
    /// The other side closed, or the network broke.
    #[error("{0}")]
    Closed(String),
    /// We closed it ourselves.
    #[error("it was closed on this side")]
    Ours,
}

fn seconds(duration: Duration) -> String {
    if duration.subsec_millis() == 0 { format!("{} s", duration.as_secs()) } else { format!("{:.1} s", duration.as_secs_f64()) }
}

fn last_words(stderr_tail: &str) -> String {
    match stderr_tail.trim_end().lines().last() {
        Some(line) => format!("; its last words: {line}"),
        None => String::new(),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}", self.file, self.line)
    }
}
