//! The shell that a run leaves on a server, run by a real `sh` in a folder of its own, with a `docker` that only moves the link.
//! Deliberately absent: NGINX, and a connection that is cut; both have their place among the acceptance tests.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
use flipside::facts::{Facts, RevertState, question, read};
use flipside::model::{GenerationId, Millis};
use flipside::script::revert::{arm, confirm, disarm};
use flipside::script::{Claim, ScriptContext, lease};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What must come, comes within this time, on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn id(text: &str) -> GenerationId {
    GenerationId(text.to_owned())
}

struct Server {
    root: TempDir,
}

/// Somebody who holds the lease, until this is dropped.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-s", "KILL", "--", &format!("-{}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

impl Server {
    /// NGINX serves `a0`. Its switch is a link that is moved, if it still is where it should be.
    fn new() -> Self {
        let server = Self { root: TempDir::new().unwrap() };
        fs::create_dir_all(server.path("nginx/releases")).unwrap();
        server.point_to("a0");
        let docker = server.root.path().join("docker");
        let current = server.path("nginx/current");
        let text = format!(
            "#!/bin/sh\ncase $1 in version) echo 1.2.3 && exit 0 ;; exec) ;; *) exit 0 ;; esac\n[ \"$(readlink {0})\" != \"releases/$8\" ] || \
             {{ echo \"seen: generation $8 was live already\"; exit 0; }}\n[ \"$(readlink {0})\" = \"releases/$7\" ] || \
             {{ echo \"error: $7 is not live\"; exit 1; }}\nln -sfn \"releases/$8\" {0} && echo \"seen: generation $8 is served after 0.15 s\"\n",
            current.display()
        );
        fs::write(&docker, text).unwrap();
        fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("flipside").join(name)
    }

    fn context(&self) -> ScriptContext {
        let root = self.root.path().to_str().unwrap();
        ScriptContext { docker: format!("env A=b {root}/docker"), remote_root: root.to_owned() }
    }

    fn point_to(&self, generation: &str) {
        let current = self.path("nginx/current");
        let _ = fs::remove_file(&current);
        symlink(format!("releases/{generation}"), current).unwrap();
    }

    fn live(&self) -> String {
        fs::read_link(self.path("nginx/current")).unwrap().to_str().unwrap().trim_start_matches("releases/").to_owned()
    }

    /// Exit status and output. It comes back at the end of both pipes: nothing that is left behind may hold them.
    fn run(&self, script: &str) -> (bool, String) {
        let output = Command::new("sh").arg("-c").arg(script).stdin(Stdio::null()).process_group(0).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "nothing goes to stderr");
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }

    fn arm(&self, to: &[&str]) {
        let to: Vec<GenerationId> = to.iter().map(|to| id(to)).collect();
        let (done, output) = self.run(&arm(&self.context(), &id("a0"), &to, Millis::seconds(1)));
        assert!(done && output == "seen: goes back to generation a0 1 s after the lock is free\n", "{output}");
    }

    fn lock(&self) -> Holder {
        let script = lease(&self.context(), "ann@laptop: it's a deploy", Claim::First);
        let mut child =
            Command::new("sh").args(["-c", &script]).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let holder = Holder(child);
        assert!(stdout.lines().map(Result::unwrap).any(|line| line == "locked"));
        holder
    }

    fn facts(&self) -> Facts {
        let script = question(&self.context().docker, self.root.path().to_str().unwrap());
        read(Command::new("sh").args(["-c", &script]).output().unwrap().stdout).unwrap()
    }

    fn state(&self) -> Option<RevertState> {
        self.facts().revert.map(|revert| revert.state)
    }

    /// The processes of the shells that this server was left with.
    fn shells(&self) -> usize {
        let mark = self.path("");
        let mark = mark.to_str().unwrap().trim_end_matches('/');
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
        processes
            .map(|line| String::from_utf8_lossy(&line).into_owned())
            .filter(|line| line.contains("flipside_revert") && line.contains(mark))
            .count()
    }
}

#[track_caller]
fn within_patience(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_server_goes_back_once_its_lease_is_free_and_not_before() {
    let server = Server::new();
    let holder = server.lock();
    server.arm(&["b1", "c2"]);
    server.point_to("c2");
    assert_eq!(server.state(), Some(RevertState::Watching));
    // Longer than the grace: while somebody holds the lease, nothing happens.
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(server.live(), "c2");
    // What a shell starts has its words for a moment.
    within_patience("one shell", || server.shells() == 1);
    drop(holder);
    within_patience("it goes back", || server.live() == "a0");
    within_patience("the shell ends", || server.shells() == 0);
    let revert = server.facts().revert.unwrap();
    assert_eq!((revert.state, revert.back.0.as_str()), (RevertState::Reverted, "a0"));
    assert_eq!((revert.holder.as_str(), revert.text.as_str()), ("ann@laptop: it's a deploy", "generation a0 is served after 0.15 s"));

    // Whoever comes then is told who was here, and can confirm nothing.
    let (done, output) = server.run(&confirm(&server.context(), &id("c2")));
    assert!(!done && output.starts_with("error: generation a0 is live: the server has put itself back"), "{output}");
    assert_eq!(fs::metadata(server.path("revert")).unwrap().permissions().mode() & 0o777, 0o700);
    let holder = fs::read_to_string(server.path("lock/holder")).unwrap();
    assert_eq!(holder, "the server itself, which puts back what was left unconfirmed by ann@laptop: it's a deploy\n");
    assert_eq!(server.run(&disarm(&server.context())), (true, "seen: disarmed\n".to_owned()));
    assert_eq!(server.state(), None);
}

#[test]
fn a_switch_that_is_confirmed_stays_and_no_shell_does() {
    let server = Server::new();
    let holder = server.lock();
    server.arm(&["b1"]);
    server.point_to("b1");
    // What cannot be taken away will put the server back: that is not said to stay.
    fs::create_dir_all(server.path("revert/confirmed/armed")).unwrap();
    let (done, output) = server.run(&confirm(&server.context(), &id("b1")));
    assert!(!done && output.contains("cannot be taken away") && output.contains("hint: look at the disk"), "{output}");
    fs::remove_dir_all(server.path("revert/confirmed")).unwrap();
    for _ in 0..2 {
        assert_eq!(server.run(&confirm(&server.context(), &id("b1"))), (true, "seen: generation b1 stays\n".to_owned()));
    }
    drop(holder);
    within_patience("the shell ends", || server.shells() == 0);
    assert_eq!((server.live().as_str(), server.state()), ("b1", None));
}

#[test]
fn of_two_that_were_armed_the_second_counts_and_what_others_made_live_stays() {
    let server = Server::new();
    let holder = server.lock();
    server.arm(&["b1"]);
    server.arm(&["c2"]);
    within_patience("the first shell ends", || server.shells() == 1);
    server.point_to("b1");
    drop(holder);
    within_patience("it looks", || server.state() == Some(RevertState::Left));
    within_patience("it ends", || server.shells() == 0);
    assert_eq!(server.live(), "b1");
}

#[test]
fn a_switch_that_comes_late_is_put_back_too_and_one_that_fails_is_tried_again() {
    let server = Server::new();
    let holder = server.lock();
    server.arm(&["b1"]);
    drop(holder);
    // The grace is over and nothing was switched; what was begun in the NGINX container comes only now. And docker is away for a while.
    thread::sleep(Duration::from_millis(3000));
    assert_eq!(server.state(), Some(RevertState::Watching));
    fs::rename(server.root.path().join("docker"), server.root.path().join("docker.away")).unwrap();
    server.point_to("b1");
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(server.live(), "b1");
    fs::rename(server.root.path().join("docker.away"), server.root.path().join("docker")).unwrap();
    within_patience("it goes back", || server.live() == "a0");
    within_patience("it ends", || server.shells() == 0);
}

#[test]
fn a_docker_engine_that_hangs_keeps_the_lease_from_nobody_and_the_server_goes_back_once_it_answers() {
    let server = Server::new();
    let holder = server.lock();
    let script = arm(&server.context(), &id("a0"), &[id("b1")], Millis::seconds(1));
    assert!(server.run(&script.replace("bound=60", "bound=2")).0);
    server.point_to("b1");
    // `docker exec` hangs, and would keep every lock that it inherits.
    let (docker, away) = (server.root.path().join("docker"), server.root.path().join("docker.away"));
    fs::rename(&docker, &away).unwrap();
    let began = server.root.path().join("began");
    fs::write(&docker, format!("#!/bin/sh\necho $$ >>{}\nsleep 300; :\n", began.display())).unwrap();
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
    drop(holder);
    let tries = || fs::read_to_string(&began).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    within_patience("it tries, and again", || tries().len() >= 2);
    // One that has ended and is yet to be reaped has no words any more.
    let first = format!("/proc/{}/cmdline", tries()[0]);
    within_patience("nothing is left of the first try", || fs::read(&first).unwrap_or_default().is_empty());
    // Somebody else takes over in between.
    let script = lease(&server.context(), "bob", Claim::First);
    let mut bob = None;
    within_patience("the lease is to be had", || {
        let mut child =
            Command::new("sh").args(["-c", &script]).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        bob = Some(Holder(child));
        lines.map(Result::unwrap).find(|line| line == "locked" || line.starts_with("held: ")).is_some_and(|line| line == "locked")
    });
    assert_eq!(server.live(), "b1");
    within_patience("one shell", || server.shells() == 1);
    drop(bob);
    let n_tries = tries().len();
    within_patience("it tries once more", || tries().len() > n_tries);
    fs::rename(&away, &docker).unwrap();
    within_patience("it goes back", || server.live() == "a0");
    within_patience("it ends", || server.shells() == 0);
    assert_eq!(server.state(), Some(RevertState::Reverted));
}

#[test]
fn a_shell_that_is_gone_is_told_from_one_that_watches() {
    let server = Server::new();
    let holder = server.lock();
    server.arm(&["b1"]);
    let armed = fs::read_to_string(server.path("revert/armed")).unwrap();
    let shell = armed.split(' ').nth(1).unwrap();
    assert!(Command::new("kill").args(["-KILL", shell]).status().unwrap().success());
    within_patience("it is gone", || server.shells() == 0);
    assert_eq!(server.state(), Some(RevertState::Lost));
    drop(holder);
}
