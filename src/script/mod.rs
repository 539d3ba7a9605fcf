//! Shell text that changes a server, and the one quoting function it all goes through. Deliberately absent: running it.
pub mod docker;
pub mod layout;
pub mod nginx;
pub mod quote;

/// What every piece of a script needs to know about its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptContext {
    /// The docker command, such as `docker`, `podman` or `sudo docker`.
    pub docker: String,
    /// Where Flipside keeps its files: absolute, without a slash at the end.
    pub remote_root: String,
}
