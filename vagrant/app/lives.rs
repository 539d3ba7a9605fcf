//! Whether the app is well, what it is in the middle of, and how it ends on SIGTERM. It closes no listener: requests that
//! come while it ends are still answered, as many real apps do, and the process is gone when none is in flight.
use crate::settings::Behaviour;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The exit code of a process that SIGTERM ended.
const TERMINATED: i32 = 143;

/// Whether the app is well, and what it is in the middle of.
#[derive(Debug)]
pub(crate) struct Lives {
    unhealthy: AtomicBool,
    ending: AtomicBool,
    in_flight: AtomicUsize,
}

/// A request in flight, for as long as this value lives.
pub(crate) struct Flight<'a>(&'a Lives);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Lives {
    pub(crate) fn new(unhealthy: bool) -> Self {
        Self { unhealthy: AtomicBool::new(unhealthy), ending: AtomicBool::new(false), in_flight: AtomicUsize::new(0) }
    }

    /// Begins a request.
    pub(crate) fn begin(&self) -> Flight<'_> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        Flight(self)
    }

    /// The app says of itself that it is well.
    pub(crate) fn is_well(&self) -> bool {
        !self.unhealthy.load(Ordering::SeqCst)
    }

    /// Well becomes unwell, and the other way round.
    pub(crate) fn toggle_health(&self) {
        self.unhealthy.fetch_xor(true, Ordering::SeqCst);
    }

    /// SIGTERM came: connections are not to be kept.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }
}

/// From now on SIGTERM is obeyed, or ignored, as the behaviour says. The first process of a container has no default for it.
pub(crate) fn obey_term(behaviour: &Behaviour, lives: &Arc<Lives>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(|problem| format!("cannot wait for signals: {problem}"))?;
    let mut term =
        runtime.block_on(async { signal(SignalKind::terminate()) }).map_err(|problem| format!("cannot catch SIGTERM: {problem}"))?;
    let (ignores, dies) = (behaviour.ignores_term, behaviour.dies_at_once);
    let lives = Arc::clone(lives);
    thread::spawn(move || {
        runtime.block_on(async {
            while term.recv().await.is_some() {
                if ignores {
                    continue;
                }
                if dies {
                    exit(TERMINATED);
                }
                break;
            }
        });
        lives.ending.store(true, Ordering::SeqCst);
        // An answer is counted as given a moment before its last byte has left: one more round makes sure of it.
        let mut quiet = 0;
        while quiet < 5 {
            thread::sleep(Duration::from_millis(10));
            quiet = if lives.in_flight.load(Ordering::SeqCst) == 0 { quiet + 1 } else { 0 };
        }
        exit(0)
    });
    Ok(())
}
