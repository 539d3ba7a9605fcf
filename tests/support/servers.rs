//! A server in memory that interprets actions by their meaning and refuses what a real one would refuse. Deliberately absent: shell,
//! time, and everything that only a fleet can see (another server's containers).
use flipside::facts::{ContainerFact, ContainerState, Facts, ImageFact, ListenerFact, NetworkFact, NginxFact, PublishedFact, digest};
use flipside::model::{
    Action, Backend, ContainerSpec, Failure, GenerationId, Labels, NetworkMode, NetworkSpec, Piece, RouteCheck, StagedListener, label,
    network_name,
};
use flipside::nginx::{BackendRole, generation_id, read_service};
use flipside::script::layout::{BOOTSTRAP, HOST_DOOR, NGINX_CONTAINER};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// The labels that say whose a container is.
const OWNER: [&str; 4] = [label::PROJECT, label::ENV, label::SERVICE, label::ROLE];
/// The labels that, besides the owner's, make two containers the same one.
const SAME: [&str; 4] = [label::SIDE, label::REPLICA, label::SPEC, label::MESH];

/// One server.
#[derive(Debug, Clone)]
pub struct FakeServer {
    /// What does not follow from the rest: name, user, disk, routes, and listeners of programs outside of docker.
    pub base: Facts,
    /// All generations on disk with their files, the oldest first.
    pub releases: Vec<(GenerationId, BTreeMap<String, String>)>,
    /// The generation that NGINX serves, where it differs from the files on disk.
    pub serves_other: Option<GenerationId>,
    /// Images that no registry has.
    pub unavailable: BTreeSet<String>,
    /// Images whose containers never answer.
    pub unhealthy: BTreeSet<String>,
    /// The ports on loopback that each door was told to open, by the door's container id.
    door_ports: BTreeMap<String, BTreeSet<u16>>,
    n_containers: u32,
}

impl FakeServer {
    /// A bare server: docker, and nothing in it.
    #[must_use]
    pub fn new(hostname: &str) -> FakeServer {
        let base = Facts {
            hostname: hostname.to_owned(),
            user: "deploy".to_owned(),
            docker_version: "28.5.0".to_owned(),
            clock: 1_700_000_000_000,
            free_bytes: 20 << 30,
            root_writable: true,
            ephemeral: (32_768, 60_999),
            containers: Vec::new(),
            networks: Vec::new(),
            images: Vec::new(),
            listeners: Vec::new(),
            routes: vec!["10.0.0.0/24".to_owned()],
            nginx: NginxFact::default(),
            lease: None,
        };
        FakeServer {
            base,
            releases: Vec::new(),
            serves_other: None,
            unavailable: BTreeSet::new(),
            unhealthy: BTreeSet::new(),
            door_ports: BTreeMap::new(),
            n_containers: 0,
        }
    }

    /// What this server is seen to be.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let mut facts = self.base.clone();
        facts.listeners.extend(self.bound());
        facts.listeners.sort();
        facts.listeners.dedup();
        let live = self.base.nginx.live.clone();
        let runs = self.running(NGINX_CONTAINER).is_some();
        facts.nginx.served = self.serves_other.clone().or_else(|| live.clone()).filter(|_| runs);
        facts.nginx.files = live.as_ref().and_then(|live| self.files(live)).cloned().unwrap_or_default();
        facts.nginx.generations = self.releases.iter().map(|(id, _)| id.clone()).collect();
        facts.nginx.generations.sort();
        facts
    }

    /// The container of this name.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&ContainerFact> {
        self.base.containers.iter().find(|container| container.name == name)
    }

    /// The container of this name, if it runs.
    #[must_use]
    pub fn running(&self, name: &str) -> Option<&ContainerFact> {
        self.container(name).filter(|container| is_up(container))
    }

    /// The container whose network namespace this one is in, if that container runs; itself where it has its own.
    #[must_use]
    pub fn namespace_owner<'a>(&'a self, container: &'a ContainerFact) -> Option<&'a ContainerFact> {
        match container.network_mode.strip_prefix("container:") {
            None => Some(container),
            Some(id) => self.base.containers.iter().find(|owner| owner.id == id && is_up(owner)),
        }
    }

    /// Performs one action, and says what was seen.
    ///
    /// # Errors
    /// What a real server would refuse, and why.
    pub fn apply(&mut self, action: &Action) -> Result<String, Failure> {
        match action {
            Action::Lock => {
                self.base.lease = Some("this run".to_owned());
                seen("locked")
            }
            Action::ConfirmFacts { project, env, digest: wanted } => match digest(&self.facts(), project, env) {
                found if found == *wanted => seen("unchanged"),
                found => refuse(format!("the server has moved: facts {found} instead of {wanted}")),
            },
            Action::PutFile { path, content, .. } => self.put_file(path, content),
            Action::EnsureNetwork(spec) => self.ensure_network(spec),
            Action::RemoveNetwork { name } => self.remove_network(name),
            Action::ConnectNetwork { network, container, .. } => self.connect_network(network, container),
            Action::PullImage { image } => self.pull(image),
            Action::RunContainer(spec) => self.run(spec),
            Action::SetAside { name, to, .. } => self.set_aside(name, to),
            Action::RenameContainer { from, to } => self.rename(from, to),
            Action::StartContainer { name } => self.start(name),
            Action::StopContainer { name, .. } => self.stop(name),
            Action::RemoveContainer { name, .. } => {
                self.base.containers.retain(|container| container.name != *name || container.labels.is_empty());
                seen("removed")
            }
            Action::AwaitHealthy { container, .. } => self.await_healthy(container),
            Action::BootNginx { generation, files } => {
                if self.base.nginx.live.is_none() {
                    self.releases.push((generation.clone(), files.clone()));
                    self.base.nginx.live = Some(generation.clone());
                }
                seen("bootstrap written")
            }
            Action::ReloadDoor { container } => self.reload_door(container),
            Action::AwaitDoor { container } => self.await_door(container),
            Action::StageNginx { generation, base, files, remove, listeners } => {
                self.stage(generation, base.as_ref(), files, remove, listeners)
            }
            Action::DropGeneration { generation } => {
                if self.base.nginx.live.as_ref() == Some(generation) {
                    return refuse(format!("generation {generation} is live: it is not removed"));
                }
                self.releases.retain(|(id, _)| id != generation);
                seen("not there")
            }
            Action::Switch { expect, to } => self.switch(expect.as_ref(), to),
            Action::SwitchBack { from, to } => match &self.base.nginx.live {
                Some(live) if live == from => self.switch(Some(from), to),
                Some(_) | None => seen("something else is live, and was left alone"),
            },
            Action::CheckRoute(check) => self.check_route(check),
            Action::Drain { .. } => match self.running(NGINX_CONTAINER) {
                Some(_) => seen("0 connections"),
                None => refuse(format!("{NGINX_CONTAINER} does not run")),
            },
            Action::PruneGenerations { keep } => {
                let live = self.base.nginx.live.clone();
                let surplus = self.releases.len().saturating_sub(*keep as usize);
                let mut position = 0;
                self.releases.retain(|(id, _)| {
                    position += 1;
                    position > surplus || Some(id) == live.as_ref() || id.0 == BOOTSTRAP
                });
                seen("pruned")
            }
        }
    }

    /// Puts a container there that no plan has asked for.
    pub fn add_container(&mut self, name: &str, image: &str, labels: Labels, published: Vec<PublishedFact>) {
        self.n_containers += 1;
        self.base.containers.push(ContainerFact {
            id: format!("{}{:04}", self.base.hostname, self.n_containers),
            name: name.to_owned(),
            image: image.to_owned(),
            image_id: image_id(image),
            state: ContainerState::Running,
            exit_code: 0,
            oom_killed: false,
            restarts: 0,
            labels,
            networks: BTreeMap::new(),
            network_mode: "bridge".to_owned(),
            published,
        });
    }

    /// Changes a container's state, as a crash or an operator does.
    pub fn set_state(&mut self, name: &str, state: ContainerState) {
        if let Some(container) = self.base.containers.iter_mut().find(|container| container.name == name) {
            container.state = state;
        }
    }

    /// The files of a generation.
    #[must_use]
    pub fn files(&self, generation: &GenerationId) -> Option<&BTreeMap<String, String>> {
        self.releases.iter().find(|(id, _)| id == generation).map(|(_, files)| files)
    }

    /// What docker and the host's door listen on in the server's own namespace.
    fn bound(&self) -> Vec<ListenerFact> {
        let mut bound = Vec::new();
        for container in self.base.containers.iter().filter(|container| is_up(container)) {
            bound.extend(container.published.iter().map(|published| ListenerFact {
                address: published.address,
                port: published.host_port,
                transport: published.transport.clone(),
            }));
            if container.name == HOST_DOOR {
                let ports = self.door_ports.get(&container.id).into_iter().flatten();
                bound.extend(ports.map(|port| ListenerFact {
                    address: Some(Ipv4Addr::LOCALHOST),
                    port: *port,
                    transport: "tcp".to_owned(),
                }));
            }
        }
        bound
    }

    fn put_file(&mut self, path: &str, content: &[Piece]) -> Result<String, Failure> {
        let text = content.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Secret(name) => format!("<{name}>"),
        });
        if let Some((folder, name)) = path.rsplit_once('/')
            && folder.ends_with("/doors")
        {
            self.base.nginx.doors.insert(name.to_owned(), text.collect());
        }
        seen("written")
    }

    fn ensure_network(&mut self, spec: &NetworkSpec) -> Result<String, Failure> {
        if let Some(there) = self.base.networks.iter().find(|network| network.name == spec.name) {
            return if there.subnets == [spec.subnet.clone()] {
                seen("there")
            } else {
                refuse(format!("network {} is there with subnet {:?}", spec.name, there.subnets))
            };
        }
        if self.base.networks.iter().any(|network| network.subnets.contains(&spec.subnet)) {
            return refuse(format!("subnet {} overlaps with another network", spec.subnet));
        }
        self.base.networks.push(NetworkFact {
            name: spec.name.clone(),
            driver: "bridge".to_owned(),
            subnets: vec![spec.subnet.clone()],
            labels: spec.labels.clone(),
        });
        self.base.routes.push(spec.subnet.clone());
        seen("made")
    }

    fn remove_network(&mut self, name: &str) -> Result<String, Failure> {
        if let Some(user) = self.base.containers.iter().find(|c| c.name != NGINX_CONTAINER && c.networks.contains_key(name)) {
            return refuse(format!("network {name} is used by {}", user.name));
        }
        for container in &mut self.base.containers {
            container.networks.remove(name);
        }
        self.base.networks.retain(|network| network.name != name);
        seen("removed")
    }

    fn connect_network(&mut self, network: &str, container: &str) -> Result<String, Failure> {
        if !self.base.networks.iter().any(|there| there.name == network) {
            return refuse(format!("there is no network {network}"));
        }
        match self.base.containers.iter_mut().find(|there| there.name == container) {
            None => refuse(format!("there is no container {container}")),
            Some(there) => {
                there.networks.entry(network.to_owned()).or_insert(None);
                seen("attached")
            }
        }
    }

    fn pull(&mut self, image: &str) -> Result<String, Failure> {
        if self.unavailable.contains(image) {
            return refuse(format!("manifest for {image} not found"));
        }
        let tag = tagged(image);
        if !self.base.images.iter().any(|there| there.tags.contains(&tag)) {
            self.base.images.push(ImageFact { id: image_id(image), tags: vec![tag], digests: Vec::new() });
        }
        seen("pulled")
    }

    fn run(&mut self, spec: &ContainerSpec) -> Result<String, Failure> {
        let name = &spec.name;
        if let Some(there) = self.container(name) {
            let differs = |keys: &[&str]| keys.iter().any(|key| there.labels.get(*key) != spec.labels.get(*key));
            if differs(&OWNER) {
                return refuse(format!("the name {name} is taken by a container of image {}", there.image));
            }
            match there.state {
                ContainerState::Running | ContainerState::Restarting if differs(&SAME) => {
                    return refuse(format!("container {name} already runs with other settings"));
                }
                ContainerState::Running | ContainerState::Restarting => return seen("runs already"),
                ContainerState::Exited | ContainerState::Dead if differs(&SAME) => {
                    return refuse(format!("container {name} is there, stopped, with other settings"));
                }
                ContainerState::Exited | ContainerState::Dead | ContainerState::Created => {
                    self.base.containers.retain(|container| container.name != *name);
                }
                ContainerState::Paused | ContainerState::Removing => return refuse(format!("container {name} is {:?}", there.state)),
            }
        }
        let image = tagged(&spec.image);
        let Some(image) = self.base.images.iter().find(|there| there.tags.contains(&image)) else {
            return refuse(format!("the image {} is not on this server", spec.image));
        };
        if name == NGINX_CONTAINER && self.base.nginx.live.is_none() {
            return refuse("NGINX has no generation to start with");
        }
        let (networks, network_mode) = match &spec.network {
            NetworkMode::Bridge { network, ip, .. } => (BTreeMap::from([(network.clone(), *ip)]), network.clone()),
            NetworkMode::Host => (BTreeMap::new(), "host".to_owned()),
            NetworkMode::Container { name: owner } => match self.container(owner) {
                None => return refuse(format!("no such container: {owner}")),
                Some(owner) => (BTreeMap::new(), format!("container:{}", owner.id)),
            },
        };
        self.n_containers += 1;
        let container = ContainerFact {
            id: format!("{}{:04}", self.base.hostname, self.n_containers),
            name: name.clone(),
            image: spec.image.clone(),
            image_id: image.id.clone(),
            state: ContainerState::Created,
            exit_code: 0,
            oom_killed: false,
            restarts: 0,
            labels: spec.labels.clone(),
            networks,
            network_mode,
            published: spec
                .publish
                .iter()
                .map(|publish| PublishedFact {
                    address: Some(publish.address).filter(|address| !address.is_unspecified()),
                    host_port: publish.host_port,
                    container_port: publish.container_port,
                    transport: publish.transport.clone(),
                })
                .collect(),
        };
        self.check_start(&container)?;
        let text = spec.env.get("FLIPSIDE_DOOR").cloned();
        let text = text.or_else(|| spec.env.get("FLIPSIDE_DOOR_FILE").map(|_| self.host_door_text()));
        if let Some(text) = text {
            self.door_ports.insert(container.id.clone(), listened(&text));
        }
        self.base.containers.push(ContainerFact { state: ContainerState::Running, ..container });
        seen("started")
    }

    /// What docker looks at when a container starts: networks, fixed addresses, published ports, the owner of the namespace.
    fn check_start(&self, container: &ContainerFact) -> Result<(), Failure> {
        let fail = |text: String| refuse(text).map(|_| ());
        if self.namespace_owner(container).is_none() {
            return fail(format!("cannot join network of a non running container: {}", container.network_mode));
        }
        let bound = self.bound();
        for published in &container.published {
            let clash = bound.iter().chain(&self.base.listeners).find(|listener| {
                listener.port == published.host_port
                    && listener.transport == published.transport
                    && (listener.address.is_none() || published.address.is_none() || listener.address == published.address)
            });
            if clash.is_some() {
                return fail(format!("port {} of {} is already allocated", published.host_port, container.name));
            }
        }
        for (network, address) in &container.networks {
            if !self.base.networks.iter().any(|there| there.name == *network) {
                return fail(format!("network {network} not found"));
            }
            let holder = self.base.containers.iter().find(|other| {
                is_up(other) && address.is_some() && other.name != container.name && other.networks.get(network) == Some(address)
            });
            if let Some(holder) = holder {
                return fail(format!("address {address:?} of {} is in use by {}", container.name, holder.name));
            }
        }
        Ok(())
    }

    fn start(&mut self, name: &str) -> Result<String, Failure> {
        let Some(container) = self.container(name).cloned() else { return refuse(format!("there is no container {name}")) };
        match container.state {
            ContainerState::Running => return seen("runs already"),
            ContainerState::Paused | ContainerState::Removing => return refuse(format!("container {name} is {:?}", container.state)),
            ContainerState::Created | ContainerState::Restarting | ContainerState::Exited | ContainerState::Dead => {}
        }
        self.check_start(&container)?;
        if name == HOST_DOOR {
            self.door_ports.insert(container.id, listened(&self.host_door_text()));
        }
        self.set_state(name, ContainerState::Running);
        seen("started")
    }

    fn stop(&mut self, name: &str) -> Result<String, Failure> {
        let Some(container) = self.container(name) else { return refuse(format!("there is no container {name}")) };
        if container.labels.is_empty() {
            return refuse(format!("container {name} is not ours"));
        }
        match container.state {
            ContainerState::Created | ContainerState::Exited | ContainerState::Dead => {}
            ContainerState::Running | ContainerState::Restarting | ContainerState::Paused | ContainerState::Removing => {
                self.set_state(name, ContainerState::Exited);
            }
        }
        seen("stopped, exit code 0")
    }

    fn set_aside(&mut self, name: &str, to: &str) -> Result<String, Failure> {
        let spare = self.container(to).cloned();
        let Some(container) = self.container(name) else { return seen("nothing of this name to set aside") };
        if container.labels.is_empty() {
            return refuse(format!("container {name} is not ours"));
        }
        if let Some(spare) = spare {
            if is_up(&spare) {
                return refuse(format!("container {to}, which should wait as a spare, runs"));
            }
            if OWNER.iter().any(|key| spare.labels.get(*key) != container.labels.get(*key)) {
                return refuse(format!("the name {to} is taken by another container"));
            }
            self.base.containers.retain(|container| container.name != to);
        }
        self.stop(name)?;
        self.rename(name, to)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<String, Failure> {
        match (self.container(from).is_some(), self.container(to).is_some()) {
            (false, false) => refuse(format!("there is no container {from} and none {to}")),
            (false, true) => seen("has its name already"),
            (true, true) => refuse(format!("there are both containers, {from} and {to}")),
            (true, false) => {
                for container in self.base.containers.iter_mut().filter(|container| container.name == from) {
                    container.name = to.to_owned();
                }
                seen("renamed")
            }
        }
    }

    fn await_healthy(&self, name: &str) -> Result<String, Failure> {
        let Some(container) = self.running(name) else { return refuse(format!("container {name} does not run")) };
        if self.unhealthy.contains(&container.image) {
            return refuse(format!("container {name} never answered"));
        }
        match self.namespace_owner(container) {
            Some(_) => seen("3 answers"),
            None => refuse(format!("the door of {name} does not run")),
        }
    }

    fn host_door_text(&self) -> String {
        self.base.nginx.doors.get(&format!("{HOST_DOOR}.conf")).cloned().unwrap_or_default()
    }

    fn reload_door(&mut self, name: &str) -> Result<String, Failure> {
        let Some(id) = self.running(name).map(|door| door.id.clone()) else { return refuse(format!("{name} does not run")) };
        self.door_ports.insert(id, listened(&self.host_door_text()));
        seen("reloaded")
    }

    fn await_door(&self, name: &str) -> Result<String, Failure> {
        match self.running(name).map(|door| self.door_ports.contains_key(&door.id)) {
            None => refuse(format!("{name} does not run")),
            Some(false) => refuse(format!("{name} listens nowhere")),
            Some(true) => seen("listens"),
        }
    }

    fn stage(
        &mut self,
        generation: &GenerationId,
        base: Option<&GenerationId>,
        files: &BTreeMap<String, String>,
        remove: &[String],
        listeners: &[StagedListener],
    ) -> Result<String, Failure> {
        let Some(nginx) = self.running(NGINX_CONTAINER) else { return refuse(format!("{NGINX_CONTAINER} does not run")) };
        if self.base.nginx.live.as_ref() == Some(generation) {
            return seen("live already");
        }
        let mut all = BTreeMap::new();
        if let Some(base) = base.filter(|base| base.0 != BOOTSTRAP) {
            match self.files(base) {
                Some(files) => all.extend(files.clone()),
                None => return refuse(format!("generation {base}, whose files are to be carried over, is not on this server")),
            }
        }
        all.retain(|path, _| !remove.contains(path));
        all.extend(files.clone());
        let found = generation_id(&all, base);
        if found != *generation {
            return refuse(format!("the files amount to {found}, not {generation}"));
        }
        let mut owners: BTreeMap<u16, String> = BTreeMap::new();
        for (path, text) in all.iter().filter(|(path, _)| path.contains(".d/")) {
            let service = match read_service(text) {
                Ok(service) => service,
                Err(error) => return refuse(format!("{path}: {error}")),
            };
            let network = network_name(&service.project, &service.env);
            let by_name = service.backends.iter().any(|backend| matches!(backend.backend, Backend::Container { .. }));
            if by_name && !nginx.networks.contains_key(&network) {
                return refuse(format!("{path}: host not found in upstream: NGINX is not attached to {network}"));
            }
            if let Some(other) = owners.insert(service.internal_port, path.clone()) {
                return refuse(format!("{path} and {other} both listen on {}", service.internal_port));
            }
        }
        if let Some(twice) = listeners.iter().find(|listener| !owners.contains_key(&listener.port)) {
            return refuse(format!("port {} is to be bound, and no file listens on it", twice.port));
        }
        self.releases.retain(|(id, _)| id != generation);
        self.releases.push((generation.clone(), all));
        seen("passes nginx -t")
    }

    fn switch(&mut self, expect: Option<&GenerationId>, to: &GenerationId) -> Result<String, Failure> {
        let bootstrap = GenerationId(BOOTSTRAP.to_owned());
        let expect = expect.unwrap_or(&bootstrap);
        if self.running(NGINX_CONTAINER).is_none() {
            return refuse(format!("{NGINX_CONTAINER} does not run"));
        }
        let live = self.base.nginx.live.clone();
        if live.as_ref() == Some(to) && self.serves_other.is_none() {
            return seen("live already");
        }
        if live.as_ref() != Some(expect) || self.serves_other.is_some() {
            return refuse(format!("generation {live:?} is live, and this run was made for {expect}"));
        }
        if self.files(to).is_none() {
            return refuse(format!("generation {to} is not on this server"));
        }
        self.base.nginx.live = Some(to.clone());
        seen(&format!("generation {to}"))
    }

    fn check_route(&self, check: &RouteCheck) -> Result<String, Failure> {
        let stem = check.socket.rsplit('/').next().unwrap_or_default().trim_end_matches(".sock");
        let files = self.base.nginx.live.as_ref().and_then(|live| self.files(live));
        let text = files.into_iter().flatten().find(|(path, _)| path.ends_with(&format!("/{stem}.conf"))).map(|(_, text)| text);
        let Some(service) = text.and_then(|text| read_service(text).ok()) else {
            return refuse(format!("the live generation has no file for {stem}"));
        };
        let dead = service.backends.iter().filter(|backend| backend.role != BackendRole::Idle).find_map(|backend| match &backend.backend {
            Backend::Container { name, .. } => self.running(name).is_none().then(|| name.clone()),
            Backend::Address { .. } => None,
        });
        match dead {
            Some(name) => refuse(format!("{name} does not answer through NGINX")),
            None => seen("status 200"),
        }
    }
}

/// The container's processes run.
#[must_use]
pub fn is_up(container: &ContainerFact) -> bool {
    container.state == ContainerState::Running
}

/// The id that an image has on every server.
#[must_use]
pub fn image_id(image: &str) -> String {
    format!("sha256:{:04}", flipside::model::fold_hash(image))
}

/// Docker's default tag.
fn tagged(image: &str) -> String {
    if image.contains('@') || image.rsplit('/').next().is_some_and(|last| last.contains(':')) {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

/// The ports on loopback that a door's configuration opens.
fn listened(text: &str) -> BTreeSet<u16> {
    let ports = text.lines().filter_map(|line| line.trim().strip_prefix("listen 127.0.0.1:"));
    ports.filter_map(|rest| rest.split([' ', ';']).next()?.parse().ok()).collect()
}

fn seen(text: &str) -> Result<String, Failure> {
    Ok(text.to_owned())
}

fn refuse(text: impl Into<String>) -> Result<String, Failure> {
    Err(Failure { seen: text.into(), ..Failure::default() })
}
