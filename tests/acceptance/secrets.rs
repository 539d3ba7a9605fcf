//! A secret arrives exactly, changes with the side that uses it, and is seen nowhere but in its own file.
use crate::fleet::Fleet;
use crate::project::{Output, Project};
use crate::server::Server;
use crate::shop::{api_on, deploy, header};
use crate::traffic::HOST;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread::{self, JoinHandle};

const FIRST: &str = "sentinel-one-4f1c";
const SECOND: &str = "sentinel-two-9b7e";
/// Handed over by a variable of the workstation, which no server may have.
const TOKEN: &str = "sentinel-env-5d20";
/// Any bytes that a file of a test can be given.
const ODD: &str = "-n it's \"$HOME\" `id` \\0 100%s\n\n  ü two\n";

fn playbook(more: &str) -> String {
    header("1.0")
        + &api_on(2, "1.0", "secrets = [\"db_password\", \"odd\", \"token\"]")
        + "\n[secrets]\nodd = { command = [\"sh\", \"-c\", \"cat odd; echo\"] }\ntoken = { env = \"SHOP_TOKEN\" }\n"
        + more
}

/// A worker that tells its secret to everybody, in its log and when it is asked how it is.
const LEAK: &str = "
[services.leak]
image = \"flipside/nginx:stable\"
command = [\"sh\", \"-c\", \"while read -r line; do echo the password is $line; done </run/secrets/db_password; exec sleep 600\"]
secrets = [\"db_password\"]
health_check = { command = \"cat /run/secrets/db_password; exit 1\", interval = \"200ms\", deadline = \"3s\" }
";

fn give(project: &Project, value: &str, mode: u32) {
    let folder = project.path("secrets/prod");
    fs::create_dir_all(&folder).expect("a folder");
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).expect("its mode");
    let file = folder.join("db_password");
    fs::write(&file, format!("{value}\n")).expect("a secret");
    fs::set_permissions(&file, Permissions::from_mode(mode)).expect("its mode");
}

/// What every process of a server is called, and its environment, over and over until the test has had enough: 1500 times at most.
fn watch(server: &Server) -> JoinHandle<String> {
    let server = server.clone();
    thread::spawn(move || {
        server.run(
            "n=0; while [ ! -e /tmp/enough ] && [ $n -lt 1500 ]; do n=$((n + 1)); \
             cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -a -o 'sentinel-[a-z]*-....' ; sleep 0.02; done | sort -u; echo looked",
        )
    })
}

#[track_caller]
fn hides(what: &str, text: &str) {
    for value in [FIRST, SECOND, TOKEN] {
        assert!(!text.contains(value), "{what} shows {value}:\n{text}");
    }
}

fn hidden(output: Output) -> Output {
    hides(&output.line, &output.all());
    output
}

/// Every file below a folder of this machine, by `grep`.
fn files_hide(folder: &Path) {
    for value in [FIRST, SECOND, TOKEN] {
        let found = Command::new("grep").args(["-r", "-l", "-a", value]).arg(folder).output().expect("grep");
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{value}");
    }
}

#[test]
fn a_secret_is_in_its_own_file_and_nowhere_else() {
    let fleet = Fleet::take();
    let project = Project::new(&fleet, &playbook(""));
    fs::write(project.path("odd"), ODD).expect("a file");
    give(&project, FIRST, 0o644);
    hidden(deploy(&project)).exits(2).says(&["can be read by others (mode 644): chmod 600 ./secrets/prod/db_password"]);
    give(&project, FIRST, 0o600);
    hidden(deploy(&project)).exits(2).says(&["SHOP_TOKEN"]);
    project.variable("SHOP_TOKEN", TOKEN);
    hidden(deploy(&project)).exits(0);
    let servers: Vec<Server> = fleet.servers().into_iter().filter(|server| !server.running("shop_prod_api").is_empty()).collect();
    assert_eq!(servers.len(), 2);
    let has = |value: &str| {
        for server in &servers {
            assert_eq!(server.get(HOST, "/file?path=/run/secrets/db_password"), (200, format!("{value}\n")), "{}", server.name);
            assert_eq!(server.get(HOST, "/file?path=/run/secrets/odd"), (200, ODD.to_owned()), "every byte as it was");
            assert_eq!(server.get(HOST, "/file?path=/run/secrets/token"), (200, TOKEN.to_owned()), "{}", server.name);
        }
    };
    has(FIRST);
    hidden(deploy(&project)).exits(0).says(&["nothing to do"]);

    let watchers: Vec<_> = servers.iter().map(watch).collect();
    give(&project, SECOND, 0o600);
    hidden(project.flipside(&["plan", "--commands"])).exits(0).says(&["secret db_password changed", "/run/secrets/db_password,readonly"]);
    hidden(project.flipside(&["deploy", "-y", "--output", "json"])).exits(0);
    has(SECOND);
    hidden(project.flipside(&["rollback", "-y"])).exits(0);
    has(FIRST);

    // A container that prints what it was given: its words are shown, and its secret is not.
    project.playbook(&playbook(LEAK));
    hidden(deploy(&project)).exits(5).says(&["exits 1: [secret]", "the password is [secret]", "everything was put back"]);
    has(FIRST);
    for server in &servers {
        server.must("touch /tmp/enough");
    }
    for watcher in watchers {
        assert_eq!(watcher.join().expect("a watcher"), "looked\n", "a process was called or given a value");
    }

    files_hide(&project.path("state"));
    for server in fleet.servers() {
        hides("docker inspect", &server.run("docker ps -aq | xargs -r docker inspect"));
        hides("flipside's own files", &server.run("grep -r . /local/flipside 2>/dev/null"));
        let modes = server.run("find /local/shop -path '*/secrets*' -printf '%y %m\\n' 2>/dev/null | sort -u");
        assert!(["d 700\nf 400\n", ""].contains(&modes.as_str()), "{}: {modes}", server.name);
    }

    hidden(project.flipside(&["remove", "-y", "api"])).exits(0).says(&["remove the secrets of api, release 1"]);
    for server in &servers {
        assert_eq!(server.run("ls -A /local/shop 2>/dev/null"), "", "{}: what nobody uses is removed", server.name);
    }
}
