//! The steps that stop what is taken over: before the new side starts, or once it serves and before NGINX binds a port, or at the end.
//! Deliberately absent: which of the three (see the room's door).
use super::{ingress_address, is_in_the_way, owed_on, public_ports_later, taken_on, withheld};
use crate::facts::ContainerFact;
use crate::model::{Action, Adopted, ContainerSpec, Millis, Publish, ServerName};
use crate::nginx::RenderError;
use crate::plan::doors::{Doors, door_text};
use crate::plan::fronts::ingress_of;
use crate::plan::prepare::{attach_nginx, new_door_text, nginx_spec, publish_now};
use crate::plan::routes::Routing;
use crate::plan::steps::plain;
use crate::plan::switching::route_checks;
use crate::plan::target::Desired;
use crate::plan::turn::Turn;
use crate::plan::types::{Step, UndoKind};
use crate::script::layout::NGINX_CONTAINER;
use std::collections::{BTreeMap, BTreeSet};

type Steps = BTreeMap<ServerName, Vec<Step>>;

/// NGINX ends what it does in this time where it is run again with further ports.
const NGINX_STOPS: Millis = Millis::seconds(2);

/// Docker's words for when it is started by itself.
fn restart(container: &ContainerFact) -> String {
    match (container.restart.as_str(), container.restart_limit) {
        ("", _) => "no".to_owned(),
        (policy, 0) => policy.to_owned(),
        (policy, limit) => format!("{policy}:{limit}"),
    }
}

fn stop(routing: &Routing<'_>, desired: &Desired<'_>, container: &ContainerFact) -> Step {
    let adopted = Adopted { name: container.name.clone(), id: container.id.clone(), restart: restart(container) };
    let undo = vec![Action::StartAdopted { container: adopted.clone() }];
    let action = Action::StopAdopted { container: adopted, timeout: routing.playbook.rollout.stop_timeout };
    plain(format!("stop {}, which is taken over", container.name), action).undone_by(UndoKind::Restores, undo).of(desired.name)
}

/// Before the new side starts, of the services of the turn that cannot run beside them.
#[must_use]
pub(in crate::plan) fn first_steps(turn: &Turn<'_>) -> Steps {
    let mut all = Steps::new();
    for desired in turn.services.iter().filter(|desired| desired.taking.first.is_some()) {
        for (server, container) in &desired.taking.containers {
            all.entry(server.clone()).or_default().push(stop(turn.routing, desired, container));
        }
    }
    all
}

/// Once the new sides serve: what holds a port that NGINX or the host's door needs stops, and they get it.
///
/// # Errors
/// [`RenderError`] where a template is at fault.
pub(in crate::plan) fn take_over_steps(routing: &Routing<'_>) -> Result<Steps, RenderError> {
    let mut all = Steps::new();
    for server in routing.fleet.keys() {
        let mut steps = Vec::new();
        let mut concerned: Vec<&Desired<'_>> = Vec::new();
        for (desired, container) in
            taken_on(routing, server).filter(|(desired, container)| is_in_the_way(routing, server, desired, container))
        {
            if desired.taking.first.is_none() {
                steps.push(stop(routing, desired, container));
            }
            if !concerned.iter().any(|known| known.name == desired.name) {
                concerned.push(desired);
            }
        }
        let owed = owed_on(routing, server).map(|(desired, _)| desired);
        let owed: Vec<_> = owed.filter(|desired| !concerned.iter().any(|known| known.name == desired.name)).collect();
        concerned.extend(owed);
        steps.extend(public_steps(routing, server));
        steps.extend(door_steps(routing, server)?);
        for desired in concerned {
            let Some(side) = desired.to else { continue };
            steps.extend(route_checks(routing, server, desired, side));
        }
        if !steps.is_empty() {
            all.insert(server.clone(), steps);
        }
    }
    Ok(all)
}

/// Docker publishes no further port of a container that is there: NGINX is run again, with the same files.
fn public_steps(routing: &Routing<'_>, server: &ServerName) -> Vec<Step> {
    let ports = public_ports_later(routing, server);
    let (Some(settings), Some(facts)) = (routing.inventory.servers.get(server), routing.fleet.get(server)) else { return Vec::new() };
    let Some(address) = ingress_address(ingress_of(routing.inventory, server), settings).filter(|_| !ports.is_empty()) else {
        return Vec::new();
    };
    let before = publish_now(routing, server, settings, facts);
    let freed = ports.iter().map(|port| Publish { address, host_port: *port, container_port: *port, transport: "tcp".to_owned() });
    let after: BTreeSet<Publish> = before.iter().cloned().chain(freed).collect();
    let run = |publish: Vec<Publish>| -> ContainerSpec { nginx_spec(routing, server, settings, publish) };
    let attach = attach_nginx(routing, facts, None, true);
    let mut as_it_was = vec![Action::RunContainer(Box::new(run(before)))];
    as_it_was.extend(attach.iter().map(|step| step.action.clone()));
    let remove = Action::RemoveContainer { name: NGINX_CONTAINER.to_owned(), timeout: NGINX_STOPS };
    let listed: Vec<String> = ports.iter().map(u16::to_string).collect();
    let title = format!("start {NGINX_CONTAINER} with port {}", listed.join(" and "));
    let mut steps = vec![
        plain(format!("remove {NGINX_CONTAINER}, which has no port {}", listed.join(" and ")), remove.clone())
            .undone_by(UndoKind::Restores, as_it_was),
        plain(title, Action::RunContainer(Box::new(run(after.into_iter().collect())))).undone_by(UndoKind::Restores, vec![remove]),
    ];
    steps.extend(attach);
    steps
}

/// The host's door opens what it could not before; taken back by closing it again.
fn door_steps(routing: &Routing<'_>, server: &ServerName) -> Result<Vec<Step>, RenderError> {
    let Some(settings) = routing.inventory.servers.get(server).filter(|_| !withheld(routing, server).is_empty()) else {
        return Ok(Vec::new());
    };
    let text = |doors| door_text(routing, server, doors);
    let (before, after) = (text(Doors::BeforeTakingOver)?, text(Doors::OldAndNew)?);
    let undo = new_door_text(&settings.remote_root, &before).map(|step| step.action).to_vec();
    let [put, reload] = new_door_text(&settings.remote_root, &after);
    Ok(vec![put.undone_by(UndoKind::Restores, undo), reload])
}

/// What is in nobody's way stops at the end, like an old side.
#[must_use]
pub(in crate::plan) fn retire_steps(routing: &Routing<'_>) -> Steps {
    let mut all = Steps::new();
    for server in routing.fleet.keys() {
        let left = taken_on(routing, server)
            .filter(|(desired, container)| desired.taking.first.is_none() && !is_in_the_way(routing, server, desired, container));
        let steps: Vec<Step> = left.map(|(desired, container)| stop(routing, desired, container)).collect();
        if !steps.is_empty() {
            all.insert(server.clone(), steps);
        }
    }
    all
}
