//! Playbook, inventory and facts to a plan: the waves in their order. Reads as a table of contents.
use super::adopt;
use super::aliases;
use super::batches;
use super::behind::Behind;
use super::canary::{self, Trial};
use super::certificates;
use super::checks;
use super::containers::digest;
use super::departed;
use super::doors::{self, Doors, door_text};
use super::drift::{Drift, beside};
use super::hooks::{At, Hooks};
use super::leftovers::{drain_needed, leftovers};
use super::level::{self, join_steps};
use super::lint::lint;
use super::maintenance;
use super::orphans;
use super::place::{Placement, place};
use super::prepare::prepare;
use super::present::{Fleet, Present, present};
use super::remove::remove_waves;
use super::revert::{Stretches, guard, revert_notes, take_over, to_take_over};
use super::routes::{Generation, Moment, Routing};
use super::secrets;
use super::sites::Sites;
use super::soak::soak;
use super::steps::plain;
use super::summary::{removal, summary};
use super::switching::{drain_steps, stage, switch_steps};
use super::target::{Back, Desired, Wanted, backend_mode, desire};
use super::turn::{Turn, finish_steps, hand_over_steps, retire_steps, start_steps};
use super::types::{Basis, Change, Finding, Intent, Level, PLAN_FORMAT, Plan, Step, Wave, WaveKind};
use super::warm;
use crate::config::{Inventory, OnFailure, Playbook};
use crate::model::{Action, EnvName, Labels, ProjectName, Secrets, ServerName, ServiceName, label, network_name};
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
    let (placement, placing) = place(playbook, inventory, &adopt::homes(running(&present), playbook, fleet));
    let mode = backend_mode(&placement);
    let behind = Behind::look(inventory, &seen.keys().collect(), &present, &placement, mode);
    let labels =
        Labels::from([(label::PROJECT.to_owned(), playbook.project.to_string()), (label::ENV.to_owned(), playbook.env.to_string())]);
    let network = network_name(&playbook.project, &playbook.env);
    let (sites, mut findings) = Sites::survey(inventory, fleet, (&network, labels), layout::MESH_NETWORK);
    let (mut desired, judging) = desire((playbook, inventory), &placement, fleet, &present, wanted, secrets, &behind);
    if wanted.maintenance.is_some() {
        findings.extend(maintenance::ask(&mut desired, wanted));
    } else if removed.is_empty() {
        findings.extend(placing.into_iter().chain(judging));
    } else {
        desired.retain(|desired| !removed.contains(desired.name));
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
    };
    // A server that is away is left behind by a run that changes anything.
    if removed.is_empty() && (!turns(desired).is_empty() || !all_generations(&routing, &BTreeSet::new())?.is_empty()) {
        routing.behind = &news;
    }
    let routing = routing;
    let waves = if removed.is_empty() { deploy_waves(&routing, wanted, &mut findings)? } else { remove_waves(&routing)? };
    let concerned = if removed.is_empty() { participants(&routing) } else { fleet.keys().collect() };
    findings.extend(drift.findings(|server| concerned.contains(server)));
    findings.extend(lint(&routing));
    if removed.is_empty() && wanted.maintenance.is_none() {
        findings.extend(certificates::findings(&routing));
        findings.extend(maintenance::notes(&routing));
    }
    findings.extend(adopt::findings(&routing));
    findings.extend(departed::findings(&routing));
    findings.extend(warm::findings(&routing));
    findings.extend(checks::notes(present, playbook, |name| desired.iter().any(|desired| desired.name == name && desired.moves())));
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

/// Services that move together: nothing in a turn uses anything in a later one, and a handover has a turn of its own.
fn turns<'a>(desired: &'a [Desired<'a>]) -> Vec<Vec<&'a Desired<'a>>> {
    let mut depths: BTreeMap<&ServiceName, usize> = BTreeMap::new();
    for _ in 0..desired.len() {
        for service in desired {
            let depth = service.service.uses.keys().filter_map(|used| depths.get(used)).max().map_or(0, |depth| depth + 1);
            depths.insert(service.name, depth);
        }
    }
    let mut turns: BTreeMap<(usize, bool), Vec<&Desired<'_>>> = BTreeMap::new();
    for service in desired.iter().filter(|service| service.moves()) {
        let depth = depths.get(service.name).copied().unwrap_or(0);
        let hands_over = (service.service.hands_over() && service.change != Change::Create) || service.taking.first.is_some();
        turns.entry((depth, !hands_over)).or_default().push(service);
    }
    turns.into_values().collect()
}

fn deploy_waves(routing: &Routing<'_>, wanted: &Wanted, findings: &mut Vec<Finding>) -> Result<Vec<Wave>, RenderError> {
    let turns = turns(routing.desired);
    let mut switched = BTreeSet::new();
    let mut generations: Vec<BTreeMap<ServerName, Generation>> = Vec::new();
    let mut announced = all_generations(routing, &switched)?;
    announced.retain(|server, _| routing.desired.iter().any(|desired| routing.announces(server, desired)));
    let n_announced = usize::from(!announced.is_empty());
    if n_announced > 0 {
        generations.push(announced);
    }
    let stages = batches::stages(routing, &turns);
    for stage in &stages {
        switched.extend(stage.services.iter().map(|desired| desired.name));
        let mut all = all_generations(&Routing { batch: stage.batch.as_ref(), ..*routing }, &switched)?;
        all.retain(|server, _| stage.switches(server));
        generations.push(all);
    }
    let trials = canary::trials(routing, &turns, findings)?;
    if turns.is_empty() {
        generations.push(all_generations(routing, &switched)?);
    }
    let before = Routing { moment: Moment::Before, ..*routing };
    let mut joining = all_generations(&before, &BTreeSet::new())?;
    joining.retain(|server, _| routing.behind.back.contains(server));
    // A server that serves already what it will serve in the end has nothing to switch to in between.
    let away = Routing { removed: routing.leaving, ..*routing };
    let unrouted = if away.removed.is_empty() { None } else { Some(all_generations(&away, &switched)?) };
    let changed: BTreeSet<ServerName> = unrouted.as_ref().or(generations.last()).into_iter().flat_map(BTreeMap::keys).cloned().collect();
    generations.iter_mut().for_each(|generations| generations.retain(|server, _| changed.contains(server)));
    let release = routing.present.release + 1;
    let mut prepared = BTreeMap::new();
    for server in participants(routing) {
        let (mut steps, more) = prepare_server(routing, server)?;
        findings.extend(more);
        steps.extend(aliases::prepare(routing, server, findings)?);
        steps.extend(secrets::put_steps(routing, server, release));
        steps.extend(certificates::put_steps(routing, server));
        let mut last = None;
        let tried = trials.iter().flatten().map(|trial| &trial.generations);
        let stages = std::iter::once(&joining).chain(tried).chain(&generations).chain(&unrouted);
        for generation in stages.filter_map(|generations| generations.get(server)) {
            if last != Some(&generation.id) {
                steps.push(stage(routing, server, generation));
            }
            last = Some(&generation.id);
        }
        if !steps.is_empty() {
            prepared.insert(server.clone(), steps);
        }
    }
    let moving: Vec<&Desired<'_>> = turns.iter().flatten().copied().collect();
    let hooks = Hooks::new(routing, wanted, &moving, release, participants(routing));
    let mut waves = vec![Wave { name: "prepare".to_owned(), kind: WaveKind::Work, servers: prepared }];
    waves.extend(hooks.waves(At::Beginning, &moving, "", findings)?);
    let mut live: BTreeMap<ServerName, Generation> = BTreeMap::new();
    let n_turns = turns.len();
    let mut stretches = Stretches::default();
    let mut switches = Vec::new();
    stretches.covers(waves.len());
    waves.push(Wave { name: "join the fleet".to_owned(), kind: WaveKind::Work, servers: join_steps(&before, &joining, &mut live) });
    // What a server routed before it joined makes room from here on: nobody goes back to it.
    stretches.leaves_out();
    let drains = merged(level::drain_steps(&before), drain_needed(routing));
    waves.push(Wave { name: "drain what was left".to_owned(), kind: WaveKind::Work, servers: drains });
    waves.push(Wave { name: "start what was missed".to_owned(), kind: WaveKind::Work, servers: level::start_steps(routing, findings) });
    for (position, generations) in generations.iter().enumerate() {
        if position < n_announced {
            let turn = Turn { routing, services: &[], release };
            let name = "announce the new names".to_owned();
            stretches.covers(waves.len());
            waves.push(Wave { name, kind: WaveKind::Work, servers: switch_steps(&turn, generations, &mut live) });
            continue;
        }
        let stage = stages.get(position - n_announced).unwrap_or(&batches::NOTHING);
        let services = stage.services;
        let suffix = if n_turns > 1 { format!(" {}", names(services)) } else { String::new() };
        let name = |verb: &str| format!("{verb}{suffix}{}", stage.suffix());
        let routing = &Routing { batch: stage.batch.as_ref(), ..*routing };
        let turn = Turn { routing, services, release };
        if stage.is_first() {
            waves.extend(hooks.waves(At::Start, services, &suffix, findings)?);
        }
        let stops = merged(hand_over_steps(&turn), adopt::first_steps(&turn));
        waves.push(Wave { name: name("stop"), kind: WaveKind::Work, servers: stops });
        waves.push(Wave { name: name("start"), kind: WaveKind::Work, servers: start_steps(&turn, findings) });
        if stage.is_first() {
            waves.extend(hooks.waves(At::BeforeSwitch, services, &suffix, findings)?);
            switches.clear();
        }
        let trial = trials.get(position - n_announced).and_then(Option::as_ref);
        if let Some(trial) = trial {
            stretches.covers(waves.len());
            waves.push(trial.switch(&turn, &mut live, &suffix));
            waves.extend(trial.watch(&turn, &waves, &suffix));
        }
        match services.iter().any(|desired| turn.hands_over(desired)) {
            true => stretches.leaves_out(),
            false => stretches.covers(waves.len()),
        }
        let kind = trial.map_or(WaveKind::Work, |_| Trial::then(routing));
        switches.push(waves.len());
        waves.push(Wave { name: name("switch"), kind, servers: switch_steps(&turn, generations, &mut live) });
        if stage.is_last() {
            batches::go_straight_back(&mut waves, &switches);
            waves.extend(hooks.waves(At::AfterSwitch, services, &suffix, findings)?);
        }
        let moved: Vec<&Desired<'_>> = stages.iter().take(position - n_announced + 1).flat_map(|stage| stage.services).copied().collect();
        waves.extend(soak(&waves, &moved, &routing.playbook.rollout, &name("")));
        waves.extend(stage.pause(routing, &name("pause")));
    }
    waves.push(Wave { name: adopt::WAVE.to_owned(), kind: WaveKind::Work, servers: adopt::take_over_steps(routing)? });
    let left = leftovers(routing, wanted);
    let turn = Turn { routing, services: &moving, release };
    let drained = merged(merged(drain_steps(&turn), left.drain), departed::drain_steps(routing));
    waves.push(Wave { name: "drain".to_owned(), kind: WaveKind::Work, servers: drained });
    let (more, told) = beside(&turn, wanted);
    findings.extend(told);
    waves.push(Wave {
        name: "retire".to_owned(),
        kind: WaveKind::Work,
        servers: merged(merged(retire_steps(&turn), more), adopt::retire_steps(routing)),
    });
    orphans::take_away(&away, &unrouted.unwrap_or_default(), &mut live, &mut stretches, &mut waves);
    waves.extend(hooks.waves(At::End, &moving, "", findings)?);
    // A first deploy has nothing to go back to.
    if routing.desired.iter().any(|desired| desired.from.is_some()) || !away.removed.is_empty() {
        guard(&mut waves, &stretches);
    }
    let mut tidy = merged(merged(finish_steps(&turn), left.tidy), level::tidy_steps(&turn));
    orphans::tidy(&away, &mut tidy);
    for (server, facts) in routing.fleet {
        let steps = aliases::tidy(routing, server, facts)?;
        tidy.entry(server.clone()).or_default().extend(steps);
    }
    let caught_up = || routing.desired.iter().filter_map(|desired| Some((desired.name, level::release(desired)?)));
    let moved = moving.iter().map(|desired| desired.name).chain(caught_up().map(|(name, _)| name)).chain(routing.leaving).collect();
    let mut given = secrets::given(&moving, release);
    given.extend(caught_up().map(|(name, release)| (name.as_str(), release)));
    secrets::tidy(routing, &moved, &given, &mut tidy);
    for server in live.keys() {
        let prune = plain("prune NGINX generations", Action::PruneGenerations { keep: 5 });
        tidy.entry(server.clone()).or_default().push(prune);
    }
    doors::close(routing, live.keys(), &mut tidy)?;
    waves.push(Wave { name: "finish".to_owned(), kind: WaveKind::Cleanup, servers: tidy });
    Ok(locked(routing, waves))
}

fn merged(mut steps: BTreeMap<ServerName, Vec<Step>>, more: BTreeMap<ServerName, Vec<Step>>) -> BTreeMap<ServerName, Vec<Step>> {
    more.into_iter().for_each(|(server, more)| steps.entry(server).or_default().extend(more));
    steps
}

fn names(services: &[&Desired<'_>]) -> String {
    services.iter().map(|desired| desired.name.as_str()).collect::<Vec<_>>().join(", ")
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
fn participants<'a>(routing: &'a Routing<'_>) -> BTreeSet<&'a ServerName> {
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

fn prepare_server(routing: &Routing<'_>, server: &ServerName) -> Result<(Vec<Step>, Vec<Finding>), RenderError> {
    let here: Vec<&Desired<'_>> =
        routing.desired.iter().filter(|desired| desired.to.is_some() && desired.servers.contains(server)).collect();
    let images = here
        .iter()
        .filter(|desired| matches!(desired.change, Change::Create | Change::Toggle) || desired.missed.iter().any(|(at, _)| at == server))
        .map(|desired| desired.service.image.as_str())
        .collect();
    let door = door_text(routing, server, Doors::BeforeTakingOver)?;
    prepare(routing, server, &images, !here.is_empty(), &door)
}

/// A finding forbids the plan.
#[must_use]
pub fn is_fatal(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.level == Level::Fatal)
}
