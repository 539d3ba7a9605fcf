//! One server in memory: what it is, what it is seen to be, and every action by its meaning. Deliberately absent: shell, time, and
//! everything that only a fleet can see (another server's containers).
use super::secrets::SecretFolders;
use super::{refuse, seen};
use crate::facts::{ContainerFact, ContainerState, Facts, ListenerFact, NginxFact, PublishedFact, digest};
use crate::model::{Action, Backend, Failure, GenerationId, Labels, ServiceName};
use crate::script::layout::{BOOTSTRAP, HOST_DOOR, NGINX_CONTAINER};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The files of a generation, by path. Fleets are copied all the time, and these rarely change.
pub type Files = Arc<BTreeMap<String, String>>;

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeServer {
    /// What does not follow from the rest: name, user, disk, routes, and listeners of programs outside of docker.
    pub base: Facts,
    /// All generations on disk with their files, the oldest first.
    pub releases: Vec<(GenerationId, Files)>,
    /// The copy of each generation, as it was staged.
    pub sealed: BTreeMap<GenerationId, Files>,
    /// The generation that NGINX serves, where it differs from the files on disk.
    pub serves_other: Option<GenerationId>,
    /// What old workers of its NGINX may still have requests at: it was routed once, and nobody has waited for them since.
    pub lingering: BTreeSet<(ServiceName, Backend)>,
    /// Images that no registry has.
    pub unavailable: BTreeSet<String>,
    /// Images whose containers never answer.
    pub unhealthy: BTreeSet<String>,
    /// Images whose containers listen nowhere but at their own port.
    pub deaf: BTreeSet<String>,
    /// Images whose containers answer at first, and fail while they are watched.
    pub short_lived: BTreeSet<String>,
    /// The ports on loopback that each door was told to open, by the door's container id.
    pub(super) door_ports: BTreeMap<String, BTreeSet<u16>>,
    pub(super) n_containers: u32,
    /// The generations that the armed revert may be put back from.
    pub(super) reverts: Vec<GenerationId>,
    pub(super) n_reverts: u32,
    pub(super) secrets: SecretFolders,
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
            volumes: Some(BTreeSet::new()),
            listeners: Vec::new(),
            routes: vec!["10.0.0.0/24".to_owned()],
            nginx: NginxFact::default(),
            lease: None,
            revert: None,
            secrets: BTreeMap::new(),
        };
        FakeServer {
            base,
            releases: Vec::new(),
            sealed: BTreeMap::new(),
            serves_other: None,
            lingering: BTreeSet::new(),
            unavailable: BTreeSet::new(),
            unhealthy: BTreeSet::new(),
            deaf: BTreeSet::new(),
            short_lived: BTreeSet::new(),
            door_ports: BTreeMap::new(),
            n_containers: 0,
            reverts: Vec::new(),
            n_reverts: 0,
            secrets: SecretFolders::default(),
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
        let copy = live.as_ref().and_then(|live| self.sealed.get(live)).filter(|copy| ***copy != facts.nginx.files);
        facts.nginx.sealed = copy.map(|copy| (**copy).clone()).unwrap_or_default();
        let served = facts.nginx.served.as_ref().filter(|served| served.0 != BOOTSTRAP);
        let other = served.or(facts.nginx.recorded.first()).filter(|other| live.as_ref() != Some(*other));
        let other = other.and_then(|other| self.sealed.get(other).map(|files| &**files).or(self.files(other)));
        facts.nginx.other = other.cloned().unwrap_or_default();
        facts.nginx.generations = self.releases.iter().map(|(id, _)| id.clone()).collect();
        facts.nginx.generations.sort();
        facts.secrets = self.proofs();
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
            Action::PutSecrets { folder, names, .. } => self.put_secrets(folder, names),
            Action::RemoveSecrets { folder } => self.remove_secrets(folder),
            Action::EnsureNetwork(spec) => self.ensure_network(spec),
            Action::RemoveNetwork { name } => self.remove_network(name),
            Action::ConnectNetwork { network, container, .. } => self.connect_network(network, container),
            Action::PullImage { image } => self.pull(image),
            Action::RunContainer(spec) => self.run(spec),
            Action::SetAside { name, to, release, .. } => self.set_aside(name, to, release.as_deref()),
            Action::RenameContainer { from, to } => self.rename(from, to),
            Action::StartContainer { name } => self.start(name),
            Action::StopContainer { name, .. } => self.stop(name),
            Action::StopAdopted { container, .. } => self.stop_adopted(container),
            Action::StartAdopted { container } => self.start_adopted(container),
            Action::RemoveContainer { name, .. } => {
                self.base.containers.retain(|container| container.name != *name || container.labels.is_empty());
                seen("removed")
            }
            Action::AwaitHealthy { container, probe, .. } => self.await_healthy(container, &probe.kind),
            Action::JudgeCanary(check) => self.judge_canary(check),
            Action::StayHealthy { container, probe, .. } => self.stay_healthy(container, &probe.kind),
            Action::BootNginx { generation, files } => {
                if self.base.nginx.live.is_none() {
                    self.releases.push((generation.clone(), Arc::new(files.clone())));
                    self.base.nginx.live = Some(generation.clone());
                }
                seen("bootstrap written")
            }
            Action::ReloadDoor { container } => self.reload_door(container),
            Action::AwaitDoor { container } => self.await_door(container),
            Action::StageNginx { generation, base, files, remove, listeners } => {
                self.stage(generation, base.as_ref(), files, remove, listeners)
            }
            Action::RestoreGeneration { generation } => self.restore_generation(generation),
            Action::DropGeneration { generation } => {
                if self.base.nginx.live.as_ref() == Some(generation) {
                    return refuse(format!("generation {generation} is live: it is not removed"));
                }
                self.releases.retain(|(id, _)| id != generation);
                self.sealed.remove(generation);
                seen("not there")
            }
            Action::Switch { expect, to } => self.switch(expect.as_ref(), to),
            Action::SwitchBack { from, to } => match &self.base.nginx.live {
                Some(live) if live == from => self.switch(Some(from), to),
                Some(_) | None => seen("something else is live, and was left alone"),
            },
            Action::ArmRevert { back, to, .. } => self.arm(back, to),
            Action::ConfirmSwitch { to } => self.confirm(to),
            Action::DisarmRevert => {
                self.base.revert = None;
                seen("disarmed")
            }
            Action::CheckRoute(check) => self.check_route(check),
            Action::Drain { backends, .. } => self.drain(backends),
            Action::Pause { .. } => seen("it is over"),
            Action::Hook(hook) => self.run_hook(&hook.place),
            Action::PruneGenerations { keep, .. } => {
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
            restart: String::new(),
            memory: 0,
            mounts: BTreeMap::new(),
            started: None,
            written: BTreeMap::new(),
            restart_limit: 0,
            auto_remove: false,
            variables: Vec::new(),
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
        self.releases.iter().find(|(id, _)| id == generation).map(|(_, files)| &**files)
    }

    /// What docker and the host's door listen on in the server's own namespace.
    pub(super) fn bound(&self) -> Vec<ListenerFact> {
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

    pub(super) fn put_file(&mut self, path: &str, content: &str) -> Result<String, Failure> {
        if let Some((folder, name)) = path.rsplit_once('/')
            && folder.ends_with("/doors")
        {
            self.base.nginx.doors.insert(name.to_owned(), content.to_owned());
        }
        seen("written")
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
    format!("sha256:{:04}", crate::model::fold_hash(image))
}

/// Docker's default tag.
pub(super) fn tagged(image: &str) -> String {
    if image.contains('@') || image.rsplit('/').next().is_some_and(|last| last.contains(':')) {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}
