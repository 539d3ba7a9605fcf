//! A run on disk: `plan.json`, written before anything begins, and `journal.jsonl`, one event a line, each on disk before what follows
//! from it. Deliberately absent: what events mean (see `ledger`).
use crate::ledger::{Ledger, LedgerError};
use crate::model::{Event, EventKind, Verdict};
use crate::plan::{PLAN_FORMAT, Plan};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const PLAN: &str = "plan.json";
const EVENTS: &str = "journal.jsonl";
/// Finished runs that are kept for `history`.
const KEPT: usize = 50;

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
    /// A line in the middle is damaged.
    #[error("line {line} of {path} is damaged: {why}")]
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

/// A run that was begun and not closed.
#[derive(Debug)]
pub struct OpenRun {
    /// Its folder.
    pub folder: PathBuf,
    /// What should happen.
    pub plan: Plan,
    /// What has happened. What was running is unknown.
    pub ledger: Ledger,
    /// A process of this machine is still writing it: it was not cut off.
    pub is_running: bool,
}

impl Journal {
    /// Makes the run exist: the plan and its first event are on disk when this returns. `state` is the folder of this project and
    /// environment; files are readable by their owner alone.
    ///
    /// # Errors
    /// [`JournalError`]: nothing may be done to a server then.
    pub fn create(state: &Path, plan: &Plan, ledger: &mut Ledger) -> Result<Journal, JournalError> {
        let millis = now();
        let run = format!("{millis:013}-{}", std::process::id());
        let folder = state.join(&run);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(io_error("make", &folder))?;
        let bytes = serde_json::to_vec_pretty(plan).map_err(|error| JournalError::Plan { path: folder.clone(), why: error.to_string() })?;
        let path = folder.join(PLAN);
        let mut file = new_file(&path)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io_error("write", &path))?;
        let path = folder.join(EVENTS);
        let mut journal = Journal { file: own(new_file(&path)?, &path)?, path, folder: folder.clone(), opened: Vec::new() };
        journal.opened = journal.write(ledger, vec![EventKind::RunOpened { run, plan: digest(&bytes) }])?;
        sync_folder(&folder)?;
        sync_folder(state)?;
        Ok(journal)
    }

    /// Goes on with the journal of a run that was cut off. A torn last line is cut away, and that the run is opened again is written
    /// down: without it the steps that are looked at again would read, after the next cut, as begun twice.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn reopen(run: &mut OpenRun) -> Result<Journal, JournalError> {
        let path = run.folder.join(EVENTS);
        let file = own(OpenOptions::new().append(true).open(&path).map_err(io_error("open", &path))?, &path)?;
        let text = fs::read(&path).map_err(io_error("read", &path))?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        file.set_len(whole as u64).map_err(io_error("cut", &path))?;
        let mut journal = Journal { file, path, folder: run.folder.clone(), opened: Vec::new() };
        let plan = run.folder.join(PLAN);
        let plan = digest(&fs::read(&plan).map_err(io_error("read", &plan))?);
        let id = run.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        journal.opened = journal.write(&mut run.ledger, vec![EventKind::RunOpened { run: id, plan }])?;
        Ok(journal)
    }

    /// Asks for an undo of the run, before it goes on.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn abort(&mut self, ledger: &mut Ledger, reason: String) -> Result<(), JournalError> {
        let events = self.write(ledger, vec![EventKind::AbortRequested { reason }])?;
        self.opened.extend(events);
        Ok(())
    }

    /// Where the run is kept.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The event that opened the run, or took it up: on disk, and told to nobody yet.
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

/// The runs of this project and environment that were begun and not closed, oldest first. Old closed runs are cleared away.
///
/// # Errors
/// [`JournalError`] when one cannot be read.
pub fn open_runs(state: &Path) -> Result<Vec<OpenRun>, JournalError> {
    let folders = folders(state)?;
    let mut open = Vec::new();
    let mut closed = Vec::new();
    for folder in folders {
        let path = folder.join(EVENTS);
        // Asked before it is read: what a run writes after it was asked for is not missed.
        let is_running = is_owned(&path)?;
        let ledger = read_events(&path)?;
        if ledger.closed.is_some() || ledger.next_seq() == 0 {
            closed.push(folder);
            continue;
        }
        let plan = read_plan(&folder.join(PLAN))?;
        open.push(OpenRun { folder, plan, ledger, is_running });
    }
    let surplus = closed.len().saturating_sub(KEPT);
    for folder in closed.into_iter().take(surplus) {
        fs::remove_dir_all(&folder).map_err(io_error("remove", &folder))?;
    }
    Ok(open)
}

/// The last run of this project and environment, where it ended without everything being put back: it can be taken up to finish that.
///
/// # Errors
/// [`JournalError`] when it cannot be read.
pub fn stuck_run(state: &Path) -> Result<Option<OpenRun>, JournalError> {
    let Some(folder) = folders(state)?.pop() else { return Ok(None) };
    let ledger = read_events(&folder.join(EVENTS))?;
    if ledger.closed != Some(Verdict::Stuck) {
        return Ok(None);
    }
    let plan = read_plan(&folder.join(PLAN))?;
    Ok(Some(OpenRun { folder, plan, ledger, is_running: false }))
}

/// The folders of all runs, oldest first.
fn folders(state: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let mut folders: Vec<PathBuf> = match fs::read_dir(state) {
        Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.join(EVENTS).exists()).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("read", state)(error)),
    };
    folders.sort();
    Ok(folders)
}

/// SHA-256, hex.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn read_plan(path: &Path) -> Result<Plan, JournalError> {
    let bytes = fs::read(path).map_err(io_error("read", path))?;
    let plan: Plan =
        serde_json::from_slice(&bytes).map_err(|error| JournalError::Plan { path: path.to_owned(), why: error.to_string() })?;
    if plan.format == PLAN_FORMAT {
        Ok(plan)
    } else {
        let why = format!("it has format {}, this version reads {PLAN_FORMAT}", plan.format);
        Err(JournalError::Plan { path: path.to_owned(), why })
    }
}

fn read_events(path: &Path) -> Result<Ledger, JournalError> {
    let text = fs::read(path).map_err(io_error("read", path))?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let mut ledger = Ledger::default();
    for (index, line) in text[..whole].split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let event: Event = serde_json::from_slice(line).map_err(|error| JournalError::Line {
            path: path.to_owned(),
            line: index + 1,
            why: error.to_string(),
        })?;
        ledger.apply(&event).map_err(|source| JournalError::Ledger { path: path.to_owned(), source })?;
    }
    ledger.cut_off();
    Ok(ledger)
}

fn new_file(path: &Path) -> Result<File, JournalError> {
    OpenOptions::new().create_new(true).append(true).mode(0o600).open(path).map_err(io_error("make", path))
}

/// Makes this process the only one that writes the file, for as long as it is open: a kernel lock, gone with its holder.
fn own(file: File, path: &Path) -> Result<File, JournalError> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::Busy { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io_error("lock", path)(error)),
    }
}

/// Whether some process owns the file.
fn is_owned(path: &Path) -> Result<bool, JournalError> {
    let file = File::open(path).map_err(io_error("open", path))?;
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(io_error("lock", path)(error)),
    }
}

fn sync_folder(path: &Path) -> Result<(), JournalError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(io_error("flush", path))
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { what, path, source }
}

/// Milliseconds since the Unix epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
