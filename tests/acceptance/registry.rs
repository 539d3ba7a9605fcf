//! Images that come from a registry, and what keeps them from coming: a tag that is not there, a disk that is full, a registry that is
//! gone. The registry is a real one, of Debian's package.
use crate::fleet::{Fleet, program};
use crate::project::Project;
use crate::server::Server;
use crate::shop::{api_on, deploy, header, is};
use crate::traffic::Traffic;
use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::NamedTempFile;

const PORT: u16 = 5055;
/// Where the engine keeps a layer while it comes.
const INCOMING: &str = "/var/lib/docker/tmp";

/// A registry, for as long as this value lives.
struct Registry {
    child: Child,
    /// As images name it.
    name: String,
}

impl Registry {
    fn start(fleet: &Fleet) -> Self {
        let address = fleet.server(1).address;
        let (network, _) = address.rsplit_once('.').expect("an address");
        let name = format!("{network}.1:{PORT}");
        let said = NamedTempFile::new().expect("a file");
        let mut child = Command::new(program())
            .args(["registry", &PORT.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said.reopen().expect("the same file"))
            .spawn()
            .expect("vagrant/fleet starts");
        let answers = || {
            thread::sleep(Duration::from_millis(100));
            TcpStream::connect(&name).is_ok()
        };
        // Where its package is not in the cache yet, that is fetched first.
        let up = (0..3000).any(|_| child.try_wait().expect("a child").is_none() && answers());
        let registry = Self { child, name };
        assert!(up, "the registry does not answer at {}: {}", registry.name, fs::read_to_string(said.path()).unwrap_or_default());
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().expect("a child is killed");
        self.child.wait().expect("a child ends");
    }
}

/// The server's engine asks this registry without TLS; without a name, as before.
fn trusts(server: &Server, registry: &str) {
    let settings = if registry.is_empty() { "{}".to_owned() } else { format!("{{\"insecure-registries\": [\"{registry}\"]}}") };
    server.must(&format!("mkdir -p /etc/docker; echo '{settings}' >/etc/docker/daemon.json; kill -HUP $(cat /run/docker.pid)"));
    let known = if registry.is_empty() { "! grep -q 5055" } else { "grep -q 5055" };
    server.must(&format!("for i in $(seq 50); do docker info 2>/dev/null | {known} && exit; sleep 0.1; done; exit 1"));
}

/// Puts the engines' settings back, also where the test fails.
struct Trust(Vec<Server>);

impl Drop for Trust {
    fn drop(&mut self) {
        for server in &self.0 {
            server.run(&format!("umount {INCOMING} 2>/dev/null; rm -f /etc/docker/daemon.json; echo '{{}}' >/etc/docker/daemon.json; kill -HUP $(cat /run/docker.pid)"));
        }
    }
}

/// `api` on three servers, from this registry.
fn api(registry: &str, tag: &str) -> String {
    header(tag) + &api_on(3, tag, "").replace("flipside/app:", &format!("{registry}/shop/app:"))
}

#[test]
fn images_come_from_a_registry_and_what_hinders_them_is_told() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let registry = Registry::start(&fleet);
    let name = registry.name.clone();
    let trust = Trust(servers.clone());
    for server in &servers {
        trusts(server, &name);
    }
    // Version 2.0 has a layer of its own, which is to come from the registry.
    servers[0].must(&format!(
        "docker tag flipside/app:1.0 {name}/shop/app:1.0 && head -c 3000000 /dev/urandom >/tmp/more &&
         id=$(docker create flipside/app:2.0) && docker cp -q /tmp/more $id:/data/more && docker commit $id {name}/shop/app:2.0 && docker rm $id &&
         for tag in 1.0 2.0; do docker push -q {name}/shop/app:$tag && docker rmi {name}/shop/app:$tag; done"
    ));
    let project = Project::new(&fleet, &api(&name, "1.0"));
    deploy(&project).exits(0).says(&[&format!("[server3] pulled {name}/shop/app:1.0")]);
    let traffic = Traffic::http(&servers);

    project.playbook(&api(&name, "9.9"));
    deploy(&project).exits(5).says(&["docker could not pull", "manifest unknown", "correct the name or the tag", "server"]);
    is(&project, "api", "RUNNING", "primary", "1.0");

    // The disk is full while the image comes.
    servers[1].must(&format!("mount -t tmpfs -o size=1m tmpfs {INCOMING}"));
    project.playbook(&api(&name, "2.0"));
    deploy(&project).exits(5).says(&["server2", "docker could not pull", "no space left", "make room: docker image prune"]);
    is(&project, "api", "RUNNING", "primary", "1.0");
    servers[1].must(&format!("umount {INCOMING}"));

    deploy(&project).exits(0);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    drop(registry);
    // What a server has is not asked for again; what it has not, it cannot get.
    project.flipside(&["deploy", "-y", "--force"]).exits(0);
    project.playbook(&api(&name, "3.0"));
    deploy(&project).exits(5).says(&["docker could not pull", "the registry cannot be reached from this server"]);
    is(&project, "api", "RUNNING", "primary", "2.0");
    traffic.end().none_failed().versions(&["1.0", "2.0"]);
    drop(trust);
}
