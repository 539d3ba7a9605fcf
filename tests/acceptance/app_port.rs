//! `playbooks/broker.toml`: public hosts that are served from another port of the containers than the mesh reaches, by way of published ports
//! and by name, under traffic on both; and a release that does not listen there. Deliberately absent: what is rendered (see `tests/nginx.rs`).
use crate::fleet::Fleet;
use crate::project::Project;
use crate::server::Server;
use crate::shop::{deploy, is, ports};
use crate::traffic::Traffic;

const EXAMPLE: &str = include_str!("../../playbooks/broker.toml");
const HOST: &str = "broker.example.com";
const ARGUMENTS: &str = "command = [\"--mode\", \"tcp\", \"--port\", \"5672\", \"--http-port\", \"15672\"]";

fn release(version: &str) -> String {
    EXAMPLE.replace("version = \"1.0\"", &format!("version = \"{version}\"")).replace("app:1.0", &format!("app:{version}"))
}

fn alone(version: &str) -> String {
    release(version).replace("servers_count = 2", "servers = [\"server1\"]")
}

/// Clients of the public host, and of the port inside the fleet.
fn traffic(public: &[Server], inside: &Server, internal: u16) -> Traffic {
    let hosts = public.iter().flat_map(|server| ["new", "keep"].map(|kind| format!("{kind}:http://{}/#{HOST}", server.address)));
    Traffic::to(hosts).and_inside(inside, &[format!("tcp:127.0.0.1:{internal}")])
}

#[test]
fn hosts_are_served_from_one_port_and_the_mesh_reaches_another_over_every_deploy() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let project = Project::new(&fleet, &release("1.0"));
    deploy(&project)
        .exits(0)
        .says(&["waited for desk_prod_broker to take connections at app port 15672", "app port 15672 accepts connections"]);
    let (internal, base, _) = ports(&project, "broker");
    let listed = project.flipside(&["ports"]).exits(0).stdout;
    let app: Vec<&str> = listed.lines().find(|line| line.contains(" 15672 ")).expect("a row").split_whitespace().collect();
    let app_base: u16 = app[5].parse().expect("a port");
    assert_ne!(app_base, base, "{listed}");
    let published: Vec<String> =
        servers.iter().map(|server| server.run("docker port desk_prod_broker 2>/dev/null")).filter(|text| !text.is_empty()).collect();
    assert_eq!(published.len(), 2, "{published:?}");
    assert!(published.iter().all(|text| text.contains(&format!(":{base}")) && text.contains(&format!(":{app_base}"))), "{published:?}");
    // Another project's port is refused to it, as is any other that is taken; its own is kept.
    deploy(&project).exits(0).says(&["nothing to do"]);

    // Two toggles over published ports, from all servers, one of which has no copy.
    let clients = traffic(&servers, &servers[2], internal);
    for version in ["2.0", "3.0"] {
        project.playbook(&release(version));
        deploy(&project).exits(0).says(&["checked that public requests reach broker at app port 15672"]);
    }
    is(&project, "broker", "RUNNING", "primary", "3.0");

    // One that does not listen there, although its own port is fine: nobody notices.
    clients.phase("deaf");
    let before = fleet.snapshot();
    let deaf = release("1.0").replace(ARGUMENTS, &ARGUMENTS.replace(", \"--http-port\", \"15672\"", "")).replace("\"15s\"", "\"3s\"");
    project.playbook(&deaf);
    deploy(&project).exits(5).says(&[
        "failed: wait for desk_prod_broker_secondary to take connections at app port 15672",
        "app port 15672 refuses connections",
        "everything was put back",
    ]);
    is(&project, "broker", "RUNNING", "primary", "3.0");
    let lines = |snapshot: &str| snapshot.lines().filter(|line| !line.contains("_secondary")).map(str::to_owned).collect::<Vec<_>>();
    for (name, now) in fleet.snapshot() {
        let live = |snapshot: &str| {
            lines(snapshot).into_iter().filter(|line| line.contains("running") || line.contains("releases/")).collect::<Vec<_>>()
        };
        assert_eq!(live(&now), live(&before[&name]), "{name}");
    }
    let seen = clients.end().none_failed().versions(&["1.0", "2.0", "3.0"]).only("deaf", "3.0");
    for target in &seen.0.targets {
        println!("{}: {} sent, none failed, slowest {:?} ms", target.target, target.total.sent, target.total.slowest_ms);
    }

    // To one server, where NGINX reaches both ports by the container's name, and on there.
    let clients = traffic(&servers[..1], &servers[0], internal);
    project.playbook(&alone("1.0"));
    deploy(&project).exits(0).says(&[
        "announce the new names",
        "single_server",
        "checked that NGINX finds the secondary side of broker at app port 15672",
    ]);
    let names = servers[0].must("cat /local/flipside/nginx/current/http.d/desk.prod.broker.app.conf");
    assert!(names.contains("server desk_prod_broker_secondary:15672 resolve"), "{names}");
    project.playbook(&alone("2.0"));
    deploy(&project).exits(0).says(&["checked that NGINX finds the primary side of broker at app port 15672"]);
    // Another port, whose name NGINX does not know yet.
    let moved = |version: &str| alone(version).replace("15672", "15673");
    project.playbook(&moved("3.0"));
    deploy(&project).exits(0).says(&["announce the new names", "checked that NGINX finds the secondary side of broker at app port 15673"]);
    is(&project, "broker", "RUNNING", "secondary", "3.0");
    project.flipside(&["rollback", "-y"]).exits(0).says(&["announce the new names"]);
    is(&project, "broker", "RUNNING", "primary", "2.0");
    let seen = clients.end().none_failed().versions(&["1.0", "2.0", "3.0"]);
    for target in &seen.0.targets {
        println!("{}: {} sent, none failed, slowest {:?} ms", target.target, target.total.sent, target.total.slowest_ms);
    }
}

#[test]
fn a_website_that_gets_a_port_of_its_own_for_the_public_is_served_all_the_time() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    // Its own port speaks HTTP, too: hosts are served from there, then from the other one, and from there again.
    let playbook = |version: &str, app_port: &str| {
        let arguments = "command = [\"--port\", \"5672\", \"--http-port\", \"15672\"]\nprotocol = \"http\"";
        alone(version).replace(ARGUMENTS, arguments).replace("app_port = 15672\n", app_port)
    };
    let project = Project::new(&fleet, &playbook("1.0", ""));
    deploy(&project).exits(0);
    let public = ["new", "keep"].map(|kind| format!("{kind}:http://{}/#{HOST}", servers[0].address));
    let clients = Traffic::to(public);
    project.playbook(&playbook("2.0", "app_port = 15672\n"));
    deploy(&project).exits(0).says(&["announce the new names", "checked that NGINX finds the secondary side of broker at app port 15672"]);
    clients.phase("app port");
    project
        .flipside(&["rollback", "-y"])
        .exits(0)
        .says(&["its public hosts are served from port 5672: what runs was started without `app_port` 15672"]);
    clients.phase("back");
    project.flipside(&["status"]).says(&["its public hosts are served from port 5672"]);
    deploy(&project).exits(0);
    // Back for good, and to another port of its own: NGINX is told of the name with that port first, too.
    project.playbook(&playbook("3.0", "").replace("5672", "5673"));
    deploy(&project).exits(0).says(&["announce the new names"]);
    is(&project, "broker", "RUNNING", "primary", "3.0");
    clients.end().none_failed().versions(&["1.0", "2.0", "3.0"]);
}
