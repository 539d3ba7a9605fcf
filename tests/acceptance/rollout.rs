//! What becomes of a release after the switch: watched, and taken back by itself. Deliberately absent: the arithmetic of the watch (see
//! `remote::health`).
use crate::fleet::Fleet;
use crate::project::Project;
use crate::shop::{api_on, deploy, header, is};
use crate::traffic::Traffic;
use std::thread;
use std::time::Duration;

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
    project.playbook(&watched("2.0", "60s", ""));
    let mut run = project.start(&["deploy", "-y"]);
    run.until("== watch");
    thread::sleep(Duration::from_secs(3));
    servers[1].must("docker kill shop_prod_api_secondary");
    run.end().exits(5).says(&[
        "[server2] failed: watch shop_prod_api_secondary for 60s",
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
