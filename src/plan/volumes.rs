//! Where data is, and what would start without it: a volume does not travel, and it stays when its service is removed. Deliberately absent:
//! data of containers that are taken over (see `adopt`).
use super::adopt;
use super::containers::source;
use super::place::Placement;
use super::present::{Fleet, Unit, is_ours};
use super::routes::Routing;
use super::show::prose::server_list;
use super::target::Desired;
use super::types::{Change, Finding, Level};
use crate::config::{Playbook, Service, Volume};
use crate::facts::ContainerFact;
use crate::model::{ServerName, ServiceName, label};
use std::collections::{BTreeMap, BTreeSet};

/// A service that nothing runs and nothing routes is where its volumes are: they stay when it is removed, or renamed.
pub(super) fn homes(mut running: Placement, playbook: &Playbook, fleet: &Fleet) -> Placement {
    for (name, service) in &playbook.services {
        let homes = running.entry(name.clone()).or_default();
        if homes.is_empty() {
            homes.extend(written(service).flat_map(|volume| Holders::of(playbook, fleet, name, volume).free));
        }
    }
    running
}

/// The volumes of its own that a service writes.
fn written(service: &Service) -> impl Iterator<Item = &Volume> {
    service.volumes.iter().filter(|volume| !volume.read_only)
}

/// The servers that have a volume, and of which it is told.
struct Holders {
    /// Nobody else of the playbook has it there.
    free: BTreeSet<ServerName>,
    /// Another service of the playbook writes it there: it is that one's.
    of_others: BTreeMap<ServerName, String>,
}

impl Holders {
    fn of(playbook: &Playbook, fleet: &Fleet, service: &ServiceName, volume: &Volume) -> Holders {
        let mut holders = Holders { free: BTreeSet::new(), of_others: BTreeMap::new() };
        let name = source(playbook, volume);
        let writes = |container: &&ContainerFact| {
            is_ours(container, &playbook.project, &playbook.env) && container.written.values().any(|written| *written == name)
        };
        let is_another = |writer: &str| writer != service.as_str() && playbook.services.keys().any(|known| known.as_str() == writer);
        for (server, facts) in fleet.iter().filter(|(_, facts)| facts.volumes.as_ref().is_some_and(|known| known.contains(&name))) {
            let mut writers = facts.containers.iter().filter(writes).filter_map(|container| container.labels.get(label::SERVICE));
            match writers.find(|writer| is_another(writer)) {
                Some(writer) => drop(holders.of_others.insert(server.clone(), writer.clone())),
                None => drop(holders.free.insert(server.clone())),
            }
        }
        holders
    }
}

/// What would start without its data, or with another one's. What goes back has its containers, with what they mount.
#[must_use]
pub(super) fn findings(routing: &Routing<'_>) -> Vec<Finding> {
    let mut all = Vec::new();
    for desired in routing.desired.iter().filter(|desired| desired.moves()) {
        let homes = desired.present.filter(|_| desired.from.is_some()).map(|present| present.homes()).unwrap_or_default();
        match desired.change {
            Change::Restore => goes_back(desired, &homes, &mut all),
            _ if homes.is_empty() => left_elsewhere(routing, desired, &mut all),
            _ => moves_away(routing, desired, &homes, &mut all),
        }
        if desired.change == Change::Toggle {
            remounted(routing, desired, &mut all);
        }
    }
    all
}

/// Where it does not run now, its data is what it left there.
fn goes_back(desired: &Desired<'_>, homes: &BTreeSet<ServerName>, all: &mut Vec<Finding>) {
    let units = desired.present.zip(desired.to).into_iter().flat_map(|(present, to)| present.side(to));
    for unit in units.filter(|unit| !homes.is_empty() && !homes.contains(&unit.server)) {
        let written = unit.app.into_iter().flat_map(|app| app.written.values());
        if let Some(source) = written.into_iter().find(|source| !adopt::is_of_the_system(source) && !is_nameless(source)) {
            let text = format!("its data there ({source}) is what it left when it ran there last; where it runs now, it has gone on");
            let hint = "look that it may be served; or deploy the version that you want to where it runs now".to_owned();
            all.push(of(desired, Some(&unit.server), Level::Warning, text, hint));
        }
    }
}

fn of(desired: &Desired<'_>, server: Option<&ServerName>, level: Level, text: String, hint: impl Into<String>) -> Finding {
    Finding { level, server: server.cloned(), service: Some(desired.name.clone()), text, hint: hint.into() }
}

/// Data does not travel: a service that gives up a server where it writes is refused. One that grows starts with what a new server has: nobody
/// knows what that is, and a volume that is not there would be an empty one beside the others. A first deploy that was cut off goes on: it has
/// no data yet.
fn moves_away(routing: &Routing<'_>, desired: &Desired<'_>, homes: &BTreeSet<ServerName>, all: &mut Vec<Finding>) {
    let Some(home) = homes.first() else { return };
    let grows = homes.iter().all(|server| desired.servers.contains(server) || desired.away.contains(server));
    if !desired.has_clients() && grows {
        return;
    }
    let known = homes.iter().map(|server| server.as_str()).collect::<Vec<_>>().join(", ");
    let its_data: Vec<(&Volume, String)> = written(desired.service)
        .map(|volume| (volume, source(routing.playbook, volume)))
        .filter(|(_, name)| !adopt::is_of_the_system(name))
        .collect();
    for server in desired.servers.difference(homes) {
        let of = |level, text, hint| of(desired, Some(server), level, text, hint);
        if !grows {
            all.extend(its_data.first().map(|(_, name)| {
                let text = format!("its data ({name}) is on {known}; here it would start empty");
                of(Level::Fatal, text, format!("pin it with `servers = [\"{home}\"]`, or copy the data and remove the service first"))
            }));
            continue;
        }
        all.extend(its_data.iter().filter_map(|(volume, name)| {
            let is_missing = lacks(routing.fleet, server, name);
            if is_missing && volume.external {
                // That it is not there is said already.
                return None;
            }
            if is_missing && !name.starts_with('/') {
                let text = format!("its data ({name}) is on {known}; here it would start empty");
                let hint = format!(
                    "pin it with `servers`; or, where it is to start empty here, or with data that you copy: docker volume create {name}"
                );
                return Some(of(Level::Fatal, text, hint));
            }
            let text = format!("its data ({name}) is on {known}; here it has what this server has by that name");
            Some(of(Level::Warning, text, "look that it is what it needs; or pin it with `servers`".to_owned()))
        }));
    }
}

/// The server is known not to have a volume of that name.
fn lacks(fleet: &Fleet, server: &ServerName, name: &str) -> bool {
    fleet.get(server).and_then(|facts| facts.volumes.as_ref()).is_some_and(|volumes| !volumes.contains(name))
}

/// Nothing runs of it, and its volumes may be where it is not placed. What is on a server where it is placed is no matter: the others start
/// with nothing, as a new server does.
fn left_elsewhere(routing: &Routing<'_>, desired: &Desired<'_>, all: &mut Vec<Finding>) {
    let Routing { playbook, fleet, .. } = routing;
    let mut is_known = false;
    for volume in written(desired.service).filter(|volume| !volume.source.starts_with('/')) {
        let name = source(playbook, volume);
        let holders = Holders::of(playbook, fleet, desired.name, volume);
        is_known |= !holders.free.is_empty();
        let lacking: Vec<&ServerName> = desired.servers.iter().filter(|server| lacks(fleet, server, &name)).collect();
        let is_outside = |server: &&ServerName| !desired.servers.contains(*server) && !desired.away.contains(*server);
        let outside: Vec<&ServerName> = holders.free.iter().filter(is_outside).collect();
        let known = || server_list(outside.iter().copied().collect::<BTreeSet<_>>());
        match outside.first() {
            // That it is not there is said already.
            Some(_) if !lacking.is_empty() && volume.external => {}
            Some(first) if !lacking.is_empty() => {
                for server in &lacking {
                    let text = format!("its data ({name}) is on {}, from when it ran there; here it would start empty", known());
                    let hint = format!(
                        "pin it with `servers = [\"{first}\"]`; or give the volume another name; or, where it is to start empty here, or \
                         with data that you copy: docker volume create {name}"
                    );
                    all.push(of(desired, Some(server), Level::Fatal, text, hint));
                }
            }
            Some(first) if !volume.external => {
                let text =
                    format!("a volume {name} is on {}, too, where it is not placed: which of them has its data, nothing tells", known());
                let hint = format!("pin it with `servers = [\"{first}\"]` where that is the one; or there: docker volume rm {name}");
                all.push(of(desired, None, Level::Warning, text, hint));
            }
            Some(_) | None => {}
        }
        for (server, other) in holders.of_others.iter().filter(|(server, _)| !lacking.is_empty() && is_outside(server)) {
            let text = format!("its volume {name} starts empty: the one on {server} is what {other} writes");
            all.push(of(desired, None, Level::Warning, text, format!("`servers = [\"{server}\"]` where the two are to share it")));
        }
    }
    if let Some(volume) = written(desired.service).next().filter(|_| desired.from.is_some() && !is_known) {
        let text = format!("nothing tells where its data ({}) is: its containers are gone", source(playbook, volume));
        all.push(of(desired, None, Level::Warning, text, "pin it with `servers` to where the data is"));
    }
}

/// The new side would find something else than the live one where that keeps its data, or nothing.
fn remounted(routing: &Routing<'_>, desired: &Desired<'_>, all: &mut Vec<Finding>) {
    let Some((present, live)) = desired.present.zip(desired.from) else { return };
    let wanted: BTreeMap<&str, (&Volume, String)> =
        desired.service.volumes.iter().map(|volume| (volume.target.as_str(), (volume, source(routing.playbook, volume)))).collect();
    let is_mounted = |held: &String| wanted.values().any(|(_, source)| source == held);
    let kept = |unit: &Unit<'_>| {
        let written = unit.app.map(|app| app.written.clone()).unwrap_or_default();
        let kept = written.into_iter().filter(|(_, held)| !adopt::is_of_the_system(held) && !is_nameless(held) && !is_mounted(held));
        kept.map(|(target, held)| (unit.server.clone(), target, held)).collect::<Vec<_>>()
    };
    let units = present.side(live).filter(|unit| desired.servers.contains(&unit.server));
    let kept: BTreeSet<(ServerName, String, String)> = units.flat_map(kept).collect();
    for (server, target, held) in &kept {
        let finding = match wanted.get(target.as_str()) {
            None => {
                let text = format!("its data at {target} ({held}) stays on the server, and it has nothing there any more");
                (Level::Warning, text, "where it is to keep it, leave it in `volumes`".to_owned())
            }
            Some((volume, new)) if !new.starts_with('/') && !volume.external && lacks(routing.fleet, server, new) => {
                let text = format!("its data at {target} is in {held}; it would have {new} there, which is not there yet, and start empty");
                let hint = format!(
                    "leave it as it was in `volumes`; or make the new one first, and copy into it what it needs: docker volume create {new}"
                );
                (Level::Fatal, text, hint)
            }
            Some((_, new)) => {
                let text = format!(
                    "its data at {target} is in {held}; it will have {new} there, and what it writes until then does not come along"
                );
                (Level::Warning, text, "look that what it needs is there; or leave it as it was in `volumes`".to_owned())
            }
        };
        let (level, text, hint) = finding;
        all.push(of(desired, Some(server), level, text, hint));
    }
}

/// It is a volume that Docker made for one container, because its image declares it: the next one gets another in any case.
fn is_nameless(source: &str) -> bool {
    source.is_empty() || source.len() == 64 && source.bytes().all(|byte| byte.is_ascii_hexdigit())
}
