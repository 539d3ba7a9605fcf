//! What a rollback makes of each service: back to the side that waits, where that is the release before. Deliberately absent: steps.
use super::half_switched;
use super::handover;
use super::present::{Present, PresentService, Unit};
use super::show::prose::clean;
use super::target::{Desired, Wanted};
use super::types::{Change, Finding, Level};
use crate::config::Playbook;
use crate::model::{Side, label, previous_name};
use std::collections::BTreeSet;

/// The services that the newest release touched go to their other side; the others stay.
pub(super) fn judge_rollback(
    desired: &mut Desired<'_>,
    (playbook, present): (&Playbook, &Present<'_>),
    wanted: &Wanted,
    findings: &mut Vec<Finding>,
) {
    let Some((service, live)) = desired.present.and_then(|service| Some((service, service.live()?))) else {
        "not deployed".clone_into(&mut desired.reason);
        return;
    };
    (desired.from, desired.to) = (Some(live), Some(live));
    let split = half_switched::warning(desired, live, half_switched::DECIDE_FIRST);
    if !wanted.selects(desired.name) {
        findings.extend(split);
        "not selected".clone_into(&mut desired.reason);
        return;
    }
    let newest = present.services.values().flat_map(|service| Side::BOTH.map(|side| service.release(side))).max().flatten();
    let touched = Side::BOTH.into_iter().any(|side| service.release(side) == newest);
    if !touched {
        "not part of the newest release".clone_into(&mut desired.reason);
        return;
    }
    if let Some(seen) = cut_off(service, live, present) {
        desired.reason = "a run was cut off".to_owned();
        findings.push(Finding {
            level: Level::Fatal,
            server: None,
            service: Some(desired.name.clone()),
            text: format!("{seen}: a run was cut off, and what is on its idle side is not the release before it"),
            hint: "`flipside deploy` brings it to the playbook; where that run was begun, `flipside abort` undoes it and `flipside resume` ends it"
                .to_owned(),
        });
        return;
    }
    let idle: Vec<_> = service.side(live.other()).collect();
    let complete = !idle.is_empty() && idle.iter().all(|unit| unit.app.is_some());
    if !complete {
        "has no previous release".clone_into(&mut desired.reason);
        findings.push(Finding {
            level: Level::Warning,
            server: None,
            service: Some(desired.name.clone()),
            text: "there is no previous release to go back to: no container waits on the other side".to_owned(),
            hint: match desired.service.adopt.is_empty() {
                true => "deploy the version you want instead".to_owned(),
                false => "deploy the version you want instead. What it took over is no release: to have that again, `flipside remove` the service and `docker start` the old container"
                    .to_owned(),
            },
        });
        return;
    }
    let version = |side| service.side(side).find_map(|unit| unit.label(label::VERSION)).map_or_else(|| "?".to_owned(), clean);
    desired.reason = format!("back from {} to {}", version(live), version(live.other()));
    (desired.change, desired.to) = (Change::Restore, Some(live.other()));
    desired.never_twice = handover::never_twice(playbook, desired.service, service, live);
    desired.servers = idle.iter().map(|unit| unit.server.clone()).collect();
    desired.internal_port = idle.iter().find_map(|unit| unit.number(label::INTERNAL_PORT)).or(desired.internal_port);
}

/// What shows that a run was cut off before it was over: then the idle side is what that run began, in full or in part, and going back to it
/// would be going on. A side that somebody is kept for, or that stays warm, may be newer, and run: it was live before a rollback.
fn cut_off(service: &PresentService<'_>, live: Side, present: &Present<'_>) -> Option<&'static str> {
    let idle = live.other();
    let is_kept = present.record.as_ref().is_some_and(|record| !record.servers.is_empty());
    let waits = |unit: &Unit<'_>| {
        let names: Vec<_> = [unit.app, unit.door].into_iter().flatten().map(|container| previous_name(&container.name)).collect();
        present.aside.iter().any(|(server, container)| *server == unit.server && names.contains(&container.name))
    };
    let releases: BTreeSet<_> = service.side(idle).map(|unit| unit.number::<u64>(label::RELEASE)).collect();
    if service.is_split() {
        Some("servers route different sides")
    } else if service.side(idle).any(waits) {
        Some("a container of the release before it is still set aside")
    } else if releases.len() > 1 {
        Some("its idle side is of more than one release")
    } else if !is_kept
        && service.release(idle) > service.release(live)
        && service.side(idle).any(|unit| unit.is_up() && unit.idle_for.is_none())
    {
        Some("its idle side runs, and is newer than the live one")
    } else {
        None
    }
}
