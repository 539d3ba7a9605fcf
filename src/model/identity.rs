//! Names, labels and ports that follow from project, environment, service, replica and side alone.
use super::names::{EnvName, ProjectName, ServiceName};
use super::side::Side;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Docker labels, sorted.
pub type Labels = BTreeMap<String, String>;

/// The label keys that Flipside writes. Labels confirm; what NGINX routes is the truth.
pub mod label {
    /// The project's name. A container without it is a stranger.
    pub const PROJECT: &str = "flipside.project";
    /// The environment's name.
    pub const ENV: &str = "flipside.env";
    /// The service's name.
    pub const SERVICE: &str = "flipside.service";
    /// `primary` or `secondary`.
    pub const SIDE: &str = "flipside.side";
    /// 1, 2, …
    pub const REPLICA: &str = "flipside.replica";
    /// `app`, `door` or `mesh`.
    pub const ROLE: &str = "flipside.role";
    /// The playbook's free-text version.
    pub const VERSION: &str = "flipside.version";
    /// 1, 2, … in the order of deploys; a rollback goes back by it.
    pub const RELEASE: &str = "flipside.release";
    /// Digest of everything that makes this container differ from another: unchanged means skip.
    pub const SPEC: &str = "flipside.spec";
    /// The base port claimed by this service's replica, whichever side carries the label.
    pub const BASE_PORT: &str = "flipside.base_port";
    /// The port of the container that its public hosts are served from, where that is not [`PORT`].
    pub const APP_PORT: &str = "flipside.app_port";
    /// The base port claimed for it by this service's replica.
    pub const APP_BASE_PORT: &str = "flipside.app_base_port";
    /// The internal port claimed by this service.
    pub const INTERNAL_PORT: &str = "flipside.internal_port";
    /// The container's own port.
    pub const PORT: &str = "flipside.port";
    /// What the container speaks at that port; missing on containers of older releases of this program.
    pub const PROTOCOL: &str = "flipside.protocol";
    /// `true` where the container is asked by gRPC, and not by HTTP/1.1; missing where it is not.
    pub const GRPC: &str = "flipside.grpc";
    /// `true` where the playbook said that two of it must never run at once; missing where it did not, and on containers of older releases
    /// of this program.
    pub const SINGLETON: &str = "flipside.singleton";
    /// How the container proves itself, on the app alone: the playbook's `health_check` of its release, as JSON. Missing on containers of
    /// older releases of this program.
    pub const HEALTH_CHECK: &str = "flipside.health_check";
    /// The pair of fixed addresses that this replica owns in the project network: 0, 1, …
    pub const SLOT: &str = "flipside.slot";
    /// Digest of everything that makes a mesh container (NGINX, host door) differ.
    pub const MESH: &str = "flipside.mesh";
}

/// The first eight hex digits of the MD5 of `key`, mod 1000: any app can compute it
/// (`printf %s KEY | md5sum | cut -c1-8`).
#[must_use]
pub fn fold_hash(key: &str) -> u16 {
    let digest = Md5::digest(key.as_bytes());
    let head = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    (head % 1000) as u16
}

/// The base port that the hash proposes, 8000..=8999: the host port of the primary side of replica `replica` (from 1).
#[must_use]
pub fn base_port(project: &ProjectName, env: &EnvName, service: &ServiceName, container_port: u16, replica: u32) -> u16 {
    let mut key = format!("{project}_{env}_{service}_{container_port}");
    if replica > 1 {
        key.push_str(&format!("_{replica}"));
    }
    8000 + fold_hash(&key)
}

/// The internal port that the hash proposes, 5000..=5999: the port that apps connect to.
#[must_use]
pub fn internal_port(project: &ProjectName, env: &EnvName, service: &ServiceName) -> u16 {
    5000 + fold_hash(&format!("{project}_{env}_{service}_internal"))
}

/// The secondary side's host port. What a label says beyond 55535 is no base port of ours, and has the last port there is.
#[must_use]
pub fn secondary_port(base: u16) -> u16 {
    base.saturating_add(10_000)
}

/// `{project}_{env}_{service}`, with `_{replica}` from the second replica on, and `_secondary` on that side.
#[must_use]
pub fn container_name(project: &ProjectName, env: &EnvName, service: &ServiceName, replica: u32, side: Side) -> String {
    let mut name = format!("{project}_{env}_{service}");
    if replica > 1 {
        name.push_str(&format!("_{replica}"));
    }
    match side {
        Side::Primary => {}
        Side::Secondary => name.push_str("_secondary"),
    }
    name
}

/// The door that owns a container's network namespace. The dot cannot occur in a service's name.
#[must_use]
pub fn door_name(container: &str) -> String {
    format!("{container}.door")
}

/// Where the container of an older release waits while a run uses its name.
#[must_use]
pub fn previous_name(container: &str) -> String {
    format!("{container}.previous")
}

/// Where a failed container is kept, stopped, to look at.
#[must_use]
pub fn failed_name(container: &str) -> String {
    format!("{container}.failed")
}

/// `{project}_{env}_network`.
#[must_use]
pub fn network_name(project: &ProjectName, env: &EnvName) -> String {
    format!("{project}_{env}_network")
}

/// The id of one complete set of NGINX files on one server: 16 hex digits of the SHA-256 of its contents and of its place
/// in the sequence, so that no two generations of a server share an id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GenerationId(pub String);

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (ProjectName, EnvName, ServiceName) {
        (ProjectName::new("new_project").unwrap(), EnvName::new("uat").unwrap(), ServiceName::new("postgres").unwrap())
    }

    #[test]
    fn the_published_test_vectors_hold() {
        let (project, env, service) = names();
        let base = base_port(&project, &env, &service, 5432, 1);
        assert_eq!((base, secondary_port(base), internal_port(&project, &env, &service)), (8959, 18959, 5228));
        assert_ne!(base_port(&project, &env, &service, 5432, 2), base, "a replica hashes a key of its own");
    }

    #[test]
    fn replica_and_side_stand_in_this_order() {
        let (project, env, service) = names();
        let name = |replica, side| container_name(&project, &env, &service, replica, side);
        assert_eq!(name(1, Side::Primary), "new_project_uat_postgres");
        assert_eq!(name(1, Side::Secondary), "new_project_uat_postgres_secondary");
        assert_eq!(name(2, Side::Primary), "new_project_uat_postgres_2");
        assert_eq!(name(2, Side::Secondary), "new_project_uat_postgres_2_secondary");
    }
}
