//! Flipside: an agentless fleet deployer over SSH.
pub mod config;
pub mod facts;
pub mod ledger;
pub mod model;
pub mod nginx;
pub mod plan;
pub mod script;
