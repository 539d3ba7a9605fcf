//! A reader that has gone away ends nothing with a panic.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
use std::process::{Command, Stdio};

/// Runs flipside with pipes that nobody reads, and gives its exit code.
fn unread(args: &[&str]) -> Option<i32> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_flipside"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    child.wait().unwrap().code()
}

#[test]
fn closed_pipes_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let playbook = dir.path().join("no-such-playbook.toml");
    // Without a reader in time, the first of these writes its whole text into the void; the others complain into it.
    for _ in 0..20 {
        assert_eq!(unread(&["completions", "bash"]), Some(0));
    }
    assert_eq!(unread(&["--playbook", playbook.to_str().unwrap(), "status"]), Some(2));
    assert_eq!(unread(&["init", dir.path().to_str().unwrap()]), Some(0));
}
