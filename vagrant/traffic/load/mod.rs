//! Clients that watch a deploy: every request is counted, and none is ever repeated.
//!
//! `start` sets the clients going, `Handle::stop` ends them after their present request and returns what they saw. Made of
//! threads, and of h2 for HTTP/2, so that a test can include this folder by `#[path]`. Deliberately absent: retries, but of what an HTTP/2
//! server says it has not begun with, connection pools that look before they send, and whatever else a kind client does to hide a failure.
#![allow(unreachable_pub, unused_imports, dead_code, reason = "the load tool and each test include this folder, and use their part of it")]

mod client;
mod exchange;
mod http;
mod http2;
mod summary;
mod tally;
mod target;
#[cfg(test)]
mod tests;

pub use summary::{Counts, Failure, PhaseCounts, Summary, TargetSummary};
pub use target::{Kind, Target};

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tally::Tally;

/// How often the phase file is read.
const PHASE_INTERVAL: Duration = Duration::from_millis(20);

/// How the clients behave. The same for all targets.
#[derive(Debug, Clone)]
pub struct Options {
    /// Clients for each target. Default 2.
    pub concurrency: usize,
    /// What a client waits between an answer and its next request. Default 5 ms.
    pub pause: Duration,
    /// A request without a complete answer after this time has failed. Default 15 s.
    pub timeout: Duration,
    /// A file whose content is the name of the present phase. Default: none, and `Handle::phase` alone names phases.
    pub phase_file: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { concurrency: 2, pause: Duration::from_millis(5), timeout: Duration::from_secs(15), phase_file: None }
    }
}

/// What all clients share.
#[derive(Debug)]
struct Shared {
    options: Options,
    stopping: AtomicBool,
    started: Instant,
    phase: Mutex<Arc<str>>,
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn phase(&self) -> Arc<str> {
        Arc::clone(&self.phase.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_phase(&self, name: &str) {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if **phase != *name {
            *phase = Arc::from(name);
        }
    }
}

/// Clients that run.
#[derive(Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    targets: Vec<(Target, Arc<Mutex<Tally>>)>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts `options.concurrency` clients for every target. Counts belong to the phase in which their request began; the first is `""`.
///
/// # Errors
/// Where the system gives no more threads.
pub fn start(targets: Vec<Target>, options: Options) -> std::io::Result<Handle> {
    let shared = Arc::new(Shared { options, stopping: AtomicBool::new(false), started: Instant::now(), phase: Mutex::new(Arc::from("")) });
    let mut handle = Handle { shared: Arc::clone(&shared), targets: Vec::new(), threads: Vec::new() };
    if let Some(file) = shared.options.phase_file.clone() {
        read_phase(&shared, &file);
        handle.spawn(move |shared| {
            while !shared.is_stopping() {
                read_phase(shared, &file);
                thread::sleep(PHASE_INTERVAL);
            }
        })?;
    }
    for target in targets {
        let tally = Arc::new(Mutex::new(Tally::default()));
        handle.targets.push((target.clone(), Arc::clone(&tally)));
        for number in 0..shared.options.concurrency {
            let (target, tally) = (target.clone(), Arc::clone(&tally));
            handle.spawn(move |shared| client::run(&target, number, shared, &tally))?;
        }
    }
    Ok(handle)
}

fn read_phase(shared: &Shared, file: &std::path::Path) {
    // A file that is not there yet, or is just being replaced, changes nothing.
    if let Ok(name) = std::fs::read_to_string(file) {
        shared.set_phase(name.trim());
    }
}

impl Handle {
    fn spawn(&mut self, work: impl FnOnce(&Shared) + Send + 'static) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let spawned = thread::Builder::new().stack_size(1024 * 1024).spawn(move || work(&shared));
        match spawned {
            Ok(thread) => {
                self.threads.push(thread);
                Ok(())
            }
            Err(problem) => {
                self.shared.stopping.store(true, Ordering::Relaxed);
                Err(problem)
            }
        }
    }

    /// From now on requests are counted under this name.
    pub fn phase(&self, name: &str) {
        self.shared.set_phase(name);
    }

    /// What was seen so far. Requests in flight are not in it.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            seconds: self.shared.started.elapsed().as_secs_f64(),
            targets: self
                .targets
                .iter()
                .map(|(target, tally)| tally.lock().unwrap_or_else(PoisonError::into_inner).summary(&target.to_string()))
                .collect(),
        }
    }

    /// Lets every client end its present request, and returns what was seen. Takes no longer than one request may.
    #[must_use]
    pub fn stop(mut self) -> Summary {
        self.shared.stopping.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            // A client that panicked is a bug of this tool, and must not look like a calm deploy.
            if thread.join().is_err()
                && let Some((_, tally)) = self.targets.first()
            {
                tally.lock().unwrap_or_else(PoisonError::into_inner).fail(
                    "",
                    Duration::ZERO,
                    Duration::ZERO,
                    "a client of the load tool panicked",
                );
            }
        }
        self.summary()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }
}
