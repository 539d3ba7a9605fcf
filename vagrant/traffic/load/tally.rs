//! Counts while they grow. Latencies are kept in buckets that are 3 % wide, so that hours of load need no more memory than a minute.
use super::summary::{Counts, Failure, PhaseCounts, TargetSummary};
use std::collections::BTreeMap;
use std::time::Duration;

/// How many failures are kept with their text.
const FAILURES_KEPT: usize = 20;
/// Buckets for one doubling of a latency.
const BUCKETS_PER_DOUBLING: f64 = 24.0;

/// The counts of one target.
#[derive(Debug, Default)]
pub(super) struct Tally {
    phases: Vec<(String, PhaseTally)>,
    failures: Vec<Failure>,
}

#[derive(Debug, Default, Clone)]
struct PhaseTally {
    ok: u64,
    failed: u64,
    cuts: u64,
    refused: u64,
    slowest: Duration,
    /// Bucket → answers in it.
    latencies: BTreeMap<u32, u64>,
    answers: BTreeMap<String, u64>,
}

impl Tally {
    fn phase(&mut self, name: &str) -> &mut PhaseTally {
        let at = self.phases.iter().rposition(|(known, _)| known == name).unwrap_or_else(|| {
            self.phases.push((name.to_owned(), PhaseTally::default()));
            self.phases.len() - 1
        });
        &mut self.phases[at].1
    }

    /// An answer, and the first word of its body.
    pub(super) fn answer(&mut self, phase: &str, took: Duration, word: &str) {
        let tally = self.phase(phase);
        tally.ok += 1;
        tally.slowest = tally.slowest.max(took);
        *tally.latencies.entry(bucket(took)).or_default() += 1;
        match tally.answers.get_mut(word) {
            Some(count) => *count += 1,
            None => {
                tally.answers.insert(word.to_owned(), 1);
            }
        }
    }

    /// A failure, seen at a time since the start.
    pub(super) fn fail(&mut self, phase: &str, at: Duration, took: Duration, text: &str) {
        self.phase(phase).failed += 1;
        self.keep(phase, at, took, text);
    }

    /// The end of a long-lived connection, seen at a time since the start.
    pub(super) fn cut(&mut self, phase: &str, at: Duration, took: Duration, text: &str) {
        self.phase(phase).cuts += 1;
        self.keep(phase, at, took, text);
    }

    /// A request that the server did not begin with.
    pub(super) fn refuse(&mut self, phase: &str) {
        self.phase(phase).refused += 1;
    }

    fn keep(&mut self, phase: &str, at: Duration, took: Duration, text: &str) {
        if self.failures.len() < FAILURES_KEPT {
            self.failures.push(Failure { at_ms: whole_ms(at), after_ms: whole_ms(took), phase: phase.to_owned(), text: text.to_owned() });
        }
    }

    pub(super) fn summary(&self, target: &str) -> TargetSummary {
        let mut total = PhaseTally::default();
        for (_, phase) in &self.phases {
            total.ok += phase.ok;
            total.failed += phase.failed;
            total.cuts += phase.cuts;
            total.refused += phase.refused;
            total.slowest = total.slowest.max(phase.slowest);
            phase.latencies.iter().for_each(|(bucket, count)| *total.latencies.entry(*bucket).or_default() += count);
            phase.answers.iter().for_each(|(word, count)| *total.answers.entry(word.clone()).or_default() += count);
        }
        TargetSummary {
            target: target.to_owned(),
            total: total.counts(),
            phases: self.phases.iter().map(|(phase, tally)| PhaseCounts { phase: phase.clone(), counts: tally.counts() }).collect(),
            failures: self.failures.clone(),
        }
    }
}

impl PhaseTally {
    fn counts(&self) -> Counts {
        Counts {
            sent: self.ok + self.failed + self.cuts,
            ok: self.ok,
            failed: self.failed,
            cuts: self.cuts,
            refused: self.refused,
            p50_ms: self.quantile(50),
            p99_ms: self.quantile(99),
            slowest_ms: self.slowest.as_secs_f64() * 1000.0,
            answers: self.answers.clone(),
        }
    }

    /// The upper edge of the bucket below which `percent` of all answers lie, never above the slowest.
    fn quantile(&self, percent: u64) -> f64 {
        let wanted = (self.ok * percent).div_ceil(100);
        let mut seen = 0;
        for (bucket, count) in &self.latencies {
            seen += count;
            if seen >= wanted {
                let edge = ((f64::from(*bucket) + 1.0) / BUCKETS_PER_DOUBLING).exp2() / 1000.0;
                return edge.min(self.slowest.as_secs_f64() * 1000.0);
            }
        }
        0.0
    }
}

/// The bucket of a latency: its logarithm in microseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the logarithm of a duration is small, and not negative after max"
)]
fn bucket(took: Duration) -> u32 {
    ((took.as_secs_f64() * 1e6).max(1.0).log2() * BUCKETS_PER_DOUBLING) as u32
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_and_quantiles() {
        let mut tally = Tally::default();
        for ms in 1..=100 {
            tally.answer("a", Duration::from_millis(ms), "1.0");
        }
        tally.fail("b", Duration::from_secs(1), Duration::from_millis(3), "status 502");
        tally.cut("b", Duration::from_secs(2), Duration::ZERO, "closed");
        let summary = tally.summary("new:x");
        assert_eq!((summary.total.sent, summary.total.ok, summary.total.failed, summary.total.cuts), (102, 100, 1, 1));
        assert!((48.0..=52.0).contains(&summary.total.p50_ms), "{}", summary.total.p50_ms);
        assert!((96.0..=100.0).contains(&summary.total.p99_ms), "{}", summary.total.p99_ms);
        assert_eq!(summary.phases.iter().map(|phase| phase.phase.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(summary.failures.iter().map(|failure| failure.at_ms).collect::<Vec<_>>(), [1000, 2000]);
    }
}
