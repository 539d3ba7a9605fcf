//! The lease in a real shell: who gets it, who is told what, and what an older run left running.
use super::*;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// A shell in a process group of its own, that ends with all that it started.
struct Shell(Child, Lines<BufReader<ChildStdout>>);

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-s", "KILL", "--", &format!("-{}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

impl Shell {
    /// Starts a script in a folder.
    fn start(script: &str, folder: &Path) -> Shell {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(folder).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Shell(child, lines)
    }

    /// Its next line that is not empty; empty at its end.
    fn line(&mut self) -> String {
        self.1.by_ref().map(Result::unwrap).find(|line| !line.is_empty()).unwrap_or_default()
    }
}

fn context(root: &Path) -> ScriptContext {
    ScriptContext { docker: "docker".to_owned(), remote_root: root.to_str().unwrap().to_owned() }
}

fn take(root: &Path, holder: &str) -> Shell {
    Shell::start(&lease(&context(root), holder, Claim::First), root)
}

/// A script of this run: it says whether it was refused, and goes on for a while in a process of its own.
fn works(root: &Path, holder: &str) -> Shell {
    Shell::start(&format!("{}\necho \"refused: $flipside_refused\"\nsh -c 'sleep 60; :'\n", fence(&context(root), holder)), root)
}

#[test]
fn the_second_is_told_who_holds_it_and_for_how_long_and_the_lock_dies_with_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = take(folder.path(), "ann's laptop; $(id)");
    assert_eq!(first.line(), "locked");
    let mut second = take(folder.path(), "bob");
    let age: u64 = second.line().strip_prefix("age: ").unwrap().parse().unwrap();
    assert!((2..60).contains(&age), "{age}: it was tried for three seconds");
    assert_eq!(second.line(), "held: ann's laptop; $(id)");
    let mut sight = Shell::start(&lease_sight(&context(folder.path())), folder.path());
    assert!(sight.line().starts_with("age: "));
    assert_eq!(sight.line(), "held: ann's laptop; $(id)");
    drop(first);
    assert_eq!(Shell::start(&lease_sight(&context(folder.path())), folder.path()).line(), "free");
    let mut third = take(folder.path(), "carol");
    assert_eq!(third.line(), "locked");
}

#[test]
fn nobody_gets_the_lease_while_a_script_of_an_older_run_is_alive_and_it_begins_none_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let mut ann = take(folder.path(), "ann");
    assert_eq!(ann.line(), "locked");
    let mut orphan = works(folder.path(), "ann");
    assert_eq!(orphan.line(), "refused: ");
    // Her connection is gone, and the lease with it; a script of hers is not yet.
    drop(ann);
    let mut bob = take(folder.path(), "bob");
    assert_eq!(bob.line(), "waiting");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(std::fs::read_to_string(folder.path().join("flipside/lock/holder")).unwrap(), "ann\n");
    assert!(works(folder.path(), "ann").line().starts_with("refused: "));
    drop(orphan);
    assert_eq!(bob.line(), "locked");
    assert!(works(folder.path(), "ann").line().ends_with("it went to bob"));
    assert_eq!(works(folder.path(), "bob").line(), "refused: ");
}

#[test]
fn unlocking_ends_the_run_with_its_scripts_and_it_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut ann = take(folder.path(), "ann");
    assert_eq!(ann.line(), "locked");
    let mut script = works(folder.path(), "ann");
    assert_eq!(script.line(), "refused: ");
    // Who was shown has gone meanwhile, and another run has the lease.
    let mut end = Shell::start(&lease_end(&context(folder.path()), "carol", "bob: flipside unlock"), folder.path());
    assert_eq!(end.line(), "failed: it went to ann meanwhile");
    assert_eq!(works(folder.path(), "ann").line(), "refused: ", "she goes on");
    let mut end = Shell::start(&lease_end(&context(folder.path()), "ann", "bob: flipside unlock"), folder.path());
    let n_ended: u32 = end.line().strip_prefix("ended: ").unwrap().parse().unwrap();
    assert!(n_ended >= 3, "{n_ended}: the lease, the script, and what that runs");
    assert!(!ann.0.wait().unwrap().success() && !script.0.wait().unwrap().success());
    assert!(works(folder.path(), "ann").line().ends_with("it went to bob: flipside unlock"));
    let mut again = Shell::start(&lease(&context(folder.path()), "ann", Claim::Again), folder.path());
    assert_eq!(again.line(), "held: bob: flipside unlock");
    drop(again);
    assert_eq!(take(folder.path(), "carol").line(), "locked");
}

#[test]
fn a_lock_file_that_cannot_be_opened_is_a_failure_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("flipside/lock/lease")).unwrap();
    let line = take(folder.path(), "ann").line();
    assert!(line.starts_with("failed: ") && line.contains("lease"), "{line}");
}

#[test]
fn somebody_who_asks_for_facts_does_not_stand_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let lock = folder.path().join("flipside/lock");
    std::fs::create_dir_all(&lock).unwrap();
    let mut reader = Shell::start("exec 8>>lease; flock -s 8; echo reading; sleep 0.7", &lock);
    assert_eq!(reader.line(), "reading");
    assert_eq!(take(folder.path(), "ann").line(), "locked");
}

#[test]
fn a_lease_that_was_lost_comes_back_unless_somebody_else_had_it_however_often_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let again = || Shell::start(&lease(&context(folder.path()), "ann", Claim::Again), folder.path()).line();
    assert_eq!(take(folder.path(), "ann").line(), "locked");
    assert_eq!(again(), "locked");
    assert_eq!(take(folder.path(), "bob").line(), "locked");
    for _ in 0..3 {
        assert_eq!(again(), "held: bob");
    }
}

/// A process that outlives its script would keep the lease from everybody: it lets go of `work` first.
#[test]
fn whatever_is_detached_from_a_script_closes_descriptor_8() {
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/script"))];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "sh") {
                let text = std::fs::read_to_string(&path).unwrap();
                let starts =
                    text.lines().filter(|line| line.trim_end().ends_with('&') && (line.contains("setsid") || line.contains("nohup")));
                for line in starts {
                    assert!(line.contains("8<&-") || line.contains("8>&-"), "{}: {line}", path.display());
                }
            }
        }
    }
}
