//! What a playbook and an inventory say, after environments are merged, defaults are filled in and names are checked.
use super::adopt::Adopt;
use super::canary::Canary;
use super::hooks::Hook;
use super::proxy::Proxy;
use super::rolling::{Rolling, is_warm_time, warm_time};
use crate::model::{ActiveChecks, EnvName, HookPoint, Millis, ProjectName, Protocol, SecretName, ServerName, ServiceName, Upstream, Zone};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// What to deploy, for one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Playbook {
    /// The project.
    pub project: ProjectName,
    /// The environment that was merged in.
    pub env: EnvName,
    /// Free text; recorded on containers.
    pub version: String,
    /// How the fleet is rolled out.
    pub rollout: Rollout,
    /// The services, by name.
    pub services: BTreeMap<ServiceName, Service>,
    /// Where the values of secrets come from. One that is not here is a file beside the playbook.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<SecretName, SecretSource>,
    /// The texts of the files that `proxy` of a service names, by their path there. Whoever reads files fills them in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pages: BTreeMap<String, String>,
    /// Commands at fixed moments of a run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: BTreeMap<HookPoint, Vec<Hook>>,
}

/// Where the value of a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// A file on the workstation. `~` is the home directory; a relative path is relative to the playbook.
    File(String),
    /// An environment variable of whoever runs Flipside.
    Env(String),
    /// What a command prints on the workstation.
    Command(Vec<String>),
}

/// How the fleet is rolled out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// In which order servers are switched. Default: all at once.
    pub strategy: Strategy,
    /// Of a rolling one: how.
    #[serde(default, skip_serializing_if = "Rolling::is_default")]
    pub rolling: Rolling,
    /// What tries a release first, where `strategy` is `canary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// What happens when a step fails.
    pub on_failure: OnFailure,
    /// How long in-flight requests may take. Default 30 s.
    pub drain_timeout: Millis,
    /// SIGTERM to SIGKILL. Default 30 s.
    pub stop_timeout: Millis,
    /// The old side afterwards. Default: stopped.
    pub keep: Keep,
    /// How long the new containers must stay healthy after the switch, before the old side goes. Default 0: they are not watched.
    #[serde(default, skip_serializing_if = "is_no_time")]
    pub min_healthy_time: Millis,
    /// How long one that is kept warm runs, from the beginning of the run that left it. Default 1 h.
    #[serde(default = "warm_time", skip_serializing_if = "is_warm_time")]
    pub warm_time: Millis,
    /// So many servers may be left behind because they cannot be reached. Default 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_unreachable: u32,
}

/// In which order servers are switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Every server in the same wave.
    AllAtOnce,
    /// One batch of servers after the other.
    Rolling,
    /// A part of the traffic first, and every server in the same wave after that.
    Canary,
}

/// What happens when a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Put the whole fleet back.
    #[default]
    Rollback,
    /// Leave everything as it is, until somebody goes on or puts it back.
    Hold,
}

impl OnFailure {
    /// The default.
    #[must_use]
    pub fn is_rollback(&self) -> bool {
        *self == OnFailure::Rollback
    }
}

/// What becomes of the old side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Stopped, ready to be started by `rollback`.
    Stopped,
    /// Running for `warm_time`, ready to be switched to by `rollback`.
    Warm,
    /// Removed: no rollback without a deploy.
    Removed,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The image reference.
    pub image: String,
    /// Arguments after the image.
    pub command: Vec<String>,
    /// The container's own port. A service without one is a worker: no upstream, no health port.
    pub port: Option<u16>,
    /// What it speaks. Default tcp.
    pub protocol: Protocol,
    /// On how many servers. Default 1. Ignored where `servers` or `tags` name them.
    pub servers_count: u32,
    /// Only servers of this zone.
    pub server_zone: Option<Zone>,
    /// Exactly these servers.
    pub servers: Vec<ServerName>,
    /// Every server that has one of these tags.
    pub tags: Vec<String>,
    /// Copies on one server. Default 1.
    pub replicas: u32,
    /// Services that this one reaches, with the prefix of their environment variables.
    pub uses: BTreeMap<ServiceName, EnvPrefix>,
    /// Plain environment.
    pub env: BTreeMap<String, String>,
    /// Volumes.
    pub volumes: Vec<Volume>,
    /// How the app reaches the mesh. Default: a door.
    pub mesh: Mesh,
    /// How a new container proves itself.
    pub health_check: HealthCheck,
    /// Public hosts, for http services and those with an app port.
    pub proxy: Option<Proxy>,
    /// How requests are spread over its copies.
    #[serde(default, skip_serializing_if = "is_default")]
    pub balance: Balance,
    /// Pins the base port, 1024..=22767.
    pub host_port: Option<u16>,
    /// Pins the internal port, 1024..=32767.
    pub internal_port: Option<u16>,
    /// The data can take two writers: volumes do not force a handover.
    pub overlap: bool,
    /// Never two at once (workers, schedulers): handed over like a volume.
    pub singleton: bool,
    /// Containers in its project's network reach it as `SERVICE:PORT`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alias: bool,
    /// Files in `/run/secrets` of its containers.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub secrets: BTreeSet<SecretName>,
    /// The user id that may read them. Default: that of the image's user, where it is a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets_owner: Option<u32>,
    /// The fewest copies, on servers that are reached, with which servers may be left behind. Default 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub min_healthy: u32,
    /// The containers that it takes the place of.
    #[serde(default, skip_serializing_if = "Adopt::is_empty")]
    pub adopt: Adopt,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_one(number: &u32) -> bool {
    *number == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_no_time(time: &Millis) -> bool {
    time.0 == 0
}

fn is_default(balance: &Balance) -> bool {
    *balance == Balance::default()
}

impl Service {
    /// Two containers of this service must never run at once.
    #[must_use]
    pub fn hands_over(&self) -> bool {
        self.singleton || (!self.overlap && self.volumes.iter().any(|volume| !volume.read_only))
    }
}

/// The prefix of a used service's variables: `POSTGRES` gives `POSTGRES_HOST` and `POSTGRES_PORT`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EnvPrefix(pub String);

/// `source:target[:ro]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Volume {
    /// A named volume, or an absolute path on the server. A named volume gets `{project}_{env}_` before it.
    pub source: String,
    /// An absolute path in the container.
    pub target: String,
    /// Mounted read-only.
    pub read_only: bool,
    /// The volume has exactly this name, and was made by somebody else: it must be there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub external: bool,
}

/// How an app reaches the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mesh {
    /// `localhost:INTERNAL_PORT`, through a door that owns the namespace.
    Door,
    /// `mesh:INTERNAL_PORT` on the project network, no door.
    Network,
}

/// How a new container proves itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// For http: the path. Given for an http service only. Default: none, a TCP connect.
    pub path: Option<String>,
    /// A shell command in the container, instead of a request.
    pub command: Option<String>,
    /// A container that exits in this time may be started again by the engine; afterwards that fails the deploy. Default 0 s.
    pub start_period: Millis,
    /// Between two probes. Default 1 s.
    pub interval: Millis,
    /// For one answer. Default 5 s.
    pub timeout: Millis,
    /// Passes in a row that count as healthy. Default 3.
    pub retries: u32,
    /// In all. Default 60 s.
    pub deadline: Millis,
}

/// How requests are spread over a service's copies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Balance {
    /// Which copies take requests while all are well.
    pub takes: Takes,
    /// Whether a server's NGINX goes to copies in its own zone first.
    pub zone_routing: ZoneRouting,
    /// How NGINX chooses among them.
    pub upstream: Upstream,
    /// Copies are checked while they serve, by `flipside watch` or by NGINX Plus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_checks: Option<ActiveChecks>,
}

/// Which copies take requests while all are well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Takes {
    /// `strategy = "active-active"`: all of them.
    #[default]
    All,
    /// `strategy = "active-passive"`: so many, the same ones for every NGINX; the others wait until none of these answers.
    First(u32),
}

/// Whether a server's NGINX goes to copies in its own zone first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZoneRouting {
    /// Those of other zones wait until none of its own zone answers.
    #[default]
    Local,
    /// All are alike.
    Global,
}

/// The servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The servers, by name.
    pub servers: BTreeMap<ServerName, Server>,
    /// The NGINX of every server.
    pub nginx: NginxSettings,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Where SSH connects: a name, an IP, or `local` for this machine without SSH.
    pub address: String,
    /// Where its backends are reached by the other servers. Default: `address`, where that is an IPv4 address.
    pub private_address: Option<Ipv4Addr>,
    /// Allow a `private_address` that is public. Default false.
    pub allow_public_backends: bool,
    /// Its location.
    pub zone: Option<Zone>,
    /// Free words for placement.
    pub tags: Vec<String>,
    /// The SSH port. Default 22.
    pub port: u16,
    /// The SSH user. Default: the user who runs Flipside.
    pub user: Option<String>,
    /// Private keys, in the order they are offered. `~` is the home directory; a relative path is relative to the inventory file.
    pub identity_files: Vec<String>,
    /// Name of another server of the inventory, or `[user@]host[:port]`, through which this one is reached.
    pub jump: Option<String>,
    /// Become root by `sudo -n`. Default false.
    pub sudo: bool,
    /// The docker command. Default `docker`.
    pub docker: String,
    /// Where Flipside keeps its files. Default `/local`.
    pub remote_root: String,
    /// What happens when a host key is not known. Default strict.
    pub host_key: HostKeyPolicy,
    /// A known_hosts file instead of the user's and the system's.
    pub known_hosts: Option<String>,
}

/// What happens when a host key is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostKeyPolicy {
    /// Refuse an unknown key and a changed one.
    Strict,
    /// Record an unknown key, refuse a changed one.
    AcceptNew,
    /// Accept everything. Only for machines that are thrown away.
    Off,
}

/// The NGINX of every server: `[nginx]` in the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NginxSettings {
    /// The image, 1.28 or newer. Default `nginx:stable`.
    pub image: String,
    /// Whether ports 80 and 443 are published when NGINX is set up.
    pub ingress: Ingress,
    /// Only servers with one of these tags serve public hosts. Empty: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edge: Vec<String>,
    /// Load balancers in front, addresses and networks, whose word is taken for who a client is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<String>,
    /// The image is NGINX Plus, which has active checks and a slow start of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plus: bool,
}

/// Whether a server's NGINX is reachable from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ingress {
    /// 80 and 443 on every address, where they are free.
    Public,
    /// 80 and 443 on the private address alone.
    Private,
    /// Not published.
    Off,
}
