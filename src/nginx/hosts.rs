//! The file of a project's public hosts: one `server` a set of services that share their hosts, one `location` a service. It is made from
//! the services' own files alone, and never read back. Deliberately absent: backends; requests go to the upstream of the live side, its own
//! or that of its app port (see `app`).
use super::app::is_app_file;
use super::error::RenderError;
use super::header::APP_UPSTREAM;
use super::render::{canary, live, nginx_time, tries};
use super::templates::{HOSTS, Templates};
use super::types::{MainSettings, MeshService};
use crate::model::{EnvName, Front, Millis, ProjectName};
use crate::script::layout;
use minijinja::{Value, context};
use std::collections::{BTreeMap, BTreeSet};

/// What such a file's name ends with. No service's does: names have no dots.
const ENDING: &str = ".hosts.conf";

/// Where it lies below its generation's folder.
#[must_use]
pub fn hosts_path(project: &ProjectName, env: &EnvName) -> String {
    format!("http.d/{project}.{env}{ENDING}")
}

/// Where the pages of a service lie, up to their kind: `maintenance.html`, `502.html`. Names have no dots: nobody else's begin so.
#[must_use]
pub fn page_path(service: &MeshService, kind: &str) -> String {
    format!("pages/{}.{}.{}.{kind}.html", service.project, service.env, service.service)
}

/// The pages that a service's place in the file of hosts leads to: the one of its maintenance, where it is in it, and those of statuses.
#[must_use]
pub fn page_kinds(front: &Front) -> Vec<String> {
    let maintenance = front.maintenance.then(|| MAINTENANCE.to_owned());
    maintenance.into_iter().chain(front.error_pages.iter().map(u16::to_string)).collect()
}

/// The kind of the page of a service in maintenance.
pub const MAINTENANCE: &str = "maintenance";

/// The path is that of a project's public hosts.
#[must_use]
pub fn is_hosts_file(path: &str) -> bool {
    path.starts_with("http.d/") && path.ends_with(ENDING)
}

/// The path is that of a service's own file, which [`super::read_service`] reads.
#[must_use]
pub fn is_service_file(path: &str) -> bool {
    (path.starts_with("stream.d/") || path.starts_with("http.d/")) && !is_hosts_file(path) && !is_app_file(path)
}

/// The file of the hosts of these services, which are one project's in one environment: its path, and its text. None without any host.
///
/// Of two services with the same host and prefix the first by name is asked.
///
/// # Errors
/// [`RenderError::Template`] where a template of the user's is at fault.
pub fn render_hosts(
    templates: &Templates,
    settings: &MainSettings,
    services: &[MeshService],
) -> Result<Option<(String, String)>, RenderError> {
    let mut by_host: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (index, service) in services.iter().enumerate() {
        for host in &service.hosts {
            by_host.entry(host).or_default().insert(index);
        }
    }
    let Some(first) = by_host.values().flatten().next().and_then(|index| services.get(*index)) else { return Ok(None) };
    // Hosts that lead to the same services share a block.
    let mut blocks: BTreeMap<&BTreeSet<usize>, Vec<&str>> = BTreeMap::new();
    for (host, of) in &by_host {
        blocks.entry(of).or_default().push(host);
    }
    let mut blocks: Vec<(Vec<&str>, Vec<&MeshService>)> =
        blocks.into_iter().map(|(of, hosts)| (hosts, of.iter().filter_map(|index| services.get(*index)).collect())).collect();
    blocks.sort_by(|a, b| a.0.cmp(&b.0));
    let path = hosts_path(&first.project, &first.env);
    let context = context! {
        project => first.project.as_str(),
        env => first.env.as_str(),
        trusted_proxies => settings.trusted_proxies.clone(),
        canaries => services.iter().filter(|service| !service.hosts.is_empty()).filter_map(canary_of).collect::<Vec<Value>>(),
        hosts => blocks.iter().map(|(names, of)| host_value(names, of)).collect::<Vec<Value>>(),
    };
    let text = templates.render(HOSTS, context).map_err(|source| RenderError::Template { object: path.clone(), source })?;
    Ok(Some((path, text)))
}

fn host_value(names: &[&str], services: &[&MeshService]) -> Value {
    let mut taken = BTreeSet::new();
    let places: Vec<&MeshService> = services.iter().filter(|service| taken.insert(&service.front.path_prefix)).copied().collect();
    let snippets: Vec<&str> = places.iter().map(|service| service.front.snippets.server.as_str()).filter(|text| !text.is_empty()).collect();
    let tls = services.iter().find_map(|service| service.front.tls.as_ref());
    context! {
        tls => tls.map(|tls| context! {
            certificate => tls.certificate.as_str(),
            key => tls.key.as_str(),
            redirect => tls.redirect,
            hsts => tls.hsts.map(|time| time.seconds_ceil()),
            // gRPC is nothing else.
            http2 => tls.http2 || services.iter().any(|service| service.front.grpc),
        }),
        names => names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>(),
        has_errors => places.iter().any(|service| !service.front.error_pages.is_empty()),
        has_maintenance => places.iter().any(|service| service.front.maintenance),
        mount => layout::MOUNT,
        has_root => taken.iter().any(|prefix| *prefix == "/"),
        snippet => indented(&snippets.join("\n"), 4),
        places => places.iter().map(|service| place_value(names, service)).collect::<Vec<Value>>(),
    }
}

/// The upstream that requests for public hosts go to.
pub(super) fn passed_to(service: &MeshService, name: &str) -> String {
    match (service.has_app_port(service.live), live(service, name)) {
        (false, live) => live,
        (true, live) => match live.strip_prefix('$') {
            Some(variable) => format!("${{{variable}}}{APP_UPSTREAM}"),
            None => format!("{live}{APP_UPSTREAM}"),
        },
    }
}

fn canary_of(service: &MeshService) -> Option<Value> {
    canary(service, &layout::stem(&service.project, &service.env, &service.service))
}

fn place_value(names: &[&str], service: &MeshService) -> Value {
    let front = &service.front;
    let prefix = front.path_prefix.as_str();
    let name = layout::stem(&service.project, &service.env, &service.service);
    let usual = Front::default();
    let unusual = |time: Millis, usual: Millis| (time != usual).then(|| nginx_time(time));
    context! {
        service => service.service.as_str(),
        live => passed_to(service, &name),
        canary => canary_of(service),
        pages => format!("{}.{}.{}.", service.project, service.env, service.service),
        // `/api` is the path itself and what is below it, and not `/apis`.
        matches => if prefix == "/" { vec!["/".to_owned()] } else { vec![format!("= {prefix}"), format!("{prefix}/")] },
        strip => front.strip_prefix.then_some(prefix),
        redirects => own_redirects(names, prefix),
        maintenance => front.maintenance.then(|| page_name(service, MAINTENANCE)),
        errors => front.error_pages.iter().map(|code| context! { code => code, page => page_name(service, &code.to_string()) }).collect::<Vec<Value>>(),
        grpc => front.grpc,
        body_size => front.body_size,
        connect => unusual(front.connect, usual.connect),
        read => unusual(front.read, usual.read),
        send => unusual(front.send, usual.send),
        unbuffered => !front.buffering,
        tries => tries(&service.upstream),
        snippet => indented(&front.snippets.location, 8),
    }
}

/// Redirects of an app that knows nothing of its prefix: to a path, or to a path of these hosts. One that has the prefix already is left
/// as it is. The parts before and behind the prefix are captured.
fn own_redirects(names: &[&str], prefix: &str) -> String {
    let (names, prefix) = (names.join("|").replace('.', "\\."), prefix.trim_start_matches('/').replace('.', "\\."));
    format!("~^(https?://(?:{names})(?::[0-9]+)?)?/(?!/)(?!{prefix}(?:[/?#]|$))(.*)$")
}

/// The page's path in its folder.
fn page_name(service: &MeshService, kind: &str) -> String {
    page_path(service, kind).trim_start_matches("pages/").to_owned()
}

/// The lines of a text as they stand in a block; the first is where the template has it.
fn indented(text: &str, by: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join(&format!("\n{}", " ".repeat(by)))
}
