//! Actions on servers. [`Remote`] is the seam between deciding and doing; behind it stand the real [`Servers`], over [`ssh`], and those of
//! [`fake`], in memory. Deliberately absent: what is done next, and what is done when something fails.
#![expect(clippy::result_large_err, reason = "these errors end a connection or a step; their size is of no matter, their words are")]
mod checks;
mod execute;
pub mod fake;
mod health;
mod hook;
mod keeper;
mod leases;
mod patience;
mod perform;
mod probe;
mod redact;
mod servers;
pub mod ssh;
mod standing;
mod words;

pub use hook::{HOOK_OUTPUT, run_here};
pub use leases::{Holder, LOCKED_BY, LeaseError};
pub use perform::{Call, Remote, Update};
pub use probe::Prober;
pub use servers::{Servers, SurveyError};
pub use ssh::{
    At, ChannelError, ConnectError, ConnectOptions, Connection, Connector, Held, Hop, HostKey, Lost, NoKeyAtAll, Passphrase, Place, Reach,
    ScriptEnd, SshSettings, Surroundings, Target, TargetError, Tunnel, TunnelError,
};
