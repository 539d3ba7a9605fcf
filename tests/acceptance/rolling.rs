//! `playbooks/rolling.toml`, and a service over TCP beside it: batch by batch under traffic. A release that is bad reaches one batch, one that
//! fails later is taken back from all, and a pause ends when it is told to. And a server without power is done without, and brought level when
//! it is back.
use crate::fleet::Fleet;
use crate::project::Project;
use crate::shop::{deploy, is, ports, service_echo};
use crate::traffic::Traffic;
use std::thread;
use std::time::Duration;

/// The example that the README points to.
const EXAMPLE: &str = include_str!("../../playbooks/rolling.toml");

/// The playbook of a version, with a service over TCP on the first two servers.
fn version(version: &str) -> String {
    (EXAMPLE.to_owned() + &service_echo("1.0") + "servers = [\"server1\", \"server2\"]\n")
        .replace("version = \"1.0\"", &format!("version = \"{version}\""))
        .replace("flipside/app:1.0", &format!("flipside/app:{version}"))
}

#[test]
fn a_release_goes_from_server_to_server_and_a_bad_one_no_further() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let project = Project::new(&fleet, &version("1.0"));
    deploy(&project).exits(0);
    let lines = [format!("tcp:127.0.0.1:{}", ports(&project, "echo").0)];
    let traffic = servers.iter().fold(Traffic::http(&servers), |traffic, server| traffic.and_inside(server, &lines));
    let there = |name: &str| {
        servers.iter().filter(|server| server.containers().contains_key(name)).map(|server| server.name.clone()).collect::<Vec<_>>()
    };

    // One that never gets well ran on one server, and no client saw it.
    traffic.phase("bad");
    project.playbook(&version("3.0-unhealthy"));
    deploy(&project).exits(5).says(&["503", "everything was put back"]).says_not(&["== switch", "== start, batch 2 of 3"]);
    is(&project, "api", "RUNNING", "primary", "1.0");
    assert_eq!(there("shop_prod_api_secondary.failed"), [servers[0].name.clone()]);

    // One that fails in the second batch is taken back from the first. Slower probes, so that there is time to break what they ask.
    traffic.phase("later");
    project.playbook(&version("2.0").replace("interval = \"200ms\", deadline = \"4s\"", "interval = \"1s\", deadline = \"8s\""));
    let mut run = project.start(&["deploy", "-y"]);
    run.until("== pause, batch 1 of 3");
    servers[1].must("(setsid sh -c 'until docker kill shop_prod_api_secondary; do sleep 0.1; done' >/dev/null 2>&1 </dev/null &)");
    let back = run.end().exits(5).says(&["everything was put back"]).says_not(&["== switch, batch 2 of 3"]);
    // Who serves it switches back first, and only then containers are stopped.
    let at = |text: &str| back.stderr.find(text).unwrap_or_else(|| panic!("{text}: {}", back.all()));
    assert!(at("== undo switch, batch 1 of 3") < at("== undo start, batch 2 of 3"), "{}", back.all());
    assert!(at("== undo start, batch 2 of 3") < at("== undo start, batch 1 of 3"), "{}", back.all());
    is(&project, "api", "RUNNING", "primary", "1.0");
    assert_eq!(there("shop_prod_api_secondary.failed"), [servers[0].name.clone(), servers[1].name.clone()]);

    // Somebody has seen enough in the pause. Nobody waits for the rest of it: no run may take longer than 150 s.
    project.playbook(&version("2.0").replace("pause = \"3s\"", "pause = \"10m\""));
    let mut run = project.start(&["deploy", "-y"]);
    run.until("== pause, batch 1 of 3");
    run.signal("INT");
    run.end().exits(5).says(&["everything was put back"]).says_not(&["== start, batch 2 of 3"]);
    is(&project, "api", "RUNNING", "primary", "1.0");

    // Killed there, it leaves one server on the new side. The next deploy brings it back to where there are more copies, and begins anew.
    let mut run = project.start(&["deploy", "-y"]);
    run.until("== pause, batch 1 of 3");
    run.signal("KILL");
    assert_eq!(run.end().exit, None);
    traffic.phase("whole");
    project.playbook(&version("2.0"));
    let whole =
        deploy(&project).exits(0).says(&["== start, batch 1 of 3", "== pause, batch 2 of 3", "== switch, batch 3 of 3", "== retire"]);
    assert_eq!(whole.stderr.matches("== pause, ").count(), 2, "{}", whole.all());
    is(&project, "api", "RUNNING", "secondary", "2.0");
    for server in &servers {
        assert_eq!(server.running("shop_prod_api"), ["shop_prod_api_secondary"], "{}", server.name);
    }
    traffic.end().none_failed().versions(&["1.0", "2.0"]).only("bad", "1.0");

    // The last server has no power. The others go batch by batch where that many may be missing, and what its clients would need goes on there.
    let (last, others) = (&servers[2], &servers[..2]);
    last.fault("stop", &[]);
    let traffic = Traffic::http(others);
    let of_lines = others.iter().fold(Traffic::to([]), |traffic, server| traffic.and_inside(server, &lines));
    project.playbook(&version("3.0"));
    deploy(&project).exits(4).says(&["1 of 3 servers cannot be used; nothing was changed on any server"]);
    let without = version("3.0").replace("batch = 1", "max_failures = \"34%\"\nbatch = 1").replace("pause = \"3s\"", "pause = \"1s\"");
    project.playbook(&without);
    deploy(&project).exits(0).says(&["== switch, batch 2 of 2", "its secondary side goes on running", "2 servers, WITHOUT server3"]);
    let both = ["shop_prod_api", "shop_prod_api_secondary"];
    assert_eq!([&others[0], &others[1]].map(|server| server.running("shop_prod_api")), [both, both]);
    // When its power is back, Docker takes connections for copies that do not listen yet, and lines are lost by that.
    of_lines.end().none_failed().versions(&["2.0", "3.0"]);

    // With its power it serves what it had, until it is brought level.
    last.fault("start", &[]);
    project.flipside(&["status"]).exits(0).says(&["server3: it is behind: it has api 2.0, and the fleet has 3.0"]);
    let of_last = Traffic::http(&servers[2..]);
    of_last.phase("behind");
    thread::sleep(Duration::from_secs(1));
    of_last.phase("catching up");
    project.flipside(&["catch-up", "-y"]).exits(0).says(&["== join the fleet", "1 service brought level"]).says_not(&["batch"]);
    of_last.phase("level");
    is(&project, "api", "RUNNING", "primary", "3.0");
    for server in &servers {
        assert_eq!(server.running("shop_prod_api"), ["shop_prod_api"], "{}", server.name);
    }
    of_last.end().none_failed().versions(&["2.0", "3.0"]).only("behind", "2.0").only("level", "3.0");
    traffic.end().none_failed().versions(&["2.0", "3.0"]);
}
