//! From where a run can be watched by requests: every service that has a port, behind the NGINX of every server of the plan.
//! Deliberately absent: sending them, and counting.
use super::adopt;
use super::prepare::container;
use super::present::{Fleet, present};
use super::types::{Change, Plan};
use crate::config::{Inventory, Playbook, Service};
use crate::facts::{ContainerState, Facts};
use crate::model::{Action, GenerationId, Millis, ProbeAsk, ProbeAt, ProbeTarget, Protocol, ServerName, ServiceName};
use crate::nginx::{MeshService, read_door, service_path};
use crate::script::layout::{self, HOST_DOOR};
use std::collections::BTreeMap;

/// A request has at least this long: NGINX itself tries another backend for up to five seconds.
const AT_LEAST: Millis = Millis::seconds(5);

/// One place to watch a run from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// Where requests go.
    pub target: ProbeTarget,
    /// It is routed now. Otherwise it is from the moment that the run has seen the mesh reach it.
    pub is_live: bool,
    /// The generation that takes its route away from this server, if one does.
    pub leaves_with: Option<GenerationId>,
}

/// Where the run of this plan can be watched from, and which of its services cannot be watched, with the reason.
#[must_use]
pub fn probes(plan: &Plan, playbook: &Playbook, inventory: &Inventory, fleet: &Fleet) -> (Vec<Probed>, BTreeMap<ServiceName, String>) {
    let present = present(&plan.project, &plan.env, fleet);
    let (mut all, mut not) = (Vec::new(), BTreeMap::new());
    for (name, service) in plan.services.iter().filter(|(_, service)| service.change != Change::Remove) {
        let (Some(port), Some(settings)) = (service.internal_port, playbook.services.get(name)) else { continue };
        if service.protocol == Protocol::Udp {
            not.insert(name.clone(), "a datagram that gets no answer says nothing".to_owned());
            continue;
        }
        for server in plan.servers() {
            let (Some(machine), Some(facts)) = (inventory.servers.get(server), fleet.get(server)) else { continue };
            let route = present.services.get(name).and_then(|there| there.routes.get(server));
            if route.is_none() && !is_checked(plan, server, name) {
                continue;
            }
            let target = ProbeTarget {
                at: ProbeAt { service: name.clone(), server: server.clone() },
                door: door(plan, server, facts, name, port, route),
                socket: layout::run_file(&machine.remote_root, &plan.project, &plan.env, name, layout::SOCKET),
                ask: ask(name, settings, route),
                within: settings.health_check.timeout.max(AT_LEAST),
            };
            all.push(Probed { target, is_live: route.is_some(), leaves_with: leaves_with(plan, server, name) });
        }
    }
    (all, not)
}

/// The run itself sees that the mesh of this server reaches the service.
fn is_checked(plan: &Plan, server: &ServerName, service: &ServiceName) -> bool {
    let steps = plan.waves.iter().filter_map(|wave| wave.servers.get(server)).flatten();
    steps.filter(|step| step.service.as_ref() == Some(service)).any(|step| matches!(step.action, Action::CheckRoute(_)))
}

/// The host's door, where it opens this port before the run and after it. One that the run itself makes is there before the new route is.
fn door(plan: &Plan, server: &ServerName, facts: &Facts, service: &ServiceName, port: u16, route: Option<&MeshService>) -> Option<u16> {
    // What is taken over may hold the port until the end.
    let is_late = || plan.waves.iter().any(|wave| wave.name == adopt::WAVE && wave.servers.contains_key(server));
    let Some(route) = route else { return (!is_late()).then_some(port) };
    let runs = container(facts, HOST_DOOR).is_some_and(|door| door.state == ContainerState::Running);
    let ports = facts.nginx.doors.get(&format!("{HOST_DOOR}.conf")).map(|text| read_door(text)).unwrap_or_default();
    let opens = ports.get(&port).is_some_and(|stem| *stem == layout::stem(&plan.project, &plan.env, service));
    (runs && opens && route.internal_port == port).then_some(port)
}

/// What both the old and the new side can answer.
fn ask(name: &ServiceName, service: &Service, route: Option<&MeshService>) -> ProbeAsk {
    let was_http = route.is_none_or(|route| route.protocol == Protocol::Http);
    if service.protocol != Protocol::Http || !was_http {
        return ProbeAsk::Tcp;
    }
    ProbeAsk::Http {
        path: service.health_check.path.clone().unwrap_or_else(|| "/".to_owned()),
        host: service.proxy.as_ref().and_then(|proxy| proxy.hosts.first()).map_or_else(|| name.to_string(), Clone::clone),
    }
}

fn leaves_with(plan: &Plan, server: &ServerName, service: &ServiceName) -> Option<GenerationId> {
    let paths = [Protocol::Tcp, Protocol::Http].map(|protocol| service_path(&plan.project, &plan.env, service, protocol));
    let steps = plan.waves.iter().filter_map(|wave| wave.servers.get(server)).flatten();
    steps.into_iter().find_map(|step| {
        let Action::StageNginx { generation, files, remove, .. } = &step.action else { return None };
        let goes = paths.iter().any(|path| remove.contains(path)) && !paths.iter().any(|path| files.contains_key(path));
        goes.then(|| generation.clone())
    })
}
