//! Services that a plan leaves as they are: how they are routed on, whatever the playbook says of them by now. Deliberately absent: which
//! services these are (`target`), and their backends (`routes`).
use super::certificates::has_certificate;
use super::present::PresentService;
use super::routes::Routing;
use super::target::Desired;
use crate::model::{Backend, Front, Method, Protocol, ServerName, Side};
use crate::nginx::{BackendRole, MeshBackend, MeshService};
use std::collections::BTreeSet;

/// How a service that is left as it is is routed to this side: by this server; where that one routes the other side, is new or was left
/// behind, as by another one, of its zone if there is one. None for a service that is this plan's matter.
fn kept<'r>(routing: &Routing<'r>, server: &ServerName, desired: &Desired<'r>, side: Side) -> Option<(&'r ServerName, &'r MeshService)> {
    let present: &'r PresentService<'r> = desired.present.filter(|_| desired.as_routed)?;
    let zone = |at: &ServerName| routing.inventory.servers.get(at).and_then(|settings| settings.zone.as_ref());
    let routes = present.routes.iter().filter(|(_, route)| route.live == side);
    routes.max_by_key(|(at, route)| {
        let is_level = !present.behind.contains(*at);
        (is_level, *at == server, zone(at) == zone(server), !route.hosts.is_empty())
    })
}

/// Its public hosts on a server of the edge, and how they are served there. None for a service that is this plan's matter.
#[must_use]
pub(super) fn front(
    routing: &Routing<'_>,
    server: &ServerName,
    desired: &Desired<'_>,
    side: Side,
    protocol: Protocol,
) -> Option<(Vec<String>, Front)> {
    let (at, route) = kept(routing, server, desired, side)?;
    let grpc = routing.is_grpc(desired, side);
    let lacks_certificate = at != server && route.front.tls.as_ref().is_some_and(|tls| !has_certificate(routing, server, desired, tls));
    if lacks_certificate {
        return Some((Vec::new(), Front { grpc: grpc && protocol == Protocol::Http, ..Front::default() }));
    }
    let grpc = grpc && (protocol == Protocol::Http || !route.hosts.is_empty());
    Some((route.hosts.clone(), Front { maintenance: desired.maintenance, grpc, ..route.front.clone() }))
}

/// It is balanced as it is, over the same copies or others.
#[must_use]
pub(super) fn balanced(routing: &Routing<'_>, server: &ServerName, desired: &Desired<'_>, new: MeshService) -> MeshService {
    let Some((at, route)) = kept(routing, server, desired, new.live) else { return new };
    let upstream = route.upstream.clone();
    let zone = |at: &ServerName| routing.inventory.servers.get(at).and_then(|settings| settings.zone.as_ref());
    if copies(route) == copies(&new) && (at == server || zone(at) == zone(server)) {
        return MeshService { upstream, backends: route.backends.clone(), ..new };
    }
    // The roles are by the playbook, whose method may be another one.
    let has_backups = upstream.method.as_ref().is_none_or(Method::has_backups);
    let role = |role| if has_backups || role != BackendRole::Backup { role } else { BackendRole::Live };
    let backends = new.backends.into_iter().map(|copy| MeshBackend { role: role(copy.role), ..copy }).collect();
    MeshService { upstream, backends, ..new }
}

fn copies(service: &MeshService) -> BTreeSet<(&Backend, u32, &ServerName)> {
    let live = service.backends.iter().filter(|copy| copy.side == service.live);
    live.map(|copy| (&copy.backend, copy.replica, &copy.server)).collect()
}
