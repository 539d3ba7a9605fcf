//! The other side running beside the live one: somebody started it, or a run was cut off. Deliberately absent: services that this plan
//! moves, whose other side it replaces, those that servers route differently, which it brings together, and stopping what may overlap
//! (see `leftovers`).
use crate::model::ServerName;
use crate::plan::leftovers::stays;
use crate::plan::present::Unit;
use crate::plan::routes::Routing;
use crate::plan::target::{Repair, Wanted};
use crate::plan::turn::Turn;
use crate::plan::types::{Finding, Level, Step};
use crate::plan::warm;
use std::collections::BTreeMap;

/// What runs beside the live side, and the steps that stop it where two of it must not run. The live side is never touched.
pub(in crate::plan) fn beside(turn: &Turn<'_>, wanted: &Wanted) -> (BTreeMap<ServerName, Vec<Step>>, Vec<Finding>) {
    let (mut steps, mut findings) = (BTreeMap::<ServerName, Vec<Step>>::new(), Vec::new());
    let routing: &Routing<'_> = turn.routing;
    let repair = routing.drift.repair;
    for desired in routing.desired.iter().filter(|desired| !desired.moves()) {
        let (Some(live), Some(present)) = (desired.from, desired.present) else { continue };
        if present.is_split() {
            continue;
        }
        let up: Vec<&Unit<'_>> = present.side(live.other()).filter(|unit| unit.is_up()).collect();
        for unit in up {
            let writes = desired.hands_over();
            let (level, hint) = match (repair, writes) {
                (Repair::Yes, true) => (Level::Warning, "this run stops it"),
                (Repair::No, true) => {
                    (Level::Fatal, "two of it must not run at once: `--repair` stops it, and leaves the live side as it is")
                }
                (Repair::Yes | Repair::No, false) if stays(wanted, desired) => {
                    (Level::Warning, "no new request reaches it: this run drains and stops it")
                }
                (Repair::Yes | Repair::No, false) => (Level::Warning, "no new request reaches it, and a deploy of the service stops it"),
            };
            let name = unit.app.map_or_else(String::new, |app| app.name.clone());
            let was_left = routing.behind.back.contains(&unit.server) || routing.behind.was_kept(desired.name, live.other());
            if !writes && was_left {
                continue;
            }
            if !writes && unit.idle_for.is_some() {
                findings.extend(warm::over(&routing.playbook.rollout, unit, desired.name, hint));
                continue;
            }
            let why = match routing.behind.anybody() && !writes {
                true => "somebody started it, a run was cut off, or it was kept for a server that was behind",
                false => "somebody started it, or a run was cut off",
            };
            findings.push(Finding {
                level,
                server: Some(unit.server.clone()),
                service: Some(desired.name.clone()),
                text: format!("{name} of the {} side runs beside the live one: {why}", live.other()),
                hint: hint.to_owned(),
            });
            if writes {
                // Nothing starts a second writer again.
                let stops = turn.stop(unit, Some((desired, desired.service)));
                let stops = stops.into_iter().map(|step| Step { undo: Vec::new(), ..step });
                steps.entry(unit.server.clone()).or_default().extend(stops);
            }
        }
    }
    (steps, findings)
}
