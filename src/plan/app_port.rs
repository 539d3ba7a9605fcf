//! Public hosts that are served from another port of the containers than the service's own: what is said where those that serve do not have
//! it, and the questions whether NGINX reaches it. Deliberately absent: the port's number on a server (`claims`), and who serves what (`fronts`).
use super::backends::is_name;
use super::present::PresentService;
use super::routes::Routing;
use super::steps::plain;
use super::target::Desired;
use super::types::{Change, Finding, Level, Step};
use crate::config::Service;
use crate::model::{Action, Millis, ProbeKind, Protocol, RouteCheck, ServerName, Side, label};
use crate::nginx::app_path;
use crate::script::layout;

/// Why the hosts of a service are not served from the port that the playbook says, or not at all. None where they are.
pub(super) fn lack(service: &Service, present: &PresentService<'_>, live: Side) -> Option<String> {
    let wanted = service.app_port()?;
    let unit = present.side(live).next()?;
    if present.side(live).any(|unit| unit.label(label::APP_PORT).is_some()) {
        return None;
    }
    let why = format!("what runs was started without `app_port` {wanted}");
    let is_http = present.level_routes().any(|route| route.protocol == Protocol::Http);
    Some(match unit.number::<u16>(label::PORT).filter(|_| is_http) {
        Some(port) => format!("its public hosts are served from port {port}: {why}"),
        None => format!("its public hosts are not served: {why}"),
    })
}

/// What serves once the plan is done has no such port: it was left as it is, or an older release is gone back to.
#[must_use]
pub(super) fn findings(routing: &Routing<'_>) -> Vec<Finding> {
    let stays = |desired: &&Desired<'_>| !desired.moves() || desired.change == Change::Restore;
    let lacking = routing.desired.iter().filter(stays).filter_map(|desired| {
        let text = lack(desired.service, desired.present?, desired.to?)?;
        Some(Finding {
            level: Level::Warning,
            server: None,
            service: Some(desired.name.clone()),
            text,
            hint: "`flipside deploy` of this service starts it with that port".to_owned(),
        })
    });
    lacking.collect()
}

/// After the switch, through the upstream that public requests get.
pub(super) fn route_check(routing: &Routing<'_>, server: &ServerName, desired: &Desired<'_>, side: Side) -> Option<Step> {
    let root = &routing.inventory.servers.get(server)?.remote_root;
    let socket = layout::run_file(root, &routing.playbook.project, &routing.playbook.env, desired.name, layout::APP_SOCKET);
    let (port, check) = question(routing, server, desired, side, socket)?;
    let title = format!("check that public requests reach {} at {port}", desired.name);
    Some(plain(title, Action::CheckRoute(check)).of(desired.name))
}

/// Before the switch, through the upstream that gets public requests then, as for the service's own port. None where NGINX does not know
/// the name with this port yet: no host is served by what is live.
pub(super) fn found_check(routing: &Routing<'_>, server: &ServerName, desired: &Desired<'_>) -> Option<Step> {
    let (from, to) = (desired.from?, desired.to?);
    let path = app_path(&routing.playbook.project, &routing.playbook.env, desired.name);
    let text = routing.fleet.get(server)?.nginx.files.get(&path);
    let is_asked = text.is_some_and(|text| text.contains(layout::APP_WAITING_SOCKET)) || routing.announces(server, desired);
    let by_name = routing.backends(server, desired, to).iter().any(is_name);
    if !desired.moves() || from == to || !is_asked || !by_name {
        return None;
    }
    // HTTP/1.1 is no question to a port that speaks gRPC, nor the other way round.
    let routed = desired.present?.routes.get(server)?.front.grpc;
    let (hosts, front) = routing.hosts(server, desired, from);
    let grpc = if routing.announces(server, desired) { front.grpc } else { routed };
    if hosts.is_empty() || desired.service.proxy.as_ref()?.front.grpc != grpc {
        return None;
    }
    let root = &routing.inventory.servers.get(server)?.remote_root;
    let socket = layout::run_file(root, &routing.playbook.project, &routing.playbook.env, desired.name, layout::APP_WAITING_SOCKET);
    let (port, check) = question(routing, server, desired, to, socket)?;
    let title = format!("check that NGINX finds the {to} side of {} at {port}", desired.name);
    Some(plain(title, Action::CheckRoute(check)).of(desired.name))
}

/// In words which port, and what is asked there as the first host's clients ask.
fn question(routing: &Routing<'_>, server: &ServerName, desired: &Desired<'_>, side: Side, socket: String) -> Option<(String, RouteCheck)> {
    let backends = routing.backends(server, desired, side);
    let is_served = backends.iter().any(|backend| backend.app_port.is_some()) && !routing.hosts(server, desired, side).0.is_empty();
    let proxy = desired.service.proxy.as_ref().filter(|_| is_served)?;
    let there = || desired.present?.side(side).find_map(|unit| unit.number(label::APP_PORT));
    let number: Option<u16> = if routing.is_new(desired, side) { None } else { there() };
    let port = format!("app port {}", number.or(desired.service.app_port())?);
    let path = if proxy.front.strip_prefix { "/".to_owned() } else { proxy.front.path_prefix.clone() };
    let kind = ProbeKind::Http { path, host: proxy.hosts.first()?.clone() };
    Some((port.clone(), RouteCheck { service: format!("{} ({port})", desired.name), socket, kind, deadline: Millis::seconds(15) }))
}
