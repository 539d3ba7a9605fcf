//! The waves of a deploy, in their order. Reads as a table of contents. Deliberately absent: what goes into the plan beside them (see `build`).
use super::adopt;
use super::aliases;
use super::batches::{self, Stage};
use super::build::{all_generations, locked, participants};
use super::canary::{self, Trial};
use super::certificates;
use super::departed;
use super::doors::{self, Doors, door_text};
use super::drift::beside;
use super::hooks::{At, Hooks};
use super::leftovers::{drain_needed, leftovers};
use super::level::{self, join_steps};
use super::orphans;
use super::prepare::prepare;
use super::present::clock;
use super::revert::{Stretches, guard};
use super::routes::{Generation, Moment, Routing};
use super::secrets;
use super::soak::soak;
use super::steps::prune;
use super::switching::{drain_steps, stage, switch_steps};
use super::target::{Desired, Wanted};
use super::turn::{Turn, finish_steps, hand_over_steps, retire_steps, start_steps};
use super::types::{Change, Finding, Step, UndoKind, Wave, WaveKind};
use crate::model::{ServerName, ServiceName};
use crate::nginx::RenderError;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn deploy_waves(routing: &Routing<'_>, wanted: &Wanted, findings: &mut Vec<Finding>) -> Result<Vec<Wave>, RenderError> {
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
    let release = release(routing);
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
        let starts = start_steps(&turn, findings);
        let before = stages.get(..position - n_announced).unwrap_or_default();
        waves.push(Wave { name: name("start"), kind: start_kind(&turn, before, &starts), servers: starts });
        if stage.is_first() {
            waves.extend(hooks.waves(At::BeforeSwitch, services, &suffix, findings)?);
            switches.clear();
        }
        let trial = trials.get(position - n_announced).and_then(Option::as_ref);
        if let Some(trial) = trial {
            stretches.covers(waves.len());
            switches.push(waves.len());
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
        tidy.entry(server.clone()).or_default().push(prune(routing.playbook));
    }
    doors::close(routing, live.keys(), &mut tidy)?;
    waves.push(Wave { name: "finish".to_owned(), kind: WaveKind::Cleanup, servers: tidy });
    Ok(locked(routing, waves))
}

/// The number of this deploy, higher than that of any before it. A server that is away may have releases that no other has a container of.
/// They were begun before now, and no two within a second, so that none of them has as high a number as there are seconds since 1970.
fn release(routing: &Routing<'_>) -> u64 {
    let next = routing.present.release.saturating_add(1);
    if routing.behind.away.is_empty() { next } else { next.max(clock(routing.fleet) / 1000) }
}

/// Services that move together: nothing in a turn uses anything in a later one, and a handover has a turn of its own.
pub(super) fn turns<'a>(desired: &'a [Desired<'a>]) -> Vec<Vec<&'a Desired<'a>>> {
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
        let hands_over = (service.hands_over() && service.change != Change::Create) || service.taking.first.is_some();
        turns.entry((depth, !hands_over)).or_default().push(service);
    }
    turns.into_values().collect()
}

/// What is started behind the switches of stages before it is undone after those: unless requests hang on it, or clients of a handover wait
/// for an old side that is started again after the switch back. Nor where a service is new: nobody is routed to any side of it then, so that
/// after a crash what still runs would count as live.
fn start_kind(turn: &Turn<'_>, before: &[Stage<'_>], starts: &BTreeMap<ServerName, Vec<Step>>) -> WaveKind {
    let mut so_far = before.iter().flat_map(|stage| stage.services).chain(turn.services);
    let bars = so_far.any(|desired| turn.hands_over(desired) || desired.from.is_none());
    let restores = starts.values().flatten().any(|step| step.undo_kind == UndoKind::Restores && !step.undo.is_empty());
    if before.is_empty() || bars || restores { WaveKind::Work } else { WaveKind::Unrouted }
}

fn merged(mut steps: BTreeMap<ServerName, Vec<Step>>, more: BTreeMap<ServerName, Vec<Step>>) -> BTreeMap<ServerName, Vec<Step>> {
    more.into_iter().for_each(|(server, more)| steps.entry(server).or_default().extend(more));
    steps
}

fn names(services: &[&Desired<'_>]) -> String {
    services.iter().map(|desired| desired.name.as_str()).collect::<Vec<_>>().join(", ")
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
