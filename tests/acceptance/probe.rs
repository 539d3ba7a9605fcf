//! `--probe`: requests that watch a deploy, counted and shown; one that fails, and the deploy is undone.
use crate::fleet::Fleet;
use crate::project::{Output, Project};
use crate::shop::{api_on, header, is, service_echo};
use crate::traffic::HOST;
use serde_json::Value;
use std::thread;

fn playbook(tag: &str) -> String {
    header(tag) + &api_on(2, tag, "") + &service_echo(tag)
}

/// A number of a count in a summary.
fn number(count: &Value, name: &str) -> u64 {
    count[name].as_u64().unwrap_or_else(|| panic!("no {name} in {count:#}"))
}

/// Deploys this version. While the old side drains, which a request of this long holds up, one of the new containers falls ill: it says
/// 503 where it said 200 when it was started.
fn deploy_what_falls_ill(fleet: &Fleet, project: &Project, tag: &str, arguments: &[&str], hold_ms: u32) -> Output {
    project.playbook(&playbook(tag));
    let mut run = project.start(arguments);
    run.until("== start");
    let held = {
        let server = fleet.server(1);
        thread::spawn(move || server.get(HOST, &format!("/slow?ms={hold_ms}")))
    };
    run.until("== drain");
    let ill = fleet.server(2).get(HOST, "/fail");
    assert_eq!(ill.0, 200, "{}", ill.1);
    let output = run.end();
    assert_eq!(held.join().expect("a request").0, 200, "{}", output.all());
    output
}

#[test]
fn a_deploy_is_watched_and_one_failed_request_undoes_it() {
    let fleet = Fleet::take();
    let project = Project::new(&fleet, &playbook("1.0"));
    // Nothing is there yet: what is new is watched from its switch on.
    project.flipside(&["deploy", "-y", "--probe"]).exits(0).says(&[" 0 failed"]);

    project.playbook(&playbook("2.0"));
    let output = project.flipside(&["deploy", "-y", "--probe", "--output", "json"]).exits(0);
    let last = output.stdout.lines().last().unwrap_or_default();
    let summary: Value = serde_json::from_str(last).unwrap_or_else(|problem| panic!("{problem}: {}", output.all()));
    let targets = summary["probe"]["targets"].as_array().expect("targets");
    assert_eq!(targets.len(), 6, "two services through three servers: {targets:#?}");
    for target in targets {
        assert!(number(target, "sent") >= 5 && number(target, "slowest_ms") > 0, "{target:#}");
        assert_eq!(
            (number(target, "failed"), number(target, "before_first_answer"), number(target, "not_measured")),
            (0, 0, 0),
            "{target:#}"
        );
    }

    let undone = deploy_what_falls_ill(&fleet, &project, "3.0", &["deploy", "-y", "--probe"], 8_000).exits(5);
    undone.says(&[
        "== probe failed: api through ",
        "status 503",
        "and --probe-budget allows 0",
        "everything was put back",
        "== undo switch",
    ]);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    is(&project, "echo", "RUNNING", "secondary", "2.0");

    let lenient = ["deploy", "-y", "--probe", "--probe-budget", "100000"];
    let done = deploy_what_falls_ill(&fleet, &project, "3.0", &lenient, 4_000).exits(0).says(&["failed first  api through ", "status 503"]);
    done.says_not(&["too late", " 0 failed, slowest"]);
    is(&project, "echo", "RUNNING", "primary", "3.0");
}
