//! What must hold in a fleet at every moment, and what must be as before after a run that was put back.
use super::driver::Servers;
use flipside::config::{Inventory, Playbook};
use flipside::facts::ContainerFact;
use flipside::model::{Backend, ServerName, ServiceName, failed_name, label};
use flipside::nginx::{MeshService, is_service_file, read_service};
use flipside::plan::{PresentService, Unit, present};
use flipside::remote::fake::{FakeServer, is_up};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// Every route of every server's NGINX that leads to nothing, and every live container that does not reach what it uses: the service
/// and the words.
#[must_use]
pub fn dead_routes(servers: &Servers, inventory: &Inventory, playbook: &Playbook) -> BTreeSet<(String, String)> {
    let mut dead = lonely(servers, playbook);
    for (name, server) in servers {
        for service in routes(server) {
            for backend in service.backends.iter().filter(|backend| service.sends_to(backend)) {
                let labels = [(label::SERVICE, service.service.as_str()), (label::PROJECT, service.project.as_str())];
                for at in backend.reached_at().filter(|at| !is_alive((servers, inventory), server, &labels, at)) {
                    dead.insert((service.service.to_string(), format!("{name}: {} → {at:?}", service.service)));
                }
            }
        }
    }
    dead
}

/// Services that a server's NGINX routes, and of which it reaches no backend at all: the service and the words.
#[must_use]
pub fn unserved(servers: &Servers, inventory: &Inventory, playbook: &Playbook) -> BTreeSet<(String, String)> {
    let mut dead = lonely(servers, playbook);
    for (name, server) in servers {
        for service in routes(server) {
            let labels = [(label::SERVICE, service.service.as_str()), (label::PROJECT, service.project.as_str())];
            let mut live = service.backends.iter().filter(|backend| backend.takes_traffic());
            if !live.any(|backend| backend.reached_at().all(|at| is_alive((servers, inventory), server, &labels, &at))) {
                dead.insert((service.service.to_string(), format!("{name}: nothing of {} answers", service.service)));
            }
        }
    }
    dead
}

/// Whether a backend leads from this server to a container with these labels that runs, and to a port of it.
fn is_alive((servers, inventory): (&Servers, &Inventory), server: &FakeServer, labels: &[(&str, &str)], backend: &Backend) -> bool {
    match backend {
        Backend::Container { name, address, port } => server.running(name).is_some_and(|app| {
            let owner = server.namespace_owner(app);
            let port = port.to_string();
            let listens = [label::PORT, label::APP_PORT].iter().any(|key| app.labels.get(*key) == Some(&port));
            listens && owner.is_some_and(|owner| owner.networks.values().any(|there| there == &Some(*address))) && has(app, labels)
        }),
        Backend::Address { address, port } => servers.iter().any(|(at, there)| {
            let here = inventory.servers.get(at).is_some_and(|settings| settings.private_address == Some(*address));
            here && there.base.containers.iter().any(|app| {
                is_up(app)
                    && app.labels.get(label::ROLE).is_some_and(|role| role == "app")
                    && has(app, labels)
                    && there
                        .namespace_owner(app)
                        .is_some_and(|owner| owner.published.iter().any(|p| p.host_port == *port && p.address == Some(*address)))
            })
        }),
    }
}

/// Everything that a server's NGINX routed once and may still have requests at, and that does not run any more: the service and the words.
#[must_use]
pub fn cut_requests(servers: &Servers, inventory: &Inventory) -> BTreeSet<(String, String)> {
    let mut cut = BTreeSet::new();
    for (name, server) in servers {
        let is_cut = |(service, backend): &&(ServiceName, Backend)| {
            !is_alive((servers, inventory), server, &[(label::SERVICE, service.as_str())], backend)
        };
        let all = server.lingering.iter().filter(is_cut);
        cut.extend(all.map(|(service, backend)| (service.to_string(), format!("{name}: {service} → {backend:?}"))));
    }
    cut
}

/// Live containers that use a service which their server's NGINX does not route. The playbook does not say what those of another version
/// used.
fn lonely(servers: &Servers, playbook: &Playbook) -> BTreeSet<(String, String)> {
    let mut lonely = BTreeSet::new();
    for (name, server) in servers {
        let routed = routes(server);
        let ours = routed.iter().filter(|service| service.project == playbook.project && service.env == playbook.env);
        let ours = ours.filter(|service| service.version == playbook.version);
        for (consumer, settings) in ours.filter_map(|service| Some((service, playbook.services.get(&service.service)?))) {
            let here = consumer.backends.iter().any(|backend| backend.server == *name && backend.role.takes_traffic());
            for used in settings.uses.keys().filter(|_| here) {
                if !routed.iter().any(|service| service.service == *used && service.project == playbook.project) {
                    lonely.insert((
                        consumer.service.to_string(),
                        format!("{name}: {} uses {used}, which is not routed there", consumer.service),
                    ));
                }
            }
        }
    }
    lonely
}

fn has(container: &ContainerFact, labels: &[(&str, &str)]) -> bool {
    labels.iter().all(|(key, value)| container.labels.get(*key).is_some_and(|found| found == value))
}

/// Reads a service's file. It is looked at after every step of every run, so that what was read once is remembered; by order, since to
/// compare two texts costs a tenth of hashing one.
fn remembered(text: &str) -> Option<MeshService> {
    thread_local! {
        static READ: RefCell<BTreeMap<String, Option<MeshService>>> = RefCell::default();
    }
    READ.with_borrow_mut(|read| match read.get(text) {
        Some(service) => service.clone(),
        None => read.entry(text.to_owned()).or_insert_with(|| read_service(text).ok()).clone(),
    })
}

/// What one server's NGINX routes.
#[must_use]
pub fn routes(server: &FakeServer) -> Vec<MeshService> {
    let served = server.serves_other.as_ref().filter(|other| server.sealed.contains_key(*other)).or(server.base.nginx.live.as_ref());
    let files = served.and_then(|served| server.files(served).or(server.sealed.get(served).map(|files| &**files)));
    files.into_iter().flatten().filter(|(path, _)| is_service_file(path)).filter_map(|(_, text)| remembered(text)).collect()
}

/// Services that must never run twice at once, and do: both sides run somewhere, or one in two different places of one release.
#[must_use]
pub fn double_writers(servers: &Servers, playbook: &Playbook) -> Vec<String> {
    let mut doubled = Vec::new();
    for (name, _) in playbook.services.iter().filter(|(_, service)| service.hands_over()) {
        let labels = [(label::SERVICE, name.as_str()), (label::PROJECT, playbook.project.as_str()), (label::ENV, playbook.env.as_str())];
        let up = servers
            .values()
            .flat_map(|server| &server.base.containers)
            .filter(|container| !container.state.is_stopped() && has(container, &labels) && has(container, &[(label::ROLE, "app")]));
        let releases: BTreeSet<_> = up.map(|container| (container.labels.get(label::SIDE), container.labels.get(label::RELEASE))).collect();
        if releases.len() > 1 {
            doubled.push(format!("{name}: {releases:?}"));
        }
    }
    let of_earlier_playbooks = playbook.services.keys().filter(|name| clashes(servers, playbook, name, |app| !app.state.is_stopped()));
    doubled.extend(of_earlier_playbooks.map(|name| format!("{name}, as it was started, must not run twice")));
    doubled
}

/// Two of these containers of a service, of different releases, must not run at once, whatever the playbook says by now: they write the same
/// on one server, or were started as singletons.
#[must_use]
pub fn clashes(servers: &Servers, playbook: &Playbook, name: &ServiceName, counts: fn(&ContainerFact) -> bool) -> bool {
    let labels = [(label::SERVICE, name.as_str()), (label::PROJECT, playbook.project.as_str()), (label::ENV, playbook.env.as_str())];
    let all = servers.iter().flat_map(|(server, fake)| fake.base.containers.iter().map(move |container| (server, container)));
    let apps: Vec<_> = all.filter(|(_, app)| counts(app) && has(app, &labels) && has(app, &[(label::ROLE, "app")])).collect();
    let may_overlap = playbook.services.get(name).is_some_and(|service| service.overlap);
    let clash = |(at, app): &(&ServerName, &ContainerFact), (other_at, other): &(&ServerName, &ContainerFact)| {
        let is_another = [label::SIDE, label::RELEASE].iter().any(|key| app.labels.get(*key) != other.labels.get(*key));
        let singletons = [app, other].iter().all(|container| has(container, &[(label::SINGLETON, "true")]));
        let shares = at == other_at && app.written.values().any(|source| other.written.values().any(|written| written == source));
        is_another && (singletons || shares && !may_overlap)
    };
    apps.iter().any(|app| apps.iter().any(|other| clash(app, other)))
}

/// A fleet as far as clients and `rollback` can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    routes: BTreeMap<ServerName, Vec<String>>,
    containers: BTreeMap<(ServerName, String), (String, String)>,
}

impl Snapshot {
    /// What every server's NGINX routes.
    #[must_use]
    pub fn routes(&self) -> &BTreeMap<ServerName, Vec<String>> {
        &self.routes
    }

    /// What one project has of it.
    #[must_use]
    pub fn of(&self, project: &str) -> Snapshot {
        let (route, name) = (format!("{project}/"), format!("{project}_"));
        let lines = |lines: &Vec<String>| lines.iter().filter(|line| line.starts_with(&route)).cloned().collect();
        let containers = self.containers.iter().filter(|((_, container), _)| container.starts_with(&name));
        Snapshot {
            routes: self.routes.iter().map(|(server, all)| (server.clone(), lines(all))).collect(),
            containers: containers.map(|(at, seen)| (at.clone(), seen.clone())).collect(),
        }
    }

    /// Every container is still there in a later snapshot, the same one, under its name.
    #[must_use]
    pub fn is_kept_in(&self, later: &Snapshot) -> bool {
        self.containers.iter().all(|(at, (id, _))| later.containers.get(at).is_some_and(|(there, _)| there == id))
    }
}

/// Takes a snapshot. Mesh containers and what is set aside for people or for pruning are left out. On a side that is not live it does
/// not matter whether a container runs: a cut-off run may have left it so. Nor does it of an app whose door is gone: nobody reaches it.
#[must_use]
pub fn snapshot(servers: &Servers, playbook: &Playbook) -> Snapshot {
    let fleet = servers.iter().map(|(name, server)| (name.clone(), server.facts())).collect();
    let present = present(&playbook.project, &playbook.env, &fleet);
    let is_idle = |service: &PresentService<'_>, unit: &Unit<'_>| {
        unit.has_lost_its_door() || service.live().is_some_and(|live| unit.side == live.other() && !unit.is_stale)
    };
    let idle: BTreeSet<(ServerName, String)> = present
        .services
        .values()
        .flat_map(|service| service.units.iter().filter(move |unit| is_idle(service, unit)))
        .flat_map(|unit| [unit.app, unit.door].into_iter().flatten().map(|container| (unit.server.clone(), container.name.clone())))
        .collect();
    let mut snapshot = Snapshot { routes: BTreeMap::new(), containers: BTreeMap::new() };
    for (name, server) in servers {
        let mut lines: Vec<String> = routes(server)
            .into_iter()
            .map(|service| {
                let MeshService { project, env, service, live, backends, hosts, front, .. } = service;
                format!("{project}/{env}/{service} {live} {backends:?} {hosts:?} {front:?}")
            })
            .collect();
        lines.sort();
        snapshot.routes.insert(name.clone(), lines);
        for container in &server.base.containers {
            let mesh = container.labels.contains_key(label::MESH);
            if !mesh && !container.name.ends_with(&failed_name("")) && !container.name.ends_with(".previous") {
                let at = (name.clone(), container.name.clone());
                let state = if !container.labels.contains_key(label::PROJECT) {
                    format!("{:?} {}", container.state, container.restart)
                } else if idle.contains(&at) {
                    String::new()
                } else {
                    format!("{:?}", container.state).replace("Restarting", "Running")
                };
                snapshot.containers.insert(at, (container.id.clone(), state));
            }
        }
    }
    snapshot
}
