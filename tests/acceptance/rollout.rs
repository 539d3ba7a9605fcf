//! What becomes of a release after the switch: watched, and taken back by itself. Deliberately absent: the arithmetic of the watch (see
//! `remote::health`).
use crate::fleet::Fleet;
use crate::project::Project;
use crate::shop::{api_on, deploy, header, is};
use crate::traffic::{HOST, Traffic};
use std::fs;
use std::thread;
use std::time::Duration;

/// The example that the README points to.
const HOLD: &str = include_str!("../../playbooks/hold.toml");

/// `api` on three servers, watched for so long.
fn watched(version: &str, time: &str, more: &str) -> String {
    header(version).replace("[rollout]", &format!("[rollout]\nmin_healthy_time = \"{time}\"")) + &api_on(3, version, more)
}

#[test]
fn a_release_that_dies_after_the_switch_goes_back_by_itself() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let project = Project::new(&fleet, &watched("1.0", "1s", ""));
    deploy(&project).exits(0).says(&["watched shop_prod_api for 1s", "healthy for 1 s: status 200"]);

    // It answers, is switched to everywhere, and three seconds later the container of one server is gone. NGINX passes by it.
    let traffic = Traffic::http(&servers);
    project.playbook(&watched("2.0", "45s", ""));
    let mut run = project.start(&["deploy", "-y"]);
    run.until("== watch");
    thread::sleep(Duration::from_secs(3));
    servers[1].must("docker kill shop_prod_api_secondary");
    run.end().exits(5).says(&[
        "[server2] failed: watch shop_prod_api_secondary for 45s",
        "shop_prod_api_secondary exited with code 137",
        "undone: switch NGINX to generation",
        "everything was put back",
    ]);
    is(&project, "api", "RUNNING", "primary", "1.0");
    traffic.phase("after");
    traffic.end().none_failed().versions(&["1.0", "2.0"]).only("after", "1.0");

    // A good one stays.
    project.playbook(&watched("2.0", "2s", ""));
    deploy(&project).exits(0).says(&["watched shop_prod_api_secondary for 2s"]);
    is(&project, "api", "RUNNING", "secondary", "2.0");
}

#[test]
fn a_failure_is_held_and_goes_on_or_back_when_somebody_says_so() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let project = Project::new(&fleet, HOLD);
    deploy(&project).exits(0);
    let release = |version: &str| {
        HOLD.replace("version = \"1.0\"", &format!("version = \"{version}\"")).replace("app:1.0", &format!("app:{version}"))
    };
    let fails_on_server2 = |container: &str, meanwhile: &mut dyn FnMut()| {
        let mut run = project.start(&["deploy", "-y"]);
        run.until("== watch");
        meanwhile();
        servers[1].must(&format!("docker kill {container}"));
        run.end().exits(8).says(&[
            "== held",
            "and is HELD",
            "as planned: api",
            " resume  once the cause is gone",
            " abort   puts everything back",
        ]);
        for server in &servers {
            assert_eq!(server.run("ls /local/flipside/revert/armed 2>/dev/null"), "", "{} would put itself back", server.name);
        }
    };

    // Nothing is undone: the servers go on with the new side, and NGINX passes by the container that is gone. Who has waited for the run does
    // not begin either.
    let traffic = Traffic::http(&servers);
    project.playbook(&release("2.0"));
    let mut waiting = None;
    fails_on_server2("shop_prod_api_secondary", &mut || {
        let mut run = project.start(&["deploy", "-y", "--lock-wait", "100s"]);
        run.until("waiting, ");
        waiting = Some(run);
    });
    waiting.expect("a run").end().exits(8).says(&["is held"]).says_not(&["== lock"]);
    traffic.phase("held");
    deploy(&project).exits(8).says(&["is held", "watch shop_prod_api_secondary for 10s on server2 failed", "Until then no deploy begins"]);
    project.flipside(&["rollback", "-y"]).exits(8);
    project.flipside(&["status"]).exits(0).says(&["a deploy failed here and is held"]);
    // The cause is not gone: it is held again.
    project.flipside(&["resume"]).exits(8).says(&["exited with code 137"]);
    traffic.phase("resumed");
    servers[1].must("docker start shop_prod_api_secondary");
    project.flipside(&["resume"]).exits(0).says(&["watched shop_prod_api_secondary for 10s"]);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    traffic.phase("second");

    project.playbook(&release("1.0").replace("version = \"1.0\"", "version = \"3.0\""));
    fails_on_server2("shop_prod_api", &mut || {});
    traffic.phase("aborting");
    project.flipside(&["abort"]).exits(0);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    project.flipside(&["status"]).exits(0).says_not(&["held"]);
    traffic.phase("aborted");
    traffic.end().none_failed().versions(&["1.0", "2.0"]).only("held", "2.0").only("aborted", "2.0");
    let hooks = fs::read_to_string(project.path("hooks.log")).expect("a log");
    let expected =
        ["_secondary for 10s", "_secondary for 10s", " for 10s"].map(|text| format!("held: watch shop_prod_api{text} on server2"));
    assert_eq!(hooks.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_roll_by_shares_is_held_in_its_first_batch_goes_on_when_told_to_and_leaves_a_warm_side() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let rollout =
        "strategy = \"rolling\"\nbatch = \"34%\"\npause = \"0s\"\non_failure = \"hold\"\nkeep = \"warm\"\nmin_healthy_time = \"3s\"";
    let release = |version: &str| header(version).replace("[rollout]", &format!("[rollout]\n{rollout}")) + &api_on(3, version, "");
    let project = Project::new(&fleet, &release("1.0"));
    deploy(&project).exits(0);
    let answers = || servers.iter().map(|server| server.get(HOST, "/").1.chars().take(3).collect::<String>()).collect::<Vec<_>>();

    // A third and one percent of three servers are two. The first batch fails, and stays as it is; the third server does not notice.
    let traffic = Traffic::http(&servers);
    project.playbook(&release("2.0"));
    let mut run = project.start(&["deploy", "-y"]);
    run.until("== watch, batch 1 of 2");
    run.signal("STOP");
    servers[1].must("docker kill shop_prod_api_secondary");
    run.signal("CONT");
    run.end().exits(8).says(&["and is HELD"]).says_not(&["== start, batch 2 of 2"]);
    assert_eq!(answers(), ["2.0", "2.0", "1.0"]);
    assert_eq!(servers[2].running("shop_prod_api"), ["shop_prod_api"]);

    servers[1].must("docker start shop_prod_api_secondary");
    let said = project.flipside(&["resume"]).exits(0).says(&["== switch, batch 2 of 2"]).says_not(&["== drain"]);
    assert_eq!(answers(), ["2.0"; 3], "{}", said.all());
    for server in &servers {
        assert_eq!(server.running("shop_prod_api"), ["shop_prod_api", "shop_prod_api_secondary"], "{}", server.name);
    }

    // The way back is not in batches, and starts nothing.
    project.flipside(&["rollback", "-y"]).exits(0).says_not(&["batch", "started shop_prod_api"]);
    traffic.phase("back");
    is(&project, "api", "RUNNING", "primary", "1.0");
    traffic.end().none_failed().versions(&["1.0", "2.0"]).only("back", "1.0");
}
