//! Events in, bytes out: live bars on a terminal, plain lines in a pipe, JSON for programs, and the one printer of failures.
//! Deliberately absent: any say in what happens. Results go to stdout, talk to stderr.
mod bars;
mod failure;
mod fleet;
mod json;
mod lines;
mod probe;
mod progress;
mod reporter;
mod style;
mod summary;
mod verbs;

pub use fleet::{Serving, serving};
pub use reporter::{Ending, Reporter};
pub use style::{ColorChoice, Sinks, Style};
pub use verbs::{done, running};
