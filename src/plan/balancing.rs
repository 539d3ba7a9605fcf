//! Which backends of a service take requests, and which wait until those do not answer: zones, and copies in reserve.
//! Deliberately absent: which backends there are (`routes`), and how NGINX is told.
use super::routes::Routing;
use super::target::Desired;
use super::types::{Finding, Level};
use crate::config::{Inventory, Takes, ZoneRouting};
use crate::model::{Method, Protocol, ServerName, Upstream, Zone};
use crate::nginx::{BackendRole, MeshBackend};
use std::collections::BTreeSet;

/// Gives the backends of one service on `server`'s NGINX their roles.
pub(super) fn assign_roles(routing: &Routing<'_>, server: &ServerName, desired: &Desired<'_>, backends: &mut [MeshBackend]) {
    let balance = &desired.service.balance;
    match balance.takes {
        Takes::First(n_active) => {
            // The same for every NGINX of the fleet: the order of `servers`, or that of the names.
            let named = |at: &ServerName| desired.service.servers.iter().position(|named| named == at).unwrap_or(usize::MAX);
            let mut order: Vec<(usize, ServerName, u32)> =
                backends.iter().map(|backend| (named(&backend.server), backend.server.clone(), backend.replica)).collect();
            order.sort();
            order.truncate(n_active as usize);
            for backend in backends.iter_mut() {
                let is_active = order.iter().any(|(_, at, replica)| *at == backend.server && *replica == backend.replica);
                backend.role = if is_active { BackendRole::Live } else { BackendRole::Backup };
            }
        }
        Takes::All if balance.zone_routing == ZoneRouting::Local && may_wait(desired) => {
            let own = zone(routing, server);
            let is_local = |backend: &MeshBackend| zone(routing, &backend.server) == own;
            if !backends.iter().any(is_local) {
                return;
            }
            for backend in backends.iter_mut().filter(|backend| !is_local(backend)) {
                backend.role = BackendRole::Backup;
            }
        }
        Takes::All => {}
    }
}

/// How NGINX spreads requests: what NGINX Plus alone has is left out elsewhere.
#[must_use]
pub(super) fn upstream(inventory: &Inventory, desired: &Desired<'_>) -> Upstream {
    let balance = &desired.service.balance;
    let plus = inventory.nginx.plus;
    let slow_start = balance.upstream.slow_start.filter(|_| plus);
    Upstream { slow_start, checks: balance.active_checks.clone().filter(|_| plus), ..balance.upstream.clone() }
}

/// NGINX refuses `backup` with some methods.
fn may_wait(desired: &Desired<'_>) -> bool {
    desired.service.balance.upstream.method.as_ref().is_none_or(Method::has_backups)
}

fn zone<'a>(routing: &Routing<'a>, server: &ServerName) -> Option<&'a Zone> {
    routing.inventory.servers.get(server)?.zone.as_ref()
}

/// What of `balance` does not do what one may think it does.
#[must_use]
pub(super) fn check(routing: &Routing<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for desired in routing.desired.iter().filter(|desired| desired.to.is_some() && desired.service.port.is_some()) {
        let balance = &desired.service.balance;
        let servers: BTreeSet<&ServerName> = desired.servers.iter().chain(&desired.away).collect();
        let n_copies = servers.len() * desired.replicas.len();
        let mut push = |level, text: String, hint: &str| {
            findings.push(Finding { level, server: None, service: Some(desired.name.clone()), text, hint: hint.to_owned() });
        };
        match balance.takes {
            Takes::First(n_active) if n_active as usize >= n_copies => push(
                Level::Warning,
                format!("`strategy = \"active-passive\"` with {n_active} active of {n_copies}: no copy waits"),
                "more servers or replicas, or a smaller `active`",
            ),
            Takes::First(_) | Takes::All => {}
        }
        if n_copies == 1 && balance.upstream.max_fails != Upstream::default().max_fails {
            push(Level::Note, "`max_fails` has no effect on the only copy: NGINX never takes it out".to_owned(), "");
        }
        if balance.upstream.slow_start.is_some() && !routing.inventory.nginx.plus {
            push(
                Level::Warning,
                "`slow_start` has no effect: open-source NGINX does not have it".to_owned(),
                "leave it out; or say `plus = true` in `[nginx]` of the inventory, where the image is NGINX Plus",
            );
        }
        if balance.active_checks.is_some() && n_copies == 1 && !routing.inventory.nginx.plus {
            push(Level::Note, "`active_checks` have no effect on the only copy: the last one is never taken out".to_owned(), "");
        }
        let zones: BTreeSet<Option<&Zone>> = servers.iter().map(|server| zone(routing, server)).collect();
        if zones.len() > 1 && !may_wait(desired) && balance.takes == Takes::All && balance.zone_routing == ZoneRouting::Local {
            let method = balance.upstream.method.as_ref().map_or("", Method::as_str);
            push(
                Level::Note,
                format!("with `{method}` every zone's copies take requests from everywhere: NGINX keeps none in reserve with it"),
                "say so with `zone_routing = \"global\"`",
            );
        }
        let by_client = balance.upstream.method == Some(Method::IpHash);
        let has_hosts = desired.service.proxy.as_ref().is_some_and(|proxy| !proxy.hosts.is_empty());
        let is_served = desired.service.protocol == Protocol::Http || desired.service.app_port().is_some();
        if by_client && n_copies > 1 && !(has_hosts && is_served) {
            push(
                Level::Warning,
                "`ip_hash` sees the fleet's own clients, which come through doors, as one: all of them go to the same copy".to_owned(),
                "use `least_conn`, or `hash` by what tells them apart",
            );
        }
    }
    findings
}
