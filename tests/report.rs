//! What people and programs read, whole: each case replays a run and compares every byte with a file of `tests/report_cases/`.
//! `UPDATE=1 cargo test --test report` writes the files anew; read the difference before you keep it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "report_cases/fixture.rs"]
mod fixture;
#[path = "report_cases/plan_text.rs"]
mod plan_text;
#[path = "report_cases/sinks.rs"]
mod sinks;

use fixture::{Fault, Script, crash, engine_away, findings, nginx, plan, reload_fails, server, service};
use flipside::config::OnFailure;
use flipside::ledger::Ledger;
use flipside::model::{Action, Event, EventKind, Failure, Millis, Outcome, ProbeTally, ServerName, ServiceName};
use flipside::plan::{Change, Finding, Level, Paint, Plan, View, describe, show};
use flipside::report::{Ending, Reporter, Serving, Sinks, Style, serving};
use indicatif::{InMemoryTerm, ProgressDrawTarget};
use sinks::{Page, Screen};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report_cases").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == text, "{name} differs; what came now is:\n{text}\nUPDATE=1 keeps it");
}

fn commands(_: &ServerName, action: &Action) -> Vec<String> {
    match action {
        Action::StopContainer { name, timeout } => vec![format!("docker stop --time {} {name}", timeout.seconds_ceil())],
        Action::StartContainer { name } => vec![format!("docker start {name}")],
        Action::SwitchBack { .. } => {
            vec!["ln -sfn releases/aaaa000000000001 next && mv -T next current".into(), "docker exec flipside_nginx nginx -s reload".into()]
        }
        action => vec![format!("# {}", describe(action))],
    }
}

/// Replays events; stderr and stdout come back.
fn replay(style: Style, paint: Paint, plan: &Plan, events: &[Event], ledger: &Ledger) -> (String, String) {
    let (stdout, stderr) = (Page::default(), Page::default());
    let sinks = Sinks { stdout: Box::new(stdout.clone()), stderr: Box::new(stderr.clone()), terminal: ProgressDrawTarget::hidden() };
    let mut reporter = Reporter::new(style, paint, sinks);
    reporter.plan_begins(plan);
    for event in events {
        reporter.event(plan, event);
    }
    finish(&mut reporter, plan, ledger);
    (stderr.text(), stdout.text())
}

fn finish(reporter: &mut Reporter, plan: &Plan, ledger: &Ledger) {
    finish_with(reporter, plan, ledger, &BTreeMap::from([(service("postgres"), Millis(1240))]));
}

fn finish_with(reporter: &mut Reporter, plan: &Plan, ledger: &Ledger, gaps: &BTreeMap<ServiceName, Millis>) {
    reporter.finished(
        plan,
        ledger,
        &Ending { elapsed: Millis(12_449), gaps, probes: None, program: "flipside -e prod", commands: &commands },
    );
}

fn lines_of(name: &str, script: &Script) {
    let plan = plan();
    let (events, ledger) = script.run(&plan);
    let (stderr, stdout) = replay(Style::Lines, Paint::Plain, &plan, &events, &ledger);
    assert_eq!(stdout.lines().count(), 1, "stdout holds the one line for mail");
    golden(name, &format!("{stderr}--- stdout\n{stdout}"));
}

fn fault(server: &'static str, title: &'static str, undo: bool, outcome: Outcome) -> Fault {
    Fault { server, title, undo, outcome }
}

#[test]
fn done() {
    lines_of("done.lines.txt", &Script::of(Vec::new()));
}

#[test]
fn put_back() {
    let crashes = |server| fault(server, "wait for", false, Outcome::Failed(crash()));
    lines_of("put_back.lines.txt", &Script::of(vec![crashes("lon1-b"), crashes("par2-edge")]));
}

#[test]
fn stuck() {
    let faults = vec![
        fault("par2-edge", "switch", false, Outcome::Failed(reload_fails())),
        fault("lon1-b", "switch", true, Outcome::Failed(reload_fails())),
    ];
    lines_of("stuck.lines.txt", &Script::of(faults));
}

/// What has switched stays so, and what failed is left as it is.
#[test]
fn held() {
    let script = Script::of(vec![fault("par2-edge", "switch", false, Outcome::Failed(reload_fails()))]);
    let plan = Plan { on_failure: OnFailure::Hold, ..plan() };
    let (events, ledger) = script.run(&plan);
    let (stderr, stdout) = replay(Style::Lines, Paint::Plain, &plan, &events, &ledger);
    golden("held.lines.txt", &format!("{stderr}--- stdout\n{stdout}"));
}

#[test]
fn done_with_leftovers() {
    lines_of("leftovers.lines.txt", &Script::of(vec![fault("lon1-a", "prune", false, Outcome::Failed(engine_away()))]));
}

#[test]
fn aborted() {
    lines_of("aborted.lines.txt", &Script { abort_before: Some("switch"), ..Script::of(Vec::new()) });
}

#[test]
fn interrupted() {
    lines_of("interrupted.lines.txt", &Script { cut_after: Some(42), ..Script::of(Vec::new()) });
}

#[test]
fn lost_sight_of_and_found_again() {
    lines_of("found_again.lines.txt", &Script::of(vec![fault("lon1-b", "switch", false, Outcome::Unknown(reload_fails()))]));
}

#[test]
fn a_lock_that_somebody_holds_changes_nothing() {
    let held = Failure {
        seen: "locked by ann@laptop: flipside deploy of shop/prod (pid 4711, since 2026-11-21 12:00:00 UTC)".to_owned(),
        wanted: "a server that no other run works on".to_owned(),
        hint: "wait until that run has ended, and try again".to_owned(),
        ..Failure::default()
    };
    lines_of("locked.lines.txt", &Script::of(vec![fault("lon1-b", "lock", false, Outcome::Failed(held))]));
}

/// Found again on the first server, failed on the second with a step behind it that was never begun, and an idle container left on the third.
#[test]
fn put_back_with_something_idle_left_behind() {
    let faults = vec![
        fault("lon1-a", "make", false, Outcome::Unknown(reload_fails())),
        fault("lon1-b", "start", false, Outcome::Failed(crash())),
        fault("par2-edge", "start", true, Outcome::Failed(engine_away())),
    ];
    lines_of("left_behind.lines.txt", &Script::of(faults));
}

#[test]
fn a_run_that_stops_where_nobody_looks_says_what_was_last_seen() {
    let plan = plan();
    let script = Script { cut_after: Some(15), ..Script::of(vec![fault("lon1-a", "make", false, Outcome::Unknown(reload_fails()))]) };
    let (events, ledger) = script.run(&plan);
    let (stderr, _) = replay(Style::Lines, Paint::Plain, &plan, &events, &ledger);
    assert!(stderr.contains("was interrupted") && stderr.contains("seen        NGINX still serves"), "{stderr}");
}

#[test]
fn json() {
    let plan = plan();
    let (events, ledger) = Script::of(vec![fault("lon1-b", "wait for", false, Outcome::Failed(crash()))]).run(&plan);
    let (_, stdout) = replay(Style::Json, Paint::Colour, &plan, &events, &ledger);
    assert_eq!(stdout.lines().count(), events.len() + 1, "one line an event, and the summary");
    for (line, event) in stdout.lines().zip(&events) {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let journal = serde_json::to_value(event).unwrap();
        assert_eq!(value["event"], journal["kind"]["event"], "the same word as in the journal");
    }
    golden("put_back.json.txt", &stdout);
}

#[test]
fn of_a_run_that_mends_the_last_line_is_left_to_the_deploy_that_follows() {
    for (style, faults) in [(Style::Lines, 0), (Style::Lines, 1), (Style::Json, 0), (Style::Json, 1)] {
        let faults = vec![fault("lon1-b", "wait for", false, Outcome::Failed(crash())); faults];
        let (is_done, plan) = (faults.is_empty(), plan());
        let (_, ledger) = Script::of(faults).run(&plan);
        let (stdout, stderr) = (Page::default(), Page::default());
        let sinks = Sinks { stdout: Box::new(stdout.clone()), stderr: Box::new(stderr.clone()), terminal: ProgressDrawTarget::hidden() };
        finish(&mut Reporter::new(style, Paint::Plain, sinks).mending(), &plan, &ledger);
        let is_summary = |line: &str| line.starts_with("flipside: deploy ");
        assert_eq!(stderr.text().lines().any(is_summary), is_done || style == Style::Json);
        match style {
            Style::Json => assert_eq!(stdout.text().contains("\"mends\":true"), is_done, "{}", stdout.text()),
            Style::Bars | Style::Lines => assert_eq!(stdout.text().is_empty(), is_done, "{}", stdout.text()),
        }
    }
}

#[test]
fn colour_only_adds_codes() {
    let plan = plan();
    let faults = vec![
        fault("par2-edge", "switch", false, Outcome::Failed(reload_fails())),
        fault("lon1-b", "switch", true, Outcome::Failed(reload_fails())),
    ];
    let (events, ledger) = Script::of(faults).run(&plan);
    let (plain, _) = replay(Style::Lines, Paint::Plain, &plan, &events, &ledger);
    let (colour, _) = replay(Style::Lines, Paint::Colour, &plan, &events, &ledger);
    assert!(!plain.contains('\u{1b}'));
    let stripped: Vec<String> = colour.split('\n').map(flipside::plan::prose::clean).collect();
    assert_eq!(stripped.join("\n"), plain);
}

#[test]
fn nothing_is_called_done_that_was_not_seen_to_be() {
    let plan = plan();
    let (events, ledger) = Script { cut_after: Some(4), ..Script::of(Vec::new()) }.run(&plan);
    let (stderr, stdout) = replay(Style::Lines, Paint::Plain, &plan, &events, &ledger);
    assert!(!stderr.contains("locked") && !stdout.contains("done:"), "three locks were begun and none was seen:\n{stderr}");
}

/// The screen of a terminal of this width: first in the middle of the run, then at its end.
fn screens(width: u16, script: &Script, n_events: usize) -> (String, String) {
    let plan = plan();
    let (events, _) = script.run(&plan);
    let terminal = InMemoryTerm::new(60, width);
    let sinks = Sinks {
        stdout: Box::new(io::sink()),
        stderr: Box::new(Screen(terminal.clone())),
        terminal: ProgressDrawTarget::term_like(Box::new(terminal.clone())),
    };
    let mut reporter = Reporter::new(Style::Bars, Paint::Plain, sinks);
    reporter.plan_begins(&plan);
    for event in &events[..n_events] {
        reporter.event(&plan, event);
    }
    let running = events[..n_events].iter().rev().find_map(|event| match &event.kind {
        flipside::model::EventKind::StepStarted { step } => Some(step.clone()),
        _ => None,
    });
    reporter.chatter(&running.unwrap(), "answer 2 of 3");
    reporter.say("(a word in between)");
    reporter.probes(&ProbeTally::default());
    let middle = terminal.contents();
    for event in &events[n_events..] {
        reporter.event(&plan, event);
    }
    reporter.say("(the last word)");
    (middle, terminal.contents())
}

#[test]
fn bars_collapse_to_one_line_a_wave_and_keep_who_failed() {
    let script = Script::of(vec![fault("lon1-b", "wait for", false, Outcome::Failed(crash()))]);
    for width in [40, 60, 120] {
        let (middle, end) = screens(width, &script, 30);
        assert!(middle.contains("par2-edge  starting shop_p"), "{width}:\n{middle}");
        assert!(middle.contains("✔ prepare"), "{width}:\n{middle}");
        assert!(middle.lines().chain(end.lines()).all(|line| line.chars().count() <= usize::from(width)));
        golden(&format!("put_back.bars.{width}.txt"), &format!("{end}\n"));
    }
    let (middle, _) = screens(120, &script, 30);
    assert!(middle.contains("starting shop_prod_api_secondary · answer 2 of 3"), "{middle}");
    assert!(middle.lines().any(|line| line.contains("start api, worker") && line.ends_with("probe: 0 sent, 0 failed")), "{middle}");
}

#[test]
fn bars_show_an_undo_as_a_wave_of_its_own() {
    let faults = vec![
        fault("par2-edge", "switch", false, Outcome::Failed(reload_fails())),
        fault("lon1-b", "switch", true, Outcome::Failed(reload_fails())),
    ];
    golden("stuck.bars.80.txt", &format!("{}\n", screens(80, &Script::of(faults), 30).1));
}

#[test]
fn a_run_that_is_stopped_in_the_middle_leaves_no_live_line() {
    let plan = plan();
    let (events, ledger) = Script { cut_after: Some(30), ..Script::of(Vec::new()) }.run(&plan);
    let terminal = InMemoryTerm::new(60, 100);
    let sinks = Sinks {
        stdout: Box::new(io::sink()),
        stderr: Box::new(Screen(terminal.clone())),
        terminal: ProgressDrawTarget::term_like(Box::new(terminal.clone())),
    };
    let mut reporter = Reporter::new(Style::Bars, Paint::Plain, sinks);
    reporter.plan_begins(&plan);
    for event in &events {
        reporter.event(&plan, event);
    }
    let is_live = |line: &str| line.trim_start().starts_with(|c| "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏·".contains(c));
    assert!(terminal.contents().lines().any(is_live), "{}", terminal.contents());
    finish(&mut reporter, &plan, &ledger);
    // The drawing has threads of its own.
    std::thread::sleep(std::time::Duration::from_millis(250));
    let end = terminal.contents();
    assert!(!end.lines().any(is_live) && end.contains("was interrupted"), "{end}");
}

#[test]
fn a_large_fleet_fits_a_terminal() {
    let mut plan = plan();
    let steps = plan.waves[5].servers[&server("lon1-a")].clone();
    plan.waves = vec![plan.waves[5].clone()];
    plan.waves[0].servers = (0..300).map(|n| (server(&format!("s{n:03}")), steps.clone())).collect();
    let (events, ledger) = Script::of(vec![fault("s250", "switch", false, Outcome::Failed(reload_fails()))]).run(&plan);
    let terminal = InMemoryTerm::new(24, 80);
    let sinks = Sinks {
        stdout: Box::new(io::sink()),
        stderr: Box::new(Screen(terminal.clone())),
        terminal: ProgressDrawTarget::term_like_with_hz(Box::new(terminal.clone()), 20),
    };
    let mut reporter = Reporter::new(Style::Bars, Paint::Plain, sinks);
    reporter.plan_begins(&plan);
    for event in &events {
        reporter.event(&plan, event);
        if event.seq % 50 == 0 {
            assert!(terminal.contents().lines().count() <= 22, "{}", terminal.contents());
        }
    }
    finish_with(&mut reporter, &plan, &ledger, &BTreeMap::new());
    let end = terminal.contents();
    assert!(end.contains("✘ s250") && end.contains("299/300") && end.contains("✔ undo switch"), "{end}");
}

#[test]
fn a_resumed_run_counts_what_was_done_before() {
    let plan = plan();
    let (all, _) = Script::of(Vec::new()).run(&plan);
    let (before, ledger) = Script { cut_after: Some(9), ..Script::of(Vec::new()) }.run(&plan);
    let stderr = Page::default();
    let sinks = Sinks { stdout: Box::new(io::sink()), stderr: Box::new(stderr.clone()), terminal: ProgressDrawTarget::hidden() };
    let mut reporter = Reporter::new(Style::Lines, Paint::Plain, sinks);
    reporter.plan_resumes(&plan, &ledger);
    for event in &all[before.len()..] {
        reporter.event(&plan, event);
    }
    let text = stderr.text();
    assert!(text.starts_with("resuming deploy shop/prod: 3 of 31 steps are done\n== prepare (3 servers)\n"), "{text}");
    assert!(!text.contains("complete on"), "no wave is called incomplete: {text}");
}

#[test]
fn lines_say_who_is_waited_for_and_for_what() {
    let plan = plan();
    let stderr = Page::default();
    let sinks = Sinks { stdout: Box::new(io::sink()), stderr: Box::new(stderr.clone()), terminal: ProgressDrawTarget::hidden() };
    let mut reporter = Reporter::new(Style::Lines, Paint::Plain, sinks);
    reporter.plan_begins(&plan);
    reporter.quiet(&plan, Duration::from_secs(10));
    assert!(!stderr.text().contains("waiting"), "nothing has begun");
    let (events, _) = Script::of(Vec::new()).run(&plan);
    let ended = |event: &&Event| matches!(&event.kind, EventKind::StepEnded { step, .. } if step.server.as_str() == "lon1-b");
    let last = events.iter().position(|event| ended(&event)).unwrap();
    for event in &events[..=last] {
        reporter.event(&plan, event);
    }
    reporter.quiet(&plan, Duration::from_secs(20));
    golden("waiting.lines.txt", &stderr.text());
}

#[test]
fn what_a_server_serves_follows_from_the_steps_that_requests_hang_on() {
    let plan = plan();
    let cut = |n: usize| serving(&plan, &Script { cut_after: Some(n), ..Script::of(Vec::new()) }.run(&plan).1);
    let (events, _) = Script::of(Vec::new()).run(&plan);
    let ended = |title: &str, nth: usize| {
        let is = |event: &&Event| matches!(&event.kind, flipside::model::EventKind::StepEnded { step, .. } if plan.step(step).unwrap().title.starts_with(title));
        usize::try_from(events.iter().filter(is).nth(nth).unwrap().seq).unwrap() + 1
    };
    assert!(cut(3).values().all(|state| *state == Serving::Before));
    let gap = cut(ended("stop shop_prod_postgres", 0));
    assert!(matches!(gap[&server("lon1-a")], Serving::Between(_)), "the handover has begun there");
    assert_eq!(gap[&server("lon1-b")], Serving::Before);
    let switching = cut(ended("switch", 0));
    assert_eq!(switching[&server("lon1-a")], Serving::After);
    assert!(matches!(switching[&server("lon1-b")], Serving::Unclear(_)));
}

#[test]
fn a_reporter_can_be_shared_between_threads() {
    fn shared<T: Send>() {}
    shared::<std::sync::Mutex<Reporter>>();
}
