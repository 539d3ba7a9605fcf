//! What hands do to a server behind Flipside's back: seen, explained, never overwritten silently, and set right by `--repair`.
use crate::fleet::Fleet;
use crate::project::{Project, inventory};
use crate::server::Server;
use crate::shop::{api_on, deploy, header, is, service_echo, status};
use crate::traffic::{HOST, Traffic};
use std::thread;
use std::time::{Duration, Instant};

const FILE: &str = "/local/flipside/nginx/current/http.d/shop_prod_api.conf";
const RELOAD: &str = "docker exec flipside_nginx nginx -s reload -c /flipside/nginx/current/nginx.conf";

/// The generation that `current` leads to.
fn live(server: &Server) -> String {
    server.must("readlink /local/flipside/nginx/current").trim().replace("releases/", "")
}

#[test]
fn what_was_changed_by_hand_is_told_and_never_overwritten_silently() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let (first, second, third) = (&servers[0], &servers[1], &servers[2]);
    let project = Project::new(&fleet, &(header("1.0") + &api_on(3, "1.0", "")));
    deploy(&project).exits(0);
    let (made, old) = (live(first), live(second));
    project.playbook(&(header("2.0") + &api_on(3, "2.0", "")));
    deploy(&project).exits(0);
    let traffic = Traffic::http(&servers);

    // A file edited and one added on one server, and its container renamed; the link moved on another; the old side started on the third.
    traffic.phase("changed by hand");
    let text = first.must(&format!("cat {FILE}"));
    first.must(&format!(
        "sed -i 's/keepalive_timeout 1s/keepalive_timeout 2s/' {FILE} && echo '# mine' > {} && {RELOAD}",
        FILE.replace("shop_prod_api", "mine")
    ));
    first.must("docker rename shop_prod_api_secondary my_api");
    let served = live(second);
    let moved = second.must("ls -1t /local/flipside/nginx/releases | tail -n 2 | head -n 1");
    second.must(&format!("ln -sfn releases/{} /local/flipside/nginx/current", moved.trim()));
    third.must("docker start shop_prod_api");
    let before = fleet.snapshot();
    let words = [
        "NGINX file http.d/shop_prod_api.conf was edited by hand: line 19 is `keepalive_timeout 2s;`, and was made as `keepalive_timeout 1s;`",
        "NGINX file http.d/mine.conf was added by hand",
        "container my_api carries the labels of shop_prod_api_secondary",
        &format!("NGINX serves generation {served} while the files on disk are {}", moved.trim()),
        "the primary side runs too, on server3",
    ];
    project.flipside(&["status"]).exits(0).says(&words).says(&["DEGRADED"]);
    let beside = "shop_prod_api of the primary side runs beside the live one";
    project.flipside(&["plan"]).exits(3).says(&words[..4]).says(&[beside, "-    keepalive_timeout 2s;", "+    keepalive_timeout 1s;"]);
    deploy(&project).exits(3).says(&words[..4]).says(&["nothing was changed on any server"]);
    assert_eq!(fleet.snapshot(), before, "nothing was touched");
    assert_ne!(first.must(&format!("cat {FILE}")), text, "the edit is there");

    traffic.phase("repaired");
    project.flipside(&["deploy", "-y", "--repair"]).exits(0).says(&["this run sets it right", "this run drains and stops it"]);
    assert_eq!(first.must(&format!("cat {FILE}")), text);
    assert_eq!(first.run(&format!("cat {}", FILE.replace("shop_prod_api", "mine"))), "");
    for server in [first, third] {
        assert_eq!(server.running("shop_prod_api"), ["shop_prod_api_secondary"], "{}", server.name);
    }
    deploy(&project).exits(0).says(&["nothing to do"]).says_not(&["by hand"]);
    is(&project, "api", "RUNNING", "secondary", "2.0");

    // What is gone and was nobody's work comes back without a question: a generation's folder, the link, the host's door.
    traffic.phase("gone");
    first.must("rm -r /local/flipside/nginx/releases/$(basename $(readlink /local/flipside/nginx/current))");
    second.must("rm /local/flipside/nginx/current");
    third.must("docker rm -f flipside_door");
    project.flipside(&["status"]).exits(0).says(&["are gone", "the link `current` is gone", "flipside_door is gone"]);
    deploy(&project).exits(0);
    deploy(&project).exits(0).says(&["nothing to do"]);
    assert_ne!(live(first), made);

    // The old side started everywhere, and one server switched to it by hand, with a reload: the fleet is brought to one side.
    traffic.phase("switched by hand");
    for server in &servers {
        server.must("docker start shop_prod_api");
    }
    second.must(&format!("sleep 1; ln -sfn releases/{old} /local/flipside/nginx/current && {RELOAD}"));
    let words = ["server2 routes the primary side", "somebody has switched by hand", "MIXED"];
    project.flipside(&["status"]).exits(0).says(&words);
    deploy(&project).exits(0).says(&["servers route different sides", "now the deploy itself", "this run drains and stops it"]);
    project.flipside(&["deploy", "-y", "--repair"]).exits(0).says(&["nothing to do"]);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    for server in &servers {
        assert_eq!(server.running("shop_prod_api"), ["shop_prod_api_secondary"]);
    }
    // Under the names that the next side needs: a container of another project, and one that somebody started by hand.
    traffic.phase("strangers");
    first.must("docker rm -f shop_prod_api && docker run -d --name shop_prod_api --label flipside.project=blog --label flipside.env=prod flipside/app:1.0");
    second.must("docker rm -f shop_prod_api && docker run -d --name shop_prod_api flipside/app:1.0");
    project.playbook(&(header("3.0") + &api_on(3, "3.0", "")));
    let before = fleet.snapshot();
    let words = [
        "server1, api: a container of blog/prod that is not this project's has the name shop_prod_api (image flipside/app:1.0)",
        "server2, api: a container that is not this project's has the name shop_prod_api (image flipside/app:1.0)",
        "rename it: docker rename shop_prod_api shop_prod_api_other",
    ];
    project.flipside(&["plan"]).exits(3).says(&words);
    project.flipside(&["deploy", "-y", "--repair"]).exits(3).says(&words).says(&["nothing was changed on any server"]);
    project.flipside(&["status"]).exits(0).says(&words[..2]);
    assert_eq!(fleet.snapshot(), before, "what is not ours is not touched, not even to repair");
    for server in [first, second] {
        server.must("docker rename shop_prod_api shop_prod_api_other");
    }
    project.playbook(&(header("2.0") + &api_on(3, "2.0", "")));
    deploy(&project).exits(0).says(&["nothing to do"]);
    for server in [first, second] {
        assert_eq!(server.running("shop_prod_api"), ["shop_prod_api_other", "shop_prod_api_secondary"]);
        server.must("docker rm -f shop_prod_api_other");
    }
    traffic.phase("2.0");
    thread::sleep(Duration::from_millis(500));
    traffic.end().none_failed().only("repaired", "2.0").only("gone", "2.0").only("2.0", "2.0");
}

#[test]
fn what_nginx_cannot_take_never_replaces_what_it_serves() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let project = Project::new(&fleet, &(header("1.0") + &api_on(3, "1.0", "")));
    deploy(&project).exits(0);
    let traffic = Traffic::http(&servers);
    let first = live(&servers[0]);

    // A template of the user's with a name that does not resolve.
    traffic.phase("a name that does not resolve");
    let templates = project.path("broken");
    std::fs::create_dir(&templates).expect("a folder");
    let template = include_str!("../../templates/http_service.conf.j2")
        .replace("location / {", "location /other { proxy_pass http://nowhere.invalid; }\n    location / {");
    std::fs::write(templates.join("http_service.conf.j2"), template).expect("a template");
    project.flipside(&["--templates", "broken", "deploy", "-y"]).exits(5).says(&[
        "NGINX refuses generation",
        "host not found in upstream \"nowhere.invalid\"",
        "everything was put back",
    ]);
    assert_eq!(live(&servers[0]), first);

    // A reload that fails: a stranger holds the socket's name that the next generation listens on.
    traffic.phase("a reload that fails");
    servers[1].must("docker exec flipside_nginx sh -c 'mkdir /flipside/run/shop_prod_more.sock'");
    let more = "\n[services.more]\nimage = \"flipside/app:1.0\"\nport = 8000\nprotocol = \"http\"\nservers_count = 1\nhealth_check = { path = \"/up\", interval = \"200ms\", deadline = \"8s\" }\n";
    project.playbook(&(header("1.0") + &api_on(3, "1.0", "") + more));
    deploy(&project).exits(5).says(&["did not take over generation", "was put back and is served", "everything was put back"]);
    is(&project, "api", "RUNNING", "primary", "1.0");
    servers[1].must("rmdir /local/flipside/run/shop_prod_more.sock");
    traffic.end().none_failed().versions(&["1.0"]);

    // A container is gone from one of three servers: the others answer for it.
    servers[2].must("docker rm -f shop_prod_api");
    project.playbook(&(header("1.0") + &api_on(3, "1.0", "")));
    assert_eq!(servers[2].get(HOST, "/").0, 200);
    is(&project, "api", "MIXED", "primary", "1.0");
    project.flipside(&["plan"]).exits(0).says(&["replica 1 is not on server3"]);
    the_only_container_is_gone(&fleet);
}

/// On one server alone NGINX knows containers by name. Where the only one of a service is gone, the name does not resolve: NGINX starts all
/// the same, and what does not need it is served, and deployed.
fn the_only_container_is_gone(fleet: &Fleet) {
    let (server, host) = (fleet.server(1), "blog.example.com");
    let blog = |tag: &str| (header(tag) + &api_on(1, tag, "uses = [\"echo\"]") + &service_echo("1.0")).replace("shop", "blog");
    let project = Project::new(fleet, &blog("1.0"));
    project.inventory(&inventory(fleet, "root", &[1]));
    deploy(&project).exits(0).says(&["single_server"]);
    server.must("docker rm -f blog_prod_echo && docker restart flipside_nginx");
    let began = Instant::now();
    while server.get(host, "/").0 != 200 {
        assert!(began.elapsed() < Duration::from_secs(20), "{}", server.run("docker logs --tail 20 flipside_nginx 2>&1"));
        thread::sleep(Duration::from_millis(100));
    }
    let traffic = Traffic::to(["new", "keep"].map(|kind| format!("{kind}:http://{}/#{host}", server.address)));
    assert_eq!(status(&project, "echo")["state"], "DOWN");
    project.flipside(&["plan"]).exits(0).says(&["echo", "replica 1 is not on server1"]);
    project.playbook(&blog("2.0"));
    project.flipside(&["deploy", "-y", "api"]).exits(0).says_not(&["started blog_prod_echo"]);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    assert_eq!(status(&project, "echo")["live"], "primary", "its route is not touched");
    deploy(&project).exits(0);
    is(&project, "echo", "RUNNING", "secondary", "2.0");

    // The engine's answers to NGINX's questions for names are lost: nothing is switched before NGINX has found the new side.
    let answers_to_names = |word: &str| {
        let inside = "nsenter -n -t $(docker inspect -f '{{.State.Pid}}' flipside_nginx)";
        server.must(&format!("{inside} iptables -{word} INPUT -s 127.0.0.11 -p udp -j DROP"));
    };
    answers_to_names("I");
    project.playbook(&blog("3.0"));
    project
        .flipside(&["deploy", "-y", "api"])
        .exits(5)
        .says(&["check that NGINX finds the primary side of api", "everything was put back"]);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    answers_to_names("D");
    project.flipside(&["deploy", "-y", "api"]).exits(0);
    is(&project, "api", "RUNNING", "primary", "3.0");
    traffic.end().none_failed().versions(&["1.0", "2.0", "3.0"]);
}
