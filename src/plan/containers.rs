//! The containers of one replica of one side: the app, and where it uses other services the door whose namespace it joins.
use super::secrets;
use super::target::{Desired, Replica};
use crate::config::{Mesh, Playbook, Service, Volume};
use crate::model::{
    BackendMode, ContainerSpec, Labels, NetworkMode, Protocol, Publish, SecretName, ServiceName, Side, container_name, door_name, label,
    network_name, secondary_port,
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::Ipv4Addr;

/// SHA-256 of the value's JSON, the first 16 hex digits.
#[must_use]
pub(super) fn digest<T: Serialize>(value: &T) -> String {
    let json = serde_json::to_vec(value).unwrap_or_default();
    Sha256::digest(&json).iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Everything that makes a container differ from another, apart from what its side and its server decide.
#[derive(Serialize)]
struct Essence<'a> {
    image: &'a str,
    command: &'a [String],
    env: &'a BTreeMap<String, String>,
    volumes: &'a [Volume],
    port: Option<u16>,
    mesh: Mesh,
    doors: Vec<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    udp_doors: Vec<u16>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    udp: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    grpc: bool,
    published: Option<(BackendMode, &'a BTreeMap<u32, u16>)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_port: Option<(u16, &'a BTreeMap<u32, u16>)>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    secrets: &'a BTreeSet<SecretName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secrets_owner: Option<u32>,
}

/// The internal port of a service that is used, and what it speaks.
pub(super) type UsedPort = (u16, Protocol);

/// Base ports by replica: of the service's own port, and of the one that public hosts are served from, where that is another.
#[derive(Default)]
pub(super) struct BasePorts {
    pub(super) own: BTreeMap<u32, u16>,
    pub(super) app: BTreeMap<u32, u16>,
}

/// The digest that says whether a service's containers have to be replaced. A new version text alone does not.
#[must_use]
pub(super) fn spec_digest(
    service: &Service,
    env: &BTreeMap<String, String>,
    used_ports: &[UsedPort],
    mode: BackendMode,
    bases: &BasePorts,
) -> String {
    let ports = |are: &dyn Fn(Protocol) -> bool| -> Vec<u16> {
        let wanted = used_ports.iter().filter(|(_, protocol)| has_door(service) && are(*protocol));
        wanted.map(|(port, _)| *port).collect()
    };
    let published = |bases| match mode {
        BackendMode::SingleServer => &EMPTY,
        BackendMode::MultiServer => bases,
    };
    digest(&Essence {
        image: &service.image,
        command: &service.command,
        env,
        volumes: &service.volumes,
        port: service.port,
        mesh: service.mesh,
        doors: ports(&|_| true),
        udp_doors: ports(&|protocol| protocol == Protocol::Udp),
        udp: service.port.is_some() && service.protocol == Protocol::Udp,
        grpc: speaks_grpc(service),
        published: service.port.map(|_| (mode, published(&bases.own))),
        app_port: service.app_port().map(|port| (port, published(&bases.app))),
        secrets: &service.secrets,
        secrets_owner: service.secrets_owner,
    })
}

static EMPTY: BTreeMap<u32, u16> = BTreeMap::new();

/// What is started of it now is asked by gRPC.
#[must_use]
pub(super) fn speaks_grpc(service: &Service) -> bool {
    service.port.is_some() && service.proxy.as_ref().is_some_and(|proxy| proxy.front.grpc)
}

/// The service reaches the mesh at `localhost`, from inside its own namespace.
#[must_use]
pub(super) fn has_door(service: &Service) -> bool {
    !service.uses.is_empty() && service.mesh == Mesh::Door
}

/// The environment of the app: its own, and host and port of what it uses.
#[must_use]
pub(super) fn environment(service: &Service, internal_ports: &BTreeMap<ServiceName, u16>) -> BTreeMap<String, String> {
    let host = match service.mesh {
        Mesh::Door => "localhost",
        Mesh::Network => "mesh",
    };
    let mut env = service.env.clone();
    for (used, prefix) in &service.uses {
        if let Some(port) = internal_ports.get(used) {
            env.insert(format!("{}_HOST", prefix.0), host.to_owned());
            env.insert(format!("{}_PORT", prefix.0), port.to_string());
        }
    }
    env
}

/// Variables of every app's container: its name, its service, its version.
pub(super) const SET_BY_US: [&str; 3] = ["FLIPSIDE_CONTAINER", "FLIPSIDE_SERVICE", "FLIPSIDE_VERSION"];

/// What a replica's two containers have in common.
pub(super) struct Place<'a> {
    /// The playbook.
    pub playbook: &'a Playbook,
    /// The service as it should be.
    pub desired: &'a Desired<'a>,
    /// Which copy.
    pub replica: &'a Replica,
    /// Which side.
    pub side: Side,
    /// The replica's fixed address in the project network of this server.
    pub address: Ipv4Addr,
    /// The server's private address, in multi-server mode.
    pub private_address: Option<Ipv4Addr>,
    /// Where the server keeps its files.
    pub remote_root: &'a str,
    /// The version that the containers are of.
    pub version: &'a str,
    /// The number of this deploy.
    pub release: u64,
}

impl Place<'_> {
    /// The app's name.
    #[must_use]
    pub(super) fn name(&self) -> String {
        container_name(&self.playbook.project, &self.playbook.env, self.desired.name, self.replica.number, self.side)
    }

    /// The app's container.
    #[must_use]
    pub(super) fn app(&self) -> ContainerSpec {
        let service = self.desired.service;
        let name = self.name();
        let mut env = self.desired.environment.clone();
        let values = [name.clone(), self.desired.name.to_string(), self.version.to_owned()];
        env.extend(SET_BY_US.map(str::to_owned).into_iter().zip(values));
        let joined = has_door(service);
        ContainerSpec {
            image: service.image.clone(),
            network: if joined { NetworkMode::Container { name: door_name(&name) } } else { self.network(&name) },
            publish: if joined { Vec::new() } else { self.publish() },
            env,
            labels: self.app_labels(),
            volumes: service.volumes.iter().map(|volume| self.volume(volume)).collect(),
            secrets: secrets::mounts(self.playbook, self.remote_root, self.desired, self.release),
            entrypoint: None,
            command: service.command.clone(),
            restart: "unless-stopped".to_owned(),
            stop_signal: None,
            stop_timeout: self.playbook.rollout.stop_timeout,
            name,
        }
    }

    /// Where the owner of the namespace is attached. The app's name stays resolvable when a door owns the address.
    #[must_use]
    pub(super) fn network(&self, name: &str) -> NetworkMode {
        NetworkMode::Bridge {
            network: network_name(&self.playbook.project, &self.playbook.env),
            ip: Some(self.address),
            aliases: vec![name.to_owned()],
        }
    }

    /// The ports on the owner of the namespace: on the private address alone, and only in multi-server mode.
    #[must_use]
    pub(super) fn publish(&self) -> Vec<Publish> {
        let (Some(address), Some(container_port), Some(host_port)) = (self.private_address, self.desired.service.port, self.host_port())
        else {
            return Vec::new();
        };
        let own = Publish { address, host_port, container_port, transport: self.desired.service.protocol.transport().to_owned() };
        let app = self.desired.service.app_port().zip(self.app_host_port());
        let app = app.map(|(container_port, host_port)| Publish { address, host_port, container_port, transport: "tcp".to_owned() });
        std::iter::once(own).chain(app).collect()
    }

    /// The host port of this side.
    #[must_use]
    pub(super) fn host_port(&self) -> Option<u16> {
        self.replica.base_port.map(|base| self.of_side(base))
    }

    /// The host port that this side's public hosts are served from, where it is another.
    #[must_use]
    pub(super) fn app_host_port(&self) -> Option<u16> {
        self.replica.app_base_port.map(|base| self.of_side(base))
    }

    fn of_side(&self, base: u16) -> u16 {
        match self.side {
            Side::Primary => base,
            Side::Secondary => secondary_port(base),
        }
    }

    fn app_labels(&self) -> Labels {
        let mut labels = self.labels("app");
        labels.extend(serde_json::to_string(&self.desired.service.health_check).map(|json| (label::HEALTH_CHECK.to_owned(), json)));
        labels
    }

    /// Labels of the app or the door.
    #[must_use]
    pub(super) fn labels(&self, role: &str) -> Labels {
        let mut labels = Labels::from(
            [
                (label::PROJECT, self.playbook.project.to_string()),
                (label::ENV, self.playbook.env.to_string()),
                (label::SERVICE, self.desired.name.to_string()),
                (label::SIDE, self.side.to_string()),
                (label::REPLICA, self.replica.number.to_string()),
                (label::ROLE, role.to_owned()),
                (label::VERSION, self.version.to_owned()),
                (label::SPEC, self.desired.spec.clone()),
                (label::SLOT, self.replica.slot.to_string()),
                (label::RELEASE, self.release.to_string()),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        );
        let ports = [
            (label::PORT, self.desired.service.port),
            (label::BASE_PORT, self.replica.base_port),
            (label::INTERNAL_PORT, self.desired.internal_port),
            (label::APP_PORT, self.desired.service.app_port()),
            (label::APP_BASE_PORT, self.replica.app_base_port),
        ];
        for (key, port) in ports {
            if let Some(port) = port {
                labels.insert(key.to_owned(), port.to_string());
            }
        }
        if self.desired.service.port.is_some() {
            labels.insert(label::PROTOCOL.to_owned(), self.desired.service.protocol.as_str().to_owned());
        }
        if speaks_grpc(self.desired.service) {
            labels.insert(label::GRPC.to_owned(), "true".to_owned());
        }
        if self.desired.service.singleton {
            labels.insert(label::SINGLETON.to_owned(), "true".to_owned());
        }
        labels
    }

    fn volume(&self, volume: &Volume) -> String {
        let source = source(self.playbook, volume);
        let options = if volume.read_only { ":ro" } else { "" };
        format!("{source}:{}{options}", volume.target)
    }
}

/// What of the server is mounted: the folder, or the docker volume.
#[must_use]
pub(super) fn source(playbook: &Playbook, volume: &Volume) -> String {
    if volume.source.starts_with('/') { volume.source.clone() } else { volume_name(playbook, volume) }
}

/// The docker volume of a named volume: `{project}_{env}_{source}`, or exactly the name that it has already.
#[must_use]
pub(super) fn volume_name(playbook: &Playbook, volume: &Volume) -> String {
    if volume.external {
        return volume.source.clone();
    }
    format!("{}_{}_{}", playbook.project, playbook.env, volume.source)
}
