//! `playbooks/canary.toml`: a part of the requests tries a release first; what comes of them decides, and whether its containers stay healthy.
//! Deliberately absent: the arithmetic (see `remote::health`), and canaries that wait for somebody (see `promote`).
use crate::fleet::Fleet;
use crate::project::Project;
use crate::shop::{deploy, is, ports};
use crate::traffic::{HOST, Seen, Traffic};
use crate::watch::toggle;
use std::thread;
use std::time::Duration;

/// The example that the README points to.
const EXAMPLE: &str = include_str!("../../playbooks/canary.toml");

pub(crate) fn release(version: &str) -> String {
    let api = format!("[services.api]\nimage = \"flipside/app:{version}\"");
    let text = EXAMPLE
        .replace("version = \"1.0\"", &format!("version = \"{version}\""))
        .replace("[services.api]\nimage = \"flipside/app:1.0\"", &api);
    assert!(text.contains(&api));
    text
}

/// Of the requests of a phase: how many there were, how many the version answered, and how many failed.
pub(crate) fn counts(seen: &Seen, phase: &str, version: &str) -> (u64, u64, u64) {
    let of = seen.0.targets.iter().filter_map(|target| target.phases.iter().find(|counts| counts.phase == phase));
    of.fold((0, 0, 0), |(sent, answered, failed), phase| {
        let counts = &phase.counts;
        let by = counts.answers.get(version).copied().unwrap_or_default();
        (sent + counts.sent, answered + by, failed + counts.failed + counts.cuts)
    })
}

#[test]
fn a_canary_gets_its_share_and_goes_on_or_back_by_what_comes_of_it() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let project = Project::new(&fleet, EXAMPLE);
    deploy(&project).exits(0).says(&["api: it is not tried by a canary first: it is new"]);

    // A good release: its share first, then everything.
    let traffic = Traffic::http(&servers);
    project.playbook(&release("2.0"));
    let mut run = project.start(&["deploy", "-y"]);
    run.until("== try the canary");
    traffic.phase("canary");
    run.until("[server1] counted the requests to the canary");
    traffic.phase("promoted");
    run.end().exits(0).says(&["switched NGINX", "new side: 0 of"]);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    traffic.phase("after");
    let seen = traffic.end().none_failed().versions(&["1.0", "2.0"]).only("after", "2.0");
    let (sent, new, _) = counts(&seen, "canary", "2.0");
    eprintln!("canary of 20%: {new} of {sent} requests");
    assert!(sent > 500 && new * 100 > sent * 14 && new * 100 < sent * 26, "{new} of {sent} requests tried the new side");
    for server in &servers {
        assert_eq!(server.run("ls /local/flipside/run | grep -F canary"), "", "{}: the log is gone", server.name);
    }

    // A release that answers its health check, and cannot reach what the requests need: it says 502 to its share, and goes back.
    let (internal, _, _) = ports(&project, "echo");
    let target = |address: &str| format!("new:http://{address}/call?host=localhost&port={internal}&line=hello#{HOST}");
    let traffic = Traffic::to(servers.iter().map(|server| target(&server.address)));
    let bad = release("1.0").replace("version = \"1.0\"", "version = \"3.0\"").replace("uses = [\"echo\"]\n", "");
    project.playbook(&bad);
    deploy(&project).exits(5).says(&[
        "failed: count the requests to the canary of api through 3 servers for 10s",
        "requests to the canary of api fail: new side: ",
        "old side: 0 of",
        "everything was put back",
    ]);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    traffic.phase("after");
    let seen = traffic.end();
    let (sent, _, failed) = seen
        .0
        .targets
        .iter()
        .fold((0, 0, 0), |(sent, _, failed), target| (sent + target.total.sent, 0, failed + target.total.failed + target.total.cuts));
    let (_, _, failed_after) = counts(&seen, "after", "1.0");
    eprintln!("bad canary of 20%: {failed} of {sent} requests failed, {failed_after} after it went back");
    assert!(failed > 0 && failed * 100 < sent * 26 && failed_after == 0, "{failed} of {sent} failed, {failed_after} afterwards");

    // One whose copy on one server says that it is ill, and then is gone, in the middle of it. Its answers are good all the time, and too few to
    // be judged by: it goes back by its health alone, long before its time is over.
    let ill = release("3.0").replace("time = \"10s\"", "time = \"100s\"").replace("min_requests = 20", "min_requests = 1000000");
    assert!(ill.contains("100s") && ill.contains("1000000"));
    project.playbook(&ill);
    let traffic = Traffic::http(&servers);
    let two = &servers[1];
    let falls_ill = |traffic: &Traffic, phase: &str, seen: &str, how: &dyn Fn()| {
        let mut run = project.start(&["deploy", "-y"]);
        run.until("== try the canary");
        traffic.phase(phase);
        thread::sleep(Duration::from_secs(1));
        how();
        let failed = format!("[{}] failed: watch shop_prod_api for 100s", two.name);
        run.end().exits(5).says(&[&failed, seen, "everything was put back"]).says_not(&["canary of api fail"]);
        traffic.phase("back");
        is(&project, "api", "RUNNING", "secondary", "2.0");
    };
    falls_ill(&traffic, "ill", "shop_prod_api was healthy and is not any more", &|| toggle(two, "shop_prod_api.door"));
    falls_ill(&traffic, "gone", "shop_prod_api exited with code 137", &|| drop(two.must("docker kill shop_prod_api")));
    let seen = traffic.end().none_failed().versions(&["2.0", "3.0"]);
    for phase in ["ill", "gone"] {
        let (sent, new, _) = counts(&seen, phase, "3.0");
        eprintln!("canary that is {phase}: {new} of {sent} requests met it");
        assert!(new > 0 && new * 100 < sent * 26, "{phase}: {new} of {sent} requests met it");
    }

    // One that hangs answers nobody, and nobody is told: its health tells it alone, long before `read` would.
    let traffic = Traffic::http(&servers);
    falls_ill(&traffic, "hangs", "shop_prod_api was healthy and is not any more", &|| {
        drop(two.must("kill -STOP $(docker inspect -f '{{.State.Pid}}' shop_prod_api)"))
    });
    let seen = traffic.end().only("back", "2.0");
    let ((sent, _, failed), (_, _, after)) = (counts(&seen, "hangs", "3.0"), counts(&seen, "back", "3.0"));
    eprintln!("canary that hangs: {failed} of {sent} requests failed, {after} after it went back");
    assert!(failed * 100 < sent * 26 && after == 0, "{failed} of {sent} requests failed, {after} after it went back");
}
