//! What a server needs before its first service: folders, networks, NGINX, the host's door, images. Deliberately absent: services.
use super::adopt;
use super::containers::digest;
use super::fronts::{ingress_of, main_settings};
use super::images;
use super::routes::Routing;
use super::steps::plain;
use super::types::{Finding, Level, Step, UndoKind};
use crate::config::{Ingress, Server};
use crate::facts::{ContainerFact, ContainerState, Facts, PublishedFact};
use crate::model::{Action, ContainerSpec, Publish, ServerName, ServiceName, label, network_name};
use crate::nginx::{
    DoorForward, HostDoor, MeshAddress, MeshService, NginxContainer, RenderError, bootstrap, host_door, nginx_container, read_door,
    read_service, render_door,
};
use crate::script::layout::{self, BOOTSTRAP, HOST_DOOR, MESH_ALIAS, NGINX_CONTAINER};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// The steps that make a server ready for its part of the plan, and what was noticed.
///
/// `images` are those that its new containers run; `hosts_services` says whether it runs any container of the project afterwards.
///
/// # Errors
/// [`RenderError`] where a template is at fault.
pub(super) fn prepare(
    routing: &Routing<'_>,
    server: &ServerName,
    images: &BTreeSet<&str>,
    hosts_services: bool,
    door_text: &str,
) -> Result<(Vec<Step>, Vec<Finding>), RenderError> {
    let (Some(settings), Some(facts)) = (routing.inventory.servers.get(server), routing.fleet.get(server)) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let root = &settings.remote_root;
    let image = routing.inventory.nginx.image.as_str();
    let mut steps = Vec::new();
    let mut findings = Vec::new();
    let nginx = container(facts, NGINX_CONTAINER);
    let door = container(facts, HOST_DOOR);
    steps.extend(routing.drift.first(server));
    let mut wanted_images: BTreeSet<&str> = images.clone();
    if nginx.is_none() || door.is_none() || !adopt::public_ports_later(routing, server).is_empty() {
        wanted_images.insert(image);
    }
    for image in wanted_images {
        if !images::has(facts, image) {
            steps.push(plain(format!("pull {image}"), Action::PullImage { image: image.to_owned() }));
        }
    }
    if facts.nginx.live.is_none() {
        let files = bootstrap(routing.templates, &main_settings(&routing.inventory.nginx))?;
        let generation = crate::model::GenerationId(BOOTSTRAP.to_owned());
        steps.push(plain("write NGINX's first generation, which routes nothing", Action::BootNginx { generation, files }));
    }
    for (site, what) in [(routing.sites.mesh(server), true), (routing.sites.project(server), hosts_services)] {
        if let Some(spec) = site.filter(|_| what).and_then(|site| site.missing.clone()) {
            steps.push(plain(format!("make network {}", spec.name), Action::EnsureNetwork(spec)));
        }
    }
    let later = adopt::public_ports_later(routing, server);
    let publish = ingress(ingress_of(routing.inventory, server), settings, facts, &mut findings, server, &later);
    steps.extend(mesh_container(nginx, nginx_spec(routing, server, settings, publish), server, &mut findings));
    steps.extend(attach_nginx(routing, facts, nginx, hosts_services));
    steps.extend(host_door_steps(facts, door, root, image, door_text, server, &mut findings));
    Ok((steps, findings))
}

/// NGINX as it should run, with these ports.
pub(super) fn nginx_spec(routing: &Routing<'_>, server: &ServerName, settings: &Server, publish: Vec<Publish>) -> ContainerSpec {
    nginx_container(&NginxContainer {
        image: routing.inventory.nginx.image.clone(),
        remote_root: settings.remote_root.clone(),
        address: routing.sites.nginx(server),
        publish,
    })
}

/// The steps that attach NGINX to the networks that it is yet to be attached to.
pub(super) fn attach_nginx(routing: &Routing<'_>, facts: &Facts, nginx: Option<&ContainerFact>, hosts_services: bool) -> Vec<Step> {
    let attach = |network: String| {
        let title = format!("attach NGINX to {network}");
        plain(title, Action::ConnectNetwork { network, container: NGINX_CONTAINER.to_owned(), aliases: vec![MESH_ALIAS.to_owned()] })
    };
    networks(routing, facts, nginx, hosts_services).into_iter().map(attach).collect()
}

/// The ports that NGINX has, or gets when it is run for the first time.
pub(super) fn publish_now(routing: &Routing<'_>, server: &ServerName, settings: &Server, facts: &Facts) -> Vec<Publish> {
    let Some(nginx) = container(facts, NGINX_CONTAINER) else {
        let later = adopt::public_ports_later(routing, server);
        return ingress(ingress_of(routing.inventory, server), settings, facts, &mut Vec::new(), server, &later);
    };
    let published = |port: &PublishedFact| Publish {
        address: port.address.unwrap_or(Ipv4Addr::UNSPECIFIED),
        host_port: port.host_port,
        container_port: port.container_port,
        transport: port.transport.clone(),
    };
    nginx.published.iter().map(published).collect()
}

/// The networks that NGINX is yet to be attached to: the project's, and where it was made anew those of everybody whose routes it found.
fn networks(routing: &Routing<'_>, facts: &Facts, nginx: Option<&ContainerFact>, hosts_services: bool) -> BTreeSet<String> {
    let routed = facts.nginx.files.values().filter_map(|text| read_service(text).ok());
    let mut networks: BTreeSet<String> = routed.map(|service| network_name(&service.project, &service.env)).collect();
    networks.retain(|name| facts.networks.iter().any(|network| network.name == *name));
    if hosts_services {
        networks.insert(network_name(&routing.playbook.project, &routing.playbook.env));
    }
    networks.retain(|name| !nginx.is_some_and(|nginx| nginx.networks.contains_key(name)));
    networks
}

/// Write the host door's file and let a door that runs read it; nothing when it says so already, and the door listens.
#[must_use]
pub(super) fn door_update(facts: &Facts, root: &str, text: &str) -> Vec<Step> {
    let [put, reload] = new_door_text(root, text);
    let runs = container(facts, HOST_DOOR).is_some_and(|door| door.state == ContainerState::Running);
    if facts.nginx.doors.get(&format!("{HOST_DOOR}.conf")).is_some_and(|present| present == text) {
        // A run that was cut off has written it, and the door did not read it.
        let is_deaf = || read_door(text).keys().any(|port| facts.listeners.iter().all(|listener| listener.port != *port));
        return if runs && is_deaf() { vec![reload] } else { Vec::new() };
    }
    if runs { vec![put, reload] } else { vec![put] }
}

/// Write the host door's file, and let the door read it.
#[must_use]
pub(super) fn new_door_text(root: &str, text: &str) -> [Step; 2] {
    let put = Action::PutFile { path: layout::host_door_file(root), mode: 0o644, content: text.to_owned() };
    let reload = Action::ReloadDoor { container: HOST_DOOR.to_owned() };
    [plain("write the host's door file", put), plain("reload the host's door", reload)]
}

fn host_door_steps(
    facts: &Facts,
    door: Option<&ContainerFact>,
    root: &str,
    image: &str,
    text: &str,
    server: &ServerName,
    findings: &mut Vec<Finding>,
) -> Vec<Step> {
    let mut steps = door_update(facts, root, text);
    let n_actions = steps.len();
    // Should NGINX refuse the new text, the door is not to find it when the server is started again: it is the door of all projects.
    let before = facts.nginx.doors.get(&format!("{HOST_DOOR}.conf")).filter(|before| *before != text);
    if let (Some(before), Some(put)) = (before, steps.first_mut()) {
        let undo = new_door_text(root, before).map(|step| step.action);
        *put = put.clone().undone_by(UndoKind::Cleans, undo.into_iter().take(n_actions).collect());
    }
    let spec = host_door(&HostDoor { image: image.to_owned(), remote_root: root.to_owned() });
    steps.extend(mesh_container(door, spec, server, findings));
    steps
}

/// Run a mesh container that is missing, start one that is stopped, and say so when one runs with other settings.
fn mesh_container(present: Option<&ContainerFact>, spec: ContainerSpec, server: &ServerName, findings: &mut Vec<Finding>) -> Vec<Step> {
    let Some(present) = present else {
        let title = format!("start {}", spec.name);
        return vec![plain(title, Action::RunContainer(Box::new(spec)))];
    };
    let name = spec.name.clone();
    let Some(digest) = present.labels.get(label::MESH) else {
        findings.push(Finding {
            level: Level::Fatal,
            server: Some(server.clone()),
            service: None,
            text: format!("a container named {name} is there that Flipside did not start (image {})", present.image),
            hint: format!("rename or remove it: docker rename {name} {name}_old"),
        });
        return Vec::new();
    };
    if spec.labels.get(label::MESH) != Some(digest) {
        findings.push(Finding {
            level: Level::Note,
            server: Some(server.clone()),
            service: None,
            text: format!("{name} runs with other settings than the inventory's (image {}); it is left as it is", present.image),
            hint: format!("to take them up, at a moment of your choice: docker rm -f {name}, then deploy. Connections through it are cut for about a second"),
        });
    }
    if spec.labels.get(label::MESH) == Some(digest) && !present.image.ends_with(&spec.image) {
        findings.push(Finding {
            level: Level::Warning,
            server: Some(server.clone()),
            service: None,
            text: format!("{name} was made anew by hand: it runs image {}, and not {}; it is left as it is", present.image, spec.image),
            hint: format!("to have it as it should be, at a moment of your choice: docker rm -f {name}, then deploy. Connections through it are cut for about a second"),
        });
    }
    match present.state {
        ContainerState::Running => Vec::new(),
        ContainerState::Created
        | ContainerState::Paused
        | ContainerState::Restarting
        | ContainerState::Removing
        | ContainerState::Exited
        | ContainerState::Dead => vec![plain(format!("start {name}"), Action::StartContainer { name })],
    }
}

/// The public ports, but for those that are taken, and those that NGINX gets `later`.
fn ingress(
    ingress: Ingress,
    settings: &Server,
    facts: &Facts,
    findings: &mut Vec<Finding>,
    server: &ServerName,
    later: &BTreeSet<u16>,
) -> Vec<Publish> {
    let Some(address) = adopt::ingress_address(ingress, settings) else { return Vec::new() };
    let new = container(facts, NGINX_CONTAINER).is_none();
    let mut publish = Vec::new();
    for port in [80, 443].into_iter().filter(|port| !later.contains(port)) {
        let taken = facts.listeners.iter().any(|listener| listener.port == port && listener.transport == "tcp");
        if taken && new {
            findings.push(Finding {
                level: Level::Warning,
                server: Some(server.clone()),
                service: None,
                text: format!("port {port} is taken by another program: NGINX does not publish it here"),
                hint: "free the port before NGINX is set up, or set `ingress = \"off\"` under [nginx] in the inventory".to_owned(),
            });
        }
        if !(taken && new) {
            publish.push(Publish { address, host_port: port, container_port: port, transport: "tcp".to_owned() });
        }
    }
    publish
}

/// The text of the host's door on one server: `ours`, and every service that its NGINX routes, of every project, but for those of this
/// project that are `leaving` the ports that they are routed on.
///
/// # Errors
/// [`RenderError`] where a template is at fault.
pub(super) fn host_door_text(
    routing: &Routing<'_>,
    server: &ServerName,
    ours: &[DoorForward],
    leaving: &BTreeSet<&ServiceName>,
) -> Result<String, RenderError> {
    let mut forwards = ours.to_vec();
    if let Some(facts) = routing.fleet.get(server) {
        let routed = facts.nginx.files.values().filter_map(|text| read_service(text).ok());
        let leaves = |service: &MeshService| is_ours(routing, service) && leaving.contains(&service.service);
        forwards.extend(routed.filter(|service| !leaves(service)).map(|service| forward(&service)));
    }
    forwards.sort();
    forwards.dedup();
    let mesh = MeshAddress::Fixed(routing.sites.nginx(server).unwrap_or(Ipv4Addr::LOCALHOST));
    render_door(routing.templates, &forwards, mesh).map(|text| sealed(&text))
}

/// What the host door's file begins with: the digest of what follows tells whether somebody edited it.
const SEAL: &str = "# digest of what follows: ";

/// A text of the host's door that tells whether somebody edited it.
pub(super) fn sealed(text: &str) -> String {
    format!("{SEAL}{}\n{text}", text_digest(text))
}

/// The host door's file is as it was written, or of a version that did not yet tell.
#[must_use]
pub(super) fn is_sealed(text: &str) -> bool {
    let Some((digest, rest)) = text.strip_prefix(SEAL).and_then(|text| text.split_once('\n')) else { return !text.contains(SEAL) };
    text_digest(rest) == digest
}

fn text_digest(text: &str) -> String {
    digest(&text)
}

fn is_ours(routing: &Routing<'_>, service: &MeshService) -> bool {
    service.project == routing.playbook.project && service.env == routing.playbook.env
}

fn forward(service: &MeshService) -> DoorForward {
    DoorForward {
        project: service.project.clone(),
        env: service.env.clone(),
        service: service.service.clone(),
        protocol: service.protocol,
        internal_port: service.internal_port,
    }
}

/// The container of this exact name.
#[must_use]
pub(super) fn container<'a>(facts: &'a Facts, name: &str) -> Option<&'a ContainerFact> {
    facts.containers.iter().find(|container| container.name == name)
}
