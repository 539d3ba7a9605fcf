//! Folders of secrets in memory, with what docker refuses when one is gone. Deliberately absent: modes and owners.
use super::server::FakeServer;
use super::{refuse, seen};
use crate::facts::ContainerFact;
use crate::model::{Failure, SecretName, Secrets, SecretsProof};
use std::collections::{BTreeMap, BTreeSet};

/// What a server has of secrets, and what whoever acts on it knows.
#[derive(Debug, Clone)]
pub(super) struct SecretFolders {
    /// The values of the workstation.
    known: Secrets,
    /// What each folder holds.
    folders: BTreeMap<String, (BTreeSet<SecretName>, SecretsProof)>,
    /// The files that each container mounts, by the container's id.
    mounts: BTreeMap<String, Vec<String>>,
}

/// What is on the server: what the workstation knows is not.
impl PartialEq for SecretFolders {
    fn eq(&self, other: &Self) -> bool {
        self.folders == other.folders && self.mounts == other.mounts
    }
}

impl Eq for SecretFolders {}

impl Default for SecretFolders {
    fn default() -> Self {
        Self { known: Secrets::none(), folders: BTreeMap::new(), mounts: BTreeMap::new() }
    }
}

impl FakeServer {
    /// The values that `PutSecrets` writes from now on.
    pub fn know(&mut self, secrets: &Secrets) {
        self.secrets.known = secrets.clone();
    }

    /// The proofs by their path below the remote root, which is the first folder here.
    pub(super) fn proofs(&self) -> BTreeMap<String, SecretsProof> {
        let below = |path: &str| path.trim_start_matches('/').split_once('/').map_or_else(|| path.to_owned(), |(_, rest)| rest.to_owned());
        self.secrets.folders.iter().map(|(path, (_, proof))| (below(path), proof.clone())).collect()
    }

    pub(super) fn put_secrets(&mut self, folder: &str, names: &BTreeSet<SecretName>) -> Result<String, Failure> {
        match self.secrets.known.proof(names) {
            Ok(proof) => {
                self.secrets.folders.insert(folder.to_owned(), (names.clone(), proof));
                seen("written")
            }
            Err(error) => refuse(error.to_string()),
        }
    }

    pub(super) fn remove_secrets(&mut self, folder: &str) -> Result<String, Failure> {
        let inside = |path: &String| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let uses = |container: &ContainerFact| self.secrets.mounts.get(&container.id).is_some_and(|paths| paths.iter().any(inside));
        if let Some(user) = self.base.containers.iter().find(|container| uses(container)) {
            return seen(&format!("kept: {} uses it", user.name));
        }
        self.secrets.folders.remove(folder);
        seen("removed")
    }

    /// NGINX finds a secret at this path of its own.
    pub(super) fn has_secret(&self, inside: &str) -> bool {
        let Some((folder, name)) = inside.rsplit_once('/') else { return false };
        self.secrets.folders.iter().any(|(path, (names, _))| path.ends_with(folder) && names.iter().any(|there| there.as_str() == name))
    }

    pub(super) fn mount_secrets(&mut self, id: &str, paths: Vec<String>) {
        self.secrets.mounts.insert(id.to_owned(), paths);
    }

    /// `docker run` and `docker start` both refuse a bind mount whose source is not there.
    pub(super) fn check_mounts(&self, id: &str) -> Result<(), Failure> {
        let is_there = |path: &String| {
            path.rsplit_once('/').is_some_and(|(folder, name)| {
                self.secrets.folders.get(folder).is_some_and(|(names, _)| names.iter().any(|there| there.as_str() == name))
            })
        };
        match self.secrets.mounts.get(id).into_iter().flatten().find(|path| !is_there(path)) {
            Some(path) => refuse(format!("invalid mount config: bind source path does not exist: {path}")).map(|_| ()),
            None => Ok(()),
        }
    }
}
