//! What is there now, read from the facts: which side NGINX routes, which containers belong to which side, which ports are claimed.
//! Deliberately absent: what should be there.
use super::backends::{reaches, unit_backend};
use super::record::Record;
use super::types::{Finding, Level};
use super::warm::Warm;
use crate::config::HealthCheck;
use crate::facts::{ContainerFact, ContainerState, Facts};
use crate::model::{
    EnvName, Millis, ProjectName, Protocol, ServerName, ServiceName, Side, container_name, door_name, failed_name, label, network_name,
    previous_name,
};
use crate::nginx::{MeshService, is_service_file, read_service};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// What the reachable servers were seen to be.
pub type Fleet = BTreeMap<ServerName, Facts>;

/// What most servers take the time for, in milliseconds since 1970: one clock may be wrong.
#[must_use]
pub(super) fn clock(fleet: &Fleet) -> u64 {
    let mut clocks: Vec<u64> = fleet.values().map(|facts| facts.clock).collect();
    clocks.sort_unstable();
    clocks.get(clocks.len() / 2).copied().unwrap_or_default()
}

/// What is there of one project in one environment.
#[derive(Debug, Default)]
pub struct Present<'a> {
    /// Its services: those that have containers or are routed anywhere.
    pub services: BTreeMap<ServiceName, PresentService<'a>>,
    /// The highest release number on any container; 0 when there is none.
    pub release: u64,
    /// Containers that are set aside: `.previous` and `.failed`.
    pub aside: Vec<(ServerName, &'a ContainerFact)>,
    /// Containers that have another name than their labels say.
    pub renamed: Vec<Renamed<'a>>,
    /// Servers that were left behind.
    pub record: Option<Record>,
    /// What the reading noticed.
    pub findings: Vec<Finding>,
}

/// A container with another name than its labels say.
#[derive(Debug, Clone)]
pub struct Renamed<'a> {
    /// Where.
    pub server: ServerName,
    /// What it is of.
    pub service: ServiceName,
    /// Its side.
    pub side: Side,
    /// The name that its labels say.
    pub wanted: String,
    /// The container.
    pub container: &'a ContainerFact,
}

/// What is there of one service.
#[derive(Debug, Default)]
pub struct PresentService<'a> {
    /// How each server's NGINX routes it.
    pub routes: BTreeMap<ServerName, MeshService>,
    /// Its containers, both sides.
    pub units: Vec<Unit<'a>>,
    /// Servers that were left behind: what they route and run does not say what the fleet does.
    pub behind: BTreeSet<ServerName>,
}

/// One replica of one side on one server: the app, and the door that owns its namespace where it has one.
#[derive(Debug, Clone)]
pub struct Unit<'a> {
    /// Where.
    pub server: ServerName,
    /// From 1.
    pub replica: u32,
    /// Which side.
    pub side: Side,
    /// The app's container.
    pub app: Option<&'a ContainerFact>,
    /// The door's container.
    pub door: Option<&'a ContainerFact>,
    /// It is on a server that was left behind, and of another release than the rest of its side.
    pub is_stale: bool,
    /// For how long it has been idle by its server's clock, where a run has left it running. None for all others.
    pub idle_for: Option<Millis>,
}

impl Unit<'_> {
    /// The app runs, and its door too where it has one, in one network namespace.
    #[must_use]
    pub fn runs(&self) -> bool {
        let up = |container: &ContainerFact| container.state == ContainerState::Running;
        self.app.is_some_and(up) && self.door.is_none_or(up) && !self.is_orphaned()
    }

    /// The app sits in a network namespace that is gone, and nobody reaches it: its door is gone, or both run, but the door was started anew
    /// after the app had joined it. Docker before 28.4 leaves it like that (moby #50327).
    #[must_use]
    pub fn is_orphaned(&self) -> bool {
        if self.has_lost_its_door() {
            return true;
        }
        match (self.app.and_then(|app| app.started), self.door.and_then(|door| door.started)) {
            (Some(app), Some(door)) => app < door,
            _ => false,
        }
    }

    /// The app was made to join the namespace of a door, and there is none.
    #[must_use]
    pub fn has_lost_its_door(&self) -> bool {
        self.door.is_none() && self.app.is_some_and(|app| app.network_mode.starts_with("container:"))
    }

    /// The app has a process, or keeps getting one: it may write.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.app.is_some_and(|app| !app.state.is_stopped())
    }

    /// A label of the app, or of the door where there is no app.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.app.or(self.door)?.labels.get(key).map(String::as_str)
    }

    /// A label that is a number.
    #[must_use]
    pub fn number<N: std::str::FromStr>(&self, key: &str) -> Option<N> {
        self.label(key)?.parse().ok()
    }

    /// What it speaks, as the labels say it.
    #[must_use]
    pub fn protocol(&self) -> Option<Protocol> {
        let word = self.label(label::PROTOCOL)?;
        Protocol::ALL.into_iter().find(|protocol| protocol.as_str() == word)
    }

    /// How it was to prove itself when it was deployed, as its label says it.
    #[must_use]
    pub fn health_check(&self) -> Option<HealthCheck> {
        serde_json::from_str(self.app?.labels.get(label::HEALTH_CHECK)?).ok()
    }

    /// The project's network, as the labels say it.
    #[must_use]
    pub fn network(&self) -> Option<String> {
        let (project, env) = (self.label(label::PROJECT)?, self.label(label::ENV)?);
        Some(network_name(&ProjectName::new(project).ok()?, &EnvName::new(env).ok()?))
    }

    /// It was made on the project's network, and is not attached to it any more.
    #[must_use]
    pub fn is_detached(&self) -> bool {
        let (Some(owner), Some(network)) = (self.owner(), self.network()) else { return false };
        owner.network_mode == network && !owner.networks.contains_key(&network)
    }

    /// Its address in the project's network; where it is not attached to it, in another.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        let networks = &self.owner()?.networks;
        let own = self.network().and_then(|network| networks.get(&network).copied().flatten());
        own.or_else(|| networks.values().find_map(|address| *address))
    }

    /// The container that is attached to the network: the door, or the app itself.
    #[must_use]
    pub fn owner(&self) -> Option<&ContainerFact> {
        self.door.or(self.app)
    }
}

impl<'a> PresentService<'a> {
    /// The side that NGINX routes. Where servers disagree: not a newer one of which less runs, since a rolling deploy may have come to some
    /// servers only; then the one whose containers all run, then the one that more of these servers reach, since what one server held alone
    /// is reached there alone; then the one of most servers, then the older. Where nothing is routed, as for a service without a port: the
    /// side that runs, or keeps exiting, or stopped last.
    #[must_use]
    pub fn live(&self) -> Option<Side> {
        if self.routes.is_empty() {
            return self.running_side();
        }
        let n_routes = |side| self.level_routes().filter(|route| route.live == side).count();
        let all_run = |side| self.side(side).next().is_some() && self.side(side).all(Unit::runs);
        let n_run = |side: Side| self.side(side).filter(|unit| unit.runs()).count();
        let is_short = |side: Side| self.release(side) > self.release(side.other()) && n_run(side) < n_run(side.other());
        let routers = || self.routes.keys().filter(|server| !self.behind.contains(*server));
        let n_reach = |side: Side| routers().filter(|server| self.side(side).any(|unit| is_reached(unit, server))).count();
        let older = |side| std::cmp::Reverse(self.release(side));
        Side::BOTH
            .into_iter()
            .filter(|side| n_routes(*side) > 0)
            .max_by_key(|side| (!is_short(*side), all_run(*side), n_reach(*side), n_routes(*side), older(*side)))
    }

    /// Servers route different sides, or both: a run was cut off between two switches, or while a canary was tried.
    #[must_use]
    pub fn is_split(&self) -> bool {
        let sides: BTreeSet<Side> = self.level_routes().map(|route| route.live).collect();
        sides.len() > 1 || self.level_routes().any(|route| route.canary.is_some())
    }

    /// The routes of the servers that were not left behind; of all where that leaves none.
    pub(super) fn level_routes(&self) -> impl Iterator<Item = &MeshService> {
        let all = self.routes.keys().all(|server| self.behind.contains(server));
        self.routes.iter().filter(move |(server, _)| all || !self.behind.contains(*server)).map(|(_, route)| route)
    }

    /// Where its clients reach it now.
    pub(super) fn internal_port(&self) -> Option<u16> {
        self.level_routes().next().map(|route| route.internal_port)
    }

    /// The units of one side, without what is older on servers that were left behind.
    pub fn side(&self, side: Side) -> impl Iterator<Item = &Unit<'a>> {
        self.units.iter().filter(move |unit| unit.side == side && !unit.is_stale)
    }

    /// The units of one side on servers that were not left behind; on all where that leaves none of either side.
    pub(super) fn level_side(&self, side: Side) -> impl Iterator<Item = &Unit<'a>> {
        let all = self.units.iter().all(|unit| self.behind.contains(&unit.server));
        self.side(side).filter(move |unit| all || !self.behind.contains(&unit.server))
    }

    /// It is routed, and no server that was not left behind has a copy of this side: those are on servers that cannot be asked.
    #[must_use]
    pub(super) fn is_out_of_reach(&self, side: Side) -> bool {
        !self.routes.is_empty() && !self.units.iter().any(|unit| unit.side == side && !self.behind.contains(&unit.server))
    }

    /// It is nowhere to be seen on the servers that were reached: what is stopped there may have gone elsewhere since.
    #[must_use]
    pub(super) fn is_unseen(&self) -> bool {
        self.routes.is_empty() && !self.units.iter().any(Unit::is_up)
    }

    /// Only what level servers run says of which release a side is. A service that they do not have is where it is.
    fn find_stale(&mut self) {
        let is_level = |unit: &Unit<'_>| !self.behind.contains(&unit.server);
        if !self.units.iter().any(is_level) {
            return;
        }
        let releases: BTreeSet<(Side, Option<u64>)> =
            self.units.iter().filter(|unit| is_level(unit)).map(|unit| (unit.side, unit.number(label::RELEASE))).collect();
        let behind = &self.behind;
        for unit in self.units.iter_mut().filter(|unit| behind.contains(&unit.server)) {
            unit.is_stale = !releases.contains(&(unit.side, unit.number(label::RELEASE)));
        }
    }

    /// Where its data is: where the live side has containers, running or not, or is routed to; else where the other side has some.
    #[must_use]
    pub fn homes(&self) -> BTreeSet<ServerName> {
        let Some(live) = self.live() else { return BTreeSet::new() };
        let units = |side| self.side(side).map(|unit| unit.server.clone());
        let routed = self.level_routes().flat_map(|route| &route.backends).filter(|backend| backend.side == live);
        let homes: BTreeSet<ServerName> = units(live).chain(routed.map(|backend| backend.server.clone())).collect();
        if homes.is_empty() { units(live.other()).collect() } else { homes }
    }

    /// The release that a side belongs to.
    #[must_use]
    pub fn release(&self, side: Side) -> Option<u64> {
        self.side(side).filter_map(|unit| unit.number(label::RELEASE)).max()
    }

    /// With both sides up and nothing routed, the older release is the one that was in use. A service that is down is deployed all the
    /// same: where it was, its data is, and what keeps exiting there has to be stopped.
    fn running_side(&self) -> Option<Side> {
        let oldest = |is: fn(&Unit<'a>) -> bool| {
            Side::BOTH.into_iter().filter(|side| self.level_side(*side).any(is)).min_by_key(|side| self.release(*side))
        };
        let newest = || {
            let with_apps = Side::BOTH.into_iter().filter(|side| self.level_side(*side).any(|unit| unit.app.is_some()));
            with_apps.max_by_key(|side| self.release(*side))
        };
        oldest(Unit::runs).or_else(|| oldest(Unit::is_up)).or_else(newest)
    }
}

/// This server's NGINX can route the unit.
fn is_reached(unit: &Unit<'_>, server: &ServerName) -> bool {
    unit_backend(unit).is_some_and(|backend| reaches(server, &unit.server, &backend))
}

/// Reads what is there.
#[must_use]
pub fn present<'a>(project: &ProjectName, env: &EnvName, fleet: &'a Fleet) -> Present<'a> {
    let mut present = Present::default();
    for (server, facts) in fleet {
        read_routes(project, env, server, facts, &mut present);
        let ours = facts.containers.iter().filter(|container| is_ours(container, project, env));
        for container in ours {
            read_container(project, env, server, container, &mut present);
        }
    }
    present.record = Record::of(project, env, fleet);
    let behind: BTreeSet<ServerName> = present.record.iter().flat_map(|record| record.servers.keys().cloned()).collect();
    let warm: BTreeMap<&ServerName, (Warm, u64)> =
        fleet.iter().map(|(server, facts)| (server, (Warm::of(project, env, facts), facts.clock))).collect();
    for (name, service) in &mut present.services {
        service.behind.clone_from(&behind);
        service.find_stale();
        for unit in &mut service.units {
            unit.idle_for = warm.get(&unit.server).and_then(|(warm, clock)| warm.idle_for(name, unit, *clock));
        }
        service.units.sort_by(|a, b| (&a.server, a.replica, a.side).cmp(&(&b.server, b.replica, b.side)));
    }
    present
}

/// The container carries this project's and this environment's labels.
#[must_use]
pub(super) fn is_ours(container: &ContainerFact, project: &ProjectName, env: &EnvName) -> bool {
    let has = |key: &str, value: &str| container.labels.get(key).is_some_and(|found| found == value);
    has(label::PROJECT, project.as_str()) && has(label::ENV, env.as_str())
}

fn read_routes(project: &ProjectName, env: &EnvName, server: &ServerName, facts: &Facts, present: &mut Present<'_>) {
    let service_files = facts.nginx.files.iter().filter(|(path, _)| is_service_file(path));
    for (path, text) in service_files {
        match read_service(text) {
            Ok(routed) => {
                if routed.project == *project && routed.env == *env {
                    present.services.entry(routed.service.clone()).or_default().routes.insert(server.clone(), routed);
                }
            }
            Err(error) => present.findings.push(Finding {
                level: Level::Warning,
                server: Some(server.clone()),
                service: None,
                text: format!("NGINX file {path} cannot be read back: {error}"),
                hint: "if it was edited by hand, take the edit back; a deploy of its project writes it anew".to_owned(),
            }),
        }
    }
}

fn read_container<'a>(project: &ProjectName, env: &EnvName, server: &ServerName, container: &'a ContainerFact, present: &mut Present<'a>) {
    let label = |key: &str| container.labels.get(key).map(String::as_str);
    if let Some(release) = label(label::RELEASE).and_then(|text| text.parse().ok()) {
        present.release = present.release.max(release);
    }
    let service = label(label::SERVICE).and_then(|text| ServiceName::new(text).ok());
    let replica = label(label::REPLICA).and_then(|text| text.parse().ok());
    let side = Side::BOTH.into_iter().find(|side| label(label::SIDE) == Some(side.as_str()));
    let (Some(service), Some(replica), Some(side)) = (service, replica, side) else { return };
    let app_name = container_name(project, env, &service, replica, side);
    let door = door_name(&app_name);
    let is_app = container.name == app_name;
    let is_door = container.name == door;
    if !is_app && !is_door {
        let names = [previous_name(&app_name), failed_name(&app_name), previous_name(&door), failed_name(&door)];
        if names.contains(&container.name) {
            present.aside.push((server.clone(), container));
        } else {
            let wanted = if label(label::ROLE) == Some("door") { door } else { app_name };
            present.renamed.push(Renamed { server: server.clone(), service, side, wanted, container });
        }
        return;
    }
    let units = &mut present.services.entry(service).or_default().units;
    let position = units.iter().position(|unit| unit.server == *server && unit.replica == replica && unit.side == side);
    let unit = match position {
        Some(position) => &mut units[position],
        None => {
            units.push(Unit { server: server.clone(), replica, side, app: None, door: None, is_stale: false, idle_for: None });
            let last = units.len() - 1;
            &mut units[last]
        }
    };
    if is_app {
        unit.app = Some(container);
    } else {
        unit.door = Some(container);
    }
}
