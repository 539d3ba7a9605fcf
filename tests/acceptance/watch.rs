//! `flipside watch`, and `playbooks/watch.toml`: a copy that answers 503, one that hangs, one that connections do not reach and a whole server that
//! is gone are taken out of every server's NGINX under traffic and come back; the last one never is. On a single server, too, where NGINX knows
//! copies by name. Deliberately absent: what each strategy does without it (see `strategies`).
use crate::balance::{Copies, names};
use crate::fleet::Fleet;
use crate::project::{Output, Project, inventory};
use crate::server::{Blocked, Server};
use crate::shop::{api_on, deploy, header, ports, status};
use crate::traffic::{HOST, Traffic};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const PLAYBOOK: &str = include_str!("../../playbooks/watch.toml");
const API: &str = "api.example.com";

/// Clients of each target.
const N_CLIENTS: u64 = 2;
const OUT: &str = "api, copy 1 on server2 is out of every upstream";
const BACK: &str = "api, copy 1 on server2 is in again";
const DB_OUT: &str = "db, copy 1 on server2 is out of every upstream";

/// The copy of this container says 503 to `/up` from now on, or 200 again.
pub(crate) fn toggle(server: &Server, container: &str) {
    toggle_all(server, [container]);
}

/// The same for several of this server's containers.
pub(crate) fn toggle_all(server: &Server, names: impl IntoIterator<Item = impl AsRef<str>>) {
    let containers = server.containers();
    for name in names {
        let name = name.as_ref();
        let published = containers.get(name).unwrap_or_else(|| panic!("no {name}")).published();
        let address = published.first().and_then(|port| port.split("->").next()).unwrap_or_else(|| panic!("{name} publishes nothing"));
        let mut stream = TcpStream::connect(address).expect("a copy that accepts");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        write!(stream, "GET /fail HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

/// Copies of `api` on these servers answer requests through every server's NGINX, and no others.
#[track_caller]
fn api_is_on(wanted: &[usize], copies: &Copies, servers: &[Server]) {
    for asked in servers {
        // Other clients ask at the same time: by chance, a few requests might all pass by a copy.
        let reached: BTreeSet<String> = (0..3).flat_map(|_| copies.who(asked, API, "/")).collect();
        assert_eq!(reached, names(wanted), "through {}", asked.name);
    }
}

fn once(project: &Project, code: i32) -> Output {
    project.flipside(&["watch", "--once"]).exits(code)
}

#[test]
fn what_fails_is_taken_out_and_comes_back_and_the_last_copy_stays() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let (one, two) = (&servers[0], &servers[1]);
    let project = Project::new(&fleet, PLAYBOOK);
    deploy(&project).exits(0);
    let copies = Copies::of(&fleet);
    let (db, db_published, _) = ports(&project, "db");
    once(&project, 0).says(&["6 copies of 3 services: all are in and answer"]);
    let mut watch = project.start(&["watch"]);
    watch.until_result("watches 6 copies of 3 services");
    let traffic = Traffic::to(["new", "keep"].map(|kind| format!("{kind}:http://{}/up#{API}", one.address)))
        .and_inside(one, &[format!("tcp:127.0.0.1:{db}")]);

    traffic.phase("answers 503");
    let began = Instant::now();
    toggle(two, "checked_prod_api");
    two.must("docker kill checked_prod_db");
    watch.until_result(OUT);
    println!("what answers 503 is out after {:.1} s", began.elapsed().as_secs_f64());
    watch.until_result(DB_OUT);
    // What was under way at the copy is left to end as it may.
    thread::sleep(Duration::from_secs(2));
    traffic.phase("answers 503: out");
    api_is_on(&[1, 3], &copies, &servers);
    let seen = status(&project, "api");
    assert_eq!(seen["state"], "DEGRADED", "{seen:#}");
    assert!(seen["troubles"].to_string().contains("copy 1 on server2 is out of every upstream"), "{seen:#}");
    thread::sleep(Duration::from_secs(1));
    traffic.phase("answers 503: back");
    toggle(two, "checked_prod_api");
    two.must("docker start checked_prod_db");
    watch.until_result(BACK);
    watch.until_result("db, copy 1 on server2 is in again");
    api_is_on(&[1, 2, 3], &copies, &servers);

    // One that hangs over TCP is not found: the kernel goes on taking connections for it, and no more is asked of it.
    traffic.phase("hangs");
    let began = Instant::now();
    two.must("docker pause checked_prod_db checked_prod_api");
    watch.until_result_times(OUT, 2);
    println!("what hangs is out after {:.1} s", began.elapsed().as_secs_f64());
    thread::sleep(Duration::from_secs(2));
    traffic.phase("hangs: out");
    api_is_on(&[1, 3], &copies, &servers);
    thread::sleep(Duration::from_secs(1));
    two.must("docker unpause checked_prod_db checked_prod_api");
    watch.until_result_times(BACK, 2);

    // Another run has the servers: it is waited for.
    traffic.phase("a deploy");
    two.nginx_is_taken();
    project.another_workstation();
    let mut other = project.start(&["deploy", "-y", "--force", "only"]);
    other.until("== switch");
    toggle(two, "checked_prod_api");
    watch.until_result("waits for server");
    two.nginx_is_let_go();
    other.end().exits(0);
    watch.until_result_times(OUT, 3);
    toggle(two, "checked_prod_api");
    watch.until_result_times(BACK, 3);

    // All copies of a service fail, one after the other: the last one stays, and gets all requests.
    traffic.phase("nobody is well");
    toggle_all(two, ["checked_prod_only_secondary", "checked_prod_api"]);
    toggle(&servers[2], "checked_prod_api");
    let began = Instant::now();
    let silent = Blocked::silently(two, db_published);
    watch.until_result("server2, only: its copy 1 fails its active checks and stays in");
    watch.until_result_times(OUT, 4);
    watch.until_result("api, copy 1 on server3 is out of every upstream");
    watch.until_result_times(DB_OUT, 2);
    println!("what connections do not reach is out after {:.1} s at most", began.elapsed().as_secs_f64());
    toggle(one, "checked_prod_api");
    watch.until_result("server1, api: its copy 1 fails its active checks and stays in");
    api_is_on(&[1], &copies, &servers);
    for asked in &servers {
        assert_eq!(asked.get(API, "/up"), (503, "the app says that it is not well\n".to_owned()), "through {}", asked.name);
    }
    watch.signal("INT");
    let said = watch.end().exits(0).says(&["only, copy 1 on server2 fails: status 503"]);
    assert_eq!(said.stdout.matches(DB_OUT).count(), 2, "{}", said.all());
    // Nobody watches: what is well again is out all the same, of every server's NGINX.
    drop(silent);
    toggle(one, "checked_prod_api");
    toggle(two, "checked_prod_api");
    toggle(&servers[2], "checked_prod_api");
    thread::sleep(Duration::from_secs(2));
    traffic.phase("nobody watches: out");
    api_is_on(&[1], &copies, &servers);
    for asked in &servers {
        let reached = copies.who_over_tcp(asked, db);
        assert!(reached.len() == 1 && !reached.contains("server2"), "through {}: {reached:?}", asked.name);
    }
    let all_back = [BACK, "api, copy 1 on server3 is in again", "db, copy 1 on server2 is in again"];
    once(&project, 10).says(&["only, copy 1 on server2 fails and stays in"]).says(&all_back);
    api_is_on(&[1, 2, 3], &copies, &servers);
    traffic.phase("one pass");
    toggle(two, "checked_prod_only_secondary");
    // One pass takes a copy out, and the next one takes it in.
    toggle(two, "checked_prod_api");
    once(&project, 10).says(&[OUT, "staged and tested generation"]);
    once(&project, 10).says_not(&["staged and tested generation"]);
    toggle(two, "checked_prod_api");
    once(&project, 0).says(&[BACK, "all are in and answer"]);
    let seen = traffic.end();
    for target in &seen.0.targets {
        let is_tcp = target.target.starts_with("tcp:");
        for phase in &target.phases {
            let (counts, lost) = (&phase.counts, phase.counts.failed + phase.counts.cuts);
            println!("{}: {}: {} sent, {lost} failed, slowest {:?} ms", target.target, phase.phase, counts.sent, counts.slowest_ms);
            let is_quiet = phase.phase.contains(": ");
            assert!(!is_quiet || lost == 0, "{}: {:#?}", phase.phase, target.failures);
            // A line that the copy had when it died, or fell silent, cannot be sent again. The next ones go elsewhere.
            assert!(!is_tcp || phase.phase == "hangs" || lost <= N_CLIENTS, "{}: {:#?}", phase.phase, target.failures);
            assert!(is_tcp || phase.phase != "answers 503" || lost > 0, "the fault was not seen");
        }
    }
    a_server_that_is_gone(&project, one, two, db);
}

/// Nobody can ask from it and nobody answers on it: the others see that, and what is there is out until it is back.
fn a_server_that_is_gone(project: &Project, one: &Server, two: &Server, db: u16) {
    let mut watch = project.start(&["watch", "api", "--output", "json"]);
    watch.until_result("watches 3 copies of 1 service");
    let traffic = Traffic::to([format!("new:http://{}/#{API}", one.address)]);
    let began = Instant::now();
    two.fault("stop", &[]);
    watch.until_result("\"what\":\"out\"");
    println!("what was on a server that is gone is out after {:.1} s", began.elapsed().as_secs_f64());
    is_given_up_over_tcp(one, two, db);
    two.fault("start", &[]);
    let began = Instant::now();
    watch.until_result("\"what\":\"in\"");
    println!("and in again {:.1} s after its start", began.elapsed().as_secs_f64());
    watch.signal("TERM");
    let said = watch.end().exits(0);
    for line in said.stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|problem| panic!("{problem}: {line}"));
        assert!(event["event"].is_string(), "{line}");
    }
    traffic.end().none_failed();
}

/// Of a service that nobody watches, NGINX itself gives up the copy over there, to which no connection can be made: of many lines, `max_fails` are
/// tried there in vain, those that are under way at the same time, and few more after each `fail_timeout`. Every line is answered.
fn is_given_up_over_tcp(one: &Server, two: &Server, db: u16) {
    let in_vain = || -> u64 {
        let line = format!("while connecting to upstream.* upstream: \"{}:", two.address);
        let n_lines = one.must(&format!("docker logs flipside_nginx 2>&1 >/dev/null | grep -c '{line}' || true"));
        n_lines.trim().parse().expect("a number")
    };
    let (before, began) = (in_vain(), Instant::now());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(one.answers_of_localhost("tcp", db, 50), BTreeMap::from([("1.0".to_owned(), 50)])));
        }
    });
    let n = in_vain() - before;
    println!("200 lines took {:.1} s, and {n} were tried in vain at a server that is gone", began.elapsed().as_secs_f64());
    assert!((1..=12).contains(&n), "{n}");
}

#[test]
fn copies_on_a_single_server_are_taken_out_by_their_names() {
    let fleet = Fleet::take();
    let one = fleet.server(1);
    let checks = "replicas = 3\nbalance = { active_checks = { interval = \"1s\", timeout = \"500ms\", fails = 2, passes = 2 } }";
    let project = Project::new(&fleet, &(header("1.0") + &api_on(1, "1.0", checks)));
    project.inventory(&inventory(&fleet, "root", &[1]));
    deploy(&project).exits(0).says(&["single_server"]);
    let copies = one.containers();
    let reached = || -> BTreeSet<String> {
        let copy = |(_, body): (u16, String)| {
            let name = body.trim().rsplit(' ').next().unwrap_or_default().to_owned();
            copies.iter().find(|(_, copy)| copy.id.starts_with(&name)).map_or(body, |(name, _)| name.clone())
        };
        (0..30).map(|_| copy(one.get(HOST, "/"))).collect()
    };
    // They publish nothing: who makes one ill asks from its server.
    let address = "docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' shop_prod_api_2";
    let toggle = || {
        assert!(
            one.must(&format!("exec 3<>/dev/tcp/$({address})/8000; printf 'GET /fail HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"))
                .contains(" 200 ")
        )
    };

    // One answers 503, and one is gone, with its name.
    let traffic = Traffic::to(["new", "keep"].map(|kind| format!("{kind}:http://{}/up#{HOST}", one.address)));
    traffic.phase("ill");
    toggle();
    one.must("docker kill shop_prod_api_3");
    once(&project, 10).says(&["api, copy 2 on server1 is out of every upstream", "api, copy 3 on server1 is out of every upstream"]);
    // What was under way at the copy is left to end as it may.
    thread::sleep(Duration::from_secs(2));
    traffic.phase("out");
    assert_eq!(reached(), BTreeSet::from(["shop_prod_api".to_owned()]));
    toggle();
    one.must("docker start shop_prod_api_3");
    once(&project, 0).says(&["api, copy 2 on server1 is in again", "api, copy 3 on server1 is in again", "all are in and answer"]);
    assert_eq!(reached(), ["", "_2", "_3"].map(|replica| format!("shop_prod_api{replica}")).into());
    for target in traffic.end().0.targets {
        let lost = |phase: &str| -> Option<u64> {
            let counts = target.phases.iter().find(|counts| counts.phase == phase).map(|phase| &phase.counts)?;
            (counts.sent > 50).then_some(counts.failed + counts.cuts)
        };
        assert!(lost("ill") > Some(0) && lost("out") == Some(0), "{}: {:#?}", target.target, target.phases);
    }
}
