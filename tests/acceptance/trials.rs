//! Canaries that fail or are chosen in other ways than those of `canary`: little traffic on each of several servers, NGINX's own errors behind
//! a public host that two services share, a run that is held, and shares of connections and datagrams.
use crate::fleet::Fleet;
use crate::load::{Counts, Options};
use crate::project::{Project, inventory};
use crate::server::{Blocked, Server};
use crate::shop::{CHECK, deploy, is, ports};
use crate::traffic::{HOST, Seen, Traffic};
use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

/// Fewer requests to the new side are not judged. Through one server fewer come until those through all are enough.
const MIN_REQUESTS: u64 = 50;

/// A project whose releases are tried by this canary.
fn header(version: &str, rollout: &str, canary: &str) -> String {
    format!(
        "[project]\nname = \"shop\"\nversion = \"{version}\"\n\n[rollout]\ndrain_timeout = \"12s\"\nstop_timeout = \"3s\"\n\
         strategy = \"canary\"\n{rollout}\n[rollout.canary]\nshare = \"20%\"\n{canary}\n"
    )
}

/// Two services of one public host, each with a page where NGINX has an error.
fn website(version: &str) -> String {
    let service = |name: &str, place: &str| {
        format!(
            "[services.{name}]\nimage = \"flipside/app:{version}\"\nport = 8000\nprotocol = \"http\"\nservers_count = 3\n\
             health_check = {{ path = \"/up\", interval = \"200ms\", deadline = \"8s\" }}\n\
             proxy = {{ hosts = [\"{HOST}\"], error_pages = {{ 502 = \"sorry.html\" }}{place} }}\n\n"
        )
    };
    let canary = format!("time = \"20s\"\nmin_requests = {MIN_REQUESTS}");
    header(version, "on_failure = \"hold\"\n", &canary)
        + &service("web", "")
        + &service("api", ", path_prefix = \"/api\", strip_prefix = true")
}

/// The requests for `api` in a phase, through each server.
fn of_api<'a>(seen: &'a Seen, phase: &'a str) -> impl Iterator<Item = &'a Counts> {
    let targets = seen.0.targets.iter().filter(|target| target.target.contains("/api/"));
    targets.flat_map(move |target| target.phases.iter().filter(move |counts| counts.phase == phase)).map(|phase| &phase.counts)
}

fn failed(counts: &Counts) -> u64 {
    counts.failed + counts.cuts
}

#[test]
fn a_canary_is_judged_by_what_all_servers_see_and_held_until_somebody_decides() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let project = Project::new(&fleet, &website("1.0"));
    fs::write(project.path("sorry.html"), "so sorry\n").expect("a page");
    deploy(&project).exits(0);
    // NGINX does not reach the new side of one of the two services, once the canary is tried. Every container is healthy all the time.
    let fails = |port: u16| {
        let mut run = project.start(&["deploy", "-y"]);
        run.until("== try the canary");
        let blocked = Blocked::new(&servers, port);
        let seen = run.end().exits(8).says(&[
            "failed: count the requests to the canary of api through 3 servers for 20s",
            "requests to the canary of api fail: new side: ",
            "old side: 0 of",
            "and is HELD",
            "the canary's part: api ",
        ]);
        (blocked, seen)
    };

    let (_, base, secondary) = ports(&project, "api");
    let one_client = Options { concurrency: 1, pause: Duration::from_millis(100), ..Options::default() };
    let urls = |server: &Server| ["/", "/api/"].map(|path| format!("new:http://{}{path}#{HOST}", server.address));
    let traffic = Traffic::with(servers.iter().flat_map(urls), one_client);
    traffic.phase("canary");
    project.playbook(&website("2.0"));
    let (blocked, seen) = fails(secondary);
    traffic.phase("held");
    let said = seen.all();
    let judged = said.split("requests to the canary of api fail: new side: ").nth(1).and_then(|rest| rest.split(" failed").next());
    let judged: Vec<u64> = judged.into_iter().flat_map(|counts| counts.split(" of ")).filter_map(|number| number.parse().ok()).collect();
    eprintln!("judged by {judged:?} requests (failed, all)");
    assert!(judged.len() == 2 && judged[1] >= MIN_REQUESTS, "{said}");

    // It keeps its share, and nobody but a person decides.
    let pages = (0..100).map(|_| servers[0].get(HOST, "/api/")).filter(|(status, body)| *status == 502 && body == "so sorry\n");
    let n_pages = pages.count();
    assert!((5..=40).contains(&n_pages), "{n_pages} of 100 requests got the page");
    assert_eq!(servers[0].get(HOST, "/").0, 200);
    let held = "a deploy failed here and is held";
    deploy(&project).exits(8).says(&[held, "Until then no deploy begins"]);
    project.flipside(&["promote"]).exits(8).says(&[held, "Nothing waits for promotion"]);
    project.flipside(&["rollback", "-y"]).exits(8).says(&[held]);
    project.flipside(&["plan"]).exits(0).says(&[held, "a canary is tried, and nobody is at it"]);
    project.flipside(&["status"]).exits(0).says(&[held, "server3 tries the secondary side with 20% of the requests"]);

    // The cause is not gone, then it is.
    traffic.phase("again");
    project.flipside(&["resume"]).exits(8).says(&["requests to the canary of api fail", "and is HELD"]);
    drop(blocked);
    // NGINX leaves alone for `fail_timeout` what did not answer.
    thread::sleep(Duration::from_secs(3));
    traffic.phase("resumed");
    project.flipside(&["resume"]).exits(0).says(&["counted the requests to the canary of api through 3 servers for 20s", "new side: 0 of"]);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    is(&project, "web", "RUNNING", "secondary", "2.0");

    // And back.
    traffic.phase("second");
    project.playbook(&website("3.0"));
    let (blocked, _) = fails(base);
    drop(blocked);
    project.flipside(&["abort"]).exits(0);
    traffic.phase("aborted");
    is(&project, "api", "RUNNING", "secondary", "2.0");
    project.flipside(&["status"]).exits(0).says_not(&["held", "tries the"]);
    thread::sleep(Duration::from_secs(1));
    let seen = traffic.end().only("aborted", "2.0");
    let tried: Vec<u64> = of_api(&seen, "canary").map(|counts| failed(counts) + counts.answers.get("2.0").copied().unwrap_or(0)).collect();
    eprintln!("requests to the new side through each server until it was held: {tried:?}");
    assert!(tried.len() == 3 && tried.iter().all(|n| *n < MIN_REQUESTS), "one server alone would have said it: {tried:?}");
    // Clients see some more between the last look and the end of the run. Without those that got the page there would be one or two.
    let n_failed: u64 = of_api(&seen, "canary").map(failed).sum();
    assert!(n_failed > 0 && judged[0] * 4 >= n_failed, "{n_failed} requests got the page, and {judged:?} were counted");
    for phase in ["resumed", "aborted"] {
        assert_eq!(of_api(&seen, phase).map(failed).sum::<u64>(), 0, "{phase}");
    }
}

/// The port of the line service that its public host is served from.
const APP_PORT: &str = "9001";

/// A line service, with a website at another port, and a datagram service, on two servers.
fn lines(version: &str, tag: &str) -> String {
    let service = |name: &str, mode: &str, also: &str| {
        format!(
            "[services.{name}]\nimage = \"flipside/app:{version}\"\ncommand = [\"--mode\", \"{mode}\", \"--port\", \"9000\"{also}]\n\
             port = 9000\nprotocol = \"{mode}\"\nservers = [\"server1\", \"server2\"]\nhealth_check = {CHECK}\n"
        )
    };
    let website = format!("proxy = {{ hosts = [\"{HOST}\"], app_port = {APP_PORT} }}\n\n");
    let canary = format!("tags = [\"{tag}\"]\ntime = \"8s\"\nmin_requests = 20\npromote = \"manual\"");
    header(version, "", &canary) + &service("echo", "tcp", &listens()) + &website + &service("dns", "udp", "")
}

/// The arguments that make the line service listen at its app port.
fn listens() -> String {
    format!(", \"--http-port\", \"{APP_PORT}\"")
}

/// The website's requests in a phase, through the servers with these numbers: sent, failed, and answered by the new version.
fn of_website(seen: &Seen, phase: &str, servers: &[Server]) -> [u64; 3] {
    let through = |target: &str| servers.iter().any(|server| target.contains(&format!("/{}:", server.address)));
    let targets = seen.0.targets.iter().filter(|target| through(&target.target));
    let counts = targets.flat_map(|target| target.phases.iter().filter(|counts| counts.phase == phase)).map(|phase| &phase.counts);
    counts.fold([0; 3], |[sent, lost, new], counts| {
        [sent + counts.sent, lost + failed(counts), new + counts.answers.get("2.0").copied().unwrap_or(0)]
    })
}

#[test]
fn connections_and_datagrams_are_split_through_the_servers_with_the_tag_and_connections_are_counted_with_requests_for_the_app_port() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let project = Project::new(&fleet, &lines("1.0", "canary"));
    let plain = inventory(&fleet, "root", &[1, 2, 3]);
    let tagged = ["server1", "server2"]
        .iter()
        .fold(plain, |text, name| text.replace(&format!("[servers.{name}]\n"), &format!("[servers.{name}]\ntags = [\"canary\"]\n")));
    project.inventory(&tagged);
    deploy(&project).exits(0);
    let (internal, _, secondary) = ports(&project, "echo");
    let (datagrams, ..) = ports(&project, "dns");
    let tried = &servers[..2];

    project.playbook(&lines("2.0", "canaries"));
    deploy(&project).exits(3).says(&["no server has the tag `canaries`"]);

    // A release that does not listen at its app port is not tried.
    let traffic = Traffic::http(&servers);
    traffic.phase("deaf");
    project.playbook(&lines("2.0", "canary").replace(&listens(), "").replace("\"8s\" }\nproxy", "\"2s\" }\nproxy"));
    deploy(&project).exits(5).says(&["app port 9001 refuses connections", "everything was put back"]).says_not(&["== try the canary"]);
    traffic.phase("connections");

    // Connections that NGINX cannot make fail the canary.
    project.playbook(&lines("2.0", "canary"));
    let mut run = project.start(&["deploy", "-y"]);
    run.until("== try the canary");
    let blocked = Blocked::new(&servers, secondary);
    let lost: u64 = tried.iter().map(|server| server.answers_of_localhost("tcp", internal, 100).get("closed").copied().unwrap_or(0)).sum();
    run.end().exits(5).says(&["requests to the canary of echo fail: new side: ", "everything was put back"]);
    drop(blocked);
    assert!(lost > 0, "no connection was lost");
    is(&project, "echo", "RUNNING", "primary", "1.0");

    // So do requests for its app port, where its connections are well.
    let listed = project.flipside(&["ports"]).exits(0).stdout;
    let of_app = listed.lines().find(|line| line.contains(&format!(" {APP_PORT} "))).and_then(|line| line.split_whitespace().last());
    let mut run = project.start(&["deploy", "-y"]);
    run.until("== try the canary");
    traffic.phase("blocked");
    let blocked = Blocked::new(&servers, of_app.and_then(|port| port.parse().ok()).expect("a port"));
    for server in tried {
        assert_eq!(server.answers_of_localhost("tcp", internal, 20).get("closed"), None, "{}", server.name);
    }
    run.end().exits(5).says(&["requests to the canary of echo fail: new side: ", "everything was put back"]);
    traffic.phase("good");
    drop(blocked);
    is(&project, "echo", "RUNNING", "primary", "1.0");

    // A good release waits with its share of both. Of 400, a fifth is 80, and 8 the standard deviation: five of them are one in a million.
    let mut run = project.start(&["deploy", "-y"]);
    run.until("== try the canary");
    tried.iter().for_each(|server| drop(server.answers_of_localhost("tcp", internal, 100)));
    run.end().exits(9).says(&[
        "counted the requests to the canary of echo through 2 servers for 8s",
        "new side: 0 of",
        "waits for promotion",
    ]);
    traffic.phase("waiting");
    for (protocol, port) in [("tcp", internal), ("udp", datagrams)] {
        for server in tried {
            let answers = server.answers_of_localhost(protocol, port, 400);
            eprintln!("{protocol} through {}: {answers:?}", server.name);
            let new = answers.get("2.0").copied().unwrap_or(0);
            assert!(
                (40..=120).contains(&new) && answers.get("1.0") == Some(&(400 - new)),
                "{protocol} through {}: {answers:?}",
                server.name
            );
        }
        let answers = servers[2].answers_of_localhost(protocol, port, 50);
        assert_eq!(answers, BTreeMap::from([("1.0".to_owned(), 50)]), "{protocol}: server3 has not the tag");
    }
    traffic.phase("promoting");
    project.flipside(&["promote"]).exits(0);
    traffic.phase("promoted");
    let seen = traffic.end().only("deaf", "1.0").only("promoted", "2.0");
    let (through, elsewhere) = (|phase| of_website(&seen, phase, tried), |phase| of_website(&seen, phase, &servers[2..]));
    for phase in ["deaf", "connections", "good", "waiting", "promoting", "promoted"] {
        assert_eq!((through(phase)[1], elsewhere(phase)[1]), (0, 0), "{phase}: {seen:#?}");
    }
    let ([sent, lost, _], [waiting, _, new]) = (through("blocked"), through("waiting"));
    eprintln!("{lost} of {sent} requests to a canary at an app port failed, {new} of {waiting} met a good one");
    assert!(lost > 0 && lost * 100 < sent * 26, "{lost} of {sent} requests failed");
    assert!(new * 100 > waiting * 14 && new * 100 < waiting * 26, "{new} of {waiting} requests met the canary");
    assert_eq!((elsewhere("blocked")[1], elsewhere("waiting")[2]), (0, 0), "server3 has not the tag");
    for (protocol, port) in [("tcp", internal), ("udp", datagrams)] {
        for server in &servers {
            let answers = server.answers_of_localhost(protocol, port, 50);
            assert_eq!(answers, BTreeMap::from([("2.0".to_owned(), 50)]), "{protocol} through {}", server.name);
        }
    }
}
