//! What clients speak with public hosts over TLS while they are deployed: HTTP/2, gRPC, also at an app port, WebSockets. And what each setting
//! of a host does to a request. Deliberately absent: certificates, maintenance and pages, which are in `ingress`.
use crate::fleet::Fleet;
use crate::load::TargetSummary;
use crate::project::Project;
use crate::server::Server;
use crate::shop::{CHECK, deploy, header, is, ports, service_echo};
use crate::tls::{certify, curl_of, tunnel};
use crate::traffic::{HOST, Traffic};
use crate::uploads::{MIB, PIECE, Upload, arrived, by_the_door, post};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// So many pieces of an upload are sent, one a second.
const N_PIECES: usize = 24;

/// For so long nobody is cut off by a drain, whose bound is 12 s.
const DRAINING: Duration = Duration::from_secs(8);

/// The host of the service that speaks gRPC.
const CALLS: &str = "calls.example.com";

/// The host of the service that speaks gRPC at its app port alone.
const STORE: &str = "store.example.com";

/// A website with HTTP/2, a service that speaks gRPC, and one that has clients of its own over TCP, and speaks gRPC at another port.
fn speakers(version: &str) -> String {
    let tls = "tls = { certificate = \"shop_cert\", key = \"shop_key\"";
    header(version)
        + &format!(
            "
[services.web]
image = \"flipside/app:{version}\"
port = 8000
protocol = \"http\"
servers_count = 2
health_check = {{ path = \"/up\", interval = \"200ms\", deadline = \"8s\" }}
proxy = {{ hosts = [\"{HOST}\"], {tls}, http2 = true }} }}

[services.calls]
image = \"flipside/app:{version}\"
command = [\"--mode\", \"grpc\"]
port = 8000
protocol = \"http\"
servers_count = 2
health_check = {{ interval = \"200ms\", deadline = \"8s\" }}
proxy = {{ hosts = [\"{CALLS}\"], grpc = true, {tls} }} }}

[services.store]
image = \"flipside/app:{version}\"
command = [\"--mode\", \"grpc\", \"--port\", \"15672\", \"--http-port\", \"5672\"]
port = 5672
servers_count = 2
health_check = {{ interval = \"200ms\", deadline = \"8s\" }}
proxy = {{ hosts = [\"{STORE}\"], app_port = 15672, grpc = true, {tls} }} }}
"
        )
}

/// What was answered in a phase, by version.
fn answers(target: &TargetSummary, phase: &str) -> Vec<String> {
    let of = target.phases.iter().filter(|counts| counts.phase == phase);
    of.flat_map(|counts| counts.counts.answers.keys().cloned()).collect()
}

#[test]
fn http2_grpc_and_websockets_over_tls_live_through_two_deploys() {
    let fleet = Fleet::take();
    let (one, three) = (fleet.server(1), fleet.server(3));
    let project = Project::new(&fleet, &speakers("1.0"));
    certify(&project, &[HOST, CALLS, STORE]);
    deploy(&project).exits(0);
    let (internal, ..) = ports(&project, "calls");
    let (of_store, ..) = ports(&project, "store");

    let [website, calls, store] = [HOST, CALLS, STORE].map(|host| tunnel(&project, &one, host, "h2"));
    let old_website = tunnel(&project, &one, HOST, "http/1.1");
    let outside = [
        format!("h2:http://{website}/#{HOST}"),
        format!("h2:http://{website}/slow?ms={{0-400}}#{HOST}"),
        format!("new:http://{old_website}/#{HOST}"),
        format!("ws:http://{old_website}/ws#{HOST}"),
        format!("grpc:http://{calls}/fleet.Echo/Say#{CALLS}"),
        format!("grpcstream:http://{calls}/fleet.Echo/Follow#{CALLS}"),
        format!("grpc:http://{store}/fleet.Echo/Say#{STORE}"),
        format!("grpcstream:http://{store}/fleet.Echo/Follow#{STORE}"),
    ];
    let inside = [
        format!("grpc:http://127.0.0.1:{internal}/fleet.Echo/Say"),
        format!("grpcstream:http://127.0.0.1:{internal}/fleet.Echo/Follow"),
        // What NGINX passes on as TCP is HTTP here.
        format!("new:http://127.0.0.1:{of_store}/"),
    ];
    let traffic = Traffic::to(outside).and_inside(&three, &inside);
    std::thread::sleep(Duration::from_secs(1));
    for version in ["2.0", "3.0"] {
        traffic.phase(&format!("deploying {version}"));
        project.playbook(&speakers(version));
        let mut run = project.start(&["deploy", "-y"]);
        run.until("== drain");
        traffic.phase(&format!("draining for {version}"));
        let began = Instant::now();
        // What is counted as drained ends well before the bound: whoever is told of a phase is told a moment later.
        std::thread::sleep(DRAINING);
        traffic.phase(&format!("ending for {version}"));
        run.until("== retire");
        assert!(
            began.elapsed() > Duration::from_secs(10),
            "streams that never end were waited for {:?}, and not until the bound",
            began.elapsed()
        );
        run.end().exits(0).says(&["3 services switched", "checked that public requests reach store at app port 15672"]);
        traffic.phase(&format!("after {version}"));
        std::thread::sleep(Duration::from_secs(1));
    }

    for target in &traffic.end().0.targets {
        let total = &target.total;
        println!("{}: {} answered, {} refused and asked again, {} cut", target.target, total.ok, total.refused, total.cuts);
        assert!(total.ok >= 100 && total.failed == 0, "{target:#?}");
        let is_long = ["ws:", "grpcstream:"].iter().any(|kind| target.target.starts_with(kind));
        for (old, new) in [("1.0", "2.0"), ("2.0", "3.0")] {
            // Who is connected stays where it is until the bound, and whoever comes new meets the new side alone.
            let meanwhile = if is_long { old } else { new };
            assert_eq!(answers(target, &format!("draining for {new}")), [meanwhile], "{target:#?}");
            assert_eq!(answers(target, &format!("after {new}")), [new], "{target:#?}");
        }
        // Each of the two clients is cut when its old backend is stopped, and finds the new one.
        assert_eq!(total.cuts, if is_long { 4 } else { 0 }, "{target:#?}");
        if target.target.starts_with("grpcstream:") {
            assert!(target.failures.iter().all(|cut| cut.text == "the stream ended with grpc-status 14"), "{target:#?}");
        }
    }
}

/// A service that speaks gRPC or HTTP/1.1, and moves when what it uses has moved.
fn changing(version: &str, mode: &str) -> String {
    header(version)
        + &service_echo(version)
        + &format!(
            "
[services.calls]
image = \"flipside/app:{version}\"
command = [\"--mode\", \"{mode}\"]
port = 8000
protocol = \"http\"
servers_count = 2
uses = [\"echo\"]
health_check = {CHECK}
proxy = {{ hosts = [\"{CALLS}\"], grpc = {} }}
",
            mode == "grpc"
        )
}

#[test]
fn a_release_that_speaks_grpc_where_the_one_before_did_not_is_gone_to_and_back() {
    let fleet = Fleet::take();
    let three = fleet.server(3);
    let project = Project::new(&fleet, &changing("1.0", "http"));
    deploy(&project).exits(0);
    let (internal, ..) = ports(&project, "calls");
    let http = || Traffic::to([]).and_inside(&three, &["new", "keep"].map(|kind| format!("{kind}:http://127.0.0.1:{internal}/")));

    // Until its turn has come it is asked as it was, although NGINX is told of what it uses in the meantime.
    let traffic = http();
    project.playbook(&changing("2.0", "grpc").replace("\"grpc\"]", "\"grpc\", \"--behaviour\", \"slow-start=3000\"]"));
    let mut run = project.start(&["deploy", "-y"]);
    run.until("== start calls");
    traffic.end().none_failed().versions(&["1.0"]);
    run.end().exits(0);
    is(&project, "calls", "RUNNING", "secondary", "2.0");
    let calls = Traffic::to([]).and_inside(&three, &[format!("grpc:http://127.0.0.1:{internal}/fleet.Echo/Say")]);
    std::thread::sleep(Duration::from_secs(6));
    calls.end().none_failed().versions(&["2.0"]);

    project.flipside(&["rollback", "-y"]).exits(0);
    is(&project, "calls", "RUNNING", "primary", "1.0");
    let traffic = http();
    std::thread::sleep(Duration::from_secs(6));
    traffic.end().none_failed().versions(&["1.0"]);
}

/// One website, with a setting of its own below each path, and this version of those that are uploaded to.
fn settings(version: &str) -> String {
    let services = [
        ("web", "http", "1.0", "body_size = \"1m\""),
        ("api", "http", "1.0", "path_prefix = \"/api.v1\", strip_prefix = true"),
        ("quick", "http", "1.0", "path_prefix = \"/quick\", strip_prefix = true, timeout = { read = \"1s\" }"),
        ("events", "http", version, "path_prefix = \"/events\", strip_prefix = true, buffering = false, body_size = \"8m\""),
        ("large", "http", version, "path_prefix = \"/large\", strip_prefix = true, body_size = \"unlimited\""),
        ("calls", "grpc", "1.0", "path_prefix = \"/calls\", strip_prefix = true, body_size = \"unlimited\", grpc = true"),
    ];
    let service = |(name, mode, version, more): (&str, &str, &str, &str)| {
        format!(
            "
[services.{name}]
image = \"flipside/app:{version}\"
command = [\"--mode\", \"{mode}\"]
port = 8000
protocol = \"http\"
health_check = {{ interval = \"200ms\", deadline = \"8s\" }}
proxy = {{ hosts = [\"{HOST}\", \"www.example.com\"], {more} }}
"
        )
    };
    header(version) + &services.map(service).concat()
}

/// The `Location` that an app's redirect arrives with.
fn redirected(project: &Project, server: &Server, host: &str, path: &str, to: &str) -> String {
    let url = format!("http://{host}{path}/redirect?to={to}");
    let output = curl_of(project, server, host).args(["-o", "/dev/null", "-D", "-", &url]).output().expect("curl runs");
    let head = String::from_utf8_lossy(&output.stdout).into_owned();
    let location = head.lines().find_map(|line| line.strip_prefix("Location: "));
    location.unwrap_or_else(|| panic!("no Location: {head}")).trim().to_owned()
}

/// When the first and when the last byte of a page came.
fn times(project: &Project, server: &Server, path: &str) -> (Duration, Duration) {
    let began = Instant::now();
    let url = format!("http://{HOST}{path}");
    let mut child = curl_of(project, server, HOST).args(["-N", &url]).stdout(Stdio::piped()).spawn().expect("curl runs");
    let mut page = child.stdout.take().expect("its output");
    page.read_exact(&mut [0]).expect("a byte");
    let first = began.elapsed();
    let mut rest = String::new();
    page.read_to_string(&mut rest).expect("the rest");
    assert!(child.wait().expect("a child").success() && rest.lines().count() == 4, "{rest}");
    (first, began.elapsed())
}

/// What is said within so many seconds to somebody who is going to send so many bytes, and has sent none: the status, or nothing.
fn announced(server: &Server, within: u64, path: &str, length: u64) -> Option<String> {
    let mut stream = TcpStream::connect((server.address.as_str(), 80)).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(within))).expect("a bound");
    write!(stream, "POST {path}/echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n").expect("a request");
    let mut answer = [0; 64];
    let read = stream.read(&mut answer).ok().filter(|read| *read > 0)?;
    String::from_utf8_lossy(&answer[..read]).split(' ').nth(1).map(str::to_owned)
}

#[test]
fn each_setting_of_a_host_holds_below_its_path_alone() {
    let fleet = Fleet::take();
    let (servers, server) = (fleet.servers(), fleet.server(1));
    let project = Project::new(&fleet, &settings("1.0"));
    deploy(&project).exits(0);

    // A redirect leads to where the client can go. What the app says of other places is left as it is.
    for (host, path, to, wanted) in [
        (HOST, "/api.v1", "/login", "/api.v1/login"),
        (HOST, "/api.v1", "/", "/api.v1/"),
        (HOST, "/api.v1", "/login%3Fback=/a", "/api.v1/login?back=/a"),
        (HOST, "/api.v1", "http://shop.example.com/login", "http://shop.example.com/api.v1/login"),
        ("www.example.com", "/api.v1", "https://www.example.com/login", "https://www.example.com/api.v1/login"),
        (HOST, "/api.v1", "/api.v1/login", "/api.v1/login"),
        (HOST, "/api.v1", "/apixv1/login", "/api.v1/apixv1/login"),
        (HOST, "/api.v1", "login", "login"),
        (HOST, "/api.v1", "//other.example.com/login", "//other.example.com/login"),
        (HOST, "/api.v1", "https://other.example.com/login", "https://other.example.com/login"),
        (HOST, "", "/login", "/login"),
    ] {
        assert_eq!(redirected(&project, &server, host, path, to), wanted, "{path}: {to}");
    }

    // An app that is silent for longer than `read` is given up, below that path alone.
    let began = Instant::now();
    let (status, _) = server.get(HOST, "/quick/slow?ms=3000");
    let given_up = began.elapsed();
    assert_eq!((status, server.get(HOST, "/quick/slow?ms=300").0, server.get(HOST, "/slow?ms=3000").0), (504, 200, 200));
    assert!((0.9..2.9).contains(&given_up.as_secs_f64()), "given up after {given_up:?}");

    // Chunks reach a client as they come. Of a page whose length is told before it has the first piece only without buffering.
    let first = |path: &str| {
        let (first, all) = times(&project, &server, path);
        assert!(all.as_secs_f64() > 1.4, "{path}: {all:?}");
        first.as_secs_f64()
    };
    let (chunks, whole) = ("/pieces?n=4&ms=500", "/pieces?n=4&ms=500&length=1");
    let seen = [chunks, whole].map(|pieces| (first(pieces), first(&format!("/events{pieces}"))));
    let [(chunks, chunks_unbuffered), (whole, whole_unbuffered)] = seen;
    assert!(chunks < 1.2 && chunks_unbuffered < 1.2 && whole_unbuffered < 1.2 && whole > 1.4, "{seen:?}");

    // What is too large is refused before it is sent: more than 1 MiB, than the usual 100, than nothing.
    let refused = |path: &str, length| announced(&server, 10, path, length);
    let awaited = |path: &str, length| announced(&server, 1, path, length);
    assert_eq!((refused("", MIB + 1).as_deref(), awaited("", MIB)), (Some("413"), None));
    assert_eq!((refused("/api.v1", 100 * MIB + 1).as_deref(), awaited("/api.v1", 100 * MIB)), (Some("413"), None));
    assert_eq!(awaited("/large", 1000 * MIB), None);
    // And while it is sent, where nobody has told its length. What is not too large arrives whole. The app itself takes 16 MiB of an HTTP
    // request, and any size of a call.
    for (path, bound) in [("", 1), ("/events", 8)] {
        for framing in ["Content-Length", "chunked"] {
            let sent = |length| post(&project, &server, &format!("{path}/echo"), length, framing);
            assert_eq!((sent(bound * MIB), sent(bound * MIB + 1).0), ((200, bound * MIB), 413), "{path}, {framing}");
        }
    }
    assert_eq!(post(&project, &server, "/api.v1/echo", 100 * MIB + 1, "chunked").0, 413);
    assert_eq!(post(&project, &server, "/large/echo", 15 * MIB, "chunked"), (200, 15 * MIB));
    assert_eq!(post(&project, &server, "/calls/fleet.Echo/Say", 101 * MIB, "chunked"), (200, 0));

    // An upload without buffering reaches the app while the client is at it; another one only once NGINX has all of it.
    let mut uploads = ["/events", "/large"].map(|path| Upload::begin(&server, &format!("{path}/echo")));
    let began = Instant::now();
    while !arrived(&servers, "shop_prod_events", uploads[0].sent) {
        assert!(began.elapsed() < Duration::from_secs(5), "what has been sent of a body has not reached the app");
    }
    assert!(!arrived(&servers, "shop_prod_large", 1), "NGINX has passed on a part of a body");

    // Both are under way when their services are deployed, for longer than the old workers wait for clients that may send one more request
    // (10.5 s), and than a container takes to stop: they are waited for. So is one that comes through the host's door, and others who came
    // through it and are answered all this time hide nobody.
    let (internal, ..) = ports(&project, "large");
    let (of_web, ..) = ports(&project, "web");
    let by_door = {
        let server = server.clone();
        std::thread::spawn(move || by_the_door(&server, internal, "/echo", N_PIECES))
    };
    let pool: Vec<_> = (0..3)
        .map(|_| {
            let server = server.clone();
            std::thread::spawn(move || by_the_door(&server, of_web, "/slow?ms=24000", 0))
        })
        .collect();
    project.playbook(&settings("2.0").replace("drain_timeout = \"12s\"", "drain_timeout = \"30s\""));
    let mut run = project.start(&["deploy", "-y"]);
    run.until("== drain");
    for _ in 0..14 {
        uploads.iter_mut().for_each(Upload::go_on);
        std::thread::sleep(Duration::from_secs(1));
    }
    for upload in uploads {
        upload.end();
    }
    run.until("== retire");
    assert_eq!(by_door.join().expect("a thread"), format!("200 {}", N_PIECES * PIECE), "its old side is stopped while it is at it");
    for request in pool {
        let answer = request.join().expect("a thread");
        assert!(answer.starts_with("200 "), "{answer}");
    }
    run.end().exits(0).says(&["2 services switched"]);
}
