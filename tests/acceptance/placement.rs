//! Where services run: replicas, growing from one server to more and back, users who log in, templates of one's own.
use crate::fleet::Fleet;
use crate::project::{Project, inventory};
use crate::server::Server;
use crate::shop::{api_on, deploy, header, is, ports, service_echo, status};
use crate::traffic::{HOST, Traffic};
use std::process::Command;

#[test]
fn one_unhealthy_replica_puts_all_of_them_back_and_a_broken_one_is_mixed() {
    let fleet = Fleet::take();
    let playbook = |tag: &str| header(tag) + &api_on(2, tag, "replicas = 3");
    let project = Project::new(&fleet, &playbook("1.0"));
    project.inventory(&inventory(&fleet, "root", &[1, 2]));
    deploy(&project).exits(0);
    let (one, two) = (fleet.server(1), fleet.server(2));
    assert_eq!(one.running("shop_"), ["shop_prod_api", "shop_prod_api_2", "shop_prod_api_3"]);
    // All of them answer.
    let names: std::collections::BTreeSet<String> = (0..60).map(|_| one.get(HOST, "/").1).collect();
    assert_eq!(names.len(), 6, "{names:?}");

    let traffic = Traffic::http(&[one.clone(), two.clone()]);
    // Slower probes, so that there is time to break what they ask.
    project.playbook(&playbook("2.0").replace("200ms", "1s"));
    let mut run = project.start(&["deploy", "-y"]);
    run.until("[server2] started shop_prod_api_3_secondary ");
    run.signal("STOP");
    two.must("docker kill shop_prod_api_3_secondary");
    run.signal("CONT");
    run.end().exits(5).says(&["shop_prod_api_3_secondary", "server2", "everything was put back"]);
    is(&project, "api", "RUNNING", "primary", "1.0");
    assert_eq!(two.running("shop_"), ["shop_prod_api", "shop_prod_api_2", "shop_prod_api_3"]);
    deploy(&project).exits(0);
    traffic.end().none_failed().versions(&["1.0", "2.0"]);

    one.must("docker stop -t 1 shop_prod_api_2_secondary");
    let seen = status(&project, "api");
    assert_eq!(
        (seen["state"].as_str(), seen["n_running"].as_u64(), seen["n_wanted"].as_u64()),
        (Some("MIXED"), Some(5), Some(6)),
        "{seen:#}"
    );
    assert!(seen["troubles"].to_string().contains("shop_prod_api_2_secondary on server1 is exited"), "{seen:#}");
    for server in [&one, &two] {
        server.must("docker stop -t 1 $(docker ps -q --filter label=flipside.service=api)");
    }
    assert_eq!(status(&project, "api")["state"], "DOWN");
}

/// An NGINX that passes everything on to `api:8000`, whose name it looks up when it starts and never again.
const STRANGER: &str = "docker run -d --name stranger --network shop_prod_network -p 7777:80 --entrypoint /bin/sh flipside/nginx:stable -c \
    'printf %s \"events {} http { server { listen 80; location / { proxy_pass http://api:8000; } } }\" >/tmp/n.conf; exec nginx -c /tmp/n.conf -g \"daemon off;\"'";

#[test]
fn growing_to_three_servers_and_shrinking_to_one_loses_no_request() {
    let fleet = Fleet::take();
    let on = |n_servers: usize, tag: &str, more: &str| header(tag) + &api_on(n_servers, tag, more);
    // Two services over TCP: one stays, one leaves.
    let (echo, spare) =
        (|tag: &str, more: &str| service_echo(tag) + more, |tag: &str, more: &str| service_echo(tag).replace("echo", "spare") + more);
    let project = Project::new(&fleet, &(on(1, "1.0", "alias = true") + &echo("1.0", "") + &spare("1.0", "")));
    let of = |numbers: &[usize]| project.inventory(&inventory(&fleet, "root", numbers));
    let running = |service: &str| {
        let count = |server: &Server| server.running(&format!("shop_prod_{service}")).iter().filter(|name| !name.contains('.')).count();
        fleet.servers().iter().map(count).collect::<Vec<_>>()
    };
    of(&[1]);
    deploy(&project).exits(0).says(&["single_server"]);
    let first = fleet.server(1);
    // A stranger in the project's network, who has asked once what address the name `api` has, and keeps it.
    first.must(STRANGER);
    let targets = [("new", 80), ("keep", 80), ("new", 7777)].map(|(kind, port)| format!("{kind}:http://{}:{port}/#{HOST}", first.address));
    let (internal, ..) = ports(&project, "echo");
    let lines = [format!("tcp:127.0.0.1:{internal}")];
    let traffic = Traffic::to(targets).and_inside(&first, &lines);

    // Two servers join, with more copies, of the service over TCP, too, which is used from now on and reached from all of them.
    of(&[1, 2, 3]);
    let two = "servers_count = 2\n";
    project.playbook(&(on(3, "2.0", "replicas = 2\nuses = [\"echo\"]\nalias = true") + &echo("2.0", two) + &spare("2.0", two)));
    deploy(&project).exits(0).says(&["multi_server"]);
    let sum = |service: &str| running(service).iter().sum::<usize>();
    assert_eq!((running("api"), sum("echo"), sum("spare")), (vec![2, 2, 2], 2, 2));
    traffic.phase("grown");
    for server in fleet.servers() {
        let line = server.line_to_localhost(internal, "hello");
        assert!(line.starts_with("2.0 ") && line.ends_with(" hello"), "{}: {line}", server.name);
    }

    // Fewer servers and copies of the same images, and one service leaves the playbook: it stays until it is asked away.
    let everywhere = fleet.servers()[1..].iter().fold(Traffic::http(&fleet.servers()), |all, server| all.and_inside(server, &lines));
    traffic.phase("shrinking");
    let on_first = "servers = [\"server1\"]\n";
    let uses = "uses = [\"echo\"]\nalias = true";
    project.playbook(&(header("3.0") + &api_on(2, "2.0", uses) + &echo("2.0", on_first)));
    project
        .flipside(&["plan"])
        .exits(0)
        .says(&["spare: it is not in the playbook, and goes on: 3 containers on ", "flipside remove spare"])
        .says(&["replica 2 on server1 is not wanted any more"]);
    let output = project.flipside(&["deploy", "-y", "--remove-orphans"]).exits(0).says(&["== take away spare", "2.0 removed"]);
    assert_eq!((running("spare"), running("echo")), (vec![0; 3], vec![1, 0, 0]), "{}", output.all());
    let mut api = running("api");
    assert!(fleet.servers().iter().all(|server| !server.run("ls /local/flipside/nginx/current/stream.d").contains("spare")));
    assert!(fleet.servers().iter().all(|server| !server.run("docker ps -a --format '{{.Names}}'").contains("spare")));
    everywhere.end().none_failed().versions(&["2.0"]);
    is(&project, "api", "RUNNING", "primary", "3.0");
    assert!(status(&project, "spare").is_null());

    // The server that runs one of the copies leaves the inventory, and the release stays what it is: the copy comes to another one.
    let (gone, stays) = if api[2] == 1 { (3, 2) } else { (2, 3) };
    of(&[1, stays]);
    traffic.phase("inventory");
    let other = Traffic::http(&[fleet.server(stays)]).and_inside(&fleet.server(stays), &lines);
    deploy(&project).exits(0).says(&["multi_server", &format!("server{gone}: it is not in the inventory any more, and has api")]);
    api = running("api");
    assert_eq!((api[0], api[stays - 1], api[gone - 1]), (1, 1, 1), "what cannot be asked goes on");
    let routes = first.must("cat /local/flipside/nginx/current/http.d/shop_prod_api.conf");
    assert!(!routes.contains(&fleet.server(gone).address), "{routes}");
    is(&project, "api", "RUNNING", "secondary", "3.0");
    other.end().none_failed().versions(&["2.0"]);

    // And one that stays is not wanted any more: all is on one server again.
    traffic.phase("alone");
    let alone = api_on(1, "3.0", &format!("{on_first}{uses}")).replace("servers_count = 1\n", "");
    project.playbook(&(header("4.0") + &alone + &echo("3.0", on_first)));
    let before = fleet.snapshot();
    let cut_off = format!("api: it uses echo, and stays as it is on server{stays}, from where echo is out of reach then");
    project.flipside(&["deploy", "echo", "-y"]).exits(3).says(&[&cut_off, "deploy api along with echo"]);
    assert_eq!(fleet.snapshot(), before);
    deploy(&project).exits(0).says(&["single_server"]);
    api = running("api");
    assert_eq!((api[0], api[stays - 1], running("echo")), (1, 0, vec![1, 0, 0]));
    is(&project, "api", "RUNNING", "primary", "4.0");
    traffic.end().none_failed().versions(&["1.0", "2.0", "3.0"]).only("grown", "2.0").only("inventory", "2.0");
}

#[test]
fn users_of_the_docker_group_and_of_sudo_deploy_as_root_does() {
    let fleet = Fleet::take();
    let project = Project::new(&fleet, &(header("1.0") + &api_on(2, "1.0", "")));
    // /local belongs to root. Its owner is the one thing here that a reset of the fleet does not put back.
    for server in fleet.servers() {
        server.must("chown root:root /local");
    }
    project.inventory(&inventory(&fleet, "deploy", &[1, 2, 3]));
    deploy(&project).exits(3).says(&["deploy cannot write /local", "sudo install -d -o deploy /local"]);
    for server in fleet.servers() {
        server.must("install -d -o deploy /local");
    }
    deploy(&project).exits(0);
    let traffic = Traffic::http(&fleet.servers());
    project.playbook(&(header("2.0") + &api_on(2, "2.0", "")));
    deploy(&project).exits(0);
    // By another user: one server more, and a second copy on each, of the same image.
    let sudo = inventory(&fleet, "admin", &[1, 2, 3]).replace("[defaults]\n", "[defaults]\nbecome = \"sudo\"\n");
    project.inventory(&sudo);
    project.playbook(&(header("3.0") + &api_on(3, "2.0", "replicas = 2")));
    deploy(&project).exits(0).says(&[" is not on server1"]);
    is(&project, "api", "RUNNING", "primary", "3.0");
    assert!(fleet.servers().iter().all(|server| server.running("shop_") == ["shop_prod_api", "shop_prod_api_2"]));
    traffic.end().none_failed().versions(&["1.0", "2.0"]);
    // Without sudo, admin has no right to docker.
    project.inventory(&inventory(&fleet, "admin", &[1, 2, 3]));
    let before = fleet.snapshot();
    let output = deploy(&project).says(&["admin", "docker"]);
    assert!(matches!(output.exit, Some(3 | 4)), "{}", output.all());
    assert_eq!(fleet.snapshot(), before);
}

#[test]
fn a_template_of_ones_own_replaces_one_file_and_a_wrong_one_changes_nothing() {
    let fleet = Fleet::take();
    let snippets = "snippets = { server = \"add_header X-Own $upstream_addr always;\", location = \"expires 1h;\" }";
    let own = api_on(2, "1.0", "")
        .replace("proxy = { hosts = [\"shop.example.com\"] }", &format!("proxy = {{ hosts = [\"shop.example.com\"], {snippets} }}"));
    let project = Project::new(&fleet, &(header("1.0") + &own));
    let built_in = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/http_service.conf.j2")).expect("a template");
    std::fs::create_dir(project.path("mine")).expect("a folder");
    let write = |text: String| std::fs::write(project.path("mine/http_service.conf.j2"), text).expect("a template");
    write(format!("{built_in}\n# mine\n"));
    project.flipside(&["--templates", "mine", "deploy", "-y"]).exits(0);
    let server = fleet.server(1);
    assert!(server.must("cat /local/flipside/nginx/current/http.d/shop_prod_api.conf").contains("# mine"));
    let (status, headers) = server.get(HOST, "/headers?logged");
    assert_eq!(status, 200);

    // NGINX writes down who answered, and the request's id that the app was told.
    let id = headers.lines().find_map(|line| line.strip_prefix("X-Request-ID: ")).unwrap_or_else(|| panic!("{headers}"));
    let (_, base, _) = ports(&project, "api");
    let logged = server.must("docker logs flipside_nginx 2>/dev/null | grep -F /headers?logged");
    let words: Vec<&str> = logged.split_whitespace().collect();
    assert_eq!(
        (&words[1..6], words.len()),
        (&["\"shop.example.com\"", "\"GET", "/headers?logged", "HTTP/1.1\"", "200"][..], 12),
        "{logged}"
    );
    let is_a_copy = fleet.servers().iter().any(|server| words[8] == format!("{}:{base}", server.address));
    assert!(is_a_copy && words[9] == "200" && words[11] == id, "{id}, {base}: {logged}");
    // What was said to NGINX itself acts, in the block of the hosts and in that of the service.
    let heads = Command::new("curl")
        .args(["-sS", "-m", "10", "-o", "-", "-i", "-H", &format!("Host: {HOST}"), &format!("http://{}/", server.address)])
        .output();
    let seen = String::from_utf8_lossy(&heads.expect("curl runs").stdout).into_owned();
    let is_told = fleet.servers().iter().any(|server| seen.contains(&format!("X-Own: {}:{base}\r", server.address)));
    assert!(is_told && seen.contains("Cache-Control: max-age=3600"), "{seen}");

    let before = fleet.snapshot();
    project.playbook(&(header("2.0") + &api_on(2, "2.0", "")));
    write(format!("{built_in}\nthis is no directive;\n"));
    let output = project.flipside(&["--templates", "mine", "deploy", "-y"]).says(&["unknown directive \"this\"", "shop_prod_api.conf"]);
    assert!(matches!(output.exit, Some(3 | 5)), "{}", output.all());
    assert_eq!(fleet.snapshot(), before, "{}", output.all());
    write("{% if %}".to_owned());
    project.flipside(&["--templates", "mine", "deploy", "-y"]).exits(2).says(&["http_service.conf.j2"]);
}
