//! The command line: what was typed, and the exit code that answers it.
pub mod args;
pub mod exit;
