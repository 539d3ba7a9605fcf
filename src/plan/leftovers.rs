//! What a run that was cut off left on the side that takes no traffic, of services that this plan leaves as they are: taken back from what
//! the servers show alone, without that run's journal. Of services that move, only the drain: their steps
//! clear the way themselves.
use super::present::{PresentService, Unit};
use super::routes::Routing;
use super::steps::{plain, set_aside};
use super::switching::{askers, drain_policy, running_backends};
use super::target::{Back, Desired, Wanted};
use super::types::{Change, Step};
use super::warm;
use crate::facts::ContainerFact;
use crate::model::{Action, Millis, ServerName, Side, failed_name, label, previous_name};
use std::collections::BTreeMap;

/// The steps that take it back.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// Before anything is stopped: connections that NGINX still has to the side that was live.
    pub drain: BTreeMap<ServerName, Vec<Step>>,
    /// Afterwards.
    pub tidy: BTreeMap<ServerName, Vec<Step>>,
}

/// Where a release before it waits under another name, the run died before its switch: its container is set aside as failed, and the other
/// gets its name again. Otherwise what runs on the idle side is stopped and stays there, as the side that was live before. What waits under
/// a name of the live side is removed.
///
/// Only where NGINX routes the service, and every server to the same side.
pub(super) fn leftovers(routing: &Routing<'_>, wanted: &Wanted) -> Leftovers {
    let mut all = Leftovers::default();
    // Maintenance changes routes alone.
    if wanted.maintenance.is_some() {
        return all;
    }
    for desired in routing.desired.iter().filter(|desired| stays(wanted, desired)) {
        let Some((service, live)) = desired.present.and_then(|service| Some((service, service.live()?))) else { continue };
        if !routing.behind.who_routes(desired.name, live.other()).is_empty() {
            continue;
        }
        let goes = |unit: &Unit<'_>| !warm::is_warm(&routing.playbook.rollout, unit);
        for (server, step) in drains(routing, desired, service, live.other(), &goes) {
            all.drain.entry(server).or_default().push(step);
        }
        for (server, step) in tidy(routing, desired, service, live) {
            all.tidy.entry(server).or_default().push(step.of(desired.name));
        }
    }
    all
}

/// Drains the idle sides that a run was cut off on and that this plan needs: what runs there is stopped before the new one starts. NGINX's
/// old workers may still have requests there, since such a side was live before that run switched, or until its servers put themselves back.
pub(super) fn drain_needed(routing: &Routing<'_>) -> BTreeMap<ServerName, Vec<Step>> {
    let mut all: BTreeMap<ServerName, Vec<Step>> = BTreeMap::new();
    for desired in routing.desired.iter().filter(|desired| desired.change == Change::Toggle && !desired.hands_over()) {
        let (Some(service), Some(to)) = (desired.present, desired.to) else { continue };
        for (server, step) in drains(routing, desired, service, to, &|_| true) {
            all.entry(server).or_default().push(step);
        }
    }
    all
}

/// The plan leaves the service as it is, although it was asked about it: what is left of it elsewhere is taken back.
pub(super) fn stays(wanted: &Wanted, desired: &Desired<'_>) -> bool {
    let routed = desired.present.is_some_and(|service| !service.routes.is_empty() && !service.is_split());
    matches!(desired.change, Change::Keep | Change::CatchUp) && routed && wanted.selects(desired.name) && wanted.back == Back::No
}

/// Where something of that side runs. Old workers of NGINX may still have requests there: it was live until the other was switched to, or
/// put back to.
fn drains(
    routing: &Routing<'_>,
    desired: &Desired<'_>,
    service: &PresentService<'_>,
    side: Side,
    goes: &dyn Fn(&Unit<'_>) -> bool,
) -> Vec<(ServerName, Step)> {
    let what = if routing.behind.was_kept(desired.name, side) {
        "was kept for servers that are behind"
    } else if service.side(side).any(|unit| unit.idle_for.is_some()) {
        "was kept warm"
    } else {
        "a run that was cut off left on the idle side"
    };
    let drain = |server: &ServerName| {
        let backends = running_backends(server, service.side(side).filter(|unit| goes(unit)));
        let action = Action::Drain { backends: backends.clone(), policy: drain_policy(routing) };
        let step = plain(format!("drain what {what}"), action).of(desired.name);
        (!backends.is_empty()).then(|| (server.clone(), step))
    };
    askers(routing, service).filter_map(drain).collect()
}

fn tidy(routing: &Routing<'_>, desired: &Desired<'_>, service: &PresentService<'_>, live: Side) -> Vec<(ServerName, Step)> {
    let timeout = routing.playbook.rollout.stop_timeout;
    let is_ours = |container: &ContainerFact| container.labels.get(label::SERVICE).is_some_and(|name| name == desired.name.as_str());
    let is_warm = |unit: &Unit<'_>| warm::is_warm(&routing.playbook.rollout, unit);
    let aside: Vec<_> = routing.present.aside.iter().filter(|(_, container)| is_ours(container)).collect();
    let mut steps = Vec::new();
    // Of what must not run twice, a second one that runs is drift's matter.
    for unit in service.side(live.other()).filter(|unit| !(desired.hands_over() && unit.is_up() || is_warm(unit))) {
        for container in [unit.app, unit.door].into_iter().flatten() {
            let waits = aside.iter().any(|(at, other)| *at == unit.server && other.name == previous_name(&container.name));
            if waits {
                steps.push((unit.server.clone(), out_of_the_way(container, timeout)));
            } else if !container.state.is_stopped() {
                let name = container.name.clone();
                let step = plain(format!("stop {name}, which takes no traffic"), Action::StopContainer { name, timeout });
                steps.push((unit.server.clone(), step));
            }
        }
    }
    for (server, other) in aside {
        let Some(name) = other.name.strip_suffix(&previous_name("")) else { continue };
        // A second writer has its name, and is drift's matter.
        if desired.hands_over() && service.side(live.other()).any(|unit| unit.server == *server && unit.is_up()) {
            continue;
        }
        let is_live = other.labels.get(label::SIDE).is_some_and(|side| side == live.as_str());
        let step = if is_live {
            plain(format!("remove {}", other.name), Action::RemoveContainer { name: other.name.clone(), timeout })
        } else {
            let action = Action::RenameContainer { from: other.name.clone(), to: name.to_owned() };
            plain(format!("give {} its name back", other.name), action)
        };
        steps.push((server.clone(), step));
    }
    steps
}

fn out_of_the_way(container: &ContainerFact, timeout: Millis) -> Step {
    let action = set_aside(&container.name, failed_name(&container.name), &container.labels, timeout);
    plain(format!("set aside {}, which a run that was cut off left on the idle side", container.name), action)
}
