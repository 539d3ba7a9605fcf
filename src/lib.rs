//! Flipside: an agentless fleet deployer over SSH.
pub mod config;
pub mod model;
pub mod remote;
