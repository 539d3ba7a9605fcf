//! How a fleet is rolled out, beyond one wave for all: batch by batch, and how long old sides stay warm. Deliberately absent: what a plan
//! makes of it.
use super::node::Value;
use super::types::{Keep, Rollout, Strategy};
use super::walk::{Section, Walk};
use crate::model::Millis;
use serde::{Deserialize, Serialize};

/// Batch by batch: how many servers at once, how long between, and how many may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rolling {
    /// Servers that start and switch together. Default 25%.
    pub batch: Amount,
    /// Between two batches, 0 s to 1 h. Default 10 s.
    pub pause: Millis,
    /// So many servers of the inventory may be missing, instead of `max_unreachable`. Default: as that says.
    pub max_failures: Option<Amount>,
}

impl Default for Rolling {
    fn default() -> Self {
        Self { batch: Amount::Percent(25), pause: Millis::seconds(10), max_failures: None }
    }
}

impl Rolling {
    /// Whether a file need not say it.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Some of many servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// So many.
    Number(u32),
    /// So many of a hundred: 0 to 100.
    Percent(u32),
}

impl Amount {
    /// Of so many, rounded up: at least one.
    #[must_use]
    pub fn at_least_one_of(self, n_all: usize) -> usize {
        let n = match self {
            Amount::Number(number) => number as usize,
            Amount::Percent(percent) => (n_all * percent as usize).div_ceil(100),
        };
        n.max(1)
    }

    /// Of so many, rounded down.
    #[must_use]
    pub fn at_most_of(self, n_all: usize) -> usize {
        match self {
            Amount::Number(number) => number as usize,
            Amount::Percent(percent) => n_all * percent as usize / 100,
        }
    }
}

impl Rollout {
    /// How many of so many servers a run may do without, because they cannot be reached when it begins: a rolling one's `max_failures`, else
    /// `max_unreachable`.
    #[must_use]
    pub fn budget(&self, n_servers: usize) -> u32 {
        let failures = self.rolling.max_failures.filter(|_| self.strategy == Strategy::Rolling);
        failures.map_or(self.max_unreachable, |amount| u32::try_from(amount.at_most_of(n_servers)).unwrap_or(u32::MAX))
    }
}

/// Reads `strategy`, and what belongs to a rolling one.
pub(super) fn strategy(walk: &mut Walk<'_>, section: &Section<'_>, rollout: &mut Rollout) {
    let words = [("all_at_once", Strategy::AllAtOnce), ("rolling", Strategy::Rolling), ("canary", Strategy::Canary)];
    if let Some((strategy, _)) = walk.choice(section, "strategy", &words) {
        rollout.strategy = strategy;
    }
    if let Some(batch) = amount(walk, section, "batch", 1, "servers that start and switch together") {
        rollout.rolling.batch = batch;
    }
    let why = "the time between two batches; 0s for none";
    if let Some((pause, _)) = walk.duration(section, "pause", Millis(0)..=Millis::seconds(3600), why) {
        rollout.rolling.pause = pause;
    }
    rollout.rolling.max_failures = amount(walk, section, "max_failures", 0, "so many servers may be missing; 0 for none");
    for key in ["batch", "pause", "max_failures"] {
        // An environment may have another strategy than the rest of the playbook.
        if let (Some(entry), None) = (section.table.get(key), section.table.get("strategy")) {
            let title = format!("`rollout` has `{key}`, and no `strategy`");
            walk.report(entry.key_span, title, "add `strategy = \"rolling\"`, or remove it");
        }
    }
    if let (Some(entry), Some(_)) = (section.table.get("max_failures"), section.table.get("max_unreachable")) {
        let title = "`rollout` has `max_failures` and `max_unreachable`";
        walk.report(entry.key_span, title, "both say how many servers may be missing: remove one of the two");
    }
}

/// A number of servers, or a percentage of them in quotes.
fn amount(walk: &mut Walk<'_>, section: &Section<'_>, key: &str, least: u32, why: &str) -> Option<Amount> {
    let entry = section.table.get(key)?;
    let Value::Text(text) = &entry.node.value else {
        return walk.number(section, key, least..=1000, why).map(|(number, _)| Amount::Number(number));
    };
    let percent = text.strip_suffix('%').filter(|digits| digits.chars().all(|c| c.is_ascii_digit()));
    match percent.and_then(|digits| digits.parse().ok()) {
        Some(percent) if (least..=100).contains(&percent) => Some(Amount::Percent(percent)),
        Some(percent) => {
            let title = format!("`{key}` in {} must be from {least}% to 100%, not {percent}%", section.what);
            walk.report(entry.node.span, title, why);
            None
        }
        None => {
            let title = format!("`{key}` in {} is neither a number nor a percentage: `{text}`", section.what);
            walk.report(entry.node.span, title, format!("write `{key} = 2`, or `{key} = \"25%\"`"));
            None
        }
    }
}

/// The default of `warm_time`, for serde.
pub(super) fn warm_time() -> Millis {
    Millis::seconds(3600)
}

/// Whether a file need not say it.
pub(super) fn is_warm_time(time: &Millis) -> bool {
    *time == warm_time()
}

/// Reads `keep` and `warm_time`.
pub(super) fn keep(walk: &mut Walk<'_>, section: &Section<'_>, rollout: &mut Rollout) {
    let words = [("stopped", Keep::Stopped), ("warm", Keep::Warm), ("removed", Keep::Removed)];
    if let Some((keep, _)) = walk.choice(section, "keep", &words) {
        rollout.keep = keep;
    }
    let why = "so long the old side goes on running after a switch";
    let Some((time, span)) = walk.duration(section, "warm_time", Millis::seconds(60)..=Millis::seconds(7 * 24 * 3600), why) else { return };
    rollout.warm_time = time;
    // An environment may have another `keep` than the rest of the playbook.
    if section.table.get("keep").is_none() {
        walk.report(span, "`rollout` has `warm_time`, and no `keep`", "add `keep = \"warm\"`, or remove it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_rounded_up_and_what_may_be_missing_down() {
        let batches = [(Amount::Percent(25), 10, 3), (Amount::Percent(1), 3, 1), (Amount::Percent(100), 7, 7), (Amount::Number(5), 3, 5)];
        for (amount, n_all, wanted) in batches {
            assert_eq!(amount.at_least_one_of(n_all), wanted, "{amount:?} of {n_all}");
        }
        for (amount, n_all, wanted) in
            [(Amount::Percent(10), 25, 2), (Amount::Percent(34), 3, 1), (Amount::Percent(33), 3, 0), (Amount::Number(2), 9, 2)]
        {
            assert_eq!(amount.at_most_of(n_all), wanted, "{amount:?} of {n_all}");
        }
    }
}
