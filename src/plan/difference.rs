//! Why a service that is there is replaced. Deliberately absent: what the playbook does not say, such as `--force`.
use super::containers::has_door;
use super::images;
use super::present::{Fleet, Unit};
use super::target::Desired;
use crate::model::{Side, label};
use std::net::Ipv4Addr;

/// Why the live side is not what the playbook wants; None when it is.
#[must_use]
pub(super) fn difference(desired: &Desired<'_>, live: Side, fleet: &Fleet) -> Option<String> {
    let present = desired.present?;
    if present.routes.is_empty() {
        // Nobody has seen these containers to be healthy, or to be alone.
        if desired.service.port.is_some() && present.side(live).any(Unit::runs) {
            return Some("it runs and is not routed: a run was cut off".to_owned());
        }
        if Side::BOTH.into_iter().all(|side| present.level_side(side).any(Unit::is_up)) {
            return Some("both sides run: a run was cut off".to_owned());
        }
    }
    // NGINX alone tells tcp and http apart; datagrams are the containers' matter, too, and in their digest.
    let routed = present.level_routes().map(|route| route.protocol).find(|protocol| *protocol != desired.service.protocol);
    if let Some(routed) = routed.filter(|_| desired.service.port.is_some()) {
        return Some(format!("protocol {} → {}", routed.as_str(), desired.service.protocol.as_str()));
    }
    let units: Vec<_> = present.side(live).collect();
    for unit in &units {
        if let Some(app) = unit.app {
            if !images::is_same(&app.image, &desired.service.image) {
                return Some(format!("image {} → {}", app.image, desired.service.image));
            }
            let tagged = fleet.get(&unit.server).and_then(|facts| {
                facts.images.iter().find(|image| image.tags.iter().any(|tag| images::is_same(tag, &desired.service.image)))
            });
            if tagged.is_some_and(|image| image.id != app.image_id) {
                return Some(format!("{} on {} is another image now", desired.service.image, unit.server));
            }
        }
    }
    for server in &desired.servers {
        let replicas = desired.replicas.iter().filter(|replica| !desired.missed.contains(&(server.clone(), replica.number)));
        for replica in replicas {
            let unit = units.iter().find(|unit| unit.server == *server && unit.replica == replica.number);
            match unit {
                None => return Some(format!("replica {} is not on {server}", replica.number)),
                Some(unit) if unit.has_lost_its_door() => {
                    return Some(format!("replica {} on {server} is cut off: its door is gone", replica.number));
                }
                Some(unit) if unit.is_orphaned() => {
                    return Some(format!("replica {} on {server} is cut off: its door was started after it", replica.number));
                }
                Some(unit) if !unit.runs() || (has_door(desired.service) && unit.door.is_none()) => {
                    return Some(format!("replica {} on {server} does not run", replica.number));
                }
                Some(unit) if unit.is_detached() => {
                    return Some(format!("replica {} on {server} was detached from its network", replica.number));
                }
                Some(_) => {}
            }
        }
    }
    let surplus = units.iter().find(|unit| {
        unit.runs() && (!desired.servers.contains(&unit.server) || desired.replicas.iter().all(|replica| replica.number != unit.replica))
    });
    if let Some(unit) = surplus {
        return Some(format!("replica {} on {} is not wanted any more", unit.replica, unit.server));
    }
    if let Some((unit, there, wanted)) = units.iter().copied().find_map(|unit| moved_address(desired, unit)) {
        return Some(format!("on {} it is published at {there}, and its private_address is {wanted}", unit.server));
    }
    let changed = units.iter().any(|unit| unit.label(label::SPEC) != Some(&desired.spec)).then(|| "settings changed".to_owned());
    changed.or_else(|| desired.secret_change.clone())
}

/// The address that a unit's port is published at, and the one that its server has by the inventory, where they differ.
fn moved_address<'u, 'a>(desired: &Desired<'_>, unit: &'u Unit<'a>) -> Option<(&'u Unit<'a>, Ipv4Addr, Ipv4Addr)> {
    let wanted = *desired.published_on.get(&unit.server)?;
    let mut published = unit.owner()?.published.iter().filter_map(|published| published.address);
    Some((unit, published.find(|there| *there != wanted)?, wanted))
}
