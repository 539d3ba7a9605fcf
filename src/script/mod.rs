//! Shell text that changes a server, and the one quoting function it all goes through. Deliberately absent: running it.
pub mod docker;
pub mod quote;

/// What every piece of a script needs to know about its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptContext {
    /// The docker command, such as `docker`, `podman` or `sudo docker`.
    pub docker: String,
    /// Where Flipside keeps its files.
    pub remote_root: String,
}
