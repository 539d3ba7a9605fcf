//! Flipside: an agentless fleet deployer over SSH.
pub mod config;
pub mod docker;
pub mod facts;
pub mod model;
pub mod script;
