//! Flipside: an agentless fleet deployer over SSH.
pub mod cli;
pub mod config;
pub mod facts;
pub mod ledger;
pub mod model;
pub mod plan;
pub mod report;
