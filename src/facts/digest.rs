//! Whether a server is still what a plan was made from. Deliberately absent: what changes by itself (clock, disk, listeners).
use super::types::{ContainerState, Facts};
use crate::model::{EnvName, ProjectName, label};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// 16 hex digits of the SHA-256 of what a plan for this project relies on: its containers with their states, its network, the live NGINX
/// generation with its files, and a revert that is armed. A container that keeps exiting runs and waits by turns: both count as the same.
/// Another project's containers do not count; its NGINX files do, since a generation holds them all.
#[must_use]
pub fn digest(facts: &Facts, project: &ProjectName, env: &EnvName) -> String {
    let mut lines: Vec<String> = facts
        .containers
        .iter()
        .filter(|container| {
            let has = |key: &str, value: &str| container.labels.get(key).is_some_and(|found| found == value);
            (has(label::PROJECT, project.as_str()) && has(label::ENV, env.as_str())) || container.labels.contains_key(label::MESH)
        })
        .map(|container| format!("container {} {} {}", container.id, container.name, word(container.state)))
        .collect();
    lines.extend(
        facts
            .networks
            .iter()
            .filter(|network| network.name.ends_with("_network"))
            .map(|network| format!("network {} {:?}", network.name, network.subnets)),
    );
    let (live, served) = (facts.nginx.live.as_ref(), facts.nginx.served.as_ref());
    lines.push(format!("nginx {live:?} {:?}", served.filter(|served| live != Some(*served))));
    lines.extend(facts.nginx.files.iter().map(|(path, text)| format!("file {path} {:?}", Sha256::digest(text.as_bytes()))));
    lines.extend(facts.revert.iter().filter(|revert| revert.state.is_armed()).map(|revert| format!("revert {}", revert.text)));
    lines.sort();
    Sha256::digest(lines.join("\n").as_bytes()).iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
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
