//! Requests that watch a run from outside: where they go, how each came back, and the count of them. Deliberately absent: sending them,
//! and what is done about those that fail.
use super::names::{ServerName, ServiceName};
use super::time::Millis;
use std::collections::BTreeMap;

/// Failures that are kept with their words; later ones are only counted.
const KEPT: usize = 5;

/// A service, as clients of one server's NGINX see it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeAt {
    /// The service.
    pub service: ServiceName,
    /// The server whose NGINX is asked; the service may run elsewhere.
    pub server: ServerName,
}

/// Where requests go, and what they ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeTarget {
    /// What they watch.
    pub at: ProbeAt,
    /// The port of the host's door, on the server's loopback. None where no door opens it for the whole run: then the socket is asked.
    pub door: Option<u16>,
    /// NGINX's unix socket of the service, an absolute path on the server.
    pub socket: String,
    /// What is asked.
    pub ask: ProbeAsk,
    /// A request that has no answer by then has failed.
    pub within: Millis,
}

/// What a request asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeAsk {
    /// `GET path`. Any complete answer below 500 is one.
    Http {
        /// The path, beginning with `/`.
        path: String,
        /// The `Host` header.
        host: String,
    },
    /// A connection that is not closed at once.
    Tcp,
}

/// One request that came back, or did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Where it went.
    pub at: ProbeAt,
    /// Milliseconds since the Unix epoch, by the workstation's clock, as those of events.
    pub began: u64,
    /// Until the end of its answer.
    pub took: Millis,
    /// How it came back.
    pub answer: Answer,
}

/// How a request came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// As it should.
    Good,
    /// Not as it should, in a few words: `status 502`.
    Bad(String),
    /// It never got as far as the server's NGINX, and says nothing about it: the SSH connection was gone.
    Unmeasured(String),
}

/// What a failure at some moment means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It should not have happened.
    Counted,
    /// The service was being handed over: nothing could answer, as the plan had said.
    Gap,
    /// The service has not answered once since the run began: it was like that before.
    Early,
}

/// The counts of one service behind one server's NGINX.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProbeCount {
    /// Requests that were answered or failed. Those that were not measured are not among them.
    pub sent: u64,
    /// Failed, and should not have.
    pub failed: u64,
    /// Failed while the service was handed over.
    pub in_gap: u64,
    /// Failed before the first answer.
    pub early: u64,
    /// Could not be sent, for want of a connection to the server.
    pub unmeasured: u64,
    /// Why the last of these could not.
    pub unmeasured_because: String,
    /// The longest time to the end of an answer.
    pub slowest: Millis,
}

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeFailure {
    /// Where.
    pub at: ProbeAt,
    /// Milliseconds since the Unix epoch.
    pub began: u64,
    /// The wave that the run was in: `switch`, `undo switch`.
    pub wave: String,
    /// What was seen.
    pub seen: String,
}

/// The count of all requests of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProbeTally {
    /// More failed requests than this undo the run.
    pub budget: u64,
    /// By service and server.
    pub counts: BTreeMap<ProbeAt, ProbeCount>,
    /// The first failures that count.
    pub failures: Vec<ProbeFailure>,
    /// Services that cannot be probed, and why.
    pub unprobed: BTreeMap<ServiceName, String>,
}

impl ProbeCount {
    /// Every request was answered.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failed + self.in_gap + self.early + self.unmeasured == 0
    }

    /// Adds another count to this one.
    pub fn add(&mut self, other: &ProbeCount) {
        self.sent += other.sent;
        self.failed += other.failed;
        self.in_gap += other.in_gap;
        self.early += other.early;
        self.unmeasured += other.unmeasured;
        self.slowest = self.slowest.max(other.slowest);
        if !other.unmeasured_because.is_empty() {
            self.unmeasured_because.clone_from(&other.unmeasured_because);
        }
    }
}

impl ProbeTally {
    /// Takes in one request.
    pub fn take(&mut self, sample: &Sample, wave: &str, moment: Moment) {
        let count = self.counts.entry(sample.at.clone()).or_default();
        match &sample.answer {
            Answer::Good => {
                count.sent += 1;
                count.slowest = count.slowest.max(sample.took);
            }
            Answer::Unmeasured(why) => {
                count.unmeasured += 1;
                count.unmeasured_because.clone_from(why);
            }
            Answer::Bad(seen) => {
                count.sent += 1;
                match moment {
                    Moment::Gap => count.in_gap += 1,
                    Moment::Early => count.early += 1,
                    Moment::Counted => {
                        count.failed += 1;
                        if self.failures.len() < KEPT {
                            let (at, wave, seen) = (sample.at.clone(), wave.to_owned(), seen.clone());
                            self.failures.push(ProbeFailure { at, began: sample.began, wave, seen });
                        }
                    }
                }
            }
        }
    }

    /// Everything together.
    #[must_use]
    pub fn total(&self) -> ProbeCount {
        let mut total = ProbeCount::default();
        self.counts.values().for_each(|count| total.add(count));
        total
    }

    /// More failed than may.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.counts.values().map(|count| count.failed).sum::<u64>() > self.budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(server: &str, took: u64, answer: Answer) -> Sample {
        let at = ProbeAt { service: ServiceName::new("api").unwrap(), server: ServerName::new(server).unwrap() };
        Sample { at, began: 1000, took: Millis(took), answer }
    }

    fn bad() -> Answer {
        Answer::Bad("status 502".to_owned())
    }

    #[test]
    fn only_failures_that_should_not_have_been_use_up_the_budget() {
        let mut tally = ProbeTally { budget: 1, ..ProbeTally::default() };
        tally.take(&sample("s1", 30, Answer::Good), "lock", Moment::Counted);
        tally.take(&sample("s1", 9, bad()), "stop", Moment::Gap);
        tally.take(&sample("s2", 9, bad()), "lock", Moment::Early);
        tally.take(&sample("s2", 9, Answer::Unmeasured("lost".to_owned())), "start", Moment::Counted);
        tally.take(&sample("s2", 9, bad()), "switch", Moment::Counted);
        assert!(!tally.is_over(), "one may fail");
        tally.take(&sample("s1", 5000, bad()), "switch", Moment::Counted);
        assert!(tally.is_over());
        let total = tally.total();
        assert_eq!((total.sent, total.failed, total.in_gap, total.early, total.unmeasured), (5, 2, 1, 1, 1));
        assert_eq!(total.slowest, Millis(30), "what failed has no time of its own");
        assert_eq!((total.unmeasured_because.as_str(), total.is_clean()), ("lost", false));
    }

    #[test]
    fn the_first_failures_keep_their_words_and_the_rest_are_counted() {
        let mut tally = ProbeTally::default();
        for number in 0..1000 {
            tally.take(&sample("s1", 1, Answer::Bad(format!("failure {number}"))), "switch", Moment::Counted);
        }
        assert_eq!((tally.failures.len(), tally.total().failed), (KEPT, 1000));
        assert_eq!((tally.failures[0].seen.as_str(), tally.failures[0].wave.as_str()), ("failure 0", "switch"));
    }
}
