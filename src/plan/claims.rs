//! Who owns which port and which fixed address: all wishes of a playbook, what others use, and the order in which they are settled.
//! Deliberately absent: how one port is settled.
use super::adopt;
use super::ports::{BASE, INTERNAL, Taken, Wish, next_slot, settle};
use super::present::{Fleet, Present, is_ours};
use super::target::Replica;
use super::types::Finding;
use crate::config::Playbook;
use crate::facts::ContainerFact;
use crate::model::{ServiceName, base_port, internal_port, label, secondary_port};
use crate::nginx::{read_door, read_service};
use crate::script::layout;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// The internal port and the replicas of each service.
pub(super) type Settled = BTreeMap<ServiceName, (Option<u16>, Vec<Replica>)>;

/// A service, and one of its replicas; None for the internal port.
type Owner<'a> = (&'a ServiceName, Option<u32>);

/// Ports and slots of all services: all pinned and claimed ones first, so that a newcomer's hash never takes them, be it a service's or
/// a further replica's.
pub(super) fn settle_all(playbook: &Playbook, fleet: &Fleet, present: &Present<'_>, findings: &mut Vec<Finding>) -> Settled {
    let mut taken = taken_by_others(playbook, fleet);
    let (fixed, hashed): (Vec<_>, Vec<_>) =
        wishes(playbook, present).into_iter().partition(|(_, wish)| wish.pinned.or(wish.claimed).is_some());
    let mut ports: BTreeMap<Owner<'_>, u16> = BTreeMap::new();
    for (owner, wish) in fixed.iter().chain(&hashed) {
        ports.insert(*owner, settle(wish, &mut taken, findings));
    }
    let mut used_slots: BTreeSet<u32> =
        present.services.values().flat_map(|service| &service.units).filter_map(|unit| unit.number(label::SLOT)).collect();
    let mut settled = Settled::new();
    for (name, service) in &playbook.services {
        let replicas = (1..=service.replicas).map(|number| {
            let owned = present
                .services
                .get(name)
                .and_then(|service| service.units.iter().filter(|unit| unit.replica == number).find_map(|unit| unit.number(label::SLOT)));
            let slot = owned.unwrap_or_else(|| next_slot(&mut used_slots));
            Replica { number, base_port: ports.get(&(name, Some(number))).copied(), slot }
        });
        settled.insert(name.clone(), (ports.get(&(name, None)).copied(), replicas.collect()));
    }
    settled
}

/// The ports that the playbook's services need: the services that are there first, then by name.
fn wishes<'a>(playbook: &'a Playbook, present: &Present<'_>) -> Vec<(Owner<'a>, Wish<'a>)> {
    let claims = |name: &ServiceName, key: &str, replica: Option<u32>| -> Option<u16> {
        let service = present.services.get(name)?;
        let live = service.live();
        let mut units: Vec<_> = service.units.iter().filter(|unit| replica.is_none_or(|number| unit.replica == number)).collect();
        units.sort_by_key(|unit| (unit.is_stale, Some(unit.side) != live));
        // Of what runs on servers that are away, the others' routes tell.
        let routed = || service.level_routes().next().map(|route| route.internal_port).filter(|_| key == label::INTERNAL_PORT);
        units.iter().find_map(|unit| unit.number(key)).or_else(routed)
    };
    let mut wishes = Vec::new();
    let (there, new): (Vec<_>, Vec<_>) = playbook.services.iter().partition(|(name, _)| present.services.contains_key(*name));
    for (name, service) in there.into_iter().chain(new) {
        let Some(port) = service.port else { continue };
        let internal = Wish {
            service: name,
            what: "internal port".to_owned(),
            pinned: service.internal_port,
            claimed: claims(name, label::INTERNAL_PORT, None),
            hashed: internal_port(&playbook.project, &playbook.env, name),
            range: INTERNAL,
            paired: false,
        };
        wishes.push(((name, None), internal));
        for number in 1..=service.replicas {
            let base = Wish {
                service: name,
                what: if number == 1 { "base port".to_owned() } else { format!("base port of replica {number}") },
                pinned: service.host_port.map(|pinned| pinned.saturating_add(u16::try_from(number - 1).unwrap_or(u16::MAX))),
                claimed: claims(name, label::BASE_PORT, Some(number)),
                hashed: base_port(&playbook.project, &playbook.env, name, port, number),
                range: BASE,
                paired: true,
            };
            wishes.push(((name, Some(number)), base));
        }
    }
    wishes
}

/// Ports in use by anything but this playbook's own services, on any server.
fn taken_by_others(playbook: &Playbook, fleet: &Fleet) -> Taken {
    let mut taken = Taken::new();
    let mine = |container: &ContainerFact| {
        is_ours(container, &playbook.project, &playbook.env)
            && container.labels.get(label::SERVICE).is_some_and(|name| playbook.services.keys().any(|known| known.as_str() == name))
    };
    // A door that was cut off before it read its new file still listens on what this project's services own.
    let claims = fleet.values().flat_map(|facts| &facts.containers).filter(|container| mine(container));
    let loopback: BTreeSet<u16> = claims.filter_map(|container| container.labels.get(label::INTERNAL_PORT)?.parse().ok()).collect();
    for (server, facts) in fleet {
        let mut explained = BTreeSet::new();
        for container in &facts.containers {
            let number = |key: &str| container.labels.get(key).and_then(|text| text.parse::<u16>().ok());
            let runs = container.state == crate::facts::ContainerState::Running;
            let given_up = adopt::given_up(playbook, server, container);
            explained.extend(&given_up);
            if mine(container) {
                explained.extend(container.published.iter().filter(|_| runs).map(|published| published.host_port));
                continue;
            }
            let owner = match container.labels.get(label::PROJECT) {
                Some(project) => {
                    let word = |key: &str| container.labels.get(key).map_or("?", String::as_str);
                    format!("{project}/{} service {}", word(label::ENV), word(label::SERVICE))
                }
                None => format!("container {} on {server}", container.name),
            };
            if let Some(base) = number(label::BASE_PORT) {
                taken.entry(base).or_insert_with(|| owner.clone());
                taken.entry(secondary_port(base)).or_insert_with(|| owner.clone());
            }
            if let Some(internal) = number(label::INTERNAL_PORT) {
                taken.entry(internal).or_insert_with(|| owner.clone());
            }
            for published in container.published.iter().filter(|published| runs && !given_up.contains(&published.host_port)) {
                taken.entry(published.host_port).or_insert_with(|| owner.clone());
            }
        }
        for routed in facts.nginx.files.values().filter_map(|text| read_service(text).ok()) {
            explained.insert(routed.internal_port);
            let own = routed.project == playbook.project && routed.env == playbook.env && playbook.services.contains_key(&routed.service);
            if !own {
                let owner = format!("{}/{} service {}", routed.project, routed.env, routed.service);
                taken.entry(routed.internal_port).or_insert(owner);
            }
        }
        // The host's door opens a service's port before NGINX routes it, and keeps it open after a deploy that was put back.
        for (port, stem) in facts.nginx.doors.values().flat_map(|text| read_door(text)) {
            explained.insert(port);
            if !playbook.services.keys().any(|name| layout::stem(&playbook.project, &playbook.env, name) == stem) {
                taken.entry(port).or_insert_with(|| format!("the door of {stem} on {server}"));
            }
        }
        for listener in &facts.listeners {
            let door = listener.address == Some(Ipv4Addr::LOCALHOST) && loopback.contains(&listener.port);
            if !door && !explained.contains(&listener.port) {
                taken.entry(listener.port).or_insert_with(|| format!("another program on {server} ({})", listener.transport));
            }
        }
    }
    taken
}
