//! The keys that can be offered: the agent's and those in files, each read and decrypted once for all workers.
//! Deliberately absent: offering them (`login.rs`), and questions in the middle of a run.
use super::target::Hop;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Certificate, HashAlg, PrivateKey, PublicKey, decode_secret_key, load_public_key};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, OnceCell};

/// How long the agent may take for its list. Signing may wait for a touch of a token, and has the connection's deadline.
const AGENT: Duration = Duration::from_secs(5);
/// OpenSSH's default files, in its order.
const DEFAULT_FILES: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];
/// sshd's MaxAuthTries is 6 by default.
const MOST: usize = 5;

/// A passphrase may be mistyped twice, as with OpenSSH.
const TRIES: u32 = 3;

/// Asks for the passphrase of a key file, for the first, second or third time; [`None`] when there is none to be had.
pub type Passphrase = Arc<dyn Fn(&Path, u32) -> Option<String> + Send + Sync>;

/// All keys that were looked at so far.
pub(super) struct Identities {
    home: Option<PathBuf>,
    agent: Option<PathBuf>,
    passphrase: Option<Passphrase>,
    held: OnceCell<Result<Vec<AgentIdentity>, String>>,
    files: Mutex<BTreeMap<PathBuf, Arc<KeyFile>>>,
}

/// A key that can be offered.
pub(super) struct Candidate {
    /// For messages: where it comes from, its type and its fingerprint.
    pub(super) label: String,
    /// How to sign with it.
    pub(super) key: Key,
}

/// How to sign with a key.
#[derive(Clone)]
pub(super) enum Key {
    /// The agent signs.
    Agent(Box<AgentIdentity>),
    /// We sign.
    File(Arc<PrivateKey>),
    /// We sign, and show a certificate that lies beside the key.
    Certified(Arc<PrivateKey>, Box<Certificate>),
}

/// What can be offered to one server, at most five, and why other keys cannot.
#[derive(Default)]
pub(super) struct Offer {
    pub(super) candidates: Vec<Candidate>,
    pub(super) unusable: Vec<String>,
}

/// What one key file holds.
struct KeyFile {
    public: Option<PublicKey>,
    private: Result<Arc<PrivateKey>, Problem>,
    certificate: Option<Certificate>,
}

#[derive(Clone)]
enum Problem {
    Missing,
    Other(String),
}

impl Identities {
    pub(super) fn new(home: Option<PathBuf>, agent: Option<PathBuf>, passphrase: Option<Passphrase>) -> Identities {
        Identities { home, agent, passphrase, held: OnceCell::new(), files: Mutex::default() }
    }

    /// The keys for a hop. With `identity_files`: those, in their order, then what else the agent holds.
    /// Without: what the agent holds, then OpenSSH's default files. A key that the agent holds is signed by the agent.
    pub(super) async fn offer(&self, hop: &Hop) -> Offer {
        let mut offer = Offer::default();
        let held = match self.held.get_or_init(|| self.ask_agent()).await {
            Ok(held) => held.as_slice(),
            Err(problem) => {
                offer.unusable.push(problem.clone());
                &[]
            }
        };
        if hop.identity_files.is_empty() {
            offer.add_held(held);
            // Where the agent has something to offer, nobody is asked for the passphrase of a file that nobody named.
            let ask = if held.is_empty() { self.passphrase.as_ref() } else { None };
            for file in self.home.iter().flat_map(|home| DEFAULT_FILES.map(|name| home.join(".ssh").join(name))) {
                offer.add_file(&file, &*self.file(&file, held, ask).await, held, Absent::IsFine);
            }
        } else {
            for file in &hop.identity_files {
                offer.add_file(file, &*self.file(file, held, self.passphrase.as_ref()).await, held, Absent::IsSaid);
            }
            offer.add_held(held);
        }
        offer.candidates.truncate(MOST);
        offer
    }

    /// A connection to the agent, to sign with.
    pub(super) async fn agent(&self) -> io::Result<AgentClient<UnixStream>> {
        let socket = self.agent.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok(AgentClient::connect(UnixStream::connect(socket).await?))
    }

    async fn ask_agent(&self) -> Result<Vec<AgentIdentity>, String> {
        let Some(socket) = &self.agent else { return Ok(Vec::new()) };
        let asked = async {
            let mut agent = self.agent().await.map_err(|error| error.to_string())?;
            agent.request_identities().await.map_err(|error| error.to_string())
        };
        let answer = tokio::time::timeout(AGENT, asked).await.unwrap_or_else(|_| Err("no answer".to_owned()));
        answer.map_err(|cause| format!("the ssh-agent at {} is of no use ({cause})", socket.display()))
    }

    /// The lock is held while a file is read, so that no two workers ask for one passphrase.
    async fn file(&self, path: &Path, held: &[AgentIdentity], ask: Option<&Passphrase>) -> Arc<KeyFile> {
        let mut files = self.files.lock().await;
        if let Some(file) = files.get(path) {
            return Arc::clone(file);
        }
        let (passphrase, owned) = (ask.cloned(), path.to_owned());
        let held: Vec<PublicKey> = held.iter().map(|identity| identity.public_key().into_owned()).collect();
        let read = tokio::task::spawn_blocking(move || read_file(&owned, &held, passphrase.as_ref())).await;
        let file = Arc::new(read.unwrap_or_else(|error| KeyFile {
            public: None,
            private: Err(Problem::Other(error.to_string())),
            certificate: None,
        }));
        files.insert(path.to_owned(), Arc::clone(&file));
        file
    }
}

/// Whether a file that is not there is worth a word.
#[derive(Clone, Copy)]
enum Absent {
    IsFine,
    IsSaid,
}

impl Offer {
    fn has(&self, key: &PublicKey) -> bool {
        self.candidates.iter().any(|candidate| match &candidate.key {
            Key::Agent(identity) => identity.public_key().key_data() == key.key_data(),
            Key::File(private) | Key::Certified(private, _) => private.public_key().key_data() == key.key_data(),
        })
    }

    fn add_held(&mut self, held: &[AgentIdentity]) {
        for identity in held {
            let key = identity.public_key();
            if !self.has(&key) {
                let label = describe(&format!("{} of the agent", identity.comment()), &key);
                self.candidates.push(Candidate { label, key: Key::Agent(Box::new(identity.clone())) });
            }
        }
    }

    fn add_file(&mut self, path: &Path, file: &KeyFile, held: &[AgentIdentity], absent: Absent) {
        let name = path.display().to_string();
        if let Some(public) = &file.public {
            if self.has(public) {
                return;
            }
            if let Some(identity) = held.iter().find(|identity| identity.public_key().key_data() == public.key_data()) {
                let label = describe(&format!("{name} of the agent"), public);
                self.candidates.push(Candidate { label, key: Key::Agent(Box::new(identity.clone())) });
                return;
            }
        }
        match (&file.private, absent) {
            (Ok(private), _) => {
                let key = match &file.certificate {
                    Some(certificate) => Key::Certified(Arc::clone(private), Box::new(certificate.clone())),
                    None => Key::File(Arc::clone(private)),
                };
                self.candidates.push(Candidate { label: describe(&name, private.public_key()), key });
            }
            (Err(Problem::Missing), Absent::IsFine) => {}
            (Err(Problem::Missing), Absent::IsSaid) => self.unusable.push(format!("{name} does not exist")),
            (Err(Problem::Other(problem)), _) => self.unusable.push(format!("{name} {problem}")),
        }
    }
}

fn describe(name: &str, key: &PublicKey) -> String {
    format!("{} ({} {})", name.trim(), key.algorithm(), key.fingerprint(HashAlg::Sha256))
}

fn read_file(path: &Path, held: &[PublicKey], passphrase: Option<&Passphrase>) -> KeyFile {
    let beside = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let public = load_public_key(beside(".pub")).ok();
    let certificate = Certificate::read_file(&beside("-cert.pub")).ok();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let problem = match error.kind() {
                io::ErrorKind::NotFound => Problem::Missing,
                _ => Problem::Other(format!("cannot be read ({error})")),
            };
            return KeyFile { public, private: Err(problem), certificate };
        }
    };
    // OpenSSH's own format shows the public half of an encrypted key too.
    let public = PrivateKey::from_openssh(&text).ok().map(|key| key.public_key().clone()).or(public);
    let private = match decode_secret_key(&text, None) {
        Ok(key) => Ok(key),
        Err(russh::keys::Error::KeyIsEncrypted) => {
            let is_held = public.as_ref().is_some_and(|key| held.iter().any(|other| other.key_data() == key.key_data()));
            decrypt(path, &text, passphrase.filter(|_| !is_held))
        }
        Err(error) => Err(format!("is not a private key that can be used ({error})")),
    };
    let public = private.as_ref().ok().map(|key| key.public_key().clone()).or(public);
    KeyFile { public, private: private.map(Arc::new).map_err(Problem::Other), certificate }
}

fn decrypt(path: &Path, text: &str, passphrase: Option<&Passphrase>) -> Result<PrivateKey, String> {
    for attempt in 1..=TRIES {
        let Some(word) = passphrase.and_then(|ask| ask(path, attempt)) else {
            return Err("is encrypted: load it once with ssh-add".to_owned());
        };
        if let Ok(key) = decode_secret_key(text, Some(&word)) {
            return Ok(key);
        }
    }
    Err("is encrypted, and the passphrase does not open it".to_owned())
}
