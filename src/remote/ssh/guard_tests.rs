//! The guard in real shells: what runs, what does not, and when it ends.
use super::with_silence;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A folder with an `sh` and nothing else but links to these commands.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new(shell: &str, commands: &[&str]) -> Machine {
        let folder = TempDir::new().unwrap();
        std::os::unix::fs::symlink(shell, folder.path().join("sh")).unwrap();
        for command in commands {
            let found = ["/bin", "/usr/bin"].map(|place| Path::new(place).join(command)).into_iter().find(|path| path.exists());
            std::os::unix::fs::symlink(found.unwrap(), folder.path().join(command)).unwrap();
        }
        Machine { folder }
    }

    /// Every shell that is here, with and without the commands that are optional.
    fn all() -> Vec<(String, Machine)> {
        let shells = ["/bin/dash", "/bin/bash", "/bin/busybox"].into_iter().filter(|shell| Path::new(shell).exists());
        let whole = ["sleep", "setsid", "timeout", "cat"];
        shells
            .flat_map(|shell| {
                [(shell.to_owned(), Machine::new(shell, &whole)), (format!("{shell}, bare"), Machine::new(shell, &["sleep", "cat"]))]
            })
            .collect()
    }

    fn start(&self) -> Child {
        let sh: PathBuf = self.folder.path().join("sh");
        let mut command = Command::new(sh);
        command.arg("-s").env_clear().env("PATH", self.folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }
}

fn alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Starts a script that tells its process and sleeps; returns once it has told.
fn sleeping(machine: &Machine, silence: u64) -> (Child, u32) {
    let mut child = machine.start();
    let script = with_silence("echo $$; sleep 50; echo over", Duration::from_secs(silence));
    child.stdin.as_mut().unwrap().write_all(script.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().parse().unwrap())
}

fn ends(process: u32, within: Duration) -> Option<Duration> {
    let started = Instant::now();
    while alive(process) {
        if started.elapsed() > within {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(started.elapsed())
}

#[test]
fn a_script_that_was_cut_off_on_the_way_does_nothing() {
    let script = "echo one\necho 'two'\ncat <<'END'\nthree\nEND\necho four";
    let whole = with_silence(script, Duration::from_secs(20));
    for (name, machine) in Machine::all() {
        // Only the newline at the very end may be missing.
        for cut in (0..whole.len() - 1).step_by(19) {
            let mut child = machine.start();
            // A shell may have given up before it has read everything.
            let _ = child.stdin.take().unwrap().write_all(&whole.as_bytes()[..cut]);
            let mut out = String::new();
            child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
            child.wait().unwrap();
            assert_eq!(out, "", "{name}, cut at {cut} of {}", whole.len());
        }
    }
}

#[test]
fn end_of_file_ends_the_script() {
    for (name, machine) in Machine::all() {
        let (mut child, process) = sleeping(&machine, 20);
        assert!(alive(process), "{name}");
        drop(child.stdin.take());
        assert!(ends(process, Duration::from_secs(3)).is_some(), "{name}: it survived");
        assert_ne!(child.wait().unwrap().code(), Some(0), "{name}");
    }
}

#[test]
fn silence_ends_the_script_and_heartbeats_keep_it() {
    // They only wait: side by side.
    std::thread::scope(|scope| {
        for (name, machine) in Machine::all().into_iter().filter(|(name, _)| !name.ends_with("bare")) {
            scope.spawn(move || {
                let (mut child, process) = sleeping(&machine, 2);
                for _ in 0..6 {
                    std::thread::sleep(Duration::from_millis(500));
                    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
                }
                assert!(alive(process), "{name}: heartbeats do not keep it");
                let took = ends(process, Duration::from_secs(6));
                assert!(took.is_some_and(|took| took > Duration::from_secs(1)), "{name}: {took:?}");
                child.wait().unwrap();
            });
        }
    });
}
