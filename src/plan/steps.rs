//! One step each: title, action, undo, deadline. Deliberately absent: which steps there are.
use super::types::{Step, UndoKind};
use crate::config::{HealthCheck, Playbook};
use crate::facts::ContainerFact;
use crate::model::{
    Action, ContainerSpec, GenerationId, HealthPolicy, Labels, Millis, Probe, ProbeKind, Protocol, ServiceName, failed_name, label,
    previous_name,
};
use crate::script::layout::stems;
use std::net::Ipv4Addr;

/// The time that a short docker command may take.
const SHORT: Millis = Millis::seconds(60);
/// NGINX looks a name up again every second (`valid=1s` in nginx.conf). A container that it reaches by name answers for this long before
/// traffic goes there, so that NGINX has found it, too.
const FOUND_BY_NAME: Millis = Millis::seconds(2);
/// Pulling an image.
const PULL: Millis = Millis::seconds(900);

/// A step without an undo.
#[must_use]
pub(super) fn plain(title: impl Into<String>, action: Action) -> Step {
    let within = within(&action);
    Step { title: title.into(), service: None, first: Vec::new(), action, undo: Vec::new(), undo_kind: UndoKind::Cleans, within }
}

/// Generations that nobody goes back to any more go, and this project's certificates with them.
#[must_use]
pub(super) fn prune(playbook: &Playbook) -> Step {
    plain("prune NGINX generations", Action::PruneGenerations { keep: 5, stems: stems(&playbook.project, &playbook.env) })
}

/// The deadline of an action.
fn within(action: &Action) -> Millis {
    match action {
        Action::PullImage { .. } => PULL,
        Action::AwaitHealthy { policy, .. } => Millis(policy.deadline.0 + 15_000),
        Action::JudgeCanary(check) => Millis(check.time.0 + SHORT.0),
        Action::StayHealthy { policy, .. } => Millis(policy.at_most().0 + 15_000),
        Action::Drain { policy, .. } => Millis(policy.timeout.0 + 30_000),
        Action::Pause { time } => Millis(time.0 + 30_000),
        Action::StopContainer { timeout, .. }
        | Action::StopAdopted { timeout, .. }
        | Action::RemoveContainer { timeout, .. }
        | Action::SetAside { stop_timeout: timeout, .. } => Millis(timeout.0 + SHORT.0),
        Action::CheckRoute(check) => Millis(check.deadline.0 + 15_000),
        // A container of it, and its door, are made and removed besides.
        Action::Hook(hook) => Millis(hook.timeout.0 + SHORT.0 + 30_000),
        // It waits for NGINX's lock for 30 s at most.
        Action::Switch { .. } | Action::SwitchBack { .. } => Millis(SHORT.0 + 30_000),
        Action::Lock
        | Action::ConfirmFacts { .. }
        | Action::PutFile { .. }
        | Action::PutSecrets { .. }
        | Action::RemoveSecrets { .. }
        | Action::EnsureNetwork(_)
        | Action::RemoveNetwork { .. }
        | Action::ConnectNetwork { .. }
        | Action::RunContainer(_)
        | Action::RenameContainer { .. }
        | Action::StartContainer { .. }
        | Action::StartAdopted { .. }
        | Action::BootNginx { .. }
        | Action::ReloadDoor { .. }
        | Action::AwaitDoor { .. }
        | Action::StageNginx { .. }
        | Action::RestoreGeneration { .. }
        | Action::DropGeneration { .. }
        | Action::ArmRevert { .. }
        | Action::ConfirmSwitch { .. }
        | Action::DisarmRevert
        | Action::PruneGenerations { .. } => SHORT,
    }
}

impl Step {
    /// What it performs, in order.
    #[must_use]
    pub fn actions(&self) -> Vec<Action> {
        self.first.iter().chain([&self.action]).cloned().collect()
    }

    /// The deadline of what it performs, from its start.
    #[must_use]
    pub fn actions_within(&self) -> Millis {
        Millis(self.within.0 + self.first.iter().map(|action| within(action).0).sum::<u64>())
    }

    /// The deadline of the undo, from its start: the sum over its actions. A switch is a matter of seconds; taking it back waits for a drain.
    #[must_use]
    pub fn undo_within(&self) -> Millis {
        Millis(self.undo.iter().map(|action| within(action).0).sum())
    }

    /// The same step, of a service.
    #[must_use]
    pub(super) fn of(mut self, service: &ServiceName) -> Step {
        self.service = Some(service.clone());
        self
    }

    /// The same step, taken back by these actions.
    #[must_use]
    pub(super) fn undone_by(mut self, kind: UndoKind, undo: Vec<Action>) -> Step {
        self.undo_kind = kind;
        self.undo = undo;
        self
    }
}

/// Run a container; taken back by keeping it aside as failed.
#[must_use]
pub(super) fn run(spec: ContainerSpec, kind: UndoKind) -> Step {
    let undo = set_aside(&spec.name, failed_name(&spec.name), &spec.labels, spec.stop_timeout);
    plain(format!("start {}", spec.name), Action::RunContainer(Box::new(spec))).undone_by(kind, vec![undo])
}

/// Move the container of an older release out of the way; taken back by giving it its name again, and by what `wakes` it where it
/// ran to some use.
#[must_use]
pub(super) fn make_room(old: &ContainerFact, stop_timeout: Millis, wakes: Option<(UndoKind, Vec<Action>)>) -> Step {
    let (name, aside) = (&old.name, previous_name(&old.name));
    let (kind, wakes) = wakes.unwrap_or((UndoKind::Cleans, Vec::new()));
    let mut undo = vec![Action::RenameContainer { from: aside.clone(), to: name.clone() }];
    undo.extend(wakes);
    plain(format!("set aside {name} of an older release"), set_aside(name, aside, &old.labels, stop_timeout)).undone_by(kind, undo)
}

/// Stop a container of the release that these labels name, and keep it under another name.
pub(super) fn set_aside(name: &str, to: String, labels: &Labels, stop_timeout: Millis) -> Action {
    Action::SetAside { name: name.to_owned(), to, release: labels.get(label::RELEASE).cloned(), stop_timeout }
}

/// Make a staged generation live; taken back by the generation before, and by waiting until nobody uses the new side any more.
#[must_use]
pub(super) fn switch(expect: Option<GenerationId>, to: &GenerationId, drain: Option<Action>) -> Step {
    let back = expect.clone().map(|before| Action::SwitchBack { from: to.clone(), to: before });
    let undo = back.into_iter().chain(drain).collect();
    plain(format!("switch NGINX to generation {to}"), Action::Switch { expect, to: to.clone() }).undone_by(UndoKind::Restores, undo)
}

/// The health check as the probe of one container.
#[must_use]
pub(super) fn probe(check: &HealthCheck, protocol: Protocol, address: Ipv4Addr, port: Option<u16>) -> Probe {
    let kind = match (&check.command, &check.path, protocol, port) {
        (Some(command), _, _, _) => ProbeKind::Command(command.clone()),
        (None, Some(path), _, Some(_)) => ProbeKind::Http { path: path.clone(), host: "localhost".to_owned() },
        (None, None, Protocol::Tcp | Protocol::Http, Some(_)) => ProbeKind::Tcp,
        (None, None, Protocol::Udp, Some(_)) | (None, _, _, None) => ProbeKind::Running,
    };
    Probe { kind, address, port: port.unwrap_or(0) }
}

/// How often and how long.
#[must_use]
pub(super) fn policy(check: &HealthCheck) -> HealthPolicy {
    HealthPolicy {
        start_period: check.start_period,
        interval: check.interval,
        timeout: check.timeout,
        retries: check.retries,
        deadline: check.deadline,
    }
}

/// How often and how long, for a container that NGINX reaches by name: as many passes more as it takes to be found, and the time for them.
#[must_use]
pub(super) fn policy_by_name(check: &HealthCheck) -> HealthPolicy {
    let mut policy = policy(check);
    let interval = policy.interval.0.max(1);
    let retries = 1 + u32::try_from(FOUND_BY_NAME.0.div_ceil(interval)).unwrap_or(u32::MAX - 1);
    if retries > policy.retries {
        policy.deadline.0 += u64::from(retries - policy.retries) * interval;
        policy.retries = retries;
    }
    policy
}
