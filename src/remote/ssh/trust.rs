//! Which host keys are trusted: the known_hosts files of each hop, read once for all workers, and the three policies.
//! Deliberately absent: questions to the user. Parallel workers never prompt.
use super::error::{At, ConnectError};
use super::known_hosts::{KnownHosts, Verdict, line_for};
use super::target::{Hop, HostKey};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SYSTEM_FILE: &str = "/etc/ssh/ssh_known_hosts";

/// A key that a server has shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<'a> {
    /// Its type, such as `ssh-ed25519`.
    pub(super) kind: &'a str,
    /// The key in SSH wire format.
    pub(super) blob: &'a [u8],
    /// `SHA256:…`.
    pub(super) fingerprint: &'a str,
}

/// All known_hosts files that were needed so far.
#[derive(Debug)]
pub(super) struct Trust {
    home: Option<PathBuf>,
    stores: Mutex<BTreeMap<Option<PathBuf>, Arc<Mutex<Store>>>>,
}

#[derive(Debug)]
struct Store {
    files: Vec<PathBuf>,
    known: KnownHosts,
}

impl Trust {
    pub(super) fn new(home: Option<PathBuf>) -> Self {
        Trust { home, stores: Mutex::default() }
    }

    /// The types of key by which a hop is known; empty where nothing is known or nothing is asked.
    pub(super) fn kinds(&self, hop: &Hop) -> Result<Vec<String>, ConnectError> {
        match hop.host_key {
            HostKey::Off => Ok(Vec::new()),
            HostKey::Strict | HostKey::AcceptNew => Ok(lock(&*self.store(hop)?).known.kinds(&hop.address, hop.port)),
        }
    }

    /// Accepts the key that a hop has shown, or says why not. Under [`HostKey::AcceptNew`] an unknown key is on disk before it is accepted.
    pub(super) fn check(&self, hop: &Hop, shown: Shown<'_>) -> Result<(), ConnectError> {
        if hop.host_key == HostKey::Off {
            return Ok(());
        }
        let store = self.store(hop)?;
        let mut store = lock(&store);
        let at = hop.at();
        let fingerprint = shown.fingerprint.to_owned();
        match store.known.verdict(&hop.address, hop.port, shown.kind, shown.blob) {
            Verdict::Known => Ok(()),
            Verdict::Revoked(place) => Err(ConnectError::RevokedKey { at, fingerprint, place }),
            Verdict::Changed { place, kinds } => {
                let fix = format!("ssh-keygen -f {} -R '{}'", place.file, super::known_hosts::host_name(&hop.address, hop.port));
                Err(ConnectError::ChangedKey { at, kind: shown.kind.to_owned(), fingerprint, place, known: kinds.join(", "), fix })
            }
            Verdict::AuthorityOnly(place) => {
                Err(ConnectError::AuthorityOnly { at, place, fingerprint, fix: make_known(hop, store.written()) })
            }
            Verdict::Unknown => match hop.host_key {
                HostKey::AcceptNew => store.record(hop, shown).map_err(|(file, cause)| ConnectError::KnownHosts { at, file, cause }),
                HostKey::Strict | HostKey::Off => Err(ConnectError::UnknownKey {
                    at,
                    kind: shown.kind.to_owned(),
                    fingerprint,
                    files: store.names(),
                    fix: make_known(hop, store.written()),
                }),
            },
        }
    }

    fn store(&self, hop: &Hop) -> Result<Arc<Mutex<Store>>, ConnectError> {
        let mut stores = lock(&self.stores);
        if let Some(store) = stores.get(&hop.known_hosts) {
            return Ok(Arc::clone(store));
        }
        let files = match &hop.known_hosts {
            Some(file) => vec![file.clone()],
            None => self.home.iter().map(|home| home.join(".ssh/known_hosts")).chain([PathBuf::from(SYSTEM_FILE)]).collect(),
        };
        let store = Store::read(files).map_err(|(file, cause)| ConnectError::KnownHosts { at: hop.at(), file, cause })?;
        let store = Arc::new(Mutex::new(store));
        stores.insert(hop.known_hosts.clone(), Arc::clone(&store));
        Ok(store)
    }
}

impl Store {
    fn read(files: Vec<PathBuf>) -> Result<Store, (PathBuf, String)> {
        let mut known = KnownHosts::default();
        for file in &files {
            match std::fs::read(file) {
                Ok(bytes) => known.add(&file.display().to_string(), &String::from_utf8_lossy(&bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err((file.clone(), error.to_string())),
            }
        }
        Ok(Store { files, known })
    }

    /// The file that new keys go to.
    fn written(&self) -> &Path {
        self.files.first().map_or(Path::new(SYSTEM_FILE), PathBuf::as_path)
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        names.join(" or ")
    }

    fn record(&mut self, hop: &Hop, shown: Shown<'_>) -> Result<(), (PathBuf, String)> {
        let line = line_for(&hop.address, hop.port, shown.kind, shown.blob);
        let file = self.written().to_owned();
        append(&file, &line).map_err(|error| (file.clone(), error.to_string()))?;
        self.known.add(&file.display().to_string(), &line);
        Ok(())
    }
}

/// Appends one line by one write, so that other processes that append at the same time cannot cut into it.
fn append(path: &Path, line: &str) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let text = if ends_in_newline(&mut file)? { line.to_owned() } else { format!("\n{line}") };
    file.write_all(text.as_bytes())?;
    file.sync_data()
}

fn ends_in_newline(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// The command that makes a hop's key known. A hop behind another is out of reach for ssh-keyscan.
fn make_known(hop: &Hop, file: &Path) -> String {
    let Hop { address, port, user, .. } = hop;
    match &hop.jump {
        None => format!("ssh-keyscan -p {port} {address} >> {}", file.display()),
        Some(jump) => {
            format!("ssh -o UserKnownHostsFile={} -J {}@{} -p {port} {user}@{address} true", file.display(), jump.user, jump.socket())
        }
    }
}

impl Hop {
    pub(super) fn at(&self) -> At {
        At { server: self.label.clone(), socket: self.socket() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn hop(file: &Path, address: &str, host_key: HostKey) -> Hop {
        Hop {
            label: "web".to_owned(),
            address: address.to_owned(),
            port: 2222,
            user: "me".to_owned(),
            identity_files: Vec::new(),
            host_key,
            known_hosts: Some(file.to_owned()),
            jump: None,
        }
    }

    fn shown(blob: &[u8]) -> Shown<'_> {
        Shown { kind: "ssh-ed25519", blob, fingerprint: "SHA256:x" }
    }

    #[test]
    fn accept_new_records_once_and_refuses_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ssh/known_hosts");
        let trust = Trust::new(None);
        let web = hop(&file, "web", HostKey::AcceptNew);
        trust.check(&web, shown(b"one")).unwrap();
        trust.check(&web, shown(b"one")).unwrap();
        assert!(matches!(trust.check(&web, shown(b"two")), Err(ConnectError::ChangedKey { .. })));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "[web]:2222 ssh-ed25519 b25l\n");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(trust.check(&hop(&file, "web", HostKey::Strict), shown(b"one")).is_ok(), "the store is shared");
    }

    #[test]
    fn thirty_two_workers_write_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        std::fs::write(&file, "other ssh-ed25519 b25l").unwrap();
        let trust = Trust::new(None);
        std::thread::scope(|scope| {
            for worker in 0..32 {
                let (trust, file) = (&trust, &file);
                scope.spawn(move || trust.check(&hop(file, &format!("h{}", worker % 16), HostKey::AcceptNew), shown(b"one")).unwrap());
            }
        });
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().count(), 17, "{text}");
        assert!(text.lines().all(|line| line.ends_with(" ssh-ed25519 b25l")), "{text}");
    }

    #[test]
    fn strict_and_off() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        let trust = Trust::new(None);
        let message = trust.check(&hop(&file, "web", HostKey::Strict), shown(b"one")).unwrap_err().to_string();
        assert!(message.contains("SHA256:x") && message.contains("ssh-keyscan -p 2222 web >>"), "{message}");
        trust.check(&hop(&file, "web", HostKey::Off), shown(b"one")).unwrap();
        assert!(!file.exists());
    }
}
