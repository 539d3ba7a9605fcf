//! Servers in memory that interpret actions by their meaning and refuse what a real one would refuse: for tests of plans and of whole runs,
//! with faults on demand. Deliberately absent: shell text, bytes, time.
mod adopted;
mod containers;
mod fleet;
mod mesh;
mod revert;
mod secrets;
mod server;

pub use fleet::{FakeFleet, Fate, Oracle, Watch};
pub use server::{FakeServer, Files, image_id, is_up};

use crate::model::Failure;
use std::collections::BTreeSet;

/// The ports on loopback that a door's configuration opens.
fn listened(text: &str) -> BTreeSet<u16> {
    let ports = text.lines().filter_map(|line| line.trim().strip_prefix("listen 127.0.0.1:"));
    ports.filter_map(|rest| rest.split([' ', ';']).next()?.parse().ok()).collect()
}

fn seen(text: &str) -> Result<String, Failure> {
    Ok(text.to_owned())
}

fn refuse(text: impl Into<String>) -> Result<String, Failure> {
    Err(Failure { seen: text.into(), ..Failure::default() })
}
