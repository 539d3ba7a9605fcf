//! An inventory: defaults, servers, NGINX, and what servers must not share. Deliberately absent: reaching any of them.
use super::keys::Part;
use super::node::{Table, Value};
use super::playbook::{parse, sorted};
use super::problem::{Problems, Source, Span};
use super::server::{self, Settings};
use super::service::checked_image;
use super::types::{HostKeyPolicy, Ingress, Inventory, NginxSettings, Server};
use super::values;
use super::walk::{At, Section, Walk};
use crate::model::ServerName;
use std::collections::BTreeMap;

/// Reads an inventory. JSON where `file` ends in `.json` or the text begins with `{`, else TOML.
///
/// # Errors
/// Every problem of the file.
pub fn read_inventory(file: &str, text: &str) -> Result<Inventory, Problems> {
    let source = Source::new(file, text);
    let (root, syntax) = parse(&source);
    let Some(root) = root else { return Err(sorted(syntax)) };
    let mut walk = Walk::new(&source);
    walk.problems = syntax;
    let section = Section { what: "the inventory".to_owned(), part: Part::Inventory, table: &root, span: Span { start: 0, end: 0 } };
    walk.check_keys(&section);
    let defaults = walk.subsection(&section, "defaults", Part::Defaults, "`defaults`".to_owned());
    let defaults = defaults.map_or_else(Settings::default, |section| server::read(&mut walk, &section));
    let found = servers(&mut walk, &root, &defaults);
    addresses(&mut walk, &found);
    jumps(&mut walk, &found);
    let nginx = nginx(&mut walk, &section, &found);
    if walk.problems.is_empty() {
        Ok(Inventory { servers: found.into_iter().map(|(name, found)| (name, found.server)).collect(), nginx })
    } else {
        Err(sorted(walk.problems))
    }
}

/// A server, and the places that are needed to compare it with others.
struct Found {
    server: Server,
    address: Option<Span>,
    private_address: Option<Span>,
    jump: Option<Span>,
}

fn servers(walk: &mut Walk<'_>, root: &Table, defaults: &Settings) -> BTreeMap<ServerName, Found> {
    let mut servers = BTreeMap::new();
    let advice = "write `[servers.NAME]`, and in it `address`";
    let Some(entry) = root.get("servers") else {
        walk.report_absent("the inventory has no servers", advice);
        return servers;
    };
    let Some(table) = entry.node.table() else {
        walk.report(entry.node.span, format!("`servers` in the inventory must be a table, not {}", entry.node.kind()), advice);
        return servers;
    };
    if table.entries.is_empty() {
        walk.report(entry.node.span, "the inventory has no servers", advice);
    }
    for entry in &table.entries {
        let name = walk.named(&entry.key, entry.key_span);
        let Some(section) = walk.section(entry, Part::Server, format!("server `{}`", entry.key)) else { continue };
        let settings = server::read(walk, &section).over(defaults, &entry.key);
        let found = complete(walk, &section, settings);
        servers.extend(name.map(|name| (name, found)));
    }
    servers
}

fn complete(walk: &mut Walk<'_>, section: &Section<'_>, settings: Settings) -> Found {
    let address: Option<At<String>> = server::address(walk, section);
    let (address, place) = address.map_or((String::new(), None), |(address, span)| (address, Some(span)));
    let private_address = server::private_address(walk, section, &address);
    let jump = if address == "local" {
        if let Some(entry) = section.table.get("jump") {
            let title = format!("{} is this machine and has a `jump`", section.what);
            walk.report(entry.node.span, title, "remove it: nothing is reached by SSH here");
        }
        None
    } else {
        settings.jump
    };
    let (jump, jump_place) = jump.map_or((None, None), |(jump, span)| (Some(jump), Some(span)));
    let server = Server {
        address,
        private_address,
        allow_public_backends: settings.allow_public_backends.unwrap_or(false),
        zone: settings.zone,
        tags: settings.tags.unwrap_or_default(),
        port: settings.port.unwrap_or(22),
        user: settings.user,
        identity_files: settings.identity_files.unwrap_or_default(),
        jump,
        sudo: settings.sudo.is_some(),
        docker: settings.docker.unwrap_or_else(|| "docker".to_owned()),
        remote_root: settings.remote_root.unwrap_or_else(|| "/local".to_owned()),
        host_key: settings.host_key.unwrap_or(HostKeyPolicy::Strict),
        known_hosts: settings.known_hosts,
    };
    let private_place = section.table.get("private_address").map(|entry| entry.node.span).or(place);
    Found { server, address: place, private_address: private_place, jump: jump_place }
}

/// Two entries for one machine would deploy to it twice at once.
fn addresses(walk: &mut Walk<'_>, servers: &BTreeMap<ServerName, Found>) {
    let mut in_order: Vec<(&ServerName, &Found)> = servers.iter().collect();
    in_order.sort_by_key(|(_, found)| found.address);
    for (index, (name, found)) in in_order.iter().enumerate() {
        let Some(place) = found.address else { continue };
        let same =
            |other: &Server| (&other.address, other.port, &other.jump) == (&found.server.address, found.server.port, &found.server.jump);
        if let Some((other, twin)) = in_order[..index].iter().find(|(_, twin)| twin.address.is_some() && same(&twin.server)) {
            let at = if found.server.address == "local" {
                "this machine".to_owned()
            } else {
                format!("{}, port {}", found.server.address, found.server.port)
            };
            let title = format!("servers `{other}` and `{name}` are the same: {at}");
            let note = twin.address.map(|span| format!("server `{other}` has it in line {}", walk.source.line(span)));
            walk.report_with_note(place, title, "remove one of the two", note.unwrap_or_default());
            continue;
        }
        let twin = in_order[..index]
            .iter()
            .find(|(_, twin)| found.server.private_address.is_some() && twin.server.private_address == found.server.private_address);
        if let (Some((other, twin)), Some(address), Some(place)) = (twin, found.server.private_address, found.private_address) {
            let title = format!("servers `{other}` and `{name}` have the same private address {address}");
            let note = twin.private_address.map(|span| format!("server `{other}` has it in line {}", walk.source.line(span)));
            walk.report_with_note(place, title, "the other servers could not tell them apart", note.unwrap_or_default());
        }
    }
}

/// A way through other servers must end.
fn jumps(walk: &mut Walk<'_>, servers: &BTreeMap<ServerName, Found>) {
    let next = |name: &str| servers.iter().find(|(other, _)| other.as_str() == name).and_then(|(_, found)| found.server.jump.as_deref());
    let mut reported: Vec<&str> = Vec::new();
    for (name, found) in servers {
        let Some(place) = found.jump else { continue };
        let mut path = vec![name.as_str()];
        let mut here = name.as_str();
        while let Some(through) = next(here) {
            path.push(through);
            here = through;
            if path[..path.len() - 1].contains(&through) {
                break;
            }
        }
        let circles = path.len() > 1 && here == name.as_str();
        if circles && !reported.contains(&here) {
            reported.extend(&path);
            let title = if path.len() == 2 {
                format!("server `{name}` is reached through itself")
            } else {
                format!("servers are reached through each other in a circle: {}", path.join(" → "))
            };
            walk.report(place, title, "one of them must be reached without a jump");
        }
    }
}

fn nginx(walk: &mut Walk<'_>, root: &Section<'_>, servers: &BTreeMap<ServerName, Found>) -> NginxSettings {
    let mut nginx = NginxSettings {
        image: "nginx:stable".to_owned(),
        ingress: Ingress::Public,
        edge: Vec::new(),
        trusted_proxies: Vec::new(),
        plus: false,
    };
    let Some(section) = walk.subsection(root, "nginx", Part::Nginx, "`nginx`".to_owned()) else { return nginx };
    if let Some(image) = checked_image(walk, &section) {
        nginx.image = image;
    }
    let words = [("public", Ingress::Public), ("private", Ingress::Private), ("off", Ingress::Off)];
    if let Some((ingress, _)) = walk.choice(&section, "ingress", &words) {
        nginx.ingress = ingress;
    }
    let edge = walk.texts(&section, "edge");
    let empty = section.table.get("edge").filter(|entry| matches!(&entry.node.value, Value::List(items) if items.is_empty()));
    if let Some(entry) = empty {
        walk.report(
            entry.node.span,
            "`edge` is empty".to_owned(),
            "remove it, and every server serves public hosts; or say `ingress = \"off\"`, and none does",
        );
    }
    for (tag, span) in edge.unwrap_or_default() {
        if !servers.values().any(|found| found.server.tags.contains(&tag)) {
            walk.report(span, format!("no server has the tag `{tag}`"), "`edge` names tags of the servers that serve public hosts");
        }
        nginx.edge.push(tag);
    }
    for (network, span) in walk.texts(&section, "trusted_proxies").unwrap_or_default() {
        match values::network(&network) {
            Ok(()) => nginx.trusted_proxies.push(network),
            Err(advice) => walk.report(span, format!("`{network}` is neither an address nor a network"), advice),
        }
    }
    if let Some((true, span)) = walk.flag(&section, "plus") {
        nginx.plus = true;
        if section.table.get("image").is_none() {
            let advice = "NGINX Plus comes from a registry that asks for a licence: write `image`, where your servers get it";
            walk.report(span, "`nginx` has `plus = true` and no `image`", advice);
        }
    }
    nginx
}
