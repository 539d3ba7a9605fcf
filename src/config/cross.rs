//! What services of one playbook must not share, and names that would be too long. Deliberately absent: anything that needs a server.
use super::graph;
use super::node::{Node, Table};
use super::problem::Span;
use super::proxy::ProxyTls;
use super::types::Service;
use super::walk::Walk;
use crate::model::{EnvName, ProjectName, ServiceName, Side, container_name, secondary_port};
use std::collections::BTreeMap;

/// The longest container name: it is also a DNS label.
const LONGEST_NAME: usize = 63;

/// Checks all services of one environment against each other. `root` is the merged playbook, for the places.
pub(super) fn check(
    walk: &mut Walk<'_>,
    project: Option<&ProjectName>,
    env: &EnvName,
    services: &BTreeMap<ServiceName, Service>,
    root: &Table,
) {
    let Some(tree) = root.table("services") else { return };
    graph::check(walk, services, tree);
    host_ports(walk, services, tree);
    internal_ports(walk, services, tree);
    hosts(walk, services, tree);
    certificates(walk, services, tree);
    if let Some(project) = project {
        names(walk, project, env, services, tree);
    }
}

/// The place of a service's key.
fn place<'t>(tree: &'t Table, service: &ServiceName, key: &str) -> Option<&'t Node> {
    tree.table(service.as_str()).and_then(|table| table.get(key)).map(|entry| &entry.node)
}

/// Reports that two places exclude each other, at the later one.
fn report_pair(walk: &mut Walk<'_>, (one, owner): (Span, &ServiceName), (two, other): (Span, &ServiceName), title: String, label: &str) {
    let ((earlier, name), later) = if one <= two { ((one, owner), two) } else { ((two, other), one) };
    let line = walk.source.line(earlier);
    walk.report_with_note(later, title, label, format!("service `{name}` has it in line {line}"));
}

fn host_ports(walk: &mut Walk<'_>, services: &BTreeMap<ServiceName, Service>, tree: &Table) {
    let pins: Vec<(&ServiceName, u16)> = services.iter().filter_map(|(name, service)| service.host_port.map(|port| (name, port))).collect();
    for (index, (name, port)) in pins.iter().enumerate() {
        for (other, taken) in &pins[..index] {
            let title = if port == taken {
                format!("services `{other}` and `{name}` both pin host port {port}")
            } else if *port == secondary_port(*taken) {
                format!("host port {port} of service `{name}` is the secondary side's port of service `{other}` ({taken} + 10000)")
            } else if *taken == secondary_port(*port) {
                format!("host port {taken} of service `{other}` is the secondary side's port of service `{name}` ({port} + 10000)")
            } else {
                continue;
            };
            if let (Some(one), Some(two)) = (place(tree, other, "host_port"), place(tree, name, "host_port")) {
                report_pair(walk, (one.span, other), (two.span, name), title, "choose another port, or leave the choice to Flipside");
            }
        }
    }
}

fn internal_ports(walk: &mut Walk<'_>, services: &BTreeMap<ServiceName, Service>, tree: &Table) {
    let mut taken: BTreeMap<u16, &ServiceName> = BTreeMap::new();
    for (name, service) in services {
        let Some(port) = service.internal_port else { continue };
        let Some(other) = taken.insert(port, name) else { continue };
        if let (Some(one), Some(two)) = (place(tree, other, "internal_port"), place(tree, name, "internal_port")) {
            let title = format!("services `{other}` and `{name}` both pin internal port {port}");
            report_pair(walk, (one.span, other), (two.span, name), title, "choose another port, or leave the choice to Flipside");
        }
    }
}

/// A host leads to one service, or below each prefix to another.
fn hosts(walk: &mut Walk<'_>, services: &BTreeMap<ServiceName, Service>, tree: &Table) {
    let mut taken: BTreeMap<(&str, &str), &ServiceName> = BTreeMap::new();
    let all = services.iter().filter_map(|(name, service)| Some((name, service.proxy.as_ref()?)));
    for (name, proxy) in all {
        let prefix = proxy.front.path_prefix.as_str();
        for host in &proxy.hosts {
            let Some(other) = taken.insert((host, prefix), name) else { continue };
            let span = |service: &ServiceName| {
                let hosts = place(tree, service, "proxy").and_then(Node::table).and_then(|table| table.get("hosts"));
                hosts.map(|entry| entry.node.item_span(host))
            };
            if let (Some(one), Some(two)) = (span(other), span(name)) {
                let below = if prefix == "/" { String::new() } else { format!(" below `{prefix}`") };
                let title = format!("services `{other}` and `{name}` both serve the host `{host}`{below}");
                report_pair(
                    walk,
                    (one, other),
                    (two, name),
                    title,
                    "to share a host, each of them but one needs a `path_prefix` of its own",
                );
            }
        }
    }
}

/// A host has one certificate: of the services that share it one names it, or all name the same.
fn certificates(walk: &mut Walk<'_>, services: &BTreeMap<ServiceName, Service>, tree: &Table) {
    let mut taken: BTreeMap<&str, (&ServiceName, &ProxyTls)> = BTreeMap::new();
    let all = services.iter().filter_map(|(name, service)| Some((name, service.proxy.as_ref()?)));
    for (name, proxy) in all {
        let Some(tls) = &proxy.tls else { continue };
        for host in &proxy.hosts {
            let (other, named) = *taken.entry(host).or_insert((name, tls));
            if named == tls {
                continue;
            }
            let span = |service| Some(place(tree, service, "proxy")?.table()?.get("tls")?.key_span);
            if let (Some(one), Some(two)) = (span(other), span(name)) {
                let title = format!("services `{other}` and `{name}` share the host `{host}`, and say different things in `tls`");
                report_pair(walk, (one, other), (two, name), title, "say it in one of them: it holds for the whole host");
                return;
            }
        }
    }
}

fn names(walk: &mut Walk<'_>, project: &ProjectName, env: &EnvName, services: &BTreeMap<ServiceName, Service>, tree: &Table) {
    for (name, service) in services {
        let longest = container_name(project, env, name, service.replicas, Side::Secondary);
        let Some(entry) = tree.get(name.as_str()) else { continue };
        if longest.len() > LONGEST_NAME {
            let title = format!("the containers of service `{name}` would have too long a name");
            let label = format!("{} characters, and {LONGEST_NAME} is the most", longest.len());
            walk.report_with_note(entry.key_span, title, label, format!("`{longest}`: shorten project, environment or service"));
        }
    }
}
