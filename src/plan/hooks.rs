//! Hooks as waves: one for each entry, so that each is complete before the next begins. Deliberately absent: those around connecting and
//! after a failure, which no plan has yet or any more.
use super::containers::{Place, has_door};
use super::routes::Routing;
use super::steps::plain;
use super::target::{Back, Desired, Wanted};
use super::turn::door_config;
use super::types::{Change, Finding, HALF_SWITCHED, Intent, Level, ServicePlan, Step, Wave, WaveKind};
use crate::config::{Hook, HookOn};
use crate::model::{
    Action, ContainerSpec, HookPlace, HookPoint, HookRun, Labels, NetworkMode, ServerName, Side, container_name, door_name, hook_variables,
    hook_words, label, network_name,
};
use crate::nginx::{RenderError, ServiceDoor, service_door};
use crate::script::HOOK_ROLE;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// The places among the waves of a deploy or a rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// Everything is prepared.
    Beginning,
    /// What the services of a turn use is there, and they are about to start: containers of `before_deploy`.
    Start,
    /// Around the switch of a turn.
    BeforeSwitch,
    /// Around the switch of a turn.
    AfterSwitch,
    /// The old side is retired.
    End,
}

/// The hooks of one plan.
pub(super) struct Hooks<'a> {
    routing: &'a Routing<'a>,
    back: Back,
    moving: &'a [&'a Desired<'a>],
    release: u64,
    servers: BTreeSet<&'a ServerName>,
}

impl<'a> Hooks<'a> {
    /// `servers` are those of the run. A plan that moves nothing has no hooks, nor has one that only brings a half-switched fleet to one
    /// side: the deploy itself follows it.
    pub(super) fn new(
        routing: &'a Routing<'a>,
        wanted: &Wanted,
        moving: &'a [&'a Desired<'a>],
        release: u64,
        servers: BTreeSet<&'a ServerName>,
    ) -> Self {
        let mends = moving.iter().any(|desired| desired.reason.starts_with(HALF_SWITCHED));
        Self { routing, back: wanted.back, moving: if mends { &[] } else { moving }, release, servers }
    }

    /// The waves at this place. `services` are those of the turn, and `suffix` tells it from other turns.
    ///
    /// # Errors
    /// [`RenderError`] where the template of a door is at fault.
    pub(super) fn waves(
        &self,
        at: At,
        services: &[&Desired<'_>],
        suffix: &str,
        findings: &mut Vec<Finding>,
    ) -> Result<Vec<Wave>, RenderError> {
        let (point, services) = match (at, self.back) {
            (At::Beginning, Back::No) => (HookPoint::BeforeDeploy, self.moving),
            (At::Start, _) => (HookPoint::BeforeDeploy, services),
            (At::Beginning, Back::Yes) => (HookPoint::BeforeRollback, self.moving),
            (At::BeforeSwitch, _) => (HookPoint::BeforeSwitch, services),
            (At::AfterSwitch, _) => (HookPoint::AfterSwitch, services),
            (At::End, Back::No) => (HookPoint::AfterDeploy, self.moving),
            (At::End, Back::Yes) => (HookPoint::AfterRollback, self.moving),
        };
        let Some(hooks) = self.routing.playbook.hooks.get(&point).filter(|_| !self.moving.is_empty()) else { return Ok(Vec::new()) };
        let mut waves = Vec::new();
        for (index, hook) in hooks.iter().enumerate() {
            let is_container = matches!(hook.on, HookOn::Container(_));
            if (at == At::Beginning && is_container) || (at == At::Start && !is_container) {
                continue;
            }
            let number = if hooks.len() > 1 { format!(" {}", index + 1) } else { String::new() };
            let name = format!("{}{number}", point.as_str());
            let servers = self.steps(point, &name, hook, services, findings)?;
            // A container's, of a service that is not in this turn.
            if servers.is_empty() {
                continue;
            }
            waves.push(Wave { name: format!("{name}{suffix}"), kind: WaveKind::Work, servers });
        }
        Ok(waves)
    }

    fn steps(
        &self,
        point: HookPoint,
        name: &str,
        hook: &Hook,
        services: &[&Desired<'_>],
        findings: &mut Vec<Finding>,
    ) -> Result<BTreeMap<ServerName, Vec<Step>>, RenderError> {
        let first = self.servers.first().copied();
        let (title, servers): (String, Vec<&ServerName>) = match &hook.on {
            HookOn::Workstation => (format!("run {name} on the workstation"), first.into_iter().collect()),
            HookOn::One(None) => (format!("run {name}"), first.into_iter().collect()),
            HookOn::All => (format!("run {name}"), self.servers.iter().copied().collect()),
            HookOn::One(Some(wanted)) => {
                if !self.routing.fleet.contains_key(wanted) {
                    findings.push(self.nowhere(name, wanted));
                }
                (format!("run {name}"), self.routing.fleet.keys().filter(|server| *server == wanted).collect())
            }
            HookOn::Container(service) => {
                let starts = |desired: &&&Desired<'_>| desired.name == service && matches!(desired.change, Change::Create | Change::Toggle);
                let Some(desired) = services.iter().find(starts) else { return Ok(BTreeMap::new()) };
                let Some(server) = desired.servers.first() else { return Ok(BTreeMap::new()) };
                let variables = self.variables(point, services, Some(server));
                let Some(place) = self.container(hook, desired, server, &variables)? else { return Ok(BTreeMap::new()) };
                let step = step(format!("run {name} in a container of {service}"), point, hook, variables, place);
                return Ok(BTreeMap::from([(server.clone(), vec![step.of(desired.name)])]));
            }
        };
        let steps = servers.into_iter().map(|server| {
            let (place, told) = match hook.on {
                HookOn::Workstation => (HookPlace::Workstation, None),
                HookOn::One(_) | HookOn::All | HookOn::Container(_) => (HookPlace::Server, Some(server)),
            };
            (server.clone(), vec![step(title.clone(), point, hook, self.variables(point, services, told), place)])
        });
        Ok(steps.collect())
    }

    fn nowhere(&self, name: &str, server: &ServerName) -> Finding {
        let known = self.routing.inventory.servers.contains_key(server);
        let why = if known { "which cannot be reached" } else { "which is not in the inventory" };
        Finding {
            level: Level::Fatal,
            server: None,
            service: None,
            text: format!("hook {name} runs on {server}, {why}"),
            hint: "name another `server` in `[hooks]`, or leave it out: then it is the first one of the run".to_owned(),
        }
    }

    fn variables(&self, point: HookPoint, services: &[&Desired<'_>], server: Option<&ServerName>) -> BTreeMap<String, String> {
        let plans: Vec<_> =
            services.iter().map(|desired| (desired.name, super::summary::summary(self.routing.playbook, desired))).collect();
        let versions = |version: fn(&ServicePlan) -> Option<&String>| {
            let each = plans.iter().filter_map(|(name, plan)| Some(format!("{name}={}", version(plan)?)));
            each.collect::<Vec<_>>().join("\n")
        };
        let to: BTreeSet<&String> = plans.iter().filter_map(|(_, plan)| plan.to_version.as_ref()).collect();
        let version = match (to.first(), to.len()) {
            (Some(only), 1) => (*only).clone(),
            _ => self.routing.playbook.version.clone(),
        };
        let command = match self.back {
            Back::No => Intent::Deploy,
            Back::Yes => Intent::Rollback,
        };
        let told = [
            ("FLIPSIDE_SERVERS", hook_words(&self.servers)),
            ("FLIPSIDE_SERVICES", hook_words(plans.iter().map(|(name, _)| name))),
            ("FLIPSIDE_VERSIONS", versions(|plan| plan.to_version.as_ref())),
            ("FLIPSIDE_PREVIOUS_VERSIONS", versions(|plan| plan.from_version.as_ref())),
        ];
        let told = told.into_iter().chain(server.map(|server| ("FLIPSIDE_SERVER", server.to_string())));
        let playbook = self.routing.playbook;
        hook_variables(point, &playbook.project, &playbook.env, &version, command.as_str(), told)
    }

    /// The container: as the service's own will be, but for its name, its address, its ports and its volumes, which are the service's alone.
    fn container(
        &self,
        hook: &Hook,
        desired: &Desired<'_>,
        server: &ServerName,
        variables: &BTreeMap<String, String>,
    ) -> Result<Option<HookPlace>, RenderError> {
        let routing = self.routing;
        let playbook = routing.playbook;
        let (Some(settings), Some(replica)) = (routing.inventory.servers.get(server), desired.replicas.first()) else { return Ok(None) };
        let (remote_root, release) = (settings.remote_root.as_str(), self.release);
        let (side, address, version) = (desired.to.unwrap_or(Side::Primary), Ipv4Addr::UNSPECIFIED, desired.version(playbook));
        let own = Place { playbook, desired, replica, side, address, private_address: None, remote_root, version, release }.app();
        let name = format!("{}.hook", container_name(&playbook.project, &playbook.env, desired.name, 1, Side::Primary));
        let network = NetworkMode::Bridge { network: network_name(&playbook.project, &playbook.env), ip: None, aliases: Vec::new() };
        let labels = Labels::from(
            [(label::PROJECT, playbook.project.to_string()), (label::ENV, playbook.env.to_string()), (label::ROLE, HOOK_ROLE.to_owned())]
                .map(|(key, value)| (key.to_owned(), value)),
        );
        let door = match has_door(desired.service) {
            false => None,
            true => Some(ContainerSpec {
                labels: labels.clone(),
                restart: "no".to_owned(),
                ..service_door(&ServiceDoor {
                    name: door_name(&name),
                    image: routing.inventory.nginx.image.clone(),
                    remote_root: settings.remote_root.clone(),
                    config: door_config(routing, desired)?,
                    network: network.clone(),
                    publish: Vec::new(),
                    labels: labels.clone(),
                })
            }),
        };
        let mut env = own.env.clone();
        env.insert("FLIPSIDE_CONTAINER".to_owned(), name.clone());
        env.extend(variables.clone());
        let app = ContainerSpec {
            network: door.as_ref().map_or(network, |door| NetworkMode::Container { name: door.name.clone() }),
            name,
            publish: Vec::new(),
            env,
            labels,
            volumes: Vec::new(),
            command: hook.command.clone(),
            restart: "no".to_owned(),
            ..own
        };
        Ok(Some(HookPlace::Container { app: Box::new(app), door: door.map(Box::new) }))
    }
}

/// One step. A container that it leaves behind when its end is not seen is removed where the run is put back.
fn step(title: String, point: HookPoint, hook: &Hook, variables: BTreeMap<String, String>, place: HookPlace) -> Step {
    let undo = match &place {
        HookPlace::Workstation | HookPlace::Server => Vec::new(),
        HookPlace::Container { app, door } => {
            let all = std::iter::once(app).chain(door);
            all.map(|spec| Action::RemoveContainer { name: spec.name.clone(), timeout: spec.stop_timeout }).collect()
        }
    };
    let run = HookRun { point, command: hook.command.clone(), variables, timeout: hook.timeout, place };
    plain(title, Action::Hook(Box::new(run))).undone_by(super::types::UndoKind::Cleans, undo)
}
