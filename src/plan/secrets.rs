//! Secrets in a plan: written before the containers that mount them, compared with what the live side has, removed when nobody can start
//! with them any more. Deliberately absent: values. Each release of a service has a folder of its own, so that a rollback finds what it had.
use super::present::{Fleet, PresentService, is_ours};
use super::routes::Routing;
use super::steps::plain;
use super::target::Desired;
use super::types::{Change, Plan, Step, UndoKind};
use crate::config::{Playbook, Service};
use crate::facts::{ContainerFact, Facts};
use crate::ledger::{Ledger, StepState};
use crate::model::{Action, SecretName, Secrets, ServerName, ServiceName, label, previous_name};
use crate::script::layout;
use std::collections::{BTreeMap, BTreeSet};

/// The files of a service's secrets on a server, by name.
#[must_use]
pub(super) fn mounts(playbook: &Playbook, remote_root: &str, desired: &Desired<'_>, release: u64) -> BTreeMap<SecretName, String> {
    let folder = layout::secrets_folder(remote_root, &playbook.project, &playbook.env, desired.name, release);
    desired.service.secrets.iter().map(|name| (name.clone(), format!("{folder}/{name}"))).collect()
}

/// The steps that write what the new containers of a server will mount.
#[must_use]
pub(super) fn put_steps(routing: &Routing<'_>, server: &ServerName, release: u64) -> Vec<Step> {
    let Some(settings) = routing.inventory.servers.get(server) else { return Vec::new() };
    let starts = |desired: &&Desired<'_>| {
        let is_new = matches!(desired.change, Change::Create | Change::Toggle) && desired.servers.contains(server);
        let is_missed = desired.missed.iter().any(|(at, _)| at == server);
        (is_new || is_missed) && !desired.service.secrets.is_empty()
    };
    let (project, env) = (&routing.playbook.project, &routing.playbook.env);
    let put = |desired: &Desired<'_>| {
        let release = super::level::release(desired).unwrap_or(release);
        let folder = layout::secrets_folder(&settings.remote_root, project, env, desired.name, release);
        let Service { secrets, secrets_owner, image, .. } = desired.service;
        let action = Action::PutSecrets { folder: folder.clone(), names: secrets.clone(), owner: *secrets_owner, image: image.clone() };
        plain(format!("write the secrets of {}", desired.name), action)
            .undone_by(UndoKind::Cleans, vec![Action::RemoveSecrets { folder }])
            .of(desired.name)
    };
    routing.desired.iter().filter(starts).map(put).collect()
}

/// Adds the steps that remove the folders of these services, once the containers are gone that `all` removes. Folders that another
/// container can still start with stay, and so do those that this plan has `given`.
pub(super) fn tidy(
    routing: &Routing<'_>,
    services: &BTreeSet<&ServiceName>,
    given: &BTreeSet<(&str, u64)>,
    all: &mut BTreeMap<ServerName, Vec<Step>>,
) {
    let playbook = routing.playbook;
    for (server, facts) in routing.fleet {
        let Some(settings) = routing.inventory.servers.get(server) else { continue };
        let mut steps = Vec::new();
        let gone = removed(all.get(server).map_or(&[], Vec::as_slice));
        let kept = surviving(playbook, facts, &gone);
        for service in services {
            let is_kept = |release: u64| kept.contains(&(service.as_str(), release)) || given.contains(&(service.as_str(), release));
            for release in releases(playbook, service, facts).filter(|release| !is_kept(*release)) {
                let folder = layout::secrets_folder(&settings.remote_root, &playbook.project, &playbook.env, service, release);
                steps.push(plain(format!("remove the secrets of {service}, release {release}"), Action::RemoveSecrets { folder }));
            }
        }
        if !steps.is_empty() {
            all.entry(server.clone()).or_default().extend(steps);
        }
    }
}

/// The releases that these services are given by this plan.
#[must_use]
pub(super) fn given<'a>(services: &[&'a Desired<'a>], release: u64) -> BTreeSet<(&'a str, u64)> {
    let starts = services.iter().filter(|desired| matches!(desired.change, Change::Create | Change::Toggle));
    starts.map(|desired| (desired.name.as_str(), release)).collect()
}

/// The names of the containers that steps remove.
fn removed(steps: &[Step]) -> BTreeSet<&str> {
    let names =
        steps.iter().filter_map(|step| if let Action::RemoveContainer { name, .. } = &step.action { Some(name.as_str()) } else { None });
    names.collect()
}

/// Services and releases of this project's containers that are there when those of these names are gone: by then the ones that make room
/// for others have been renamed.
fn surviving<'f>(playbook: &Playbook, facts: &'f Facts, gone: &BTreeSet<&str>) -> BTreeSet<(&'f str, u64)> {
    let goes = |name: &str| gone.contains(name) || gone.contains(previous_name(name).as_str());
    let stays = facts.containers.iter().filter(|container| is_ours(container, &playbook.project, &playbook.env) && !goes(&container.name));
    let release = |container: &'f ContainerFact| {
        Some((container.labels.get(label::SERVICE)?.as_str(), container.labels.get(label::RELEASE)?.parse().ok()?))
    };
    stays.filter_map(release).collect()
}

/// The releases of a service whose secrets a server has.
fn releases(playbook: &Playbook, service: &ServiceName, facts: &Facts) -> impl Iterator<Item = u64> {
    let prefix = layout::secrets_folder("", &playbook.project, &playbook.env, service, 0);
    let prefix = prefix.trim_start_matches('/').trim_end_matches('0').to_owned();
    facts.secrets.keys().filter_map(move |path| path.strip_prefix(&prefix)?.parse().ok())
}

/// Why the values that the live side was given are not those of now; None when they are, or when nobody read them.
#[must_use]
pub(super) fn difference(playbook: &Playbook, desired: &Desired<'_>, fleet: &Fleet, secrets: &Secrets) -> Option<String> {
    let names = &desired.service.secrets;
    let present = desired.present.filter(|_| names.iter().any(|name| secrets.value(name).is_ok()))?;
    for unit in present.side(PresentService::live(present)?) {
        let release = unit.number(label::RELEASE)?;
        let path = layout::secrets_folder("", &playbook.project, &playbook.env, desired.name, release);
        let Some(proof) = fleet.get(&unit.server).and_then(|facts| facts.secrets.get(path.trim_start_matches('/'))) else {
            return Some(format!("its secrets are not on {}", unit.server));
        };
        if let Some(name) = secrets.changed(names, proof).first() {
            return Some(format!("secret {name} changed"));
        }
    }
    None
}

/// The secrets that a run may still have to write: none once it is being undone.
#[must_use]
pub fn secrets_of(plan: &Plan, ledger: &Ledger) -> BTreeSet<SecretName> {
    if ledger.unwinding() {
        return BTreeSet::new();
    }
    let steps = plan.waves.iter().flat_map(|wave| wave.servers.values()).flatten();
    let names = steps.filter_map(|step| if let Action::PutSecrets { names, .. } = &step.action { Some(names) } else { None });
    names.flatten().cloned().collect()
}

/// Why a run that was cut off must not go on with these values, one sentence a reason: it gave other ones to some servers already.
#[must_use]
pub fn other_secrets(plan: &Plan, ledger: &Ledger, fleet: &Fleet, secrets: &Secrets) -> Vec<String> {
    let mut reasons = BTreeSet::new();
    for id in plan.step_ids().filter(|id| ledger.state(id) == StepState::Done) {
        let Some(Action::PutSecrets { folder, names, .. }) = plan.step(&id).map(|step| &step.action) else { continue };
        let Some(facts) = fleet.get(&id.server) else { continue };
        let proof = facts.secrets.iter().find(|(path, _)| folder.ends_with(&format!("/{path}"))).map(|(_, proof)| proof);
        for name in proof.into_iter().flat_map(|proof| secrets.changed(names, proof)) {
            reasons.insert(format!("{}: the secret {name} was written there with another value than it has now", id.server));
        }
    }
    reasons.into_iter().collect()
}
