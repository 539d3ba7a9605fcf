//! How long a container is watched that was healthy and gets traffic. There is no clock here.
use super::time::Millis;
use serde::{Deserialize, Serialize};

/// How long a container must stay healthy, and how it is asked meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StayPolicy {
    /// So long, from when the watch for it began. Whoever fails at the end of it is asked until that is decided.
    pub time: Millis,
    /// Its health check has a start period: exits from before the watch are forgiven. Without one, none are.
    pub start_period: Millis,
    /// Between two questions.
    pub interval: Millis,
    /// For one answer.
    pub timeout: Millis,
    /// So many failures in a row are one too many. At least 1.
    pub retries: u32,
}

impl StayPolicy {
    /// The longest that a watch takes: the time, and the questions that decide what failed last.
    #[must_use]
    pub fn at_most(&self) -> Millis {
        let question = self.interval.0.saturating_add(self.timeout.0);
        Millis(self.time.0.saturating_add(question.saturating_mul(u64::from(self.retries) + 1)))
    }
}
