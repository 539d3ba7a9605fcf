//! Bytes over SSH: a [`Target`] says how a server is reached, a [`Connector`] reaches it, a [`Connection`] runs scripts and opens
//! tunnels. Deliberately absent: actions, facts, leases, and anything that knows what a deploy is.
mod connect;
mod connection;
mod error;
mod guard;
mod identity;
mod inbox;
mod known_hosts;
mod lines;
mod login;
mod process;
mod session;
mod ssh_config;
mod target;
mod trust;
mod tunnel;
mod wire;

pub use connect::{ConnectOptions, Connector};
pub use connection::{Connection, Held, ScriptEnd};
pub use error::{At, ChannelError, ConnectError, Lost, NoKeyAtAll, TunnelError};
pub use identity::Passphrase;
pub use known_hosts::Place;
pub use ssh_config::SshSettings;
pub use target::{Hop, HostKey, Reach, Surroundings, Target, TargetError};
pub use tunnel::Tunnel;
