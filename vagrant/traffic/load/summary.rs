//! What the clients saw, as plain data. Times are milliseconds; nothing here is judged.
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What all clients saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// From the start to now.
    pub seconds: f64,
    /// In the order in which they were given.
    pub targets: Vec<TargetSummary>,
}

/// What the clients of one target saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetSummary {
    /// The target, as it was given.
    pub target: String,
    /// All phases together.
    pub total: Counts,
    /// Phase by phase, in the order of their first request.
    pub phases: Vec<PhaseCounts>,
    /// The first few failures and cuts.
    pub failures: Vec<Failure>,
}

/// What was seen in one phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseCounts {
    /// The phase's name; empty before any was named.
    pub phase: String,
    /// Its counts.
    pub counts: Counts,
}

/// Requests that were begun and have ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Answered, failed, or cut: `ok + failed + cuts`.
    pub sent: u64,
    /// Answered with 2xx, or with a line.
    pub ok: u64,
    /// Refused, reset, timed out, answered with anything but 2xx.
    pub failed: u64,
    /// Long-lived connections (tcpkeep, ws, grpcstream) that the other end closed. The line in flight, if any, is counted here and nowhere else.
    pub cuts: u64,
    /// Requests over HTTP/2 that the server said it had not begun with: not sent, as it were, and asked again.
    #[serde(default)]
    pub refused: u64,
    /// Half of the answers took no longer.
    pub p50_ms: f64,
    /// 99 of 100 answers took no longer.
    pub p99_ms: f64,
    /// The slowest answer.
    pub slowest_ms: f64,
    /// Answers by the first word of their body: the app's version.
    pub answers: BTreeMap<String, u64>,
}

/// One failure or cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// When it was seen, since the start.
    pub at_ms: u64,
    /// How long the request took until then.
    pub after_ms: u64,
    /// The phase in which the request began.
    pub phase: String,
    /// What was seen.
    pub text: String,
}

impl Summary {
    /// Requests that were begun and have ended, of all targets.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.targets.iter().map(|target| target.total.sent).sum()
    }

    /// Failed requests of all targets.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.targets.iter().map(|target| target.total.failed).sum()
    }
}
