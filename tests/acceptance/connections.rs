//! Requests that take long, and connections that live long, while their backend is replaced.
use crate::fleet::Fleet;
use crate::load::Options;
use crate::project::Project;
use crate::shop::{api_on, deploy, header, is, ports, service_echo};
use crate::traffic::{HOST, Traffic};
use std::time::{Duration, Instant};

#[test]
fn two_hundred_requests_in_flight_are_all_answered() {
    let fleet = Fleet::take();
    // The old release ignores SIGTERM: it is killed after `stop_timeout`, when nobody talks to it any more.
    let project = Project::new(&fleet, &(header("1.0") + &api_on(2, "3.0-ignore-term", "")));
    deploy(&project).exits(0);
    let slow = |server: &crate::server::Server| {
        ["new", "keep"].map(|kind| format!("{kind}:http://{}/slow?ms={{200-2000}}#{HOST}", server.address))
    };
    let traffic = Traffic::with(
        fleet.servers().iter().take(2).flat_map(slow),
        Options { concurrency: 50, pause: Duration::from_millis(1), ..Options::default() },
    );
    std::thread::sleep(Duration::from_secs(2));
    project.playbook(&(header("2.0") + &api_on(2, "2.0", "")));
    deploy(&project).exits(0).says(&["1 service switched"]);
    project.playbook(&(header("3.0") + &api_on(2, "3.0-ignore-term", "")));
    deploy(&project).exits(0).says(&["1 service switched"]);
    std::thread::sleep(Duration::from_secs(2));
    traffic.end().none_failed().versions(&["2.0", "3.0-ignore-term"]);
}

#[test]
fn long_connections_live_until_the_drain_bound_and_new_ones_reach_the_new_side() {
    let fleet = Fleet::take();
    let server = fleet.server(1);
    let playbook = |tag: &str| header(tag) + &api_on(2, tag, "") + &service_echo(tag);
    let project = Project::new(&fleet, &playbook("1.0"));
    deploy(&project).exits(0);
    let (internal, ..) = ports(&project, "echo");

    let outside =
        ["ws:http://ADDRESS/ws", "new:http://ADDRESS/"].map(|target| format!("{}#{HOST}", target.replace("ADDRESS", &server.address)));
    let inside = ["tcpkeep", "tcp"].map(|kind| format!("{kind}:127.0.0.1:{internal}"));
    let traffic = Traffic::to(outside).and_inside(&server, &inside);
    std::thread::sleep(Duration::from_secs(1));
    project.playbook(&playbook("2.0"));
    let began = Instant::now();
    let mut run = project.start(&["deploy", "-y"]);
    run.until("== drain");
    traffic.phase("draining");
    // It ends well before the bound: whoever is told of a phase is told a moment later.
    std::thread::sleep(Duration::from_secs(8));
    traffic.phase("ending");
    run.until("== retire");
    let drained = began.elapsed();
    run.end().exits(0);
    traffic.phase("afterwards");
    assert!(drained > Duration::from_secs(12), "connections that never end were waited for {drained:?}, and not until the bound");

    let seen = traffic.end();
    for target in &seen.0.targets {
        let phase =
            |name: &str| target.phases.iter().find(|counts| counts.phase == name).map(|counts| counts.counts.clone()).unwrap_or_default();
        let answers = |name: &str| phase(name).answers.keys().cloned().collect::<Vec<_>>();
        assert_eq!((target.total.failed, phase("draining").cuts), (0, 0), "{target:#?}");
        assert_eq!(answers("afterwards"), ["2.0"], "{target:#?}");
        // Who comes new while the others stay meets the new side alone.
        if ["new:", "tcp:"].iter().any(|kind| target.target.starts_with(kind)) {
            assert_eq!((target.total.cuts, answers("draining")), (0, vec!["2.0".to_owned()]), "{target:#?}");
            continue;
        }
        // Each of the two clients is cut once, when its old backend is stopped, and finds the new one.
        assert_eq!(target.total.cuts, 2, "{target:#?}");
        assert_eq!(answers("draining"), ["1.0"], "{target:#?}");
    }
    is(&project, "echo", "RUNNING", "secondary", "2.0");
}
