//! The plan: the whole deployment as a value, and what its checks noticed.
use crate::config::OnFailure;
use crate::model::{Action, BackendMode, EnvName, GenerationId, Millis, ProjectName, Protocol, ServerName, ServiceName, Side, StepId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The format of the plan file. A plan of another format is refused.
pub const PLAN_FORMAT: u32 = 4;

/// All that should happen. No secret, no clock, no run id; equal inputs give equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// [`PLAN_FORMAT`].
    pub format: u32,
    /// What was asked for.
    pub intent: Intent,
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub env: EnvName,
    /// The version that the playbook names.
    pub version: String,
    /// How NGINX reaches backends after this plan.
    pub mode: BackendMode,
    /// What the plan was made from.
    pub basis: Basis,
    /// One entry a service of the playbook, for people.
    pub services: BTreeMap<ServiceName, ServicePlan>,
    /// Servers that could not be reached, that this project has to do with, and that the plan does without.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left_out: BTreeSet<ServerName>,
    /// What happens when a step fails.
    #[serde(default, skip_serializing_if = "OnFailure::is_rollback")]
    pub on_failure: OnFailure,
    /// Of each server whose NGINX changes: the files of the generation that it served, as far as they are this project's or the plan
    /// changes them. Where another project deploys before the run has ended, the rest of the run is made anew from them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub found: BTreeMap<ServerName, Found>,
    /// In order. Empty when there is nothing to do.
    pub waves: Vec<Wave>,
}

/// What a server's NGINX served when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The generation that all others of the plan are staged on.
    pub generation: GenerationId,
    /// Path below its folder → text.
    pub files: BTreeMap<String, String>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// Bring the servers to the playbook.
    Deploy,
    /// Back to the previous release.
    Rollback,
    /// Take services away.
    Remove,
    /// Bring servers that were left behind to what the fleet has.
    CatchUp,
    /// Put public hosts into maintenance, or back.
    Maintenance,
    /// Take copies that fail their active checks out of every upstream, and those that pass them in again.
    Watch,
}

impl Intent {
    /// The command's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Intent::Deploy => "deploy",
            Intent::Rollback => "rollback",
            Intent::Remove => "remove",
            Intent::CatchUp => "catch-up",
            Intent::Maintenance => "maintenance",
            Intent::Watch => "watch",
        }
    }
}

/// SHA-256 digests, hex, of what the plan was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// The playbook after merging.
    pub playbook: String,
    /// The inventory.
    pub inventory: String,
    /// The templates.
    pub templates: String,
    /// Of each server: what the plan relied on. Differs when the server has moved since.
    pub facts: BTreeMap<ServerName, String>,
}

/// What happens to one service, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePlan {
    /// In one word.
    pub change: Change,
    /// Why, in a few words: `image flipside/app:1.0 → 2.0`.
    pub reason: String,
    /// The image that will run.
    pub image: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// The live side now.
    pub from: Option<Side>,
    /// The live side afterwards.
    pub to: Option<Side>,
    /// The version on the live side now.
    pub from_version: Option<String>,
    /// The version on the live side afterwards.
    pub to_version: Option<String>,
    /// Where it runs afterwards.
    pub servers: BTreeSet<ServerName>,
    /// Copies on one server.
    pub replicas: u32,
    /// The container's own port.
    pub port: Option<u16>,
    /// Base ports by replica. The secondary side's are 10000 higher.
    pub base_ports: BTreeMap<u32, u16>,
    /// The container's port that public hosts are served from, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_port: Option<u16>,
    /// Its base ports, as `base_ports`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub app_base_ports: BTreeMap<u32, u16>,
    /// The port that apps connect to.
    pub internal_port: Option<u16>,
    /// Never two at once: there is a gap between stop and switch.
    pub hands_over: bool,
    /// The containers of others that it takes the place of, and that this plan stops: by server, their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub takes_over: BTreeMap<ServerName, BTreeSet<String>>,
}

/// What happens to one service, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It runs nowhere yet.
    Create,
    /// The other side is started and takes over.
    Toggle,
    /// The other side's stopped containers are started and take over.
    Restore,
    /// Nothing.
    Keep,
    /// The live side stays, and is started on servers that were left behind.
    CatchUp,
    /// It goes away.
    Remove,
}

/// What must be complete before the next begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// A verb: `lock`, `prepare`, `start`, `switch`, `drain`, `retire`, `finish`; with the services where there are several.
    pub name: String,
    /// Whether the deploy hangs on it.
    pub kind: WaveKind,
    /// The steps of each server, in order.
    pub servers: BTreeMap<ServerName, Vec<Step>>,
}

/// Whether the deploy hangs on a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaveKind {
    /// A failure undoes the run.
    Work,
    /// As work, while servers serve what earlier waves have switched to and nobody is routed to what this one starts: it is undone once they
    /// have switched back, which is what clients wait for.
    Unrouted,
    /// As work; and it begins only when somebody has said so.
    AfterPromotion,
    /// The run is past undoing: a failure is reported and the rest goes on.
    Cleanup,
}

/// One thing done to one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// For people, in the past tense once done: `Started shop_prod_api_secondary`. Written as an infinitive phrase: `start shop_prod_api_secondary`.
    pub title: String,
    /// The service that it belongs to, where there is one.
    pub service: Option<ServiceName>,
    /// What has to be there for it by then, and was not when the plan was made: of a run that is taken up where others have deployed since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<Action>,
    /// What is done.
    pub action: Action,
    /// What takes it back, in order. Empty: nothing needs to be.
    pub undo: Vec<Action>,
    /// What hangs on the undo.
    pub undo_kind: UndoKind,
    /// The deadline of the action, from the start of this step.
    pub within: Millis,
}

/// What hangs on the undo of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoKind {
    /// Requests do: without it the server does not serve what it served before.
    Restores,
    /// Only tidiness does: without it something idle is left behind.
    Cleans,
}

/// How the reason of a service begins whose servers route different sides: this plan brings them to one, and no further.
pub(super) const HALF_SWITCHED: &str = "half switched";

impl Plan {
    /// It brings a fleet that is half switched to one side.
    #[must_use]
    pub fn mends(&self) -> bool {
        self.services.values().any(|service| service.reason.starts_with(HALF_SWITCHED))
    }

    /// The step of this id, if the plan has it.
    #[must_use]
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.waves.get(id.wave)?.servers.get(&id.server)?.get(id.index)
    }

    /// The ids of all steps, wave by wave, server by server, in order.
    pub fn step_ids(&self) -> impl Iterator<Item = StepId> + '_ {
        self.waves.iter().enumerate().flat_map(|(wave, w)| {
            w.servers
                .iter()
                .flat_map(move |(server, steps)| (0..steps.len()).map(move |index| StepId { wave, server: server.clone(), index }))
        })
    }

    /// The number of steps.
    #[must_use]
    pub fn n_steps(&self) -> usize {
        self.waves.iter().flat_map(|wave| wave.servers.values()).map(Vec::len).sum()
    }

    /// The servers that take part.
    #[must_use]
    pub fn servers(&self) -> BTreeSet<&ServerName> {
        self.waves.iter().flat_map(|wave| wave.servers.keys()).collect()
    }
}

/// Something that the plan's checks noticed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// Where, if on one server.
    pub server: Option<ServerName>,
    /// Which service, if one.
    pub service: Option<ServiceName>,
    /// What was seen.
    pub text: String,
    /// What to do. May be empty.
    pub hint: String,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing is run: exit 3.
    Fatal,
    /// It will work, but perhaps not as meant.
    Warning,
    /// Worth knowing.
    Note,
}
