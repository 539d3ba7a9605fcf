//! Runs that are interrupted, killed, doubled or refused: what is served throughout, and which exit code says so.
use crate::fleet::Fleet;
use crate::project::Project;
use crate::shop::{api_on, deploy, header, is};
use crate::traffic::Traffic;
use serde_json::Value;

#[test]
fn a_signal_puts_back_and_a_killed_run_is_taken_up() {
    let fleet = Fleet::take();
    let project = Project::new(&fleet, &(header("1.0") + &api_on(3, "1.0", "")));
    deploy(&project).exits(0);
    let traffic = Traffic::http(&fleet.servers());
    project.playbook(&(header("2.0") + &api_on(3, "2.0", "")));

    // Ctrl-C, before and after the switch; SIGTERM. That the workstation's clock is a year behind is nobody's matter.
    project.clock_is_off(Some("-400d"));
    for (when, signal) in [("== start", "INT"), ("== switch", "TERM"), ("== drain", "INT")] {
        let mut run = project.start(&["deploy", "-y"]);
        run.until(when);
        run.signal(signal);
        run.end().exits(5).says(&["everything was put back", "api 1.0"]);
        is(&project, "api", "RUNNING", "primary", "1.0");
    }

    // Killed in the middle: nothing is locked afterwards, and `resume` finishes what was begun, two years earlier than it was.
    for when in ["== start", "== switch"] {
        project.clock_is_off(Some("+400d"));
        let mut run = project.start(&["deploy", "-y"]);
        run.until(when);
        run.signal("KILL");
        assert_eq!(run.end().exit, None);
        project.clock_is_off(Some("-400d"));
        project.flipside(&["resume"]).exits(0);
        is(&project, "api", "RUNNING", if when == "== start" { "secondary" } else { "primary" }, "2.0");
        if when == "== start" {
            project.playbook(&(header("2.0") + &api_on(3, "2.0", "env = { ROUND = \"2\" }")));
        }
    }
    traffic.end().none_failed().versions(&["1.0", "2.0"]);
}

#[test]
fn of_two_runs_at_once_the_second_is_told_who_holds_the_lock() {
    let fleet = Fleet::take();
    let project = Project::new(&fleet, &(header("1.0") + &api_on(2, "1.0", "")));
    deploy(&project).exits(0);
    project.playbook(&(header("3.0") + &api_on(2, "3.0-slow-start", "")));
    let mut first = project.start(&["deploy", "-y"]);
    first.until("== start");

    // Somebody else, with a state folder of their own, and other servers of the same fleet.
    let other = Project::new(&fleet, &(header("2.0").replace("shop", "other") + &api_on(3, "2.0", "").replace("shop.", "other.")));
    let output = other.flipside(&["deploy", "-y"]).exits(7).says(&["locked by", "flipside deploy of shop/prod"]);
    for server in fleet.servers() {
        assert_eq!(server.running("other_"), Vec::<String>::new(), "{}", output.all());
    }
    first.end().exits(0);
    is(&project, "api", "RUNNING", "secondary", "3.0");
    other.flipside(&["deploy", "-y"]).exits(0);
}

#[test]
fn every_line_of_json_is_json_and_the_exit_codes_are_kept() {
    let fleet = Fleet::take();
    let project = Project::new(&fleet, &(header("1.0") + &api_on(2, "1.0", "")));
    let events = |arguments: &[&str], exit: i32| -> Vec<Value> {
        let output = project.flipside(arguments).exits(exit);
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|problem| panic!("{problem}: {line}\n{}", output.all()));
        output.stdout.lines().map(parse).collect()
    };
    let verdict = |events: &[Value]| {
        let last = events.last().expect("an event");
        (last["event"].as_str().map(str::to_owned), last["verdict"].as_str().map(str::to_owned))
    };
    let summary = |verdict: &str| (Some("summary".to_owned()), Some(verdict.to_owned()));
    let done = events(&["deploy", "-y", "--output", "json"], 0);
    assert_eq!(done[0]["event"], "run_opened");
    assert_eq!(verdict(&done), summary("done"));
    assert_eq!(verdict(&events(&["deploy", "-y", "--output", "json"], 0)), summary("nothing_to_do"));
    project.playbook(&(header("3.0") + &api_on(2, "3.0-exit", "")));
    let failed = events(&["deploy", "-y", "--output", "json"], 5);
    assert_eq!(verdict(&failed), summary("put_back"));
    assert!(failed.iter().any(|event| event["failure"]["exit"] == 1), "{failed:#?}");

    // Bad input: every problem with its place, and no server is asked. Not answering a question without a terminal is one of them.
    project.flipside(&["deploy"]).exits(2).says(&["-y"]);
    project.playbook(&(header("1.0") + &api_on(2, "1.0", "replicsa = 2\nimgae = \"x\"")));
    deploy(&project).exits(2).says(&["playbook.toml:", "`replicas`", "`image`"]);
    project.flipside(&["deplyo"]).exits(2).says(&["deploy"]);
    // Fatal findings.
    project.playbook(&(header("1.0") + &api_on(4, "1.0", "")));
    deploy(&project).exits(3).says(&["nothing was changed", "4"]);
}
