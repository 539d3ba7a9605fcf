//! Which ports and fixed addresses a service owns. A claim on a container's labels stays; a new service moves past what is taken.
use super::types::{Finding, Level};
use crate::model::{ServiceName, secondary_port};
use std::collections::{BTreeMap, BTreeSet};

/// Something that a port is already used for, in words for a message.
pub(super) type Taken = BTreeMap<u16, String>;

/// The base ports lie in this range; the secondary side's are 10000 higher.
pub(super) const BASE: Range = Range { first: 8000, n_ports: 1000 };
/// The internal ports lie in this range.
pub(super) const INTERNAL: Range = Range { first: 5000, n_ports: 1000 };

/// A range that port numbers wrap inside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    first: u16,
    n_ports: u16,
}

impl Range {
    /// `start`, `start + 1`, … to the end of the range, then from its beginning.
    fn from(self, start: u16) -> impl Iterator<Item = u16> {
        (0..self.n_ports).map(move |step| self.first + (start - self.first + step) % self.n_ports)
    }
}

/// What is known about one port that a service needs.
#[derive(Debug, Clone)]
pub(super) struct Wish<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// For messages: `base port`, `base port of replica 2`, `internal port`, `app base port`.
    pub what: String,
    /// The playbook has a key for it.
    pub can_be_pinned: bool,
    /// Pinned by the playbook.
    pub pinned: Option<u16>,
    /// Claimed by labels of its own containers.
    pub claimed: Option<u16>,
    /// What the hash proposes; inside `range`.
    pub hashed: u16,
    /// Where to look for a free one.
    pub range: Range,
    /// The port comes as a pair, base and secondary.
    pub paired: bool,
    /// What other services of the playbook still have and go away from: port → service.
    pub left: BTreeMap<u16, &'a ServiceName>,
}

impl Wish<'_> {
    /// The port that stands in the way, and who has it.
    fn conflict(&self, port: u16, taken: &Taken) -> Option<(u16, String)> {
        let pair = if self.paired { vec![port, secondary_port(port)] } else { vec![port] };
        let left = |port| self.left.get(&port).map(|service| format!("service {service} until that is deployed with another"));
        pair.into_iter().find_map(|port| Some((port, taken.get(&port).cloned().or_else(|| left(port))?)))
    }

    /// How a port comes free that another service of the playbook goes away from.
    fn hint(&self, port: u16) -> Option<String> {
        let service = self.left.get(&port)?;
        Some(if self.paired {
            format!(
                "`flipside deploy {service}` first; should its old side wait there to be gone back to, once more with `--force`. Or pin another port: where the two swap theirs, one of them needs another in between"
            )
        } else {
            format!("`flipside deploy {service}` first; where the two swap their ports, one of them needs another in between")
        })
    }
}

/// Settles one port. `taken` holds what others use; the settled port (or pair) is added to it.
///
/// A pinned or claimed port that somebody else uses is a fatal finding: it is never moved behind the user's back.
pub(super) fn settle(wish: &Wish<'_>, taken: &mut Taken, findings: &mut Vec<Finding>) -> u16 {
    let finding =
        |level, text, hint: &str| Finding { level, server: None, service: Some(wish.service.clone()), text, hint: hint.to_owned() };
    let port = match (wish.pinned, wish.claimed) {
        (Some(fixed), _) | (None, Some(fixed)) => {
            if let Some((port, by)) = wish.conflict(fixed, taken) {
                let (origin, hint) = if wish.pinned.is_some() {
                    ("pinned", "pin another port in the playbook, or free this one")
                } else if wish.can_be_pinned {
                    ("owned by this service", "free the port, or pin another one with `host_port` or `internal_port`")
                } else {
                    ("owned by this service", "free the port; it serves the hosts of `proxy`")
                };
                let freed = wish.hint(port).filter(|_| !taken.contains_key(&port));
                let text = format!("{} {fixed} is {origin}, but port {port} is taken by {by}", wish.what);
                findings.push(finding(Level::Fatal, text, freed.as_deref().unwrap_or(hint)));
            }
            fixed
        }
        (None, None) => {
            let free = wish.range.from(wish.hashed).find(|port| wish.conflict(*port, taken).is_none());
            match free {
                None => {
                    let hint = if wish.can_be_pinned { "pin one in the playbook" } else { "fewer `replicas`, or services with `app_port`" };
                    findings.push(finding(Level::Fatal, format!("no free {} is left in its range", wish.what), hint));
                    wish.hashed
                }
                Some(port) => {
                    if port != wish.hashed
                        && let Some((clash, by)) = wish.conflict(wish.hashed, taken)
                    {
                        let text = format!(
                            "{} {} would be the hash's choice, but {clash} is taken by {by}: {port} is used",
                            wish.what, wish.hashed
                        );
                        findings.push(finding(Level::Note, text, ""));
                    }
                    port
                }
            }
        }
    };
    let owner = format!("service {}", wish.service);
    taken.insert(port, owner.clone());
    if wish.paired {
        taken.insert(secondary_port(port), owner);
    }
    port
}

/// The lowest number that is not in use, which is then in use.
pub(super) fn next_slot(used: &mut BTreeSet<u32>) -> u32 {
    let slot = (0..).find(|slot| !used.contains(slot)).unwrap_or(0);
    used.insert(slot);
    slot
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish<'a>(service: &'a ServiceName, pinned: Option<u16>, claimed: Option<u16>, hashed: u16) -> Wish<'a> {
        let what = "base port".to_owned();
        Wish { service, what, can_be_pinned: true, pinned, claimed, hashed, range: BASE, paired: true, left: BTreeMap::new() }
    }

    fn service() -> ServiceName {
        ServiceName::new("api").unwrap()
    }

    #[test]
    fn a_taken_hash_moves_upward_and_says_so() {
        let (name, mut findings) = (service(), Vec::new());
        let mut taken = Taken::from([(8100, "a stranger".to_owned()), (18101, "another".to_owned())]);
        assert_eq!(settle(&wish(&name, None, None, 8100), &mut taken, &mut findings), 8102, "both of the pair must be free");
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].level, Level::Note);
        assert_eq!(settle(&wish(&name, None, None, 8102), &mut taken, &mut findings), 8103, "what was settled is taken");
    }

    #[test]
    fn the_search_wraps_inside_the_range() {
        let (name, mut findings) = (service(), Vec::new());
        let mut taken = Taken::from([(8999, "a".to_owned()), (8000, "b".to_owned())]);
        assert_eq!(settle(&wish(&name, None, None, 8999), &mut taken, &mut findings), 8001);
    }

    #[test]
    fn a_claim_stays_and_a_stranger_on_it_is_fatal() {
        let (name, mut findings) = (service(), Vec::new());
        let mut taken = Taken::from([(18200, "pid 7 (nc)".to_owned())]);
        assert_eq!(settle(&wish(&name, None, Some(8200), 8100), &mut taken, &mut findings), 8200);
        assert_eq!(findings[0].level, Level::Fatal);
        assert!(findings[0].text.contains("18200 is taken by pid 7 (nc)"), "{}", findings[0].text);
        assert_eq!(settle(&wish(&name, Some(9000), Some(8200), 8100), &mut taken, &mut Vec::new()), 9000, "a pin wins over a claim");
    }

    #[test]
    fn slots_fill_gaps() {
        let mut used = BTreeSet::from([0, 2]);
        assert_eq!((next_slot(&mut used), next_slot(&mut used)), (1, 3));
    }
}
