//! How long a script on a server is waited for: each of its steps has a deadline of its own, and where none says a word for a while the
//! Docker engine is asked whether it still answers. Deliberately absent: what is done with a server whose engine does not.
use super::servers::Site;
use super::ssh::{ChannelError, Connection};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// A script that is silent for this long makes us ask the engine.
const SILENCE: Duration = Duration::from_secs(20);
/// An engine that says nothing for this long hangs. A loaded one takes a second or two for its version.
const ENGINE_DEADLINE: Duration = Duration::from_secs(20);
/// For one that was seen to hang in this run already.
const ENGINE_AGAIN: Duration = Duration::from_secs(3);
/// Until the first step of a script begins.
const BEGINNING: Duration = Duration::from_secs(60);

/// Why nobody waits any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// The step that runs took longer than this.
    Deadline(Duration),
    /// The engine does not answer.
    Engine,
}

/// The clock of one script.
pub(super) struct Patience(Mutex<Clock>);

struct Clock {
    heard: Instant,
    until: Instant,
    within: Duration,
}

impl Patience {
    pub(super) fn new() -> Patience {
        let now = Instant::now();
        Patience(Mutex::new(Clock { heard: now, until: now + BEGINNING, within: BEGINNING }))
    }

    /// The script said something.
    pub(super) fn heard(&self) {
        self.change(|clock| clock.heard = Instant::now());
    }

    /// A step began that may take so long.
    pub(super) fn step(&self, within: Duration) {
        self.change(|clock| (clock.until, clock.within) = (Instant::now() + within, within));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Clock) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Comes back when it is over, and never where the connection is lost: whoever waits for the script learns of that.
    pub(super) async fn over(&self, connection: &Connection, site: &Site) -> Over {
        tokio::select! {
            over = self.late() => over,
            over = self.hangs(connection, site) => over,
        }
    }

    async fn late(&self) -> Over {
        loop {
            let (until, within) = self.change(|clock| (clock.until, clock.within));
            if Instant::now() >= until {
                return Over::Deadline(within);
            }
            // A later step may end earlier than the one before it might have.
            sleep_until(until.min(Instant::now() + Duration::from_secs(1))).await;
        }
    }

    async fn hangs(&self, connection: &Connection, site: &Site) -> Over {
        let mut since = Instant::now();
        loop {
            let heard = self.change(|clock| clock.heard).max(since);
            sleep_until(heard + SILENCE).await;
            if self.change(|clock| clock.heard) > heard {
                continue;
            }
            if !engine_answers(connection, site, ENGINE_DEADLINE).await {
                return Over::Engine;
            }
            since = Instant::now();
        }
    }
}

/// Whether an engine that was seen to hang answers again. One that never did is taken at its word.
pub(super) async fn engine_is_back(connection: &Connection, site: &Site) -> bool {
    !site.engine_hangs.load(Ordering::Relaxed) || engine_answers(connection, site, ENGINE_AGAIN).await
}

/// Asks the engine for its version. Any answer will do, also a refusal: what it means shows in the script itself.
async fn engine_answers(connection: &Connection, site: &Site, within: Duration) -> bool {
    let end = connection.run_script(&crate::script::engine_version(&site.context), within, &mut |_| {}).await;
    let answers = !matches!(end, Err(ChannelError::Deadline { .. }));
    site.engine_hangs.store(!answers, Ordering::Relaxed);
    answers
}
