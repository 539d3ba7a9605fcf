//! Servers that misbehave: an engine that hangs or is gone, connections that break, an sshd that allows little, a shell that talks, a slow
//! machine, a full disk, an app that was left without its door. Each ends in bounded time, is named, and is no matter to the next deploy.
use crate::fleet::Fleet;
use crate::project::{Output, Project, inventory};
use crate::server::Server;
use crate::shop::{api_on, deploy, header, is, service_echo};
use crate::traffic::Traffic;
use std::time::{Duration, Instant};

/// From a fault to the end of the run: 40 s until a hanging engine is believed to hang, 3 s for each step that is undone there, and what a
/// busy machine needs.
const BOUND: Duration = Duration::from_secs(100);
const HANG: &str = "kill -STOP $(cat /run/docker.pid)";
const UNHANG: &str = "kill -CONT $(cat /run/docker.pid)";
/// sshd is the first process of a server; sessions that are under way keep what they have.
const SSHD: &str = "/etc/ssh/sshd_config.d/trouble.conf";

/// Makes a server well again, also where the test fails.
struct Undo<'a>(&'a Server, &'a str);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        self.0.run(self.1);
    }
}

fn configure_sshd(server: &Server, lines: &str) {
    server.must(&format!("printf '{lines}\\n' >{SSHD}; kill -HUP 1; sleep 1"));
}

/// What `status` says while a server cannot be asked.
#[track_caller]
fn status_without(project: &Project, server: &str) -> Output {
    project.flipside(&["status"]).exits(4).says(&[server, "does not answer", "api"])
}

#[test]
fn an_engine_that_hangs_is_named_and_all_is_put_back() {
    let fleet = Fleet::take();
    let last = fleet.server(3);
    let project = Project::new(&fleet, &(header("1.0") + &api_on(3, "1.0", "")));
    deploy(&project).exits(0);
    // Not of server3: what writes a log there stands still when the pipe to its engine is full.
    let traffic = Traffic::http(&[fleet.server(1), fleet.server(2)]);
    project.playbook(&(header("2.0") + &api_on(3, "2.0", "")));
    let mut run = project.start(&["deploy", "-y"]);
    run.until("== prepare");
    run.signal("STOP");
    let undo = Undo(&last, UNHANG);
    last.must(HANG);
    run.signal("CONT");
    let began = Instant::now();
    run.end().exits(5).says(&["server3", "Docker engine of this server does not answer", "waiting for server3, 10 s", "api 1.0"]);
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    drop(undo);
    is(&project, "api", "RUNNING", "primary", "1.0");
    deploy(&project).exits(0);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    traffic.end().none_failed().versions(&["1.0", "2.0"]);
}

#[test]
fn a_connection_that_breaks_is_made_again_and_the_run_goes_on() {
    let fleet = Fleet::take();
    let (servers, last) = (fleet.servers(), fleet.server(3));
    let project = Project::new(&fleet, &(header("1.0") + &api_on(3, "1.0", "")));
    deploy(&project).exits(0);
    let traffic = Traffic::http(&servers);
    project.playbook(&(header("2.0") + &api_on(3, "2.0", "").replace("200ms", "600ms")));
    let mut run = project.start(&["deploy", "-y"]);
    for wave in ["== lock", "== prepare", "== start", "== switch"] {
        run.until(wave);
        run.signal("STOP");
        // Cut by a reset, as by a firewall that was restarted. The session that does it goes, too.
        last.run("ss -K sport = :22 >/dev/null 2>&1");
        run.signal("CONT");
    }
    run.end().exits(0);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    traffic.end().none_failed().versions(&["1.0", "2.0"]);
}

#[test]
fn an_sshd_that_allows_little_a_shell_that_talks_and_a_slow_server() {
    let fleet = Fleet::take();
    let [first, second, third] = [1, 2, 3].map(|number| fleet.server(number));
    let project = Project::new(&fleet, &(header("1.0") + &api_on(3, "1.0", "")));
    let _sshd = Undo(&second, "rm -f /etc/ssh/sshd_config.d/trouble.conf; kill -HUP 1");
    configure_sshd(&second, "AllowTcpForwarding no\\nMaxSessions 4");
    first
        .must("{ echo 'echo Welcome; echo noise >&2; sleep 0.5; printf half'; cat /root/.bashrc; } >/root/.b && mv /root/.b /root/.bashrc");
    let stutter = "i=0; while [ $i -lt 40 ]; do i=$((i + 1)); kill -STOP $(pgrep -x dockerd); sleep 0.4; kill -CONT $(pgrep -x dockerd); sleep 0.2; done";
    third.must(&format!("setsid sh -c '{stutter}' >/dev/null 2>&1 </dev/null &"));
    // server2's clock is a year behind, and two years ahead of that in the middle of the run: what is decided is not decided by it.
    let date = "#!/bin/sh\\nexec /usr/bin/date -d \"@$(($(/usr/bin/date +%%s) + $(cat /tmp/off)))\" \"$@\"\\n";
    let _clock = Undo(&second, "rm -f /usr/local/bin/date");
    second.must(&format!("echo -34560000 >/tmp/off; printf '{date}' >/usr/local/bin/date; chmod +x /usr/local/bin/date"));
    let off_by: i64 = second.must("echo $(($(date +%s) - $(/usr/bin/date +%s)))").trim().parse().expect("seconds");
    assert!(off_by < -30_000_000, "{off_by}");
    let mut run = project.start(&["deploy", "-y"]);
    run.until("== start");
    run.signal("STOP");
    let locks = project.flipside(&["unlock"]).exits(2).stdout;
    second.must("echo 34560000 >/tmp/off");
    run.signal("CONT");
    assert_eq!(locks.lines().filter(|line| line.contains(", held for ") && line.ends_with(" s")).count(), 3, "{locks}");
    run.end()
        .exits(0)
        .says(&["server2: its sshd forbids forwarding", "asked by the server's shell"])
        .says_not(&["put itself back", "was lost"]);
    is(&project, "api", "RUNNING", "primary", "1.0");

    // No channel at all, for one user, so that root can take it back: nothing is changed, and the others are shown.
    configure_sshd(&second, "Match User deploy\\nMaxSessions 0");
    project.inventory(&inventory(&fleet, "deploy", &[1, 2, 3]));
    status_without(&project, "server2").says(&["MaxSessions"]);
    project.flipside(&["deploy", "-y", "--force"]).exits(4).says(&["server2", "MaxSessions", "nothing was changed"]);
}

#[test]
fn an_engine_that_is_gone_and_what_it_leaves_behind() {
    let fleet = Fleet::take();
    let second = fleet.server(2);
    let project = Project::new(&fleet, &(header("1.0") + &api_on(3, "1.0", "uses = [\"echo\"]") + &service_echo("1.0")));
    deploy(&project).exits(0);

    // The door's first process is killed: the engine starts the door again, in a namespace of its own (moby #50327).
    second.must("kill -9 $(docker inspect -f '{{.State.Pid}}' shop_prod_api.door)");
    second.must("for i in $(seq 100); do [ \"$(docker inspect -f '{{.RestartCount}}{{.State.Running}}' shop_prod_api.door)\" = 1true ] && break; sleep 0.1; done");
    project.flipside(&["status"]).exits(0).says(&[
        "MIXED",
        "shop_prod_api on server2 runs and cannot be reached",
        "`flipside deploy` mends it",
    ]);

    second.fault("dockerd-stop", &[]);
    status_without(&project, "server2").says(&["docker daemon does not answer"]);
    deploy(&project).exits(4).says(&["server2", "docker daemon does not answer", "nothing was changed"]);
    second.fault("dockerd-start", &[]);
    // Whether it comes up cut off, stopped or well is the engine's affair: a deploy mends what is to be mended.
    deploy(&project).exits(0);
    let live = project.flipside(&["status", "--output", "json"]).exits(0).stdout;
    assert!(live.contains("\"RUNNING\"") && !live.contains("\"MIXED\""), "{live}");
    for server in fleet.servers() {
        assert_eq!(server.get(crate::traffic::HOST, "/").0, 200, "{}", server.name);
    }
}

#[test]
fn a_full_disk_is_refused_and_an_app_that_fails_at_first_has_its_start_period() {
    let fleet = Fleet::take();
    let server = fleet.server(1);
    // It keeps exiting until somebody has put a file there. A volume that it only reads does not make it a store.
    let late = |start_period: &str| {
        header("1.0")
            + &format!(
                "
[services.late]
image = \"flipside/nginx:stable\"
command = [\"sh\", \"-c\", \"[ -e /ready/now ] || exit 3; exec sleep 600\"]
servers = [\"server1\"]
volumes = [\"/local/ready:/ready:ro\"]
health_check = {{ interval = \"200ms\", deadline = \"12s\", start_period = \"{start_period}\" }}
"
            )
    };
    server.must("mkdir -p /local/ready");
    let project = Project::new(&fleet, &late("0s"));
    deploy(&project).exits(5).says(&["shop_prod_late exit"]);
    project.playbook(&late("8s"));
    let mut run = project.start(&["deploy", "-y"]);
    run.until("[server1] started shop_prod_late ");
    server.must("for i in $(seq 100); do [ $(docker inspect -f '{{.RestartCount}}' shop_prod_late) -ge 2 ] && break; sleep 0.1; done; touch /local/ready/now");
    run.end().exits(0);
    is(&project, "late", "RUNNING", "primary", "1.0");

    server.fault("fill", &[]);
    project.flipside(&["deploy", "-y", "--force"]).exits(3).says(&["server1: no space is left where /local lies"]);
    server.fault("empty", &[]);
    is(&project, "late", "RUNNING", "primary", "1.0");
}

#[test]
fn an_engine_whose_disk_is_full_goes_on_serving_and_a_deploy_is_put_back() {
    let fleet = Fleet::take();
    let (servers, second) = (fleet.servers(), fleet.server(2));
    // What the engine writes of its containers, their logs among it, has a small disk of its own.
    let folder = "/var/lib/docker/containers";
    second.must(&format!("fleet-server engine-stop && mount -t tmpfs -o size=3m tmpfs {folder} && fleet-server engine-start"));
    let undo = format!("fleet-server engine-stop; umount {folder}; fleet-server engine-start");
    let _disk = Undo(&second, &undo);
    let project = Project::new(&fleet, &(header("1.0") + &api_on(3, "1.0", "")));
    deploy(&project).exits(0);
    let traffic = Traffic::http(&servers);
    second.run(&format!("dd if=/dev/zero of={folder}/filler bs=4k 2>/dev/null"));
    assert_eq!(second.run(&format!("df --output=avail {folder} | tail -n 1")).trim(), "0");

    project.playbook(&(header("2.0") + &api_on(3, "2.0", "")));
    deploy(&project).exits(5).says(&["server2", "no space left on device", "api 1.0"]);
    is(&project, "api", "RUNNING", "primary", "1.0");
    second.must(&format!("rm {folder}/filler"));
    deploy(&project).exits(0);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    traffic.end().none_failed().versions(&["1.0", "2.0"]);
}
