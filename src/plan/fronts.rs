//! What of a service the outside sees, on each server: its public hosts, how they are served, and the file that says so.
//! Deliberately absent: which backends there are (`routes`), and when a server switches.
use super::adopt;
use super::certificates::front_tls;
use super::left;
use super::present::PresentService;
use super::routes::Routing;
use super::show::prose::server_list;
use super::target::Desired;
use super::types::{Finding, Level};
use crate::config::{Ingress, Inventory, NginxSettings};
use crate::facts::Facts;
use crate::model::{BackendMode, Front, Protocol, ServerName, Side};
use crate::nginx::{
    MAINTENANCE, MainSettings, MeshBackend, MeshService, RenderError, hosts_path, is_app_file_of, is_service_file, page_kinds, page_path,
    read_service, render_app, render_hosts,
};
use crate::script::layout;
use std::collections::BTreeMap;

/// This server serves public hosts.
#[must_use]
pub(super) fn is_edge(inventory: &Inventory, server: &ServerName) -> bool {
    let edge = &inventory.nginx.edge;
    let has_one = |tags: &[String]| tags.iter().any(|tag| edge.contains(tag));
    edge.is_empty() || inventory.servers.get(server).is_some_and(|settings| has_one(&settings.tags))
}

/// What `nginx.conf` is rendered with.
#[must_use]
pub(super) fn main_settings(nginx: &NginxSettings) -> MainSettings {
    MainSettings { trusted_proxies: nginx.trusted_proxies.clone(), ..MainSettings::default() }
}

/// The public hosts of a service on this server, and how they are served, where these are its live backends. How it is asked in the mesh, by
/// HTTP/1.1 or gRPC, is the same on every server.
///
/// What runs without the `app_port` that the playbook wants goes on as it was served so far: its own port was never meant for other hosts.
#[must_use]
pub(super) fn front(
    routing: &Routing<'_>,
    server: &ServerName,
    desired: &Desired<'_>,
    (side, protocol): (Side, Protocol),
    backends: &[MeshBackend],
) -> (Vec<String>, Front) {
    let grpc = routing.is_grpc(desired, side);
    let nowhere = (Vec::new(), Front { grpc: grpc && protocol == Protocol::Http, ..Front::default() });
    if !is_edge(routing.inventory, server) {
        return nowhere;
    }
    if let Some(kept) = left::front(routing, server, desired, side, protocol) {
        return kept;
    }
    let has_app_port = backends.iter().any(|backend| backend.app_port.is_some());
    let Some(proxy) = desired.service.proxy.as_ref().filter(|_| protocol == Protocol::Http || has_app_port) else {
        return nowhere;
    };
    let is_yet_to_come = desired.service.app_port().is_some() && !has_app_port;
    let routed = || desired.present.into_iter().flat_map(PresentService::level_routes);
    let tls = front_tls(routing, server, desired, proxy);
    if tls.is_none() && lacks_certificate(routing, server, desired) {
        return nowhere;
    }
    let mut hosts = proxy.hosts.clone();
    hosts.retain(|host| !is_yet_to_come || routed().any(|route| route.hosts.contains(host)));
    if hosts.is_empty() {
        return nowhere;
    }
    (hosts, Front { tls, maintenance: desired.maintenance, grpc, ..proxy.front.clone() })
}

/// A host of the service is served with TLS, its own or that of another one on the same host, and this run has not read the certificate for
/// a server that does not serve it yet: nobody is to be answered in plain text there.
fn lacks_certificate(routing: &Routing<'_>, server: &ServerName, desired: &Desired<'_>) -> bool {
    let Some(hosts) = desired.service.proxy.as_ref().map(|proxy| &proxy.hosts) else { return false };
    let meets = |other: &&Desired<'_>| other.service.proxy.iter().flat_map(|proxy| &proxy.hosts).any(|host| hosts.contains(host));
    let mut on_it = routing.desired.iter().filter(|other| other.to.is_some()).filter(meets);
    on_it.any(|other| lacks_its_own(routing, server, other))
}

fn lacks_its_own(routing: &Routing<'_>, server: &ServerName, desired: &Desired<'_>) -> bool {
    let Some(proxy) = desired.service.proxy.as_ref().filter(|proxy| proxy.tls.is_some() && !proxy.hosts.is_empty()) else { return false };
    let serves = desired.present.and_then(|present| present.routes.get(server)).is_some_and(|route| !route.hosts.is_empty());
    is_edge(routing.inventory, server) && !serves && front_tls(routing, server, desired, proxy).is_none()
}

/// The file of the project's hosts in a generation that holds these files, of whatever projects, those of the app ports that they are served
/// from, and the pages that it leads to. What is no more a part of the generation goes.
///
/// # Errors
/// [`RenderError`] where a template is at fault.
pub(super) fn add_hosts(
    routing: &Routing<'_>,
    live: &BTreeMap<String, String>,
    ours: &mut BTreeMap<String, String>,
    remove: &mut Vec<String>,
) -> Result<(), RenderError> {
    let carried = live.iter().filter(|(path, _)| !remove.contains(*path) && !ours.contains_key(*path));
    let services = services(routing, carried.chain(&*ours));
    let mut made: BTreeMap<String, String> =
        render_hosts(routing.templates, &main_settings(&routing.inventory.nginx), &services)?.into_iter().collect();
    for service in services.iter().filter(|service| !service.hosts.is_empty()) {
        for kind in page_kinds(&service.front) {
            let path = page_path(service, &kind);
            // What is not in the playbook, or is left as it is, keeps its pages.
            let is_ours = routing.desired.iter().any(|desired| *desired.name == service.service && !desired.as_routed);
            let (own, there) = (page(routing, service, &kind), live.get(&path).cloned());
            let text = if is_ours { own } else { there.or(own) }.unwrap_or_else(|| usual_page(&kind));
            made.insert(path, text);
        }
    }
    for service in &services {
        made.extend(render_app(routing.templates, service)?);
    }
    let (project, env) = (&routing.playbook.project, &routing.playbook.env);
    let (hosts, pages) = (hosts_path(project, env), format!("pages/{project}.{env}."));
    let is_ours = |path: &str| path == hosts || path.starts_with(&pages) || is_app_file_of(project, env, path);
    remove.extend(live.keys().filter(|path| is_ours(path) && !made.contains_key(*path)).cloned());
    ours.extend(made);
    Ok(())
}

/// What this server's NGINX routes of the project, in the order of the files' names, once everything that moves has moved and what goes is
/// gone.
///
/// # Errors
/// [`RenderError`] where a template is at fault.
pub(super) fn in_the_end(routing: &Routing<'_>, server: &ServerName) -> Result<Vec<MeshService>, RenderError> {
    let moved = routing.desired.iter().filter(|desired| desired.moves()).map(|desired| desired.name).collect();
    let mut files = routing.fleet.get(server).map(|facts| facts.nginx.files.clone()).unwrap_or_default();
    if let Some(generation) = routing.generation(server, &moved)? {
        files.retain(|path, _| !generation.remove.contains(path));
        files.extend(generation.files);
    }
    Ok(services(routing, files.iter()))
}

/// A page of the user's that the server has is another one in the playbook by now.
#[must_use]
pub(super) fn has_other_pages(routing: &Routing<'_>, server: &ServerName, route: &MeshService) -> bool {
    let Some(facts) = routing.fleet.get(server).filter(|_| !route.hosts.is_empty()) else { return false };
    page_kinds(&route.front).iter().any(|kind| {
        let there = facts.nginx.files.get(&page_path(route, kind));
        page(routing, route, kind).is_some_and(|own| there.is_some_and(|there| *there != own))
    })
}

/// The user's own page.
fn page(routing: &Routing<'_>, service: &MeshService, kind: &str) -> Option<String> {
    let proxy = routing.playbook.services.get(&service.service)?.proxy.as_ref()?;
    let named = match kind {
        MAINTENANCE => proxy.maintenance_page.as_ref(),
        code => proxy.error_pages.get(&code.parse().ok()?),
    };
    routing.playbook.pages.get(named?).cloned()
}

/// A page for whoever has none of their own.
fn usual_page(kind: &str) -> String {
    let (title, text) = match kind {
        MAINTENANCE => ("Back soon", "This site is being worked on, and will be back soon."),
        code => (code, "This page cannot be shown."),
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<h1>{title}</h1>\n<p>{text}</p>\n</html>\n"
    )
}

/// The services of this project among these files, of whatever projects, in the order of the files' names.
fn services<'f>(routing: &Routing<'_>, files: impl Iterator<Item = (&'f String, &'f String)>) -> Vec<MeshService> {
    let (project, env) = (&routing.playbook.project, &routing.playbook.env);
    let prefix = layout::stems(project, env);
    let named = files.filter(|(path, _)| is_service_file(path)).filter_map(|(path, text)| Some((path.split_once('/')?.1, text)));
    let ours = named.filter(|(name, _)| name.starts_with(&prefix)).filter_map(|(name, text)| Some((name, read_service(text).ok()?)));
    let ours: BTreeMap<&str, MeshService> = ours.filter(|(_, service)| service.project == *project && service.env == *env).collect();
    ours.into_values().collect()
}

/// Whether a server's NGINX is to be reached from outside.
#[must_use]
pub(super) fn ingress_of(inventory: &Inventory, server: &ServerName) -> Ingress {
    if is_edge(inventory, server) { inventory.nginx.ingress } else { Ingress::Off }
}

/// Where public hosts are out of reach.
#[must_use]
pub(super) fn findings(routing: &Routing<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for desired in routing.desired.iter().filter(|desired| desired.to.is_some()) {
        let Some(proxy) = desired.service.proxy.as_ref().filter(|proxy| !proxy.hosts.is_empty()) else { continue };
        let mut warn = |text: String, hint: &str| {
            findings.push(Finding {
                level: Level::Warning,
                server: None,
                service: Some(desired.name.clone()),
                text,
                hint: hint.to_owned(),
            });
        };
        let alone = routing.mode == BackendMode::SingleServer && !desired.servers.iter().any(|at| is_edge(routing.inventory, at));
        if alone && !desired.servers.is_empty() {
            let at = server_list(&desired.servers);
            warn(
                format!("`proxy.hosts` is served nowhere: all services run on {at} alone, which has no tag of `edge`"),
                "give that server the tag, or run the services where it is",
            );
        }
        let bare: Vec<&str> =
            routing.fleet.keys().filter(|server| lacks_certificate(routing, server, desired)).map(ServerName::as_str).collect();
        if !bare.is_empty() {
            warn(
                format!("`proxy.hosts` is not served on {}: its certificate is not there, and not read by this run", bare.join(", ")),
                "`flipside deploy` of this service brings it there",
            );
        }
        for port in [Some(80), proxy.tls.as_ref().map(|_| 443)].into_iter().flatten() {
            let opens = |server: &ServerName| adopt::public_ports_later(routing, server).contains(&port);
            let is_out =
                |server: &ServerName, facts: &Facts| is_edge(routing.inventory, server) && is_closed(facts, port) && !opens(server);
            let closed: Vec<&str> =
                routing.fleet.iter().filter(|(server, facts)| is_out(server, facts)).map(|(server, _)| server.as_str()).collect();
            if !closed.is_empty() {
                warn(
                    format!("`proxy.hosts` is not reachable from outside on {}: NGINX runs there without port {port}", closed.join(", ")),
                    &format!(
                        "free port {port} and remove flipside_nginx there at a moment of your choice; the next deploy sets it up again"
                    ),
                );
            }
        }
    }
    findings
}

fn is_closed(facts: &Facts, port: u16) -> bool {
    let nginx = facts.containers.iter().find(|container| container.name == layout::NGINX_CONTAINER);
    nginx.is_some_and(|nginx| nginx.published.iter().all(|published| published.host_port != port))
}
