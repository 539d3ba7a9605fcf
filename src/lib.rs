//! Flipside: an agentless fleet deployer over SSH.
// Both panic when the reader of a pipe has gone away: `cli::print` and the reporter's sinks do not.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod config;
pub mod docker;
pub mod facts;
pub mod ledger;
pub mod model;
pub mod nginx;
pub mod plan;
pub mod remote;
pub mod report;
pub mod run;
pub mod script;
