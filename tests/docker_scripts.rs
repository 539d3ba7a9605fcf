//! Docker actions as exact text (`docker_scripts/*.sh`), and those that need no engine in real shells.
//! Run with `UPDATE=1` to write the texts anew, then read the diff.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
use flipside::model::{
    Adopted, ContainerSpec, Labels, Millis, NetworkMode, NetworkSpec, Publish, Secret, SecretName, Secrets, SecretsProof, label,
};
use flipside::script::{ScriptContext, docker};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

fn ctx() -> ScriptContext {
    ScriptContext { docker: "sudo docker".to_owned(), remote_root: "/local".to_owned() }
}

fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker_scripts").join(format!("{name}.sh"));
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap(), "{name}");
    for shell in [vec!["sh"], vec!["bash", "--posix"], vec!["busybox", "sh"]] {
        if let Ok(output) = Command::new(shell[0]).args(&shell[1..]).args(["-n", "-c", text]).output() {
            assert!(output.status.success(), "{name} in {shell:?}: {output:?}");
        }
    }
}

fn spec() -> ContainerSpec {
    let labels = [
        (label::PROJECT, "shop"),
        (label::ENV, "prod"),
        (label::SERVICE, "api"),
        (label::ROLE, "app"),
        (label::SIDE, "secondary"),
        (label::REPLICA, "1"),
        (label::SPEC, "3f2a"),
        (label::VERSION, "1.4.0 \"beta\""),
    ];
    ContainerSpec {
        name: "shop_prod_api_secondary".to_owned(),
        image: "registry.example.com/shop/api:1.4.0".to_owned(),
        network: NetworkMode::Bridge { network: "shop_prod_network".to_owned(), ip: Some(Ipv4Addr::new(10, 210, 4, 11)), aliases: vec![] },
        publish: vec![Publish {
            address: Ipv4Addr::new(10, 0, 0, 10),
            host_port: 18959,
            container_port: 8000,
            transport: "tcp".to_owned(),
        }],
        env: BTreeMap::from([("GREETING".to_owned(), "it's $HOME".to_owned())]),
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        volumes: vec![],
        secrets: BTreeMap::new(),
        entrypoint: None,
        command: vec![],
        restart: "unless-stopped".to_owned(),
        stop_signal: None,
        stop_timeout: Millis::seconds(30),
    }
}

#[test]
fn containers() {
    let (ctx, name, previous) = (ctx(), "shop_prod_api", "shop_prod_api.previous");
    check("run_container", &docker::run_container(&ctx, &spec()));
    check("set_aside", &docker::set_aside(&ctx, name, previous, Some("6"), Millis::seconds(30)));
    check("start_container", &docker::start_container(&ctx, name));
    check("stop_container", &docker::stop_container(&ctx, name, Millis::seconds(30)));
    check("remove_container", &docker::remove_container(&ctx, name, Millis::seconds(30)));
    let adopted = Adopted { name: "shop-api-1".to_owned(), id: "0123456789abcdef".to_owned(), restart: "on-failure:5".to_owned() };
    check("stop_adopted", &docker::stop_adopted(&ctx, &adopted, Millis::seconds(30)));
    check("start_adopted", &docker::start_adopted(&ctx, &adopted));
    check("rename_container", &docker::rename_container(&ctx, previous, name));
}

#[test]
fn networks_and_images() {
    let ctx = ctx();
    let network = NetworkSpec {
        name: "shop_prod_network".to_owned(),
        subnet: "10.210.4.0/22".to_owned(),
        ip_range: "10.210.7.0/24".to_owned(),
        labels: Labels::from([(label::PROJECT.to_owned(), "shop".to_owned())]),
    };
    check("ensure_network", &docker::ensure_network(&ctx, &network));
    check("remove_network", &docker::remove_network(&ctx, &network.name));
    check("connect_network", &docker::connect_network(&ctx, &network.name, "flipside_nginx", &["mesh".to_owned()]));
    check("pull_image", &docker::pull_image(&ctx, "registry.example.com/shop/api:1.4.0"));
}

#[test]
fn files() {
    check("put_file", &docker::put_file("/local/flipside/env/shop", 0o600, "user=shop\nname='hun'ter2'\n"));
}

fn secrets(values: &[(&str, &[u8])]) -> (Secrets, BTreeSet<SecretName>) {
    let values: BTreeMap<SecretName, Secret> =
        values.iter().map(|(name, value)| (SecretName::new(*name).unwrap(), Secret::new(value.to_vec()))).collect();
    let names = values.keys().cloned().collect();
    (Secrets::new([7; 32], values), names)
}

#[test]
fn secrets_of_a_release() {
    let (all, names) = secrets(&[("db_password", b"hun'ter2\n"), ("key", &[0, 255])]);
    let folder = "/local/shop/prod/secrets/api/3";
    let put = |owner| docker::put_secrets(&ctx(), folder, &names, owner, "shop/api:1", &all).unwrap();
    check("put_secrets", &put(Some(1000)));
    check("remove_secrets", &docker::remove_secrets(&ctx(), folder));
    let error = docker::put_secrets(&ctx(), folder, &names, None, "shop/api:1", &Secrets::none()).unwrap_err();
    assert_eq!(error.to_string(), "the secret `db_password` is needed, and its value was not read");
}

/// A `docker` whose image runs as `user`, and whose one container mounts `mounted`.
fn docker_with(folder: &Path, user: &str, mounted: &str) -> ScriptContext {
    let path = folder.join("docker");
    let text = format!(
        "#!/bin/sh\ncase $1 in image) echo '{user}' ;; ps) [ -z '{mounted}' ] || echo 0123 ;; inspect) echo '/shop_prod_api {mounted}' ;; esac\n"
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    ScriptContext { docker: path.to_str().unwrap().to_owned(), remote_root: folder.to_str().unwrap().to_owned() }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn secrets_arrive_exactly_for_nobody_else_and_complete_or_not_at_all() {
    let place = tempfile::tempdir().unwrap();
    let ctx = docker_with(place.path(), "", "");
    let service = place.path().join("shop/prod/secrets/api");
    let folder = service.join("3");
    let every_byte: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let odd = "-n 'it''s' \"$HOME\" `id` \\0 %s 100%\n\n ü \t!";
    let (all, names) = secrets(&[("every_byte", &every_byte), ("odd", odd.as_bytes()), ("one", b"1")]);
    let body = docker::put_secrets(&ctx, folder.to_str().unwrap(), &names, None, "image", &all).unwrap();
    fs::create_dir_all(folder.join("left")).unwrap();
    fs::create_dir_all(service.join(".new/half")).unwrap();
    from_stdin(&body, |code, output| {
        assert_eq!((code, output), (0, format!("seen: 3 secrets in {}\n", folder.display()).as_str()));
        assert!(fs::read(folder.join("every_byte")).unwrap() == every_byte, "every byte as it was");
        assert_eq!(fs::read_to_string(folder.join("odd")).unwrap(), odd);
        assert_eq!(SecretsProof::read(&fs::read_to_string(folder.join(".proof")).unwrap()), all.proof(&names).unwrap());
        for file in ["every_byte", "odd", "one", ".proof"] {
            assert_eq!(mode(&folder.join(file)), 0o400, "{file}");
        }
        assert_eq!([mode(&folder), mode(&service), mode(service.parent().unwrap())], [0o700; 3]);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 4, "nothing of an older attempt");
        assert_eq!(fs::read_dir(&service).unwrap().count(), 1, "nothing beside it");
    });
    // A folder that cannot be written leaves the old one as it is.
    let blocked = body.replace("put odd ", "put odd 9");
    from_stdin(&blocked, |code, output| {
        assert!(code == 1 && output.contains("another size"), "{output}");
        assert_eq!(fs::read(folder.join("one")).unwrap(), b"1");
        assert_eq!(fs::read_dir(&service).unwrap().count(), 1);
    });
}

#[test]
fn secrets_belong_to_the_user_of_the_image() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    for (user, owner, wanted, noted) in [
        ("", None, 0, false),
        ("1000:1000", None, 1000, false),
        ("app", None, 0, true),
        ("1000", Some(33), 33, false),
        ("root", None, 0, false),
    ] {
        let place = tempfile::tempdir().unwrap();
        let ctx = docker_with(place.path(), user, "");
        let folder = place.path().join("shop/prod/secrets/api/3");
        let (all, names) = secrets(&[("key", b"value")]);
        let body = docker::put_secrets(&ctx, folder.to_str().unwrap(), &names, owner, "image", &all).unwrap();
        from_stdin(&body, |code, output| {
            assert_eq!((code, output.contains("note: the image runs as user app")), (0, noted), "{output}");
            assert_eq!((fs::metadata(folder.join("key")).unwrap().uid(), mode(&folder.join("key"))), (wanted, 0o400), "{user}");
            assert_eq!(fs::metadata(folder.join(".proof")).unwrap().uid(), 0);
        });
    }
}

#[test]
fn secrets_that_a_container_mounts_are_kept() {
    let place = tempfile::tempdir().unwrap();
    let (all, names) = secrets(&[("key", b"value")]);
    let folder = place.path().join("shop/prod/secrets/api/3");
    let put = |ctx: &ScriptContext| docker::put_secrets(ctx, folder.to_str().unwrap(), &names, None, "image", &all).unwrap();
    let used = docker_with(place.path(), "", folder.join("key").to_str().unwrap());
    let body = docker::remove_secrets(&used, folder.to_str().unwrap());
    let written = put(&used);
    from_stdin(&(written.clone() + &body), |_, _| {});
    from_stdin(&body, |code, output| {
        assert_eq!((code, output), (0, format!("seen: {} is kept: shop_prod_api uses it\n", folder.display()).as_str()));
        assert!(folder.join("key").exists());
    });
    let free = docker_with(place.path(), "", &folder.join("key").display().to_string().replace("/3/", "/33/"));
    let body = docker::remove_secrets(&free, folder.to_str().unwrap());
    from_stdin(&format!("{written}{body}"), |code, output| {
        assert!(code == 0 && output.ends_with(&format!("seen: {} removed\n", folder.display())), "{output}");
        assert!(!place.path().join("shop").exists(), "nor an empty folder");
    });
    from_stdin(&body, |code, output| assert!(code == 0 && output.contains("there is no folder"), "{output}"));
}

#[test]
fn the_doors_shell_is_no_wrapper() {
    let mut door = spec();
    door.labels.insert(label::ROLE.to_owned(), "door".to_owned());
    assert!(docker::run_container(&ctx(), &spec()).contains("wrapped"));
    assert!(!docker::run_container(&ctx(), &door).contains("wrapped"));
}

/// Exit code and output, in each of the shells that servers have.
fn perform(body: &str, then: impl Fn(i32, &str)) {
    for shell in [vec!["sh"], vec!["bash", "--posix"], vec!["busybox", "sh"]] {
        let Ok(output) = Command::new(shell[0]).args(&shell[1..]).args(["-c", body]).stdin(Stdio::null()).output() else { continue };
        assert!(output.stderr.is_empty(), "{shell:?}: {}", String::from_utf8_lossy(&output.stderr));
        then(output.status.code().unwrap(), &String::from_utf8(output.stdout).unwrap());
    }
}

/// As [`perform`], but the body comes on standard input, as it comes to a server: one that is large is no argument of a program.
fn from_stdin(body: &str, then: impl Fn(i32, &str)) {
    for shell in [vec!["sh"], vec!["bash", "--posix"], vec!["busybox", "sh"]] {
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).arg("-s").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let Ok(mut child) = command.spawn() else { continue };
        child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.stderr.is_empty(), "{shell:?}: {}", String::from_utf8_lossy(&output.stderr));
        then(output.status.code().unwrap(), &String::from_utf8(output.stdout).unwrap());
    }
}

#[test]
fn a_file_arrives_exactly_with_its_mode_and_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("it's a file");
    let text = "a'b \"c\" $HOME `id` \\n %s\n\nlast line without an end ü";
    let body = docker::put_file(path.to_str().unwrap(), 0o640, text);
    fs::write(&path, "old").unwrap();
    perform(&body, |code, output| {
        assert_eq!(code, 0, "{output}");
        assert!(output.ends_with(&format!("seen: file {}, {} bytes\n", path.display(), text.len())), "{output}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    });
    let nowhere = docker::put_file("/proc/nowhere/file", 0o600, text);
    perform(&nowhere, |code, output| {
        assert!(code == 1 && output.starts_with("error: the file /proc/nowhere/file cannot be written"), "{output}")
    });
}

/// A `docker` whose runtime fails the first `n_failures` times that something is run: the container is made, and never starts.
fn flaky_docker(folder: &Path, n_failures: u32) -> ScriptContext {
    let path = folder.join("docker");
    let text = format!(
        "#!/bin/sh\ncd {}\ncase $1 in\n\
         run)\n    echo run >>log\n    [ ! -e created ] || {{ echo 'the name is in use' >&2; exit 125; }}\n\
         \x20   [ $(wc -l <log) -gt {n_failures} ] && {{ echo 0123456789abcdef; exit 0; }}\n\
         \x20   >created\n    echo 'failed to create task: OCI runtime create failed: read init-p: connection reset by peer' >&2\n    exit 125 ;;\n\
         rm) rm created ;;\n\
         inspect)\n    [ -e created ] || {{ echo 'Error: No such container' >&2; exit 1; }}\n\
         \x20   echo 'created|project=shop env=prod service=api role=app|side=secondary replica=1 spec=3f2a mesh=|image' ;;\nesac\n",
        folder.display()
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    ScriptContext { docker: path.to_str().unwrap().to_owned(), remote_root: "/local".to_owned() }
}

/// A `podman` that knows this container, or none, and writes down what it is asked to do, and whether it could keep descriptor 8.
fn inheriting_podman(folder: &Path, container: &str) -> ScriptContext {
    let path = folder.join("podman");
    let text = format!(
        "#!/bin/sh\ncase $* in\n*Networks*) ;;\ninspect*) [ -n '{container}' ] || {{ echo 'no such container' >&2; exit 1; }}; echo '{container}' ;;\n\
         *) kept=; [ ! -e /proc/self/fd/8 ] || kept=' with 8'; echo \"$1$kept\" >>{}/log ;;\nesac\n",
        folder.display()
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    ScriptContext { docker: path.to_str().unwrap().to_owned(), remote_root: "/local".to_owned() }
}

/// Podman's monitor of a container would keep it as long as that lives, and with it the lock of the run.
#[test]
fn what_an_engine_leaves_beside_a_container_holds_no_lock_of_the_script() {
    let folder = tempfile::tempdir().unwrap();
    let check = |container: &str, word: &str, body: fn(&ScriptContext) -> String| {
        let body = body(&inheriting_podman(folder.path(), container));
        perform(&format!("exec 8</dev/null\n{body}"), |code, output| {
            let log = fs::read_to_string(folder.path().join("log")).unwrap();
            assert_eq!((code, log.as_str()), (0, format!("{word}\n").as_str()), "{output}");
            fs::remove_file(folder.path().join("log")).unwrap();
        });
    };
    let stopped = "exited|project=shop env=prod service=api role=app|image";
    check("", "run", |ctx| docker::run_container(ctx, &spec()));
    check(stopped, "start", |ctx| docker::start_container(ctx, "shop_prod_api"));
    check(stopped, "network", |ctx| docker::connect_network(ctx, "n", "shop_prod_api", &[]));
}

#[test]
fn an_error_of_the_runtime_is_tried_once_more() {
    for (n_failures, n_runs, ended) in [(0, 1, 0), (1, 2, 0), (9, 2, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let body = docker::run_container(&flaky_docker(folder.path(), n_failures), &spec());
        perform(&body, |code, output| {
            let log = fs::read_to_string(folder.path().join("log")).unwrap();
            assert_eq!((code, log.lines().count()), (ended, n_runs), "{output}");
            assert_eq!(output.contains("note: the runtime failed once"), n_failures > 0, "{output}");
            assert_eq!(output.contains("error: docker could not run shop_prod_api_secondary (exit code 125)"), ended == 1, "{output}");
            assert!(!folder.path().join("created").exists(), "what was never started is removed");
            fs::remove_file(folder.path().join("log")).unwrap();
        });
    }
}

/// What docker 29 says where its daemon is stopped, and what a shell says where there is no docker.
#[test]
fn an_engine_that_is_gone_is_no_engine_without_the_container() {
    let stopped = "failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct and if the daemon is \
        running: dial unix /var/run/docker.sock: connect: no such file or directory";
    let folder = tempfile::tempdir().unwrap();
    let (docker, secrets) = (folder.path().join("docker"), folder.path().join("shop/prod/secrets/api/3"));
    fs::create_dir_all(&secrets).unwrap();
    let ctx = ScriptContext { docker: docker.to_str().unwrap().to_owned(), remote_root: "/local".to_owned() };
    let network = NetworkSpec { name: "n".to_owned(), subnet: "10.210.4.0/22".to_owned(), ip_range: String::new(), labels: Labels::new() };
    for said in [stopped, "docker: command not found", "error during connect: dial tcp: lookup engine: no such host"] {
        for (there, rest) in [("", ""), ("ps) echo 0123; echo 4567; exit ;;", "echo /app /data; echo 'Error: No such container: 0123' >&2")]
        {
            fs::write(&docker, format!("#!/bin/sh\ncase $1 in {there} inspect) {rest} ;; esac\necho '{said}' >&2\nexit 1\n")).unwrap();
            fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
            let mut bodies = vec![docker::remove_secrets(&ctx, secrets.to_str().unwrap())];
            if there.is_empty() {
                bodies.extend([
                    docker::run_container(&ctx, &spec()),
                    docker::set_aside(&ctx, "a", "a.previous", Some("6"), Millis::seconds(30)),
                    docker::start_container(&ctx, "a"),
                    docker::stop_container(&ctx, "a", Millis::seconds(30)),
                    docker::remove_container(&ctx, "a", Millis::seconds(30)),
                    docker::rename_container(&ctx, "a", "b"),
                    docker::ensure_network(&ctx, &network),
                    docker::remove_network(&ctx, "n"),
                    docker::connect_network(&ctx, "n", "a", &[]),
                    docker::pull_image(&ctx, "image"),
                ]);
            }
            for body in bodies {
                perform(&body, |code, output| {
                    let cannot = ["error: docker cannot", "error: docker could not"].iter().any(|words| output.contains(words));
                    assert!(code == 1 && cannot && output.contains(said), "{said}: {output}\n{body}");
                });
            }
            assert!(secrets.exists(), "{said}");
        }
    }
}

#[test]
fn of_a_pull_that_fails_late_the_last_line_is_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let docker = folder.path().join("docker");
    fs::write(&docker, "#!/bin/sh\n[ $1 = pull ] && printf 'a1: Pulling\\nb2: Pulling\\nread: connection reset by peer\\n'\nexit 1\n")
        .unwrap();
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
    let ctx = ScriptContext { docker: docker.to_str().unwrap().to_owned(), remote_root: "/local".to_owned() };
    perform(&docker::pull_image(&ctx, "image"), |code, output| {
        let said = "a1: Pulling\nb2: Pulling\nread: connection reset by peer\nerror: docker could not pull image: read: connection reset by peer\n";
        assert!(code == 1 && output.starts_with(said), "{output}");
    });
}
