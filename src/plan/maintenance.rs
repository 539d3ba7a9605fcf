//! Public hosts in maintenance: who is put into it, and back. The files of NGINX remember it, so that it outlives deploys.
//! Deliberately absent: the mesh, where a service in maintenance is reached as ever.
use super::present::PresentService;
use super::routes::Routing;
use super::target::{Desired, Maintenance, Wanted};
use super::types::{Finding, Level};

/// Sets what was asked for, of services that are all left as they are, and says why one cannot be.
pub(super) fn ask(desired: &mut [Desired<'_>], wanted: &Wanted) -> Vec<Finding> {
    let mut findings = Vec::new();
    for desired in desired {
        desired.stays();
        if !wanted.selected.contains(desired.name) {
            continue;
        }
        let mut refuse = |text: &str, hint: &str| {
            findings.push(Finding {
                level: Level::Fatal,
                server: None,
                service: Some(desired.name.clone()),
                text: text.to_owned(),
                hint: hint.to_owned(),
            });
        };
        if desired.service.proxy.is_none() {
            refuse("it has no public hosts, and only those can be in maintenance", "name them in `proxy` of the service");
        } else if desired.from.is_none() {
            refuse("it is not deployed", "flipside deploy");
        }
        let (was, reason) = match wanted.maintenance {
            Some(Maintenance::On) => (std::mem::replace(&mut desired.maintenance, true), "into maintenance"),
            Some(Maintenance::Off) => (std::mem::replace(&mut desired.maintenance, false), "out of maintenance"),
            None => (desired.maintenance, "not selected"),
        };
        desired.reason = if was == desired.maintenance { format!("already {reason}").replace("into", "in") } else { reason.to_owned() };
    }
    findings
}

/// A server gives requests for its public hosts the maintenance page.
#[must_use]
pub(super) fn is_in_maintenance(service: Option<&PresentService<'_>>) -> bool {
    service.into_iter().flat_map(PresentService::level_routes).any(|route| route.front.maintenance)
}

/// What every other plan says of services that are in maintenance, and stay there.
#[must_use]
pub(super) fn notes(routing: &Routing<'_>) -> Vec<Finding> {
    let there = routing.desired.iter().filter(|desired| desired.maintenance && desired.service.proxy.is_some());
    let note = |desired: &Desired<'_>| Finding {
        level: Level::Note,
        server: None,
        service: Some(desired.name.clone()),
        text: "its public hosts are in maintenance, and stay so".to_owned(),
        hint: format!("flipside maintenance off {}", desired.name),
    };
    there.map(note).collect()
}
