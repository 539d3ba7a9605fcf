//! Hooks: commands of the user's own at fixed moments of a run. Deliberately absent: which there are in a run (see `plan`), and running them.
use super::container::ContainerSpec;
use super::names::{EnvName, ProjectName};
use super::time::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The moments of a run at which hooks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPoint {
    /// Before any server is connected to.
    BeforeConnect,
    /// Every server has answered, and nothing is planned yet.
    AfterConnect,
    /// In a deploy: everything is prepared, and nothing is started or stopped.
    BeforeDeploy,
    /// In a rollback, at the same place.
    BeforeRollback,
    /// The new side is healthy, and takes no traffic yet.
    BeforeSwitch,
    /// The new side takes the traffic, and every server could still put itself back.
    AfterSwitch,
    /// In a deploy: the old side is stopped, and nothing is tidied up.
    AfterDeploy,
    /// In a rollback, at the same place.
    AfterRollback,
    /// A run has failed and is over.
    AfterFailure,
}

impl HookPoint {
    /// All of them, in the order of a run.
    pub const ALL: [HookPoint; 9] = [
        HookPoint::BeforeConnect,
        HookPoint::AfterConnect,
        HookPoint::BeforeDeploy,
        HookPoint::BeforeRollback,
        HookPoint::BeforeSwitch,
        HookPoint::AfterSwitch,
        HookPoint::AfterDeploy,
        HookPoint::AfterRollback,
        HookPoint::AfterFailure,
    ];

    /// The word used in files and variables: `before_connect`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            HookPoint::BeforeConnect => "before_connect",
            HookPoint::AfterConnect => "after_connect",
            HookPoint::BeforeDeploy => "before_deploy",
            HookPoint::BeforeRollback => "before_rollback",
            HookPoint::BeforeSwitch => "before_switch",
            HookPoint::AfterSwitch => "after_switch",
            HookPoint::AfterDeploy => "after_deploy",
            HookPoint::AfterRollback => "after_rollback",
            HookPoint::AfterFailure => "after_failure",
        }
    }
}

/// What every hook is told, whoever runs it: the variables of its process.
#[must_use]
pub fn hook_variables(
    point: HookPoint,
    project: &ProjectName,
    env: &EnvName,
    version: &str,
    command: &str,
    more: impl IntoIterator<Item = (&'static str, String)>,
) -> BTreeMap<String, String> {
    let common = [
        ("FLIPSIDE_PROJECT", project.to_string()),
        ("FLIPSIDE_ENV", env.to_string()),
        ("FLIPSIDE_VERSION", version.to_owned()),
        ("FLIPSIDE_COMMAND", command.to_owned()),
        ("FLIPSIDE_HOOK", point.as_str().to_owned()),
    ];
    common.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Names as a variable holds them: `api worker`. None has a space.
#[must_use]
pub fn hook_words(names: impl IntoIterator<Item = impl fmt::Display>) -> String {
    names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join(" ")
}

/// One hook as a step performs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRun {
    /// When.
    pub point: HookPoint,
    /// Program and arguments; in a container the arguments after the image.
    pub command: Vec<String>,
    /// What it is told of the run. Never a secret.
    pub variables: BTreeMap<String, String>,
    /// Then it is killed, and has failed.
    pub timeout: Millis,
    /// Where.
    pub place: HookPlace,
}

/// Where a hook runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPlace {
    /// Where flipside runs: the step's server only says after whose steps.
    Workstation,
    /// On the step's server, in a shell.
    Server,
    /// In a container on the step's server that is there for this alone.
    Container {
        /// The container. Its command is the hook's.
        app: Box<ContainerSpec>,
        /// The door whose network namespace it joins.
        door: Option<Box<ContainerSpec>>,
    },
}

/// The variable that holds the run's id. It is in no plan: whoever performs the hook adds it.
pub const HOOK_RUN: &str = "FLIPSIDE_RUN";
