//! NGINX and the host's door against what hands do to them: gone, stopped, paused, made anew with other mounts, cut off from their
//! network, or with a door's file that was edited. Deliberately absent: settings of the inventory that changed since.
use super::{Remedy, Trouble};
use crate::config::Server;
use crate::facts::{ContainerFact, ContainerState, Facts};
use crate::model::{ServerName, label};
use crate::plan::prepare::{container, is_sealed};
use crate::plan::target::Repair;
use crate::script::layout::{self, HOST_DOOR, MESH_NETWORK, MOUNT, NGINX_CONTAINER};

/// The mesh containers that have to be made anew, and what was found.
pub(super) fn look(server: &ServerName, facts: &Facts, settings: &Server, repair: Repair) -> (Vec<&'static str>, Vec<Trouble>) {
    let mut replaced = Vec::new();
    let mut troubles = Vec::new();
    let door_file = facts.nginx.doors.get(&format!("{HOST_DOOR}.conf"));
    let was_set_up = facts.nginx.live.is_some();
    let nginx = container(facts, NGINX_CONTAINER);
    if was_set_up {
        troubles.extend(at_work(server, NGINX_CONTAINER, nginx, "this server's NGINX routes nothing"));
    }
    if was_set_up && door_file.is_some() {
        let door = container(facts, HOST_DOOR);
        troubles.extend(at_work(server, HOST_DOOR, door, "processes of the server itself do not reach the services"));
    }
    // A container that answers of an older version of this program say nothing of is taken for whole.
    let known = nginx.filter(|nginx| nginx.labels.contains_key(label::MESH) && !nginx.restart.is_empty());
    if let Some(nginx) = known {
        let wanted = layout::folder(&settings.remote_root);
        let mounted = nginx.mounts.get(MOUNT);
        if mounted != Some(&wanted) {
            let seen = mounted.map_or("nothing".to_owned(), |source| format!("`{source}`"));
            let text = format!("{NGINX_CONTAINER} was made anew by hand: it has {seen} mounted at {MOUNT}, and not `{wanted}`");
            troubles.push(Trouble::new(server, Remedy::Repaired, text, RENEW));
            replaced.push(NGINX_CONTAINER);
        } else if nginx.network_mode == MESH_NETWORK && !nginx.networks.contains_key(MESH_NETWORK) {
            let text = format!("{NGINX_CONTAINER} was detached from its network {MESH_NETWORK}: what it publishes may be closed");
            troubles.push(Trouble::new(server, Remedy::Told, text, RENEW));
            if repair == Repair::Yes {
                replaced.push(NGINX_CONTAINER);
            }
        }
    }
    if door_file.is_some_and(|text| !is_sealed(text)) {
        let text = format!("the file of the host's door, {HOST_DOOR}.conf, was edited by hand");
        troubles.push(Trouble::new(server, Remedy::Repaired, text, "`--repair` writes it anew; what should stay belongs into a template"));
    }
    (replaced, troubles)
}

const RENEW: &str = "`--repair` makes it anew; connections through it are cut for about a second";

/// A mesh container that is not at work is started, or made, by every run.
fn at_work(server: &ServerName, name: &str, found: Option<&ContainerFact>, so: &str) -> Option<Trouble> {
    let Some(found) = found else {
        return Some(Trouble::new(server, Remedy::Healed, format!("{name} is gone: {so}"), "the next run makes it anew"));
    };
    match found.state {
        ContainerState::Running => None,
        ContainerState::Paused => {
            let text = format!("{name} is paused: {so}");
            Some(Trouble::new(server, Remedy::Refused, text, format!("docker unpause {name}")))
        }
        ContainerState::Created | ContainerState::Restarting | ContainerState::Removing | ContainerState::Exited | ContainerState::Dead => {
            let state = format!("{:?}", found.state).to_lowercase();
            let text = format!("{name} is {state} (exit code {}): {so}", found.exit_code);
            Some(Trouble::new(server, Remedy::Healed, text, "the next run starts it"))
        }
    }
}
