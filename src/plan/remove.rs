//! The waves that take services away: unroute, drain, stop, remove. Deliberately absent: which services.
use super::build::locked;
use super::certificates;
use super::doors::forwards;
use super::prepare::{door_update, host_door_text};
use super::present::PresentService;
use super::revert::{Stretches, guard};
use super::routes::Routing;
use super::secrets;
use super::steps::{plain, switch};
use super::switching::{drain_policy, running_backends, stage};
use super::turn::Turn;
use super::types::{Step, Wave, WaveKind};
use crate::facts::{ContainerFact, Facts};
use crate::model::{Action, Backend, ServerName, ServiceName, Side, label, network_name};
use crate::nginx::{MeshBackend, RenderError};
use crate::script::layout::NGINX_CONTAINER;
use std::collections::{BTreeMap, BTreeSet};

/// The waves of a removal.
///
/// # Errors
/// [`RenderError`] where a template is at fault.
pub(super) fn remove_waves(routing: &Routing<'_>) -> Result<Vec<Wave>, RenderError> {
    let turn = Turn { routing, services: &[], release: routing.present.release };
    let (mut prepared, mut switches) = (BTreeMap::new(), BTreeMap::new());
    let mut tidy = BTreeMap::new();
    let leaving: BTreeSet<&ServiceName> = routing.removed.iter().collect();
    let staying = forwards(routing, |desired| desired.from);
    for (server, facts) in routing.fleet {
        let Some(settings) = routing.inventory.servers.get(server) else { continue };
        if facts.nginx.live.is_none() {
            continue;
        }
        let first: Vec<Step> = routing.drift.first(server).collect();
        if !first.is_empty() {
            prepared.insert(server.clone(), first);
        }
        if let Some(generation) = routing.generation(server, &BTreeSet::new())? {
            prepared.entry(server.clone()).or_default().push(stage(routing, server, &generation));
            switches.insert(server.clone(), vec![switch(facts.nginx.live.clone(), &generation.id, None)]);
        }
        let door = host_door_text(routing, server, &staying, &leaving)?;
        let steps: &mut Vec<Step> = tidy.entry(server.clone()).or_default();
        steps.extend(turn.removal_steps(server));
        steps.extend(door_update(facts, &settings.remote_root, &door));
        steps.extend(unused_network(routing, facts));
    }
    secrets::tidy(routing, &leaving, &BTreeSet::new(), &mut tidy);
    certificates::tidy(routing, routing.removed, &mut tidy);
    let work = |name: &str, servers| Wave { name: name.to_owned(), kind: WaveKind::Work, servers };
    let mut waves = vec![
        work("prepare", prepared),
        work("switch", switches),
        work("drain", drain_removed(routing)),
        work("stop", turn.stop_removed()),
        Wave { name: "finish".to_owned(), kind: WaveKind::Cleanup, servers: tidy },
    ];
    let mut stretches = Stretches::default();
    stretches.covers(1);
    guard(&mut waves, &stretches);
    Ok(locked(routing, waves))
}

/// On every server whose NGINX may have requests at what is removed.
pub(super) fn drain_removed(routing: &Routing<'_>) -> BTreeMap<ServerName, Vec<Step>> {
    let mut drains = BTreeMap::new();
    for (server, facts) in routing.fleet.iter().filter(|(_, facts)| facts.nginx.live.is_some()) {
        let gone = routing.removed.iter().filter_map(|name| routing.present.services.get(name));
        let backends: Vec<_> = gone.flat_map(|service| old_backends(facts, server, service)).collect();
        if !backends.is_empty() {
            let action = Action::Drain { backends, policy: drain_policy(routing) };
            drains.insert(server.clone(), vec![plain("drain its connections", action)]);
        }
    }
    drains
}

/// What a server's NGINX may have requests at: what it routes, or what runs, where a run that was cut off has taken the route away.
fn old_backends(facts: &Facts, server: &ServerName, service: &PresentService<'_>) -> Vec<Backend> {
    let running = || Side::BOTH.into_iter().flat_map(|side| running_backends(server, service.side(side)));
    match service.routes.get(server) {
        // A side that is kept warm may have connections from before the last switch.
        Some(route) => {
            let all: BTreeSet<Backend> = route.backends.iter().flat_map(MeshBackend::reached_at).chain(running()).collect();
            all.into_iter().collect()
        }
        None if facts.nginx.served.is_some() => running().collect(),
        None => Vec::new(),
    }
}

/// The project's network goes with the last of its services. NGINX, which is attached to it too, is detached by the action.
pub(super) fn unused_network(routing: &Routing<'_>, facts: &Facts) -> Option<Step> {
    let (project, env) = (&routing.playbook.project, &routing.playbook.env);
    let name = network_name(project, env);
    let leaves = |container: &ContainerFact| {
        let says = |key: &str, value: &str| container.labels.get(key).is_some_and(|label| label == value);
        says(label::PROJECT, project.as_str())
            && says(label::ENV, env.as_str())
            && routing.removed.iter().any(|service| says(label::SERVICE, service.as_str()))
    };
    let is_there = facts.networks.iter().any(|network| network.name == name);
    let mut users = facts.containers.iter().filter(|container| container.networks.contains_key(&name));
    let is_unused = users.all(|container| container.name == NGINX_CONTAINER || leaves(container));
    (is_there && is_unused).then(|| plain(format!("remove network {name}"), Action::RemoveNetwork { name }))
}
