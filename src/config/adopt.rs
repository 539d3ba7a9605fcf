//! `adopt` of a service: the containers that it takes the place of. Deliberately absent: whether they are there.
use super::keys::Part;
use super::node::{Node, Value};
use super::service::part;
use super::values;
use super::walk::{Section, Walk};
use crate::model::ServerName;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The containers that a service takes the place of. They were started by somebody else, and are never removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopt {
    /// By name, on every server that has one of them.
    pub containers: BTreeSet<String>,
    /// By name, on these servers, instead of `containers`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub servers: BTreeMap<ServerName, BTreeSet<String>>,
    /// Paths in the old containers whose data the service does not need.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub leave_behind: BTreeSet<String>,
}

impl Adopt {
    /// It takes the place of nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.servers.is_empty()
    }

    /// The names of the containers on this server.
    #[must_use]
    pub fn on(&self, server: &ServerName) -> &BTreeSet<String> {
        self.servers.get(server).unwrap_or(&self.containers)
    }
}

/// Reads `adopt`: a name, a list of names, or a table.
pub(super) fn adopt(walk: &mut Walk<'_>, service: &Section<'_>) -> Adopt {
    let mut adopt = Adopt::default();
    let Some(entry) = service.table.get("adopt") else { return adopt };
    let subject = format!("`adopt` in {}", service.what);
    match &entry.node.value {
        Value::Text(_) | Value::List(_) => {
            adopt.containers = names(walk, &entry.node, &subject);
            return adopt;
        }
        Value::Integer(_) | Value::Number(_) | Value::Flag(_) | Value::Date | Value::Null => {
            let title = format!("{subject} must be a container's name, not {}", entry.node.kind());
            walk.report(entry.node.span, title, "write `adopt = \"NAME\"`, as `docker ps` shows it");
            return adopt;
        }
        Value::Table(_) => {}
    }
    let Some(section) = part(walk, service, "adopt", Part::Adopt) else { return adopt };
    if ["container", "servers"].iter().all(|key| section.table.get(key).is_none()) {
        walk.missing(&section, "container", "write `container = \"NAME\"`, or `servers = { SERVER = \"NAME\" }` where the names differ");
    }
    if let Some(entry) = section.table.get("container") {
        adopt.containers = names(walk, &entry.node, &format!("`container` in {}", section.what));
    }
    if let Some(entry) = section.table.get("servers") {
        let subject = format!("`servers` in {}", section.what);
        match entry.node.table() {
            None => {
                let title = format!("{subject} must be a table, not {}", entry.node.kind());
                walk.report(entry.node.span, title, "write `servers = { SERVER = \"NAME\" }`");
            }
            Some(table) => {
                for entry in &table.entries {
                    let server: Option<ServerName> = walk.named(&entry.key, entry.key_span);
                    let names = names(walk, &entry.node, &format!("`{}` in {subject}", entry.key));
                    adopt.servers.extend(server.map(|server| (server, names)));
                }
            }
        }
    }
    for (path, span) in walk.texts(&section, "leave_behind").unwrap_or_default() {
        match values::absolute_path(&path) {
            Ok(()) => {
                adopt.leave_behind.insert(path);
            }
            Err(advice) => walk.report(span, format!("`{path}` is not a path in a container"), advice),
        }
    }
    adopt
}

/// One name, or a list of them.
fn names(walk: &mut Walk<'_>, node: &Node, subject: &str) -> BTreeSet<String> {
    let items = match &node.value {
        Value::Text(_) => std::slice::from_ref(node),
        Value::List(items) => items.as_slice(),
        Value::Integer(_) | Value::Number(_) | Value::Flag(_) | Value::Date | Value::Null | Value::Table(_) => {
            walk.report(node.span, format!("{subject} must be a container's name, not {}", node.kind()), "");
            return BTreeSet::new();
        }
    };
    if items.is_empty() {
        walk.report(node.span, format!("{subject} is empty"), "remove it, or name a container");
    }
    let mut names = BTreeSet::new();
    for item in items {
        let Some((name, span)) = walk.line(item, subject) else { continue };
        if is_container(&name) {
            names.insert(name);
        } else {
            walk.report(span, format!("`{name}` is not a container's name"), "write it as the last column of `docker ps` shows it");
        }
    }
    names
}

/// What docker takes as a name: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
fn is_container(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    text.len() > 1 && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(is_inner)
}
