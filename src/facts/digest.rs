//! Whether a server is still what a plan was made from. Deliberately absent: what changes by itself (clock, disk, listeners).
use super::types::{ContainerFact, ContainerState, Facts, RevertFact};
use crate::model::{EnvName, GenerationId, ProjectName, label};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a plan relies on, of a server's facts.
pub(super) struct Relied<'a> {
    pub(super) containers: &'a [ContainerFact],
    /// The names of all networks.
    pub(super) networks: Vec<&'a str>,
    pub(super) live: Option<&'a GenerationId>,
    pub(super) served: Option<&'a GenerationId>,
    pub(super) files: &'a BTreeMap<String, String>,
    pub(super) revert: Option<&'a RevertFact>,
}

/// 16 hex digits of the SHA-256 of what a plan for this project relies on: its containers with their states, the networks of projects by
/// name, the live NGINX generation with its files, and a revert that is armed. A container that keeps exiting runs and waits by turns: both
/// count as the same. Another project's containers do not count; its NGINX files do, since a generation holds them all.
#[must_use]
pub fn digest(facts: &Facts, project: &ProjectName, env: &EnvName) -> String {
    let relied = Relied {
        containers: &facts.containers,
        networks: facts.networks.iter().map(|network| network.name.as_str()).collect(),
        live: facts.nginx.live.as_ref(),
        served: facts.nginx.served.as_ref(),
        files: &facts.nginx.files,
        revert: facts.revert.as_ref(),
    };
    relied.digest(project, env)
}

impl Relied<'_> {
    pub(super) fn digest(&self, project: &ProjectName, env: &EnvName) -> String {
        let is_ours = |container: &&ContainerFact| {
            let has = |key: &str, value: &str| container.labels.get(key).is_some_and(|found| found == value);
            (has(label::PROJECT, project.as_str()) && has(label::ENV, env.as_str())) || container.labels.contains_key(label::MESH)
        };
        let containers = self.containers.iter().filter(is_ours);
        let mut lines: Vec<String> =
            containers.map(|container| format!("container {} {} {}", container.id, container.name, word(container.state))).collect();
        let networks = self.networks.iter().filter(|name| name.ends_with("_network"));
        lines.extend(networks.map(|name| format!("network {name}")));
        lines.push(format!("nginx {:?} {:?}", self.live, self.served.filter(|served| self.live != Some(*served))));
        lines.extend(self.files.iter().map(|(path, text)| format!("file {path} {:?}", Sha256::digest(text.as_bytes()))));
        lines.extend(self.revert.filter(|revert| revert.state.is_armed()).map(|revert| format!("revert {}", revert.text)));
        lines.sort();
        Sha256::digest(lines.join("\n").as_bytes()).iter().take(8).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

fn word(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Running | ContainerState::Restarting => "Running",
        ContainerState::Created => "Created",
        ContainerState::Paused => "Paused",
        ContainerState::Removing => "Removing",
        ContainerState::Exited => "Exited",
        ContainerState::Dead => "Dead",
    }
}
