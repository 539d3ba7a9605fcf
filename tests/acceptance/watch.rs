//! `flipside watch`, and `playbooks/watch.toml`: a copy that answers 503, one that hangs and a whole server that is gone are taken out under
//! traffic and come back; the last one never is. Deliberately absent: what each strategy does without it (see `strategies`).
use crate::fleet::Fleet;
use crate::project::{Output, Project};
use crate::server::Server;
use crate::shop::{deploy, status};
use crate::traffic::Traffic;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
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
fn a_copy_that_fails_is_taken_out_and_comes_back_and_the_last_one_stays() {
    let fleet = Fleet::take();
    let (one, two) = (fleet.server(1), fleet.server(2));
    let project = Project::new(&fleet, PLAYBOOK);
    deploy(&project).exits(0);
    once(&project, 0).says(&["4 copies of 2 services: all are in and answer"]);
    let mut watch = project.start(&["watch"]);
    watch.until_result("watches 4 copies of 2 services");
    let traffic = Traffic::to(["new", "keep"].map(|kind| format!("{kind}:http://{}/up#{API}", one.address)));

    for (fault, cure, name) in
        [("ill", "ill", "answers 503"), ("docker pause checked_prod_api", "docker unpause checked_prod_api", "hangs")]
    {
        let act = |what: &str| if what == "ill" { toggle(&two, "checked_prod_api") } else { drop(two.must(what)) };
        let began = Instant::now();
        traffic.phase(name);
        act(fault);
        watch.until_result_times("api, copy 1 on server2 is out of every upstream", if name == "hangs" { 2 } else { 1 });
        println!("{name}: out after {:.1} s", began.elapsed().as_secs_f64());
        // What was under way at the copy is left to end as it may.
        std::thread::sleep(Duration::from_secs(2));
        traffic.phase(&format!("{name}: out"));
        let began = Instant::now();
        assert_eq!(who(&one).len(), 2, "two copies answer");
        let seen = status(&project, "api");
        let troubles = seen["troubles"].to_string();
        assert!(troubles.contains("copy 1 on server2 is out of every upstream"), "{seen:#}");
        if name == "answers 503" {
            assert_eq!(seen["state"], "DEGRADED", "{seen:#}");
            deploy(&project).exits(0).says(&["nothing to do"]);
        }
        std::thread::sleep(Duration::from_secs(2).saturating_sub(began.elapsed()));
        traffic.phase(&format!("{name}: back"));
        act(cure);
        watch.until_result_times("api, copy 1 on server2 is in again", if name == "hangs" { 2 } else { 1 });
        assert_eq!(who(&one).len(), 3, "all copies answer");
    }
    traffic.phase("the only one");
    toggle(&two, "checked_prod_only");
    watch.until_result("its copy 1 fails its active checks and stays in");
    watch.signal("INT");
    let output = watch.end().exits(130).says(&["only, copy 1 on server2 fails: status 503"]);
    once(&project, 9).says(&["only, copy 1 on server2 fails and stays in"]);
    toggle(&two, "checked_prod_only");
    once(&project, 0).says(&["all are in and answer"]);

    // One pass takes a copy out, and the next one takes it in.
    toggle(&two, "checked_prod_api");
    once(&project, 9).says(&["api, copy 1 on server2 is out of every upstream", "staged and tested generation"]);
    once(&project, 9).says_not(&["staged and tested generation"]);
    toggle(&two, "checked_prod_api");
    once(&project, 0).says(&["api, copy 1 on server2 is in again"]);
    let seen = traffic.end();
    for target in &seen.0.targets {
        for phase in &target.phases {
            let counts = &phase.counts;
            println!("{}: {}: {} sent, {} failed", target.target, phase.phase, counts.sent, counts.failed + counts.cuts);
            let is_quiet = phase.phase.contains(": ");
            assert!(!is_quiet || counts.failed + counts.cuts == 0, "{}: {:#?}\n{}", phase.phase, target.failures, output.all());
            assert!(phase.phase != "answers 503" || counts.failed > 0, "the fault was not seen");
        }
    }
}
