//! Facts: every folder of `facts_cases` holds an answer of a real server and what must be read from it; and the question
//! itself is asked to the shells of this machine. Run with `UPDATE=1` to write `expected.json` anew, then read the diff.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
use flipside::facts::{Facts, FactsError, digest, question, question_again, read, read_digest};
use flipside::model::{EnvName, ProjectName};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The one place that touches the API: an answer, as what is expected of it.
fn outcome(answer: &[u8]) -> serde_json::Value {
    match read(answer) {
        Ok(facts) => serde_json::to_value(facts).unwrap(),
        Err(error) => serde_json::json!({ "error": error.to_string() }),
    }
}

#[test]
fn every_case_is_read_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/facts_cases");
    let mut n_cases = 0;
    for case in fs::read_dir(folder).unwrap() {
        let case = case.unwrap().path();
        let seen = outcome(&fs::read(case.join("answer.txt")).unwrap());
        let expected = case.join("expected.json");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&expected, format!("{}\n", serde_json::to_string_pretty(&seen).unwrap())).unwrap();
        }
        let expected: serde_json::Value = serde_json::from_slice(&fs::read(&expected).unwrap()).unwrap();
        assert_eq!(seen, expected, "{}", case.display());
        n_cases += 1;
    }
    assert!(n_cases >= 5, "only {n_cases} cases");
}

/// What a shell of this machine answers, with a stand-in for docker: a shell function would not be found by `timeout`.
fn ask(shell: &[&str], docker: &str, root: &Path) -> Vec<u8> {
    let script = question(docker, root.to_str().unwrap());
    let mut child = Command::new(shell[0]);
    child.args(&shell[1..]).args(["-c", &script]);
    child.output().unwrap().stdout
}

/// A docker that knows no container, network or image.
fn stand_in(folder: &Path) -> String {
    let path = folder.join("docker stand-in");
    fs::write(&path, "#!/bin/sh\ncase $1 in version) echo 1.2.3 ;; esac\n").unwrap();
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    fs::set_permissions(&path, permissions).unwrap();
    // The command is split on blanks, so its path must not have one.
    let link = folder.join("docker");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    link.to_str().unwrap().to_owned()
}

/// Every shell that this machine has, of those that servers have.
fn shells() -> Vec<Vec<&'static str>> {
    let all = [vec!["dash"], vec!["bash"], vec!["bash", "--posix"], vec!["busybox", "sh"], vec!["sh"]];
    all.into_iter().filter(|shell| Command::new(shell[0]).args(&shell[1..]).args(["-c", ":"]).status().is_ok_and(|s| s.success())).collect()
}

#[test]
fn files_survive_every_shell_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("it's a root");
    let flipside = root.join("flipside");
    let live = flipside.join("nginx/releases/00aa11bb22cc33dd");
    fs::create_dir_all(live.join("http.d")).unwrap();
    fs::create_dir_all(flipside.join("nginx/releases/ff")).unwrap();
    fs::create_dir_all(flipside.join("doors")).unwrap();
    fs::create_dir_all(flipside.join("lock")).unwrap();
    let odd = "no line feed, $HOME `id` \\ 'x'\n@@flipside end files 0\n\n@@flipside over";
    fs::write(live.join("nginx.conf"), odd).unwrap();
    fs::write(live.join("http.d/a b.conf"), "x\n\n\n").unwrap();
    fs::write(live.join("http.d/latin.conf"), b"\xe4\xf6\n").unwrap();
    fs::write(live.join("empty"), "").unwrap();
    fs::write(flipside.join("doors/shop_prod_api.door.conf"), "door").unwrap();
    fs::write(flipside.join("doors/notes.txt"), "no door").unwrap();
    fs::write(flipside.join("lock/holder"), "somebody\n").unwrap();
    fs::write(flipside.join("lock/lease"), "").unwrap();
    std::os::unix::fs::symlink("releases/00aa11bb22cc33dd", flipside.join("nginx/current")).unwrap();
    let proof = "salt 00ff\ndb_password 12ab\n";
    for release in ["api/3", "api/12", "db/3"] {
        let secrets = root.join("shop/prod/secrets").join(release);
        fs::create_dir_all(&secrets).unwrap();
        fs::write(secrets.join(".proof"), proof).unwrap();
        fs::write(secrets.join("db_password"), "hunter2").unwrap();
    }
    let docker = stand_in(folder.path());
    for shell in shells() {
        let answer = ask(&shell, &docker, &root);
        assert!(!String::from_utf8_lossy(&answer).contains("hunter2"), "a secret is not asked for");
        let facts = read(answer).unwrap();
        let secrets: Vec<(&str, String)> = facts.secrets.iter().map(|(path, proof)| (path.as_str(), proof.text())).collect();
        let found = ["shop/prod/secrets/api/12", "shop/prod/secrets/api/3", "shop/prod/secrets/db/3"];
        assert_eq!(secrets, found.map(|path| (path, proof.to_owned())), "{shell:?}");
        let nginx = &facts.nginx;
        assert_eq!(nginx.live.as_ref().unwrap().0, "00aa11bb22cc33dd", "{shell:?}");
        assert_eq!(nginx.generations.len(), 2);
        assert_eq!(nginx.files["nginx.conf"], odd, "{shell:?}");
        assert_eq!(nginx.files["http.d/a b.conf"], "x\n\n\n");
        assert_eq!(nginx.files["http.d/latin.conf"], "\u{fffd}\u{fffd}\n");
        assert_eq!(nginx.files["empty"], "");
        assert_eq!((nginx.files.len(), nginx.doors.len()), (4, 1));
        assert_eq!(nginx.doors["shop_prod_api.door.conf"], "door");
        assert_eq!((facts.docker_version.as_str(), facts.lease), ("1.2.3", None));
        assert!(facts.root_writable && facts.free_bytes > 0 && facts.clock > 1_600_000_000_000);
        assert!(facts.containers.is_empty() && nginx.served.is_none());
    }
}

#[test]
fn what_was_made_is_told_where_it_is_not_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let nginx = folder.path().join("flipside/nginx");
    let write = |path: &str, text: &str| {
        let path = nginx.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for id in ["aa", "bb"] {
        write(&format!("releases/{id}/nginx.conf"), id);
        write(&format!("sealed/{id}/nginx.conf"), id);
    }
    write("switched", "bb 1234 boot\n");
    std::os::unix::fs::symlink("releases/bb", nginx.join("current")).unwrap();
    let docker = stand_in(folder.path());
    for shell in shells() {
        let see = || read(ask(&shell, &docker, folder.path())).unwrap().nginx;
        let calm = see();
        assert!(calm.sealed.is_empty() && calm.other.is_empty(), "{shell:?}: {calm:?}");
        assert_eq!(calm.recorded[0].0, "bb");

        write("releases/bb/nginx.conf", "edited");
        write("switching", "aa\n");
        let edited = see();
        assert_eq!((edited.files["nginx.conf"].as_str(), edited.sealed["nginx.conf"].as_str()), ("edited", "bb"), "{shell:?}");
        assert_eq!(edited.recorded.len(), 2);
        fs::remove_dir_all(nginx.join("releases/bb")).unwrap();
        let gone = see();
        assert_eq!((gone.files.len(), gone.sealed["nginx.conf"].as_str()), (0, "bb"), "{shell:?}");

        // NGINX does not run, so what was switched to last counts.
        for link in [Some("releases/aa"), None] {
            fs::remove_file(nginx.join("current")).unwrap();
            link.into_iter().for_each(|link| std::os::unix::fs::symlink(link, nginx.join("current")).unwrap());
            let moved = see();
            assert_eq!(moved.other["nginx.conf"], "bb", "{shell:?} {link:?}");
            if link.is_none() {
                std::os::unix::fs::symlink("releases/bb", nginx.join("current")).unwrap();
            }
        }
        write("releases/bb/nginx.conf", "bb");
        fs::remove_file(nginx.join("switching")).unwrap();
    }
}

#[test]
fn a_switch_that_goes_on_meanwhile_is_not_taken_for_somebody_who_moved_the_link() {
    let folder = tempfile::tempdir().unwrap();
    let nginx = folder.path().join("flipside/nginx");
    for path in ["flipside/run", "flipside/nginx/releases/aa", "flipside/nginx/releases/bb"] {
        fs::create_dir_all(folder.path().join(path)).unwrap();
    }
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("flipside/run/generation-aa.sock")).unwrap();
    // NGINX serves what the link leads to, and a switch comes as soon as that was asked for.
    let docker = stand_in(folder.path());
    let text = format!(
        "#!/bin/sh\ncd {0}\ncase $1 in\nexec) link=$(readlink current); echo \"/flipside/run/generation-${{link##*/}}.sock\" ;;\n\
         version) ln -sfn releases/bb current; echo 1.2.3 ;;\nesac\n",
        nginx.display()
    );
    fs::write(&docker, text).unwrap();
    for shell in shells() {
        drop(fs::remove_file(nginx.join("current")));
        std::os::unix::fs::symlink("releases/aa", nginx.join("current")).unwrap();
        let seen = read(ask(&shell, &docker, folder.path())).unwrap().nginx;
        assert_eq!((seen.live.unwrap().0.as_str(), seen.served.unwrap().0.as_str()), ("bb", "bb"), "{shell:?}");
    }
    // A process of this machine is not asked by way of its container.
    fs::write(&docker, format!("#!/bin/sh\ncase $1 in inspect) echo {} ;; version) echo 1.2.3 ;; esac\n", std::process::id())).unwrap();
    for shell in shells() {
        let seen = read(ask(&shell, &docker, folder.path())).unwrap().nginx;
        assert_eq!(seen.served.unwrap().0, "aa", "{shell:?}");
    }
}

#[test]
fn what_a_plan_relies_on_is_asked_for_again_by_itself_and_reads_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let live = folder.path().join("flipside/nginx/releases/00aa");
    fs::create_dir_all(&live).unwrap();
    fs::write(live.join("nginx.conf"), "events {}").unwrap();
    std::os::unix::fs::symlink("releases/00aa", folder.path().join("flipside/nginx/current")).unwrap();
    let docker = stand_in(folder.path());
    let of = |state: &str| {
        format!(
            "#!/bin/sh\ncase $1$2 in\nversion*) echo 1.2.3 ;;\nps*) echo ab ;;\nnetworkls) [ $3 = -q ] && echo cd || printf 'bridge\\nshop_prod_network\\n' ;;\n\
             networkinspect) echo '{{\"Name\":\"bridge\",\"Driver\":\"bridge\"}}'; echo '{{\"Name\":\"shop_prod_network\",\"Driver\":\"bridge\"}}' ;;\ninspect*) cat <<'END'\n{{\"id\":\"ab\",\
             \"name\":\"/shop_prod_api\",\"image\":\"x\",\"image_id\":\"y\",\"status\":\"{state}\",\"pid\":0,\"exit_code\":0,\"oom_killed\":false,\"restarts\":0,\
             \"labels\":{{\"flipside.project\":\"shop\",\"flipside.env\":\"prod\"}},\"networks\":{{}},\"mode\":\"x\",\"bindings\":{{}},\
             \"ports\":{{}},\"restart\":\"no\",\"memory\":0,\"mounts\":[],\"variables\":[]}}\nEND\n;;\nesac\n"
        )
    };
    let (project, env) = (ProjectName::new("shop").unwrap(), EnvName::new("prod").unwrap());
    let root = folder.path().to_str().unwrap();
    let again = |shell: &[&str]| {
        let output = Command::new(shell[0]).args(&shell[1..]).args(["-c", &question_again(&docker, root)]).output().unwrap();
        read_digest(output.stdout, &project, &env)
    };
    for shell in shells() {
        fs::write(&docker, of("running")).unwrap();
        let facts = read(ask(&shell, &docker, folder.path())).unwrap();
        assert_eq!((facts.containers.len(), facts.networks.len()), (1, 2));
        let planned = digest(&facts, &project, &env);
        assert_eq!(again(&shell).unwrap(), planned, "{shell:?}");
        fs::write(&docker, of("exited")).unwrap();
        assert_ne!(again(&shell).unwrap(), planned, "{shell:?}: a container has stopped");
        fs::write(&docker, of("running")).unwrap();
        fs::write(live.join("nginx.conf"), "events { }").unwrap();
        assert_ne!(again(&shell).unwrap(), planned, "{shell:?}: a file was edited");
        fs::write(live.join("nginx.conf"), "events {}").unwrap();
        fs::write(&docker, of("running").replace("bridge\\n", "")).unwrap();
        assert_eq!(again(&shell).unwrap(), planned, "{shell:?}: a network of somebody else has gone");
        fs::write(&docker, of("running").replace("prod_network", "uat_network")).unwrap();
        assert_ne!(again(&shell).unwrap(), planned, "{shell:?}: a network has gone");
        fs::write(&docker, "#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n").unwrap();
        let seen = "Cannot connect to the Docker daemon".to_owned();
        assert_eq!(again(&shell), Err(FactsError::DaemonDown { seen }), "{shell:?}");
        fs::remove_file(&docker).unwrap();
        assert_eq!(again(&shell), Err(FactsError::DockerMissing { docker: docker.clone() }), "{shell:?}");
        fs::write(&docker, "").unwrap();
        std::process::Command::new("chmod").args(["+x", &docker]).status().unwrap();
    }
}

#[test]
fn the_tools_of_busybox_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let tools = folder.path().join("tools");
    fs::create_dir(&tools).unwrap();
    let installed = Command::new("busybox").args(["--install", "-s", tools.to_str().unwrap()]).status();
    assert!(installed.is_ok_and(|status| status.success()), "this machine has no busybox: `make test` installs it");
    let live = folder.path().join("flipside/nginx/releases/00aa");
    fs::create_dir_all(&live).unwrap();
    fs::write(live.join("a"), "1").unwrap();
    fs::write(live.join("b"), "2\n").unwrap();
    std::os::unix::fs::symlink("releases/00aa", folder.path().join("flipside/nginx/current")).unwrap();
    let script = question(&stand_in(folder.path()), folder.path().to_str().unwrap());
    let output = Command::new(tools.join("sh")).env("PATH", &tools).args(["-c", &script]).output().unwrap();
    let facts = read(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(&output.stdout)));
    assert_eq!((facts.nginx.files["a"].as_str(), facts.nginx.files["b"].as_str()), ("1", "2\n"));
    assert!(facts.clock > 1_600_000_000_000 && facts.free_bytes > 0 && facts.root_writable);
}

#[test]
fn nothing_is_made_where_nothing_is() {
    let folder = tempfile::tempdir().unwrap();
    let docker = stand_in(folder.path());
    let root = folder.path().join("not/yet");
    for shell in shells() {
        let facts = read(ask(&shell, &docker, &root)).unwrap();
        assert!(facts.root_writable, "{shell:?}: the parent can be written");
        assert_eq!(facts.nginx, flipside::facts::NginxFact::default());
        assert!(!folder.path().join("not").exists());
    }
}

#[test]
fn a_held_lease_names_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let docker = stand_in(folder.path());
    let lock = folder.path().join("flipside/lock");
    fs::create_dir_all(&lock).unwrap();
    fs::write(lock.join("holder"), "mia@laptop, run 7\n").unwrap();
    let lease = fs::File::create(lock.join("lease")).unwrap();
    lease.lock().unwrap();
    for shell in shells() {
        assert_eq!(read(ask(&shell, &docker, folder.path())).unwrap().lease.as_deref(), Some("mia@laptop, run 7"), "{shell:?}");
    }
    lease.unlock().unwrap();
    assert_eq!(read(ask(&["sh"], &docker, folder.path())).unwrap().lease, None);
}

#[test]
fn a_missing_docker_is_its_own_error() {
    let folder = tempfile::tempdir().unwrap();
    for shell in shells() {
        let seen = read(ask(&shell, "no-such-docker", folder.path()));
        assert_eq!(seen, Err(FactsError::DockerMissing { docker: "no-such-docker".to_owned() }), "{shell:?}");
    }
}

#[test]
fn an_answer_cut_at_any_byte_is_never_facts() {
    let folder = tempfile::tempdir().unwrap();
    let docker = stand_in(folder.path());
    let answer = ask(&["sh"], &docker, folder.path());
    let whole: Result<Facts, FactsError> = read(&answer);
    assert!(whole.is_ok(), "{whole:?}");
    for length in 0..answer.len() - 1 {
        assert!(matches!(read(&answer[..length]), Err(FactsError::CutOff { .. })), "{length} of {} bytes", answer.len());
    }
}
