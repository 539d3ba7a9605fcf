//! The project's containers against what hands do to them: renamed, detached, attached, given other options, replaced by strangers.
//! Deliberately absent: stopped and removed ones, which the plan's usual work and `status` see.
use super::{Remedy, Trouble, is_up};
use crate::config::{Playbook, Service};
use crate::facts::ContainerFact;
use crate::model::{ServerName, ServiceName, Side, container_name, door_name, label};
use crate::plan::present::{Fleet, Present, PresentService, Unit, is_ours};
use crate::plan::types::{Finding, Level};

/// What a container restarts by. Doors that an older release of this program made have `always`, which is left so.
const RESTARTS: [&str; 2] = ["unless-stopped", "always"];

/// A server, the name that a container has, and the one that it gets back.
type Rename = (ServerName, String, String);

/// Containers that have another name than their labels say. One of the live side gets its name back; others are left alone.
pub(super) fn renamed(playbook: &Playbook, present: &Present<'_>, fleet: &Fleet) -> (Vec<Rename>, Vec<Trouble>) {
    let (mut renames, mut troubles) = (Vec::new(), Vec::new());
    for renamed in &present.renamed {
        let (server, name, wanted) = (&renamed.server, &renamed.container.name, &renamed.wanted);
        let taken = fleet.get(server).is_some_and(|facts| facts.containers.iter().any(|container| container.name == *wanted));
        let live = present.services.get(&renamed.service).and_then(PresentService::live);
        let hands_over = playbook.services.get(&renamed.service).is_some_and(Service::hands_over);
        let text = format!("container {name} carries the labels of {wanted}");
        let trouble = match (is_up(renamed.container), live) {
            (true, live) if !taken && live.is_none_or(|live| live == renamed.side) => {
                renames.push((server.clone(), name.clone(), wanted.clone()));
                Trouble::new(server, Remedy::Repaired, text, "it was renamed by hand: `--repair` gives it its name back")
            }
            (true, _) if hands_over => {
                let hint = format!("it must not run beside {wanted}, with which it shares what it writes: docker stop {name}");
                Trouble::new(server, Remedy::Refused, text, hint)
            }
            (true | false, _) => Trouble::new(server, Remedy::Told, text, "it was renamed by hand; it is left alone"),
        };
        troubles.push(trouble.of(&renamed.service));
    }
    (renames, troubles)
}

/// Everything else about the live side's containers, and names of ours that strangers have.
pub(super) fn look(playbook: &Playbook, present: &Present<'_>) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    for (name, service) in present.services.iter().filter(|(name, _)| playbook.services.contains_key(*name)) {
        let Some(live) = service.live() else { continue };
        for unit in service.side(live) {
            troubles.extend(of_unit(unit).into_iter().map(|trouble| trouble.of(name)));
        }
    }
    troubles
}

fn of_unit(unit: &Unit<'_>) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    let server = &unit.server;
    let told = |text: String, hint: &str| Trouble::new(server, Remedy::Told, text, hint);
    if let (Some(owner), Some(network)) = (unit.owner(), unit.network()) {
        let name = &owner.name;
        if unit.is_detached() {
            let text = format!("container {name} was detached from network {network}");
            troubles.push(Trouble::new(server, Remedy::Healed, text, "the next deploy replaces it by one that is attached"));
        }
        for other in owner.networks.keys().filter(|other| **other != network && owner.network_mode == network) {
            let text = format!("container {name} was attached to network {other} by hand");
            troubles.push(told(text, "it is left so; a container that replaces it is not attached there"));
        }
    }
    for container in [unit.app, unit.door].into_iter().flatten() {
        let name = &container.name;
        if container.memory > 0 {
            let text = format!("container {name} was given a memory limit of {} MiB by hand", container.memory >> 20);
            troubles.push(told(text, "it is left so; a container that replaces it has none"));
        }
        if !container.restart.is_empty() && !RESTARTS.contains(&container.restart.as_str()) {
            let text = format!("container {name} was given the restart policy `{}` by hand", container.restart);
            troubles.push(told(text, &format!("as it was made: docker update --restart {} {name}", RESTARTS[0])));
        }
    }
    troubles
}

/// Containers that are not this project's and have a name that its services need. They are never touched, and fatal where a name of theirs
/// is `needed`.
pub(in crate::plan) fn strangers(playbook: &Playbook, fleet: &Fleet, needed: impl Fn(&ServiceName, &ServerName) -> bool) -> Vec<Finding> {
    let (project, env) = (&playbook.project, &playbook.env);
    let mut findings = Vec::new();
    for (service, settings) in &playbook.services {
        for replica in 1..=settings.replicas {
            for side in Side::BOTH {
                let name = container_name(project, env, service, replica, side);
                let door = door_name(&name);
                let is_stranger =
                    |container: &&ContainerFact| (container.name == name || container.name == door) && !is_ours(container, project, env);
                for (server, facts) in fleet {
                    let Some(stranger) = facts.containers.iter().find(is_stranger) else { continue };
                    let of = |key: &str| stranger.labels.get(key);
                    let owner =
                        of(label::PROJECT).zip(of(label::ENV)).map_or(String::new(), |(project, env)| format!(" of {project}/{env}"));
                    let (name, image) = (&stranger.name, &stranger.image);
                    findings.push(Finding {
                        level: if needed(service, server) { Level::Fatal } else { Level::Warning },
                        server: Some(server.clone()),
                        service: Some(service.clone()),
                        text: format!("a container{owner} that is not this project's has the name {name} (image {image})"),
                        hint: format!("rename it: docker rename {name} {name}_other"),
                    });
                }
            }
        }
    }
    findings
}
