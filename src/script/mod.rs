//! Shell text that changes a server, and the one quoting function it all goes through. Deliberately absent: running it.
mod action;
mod canary;
mod commands;
pub mod docker;
mod frame;
mod hook;
pub mod layout;
mod lease;
pub mod nginx;
pub mod quote;
pub mod revert;
mod watch;

pub use action::{BodyError, body};
pub use canary::{CanaryCounts, count_canary, forget_canary, read_canary_counts};
pub use commands::commands;
pub use frame::{Frame, Heard, Sound, Verdict};
pub use hook::HOOK_ROLE;
pub use lease::{Claim, fence, lease, lease_end, lease_sight, lease_unused};
pub use watch::{
    ContainerSight, command_probe, connect_probe, engine_version, last_words, read_last_words, read_sight, secrets_given, watch,
};

/// What every piece of a script needs to know about its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptContext {
    /// The docker command, such as `docker`, `podman` or `sudo docker`.
    pub docker: String,
    /// Where Flipside keeps its files: absolute, without a slash at the end.
    pub remote_root: String,
}

impl ScriptContext {
    /// The docker command as quoted words.
    fn docker_words(&self) -> String {
        crate::docker::Command::new(&self.docker).0.iter().map(|word| quote::quote(word)).collect::<Vec<_>>().join(" ")
    }
}
