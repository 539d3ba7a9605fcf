//! What catch-up refuses: it brings servers to what the fleet has, so a playbook that wants something else is a deploy's matter, be it new
//! containers or the way in which those that run are served. Deliberately absent: who is behind (`behind`), and the steps (`level`).
use super::aliases::is_named;
use super::fronts;
use super::routes::Routing;
use super::target::{Desired, Wanted};
use super::types::{Finding, Level};
use crate::model::{Front, FrontTls, ServerName};
use crate::nginx::MeshService;
use std::collections::BTreeSet;

/// One finding for each service of which the playbook wants something else than the fleet has. Which copies wait in reserve is not compared:
/// that follows from which there are.
#[must_use]
pub(super) fn findings(routing: &Routing<'_>, wanted: &Wanted) -> Vec<Finding> {
    if !wanted.catch_up {
        return Vec::new();
    }
    let told = routing.desired.iter().filter_map(|desired| {
        let (whose, what) = match desired.moves() {
            true => ("the playbook wants", desired.reason.clone()),
            false => ("the playbook, or the inventory, wants", served_otherwise(routing, desired)?),
        };
        Some(Finding {
            level: Level::Fatal,
            server: None,
            service: Some(desired.name.clone()),
            text: format!("{whose} something else than the fleet has ({what})"),
            hint: "`flipside deploy` does both; catch-up only brings servers to what the fleet has".to_owned(),
        })
    });
    told.collect()
}

/// In what the servers that are level would serve it otherwise. None where nothing of it would change.
fn served_otherwise(routing: &Routing<'_>, desired: &Desired<'_>) -> Option<String> {
    let (present, side) = (desired.present?, desired.from?);
    let is_level = |server: &ServerName, route: &MeshService| {
        routing.fleet.contains_key(server) && !present.behind.contains(server) && route.live == side
    };
    let level = present.routes.iter().filter(|(server, route)| is_level(server, route));
    let differing = level.flat_map(|(server, route)| {
        let new = routing.mesh_service(server, desired, side);
        let pages = fronts::has_other_pages(routing, server, route).then(|| "a page of its hosts is another".to_owned());
        new.map(|new| differences(route, &new)).unwrap_or_default().into_iter().chain(pages)
    });
    let mut all: BTreeSet<String> = differing.collect();
    if desired.service.alias != is_named(routing, desired.name) {
        all.insert("`alias` is another".to_owned());
    }
    (!all.is_empty()).then(|| all.into_iter().collect::<Vec<_>>().join(", "))
}

fn differences(old: &MeshService, new: &MeshService) -> Vec<String> {
    let mut all = Vec::new();
    if old.internal_port != new.internal_port {
        all.push(format!("internal port {} instead of {}", new.internal_port, old.internal_port));
    }
    if old.hosts != new.hosts {
        let named = |hosts: &[String]| if hosts.is_empty() { "none".to_owned() } else { hosts.join(" ") };
        all.push(format!("hosts {} instead of {}", named(&new.hosts), named(&old.hosts)));
    } else if unnamed(&old.front) != unnamed(&new.front) {
        all.push("`proxy` is another".to_owned());
    }
    if old.upstream != new.upstream {
        all.push("`balance` is another".to_owned());
    }
    all
}

/// A certificate that was renewed goes to its servers with every run that reads it.
fn unnamed(front: &Front) -> Front {
    let tls = front.tls.clone().map(|tls| FrontTls { certificate: String::new(), key: String::new(), ..tls });
    Front { tls, ..front.clone() }
}
