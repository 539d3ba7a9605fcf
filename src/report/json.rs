//! One JSON object a line on stdout, for programs. The names below are stable: fields may be added, none changes its meaning.
//! Deliberately absent: colour, chatter, and any text that is not in the journal or the plan.
//!
//! | Field | In | Holds |
//! | --- | --- | --- |
//! | `event` | all | `run_opened`, `step_started`, `step_ended`, `undo_started`, `undo_ended`, `gate_passed`, `abort_requested`, `run_held`, `retry_requested`, `promoted`, `run_closed`, `summary` |
//! | `seq`, `at` | all but `summary` | the number in the journal from 0; milliseconds since the Unix epoch |
//! | `run`, `plan` | `run_opened` | the run's id; SHA-256 of the plan |
//! | `wave`, `wave_name` | steps, undos, gates | the position from 0; the name in the plan |
//! | `server`, `index`, `title`, `action`, `service` | steps, undos | where; the position from 0 on that server in that wave; infinitive phrase; the action's name; absent where none |
//! | `outcome` | `step_ended`, `undo_ended` | `done`, `failed`, `unknown`, `not_reached` |
//! | `seen` | outcome `done` | the evidence, absent when empty |
//! | `failure` | outcomes `failed`, `unknown` | `seen`, `wanted`, `causes`, `exit`, `tail`, `hint` |
//! | `reason` | `abort_requested` | who or what asked |
//! | `verdict` | `run_closed`, `summary` | `done`, `done_with_leftovers`, `put_back`, `stuck`, `held`, `waiting`; in `summary` also `interrupted` |
//! | `elapsed_ms`, `text` | `summary` | the time in all; the one line for people |
//! | `mends` | `summary` | true where this was the run that brought a half-switched fleet to one side, and the deploy itself follows with a summary of its own; absent otherwise |
//! | `services` | `summary` | by name: `change`, `from_version`, `to_version`, `from_side`, `to_side`, `n_servers`, `gap_ms` (measured, handovers only) |
//! | `probe` | `summary` | with `--probe` alone: `budget`, `total` and `targets` (each with `service`, `server`), `failures` (the first: `at`, `service`, `server`, `wave_name`, `seen`), `not_probed` (by service: why). A count: `sent`, `failed`, `in_handover`, `before_first_answer`, `not_measured`, `slowest_ms` |
//! | `left_out` | `summary` | servers with something of the project that could not be reached, and were done without; absent when there are none |
//! | `waves` | `summary` | in order: `wave`, `wave_name`, `undo`, `took_ms` |
use super::progress::Way;
use super::reporter::Ending;
use crate::ledger::Ledger;
use crate::model::{Event, EventKind, Failure, Millis, Outcome, ServerName, ServiceName, Side, StepId, Verdict, WaveIndex};
use crate::plan::{Change, Plan, action_name};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default, Serialize)]
struct Line<'a> {
    event: &'static str,
    seq: u64,
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wave: Option<WaveIndex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wave_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<&'a ServerName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a ServiceName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict>,
}

#[derive(Serialize)]
struct Summary<'a> {
    event: &'static str,
    verdict: &'static str,
    elapsed_ms: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    mends: bool,
    services: BTreeMap<&'a ServiceName, ServiceLine<'a>>,
    waves: Vec<WaveLine<'a>>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    left_out: &'a BTreeSet<ServerName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<serde_json::Value>,
    text: &'a str,
}

#[derive(Serialize)]
struct ServiceLine<'a> {
    change: Change,
    from_version: Option<&'a str>,
    to_version: Option<&'a str>,
    from_side: Option<Side>,
    to_side: Option<Side>,
    n_servers: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    gap_ms: Option<u64>,
}

#[derive(Serialize)]
struct WaveLine<'a> {
    wave: WaveIndex,
    wave_name: &'a str,
    undo: bool,
    took_ms: u64,
}

/// One event as one line, without the line feed.
pub(super) fn event_line(plan: &Plan, event: &Event) -> Result<String, serde_json::Error> {
    let line = Line { seq: event.seq, at: event.at, ..Line::default() };
    let line = match &event.kind {
        EventKind::RunOpened { run, plan } => Line { event: "run_opened", run: Some(run), plan: Some(plan), ..line },
        EventKind::StepStarted { step } => of_step(plan, step, Line { event: "step_started", ..line }),
        EventKind::UndoStarted { step } => of_step(plan, step, Line { event: "undo_started", ..line }),
        EventKind::StepEnded { step, outcome } => with_outcome(outcome, of_step(plan, step, Line { event: "step_ended", ..line })),
        EventKind::UndoEnded { step, outcome } => with_outcome(outcome, of_step(plan, step, Line { event: "undo_ended", ..line })),
        EventKind::GatePassed { wave } => {
            Line { event: "gate_passed", wave: Some(*wave), wave_name: plan.waves.get(*wave).map(|found| found.name.as_str()), ..line }
        }
        EventKind::AbortRequested { reason } => Line { event: "abort_requested", reason: Some(reason), ..line },
        EventKind::RunHeld => Line { event: "run_held", ..line },
        EventKind::Promoted { wave, .. } => {
            Line { event: "promoted", wave: Some(*wave), wave_name: plan.waves.get(*wave).map(|found| found.name.as_str()), ..line }
        }
        EventKind::RetryRequested { .. } => Line { event: "retry_requested", ..line },
        EventKind::RunClosed { verdict } => Line { event: "run_closed", verdict: Some(*verdict), ..line },
    };
    serde_json::to_string(&line)
}

fn of_step<'a>(plan: &'a Plan, step: &'a StepId, line: Line<'a>) -> Line<'a> {
    let found = plan.step(step);
    Line {
        wave: Some(step.wave),
        wave_name: plan.waves.get(step.wave).map(|wave| wave.name.as_str()),
        server: Some(&step.server),
        index: Some(step.index),
        title: found.map(|found| found.title.as_str()),
        action: found.map(|found| action_name(&found.action)),
        service: found.and_then(|found| found.service.as_ref()),
        ..line
    }
}

fn with_outcome<'a>(outcome: &'a Outcome, line: Line<'a>) -> Line<'a> {
    match outcome {
        Outcome::Done { seen } => Line { outcome: Some("done"), seen: Some(seen.as_str()).filter(|seen| !seen.is_empty()), ..line },
        Outcome::Failed(failure) => Line { outcome: Some("failed"), failure: Some(failure), ..line },
        Outcome::Unknown(failure) => Line { outcome: Some("unknown"), failure: Some(failure), ..line },
        Outcome::NotReached => Line { outcome: Some("not_reached"), ..line },
    }
}

/// The last line of a run, without the line feed: with the one line for people, and whether a deploy follows it.
pub(super) fn summary_line(
    plan: &Plan,
    ledger: &Ledger,
    ending: &Ending<'_>,
    times: &[(WaveIndex, Way, Millis)],
    (text, mends): (&str, bool),
) -> Result<String, serde_json::Error> {
    let services = plan.services.iter().map(|(name, service)| {
        let line = ServiceLine {
            change: service.change,
            from_version: service.from_version.as_deref(),
            to_version: service.to_version.as_deref(),
            from_side: service.from,
            to_side: service.to,
            n_servers: service.servers.len(),
            gap_ms: ending.gaps.get(name).map(|gap| gap.0),
        };
        (name, line)
    });
    let waves = times.iter().map(|(wave, way, took)| WaveLine {
        wave: *wave,
        wave_name: plan.waves.get(*wave).map_or("", |found| found.name.as_str()),
        undo: *way == Way::Back,
        took_ms: took.0,
    });
    let verdict = match ledger.closed {
        Some(Verdict::Done) => "done",
        Some(Verdict::DoneWithLeftovers) => "done_with_leftovers",
        Some(Verdict::PutBack) => "put_back",
        Some(Verdict::Stuck) => "stuck",
        Some(Verdict::Held) => "held",
        Some(Verdict::Waiting) => "waiting",
        None => "interrupted",
    };
    serde_json::to_string(&Summary {
        event: "summary",
        verdict,
        elapsed_ms: ending.elapsed.0,
        mends,
        services: services.collect(),
        waves: waves.collect(),
        left_out: &plan.left_out,
        probe: ending.probes.map(super::probe::json),
        text,
    })
}
