//! Active checks of the copies that take traffic: how often each is asked, and what takes it out and in again. Deliberately absent: asking.
use super::names::{ServerName, ServiceName};
use super::side::Side;
use super::time::Millis;
use serde::{Deserialize, Serialize};

/// How the copies of a service are checked while they serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveChecks {
    /// What an http service is asked: 2xx and 3xx pass. None for tcp: a connection that is not closed at once passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Between two checks of a copy. Default 5 s.
    pub interval: Millis,
    /// For one answer. Default 2 s.
    pub timeout: Millis,
    /// So many failed checks in a row take a copy out. At least 1; default 3.
    pub fails: u32,
    /// So many passed checks in a row take it in again. At least 1; default 2.
    pub passes: u32,
}

impl Default for ActiveChecks {
    fn default() -> Self {
        Self { path: None, interval: Millis::seconds(5), timeout: Millis::seconds(2), fails: 3, passes: 2 }
    }
}

/// One copy of one side of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CopyAt {
    /// The service.
    pub service: ServiceName,
    /// Where it runs.
    pub server: ServerName,
    /// Which of the copies there, from 1.
    pub replica: u32,
    /// Its side.
    pub side: Side,
}

/// Whether a copy takes the traffic that its role gives it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It does.
    #[default]
    In,
    /// It failed its active checks, and NGINX gives it nothing.
    Out,
}

impl Standing {
    /// As it is for nearly all.
    #[must_use]
    pub fn is_in(&self) -> bool {
        match self {
            Standing::In => true,
            Standing::Out => false,
        }
    }
}

/// What one check of a copy has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// It answered as it should.
    Passed,
    /// It did not: what was seen.
    Failed(String),
    /// Nobody got as far as asking it, or those who did disagree: why. It says nothing about the copy.
    Unknown(String),
}
