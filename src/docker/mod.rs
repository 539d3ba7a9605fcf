//! Typed docker commands: builders that return commands. Deliberately absent: running them, quoting them, and any shell text.
mod commands;
mod run;

pub use commands::{
    connect_network, create_network, disconnect_network, inspect_container, inspect_image, inspect_network, list_containers, pull, remove,
    remove_network, rename, start, stop, update_restart,
};
pub use run::{run, run_once};

/// One command as its words: what `execve` would get, before any quoting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command(pub Vec<String>);

impl Command {
    /// The first words: `docker`, `podman` or `sudo docker`, split on blanks. Empty text means `docker`.
    #[must_use]
    pub fn new(docker: &str) -> Self {
        let words: Vec<String> = docker.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() { Self(vec!["docker".to_owned()]) } else { Self(words) }
    }

    /// The command with one more word.
    #[must_use]
    pub fn word(mut self, word: impl Into<String>) -> Self {
        self.0.push(word.into());
        self
    }

    /// The command with an option and its value, as two words.
    #[must_use]
    pub fn option(self, name: &str, value: impl Into<String>) -> Self {
        self.word(name).word(value)
    }
}

/// The engine is podman, which knows other log drivers than docker.
fn is_podman(docker: &str) -> bool {
    docker.split_whitespace().next_back().is_some_and(|word| word.rsplit('/').next() == Some("podman"))
}
