//! The plan that takes copies out of every server's upstream, or in again: a new generation on each server, and nothing else. It is made
//! from what the servers route, not from the playbook, so that what somebody has changed there and not deployed yet stays undeployed.
//! Deliberately absent: which copies fail.
use super::copies::level;
use super::out::{apply, copy_at, out_of};
use crate::config::OnFailure;
use crate::model::{Backend, BackendMode, CopyAt, ServerName, ServiceName, Side, Standing, label, previous_name};
use crate::nginx::{MeshService, RenderError, generation_file, generation_id, render_app, render_service};
use crate::plan::build::{Inputs, lock_wave};
use crate::plan::containers::digest;
use crate::plan::drift::Drift;
use crate::plan::present::{Present, PresentService, Unit, present};
use crate::plan::rebase;
use crate::plan::revert::{Stretches, guard};
use crate::plan::routes::{Generation, base_generation};
use crate::plan::show::prose::clean;
use crate::plan::steps::{prune, switch};
use crate::plan::switching::stage_on;
use crate::plan::target::Repair;
use crate::plan::types::{Basis, Change, Finding, Intent, Level, PLAN_FORMAT, Plan, ServicePlan, Step, Wave, WaveKind};
use crate::script::layout::GENERATION_FILE;
use std::collections::{BTreeMap, BTreeSet};

type Steps = BTreeMap<ServerName, Vec<Step>>;

/// The plan after which these copies stand like this, and all others as before, on every server that is reached. The last copy that takes
/// traffic is not taken out; a service that the playbook does not have checked is left as it is. `inputs.wanted`, `removed` and `secrets` do not count.
///
/// # Errors
/// [`RenderError`] where a template is at fault.
pub fn check_plan(inputs: Inputs<'_>, verdicts: &BTreeMap<CopyAt, Standing>) -> Result<(Plan, Vec<Finding>), RenderError> {
    let Inputs { playbook, inventory, fleet: seen, templates, .. } = inputs;
    let drift = Drift::look(playbook, inventory, seen, Repair::No);
    let present = present(&playbook.project, &playbook.env, &drift.fleet);
    let mut findings = Vec::new();
    let mut services = BTreeMap::new();
    let mut wanted: BTreeMap<ServerName, Vec<MeshService>> = BTreeMap::new();
    for (name, settings) in &playbook.services {
        let Some((service, live)) = present.services.get(name).and_then(|service| Some((service, service.live()?))) else { continue };
        let is_checked = settings.balance.active_checks.is_some() && !inventory.nginx.plus && !service.is_split();
        let now = out_of(name, service, live);
        let out = if is_checked { to_be_out(name, service, live, &now, verdicts, &mut findings) } else { now.clone() };
        services.insert(name.clone(), summary(service, live, &now, &out));
        for (server, route) in level(service, live).filter(|_| is_checked) {
            let mut route = route.clone();
            apply(&mut route.backends, |backend| backend.side == live && out.contains(&copy_at(name, backend)));
            wanted.entry(server.clone()).or_default().push(route);
        }
    }
    let (mut staged, mut switched, mut tidy) = (Steps::new(), Steps::new(), Steps::new());
    for (server, routes) in &wanted {
        let Some(facts) = drift.fleet.get(server) else { continue };
        let Some(generation) = generation(&drift, server, routes, &present, &inputs)? else { continue };
        if let Some(why) = not_ready(&drift, server) {
            findings.push(why);
            continue;
        }
        let base = base_generation(Some(facts));
        staged.insert(server.clone(), vec![stage_on(base.clone(), &generation)]);
        switched.insert(server.clone(), vec![switch(Some(base), &generation.id, None)]);
        tidy.insert(server.clone(), vec![prune(playbook)]);
    }
    let servers: BTreeSet<ServerName> = staged.keys().cloned().collect();
    findings.extend(servers.iter().filter_map(|server| armed(server, seen.get(server)?)));
    findings.extend(unfinished(&present));
    let work = |name: &str, servers| Wave { name: name.to_owned(), kind: WaveKind::Work, servers };
    let mut waves = Vec::new();
    if !servers.is_empty() {
        waves = vec![
            work("prepare", staged),
            work("switch", switched),
            Wave { name: "finish".to_owned(), kind: WaveKind::Cleanup, servers: tidy },
        ];
        let mut stretches = Stretches::default();
        stretches.covers(1);
        guard(&mut waves, &stretches);
        waves.insert(0, lock_wave(&playbook.project, &playbook.env, seen, servers));
    }
    let facts = seen.iter().map(|(server, facts)| (server.clone(), crate::facts::digest(facts, &playbook.project, &playbook.env)));
    let basis = Basis { playbook: digest(playbook), inventory: digest(inventory), templates: templates.digest(), facts: facts.collect() };
    findings.sort();
    findings.dedup();
    let plan = Plan {
        format: PLAN_FORMAT,
        intent: Intent::Watch,
        project: playbook.project.clone(),
        env: playbook.env.clone(),
        version: playbook.version.clone(),
        mode: mode(&present),
        basis,
        services,
        left_out: BTreeSet::new(),
        on_failure: OnFailure::Rollback,
        found: rebase::found(&playbook.project, &playbook.env, &waves, &drift.fleet),
        waves,
    };
    Ok((plan, findings))
}

/// The copies that are out afterwards. Where nobody would be left, nobody is taken out: when all fail at once, it is more likely that the
/// check is wrong, or what all of them need, than that each of them is.
fn to_be_out(
    name: &ServiceName,
    service: &PresentService<'_>,
    live: Side,
    now: &BTreeSet<CopyAt>,
    verdicts: &BTreeMap<CopyAt, Standing>,
    findings: &mut Vec<Finding>,
) -> BTreeSet<CopyAt> {
    let backends = level(service, live).flat_map(|(_, route)| &route.backends).filter(|backend| backend.side == live);
    let all: BTreeSet<CopyAt> = backends.filter(|backend| backend.role.takes_traffic()).map(|backend| copy_at(name, backend)).collect();
    let is_out = |copy: &&CopyAt| verdicts.get(*copy).map_or(now.contains(*copy), |standing| !standing.is_in());
    let out: BTreeSet<CopyAt> = all.iter().filter(is_out).cloned().collect();
    if out.len() < all.len() {
        return out;
    }
    let kept: Vec<&CopyAt> = all.iter().filter(|copy| !now.contains(*copy)).collect();
    findings.extend(kept.iter().map(|copy| Finding {
        level: Level::Warning,
        server: Some(copy.server.clone()),
        service: Some(name.clone()),
        text: format!("its copy {} fails its active checks and stays in: without it, nobody would be left", copy.replica),
        hint: String::new(),
    }));
    out.into_iter().filter(|copy| !kept.contains(&copy)).collect()
}

/// What a server's NGINX is to serve; None where it does already.
fn generation(
    drift: &Drift,
    server: &ServerName,
    routes: &[MeshService],
    present: &Present<'_>,
    inputs: &Inputs<'_>,
) -> Result<Option<Generation>, RenderError> {
    let Some(facts) = drift.fleet.get(server) else { return Ok(None) };
    let routed = |route: &MeshService| present.services.get(&route.service).and_then(|service| service.routes.get(server));
    let mut files = BTreeMap::new();
    for route in routes.iter().filter(|route| routed(route) != Some(*route)) {
        files.extend([render_service(inputs.templates, route)?]);
        files.extend(render_app(inputs.templates, route)?);
    }
    if files.is_empty() {
        return Ok(None);
    }
    let base = base_generation(Some(facts));
    let mut all = facts.nginx.files.clone();
    all.retain(|path, _| path != GENERATION_FILE);
    all.extend(files.clone());
    let id = generation_id(&all, Some(&base));
    files.extend([generation_file(&id, Some(&base))]);
    Ok(Some(Generation { id, files, remove: Vec::new(), listeners: Vec::new() }))
}

/// Why a server is left as it is: its NGINX is not as the last run left it, and that is for a deploy to set right.
fn not_ready(drift: &Drift, server: &ServerName) -> Option<Finding> {
    let facts = drift.fleet.get(server)?;
    let is_here = |finding: &Finding| finding.server.as_ref() == Some(server) && finding.level == Level::Fatal;
    let drifted = drift.findings(|_| true).into_iter().find(is_here).map(|finding| finding.text);
    let changed = || {
        let as_it_was = drift.first(server).next().is_none() && !drift.renew.contains(server);
        (!as_it_was || facts.nginx.served != facts.nginx.live).then(|| "its NGINX is not as the last run left it".to_owned())
    };
    let why = drifted.or_else(changed)?;
    let text = format!("its upstreams are left as they are: {why}");
    let hint = "a deploy sets it right, or says what to do".to_owned();
    Some(Finding { level: Level::Warning, server: Some(server.clone()), service: None, text, hint })
}

/// A run was cut off in the middle of its switches: the servers go back by themselves, or somebody resumes it. Nothing is changed before.
fn armed(server: &ServerName, facts: &crate::facts::Facts) -> Option<Finding> {
    facts.revert.as_ref().filter(|revert| revert.state.is_armed()).map(|revert| Finding {
        level: Level::Fatal,
        server: Some(server.clone()),
        service: None,
        text: format!("a run goes on, or was cut off before all servers had switched ({})", revert.holder),
        hint: "it is waited for".to_owned(),
    })
}

/// A run is held, waits for promotion, or was cut off: somebody decides about the side that runs beside the live one, and could not any
/// more if a server served another generation by then. Nothing is changed before.
fn unfinished(present: &Present<'_>) -> Vec<Finding> {
    let is_open = |name: &ServiceName, service: &PresentService<'_>| {
        let beside = service.live().into_iter().flat_map(|live| service.side(live.other()));
        let mut beside = beside.filter(|unit| unit.runs() && !was_left(present, name, service, unit));
        service.is_split() || service.routes.values().any(|route| route.canary.is_some()) || beside.next().is_some()
    };
    let open = present.services.iter().filter(|(name, service)| is_open(name, service));
    let told = open.map(|(name, _)| Finding {
        level: Level::Fatal,
        server: None,
        service: Some(name.clone()),
        text: "both its sides have work: a run is held, waits for promotion, or was cut off".to_owned(),
        hint: "it is waited for: `flipside status` says what it is, and a deploy brings all servers to one side".to_owned(),
    });
    told.collect()
}

/// A run that has ended left the unit running: as a way back, also once the time for that is over, since only a deploy stops it then; or for a
/// server that is behind. Where an older container is still set aside for a newer one, of whichever side, the run has not ended that does so.
fn was_left(present: &Present<'_>, name: &ServiceName, service: &PresentService<'_>, unit: &Unit<'_>) -> bool {
    let mut behind = present.record.iter().flat_map(|record| record.servers.values());
    let was_kept = service.behind.contains(&unit.server) || behind.any(|left| left.may_route(name, unit.side));
    (unit.idle_for.is_some() || was_kept) && !is_being_replaced(present, service, &unit.server)
}

fn is_being_replaced(present: &Present<'_>, service: &PresentService<'_>, server: &ServerName) -> bool {
    let units = [Side::Primary, Side::Secondary].into_iter().flat_map(|side| service.side(side)).filter(|unit| unit.server == *server);
    let older: BTreeSet<String> = units.filter_map(|unit| Some(previous_name(&unit.app?.name))).collect();
    present.aside.iter().any(|(at, container)| at == server && older.contains(&container.name))
}

fn mode(present: &Present<'_>) -> BackendMode {
    let mut backends = present.services.values().flat_map(|service| service.routes.values()).flat_map(|route| &route.backends);
    let by_name = backends.any(|backend| matches!(backend.backend, Backend::Container { .. }));
    if by_name { BackendMode::SingleServer } else { BackendMode::MultiServer }
}

fn summary(service: &PresentService<'_>, live: Side, now: &BTreeSet<CopyAt>, out: &BTreeSet<CopyAt>) -> ServicePlan {
    let units: Vec<&Unit<'_>> = service.side(live).collect();
    let unit = units.first();
    let route = service.level_routes().next();
    let version = unit.and_then(|unit| unit.label(label::VERSION)).map(clean);
    let changes = [("out", out.difference(now)), ("in again", now.difference(out))];
    let changes: Vec<String> = changes
        .into_iter()
        .map(|(word, copies)| (word, copies.map(|copy| format!("copy {} on {}", copy.replica, copy.server)).collect::<Vec<_>>()))
        .filter(|(_, copies)| !copies.is_empty())
        .map(|(word, copies)| format!("{word}: {}", copies.join(", ")))
        .collect();
    ServicePlan {
        change: Change::Keep,
        reason: if changes.is_empty() { "unchanged".to_owned() } else { changes.join("; ") },
        image: unit.and_then(|unit| unit.app).map(|app| app.image.clone()).unwrap_or_default(),
        protocol: route.map_or(crate::model::Protocol::Tcp, |route| route.protocol),
        from: Some(live),
        to: Some(live),
        from_version: version.clone(),
        to_version: version,
        servers: units.iter().map(|unit| unit.server.clone()).collect(),
        replicas: units.iter().map(|unit| unit.replica).max().unwrap_or(1),
        port: unit.and_then(|unit| unit.number(label::PORT)),
        base_ports: BTreeMap::new(),
        app_port: None,
        app_base_ports: BTreeMap::new(),
        internal_port: route.map(|route| route.internal_port),
        hands_over: false,
        takes_over: BTreeMap::new(),
    }
}
