//! The containers of services that move together: start the new side, retire the old one, tidy up. Deliberately absent: NGINX.
use super::aliases;
use super::containers::{Place, has_door};
use super::present::Unit;
use super::proving::{found_checks, health, look_again, wait_again, wait_for};
use super::routes::Routing;
use super::steps::{make_room, plain, run};
use super::target::{Desired, Replica};
use super::types::{Change, Finding, Level, Step, UndoKind};
use super::warm;
use crate::config::{Keep, Service};
use crate::facts::{ContainerFact, ContainerState};
use crate::model::{Action, BackendMode, Millis, ServerName, Side, door_name, failed_name, label, previous_name};
use crate::nginx::{DoorForward, MeshAddress, RenderError, ServiceDoor, render_door, service_door};
use std::collections::BTreeMap;

/// Services that move together.
pub(super) struct Turn<'a> {
    /// Everything else.
    pub routing: &'a Routing<'a>,
    /// Which.
    pub services: &'a [&'a Desired<'a>],
    /// The number of this deploy.
    pub release: u64,
}

type Steps = BTreeMap<ServerName, Vec<Step>>;

impl Turn<'_> {
    /// The old side is stopped before the new one starts.
    #[must_use]
    pub(super) fn hands_over(&self, desired: &Desired<'_>) -> bool {
        (desired.hands_over() && desired.from.is_some()) || desired.taking.first.is_some()
    }

    /// The old side goes on: a server that is away may route to it.
    #[must_use]
    pub(super) fn keeps(&self, desired: &Desired<'_>) -> bool {
        desired.from.is_some_and(|from| !self.routing.behind.who_routes(desired.name, from).is_empty())
    }

    pub(super) fn stop_timeout(&self) -> Millis {
        self.routing.playbook.rollout.stop_timeout
    }

    /// Stop a unit that is not stopped; taken back by starting it, and where it served by waiting until it answers. An app whose door is gone
    /// cannot be started again, and nobody reached it.
    pub(super) fn stop(&self, unit: &Unit<'_>, service: Option<(&Desired<'_>, &Service)>) -> Vec<Step> {
        let timeout = self.stop_timeout();
        let mut steps = Vec::new();
        if let Some(app) = unit.app.filter(|app| !app.state.is_stopped()) {
            let mut undo = vec![Action::StartContainer { name: app.name.clone() }];
            undo.extend(
                service
                    .filter(|(desired, _)| unit.runs() && desired.has_clients())
                    .into_iter()
                    .flat_map(|(_, service)| health(unit, service)),
            );
            let step = plain(format!("stop {}", app.name), Action::StopContainer { name: app.name.clone(), timeout });
            steps.push(if unit.has_lost_its_door() { step } else { step.undone_by(UndoKind::Restores, undo) });
        }
        if let Some(door) = unit.door.filter(|door| !door.state.is_stopped()) {
            let mut undo = vec![Action::StartContainer { name: door.name.clone() }];
            undo.extend(service.map(|_| Action::AwaitDoor { container: door.name.clone() }));
            steps.push(
                plain(format!("stop {}", door.name), Action::StopContainer { name: door.name.clone(), timeout: Millis::seconds(5) })
                    .undone_by(UndoKind::Restores, undo),
            );
        }
        match service {
            Some((desired, _)) => steps.into_iter().map(|step| step.of(desired.name)).collect(),
            None => steps,
        }
    }

    /// A server that was left behind serves its clients by this unit: it routes that side, or has the unit, which it may route to.
    fn is_in_use(&self, unit: &Unit<'_>, desired: &Desired<'_>) -> bool {
        let behind = self.routing.behind;
        unit.runs() && (behind.back.contains(&unit.server) || behind.was_kept(desired.name, unit.side))
    }

    /// An older unit gives its place. Where a server that was left behind uses it, or it is warm, taken back by starting it again, too: what
    /// nobody uses may be what cannot be started.
    fn make_room(&self, unit: &Unit<'_>, desired: &Desired<'_>) -> Vec<Step> {
        let service = desired.service;
        let is_in_use = self.is_in_use(unit, desired);
        let is_warm = warm::is_warm(&self.routing.playbook.rollout, unit);
        let wakes = |container: &ContainerFact, then: Vec<Action>| {
            let start = Action::StartContainer { name: container.name.clone() };
            match (is_in_use, is_warm) {
                (true, _) => Some((UndoKind::Restores, std::iter::once(start).chain(then).collect())),
                (false, true) => Some((UndoKind::Cleans, vec![start])),
                (false, false) => None,
            }
        };
        let app = unit.app.map(|app| make_room(app, self.stop_timeout(), wakes(app, health(unit, service))));
        let door = unit.door.map(|door| {
            let ready = Action::AwaitDoor { container: door.name.clone() };
            make_room(door, self.stop_timeout(), wakes(door, vec![ready]))
        });
        app.into_iter().chain(door).collect()
    }

    /// What waits under another name holds the port and the address that its side needs, where a restart of the server has started it: doors
    /// of older releases of this program were run with `--restart always`.
    fn clear(&self, server: &ServerName, app: &str) -> Vec<Step> {
        let door = door_name(app);
        let names = [previous_name(app), failed_name(app), previous_name(&door), failed_name(&door)];
        let aside = self.routing.present.aside.iter().filter(|(at, container)| at == server && names.contains(&container.name));
        let up = aside.map(|(_, container)| *container).filter(|container| !container.state.is_stopped());
        let timeout = self.stop_timeout();
        let stop = |name: &String| plain(format!("stop {name}, which waits"), Action::StopContainer { name: name.clone(), timeout });
        up.map(|container| stop(&container.name)).collect()
    }

    /// The steps that start one replica of the new side and wait until it answers.
    pub(super) fn start(
        &self,
        server: &ServerName,
        desired: &Desired<'_>,
        replica: &Replica,
        side: Side,
        findings: &mut Vec<Finding>,
    ) -> Option<[Vec<Step>; 3]> {
        let routing = self.routing;
        let settings = routing.inventory.servers.get(server)?;
        let Some(address) = routing.sites.address(server, replica.slot, side) else {
            findings.push(Finding {
                level: Level::Fatal,
                server: Some(server.clone()),
                service: Some(desired.name.clone()),
                text: "the project network has no fixed address left".to_owned(),
                hint: "lower the number of replicas, or split the project".to_owned(),
            });
            return None;
        };
        let private_address = match routing.mode {
            BackendMode::SingleServer => None,
            BackendMode::MultiServer => settings.private_address,
        };
        let (playbook, remote_root, release) = (routing.playbook, settings.remote_root.as_str(), self.release);
        let version = desired.version(playbook);
        let place = Place { playbook, desired, replica, side, address, private_address, remote_root, version, release };
        let name = place.name();
        let kind = if self.hands_over(desired) { UndoKind::Restores } else { UndoKind::Cleans };
        let there = desired.present.and_then(|present| {
            present.units.iter().find(|unit| unit.server == *server && unit.replica == replica.number && unit.side == side)
        });
        let mut first = self.clear(server, &name);
        first.extend(there.into_iter().flat_map(|unit| self.make_room(unit, desired)));
        if has_door(desired.service) {
            first.extend(self.door(server, desired, &place, &name, kind, findings));
        }
        let app = vec![run(place.app(), kind)];
        let wait = wait_for(routing, server, desired, &name, address);
        Some([first, app, wait].map(|steps| steps.into_iter().map(|step| step.of(desired.name)).collect()))
    }

    fn door(
        &self,
        server: &ServerName,
        desired: &Desired<'_>,
        place: &Place<'_>,
        name: &str,
        kind: UndoKind,
        findings: &mut Vec<Finding>,
    ) -> Vec<Step> {
        let routing = self.routing;
        let Some(settings) = routing.inventory.servers.get(server) else { return Vec::new() };
        let config = match door_config(routing, desired) {
            Ok(config) => config,
            Err(error) => {
                findings.push(Finding {
                    level: Level::Fatal,
                    server: None,
                    service: Some(desired.name.clone()),
                    text: error.to_string(),
                    hint: "mend the template".to_owned(),
                });
                return Vec::new();
            }
        };
        let spec = service_door(&ServiceDoor {
            name: door_name(name),
            image: routing.inventory.nginx.image.clone(),
            remote_root: settings.remote_root.clone(),
            config,
            network: place.network(name),
            publish: place.publish(),
            labels: place.labels("door"),
        });
        let ready = await_door(&spec.name);
        vec![run(spec, kind), ready]
    }

    /// Start what waits on the other side.
    fn restore(&self, unit: &Unit<'_>, desired: &Desired<'_>) -> [Vec<Step>; 3] {
        let kind = if self.hands_over(desired) { UndoKind::Restores } else { UndoKind::Cleans };
        let start = |container: &ContainerFact, timeout| {
            let name = container.name.clone();
            // What runs already is routed by a server that is away, or was left by a run that was cut off: it goes on.
            let runs = container.state == ContainerState::Running;
            let undo = if runs { Vec::new() } else { vec![Action::StopContainer { name: name.clone(), timeout }] };
            plain(format!("start {name}"), Action::StartContainer { name }).undone_by(kind, undo)
        };
        let mut first = unit.app.map_or_else(Vec::new, |app| self.clear(&unit.server, &app.name));
        if warm::is_warm(&self.routing.playbook.rollout, unit) {
            let looks = look_again(unit, desired.service).into_iter().map(|step| step.of(desired.name));
            return [first, Vec::new(), looks.collect()];
        }
        if let Some(door) = unit.door {
            first.push(start(door, Millis::seconds(5)));
            first.push(await_door(&door.name));
        }
        let app: Vec<Step> = unit.app.map(|app| start(app, self.stop_timeout())).into_iter().collect();
        [first, app, wait_again(unit, desired.service)].map(|steps| steps.into_iter().map(|step| step.of(desired.name)).collect())
    }

    /// Remove both sides of the removed services, and what is set aside of them.
    #[must_use]
    pub(super) fn removal_steps(&self, server: &ServerName) -> Vec<Step> {
        let present = self.routing.present;
        let removed = self.routing.removed;
        let units = removed.iter().filter_map(|name| present.services.get(name)).flat_map(|service| &service.units);
        let ours = units.filter(|unit| unit.server == *server).flat_map(|unit| [unit.app, unit.door]).flatten();
        let aside = present.aside.iter().filter(|(at, container)| {
            at == server && container.labels.get(label::SERVICE).is_some_and(|name| removed.iter().any(|removed| removed.as_str() == name))
        });
        let containers = ours.chain(aside.map(|(_, container)| *container)).map(|container| remove(container, self.stop_timeout()));
        containers.chain(aliases::removal(self.routing, server)).collect()
    }

    /// Stop both sides of the removed services, taken back by starting what ran.
    #[must_use]
    pub(super) fn stop_removed(&self) -> Steps {
        let mut all = Steps::new();
        for name in self.routing.removed {
            for unit in self.routing.present.services.get(name).into_iter().flat_map(|service| &service.units) {
                all.entry(unit.server.clone()).or_default().extend(self.stop(unit, None));
            }
        }
        all
    }
}

/// What the door of a service opens.
///
/// # Errors
/// [`RenderError`] where the template is at fault.
pub(super) fn door_config(routing: &Routing<'_>, desired: &Desired<'_>) -> Result<String, RenderError> {
    let used = routing.desired.iter().filter(|other| desired.service.uses.contains_key(other.name));
    let forwards = used.filter_map(|other| {
        Some(DoorForward {
            project: routing.playbook.project.clone(),
            env: routing.playbook.env.clone(),
            service: other.name.clone(),
            protocol: other.service.protocol,
            internal_port: other.internal_port?,
        })
    });
    render_door(routing.templates, &forwards.collect::<Vec<_>>(), MeshAddress::Alias)
}

fn remove(container: &ContainerFact, timeout: Millis) -> Step {
    plain(format!("remove {}", container.name), Action::RemoveContainer { name: container.name.clone(), timeout })
}

fn await_door(door: &str) -> Step {
    plain(format!("wait for {door} to listen"), Action::AwaitDoor { container: door.to_owned() })
}

/// The old side of every service of the turn that is handed over. Complete on every server before the first container of the new side
/// starts on any: the service may move between servers.
#[must_use]
pub(super) fn hand_over_steps(turn: &Turn<'_>) -> Steps {
    let mut all = stop_old(turn, turn.services.iter().copied().filter(|desired| turn.hands_over(desired)));
    for desired in turn.services.iter().filter(|desired| turn.hands_over(desired) && desired.change == Change::Toggle) {
        let (Some(to), Some(present)) = (desired.to, desired.present) else { continue };
        // What a run that was cut off left there would run beside what starts elsewhere. Nothing starts a second writer again.
        let beside = |unit: &&Unit<'_>| unit.is_up() && desired.servers.iter().any(|server| *server != unit.server);
        for unit in present.side(to).filter(beside) {
            let stops = turn.stop(unit, Some((desired, desired.service))).into_iter().map(|step| Step { undo: Vec::new(), ..step });
            all.entry(unit.server.clone()).or_default().extend(stops);
        }
    }
    all
}

/// The new side of every service of the turn: room, doors, apps, and then all health checks, which run side by side.
pub(super) fn start_steps(turn: &Turn<'_>, findings: &mut Vec<Finding>) -> Steps {
    let mut by_phase: BTreeMap<ServerName, [Vec<Step>; 3]> = BTreeMap::new();
    for desired in turn.services {
        let Some(side) = desired.to else { continue };
        if desired.change == Change::Restore {
            for unit in desired.present.into_iter().flat_map(|present| present.side(side)) {
                add(&mut by_phase, &unit.server, turn.restore(unit, desired));
            }
            continue;
        }
        let starts = |server: &&ServerName| turn.routing.batch.is_none_or(|batch| batch.starts(server));
        for server in desired.servers.iter().filter(starts) {
            for replica in &desired.replicas {
                if let Some(phases) = turn.start(server, desired, replica, side, findings) {
                    add(&mut by_phase, server, phases);
                }
            }
        }
    }
    // Once all of them are well: health checks that follow each other run side by side.
    for (server, phases) in &mut by_phase {
        phases[2].extend(turn.services.iter().flat_map(|desired| found_checks(turn.routing, server, desired)));
    }
    by_phase.into_iter().map(|(server, phases)| (server, phases.into_iter().flatten().collect())).collect()
}

fn add(by_phase: &mut BTreeMap<ServerName, [Vec<Step>; 3]>, server: &ServerName, phases: [Vec<Step>; 3]) {
    let all = by_phase.entry(server.clone()).or_default();
    for (all, more) in all.iter_mut().zip(phases) {
        all.extend(more);
    }
}

/// The old side of every other service that moved, where it still runs.
#[must_use]
pub(super) fn retire_steps(turn: &Turn<'_>) -> Steps {
    let goes = |desired: &&Desired<'_>| !turn.hands_over(desired) && !turn.keeps(desired) && !warm::stays(turn.routing.playbook, desired);
    stop_old(turn, turn.services.iter().copied().filter(goes))
}

fn stop_old<'a>(turn: &Turn<'_>, services: impl Iterator<Item = &'a Desired<'a>>) -> Steps {
    let mut all = Steps::new();
    for desired in services {
        let (Some(from), Some(present)) = (desired.from, desired.present) else { continue };
        for unit in present.side(from) {
            all.entry(unit.server.clone()).or_default().extend(turn.stop(unit, Some((desired, desired.service))));
        }
    }
    all
}

/// What nobody can go back to any more: older releases, failed containers, copies on servers that are not wanted now.
#[must_use]
pub(super) fn finish_steps(turn: &Turn<'_>) -> Steps {
    let mut all = Steps::new();
    let timeout = turn.stop_timeout();
    let mut gone: Vec<(ServerName, String)> = Vec::new();
    for desired in turn.services {
        let (Some(to), Some(present)) = (desired.to, desired.present) else { continue };
        for unit in present.side(to).filter(|_| desired.change != Change::Restore) {
            let reused = desired.servers.contains(&unit.server) && desired.replicas.iter().any(|replica| replica.number == unit.replica);
            let names = [unit.app, unit.door].into_iter().flatten().map(|container| container.name.clone());
            gone.extend(names.map(|name| (unit.server.clone(), if reused { previous_name(&name) } else { name })));
        }
        let leaves = turn.routing.playbook.rollout.keep == Keep::Removed && !turn.keeps(desired);
        let old = present.units.iter().filter(|unit| leaves && Some(unit.side) == desired.from && Some(unit.side) != desired.to);
        gone.extend(
            old.flat_map(|unit| [unit.app, unit.door].into_iter().flatten().map(|container| (unit.server.clone(), container.name.clone()))),
        );
    }
    let moved = |container: &ContainerFact| {
        container.labels.get(label::SERVICE).is_some_and(|name| turn.services.iter().any(|desired| desired.name.as_str() == name))
    };
    gone.extend(
        turn.routing
            .present
            .aside
            .iter()
            .filter(|(_, container)| moved(container))
            .map(|(server, container)| (server.clone(), container.name.clone())),
    );
    gone.sort();
    gone.dedup();
    for (server, name) in gone {
        let step = plain(format!("remove {name}"), Action::RemoveContainer { name, timeout });
        all.entry(server).or_default().push(step);
    }
    all
}
