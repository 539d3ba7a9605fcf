//! Plain lines for pipes and log files: one for each thing that was seen to happen, and no escape code.
use super::progress::{Notice, StepEnd, WaveEnd, Way};
use super::verbs;
use crate::model::{Millis, ServerName, StepId};
use crate::plan::{Paint, Plan, prose};
use std::collections::BTreeMap;
use std::time::Duration;

/// The lines of one notice.
pub(super) fn lines(plan: &Plan, notice: &Notice, paint: Paint) -> Vec<String> {
    match notice {
        Notice::WaveBegan { wave, way, n_servers } => {
            let heading = format!("== {} ({})", wave_name(plan, *wave, *way), prose::count(*n_servers, "server"));
            vec![paint.bold(&heading)]
        }
        Notice::StepBegan { .. } | Notice::ServerOver { .. } | Notice::Closed { .. } => Vec::new(),
        Notice::StepCame { step, way, took, end } => {
            let title = plan.step(step).map_or_else(|| step.to_string(), |found| found.title.clone());
            let Some(text) = came(&title, *way, *took, end, paint) else { return Vec::new() };
            vec![format!("{}{text}", prefix(plan, &step.server, paint))]
        }
        Notice::WaveOver { wave, way, end, n_good, n_servers, took } => match end {
            WaveEnd::Passed | WaveEnd::Undone if n_good == n_servers => Vec::new(),
            WaveEnd::Passed | WaveEnd::Undone | WaveEnd::Broken => {
                let name = wave_name(plan, *wave, *way);
                vec![paint.red(&format!(
                    "== {name}: complete on {n_good} of {} ({})",
                    prose::count(*n_servers, "server"),
                    prose::seconds(*took)
                ))]
            }
        },
        Notice::Held => {
            vec![paint.yellow("== held: nothing is undone, as the playbook says, and the reverts of the servers are taken away")]
        }
        Notice::Waits => {
            vec![paint.yellow("== the canary is well: the run waits for promotion, and the reverts of the servers are taken away")]
        }
        Notice::AbortAsked { reason } => vec![paint.yellow(&format!("== asked to stop: {}", prose::clean(reason)))],
    }
}

/// `waiting for server3, 20 s: start shop_prod_api`. Servers that are at the same step share a line.
pub(super) fn waiting(plan: &Plan, waited_for: &[StepId], silence: Duration, paint: Paint) -> Option<String> {
    let mut by_title: BTreeMap<&str, Vec<&ServerName>> = BTreeMap::new();
    for step in waited_for {
        by_title.entry(plan.step(step).map_or("", |found| found.title.as_str())).or_default().push(&step.server);
    }
    let each: Vec<String> = by_title
        .into_iter()
        .map(|(title, servers)| format!("{}, {} s: {title}", prose::server_list(servers.into_iter()), silence.as_secs()))
        .collect();
    (!each.is_empty()).then(|| paint.dim(&format!("waiting for {}", each.join("; "))))
}

/// `switch`, or `undo switch` on the way back.
pub(super) fn wave_name(plan: &Plan, wave: usize, way: Way) -> String {
    let name = plan.waves.get(wave).map_or("?", |found| found.name.as_str());
    match way {
        Way::Forward => name.to_owned(),
        Way::Back => format!("undo {name}"),
    }
}

/// `[server1]  `, as wide for every server of the plan.
fn prefix(plan: &Plan, server: &ServerName, paint: Paint) -> String {
    let width = plan.servers().into_iter().map(|name| name.as_str().len()).max().unwrap_or(0);
    let gap = " ".repeat(width.saturating_sub(server.as_str().len()) + 1);
    format!("{}{gap}", paint.cyan(&format!("[{server}]")))
}

fn came(title: &str, way: Way, took: Millis, end: &StepEnd, paint: Paint) -> Option<String> {
    let time = prose::seconds(took);
    let text = match (way, end) {
        (_, StepEnd::NotReached) => return None,
        (Way::Forward, StepEnd::Done(seen)) if seen.is_empty() => format!("{} ({time})", verbs::done(title)),
        (Way::Forward, StepEnd::Done(seen)) => format!("{} ({time}, {})", verbs::done(title), prose::clean(seen)),
        (Way::Back, StepEnd::Done(_)) => format!("undone: {title} ({time})"),
        (Way::Forward, StepEnd::Failed(failure)) => paint.red(&format!("failed: {title} ({time}): {}", prose::clean(&failure.seen))),
        (Way::Forward, StepEnd::Lost(failure)) => {
            paint.yellow(&format!("nobody saw how it ended: {title} ({time}): {}", prose::clean(&failure.seen)))
        }
        (Way::Back, StepEnd::Failed(failure) | StepEnd::Lost(failure)) => {
            paint.red(&format!("could not undo: {title} ({time}): {}", prose::clean(&failure.seen)))
        }
    };
    Some(text)
}
