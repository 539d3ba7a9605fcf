//! `[hooks]`: commands at fixed moments of a run, and where each of them makes sense. Deliberately absent: the servers, which only a plan knows.
use super::keys::Part;
use super::node::{Entry, Node, Value};
use super::types::Service;
use super::values;
use super::walk::{Section, Walk};
use crate::model::{HookPoint, Millis, ServerName, ServiceName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Program and arguments. A string of the playbook is here `sh -c` and the string.
    pub command: Vec<String>,
    /// Where it runs.
    pub on: HookOn,
    /// Then it is killed, and has failed. Default 60 s, in a container 10 min.
    pub timeout: Millis,
}

/// Where a hook runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookOn {
    /// Where flipside runs, in the playbook's folder.
    Workstation,
    /// On one server: this one, or the first of the run.
    One(Option<ServerName>),
    /// On every server of the run, at once.
    All,
    /// In a container of its own of the new image of this service, on one of its servers.
    Container(ServiceName),
}

/// The places as they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Workstation,
    One,
    All,
    Container,
}

const WORDS: [(&str, Word); 4] =
    [("workstation", Word::Workstation), ("one", Word::One), ("all", Word::All), ("container", Word::Container)];
const SHORTEST: Millis = Millis(100);
const LONGEST: Millis = Millis::seconds(24 * 3600);

/// Reads all hooks.
pub(super) fn read(walk: &mut Walk<'_>, root: &Section<'_>, services: &BTreeMap<ServiceName, Service>) -> BTreeMap<HookPoint, Vec<Hook>> {
    let mut all = BTreeMap::new();
    let Some(section) = walk.subsection(root, "hooks", Part::Hooks, "`hooks`".to_owned()) else { return all };
    for point in HookPoint::ALL {
        let Some(entry) = section.table.get(point.as_str()) else { continue };
        let hooks = list(walk, entry, point, services);
        if !hooks.is_empty() {
            all.insert(point, hooks);
        }
    }
    all
}

fn list(walk: &mut Walk<'_>, entry: &Entry, point: HookPoint, services: &BTreeMap<ServiceName, Service>) -> Vec<Hook> {
    let subject = format!("`{}` in `hooks`", point.as_str());
    let Value::List(items) = &entry.node.value else {
        let label = "write a list of tables: `[{ command = \"…\" }]`";
        walk.report(entry.node.span, format!("{subject} must be a list, not {}", entry.node.kind()), label);
        return Vec::new();
    };
    items.iter().enumerate().filter_map(|(index, item)| one(walk, item, point, index + 1, services)).collect()
}

fn one(walk: &mut Walk<'_>, node: &Node, point: HookPoint, number: usize, services: &BTreeMap<ServiceName, Service>) -> Option<Hook> {
    let what = format!("entry {number} of `{}`", point.as_str());
    let Some(table) = node.table() else {
        let label = match &node.value {
            Value::Text(text) => format!("write `{{ command = {} }}`", values::quoted(text)),
            _ => "write `{ command = \"…\" }`".to_owned(),
        };
        walk.report(node.span, format!("{what} must be a table, not {}", node.kind()), label);
        return None;
    };
    let section = Section { what, part: Part::Hook, table, span: node.span };
    walk.check_keys(&section);
    let command = command(walk, &section);
    let on = place(walk, &section, point, services);
    let standard = if matches!(on, Some(HookOn::Container(_))) { Millis::seconds(600) } else { Millis::seconds(60) };
    let timeout = walk.duration(&section, "timeout", SHORTEST..=LONGEST, "after it the command is killed, and has failed");
    Some(Hook { command: command?, on: on?, timeout: timeout.map_or(standard, |(timeout, _)| timeout) })
}

fn command(walk: &mut Walk<'_>, section: &Section<'_>) -> Option<Vec<String>> {
    let Some(entry) = section.table.get("command") else {
        walk.missing(section, "command", "write `command = \"…\"` for a shell, or `command = [\"…\", \"…\"]`");
        return None;
    };
    let subject = format!("`command` in {}", section.what);
    if let Value::List(items) = &entry.node.value {
        let words: Vec<String> = items.iter().filter_map(|item| walk.any_text(item, &format!("an item of {subject}"))).collect();
        if words.first().is_none_or(String::is_empty) && words.len() == items.len() {
            walk.report(entry.node.span, format!("{subject} names no program"), "write `[\"./migrate\", \"up\"]`");
            return None;
        }
        return (words.len() == items.len()).then_some(words);
    }
    let text = walk.any_text(&entry.node, &subject)?;
    if text.trim().is_empty() {
        walk.report(entry.node.span, format!("{subject} is empty"), "");
        return None;
    }
    Some(vec!["sh".to_owned(), "-c".to_owned(), text])
}

fn place(walk: &mut Walk<'_>, section: &Section<'_>, point: HookPoint, services: &BTreeMap<ServiceName, Service>) -> Option<HookOn> {
    let chosen = walk.choice(section, "on", &WORDS);
    if chosen.is_none() && section.table.get("on").is_some() {
        return None;
    }
    let (word, span) = chosen.unwrap_or((Word::Workstation, section.span));
    for (key, wanted, named) in [("server", Word::One, "one"), ("service", Word::Container, "container")] {
        if let Some(entry) = section.table.get(key).filter(|_| word != wanted) {
            let title = format!("{} has `{key}`, and is not `on = \"{named}\"`", section.what);
            walk.report(entry.key_span, title, format!("add `on = \"{named}\"`, or remove it"));
        }
    }
    if let Some((what, why)) = refusal(point, word) {
        walk.report(span, format!("{} {what}", section.what), why);
        return None;
    }
    match word {
        Word::Workstation => Some(HookOn::Workstation),
        Word::All => Some(HookOn::All),
        Word::One => {
            let server = walk.name(section, "server");
            (server.is_some() || section.table.get("server").is_none()).then_some(HookOn::One(server))
        }
        Word::Container => {
            if section.table.get("service").is_none() {
                walk.missing(section, "service", "write `service = \"NAME\"`: its new image is what the container runs");
            }
            let (text, span) = walk.text(section, "service")?;
            let name: ServiceName = walk.named(&text, span)?;
            if !services.contains_key(&name) {
                let names = super::keys::listing(services.keys().map(ServiceName::as_str));
                walk.report(span, format!("there is no service `{name}`"), format!("the services are {names}"));
                return None;
            }
            Some(HookOn::Container(name))
        }
    }
}

const ONLY: &str = "can only run on the workstation";

/// What is said where a hook cannot run there, and why.
fn refusal(point: HookPoint, word: Word) -> Option<(&'static str, &'static str)> {
    match (point, word) {
        (_, Word::Workstation) => None,
        (HookPoint::BeforeConnect, _) => Some((ONLY, "no server is connected to yet")),
        (HookPoint::AfterConnect, _) => Some((ONLY, "no server is locked yet: `before_deploy` runs on servers")),
        (HookPoint::AfterFailure, _) => Some((ONLY, "the run is over, and its servers may be out of reach")),
        (HookPoint::BeforeRollback | HookPoint::AfterRollback, Word::Container) => {
            Some(("cannot run in a container", "a rollback starts the containers that wait: there is no new image"))
        }
        (_, Word::One | Word::All | Word::Container) => None,
    }
}
