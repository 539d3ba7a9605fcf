//! On which servers a service runs. Deliberately absent: ports and containers.
use super::types::{Finding, Level};
use crate::config::{Inventory, Playbook, Server, Service};
use crate::model::{ServerName, ServiceName, fold_hash};
use std::collections::{BTreeMap, BTreeSet};

/// The servers of each service, sorted by name.
pub type Placement = BTreeMap<ServiceName, BTreeSet<ServerName>>;

/// Places every service: the named servers, or every server with one of the tags, or `servers_count` servers of the zone:
/// those that already run it first, then those with the fewest placed services, then by a hash of the names.
///
/// `running` says where the live side of a service has containers now, or where its data is.
#[must_use]
pub fn place(playbook: &Playbook, inventory: &Inventory, running: &Placement) -> (Placement, Vec<Finding>) {
    let mut placement = Placement::new();
    let mut findings = Vec::new();
    let mut load: BTreeMap<&ServerName, usize> = inventory.servers.keys().map(|server| (server, 0)).collect();
    for (name, service) in &playbook.services {
        let chosen = match choose(name, service, inventory, running.get(name), &load) {
            Ok(chosen) => chosen,
            Err((text, hint)) => {
                findings.push(Finding { level: Level::Fatal, server: None, service: Some(name.clone()), text, hint });
                continue;
            }
        };
        for server in &chosen {
            if let Some((_, n_services)) = load.iter_mut().find(|(known, _)| **known == server) {
                *n_services += 1;
            }
        }
        placement.insert(name.clone(), chosen);
    }
    (placement, findings)
}

fn choose(
    name: &ServiceName,
    service: &Service,
    inventory: &Inventory,
    running: Option<&BTreeSet<ServerName>>,
    load: &BTreeMap<&ServerName, usize>,
) -> Result<BTreeSet<ServerName>, (String, String)> {
    if !service.servers.is_empty() {
        return named(service, inventory);
    }
    let candidates: Vec<(&ServerName, &Server)> = inventory
        .servers
        .iter()
        .filter(|(_, server)| service.server_zone.is_none() || server.zone == service.server_zone)
        .filter(|(_, server)| service.tags.is_empty() || service.tags.iter().any(|tag| server.tags.contains(tag)))
        .collect();
    let among = match (&service.server_zone, service.tags.is_empty()) {
        (Some(zone), true) => format!("in zone {zone}"),
        (None, true) => "in the inventory".to_owned(),
        (Some(zone), false) => format!("with a tag of {:?} in zone {zone}", service.tags),
        (None, false) => format!("with a tag of {:?}", service.tags),
    };
    if !service.tags.is_empty() {
        if candidates.is_empty() {
            return Err((format!("no server {among}"), "tag a server in the inventory, or name servers with `servers`".to_owned()));
        }
        return Ok(candidates.into_iter().map(|(server, _)| server.clone()).collect());
    }
    let wanted = service.servers_count as usize;
    if candidates.len() < wanted {
        let there = match candidates.len() {
            0 => "there is none".to_owned(),
            1 => "there is one".to_owned(),
            n => format!("there are {n}"),
        };
        return Err((
            format!("it wants {wanted} server(s) {among}, {there}"),
            "lower `servers_count`, or add servers to the inventory".to_owned(),
        ));
    }
    let mut order: Vec<&ServerName> = candidates.into_iter().map(|(server, _)| server).collect();
    order.sort_by_key(|server| {
        let runs_it = running.is_some_and(|running| running.contains(*server));
        (!runs_it, load.get(server).copied().unwrap_or(0), fold_hash(&format!("{name}_{server}")), (*server).clone())
    });
    Ok(order.into_iter().take(wanted).cloned().collect())
}

fn named(service: &Service, inventory: &Inventory) -> Result<BTreeSet<ServerName>, (String, String)> {
    let missing: Vec<&str> =
        service.servers.iter().filter(|server| !inventory.servers.contains_key(*server)).map(ServerName::as_str).collect();
    if missing.is_empty() {
        Ok(service.servers.iter().cloned().collect())
    } else {
        let known: Vec<&str> = inventory.servers.keys().map(ServerName::as_str).collect();
        Err((
            format!("`servers` names {}, which the inventory does not have", missing.join(", ")),
            format!("known servers: {}", known.join(", ")),
        ))
    }
}
