//! How a fleet is rolled out, beyond one wave for all: how long old sides stay warm. Deliberately absent: what a plan makes of it.
use super::types::{Keep, Rollout};
use super::walk::{Section, Walk};
use crate::model::Millis;

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
