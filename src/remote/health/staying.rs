//! Whether a container that was healthy stays so. Deliberately absent: how it is asked.
use super::Patient;
use crate::model::{Failure, StayPolicy};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What the answers so far come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum So {
    /// The time is not over, or the last answer was a failure that has not been decided.
    Far,
    /// It stayed healthy.
    Good,
    /// It has failed too often in a row.
    Bad,
}

/// Pure: the time that it was watched, and how many of the last answers in a row were failures.
fn so(watched: Duration, n_failed: u32, policy: &StayPolicy) -> So {
    if n_failed >= policy.retries.max(1) {
        So::Bad
    } else if n_failed == 0 && watched >= policy.time.duration() {
        So::Good
    } else {
        So::Far
    }
}

impl Patient {
    /// Asks until the time is over, and longer while the last answer was a failure.
    pub(super) async fn stay(&self, policy: &StayPolicy) -> Result<String, Failure> {
        let (mut n_failed, mut n_all_failed, mut n_probes) = (0, 0_u32, 0_u32);
        let mut by_shell = false;
        self.forgive_what_was(policy).await?;
        loop {
            let at = Instant::now();
            n_probes += 1;
            let answer = self.answer(&mut by_shell).await?;
            let text = match &answer {
                Ok(text) | Err(text) => text,
            };
            (n_failed, n_all_failed) = if answer.is_ok() { (0, n_all_failed) } else { (n_failed + 1, n_all_failed + 1) };
            let watched = self.began.elapsed();
            let rest = policy.time.duration().saturating_sub(watched);
            self.say(format!("{text}, watched for {} s, {} s to go", watched.as_secs(), rest.as_millis().div_ceil(1000)));
            match so(watched, n_failed, policy) {
                So::Bad => return Err(self.ill(text, n_failed, watched)),
                So::Good if self.is_up() => {
                    let failed = if n_all_failed > 0 { format!(", {n_all_failed} of them failed") } else { String::new() };
                    return Ok(format!("healthy for {} s: {text} ({n_probes} probes{failed})", watched.as_secs()));
                }
                So::Good | So::Far if self.left().is_zero() => return Err(self.ill(text, n_failed, watched)),
                So::Good | So::Far => {}
            }
            tokio::select! {
                () = sleep(self.policy.interval.duration().saturating_sub(at.elapsed()).min(self.left())) => {}
                failure = self.fall() => return Err(failure),
            }
        }
    }

    /// Where its health check forgives exits in a start period, those from before the watch are forgiven.
    async fn forgive_what_was(&self, policy: &StayPolicy) -> Result<(), Failure> {
        if policy.start_period.0 == 0 {
            return Ok(());
        }
        let mut seen = self.seen.clone();
        loop {
            if let Some(sight) = self.sight() {
                self.forgiven.store(sight.restarts, Ordering::Relaxed);
                return Ok(());
            }
            if let Some(failure) = self.fallen() {
                return Err(failure);
            }
            tokio::select! {
                changed = seen.changed() => if changed.is_err() { return Ok(()) },
                () = sleep(self.left()) => return Ok(()),
            }
        }
    }

    fn ill(&self, last: &str, n_failed: u32, watched: Duration) -> Failure {
        let times = if n_failed == 1 { String::new() } else { format!(", {n_failed} times in a row") };
        Failure {
            seen: format!("{} was healthy and is not any more, {} s after the watch began: {last}{times}", self.name, watched.as_secs()),
            wanted: self.wanted(),
            ..Failure::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Millis;

    #[test]
    fn the_time_ends_with_an_answer_that_passes_and_failures_in_a_row_end_it_at_once() {
        let policy = StayPolicy {
            time: Millis::seconds(30),
            start_period: Millis(0),
            interval: Millis::seconds(1),
            timeout: Millis::seconds(5),
            retries: 3,
        };
        let after = |seconds, n_failed| so(Duration::from_secs(seconds), n_failed, &policy);
        assert_eq!([after(0, 0), after(29, 0), after(29, 2)], [So::Far, So::Far, So::Far]);
        assert_eq!(after(30, 0), So::Good);
        assert_eq!(after(31, 2), So::Far, "what failed last is asked again");
        assert_eq!([after(2, 3), after(40, 3)], [So::Bad, So::Bad]);
        assert_eq!(so(Duration::ZERO, 1, &StayPolicy { retries: 0, ..policy }), So::Bad, "one failure is the fewest that count");
        assert_eq!(policy.at_most(), Millis::seconds(30 + 4 * 6));
    }
}
