//! A fleet in memory, the cases that are tried on it, and the loop that runs a plan there.
pub mod cases;
pub mod driver;
pub mod invariants;
pub mod servers;
