//! What is said of containers that are taken over: where a gap is and how long, what answers no more, what cannot be put back, and above all
//! data that would not come along. Deliberately absent: the steps.
use super::{holds_internal, is_flipsides, is_in_the_way, is_served, public_ports, there};
use crate::config::Playbook;
use crate::facts::{ContainerFact, ContainerState, PublishedFact};
use crate::model::{ServerName, network_name};
use crate::nginx::read_service;
use crate::plan::containers::volume_name;
use crate::plan::prepare;
use crate::plan::routes::Routing;
use crate::plan::show::prose::{clean, server_list};
use crate::plan::target::Desired;
use crate::plan::types::{Change, Finding, Level};
use crate::script::layout::NGINX_CONTAINER;
use std::collections::{BTreeMap, BTreeSet};

/// Folders of the system, whose contents are nobody's data.
const SYSTEM: [&str; 6] = ["/dev", "/etc", "/proc", "/run", "/sys", "/var/run"];

/// Labels of what starts containers again by itself, whoever stops them.
const ORCHESTRATORS: [(&str, &str); 3] =
    [("com.docker.swarm.task.id", "Docker Swarm"), ("io.kubernetes.pod.name", "Kubernetes"), ("com.hashicorp.nomad.alloc_id", "Nomad")];

/// Everything that is to be said before the plan is run.
#[must_use]
pub(in crate::plan) fn findings(routing: &Routing<'_>) -> Vec<Finding> {
    let mut all = Vec::new();
    if !routing.removed.is_empty() {
        return all;
    }
    for desired in routing.desired {
        external_volumes(routing, desired, &mut all);
        if desired.change == Change::Create && desired.to.is_some() {
            absent(routing, desired, &mut all);
            for (server, container) in there(&desired.service.adopt, routing.fleet) {
                data(routing, desired, &server, container, &mut all);
            }
        }
        for (server, container) in &desired.taking.containers {
            data(routing, desired, server, container, &mut all);
            cannot_be_put_back(desired, server, container, &mut all);
            way(routing, desired, server, container, &mut all);
        }
        down(desired, &mut all);
    }
    twice(routing, &mut all);
    all.extend(routing.fleet.keys().filter_map(|server| nginx_again(routing, server)));
    all
}

/// What was taken over stands still, and nobody serves what takes its place: a run was cut off in between, and its journal may be lost. Only
/// that one knows how the container ran.
fn down(desired: &Desired<'_>, all: &mut Vec<Finding>) {
    let is_routed = desired.present.is_some_and(|present| !present.routes.is_empty());
    for (server, ContainerFact { name, .. }) in desired.taking.stopped.iter().filter(|_| desired.moves() && !is_routed) {
        let text = format!("{name} is stopped, whose place it takes, and nobody serves it: should this release fail, {name} stays stopped");
        let hint = format!("to have it back then: stop what runs of {}, and `docker start {name}`", desired.name);
        all.push(at(desired, Some(server), Level::Warning, text, hint));
    }
}

fn at(desired: &Desired<'_>, server: Option<&ServerName>, level: Level, text: String, hint: impl Into<String>) -> Finding {
    Finding { level, server: server.cloned(), service: Some(desired.name.clone()), text, hint: hint.into() }
}

/// A container that is to be taken over and has a name that the new one needs.
#[must_use]
pub(in crate::plan) fn by_another_name(playbook: &Playbook, finding: Finding) -> Finding {
    let adopt = finding.service.as_ref().and_then(|service| playbook.services.get(service)).map(|service| &service.adopt);
    let names = adopt.zip(finding.server.as_ref()).map(|(adopt, server)| adopt.on(server));
    match names.into_iter().flatten().find(|name| finding.text.contains(&format!(" the name {name} "))) {
        None => finding,
        Some(name) => {
            let hint = format!("rename it, which interrupts nothing: docker rename {name} {name}_old; and name {name}_old in `adopt`");
            Finding { hint, ..finding }
        }
    }
}

/// Docker would make what is not there, and the service would start with nothing.
fn external_volumes(routing: &Routing<'_>, desired: &Desired<'_>, all: &mut Vec<Finding>) {
    for volume in desired.service.volumes.iter().filter(|volume| volume.external && desired.is_made_anew()) {
        for server in &desired.servers {
            let known = routing.fleet.get(server).and_then(|facts| facts.volumes.as_ref());
            if known.is_some_and(|known| !known.contains(&volume.source)) {
                let text = format!("its external volume {} is not there: it would start empty", volume.source);
                all.push(at(
                    desired,
                    Some(server),
                    Level::Fatal,
                    text,
                    "name the volume as `docker volume ls` does; without `external` it gets one of its own",
                ));
            }
        }
    }
}

/// Names that lead to nothing, or to what Flipside runs.
fn absent(routing: &Routing<'_>, desired: &Desired<'_>, all: &mut Vec<Finding>) {
    let adopt = &desired.service.adopt;
    let found = there(adopt, routing.fleet);
    for (server, facts) in routing.fleet {
        for container in facts.containers.iter().filter(|container| adopt.on(server).contains(&container.name) && is_flipsides(container)) {
            let text = format!("`adopt` names {}, which Flipside runs itself", container.name);
            all.push(at(
                desired,
                Some(server),
                Level::Fatal,
                text,
                "take it out of `adopt`; to move a service between projects, remove it from the one first",
            ));
        }
    }
    for (server, names) in &adopt.servers {
        if !routing.inventory.servers.contains_key(server) {
            let text = format!("`adopt` names the server {server}, which the inventory does not have");
            all.push(at(desired, None, Level::Fatal, text, "write it as the inventory does"));
            continue;
        }
        for name in names.iter().filter(|_| routing.fleet.contains_key(server)) {
            if !found.iter().any(|(at, container)| at == server && container.name == *name) {
                all.push(at(desired, Some(server), Level::Warning, nothing(name), "`docker ps -a` there shows what is"));
            }
        }
    }
    for name in &adopt.containers {
        let is_ours = || routing.fleet.values().flat_map(|facts| &facts.containers).any(|there| there.name == *name && is_flipsides(there));
        if !found.iter().any(|(_, container)| container.name == *name)
            && !is_ours()
            && !adopt.servers.values().any(|names| names.contains(name))
        {
            all.push(at(desired, None, Level::Warning, nothing(name), "`flipside adopt` shows what is there"));
        }
    }
}

fn nothing(name: &str) -> String {
    format!("there is no container {name} to take over: nothing is stopped, and no data comes along")
}

/// Data of the old container that the new one would not see.
fn data(routing: &Routing<'_>, desired: &Desired<'_>, server: &ServerName, container: &ContainerFact, all: &mut Vec<Finding>) {
    let name = &container.name;
    let left = |target: &String| desired.service.adopt.leave_behind.contains(target);
    for (target, source) in container.written.iter().filter(|(target, source)| !left(target) && !source.is_empty()) {
        let mounted = desired.service.volumes.iter().find(|volume| volume.target == *target);
        let own = mounted
            .map(|volume| if volume.source.starts_with('/') { volume.source.clone() } else { volume_name(routing.playbook, volume) });
        let line = volume_line(source, target);
        if is_of_the_system(source) {
            if own.as_ref() != Some(source) {
                let text = format!("{name} has {source} of the server at {target}, and the service has not");
                all.push(at(desired, Some(server), Level::Warning, text, format!("write {line:?} in `volumes`, if it needs it")));
            }
            continue;
        }
        let leave = format!("; or, if the service does not need it, `leave_behind = [\"{target}\"]` in `adopt`");
        if !desired.servers.contains(server) {
            let text =
                format!("{name} keeps data at {target} ({source}), and the service is not placed on {server}: it would not come along");
            all.push(at(desired, Some(server), Level::Fatal, text, format!("place it there with `servers`{leave}")));
        } else if own.as_ref() != Some(source) {
            let instead = own.map_or_else(|| "nothing".to_owned(), |own| format!("the volume {own}"));
            let text = format!(
                "{name} keeps data at {target} ({source}), and the service would have {instead} there: the data would not come along"
            );
            all.push(at(desired, Some(server), Level::Fatal, text, format!("write {line:?} in `volumes`{leave}")));
        }
    }
}

/// It is a folder or a socket of the system.
pub(in crate::plan) fn is_of_the_system(source: &str) -> bool {
    SYSTEM.iter().any(|folder| source.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// The entry of `volumes` that mounts what the old container has there.
pub(super) fn volume_line(source: &str, target: &str) -> String {
    if source.starts_with('/') { format!("{source}:{target}") } else { format!("{source}:{target}:external") }
}

/// What would be lost when it stops, or come back when it should not.
fn cannot_be_put_back(desired: &Desired<'_>, server: &ServerName, container: &ContainerFact, all: &mut Vec<Finding>) {
    let name = &container.name;
    if container.auto_remove {
        let text = format!("{name} was started with `--rm`: Docker removes it when it stops, and nobody could put it back");
        all.push(at(
            desired,
            Some(server),
            Level::Fatal,
            text,
            "start it again without `--rm`, or stop it yourself and take it out of `adopt`",
        ));
    }
    if container.state == ContainerState::Paused {
        let text = format!("{name} is paused, and would not be so again if the deploy were put back");
        all.push(at(desired, Some(server), Level::Fatal, text, format!("docker unpause {name}")));
    }
    if let Some((_, who)) = ORCHESTRATORS.iter().find(|(label, _)| container.labels.contains_key(*label)) {
        let text = format!("{name} is run by {who}, which starts it again when it stops");
        all.push(at(desired, Some(server), Level::Fatal, text, format!("take it out of {who}'s hands first")));
    }
}

/// When it stops, and who notices.
fn way(routing: &Routing<'_>, desired: &Desired<'_>, server: &ServerName, container: &ContainerFact, all: &mut Vec<Finding>) {
    let name = &container.name;
    let kept = format!("it is kept, stopped: `docker rm {name}` once nobody wants it back");
    let public = public_ports(routing.inventory, server, desired, container);
    let served = is_served(routing, server, desired);
    let silent: Vec<String> = container
        .published
        .iter()
        .filter(|port| {
            !(served && (public.contains(&port.host_port) || (holds_internal(desired, container) && is_loopback_of(desired, port))))
        })
        .map(|port| reached(desired, server, port, served))
        .collect();
    let mut text = if let Some(why) = &desired.taking.first {
        let gap = if desired.service.port.is_some() { ", and requests in between fail" } else { "" };
        format!("{name} is taken over, and {why}: it stops before the new side starts{gap}")
    } else if is_in_the_way(routing, server, desired, container) {
        let mut who: Vec<String> = public.iter().map(|port| format!("port {port}, which NGINX needs")).collect();
        if holds_internal(desired, container) {
            who.extend(desired.internal_port.map(|port| format!("port {port}, which the host's door needs")));
        }
        format!(
            "{name} is taken over and holds {}: it stops once the new side serves, and requests to that port fail from then until it is bound again: while {name} stops ({} at most) and a second or two more",
            who.join(", and "),
            routing.playbook.rollout.stop_timeout,
        )
    } else {
        format!("{name} is taken over: it stops once the new side serves")
    };
    if !desired.servers.contains(server) {
        text.push_str(", although the service is not placed on this server");
    }
    let gap = desired.taking.first.is_some() || is_in_the_way(routing, server, desired, container);
    if !silent.is_empty() {
        text.push_str(&format!(". Nothing answers at {} any more", silent.join(", ")));
    }
    let host =
        desired.service.proxy.as_ref().and_then(|proxy| proxy.hosts.first()).map_or_else(String::new, |host| format!(", or to {host}"));
    let instead = desired
        .internal_port
        .filter(|_| !silent.is_empty())
        .map_or_else(String::new, |port| format!("its clients go to localhost:{port} of any server{host}; "));
    let level = if gap || !silent.is_empty() { Level::Warning } else { Level::Note };
    all.push(at(desired, Some(server), level, text, format!("{instead}{kept}")));
    let network = network_name(&routing.playbook.project, &routing.playbook.env);
    let neighbours = neighbours(routing, server, container);
    if !neighbours.is_empty() {
        let text = format!("{} may reach {name} by its name in their network, where the service is not", neighbours.join(", "));
        let hint = desired.internal_port.map_or_else(String::new, |port| {
            format!(
                "attach them to {network} and let them ask mesh:{port}, or `alias = true` and {}:{}",
                desired.name,
                desired.service.port.unwrap_or(port)
            )
        });
        all.push(at(desired, Some(server), Level::Warning, text, hint));
    }
}

/// The host's door answers there for the container, on the server itself.
fn is_loopback_of(desired: &Desired<'_>, port: &PublishedFact) -> bool {
    desired.internal_port == Some(port.host_port) && port.address.is_some_and(|address| address.is_loopback())
}

/// A published port in words.
fn reached(desired: &Desired<'_>, server: &ServerName, port: &PublishedFact, served: bool) -> String {
    let number = port.host_port;
    let is_base = desired.published_on.contains_key(server)
        && desired.replicas.iter().any(|replica| [replica.base_port, replica.app_base_port].contains(&Some(number)));
    match port.address {
        None if served && desired.internal_port == Some(number) => format!("port {number} for other machines"),
        None if is_base => format!("port {number} of any address but the private one"),
        None => format!("port {number}"),
        Some(address) => format!("{address}:{number}"),
    }
}

/// Others that share a network with it in which names are resolved, and that are not taken over themselves.
fn neighbours(routing: &Routing<'_>, server: &ServerName, container: &ContainerFact) -> Vec<String> {
    let Some(facts) = routing.fleet.get(server) else { return Vec::new() };
    let networks: BTreeSet<&String> =
        container.networks.keys().filter(|network| !["bridge", "host", "none", "podman"].contains(&network.as_str())).collect();
    let taken = |other: &ContainerFact| {
        routing.desired.iter().any(|desired| desired.taking.containers.iter().any(|(at, old)| at == server && old.id == other.id))
    };
    let near = facts
        .containers
        .iter()
        .filter(|other| other.id != container.id && !other.state.is_stopped() && !is_flipsides(other) && !taken(other));
    near.filter(|other| other.networks.keys().any(|network| networks.contains(network))).map(|other| clean(&other.name)).collect()
}

/// A container has one successor.
fn twice(routing: &Routing<'_>, all: &mut Vec<Finding>) {
    let mut takers: BTreeMap<(&ServerName, &str), &Desired<'_>> = BTreeMap::new();
    for desired in routing.desired {
        for (server, container) in &desired.taking.containers {
            if let Some(other) = takers.insert((server, &container.name), desired) {
                let text = format!("{} is taken over by {} as well", container.name, other.name);
                all.push(at(desired, Some(server), Level::Fatal, text, "a container has one successor: name it in one `adopt` alone"));
            }
        }
    }
}

/// NGINX is run again for its port, and everybody behind it notices.
fn nginx_again(routing: &Routing<'_>, server: &ServerName) -> Option<Finding> {
    let ports = super::public_ports_later(routing, server);
    let facts = routing.fleet.get(server).filter(|facts| !ports.is_empty() && prepare::container(facts, NGINX_CONTAINER).is_some())?;
    let routed: BTreeSet<String> = facts
        .nginx
        .files
        .values()
        .filter_map(|text| read_service(text).ok())
        .map(|service| format!("{}/{} {}", service.project, service.env, service.service))
        .collect();
    let listed: Vec<String> = ports.iter().map(u16::to_string).collect();
    let routed: Vec<String> = routed.into_iter().collect();
    let whose = if routed.is_empty() { String::new() } else { format!(", also of {}", routed.join(", ")) };
    Some(Finding {
        level: Level::Warning,
        server: Some(server.clone()),
        service: None,
        text: format!(
            "{NGINX_CONTAINER} is run again, with port {}: connections through it are cut for about a second on {}{whose}",
            listed.join(" and "),
            server_list([server]),
        ),
        hint: String::new(),
    })
}
