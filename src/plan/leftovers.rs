//! What a run that was cut off left on the side that takes no traffic, of services that this plan leaves as they are: taken back from what
//! the servers show alone, without that run's journal. Deliberately absent: services that move, whose steps clear the way themselves.
use super::routes::Routing;
use super::steps::{plain, set_aside};
use super::target::{Back, Desired, Wanted};
use super::types::{Change, Step};
use crate::facts::ContainerFact;
use crate::model::{Action, Millis, ServerName, failed_name, label, previous_name};
use std::collections::BTreeMap;

/// The steps that take it back: a container that runs there is set aside as failed, and the one of the release before, which waits under
/// its other name, gets its own again. What waits under the name of the live side is of no use to anybody.
///
/// Only where NGINX routes the service, and every server to the same side: then no request can be on its way to the other one.
pub(super) fn leftover_steps(routing: &Routing<'_>, wanted: &Wanted) -> BTreeMap<ServerName, Vec<Step>> {
    let timeout = routing.playbook.rollout.stop_timeout;
    let mut all: BTreeMap<ServerName, Vec<Step>> = BTreeMap::new();
    for desired in routing.desired.iter().filter(|desired| stays(wanted, desired)) {
        let Some((service, live)) = desired.present.and_then(|service| Some((service, service.live()?))) else { continue };
        let waits = |server: &ServerName, name: &str| {
            let previous = previous_name(name);
            routing.present.aside.iter().any(|(at, container)| at == server && container.name == previous)
        };
        let mut of_service: Vec<(ServerName, Step)> = Vec::new();
        for unit in service.side(live.other()) {
            for container in [unit.app, unit.door].into_iter().flatten() {
                if !container.state.is_stopped() || waits(&unit.server, &container.name) {
                    of_service.push((unit.server.clone(), out_of_the_way(container, timeout)));
                }
            }
        }
        let ours = |container: &ContainerFact| container.labels.get(label::SERVICE).is_some_and(|name| name == desired.name.as_str());
        for (server, aside) in routing.present.aside.iter().filter(|(_, container)| ours(container)) {
            let Some(name) = aside.name.strip_suffix(&previous_name("")) else { continue };
            let side = aside.labels.get(label::SIDE).map(String::as_str);
            let step = if side == Some(live.as_str()) {
                let action = Action::RemoveContainer { name: aside.name.clone(), timeout };
                plain(format!("remove {}", aside.name), action)
            } else {
                let action = Action::RenameContainer { from: aside.name.clone(), to: name.to_owned() };
                plain(format!("give {} its name back", aside.name), action)
            };
            of_service.push((server.clone(), step));
        }
        for (server, step) in of_service {
            all.entry(server).or_default().push(step.of(desired.name));
        }
    }
    all
}

/// The plan leaves the service as it is, although it was asked about it.
fn stays(wanted: &Wanted, desired: &Desired<'_>) -> bool {
    let routed = desired.present.is_some_and(|service| !service.routes.is_empty() && !service.is_split());
    desired.change == Change::Keep && routed && wanted.selects(desired.name) && wanted.back == Back::No
}

fn out_of_the_way(container: &ContainerFact, timeout: Millis) -> Step {
    let action = set_aside(&container.name, failed_name(&container.name), &container.labels, timeout);
    plain(format!("set aside {}, which a run that was cut off left on the idle side", container.name), action)
}
