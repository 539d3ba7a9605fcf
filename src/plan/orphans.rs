//! Services that run and have left the playbook: named in every plan, and taken away at its end where that is asked for. Deliberately
//! absent: removals that name their services (see `remove`); other projects and environments, of which nothing is ever an orphan.
use super::behind::Behind;
use super::certificates;
use super::present::{Present, PresentService};
use super::remove::{drain_removed, unused_network};
use super::revert::Stretches;
use super::routes::{Generation, Routing};
use super::show::prose::{count, server_list};
use super::switching::switch_steps;
use super::target::{Back, Desired, Orphans, Wanted};
use super::turn::Turn;
use super::types::{Finding, Level, Step, Wave, WaveKind};
use crate::config::Playbook;
use crate::facts::ContainerFact;
use crate::model::{ServerName, ServiceName, label};
use std::collections::{BTreeMap, BTreeSet};

/// The services of this project and environment that have containers or are routed, and that the playbook does not have.
#[must_use]
pub(super) fn orphans(playbook: &Playbook, present: &Present<'_>) -> BTreeSet<ServiceName> {
    let aside = present.aside.iter().filter_map(|(_, container)| ServiceName::new(container.labels.get(label::SERVICE)?).ok());
    let all = present.services.keys().cloned().chain(aside);
    all.filter(|name| !playbook.services.contains_key(name)).collect()
}

/// What is said of orphans that nobody takes away.
#[must_use]
pub(super) fn orphan_notes(playbook: &Playbook, present: &Present<'_>) -> Vec<Finding> {
    let note = |name: ServiceName| {
        let hint = format!("`flipside remove {name}` takes it away, and `flipside deploy --remove-orphans` all of them; volumes stay");
        let text = format!("it is not in the playbook, and goes on: {}", described(&name, present));
        Finding { level: Level::Warning, server: None, service: Some(name), text, hint }
    };
    orphans(playbook, present).into_iter().map(note).collect()
}

/// The orphans that a plan takes away, and what is said of all of them. None goes while servers disagree about a service, or cannot be asked:
/// those may run it, or route to it.
#[must_use]
pub(super) fn leaving(
    playbook: &Playbook,
    present: &Present<'_>,
    desired: &[Desired<'_>],
    wanted: &Wanted,
    behind: &Behind,
) -> (BTreeSet<ServiceName>, Vec<Finding>) {
    if wanted.back == Back::Yes || wanted.catch_up {
        return (BTreeSet::new(), Vec::new());
    }
    let orphans = orphans(playbook, present);
    if wanted.orphans == Orphans::Stay || orphans.is_empty() {
        return (BTreeSet::new(), orphan_notes(playbook, present));
    }
    let of = |name: &ServiceName, level, text, hint: &str| Finding {
        level,
        server: None,
        service: Some(name.clone()),
        text,
        hint: hint.to_owned(),
    };
    let is_split = |desired: &&Desired<'_>| desired.present.is_some_and(PresentService::is_split);
    let until = match desired.iter().find(is_split) {
        Some(split) => Some(format!("{} is on one side", split.name)),
        None if !behind.concerned.is_empty() => Some(format!("{} can be reached", behind.names())),
        None => None,
    };
    if let Some(until) = until {
        let stays = |name| of(name, Level::Warning, format!("it is not in the playbook, and stays until {until}"), "");
        let told = orphans.iter().map(stays).collect();
        return (BTreeSet::new(), told);
    }
    let goes = |name| of(name, Level::Note, format!("it is not in the playbook, and goes: {}", described(name, present)), "volumes stay");
    let mut told: Vec<Finding> = orphans.iter().map(goes).collect();
    // What is replaced uses what the playbook says, and so does what is as the playbook says.
    let is_older = |desired: &&Desired<'_>| desired.from.is_some() && !desired.moves() && !desired.is_as_wanted();
    let names = orphans.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ");
    told.extend(desired.iter().filter(is_older).map(|older| {
        let text = format!("it stays as an earlier playbook had it ({}), and may still use {names}, which goes away", older.reason);
        of(older.name, Level::Warning, text, "deploy it along")
    }));
    (orphans, told)
}

/// `2 containers on s1, s2; NGINX routes it on s1, s2, s3`.
fn described(name: &ServiceName, present: &Present<'_>) -> String {
    let service = present.services.get(name);
    let units = service.into_iter().flat_map(|service| &service.units);
    let mut servers: Vec<&ServerName> = units.flat_map(|unit| [unit.app, unit.door].into_iter().flatten().map(|_| &unit.server)).collect();
    let is_its = |container: &ContainerFact| container.labels.get(label::SERVICE).is_some_and(|service| service == name.as_str());
    servers.extend(present.aside.iter().filter(|(_, container)| is_its(container)).map(|(server, _)| server));
    let mut parts = Vec::new();
    if !servers.is_empty() {
        let n_containers = count(servers.len(), "container");
        parts.push(format!("{n_containers} on {}", server_list(servers.into_iter().collect::<BTreeSet<_>>())));
    }
    if let Some(routed) = service.filter(|service| !service.routes.is_empty()) {
        parts.push(format!("NGINX routes it on {}", server_list(routed.routes.keys())));
    }
    parts.join("; ")
}

/// The waves that take them away, once nothing that may use them runs any more: unrouted on every server, then drained, then stopped.
pub(super) fn take_away(
    routing: &Routing<'_>,
    unrouted: &BTreeMap<ServerName, Generation>,
    live: &mut BTreeMap<ServerName, Generation>,
    stretches: &mut Stretches,
    waves: &mut Vec<Wave>,
) {
    if routing.removed.is_empty() {
        return;
    }
    let turn = Turn { routing, services: &[], release: 0 };
    let names = routing.removed.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ");
    let mut work = |what: &str, servers| waves.push(Wave { name: format!("{what} {names}"), kind: WaveKind::Work, servers });
    work("take away", switch_steps(&turn, unrouted, live));
    work("drain", drain_removed(routing));
    work("stop", turn.stop_removed());
    // Where this fails, servers go back to what they all served at the end of the deploy proper.
    stretches.leaves_out();
    stretches.covers(waves.len() - 3);
}

/// Adds the steps that remove what was stopped, and a network that nobody uses any more.
pub(super) fn tidy(routing: &Routing<'_>, all: &mut BTreeMap<ServerName, Vec<Step>>) {
    let turn = Turn { routing, services: &[], release: 0 };
    for (server, facts) in routing.fleet.iter().filter(|_| !routing.removed.is_empty()) {
        let mut steps: Vec<Step> = turn.removal_steps(server);
        if !routing.desired.iter().any(|desired| desired.to.is_some() && desired.servers.contains(server)) {
            steps.extend(unused_network(routing, facts));
        }
        if !steps.is_empty() {
            all.entry(server.clone()).or_default().extend(steps);
        }
    }
    certificates::tidy(routing, routing.removed, all);
}
