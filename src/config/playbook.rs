//! A playbook: syntax, environments, then project, rollout and services. Deliberately absent: the servers it will run on.
use super::canary;
use super::cross;
use super::environment::{self, Environment};
use super::hooks;
use super::keys::Part;
use super::node::{Table, Value};
use super::problem::{Place, Problem, Problems, Source, Span};
use super::rolling;
use super::secrets;
use super::service;
use super::types::{Keep, OnFailure, Playbook, Rollout, Service, Strategy};
use super::walk::{Section, Walk};
use super::{json, toml};
use crate::model::{EnvName, Millis, ProjectName, ServiceName};
use std::collections::BTreeMap;

/// The shortest drain: NGINX may send a last request to the old side this long after a switch, which follows from
/// `keepalive_min_timeout` and `client_header_timeout` (10 s) in the templates, plus half a second, rounded up.
const SHORTEST_DRAIN: Millis = Millis::seconds(11);
/// NGINX closes what is left on old workers after this time (`worker_shutdown_timeout`).
const LONGEST_DRAIN: Millis = Millis::seconds(3600);

/// Reads a playbook for one environment. JSON where `file` ends in `.json` or the text begins with `{`, else TOML.
///
/// Without `env`, the environment is `default_env` of `[project]`, else the only `[env.NAME]`, else `prod`. A playbook without
/// any `[env.NAME]` is the same in every environment.
///
/// # Errors
/// Every problem of the file, also those in the environments that were not chosen.
pub fn read_playbook(file: &str, text: &str, env: Option<&EnvName>) -> Result<Playbook, Problems> {
    let source = Source::new(file, text);
    let (root, syntax) = parse(&source);
    let Some(mut root) = root else { return Err(sorted(syntax)) };
    let mut walk = Walk::new(&source);
    walk.problems = syntax;
    environment::hoist(&mut walk, &mut root);
    let environments = environment::take(&mut walk, &mut root);
    let chosen = environment::choose(&mut walk, &root, &environments, env);
    let mut problems = walk.problems;
    let playbook = chosen.as_ref().and_then(|name| {
        let (playbook, found) = read_merged(&source, name, &merged(&root, &environments, name));
        problems.extend(found);
        playbook
    });
    for other in environments.iter().filter(|environment| Some(&environment.name) != chosen.as_ref()) {
        let (_, found) = read_merged(&source, &other.name, &merged(&root, &environments, &other.name));
        for problem in found {
            let seen = problems.iter().any(|seen| seen.title == problem.title && seen.place == problem.place);
            if !seen {
                problems.push(problem.note(format!("in environment `{}`", other.name)));
            }
        }
    }
    playbook.filter(|_| problems.is_empty()).ok_or_else(|| sorted(problems))
}

/// Chooses the format and reads the tree.
pub(super) fn parse(source: &Source<'_>) -> (Option<Table>, Vec<Problem>) {
    let is_json = source.file.to_ascii_lowercase().ends_with(".json") || source.text.trim_start().starts_with('{');
    if is_json { json::parse(source) } else { toml::parse(source) }
}

/// The problems in the order of the file; those without a place come first.
pub(super) fn sorted(mut problems: Vec<Problem>) -> Problems {
    problems.sort_by_key(|problem| problem.place.as_ref().map(|place: &Place| (place.line, place.column)));
    problems.dedup();
    Problems { problems }
}

fn merged(root: &Table, environments: &[Environment], name: &EnvName) -> Table {
    let mut merged = root.clone();
    if let Some(environment) = environments.iter().find(|environment| environment.name == *name) {
        secrets::replaced_by(&mut merged, &environment.overrides);
        merged.merge(environment.overrides.clone());
    }
    merged
}

/// Reads a playbook whose environment is merged in. The playbook means nothing unless there are no problems.
fn read_merged(source: &Source<'_>, env: &EnvName, root: &Table) -> (Option<Playbook>, Vec<Problem>) {
    let mut walk = Walk::new(source);
    let section = Section { what: "the playbook".to_owned(), part: Part::Playbook, table: root, span: Span { start: 0, end: 0 } };
    walk.check_keys(&section);
    let project = project(&mut walk, &section);
    let rollout = rollout(&mut walk, &section);
    let services = services(&mut walk, root);
    let secrets = secrets::sources(&mut walk, root);
    let hooks = hooks::read(&mut walk, &section, &services);
    let name = project.as_ref().map(|(name, _)| name);
    cross::check(&mut walk, name, env, &services, root);
    let playbook = project.map(|(project, version)| Playbook {
        project,
        env: env.clone(),
        version,
        rollout,
        services,
        secrets,
        pages: BTreeMap::new(),
        hooks,
    });
    (playbook, walk.problems)
}

fn project(walk: &mut Walk<'_>, root: &Section<'_>) -> Option<(ProjectName, String)> {
    if root.table.get("project").is_none() {
        walk.report_absent("the playbook has no `[project]`", "write `[project]`, and in it `name` and `version`");
        return None;
    }
    let section = walk.subsection(root, "project", Part::Project, "`project`".to_owned())?;
    for (key, label) in [
        ("name", "the name is part of every container's name: `name = \"shop\"`"),
        ("version", "any text that tells one deploy from another: `version = \"1.0.0\"`"),
    ] {
        if section.table.get(key).is_none() {
            walk.missing(&section, key, label);
        }
    }
    let name = walk.name(&section, "name");
    let version = walk.text(&section, "version");
    if let Some(entry) = section.table.get("default_env")
        && !matches!(entry.node.value, Value::Text(_))
    {
        walk.line(&entry.node, "`default_env` in `project`");
    }
    if let Some((text, span)) = &version
        && text.chars().count() > 128
    {
        walk.report(*span, "`version` in `project` is longer than 128 characters", "it is printed in tables and kept on every container");
    }
    Some((name?, version?.0))
}

fn rollout(walk: &mut Walk<'_>, root: &Section<'_>) -> Rollout {
    let mut rollout = Rollout {
        strategy: Strategy::AllAtOnce,
        rolling: rolling::Rolling::default(),
        canary: None,
        on_failure: OnFailure::Rollback,
        drain_timeout: Millis::seconds(30),
        stop_timeout: Millis::seconds(30),
        keep: Keep::Stopped,
        min_healthy_time: Millis(0),
        warm_time: rolling::warm_time(),
        max_unreachable: 0,
    };
    let Some(section) = walk.subsection(root, "rollout", Part::Rollout, "`rollout`".to_owned()) else { return rollout };
    rolling::strategy(walk, &section, &mut rollout);
    let canary = canary::read(walk, &section);
    match rollout.strategy {
        Strategy::Canary => rollout.canary = Some(canary),
        Strategy::AllAtOnce | Strategy::Rolling => {
            // An environment may have another strategy than the rest of the playbook.
            if let (Some(entry), None) = (section.table.get("canary"), section.table.get("strategy")) {
                let label = "add `strategy = \"canary\"`, or remove it";
                walk.report(entry.key_span, "`rollout` has `canary`, and no `strategy`", label);
            }
        }
    }
    if let Some((what, _)) = walk.choice(&section, "on_failure", &[("rollback", OnFailure::Rollback), ("hold", OnFailure::Hold)]) {
        rollout.on_failure = what;
    }
    let why = "below 11s NGINX could still send a last request to a container that is gone; after 1h it closes what is left";
    if let Some((drain, _)) = walk.duration(&section, "drain_timeout", SHORTEST_DRAIN..=LONGEST_DRAIN, why) {
        rollout.drain_timeout = drain;
    }
    let why = "the time from SIGTERM to SIGKILL";
    if let Some((stop, _)) = walk.duration(&section, "stop_timeout", Millis::seconds(1)..=Millis::seconds(3600), why) {
        rollout.stop_timeout = stop;
    }
    let why = "the new containers are watched for so long after the switch, while the old side still runs";
    if let Some((time, _)) = walk.duration(&section, "min_healthy_time", Millis(0)..=Millis::seconds(3600), why) {
        rollout.min_healthy_time = time;
    }
    rolling::keep(walk, &section, &mut rollout);
    let why = "so many servers may be left behind when they cannot be reached; 0 for none";
    if let Some((number, _)) = walk.number(&section, "max_unreachable", 0..=1000, why) {
        rollout.max_unreachable = number;
    }
    rollout
}

fn services(walk: &mut Walk<'_>, root: &Table) -> BTreeMap<ServiceName, Service> {
    let mut services = BTreeMap::new();
    let advice = "write `[services.NAME]`, and in it at least `image`";
    let Some(entry) = root.get("services") else {
        walk.report_absent("the playbook has no services", advice);
        return services;
    };
    let Some(table) = entry.node.table() else {
        walk.report(entry.node.span, format!("`services` in the playbook must be a table, not {}", entry.node.kind()), advice);
        return services;
    };
    if table.entries.is_empty() {
        walk.report(entry.node.span, "the playbook has no services", advice);
    }
    for entry in &table.entries {
        let name = walk.named(&entry.key, entry.key_span);
        let Some(section) = walk.section(entry, Part::Service, format!("service `{}`", entry.key)) else { continue };
        let service = service::read(walk, &section);
        services.extend(name.map(|name| (name, service)));
    }
    services
}
