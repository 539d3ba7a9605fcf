//! Environments: taking them out of a playbook, choosing one, and the nested form of the project. Deliberately absent: what they override.
use super::keys::{did_you_mean, listing};
use super::node::{Table, Value};
use super::problem::Span;
use super::walk::Walk;
use crate::model::EnvName;

/// One `[env.NAME]` of a playbook.
pub(super) struct Environment {
    pub(super) name: EnvName,
    pub(super) overrides: Table,
}

/// The keys of a playbook that may also stand inside `project`.
const NESTED: [&str; 5] = ["rollout", "services", "secrets", "hooks", "env"];

/// Moves the nested form, `project.services` and the like, to the top.
pub(super) fn hoist(walk: &mut Walk<'_>, root: &mut Table) {
    let Some(project) = root.entries.iter_mut().find(|entry| entry.key == "project") else { return };
    let Value::Table(project) = &mut project.node.value else { return };
    for entry in NESTED.iter().filter_map(|key| project.take(key)).collect::<Vec<_>>() {
        if let Some(first) = root.get(&entry.key) {
            let line = walk.source.line(first.key_span);
            let title = format!("`{}` is given both inside `project` and beside it", entry.key);
            walk.report_with_note(entry.key_span, title, "keep one of the two", format!("the other is in line {line}"));
        } else {
            root.entries.push(entry);
        }
    }
}

/// Takes every `[env.NAME]` out of a playbook, in the order of the file.
pub(super) fn take(walk: &mut Walk<'_>, root: &mut Table) -> Vec<Environment> {
    let Some(entry) = root.take("env") else { return Vec::new() };
    let Value::Table(table) = entry.node.value else {
        let title = format!("`env` in the playbook must be a table, not {}", entry.node.kind());
        walk.report(entry.node.span, title, "write `[env.NAME]`, and in it what differs in that environment");
        return Vec::new();
    };
    let mut environments = Vec::new();
    for entry in table.entries {
        let what = entry.node.kind();
        let Value::Table(mut overrides) = entry.node.value else {
            let label = "variables of a service belong in `env` of that service";
            walk.report(entry.node.span, format!("environment `{}` must be a table, not {what}", entry.key), label);
            continue;
        };
        let name: Option<EnvName> = walk.named(&entry.key, entry.key_span);
        hoist(walk, &mut overrides);
        if let Some(inner) = overrides.take("env") {
            walk.report(
                inner.key_span,
                format!("environment `{}` cannot hold environments", entry.key),
                "variables belong in `env` of a service",
            );
        }
        let project = overrides.entries.iter_mut().find(|entry| entry.key == "project").map(|entry| &mut entry.node.value);
        if let Some(Value::Table(project)) = project
            && let Some(inner) = project.take("default_env")
        {
            walk.report(inner.key_span, "`default_env` cannot differ between environments", "write it in `[project]`");
        }
        environments.extend(name.map(|name| Environment { name, overrides }));
    }
    environments
}

/// The environment to deploy: the one asked for, else the playbook's `default_env`, else its only one, else `prod`.
pub(super) fn choose(walk: &mut Walk<'_>, root: &Table, known: &[Environment], asked: Option<&EnvName>) -> Option<EnvName> {
    let preset = preset(walk, root);
    if let Some((name, span)) = &preset
        && !known.is_empty()
        && !known.iter().any(|environment| environment.name == *name)
    {
        walk.report(*span, unknown(name, known), advice(name, known));
    }
    if let Some(name) = asked {
        if !known.is_empty() && !known.iter().any(|environment| environment.name == *name) {
            walk.report_absent(unknown(name, known), advice(name, known));
            return None;
        }
        return Some(name.clone());
    }
    if let Some((name, _)) = preset {
        return Some(name);
    }
    let prod = EnvName::new("prod").ok();
    match known {
        [] => prod,
        [only] => Some(only.name.clone()),
        several if several.iter().any(|environment| Some(&environment.name) == prod.as_ref()) => prod,
        several => {
            let names = listing(several.iter().map(|environment| environment.name.as_str()));
            let title = format!("this playbook has the environments {names}, and none was chosen");
            walk.report_absent(title, "choose one with `-e NAME`, or write `default_env` in `[project]`");
            None
        }
    }
}

/// `default_env` in `[project]`. Its type is checked where the project is read.
fn preset(walk: &mut Walk<'_>, root: &Table) -> Option<(EnvName, Span)> {
    let node = &root.table("project")?.get("default_env")?.node;
    let Value::Text(text) = &node.value else { return None };
    walk.named(text, node.span).map(|name| (name, node.span))
}

fn unknown(name: &EnvName, known: &[Environment]) -> String {
    format!("this playbook has no environment `{name}`, only {}", listing(known.iter().map(|environment| environment.name.as_str())))
}

fn advice(name: &EnvName, known: &[Environment]) -> String {
    let near = did_you_mean(name.as_str(), known.iter().map(|environment| environment.name.as_str()));
    if near.is_empty() { format!("an empty `[env.{name}]` would be enough to add it") } else { near }
}
