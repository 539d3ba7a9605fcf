//! The steps around a switch: stage a generation, make it live, check what it routes, and drain what it routes to no more. Deliberately
//! absent: their place among the waves (see `build`).
use super::app_port;
use super::backends::{is_name, reaches, unit_backends};
use super::level::missed_backends;
use super::present::{PresentService, Unit};
use super::routes::{Generation, Routing, base_generation};
use super::steps::{plain, switch};
use super::target::Desired;
use super::turn::Turn;
use super::types::{Change, Step, UndoKind};
use super::warm;
use crate::config::HealthCheck;
use crate::facts::Facts;
use crate::model::{Action, Backend, DrainPolicy, GenerationId, Millis, ProbeKind, Protocol, RouteCheck, ServerName, Side};
use crate::nginx::{MainSettings, MeshBackend, service_path};
use crate::script::layout;
use std::collections::BTreeMap;

pub(super) fn stage(routing: &Routing<'_>, server: &ServerName, generation: &Generation) -> Step {
    stage_on(base_generation(routing.fleet.get(server)), generation)
}

/// The same, on the generation that is live there.
pub(super) fn stage_on(base: GenerationId, generation: &Generation) -> Step {
    let action = Action::StageNginx {
        generation: generation.id.clone(),
        base: Some(base),
        files: generation.files.clone(),
        remove: generation.remove.clone(),
        listeners: generation.listeners.clone(),
    };
    plain(format!("stage and test generation {}", generation.id), action)
        .undone_by(UndoKind::Cleans, vec![Action::DropGeneration { generation: generation.id.clone() }])
}

pub(super) fn switch_steps(
    turn: &Turn<'_>,
    generations: &BTreeMap<ServerName, Generation>,
    live: &mut BTreeMap<ServerName, Generation>,
) -> BTreeMap<ServerName, Vec<Step>> {
    let routing = turn.routing;
    let mut all = BTreeMap::new();
    for (server, generation) in generations {
        let before = live.get(server).map(|generation| generation.id.clone());
        if before.as_ref() == Some(&generation.id) {
            continue;
        }
        let expect = before.or_else(|| Some(base_generation(routing.fleet.get(server))));
        let overlapped = turn.services.iter().filter(|desired| !turn.hands_over(desired) && !runs_already(desired));
        let new: Vec<_> = overlapped
            .filter_map(|desired| Some(routing.backends(server, desired, desired.to?)))
            .flatten()
            .flat_map(|backend| backend.reached_at().collect::<Vec<_>>())
            .collect();
        let new = [new, missed_backends(routing, server)].concat();
        let drain = (!new.is_empty()).then(|| Action::Drain { backends: new, policy: drain_policy(routing) });
        let mut steps = vec![switch(expect, &generation.id, drain)];
        for desired in turn.services {
            let Some(side) = desired.to else { continue };
            steps.extend(route_checks(routing, server, desired, side));
        }
        live.insert(server.clone(), generation.clone());
        all.insert(server.clone(), steps);
    }
    all
}

/// What is gone back to runs, and runs on where the run is undone: nobody has to wait until it has no requests any more.
fn runs_already(desired: &Desired<'_>) -> bool {
    let Some((there, to)) = desired.present.zip(desired.to).filter(|_| desired.change == Change::Restore) else { return false };
    there.side(to).next().is_some() && there.side(to).all(Unit::is_up)
}

/// The service is reached, and its public hosts' own port where they have one.
pub(super) fn route_checks(routing: &Routing<'_>, server: &ServerName, desired: &Desired<'_>, side: Side) -> impl Iterator<Item = Step> {
    let app = app_port::route_check(routing, server, desired, side);
    route_check(routing, server, desired, side).into_iter().chain(app)
}

fn route_check(routing: &Routing<'_>, server: &ServerName, desired: &Desired<'_>, side: Side) -> Option<Step> {
    let root = &routing.inventory.servers.get(server)?.remote_root;
    let socket = layout::run_file(root, &routing.playbook.project, &routing.playbook.env, desired.name, layout::SOCKET);
    let check = question(routing, server, desired, side, socket)?;
    Some(plain(format!("check that the mesh reaches {}", desired.name), Action::CheckRoute(check)).of(desired.name))
}

/// Before the switch, through the very upstream that gets the traffic then: NGINX finds the new side by its name. None where it does not
/// know the name yet, or there is nothing to ask.
pub(super) fn found_check(routing: &Routing<'_>, server: &ServerName, desired: &Desired<'_>) -> Option<Step> {
    let (from, to) = (desired.from?, desired.to?);
    let path = service_path(&routing.playbook.project, &routing.playbook.env, desired.name, routing.protocol(desired, from));
    let text = routing.fleet.get(server)?.nginx.files.get(&path)?;
    let is_asked = text.contains(layout::WAITING_SOCKET) || routing.announces(server, desired);
    if !desired.moves() || from == to || !is_asked || !routing.backends(server, desired, to).iter().any(is_name) {
        return None;
    }
    let root = &routing.inventory.servers.get(server)?.remote_root;
    let socket = layout::run_file(root, &routing.playbook.project, &routing.playbook.env, desired.name, layout::WAITING_SOCKET);
    let check = question(routing, server, desired, to, socket)?;
    Some(plain(format!("check that NGINX finds the {to} side of {}", desired.name), Action::CheckRoute(check)).of(desired.name))
}

fn question(routing: &Routing<'_>, server: &ServerName, desired: &Desired<'_>, side: Side, socket: String) -> Option<RouteCheck> {
    desired.internal_port?;
    if routing.backends(server, desired, side).is_empty() {
        return None;
    }
    let kind = match routing.protocol(desired, side) {
        Protocol::Http => {
            ProbeKind::Http { path: health_check(desired, side).path.unwrap_or_else(|| "/".to_owned()), host: "localhost".to_owned() }
        }
        Protocol::Tcp => ProbeKind::Tcp,
        Protocol::Udp => return None,
    };
    Some(RouteCheck { service: desired.name.to_string(), socket, kind, deadline: Millis::seconds(15) })
}

/// What is started anew proves itself as the playbook says, what is there as it did before.
fn health_check(desired: &Desired<'_>, side: Side) -> HealthCheck {
    let own = match desired.change {
        Change::Create | Change::Toggle => None,
        Change::Restore | Change::Keep | Change::CatchUp | Change::Remove => {
            desired.present.and_then(|present| present.side(side).find_map(Unit::health_check))
        }
    };
    own.unwrap_or_else(|| desired.service.health_check.clone())
}

pub(super) fn drain_policy(routing: &Routing<'_>) -> DrainPolicy {
    DrainPolicy { quiet: MainSettings::default().quiet(), timeout: routing.playbook.rollout.drain_timeout }
}

/// The servers whose NGINX may have requests at a service's containers: those that route it, and those that do not and whose NGINX runs. A
/// run that was cut off, or the server by itself, may have taken a route away a moment ago, and old workers answer what came before.
pub(super) fn askers<'a>(routing: &'a Routing<'_>, service: &'a PresentService<'_>) -> impl Iterator<Item = &'a ServerName> {
    let asks = |(server, facts): &(&ServerName, &Facts)| service.routes.contains_key(*server) || facts.nginx.served.is_some();
    routing.fleet.iter().filter(asks).map(|(server, _)| server)
}

/// What runs of these, as a server's NGINX would reach it.
pub(super) fn running_backends<'a>(server: &ServerName, units: impl Iterator<Item = &'a Unit<'a>>) -> Vec<Backend> {
    let up = units.filter(|unit| unit.is_up());
    up.flat_map(|unit| unit_backends(unit).filter(|backend| reaches(server, &unit.server, backend))).collect()
}

/// On every server whose NGINX routed to an old side that still runs.
pub(super) fn drain_steps(turn: &Turn<'_>) -> BTreeMap<ServerName, Vec<Step>> {
    let (routing, moving) = (turn.routing, turn.services);
    let mut all: BTreeMap<ServerName, Vec<Step>> = BTreeMap::new();
    for server in routing.fleet.keys() {
        let mut old = Vec::new();
        let stops = |desired: &&&Desired<'_>| !desired.hands_over() && !turn.keeps(desired) && !warm::stays(routing.playbook, desired);
        for desired in moving.iter().filter(stops) {
            let (Some(present), Some(from)) = (desired.present, desired.from) else { continue };
            if routing.behind.back.contains(server) {
                // It routes what the others do since it joined them.
                old.extend(routing.backends(server, desired, from).iter().flat_map(MeshBackend::reached_at));
                continue;
            }
            match present.routes.get(server) {
                Some(routed) => {
                    let backends = routed.backends.iter().filter(|backend| backend.side == from);
                    old.extend(backends.flat_map(MeshBackend::reached_at));
                }
                None if askers(routing, present).any(|asker| asker == server) => {
                    old.extend(running_backends(server, present.side(from)));
                }
                None => {}
            }
        }
        if !old.is_empty() {
            old.sort();
            let action = Action::Drain { backends: old, policy: drain_policy(routing) };
            all.entry(server.clone()).or_default().push(plain("drain the old side's connections", action));
        }
    }
    all
}
