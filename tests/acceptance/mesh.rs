//! `localhost:INTERNAL_PORT`: from an app's first instruction, from a host's process, and across every deploy of the backend; and a name in the
//! project's network that leads to the same place.
use crate::fleet::Fleet;
use crate::project::{Project, inventory};
use crate::shop::{api_on, deploy, header, is, ports, service_echo};
use crate::traffic::{HOST, Traffic};

#[test]
fn localhost_reaches_a_service_from_everywhere_and_from_the_first_instruction() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    // `api` connects to echo before it does anything else, and ends when that fails. It runs on two servers, echo on one, the host of
    // the third has neither.
    let more = "uses = [\"echo\"]\nenv = { APP_FIRST_CALL_VAR = \"ECHO_PORT\" }\nservers = [\"server1\", \"server2\"]";
    let playbook = |api: &str, echo: &str| {
        let api = api_on(2, api, more).replace("servers_count = 2\n", "");
        header("1.0") + &api + &service_echo(echo).replace("port = 9000\n", "port = 9000\nservers = [\"server2\"]\n")
    };
    let project = Project::new(&fleet, &playbook("1.0", "1.0"));
    deploy(&project).exits(0);
    let (internal, ..) = ports(&project, "echo");

    for server in &servers[..2] {
        let (_, env) = server.get(HOST, "/env");
        assert!(env.contains("ECHO_HOST=localhost\n") && env.contains(&format!("ECHO_PORT={internal}\n")), "{env}");
        let (status, body) = server.get(HOST, &format!("/call?port={internal}&line=hello"));
        assert!(status == 200 && body.starts_with("1.0 ") && body.ends_with(" hello\n"), "{}: {status} {body}", server.name);
    }
    for server in &servers {
        let line = server.line_to_localhost(internal, "hello");
        assert!(line.starts_with("1.0 ") && line.ends_with(" hello"), "{}: {line}", server.name);
    }

    // The apps' own connections, made inside their containers all the time, while echo is deployed twice and api once.
    let calls = |server: &crate::server::Server| format!("new:http://{}/call?port={internal}&line=ping#{HOST}", server.address);
    let traffic = Traffic::to(servers[..2].iter().map(calls)).and_inside(&servers[2], &[format!("tcp:127.0.0.1:{internal}")]);
    for (api, echo) in [("1.0", "2.0"), ("2.0", "3.0")] {
        project.playbook(&playbook(api, echo));
        deploy(&project).exits(0);
    }
    is(&project, "api", "RUNNING", "secondary", "1.0");
    is(&project, "echo", "RUNNING", "primary", "1.0");
    traffic.end().none_failed().versions(&["1.0", "2.0", "3.0"]);
}

#[test]
fn without_a_door_an_app_reaches_the_mesh_by_name_and_prefixes_name_the_variables() {
    let fleet = Fleet::take();
    let more = "mesh = \"network\"\nuses = { echo = \"BACK\" }\nenv = { ODD = \"it's \\\"$HOME\\\" `id` \\\\ ü\\n  two\" }";
    let project = Project::new(&fleet, &(header("1.0") + &api_on(2, "1.0", more) + &service_echo("1.0")));
    deploy(&project).exits(0);
    let (internal, ..) = ports(&project, "echo");
    let mut asked = 0;
    for server in fleet.servers() {
        let containers = server.running("shop_prod_api");
        if containers.is_empty() {
            continue;
        }
        asked += 1;
        assert_eq!(containers, ["shop_prod_api"], "no door");
        let (_, env) = server.get(HOST, "/env");
        assert!(env.contains("ODD=it's \"$HOME\" `id` \\ ü\n  two\n"), "every byte as it stands in the playbook: {env}");
        assert!(env.contains("BACK_HOST=mesh\n") && env.contains(&format!("BACK_PORT={internal}\n")), "{env}");
        let (status, body) = server.get(HOST, &format!("/call?host=mesh&port={internal}&line=hello"));
        assert!(status == 200 && body.starts_with("1.0 "), "{status}: {body}");
    }
    assert_eq!(asked, 2);
}

/// The example of a name in the project's network.
const NAMED: &str = include_str!("../../playbooks/alias.toml");

#[test]
fn a_name_leads_kept_connections_to_the_side_they_began_with_and_new_ones_to_the_live_one() {
    let fleet = Fleet::take();
    let server = fleet.server(1);
    let release =
        |version: &str| NAMED.replace("[rollout]\n", "[rollout]\nkeep = \"warm\"\n").replacen("app:1.0", &format!("app:{version}"), 1);
    let project = Project::new(&fleet, &release("1.0"));
    project.inventory(&inventory(&fleet, "root", &[1]));
    deploy(&project).exits(0);
    // Somebody has asked once what address the name has, and keeps it. An app asks each time.
    let address = "docker inspect -f '{{(index .NetworkSettings.Networks \"named_prod_network\").IPAddress}}' named_prod_cache.alias";
    let known = server.must(address);
    let targets = ["tcp", "tcpkeep"].map(|kind| format!("{kind}:{}:7000", known.trim()));
    let traffic =
        Traffic::to([format!("new:http://{}/call?host=cache&port=7000&line=ping#{HOST}", server.address)]).and_inside(&server, &targets);
    std::thread::sleep(std::time::Duration::from_secs(1));
    project.playbook(&release("2.0"));
    deploy(&project).exits(0);
    traffic.phase("after");
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(server.must(address), known, "its address stays");
    let mut seen = traffic.end().none_failed();
    let (kept, new) = seen.0.targets.drain(..).partition::<Vec<_>, _>(|target| target.target.starts_with("tcpkeep:"));
    seen.0.targets = kept;
    assert_eq!(seen.0.targets.len(), 1);
    let mut seen = seen.versions(&["1.0"]).only("after", "1.0");
    seen.0.targets = new;
    seen.versions(&["1.0", "2.0"]).only("after", "2.0");
}
