//! One SSH session: the algorithms we offer, the host key check, the channels, and the news of its end.
//! Deliberately absent: getting there (`connect.rs`), logging in (`login.rs`), and what channels are used for.
use super::error::{ConnectError, Lost, TunnelError};
use super::target::Hop;
use super::trust::{Shown, Trust};
use russh::client::{Config, DisconnectReason, Handle, Handler, Msg};
use russh::keys::ssh_key::EcdsaCurve;
use russh::keys::{Algorithm, HashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelOpenFailure, Disconnect, Preferred, cipher, kex};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

/// sshd's MaxSessions is 10 by default. Two are left for channels that sshd has not finished closing.
const SESSIONS: usize = 8;
/// With [`KEEPALIVES`]: a server that says nothing for 12 s is lost.
const KEEPALIVE: Duration = Duration::from_secs(4);
const KEEPALIVES: usize = 2;
/// How long a full server is asked again for a session channel.
const PATIENCE: Duration = Duration::from_secs(7);
const WINDOW: u32 = 8 << 20;

const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_G14_SHA256,
    kex::DH_G16_SHA512,
    kex::DH_G18_SHA512,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
];

const CIPHERS: &[cipher::Name] =
    &[cipher::AES_256_GCM, cipher::AES_128_GCM, cipher::CHACHA20_POLY1305, cipher::AES_256_CTR, cipher::AES_192_CTR, cipher::AES_128_CTR];

const HOST_KEYS: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// What we offer to a server that is known by keys of these types: those first, so that it shows one that can be checked.
pub(super) fn config(known: &[String]) -> Config {
    let mut keys = HOST_KEYS.to_vec();
    keys.sort_by_key(|algorithm| known.iter().position(|kind| *kind == key_type(algorithm)).unwrap_or(usize::MAX));
    Config {
        window_size: WINDOW,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: KEEPALIVES,
        nodelay: true,
        preferred: Preferred { kex: Cow::Borrowed(KEX), key: Cow::Owned(keys), cipher: Cow::Borrowed(CIPHERS), ..Preferred::DEFAULT },
        ..Config::default()
    }
}

/// The type of key that goes with an algorithm: RSA keys are `ssh-rsa`, whatever hash signs.
fn key_type(algorithm: &Algorithm) -> &str {
    match algorithm {
        Algorithm::Rsa { .. } => "ssh-rsa",
        other => other.as_str(),
    }
}

/// Why a session failed before or after it stood.
#[derive(Debug)]
pub(super) enum Failure {
    /// The host key check, or anything else with a sentence of its own.
    Connect(Box<ConnectError>),
    /// The protocol.
    Ssh(russh::Error),
}

impl From<russh::Error> for Failure {
    fn from(error: russh::Error) -> Self {
        Failure::Ssh(error)
    }
}

/// The callbacks of one session.
pub(super) struct Client {
    hop: Hop,
    trust: Arc<Trust>,
    lost: watch::Sender<Option<Lost>>,
}

impl Client {
    pub(super) fn new(hop: Hop, trust: Arc<Trust>) -> (Client, watch::Receiver<Option<Lost>>) {
        let (lost, receiver) = watch::channel(None);
        (Client { hop, trust, lost }, receiver)
    }
}

impl Handler for Client {
    type Error = Failure;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Failure> {
        let key = shown.public_key();
        let blob = key.to_bytes().map_err(|error| Failure::Ssh(error.into()))?;
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let algorithm = key.algorithm();
        let shown = Shown { kind: key_type(&algorithm), blob: &blob, fingerprint: &fingerprint };
        self.trust.check(&self.hop, shown).map(|()| true).map_err(|error| Failure::Connect(Box::new(error)))
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Failure>) -> Result<(), Failure> {
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                self.lost.send_replace(Some(Lost::Said(info.message.trim().to_owned())));
                Ok(())
            }
            DisconnectReason::Error(failure) => {
                self.lost.send_replace(Some(lost_by(&failure)));
                Err(failure)
            }
        }
    }
}

fn lost_by(failure: &Failure) -> Lost {
    match failure {
        Failure::Ssh(russh::Error::KeepaliveTimeout) => Lost::Silent,
        Failure::Ssh(russh::Error::IO(error)) if error.kind() == std::io::ErrorKind::TimedOut => Lost::Silent,
        Failure::Ssh(russh::Error::IO(error)) if error.kind() == std::io::ErrorKind::ConnectionAborted => Lost::Ours,
        Failure::Ssh(russh::Error::Disconnect | russh::Error::HUP) => Lost::Closed("the server closed it".to_owned()),
        Failure::Ssh(russh::Error::IO(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Lost::Closed("the server closed it".to_owned())
        }
        Failure::Ssh(error) => Lost::Closed(error.to_string()),
        Failure::Connect(error) => Lost::Closed(error.to_string()),
    }
}

/// An authenticated session. It ends when the last [`Arc`] is dropped.
pub(super) struct Session {
    /// What messages call the server.
    pub(super) label: String,
    handle: Handle<Client>,
    lost: watch::Receiver<Option<Lost>>,
    switch: Mutex<Option<oneshot::Sender<()>>>,
    sessions: Arc<Semaphore>,
}

/// A session channel, and its place among the few that a server allows.
pub(super) struct Shell {
    pub(super) channel: Channel<Msg>,
    pub(super) place: OwnedSemaphorePermit,
}

impl Session {
    pub(super) fn new(label: String, handle: Handle<Client>, lost: watch::Receiver<Option<Lost>>, switch: oneshot::Sender<()>) -> Session {
        let sessions = Arc::new(Semaphore::new(SESSIONS));
        Session { label, handle, lost, switch: Mutex::new(Some(switch)), sessions }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.handle.is_closed()
    }

    /// Waits until the session is gone.
    pub(super) async fn lost(&self) -> Lost {
        let mut lost = self.lost.clone();
        let seen = lost.wait_for(Option::is_some).await.ok().and_then(|reason| (*reason).clone());
        if self.switch.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Lost::Ours;
        }
        seen.unwrap_or_else(|| Lost::Closed("the connection broke".to_owned()))
    }

    /// The reason, for somebody who has just seen that the session is gone. Never waits long.
    pub(super) async fn why(&self) -> Lost {
        let moment = tokio::time::timeout(Duration::from_millis(500), self.lost());
        moment.await.unwrap_or_else(|_| Lost::Closed("the connection broke".to_owned()))
    }

    /// Opens a session channel, when there is a place for one. sshd frees a place only after it has reaped the shell, some time
    /// after it closed the channel (up to seven seconds where the script must be killed): a refusal before that is tried again.
    pub(super) async fn shell(self: &Arc<Self>) -> Result<Shell, russh::Error> {
        let place = Arc::clone(&self.sessions).acquire_owned().await.map_err(|_| russh::Error::Disconnect)?;
        let mut pause = Duration::from_millis(10);
        let patience = Instant::now() + PATIENCE;
        loop {
            let session = Arc::clone(self);
            match open(async move { session.handle.channel_open_session().await }).await {
                Ok(channel) => return Ok(Shell { channel, place }),
                Err(russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed | ChannelOpenFailure::ResourceShortage))
                    if Instant::now() < patience =>
                {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(500));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens a channel to `host:port` as seen from the server.
    pub(super) async fn tcp(self: &Arc<Self>, host: &str, port: u16) -> Result<Channel<Msg>, TunnelError> {
        let (session, address) = (Arc::clone(self), host.to_owned());
        let opened = open(async move { session.handle.channel_open_direct_tcpip(address, u32::from(port), "127.0.0.1", 0).await }).await;
        match opened {
            Ok(channel) => Ok(channel),
            Err(error) => Err(self.tunnel_error(format!("{host}:{port}"), error).await),
        }
    }

    /// Opens a channel to a unix socket of the server.
    pub(super) async fn unix(self: &Arc<Self>, path: &str) -> Result<Channel<Msg>, TunnelError> {
        let (session, socket) = (Arc::clone(self), path.to_owned());
        match open(async move { session.handle.channel_open_direct_streamlocal(socket).await }).await {
            Ok(channel) => Ok(channel),
            Err(error) => Err(self.tunnel_error(path.to_owned(), error).await),
        }
    }

    async fn tunnel_error(&self, to: String, error: russh::Error) -> TunnelError {
        let server = self.label.clone();
        match error {
            russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited) => TunnelError::Forbidden { server, to },
            russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed) => TunnelError::Refused { server, to },
            russh::Error::ChannelOpenFailure(other) => TunnelError::Failed { server, to, seen: other.description().to_owned() },
            russh::Error::Disconnect | russh::Error::SendError | russh::Error::HUP => {
                TunnelError::Lost { server, reason: self.why().await }
            }
            other => TunnelError::Failed { server, to, seen: other.to_string() },
        }
    }

    /// Says goodbye, and cuts the connection when that takes more than a second.
    pub(super) async fn close(&self) {
        let switch = self.switch.lock().unwrap_or_else(PoisonError::into_inner).take();
        let goodbye = async {
            if self.handle.disconnect(Disconnect::ByApplication, "", "").await.is_ok() {
                self.lost().await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
        drop(switch);
    }
}

/// Opens a channel in a task of its own: when the caller has given up meanwhile, the channel is closed as soon as it is there.
async fn open(opening: impl Future<Output = Result<Channel<Msg>, russh::Error>> + Send + 'static) -> Result<Channel<Msg>, russh::Error> {
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        if let Err(Ok(late)) = sender.send(opening.await) {
            let _ = late.close().await;
        }
    });
    receiver.await.unwrap_or(Err(russh::Error::Disconnect))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_types_are_offered_first_and_nothing_weak_at_all() {
        let config = config(&["ssh-rsa".to_owned(), "ecdsa-sha2-nistp256".to_owned()]);
        let names: Vec<String> = config.preferred.key.iter().map(ToString::to_string).collect();
        assert_eq!(names[..3], ["rsa-sha2-512", "rsa-sha2-256", "ecdsa-sha2-nistp256"]);
        assert_eq!((names.len(), names.contains(&"ssh-rsa".to_owned())), (6, false));
        let kex: Vec<&str> = config.preferred.kex.iter().map(AsRef::as_ref).collect();
        assert!(kex.iter().all(|name| !name.contains("sha1") && *name != "none"), "{kex:?}");
        assert_eq!(config.preferred.cipher[0].as_ref(), "aes256-gcm@openssh.com");
    }
}
