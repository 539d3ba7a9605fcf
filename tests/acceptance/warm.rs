//! `playbooks/warm.toml`: old sides that stay running until their time is over, and the way back and forth that is one reload, whose time is measured
//! and not judged. And old sides that are not kept at all.
use crate::fleet::Fleet;
use crate::project::Project;
use crate::server::Server;
use crate::shop::{deploy, is, status};
use crate::traffic::Traffic;
use crate::watch::toggle;
use std::time::Instant;

/// The example that the README points to.
const EXAMPLE: &str = include_str!("../../playbooks/warm.toml");

/// The playbook of another version.
fn version(version: &str) -> String {
    EXAMPLE
        .replace("version = \"1.0\"", &format!("version = \"{version}\""))
        .replace("flipside/app:1.0", &format!("flipside/app:{version}"))
}

#[test]
fn an_old_side_stays_warm_and_the_way_back_is_one_reload() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let project = Project::new(&fleet, EXAMPLE);
    deploy(&project).exits(0);
    let traffic = Traffic::http(&servers);
    project.playbook(&version("2.0"));
    // Under the lock the servers are asked again, and time has gone by: the plan has the same times in it all the same.
    let patient = project.flipside(&["deploy", "-y", "--lock-wait", "60s"]);
    patient
        .exits(0)
        .says_not(&["planning anew"])
        .says(&["its old side does not stay warm: it has no port"])
        .says_not(&["== drain", "stopped shop_prod_api"]);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    for server in &servers {
        assert_eq!(server.running("shop_prod_api"), ["shop_prod_api", "shop_prod_api_secondary"], "{}", server.name);
    }
    let seen = status(&project, "api");
    assert_eq!((seen["previous"].as_str(), seen["warm"].as_object().map(serde_json::Map::len)), (Some("1.0"), Some(3)), "{seen:#}");
    project.flipside(&["status"]).exits(0).says(&["1.0 (warm, "]);

    // Nothing is started and nothing is waited for. The worker's old side is, and so it stays out.
    for (phase, live, version) in [("back", "primary", "1.0"), ("forth", "secondary", "2.0"), ("back again", "primary", "1.0")] {
        let began = Instant::now();
        project.flipside(&["rollback", "api", "-y"]).exits(0).says_not(&["== drain", "started shop_prod_api"]);
        eprintln!("rollback to a warm side, from command to its end: {:.1} s", began.elapsed().as_secs_f32());
        traffic.phase(phase);
        is(&project, "api", "RUNNING", live, version);
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    // A failed release leaves the warm side as it was.
    traffic.phase("failed");
    project.playbook(&version("2.0").replace("image = \"flipside/app:2.0\"\nport", "image = \"flipside/app:3.0-exit\"\nport"));
    deploy(&project).exits(5);
    is(&project, "api", "RUNNING", "primary", "1.0");
    traffic.phase("after");
    project.flipside(&["rollback", "api", "-y"]).exits(0).says_not(&["started shop_prod_api"]);
    is(&project, "api", "RUNNING", "secondary", "2.0");

    // Kept no more: until the next deploy it goes on, and what fails is taken out all the same.
    let checked = "servers_count = 3\nbalance = { active_checks = { interval = \"1s\", fails = 2 } }";
    project.playbook(&version("2.0").replace("keep = \"warm\"", "keep = \"stopped\"").replace("servers_count = 3", checked));
    for (code, news) in [(10, "api, copy 1 on server2 is out of every upstream"), (0, "api, copy 1 on server2 is in again")] {
        toggle(&servers[1], "shop_prod_api_secondary");
        project.flipside(&["watch", "--once"]).exits(code).says(&[news]);
    }

    // Its time is over: the next deploy stops it, and a rollback has to start it again.
    project.playbook(&version("2.0"));
    let clocks = Ahead::new(&servers);
    let over = deploy(&project);
    drop(clocks);
    over.exits(0).says(&["shop_prod_api of the primary side was kept warm, and its `warm_time` of 1h is over", "== drain"]);
    for server in &servers {
        assert_eq!(server.running("shop_prod_api"), ["shop_prod_api_secondary"], "{}", server.name);
    }
    traffic.phase("started again");
    project.flipside(&["rollback", "api", "-y"]).exits(0).says(&["started shop_prod_api"]);
    is(&project, "api", "RUNNING", "primary", "1.0");

    // Kept no more: the next deploy waits for what is under way there, and stops it.
    project.playbook(&EXAMPLE.replace("keep = \"warm\"", "keep = \"stopped\""));
    project.flipside(&["deploy", "api", "-y"]).exits(0).says(&["the playbook keeps no old side warm any more", "== drain"]);
    is(&project, "api", "RUNNING", "primary", "1.0");
    for server in &servers {
        assert_eq!(server.running("shop_prod_api"), ["shop_prod_api"], "{}", server.name);
    }
    project.flipside(&["deploy", "api", "-y"]).exits(0).says(&["Nothing to do"]);

    // Not kept at all: it is gone, and nothing can go back.
    project.playbook(&version("2.0").replace("keep = \"warm\"", "keep = \"removed\""));
    project.flipside(&["deploy", "api", "-y"]).exits(0);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    for server in &servers {
        assert!(!server.containers().contains_key("shop_prod_api"), "{}", server.name);
    }
    project.flipside(&["rollback", "api", "-y"]).exits(3).says(&["nothing to go back to"]);
    traffic.end().none_failed().versions(&["1.0", "2.0"]).only("failed", "1.0");
}

/// Servers on which a program that asks for the time is told that it is two hours later. Dropped, it is told the truth again.
struct Ahead<'a>(&'a [Server]);

impl<'a> Ahead<'a> {
    fn new(servers: &'a [Server]) -> Self {
        let ahead = Self(servers);
        for server in servers {
            server.must(
                "printf '#!/bin/sh\\nexec /bin/date -d \"+2 hours\" \"$@\"\\n' >/usr/local/bin/date && chmod 755 /usr/local/bin/date",
            );
        }
        ahead
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|server| drop(server.run("rm -f /usr/local/bin/date")));
    }
}
