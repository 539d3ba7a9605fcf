//! Bytes over SSH: the only room that knows russh. A [`Target`] says how a server is reached, a [`Connector`] reaches it, a
//! [`Connection`] runs scripts and opens tunnels. Deliberately absent: actions, policy, and anything that knows what a deploy is.
#![expect(clippy::result_large_err, reason = "these errors end a connection or a script; their size is of no matter, their words are")]
mod connect;
mod connection;
mod error;
mod execute;
mod guard;
mod health;
mod identity;
mod inbox;
mod known_hosts;
mod lines;
mod login;
mod perform;
mod process;
mod servers;
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
pub use perform::{Call, Remote, Update};
pub use servers::{LeaseError, Servers, SurveyError};
pub use ssh_config::SshSettings;
pub use target::{Hop, HostKey, Reach, Surroundings, Target, TargetError};
pub use tunnel::Tunnel;
