//! The end of a run: a line for each service, the times, and the one line for cron mail. Deliberately absent: failures.
use super::fleet::{Serving, serving};
use super::lines::wave_name;
use super::progress::Way;
use super::reporter::Ending;
use crate::ledger::{Ledger, StepState};
use crate::model::{Action, Millis, ServiceName, Side, Verdict, WaveIndex};
use crate::plan::{Change, Intent, Paint, Plan, ServicePlan, past_undoing, prose};

/// The services and the times of a run that did what it was asked to do; nothing for any other.
pub(super) fn lines(plan: &Plan, ledger: &Ledger, ending: &Ending<'_>, times: &[(WaveIndex, Way, Millis)], paint: Paint) -> Vec<String> {
    match ledger.closed {
        Some(Verdict::Done | Verdict::DoneWithLeftovers) => {}
        Some(Verdict::PutBack | Verdict::Stuck | Verdict::Held | Verdict::Waiting) | None => return Vec::new(),
    }
    let title = format!("{} done in {}", target(plan), prose::seconds(ending.elapsed));
    let mut lines = vec![format!("{} {}", paint.green("✔"), paint.bold(&title))];
    let rows: Vec<Vec<String>> = plan.services.iter().map(|(name, service)| row(name, service, plan.intent, ending)).collect();
    for (line, service) in prose::columns(&rows).into_iter().zip(plan.services.values()) {
        let line = format!("  {line}");
        lines.push(if service.change == Change::Keep { paint.dim(&line) } else { line });
    }
    for (server, names) in plan.services.values().flat_map(|service| &service.takes_over) {
        let names = names.iter().map(|name| prose::clean(name)).collect::<Vec<_>>().join(" ");
        lines.push(format!("  taken over on {server}, and kept, stopped: {names}; `docker rm {names}` there once nobody wants it back"));
    }
    if !plan.left_out.is_empty() {
        let servers = prose::server_list(&plan.left_out);
        let text = format!("  left behind, because out of reach: {servers}; `{} catch-up` once this is over", ending.program);
        lines.push(paint.yellow(&text));
    }
    if !times.is_empty() {
        let parts: Vec<String> =
            times.iter().map(|(wave, way, took)| format!("{} {}", wave_name(plan, *wave, *way), prose::seconds(*took))).collect();
        lines.push(paint.dim(&format!("  time: {}", parts.join(" · "))));
    }
    lines
}

fn row(name: &ServiceName, service: &ServicePlan, intent: Intent, ending: &Ending<'_>) -> Vec<String> {
    let version = |version: &Option<String>| version.clone().unwrap_or_default();
    let side = |side: Option<Side>| side.map_or("", Side::as_str);
    let change = match service.change {
        Change::Create => format!("new {} {}", version(&service.to_version), side(service.to)),
        Change::Toggle | Change::Restore => {
            format!("{} → {} {} → {}", version(&service.from_version), version(&service.to_version), side(service.from), side(service.to))
        }
        Change::CatchUp => format!("{} {} brought level", version(&service.to_version), side(service.to)),
        Change::Keep if intent == Intent::Watch => service.reason.clone(),
        Change::Keep => format!("{} {} unchanged", version(&service.to_version), side(service.to)),
        Change::Remove => format!("{} removed", version(&service.from_version)),
    };
    let servers = match service.change {
        Change::Remove => String::new(),
        Change::Create | Change::Toggle | Change::Restore | Change::CatchUp | Change::Keep => {
            format!("on {}", prose::count(service.servers.len(), "server"))
        }
    };
    // A version that stayed the same tells nothing: what did change is said then.
    let same = matches!(service.change, Change::Toggle | Change::Restore) && service.from_version == service.to_version;
    let why = same.then(|| format!("({})", service.reason));
    let gap = ending.gaps.get(name).map(|gap| format!("handed over, no answer for {}", prose::seconds(*gap)));
    vec![name.to_string(), change, servers, [gap, why].into_iter().flatten().collect::<Vec<_>>().join(" ")]
}

/// `deploy shop/prod`.
pub(super) fn target(plan: &Plan) -> String {
    format!("{} {}/{}", plan.intent.as_str(), plan.project, plan.env)
}

/// `12 of 40 steps are done`.
pub(super) fn how_far(plan: &Plan, ledger: &Ledger) -> String {
    let n_done = plan.step_ids().filter(|id| ledger.state(id) == StepState::Done).count();
    format!("{n_done} of {} are done", prose::count(plan.n_steps(), "step"))
}

/// The run ended before its first change: at a lock, or at a server that had moved since the plan.
pub(super) fn nothing_changed(plan: &Plan, ledger: &Ledger) -> bool {
    let harmless = |action: &Action| matches!(action, Action::Lock | Action::ConfirmFacts { .. } | Action::DisarmRevert);
    plan.step_ids().filter(|id| ledger.state(id) != StepState::Pending).all(|id| plan.step(&id).is_some_and(|step| harmless(&step.action)))
}

/// The run in one line, without colour.
pub(super) fn one_line(plan: &Plan, ledger: &Ledger, ending: &Ending<'_>) -> String {
    let target = target(plan);
    let time = prose::seconds(ending.elapsed);
    let counts = counts(plan);
    let servers = prose::count(plan.servers().len(), "server");
    if plan.waves.is_empty() {
        return format!("flipside: {target}: nothing to do: {counts}, {time}");
    }
    let what = match ledger.closed {
        Some(Verdict::Done) => format!("done: {counts}"),
        Some(Verdict::DoneWithLeftovers) => format!("done, but not all was tidied up: {counts}"),
        Some(Verdict::PutBack) if nothing_changed(plan, ledger) => format!("{}, and nothing was changed{}", how(ledger), why(plan, ledger)),
        Some(Verdict::PutBack) => format!("{} and was put back{}", how(ledger), why(plan, ledger)),
        Some(Verdict::Stuck) => {
            format!("{} and COULD NOT BE PUT BACK on {}{}", how(ledger), stuck_servers(plan, ledger), why(plan, ledger))
        }
        Some(Verdict::Held) => {
            let (why, program) = (why(plan, ledger), ending.program);
            format!("failed and is HELD, nothing was undone: `{program} resume` tries again, `{program} abort` puts it back{why}")
        }
        Some(Verdict::Waiting) => {
            format!("waits for promotion: `{0} promote` gives the canary all requests, `{0} abort` takes it back", ending.program)
        }
        None if past_undoing(plan, ledger) => format!("interrupted: {}; `{} resume` goes on", how_far(plan, ledger), ending.program),
        None => format!("interrupted: {}; `{1} resume` goes on, `{1} abort` undoes it", how_far(plan, ledger), ending.program),
    };
    let probes = ending.probes.map_or_else(String::new, |tally| format!(", {}", super::probe::short(tally)));
    let without = match ledger.closed {
        Some(Verdict::Done | Verdict::DoneWithLeftovers) if !plan.left_out.is_empty() => {
            format!(", WITHOUT {}", prose::server_list(&plan.left_out))
        }
        Some(_) | None => String::new(),
    };
    format!("flipside: {target} {what}, {servers}{without}, {time}{probes}")
}

/// `2 services switched, 1 unchanged`.
fn counts(plan: &Plan) -> String {
    if plan.intent == Intent::Watch {
        let changed = plan.services.iter().filter(|(_, service)| service.reason != "unchanged");
        return changed.map(|(name, service)| format!("{name}: {}", service.reason)).collect::<Vec<_>>().join("; ");
    }
    let of = |wanted: &[Change]| plan.services.values().filter(|service| wanted.contains(&service.change)).count();
    let all = [
        (of(&[Change::Create]), "created"),
        (of(&[Change::Toggle, Change::Restore]), "switched"),
        (of(&[Change::CatchUp]), "brought level"),
        (of(&[Change::Remove]), "removed"),
        (of(&[Change::Keep]), "unchanged"),
    ];
    let mut parts = Vec::new();
    for (n, what) in all.into_iter().filter(|(n, _)| *n > 0) {
        parts.push(if parts.is_empty() { format!("{} {what}", prose::count(n, "service")) } else { format!("{n} {what}") });
    }
    parts.join(", ")
}

fn how(ledger: &Ledger) -> &'static str {
    if ledger.first_failure.is_some() { "failed" } else { "was stopped" }
}

fn why(plan: &Plan, ledger: &Ledger) -> String {
    let Some(id) = &ledger.first_failure else {
        return ledger.abort.as_deref().map_or_else(String::new, |reason| format!(": {}", prose::clean(reason)));
    };
    let title = plan.step(id).map_or("", |step| step.title.as_str());
    let seen = ledger.failures.get(id).map_or("", |failure| failure.seen.as_str());
    format!(": {title} on {}: {}", id.server, prose::clean(seen.trim_end_matches('.')))
}

fn stuck_servers(plan: &Plan, ledger: &Ledger) -> String {
    let states = serving(plan, ledger);
    prose::server_list(states.iter().filter(|(_, state)| matches!(state, Serving::Stuck(_))).map(|(server, _)| server))
}
