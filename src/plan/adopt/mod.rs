//! Containers that somebody else started and that a service takes the place of: which they are, which of their ports Flipside needs, and
//! whether there is a gap. They are stopped and kept, never removed. Deliberately absent: containers that carry labels of Flipside.
mod findings;
mod proposal;
mod steps;

pub(super) use findings::{by_another_name, findings, is_of_the_system};
pub use proposal::{Likeness, Proposal, propose};
pub(super) use steps::{first_steps, retire_steps, take_over_steps};

use super::fronts::ingress_of;
use super::place::Placement;
use super::present::{Fleet, PresentService};
use super::routes::Routing;
use super::target::{Back, Desired, Wanted};
use crate::config::{Adopt, Ingress, Inventory, Playbook, Server};
use crate::facts::{ContainerFact, Facts, PublishedFact};
use crate::model::{BackendMode, ServerName, ServiceName, Side, label, secondary_port};
use crate::script::layout::NGINX_CONTAINER;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// The wave in which NGINX and the host's door get ports that what is taken over held.
pub(super) const WAVE: &str = "take over the ports";

/// The ports of public hosts.
const PUBLIC: [u16; 2] = [80, 443];

/// What a plan takes over for one service.
#[derive(Debug, Default)]
pub(super) struct Taking<'a> {
    /// The containers that run and that it stops.
    pub containers: Vec<(ServerName, &'a ContainerFact)>,
    /// Those that are stopped already.
    pub stopped: Vec<(ServerName, &'a ContainerFact)>,
    /// Why they are stopped before the new side starts, where they are.
    pub first: Option<String>,
}

impl Taking<'_> {
    /// Their names, by server.
    pub(super) fn names(&self) -> BTreeMap<ServerName, BTreeSet<String>> {
        let mut names = BTreeMap::<ServerName, BTreeSet<String>>::new();
        for (server, container) in &self.containers {
            names.entry(server.clone()).or_default().insert(container.name.clone());
        }
        names
    }
}

/// Flipside runs it, for whatever project.
fn is_flipsides(container: &ContainerFact) -> bool {
    container.labels.contains_key(label::PROJECT) || container.labels.contains_key(label::MESH)
}

/// The containers that the key names, running or not.
pub(super) fn there<'a>(adopt: &Adopt, fleet: &'a Fleet) -> Vec<(ServerName, &'a ContainerFact)> {
    let mut all = Vec::new();
    for (server, facts) in fleet {
        let named = facts.containers.iter().filter(|container| adopt.on(server).contains(&container.name) && !is_flipsides(container));
        all.extend(named.map(|container| (server.clone(), container)));
    }
    all
}

/// A service that is not deployed yet is where the containers are that it takes the place of: their data is there.
pub(super) fn homes(mut running: Placement, playbook: &Playbook, fleet: &Fleet) -> Placement {
    for (name, service) in playbook.services.iter().filter(|(_, service)| !service.adopt.is_empty()) {
        let homes = running.entry(name.clone()).or_default();
        if homes.is_empty() {
            homes.extend(there(&service.adopt, fleet).into_iter().map(|(server, _)| server));
        }
    }
    running
}

/// The ports of a container that a service pins which takes its place: they are its to have.
pub(super) fn given_up(playbook: &Playbook, server: &ServerName, container: &ContainerFact) -> BTreeSet<u16> {
    let takers =
        playbook.services.values().filter(|service| service.adopt.on(server).contains(&container.name) && !is_flipsides(container));
    let mut pinned = BTreeSet::new();
    for service in takers {
        pinned.extend(service.internal_port);
        let copies = u16::try_from(service.replicas.saturating_sub(1)).unwrap_or(0);
        pinned.extend(service.host_port.into_iter().flat_map(|first| first..=first.saturating_add(copies)));
    }
    container.published.iter().map(|published| published.host_port).filter(|port| pinned.contains(port)).collect()
}

/// Says what each service takes over. A rollback, a catch-up and maintenance take over nothing, and a fleet that is half switched comes to one side first.
pub(super) fn take<'a>(all: &mut [Desired<'a>], fleet: &'a Fleet, wanted: &Wanted, mode: BackendMode) {
    let is_split = |desired: &Desired<'_>| desired.present.is_some_and(PresentService::is_split);
    if wanted.back == Back::Yes || wanted.catch_up || wanted.maintenance.is_some() || all.iter().any(is_split) {
        return;
    }
    for desired in all.iter_mut().filter(|desired| desired.to.is_some() && desired.held_back.is_none() && wanted.selects(desired.name)) {
        let (stopped, containers): (Vec<_>, Vec<_>) =
            there(&desired.service.adopt, fleet).into_iter().partition(|(_, container)| container.state.is_stopped());
        let first = if desired.moves() && !containers.is_empty() { why_first(desired, &containers, mode) } else { None };
        if !containers.is_empty() {
            let names: BTreeSet<&str> = containers.iter().map(|(_, container)| container.name.as_str()).collect();
            desired.reason = format!("{}, takes over {}", desired.reason, names.into_iter().collect::<Vec<_>>().join(", "));
        }
        desired.taking = Taking { containers, stopped, first };
    }
}

/// Why the containers cannot run beside the new side.
fn why_first(desired: &Desired<'_>, containers: &[(ServerName, &ContainerFact)], mode: BackendMode) -> Option<String> {
    if desired.service.singleton {
        return Some("it is a singleton".to_owned());
    }
    if desired.hands_over() {
        return Some("it has a volume that it writes".to_owned());
    }
    if mode == BackendMode::SingleServer || desired.from.is_some() {
        return None;
    }
    let side = desired.to?;
    let transport = desired.service.protocol.transport();
    containers.iter().find_map(|(server, container)| {
        let address = desired.published_on.get(server)?;
        let holds = |port: u16, transport: &str| {
            container.published.iter().any(|published| {
                published.host_port == port && published.transport == transport && published.address.is_none_or(|held| held == *address)
            })
        };
        let of_side = |base: u16| match side {
            Side::Primary => base,
            Side::Secondary => secondary_port(base),
        };
        let own = desired.replicas.iter().filter_map(|replica| replica.base_port).map(of_side).find(|port| holds(*port, transport));
        let app = || desired.replicas.iter().filter_map(|replica| replica.app_base_port).map(of_side).find(|port| holds(*port, "tcp"));
        own.or_else(app).map(|port| format!("its new containers need port {port}"))
    })
}

/// What the server's NGINX publishes its public ports on.
pub(super) fn ingress_address(ingress: Ingress, settings: &Server) -> Option<Ipv4Addr> {
    match ingress {
        Ingress::Off => None,
        Ingress::Public => Some(Ipv4Addr::UNSPECIFIED),
        Ingress::Private => settings.private_address,
    }
}

/// The public ports that a container holds and NGINX needs for this service.
fn public_ports(inventory: &Inventory, server: &ServerName, desired: &Desired<'_>, container: &ContainerFact) -> BTreeSet<u16> {
    let is_public = desired.service.proxy.as_ref().is_some_and(|proxy| !proxy.hosts.is_empty());
    let settings = inventory.servers.get(server);
    let address = settings.and_then(|settings| ingress_address(ingress_of(inventory, server), settings)).filter(|_| is_public);
    let Some(address) = address else { return BTreeSet::new() };
    let meets = |published: &&PublishedFact| {
        published.transport == "tcp" && (address.is_unspecified() || published.address.is_none_or(|held| held == address))
    };
    let held: BTreeSet<u16> = container.published.iter().filter(meets).map(|published| published.host_port).collect();
    PUBLIC.into_iter().filter(|port| held.contains(port)).collect()
}

/// The container holds the port that the host's door opens for the service.
fn holds_internal(desired: &Desired<'_>, container: &ContainerFact) -> bool {
    let transport = desired.service.protocol.transport();
    desired.internal_port.is_some_and(|port| {
        container.published.iter().any(|published| {
            published.host_port == port
                && published.transport == transport
                && published.address.is_none_or(|held| held == Ipv4Addr::LOCALHOST)
        })
    })
}

/// The server's NGINX and door serve the service.
fn is_served(routing: &Routing<'_>, server: &ServerName, desired: &Desired<'_>) -> bool {
    routing.mode == BackendMode::MultiServer || desired.servers.contains(server)
}

/// It must stop before NGINX or the host's door can have its port.
fn is_in_the_way(routing: &Routing<'_>, server: &ServerName, desired: &Desired<'_>, container: &ContainerFact) -> bool {
    let holds = || holds_internal(desired, container) || !public_ports(routing.inventory, server, desired, container).is_empty();
    is_served(routing, server, desired) && holds()
}

/// The containers that this plan stops on one server, each with its service.
fn taken_on<'r>(routing: &'r Routing<'_>, server: &'r ServerName) -> impl Iterator<Item = (&'r Desired<'r>, &'r ContainerFact)> {
    let all =
        routing.desired.iter().flat_map(|desired| desired.taking.containers.iter().map(move |(at, container)| (desired, at, *container)));
    all.filter(move |(_, at, _)| *at == server).map(|(desired, _, container)| (desired, container))
}

/// The public ports that NGINX gets on this server once a container has stopped that holds them now, or that it was to get when a run was cut
/// off: what held them is stopped, and nobody has them.
pub(super) fn public_ports_later(routing: &Routing<'_>, server: &ServerName) -> BTreeSet<u16> {
    let served = taken_on(routing, server).filter(|(desired, _)| is_served(routing, server, desired));
    let held = served.flat_map(|(desired, container)| public_ports(routing.inventory, server, desired, container));
    held.chain(owed_on(routing, server).flat_map(|(_, ports)| ports)).collect()
}

/// The services that were to be served on public ports when a run was cut off, with the ports.
fn owed_on<'r>(routing: &'r Routing<'_>, server: &'r ServerName) -> impl Iterator<Item = (&'r Desired<'r>, BTreeSet<u16>)> {
    let facts = routing.fleet.get(server);
    let nginx = facts.and_then(|facts| facts.containers.iter().find(|container| container.name == NGINX_CONTAINER));
    let is_lacking = move |port: &u16| {
        let has = |nginx: &ContainerFact| nginx.published.iter().any(|published| published.host_port == *port);
        let is_free = |facts: &Facts| facts.listeners.iter().all(|listener| listener.port != *port || listener.transport != "tcp");
        nginx.is_some_and(|nginx| !has(nginx)) && facts.is_some_and(is_free)
    };
    let all =
        routing.desired.iter().flat_map(|desired| desired.taking.stopped.iter().map(move |(at, container)| (desired, at, *container)));
    all.filter(move |(desired, at, _)| *at == server && is_served(routing, server, desired)).filter_map(move |(desired, _, container)| {
        let ports: BTreeSet<u16> =
            public_ports(routing.inventory, server, desired, container).into_iter().filter(|port| is_lacking(port)).collect();
        (!ports.is_empty()).then_some((desired, ports))
    })
}

/// The services whose port the host's door gets on this server once a container has stopped that holds it now.
pub(super) fn withheld<'r>(routing: &'r Routing<'_>, server: &'r ServerName) -> BTreeSet<&'r ServiceName> {
    let held =
        taken_on(routing, server).filter(|(desired, container)| is_served(routing, server, desired) && holds_internal(desired, container));
    held.map(|(desired, _)| desired.name).collect()
}
