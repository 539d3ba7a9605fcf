//! Text to Playbook and Inventory: every problem in one run, each with file, line and caret. Deliberately absent: reading files.
mod types;

mod json;
mod node;
mod problem;
mod toml;

mod keys;
mod naming;
mod snippet;
mod values;
mod walk;

mod adopt;
mod balance;
mod canary;
mod checks;
mod environment;
mod hooks;
mod playbook;
mod proxy;
mod reach;
mod rolling;
mod secrets;
mod service;

mod cross;
mod graph;

mod inventory;
mod server;

mod starter;

pub use adopt::Adopt;
pub use canary::{Canary, Promote};
pub use hooks::{Hook, HookOn};
pub use inventory::read_inventory;
pub use playbook::read_playbook;
pub use problem::{Place, Problem, Problems};
pub use proxy::{Proxy, ProxyTls};
pub use rolling::{Amount, Rolling};
pub use snippet::hides_requests;
pub use starter::{starter_inventory, starter_playbook};
pub use types::{
    Balance, EnvPrefix, HealthCheck, HostKeyPolicy, Ingress, Inventory, Keep, Mesh, NginxSettings, OnFailure, Playbook, Rollout,
    SecretSource, Server, Service, Strategy, Takes, Volume, ZoneRouting,
};
pub use values::duration;
