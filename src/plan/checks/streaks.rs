//! What answers in a row say of a copy: counts, and from them what is to be out and in. Deliberately absent: asking, and acting.
use super::copies::CopyCheck;
use crate::model::{Checked, CopyAt, ServerName, Standing};
use std::collections::{BTreeMap, BTreeSet};

/// The counts of all copies. They live as long as one `flipside watch`.
#[derive(Debug, Default)]
pub struct Streaks(BTreeMap<CopyAt, Streak>);

#[derive(Debug, Default)]
struct Streak {
    stamp: String,
    n_failed: u32,
    n_passed: u32,
    /// How it last answered: None before the first answer that says something.
    passes: Option<bool>,
}

/// Something that a person wants to know of one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It has begun to fail: what was seen.
    Fails(String),
    /// It answers again, after so many failed checks.
    Answers(u32),
}

impl Streaks {
    /// Forgets copies that are not there any more, and begins anew with those whose container is another one.
    pub fn keep(&mut self, copies: &[CopyCheck]) {
        let stamps: BTreeMap<&CopyAt, &str> = copies.iter().map(|copy| (&copy.at, copy.stamp.as_str())).collect();
        self.0.retain(|at, streak| match stamps.get(at) {
            None => false,
            // Its server does not answer: nobody knows, and it goes on failing.
            Some(stamp) => stamp.is_empty() || streak.stamp.is_empty() || streak.stamp == *stamp,
        });
    }

    /// Takes in one answer.
    pub fn take(&mut self, copy: &CopyCheck, seen: &Checked) -> Option<News> {
        let streak = self.0.entry(copy.at.clone()).or_default();
        if !copy.stamp.is_empty() {
            streak.stamp.clone_from(&copy.stamp);
        }
        match seen {
            Checked::Unknown(_) => None,
            Checked::Passed => {
                let failed = std::mem::replace(&mut streak.n_failed, 0);
                streak.n_passed = streak.n_passed.saturating_add(1);
                (streak.passes.replace(true) == Some(false)).then_some(News::Answers(failed))
            }
            Checked::Failed(text) => {
                streak.n_passed = 0;
                streak.n_failed = streak.n_failed.saturating_add(1);
                let is_new = streak.passes.replace(false) != Some(false);
                (is_new && copy.standing.is_in()).then(|| News::Fails(text.clone()))
            }
        }
    }

    /// The copies that are to be out and are in, and those that are to be in and are out.
    #[must_use]
    pub fn verdicts(&self, copies: &[CopyCheck]) -> BTreeMap<CopyAt, Standing> {
        let verdict = |copy: &CopyCheck| {
            let streak = self.0.get(&copy.at)?;
            match copy.standing {
                Standing::In => (streak.n_failed >= copy.checks.fails).then_some(Standing::Out),
                Standing::Out => (streak.n_passed >= copy.checks.passes).then_some(Standing::In),
            }
        };
        copies.iter().filter_map(|copy| Some((copy.at.clone(), verdict(copy)?))).collect()
    }

    /// The copies of which more answers would say more: one that is in and fails, one that is out and passes, one that gave no answer yet.
    #[must_use]
    pub fn undecided(&self, copies: &[CopyCheck]) -> BTreeSet<CopyAt> {
        let verdicts = self.verdicts(copies);
        let is_open = |copy: &&CopyCheck| {
            let passes = self.0.get(&copy.at).and_then(|streak| streak.passes);
            !verdicts.contains_key(&copy.at) && passes != Some(copy.standing.is_in())
        };
        copies.iter().filter(is_open).map(|copy| copy.at.clone()).collect()
    }

    /// The copies whose last answer was a failure.
    #[must_use]
    pub fn failing(&self) -> BTreeSet<&CopyAt> {
        self.0.iter().filter(|(_, streak)| streak.passes == Some(false)).map(|(at, _)| at).collect()
    }
}

/// What one check of a copy says that was made from several servers at once: what more than half of those say that got as far as asking.
#[must_use]
pub fn together(answers: &[(ServerName, Checked)]) -> Checked {
    let failed = || answers.iter().filter_map(|(from, seen)| if let Checked::Failed(text) = seen { Some((from, text)) } else { None });
    let (n_failed, n_passed) = (failed().count(), answers.iter().filter(|(_, seen)| *seen == Checked::Passed).count());
    match (n_failed.cmp(&n_passed), failed().next()) {
        (std::cmp::Ordering::Less, _) => Checked::Passed,
        (std::cmp::Ordering::Greater, Some((from, text))) => Checked::Failed(format!("{text} (asked from {from})")),
        (std::cmp::Ordering::Equal, Some((from, text))) => {
            Checked::Unknown(format!("asked from {from}: {text}; asked from others, it answers"))
        }
        (std::cmp::Ordering::Equal | std::cmp::Ordering::Greater, None) => {
            let why = answers
                .iter()
                .find_map(|(from, seen)| if let Checked::Unknown(why) = seen { Some(format!("{from}: {why}")) } else { None });
            Checked::Unknown(why.unwrap_or_else(|| "no server that routes it can be asked".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ActiveChecks, ServiceName, Side};

    fn copy(standing: Standing, stamp: &str) -> CopyCheck {
        let server = ServerName::new("s1").unwrap();
        let at = CopyAt { service: ServiceName::new("api").unwrap(), server: server.clone(), replica: 1, side: Side::Primary };
        let checks = ActiveChecks { fails: 3, passes: 2, ..ActiveChecks::default() };
        let address = std::net::Ipv4Addr::LOCALHOST;
        CopyCheck { at, standing, address, port: 8000, checks, from: vec![server], stamp: stamp.to_owned() }
    }

    fn bad() -> Checked {
        Checked::Failed("status 500".to_owned())
    }

    #[test]
    fn only_failures_in_a_row_take_a_copy_out() {
        let (mut streaks, one) = (Streaks::default(), [copy(Standing::In, "a")]);
        assert_eq!(streaks.take(&one[0], &bad()), Some(News::Fails("status 500".to_owned())));
        assert_eq!(streaks.take(&one[0], &bad()), None, "it is told once");
        assert_eq!(streaks.take(&one[0], &Checked::Unknown("lost".to_owned())), None);
        assert!(streaks.verdicts(&one).is_empty() && streaks.undecided(&one).len() == 1);
        assert_eq!(streaks.take(&one[0], &Checked::Passed), Some(News::Answers(2)));
        assert!(streaks.undecided(&one).is_empty(), "one pass is enough for a copy that is in");
        (0..2).for_each(|_| drop(streaks.take(&one[0], &bad())));
        assert!(streaks.verdicts(&one).is_empty(), "the pass has ended the row");
        streaks.take(&one[0], &bad());
        assert_eq!(streaks.verdicts(&one)[&one[0].at], Standing::Out);
    }

    #[test]
    fn only_passes_in_a_row_take_it_in_again() {
        let (mut streaks, out) = (Streaks::default(), [copy(Standing::Out, "a")]);
        assert_eq!(streaks.undecided(&out).len(), 1, "nothing is known");
        assert_eq!(streaks.take(&out[0], &bad()), None, "that it fails is no news");
        assert!(streaks.undecided(&out).is_empty());
        streaks.take(&out[0], &Checked::Passed);
        streaks.take(&out[0], &bad());
        streaks.take(&out[0], &Checked::Passed);
        assert!(streaks.verdicts(&out).is_empty() && streaks.undecided(&out).len() == 1);
        streaks.take(&out[0], &Checked::Passed);
        assert_eq!(streaks.verdicts(&out)[&out[0].at], Standing::In);
    }

    #[test]
    fn another_container_begins_anew_and_one_that_cannot_be_seen_does_not() {
        let mut streaks = Streaks::default();
        (0..2).for_each(|_| drop(streaks.take(&copy(Standing::In, "a"), &bad())));
        let unseen = [copy(Standing::In, "")];
        streaks.keep(&unseen);
        streaks.take(&unseen[0], &bad());
        assert_eq!(streaks.verdicts(&unseen).len(), 1, "its server went away");
        let other = [copy(Standing::In, "b")];
        streaks.keep(&other);
        assert!(streaks.verdicts(&other).is_empty() && streaks.failing().is_empty());
    }

    #[test]
    fn more_than_half_of_those_that_asked_decide() {
        let names = ["s1", "s2", "s3"].map(|name| ServerName::new(name).unwrap());
        let seen = |answers: &[Checked]| together(&names.iter().cloned().zip(answers.iter().cloned()).collect::<Vec<_>>());
        let lost = Checked::Unknown("no SSH connection".to_owned());
        assert_eq!(seen(&[Checked::Passed, bad(), Checked::Passed]), Checked::Passed);
        assert_eq!(seen(&[Checked::Passed, bad(), bad()]), Checked::Failed("status 500 (asked from s2)".to_owned()));
        assert_eq!(seen(&[lost.clone(), bad(), bad()]), Checked::Failed("status 500 (asked from s2)".to_owned()), "its server is gone");
        assert!(matches!(seen(&[lost.clone(), Checked::Passed, bad()]), Checked::Unknown(_)), "one says so, one says no");
        assert_eq!(seen(&[lost]), Checked::Unknown("s1: no SSH connection".to_owned()));
        assert!(matches!(seen(&[]), Checked::Unknown(_)));
    }
}
