//! What of a service the outside sees, on each server: its public hosts, how they are served, and the file that says so.
//! Deliberately absent: which backends there are (`routes`), and when a server switches.
use super::certificates::front_tls;
use super::routes::Routing;
use super::target::Desired;
use crate::config::{Inventory, NginxSettings};
use crate::model::{Front, Protocol, ServerName};
use crate::nginx::{MainSettings, MeshService, RenderError, hosts_path, read_service, render_hosts};
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

/// The public hosts of a service on this server, and how they are served. How it is asked in the mesh, by HTTP/1.1 or gRPC, is the same
/// on every server.
#[must_use]
pub(super) fn front(routing: &Routing<'_>, server: &ServerName, desired: &Desired<'_>, protocol: Protocol) -> (Vec<String>, Front) {
    let Some(proxy) = desired.service.proxy.as_ref().filter(|_| protocol == Protocol::Http) else {
        return (Vec::new(), Front::default());
    };
    if !is_edge(routing.inventory, server) {
        return (Vec::new(), Front { grpc: proxy.front.grpc, ..Front::default() });
    }
    let tls = front_tls(routing, server, desired, proxy);
    (proxy.hosts.clone(), Front { tls, ..proxy.front.clone() })
}

/// The file of the project's hosts in a generation that holds these services' files, of whatever projects. None where it has no host.
///
/// # Errors
/// [`RenderError`] where a template is at fault.
pub(super) fn hosts_file<'f>(
    routing: &Routing<'_>,
    files: impl Iterator<Item = (&'f String, &'f String)>,
) -> Result<Option<(String, String)>, RenderError> {
    let (project, env) = (&routing.playbook.project, &routing.playbook.env);
    let prefix = format!("http.d/{project}_{env}_");
    let ours = files.filter(|(path, _)| path.starts_with(&prefix)).filter_map(|(path, text)| Some((path, read_service(text).ok()?)));
    let ours: BTreeMap<&String, MeshService> = ours.filter(|(_, service)| service.project == *project && service.env == *env).collect();
    let services: Vec<MeshService> = ours.into_values().collect();
    render_hosts(routing.templates, &main_settings(&routing.inventory.nginx), &services)
}

/// The path of that file.
#[must_use]
pub(super) fn hosts_file_path(routing: &Routing<'_>) -> String {
    hosts_path(&routing.playbook.project, &routing.playbook.env)
}
