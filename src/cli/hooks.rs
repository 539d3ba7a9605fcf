//! The hooks that are no part of a plan: before and after connecting, and after a failure. Deliberately absent: all others, which are steps.
use super::exit::Outcome;
use super::load::Loaded;
use super::print::{complain, talk};
use super::signals;
use super::survey::Surveyed;
use crate::ledger::Ledger;
use crate::model::{Failure, HOOK_RUN, HookPoint, Redactor, Verdict, hook_variables, hook_words};
use crate::plan::{Change, Plan, prose};
use crate::remote::{HOOK_OUTPUT, run_here};
use std::collections::BTreeMap;

/// How much of what was seen a hook is told, in characters: all its variables together have to fit into what a process is started with.
const MOST_OF_A_FAILURE: usize = 4096;

/// Runs the hooks of this moment, one after the other. Nothing has been changed anywhere yet. A signal ends them: they have process groups of
/// their own, which no Ctrl-C reaches.
///
/// # Errors
/// The outcome to exit with: one has failed, or a signal came.
pub(super) async fn connecting(loaded: &Loaded, point: HookPoint, command: &str) -> Result<(), Outcome> {
    if !loaded.playbook.hooks.contains_key(&point) {
        return Ok(());
    }
    let servers = ("FLIPSIDE_SERVERS", hook_words(loaded.inventory.servers.keys()));
    let services = ("FLIPSIDE_SERVICES", hook_words(loaded.playbook.services.keys()));
    let variables = variables(loaded, point, command, [servers, services]);
    let ended = tokio::select! {
        biased;
        () = signals::came(1) => {
            complain(&format!("hook {} was stopped; nothing was changed on any server", point.as_str()));
            return Err(Outcome::Interrupted);
        }
        ended = run_all(loaded, point, &variables) => ended,
    };
    match ended {
        Ok(()) => Ok(()),
        Err((name, failure)) => {
            complain(&format!("hook {name} on the workstation: {}; nothing was changed on any server", failure.seen));
            Err(Outcome::FatalFindings)
        }
    }
}

/// Runs the hooks of a run that has failed. Whatever becomes of them, the run has failed as it has: they are only told of.
pub(super) async fn after_failure(surveyed: &Surveyed, plan: &Plan, ledger: &Ledger, run: &str, verdict: Verdict) {
    let loaded = &surveyed.loaded;
    let point = HookPoint::AfterFailure;
    if !loaded.playbook.hooks.contains_key(&point) {
        return;
    }
    // Nobody else has to wait for them.
    surveyed.servers.free_leases().await;
    let told = of_failure(plan, ledger, verdict).into_iter().chain([(HOOK_RUN, run.to_owned())]);
    let variables = variables(loaded, point, plan.intent.as_str(), told);
    let ended = tokio::select! {
        biased;
        // The run itself may have ended by one.
        () = signals::next() => return complain("hook after_failure was stopped"),
        ended = run_all(loaded, point, &variables) => ended,
    };
    if let Err((name, failure)) = ended {
        complain(&format!("hook {name} failed, too: {}; what is said above of the run stays as it is", failure.seen));
    }
}

async fn run_all(loaded: &Loaded, point: HookPoint, variables: &BTreeMap<String, String>) -> Result<(), (String, Failure)> {
    let hooks = loaded.playbook.hooks.get(&point).map_or(&[][..], Vec::as_slice);
    let redactor = Redactor::new(loaded.secrets.values());
    for (index, hook) in hooks.iter().enumerate() {
        let number = if hooks.len() > 1 { format!(" {}", index + 1) } else { String::new() };
        let name = format!("{}{number}", point.as_str());
        talk(&format!("== {name} (workstation)\n"));
        let mut tell = |line: &str| talk(&format!("{HOOK_OUTPUT}{}\n", prose::clean(&redactor.redact(line))));
        let ended = run_here(&hook.command, variables, &loaded.playbook_dir, hook.timeout, &mut tell).await;
        ended.map_err(|failure| (name, Failure { seen: redactor.redact(&failure.seen), ..failure }))?;
    }
    Ok(())
}

fn variables(
    loaded: &Loaded,
    point: HookPoint,
    command: &str,
    more: impl IntoIterator<Item = (&'static str, String)>,
) -> BTreeMap<String, String> {
    let playbook = &loaded.playbook;
    hook_variables(point, &playbook.project, &playbook.env, &playbook.version, command, more)
}

/// What failed first, where, and what has become of it.
fn of_failure(plan: &Plan, ledger: &Ledger, verdict: Verdict) -> [(&'static str, String); 8] {
    let id = ledger.first_failure.as_ref();
    let step = id.and_then(|id| plan.step(id));
    let seen = id.and_then(|id| ledger.failures.get(id)).map(|failure| failure.seen.as_str());
    let failure = seen.or(ledger.abort.as_deref()).unwrap_or_default();
    let became = match verdict {
        Verdict::Stuck => "stuck",
        Verdict::Held => "held",
        Verdict::Waiting => "waiting",
        Verdict::PutBack | Verdict::Done | Verdict::DoneWithLeftovers => "put_back",
    };
    let moved = plan.services.iter().filter(|(_, service)| !matches!(service.change, Change::Keep));
    let versions = moved.clone().filter_map(|(name, service)| Some(format!("{name}={}", service.from_version.as_ref()?)));
    [
        ("FLIPSIDE_SERVERS", hook_words(plan.servers())),
        ("FLIPSIDE_SERVICES", hook_words(moved.map(|(name, _)| name))),
        ("FLIPSIDE_PREVIOUS_VERSIONS", versions.collect::<Vec<_>>().join("\n")),
        ("FLIPSIDE_FAILED_STEP", step.map(|step| step.title.clone()).unwrap_or_default()),
        ("FLIPSIDE_FAILED_SERVER", id.map(|id| id.server.to_string()).unwrap_or_default()),
        ("FLIPSIDE_FAILED_SERVICE", step.and_then(|step| step.service.as_ref()).map(ToString::to_string).unwrap_or_default()),
        ("FLIPSIDE_FAILURE", as_variable(failure)),
        ("FLIPSIDE_VERDICT", became.to_owned()),
    ]
}

/// Text from servers, as an environment variable can hold it: a NUL in one keeps the process from being started.
fn as_variable(text: &str) -> String {
    prose::clean_lines(&text.chars().take(MOST_OF_A_FAILURE).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_was_seen_a_hook_is_told_of_it() {
        let greeting = "an answer that is not HTTP: J\0\0\0\u{1b}[2J5.7\nand more";
        assert_eq!(as_variable(greeting), "an answer that is not HTTP: J5.7\nand more");
        assert_eq!(as_variable(&"ä".repeat(100_000)).chars().count(), MOST_OF_A_FAILURE);
    }
}
