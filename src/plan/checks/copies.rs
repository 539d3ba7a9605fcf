//! The copies that active checks ask, and from where: as the traffic comes, from servers whose NGINX routes there. Deliberately absent:
//! asking them, and what follows from the answers.
use super::out::copy_at;
use crate::config::{Inventory, Playbook};
use crate::model::{ActiveChecks, CopyAt, Protocol, ServerName, ServiceName, Side, Standing};
use crate::nginx::MeshService;
use crate::plan::present::{Fleet, PresentService, present};
use crate::plan::types::{Finding, Level};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// A copy is asked from so many servers at most: its own, and those next to it by name.
const VANTAGES: usize = 3;

/// One copy that is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyCheck {
    /// Which.
    pub at: CopyAt,
    /// Whether NGINX gives it traffic.
    pub standing: Standing,
    /// Where NGINX reaches it.
    pub address: Ipv4Addr,
    /// See `address`.
    pub port: u16,
    /// What it is asked, how often, and what follows.
    pub checks: ActiveChecks,
    /// The servers to ask it from.
    pub from: Vec<ServerName>,
    /// The container's id; empty where its server does not answer. One that is started again is still the one that failed.
    pub stamp: String,
}

/// The copies of the services that the playbook has checked, of all or of those that are `selected`; and why some are not.
#[must_use]
pub fn copy_checks(
    playbook: &Playbook,
    inventory: &Inventory,
    fleet: &Fleet,
    selected: &BTreeSet<ServiceName>,
) -> (Vec<CopyCheck>, Vec<Finding>) {
    let present = present(&playbook.project, &playbook.env, fleet);
    let (mut copies, mut findings) = (Vec::new(), Vec::new());
    for (name, settings) in playbook.services.iter().filter(|(name, _)| selected.is_empty() || selected.contains(*name)) {
        let Some(checks) = &settings.balance.active_checks else { continue };
        let mut skip = |text: &str, hint: &str| {
            let (text, hint) = (format!("it is not checked: {text}"), hint.to_owned());
            findings.push(Finding { level: Level::Warning, server: None, service: Some(name.clone()), text, hint });
        };
        if inventory.nginx.plus {
            skip("NGINX Plus checks it by itself", "");
            continue;
        }
        let Some((service, live)) = present.services.get(name).and_then(|service| Some((service, service.live()?))) else {
            skip("it is not deployed", "");
            continue;
        };
        if service.is_split() {
            skip("servers route different sides, since a run was cut off or goes on", "");
            continue;
        }
        copies.extend(of_service(name, service, live, checks));
    }
    (copies, findings)
}

fn of_service(name: &ServiceName, service: &PresentService<'_>, live: Side, checks: &ActiveChecks) -> Vec<CopyCheck> {
    let mut copies: BTreeMap<CopyAt, CopyCheck> = BTreeMap::new();
    for (server, route) in level(service, live) {
        for backend in route.backends.iter().filter(|backend| backend.side == live && backend.role.takes_traffic()) {
            let at = copy_at(name, backend);
            let (address, port) = backend.backend.socket();
            let path = match route.protocol {
                Protocol::Http => checks.path.clone(),
                Protocol::Tcp => None,
                Protocol::Udp => continue,
            };
            let copy = copies.entry(at.clone()).or_insert_with(|| CopyCheck {
                standing: Standing::In,
                address,
                port,
                checks: ActiveChecks { path, ..checks.clone() },
                from: Vec::new(),
                stamp: stamp(service, &at),
                at,
            });
            copy.from.push(server.clone());
            if backend.standing == Standing::Out {
                copy.standing = Standing::Out;
            }
        }
    }
    let mut copies: Vec<CopyCheck> = copies.into_values().collect();
    copies.iter_mut().for_each(|copy| copy.from = nearest(std::mem::take(&mut copy.from), &copy.at.server));
    copies
}

/// How the servers route it that are not behind, and that have its live side.
pub(super) fn level<'a>(service: &'a PresentService<'_>, live: Side) -> impl Iterator<Item = (&'a ServerName, &'a MeshService)> {
    service.routes.iter().filter(move |(server, route)| route.live == live && !service.behind.contains(*server))
}

fn stamp(service: &PresentService<'_>, at: &CopyAt) -> String {
    let mut units = service.units.iter().filter(|unit| unit.server == at.server && unit.replica == at.replica && unit.side == at.side);
    units.next().and_then(|unit| unit.app).map(|app| app.id.clone()).unwrap_or_default()
}

/// Its own server first, then those after it by name, and around.
fn nearest(mut servers: Vec<ServerName>, own: &ServerName) -> Vec<ServerName> {
    servers.sort();
    let first = servers.iter().position(|server| server >= own).unwrap_or(0);
    servers.rotate_left(first);
    servers.truncate(VANTAGES);
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_asked_from_its_own_server_and_two_others() {
        let names = |list: &[&str]| list.iter().map(|name| ServerName::new(*name).unwrap()).collect::<Vec<_>>();
        let own = ServerName::new("c").unwrap();
        assert_eq!(nearest(names(&["e", "a", "d", "c", "b"]), &own), names(&["c", "d", "e"]));
        assert_eq!(nearest(names(&["b", "a"]), &own), names(&["a", "b"]), "its own does not answer");
    }
}
