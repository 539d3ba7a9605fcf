//! Durations as plain data. There is no clock here.
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A duration in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Millis(pub u64);

impl Millis {
    /// `n` seconds; what a server says may be any number.
    #[must_use]
    pub const fn seconds(n: u64) -> Self {
        Millis(n.saturating_mul(1000))
    }

    /// As the standard library's type.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// Whole seconds, rounded up: what `docker stop --time` and `sleep` take.
    #[must_use]
    pub const fn seconds_ceil(self) -> u64 {
        self.0.div_ceil(1000)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0s"),
            ms if ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms % 1000 == 0 => write!(f, "{}s", ms / 1000),
            ms if ms > 1000 => write!(f, "{}.{}s", ms / 1000, (ms % 1000) / 100),
            ms => write!(f, "{ms}ms"),
        }
    }
}
