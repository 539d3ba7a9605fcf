//! What NGINX is given and asked: backends, listeners, when a side counts as drained. Deliberately absent: how its files say so.
use super::action::ProbeKind;
use super::time::Millis;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// One backend as NGINX sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// By name in the project network, on the same server.
    Container {
        /// The DNS name.
        name: String,
        /// Its fixed address in the project network.
        address: Ipv4Addr,
        /// The container's own port.
        port: u16,
    },
    /// By a server's private address and a published port.
    Address {
        /// The private address.
        address: Ipv4Addr,
        /// The host port.
        port: u16,
    },
}

impl Backend {
    /// The address and port that a socket from NGINX to this backend shows.
    #[must_use]
    pub fn socket(&self) -> (Ipv4Addr, u16) {
        match self {
            Backend::Container { address, port, .. } | Backend::Address { address, port } => (*address, *port),
        }
    }

    /// Another port of the same container or server.
    #[must_use]
    pub fn at(&self, port: u16) -> Backend {
        match self {
            Backend::Container { name, address, .. } => Backend::Container { name: name.clone(), address: *address, port },
            Backend::Address { address, .. } => Backend::Address { address: *address, port },
        }
    }
}

/// When the old side counts as drained: old workers gone, or `quiet` is over and no socket is left, or `timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainPolicy {
    /// max(keepalive_min_timeout, client_header_timeout) + 0.5 s: after it no idle client can send to the old side.
    pub quiet: Millis,
    /// In-flight work may take this long; longer than `quiet`.
    pub timeout: Millis,
}

/// A request through the mesh that must reach a given side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteCheck {
    /// The service, for messages.
    pub service: String,
    /// The unix socket in NGINX's run directory, as an absolute path on the server.
    pub socket: String,
    /// The question, asked through the socket. `AppPort`, `Running` and `Command` are not used here.
    pub kind: ProbeKind,
    /// For the whole check, with repeats.
    pub deadline: Millis,
}

/// An address that a new generation will bind inside NGINX's namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StagedListener {
    /// The port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub transport: String,
}
