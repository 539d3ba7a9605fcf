//! A run on disk: `plan.json`, written before anything begins, and `journal.jsonl`, one event a line, each on disk before what follows
//! from it. Deliberately absent: what events mean (see `ledger`), and finding runs (see `runs`).
use super::runs::{EVENTS, OpenRun, PLAN, SUPERSEDED, read_events};
use crate::ledger::{Ledger, LedgerError};
use crate::model::{Event, EventKind, StepId, WaveIndex};
use crate::plan::Plan;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The journal before its first event is on disk.
const BEGUN: &str = "journal.jsonl.new";

/// Why a run cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file or folder of the run.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The plan is damaged, or from another version.
    #[error("{path} is no plan that this version can read: {why}")]
    Plan {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A line in the middle is damaged, or of a version that knows more events.
    #[error("line {line} of {path} is damaged, or was written by another version: {why}")]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Why.
        why: String,
    },
    /// Another process writes it.
    #[error("{path} is being written by another process: that run has not been cut off")]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// A later run has taken its place.
    #[error("{path}: a later run has taken the place of this one")]
    Superseded {
        /// Its folder.
        path: PathBuf,
    },
    /// Another process went on with it between reading it and taking it up.
    #[error("{path} was written by another process in this moment: run the command again")]
    Moved {
        /// The file.
        path: PathBuf,
    },
    /// The events do not follow one another.
    #[error("{path}: {source}")]
    Ledger {
        /// The file.
        path: PathBuf,
        /// Which event.
        source: LedgerError,
    },
}

/// The journal of a run that is being written.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    folder: PathBuf,
    opened: Vec<Event>,
}

impl Journal {
    /// Makes the run exist: the plan and its first event are on disk when this returns. `state` is the folder of this project and
    /// environment; files are readable by their owner alone.
    ///
    /// # Errors
    /// [`JournalError`]: nothing may be done to a server then.
    pub fn create(state: &Path, plan: &Plan, ledger: &mut Ledger) -> Result<Journal, JournalError> {
        let (run, folder) = own_folder(state, now())?;
        let made = Self::create_in(state, &folder, run, plan, ledger);
        if made.is_err() {
            // A run that never was: on a full disk its half plan would only be in the way.
            let _ = fs::remove_dir_all(&folder);
        }
        made
    }

    fn create_in(state: &Path, folder: &Path, run: String, plan: &Plan, ledger: &mut Ledger) -> Result<Journal, JournalError> {
        let bytes = bytes_of(plan, folder)?;
        let path = folder.join(PLAN);
        let mut file = new_file(&path)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io_error("write", &path))?;
        let path = folder.join(EVENTS);
        // Others see it once it is owned and has its first event: an empty one, of a run that nobody is at, is cleared away.
        let begun = folder.join(BEGUN);
        let mut journal = Journal { file: own(new_file(&begun)?, &begun)?, path, folder: folder.to_owned(), opened: Vec::new() };
        journal.opened = journal.write(ledger, vec![EventKind::RunOpened { run, plan: digest(&bytes) }])?;
        fs::rename(&begun, &journal.path).map_err(io_error("rename", &begun))?;
        sync_folder(folder)?;
        sync_folder(state)?;
        Ok(journal)
    }

    /// Goes on with the journal of a run that was cut off. A torn last line is cut away, and that the run is opened again is written
    /// down: without it the steps that are looked at again would read, after the next cut, as begun twice. Where the plan is another one
    /// than on disk by now, it is on disk before that.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn reopen(run: &mut OpenRun) -> Result<Journal, JournalError> {
        let path = run.folder.join(EVENTS);
        let file = own(OpenOptions::new().append(true).open(&path).map_err(io_error("open", &path))?, &path)?;
        if run.folder.join(SUPERSEDED).exists() {
            return Err(JournalError::Superseded { path: run.folder.clone() });
        }
        if read_events(&path)? != run.ledger {
            return Err(JournalError::Moved { path });
        }
        let text = fs::read(&path).map_err(io_error("read", &path))?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        file.set_len(whole as u64).map_err(io_error("cut", &path))?;
        let mut journal = Journal { file, path, folder: run.folder.clone(), opened: Vec::new() };
        let plan = run.folder.join(PLAN);
        let mut bytes = fs::read(&plan).map_err(io_error("read", &plan))?;
        if serde_json::from_slice::<Plan>(&bytes).ok().as_ref() != Some(&run.plan) {
            bytes = bytes_of(&run.plan, &run.folder)?;
            replace(&plan, &bytes)?;
        }
        let id = run.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        journal.opened = journal.write(&mut run.ledger, vec![EventKind::RunOpened { run: id, plan: digest(&bytes) }])?;
        Ok(journal)
    }

    /// Writes down that somebody asked to undo the run, before anything else happens in it.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn ask_to_undo(&mut self, ledger: &mut Ledger, reason: &str) -> Result<(), JournalError> {
        let asked = self.write(ledger, vec![EventKind::AbortRequested { reason: reason.to_owned() }])?;
        self.opened.extend(asked);
        Ok(())
    }

    /// Writes down that what failed in a run that is held is to be tried again, and these steps with it, before anything else happens in it.
    /// In one that was cut off nothing has failed: these steps alone.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn ask_to_retry(&mut self, ledger: &mut Ledger, anew: Vec<StepId>) -> Result<(), JournalError> {
        let asked = self.write(ledger, vec![EventKind::RetryRequested { anew }])?;
        self.opened.extend(asked);
        Ok(())
    }

    /// Writes down that this wave may begin once these steps are done anew, before anything else happens in the run.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn promote(&mut self, ledger: &mut Ledger, wave: WaveIndex, anew: Vec<StepId>) -> Result<(), JournalError> {
        let asked = self.write(ledger, vec![EventKind::Promoted { wave, anew }])?;
        self.opened.extend(asked);
        Ok(())
    }

    /// Where the run is kept.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The events that opened the run, or took it up: on disk, and told to nobody yet.
    #[must_use]
    pub fn opened(&self) -> &[Event] {
        &self.opened
    }

    /// Takes events into the ledger and puts them on disk, in one write and one flush. Gives them back numbered.
    ///
    /// # Errors
    /// [`JournalError`]: nothing that follows from these events may be begun.
    pub fn write(&mut self, ledger: &mut Ledger, kinds: Vec<EventKind>) -> Result<Vec<Event>, JournalError> {
        let mut events = Vec::new();
        let mut lines = Vec::new();
        for kind in kinds {
            let event = Event { seq: ledger.next_seq(), at: now(), kind };
            ledger.apply(&event).map_err(|source| JournalError::Ledger { path: self.path.clone(), source })?;
            serde_json::to_writer(&mut lines, &event).map_err(|error| JournalError::Line {
                path: self.path.clone(),
                line: 0,
                why: error.to_string(),
            })?;
            lines.push(b'\n');
            events.push(event);
        }
        self.file.write_all(&lines).and_then(|()| self.file.sync_data()).map_err(io_error("write", &self.path))?;
        Ok(events)
    }
}

/// The plan's file.
fn bytes_of(plan: &Plan, folder: &Path) -> Result<Vec<u8>, JournalError> {
    serde_json::to_vec_pretty(plan).map_err(|error| JournalError::Plan { path: folder.to_owned(), why: error.to_string() })
}

/// The file has its old text or the new one, whenever this is cut off.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), JournalError> {
    let new = path.with_extension("json.new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new).map_err(io_error("make", &new))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io_error("write", &new))?;
    fs::rename(&new, path).map_err(io_error("replace", path))?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// SHA-256, hex.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Makes the folder of a run that begins at this millisecond, and says the run's name. One that is there is another run's, of a process of
/// the same number in another container, or of a time before the clock was set back: then this run begins a millisecond later.
fn own_folder(state: &Path, mut millis: u64) -> Result<(String, PathBuf), JournalError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(state).map_err(io_error("make", state))?;
    loop {
        let run = format!("{millis:013}-{}", std::process::id());
        let folder = state.join(&run);
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok((run, folder)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => millis += 1,
            Err(error) => return Err(io_error("make", &folder)(error)),
        }
    }
}

pub(super) fn new_file(path: &Path) -> Result<File, JournalError> {
    OpenOptions::new().create_new(true).append(true).mode(0o600).open(path).map_err(io_error("make", path))
}

/// Makes this process the only one that writes the file, for as long as it is open: a kernel lock, gone with its holder.
pub(super) fn own(file: File, path: &Path) -> Result<File, JournalError> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::Busy { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io_error("lock", path)(error)),
    }
}

pub(super) fn sync_folder(path: &Path) -> Result<(), JournalError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(io_error("flush", path))
}

pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { what, path, source }
}

/// Milliseconds since the Unix epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
