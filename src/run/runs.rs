//! The runs of one project and environment on this workstation: which have no end, and how a later run takes the place of one of them.
//! Deliberately absent: writing a run (see `journal`).
use super::journal::{JournalError, io_error, new_file, own, sync_folder};
use crate::ledger::Ledger;
use crate::model::{Event, Verdict};
use crate::plan::{PLAN_FORMAT, Plan};
use serde::Deserialize;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub(super) const PLAN: &str = "plan.json";
pub(super) const EVENTS: &str = "journal.jsonl";
/// In the folder of a run whose place a later one has taken: the later one's id.
pub(super) const SUPERSEDED: &str = "superseded";
/// Finished runs that are kept for `history`.
const KEPT: usize = 50;

/// A run that was begun and not closed, and can be read.
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

/// A run that was begun and not closed, or is held, as a later one finds it.
#[derive(Debug)]
pub struct LeftRun {
    /// Its folder.
    pub folder: PathBuf,
    /// A process of this machine is still writing it: it was not cut off.
    pub is_running: bool,
    /// What should happen and what has happened, where that can be read.
    pub read: Result<(Plan, Ledger), JournalError>,
}

impl LeftRun {
    /// Marks it as one whose place the run `by` has taken: it is kept, and neither resumed nor undone any more.
    ///
    /// # Errors
    /// [`JournalError::Busy`] while a process still writes it; or the mark cannot be written.
    pub fn supersede(&self, by: &str) -> Result<(), JournalError> {
        supersede(&self.folder, by)
    }
}

impl OpenRun {
    /// Marks it as one that nobody can take up any more, because of `by`.
    ///
    /// # Errors
    /// As [`LeftRun::supersede`].
    pub fn give_up(&self, by: &str) -> Result<(), JournalError> {
        supersede(&self.folder, by)
    }
}

fn supersede(folder: &Path, by: &str) -> Result<(), JournalError> {
    let path = folder.join(EVENTS);
    let _owned = own(OpenOptions::new().append(true).open(&path).map_err(io_error("open", &path))?, &path)?;
    let mark = folder.join(SUPERSEDED);
    if mark.exists() {
        return Ok(());
    }
    let mut file = new_file(&mark)?;
    file.write_all(format!("{by}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(io_error("write", &mark))?;
    sync_folder(folder)
}

/// The runs of this project and environment that were begun and not closed, oldest first: those that can be resumed.
///
/// # Errors
/// [`JournalError`] when one cannot be read.
pub fn open_runs(state: &Path) -> Result<Vec<OpenRun>, JournalError> {
    let open = |run: LeftRun| {
        let LeftRun { folder, is_running, read } = run;
        read.map(|(plan, ledger)| OpenRun { folder, plan, ledger, is_running })
    };
    left_runs(state)?.into_iter().map(open).collect()
}

/// The runs of this project and environment that were begun and not closed, oldest first, whether or not they can be read. Those whose
/// place a later run has taken are closed. Old closed runs are cleared away, where they can be.
///
/// # Errors
/// [`JournalError`] when the folder cannot be read.
pub fn left_runs(state: &Path) -> Result<Vec<LeftRun>, JournalError> {
    let folders = folders(state)?;
    let mut left = Vec::new();
    let mut closed = Vec::new();
    for folder in folders {
        let path = folder.join(EVENTS);
        if folder.join(SUPERSEDED).exists() {
            closed.push(folder);
            continue;
        }
        // Asked before it is read: what a run writes after it was asked for is not missed.
        let is_running = match is_owned(&path) {
            // Another run has cleared it away meanwhile.
            Err(error) if is_gone(&error) => continue,
            answer => answer?,
        };
        match read_events(&path) {
            Ok(ledger) if has_ended(&ledger) || ledger.next_seq() == 0 => closed.push(folder),
            Ok(ledger) => {
                let read = read_plan(&folder.join(PLAN)).map(|plan| (plan, ledger));
                left.push(LeftRun { folder, is_running, read });
            }
            Err(error) if is_gone(&error) => {}
            // A plan of another version says so more clearly than the first event that is not known.
            Err(error) => {
                let read = Err(read_plan(&folder.join(PLAN)).err().unwrap_or(error));
                left.push(LeftRun { folder, is_running, read });
            }
        }
    }
    let surplus = closed.len().saturating_sub(KEPT);
    for folder in closed.into_iter().take(surplus) {
        // Another run may do the same at this moment; and what cannot be removed stops no deploy.
        let _ = fs::remove_dir_all(&folder);
    }
    Ok(left)
}

/// Nothing is to come of it any more. One that is held waits for somebody.
fn has_ended(ledger: &Ledger) -> bool {
    match ledger.closed {
        Some(Verdict::Done | Verdict::DoneWithLeftovers | Verdict::PutBack | Verdict::Stuck) => true,
        Some(Verdict::Held | Verdict::Waiting) | None => false,
    }
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

/// There is no such file (any more).
fn is_gone(error: &JournalError) -> bool {
    matches!(error, JournalError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
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

/// The one key that plans of all versions have.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

fn read_plan(path: &Path) -> Result<Plan, JournalError> {
    let bytes = fs::read(path).map_err(io_error("read", path))?;
    let damaged = |error: serde_json::Error| JournalError::Plan { path: path.to_owned(), why: error.to_string() };
    let Format { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if format != PLAN_FORMAT {
        let why = format!("it has format {format}, this version reads {PLAN_FORMAT}");
        return Err(JournalError::Plan { path: path.to_owned(), why });
    }
    serde_json::from_slice(&bytes).map_err(damaged)
}

/// What the whole lines say; a last line without its end was never on disk.
pub(super) fn read_events(path: &Path) -> Result<Ledger, JournalError> {
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

/// Whether some process owns the file.
fn is_owned(path: &Path) -> Result<bool, JournalError> {
    let file = File::open(path).map_err(io_error("open", path))?;
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(io_error("lock", path)(error)),
    }
}
