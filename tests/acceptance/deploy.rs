//! A deploy, the next one, one with nothing to do, and the way back: under traffic, and counted.
use crate::fleet::Fleet;
use crate::project::{Project, inventory};
use crate::server::Server;
use crate::shop::{api_on, deploy, header, is, ports, service_echo, shop};
use crate::traffic::{HOST, Traffic};

/// Every server's NGINX answers with this version.
#[track_caller]
fn serves(servers: &[Server], version: &str) {
    for server in servers {
        let (status, body) = server.get(HOST, "/");
        assert!(status == 200 && body.starts_with(&format!("{version} ")), "{} answered {status}: {body}", server.name);
    }
}

#[test]
fn first_second_third_deploy_and_the_way_back_lose_no_request() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let project = Project::new(&fleet, &shop("1.0", "1.0"));

    // Empty servers.
    deploy(&project).exits(0).says(&["2 services created", "done"]);
    serves(&servers, "1.0");
    let (internal, base, secondary) = ports(&project, "api");
    assert_eq!(secondary, base + 10_000);
    let published = |server: &Server, container: &str| server.containers()[container].published().join(" ");
    for server in &servers {
        assert_eq!(server.running("shop_prod_api"), ["shop_prod_api", "shop_prod_api.door"]);
        assert_eq!(published(server, "shop_prod_api.door"), format!("{}:{base}->8000/tcp", server.address), "on the private address alone");
    }

    // From here on clients never stop. Raw TCP goes through the host's door of two servers to wherever `echo` runs.
    let (internal_echo, ..) = ports(&project, "echo");
    let targets = [format!("tcp:127.0.0.1:{internal_echo}"), format!("keep:http://127.0.0.1:{internal}/")];
    let traffic = Traffic::http(&servers).and_inside(&servers[0], &targets).and_inside(&servers[2], &targets);

    traffic.phase("to 2.0");
    project.playbook(&shop("2.0", "2.0"));
    deploy(&project).exits(0).says(&["2 services switched"]);
    serves(&servers, "2.0");
    for server in &servers {
        assert_eq!(server.running("shop_prod_api"), ["shop_prod_api_secondary", "shop_prod_api_secondary.door"]);
        let expected = format!("{}:{secondary}->8000/tcp", server.address);
        assert_eq!(published(server, "shop_prod_api_secondary.door"), expected);
    }
    is(&project, "api", "RUNNING", "secondary", "2.0");
    traffic.phase("2.0");
    std::thread::sleep(std::time::Duration::from_secs(1));

    traffic.phase("back");
    project.flipside(&["rollback", "-y"]).exits(0);
    serves(&servers, "1.0");
    is(&project, "api", "RUNNING", "primary", "1.0");
    is(&project, "echo", "RUNNING", "primary", "1.0");

    traffic.phase("forward");
    project.flipside(&["rollback", "-y"]).exits(0);
    serves(&servers, "2.0");
    is(&project, "api", "RUNNING", "secondary", "2.0");

    traffic.phase("to 3.0");
    project.playbook(&shop("3.0", "3.0"));
    deploy(&project).exits(0);
    serves(&servers, "3.0");
    is(&project, "api", "RUNNING", "primary", "3.0");
    for server in &servers {
        assert_eq!(published(server, "shop_prod_api.door"), format!("{}:{base}->8000/tcp", server.address), "the first port again");
    }

    traffic.phase("3.0");
    traffic.end().none_failed().versions(&["1.0", "2.0", "3.0"]).only("2.0", "2.0").only("3.0", "3.0");
}

#[test]
fn nothing_changed_touches_nothing_and_force_toggles() {
    let fleet = Fleet::take();
    let project = Project::new(&fleet, &shop("1.0", "1.0"));
    deploy(&project).exits(0);

    let before = fleet.snapshot();
    deploy(&project).exits(0).says(&["nothing to do"]);
    assert_eq!(fleet.snapshot(), before);

    // One service alone: the other's containers stay what they are.
    let traffic = Traffic::http(&fleet.servers());
    let echo = |server: &Server| server.containers().into_iter().find(|(name, _)| name == "shop_prod_echo");
    let untouched: Vec<_> = fleet.servers().iter().map(echo).collect();
    project.flipside(&["deploy", "-y", "--force", "api"]).exits(0).says(&["1 service switched"]);
    is(&project, "api", "RUNNING", "secondary", "1.0");
    is(&project, "echo", "RUNNING", "primary", "1.0");
    assert_eq!(fleet.servers().iter().map(echo).collect::<Vec<_>>(), untouched);
    traffic.end().none_failed().versions(&["1.0"]);
}

#[test]
fn a_rollback_with_nothing_to_go_back_to_touches_nothing_and_fails() {
    let fleet = Fleet::take();
    let project = Project::new(&fleet, &(header("1.0") + &api_on(1, "1.0", "")));
    let before = fleet.snapshot();
    project.flipside(&["rollback", "-y"]).exits(3).says(&["nothing to go back to"]);
    assert_eq!(fleet.snapshot(), before, "on empty servers");
    deploy(&project).exits(0);
    let before = fleet.snapshot();
    project.flipside(&["rollback", "-y"]).exits(3).says(&["nothing to go back to", "nothing was touched"]);
    assert_eq!(fleet.snapshot(), before, "after the first deploy");
}

#[test]
fn one_server_publishes_no_host_port_and_the_mesh_works() {
    let fleet = Fleet::take();
    let server = fleet.server(1);
    let project = Project::new(&fleet, &(header("1.0") + &api_on(1, "1.0", "uses = [\"echo\"]") + &service_echo("1.0")));
    project.inventory(&inventory(&fleet, "root", &[1]));
    deploy(&project).exits(0).says(&["single_server"]);
    serves(std::slice::from_ref(&server), "1.0");

    let traffic = Traffic::http(std::slice::from_ref(&server));
    project.playbook(&(header("2.0") + &api_on(1, "2.0", "uses = [\"echo\"]") + &service_echo("2.0")));
    deploy(&project).exits(0);
    traffic.end().none_failed().versions(&["1.0", "2.0"]);

    let containers = server.containers();
    let apps: Vec<_> = containers.iter().filter(|(name, _)| name.starts_with("shop_")).collect();
    assert_eq!(apps.len(), 6, "both sides of api, its door, and echo: {apps:#?}");
    for (name, container) in apps {
        assert!(container.published().is_empty(), "{name} publishes {:?}", container.published());
    }
    let (internal, ..) = ports(&project, "echo");
    assert!(server.line_to_localhost(internal, "hello").ends_with(" hello"));
    let (status, body) = server.get(HOST, &format!("/call?port={internal}&line=hello"));
    assert!(status == 200 && body.trim().ends_with(" hello"), "{status}: {body}");
}
