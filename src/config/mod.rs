//! Text to Playbook and Inventory: every problem in one run, each with file, line and caret. Deliberately absent: reading files.
mod types;

pub use types::{
    EnvPrefix, HealthCheck, HostKeyPolicy, Ingress, Inventory, Keep, Mesh, NginxSettings, OnFailure, Playbook, Proxy, Rollout, Server,
    Service, Strategy, Volume,
};
