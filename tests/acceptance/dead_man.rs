//! A fleet that heals itself: the run dies between two servers' switches, or a server is cut off in the middle of one.
//! Deliberately absent: the shell that is left on a server, taken apart (see `revert_scripts`).
use crate::fleet::Fleet;
use crate::project::Project;
use crate::server::{FREE_WITHIN, Server};
use crate::shop::{api_on, deploy, header, is, service_echo};
use crate::traffic::Traffic;
use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

/// A server goes back 15 s after its lease is free, which takes 25 s at most where the run has not died but fallen silent.
const BOUND: Duration = Duration::from_secs(90);

fn generations(servers: &[Server]) -> Vec<String> {
    servers.iter().map(|server| server.must("readlink /local/flipside/nginx/current").trim().to_owned()).collect()
}

/// Waits until all servers are back at these generations, and returns how long it took.
fn all_back_at(servers: &[Server], before: &[String]) -> Duration {
    let began = Instant::now();
    while generations(servers) != before {
        assert!(began.elapsed() < BOUND, "{:?} instead of {before:?}", generations(servers));
        thread::sleep(Duration::from_millis(250));
    }
    began.elapsed()
}

#[test]
fn a_run_that_dies_between_two_switches_leaves_a_fleet_that_goes_back_by_itself() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let project = Project::new(&fleet, &(header("1.0") + &api_on(3, "1.0", "")));
    deploy(&project).exits(0);
    let before = generations(&servers);
    let traffic = Traffic::http(&servers);
    project.playbook(&(header("2.0") + &api_on(3, "2.0", "")));

    servers[2].nginx_is_taken();
    let mut run = project.start(&["deploy", "-y"]);
    run.until("[server1] switched NGINX");
    run.until("[server2] switched NGINX");
    run.signal("KILL");
    assert_eq!(run.end().exit, None);
    let killed = Instant::now();
    let half: BTreeSet<bool> = generations(&servers).iter().zip(&before).map(|(now, before)| now == before).collect();
    assert_eq!(half.len(), 2, "the fleet is half switched");
    project.flipside(&["status"]).exits(0).says(&["MIXED", "will put itself back to generation"]);
    // server3's switch, begun before the end, comes late: it is put back with the others.
    servers[2].nginx_is_let_go();
    all_back_at(&servers[..2], &before[..2]);
    thread::sleep(Duration::from_secs(1));
    all_back_at(&servers, &before);
    let healed = killed.elapsed();
    assert!(healed < Duration::from_secs(60), "{healed:?}");
    eprintln!("from the kill to a consistent fleet: {healed:?}");
    project.flipside(&["status"]).exits(0).says(&["put itself back to generation", "a run was cut off"]);

    // The run can only be undone now; and somebody else deploys as if nothing had been.
    project.flipside(&["resume"]).exits(5).says(&["put itself back from generation", "everything was put back"]);
    is(&project, "api", "RUNNING", "primary", "1.0");
    let other = Project::new(&fleet, &(header("2.0") + &api_on(3, "2.0", "")));
    deploy(&other).exits(0);
    is(&other, "api", "RUNNING", "secondary", "2.0");
    traffic.end().none_failed().versions(&["1.0", "2.0"]);
    for server in &servers {
        assert_eq!(server.run("pgrep -fc '[f]lipside_revert'").trim(), "0", "{} keeps a shell", server.name);
    }
}

#[test]
fn a_server_that_is_lost_during_the_undo_is_named_and_finished_later() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    // server3 runs nothing: what is in flight to a container on a server that is cut off is lost, whoever deploys. Its NGINX takes part.
    let project = Project::new(&fleet, &(header("1.0") + &api_on(2, "1.0", "")));
    deploy(&project).exits(0);
    let before = generations(&servers);
    let traffic = Traffic::http(&servers[..2]);
    project.playbook(&(header("2.0") + &api_on(2, "2.0", "")));

    // server3 has switched and is cut off before server1 has; the run fails at confirming, and its undo meets a server that is away.
    servers[0].nginx_is_taken();
    let mut run = project.start(&["deploy", "-y"]);
    run.until("[server3] switched NGINX");
    let locked = servers[2].watch_lease();
    servers[2].fault("cut", &[]);
    let cut = Instant::now();
    servers[0].nginx_is_let_go();
    let output = run.end().exits(6).says(&["NOT PUT BACK", "server3", "resume", "finishes putting back server3"]);
    assert_eq!(generations(&servers[..2]), before[..2], "{}", output.all());
    // The server frees its lease without a word from anybody: it hears none for longer than that takes.
    thread::sleep(Duration::from_secs(28).saturating_sub(cut.elapsed()));
    servers[2].fault("heal", &[]);
    let free = servers[2].lease_was_free_at() - locked;
    assert!(free < FREE_WITHIN, "the lease of a server that was cut off was free after {free} s");
    let healed = all_back_at(&servers, &before);
    eprintln!("server3 was back by itself {healed:?} after it could be reached");
    project.flipside(&["resume"]).exits(5).says(&["everything was put back"]);
    is(&project, "api", "RUNNING", "primary", "1.0");
    for server in &servers[..2] {
        assert_eq!(server.running("shop_prod_api"), ["shop_prod_api"], "on {}", server.name);
    }

    // Killed between two switches, and server3 has lost its shell: it stays on the other side. A deploy does not stop at mending that.
    servers[0].nginx_is_taken();
    let mut run = project.start(&["deploy", "-y"]);
    run.until("[server3] switched NGINX");
    servers[2].must("pkill -KILL -f '[f]lipside_revert'");
    run.signal("KILL");
    run.end();
    servers[0].nginx_is_let_go();
    all_back_at(&servers[..2], &before[..2]);
    project.another_workstation();
    deploy(&project).exits(0).says(&["servers route different sides", "every server routes the same side again: now the deploy itself"]);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    traffic.end().none_failed().versions(&["1.0", "2.0"]);
}

#[test]
fn a_run_that_idles_keeps_its_locks_and_another_projects_run_waits_for_what_a_dead_one_left() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let project = Project::new(&fleet, &(header("1.0") + &api_on(3, "1.0", "")));
    deploy(&project).exits(0);
    let traffic = Traffic::http(&servers);
    project.playbook(&(header("2.0") + &api_on(3, "2.0", "")));

    // server1 has switched, and nothing is asked of it for longer than its revert would wait.
    servers[1].nginx_is_taken();
    let mut run = project.start(&["deploy", "-y"]);
    run.until("[server1] switched NGINX");
    servers[0].must("(setsid sh -c 'sleep 0.5; pkill -f \"^sshd.*: root@\"' >/dev/null 2>&1 </dev/null &)");
    thread::sleep(Duration::from_secs(20));
    servers[1].nginx_is_let_go();
    run.end().exits(0).says_not(&["put itself back", "was lost"]);
    is(&project, "api", "RUNNING", "secondary", "2.0");

    // The next one dies between two switches, and another project has work for one of these servers.
    project.playbook(&(header("3.0") + &api_on(3, "3.0", "")));
    servers[2].nginx_is_taken();
    let mut run = project.start(&["deploy", "-y"]);
    run.until("[server1] switched NGINX");
    run.until("[server2] switched NGINX");
    run.signal("KILL");
    run.end();
    servers[2].nginx_is_let_go();
    let blog = Project::new(&fleet, &(header("1.0").replace("\"shop\"", "\"blog\"") + &service_echo("1.0")));
    deploy(&blog).exits(0).says(&["s at most: server", "is about to put back what a run of another project left half switched"]);
    let began = Instant::now();
    while project.flipside(&["status"]).exits(0).stdout.contains("MIXED") {
        assert!(began.elapsed() < BOUND, "{}", project.flipside(&["status"]).all());
    }
    // On all three; what the dead run had started still runs beside it.
    is(&project, "api", "DEGRADED", "secondary", "2.0");
    traffic.end().none_failed().versions(&["1.0", "2.0", "3.0"]);
}
