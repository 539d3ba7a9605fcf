//! What each service should be: where, on which ports, on which side, and whether that is a change. Deliberately absent: steps.
use super::adopt::Taking;
use super::behind::Behind;
use super::claims::settle_all;
use super::containers::{BasePorts, UsedPort, environment, spec_digest};
use super::difference::difference;
use super::going_back::judge_rollback;
use super::half_switched;
use super::maintenance::is_in_maintenance;
use super::place::Placement;
use super::present::{Fleet, Present, PresentService};
use super::secrets;
use super::types::{Change, Finding, HALF_SWITCHED, Level};
use crate::config::{Inventory, Playbook, Service};
use crate::model::{BackendMode, Secrets, ServerName, ServiceName, Side, label};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// One service as it should be.
#[derive(Debug)]
pub(super) struct Desired<'a> {
    /// Its name.
    pub name: &'a ServiceName,
    /// What the playbook says.
    pub service: &'a Service,
    /// What is there of it.
    pub present: Option<&'a PresentService<'a>>,
    /// Where it should run, of the servers that are reached.
    pub servers: BTreeSet<ServerName>,
    /// Where it should run, of the others.
    pub away: BTreeSet<ServerName>,
    /// The private addresses of these servers, where it is published on them.
    pub published_on: BTreeMap<ServerName, Ipv4Addr>,
    /// Copies of the live side that are yet to be started on servers that were left behind.
    pub missed: BTreeSet<(ServerName, u32)>,
    /// Why it is left as it is, where that is not what the playbook says.
    pub held_back: Option<String>,
    /// Its copies on one server.
    pub replicas: Vec<Replica>,
    /// The port that apps connect to.
    pub internal_port: Option<u16>,
    /// The app's environment, with the mesh's variables.
    pub environment: BTreeMap<String, String>,
    /// The digest that says whether containers have to be replaced.
    pub spec: String,
    /// Its public hosts get the maintenance page.
    pub maintenance: bool,
    /// It is not this plan's matter: what the playbook says by now of its hosts, its balance and its internal port is not deployed with it.
    pub as_routed: bool,
    /// Why its secrets are not what the live side was given, where they are not.
    pub secret_change: Option<String>,
    /// What happens to it.
    pub change: Change,
    /// Why.
    pub reason: String,
    /// The live side now.
    pub from: Option<Side>,
    /// The live side afterwards. None for a service that is not deployed and was not selected.
    pub to: Option<Side>,
    /// What it takes the place of.
    pub taking: Taking<'a>,
    /// Why two of it must not run at once, whatever the playbook says by now: a rollback alone has that.
    pub never_twice: Option<String>,
}

impl Desired<'_> {
    /// Its live side was started with the settings that the playbook has now.
    #[must_use]
    pub(super) fn is_as_wanted(&self) -> bool {
        let mut units = self.present.zip(self.from).into_iter().flat_map(|(present, live)| present.side(live));
        units.all(|unit| unit.label(label::SPEC) == Some(&self.spec))
    }

    /// Whatever the playbook says, it is left as it is: something else is taken away.
    pub(super) fn stays(&mut self) {
        (self.change, self.to, self.held_back) = (Change::Keep, self.from, None);
        self.is_left();
        "not selected".clone_into(&mut self.reason);
        self.missed.clear();
    }

    /// It is routed as it is, at the port where it is, whatever the playbook says of it by now.
    fn is_left(&mut self) {
        self.as_routed = true;
        self.internal_port = self.present.and_then(PresentService::internal_port).or(self.internal_port);
    }

    /// Somebody may use what runs of it: it is routed, or works by itself.
    #[must_use]
    pub(super) fn has_clients(&self) -> bool {
        self.service.port.is_none() || self.present.is_some_and(|present| !present.routes.is_empty())
    }

    /// Its containers are replaced, or started for the first time.
    #[must_use]
    pub(super) fn moves(&self) -> bool {
        match self.change {
            Change::Create | Change::Toggle | Change::Restore => true,
            Change::Keep | Change::CatchUp | Change::Remove => false,
        }
    }

    /// Its containers are made as the playbook says. What goes back has them.
    #[must_use]
    pub(super) fn is_made_anew(&self) -> bool {
        self.moves() && self.change != Change::Restore
    }

    /// The version of the containers that are started: what servers missed is of the version that the others have.
    #[must_use]
    pub(super) fn version<'p>(&'p self, playbook: &'p Playbook) -> &'p str {
        let there = || self.present?.level_side(self.from?).find_map(|unit| unit.label(label::VERSION));
        let is_missed = self.change == Change::CatchUp;
        is_missed.then(there).flatten().unwrap_or(&playbook.version)
    }
}

/// One copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replica {
    /// From 1.
    pub number: u32,
    /// The host port of its primary side, for a service with a port.
    pub base_port: Option<u16>,
    /// The same of the port that its public hosts are served from, where that is another.
    pub app_base_port: Option<u16>,
    /// Its pair of fixed addresses.
    pub slot: u32,
}

/// What the user asked of the plan.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Only these services; empty for all.
    pub selected: BTreeSet<ServiceName>,
    /// Toggle unchanged services all the same.
    pub force: Force,
    /// Back to the previous release instead of to the playbook.
    pub back: Back,
    /// Set right what hands changed.
    pub repair: Repair,
    /// So many servers may be left behind; None for as many as the playbook says.
    pub max_unreachable: Option<u32>,
    /// Bring servers that were left behind to what the fleet has, and nothing else.
    pub catch_up: bool,
    /// Take services away that left the playbook.
    pub orphans: Orphans,
    /// Put the public hosts of the selected services into maintenance, or back, and do nothing else.
    pub maintenance: Option<Maintenance>,
}

/// What becomes of public hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maintenance {
    /// Requests get the maintenance page.
    On,
    /// They reach the service.
    Off,
}

impl Wanted {
    /// How many of so many servers may be left behind.
    #[must_use]
    pub fn budget(&self, playbook: &Playbook, n_servers: usize) -> u32 {
        self.max_unreachable.unwrap_or(playbook.rollout.budget(n_servers))
    }

    /// The service is among those asked for.
    #[must_use]
    pub fn selects(&self, service: &ServiceName) -> bool {
        self.selected.is_empty() || self.selected.contains(service)
    }
}

/// Whether the plan goes to the playbook or to the previous release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Back {
    /// To the playbook.
    #[default]
    No,
    /// To the side that waits, for the services of the newest release.
    Yes,
}

/// Whether what hands changed on the servers is overwritten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Repair {
    /// It forbids the plan, where it would be.
    #[default]
    No,
    /// It is.
    Yes,
}

/// What happens to services that run and are not in the playbook.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Orphans {
    /// They are named, and go on.
    #[default]
    Stay,
    /// They are taken away, once everything else has moved.
    Go,
}

/// Whether unchanged services are toggled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Force {
    /// Unchanged services are skipped.
    #[default]
    No,
    /// They are toggled all the same.
    Yes,
}

/// How NGINX reaches backends once every service is where it was placed.
#[must_use]
pub fn backend_mode(placement: &Placement) -> BackendMode {
    let servers: BTreeSet<_> = placement.values().flatten().collect();
    if servers.len() > 1 { BackendMode::MultiServer } else { BackendMode::SingleServer }
}

/// Says what each service of the playbook should be.
#[must_use]
pub(super) fn desire<'a>(
    (playbook, inventory): (&'a Playbook, &Inventory),
    placement: &Placement,
    fleet: &Fleet,
    present: &'a Present<'a>,
    wanted: &Wanted,
    secrets: &Secrets,
    behind: &Behind,
) -> (Vec<Desired<'a>>, Vec<Finding>) {
    let mode = backend_mode(placement);
    let mut findings = Vec::new();
    let mut settled = settle_all(playbook, fleet, present, wanted, &mut findings);
    // Whoever is deployed uses the others where they are.
    for (name, (internal, _)) in settled.iter_mut().filter(|(name, _)| !wanted.selects(name)) {
        *internal = present.services.get(name).and_then(PresentService::internal_port).or(*internal);
    }
    let internal_ports: BTreeMap<ServiceName, u16> =
        settled.iter().filter_map(|(name, (internal, _))| internal.map(|port| (name.clone(), port))).collect();
    let mut all = Vec::new();
    for (name, service) in &playbook.services {
        let Some(servers) = placement.get(name) else { continue };
        let (internal, replicas) = settled.remove(name).unwrap_or_default();
        let environment = environment(service, &internal_ports);
        let used = service.uses.keys().filter_map(|used| Some((*internal_ports.get(used)?, playbook.services.get(used)?.protocol)));
        let used: Vec<UsedPort> = used.collect();
        let bases = |of: fn(&Replica) -> Option<u16>| replicas.iter().filter_map(|replica| Some((replica.number, of(replica)?))).collect();
        let bases = BasePorts { own: bases(|replica| replica.base_port), app: bases(|replica| replica.app_base_port) };
        let spec = spec_digest(service, &environment, &used, mode, &bases);
        let mut desired = Desired {
            name,
            service,
            present: present.services.get(name),
            servers: servers.difference(&behind.away).cloned().collect(),
            away: servers.intersection(&behind.away).cloned().collect(),
            published_on: published_on(mode, inventory, servers),
            missed: BTreeSet::new(),
            held_back: None,
            replicas,
            internal_port: internal,
            environment,
            spec,
            change: Change::Keep,
            reason: String::new(),
            from: None,
            to: None,
            maintenance: is_in_maintenance(present.services.get(name)),
            as_routed: !wanted.selects(name),
            secret_change: None,
            taking: Taking::default(),
            never_twice: None,
        };
        desired.secret_change = secrets::difference(playbook, &desired, fleet, secrets);
        match wanted.back {
            Back::No => judge(&mut desired, fleet, wanted, &mut findings, behind),
            Back::Yes => judge_rollback(&mut desired, (playbook, present), wanted, &mut findings),
        }
        if desired.moves() && behind.holds_back(&desired) {
            behind.hold_back(&mut desired);
            desired.servers = servers.difference(&behind.away).cloned().collect();
        }
        if wanted.back == Back::Yes && desired.change == Change::Keep {
            desired.is_left();
        }
        all.push(desired);
    }
    wait_for_split(&mut all);
    (all, findings)
}

fn published_on(mode: BackendMode, inventory: &Inventory, servers: &BTreeSet<ServerName>) -> BTreeMap<ServerName, Ipv4Addr> {
    match mode {
        BackendMode::SingleServer => BTreeMap::new(),
        BackendMode::MultiServer => {
            servers.iter().filter_map(|server| Some((server.clone(), inventory.servers.get(server)?.private_address?))).collect()
        }
    }
}

/// A service that is half switched is first brought to one side. Everything else that would change does so in the deploy after that, as one
/// release: only then it is known what there is to use, and what there is to go back to.
fn wait_for_split(all: &mut [Desired<'_>]) {
    let split: BTreeSet<ServiceName> =
        all.iter().filter(|desired| desired.present.is_some_and(PresentService::is_split)).map(|desired| desired.name.clone()).collect();
    let Some(first) = split.first() else { return };
    for desired in all.iter_mut().filter(|desired| desired.change == Change::Toggle) {
        (desired.change, desired.to) = (Change::Keep, desired.from);
        desired.reason = format!("waits until {first} is on one side");
    }
}

fn judge(desired: &mut Desired<'_>, fleet: &Fleet, wanted: &Wanted, findings: &mut Vec<Finding>, behind: &Behind) {
    let live = desired.present.and_then(PresentService::live);
    desired.from = live;
    let Some(live) = live else {
        if wanted.selects(desired.name) {
            (desired.change, desired.to) = (Change::Create, Some(Side::Primary));
            "first deploy".clone_into(&mut desired.reason);
        } else {
            "not deployed, and not selected".clone_into(&mut desired.reason);
        }
        return;
    };
    desired.to = Some(live);
    // Selected or not: every plan writes what servers route of every service, and that is one side.
    if desired.present.is_some_and(PresentService::is_split) {
        desired.reason = format!("{HALF_SWITCHED}: every server is brought to the {live} side");
        findings.extend(half_switched::warning(desired, live, half_switched::GOES_ON));
        return;
    }
    if !wanted.selects(desired.name) {
        "not selected".clone_into(&mut desired.reason);
        return;
    }
    if desired.servers.is_empty() {
        desired.reason = format!("waits for {}", behind.names());
        desired.held_back = Some(format!("all of it is on {}, which cannot be asked: it is left as it is", behind.names()));
        return;
    }
    desired.missed = behind.missed(desired, live);
    if !desired.missed.is_empty() && wanted.force == Force::No && desired.present.is_some_and(|present| present.is_out_of_reach(live)) {
        desired.missed.clear();
        desired.reason = format!("the {live} side cannot be seen on any server");
        findings.push(Finding {
            level: Level::Fatal,
            server: None,
            service: Some(desired.name.clone()),
            text: format!("its {live} side, which the fleet routes, is on no server that can be asked and was not left behind itself"),
            hint: "bring a server back that has it; or `flipside deploy --force` starts the playbook's version".to_owned(),
        });
        return;
    }
    match (difference(desired, live, fleet), wanted.force) {
        (Some(reason), _) => {
            (desired.change, desired.to, desired.reason) = (Change::Toggle, Some(live.other()), reason);
            desired.missed.clear();
        }
        (None, Force::Yes) => {
            (desired.change, desired.to) = (Change::Toggle, Some(live.other()));
            "forced".clone_into(&mut desired.reason);
            desired.missed.clear();
        }
        (None, Force::No) if !desired.missed.is_empty() => {
            desired.change = Change::CatchUp;
            let servers: BTreeSet<_> = desired.missed.iter().map(|(server, _)| server).collect();
            desired.reason = format!("brought level on {}", super::show::prose::server_list(servers));
        }
        (None, Force::No) => "unchanged".clone_into(&mut desired.reason),
    }
}
