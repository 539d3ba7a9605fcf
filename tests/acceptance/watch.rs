//! `flipside watch`, and `playbooks/watch.toml`: a copy that answers 503, one that hangs and a whole server that is gone are taken out under
//! traffic and come back; the last one never is. Deliberately absent: what each strategy does without it (see `strategies`).
use crate::fleet::Fleet;
use crate::project::{Output, Project};
use crate::server::Server;
use crate::shop::{deploy, status};
use crate::traffic::Traffic;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const PLAYBOOK: &str = include_str!("../../playbooks/watch.toml");
const API: &str = "api.example.com";

/// The copy of this container says 503 to `/up` from now on, or 200 again.
pub(crate) fn toggle(server: &Server, container: &str) {
    let containers = server.containers();
    let published = containers.get(container).unwrap_or_else(|| panic!("no {container}")).published();
    let address = published.first().and_then(|port| port.split("->").next()).unwrap_or_else(|| panic!("{container} publishes nothing"));
    let mut stream = TcpStream::connect(address).expect("a copy that accepts");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    write!(stream, "GET /fail HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// The names that answer 20 requests to this server's NGINX.
fn who(server: &Server) -> BTreeSet<String> {
    (0..20).map(|_| server.get(API, "/").1.trim().to_owned()).collect()
}

fn once(project: &Project, code: i32) -> Output {
    project.flipside(&["watch", "--once"]).exits(code)
}

#[test]
fn what_fails_is_taken_out_and_comes_back_and_the_last_copy_stays() {
    let fleet = Fleet::take();
    let (one, two) = (fleet.server(1), fleet.server(2));
    let project = Project::new(&fleet, PLAYBOOK);
    deploy(&project).exits(0);
    once(&project, 0).says(&["6 copies of 3 services: all are in and answer"]);
    let mut watch = project.start(&["watch"]);
    watch.until_result("watches 6 copies of 3 services");
    let traffic = Traffic::to(["new", "keep"].map(|kind| format!("{kind}:http://{}/up#{API}", one.address)));
    let (out, back) = ("api, copy 1 on server2 is out of every upstream", "api, copy 1 on server2 is in again");

    traffic.phase("answers 503");
    toggle(&two, "checked_prod_api");
    two.must("docker kill checked_prod_db");
    watch.until_result(out);
    watch.until_result("db, copy 1 on server2 is out of every upstream");
    // What was under way at the copy is left to end as it may.
    thread::sleep(Duration::from_secs(2));
    traffic.phase("answers 503: out");
    assert_eq!(who(&one).len(), 2, "two copies answer");
    let seen = status(&project, "api");
    assert_eq!(seen["state"], "DEGRADED", "{seen:#}");
    assert!(seen["troubles"].to_string().contains("copy 1 on server2 is out of every upstream"), "{seen:#}");
    thread::sleep(Duration::from_secs(1));
    traffic.phase("answers 503: back");
    toggle(&two, "checked_prod_api");
    two.must("docker start checked_prod_db");
    watch.until_result(back);
    watch.until_result("db, copy 1 on server2 is in again");
    assert_eq!(who(&one).len(), 3, "all copies answer");

    traffic.phase("hangs");
    let began = Instant::now();
    two.must("docker pause checked_prod_api");
    watch.until_result_times(out, 2);
    println!("what hangs is out after {:.1} s", began.elapsed().as_secs_f64());
    thread::sleep(Duration::from_secs(2));
    traffic.phase("hangs: out");
    thread::sleep(Duration::from_secs(1));
    two.must("docker unpause checked_prod_api");
    watch.until_result_times(back, 2);

    // Another run has the servers: it is waited for.
    traffic.phase("a deploy");
    two.nginx_is_taken();
    project.another_workstation();
    let mut other = project.start(&["deploy", "-y", "--force", "only"]);
    other.until("== switch");
    toggle(&two, "checked_prod_api");
    watch.until_result("waits for server");
    two.nginx_is_let_go();
    other.end().exits(0);
    watch.until_result_times(out, 3);
    toggle(&two, "checked_prod_api");
    watch.until_result_times(back, 3);

    traffic.phase("the only one");
    toggle(&two, "checked_prod_only_secondary");
    watch.until_result("its copy 1 fails its active checks and stays in");
    watch.signal("INT");
    watch.end().exits(0).says(&["only, copy 1 on server2 fails: status 503"]);
    once(&project, 10).says(&["only, copy 1 on server2 fails and stays in"]);
    toggle(&two, "checked_prod_only_secondary");
    // One pass takes a copy out, and the next one takes it in.
    toggle(&two, "checked_prod_api");
    once(&project, 10).says(&[out, "staged and tested generation"]);
    once(&project, 10).says_not(&["staged and tested generation"]);
    toggle(&two, "checked_prod_api");
    once(&project, 0).says(&[back, "all are in and answer"]);
    let seen = traffic.end();
    for target in &seen.0.targets {
        for phase in &target.phases {
            let counts = &phase.counts;
            println!("{}: {}: {} sent, {} failed", target.target, phase.phase, counts.sent, counts.failed + counts.cuts);
            let is_quiet = phase.phase.contains(": ");
            assert!(!is_quiet || counts.failed + counts.cuts == 0, "{}: {:#?}", phase.phase, target.failures);
            assert!(phase.phase != "answers 503" || counts.failed > 0, "the fault was not seen");
        }
    }
    a_server_that_is_gone(&project, &one, &two);
}

/// Nobody can ask from it and nobody answers on it: the others see that, and what is there is out until it is back.
fn a_server_that_is_gone(project: &Project, one: &Server, two: &Server) {
    let mut watch = project.start(&["watch", "api", "--output", "json"]);
    watch.until_result("watches 3 copies of 1 service");
    let traffic = Traffic::to([format!("new:http://{}/#{API}", one.address)]);
    let began = Instant::now();
    two.fault("stop", &[]);
    watch.until_result("\"what\":\"out\"");
    println!("what was on a server that is gone is out after {:.1} s", began.elapsed().as_secs_f64());
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
