//! One service: image, command, port, placement, volumes. Deliberately absent: how it is reached (`reach`), and its neighbours (`cross`).
use super::adopt::adopt;
use super::balance::balance;
use super::checks;
use super::keys::Part;
use super::node::Value;
use super::proxy;
use super::reach;
use super::secrets;
use super::types::{Mesh, Service, Volume};
use super::values;
use super::walk::{Section, Walk};
use crate::model::Protocol;
use std::ops::RangeInclusive;

const ANY_PORT: RangeInclusive<u16> = 1..=65535;
/// The secondary side takes the port 10000 above, and both stay below the ephemeral range (32768).
const HOST_PORTS: RangeInclusive<u16> = 1024..=22767;
/// Why not above it.
const SECONDARY: &str = "the secondary side takes the port 10000 above, and both stay below 32768, where outgoing connections begin";
/// Below the ephemeral range, and open to a process without rights.
const INTERNAL_PORTS: RangeInclusive<u16> = 1024..=32767;

/// Reads one service, with defaults where something is absent or wrong.
pub(super) fn read(walk: &mut Walk<'_>, section: &Section<'_>) -> Service {
    let port = walk.port(section, "port", ANY_PORT, "this is the port that the container listens on").map(|(port, _)| port);
    let protocol =
        walk.choice(section, "protocol", &[("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("http", Protocol::Http)]).map(|(p, _)| p);
    needs_port(walk, section);
    let host_port = walk.port(section, "host_port", HOST_PORTS, SECONDARY).map(|(port, _)| port);
    let why = "higher ports belong to outgoing connections, lower ones to the system";
    let internal_port = walk.port(section, "internal_port", INTERNAL_PORTS, why).map(|(port, _)| port);
    let mesh = walk.choice(section, "mesh", &[("door", Mesh::Door), ("network", Mesh::Network)]).map_or(Mesh::Door, |(mesh, _)| mesh);
    let env = reach::env(walk, section);
    let mut service = Service {
        image: image(walk, section),
        command: command(walk, section),
        port,
        protocol: protocol.unwrap_or(Protocol::Tcp),
        servers_count: 1,
        server_zone: walk.name(section, "server_zone"),
        servers: Vec::new(),
        tags: Vec::new(),
        replicas: walk.number(section, "replicas", 1..=50, "copies on one server").map_or(1, |(replicas, _)| replicas),
        uses: reach::uses(walk, section, &env),
        env,
        volumes: volumes(walk, section),
        mesh,
        health_check: reach::health_check(walk, section, protocol),
        proxy: proxy::proxy(walk, section, protocol, port),
        balance: balance(walk, section),
        host_port,
        internal_port,
        overlap: walk.flag(section, "overlap").is_some_and(|(overlap, _)| overlap),
        singleton: walk.flag(section, "singleton").is_some_and(|(singleton, _)| singleton),
        alias: alias(walk, section, protocol),
        secrets: secrets::names(walk, section),
        secrets_owner: secrets::owner(walk, section),
        min_healthy: 1,
        adopt: adopt(walk, section),
    };
    placement(walk, section, &mut service);
    one_at_a_time(walk, section, &service);
    ports_of_copies(walk, section, &service);
    floor(walk, section, &mut service);
    secrets::check_volumes(walk, section, &service);
    checks::complete(walk, section, &mut service);
    service
}

/// Reads the image of a service.
fn image(walk: &mut Walk<'_>, section: &Section<'_>) -> String {
    let built_later = ["dockerfile", "archive"].iter().any(|key| section.table.get(key).is_some());
    if section.table.get("image").is_none() && !built_later {
        walk.missing(section, "image", "write `image = \"name:tag\"`");
    }
    checked_image(walk, section).unwrap_or_default()
}

/// The image of a section that may have one.
pub(super) fn checked_image(walk: &mut Walk<'_>, section: &Section<'_>) -> Option<String> {
    let (text, span) = walk.text(section, "image")?;
    match values::image(&text) {
        Ok(()) => Some(text),
        Err(advice) => {
            walk.report(span, format!("`{text}` is not an image"), advice);
            None
        }
    }
}

fn command(walk: &mut Walk<'_>, section: &Section<'_>) -> Vec<String> {
    let Some(entry) = section.table.get("command") else { return Vec::new() };
    let subject = format!("`command` in {}", section.what);
    if let Value::Text(text) = &entry.node.value {
        let title = format!("{subject} must be a list of arguments, not a string");
        walk.report(entry.node.span, title, format!("write `{}`", values::command_list(text)));
        return Vec::new();
    }
    let items = walk.list(&entry.node, &subject).unwrap_or_default();
    items.iter().filter_map(|item| walk.any_text(item, &format!("an item of {subject}"))).collect()
}

fn volumes(walk: &mut Walk<'_>, section: &Section<'_>) -> Vec<Volume> {
    let mut volumes: Vec<Volume> = Vec::new();
    for (text, span) in walk.texts(section, "volumes").unwrap_or_default() {
        match values::volume(&text) {
            Err(advice) => walk.report(span, format!("`{text}` is not a volume"), advice),
            Ok(volume) if volumes.iter().any(|other| other.target == volume.target) => {
                walk.report(span, format!("two volumes of {} have the same target `{}`", section.what, volume.target), "");
            }
            Ok(volume) => volumes.push(volume),
        }
    }
    volumes
}

/// Reports keys that mean nothing without a port.
fn needs_port(walk: &mut Walk<'_>, section: &Section<'_>) {
    if section.table.get("port").is_some() {
        return;
    }
    for key in ["protocol", "host_port", "internal_port", "proxy", "balance", "alias"] {
        if let Some(entry) = section.table.get(key) {
            let title = format!("{} has `{key}` but no `port`", section.what);
            walk.report(entry.key_span, title, "add `port`, the port that the container listens on");
        }
    }
}

/// A name of its own in the project's network. `mesh` is NGINX's there.
fn alias(walk: &mut Walk<'_>, section: &Section<'_>, protocol: Option<Protocol>) -> bool {
    let Some((true, span)) = walk.flag(section, "alias") else { return false };
    if protocol == Some(Protocol::Udp) {
        walk.report(
            span,
            format!("{} speaks udp and cannot have an `alias`", section.what),
            "containers reach it at `mesh`, at its internal port",
        );
    }
    if section.what.ends_with("`mesh`") {
        walk.report(span, format!("{} cannot have an `alias`", section.what), "`mesh` is NGINX's name there: call the service otherwise");
    }
    true
}

/// Where it runs: by `servers`, by `tags`, or by number.
fn placement(walk: &mut Walk<'_>, section: &Section<'_>, service: &mut Service) {
    if let Some((count, _)) = walk.number(section, "servers_count", 1..=1000, "on how many servers it runs") {
        service.servers_count = count;
    }
    let servers = walk.texts(section, "servers");
    let tags = walk.texts(section, "tags");
    for (key, list) in [("servers", &servers), ("tags", &tags)] {
        if let (Some(entry), Some(list)) = (section.table.get(key), list)
            && list.is_empty()
            && matches!(&entry.node.value, Value::List(items) if items.is_empty())
        {
            walk.report(entry.node.span, format!("`{key}` in {} is empty", section.what), "remove it, or name at least one");
        }
    }
    let given: Vec<&str> = ["servers", "tags", "servers_count"].into_iter().filter(|key| section.table.get(key).is_some()).collect();
    if let [first, second, ..] = given.as_slice()
        && let (Some(one), Some(two)) = (section.table.get(first), section.table.get(second))
    {
        let (earlier, later) = if one.key_span <= two.key_span { (one, two) } else { (two, one) };
        let title = format!("{} has both `{first}` and `{second}`", section.what);
        let line = walk.source.line(earlier.key_span);
        let label = "each of them alone says where the service runs: keep one";
        walk.report_with_note(later.key_span, title, label, format!("`{}` is in line {line}", earlier.key));
    }
    service.servers = servers.unwrap_or_default().into_iter().filter_map(|(text, span)| walk.named(&text, span)).collect();
    service.tags = tags.unwrap_or_default().into_iter().map(|(tag, _)| tag).collect();
}

/// A service that must not run twice at once cannot ask for copies.
fn one_at_a_time(walk: &mut Walk<'_>, section: &Section<'_>, service: &Service) {
    let report = |walk: &mut Walk<'_>, key: &str, title: String, label: &str| {
        let span = section.table.get(key).map_or(section.span, |entry| entry.node.span);
        walk.report(span, title, label);
    };
    let what = &section.what;
    if service.singleton {
        let label = "`singleton` means never two at once";
        if service.replicas > 1 {
            report(walk, "replicas", format!("{what} is a singleton and cannot have {} replicas", service.replicas), label);
        }
        if service.servers_count > 1 {
            report(walk, "servers_count", format!("{what} is a singleton and cannot run on {} servers", service.servers_count), label);
        }
        if service.servers.len() > 1 {
            report(walk, "servers", format!("{what} is a singleton and cannot run on {} servers", service.servers.len()), label);
        }
    } else if service.replicas > 1 && service.hands_over() {
        let title = format!("the {} replicas of {what} would write the same volume", service.replicas);
        report(
            walk,
            "replicas",
            title,
            "use one replica, mount the volume `:ro`, or say `overlap = true` if the data can take two writers",
        );
    }
}

/// Each copy has the port after the one before it.
fn ports_of_copies(walk: &mut Walk<'_>, section: &Section<'_>, service: &Service) {
    let Some((first, entry)) = service.host_port.zip(section.table.get("host_port")) else { return };
    let last = u32::from(first) + service.replicas.saturating_sub(1);
    if last > u32::from(*HOST_PORTS.end()) {
        let (what, most) = (&section.what, HOST_PORTS.end());
        let title = format!("the {} replicas of {what} have host ports {first} to {last}, and {most} is the last", service.replicas);
        walk.report(entry.node.span, title, SECONDARY);
    }
}

/// The fewest copies with which servers may be left behind. By tags, nobody knows here how many there are.
fn floor(walk: &mut Walk<'_>, section: &Section<'_>, service: &mut Service) {
    let why = "the fewest copies on servers that are reached; 0 where all of them may be out of reach";
    let Some((floor, span)) = walk.number(section, "min_healthy", 0..=50_000, why) else { return };
    let n_servers = if service.servers.is_empty() { service.servers_count as usize } else { service.servers.len() };
    let n_copies = n_servers * service.replicas as usize;
    if service.tags.is_empty() && floor as usize > n_copies {
        let title = format!("`min_healthy` in {} is {floor}, and it has {n_copies} in all", section.what);
        walk.report(span, title, "no server of it could ever be left behind: lower it, or remove it");
    }
    service.min_healthy = floor;
}

/// Reads a subsection of a service.
pub(super) fn part<'n>(walk: &mut Walk<'_>, section: &Section<'n>, key: &str, part: Part) -> Option<Section<'n>> {
    walk.subsection(section, key, part, format!("`{key}` of {}", section.what))
}
