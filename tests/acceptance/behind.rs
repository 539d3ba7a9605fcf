//! A server that the workstation cannot reach and that goes on serving: left behind within the budget, brought level once it is back.
//! Cut off by a wrong SSH port in the inventory, where all else of the server is as it should be, and by the loss of its power.
use crate::fleet::Fleet;
use crate::project::{Project, inventory};
use crate::shop::{api_on, deploy, header, is};
use crate::traffic::{HOST, Traffic};
use crate::watch::toggle;

/// One pass of `flipside watch` takes a copy out by these.
const CHECKED: &str = "balance = { active_checks = { interval = \"1s\", fails = 2 } }";

fn playbook(version: &str, floor: u32) -> String {
    let budget = "[rollout]\nmax_unreachable = 1";
    let worker = format!(
        "
[services.worker]
image = \"flipside/app:{version}\"
servers_count = 3
health_check = {{ interval = \"200ms\", deadline = \"8s\" }}
"
    );
    header(version).replace("[rollout]", budget) + &api_on(3, version, &format!("min_healthy = {floor}\n{CHECKED}")) + &worker
}

/// The containers of the shop that run, by server.
fn running(fleet: &Fleet) -> Vec<Vec<String>> {
    fleet.servers().iter().map(|server| server.running("shop_")).collect()
}

#[test]
fn a_server_that_cannot_be_reached_is_left_behind_and_brought_level() {
    let fleet = Fleet::take();
    let all = inventory(&fleet, "root", &[1, 2, 3]);
    let two = all.clone() + "port = 2\n";
    let project = Project::new(&fleet, &playbook("1.0", 2));
    deploy(&project).exits(0);
    let traffic = Traffic::http(&fleet.servers());

    // Nothing is changed below the floor, or without a budget.
    project.inventory(&two);
    project.playbook(&playbook("2.0", 3));
    let before = fleet.snapshot();
    deploy(&project).exits(4).says(&["server3", "`min_healthy` is 3", "it has 2 copies", "nothing was changed"]);
    project.playbook(&playbook("2.0", 2));
    let refused = project.flipside(&["deploy", "-y", "--max-unreachable", "0"]).exits(4);
    refused.says(&["1 of 3 servers cannot be used; nothing was changed on any server"]);
    assert_eq!(fleet.snapshot(), before);

    // Within both: server3 goes on with 1.0, and so does what it routes to on the others.
    let output = deploy(&project).exits(0);
    output.says(&["server3: it cannot be reached, and is left behind", "its primary side goes on running", "2 servers, WITHOUT server3"]);
    let [here, there] =
        [vec!["shop_prod_api", "shop_prod_api_secondary", "shop_prod_worker_secondary"], vec!["shop_prod_api", "shop_prod_worker"]];
    assert_eq!(running(&fleet), [here.clone(), here, there]);
    project.flipside(&["status"]).exits(4).says(&["server3: it is behind"]);
    deploy(&project).exits(0).says(&["nothing to do"]);

    // What fails is taken out, and in again, on those that are reached.
    let two = fleet.server(2);
    toggle(&two, "shop_prod_api_secondary");
    project.flipside(&["watch", "--once"]).exits(10).says(&["api, copy 1 on server2 is out of every upstream"]);
    toggle(&two, "shop_prod_api_secondary");
    project.flipside(&["watch", "--once"]).exits(10).says(&["api, copy 1 on server2 is in again", "server3 does not answer"]);
    deploy(&project).exits(0).says(&["nothing to do"]);

    // Back, and seen from a workstation that knows nothing of that run.
    let other = Project::new(&fleet, &playbook("3.0", 2));
    other.flipside(&["status"]).exits(0).says(&["server3: it is behind: it has api 1.0, and the fleet has 2.0", "flipside catch-up"]);
    other.flipside(&["catch-up", "-y"]).exits(3).says(&["the playbook wants something else than the fleet has", "flipside deploy"]);
    // Nor does what was not deployed come along where the containers are the same.
    other.playbook(&playbook("2.0", 2).replace("shop.example.com", "other.example.com"));
    other.flipside(&["catch-up", "-y", "--output", "json"]).exits(3).says(&[
        "{\"event\":\"findings\",",
        "(hosts other.example.com instead of shop.example.com)",
        "\"verdict\":\"refused\"",
    ]);
    other.playbook(&playbook("2.0", 2));
    other.flipside(&["catch-up", "-y"]).exits(0).says(&["== join the fleet", "2 services brought level"]);
    is(&other, "api", "RUNNING", "secondary", "2.0");
    is(&other, "worker", "RUNNING", "secondary", "2.0");
    assert_eq!(running(&fleet), vec![vec!["shop_prod_api_secondary", "shop_prod_worker_secondary"]; 3]);
    other.flipside(&["catch-up", "-y"]).exits(0).says(&["nothing to do"]);

    traffic.end().none_failed().versions(&["1.0", "2.0"]);

    // Left behind once more, by the loss of its power, and back for another release. What the others' clients ask is answered all the time.
    let last = fleet.server(3);
    let traffic = Traffic::http(&fleet.servers()[..2]);
    last.fault("stop", &[]);
    other.playbook(&playbook("3.0", 2));
    deploy(&other).exits(0).says(&["server3: it cannot be reached, and is left behind", "WITHOUT server3"]);
    last.fault("start", &[]);
    other.flipside(&["status"]).exits(0).says(&["server3: it is behind: it has api 2.0, and the fleet has 3.0"]);
    assert_eq!(last.get(HOST, "/").0, 200, "it serves what it has, with its power back");
    other.playbook(&playbook("1.0", 2));
    deploy(&other).exits(0).says(&["server3: it was left behind by an earlier run: this one brings it level"]);
    is(&other, "api", "RUNNING", "secondary", "1.0");
    traffic.end().none_failed().versions(&["1.0", "2.0", "3.0"]);
    assert_eq!(running(&fleet), vec![vec!["shop_prod_api_secondary", "shop_prod_worker_secondary"]; 3]);
}
