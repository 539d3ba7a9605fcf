//! What happens to each service, for people. Deliberately absent: how it is printed.
use super::present::{Present, PresentService};
use super::show::prose::clean;
use super::target::Desired;
use super::types::{Change, ServicePlan};
use crate::config::Playbook;
use crate::facts::ContainerFact;
use crate::model::{Protocol, ServiceName, label};
use std::collections::{BTreeMap, BTreeSet};

/// A service of the playbook.
#[must_use]
pub(super) fn summary(playbook: &Playbook, desired: &Desired<'_>) -> ServicePlan {
    let version = |side| desired.present?.side(side).find_map(|unit| unit.label(label::VERSION)).map(clean);
    let from_version = desired.from.and_then(version);
    let to_version = match desired.change {
        Change::Create | Change::Toggle => Some(playbook.version.clone()),
        Change::Restore => desired.to.and_then(version),
        Change::Keep | Change::CatchUp => from_version.clone(),
        Change::Remove => None,
    };
    ServicePlan {
        change: desired.change,
        reason: desired.reason.clone(),
        image: desired.service.image.clone(),
        protocol: desired.service.protocol,
        from: desired.from,
        to: desired.to,
        from_version,
        to_version,
        servers: desired.servers.clone(),
        replicas: desired.service.replicas,
        port: desired.service.port,
        base_ports: desired.replicas.iter().filter_map(|replica| Some((replica.number, replica.base_port?))).collect(),
        app_port: desired.service.app_port(),
        app_base_ports: desired.replicas.iter().filter_map(|replica| Some((replica.number, replica.app_base_port?))).collect(),
        internal_port: desired.internal_port,
        hands_over: desired.hands_over(),
        takes_over: desired.taking.names(),
    }
}

/// A service that is taken away: its containers, also those that are set aside, and what NGINX routes. None where there is none of it.
#[must_use]
pub(super) fn removal(name: &ServiceName, present: &Present<'_>, why: &str) -> Option<ServicePlan> {
    let is_its = |container: &ContainerFact| container.labels.get(label::SERVICE).is_some_and(|service| service == name.as_str());
    let aside = present.aside.iter().filter(|(_, container)| is_its(container)).map(|(server, _)| server);
    let service = present.services.get(name);
    let units: Vec<_> = service.into_iter().flat_map(|service| &service.units).collect();
    let routes = service.into_iter().flat_map(|service| &service.routes);
    let servers: BTreeSet<_> =
        units.iter().map(|unit| &unit.server).chain(routes.map(|(server, _)| server)).chain(aside).cloned().collect();
    if servers.is_empty() {
        return None;
    }
    let live = service.and_then(PresentService::live);
    // What serves is what is taken away. An old side that waits for a rollback goes with it, and gives it no name.
    let unit = units.iter().find(|unit| Some(unit.side) == live && !unit.is_stale).or(units.first());
    let route = service.and_then(|service| service.routes.values().next());
    Some(ServicePlan {
        change: Change::Remove,
        reason: why.to_owned(),
        image: unit.and_then(|unit| unit.app).map(|app| app.image.clone()).unwrap_or_default(),
        protocol: route.map_or(Protocol::Tcp, |route| route.protocol),
        from: live,
        to: None,
        from_version: unit.and_then(|unit| unit.label(label::VERSION)).map(clean),
        to_version: None,
        servers,
        replicas: units.iter().map(|unit| unit.replica).max().unwrap_or(1),
        port: unit.and_then(|unit| unit.number(label::PORT)),
        base_ports: BTreeMap::new(),
        app_port: None,
        app_base_ports: BTreeMap::new(),
        internal_port: unit.and_then(|unit| unit.number(label::INTERNAL_PORT)),
        hands_over: false,
        takes_over: BTreeMap::new(),
    })
}
