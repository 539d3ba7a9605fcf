//! Everything that a deploy can do to a server, as a closed enum. Nothing else ever happens to one.
use super::adopted::Adopted;
use super::canary::CanaryCheck;
use super::container::ContainerSpec;
use super::hook::HookRun;
use super::identity::{GenerationId, Labels};
use super::mesh::{Backend, DrainPolicy, RouteCheck, StagedListener};
use super::names::{EnvName, ProjectName, SecretName};
use super::staying::StayPolicy;
use super::time::Millis;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// One thing done to one server. Every action may be performed twice without harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Action {
    /// Take the server's lease. It lives as long as our connection.
    Lock,
    /// The server is still what the plan was made from; asked once the lease is held.
    ConfirmFacts {
        /// Whose containers count.
        project: ProjectName,
        /// Whose containers count.
        env: EnvName,
        /// From `facts::digest`.
        digest: String,
    },
    /// Write a file beside itself and rename it into place.
    PutFile {
        /// Absolute path.
        path: String,
        /// Permission bits.
        mode: u32,
        /// The content. Never a secret.
        content: String,
    },
    /// Write the secrets of a service's new containers into a folder of their own, complete or not at all: each a file with mode 400,
    /// and the proof by which a later plan sees whether they have changed. Their values are filled in at the last moment.
    PutSecrets {
        /// Absolute path; its last part is the release.
        folder: String,
        /// Which.
        names: BTreeSet<SecretName>,
        /// The user id that may read them; without one that of the image's user, where it is a number, else whoever writes them.
        owner: Option<u32>,
        /// The image whose user is asked for.
        image: String,
    },
    /// Remove a folder of secrets, unless a container still has files of it mounted.
    RemoveSecrets {
        /// Absolute path.
        folder: String,
    },
    /// The project's network, with its own subnet.
    EnsureNetwork(NetworkSpec),
    /// Remove a network that no container uses.
    RemoveNetwork {
        /// The network's name.
        name: String,
    },
    /// Attach a running container to a network.
    ConnectNetwork {
        /// The network.
        network: String,
        /// The container.
        container: String,
        /// Further names in the network's DNS.
        aliases: Vec<String>,
    },
    /// The image is on the server, pulled if it is not.
    PullImage {
        /// The image reference.
        image: String,
    },
    /// `docker run -d`. A container of this name with the same labels that already runs is left as it is.
    RunContainer(Box<ContainerSpec>),
    /// Stop a container and rename it out of the way, replacing an older one that waits there.
    SetAside {
        /// The container.
        name: String,
        /// Its name from then on.
        to: String,
        /// Its label `flipside.release`. A container of another release is left where it is: what follows this action may have run
        /// already, and then the name is the new container's. None where the container has no such label.
        release: Option<String>,
        /// SIGTERM to SIGKILL.
        stop_timeout: Millis,
    },
    /// Rename a stopped container.
    RenameContainer {
        /// The name it has.
        from: String,
        /// The name it gets.
        to: String,
    },
    /// Start a stopped container.
    StartContainer {
        /// The container.
        name: String,
    },
    /// Stop a container and keep it.
    StopContainer {
        /// The container.
        name: String,
        /// SIGTERM to SIGKILL.
        timeout: Millis,
    },
    /// Stop a container that is not ours and that a service takes the place of, and keep it from being started by itself.
    StopAdopted {
        /// Which.
        container: Adopted,
        /// SIGTERM to SIGKILL.
        timeout: Millis,
    },
    /// Undo of that: it runs again, and is started by itself as it was.
    StartAdopted {
        /// Which.
        container: Adopted,
    },
    /// Remove a container; one that still runs is stopped first.
    RemoveContainer {
        /// The container.
        name: String,
        /// SIGTERM to SIGKILL, where it still runs.
        timeout: Millis,
    },
    /// Wait until a container answers.
    AwaitHealthy {
        /// The container that must stay up meanwhile.
        container: String,
        /// What to ask, and where.
        probe: Probe,
        /// How often, how long.
        policy: HealthPolicy,
    },
    /// Keep asking a container that was healthy, for a time: it stays so, or the step fails.
    StayHealthy {
        /// The container that must stay up.
        container: String,
        /// What to ask, and where.
        probe: Probe,
        /// How often, how long, and how many failures in a row are one too many.
        policy: StayPolicy,
    },
    /// Count what the requests to a canary come to, for a time: too many failures fail the step.
    JudgeCanary(Box<CanaryCheck>),
    /// The first generation of a server that has none: written and made current before NGINX is run.
    /// On a server that has one, nothing is done.
    BootNginx {
        /// The generation to write.
        generation: GenerationId,
        /// Paths below the generation's folder, with their whole content.
        files: BTreeMap<String, String>,
    },
    /// Let a door read its file again, without cutting a connection.
    ReloadDoor {
        /// The door's container.
        container: String,
    },
    /// Wait until a door listens, so that an app's first instruction finds the mesh.
    AwaitDoor {
        /// The door's container.
        container: String,
    },
    /// Write a generation beside the live one and test it in the running NGINX container.
    StageNginx {
        /// The generation to write.
        generation: GenerationId,
        /// The generation whose other projects' files are carried over.
        base: Option<GenerationId>,
        /// Paths below the generation's folder, with their whole content.
        files: BTreeMap<String, String>,
        /// Paths of the base that are not carried over.
        remove: Vec<String>,
        /// Listeners that the base does not have: checked to be free, which `nginx -t` does not do.
        listeners: Vec<StagedListener>,
    },
    /// The generation that NGINX serves is what `current` leads to, and its files are there: brought back from their copy where they
    /// are missing. NGINX is told nothing.
    RestoreGeneration {
        /// The generation.
        generation: GenerationId,
    },
    /// Remove a generation that is not live.
    DropGeneration {
        /// The generation.
        generation: GenerationId,
    },
    /// Compare-and-swap of the live generation, then a graceful reload, proven to be served.
    Switch {
        /// The generation that must be live; None on a server whose NGINX was just set up.
        expect: Option<GenerationId>,
        /// The generation to make live.
        to: GenerationId,
    },
    /// Undo of a switch: if `from` is live, make `to` live again; anything else that is live is left alone and reported.
    SwitchBack {
        /// The generation that the run made live.
        from: GenerationId,
        /// The generation that was live before.
        to: GenerationId,
    },
    /// Leave a timer on the server: it makes `back` live again where one of `to` is, once nobody has held the server's lease for `grace`.
    ArmRevert {
        /// The generation from before.
        back: GenerationId,
        /// The generations that the run makes live here, in order. Anything else that is live is somebody else's, and stays.
        to: Vec<GenerationId>,
        /// The time from when the lease is free; while it is held, nothing happens.
        grace: Millis,
    },
    /// Take the timer away, for good, where `to` is still live; where the server has put itself back, nothing is done, and that fails.
    ConfirmSwitch {
        /// The generation that the run made live last.
        to: GenerationId,
    },
    /// Take away whatever timer is there, and what is said of an older one.
    DisarmRevert,
    /// One real request through the mesh reaches a backend.
    CheckRoute(RouteCheck),
    /// Nothing, for a while. Whoever asks the run to stop ends it at once.
    Pause {
        /// How long: up to 1 h.
        time: Millis,
    },
    /// Wait until no connection leads from NGINX to these backends.
    Drain {
        /// The backends that go away.
        backends: Vec<Backend>,
        /// The rule's times.
        policy: DrainPolicy,
    },
    /// A command of the user's own. Only he knows whether it may run twice; a run that is taken up repeats one whose end nobody saw.
    Hook(Box<HookRun>),
    /// Keep the newest generations, remove the others; the live one always stays. And with them the certificates that none of them names.
    PruneGenerations {
        /// How many to keep.
        keep: u32,
        /// What the services' stems begin with whose certificates may go: a run of another project that is held may need its own.
        stems: String,
    },
}

impl Action {
    /// The container that it runs, starts or waits for: whose last words say why it failed.
    #[must_use]
    pub fn container(&self) -> Option<&str> {
        match self {
            Action::RunContainer(spec) => Some(&spec.name),
            Action::StartContainer { name } => Some(name),
            Action::AwaitHealthy { container, .. } | Action::StayHealthy { container, .. } | Action::AwaitDoor { container, .. } => {
                Some(container)
            }
            Action::Lock
            | Action::ConfirmFacts { .. }
            | Action::PutFile { .. }
            | Action::PutSecrets { .. }
            | Action::RemoveSecrets { .. }
            | Action::EnsureNetwork(_)
            | Action::RemoveNetwork { .. }
            | Action::ConnectNetwork { .. }
            | Action::PullImage { .. }
            | Action::SetAside { .. }
            | Action::RenameContainer { .. }
            | Action::StopContainer { .. }
            | Action::StopAdopted { .. }
            | Action::StartAdopted { .. }
            | Action::RemoveContainer { .. }
            | Action::BootNginx { .. }
            | Action::ReloadDoor { .. }
            | Action::StageNginx { .. }
            | Action::RestoreGeneration { .. }
            | Action::DropGeneration { .. }
            | Action::Switch { .. }
            | Action::SwitchBack { .. }
            | Action::ArmRevert { .. }
            | Action::ConfirmSwitch { .. }
            | Action::DisarmRevert
            | Action::CheckRoute(_)
            | Action::JudgeCanary(_)
            | Action::Drain { .. }
            | Action::Hook(_)
            | Action::Pause { .. }
            | Action::PruneGenerations { .. } => None,
        }
    }
}

/// A project network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// The network's name.
    pub name: String,
    /// CIDR, such as `10.210.4.0/22`.
    pub subnet: String,
    /// The part that docker hands out by itself; fixed addresses lie outside of it.
    pub ip_range: String,
    /// Labels.
    pub labels: Labels,
}

/// What to ask a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The question.
    pub kind: ProbeKind,
    /// The container's own address, reached through an SSH tunnel.
    pub address: Ipv4Addr,
    /// The container's own port.
    pub port: u16,
}

/// The kinds of health question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// `GET path` answers 2xx or 3xx.
    Http {
        /// Starts with `/`.
        path: String,
        /// The Host header.
        host: String,
    },
    /// The port accepts a connection.
    Tcp,
    /// The port that public hosts are served from, where that is another one, accepts a connection.
    AppPort,
    /// A shell command in the container exits 0.
    Command(String),
    /// The container runs and stays up (services without a port, and udp).
    Running,
}

/// How often a container is asked, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthPolicy {
    /// A container that exits in this time, from when the wait for it began, may be started again by the engine; afterwards it has failed.
    pub start_period: Millis,
    /// Between two questions.
    pub interval: Millis,
    /// For one answer.
    pub timeout: Millis,
    /// Passes in a row that count as healthy.
    pub retries: u32,
    /// In all, from when the wait for it began.
    pub deadline: Millis,
}
