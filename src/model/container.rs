//! A container as it should be run: a value that `docker/` turns into one command.
use super::identity::Labels;
use super::names::SecretName;
use super::time::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// One `docker run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// The container's name.
    pub name: String,
    /// The image reference, pulled beforehand.
    pub image: String,
    /// Where it is attached.
    pub network: NetworkMode,
    /// Ports on the host. Empty in single-server mode.
    pub publish: Vec<Publish>,
    /// Plain environment. Never a secret.
    pub env: BTreeMap<String, String>,
    /// Labels.
    pub labels: Labels,
    /// `source:target[:options]`, as docker takes them.
    pub volumes: Vec<String>,
    /// Files of secrets on the server, by the name that they have in `/run/secrets`. Mounted read-only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<SecretName, String>,
    /// Replaces the image's entrypoint when given.
    pub entrypoint: Option<String>,
    /// Arguments after the image.
    pub command: Vec<String>,
    /// `unless-stopped` for apps, `always` for the mesh.
    pub restart: String,
    /// The signal that `docker stop` sends, where the image's own will not do.
    pub stop_signal: Option<String>,
    /// SIGTERM to SIGKILL.
    pub stop_timeout: Millis,
}

/// Where a container is attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// On a project network, with a fixed address where one is given.
    Bridge {
        /// The network's name.
        network: String,
        /// `docker run --ip`.
        ip: Option<Ipv4Addr>,
        /// Further names in the network's DNS.
        aliases: Vec<String>,
    },
    /// Inside another container's network namespace (its door's).
    Container {
        /// The owner of the namespace.
        name: String,
    },
    /// The server's own namespace.
    Host,
}

/// One published port: always on one address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Publish {
    /// The address on the server. Never a wildcard for a service; the ingress says `0.0.0.0` explicitly.
    pub address: Ipv4Addr,
    /// The port on the server.
    pub host_port: u16,
    /// The port in the container.
    pub container_port: u16,
    /// `tcp` or `udp`.
    pub transport: String,
}
