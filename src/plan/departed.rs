//! Servers that have left the inventory while services ran there: nobody asks them any more, and nobody routes there. Deliberately absent:
//! what is still in the inventory and cannot be reached (see `behind`).
use super::routes::Routing;
use super::steps::plain;
use super::switching::drain_policy;
use super::target::Desired;
use super::types::{Finding, Level, Step};
use crate::model::{Action, Backend, ServerName};
use crate::nginx::{MeshBackend, MeshService};
use std::collections::{BTreeMap, BTreeSet};

/// The backends of a route that are on servers which the inventory does not have. A server that was given another name has its address.
fn departed<'r>(routing: &Routing<'_>, route: &'r MeshService) -> impl Iterator<Item = &'r MeshBackend> {
    let servers = &routing.inventory.servers;
    route.backends.iter().filter(move |backend| {
        let is_known = |known: std::net::Ipv4Addr| servers.values().any(|server| server.private_address == Some(known));
        let is_elsewhere = match backend.backend {
            Backend::Address { address, .. } => !is_known(address),
            Backend::Container { .. } => false,
        };
        backend.role.takes_traffic() && is_elsewhere && !servers.contains_key(&backend.server)
    })
}

/// The routes to it that this plan takes away: of what moves, and of what has copies elsewhere. Without any, a route stays as it is.
fn rerouted<'d>(desired: &'d Desired<'_>) -> impl Iterator<Item = (&'d ServerName, &'d MeshService)> {
    let is_elsewhere = || desired.present.zip(desired.from).is_some_and(|(there, live)| there.side(live).next().is_some());
    let present = desired.present.filter(|_| desired.moves() || is_elsewhere());
    present.into_iter().flat_map(|present| &present.routes)
}

/// On every server, what NGINX still has at servers that left, of services that stay as they are: whoever left can be switched off once the
/// run is over.
#[must_use]
pub(super) fn drain_steps(routing: &Routing<'_>) -> BTreeMap<ServerName, Vec<Step>> {
    let mut old: BTreeMap<&ServerName, Vec<Backend>> = BTreeMap::new();
    for desired in routing.desired.iter().filter(|desired| !desired.moves()) {
        for (server, route) in rerouted(desired).filter(|(server, _)| routing.fleet.contains_key(*server)) {
            old.entry(server).or_default().extend(departed(routing, route).flat_map(MeshBackend::reached_at));
        }
    }
    old.retain(|_, backends| !backends.is_empty());
    let drain = |backends| plain("drain what is on servers that left", Action::Drain { backends, policy: drain_policy(routing) });
    old.into_iter().map(|(server, backends)| (server.clone(), vec![drain(backends)])).collect()
}

/// What is said of servers that left. What must never run twice cannot be stopped there.
#[must_use]
pub(super) fn findings(routing: &Routing<'_>) -> Vec<Finding> {
    let mut all = Vec::new();
    let mut left: BTreeMap<&ServerName, BTreeSet<&str>> = BTreeMap::new();
    for desired in routing.desired {
        let at: BTreeSet<&ServerName> =
            rerouted(desired).flat_map(|(_, route)| departed(routing, route)).map(|backend| &backend.server).collect();
        for server in at {
            left.entry(server).or_default().insert(desired.name.as_str());
            if desired.moves() && desired.service.singleton {
                all.push(Finding {
                    level: Level::Fatal,
                    server: Some(server.clone()),
                    service: Some(desired.name.clone()),
                    text: "it is a singleton, and runs on this server, which is not in the inventory: it would run twice".to_owned(),
                    hint: format!("put {server} back until it has moved; or, where it is gone for good: flipside remove {}", desired.name),
                });
            }
        }
    }
    all.extend(left.into_iter().map(|(server, services)| Finding {
        level: Level::Note,
        server: Some(server.clone()),
        service: None,
        text: format!(
            "it is not in the inventory any more, and has {}: nobody routes there any longer, and what runs there goes on",
            services.into_iter().collect::<Vec<_>>().join(", ")
        ),
        hint: "it can be switched off after this; what is on it goes by `flipside remove`, with an inventory of it alone".to_owned(),
    }));
    all
}
