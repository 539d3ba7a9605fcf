//! What to ask a server in one round trip, and how to read the answer. Deliberately absent: asking.
mod types;

mod error;
mod question;

mod engine;
mod frames;
mod read;
mod revert;
mod sockets;
mod texts;

mod digest;

pub use digest::digest;
pub use error::FactsError;
pub use frames::unanswered;
pub use question::{question, question_again};
pub use read::{read, read_digest};
pub use types::{
    ContainerFact, ContainerState, Facts, ImageFact, ListenerFact, NetworkFact, NginxFact, PublishedFact, RevertFact, RevertState,
};
