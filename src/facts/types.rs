//! What a server is seen to be: the answer to one question, asked in one round trip.
use crate::model::{GenerationId, Labels, SecretsProof};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// One server, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `hostname`.
    pub hostname: String,
    /// The user that runs the commands, after sudo.
    pub user: String,
    /// The server version of the engine.
    pub docker_version: String,
    /// The server's clock, milliseconds since the Unix epoch.
    pub clock: u64,
    /// Free bytes where the remote root lies (or will lie).
    pub free_bytes: u64,
    /// The remote root exists and can be written, or can be made.
    pub root_writable: bool,
    /// First and last ephemeral port.
    pub ephemeral: (u16, u16),
    /// All containers, ours and strangers', stopped ones too.
    pub containers: Vec<ContainerFact>,
    /// All docker networks.
    pub networks: Vec<NetworkFact>,
    /// All tagged images.
    pub images: Vec<ImageFact>,
    /// The names of all volumes. None in an answer that does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<BTreeSet<String>>,
    /// Listening sockets of the server's own namespace.
    pub listeners: Vec<ListenerFact>,
    /// Destinations of the server's routes, CIDR, without the default route.
    pub routes: Vec<String>,
    /// Its NGINX.
    pub nginx: NginxFact,
    /// Who holds the lease, in the holder's own words.
    pub lease: Option<String>,
    /// The folders of secrets, by their path below the remote root (`PROJECT/ENV/secrets/SERVICE/RELEASE`), with what proves whether
    /// they have changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretsProof>,
    /// The revert that waits on it, or what came of the last one.
    pub revert: Option<RevertFact>,
}

/// A revert: what a run leaves on a server before its switch, and takes away when all servers have switched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevertFact {
    /// What it does, or did.
    pub state: RevertState,
    /// When it was armed, or came to its end: the server's clock, milliseconds since the Unix epoch.
    pub at: u64,
    /// The generation from before the run.
    pub back: GenerationId,
    /// Of one that is armed: the generations that it puts the server back from.
    pub to: Vec<GenerationId>,
    /// Whose run it was, in the words of its lease.
    pub holder: String,
    /// Of one that is armed: a name that no other has. Of one that has ended: what it saw.
    pub text: String,
}

/// What a revert does, or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevertState {
    /// It is armed, and its shell watches.
    Watching,
    /// It is armed, and its shell is gone: the server was started anew, or somebody ended it.
    Lost,
    /// It put the generation back.
    Reverted,
    /// It left the server alone: something else was live by then.
    Left,
    /// It could not put the generation back, and gave up.
    Failed,
}

impl RevertState {
    /// Nothing has become of it yet.
    #[must_use]
    pub fn is_armed(self) -> bool {
        match self {
            RevertState::Watching | RevertState::Lost => true,
            RevertState::Reverted | RevertState::Left | RevertState::Failed => false,
        }
    }
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerFact {
    /// Full id.
    pub id: String,
    /// The name, without a slash.
    pub name: String,
    /// The image reference it was run from.
    pub image: String,
    /// The image's id, `sha256:…`.
    pub image_id: String,
    /// Its state.
    pub state: ContainerState,
    /// The last exit code.
    pub exit_code: i32,
    /// Killed by the kernel for memory.
    pub oom_killed: bool,
    /// Restarts by the engine since it was started.
    pub restarts: u32,
    /// Labels.
    pub labels: Labels,
    /// Networks it is attached to, with its configured (fixed) or present address where it has one.
    pub networks: BTreeMap<String, Option<Ipv4Addr>>,
    /// `bridge`, `host`, `container:<id>`, a network's name.
    pub network_mode: String,
    /// Ports as configured, also while it is stopped.
    pub published: Vec<PublishedFact>,
    /// The restart policy: `no`, `always`, `unless-stopped`, `on-failure`. Empty where nothing is known of it.
    #[serde(default)]
    pub restart: String,
    /// The limit of its memory in bytes; 0 where there is none.
    #[serde(default)]
    pub memory: u64,
    /// Mounted folders and volumes: where in the container → what of the server.
    #[serde(default)]
    pub mounts: BTreeMap<String, String>,
    /// When its first process was started, in ticks since the server was: only good for telling which of two came first. None where it
    /// does not run, and where the server does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<u64>,
    /// What it may write: where in the container → the volume's name, or the folder of the server. A volume without a name of its own has
    /// 64 hex digits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub written: BTreeMap<String, String>,
    /// How often it is restarted under `on-failure`; 0 for ever.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restart_limit: u32,
    /// The engine removes it when it stops (`--rm`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto_remove: bool,
    /// The names of its environment variables, its image's too. Never their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A container's state, in docker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    /// Made, never started (a failed `docker run -p` leaves one).
    Created,
    /// Up.
    Running,
    /// Frozen.
    Paused,
    /// Between two starts: it keeps exiting.
    Restarting,
    /// On its way out.
    Removing,
    /// Stopped.
    Exited,
    /// Beyond repair.
    Dead,
}

impl ContainerState {
    /// It has no process, and will not get one by itself: one that keeps exiting is started again and again, and writes what it writes.
    #[must_use]
    pub fn is_stopped(self) -> bool {
        match self {
            ContainerState::Created | ContainerState::Exited | ContainerState::Dead => true,
            ContainerState::Running | ContainerState::Paused | ContainerState::Restarting | ContainerState::Removing => false,
        }
    }
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedFact {
    /// None for every address.
    pub address: Option<Ipv4Addr>,
    /// On the server.
    pub host_port: u16,
    /// In the container.
    pub container_port: u16,
    /// `tcp` or `udp`.
    pub transport: String,
}

/// A docker network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkFact {
    /// The name.
    pub name: String,
    /// `bridge`, `host`, `null`, …
    pub driver: String,
    /// CIDRs.
    pub subnets: Vec<String>,
    /// Labels.
    pub labels: Labels,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFact {
    /// `sha256:…`.
    pub id: String,
    /// `repository:tag`.
    pub tags: Vec<String>,
    /// `repository@sha256:…`.
    pub digests: Vec<String>,
}

/// A listening socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListenerFact {
    /// None for every address.
    pub address: Option<Ipv4Addr>,
    /// The port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub transport: String,
}

/// A server's NGINX, as its files say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct NginxFact {
    /// Where `current` points.
    pub live: Option<GenerationId>,
    /// What NGINX itself says it serves. None where it does not run or does not answer.
    pub served: Option<GenerationId>,
    /// The files of the live generation: path below its folder → text.
    pub files: BTreeMap<String, String>,
    /// All generations on disk, sorted.
    pub generations: Vec<GenerationId>,
    /// The files of the live generation as they were made, where those on disk are others by now or gone. Empty otherwise.
    #[serde(default)]
    pub sealed: BTreeMap<String, String>,
    /// The files of another generation than `live`: the one that NGINX serves, or where it serves none or the first one, the one that
    /// Flipside switched to last. Empty where that is the live one.
    #[serde(default)]
    pub other: BTreeMap<String, String>,
    /// What Flipside itself switched to last, and what it was about to switch to.
    #[serde(default)]
    pub recorded: Vec<GenerationId>,
    /// Files in the doors' folder: name → text.
    pub doors: BTreeMap<String, String>,
}
