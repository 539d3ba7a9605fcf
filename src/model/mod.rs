//! The words everybody speaks: names, sides, ports, containers, actions, events. Deliberately absent: decisions, I/O, clocks.
mod action;
mod adopted;
mod canary;
mod certificate;
mod checks;
mod container;
mod event;
mod front;
mod hook;
mod identity;
mod mesh;
mod names;
mod probing;
mod redact;
mod secret;
mod side;
mod staying;
mod time;
mod upstream;
mod visible;

pub use action::{Action, HealthPolicy, NetworkSpec, Probe, ProbeKind};
pub use adopted::Adopted;
pub use canary::{CanaryCheck, Share};
pub use certificate::{Certificate, CertificateError, day_of};
pub use checks::{ActiveChecks, Checked, CopyAt, Standing};
pub use container::{ContainerSpec, NetworkMode, Publish};
pub use event::{Event, EventKind, Failure, Outcome, StepId, Verdict, WaveIndex};
pub use front::{Front, FrontTls, Snippets};
pub use hook::{HOOK_RUN, HookPlace, HookPoint, HookRun, hook_variables, hook_words};
pub use identity::{
    GenerationId, Labels, base_port, container_name, door_name, failed_name, fold_hash, internal_port, label, network_name, previous_name,
    secondary_port,
};
pub use mesh::{Backend, DrainPolicy, RouteCheck, StagedListener};
pub use names::{EnvName, NameError, ProjectName, SecretName, ServerName, ServiceName, Zone};
pub use probing::{Answer, Moment, ProbeAsk, ProbeAt, ProbeCount, ProbeFailure, ProbeTally, ProbeTarget, Sample};
pub use redact::Redactor;
pub use secret::{LARGEST_SECRET, MissingSecret, Secret, Secrets, SecretsProof};
pub use side::Side;
pub use staying::StayPolicy;
pub use time::Millis;
pub use upstream::{Method, Upstream};
pub use visible::is_invisible;

use serde::{Deserialize, Serialize};

/// The transport protocol that a service speaks behind NGINX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// NGINX stream, one TCP connection to one backend connection.
    Tcp,
    /// NGINX stream over datagrams.
    Udp,
    /// NGINX http: balanced per request, retried where that is safe.
    Http,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Http];

    /// The word used in files and labels: `tcp`, `udp`, `http`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Http => "http",
        }
    }

    /// The suffix that docker and the kernel know: http is tcp.
    #[must_use]
    pub fn transport(self) -> &'static str {
        match self {
            Protocol::Tcp | Protocol::Http => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

/// How NGINX reaches the backends of one project in one environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendMode {
    /// Every service is on one server: backends are container names, no host port is published.
    SingleServer,
    /// Backends are `private_address:host_port`, published on the private address alone.
    MultiServer,
}

impl BackendMode {
    /// The word used in files and labels: `single_server`, `multi_server`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            BackendMode::SingleServer => "single_server",
            BackendMode::MultiServer => "multi_server",
        }
    }
}
