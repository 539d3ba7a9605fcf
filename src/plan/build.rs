//! Playbook, inventory and facts to a plan, and what was noticed on the way. Deliberately absent: the waves of a deploy (see `deploy`).
use super::adopt;
use super::behind::Behind;
use super::catch_up;
use super::certificates;
use super::checks;
use super::containers::digest;
use super::departed;
use super::deploy::{deploy_waves, turns};
use super::drift::Drift;
use super::half_switched;
use super::lint::lint;
use super::maintenance;
use super::orphans;
use super::place::{Placement, place};
use super::present::{Fleet, Present, present};
use super::rebase;
use super::remove::remove_waves;
use super::revert::{revert_notes, take_over, to_take_over};
use super::routes::{Generation, Moment, Routing};
use super::same_names;
use super::sites::Sites;
use super::steps::plain;
use super::summary::{removal, summary};
use super::target::{Back, Desired, Wanted, backend_mode, desire};
use super::types::{Basis, Finding, Intent, Level, PLAN_FORMAT, Plan, Wave, WaveKind};
use super::volumes;
use super::warm;
use super::writers;
use crate::config::{Inventory, OnFailure, Playbook};
use crate::model::{Action, EnvName, Labels, Millis, ProjectName, Secrets, ServerName, ServiceName, label, network_name};
use crate::nginx::{RenderError, Templates};
use crate::script::layout;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// What to deploy.
    pub playbook: &'a Playbook,
    /// Where to.
    pub inventory: &'a Inventory,
    /// What was seen there. Every server of the inventory.
    pub fleet: &'a Fleet,
    /// How NGINX is configured.
    pub templates: &'a Templates,
    /// What was asked for.
    pub wanted: &'a Wanted,
    /// Services to take away.
    pub removed: &'a BTreeSet<ServiceName>,
    /// The values of secrets, to be compared with what is there. None of them becomes a part of the plan.
    pub secrets: &'a Secrets,
}

/// Makes the plan, and says what was noticed on the way. A plan with a fatal finding must not be run.
///
/// # Errors
/// [`RenderError`] where a template is at fault.
pub fn build(inputs: Inputs<'_>) -> Result<(Plan, Vec<Finding>), RenderError> {
    let Inputs { playbook, inventory, fleet: seen, templates, wanted, removed, secrets } = inputs;
    let drift = Drift::look(playbook, inventory, seen, wanted.repair);
    let fleet = &drift.fleet;
    let present = present(&playbook.project, &playbook.env, fleet);
    let homes = volumes::homes(adopt::homes(running(&present), playbook, fleet), playbook, fleet);
    let (placement, placing) = place(playbook, inventory, &homes);
    let mode = backend_mode(&placement);
    let behind = Behind::look(inventory, &seen.keys().collect(), &present, &placement, mode);
    let labels =
        Labels::from([(label::PROJECT.to_owned(), playbook.project.to_string()), (label::ENV.to_owned(), playbook.env.to_string())]);
    let network = network_name(&playbook.project, &playbook.env);
    let (sites, mut findings) = Sites::survey(inventory, fleet, (&network, labels), layout::MESH_NETWORK);
    let (mut desired, judging) = desire((playbook, inventory), &placement, fleet, &present, wanted, secrets, &behind);
    if wanted.maintenance.is_some() {
        findings.extend(half_switched::warnings(&desired));
        findings.extend(maintenance::ask(&mut desired, wanted));
    } else if removed.is_empty() {
        findings.extend(placing.into_iter().chain(judging));
    } else {
        desired.retain(|desired| !removed.contains(desired.name));
        findings.extend(half_switched::warnings(&desired));
        desired.iter_mut().for_each(Desired::stays);
    }
    if removed.is_empty() {
        adopt::take(&mut desired, fleet, wanted, mode);
    }
    let (present, desired, sites) = (&present, &desired[..], &sites);
    let (known, news) = [false, true].map(|news| behind.followed(desired, &placement, wanted, news)).into();
    let behind = if removed.is_empty() { &known } else { &behind };
    // A removal starts nothing: what servers have missed is not there for anybody to route to.
    let moment = if removed.is_empty() { Moment::After } else { Moment::Before };
    let (leaving, told) =
        if removed.is_empty() { orphans::leaving(playbook, present, desired, wanted, behind) } else { (BTreeSet::new(), Vec::new()) };
    findings.extend(told);
    let leaving = &leaving;
    let mut routing = Routing {
        playbook,
        inventory,
        fleet,
        seen,
        drift: &drift,
        present,
        desired,
        sites,
        mode,
        templates,
        secrets,
        removed,
        leaving,
        behind,
        moment,
        batch: None,
        split: None,
        waits: Millis(0),
    };
    routing.waits = warm::waits(&routing, &turns(desired));
    // A server that is away is left behind by a run that changes anything.
    if removed.is_empty() && (!turns(desired).is_empty() || !all_generations(&routing, &BTreeSet::new())?.is_empty()) {
        routing.behind = &news;
    }
    let routing = routing;
    let waves = if removed.is_empty() { deploy_waves(&routing, wanted, &mut findings)? } else { remove_waves(&routing)? };
    let concerned = if removed.is_empty() { participants(&routing) } else { fleet.keys().collect() };
    findings.extend(drift.findings(|server| concerned.contains(server)));
    findings.extend(lint(&routing));
    findings.extend(same_names::findings(&routing));
    findings.extend(writers::findings(&routing));
    findings.extend(certificates::left_without(&routing)?);
    if removed.is_empty() && wanted.maintenance.is_none() {
        findings.extend(certificates::findings(&routing));
        findings.extend(maintenance::notes(&routing));
    }
    findings.extend(adopt::findings(&routing));
    findings.extend(departed::findings(&routing));
    findings.extend(warm::findings(&routing));
    findings.extend(checks::notes(present, playbook, |name| desired.iter().any(|desired| desired.name == name && desired.moves())));
    findings.extend(catch_up::findings(&routing, wanted));
    findings.extend(routing.behind.findings(playbook, inventory.servers.len(), desired, wanted));
    findings.extend(revert_notes(fleet));
    findings.extend(present.findings.iter().cloned());
    let mut told = BTreeSet::new();
    findings.retain(|finding| told.insert(finding.clone()));
    findings.sort();
    let mut services: BTreeMap<_, _> = desired.iter().map(|desired| (desired.name.clone(), summary(playbook, desired))).collect();
    let gone = removed.iter().map(|name| (name, "asked for")).chain(leaving.iter().map(|name| (name, "not in the playbook")));
    services.extend(gone.filter_map(|(name, why)| Some((name.clone(), removal(name, present, why)?))));
    let plan = Plan {
        format: PLAN_FORMAT,
        intent: intent(wanted, removed),
        project: playbook.project.clone(),
        env: playbook.env.clone(),
        version: playbook.version.clone(),
        mode,
        basis: Basis {
            playbook: digest(playbook),
            inventory: digest(inventory),
            templates: templates.digest(),
            facts: seen
                .iter()
                .map(|(server, facts)| (server.clone(), crate::facts::digest(facts, &playbook.project, &playbook.env)))
                .collect(),
        },
        services,
        left_out: routing.behind.concerned.clone(),
        on_failure: OnFailure::Rollback,
        found: rebase::found(&playbook.project, &playbook.env, &waves, fleet),
        waves,
    };
    // What goes back, goes away, or is only brought to one side is put back when it fails.
    let on_failure = if plan.intent == Intent::Deploy && !plan.mends() { playbook.rollout.on_failure } else { OnFailure::Rollback };
    Ok((Plan { on_failure, ..plan }, findings))
}

fn intent(wanted: &Wanted, removed: &BTreeSet<ServiceName>) -> Intent {
    match (wanted.back, removed.is_empty()) {
        (_, false) => Intent::Remove,
        _ if wanted.maintenance.is_some() => Intent::Maintenance,
        (Back::Yes, true) => Intent::Rollback,
        (Back::No, true) if wanted.catch_up => Intent::CatchUp,
        (Back::No, true) => Intent::Deploy,
    }
}

/// Where each service is: a volume stays where it is even while its app is down, or its container was removed by hand.
pub(super) fn running(present: &Present<'_>) -> Placement {
    let mut running: Placement = present.services.iter().map(|(name, service)| (name.clone(), service.homes())).collect();
    // What was placed on servers that were left behind stays there.
    for (server, left) in present.record.iter().flat_map(|record| &record.servers) {
        for name in &left.holds {
            running.entry(name.clone()).or_default().insert(server.clone());
        }
    }
    running
}

/// Puts the lock before a plan that does anything, and drops empty waves. Where servers are left out, all the others are locked, and looked
/// at again.
pub(super) fn locked(routing: &Routing<'_>, mut waves: Vec<Wave>) -> Vec<Wave> {
    waves.retain_mut(|wave| {
        wave.servers.retain(|_, steps| !steps.is_empty());
        !wave.servers.is_empty()
    });
    let mut servers: BTreeSet<ServerName> = waves.iter().flat_map(|wave| wave.servers.keys().cloned()).collect();
    servers.extend(to_take_over(routing));
    if servers.is_empty() {
        return Vec::new();
    }
    // Two runs that leave different servers out have reached one in common, which need not be one that either changes.
    if !routing.behind.concerned.is_empty() {
        servers.extend(routing.fleet.keys().cloned());
    }
    let (project, env) = (&routing.playbook.project, &routing.playbook.env);
    let lock = lock_wave(project, env, routing.seen, servers);
    // Not before every server is locked and as the plan saw it.
    let disarm: BTreeMap<_, _> =
        lock.servers.keys().filter_map(|server| Some((server.clone(), vec![take_over(routing.seen.get(server)?)?]))).collect();
    let disarm = (!disarm.is_empty()).then(|| Wave { name: "take over".to_owned(), kind: WaveKind::Work, servers: disarm });
    std::iter::once(lock).chain(disarm).chain(waves).collect()
}

/// The first wave of every plan: the lease of each server, and that it is as the plan saw it.
pub(super) fn lock_wave(project: &ProjectName, env: &EnvName, seen: &Fleet, servers: BTreeSet<ServerName>) -> Wave {
    let lock = servers.into_iter().filter_map(|server| {
        let digest = crate::facts::digest(seen.get(&server)?, project, env);
        let confirm = Action::ConfirmFacts { project: project.clone(), env: env.clone(), digest };
        Some((server, vec![plain("lock the server", Action::Lock), plain("confirm that nothing changed since the plan", confirm)]))
    });
    Wave { name: "lock".to_owned(), kind: WaveKind::Work, servers: lock.collect() }
}

/// The servers whose NGINX has a part: all of the inventory in multi-server mode, else those that run or route something.
pub(super) fn participants<'a>(routing: &'a Routing<'_>) -> BTreeSet<&'a ServerName> {
    match routing.mode {
        crate::model::BackendMode::MultiServer => routing.fleet.keys().collect(),
        crate::model::BackendMode::SingleServer => {
            let placed = routing.desired.iter().filter(|desired| desired.to.is_some()).flat_map(|desired| &desired.servers);
            let there = routing
                .present
                .services
                .values()
                .flat_map(|service| service.routes.keys().chain(service.units.iter().map(|unit| &unit.server)));
            let known: BTreeSet<&ServerName> = placed.chain(there).collect();
            routing.fleet.keys().filter(|server| known.contains(server)).collect()
        }
    }
}

pub(super) fn all_generations(
    routing: &Routing<'_>,
    switched: &BTreeSet<&ServiceName>,
) -> Result<BTreeMap<ServerName, Generation>, RenderError> {
    let mut generations = BTreeMap::new();
    for server in participants(routing) {
        if let Some(generation) = routing.generation(server, switched)? {
            generations.insert(server.clone(), generation);
        }
    }
    Ok(generations)
}

/// A finding forbids the plan.
#[must_use]
pub fn is_fatal(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.level == Level::Fatal)
}
