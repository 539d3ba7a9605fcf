//! Flipside: an agentless fleet deployer over SSH.
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
