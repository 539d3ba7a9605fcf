//! One server of three fails, at each step in turn, or cannot be reached at all: the whole fleet ends on one version.
//! Deliberately absent: engines that hang, connections that break (see `trouble`).
use crate::fleet::Fleet;
use crate::project::{Project, inventory};
use crate::server::Server;
use crate::shop::{api_on, deploy, header, is};
use crate::traffic::{HOST, Traffic};
use std::thread;
use std::time::{Duration, Instant};

/// What befalls a server in the middle of a run, and what makes it well again.
struct Mishap {
    /// Its name, for messages.
    name: &'static str,
    /// Which server: the last, or the one in the middle, so that others come after it.
    victim: usize,
    /// What is there before the run is.
    before: fn(&Server),
    /// The program is halted when it has said this, with `SERVER` for the victim, until the mishap has happened.
    when: &'static str,
    happens: fn(&Server),
    /// What the report has to say.
    told: &'static str,
    ends: fn(&Server),
}

fn nothing(_: &Server) {}

/// The fault that makes the link of the live generation immovable: a folder stands where its successor is made.
fn block_link(server: &Server) {
    server.must("mkdir /local/flipside/nginx/current.tmp");
}

/// A script of an older run is still at work, so that the lock comes when it has ended: within 20 s, or when somebody lets go.
fn keep_at_work(server: &Server) {
    let until = "n=0; until [ -e /tmp/let-go ] || [ $n -ge 100 ]; do sleep 0.2; n=$((n + 1)); done";
    let hold = format!("(setsid flock -s /local/flipside/lock/work sh -c '{until}' >/dev/null 2>&1 </dev/null &)");
    server.must(&format!("rm -f /tmp/let-go; {hold}"));
}

/// NGINX listens on it still, and nobody finds it: public hosts are served, and no route check is answered.
fn hide_socket(server: &Server) {
    server.must("cd /local/flipside/run && mv shop_prod_api.sock shop_prod_api.away");
}

fn show_socket(server: &Server) {
    server.must("cd /local/flipside/run && mv shop_prod_api.away shop_prod_api.sock");
}

/// By hand, while the run is between its switch and its route check.
fn switch_back(server: &Server) {
    let reload = "docker exec flipside_nginx nginx -s reload -c /flipside/nginx/current/nginx.conf";
    let back = "cut -d' ' -f4 /local/flipside/revert/armed | head -n 1";
    server.must(&format!("ln -sfn releases/$({back}) /local/flipside/nginx/current && {reload}"));
    show_socket(server);
}

/// As an engine under a wrong AppArmor profile: everything works but this.
fn refuse_to_stop(server: &Server) {
    server.must(
        "printf '%s\n' '#!/bin/sh' 'case \"$*\" in stop*shop_prod_api) echo cannot stop container: permission denied >&2; exit 1 ;; esac' \
         'exec /usr/bin/docker \"$@\"' >/usr/local/bin/docker && chmod 755 /usr/local/bin/docker",
    );
}

/// In the order of the waves. A drain only waits, so it fails with the engine (`trouble`) or not at all.
const MISHAPS: [Mishap; 10] = [
    Mishap {
        name: "somebody renames a container after the plan is made",
        victim: 2,
        before: keep_at_work,
        when: "1. lock",
        happens: |server| {
            server.must("docker rename shop_prod_api shop_prod_mine; touch /tmp/let-go");
        },
        told: "have changed since the plan was made",
        ends: |server| {
            server.must("docker rename shop_prod_mine shop_prod_api");
        },
    },
    Mishap {
        name: "the disk is full before NGINX's files are written",
        victim: 3,
        before: nothing,
        when: "== lock",
        happens: |server| server.fault("fill", &[]),
        told: "No space left on device",
        ends: |server| server.fault("empty", &[]),
    },
    Mishap {
        name: "a stranger takes the new side's port before the container starts",
        victim: 2,
        before: nothing,
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
        victim: 3,
        before: nothing,
        when: "[SERVER] started shop_prod_api_secondary ",
        happens: |server| {
            server.must("docker kill shop_prod_api_secondary");
        },
        told: "exit",
        ends: nothing,
    },
    Mishap {
        name: "no revert can be left",
        victim: 2,
        before: nothing,
        when: "== start",
        happens: |server| {
            server.must("cd /local/flipside && rm -rf revert && touch revert");
        },
        told: "File exists",
        ends: |server| {
            server.must("rm /local/flipside/revert");
        },
    },
    Mishap {
        name: "the new generation cannot be made live",
        victim: 3,
        before: nothing,
        when: "== start",
        happens: block_link,
        told: "the link current cannot be moved",
        ends: |server| {
            server.must("rm -r /local/flipside/nginx/current.tmp");
        },
    },
    Mishap {
        name: "the new generation is lost before the switch",
        victim: 2,
        before: nothing,
        when: "== start",
        happens: |server| {
            server.must("cd /local/flipside/nginx/releases && for each in *; do [ \"$(readlink ../current)\" = \"releases/$each\" ] || [ \"$each\" = bootstrap ] || rm -r \"$each\"; done");
        },
        told: "is not on this server",
        ends: nothing,
    },
    Mishap {
        name: "the mesh does not reach the new side",
        victim: 3,
        before: nothing,
        when: "== start",
        happens: hide_socket,
        told: "is not reached through NGINX",
        ends: show_socket,
    },
    Mishap {
        name: "somebody switches back before all is confirmed",
        victim: 2,
        before: hide_socket,
        when: "[SERVER] switched NGINX",
        happens: switch_back,
        told: "has put itself back, or somebody else has deployed",
        ends: nothing,
    },
    Mishap {
        name: "the old side cannot be stopped",
        victim: 2,
        before: nothing,
        when: "== drain",
        happens: refuse_to_stop,
        told: "permission denied",
        ends: |server| {
            server.must("rm /usr/local/bin/docker");
        },
    },
];
/// Those that come before any server has switched.
const N_BEFORE_THE_SWITCH: usize = 4;

#[test]
fn a_server_that_fails_at_any_step_puts_the_whole_fleet_back() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let project = Project::new(&fleet, &(header("1.0") + &api_on(3, "1.0", "")));
    deploy(&project).exits(0);
    let traffic = Traffic::http(&servers);
    // Slower probes, so that there is time for what happens between them.
    project.playbook(&(header("2.0") + &api_on(3, "2.0", "").replace("200ms", "400ms")));
    for mishap in MISHAPS {
        traffic.phase(mishap.name);
        let victim = fleet.server(mishap.victim);
        (mishap.before)(&victim);
        let mut run = project.start(&["deploy", "-y"]);
        run.until(&mishap.when.replace("SERVER", &victim.name));
        run.signal("STOP");
        (mishap.happens)(&victim);
        run.signal("CONT");
        let output = run.end();
        (mishap.ends)(&victim);
        assert_eq!(output.exit, Some(5), "{}: {}", mishap.name, output.all());
        let output = output.says(&[mishap.told, &victim.name]);
        is(&project, "api", "RUNNING", "primary", "1.0");
        for server in &servers {
            assert_eq!(server.running("shop_prod_api"), ["shop_prod_api"], "{} on {}: {}", mishap.name, server.name, output.all());
        }
    }

    // What fails in the last wave is past undoing, by design: the new version is there, and what was not tidied up is told.
    traffic.phase("2.0");
    let rubbish = "/local/flipside/nginx/releases/rubbish.new";
    servers[1].must(&format!("mkdir {rubbish} && mount -t tmpfs tmpfs {rubbish}"));
    let output = deploy(&project);
    servers[1].must(&format!("umount {rubbish}"));
    output.exits(0).says(&["Not everything was tidied up", "server2", "generation rubbish.new cannot be removed"]);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    let seen = traffic.end().none_failed().versions(&["1.0", "2.0"]);
    MISHAPS.iter().take(N_BEFORE_THE_SWITCH).fold(seen, |seen, mishap| seen.only(mishap.name, "1.0"));
}

#[test]
fn a_server_that_cannot_be_reached_stops_a_run_before_the_start_and_turns_it_later() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    // server3 runs nothing: what is in flight to a container on a server that is cut off is lost, whoever deploys. Its NGINX takes part.
    let project = Project::new(&fleet, &(header("1.0") + &api_on(2, "1.0", "")));
    deploy(&project).exits(0);
    project.playbook(&(header("2.0") + &api_on(2, "2.0", "")));
    let before = fleet.snapshot();

    // One server answers nothing at all, and where another should be, nobody listens.
    servers[1].fault("cut", &[]);
    let refusing = "\n[servers.server3]\naddress = \"127.0.0.1\"\nport = 9\n";
    project.inventory(&(inventory(&fleet, "root", &[1, 2]) + refusing));
    let began = Instant::now();
    deploy(&project).exits(4).says(&["server2", "server3", "refused", "nothing was changed"]);
    assert!(began.elapsed() < Duration::from_secs(45), "silence was waited for {:?}", began.elapsed());
    servers[1].fault("heal", &[]);
    assert_eq!(fleet.snapshot(), before);

    // A server that lost its power and came back serves again by itself, and is deployed to as if nothing had been.
    project.inventory(&inventory(&fleet, "root", &[1, 2, 3]));
    servers[1].fault("stop", &[]);
    servers[1].fault("start", &[]);
    serves_again(&servers[1]);
    let traffic = Traffic::http(&servers[..2]);

    // server3 is cut off while the new side proves itself elsewhere. Nothing has been switched there: all is put back.
    traffic.phase("cut off");
    let mut run = project.start(&["deploy", "-y"]);
    run.until("== start");
    run.signal("STOP");
    servers[2].fault("cut", &[]);
    run.signal("CONT");
    let output = run.end();
    let answers: Vec<String> = (0..10).flat_map(|_| servers[..2].iter().map(|server| server.get(HOST, "/").1)).collect();
    servers[2].fault("heal", &[]);
    let output = output.exits(5).says(&["server3", "and everything was put back", "as before the run: api 1.0"]);
    assert!(answers.iter().all(|answer| answer.starts_with("1.0 ")), "{answers:?}: {}", output.all());
    is(&project, "api", "RUNNING", "primary", "1.0");
    for server in &servers[..2] {
        assert_eq!(server.running("shop_prod_api"), ["shop_prod_api"], "{}", output.all());
    }

    // The next run needs no manual unlock, and clears up what server3 kept.
    traffic.phase("2.0");
    deploy(&project).exits(0);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    traffic.end().none_failed().versions(&["1.0", "2.0"]);
}

/// Its containers are back after a start of the server, and NGINX knows them.
fn serves_again(server: &Server) {
    let began = Instant::now();
    while server.get(HOST, "/").0 != 200 {
        assert!(began.elapsed() < Duration::from_secs(30), "{} does not serve", server.name);
        thread::sleep(Duration::from_millis(200));
    }
}
