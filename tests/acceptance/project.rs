//! A project in a folder of its own, and the program that is run in it. Every run has a bound on its time.
use crate::fleet::Fleet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// No run of the program may take longer.
const PATIENCE: Duration = Duration::from_secs(150);
/// But for one that watches until it is ended.
const PATIENCE_TO_WATCH: Duration = Duration::from_secs(300);

/// A playbook, an inventory and a state folder.
pub(crate) struct Project {
    folder: TempDir,
    n_runs: std::cell::Cell<usize>,
    n_workstations: std::cell::Cell<usize>,
    clock: std::cell::Cell<Option<&'static str>>,
    variable: std::cell::Cell<Option<(&'static str, &'static str)>>,
}

/// What a run of the program came to.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// The command line, for messages.
    pub(crate) line: String,
    /// The exit code; none after a signal that was not caught.
    pub(crate) exit: Option<i32>,
    /// Results.
    pub(crate) stdout: String,
    /// Talk.
    pub(crate) stderr: String,
}

/// The program, running.
pub(crate) struct Running {
    child: Child,
    line: String,
    stdout: PathBuf,
    stderr: PathBuf,
    began: Instant,
    patience: Duration,
}

impl Project {
    /// A project with this playbook, on all servers of the fleet, as root.
    pub(crate) fn new(fleet: &Fleet, playbook: &str) -> Self {
        let project = Self {
            folder: tempfile::tempdir().expect("a folder"),
            n_runs: std::cell::Cell::new(0),
            n_workstations: std::cell::Cell::new(1),
            clock: std::cell::Cell::new(None),
            variable: std::cell::Cell::new(None),
        };
        project.playbook(playbook);
        project.inventory(&inventory(fleet, "root", &[1, 2, 3]));
        project
    }

    /// Replaces the playbook.
    pub(crate) fn playbook(&self, text: &str) {
        fs::write(self.path("playbook.toml"), text).expect("the playbook is written");
    }

    /// Replaces the inventory.
    pub(crate) fn inventory(&self, text: &str) {
        fs::write(self.path("inventory.toml"), text).expect("the inventory is written");
    }

    /// A path in the project's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// From now on the program is run as on another workstation: nothing is known there of runs that were begun before.
    pub(crate) fn another_workstation(&self) {
        self.n_workstations.set(self.n_workstations.get() + 1);
    }

    /// From now on the program is run on a workstation whose clock is wrong by this, as faketime(1) writes it: `-400d`.
    pub(crate) fn clock_is_off(&self, by: Option<&'static str>) {
        self.clock.set(by);
    }

    /// From now on the program is run with this variable in its environment.
    pub(crate) fn variable(&self, name: &'static str, value: &'static str) {
        self.variable.set(Some((name, value)));
    }

    /// Runs the program to its end.
    pub(crate) fn flipside(&self, arguments: &[&str]) -> Output {
        self.start(arguments).end()
    }

    /// Starts the program: no terminal, no agent, nothing from the environment that would change what it says.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let n_run = self.n_runs.get() + 1;
        self.n_runs.set(n_run);
        let (stdout, stderr) = (self.path(&format!("{n_run}.stdout")), self.path(&format!("{n_run}.stderr")));
        let state = match self.n_workstations.get() {
            1 => "state".to_owned(),
            number => format!("state-{number}"),
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_flipside"));
        if let Some(by) = self.clock.get() {
            command.envs(wrong_clock(by));
        }
        command.envs(self.variable.get());
        command
            .current_dir(self.folder.path())
            .args(["--state-dir", &state, "-p", "playbook.toml", "-i", "inventory.toml"])
            .args(arguments)
            .env_remove("SSH_AUTH_SOCK")
            .env_remove("FLIPSIDE_ENV")
            .env_remove("USER")
            .env_remove("LOGNAME")
            .env("HOME", self.folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).expect("a file"))
            .stderr(File::create(&stderr).expect("a file"));
        let child = command.spawn().expect("the program starts");
        let patience = if arguments.first() == Some(&"watch") { PATIENCE_TO_WATCH } else { PATIENCE };
        Running { child, line: format!("flipside {}", arguments.join(" ")), stdout, stderr, began: Instant::now(), patience }
    }
}

/// What makes a program see a clock that is wrong by this. faketime itself would stay in between and keep signals.
fn wrong_clock(by: &str) -> Vec<(String, String)> {
    let output = Command::new("faketime").args(["--exclude-monotonic", "-f", by, "env"]).output().expect("faketime runs");
    let settings = String::from_utf8(output.stdout).expect("text");
    let wanted = ["LD_PRELOAD", "FAKETIME", "DONT_FAKE_MONOTONIC", "FAKETIME_DONT_FAKE_MONOTONIC"];
    let pairs = settings.lines().filter_map(|line| line.split_once('=')).filter(|(name, _)| wanted.contains(name));
    let pairs: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert!(pairs.len() >= 3, "faketime sets nothing: {settings}");
    pairs
}

impl Running {
    /// Waits until a line of stderr contains this text.
    ///
    /// # Panics
    /// Where the program ends without it.
    pub(crate) fn until(&mut self, text: &str) {
        loop {
            let ended = self.child.try_wait().expect("a child").is_some();
            let said = read(&self.stderr);
            if said.contains(text) {
                return;
            }
            assert!(!ended, "{} ended without saying \"{text}\":\n{said}{}", self.line, read(&self.stdout));
            self.look_at_the_clock();
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a line of stdout contains this text.
    ///
    /// # Panics
    /// Where the program ends without it.
    pub(crate) fn until_result(&mut self, text: &str) {
        self.until_result_times(text, 1);
    }

    /// Waits until so many lines of stdout contain this text.
    ///
    /// # Panics
    /// Where the program ends without them.
    pub(crate) fn until_result_times(&mut self, text: &str, times: usize) {
        loop {
            let ended = self.child.try_wait().expect("a child").is_some();
            let said = read(&self.stdout);
            if said.lines().filter(|line| line.contains(text)).count() >= times {
                return;
            }
            assert!(!ended, "{} ended without saying \"{text}\":\n{}{said}", self.line, read(&self.stderr));
            self.look_at_the_clock();
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until stdout has so many lines. False where the program ended before.
    pub(crate) fn until_lines(&mut self, n_lines: usize) -> bool {
        loop {
            let ended = self.child.try_wait().expect("a child").is_some();
            if fs::read(&self.stdout).is_ok_and(|bytes| bytes.iter().filter(|byte| **byte == b'\n').count() >= n_lines) {
                return true;
            }
            if ended {
                return false;
            }
            self.look_at_the_clock();
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends a signal: `INT`, `TERM`, `KILL`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().expect("kill");
        assert!(sent.success(), "{}: cannot send {name}", self.line);
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Output {
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return Output { line: self.line.clone(), exit: status.code(), stdout: read(&self.stdout), stderr: read(&self.stderr) };
            }
            self.look_at_the_clock();
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn look_at_the_clock(&mut self) {
        if self.began.elapsed() > self.patience {
            self.stop();
            panic!("{} took more than {:?}:\n{}{}", self.line, self.patience, read(&self.stderr), read(&self.stdout));
        }
    }

    fn stop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After its end this does nothing.
        self.stop();
    }
}

impl Output {
    /// Everything that was said, for messages.
    pub(crate) fn all(&self) -> String {
        format!("$ {}\n{}{}(exit {:?})", self.line, self.stderr, self.stdout, self.exit)
    }

    /// The exit code is this one.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.exit, Some(code), "{}", self.all());
        self
    }

    /// Every one of these texts was said, on stdout or stderr.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text) || self.stdout.contains(text), "\"{text}\" was not said:\n{}", self.all());
        }
        self
    }

    /// None of these texts was said.
    #[track_caller]
    pub(crate) fn says_not(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(!self.stderr.contains(text) && !self.stdout.contains(text), "\"{text}\" was said:\n{}", self.all());
        }
        self
    }
}

/// An inventory of some of the fleet's servers, logged in to as this user. More can be appended: the last table is a server's.
pub(crate) fn inventory(fleet: &Fleet, user: &str, numbers: &[usize]) -> String {
    let settings = format!(
        "[nginx]\nimage = \"flipside/nginx:stable\"\n\n[defaults]\nuser = \"{user}\"\nzone = \"lon1\"\nidentity_files = [{:?}]\nknown_hosts = {:?}\n",
        fleet.key(),
        fleet.known_hosts()
    );
    let server = |number: &usize| {
        let server = fleet.server(*number);
        format!("\n[servers.{}]\naddress = \"{}\"\n", server.name, server.address)
    };
    settings + &numbers.iter().map(server).collect::<String>()
}

/// An example inventory of the local fleet, with this fleet's addresses and files in it.
pub(crate) fn example(fleet: &Fleet, text: &str) -> String {
    let files = [("../.cache/fleet/id_ed25519", fleet.key()), ("../.cache/fleet/known_hosts", fleet.known_hosts())];
    let text = files.iter().fold(text.to_owned(), |text, (written, here)| text.replace(written, &here.display().to_string()));
    (1..)
        .zip(fleet.servers())
        .fold(text, |text, (number, server)| text.replace(&format!("10.77.0.1{number}\""), &format!("{}\"", server.address)))
}

fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
