//! The one printer of failures: what failed and where, what was seen and wanted, what the fleet serves now, what to type next.
//! Deliberately absent: causes of its own. Everything here comes from the plan, the ledger and the failure's own words.
use super::fleet::{Serving, serving};
use super::reporter::Ending;
use super::summary;
use crate::ledger::{Ledger, StepState};
use crate::model::{Action, Failure, ServerName, ServiceName, StepId, Verdict, failed_name};
use crate::plan::{Change, Paint, Plan, Step, UndoKind, WaveKind, describe, past_undoing, prose};
use std::collections::{BTreeMap, BTreeSet};

/// All that is to be said about what went wrong; nothing when nothing did.
pub(super) fn lines(plan: &Plan, ledger: &Ledger, ending: &Ending<'_>, paint: Paint) -> Vec<String> {
    let target = summary::target(plan);
    let after = prose::seconds(ending.elapsed);
    let what = if ledger.first_failure.is_some() { "failed" } else { "was stopped" };
    let title = match ledger.closed {
        Some(Verdict::Done) => return Vec::new(),
        Some(Verdict::DoneWithLeftovers) => {
            let mut lines = vec![paint.yellow("! Not everything was tidied up. Nothing hangs on it.")];
            lines.extend(leftovers(plan, ledger, ending, paint));
            lines.push(String::new());
            return lines;
        }
        Some(Verdict::PutBack) if summary::nothing_changed(plan, ledger) => {
            format!("{target} {what} after {after}, and nothing was changed")
        }
        Some(Verdict::PutBack) => format!("{target} {what} after {after}, and everything was put back"),
        Some(Verdict::Stuck) => format!("{target} {what} after {after}, and NOT EVERYTHING COULD BE PUT BACK"),
        Some(Verdict::Held) if ledger.undo_failures.is_empty() => {
            format!("{target} {what} after {after}, and is HELD: nothing was undone, and no server will do so by itself")
        }
        Some(Verdict::Waiting) => format!("{target} waits for promotion after {after}: the canary is well so far"),
        Some(Verdict::Held) => format!("{target} {what} after {after}, and is HELD: nothing was undone"),
        None => format!("{target} was interrupted after {after}: {}", summary::how_far(plan, ledger)),
    };
    let sign = if ledger.closed == Some(Verdict::Waiting) { paint.yellow("!") } else { paint.red("✘") };
    let mut lines = vec![format!("{sign} {}", paint.bold(&title))];
    if let Some(reason) = &ledger.abort {
        lines.push(field("stopped by", &prose::clean(reason), paint));
    }
    lines.extend(failures(plan, ledger, paint));
    lines.extend(not_put_back(plan, ledger, ending, paint));
    lines.push(String::new());
    lines.extend(fleet(plan, ledger, paint));
    if !summary::nothing_changed(plan, ledger) {
        lines.extend(gaps(ledger, ending));
    }
    lines.extend(next(plan, ledger, ending, paint));
    lines.push(String::new());
    lines
}

fn field(name: &str, text: &str, paint: Paint) -> String {
    format!("  {}  {text}", paint.dim(&format!("{name:<10}")))
}

/// The failure that turned the run, whole; others on one line each, servers that say the same together.
fn failures(plan: &Plan, ledger: &Ledger, paint: Paint) -> Vec<String> {
    let unseen = |id: &&StepId| !ledger.seen.contains_key(*id);
    let Some(first) = ledger.first_failure.as_ref().or_else(|| ledger.failures.keys().find(unseen)) else { return Vec::new() };
    let Some(failure) = ledger.failures.get(first) else { return Vec::new() };
    let mut lines = vec![String::new()];
    lines.extend(place(plan, first, paint));
    lines.extend(words(failure, paint));
    let mut others: BTreeMap<(&str, &str), Vec<&ServerName>> = BTreeMap::new();
    for (id, failure) in ledger.failures.iter().filter(|(id, _)| *id != first && unseen(id)) {
        let title = plan.step(id).map_or("", |step| step.title.as_str());
        others.entry((title, failure.seen.as_str())).or_default().push(&id.server);
    }
    for (position, ((title, seen), servers)) in others.into_iter().enumerate() {
        let name = if position == 0 { "also" } else { "" };
        lines.push(field(name, &format!("{}: {title}: {}", prose::server_list(servers), prose::clean(seen)), paint));
    }
    lines
}

fn place(plan: &Plan, id: &StepId, paint: Paint) -> Vec<String> {
    let mut lines = vec![field("server", &paint.bold(id.server.as_str()), paint)];
    if let Some(step) = plan.step(id) {
        if let Some(service) = &step.service {
            lines.push(field("service", &paint.bold(service.as_str()), paint));
        }
        let wave = plan.waves.get(id.wave).map_or("", |wave| wave.name.as_str());
        lines.push(field("step", &format!("{} (wave {} of {}: {wave})", step.title, id.wave + 1, plan.waves.len()), paint));
    }
    lines
}

fn words(failure: &Failure, paint: Paint) -> Vec<String> {
    let mut lines = vec![field("seen", &paint.red(&prose::clean(&failure.seen)), paint)];
    if !failure.wanted.is_empty() {
        lines.push(field("wanted", &prose::clean(&failure.wanted), paint));
    }
    for (depth, cause) in failure.causes.iter().enumerate() {
        let name = if depth == 0 { "because" } else { "" };
        lines.push(field(name, &format!("{}{}", "  ".repeat(depth), prose::clean(cause)), paint));
    }
    if let Some(exit) = failure.exit {
        lines.push(field("exit code", &exit.to_string(), paint));
    }
    // A tail of one line that has just been read is no news.
    let tail: &[String] = match failure.tail.as_slice() {
        [only] if failure.seen.contains(only.trim()) => &[],
        tail => tail,
    };
    for (position, line) in tail.iter().enumerate() {
        let name = if position == 0 { "last lines" } else { "" };
        lines.push(field(name, &format!("{} {}", paint.dim("│"), prose::clean(line)), paint));
    }
    if !failure.hint.is_empty() {
        lines.push(field("hint", &paint.cyan(&prose::clean(&failure.hint)), paint));
    }
    lines
}

/// Each undo that failed, with the commands that would do it by hand.
fn not_put_back(plan: &Plan, ledger: &Ledger, ending: &Ending<'_>, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    for (id, failure) in &ledger.undo_failures {
        lines.push(String::new());
        lines.push(match plan.step(id).map(|step| step.undo_kind) {
            Some(_) if ledger.held => paint.red(&format!("  {} may put itself back, its revert could not be taken away:", id.server)),
            Some(UndoKind::Cleans) => paint.bold(&format!("  Left behind on {} (nothing hangs on it):", id.server)),
            Some(UndoKind::Restores) | None => paint.red(&format!("  Could not be undone on {} (requests hang on it):", id.server)),
        });
        lines.extend(place(plan, id, paint));
        lines.extend(words(failure, paint));
        lines.extend(by_hand(plan, id, Way::Undo, ending, paint));
    }
    lines
}

enum Way {
    Do,
    Undo,
}

fn by_hand(plan: &Plan, id: &StepId, way: Way, ending: &Ending<'_>, paint: Paint) -> Vec<String> {
    let Some(step) = plan.step(id) else { return Vec::new() };
    let actions: Vec<&Action> = match way {
        Way::Do => vec![&step.action],
        Way::Undo => step.undo.iter().collect(),
    };
    let mut lines = Vec::new();
    for action in actions {
        lines.push(field("by hand", &format!("{}, on {}:", describe(action), id.server), paint));
        for command in (ending.commands)(&id.server, action) {
            lines.extend(command.lines().map(|line| field("", &format!("$ {line}"), paint)));
        }
    }
    lines
}

fn leftovers(plan: &Plan, ledger: &Ledger, ending: &Ending<'_>, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    let failed = ledger.failures.iter().filter(|(id, _)| ledger.state(id) != StepState::Done);
    for (id, failure) in failed.filter(|(id, _)| plan.waves.get(id.wave).is_some_and(|wave| wave.kind == WaveKind::Cleanup)) {
        lines.push(String::new());
        lines.extend(place(plan, id, paint));
        lines.extend(words(failure, paint));
        lines.extend(by_hand(plan, id, Way::Do, ending, paint));
    }
    lines
}

/// What each server serves now; servers in the same state share a line.
fn fleet(plan: &Plan, ledger: &Ledger, paint: Paint) -> Vec<String> {
    let mut groups: BTreeMap<(u8, String), Vec<ServerName>> = BTreeMap::new();
    for (server, state) in serving(plan, ledger) {
        groups.entry((urgency(&state), state_text(plan, ledger, &state))).or_default().push(server);
    }
    let rows: Vec<Vec<String>> = groups.iter().map(|((_, text), servers)| vec![prose::server_list(servers), text.clone()]).collect();
    let mut lines = vec![paint.bold("  The fleet now")];
    lines.extend(prose::columns(&rows).into_iter().map(|line| format!("  {line}")));
    if ledger.closed == Some(Verdict::Stuck) {
        let running = still_running(plan, ledger);
        lines.extend(running.iter().map(|(container, servers)| {
            format!("  {container} keeps running on {}, because requests may still need it", prose::server_list(servers))
        }));
    }
    lines
}

/// Services that were handed over, and did not answer meanwhile.
fn gaps(ledger: &Ledger, ending: &Ending<'_>) -> Vec<String> {
    let way = match ledger.closed {
        Some(Verdict::PutBack) => "handed over and back",
        Some(Verdict::Done | Verdict::DoneWithLeftovers | Verdict::Stuck | Verdict::Held | Verdict::Waiting) | None => "handed over",
    };
    ending.gaps.iter().map(|(name, gap)| format!("  {name}: {way}, no answer for {}", prose::seconds(*gap))).collect()
}

/// The worst comes first.
fn urgency(state: &Serving) -> u8 {
    match state {
        Serving::Stuck(_) => 0,
        Serving::Unclear(_) => 1,
        Serving::Between(_) => 2,
        Serving::After => 3,
        Serving::Before => 4,
    }
}

fn state_text(plan: &Plan, ledger: &Ledger, state: &Serving) -> String {
    let titles = |ids: &[StepId]| {
        let titles: Vec<&str> = ids.iter().filter_map(|id| plan.step(id)).map(|step| step.title.as_str()).collect();
        titles.join("; ")
    };
    match state {
        Serving::Before => format!("as before the run: {}", versions(plan, Serving::Before)),
        Serving::After => format!("as planned: {}", versions(plan, Serving::After)),
        Serving::Between(_) if tries_a_canary(plan, ledger) => {
            format!("the canary's part: {}; the rest: {}", versions(plan, Serving::After), versions(plan, Serving::Before))
        }
        Serving::Between(ids) => format!("between the two; done so far: {}", titles(ids)),
        Serving::Unclear(ids) if ids.iter().all(|id| ledger.state(id) == StepState::Failed) => {
            format!("between the two; failed: {}", titles(ids))
        }
        Serving::Unclear(ids) => format!("not known; nobody saw the end of: {}", titles(ids)),
        Serving::Stuck(ids) => {
            let seen = ids.first().and_then(|id| ledger.undo_failures.get(id)).map_or("", |failure| failure.seen.as_str());
            format!("NOT PUT BACK: {}: {}", titles(ids), prose::clean(seen))
        }
    }
}

/// The run has ended for now, and a canary has its part: it waits for promotion, or has failed and is held.
fn tries_a_canary(plan: &Plan, ledger: &Ledger) -> bool {
    let judged = |id: &StepId| {
        let mut steps = plan.waves.get(id.wave).into_iter().flat_map(|wave| wave.servers.values()).flatten();
        steps.any(|step| matches!(step.action, Action::JudgeCanary(_)))
    };
    match ledger.closed {
        Some(Verdict::Waiting) => true,
        Some(Verdict::Held) => ledger.first_failure.as_ref().is_some_and(judged),
        Some(Verdict::Done | Verdict::DoneWithLeftovers | Verdict::PutBack | Verdict::Stuck) | None => false,
    }
}

fn versions(plan: &Plan, at: Serving) -> String {
    let changed = plan.services.iter().filter(|(_, service)| service.change != Change::Keep);
    let texts: Vec<String> = changed
        .map(|(name, service)| {
            let version = if at == Serving::After { &service.to_version } else { &service.from_version };
            version.as_ref().map_or_else(|| format!("{name} not deployed"), |version| format!("{name} {version}"))
        })
        .collect();
    texts.join(", ")
}

/// What to type next, in this order.
fn next(plan: &Plan, ledger: &Ledger, ending: &Ending<'_>, paint: Paint) -> Vec<String> {
    let program = ending.program;
    let again = format!("{program} {}", plan.intent.as_str());
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |command: String, why: &str| rows.push(vec![format!("  {command}"), why.to_owned()]);
    for (container, servers) in kept_containers(plan, ledger) {
        row(format!("docker logs {container}"), &format!("on {}: the failed container is kept, stopped", prose::server_list(&servers)));
    }
    match ledger.closed {
        Some(Verdict::Stuck) => {
            let stuck: BTreeSet<&ServerName> = ledger.undo_failures.keys().map(|id| &id.server).collect();
            let why = format!("finishes putting back {}, once the cause is gone", prose::server_list(stuck));
            row(format!("{program} resume"), &why);
            row("the commands above".to_owned(), "the same by hand");
            row(format!("{program} status"), "what every server serves");
            row(again, "once the servers are well: brings them to the playbook");
        }
        Some(Verdict::PutBack) => {
            row(format!("{program} status"), "what every server serves");
            row(again, if ledger.first_failure.is_some() { "once the cause is gone" } else { "from the beginning" });
        }
        Some(Verdict::Waiting) => {
            row(format!("{program} promote"), "gives the new side all requests, and finishes");
            row(format!("{program} abort"), "puts everything back");
            row(format!("{program} status"), "what every server serves");
        }
        Some(Verdict::Held) => {
            if let Some(container) = ledger.first_failure.as_ref().and_then(|id| plan.step(id)?.action.container()) {
                row(format!("docker logs {container}"), "the container that failed is left as it is");
            }
            row(format!("{program} resume"), "once the cause is gone: tries again what failed, and goes on");
            row(format!("{program} abort"), "puts everything back");
            row(format!("{program} status"), "what every server serves");
        }
        None => {
            row(format!("{program} resume"), "goes on where the run stopped");
            if !past_undoing(plan, ledger) {
                row(format!("{program} abort"), "puts everything back");
            }
            row(format!("{program} status"), "what every server serves");
        }
        Some(Verdict::Done | Verdict::DoneWithLeftovers) => {}
    }
    let mut lines = vec![String::new(), paint.bold("  What to type next")];
    lines.extend(prose::columns(&rows));
    lines
}

/// Containers that the run started and did not take back.
fn still_running(plan: &Plan, ledger: &Ledger) -> BTreeMap<String, BTreeSet<ServerName>> {
    let mut running: BTreeMap<String, BTreeSet<ServerName>> = BTreeMap::new();
    for id in plan.step_ids().filter(|id| ledger.state(id) == StepState::Done) {
        if let Some(Action::RunContainer(spec)) = plan.step(&id).map(|step| &step.action) {
            running.entry(spec.name.clone()).or_default().insert(id.server);
        }
    }
    running
}

/// Containers that are worth a look: those that failed, which undos have set aside under their failed name. A failure that names no
/// container is about all of its service's on that server, one of a canary on every server. One that could not even be started left no container to look at.
fn kept_containers(plan: &Plan, ledger: &Ledger) -> BTreeMap<String, BTreeSet<ServerName>> {
    let failed: Vec<(&ServerName, &Step)> = ledger
        .failures
        .keys()
        .filter_map(|id| Some((&id.server, plan.step(id)?)))
        .filter(|(_, step)| !matches!(step.action, Action::RunContainer(_)))
        .collect();
    let is_about = |server: &ServerName, service: Option<&ServiceName>, name: &str| {
        failed.iter().any(|(at, step)| {
            let is_here = *at == server || matches!(step.action, Action::JudgeCanary(_));
            is_here && step.service.as_ref() == service && step.action.container().is_none_or(|container| container == name)
        })
    };
    let mut kept: BTreeMap<String, BTreeSet<ServerName>> = BTreeMap::new();
    for id in plan.step_ids().filter(|id| ledger.state(id) == StepState::Undone) {
        let Some(step) = plan.step(&id) else { continue };
        for action in &step.undo {
            if let Action::SetAside { name, to, .. } = action
                && *to == failed_name(name)
                && is_about(&id.server, step.service.as_ref(), name)
            {
                kept.entry(to.clone()).or_default().insert(id.server.clone());
            }
        }
    }
    kept
}
