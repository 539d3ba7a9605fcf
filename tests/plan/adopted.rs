//! Containers of others: how a case puts them on a server, and what must hold of those that a service takes the place of.
//! Deliberately absent: what is said of them, which the cases' texts show.
use super::cases::Case;
use super::driver::Servers;
use super::invariants::routes;
use flipside::facts::{ContainerFact, ContainerState, PublishedFact};
use flipside::model::{Labels, ServerName, label};
use flipside::remote::fake::{FakeServer, is_up};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A container that somebody else started.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Old {
    /// Where.
    pub server: String,
    name: String,
    #[serde(default)]
    image: Option<String>,
    /// `8080:8000` or `127.0.0.1:8080:8000`.
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    restart: String,
    /// What it writes: where → the volume, which is made, or the folder.
    #[serde(default)]
    written: BTreeMap<String, String>,
    #[serde(default)]
    network: Option<String>,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    rm: bool,
    #[serde(default)]
    variables: Vec<String>,
    #[serde(default)]
    state: Option<ContainerState>,
}

impl Old {
    /// Starts it.
    pub fn start(&self, server: &mut FakeServer) {
        let published = self.ports.iter().map(|port| published(port)).collect();
        server.add_container(&self.name, self.image.as_deref().unwrap_or("other/image:1"), self.labels.clone(), published);
        let volumes = self.written.values().filter(|source| !source.starts_with('/')).cloned();
        server.base.volumes.get_or_insert_default().extend(volumes);
        let container = server.base.containers.iter_mut().find(|there| there.name == self.name).unwrap();
        let (restart, limit) = self.restart.split_once(':').unwrap_or((&self.restart, "0"));
        (container.restart, container.restart_limit) = (restart.to_owned(), limit.parse().unwrap());
        (container.auto_remove, container.variables) = (self.rm, self.variables.clone());
        container.mounts.clone_from(&self.written);
        container.written.clone_from(&self.written);
        container.networks.extend(self.network.iter().map(|network| (network.clone(), None)));
        container.state = self.state.unwrap_or(ContainerState::Running);
        let networks = self.network.iter().map(|name| flipside::facts::NetworkFact {
            name: name.clone(),
            driver: "bridge".to_owned(),
            subnets: Vec::new(),
            labels: Labels::new(),
        });
        server.base.networks.extend(networks);
        server.base.networks.dedup();
    }
}

fn published(text: &str) -> PublishedFact {
    let parts: Vec<&str> = text.rsplit(':').collect();
    PublishedFact {
        address: parts.get(2).map(|address| address.parse().unwrap()),
        host_port: parts[1].parse().unwrap(),
        container_port: parts[0].parse().unwrap(),
        transport: "tcp".to_owned(),
    }
}

/// What a service takes the place of, of what ran at the start: the service, the server and the container.
fn taken(case: &Case) -> Vec<(String, ServerName, &ContainerFact)> {
    let mut all = Vec::new();
    for (service, settings) in &case.playbook.services {
        for (server, there) in &case.servers {
            let named = there.base.containers.iter().filter(|old| settings.adopt.on(server).contains(&old.name));
            let old = named.filter(|old| is_up(old) && !old.labels.contains_key(label::PROJECT));
            all.extend(old.map(|old| (service.to_string(), server.clone(), old)));
        }
    }
    all
}

fn now<'a>(servers: &'a Servers, server: &ServerName, old: &ContainerFact) -> Option<&'a ContainerFact> {
    servers[server].base.containers.iter().find(|there| there.id == old.id)
}

/// The service is routed by this server, or by any in whose fleet it is.
fn is_routed(case: &Case, servers: &Servers, service: &str) -> bool {
    let project = &case.playbook.project;
    servers.values().any(|server| routes(server).iter().any(|route| route.service.as_str() == service && route.project == *project))
}

/// A gap is announced: it is handed over, or a port has to change hands.
fn has_gap(case: &Case, service: &str, old: &ContainerFact) -> bool {
    let settings = case.playbook.services.iter().find(|(name, _)| name.as_str() == service).unwrap().1;
    let pinned = |port: u16| settings.internal_port == Some(port) || settings.host_port == Some(port) || port == 80;
    settings.hands_over() || old.published.iter().any(|published| pinned(published.host_port))
}

/// Services that are handed over since their new container needs a port of the old one.
pub fn handed_over(case: &Case) -> impl Iterator<Item = String> {
    let holds = |service: &str, port: u16| {
        case.playbook.services.iter().any(|(name, settings)| name.as_str() == service && settings.host_port == Some(port))
    };
    let all = taken(case).into_iter();
    let all = all.filter(|(service, _, old)| old.published.iter().any(|published| holds(service, published.host_port)));
    all.map(|(service, ..)| service).collect::<Vec<_>>().into_iter()
}

/// What is broken in the middle of a run: an old container that is down while nobody routes the service, and one that writes beside the new.
pub fn broken(case: &Case, servers: &Servers) -> Vec<String> {
    let mut broken = Vec::new();
    for (service, server, old) in taken(case) {
        let Some(there) = now(servers, &server, old) else {
            broken.push(format!("{} on {server} is gone", old.name));
            continue;
        };
        let settings = case.playbook.services.iter().find(|(name, _)| name.as_str() == service).unwrap().1;
        if !is_up(there) && !has_gap(case, &service, old) && settings.port.is_some() && !is_routed(case, servers, &service) {
            broken.push(format!("{} on {server} is down, and nobody routes {service}", old.name));
        }
        let is_new = |app: &&ContainerFact| is_up(app) && app.labels.get(label::SERVICE).is_some_and(|name| *name == service);
        let writes = servers.values().flat_map(|server| &server.base.containers).any(|app| is_new(&app));
        if is_up(there) && settings.hands_over() && writes {
            broken.push(format!("{} on {server} runs beside {service}, which must not run twice", old.name));
        }
    }
    broken
}

/// What is broken when a run is over: each old container runs as it did, or its service is routed and it stays down.
pub fn broken_at_the_end(case: &Case, servers: &Servers) -> Vec<String> {
    let mut broken = Vec::new();
    for (service, server, old) in taken(case) {
        let Some(there) = now(servers, &server, old) else { continue };
        let as_it_was = is_up(there) && (&there.restart, there.restart_limit) == (&old.restart_or_no(), old.restart_limit);
        let is_worker = case.playbook.services.iter().any(|(name, settings)| name.as_str() == service && settings.port.is_none());
        let replaced = !is_up(there) && there.restart == "no" && (is_worker || is_routed(case, servers, &service));
        if !as_it_was && !replaced {
            let up = is_up(there);
            broken.push(format!("{} on {server}: up {up}, policy {:?}, was {:?}", old.name, there.restart, old.restart));
        }
        let held = |published: &&PublishedFact| has_gap(case, &service, old) && !is_host_port(case, published.host_port);
        for port in old.published.iter().filter(held).map(|published| published.host_port) {
            if !servers[&server].facts().listeners.iter().any(|listener| listener.port == port) {
                broken.push(format!("nobody listens on port {port} of {server}"));
            }
        }
    }
    broken
}

/// The new container has it on one side alone.
fn is_host_port(case: &Case, port: u16) -> bool {
    let pins = |port: u16| {
        let services = case.playbook.services.values();
        services.clone().any(|service| service.internal_port == Some(port)) || port == 80
    };
    !pins(port)
}

trait Policy {
    fn restart_or_no(&self) -> String;
}

impl Policy for ContainerFact {
    fn restart_or_no(&self) -> String {
        if self.restart.is_empty() { "no".to_owned() } else { self.restart.clone() }
    }
}

/// Whether each runs, for comparing fleets.
pub fn essence(case: &Case, servers: &Servers) -> impl Iterator<Item = String> {
    let all = taken(case).into_iter().filter_map(|(_, server, old)| {
        let there = now(servers, &server, old)?;
        Some(format!("{} on {server}: {:?}, {}", old.name, there.state, there.restart))
    });
    all.collect::<Vec<_>>().into_iter()
}
