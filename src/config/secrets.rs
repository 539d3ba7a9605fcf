//! Secrets in a playbook: which a service gets, and where each value comes from. Deliberately absent: the values.
use super::keys::Part;
use super::node::{Entry, Node, Table, Value};
use super::types::{SecretSource, Service};
use super::values;
use super::walk::{Section, Walk};
use crate::model::SecretName;
use std::collections::{BTreeMap, BTreeSet};

/// Where secrets are mounted in a container.
const MOUNTED: &str = "/run/secrets";
/// The keys of a source; one of them stands alone.
const KINDS: [&str; 3] = ["file", "env", "command"];

/// An environment that says where a secret comes from replaces the whole source: the keys of two would not make one.
pub(super) fn replaced_by(root: &mut Table, overrides: &Table) {
    let Some(replacing) = overrides.table("secrets") else { return };
    let secrets = root.entries.iter_mut().find(|entry| entry.key == "secrets");
    if let Some(Entry { node: Node { value: Value::Table(secrets), .. }, .. }) = secrets {
        for entry in &replacing.entries {
            secrets.take(&entry.key);
        }
    }
}

/// Reads `[secrets]`.
pub(super) fn sources(walk: &mut Walk<'_>, root: &Table) -> BTreeMap<SecretName, SecretSource> {
    let mut sources = BTreeMap::new();
    let Some(entry) = root.get("secrets") else { return sources };
    let Some(table) = entry.node.table() else {
        let title = format!("`secrets` in the playbook must be a table, not {}", entry.node.kind());
        let label = "it says where values come from: `NAME = { env = \"VARIABLE\" }`; which secrets a service gets, the service says";
        walk.report(entry.node.span, title, label);
        return sources;
    };
    for entry in &table.entries {
        let name = walk.named::<SecretName>(&entry.key, entry.key_span);
        let source = source(walk, entry);
        sources.extend(name.zip(source));
    }
    sources
}

fn source(walk: &mut Walk<'_>, entry: &Entry) -> Option<SecretSource> {
    let what = format!("secret `{}`", entry.key);
    if let Value::Text(_) = &entry.node.value {
        let label = "a value does not belong in a playbook: write `{ file = \"…\" }`, `{ env = \"…\" }` or `{ command = [\"…\"] }`";
        walk.report(entry.node.span, format!("{what} must be a table, not a string"), label);
        return None;
    }
    let section = walk.section(entry, Part::Secret, what)?;
    let given: Vec<&Entry> = KINDS.iter().filter_map(|kind| section.table.get(kind)).collect();
    match given.as_slice() {
        [] => {
            let unknown = !section.table.entries.is_empty();
            if !unknown {
                walk.report(
                    section.span,
                    format!("{} says nothing", section.what),
                    "write `file`, `env` or `command`; or remove it: its value is then a file",
                );
            }
            None
        }
        [only] => kind(walk, &section, only),
        [one, two, ..] => {
            let (earlier, later) = if one.key_span <= two.key_span { (one, two) } else { (two, one) };
            let title = format!("{} has both `{}` and `{}`", section.what, earlier.key, later.key);
            walk.report(later.key_span, title, "a value comes from one place: keep one");
            None
        }
    }
}

fn kind(walk: &mut Walk<'_>, section: &Section<'_>, entry: &Entry) -> Option<SecretSource> {
    match entry.key.as_str() {
        "file" => walk.text(section, "file").map(|(path, _)| SecretSource::File(path)),
        "env" => {
            let (variable, span) = walk.text(section, "env")?;
            if !values::is_variable(&variable) {
                let label = "use letters, digits and `_`, not beginning with a digit";
                walk.report(span, format!("`{variable}` is not the name of an environment variable"), label);
                return None;
            }
            Some(SecretSource::Env(variable))
        }
        _ => {
            let subject = format!("`command` in {}", section.what);
            if let Value::Text(text) = &entry.node.value {
                let title = format!("{subject} must be a list of arguments, not a string");
                walk.report(entry.node.span, title, format!("write `{}`", values::command_list(text)));
                return None;
            }
            let items = walk.list(&entry.node, &subject)?;
            let words: Vec<String> = items.iter().filter_map(|item| walk.any_text(item, &format!("an item of {subject}"))).collect();
            if words.first().is_none_or(String::is_empty) && words.len() == items.len() {
                walk.report(entry.node.span, format!("{subject} names no program"), "write `[\"pass\", \"show\", \"shop/db\"]`");
            }
            (words.len() == items.len() && !words.is_empty()).then_some(SecretSource::Command(words))
        }
    }
}

/// Reads `secrets` of a service: their names.
pub(super) fn names(walk: &mut Walk<'_>, section: &Section<'_>) -> BTreeSet<SecretName> {
    if let Some(entry) = section.table.get("secrets")
        && entry.node.table().is_some()
    {
        let title = format!("`secrets` in {} must be a list, not a table", section.what);
        let label = "name them, `secrets = [\"db_password\"]`; where their values come from stands in `[secrets]`";
        walk.report(entry.node.span, title, label);
        return BTreeSet::new();
    }
    let texts = walk.texts(section, "secrets").unwrap_or_default();
    texts.into_iter().filter_map(|(text, span)| walk.named(&text, span)).collect()
}

/// Reads `secrets_owner` of a service. No user id is larger than 2³¹ - 1 in an engine.
pub(super) fn owner(walk: &mut Walk<'_>, section: &Section<'_>) -> Option<u32> {
    let (owner, span) = walk.number(section, "secrets_owner", 0..=2_147_483_647, "the number of the user that the app runs as")?;
    if section.table.get("secrets").is_none() {
        walk.report(span, format!("{} has `secrets_owner` but no `secrets`", section.what), "remove it");
    }
    Some(owner)
}

/// A volume on `/run/secrets`, or in it, would hide the secrets or be hidden by them.
pub(super) fn check_volumes(walk: &mut Walk<'_>, section: &Section<'_>, service: &Service) {
    let inside = |target: &str| target == MOUNTED || target.strip_prefix(MOUNTED).is_some_and(|rest| rest.starts_with('/'));
    let taken = service.volumes.iter().find(|volume| inside(&volume.target) && !service.secrets.is_empty());
    if let (Some(volume), Some(entry)) = (taken, section.table.get("volumes")) {
        let title = format!("a volume of {} has the target `{}`, where its secrets are mounted", section.what, volume.target);
        walk.report(entry.node.span, title, "choose another target, or give the file as a secret");
    }
}
