//! The only orchestration: journal, perform, journal. Deliberately absent: policy. Whenever it wonders what to do, it asks [`crate::plan::next`].
mod dispatch;
mod gaps;
mod journal;
mod probes;
mod runs;
#[cfg(test)]
mod sample;

pub use dispatch::{Notice, RunError, Stop, dispatch};
pub use gaps::Gaps;
pub use journal::{Journal, JournalError};
pub use probes::{Order, Probes};
pub use runs::{LeftRun, OpenRun, left_runs, open_runs, stuck_run};
