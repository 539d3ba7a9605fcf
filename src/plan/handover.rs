//! Which services are handed over: their old side stops before their new one starts. Deliberately absent: the steps (see `turn`), and who else
//! writes what they write (see `writers`).
use super::containers::source;
use super::present::{PresentService, Unit};
use super::target::Desired;
use crate::config::{Playbook, Service};
use crate::model::{ServerName, Side, label};
use std::collections::BTreeSet;

impl Desired<'_> {
    /// Two of it must not run at once: the playbook says so, or what a rollback stops and starts does.
    #[must_use]
    pub(super) fn hands_over(&self) -> bool {
        self.service.hands_over() || self.never_twice.is_some()
    }

    /// Why it is handed over; None where it is not.
    #[must_use]
    pub(super) fn why_handed_over(&self) -> Option<String> {
        match (self.service.singleton, self.service.hands_over()) {
            (true, _) => Some("it is a singleton".to_owned()),
            (false, true) => Some("it has a volume that it writes".to_owned()),
            (false, false) => self.never_twice.clone(),
        }
    }
}

/// Why the two sides of a service that goes back must not run at once, as their containers show it. Both were started by earlier playbooks: that
/// today's names no volume, or no singleton, says nothing of them. What it says may have two writers may have them; and what an earlier run
/// left running beside the other side overlapped with it then.
#[must_use]
pub(super) fn never_twice(playbook: &Playbook, service: &Service, present: &PresentService<'_>, live: Side) -> Option<String> {
    if present.side(live.other()).all(|unit| unit.idle_for.is_some()) {
        return None;
    }
    let mut units = Side::BOTH.into_iter().flat_map(|side| present.side(side));
    if units.any(|unit| unit.label(label::SINGLETON) == Some("true")) {
        return Some("it was started as a singleton".to_owned());
    }
    let may_overlap = |found: &str| service.overlap && service.volumes.iter().any(|volume| source(playbook, volume) == found);
    let old: BTreeSet<_> = present.side(live).flat_map(written).collect();
    let mut both = present.side(live.other()).flat_map(written);
    let shared = both.find(|part| old.contains(part) && !may_overlap(part.1));
    shared.map(|(_, source)| format!("both of its sides write {source}"))
}

/// What the app may write, and where that is.
fn written<'a>(unit: &'a Unit<'_>) -> impl Iterator<Item = (&'a ServerName, &'a str)> {
    let sources = unit.app.into_iter().flat_map(|app| app.written.values());
    sources.filter(|source| !source.is_empty()).map(|source| (&unit.server, source.as_str()))
}
