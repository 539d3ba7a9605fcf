//! How NGINX spreads requests over the backends of one service, and when it gives one up. Deliberately absent: which backends there are.
use super::checks::ActiveChecks;
use super::time::Millis;
use serde::{Deserialize, Serialize};

/// The settings of one upstream. The default is what a file without any of them says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Upstream {
    /// Which backend the next request goes to. None: the one with the fewest connections; for datagrams, one after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// So many failures within `fail_timeout` take a backend out, for as long; 0: never. NGINX never takes the only one out.
    pub max_fails: u32,
    /// See `max_fails`. At least 1 s; NGINX is told whole seconds, rounded up.
    pub fail_timeout: Millis,
    /// How many backends one request or connection is tried on. At least 1.
    pub tries: u32,
    /// No other backend is tried after this time.
    pub tries_timeout: Millis,
    /// A copy that comes back gets its share step by step over this time. NGINX Plus alone has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Millis>,
    /// NGINX itself checks the backends. NGINX Plus alone does; elsewhere `flipside watch` does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks: Option<ActiveChecks>,
}

/// Which backend the next request goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest connections.
    LeastConn,
    /// By the client's address: over http by the first three numbers of an IPv4 address, as NGINX does it; else by the whole address.
    IpHash,
    /// By a text with NGINX variables, `$request_uri`; consistent (ketama): one backend more or less moves few keys.
    Hash(String),
    /// Of two chosen at random, the one with fewer connections: for many NGINX that do not know of each other's connections.
    RandomTwo,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            method: None,
            max_fails: 3,
            fail_timeout: Millis::seconds(2),
            tries: 2,
            tries_timeout: Millis::seconds(5),
            slow_start: None,
            checks: None,
        }
    }
}

impl Method {
    /// The word that a playbook has for it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Method::RoundRobin => "round_robin",
            Method::LeastConn => "least_conn",
            Method::IpHash => "ip_hash",
            Method::Hash(_) => "hash",
            Method::RandomTwo => "random_two",
        }
    }

    /// NGINX can keep backends in reserve with it. With the others it refuses `backup`: a key, or chance, leads to any of them.
    #[must_use]
    pub fn has_backups(&self) -> bool {
        match self {
            Method::RoundRobin | Method::LeastConn => true,
            Method::IpHash | Method::Hash(_) | Method::RandomTwo => false,
        }
    }
}
