//! One service as one server's NGINX sees it, and the settings of `nginx.conf`. Deliberately absent: how they become text.
use crate::model::{Backend, EnvName, Front, Millis, ProjectName, Protocol, ServerName, ServiceName, Share, Side, Standing, Upstream};
use serde::{Deserialize, Serialize};

/// One service as one server's NGINX should see it. Rendered and read back, it is the same value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshService {
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub env: EnvName,
    /// The service.
    pub service: ServiceName,
    /// What it speaks: `stream.d/` for tcp and udp, `http.d/` for http.
    pub protocol: Protocol,
    /// The port that apps connect to.
    pub internal_port: u16,
    /// The side that traffic goes to.
    pub live: Side,
    /// The live side's version, free text.
    pub version: String,
    /// Public hosts, which stand in the project's file of hosts. Only for http, and where the live side has an app port.
    pub hosts: Vec<String>,
    /// How they are served.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub front: Front,
    /// How requests are spread over the backends.
    #[serde(default, skip_serializing_if = "is_default")]
    pub upstream: Upstream,
    /// A canary: this part of the requests goes to the side that waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Share>,
    /// Container-name backends: both sides of every replica. Address backends: the live side's only. In the order they are rendered.
    pub backends: Vec<MeshBackend>,
}

fn is_usual(front: &Front) -> bool {
    *front == Front::default()
}

impl MeshService {
    /// Traffic goes to this backend of it, now or when others do not answer: while a canary is tried, to both sides.
    #[must_use]
    pub fn sends_to(&self, backend: &MeshBackend) -> bool {
        backend.takes_traffic() || self.canary.is_some()
    }

    /// Backends of this side serve the public hosts at a port of their own.
    #[must_use]
    pub fn has_app_port(&self, side: Side) -> bool {
        self.backends.iter().any(|backend| backend.side == side && backend.app_port.is_some())
    }

    /// This side is asked by gRPC at the service's own port. What is said of `grpc` is said of the app port, where there is one.
    #[must_use]
    pub(super) fn speaks_grpc(&self, side: Side) -> bool {
        self.front.grpc && !self.has_app_port(side)
    }
}

fn is_default(upstream: &Upstream) -> bool {
    *upstream == Upstream::default()
}

/// One `server` line of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshBackend {
    /// Where.
    pub backend: Backend,
    /// The port there that public hosts are served from, where it is another one: of the container where it is reached by name, of the
    /// server where it is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_port: Option<u16>,
    /// Which side's container it is.
    pub side: Side,
    /// Which replica, from 1.
    pub replica: u32,
    /// On which server.
    pub server: ServerName,
    /// What the upstream does with it.
    pub role: BackendRole,
    /// Whether it takes what its role gives it, or failed its active checks: then it is rendered as `down`.
    #[serde(default, skip_serializing_if = "Standing::is_in")]
    pub standing: Standing,
}

impl MeshBackend {
    /// Traffic goes there, now or when others do not answer.
    #[must_use]
    pub fn takes_traffic(&self) -> bool {
        self.role.takes_traffic() && self.standing.is_in()
    }

    /// Where public hosts are served from, where that is another port.
    #[must_use]
    pub fn app(&self) -> Option<Backend> {
        self.app_port.map(|port| self.backend.at(port))
    }

    /// Everywhere that NGINX may have connections to.
    pub fn reached_at(&self) -> impl Iterator<Item = Backend> {
        std::iter::once(self.backend.clone()).chain(self.app())
    }
}

/// What an upstream does with a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendRole {
    /// Traffic goes there.
    Live,
    /// Traffic goes there when no live one answers: another zone's, or one that is kept in reserve. Where a service has no live one, its
    /// backups are rendered as live.
    Backup,
    /// Listed and resolved, and given no traffic: the side that waits.
    Idle,
    /// The same; and of what a canary sends to that side, this one gets what the idle ones do not answer.
    IdleBackup,
}

impl BackendRole {
    /// It is of the side that serves: it takes traffic unless it is out ([`MeshBackend::takes_traffic`]).
    #[must_use]
    pub fn takes_traffic(self) -> bool {
        match self {
            BackendRole::Live | BackendRole::Backup => true,
            BackendRole::Idle | BackendRole::IdleBackup => false,
        }
    }

    /// The same on the side that waits.
    #[must_use]
    pub fn idle(self) -> BackendRole {
        match self {
            BackendRole::Live | BackendRole::Idle => BackendRole::Idle,
            BackendRole::Backup | BackendRole::IdleBackup => BackendRole::IdleBackup,
        }
    }
}

/// The settings of `nginx.conf`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MainSettings {
    /// Fixed, so that a reload never changes it.
    pub worker_processes: u32,
    /// Connections of one worker; a proxied one counts twice.
    pub worker_connections: u32,
    /// An idle keep-alive connection of an old worker may send one more request this long. Whole seconds.
    pub keepalive_min_timeout: Millis,
    /// A connected but silent client may begin this late. Whole seconds.
    pub client_header_timeout: Millis,
    /// After this an old worker cuts whatever it still has: a bound on leaks. Whole seconds.
    pub worker_shutdown_timeout: Millis,
    /// Addresses and networks of load balancers in front, which are believed when they say who a client is.
    #[serde(default)]
    pub trusted_proxies: Vec<String>,
}

impl Default for MainSettings {
    fn default() -> Self {
        Self {
            worker_processes: 2,
            worker_connections: 16_384,
            keepalive_min_timeout: Millis::seconds(10),
            client_header_timeout: Millis::seconds(10),
            worker_shutdown_timeout: Millis::seconds(3600),
            trusted_proxies: Vec::new(),
        }
    }
}

impl MainSettings {
    /// After this no idle client of an old worker can send to the old side any more: `quiet` of a [`crate::model::DrainPolicy`].
    #[must_use]
    pub fn quiet(&self) -> Millis {
        Millis(self.keepalive_min_timeout.max(self.client_header_timeout).seconds_ceil() * 1000 + 500)
    }
}
