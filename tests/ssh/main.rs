//! The remote room against a real sshd. These tests fail where sshd is not installed; they do not skip.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
mod channels;
mod crowd;
mod ends;
mod keys;
mod leases;
mod sshd;
mod steps;
mod words;
