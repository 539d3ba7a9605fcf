//! Mistakes that need no server to be told. Deliberately absent: what clap refuses by itself (see `cli/args_tests.rs`).
#![expect(clippy::unwrap_used, reason = "a test may panic")]
use flipside::ledger::Ledger;
use flipside::plan::Plan;
use flipside::run::Journal;
use std::cell::RefCell;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PLAYBOOK: &str = "[project]\nname = \"shop\"\nversion = \"1\"\n\n[env.prod]\n\n[services.api]\nimage = \"shop/api:1\"\n";
/// Nothing listens there: to ask this server is to exit with 4.
const INVENTORY: &str = "[servers.s1]\naddress = \"127.0.0.1\"\nport = 1\nuser = \"deploy\"\n";

/// A folder with a playbook and an inventory.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in [("playbooks/shop.toml", PLAYBOOK), ("inventory/fleet.toml", INVENTORY)] {
        let path = dir.path().join(path);
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

/// The exit code, and what was said.
fn flipside(dir: &Path, line: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flipside"));
    let state = dir.join("state");
    let output = command.current_dir(dir).args(line.split(' ')).arg("--state-dir").arg(state).stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_service_that_is_not_in_the_playbook_is_told_before_any_server_is_asked() {
    let dir = folder();
    for line in ["deploy -y apj", "plan apj", "rollback -y apj"] {
        let (code, said) = flipside(dir.path(), line);
        assert_eq!(code, Some(2), "{line}: {said}");
        assert!(said.contains("no service `apj` in the playbook; its services are api"), "{line}: {said}");
    }
    let (code, said) = flipside(dir.path(), "plan api");
    assert_eq!(code, Some(4), "{said}");
}

#[test]
fn a_folder_of_templates_that_is_another_programs_is_left_alone() {
    let dir = folder();
    fs::create_dir(dir.path().join("templates")).unwrap();
    fs::write(dir.path().join("templates/site.j2"), "{% theirs").unwrap();
    // Asked for by name, or beside one of ours, it is a mistake.
    assert_eq!(flipside(dir.path(), "plan").0, Some(4));
    let (code, said) = flipside(dir.path(), "plan --templates templates");
    assert_eq!((code, said.contains("there is no template `site.j2`")), (Some(2), true), "{said}");
    fs::write(dir.path().join("templates/door.conf.j2"), "# {{ forwards }}\n").unwrap();
    assert_eq!(flipside(dir.path(), "plan").0, Some(2));
}

/// Waits until it is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        sleep(Duration::from_millis(20));
    }
}

/// A server that takes the connection and never says a word, in the inventory of this folder.
fn silent_server(dir: &Path) -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let key = dir.join("key");
    assert!(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap().success());
    let server = format!("port = {port}\nidentity_file = \"{}\"\n", key.display());
    fs::write(dir.join("inventory/fleet.toml"), INVENTORY.replace("port = 1\n", &server)).unwrap();
    listener
}

#[test]
fn watch_ends_by_a_signal_also_before_it_watches_and_that_is_no_failure() {
    let hook = "\n[hooks]\nbefore_connect = [{ command = \"echo begun >begun; sleep 30\" }]\n";
    for (hook, signal, once, wanted) in
        [("", "TERM", "", 0), ("", "INT", "", 0), ("", "TERM", "--once", 130), (hook, "TERM", "", 0), (hook, "INT", "--once", 130)]
    {
        let dir = folder();
        let api = "port = 8000\nprotocol = \"http\"\n\n[services.api.balance]\nactive_checks = { path = \"/up\" }\n";
        fs::write(dir.path().join("playbooks/shop.toml"), format!("{PLAYBOOK}{api}{hook}")).unwrap();
        let listener = silent_server(dir.path());
        let mut command = Command::new(env!("CARGO_BIN_EXE_flipside"));
        command.current_dir(dir.path()).args(["watch", "--state-dir", "state"]).stdin(Stdio::null()).stderr(Stdio::piped());
        command.args((!once.is_empty()).then_some(once));
        let child = command.spawn().unwrap();
        let begun = dir.path().join("playbooks/begun");
        let connection = RefCell::new(None);
        until("it does not begin", || {
            connection.replace_with(|before| before.take().or_else(|| listener.accept().ok()));
            begun.exists() || connection.borrow().is_some()
        });
        let began = Instant::now();
        assert!(Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(wanted), "{signal} {once} {hook}: {said}");
        assert!(began.elapsed() < Duration::from_secs(5), "{signal} {once} {hook}: it ends after {:?}: {said}", began.elapsed());
    }
}

#[test]
fn a_signal_ends_a_hook_that_comes_before_everything_else() {
    let dir = folder();
    let hook = "\n[hooks]\nbefore_connect = [{ command = \"echo begun >begun; sleep 3; echo >late\" }]\n";
    fs::write(dir.path().join("playbooks/shop.toml"), format!("{PLAYBOOK}{hook}")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_flipside"));
    command.current_dir(dir.path()).args(["deploy", "-y", "--state-dir", "state"]).stdin(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let begun = dir.path().join("playbooks/begun");
    until("the hook does not begin", || begun.exists());
    assert!(Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("hook before_connect was stopped; nothing was changed on any server"), "{said}");
    sleep(Duration::from_secs(5));
    assert!(!dir.path().join("playbooks/late").exists(), "the hook goes on");
}

/// As `nohup` has it. A script has Ctrl-C ignored by what it starts in the background, which is asked to end by `kill -INT` all the same.
#[test]
fn a_hangup_that_is_ignored_ends_nothing_and_an_interrupt_does() {
    for (signal, wanted) in [("HUP", 3), ("INT", 130)] {
        ignored(signal, wanted);
    }
}

fn ignored(signal: &str, wanted: i32) {
    let dir = folder();
    let hook = "\n[hooks]\nbefore_connect = [{ command = \"echo begun >begun; sleep 2; echo >late; exit 1\" }]\n";
    fs::write(dir.path().join("playbooks/shop.toml"), format!("{PLAYBOOK}{hook}")).unwrap();
    let mut command = Command::new("sh");
    let script = format!("trap '' {signal}; exec \"$@\"");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_flipside"), "deploy", "-y", "--state-dir", "state"]);
    let child = command.current_dir(dir.path()).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = dir.path().join("playbooks/begun");
    until("the hook does not begin", || begun.exists());
    assert!(Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(dir.path().join("playbooks/late").exists(), wanted == 3, "{signal}: {said}");
    assert_eq!(output.status.code(), Some(wanted), "{signal}: {said}");
}

#[test]
fn a_signal_ends_what_comes_before_a_run_also_after_a_hook_has_run() {
    let plan = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plan_cases/first_one_server/plan.json")).unwrap();
    let plan: Plan = serde_json::from_slice(&plan).unwrap();
    let hook = "\n[hooks]\nbefore_connect = [{ command = \"true\" }]\n";
    for (line, hook, signal) in [
        ("deploy -y --lock-wait 30m", hook, "INT"),
        ("deploy -y", "", "TERM"),
        ("rollback -y", hook, "HUP"),
        ("resume", hook, "TERM"),
        ("abort", hook, "INT"),
    ] {
        let dir = folder();
        fs::write(dir.path().join("playbooks/shop.toml"), format!("{PLAYBOOK}{hook}")).unwrap();
        let listener = silent_server(dir.path());
        if !line.contains("-y") {
            // A run that was cut off as it began.
            drop(Journal::create(&dir.path().join("state/shop_prod"), &plan, &mut Ledger::default()).unwrap());
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_flipside"));
        command.current_dir(dir.path()).args(line.split(' ')).args(["--state-dir", "state"]).stdin(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let connection = RefCell::new(None);
        until("it does not connect", || {
            connection.replace_with(|before| before.take().or_else(|| listener.accept().ok()));
            connection.borrow().is_some()
        });
        assert!(Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(130), "{line} {signal}: {said}");
        assert!(said.ends_with("flipside: stopped by a signal; nothing was changed on any server\n"), "{line} {signal}: {said}");
    }
}

/// Small containers have no program `kill`, but the shell's own.
#[test]
fn a_hook_is_killed_at_its_deadline_also_where_there_is_no_program_for_it() {
    let dir = folder();
    let hook = "\n[hooks]\nbefore_connect = [{ command = \"echo begun; sleep 3; echo >late\", timeout = \"1s\" }]\n";
    fs::write(dir.path().join("playbooks/shop.toml"), format!("{PLAYBOOK}{hook}")).unwrap();
    let few = dir.path().join("few");
    fs::create_dir(&few).unwrap();
    for program in ["sh", "sleep"] {
        let found = ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(program)).into_iter().find(|path| path.exists()).unwrap();
        std::os::unix::fs::symlink(found, few.join(program)).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_flipside"));
    command.current_dir(dir.path()).args(["deploy", "-y", "--state-dir", "state"]).env("PATH", &few).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("begun") && said.contains("it did not end within 1s, and was killed"), "{said}");
    sleep(Duration::from_secs(5));
    assert!(!dir.path().join("playbooks/late").exists(), "the hook goes on");
}
