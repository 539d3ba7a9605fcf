//! The other side running beside the live one: somebody started it, or a run was cut off. Deliberately absent: services that this plan
//! moves, whose other side it replaces, and those that servers route differently, which it brings together.
use crate::model::{Action, ServerName};
use crate::plan::present::Unit;
use crate::plan::routes::Routing;
use crate::plan::target::Repair;
use crate::plan::turn::Turn;
use crate::plan::types::{Finding, Level, Step};
use std::collections::BTreeMap;

/// What runs beside the live side, and the steps that stop it where that is asked for. The live side is never touched.
pub(in crate::plan) fn beside(turn: &Turn<'_>) -> (BTreeMap<ServerName, Vec<Step>>, Vec<Finding>) {
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
            let writes = desired.service.hands_over();
            let (level, hint) = match (repair, writes) {
                (Repair::Yes, _) => (Level::Warning, "this run stops it".to_owned()),
                (Repair::No, true) => {
                    (Level::Fatal, "two of it must not run at once: `--repair` stops it, and leaves the live side as it is".to_owned())
                }
                (Repair::No, false) => (
                    Level::Warning,
                    "no request reaches it, and the next change of the service replaces it; `--repair` stops it".to_owned(),
                ),
            };
            let name = unit.app.map_or_else(String::new, |app| app.name.clone());
            findings.push(Finding {
                level,
                server: Some(unit.server.clone()),
                service: Some(desired.name.clone()),
                text: format!("{name} of the {} side runs beside the live one: somebody started it, or a run was cut off", live.other()),
                hint,
            });
            if writes || repair == Repair::Yes {
                let stops = turn.stop(unit, Some((desired, desired.service)));
                let stops = stops.into_iter().map(|step| Step { undo: if writes { Vec::new() } else { started(&step) }, ..step });
                steps.entry(unit.server.clone()).or_default().extend(stops);
            }
        }
    }
    (steps, findings)
}

/// Taken back by starting it again, but for what must not run twice; nobody waits until something that no request reaches is healthy.
fn started(step: &Step) -> Vec<Action> {
    step.undo.iter().filter(|action| matches!(action, Action::StartContainer { .. })).cloned().collect()
}
