//! Docker actions in a real shell against a real engine: each performed twice. They need the image of the local fleet's NGINX
//! (`FACTS_IMAGE`, with a shell in it), so they run only when named: `cargo test --test docker_engine`.
//! Every container and network is called `facts_test_…` and is removed by that name.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
use flipside::model::{ContainerSpec, Labels, Millis, NetworkMode, NetworkSpec, Publish, Secret, SecretName, label};
use flipside::script::{ScriptContext, docker, read_last_words, secrets_given};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn image() -> String {
    std::env::var("FACTS_IMAGE").unwrap_or_else(|_| "flipside/nginx:stable".to_owned())
}

fn ctx() -> ScriptContext {
    ScriptContext { docker: "docker".to_owned(), remote_root: "/nonexistent".to_owned() }
}

fn spec(name: &str, program: &str) -> ContainerSpec {
    let labels = [(label::PROJECT, "facts_test"), (label::ENV, "uat"), (label::SERVICE, name), (label::ROLE, "app"), (label::SPEC, "aa")];
    ContainerSpec {
        name: format!("facts_test_{name}"),
        image: image(),
        network: NetworkMode::Bridge { network: "bridge".to_owned(), ip: None, aliases: vec![] },
        publish: vec![],
        env: BTreeMap::new(),
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        volumes: vec![],
        secrets: BTreeMap::new(),
        entrypoint: Some("/bin/sh".to_owned()),
        command: vec!["-c".to_owned(), program.to_owned()],
        restart: "no".to_owned(),
        stop_signal: None,
        stop_timeout: Millis::seconds(1),
    }
}

/// An app that ends at SIGTERM.
const APP: &str = "exec sleep 300";

/// What a body printed, by turns in the machine's own shell and in busybox ash where there is one.
fn perform(body: &str) -> (i32, String) {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let busybox = TURN.fetch_add(1, Ordering::Relaxed) % 2 == 1 && Command::new("busybox").output().is_ok();
    let mut shell = Command::new(if busybox { "busybox" } else { "sh" });
    if busybox {
        shell.arg("sh");
    }
    let output = shell.args(["-c", body]).stdin(Stdio::null()).output().unwrap();
    assert!(output.stderr.is_empty(), "{}\n{body}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn good(body: &str, seen: &str) {
    let (code, text) = perform(body);
    assert!(code == 0 && text.contains(seen), "wanted `{seen}`, got {code}: {text}");
    assert!(text.lines().next_back().unwrap().starts_with("seen: "), "{text}");
}

fn bad(body: &str, error: &str) {
    let (code, text) = perform(body);
    assert!(
        code == 1 && text.lines().any(|line| line.starts_with("error: ") && line.contains(error)),
        "wanted `{error}`, got {code}: {text}"
    );
    assert!(!text.contains("seen: "), "{text}");
}

fn engine(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn state(name: &str) -> String {
    engine(&["inspect", "--type", "container", "--format", "{{.State.Status}}", name])
}

/// Containers and networks that go when the test ends, also when it fails.
struct Leaves(&'static [&'static str], &'static [&'static str]);

impl Leaves {
    fn sweep(&self) {
        for name in self.0 {
            engine(&["rm", "-f", name]);
        }
        for name in self.1 {
            engine(&["network", "rm", name]);
        }
    }
}

impl Drop for Leaves {
    fn drop(&mut self) {
        self.sweep();
    }
}

fn leaves(containers: &'static [&'static str], networks: &'static [&'static str]) -> Leaves {
    let leaves = Leaves(containers, networks);
    leaves.sweep();
    leaves
}

#[test]
fn a_life() {
    let _leaves = leaves(&["facts_test_life", "facts_test_life.previous"], &[]);
    let (ctx, spec) = (ctx(), spec("life", APP));
    let (name, previous) = ("facts_test_life", "facts_test_life.previous");
    let second = Millis::seconds(1);
    bad(&docker::stop_container(&ctx, name, second), "there is no container");
    bad(&docker::start_container(&ctx, name), "there is no container");
    bad(&docker::rename_container(&ctx, name, previous), "there is no container");
    good(&docker::remove_container(&ctx, name, second), "there is no container");
    good(&docker::run_container(&ctx, &spec), "facts_test_life started");
    good(&docker::run_container(&ctx, &spec), "is running already");
    good(&docker::start_container(&ctx, name), "runs already");
    good(&docker::stop_container(&ctx, name, second), "stopped");
    good(&docker::stop_container(&ctx, name, second), "was stopped already");
    good(&docker::start_container(&ctx, name), "started");
    good(&docker::set_aside(&ctx, name, previous, None, second), "waits as facts_test_life.previous");
    good(&docker::set_aside(&ctx, name, previous, None, second), "waits already");
    assert_eq!((state(name).as_str(), state(previous).as_str()), ("", "exited"));
    good(&docker::run_container(&ctx, &spec), "started");
    good(&docker::set_aside(&ctx, name, previous, None, second), "removed the older");
    good(&docker::rename_container(&ctx, previous, name), "renamed");
    good(&docker::rename_container(&ctx, previous, name), "has its name already");
    good(&docker::run_container(&ctx, &spec), "removed a stopped container");
    good(&docker::remove_container(&ctx, name, second), "removed");
    good(&docker::remove_container(&ctx, name, second), "there is no container");
}

#[test]
fn a_client_that_is_stopped_does_not_stop_what_it_starts() {
    let _leaves = leaves(&["facts_test_spared"], &[]);
    let words = flipside::docker::run("docker", &spec("spared", "trap 'exit 0' TERM; sleep 300 & wait")).0;
    let mut n_running = 0;
    for after in [100, 200, 300, 400, 500, 1000, 2000] {
        // The last ones are for a busy engine.
        if after > 500 && n_running > 0 {
            break;
        }
        // As the guard does it with a script whose connection is lost: the whole process group, while the client waits for the engine.
        let mut client = Command::new(&words[0]).args(&words[1..]).stdout(Stdio::null()).process_group(0).spawn().unwrap();
        thread::sleep(Duration::from_millis(after));
        drop(Command::new("kill").args(["-TERM", "--", &format!("-{}", client.id())]).stderr(Stdio::null()).status());
        client.wait().unwrap();
        // What the engine was asked for it goes on with.
        let began = Instant::now();
        let mut seen = String::new();
        while ["", "created"].contains(&seen.as_str()) && began.elapsed() < Duration::from_secs(3) {
            thread::sleep(Duration::from_millis(500));
            seen = state("facts_test_spared");
        }
        // A client that had not asked the engine yet leaves none, or one that was never started.
        assert!(["", "created", "running"].contains(&seen.as_str()), "after {after} ms: {seen}");
        n_running += usize::from(seen == "running");
        engine(&["rm", "-f", "facts_test_spared"]);
    }
    assert!(n_running > 0, "no client came so far that the engine started a container");
}

#[test]
fn setting_aside_is_safe_to_repeat_once_the_new_container_has_the_name() {
    let _leaves = leaves(&["facts_test_turn", "facts_test_turn.previous", "facts_test_turn.failed"], &[]);
    let (ctx, second) = (ctx(), Millis::seconds(1));
    let (name, previous, failed) = ("facts_test_turn", "facts_test_turn.previous", "facts_test_turn.failed");
    let of = |release: &str| {
        let mut spec = spec("turn", APP);
        spec.labels.insert(label::RELEASE.to_owned(), release.to_owned());
        spec
    };
    let release =
        |name: &str| engine(&["inspect", "--type", "container", "--format", "{{index .Config.Labels \"flipside.release\"}}", name]);
    good(&docker::run_container(&ctx, &of("1")), "started");
    // What takes back a container that was never run does not take the old one.
    good(&docker::set_aside(&ctx, name, failed, Some("2"), second), "is of release 1: it keeps its name");
    good(&docker::set_aside(&ctx, name, previous, Some("1"), second), "waits as");
    good(&docker::run_container(&ctx, &of("2")), "started");
    // Nobody saw the end of either: both are done again.
    good(&docker::set_aside(&ctx, name, previous, Some("1"), second), "is of release 2: it keeps its name");
    good(&docker::run_container(&ctx, &of("2")), "is running already");
    assert_eq!((state(name).as_str(), release(name).as_str(), release(previous).as_str()), ("running", "2", "1"));
    // And taken back, twice.
    for _ in 0..2 {
        good(&docker::set_aside(&ctx, name, failed, Some("2"), second), "");
        good(&docker::rename_container(&ctx, previous, name), "");
        assert_eq!((release(name).as_str(), release(failed).as_str()), ("1", "2"));
    }
}

#[test]
fn strangers_are_left_alone() {
    let _leaves = leaves(&["facts_test_taken"], &[]);
    let (ctx, name) = (ctx(), "facts_test_taken");
    engine(&["run", "-d", "--name", name, "--label", "who=me", "--entrypoint", "sleep", &image(), "300"]);
    bad(&docker::run_container(&ctx, &spec("taken", APP)), "is taken by a container of image");
    let (_, text) = perform(&docker::run_container(&ctx, &spec("taken", APP)));
    // Labels of others may hold secrets.
    assert!(text.contains("(running)") && !text.contains("who"), "{text}");
    bad(&docker::stop_container(&ctx, name, Millis(1)), "is not ours");
    bad(&docker::set_aside(&ctx, name, "facts_test_taken.previous", None, Millis(1)), "is not ours");
    bad(&docker::rename_container(&ctx, name, "facts_test_taken.previous"), "is not ours");
    good(&docker::remove_container(&ctx, name, Millis(1)), "left alone");
    assert_eq!(state(name), "running");
}

#[test]
fn another_spec_under_the_same_name_is_refused() {
    let _leaves = leaves(&["facts_test_spec"], &[]);
    let mut other = spec("spec", APP);
    good(&docker::run_container(&ctx(), &other), "started");
    other.labels.insert(label::SPEC.to_owned(), "bb".to_owned());
    bad(&docker::run_container(&ctx(), &other), "already runs with");
    good(&docker::stop_container(&ctx(), &other.name, Millis(1000)), "stopped");
    bad(&docker::run_container(&ctx(), &other), "is there, stopped, with");
}

#[test]
fn a_taken_port_names_its_holder_and_leaves_nothing() {
    let _leaves = leaves(&["facts_test_port", "facts_test_holder"], &[]);
    let address = Ipv4Addr::LOCALHOST;
    let taken = TcpListener::bind((address, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let publish = vec![Publish { address, host_port: port, container_port: 80, transport: "tcp".to_owned() }];
    let ported = ContainerSpec { publish, ..spec("port", APP) };
    let pid = format!("port {port} on 127.0.0.1 is taken by pid {} (", std::process::id());
    bad(&docker::run_container(&ctx(), &ported), &pid);
    assert_eq!(state("facts_test_port"), "");
    drop(taken);
    let mut holder = ContainerSpec { publish: ported.publish.clone(), ..spec("holder", APP) };
    holder.labels = Labels::new();
    good(&docker::run_container(&ctx(), &holder), "started");
    let by = format!("port {port} on 127.0.0.1 is taken by container facts_test_holder");
    bad(&docker::run_container(&ctx(), &ported), &by);
    engine(&[
        "create",
        "--name",
        "facts_test_port",
        "--label",
        "flipside.project=facts_test",
        "-p",
        &format!("127.0.0.1:{port}:80"),
        &image(),
    ]);
    bad(&docker::start_container(&ctx(), "facts_test_port"), &by);
}

#[test]
fn what_a_failed_run_left_behind_is_replaced() {
    let _leaves = leaves(&["facts_test_created"], &[]);
    let spec = spec("created", APP);
    let mut args = vec!["create".to_owned(), "--name".to_owned(), spec.name.clone()];
    args.extend(spec.labels.iter().map(|(key, value)| format!("--label={key}={value}")));
    args.push(image());
    engine(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(state(&spec.name), "created");
    good(&docker::run_container(&ctx(), &spec), "never started");
    assert_eq!(state(&spec.name), "running");
}

#[test]
fn a_shell_in_front_of_the_app_is_noted() {
    let _leaves = leaves(&["facts_test_wrapped", "facts_test_exec"], &[]);
    let (_, text) = perform(&docker::run_container(&ctx(), &spec("wrapped", "sleep 300; true")));
    assert!(text.contains("note: the first process of facts_test_wrapped is a shell"), "{text}");
    let (_, text) = perform(&docker::run_container(&ctx(), &spec("exec", APP)));
    assert!(!text.contains("note: "), "{text}");
    let (_, text) = perform(&docker::stop_container(&ctx(), "facts_test_wrapped", Millis(1000)));
    assert!(text.contains("was killed") && text.contains("exit code 137"), "{text}");
}

#[test]
fn odd_text_arrives_exactly() {
    let _leaves = leaves(&["facts_test_odd"], &[]);
    let odd = "a'b \"c\" $HOME `id` \\n\nsecond line\n ü 🦀 @NAME@";
    // The log shows a line when it is complete.
    let mut spec = spec("odd", "printf '%s|%s.\\n' \"$ODD\" \"$0\"; exec sleep 300");
    spec.env.insert("ODD".to_owned(), odd.to_owned());
    spec.labels.insert("note".to_owned(), odd.to_owned());
    spec.command.push(odd.to_owned());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, odd).unwrap();
    spec.secrets.insert(SecretName::new("odd").unwrap(), file.path().display().to_string());
    good(&docker::run_container(&ctx(), &spec), "started");
    let (wanted, began) = (format!("{odd}|{odd}."), Instant::now());
    let said = || engine(&["logs", "facts_test_odd"]);
    while said() != wanted && began.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(said(), wanted);
    good(&docker::run_container(&ctx(), &spec), "already");
    // What it was given is to be had from its mounts, as long as the file is there.
    let given = || read_last_words(&perform(&secrets_given(&ctx(), "facts_test_odd")).1.lines().map(str::to_owned).collect::<Vec<_>>()).0;
    assert_eq!(given(), Some(vec![Secret::new(odd.as_bytes().to_vec())]));
    drop(file);
    assert_eq!(given(), None);
}

#[test]
fn networks() {
    let _leaves = leaves(&["facts_test_mesh", "facts_test_user"], &["facts_test_net"]);
    let ctx = ctx();
    let net = NetworkSpec {
        name: "facts_test_net".to_owned(),
        subnet: "10.213.4.0/24".to_owned(),
        ip_range: "10.213.4.128/25".to_owned(),
        labels: Labels::from([(label::PROJECT.to_owned(), "facts_test".to_owned())]),
    };
    good(&docker::remove_network(&ctx, &net.name), "there is no network");
    bad(&docker::connect_network(&ctx, &net.name, "facts_test_mesh", &[]), "there is no container");
    let mut mesh = spec("mesh", APP);
    mesh.labels.insert(label::ROLE.to_owned(), "mesh".to_owned());
    good(&docker::run_container(&ctx, &mesh), "started");
    bad(&docker::connect_network(&ctx, &net.name, &mesh.name, &[]), "could not attach");
    good(&docker::ensure_network(&ctx, &net), "made");
    good(&docker::ensure_network(&ctx, &net), "is there with subnet 10.213.4.0/24");
    bad(&docker::ensure_network(&ctx, &NetworkSpec { subnet: "10.213.5.0/24".to_owned(), ..net.clone() }), "with subnet 10.213.4.0/24");
    bad(&docker::ensure_network(&ctx, &NetworkSpec { name: "facts_test_other".to_owned(), ..net.clone() }), "overlaps");
    let aliases = ["mesh".to_owned()];
    good(&docker::connect_network(&ctx, &net.name, &mesh.name, &aliases), "attached");
    good(&docker::connect_network(&ctx, &net.name, &mesh.name, &aliases), "is on network");
    bad(&docker::connect_network(&ctx, &net.name, &mesh.name, &["other".to_owned()]), "without the alias other");
    let mut user = spec("user", APP);
    let ip = Some(Ipv4Addr::new(10, 213, 4, 10));
    user.network = NetworkMode::Bridge { network: net.name.clone(), ip, aliases: vec!["user".to_owned()] };
    good(&docker::run_container(&ctx, &user), "started");
    good(&docker::stop_container(&ctx, &user.name, Millis(1000)), "stopped");
    bad(&docker::remove_network(&ctx, &net.name), "is used by");
    good(&docker::remove_container(&ctx, &user.name, Millis(1000)), "removed");
    good(&docker::remove_network(&ctx, &net.name), "removed");
    good(&docker::remove_network(&ctx, &net.name), "there is no network");
}

#[test]
fn images() {
    good(&docker::pull_image(&ctx(), &image()), "is there, sha256:");
    bad(&docker::pull_image(&ctx(), "127.0.0.1:9/facts_test:1"), "could not pull");
    let missing = ContainerSpec { image: "facts_test_missing:1".to_owned(), ..spec("missing", APP) };
    bad(&docker::run_container(&ctx(), &missing), "the image facts_test_missing:1 is not on this server");
}
