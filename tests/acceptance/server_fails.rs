//! One server of three fails, at each step in turn, or cannot be reached at all: the whole fleet ends on one version.
use crate::fleet::Fleet;
use crate::project::{Project, inventory};
use crate::server::Server;
use crate::shop::{api_on, deploy, header, is};
use crate::traffic::Traffic;
use std::time::{Duration, Instant};

/// What befalls a server in the middle of a run, and what makes it well again.
struct Mishap {
    /// Its name, for messages.
    name: &'static str,
    /// The program is halted when it has said this, until the mishap has happened.
    when: &'static str,
    happens: fn(&Server),
    /// What the report has to say.
    told: &'static str,
    ends: fn(&Server),
}

/// The fault that makes the link of the live generation immovable: a folder stands where its successor is made.
fn block_link(server: &Server) {
    server.must("mkdir /local/flipside/nginx/current.tmp");
}

const MISHAPS: [Mishap; 5] = [
    Mishap {
        name: "the disk is full before NGINX's files are written",
        when: "== lock",
        happens: |server| server.fault("fill", &[]),
        told: "No space left on device",
        ends: |server| server.fault("empty", &[]),
    },
    Mishap {
        name: "a stranger takes the new side's port before the container starts",
        when: "== prepare",
        happens: |server| {
            let ports = server.must("docker ps --format '{{.Ports}}' --filter name=shop_prod_api");
            let base: u16 = ports.split("->").next().and_then(|text| text.rsplit(':').next()?.parse().ok()).expect("a published port");
            server.fault("occupy", &[&(base + 10_000).to_string()]);
        },
        told: "is taken by",
        ends: |server| server.fault("vacate", &[]),
    },
    Mishap {
        name: "the new container is killed before it has proven itself",
        when: "[server3] started shop_prod_api_secondary ",
        happens: |server| {
            server.must("docker kill shop_prod_api_secondary");
        },
        told: "exit",
        ends: |_| {},
    },
    Mishap {
        name: "the new generation cannot be made live",
        when: "== start",
        happens: block_link,
        told: "the link current cannot be moved",
        ends: |server| {
            server.must("rm -r /local/flipside/nginx/current.tmp");
        },
    },
    Mishap {
        name: "the new generation is lost before the switch",
        when: "== start",
        happens: |server| {
            server.must("cd /local/flipside/nginx/releases && for each in *; do [ \"$(readlink ../current)\" = \"releases/$each\" ] || [ \"$each\" = bootstrap ] || rm -r \"$each\"; done");
        },
        told: "is not on this server",
        ends: |_| {},
    },
];

#[test]
fn a_server_that_fails_at_any_step_puts_the_whole_fleet_back() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let last = fleet.server(3);
    let project = Project::new(&fleet, &(header("1.0") + &api_on(3, "1.0", "")));
    deploy(&project).exits(0);
    let traffic = Traffic::http(&servers);
    // Slower probes, so that there is time for what happens between them.
    project.playbook(&(header("2.0") + &api_on(3, "2.0", "").replace("200ms", "600ms")));
    for mishap in MISHAPS {
        traffic.phase(mishap.name);
        let mut run = project.start(&["deploy", "-y"]);
        run.until(mishap.when);
        run.signal("STOP");
        (mishap.happens)(&last);
        run.signal("CONT");
        let output = run.end();
        (mishap.ends)(&last);
        assert_eq!(output.exit, Some(5), "{}: {}", mishap.name, output.all());
        let output = output.says(&[mishap.told, "server3"]);
        is(&project, "api", "RUNNING", "primary", "1.0");
        for server in &servers {
            assert_eq!(server.running("shop_prod_api"), ["shop_prod_api"], "{} on {}: {}", mishap.name, server.name, output.all());
        }
    }
    traffic.phase("2.0");
    deploy(&project).exits(0);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    // The first three come before any switch.
    let seen = traffic.end().none_failed().versions(&["1.0", "2.0"]);
    MISHAPS.iter().take(3).fold(seen, |seen, mishap| seen.only(mishap.name, "1.0"));
}

#[test]
fn a_server_that_cannot_be_reached_stops_a_run_before_anything_changes() {
    let fleet = Fleet::take();
    let project = Project::new(&fleet, &(header("1.0") + &api_on(3, "1.0", "")));
    deploy(&project).exits(0);
    project.playbook(&(header("2.0") + &api_on(3, "2.0", "")));
    let before = fleet.snapshot();

    // One server answers nothing at all, and where another should be, nobody listens.
    fleet.server(2).fault("cut", &[]);
    let refusing = "\n[servers.server3]\naddress = \"127.0.0.1\"\nport = 9\n";
    project.inventory(&(inventory(&fleet, "root", &[1, 2]) + refusing));
    let began = Instant::now();
    deploy(&project).exits(4).says(&["server2", "server3", "refused", "nothing was changed"]);
    assert!(began.elapsed() < Duration::from_secs(45), "silence was waited for {:?}", began.elapsed());
    fleet.server(2).fault("heal", &[]);
    assert_eq!(fleet.snapshot(), before);

    // A server that lost its power and came back serves again by itself, and is deployed to as if nothing had been.
    project.inventory(&inventory(&fleet, "root", &[1, 2, 3]));
    fleet.server(2).fault("stop", &[]);
    fleet.server(2).fault("start", &[]);
    deploy(&project).exits(0);
    is(&project, "api", "RUNNING", "secondary", "2.0");
}

#[test]
fn a_server_that_falls_silent_in_the_middle_does_not_stop_the_others_from_being_put_back() {
    let fleet = Fleet::take();
    let project = Project::new(&fleet, &(header("1.0") + &api_on(3, "1.0", "")));
    deploy(&project).exits(0);
    project.playbook(&(header("2.0") + &api_on(3, "2.0", "")));
    let traffic = Traffic::http(&[fleet.server(1), fleet.server(2)]);

    // server3 is cut while the new side proves itself, and heals when the run has noticed.
    let mut run = project.start(&["deploy", "-y"]);
    run.until("== start");
    fleet.server(3).fault("cut", &[]);
    let output = run.end();
    fleet.server(3).fault("heal", &[]);
    assert!(matches!(output.exit, Some(5 | 6)), "{}", output.all());
    let output = output.says(&["server3"]);
    for number in [1, 2] {
        let server = fleet.server(number);
        assert_eq!(server.running("shop_prod_api"), ["shop_prod_api"], "{}", output.all());
    }

    // The next run needs no manual unlock, and clears up what server3 kept.
    deploy(&project).exits(0);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    assert_eq!(fleet.server(3).running("shop_prod_api"), ["shop_prod_api_secondary"]);
    drop(traffic.end());
}
