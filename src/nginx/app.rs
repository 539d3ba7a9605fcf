//! Where public hosts are served from another port of the containers than the service's own: a file with upstreams of that port, one a side.
//! It is made from the service's own file alone, and never read back. Deliberately absent: the hosts, whose file passes requests on to these
//! upstreams (see `hosts`).
use super::error::RenderError;
use super::header::app_upstream;
use super::hosts::passed_to;
use super::render::{backend_value, canary, fails, method, promoted, slow_start};
use super::templates::{APP, Templates};
use super::types::{MeshBackend, MeshService};
use crate::model::{EnvName, ProjectName, Protocol, ServiceName, Side};
use crate::script::layout;
use minijinja::{Value, context};

/// What such a file's name ends with. No service's does, nor a project's file of hosts: names have no dots.
const ENDING: &str = ".app.conf";

/// The file of a service below its generation's folder.
#[must_use]
pub fn app_path(project: &ProjectName, env: &EnvName, service: &ServiceName) -> String {
    format!("http.d/{project}.{env}.{service}{ENDING}")
}

/// The path is that of a service's app port.
#[must_use]
pub fn is_app_file(path: &str) -> bool {
    path.starts_with("http.d/") && path.ends_with(ENDING)
}

/// The path is that of an app port of this project in this environment.
#[must_use]
pub fn is_app_file_of(project: &ProjectName, env: &EnvName, path: &str) -> bool {
    is_app_file(path) && path.starts_with(&format!("http.d/{project}.{env}."))
}

/// The file of a service's app port: its path, and its text. None where it has no hosts on this server, or serves them from its own port.
///
/// # Errors
/// [`RenderError::Template`] where a template of the user's is at fault.
pub fn render_app(templates: &Templates, service: &MeshService) -> Result<Option<(String, String)>, RenderError> {
    let sides = [service.live, service.live.other()].into_iter().filter(|side| service.has_app_port(*side));
    let sides: Vec<(Side, MeshService)> = sides.map(|side| (side, at_app_port(service, side))).collect();
    if sides.is_empty() || service.hosts.is_empty() {
        return Ok(None);
    }
    let name = layout::stem(&service.project, &service.env, &service.service);
    let has = |side: Side| service.has_app_port(side);
    let socket = |ending: &str| layout::run_file_inside(&name, ending);
    let split = canary(service, &name).filter(|_| has(service.live) && service.protocol != Protocol::Http);
    let path = app_path(&service.project, &service.env, &service.service);
    let context = context! {
        project => service.project.as_str(),
        env => service.env.as_str(),
        service => service.service.as_str(),
        zone_kib => 64 + 4 * service.backends.len(),
        slow_start => slow_start(service),
        upstreams => sides.iter().map(|(side, of)| upstream_value(of, &name, *side)).collect::<Vec<Value>>(),
        // In http the service's own file has it.
        canary => split,
        grpc => service.front.grpc,
        live => has(service.live).then(|| context! { name => passed_to(service, &name), socket => socket(layout::APP_SOCKET) }),
        waiting => has(service.live.other()).then(|| context! {
            name => app_upstream(&name, service.live.other()),
            socket => socket(layout::APP_WAITING_SOCKET),
        }),
    };
    let text = templates.render(APP, context).map_err(|source| RenderError::Template { object: path.clone(), source })?;
    Ok(Some((path, text)))
}

/// One side of it as if its app port were its own. What has none is left out: nothing of it may reach the public.
fn at_app_port(service: &MeshService, side: Side) -> MeshService {
    let backends = service.backends.iter().filter(|backend| backend.side == side);
    let backends = backends.filter_map(|backend| Some(MeshBackend { backend: backend.app()?, ..backend.clone() })).collect();
    promoted(&MeshService { backends, ..service.clone() })
}

fn upstream_value(of: &MeshService, name: &str, side: Side) -> Value {
    let n_active = of.backends.iter().filter(|backend| backend.role.takes_traffic()).count();
    let n_serving = of.backends.iter().filter(|backend| backend.takes_traffic()).count();
    context! {
        name => app_upstream(name, side),
        // It speaks HTTP, whatever the service's own port speaks.
        method => method(of, Protocol::Http, of.backends.len()),
        fails => fails(&of.upstream, n_active, n_serving),
        backends => of.backends.iter().map(|backend| backend_value(backend, "")).collect::<Vec<Value>>(),
    }
}
