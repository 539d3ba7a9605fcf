//! A service's own name in its project's network: a container that stands there as `SERVICE`, listens on the service's port, and leads to the
//! server's NGINX. It comes with the service and stays as it is in a deploy, so that what is behind the name moves in NGINX's own switch.
//! Deliberately absent: Docker aliases that move. While both sides have one, the name means both; whoever has asked keeps the old address.
use super::prepare::container;
use super::present::is_ours;
use super::routes::Routing;
use super::steps::plain;
use super::target::Desired;
use super::types::{Change, Finding, Level, Step, UndoKind};
use crate::facts::{ContainerFact, Facts};
use crate::model::{Action, ContainerSpec, Labels, Millis, NetworkMode, ServerName, ServiceName, label, network_name};
use crate::nginx::{Alias, RenderError, alias_container, render_alias};
use crate::script::layout;
use std::collections::BTreeSet;

/// The role of these containers, in their label.
const ROLE: &str = "alias";

/// What stops it ends its connections: nobody waits for them.
const STOP: Millis = Millis::seconds(5);

/// The containers of the names that a server has: of every service that wants one, where the project runs anything.
fn wanted(routing: &Routing<'_>, server: &ServerName) -> Result<Vec<ContainerSpec>, RenderError> {
    let Some(settings) = routing.inventory.servers.get(server) else { return Ok(Vec::new()) };
    let is_deployed = |desired: &&Desired<'_>| desired.to.is_some();
    if !routing.desired.iter().filter(is_deployed).any(|desired| desired.servers.contains(server)) {
        return Ok(Vec::new());
    }
    let (project, env) = (&routing.playbook.project, &routing.playbook.env);
    let mut all = Vec::new();
    for desired in routing.desired.iter().filter(is_deployed).filter(|desired| has_name(routing, desired)) {
        let Some(port) = port(desired) else { continue };
        let stem = layout::stem(project, env, desired.name);
        let labels = [(label::PROJECT, project.to_string()), (label::ENV, env.to_string()), (label::SERVICE, desired.name.to_string())];
        let aliases = vec![desired.name.to_string()];
        all.push(alias_container(Alias {
            name: name_of(routing, desired.name),
            image: routing.inventory.nginx.image.clone(),
            remote_root: settings.remote_root.clone(),
            config: render_alias(routing.templates, &stem, port)?,
            network: NetworkMode::Bridge { network: network_name(project, env), ip: None, aliases },
            labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Labels>(),
        }));
    }
    Ok(all)
}

/// It has a name of its own: as the playbook says, or, where it is left as it is, as the fleet has it.
fn has_name(routing: &Routing<'_>, desired: &Desired<'_>) -> bool {
    if desired.as_routed { is_named(routing, desired.name) } else { desired.service.alias }
}

/// Any server has its name.
#[must_use]
pub(super) fn is_named(routing: &Routing<'_>, service: &ServiceName) -> bool {
    let name = name_of(routing, service);
    let mut containers = routing.fleet.values().flat_map(|facts| &facts.containers);
    containers.any(|container| container.name == name && is_alias(routing, container))
}

fn name_of(routing: &Routing<'_>, service: &ServiceName) -> String {
    format!("{}.{ROLE}", layout::stem(&routing.playbook.project, &routing.playbook.env, service))
}

/// The port under which it is found: that of the side which serves once the plan is done. Of what is there, its own, which is another one than
/// the playbook's after a rollback over a change of `port`, and until such a change is deployed.
fn port(desired: &Desired<'_>) -> Option<u16> {
    let is_there = match desired.change {
        Change::Restore | Change::Keep | Change::CatchUp => true,
        Change::Create | Change::Toggle | Change::Remove => false,
    };
    let there = desired.present.zip(desired.to).filter(|_| is_there);
    let own = there.and_then(|(present, side)| present.side(side).find_map(|unit| unit.number(label::PORT)));
    own.or(desired.service.port)
}

/// Starts the names that a server does not have yet, before anything that may ask for them.
///
/// # Errors
/// [`RenderError`] where a template is at fault.
pub(super) fn prepare(routing: &Routing<'_>, server: &ServerName, findings: &mut Vec<Finding>) -> Result<Vec<Step>, RenderError> {
    let mut steps = Vec::new();
    let Some(facts) = routing.fleet.get(server) else { return Ok(steps) };
    for spec in wanted(routing, server)? {
        let (name, ready) = (spec.name.clone(), plain(format!("wait for {} to listen", spec.name), await_it(&spec)));
        match container(facts, &name) {
            None => {
                let gone = Action::RemoveContainer { name: name.clone(), timeout: STOP };
                let run = plain(format!("start {name}"), Action::RunContainer(Box::new(spec)));
                steps.extend([run.undone_by(UndoKind::Cleans, vec![gone]), ready]);
            }
            Some(there) if !is_alias(routing, there) => findings.push(Finding {
                level: Level::Fatal,
                server: Some(server.clone()),
                service: None,
                text: format!("a container named {name} is there that Flipside did not start (image {})", there.image),
                hint: format!("rename or remove it: docker rename {name} {name}_old"),
            }),
            Some(there) if there.state.is_stopped() => {
                steps.extend([plain(format!("start {name}"), Action::StartContainer { name }), ready]);
            }
            Some(_) => {}
        }
    }
    Ok(steps)
}

/// Takes away the names that nobody wants any more, and makes those anew whose port is another one now.
///
/// # Errors
/// [`RenderError`] where a template is at fault.
pub(super) fn tidy(routing: &Routing<'_>, server: &ServerName, facts: &Facts) -> Result<Vec<Step>, RenderError> {
    let wanted = wanted(routing, server)?;
    let names: BTreeSet<&str> = wanted.iter().map(|spec| spec.name.as_str()).collect();
    let known = |container: &&ContainerFact| {
        let service = container.labels.get(label::SERVICE).and_then(|name| ServiceName::new(name).ok());
        is_alias(routing, container) && service.is_some_and(|name| routing.playbook.services.contains_key(&name))
    };
    let gone = facts.containers.iter().filter(known).filter(|container| !names.contains(container.name.as_str()));
    let mut steps: Vec<Step> = gone.map(remove).collect();
    for spec in wanted {
        let Some(there) = container(facts, &spec.name).filter(|there| is_alias(routing, there)) else { continue };
        if there.labels.get(label::MESH) != spec.labels.get(label::MESH) {
            let ready = plain(format!("wait for {} to listen", spec.name), await_it(&spec));
            steps.extend([remove(there), plain(format!("start {}", spec.name), Action::RunContainer(Box::new(spec))), ready]);
        }
    }
    Ok(steps)
}

/// Takes away the names of services that go.
pub(super) fn removal<'a>(routing: &'a Routing<'_>, server: &ServerName) -> impl Iterator<Item = Step> + 'a {
    let containers = routing.fleet.get(server).into_iter().flat_map(|facts| &facts.containers);
    let goes = |container: &&ContainerFact| {
        let service = container.labels.get(label::SERVICE);
        is_alias(routing, container) && service.is_some_and(|name| routing.removed.iter().any(|removed| removed.as_str() == name))
    };
    containers.filter(goes).map(remove)
}

fn is_alias(routing: &Routing<'_>, container: &ContainerFact) -> bool {
    is_ours(container, &routing.playbook.project, &routing.playbook.env)
        && container.labels.get(label::ROLE).is_some_and(|role| role == ROLE)
}

fn await_it(spec: &ContainerSpec) -> Action {
    Action::AwaitDoor { container: spec.name.clone() }
}

fn remove(container: &ContainerFact) -> Step {
    plain(format!("remove {}", container.name), Action::RemoveContainer { name: container.name.clone(), timeout: STOP })
}
