//! What to ask a server in one round trip, and how to read the answer. Deliberately absent: asking.
mod digest;
mod types;

pub use digest::digest;
pub use types::{ContainerFact, ContainerState, Facts, ImageFact, ListenerFact, NetworkFact, NginxFact, PublishedFact};
