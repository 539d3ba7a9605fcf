//! The ports that a run has in the host's door, of a run that is taken up where other projects have deployed since: those of others stay as
//! they have them there now, and those that the run has opened are there again. Deliberately absent: generations (see `rebase`).
use super::prepare::sealed;
use super::types::Plan;
use crate::facts::{ContainerState, Facts};
use crate::ledger::{Ledger, StepState};
use crate::model::{Action, ServerName, StepId};
use crate::nginx::cut_door;
use crate::script::layout::{HOST_DOOR, host_door_file, stems};
use std::collections::BTreeSet;

/// Makes what the plan writes into the host's door of a server anew, from what is there.
pub(super) fn keep_open(plan: &mut Plan, ledger: &Ledger, server: &ServerName, facts: &Facts) {
    let Some(there) = facts.nginx.doors.get(&format!("{HOST_DOOR}.conf")) else { return };
    let ours = stems(&plan.project, &plan.env);
    for step in plan.waves.iter_mut().filter_map(|wave| wave.servers.get_mut(server)).flatten() {
        for action in step.undo.iter_mut().chain(&mut step.first).chain([&mut step.action]) {
            if let Action::PutFile { path, content, .. } = action
                && is_door(path)
            {
                *content = beside_others(content, there, &ours);
            }
        }
    }
    if let Some((next, actions)) = opened_again(plan, ledger, server, facts, there)
        && let Some(step) = plan.waves.get_mut(next.wave).and_then(|wave| wave.servers.get_mut(server)?.get_mut(next.index))
        && !step.first.iter().any(|action| written(action).is_some())
    {
        step.first.extend(actions);
    }
}

fn is_door(path: &str) -> bool {
    path.ends_with(&host_door_file("/"))
}

/// What the action writes into the host's door.
fn written(action: &Action) -> Option<&str> {
    match action {
        Action::PutFile { path, content, .. } if is_door(path) => Some(content),
        _ => None,
    }
}

/// What opens the ports again that the run has opened, and before which step. Another project's deploy has closed them where nothing routes
/// to them yet: it opens what is routed.
fn opened_again(plan: &Plan, ledger: &Ledger, server: &ServerName, facts: &Facts, there: &str) -> Option<(StepId, Vec<Action>)> {
    let ids = |wanted: &'static [StepState]| plan.step_ids().filter(move |id| id.server == *server && wanted.contains(&ledger.state(id)));
    let next = ids(&[StepState::Pending, StepState::Unknown, StepState::Failed]).next().filter(|_| !ledger.unwinding())?;
    let put = ids(&[StepState::Done]).filter_map(|id| Some(&plan.step(&id)?.action)).filter(|action| written(action).is_some()).last()?;
    let ours = stems(&plan.project, &plan.env);
    let open: BTreeSet<(&str, &str)> = cut_door(there)?.services.into_iter().collect();
    if cut_door(written(put)?)?.services.iter().all(|part| !part.0.starts_with(&ours) || open.contains(part)) {
        return None;
    }
    let is_it = |name: &str, state: ContainerState| name == HOST_DOOR && state == ContainerState::Running;
    let runs = facts.containers.iter().any(|container| is_it(&container.name, container.state));
    let reload = runs.then(|| Action::ReloadDoor { container: HOST_DOOR.to_owned() });
    Some((next, std::iter::once(put.clone()).chain(reload).collect()))
}

/// The planned text of the host's door, with the ports of others as they have them there now. Ours begin with this.
///
/// The others' are taken as they stand there, and not from what NGINX routes: a run of theirs that was cut off may have opened some first.
fn beside_others(planned: &str, there: &str, ours: &str) -> String {
    let bare = planned.split_once('\n').map_or("", |(_, text)| text);
    let (Some(planned_parts), Some(parts)) = (cut_door(bare), cut_door(there)) else { return planned.to_owned() };
    let is_foreign = |part: &&(&str, &str)| !part.0.starts_with(ours);
    let mut all: BTreeSet<&(&str, &str)> = planned_parts.services.iter().collect();
    let [was, is] = [&planned_parts, &parts].map(|parts| parts.services.iter().filter(is_foreign).collect::<BTreeSet<_>>());
    if was == is {
        return planned.to_owned();
    }
    all.retain(|part| !is_foreign(part));
    all.extend(is);
    let services: String = all.into_iter().map(|(_, text)| *text).collect();
    sealed(&[planned_parts.head, &services, planned_parts.tail].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nginx::read_door;

    #[test]
    fn a_door_that_is_written_later_keeps_what_others_have_opened_and_closed_meanwhile() {
        // As the built-in template has them, and as ones of somebody's own may.
        for between in ["\n\n    ", "\n", "\n\n\n\t"] {
            let door = |services: &[(&str, u16)]| {
                let part =
                    |(stem, port): &(&str, u16)| format!("{between}# {stem}\n    server {{\n        listen 127.0.0.1:{port};\n    }}");
                sealed(&format!("# A door.\nstream {{\n    proxy_timeout 24h;{}\n}}\n", services.iter().map(part).collect::<String>()))
            };
            let planned = door(&[("blog_prod_old", 5001), ("shop_prod_api", 5100)]);
            let there = door(&[("blog_prod_new", 5002), ("shop_prod_web", 5101)]);
            let text = beside_others(&planned, &there, "shop_prod_");
            assert_eq!(text, door(&[("blog_prod_new", 5002), ("shop_prod_api", 5100)]));
            assert_eq!(read_door(&text).keys().copied().collect::<Vec<_>>(), [5002, 5100]);
            let alone = door(&[("shop_prod_api", 5100)]);
            assert_eq!(beside_others(&alone, &door(&[]), "shop_prod_"), alone, "nobody else is there");
            assert_eq!(beside_others(&planned, "not a door", "shop_prod_"), planned);
        }
    }
}
