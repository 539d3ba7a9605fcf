//! `[rollout.canary]`: the part of the traffic that tries a release first. Deliberately absent: which services can be tried so.
use super::keys::Part;
use super::node::Value;
use super::walk::{Section, Walk};
use crate::model::{Millis, Share};
use serde::{Deserialize, Serialize};

/// The part of the traffic that tries a release first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Of the requests or connections of each server. Default 10 %.
    pub share: Share,
    /// On so many servers alone. Default: on all.
    pub servers: Option<u32>,
    /// On the servers with one of these tags alone. Empty: whatever their tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// How long it is tried. Default 5 min.
    pub time: Millis,
    /// The new side may fail by so much more of its requests than the old side. Default 1 %.
    pub max_error_rate: Share,
    /// Fewer requests to the new side say nothing. Default 50.
    pub min_requests: u32,
    /// Who gives the new side all requests when it has stood the test.
    #[serde(default, skip_serializing_if = "Promote::is_auto")]
    pub promote: Promote,
}

/// Who gives the new side all requests when it has stood the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Promote {
    /// The run goes on by itself.
    #[default]
    Auto,
    /// It waits for `flipside promote`.
    Manual,
}

impl Promote {
    /// The default.
    #[must_use]
    pub fn is_auto(&self) -> bool {
        *self == Promote::Auto
    }
}

impl Default for Canary {
    fn default() -> Self {
        Canary {
            share: Share(1_000),
            servers: None,
            tags: Vec::new(),
            time: Millis::seconds(300),
            max_error_rate: Share(100),
            min_requests: 50,
            promote: Promote::Auto,
        }
    }
}

pub(super) fn read(walk: &mut Walk<'_>, rollout: &Section<'_>) -> Canary {
    let mut canary = Canary::default();
    let Some(section) = walk.subsection(rollout, "canary", Part::Canary, "`canary` in `rollout`".to_owned()) else { return canary };
    let why = "the part of each server's requests that goes to the new side";
    if let Some(share) = share(walk, &section, "share", Share(1)..=Share::WHOLE, why) {
        canary.share = share;
    }
    let why = "on so many servers, the first ones by name; without it on all";
    if let Some((servers, _)) = walk.number(&section, "servers", 1..=1000, why) {
        canary.servers = Some(servers);
    }
    canary.tags = tags(walk, &section);
    let why = "so long the new side has its part of the requests, before it gets all";
    if let Some((time, _)) = walk.duration(&section, "time", Millis::seconds(5)..=Millis::seconds(24 * 3600), why) {
        canary.time = time;
    }
    let why = "the new side may fail by so much more of its requests than the old side";
    if let Some(rate) = share(walk, &section, "max_error_rate", Share(0)..=Share::WHOLE, why) {
        canary.max_error_rate = rate;
    }
    let why = "fewer requests to the new side are too few to be judged by";
    if let Some((number, _)) = walk.number(&section, "min_requests", 1..=1_000_000, why) {
        canary.min_requests = number;
    }
    if let Some((promote, _)) = walk.choice(&section, "promote", &[("auto", Promote::Auto), ("manual", Promote::Manual)]) {
        canary.promote = promote;
    }
    canary
}

/// The tags of the servers that try it, which is another way to say which they are than `servers`.
fn tags(walk: &mut Walk<'_>, section: &Section<'_>) -> Vec<String> {
    let tags = walk.texts(section, "tags");
    let Some(entry) = section.table.get("tags") else { return Vec::new() };
    if tags.as_ref().is_some_and(Vec::is_empty) && matches!(&entry.node.value, Value::List(items) if items.is_empty()) {
        walk.report(entry.node.span, format!("`tags` in {} is empty", section.what), "remove it, or name at least one");
    }
    if section.table.get("servers").is_some() {
        let title = format!("{} has both `servers` and `tags`", section.what);
        walk.report(entry.key_span, title, "each of them alone says which servers try a release first: keep one");
    }
    tags.unwrap_or_default().into_iter().map(|(tag, _)| tag).collect()
}

fn share(walk: &mut Walk<'_>, section: &Section<'_>, key: &str, range: std::ops::RangeInclusive<Share>, why: &str) -> Option<Share> {
    let (text, span) = walk.text(section, key)?;
    match Share::read(&text) {
        None => {
            let title = format!("`{key}` in {} is not a percentage: `{text}`", section.what);
            walk.report(span, title, "write `\"10%\"` or `\"0.5%\"`");
            None
        }
        Some(share) if !range.contains(&share) => {
            let title = format!("`{key}` in {} must be from {} to {}, not {share}", section.what, range.start(), range.end());
            walk.report(span, title, why);
            None
        }
        Some(share) => Some(share),
    }
}
