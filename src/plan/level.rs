//! The steps that bring a server level that was left behind: its NGINX first, to what the others route; then what it missed is started; and
//! once everybody routes to that, what is older there goes. Deliberately absent: which servers these are (see `behind`).
use super::backends::{reaches, unit_backends};
use super::present::Unit;
use super::routes::{Generation, Routing};
use super::steps::plain;
use super::switching::{drain_policy, route_checks, switch_steps};
use super::target::Desired;
use super::turn::Turn;
use super::types::{Change, Finding, Step};
use crate::facts::ContainerFact;
use crate::model::{Action, Backend, ServerName, previous_name};
use crate::nginx::MeshBackend;
use std::collections::BTreeMap;

type Steps = BTreeMap<ServerName, Vec<Step>>;

/// The release that servers are brought to which have missed it.
#[must_use]
pub(super) fn release(desired: &Desired<'_>) -> Option<u64> {
    desired.from.filter(|_| desired.change == Change::CatchUp).and_then(|live| {
        let units = desired.present?.level_side(live);
        units.filter_map(|unit| unit.number(crate::model::label::RELEASE)).max()
    })
}

/// Their NGINX goes to what the others route, and is seen to reach it.
#[must_use]
pub(super) fn join_steps(
    routing: &Routing<'_>,
    generations: &BTreeMap<ServerName, Generation>,
    live: &mut BTreeMap<ServerName, Generation>,
) -> Steps {
    let turn = Turn { routing, services: &[], release: 0 };
    let mut all = switch_steps(&turn, generations, live);
    for (server, steps) in &mut all {
        for desired in routing.desired {
            let Some(side) = desired.from else { continue };
            steps.extend(route_checks(routing, server, desired, side));
        }
    }
    all
}

/// What they routed before, until nobody uses it any more: some of it makes room.
#[must_use]
pub(super) fn drain_steps(routing: &Routing<'_>) -> Steps {
    let mut all = Steps::new();
    for server in routing.fleet.keys().filter(|_| !routing.behind.back.is_empty()) {
        // Others may still have requests there from before they went on without it.
        let units = routing.desired.iter().filter_map(|desired| desired.present).flat_map(|present| &present.units);
        let stale = units.filter(|unit| unit.is_stale && unit.is_up());
        let reached = stale.flat_map(|unit| unit_backends(unit).filter(|backend| reaches(server, &unit.server, backend)));
        let mut old: Vec<Backend> = reached.collect();
        if !routing.behind.back.contains(server) {
            push(routing, &mut all, server, old);
            continue;
        }
        for desired in routing.desired {
            let Some(route) = desired.present.and_then(|present| present.routes.get(server)) else { continue };
            let now = desired.from.map(|from| routing.backends(server, desired, from)).unwrap_or_default();
            let new: Vec<Backend> = now.iter().flat_map(MeshBackend::reached_at).collect();
            let routed = route.backends.iter().filter(|backend| backend.role.takes_traffic()).flat_map(MeshBackend::reached_at);
            old.extend(routed.filter(|backend| !new.contains(backend)));
        }
        push(routing, &mut all, server, old);
    }
    all
}

fn push(routing: &Routing<'_>, all: &mut Steps, server: &ServerName, mut old: Vec<Backend>) {
    old.sort();
    old.dedup();
    if !old.is_empty() {
        let action = Action::Drain { backends: old, policy: drain_policy(routing) };
        all.entry(server.clone()).or_default().push(plain("drain what is older on servers that were behind", action));
    }
}

/// The copies that they missed are started, and wait until they are healthy.
#[must_use]
pub(super) fn start_steps(routing: &Routing<'_>, findings: &mut Vec<Finding>) -> Steps {
    let mut by_phase: BTreeMap<&ServerName, [Vec<Step>; 3]> = BTreeMap::new();
    for desired in routing.desired {
        let (Some(live), Some(release)) = (desired.from, release(desired)) else { continue };
        let turn = Turn { routing, services: &[], release };
        for (server, number) in &desired.missed {
            let Some(replica) = desired.replicas.iter().find(|replica| replica.number == *number) else { continue };
            let Some(phases) = turn.start(server, desired, replica, live, findings) else { continue };
            let all = by_phase.entry(server).or_default();
            for (all, more) in all.iter_mut().zip(phases) {
                all.extend(more);
            }
        }
    }
    by_phase.into_iter().map(|(server, phases)| (server.clone(), phases.into_iter().flatten().collect())).collect()
}

/// The copies that are started, as a server's NGINX reaches them.
#[must_use]
pub(super) fn missed_backends(routing: &Routing<'_>, server: &ServerName) -> Vec<Backend> {
    let caught_up = routing.desired.iter().filter(|desired| desired.change == Change::CatchUp);
    let backends = caught_up.filter_map(|desired| {
        let is_missed = |at: &ServerName, replica| desired.missed.contains(&(at.clone(), replica));
        let all = routing.backends(server, desired, desired.from?).into_iter();
        let missed = all.filter(move |backend| is_missed(&backend.server, backend.replica));
        Some(missed.flat_map(|backend| backend.reached_at().collect::<Vec<_>>()))
    });
    backends.flatten().collect()
}

/// What was replaced, and what is of another release than the rest of its side. Without a side to be the other one of, what still runs of
/// a service that nobody routes is stopped.
#[must_use]
pub(super) fn tidy_steps(turn: &Turn<'_>) -> Steps {
    let mut all = Steps::new();
    let routing = turn.routing;
    for desired in routing.desired {
        let Some(present) = desired.present else { continue };
        for unit in present.units.iter().filter(|unit| routing.behind.becomes_level(&unit.server)) {
            let steps = all.entry(unit.server.clone()).or_default();
            for container in [unit.app, unit.door].into_iter().flatten() {
                steps.extend(tidy(turn, desired, unit, container).map(|action| {
                    let title = match &action {
                        Action::RemoveContainer { name, .. } => format!("remove {name}"),
                        _ => format!("stop {}", container.name),
                    };
                    plain(title, action).of(desired.name)
                }));
            }
        }
    }
    all
}

fn tidy(turn: &Turn<'_>, desired: &Desired<'_>, unit: &Unit<'_>, container: &ContainerFact) -> Option<Action> {
    let timeout = turn.stop_timeout();
    let is_missed = desired.missed.contains(&(unit.server.clone(), unit.replica)) && desired.from == Some(unit.side);
    let is_restored = desired.change == Change::Restore;
    let is_copy = desired.servers.contains(&unit.server) && desired.replicas.iter().any(|replica| replica.number == unit.replica);
    let is_replaced = desired.moves() && !is_restored && desired.to == Some(unit.side) && is_copy;
    if is_missed || (is_replaced && unit.is_stale) {
        return Some(Action::RemoveContainer { name: previous_name(&container.name), timeout });
    }
    if unit.is_stale {
        return Some(Action::RemoveContainer { name: container.name.clone(), timeout });
    }
    let nobody_routes = !desired.moves() && !desired.hands_over() && desired.service.port.is_none() && desired.from != Some(unit.side);
    (nobody_routes && !container.state.is_stopped()).then(|| Action::StopContainer { name: container.name.clone(), timeout })
}
