//! Projects and environments that share servers: what one does, the others do not notice.
use crate::fleet::Fleet;
use crate::project::{Project, example, inventory};
use crate::server::Server;
use crate::shop::{api_on, deploy, header, is, ports, service_echo};
use crate::traffic::Traffic;
use std::collections::BTreeSet;

/// The example of a canary that waits, on the servers with a tag; and an inventory that has one.
const PROMOTE: &str = include_str!("../../playbooks/promote.toml");
const TAGGED: &str = include_str!("../../inventory/zones.toml");

#[test]
fn two_projects_and_two_environments_leave_each_other_alone() {
    let fleet = Fleet::take();
    let server = fleet.server(1);
    let two = inventory(&fleet, "root", &[1, 2]);
    let shop = Project::new(&fleet, &(header("1.0") + &api_on(2, "1.0", "uses = [\"echo\"]") + &service_echo("1.0")));
    let uat = Project::new(&fleet, &(header("2.0").replace("\"prod\"", "\"uat\"") + &api_on(2, "2.0", "").replace("shop.", "uat.")));
    let blog = Project::new(&fleet, &(header("3.0").replace("\"shop\"", "\"blog\"") + &api_on(2, "3.0", "").replace("shop.", "blog.")));
    [&shop, &uat, &blog].into_iter().for_each(|project| project.inventory(&two));
    deploy(&shop).exits(0);
    // Neighbours that move in, whose networks come before and after the shop's by name: its clients notice nothing.
    let traffic = Traffic::http(&[fleet.server(1), fleet.server(2)]);
    deploy(&uat).exits(0);
    deploy(&blog).exits(0);
    traffic.end().none_failed().versions(&["1.0"]);
    assert_eq!(server.get("shop.example.com", "/").1.split(' ').next(), Some("1.0"));
    assert_eq!(server.get("uat.example.com", "/").1.split(' ').next(), Some("2.0"));
    assert_eq!(server.get("blog.example.com", "/").1.split(' ').next(), Some("3.0"));
    // What is left out by name stays at the port where its clients are, although the playbook wants another one by now.
    let (internal, ..) = ports(&shop, "echo");
    let lines = [format!("tcp:127.0.0.1:{internal}")];
    let traffic = Traffic::http(&[fleet.server(2)]).and_inside(&fleet.server(2), &lines);
    let echo = service_echo("1.0") + &format!("internal_port = {}\n", if internal == 5555 { 5556 } else { 5555 });
    shop.playbook(&(header("2.0") + &api_on(2, "2.0", "uses = [\"echo\"]") + &echo));
    shop.flipside(&["deploy", "-y", "api"]).exits(0);
    is(&shop, "api", "RUNNING", "secondary", "2.0");
    shop.playbook(&(header("2.0") + &api_on(2, "2.0", "uses = [\"echo\"]") + &service_echo("1.0")));

    // A server joins, and the release stays what it is: its NGINX is set up, and reaches what runs elsewhere.
    shop.inventory(&inventory(&fleet, "root", &[1, 2, 3]));
    let joined = fleet.server(3);
    deploy(&shop).exits(0).says(&["[server3] switched NGINX"]).says_not(&["started shop_prod_"]);
    assert!(joined.line_to_localhost(internal, "hello").starts_with("1.0 "));
    assert_eq!((joined.get("shop.example.com", "/").1.split(' ').next(), joined.running("shop_")), (Some("2.0"), Vec::new()));
    traffic.end().none_failed();

    // The shop's clients while the neighbours deploy, fail, roll back and leave.
    let traffic = Traffic::http(&[fleet.server(1), fleet.server(2)]);
    let ours = |prefix: &str| server.containers().into_iter().filter(|(name, _)| name.starts_with(prefix)).collect::<Vec<_>>();
    let before = ours("shop_prod_");
    uat.playbook(&(header("3.0").replace("\"prod\"", "\"uat\"") + &api_on(2, "3.0", "").replace("shop.", "uat.")));
    deploy(&uat).exits(0);
    uat.flipside(&["rollback", "-y"]).exits(0);
    blog.flipside(&["remove", "api", "-y"]).exits(0).says(&["done"]);
    assert_eq!(ours("blog_"), Vec::new(), "nothing of it is left");
    assert_ne!(server.get("blog.example.com", "/").0, 200);
    assert!(server.run("ls /local/flipside/nginx/current/http.d").lines().all(|file| !file.starts_with("blog_")));
    assert_eq!(ours("shop_prod_"), before, "the stopped side, too, waits for a rollback");
    traffic.end().none_failed().versions(&["2.0"]);
    shop.flipside(&["rollback", "-y"]).exits(0);
    is(&shop, "api", "RUNNING", "primary", "1.0");
    is(&uat, "api", "RUNNING", "primary", "2.0");

    // The uat's api gets another name and keeps its host: the old one goes, and nobody else's of that name.
    let traffic = Traffic::to(
        [fleet.server(1), fleet.server(2)]
            .iter()
            .flat_map(|server| ["shop", "uat"].map(|name| format!("new:http://{}/#{name}.example.com", server.address))),
    );
    let renamed = api_on(2, "3.0", "").replace("shop.", "uat.").replace("[services.api]", "[services.site]");
    uat.playbook(&(header("3.0").replace("\"prod\"", "\"uat\"") + &renamed));
    uat.flipside(&["deploy", "-y", "--remove-orphans"]).exits(0).says(&["api: it is not in the playbook, and goes"]);
    traffic.end().none_failed();
    assert_eq!(server.get("uat.example.com", "/").1.split(' ').next(), Some("3.0"));
    assert_eq!(ours("shop_uat_api"), Vec::new());
    is(&shop, "api", "RUNNING", "primary", "1.0");

    // Both at once, the user and what it uses. The uat's clients do not notice.
    let traffic = Traffic::to(
        [fleet.server(1), fleet.server(2)]
            .iter()
            .flat_map(|server| ["new", "keep"].map(|kind| format!("{kind}:http://{}/#uat.example.com", server.address))),
    );
    shop.flipside(&["remove", "api", "echo", "-y"]).exits(0);
    traffic.end().none_failed().versions(&["3.0"]);
    assert_eq!(ours("shop_prod_"), Vec::new());
    is(&uat, "site", "RUNNING", "primary", "3.0");
}

#[test]
fn ports_that_are_taken_are_refused_or_moved_before_anything_changes() {
    let fleet = Fleet::take();
    let (server, other) = (fleet.server(1), fleet.server(2));
    let project = Project::new(&fleet, &(header("1.0") + &api_on(3, "1.0", "")));
    let (_, base, secondary) = ports(&project, "api");

    // A stranger on the hash's choice, before the first deploy: the next free pair, on every server, and the plan says so.
    other.fault("occupy", &[&secondary.to_string()]);
    deploy(&project).exits(0).says(&["taken by", &(base + 1).to_string()]);
    assert_eq!(ports(&project, "api").1, base + 1);
    let before = fleet.snapshot();

    // A stranger on the claimed port of the next side: refused.
    server.fault("occupy", &[&(secondary + 1).to_string()]);
    project.playbook(&(header("2.0") + &api_on(3, "2.0", "")));
    deploy(&project).exits(3).says(&["server1", &(secondary + 1).to_string(), "another program", "nothing was changed"]);
    assert_eq!(fleet.snapshot(), before);
    server.fault("vacate", &[]);
    deploy(&project).exits(0);
    is(&project, "api", "RUNNING", "secondary", "2.0");

    // A pinned port that is taken is never moved behind anybody's back.
    project.playbook(
        &(header("2.0")
            + &api_on(3, "2.0", "")
            + &service_echo("1.0").replace("port = 9000\n", "port = 9000\nhost_port = 8500\nservers = [\"server2\"]\n")),
    );
    other.fault("occupy", &["8500"]);
    deploy(&project).exits(3).says(&["8500"]);
}

#[test]
fn two_services_whose_hashes_collide_get_two_ports() {
    let fleet = Fleet::take();
    let server = fleet.server(1);
    let (one, two) = colliding();
    let service = |name: &str| service_echo("1.0").replace("[services.echo]", &format!("[services.{name}]")) + "servers = [\"server1\"]\n";
    // `api` on another server makes that host ports are published.
    let api = api_on(1, "1.0", "servers = [\"server2\"]").replace("servers_count = 1\n", "");
    let project = Project::new(&fleet, &(header("1.0") + &service(&one) + &service(&two) + &api));
    project.inventory(&inventory(&fleet, "root", &[1, 2]));
    deploy(&project).exits(0).says(&["taken by"]);
    let ((internal, first, _), (other, second, _)) = (ports(&project, &one), ports(&project, &two));
    assert!(first != second && internal != other, "{first} {second}");
    for port in [internal, other] {
        assert!(server.line_to_localhost(port, "hello").ends_with(" hello"));
    }
    // They keep them.
    project.flipside(&["deploy", "-y", "--force", &one]).exits(0);
    assert_eq!((ports(&project, &one).1, ports(&project, &two).1), (first, second));
}

/// Two service names with the same base port, found as any app could: by `md5sum`.
fn colliding() -> (String, String) {
    let script = "for n in $(seq 1 400); do h=$(printf %s shop_prod_s${n}_9000 | md5sum | cut -c1-8); echo \"$((0x$h % 1000)) s$n\"; done | sort | awk '$1 == last { print name, $2; exit } { last = $1; name = $2 }'";
    let output = std::process::Command::new("bash").args(["-c", script]).output().expect("bash");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (one, two) = text.trim().split_once(' ').expect("four hundred names collide");
    (one.to_owned(), two.to_owned())
}

#[test]
fn a_run_that_is_held_and_a_canary_that_waits_outlast_what_a_neighbour_deploys() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let three = inventory(&fleet, "root", &[1, 2, 3]);
    let release =
        |version: &str, rollout: &str| header(version).replace("[rollout]", &format!("[rollout]\n{rollout}")) + &api_on(3, version, "");
    let theirs = |version: &str| header(version).replace("\"shop\"", "\"blog\"") + &api_on(3, version, "").replace("shop.", "blog.");
    let held = "on_failure = \"hold\"\nmin_healthy_time = \"20s\"";
    let shop = Project::new(&fleet, &release("1.0", held));
    let blog = Project::new(&fleet, &theirs("1.0"));
    [&shop, &blog].into_iter().for_each(|project| project.inventory(&three));
    deploy(&shop).exits(0);
    deploy(&blog).exits(0);
    let answers = |version: &str, other: &str| {
        for server in &servers {
            assert_eq!(server.get("shop.example.com", "/").1.split(' ').next(), Some(version), "{}", server.name);
            assert_eq!(server.get("blog.example.com", "/").1.split(' ').next(), Some(other), "{}", server.name);
        }
    };

    // Switched everywhere, and held there; the neighbour deploys; all goes back, and the neighbour stays.
    let hosts = ["shop", "blog"];
    let traffic =
        Traffic::to(servers.iter().flat_map(|server| hosts.map(|name| format!("new:http://{}/#{name}.example.com", server.address))));
    shop.playbook(&release("2.0", held));
    let mut run = shop.start(&["deploy", "-y"]);
    run.until("== watch");
    servers[1].must("docker kill shop_prod_api_secondary");
    run.end().exits(8).says(&["and is HELD"]);
    blog.playbook(&theirs("2.0"));
    deploy(&blog).exits(0);
    answers("2.0", "2.0");
    shop.inventory(&(three.clone() + "zone = \"elsewhere\"\n"));
    shop.flipside(&["resume"]).exits(3).says(&["the inventory is another one than that of the run, which stays as it is"]);
    shop.inventory(&three);
    shop.flipside(&["status"]).says(&["a deploy failed here and is held"]);
    shop.flipside(&["abort"]).exits(0);
    answers("1.0", "2.0");
    is(&shop, "api", "RUNNING", "primary", "1.0");
    is(&blog, "api", "RUNNING", "secondary", "2.0");

    // A canary waits on the server that has the tag, the neighbour deploys again, and the canary is promoted.
    shop.inventory(&example(&fleet, TAGGED).replace("zone = \"fra1\"", "zone = \"lon1\""));
    shop.playbook(&PROMOTE.replace("app:1.0", "app:2.0").replace("version = \"1.0\"", "version = \"2.0\""));
    deploy(&shop).exits(9).says(&["waits for promotion"]);
    let versions =
        |server: &Server| (0..40).map(|_| server.get("shop.example.com", "/").1.chars().take(3).collect()).collect::<BTreeSet<String>>();
    assert_eq!(versions(&servers[0]).len(), 2, "it has the tag");
    assert!(servers[1..].iter().all(|server| versions(server) == BTreeSet::from(["1.0".to_owned()])), "they have none");
    blog.playbook(&theirs("3.0"));
    deploy(&blog).exits(0);
    shop.flipside(&["promote"]).exits(0);
    answers("2.0", "3.0");
    is(&shop, "api", "RUNNING", "secondary", "2.0");
    is(&blog, "api", "RUNNING", "primary", "3.0");
    let seen = traffic.end().none_failed();
    println!(
        "{} requests while a neighbour deployed beside a held run and a canary",
        seen.0.targets.iter().map(|of| of.total.sent).sum::<u64>()
    );
    deploy(&shop).exits(0).says(&["nothing to do"]);
}
