//! Who uses whom: every used service exists and listens, and nobody waits for itself. Deliberately absent: the order of a deploy.
use super::keys::did_you_mean;
use super::node::Table;
use super::problem::Span;
use super::types::Service;
use super::walk::Walk;
use crate::model::ServiceName;
use std::collections::{BTreeMap, BTreeSet};

/// Checks `uses` of all services. `tree` is the `services` table, for the places.
pub(super) fn check(walk: &mut Walk<'_>, services: &BTreeMap<ServiceName, Service>, tree: &Table) {
    for (name, service) in services {
        for target in service.uses.keys() {
            let span = place(tree, name, target);
            if target == name {
                walk.report(
                    span,
                    format!("service `{name}` uses itself"),
                    "remove it: inside its container it reaches itself on its own port",
                );
                continue;
            }
            let Some(found) = tree.get(target.as_str()) else {
                let label = did_you_mean(target.as_str(), tree.entries.iter().map(|entry| entry.key.as_str()));
                walk.report(span, format!("service `{name}` uses `{target}`, which is not a service of this playbook"), label);
                continue;
            };
            let listens = found.node.table().is_none_or(|table| table.get("port").is_some());
            if !listens {
                let label = format!("add `port` to service `{target}`, or remove it here");
                walk.report(span, format!("service `{name}` uses `{target}`, which has no port"), label);
            }
        }
    }
    for cycle in cycles(services) {
        let [first, second, ..] = cycle.as_slice() else { continue };
        let path: Vec<&str> = cycle.iter().chain([first]).map(|name| name.as_str()).collect();
        let title = format!("services use each other in a circle: {}", path.join(" → "));
        walk.report(place(tree, first, second), title, "none of them could start first: remove one of these uses");
    }
}

fn place(tree: &Table, name: &ServiceName, target: &ServiceName) -> Span {
    let uses = tree.table(name.as_str()).and_then(|table| table.get("uses"));
    uses.map_or(Span { start: 0, end: 0 }, |entry| entry.node.item_span(target.as_str()))
}

/// Circles of two or more, none sharing a service with another. A service that uses nothing that is left is taken away until
/// only circles and what leads to them remain; then any walk must come back to where it was.
fn cycles(services: &BTreeMap<ServiceName, Service>) -> Vec<Vec<&ServiceName>> {
    let mut left: BTreeSet<&ServiceName> = services.keys().collect();
    let mut cycles = Vec::new();
    loop {
        loop {
            let ends: Vec<&ServiceName> = left.iter().copied().filter(|name| next(services, &left, name).is_none()).collect();
            if ends.is_empty() {
                break;
            }
            for name in ends {
                left.remove(name);
            }
        }
        let Some(mut here) = left.first().copied() else { return cycles };
        let mut path: Vec<&ServiceName> = Vec::new();
        let start = loop {
            if let Some(at) = path.iter().position(|seen| *seen == here) {
                break at;
            }
            path.push(here);
            let Some(used) = next(services, &left, here) else { return cycles };
            here = used;
        };
        let cycle = path.split_off(start);
        for name in &cycle {
            left.remove(*name);
        }
        cycles.push(cycle);
    }
}

/// The first service that `name` uses among those that are left, itself not counted.
fn next<'a>(services: &BTreeMap<ServiceName, Service>, left: &BTreeSet<&'a ServiceName>, name: &ServiceName) -> Option<&'a ServiceName> {
    let uses = &services.get(name)?.uses;
    uses.keys().filter(|used| *used != name).find_map(|used| left.get(used).copied())
}
