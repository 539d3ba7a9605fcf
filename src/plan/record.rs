//! Which servers were left behind, as the fleet itself has it: a file of each server's generation, that changes with its routes and goes
//! back with them. Deliberately absent: what follows from it (see `behind`).
use super::present::Fleet;
use crate::model::{EnvName, ProjectName, ServerName, ServiceName, Side};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The servers that a project's last runs have left behind. Servers may disagree, since one that was left behind has the record of before:
/// the highest number counts. Two runs that both left servers out have reached one server in common, since each has reached more than half.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Higher with every change.
    pub number: u64,
    /// Each with what it had when it was left behind.
    pub servers: BTreeMap<ServerName, LeftBehind>,
}

/// A server that was left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftBehind {
    /// The sides that its NGINX routes.
    pub routes: BTreeMap<ServiceName, Side>,
    /// Services of which it may route either side: the others did not agree about them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub either: BTreeSet<ServiceName>,
    /// The services that are placed on it.
    pub holds: BTreeSet<ServiceName>,
}

impl LeftBehind {
    /// Its NGINX may route this side.
    #[must_use]
    pub(super) fn may_route(&self, service: &ServiceName, side: Side) -> bool {
        self.routes.get(service) == Some(&side) || self.either.contains(service)
    }
}

impl Record {
    /// The file, relative to the generation's folder. NGINX does not read it.
    #[must_use]
    pub(super) fn path(project: &ProjectName, env: &EnvName) -> String {
        format!("{project}_{env}.behind")
    }

    /// The file's text.
    #[must_use]
    pub(super) fn text(&self) -> String {
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The record with the highest number. One that cannot be read is none: `drift` tells of files that were edited.
    #[must_use]
    pub(super) fn of(project: &ProjectName, env: &EnvName, fleet: &Fleet) -> Option<Record> {
        let path = Record::path(project, env);
        let texts = fleet.values().filter_map(|facts| facts.nginx.files.get(&path));
        texts.filter_map(|text| serde_json::from_str(text).ok()).max_by_key(|record: &Record| record.number)
    }

    /// A record of these servers that follows this one, which stays as it is where they are the same.
    #[must_use]
    pub(super) fn followed_by(before: Option<&Record>, servers: BTreeMap<ServerName, LeftBehind>) -> Option<Record> {
        match before {
            None if servers.is_empty() => None,
            Some(before) if before.servers == servers => Some(before.clone()),
            before => Some(Record { number: before.map_or(0, |before| before.number) + 1, servers }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(name: &str) -> BTreeMap<ServerName, LeftBehind> {
        BTreeMap::from([(ServerName::new(name).unwrap(), LeftBehind::default())])
    }

    #[test]
    fn a_record_has_a_new_number_when_it_says_something_new() {
        assert_eq!(Record::followed_by(None, BTreeMap::new()), None);
        let first = Record::followed_by(None, left("s3")).unwrap();
        assert_eq!((first.number, Record::followed_by(Some(&first), left("s3"))), (1, Some(first.clone())));
        let level = Record::followed_by(Some(&first), BTreeMap::new()).unwrap();
        assert_eq!((level.number, level.servers.len()), (2, 0));
        assert_eq!(serde_json::from_str::<Record>(&level.text()).unwrap(), level);
    }
}
