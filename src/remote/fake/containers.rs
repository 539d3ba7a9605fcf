//! Images, networks and containers of a server in memory, with what docker refuses. Deliberately absent: NGINX and doors.
use super::server::{FakeServer, image_id, is_up, tagged};
use super::{listened, refuse, seen};
use crate::facts::{ContainerFact, ContainerState, ImageFact, NetworkFact, PublishedFact};
use crate::model::{ContainerSpec, Failure, HookPlace, NetworkMode, NetworkSpec, ProbeKind, label};
use crate::script::layout::{HOST_DOOR, NGINX_CONTAINER};
use std::collections::BTreeMap;

/// The labels that say whose a container is.
const OWNER: [&str; 4] = [label::PROJECT, label::ENV, label::SERVICE, label::ROLE];
/// The labels that, besides the owner's, make two containers the same one.
const SAME: [&str; 4] = [label::SIDE, label::REPLICA, label::SPEC, label::MESH];

/// `source:target[:options]` as target and source.
fn mounted(volume: &str) -> Option<(String, String)> {
    let mut parts = volume.split(':');
    let source = parts.next()?.to_owned();
    Some((parts.next()?.to_owned(), source))
}

impl FakeServer {
    pub(super) fn ensure_network(&mut self, spec: &NetworkSpec) -> Result<String, Failure> {
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

    pub(super) fn remove_network(&mut self, name: &str) -> Result<String, Failure> {
        if let Some(user) = self.base.containers.iter().find(|c| c.name != NGINX_CONTAINER && c.networks.contains_key(name)) {
            return refuse(format!("network {name} is used by {}", user.name));
        }
        for container in &mut self.base.containers {
            container.networks.remove(name);
        }
        self.base.networks.retain(|network| network.name != name);
        seen("removed")
    }

    pub(super) fn connect_network(&mut self, network: &str, container: &str) -> Result<String, Failure> {
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

    pub(super) fn pull(&mut self, image: &str) -> Result<String, Failure> {
        if self.unavailable.contains(image) {
            return refuse(format!("manifest for {image} not found"));
        }
        let tag = tagged(image);
        if !self.base.images.iter().any(|there| there.tags.contains(&tag)) {
            self.base.images.push(ImageFact { id: image_id(image), tags: vec![tag], digests: Vec::new() });
        }
        seen("pulled")
    }

    pub(super) fn run(&mut self, spec: &ContainerSpec) -> Result<String, Failure> {
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
            restart: spec.restart.clone(),
            memory: 0,
            mounts: spec.volumes.iter().filter_map(|volume| mounted(volume)).collect(),
            started: None,
            written: spec.volumes.iter().filter(|volume| !volume.ends_with(":ro")).filter_map(|volume| mounted(volume)).collect(),
            restart_limit: 0,
            auto_remove: false,
            variables: Vec::new(),
        };
        self.mount_secrets(&container.id, spec.secrets.values().cloned().collect());
        self.check_start(&container)?;
        let text = spec.env.get("FLIPSIDE_DOOR").cloned();
        let text = text.or_else(|| spec.env.get("FLIPSIDE_DOOR_FILE").map(|_| self.host_door_text()));
        if let Some(port) = text.as_ref().and_then(|text| self.in_the_doors_way(&listened(text))).filter(|_| name == HOST_DOOR) {
            return refuse(format!("the door does not listen: 127.0.0.1:{port}"));
        }
        if let Some(text) = text {
            self.door_ports.insert(container.id.clone(), listened(&text));
        }
        let named = container.mounts.values().filter(|source| !source.starts_with('/')).cloned();
        self.base.volumes.get_or_insert_default().extend(named);
        self.base.containers.push(ContainerFact { state: ContainerState::Running, ..container });
        seen("started")
    }

    /// What docker looks at when a container starts: networks, fixed addresses, published ports, the owner of the namespace.
    pub(super) fn check_start(&self, container: &ContainerFact) -> Result<(), Failure> {
        let fail = |text: String| refuse(text).map(|_| ());
        if self.namespace_owner(container).is_none() {
            return fail(format!("cannot join network of a non running container: {}", container.network_mode));
        }
        self.check_mounts(&container.id)?;
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

    /// A hook does nothing here; its containers are refused where docker would refuse them, and gone afterwards.
    pub(super) fn run_hook(&self, place: &HookPlace) -> Result<String, Failure> {
        let HookPlace::Container { app, door } = place else { return seen("exit code 0") };
        let mut meanwhile = self.clone();
        door.iter().chain([app]).try_for_each(|spec| meanwhile.run(spec).map(|_| ()))?;
        seen("exit code 0")
    }

    pub(super) fn start(&mut self, name: &str) -> Result<String, Failure> {
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

    pub(super) fn stop(&mut self, name: &str) -> Result<String, Failure> {
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

    pub(super) fn set_aside(&mut self, name: &str, to: &str, release: Option<&str>) -> Result<String, Failure> {
        let spare = self.container(to).cloned();
        let Some(container) = self.container(name) else { return seen("nothing of this name to set aside") };
        if container.labels.is_empty() {
            return refuse(format!("container {name} is not ours"));
        }
        if container.labels.get(label::RELEASE).map(String::as_str) != release {
            return seen("a container of another release has this name: it stays");
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

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<String, Failure> {
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

    /// The container listens nowhere but at its own port.
    pub(super) fn is_deaf(&self, name: &str) -> bool {
        self.container(name).is_some_and(|container| self.deaf.contains(&container.image))
    }

    pub(super) fn await_healthy(&self, name: &str, asked: &ProbeKind) -> Result<String, Failure> {
        let Some(container) = self.running(name) else { return refuse(format!("container {name} does not run")) };
        if *asked == ProbeKind::AppPort && self.is_deaf(name) {
            return refuse(format!("the app port of {name} refuses connections"));
        }
        if self.unhealthy.contains(&container.image) {
            return refuse(format!("container {name} never answered"));
        }
        match self.namespace_owner(container) {
            Some(_) => seen("3 answers"),
            None => refuse(format!("the door of {name} does not run")),
        }
    }

    pub(super) fn stay_healthy(&self, name: &str, asked: &ProbeKind) -> Result<String, Failure> {
        let image = self.running(name).map(|container| &container.image);
        if image.is_some_and(|image| self.short_lived.contains(image)) {
            return refuse(format!("{name} exited with code 1"));
        }
        self.await_healthy(name, asked)
    }
}
