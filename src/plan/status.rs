//! What runs where, judged: RUNNING, MIXED, DEGRADED, DOWN. Deliberately absent: what should be done about it.
use super::app_port;
use super::behind::behind_notes;
use super::build::running;
use super::checks;
use super::drift::{Drift, strangers};
use super::orphans::orphan_notes;
use super::place::place;
use super::present::{Fleet, PresentService, Unit, present};

use super::maintenance::is_in_maintenance;
use super::show::prose::clean;
use super::target::Repair;
use super::types::Finding;
use super::warm;
use crate::config::{Inventory, Playbook, Rollout};
use crate::facts::ContainerState;
use crate::model::{ServerName, ServiceName, Side, label};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The state of a service, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Every replica of the live side runs, and every NGINX routes to it.
    Running,
    /// Part of the live side does not run or is cut off from its door, or servers disagree about side or version: some requests may fail or differ.
    Mixed,
    /// All of it runs, but something is not as it should be: the other side runs too, or a server does not answer.
    Degraded,
    /// Nothing of the live side runs.
    Down,
    /// It was never deployed.
    Absent,
}

impl State {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Running => "RUNNING",
            State::Mixed => "MIXED",
            State::Degraded => "DEGRADED",
            State::Down => "DOWN",
            State::Absent => "ABSENT",
        }
    }
}

/// One service, as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    /// In one word.
    pub state: State,
    /// The side that NGINX routes.
    pub live: Option<Side>,
    /// Containers of the live side that run.
    pub n_running: usize,
    /// Containers of the live side that should run.
    pub n_wanted: usize,
    /// Versions on the live side; more than one when it is mixed.
    pub versions: BTreeSet<String>,
    /// The version that waits on the other side.
    pub previous: Option<String>,
    /// What waits there runs, and takes no traffic: so many seconds more, by server. 0 where its time is over, and the next deploy stops it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub warm: BTreeMap<ServerName, u64>,
    /// The live side's containers that run, by server.
    pub servers: BTreeMap<ServerName, usize>,
    /// What is wrong, one thing a line.
    pub troubles: Vec<String>,
}

impl ServiceStatus {
    /// The version that waits on the other side, in words: `1.0`, `1.0 (warm, 59 min)`. Empty where there is none.
    #[must_use]
    pub fn waiting(&self) -> String {
        let version = self.previous.clone().unwrap_or_default();
        match self.warm.values().min() {
            None => version,
            Some(0) => format!("{version} (warm, its time is over)"),
            Some(seconds @ 1..=119) => format!("{version} (warm, {seconds} s)"),
            Some(seconds @ 120..=7_199) => format!("{version} (warm, {} min)", seconds / 60),
            Some(seconds) => format!("{version} (warm, {} h)", seconds / 3_600),
        }
    }
}

/// Judges every service of the playbook, and those that are there without being in it; and says what hands have changed on the servers,
/// in the words of the plan's findings. `silent` are servers that did not answer.
#[must_use]
pub fn status(
    playbook: &Playbook,
    inventory: &Inventory,
    fleet: &Fleet,
    silent: &BTreeSet<ServerName>,
) -> (BTreeMap<ServiceName, ServiceStatus>, Vec<Finding>) {
    let drift = Drift::look(playbook, inventory, fleet, Repair::No);
    let present = present(&playbook.project, &playbook.env, &drift.fleet);
    let mut findings = drift.findings(|_| true);
    findings.extend(present.findings.iter().cloned());
    findings.extend(strangers(playbook, fleet, |_, _| false));
    findings.extend(behind_notes(playbook, &present, silent));
    findings.extend(orphan_notes(playbook, &present));
    findings.sort();
    let (placement, _) = place(playbook, inventory, &running(&present));
    let mut all = BTreeMap::new();
    for (name, service) in &playbook.services {
        let n_wanted = placement.get(name).map_or(0, |servers| servers.len() * service.replicas as usize);
        let empty = PresentService::default();
        let found = present.services.get(name).unwrap_or(&empty);
        all.insert(name.clone(), judge(&playbook.rollout, found, n_wanted, silent));
    }
    for (name, service) in present.services.iter().filter(|(name, _)| !playbook.services.contains_key(*name)) {
        let n_wanted = service.live().map_or(0, |live| service.side(live).count());
        all.insert(name.clone(), judge(&playbook.rollout, service, n_wanted, silent));
    }
    for (name, status) in &mut all {
        let (service, there) = (playbook.services.get(name), present.services.get(name));
        status
            .troubles
            .extend(service.zip(there).zip(status.live).and_then(|((service, there), live)| app_port::lack(service, there, live)));
        if is_in_maintenance(present.services.get(name)) {
            status.troubles.push(format!("its public hosts are in maintenance: flipside maintenance off {name}"));
        }
    }
    (all, findings)
}

fn judge(rollout: &Rollout, service: &PresentService<'_>, n_wanted: usize, silent: &BTreeSet<ServerName>) -> ServiceStatus {
    let live = service.live();
    let mut status = ServiceStatus {
        state: State::Absent,
        live,
        n_running: 0,
        n_wanted,
        versions: BTreeSet::new(),
        previous: None,
        warm: BTreeMap::new(),
        servers: BTreeMap::new(),
        troubles: Vec::new(),
    };
    let Some(live) = live else {
        if !service.units.is_empty() {
            status.state = State::Down;
            status.troubles.push("containers are there, but none is routed or runs".to_owned());
        }
        return status;
    };
    for unit in service.side(live) {
        if let Some(version) = unit.label(label::VERSION) {
            status.versions.insert(clean(version));
        }
        if unit.runs() {
            status.n_running += 1;
            *status.servers.entry(unit.server.clone()).or_default() += 1;
            continue;
        }
        status.troubles.extend(troubles(unit));
    }
    status.previous = service.side(live.other()).find_map(|unit| unit.label(label::VERSION)).map(clean);
    for unit in service.side(live.other()).filter(|unit| unit.runs()) {
        if let Some(left) = warm::left(rollout, unit) {
            status.warm.insert(unit.server.clone(), left.0 / 1000);
            continue;
        }
        if !service.behind.is_empty() {
            let text = format!("the {} side still runs, on {}: for servers that are behind", live.other(), unit.server);
            status.troubles.push(text);
            continue;
        }
        status.troubles.push(format!("the {} side runs too, on {}: a run was cut off, or somebody started it", live.other(), unit.server));
    }
    for (server, route) in service.routes.iter().filter(|(_, route)| route.live != live) {
        status.troubles.push(format!("{server} routes the {} side", route.live));
    }
    status.troubles.extend(checks::troubles(service, live));
    for (server, share) in service.routes.iter().filter_map(|(server, route)| Some((server, route.canary?))) {
        status.troubles.push(format!("{server} tries the {} side with {share} of the requests: a canary", live.other()));
    }
    status.troubles.extend(silent.iter().map(|server| format!("{server} does not answer")));
    status.state = if status.n_running == 0 {
        State::Down
    } else if status.n_running < n_wanted || service.is_split() || status.versions.len() > 1 {
        State::Mixed
    } else if status.troubles.is_empty() {
        State::Running
    } else {
        State::Degraded
    };
    status
}

/// What is wrong with a unit that should run, and what to do.
fn troubles(unit: &Unit<'_>) -> Vec<String> {
    let server = &unit.server;
    if let Some(app) = unit.app.filter(|_| unit.has_lost_its_door()) {
        return vec![format!(
            "{} on {server} cannot be reached: its door is gone, whose network it joined; `flipside deploy` mends it",
            app.name
        )];
    }
    if let (true, Some(app), Some(door)) = (unit.is_orphaned(), unit.app, unit.door) {
        return vec![format!(
            "{} on {server} runs and cannot be reached: its door {} was started anew after it (Docker before 28.4 does that, moby #50327); `flipside deploy` mends it",
            app.name, door.name
        )];
    }
    // An app that is up to no good says so in its log; one that has a door may be what a restart of Docker left behind.
    let left_behind = if unit.door.is_some_and(|door| door.state == ContainerState::Running) {
        "; where Docker or the server was restarted, it was left behind (Docker before 28.4, moby #50327): `flipside deploy` mends it"
    } else {
        ""
    };
    let down = [unit.app, unit.door].into_iter().flatten().filter(|container| container.state != ContainerState::Running);
    down.map(|container| {
        let state = format!("{:?}", container.state).to_lowercase();
        format!("{} on {server} is {state} (exit code {}){left_behind}", container.name, container.exit_code)
    })
    .collect()
}
