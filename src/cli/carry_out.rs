//! Carrying a plan out from a terminal: signals, the reporter, the requests that watch it, and the outcome to exit with. Deliberately
//! absent: how a plan comes to be (see `deploy`), and how one that was cut off is taken up (see `resume`).
use super::args::{Global, Output, Probing};
use super::exit::Outcome;
use super::hooks::after_failure;
use super::print::complain;
use super::signals;
use super::survey::{Surveyed, commands_of};
use super::watching::Watching;
use crate::ledger::Ledger;
use crate::model::{Action, Millis, Verdict};
use crate::plan::Plan;
use crate::remote::LOCKED_BY;
use crate::report::{ColorChoice, Ending, Reporter, Sinks, Style};
use crate::run::{Journal, Notice, RunError, Stop, dispatch};
use crate::script::quote::quote;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

/// Why a run was undone whose end somebody asked for by name: it has not failed.
pub(super) const ASKED_BY_ABORT: &str = "`flipside abort`";

/// How this program was called, as far as another command has to be called in the same way.
pub(super) fn program(global: &Global) -> String {
    let path = |path: &PathBuf| quote(&path.display().to_string());
    let options = [
        ("-p", global.playbook.as_ref().map(path)),
        ("-i", global.inventory.as_ref().map(path)),
        ("-e", global.env.as_ref().map(ToString::to_string)),
        ("--state-dir", global.state_dir.as_ref().map(path)),
        ("--templates", global.templates.as_ref().map(path)),
    ];
    options
        .into_iter()
        .filter_map(|(flag, value)| value.map(|value| format!(" {flag} {value}")))
        .fold("flipside".to_owned(), |all, option| all + &option)
}

pub(super) fn reporter(global: &Global) -> Reporter {
    let style = match global.output {
        Output::Json => Style::Json,
        Output::Text => Style::for_people(),
    };
    Reporter::new(style, ColorChoice::from(global.color).on_stderr(), Sinks::standard())
}

#[expect(clippy::too_many_arguments, reason = "everything that a run needs, gathered by its two callers")]
pub(super) async fn perform(
    global: &Global,
    surveyed: &Surveyed,
    plan: &Plan,
    mut ledger: Ledger,
    mut journal: Journal,
    mut reporter: Reporter,
    probing: Probing,
    began: Instant,
) -> Outcome {
    for event in journal.opened() {
        reporter.event(plan, event);
    }
    let run = journal.folder().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (stop, stopped) = watch::channel(Stop::No);
    let signals = tokio::spawn(listen(stop.clone()));
    let (watching, mut samples) = Watching::new(plan, &ledger, surveyed, reporter, &probing, stop);
    let watching = Mutex::new(watching);
    let lock = || watching.lock().unwrap_or_else(PoisonError::into_inner);
    let result = {
        let servers = Arc::new(surveyed.servers.clone().for_run(&run, &surveyed.loaded.playbook_dir));
        let mut tell = |notice: Notice<'_>| lock().notice(&notice);
        let take_samples = async {
            while let Some(sample) = samples.recv().await {
                lock().sample(&sample);
            }
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            result = dispatch(plan, &mut ledger, &mut journal, &servers, stopped, &mut tell) => result,
            never = take_samples => match never {},
        }
    };
    signals.abort();
    let mut watching = watching.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !matches!(result, Err(RunError::Stopped)) {
        watching.finish(&mut samples).await;
    }
    let tally = watching.tally();
    let Watching { mut reporter, gaps, .. } = watching;
    let program = program(global);
    let elapsed = Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    let commands = commands_of(&surveyed.loaded);
    let ending = Ending { elapsed, gaps: &gaps.measured, probes: tally.as_ref(), program: &program, commands: &commands };
    reporter.finished(plan, &ledger, &ending);
    match result {
        Ok(verdict) => {
            let outcome = closed(plan, &ledger, verdict);
            if matches!(outcome, Outcome::Closed(Verdict::PutBack | Verdict::Stuck | Verdict::Held))
                && ledger.abort.as_deref() != Some(ASKED_BY_ABORT)
            {
                after_failure(surveyed, plan, &ledger, &run, verdict).await;
            }
            outcome
        }
        Err(RunError::Stopped) => Outcome::Interrupted,
        Err(error @ RunError::Journal(_)) => {
            complain(&error.to_string());
            Outcome::Interrupted
        }
        Err(error @ RunError::Stalled) => {
            complain(&error.to_string());
            Outcome::Bug
        }
    }
}

/// A lock that somebody else holds has an exit code of its own: nothing was changed.
fn closed(plan: &Plan, ledger: &Ledger, verdict: Verdict) -> Outcome {
    let locked = ledger.first_failure.as_ref().is_some_and(|id| {
        plan.step(id).is_some_and(|step| step.action == Action::Lock)
            && ledger.failures.get(id).is_some_and(|failure| failure.seen.starts_with(LOCKED_BY))
    });
    if locked && ledger.abort.is_none() && verdict == Verdict::PutBack { Outcome::Locked } else { Outcome::Closed(verdict) }
}

/// The first signal asks for an undo, also where it came in the moment before the run; the second stops at once.
async fn listen(stop: watch::Sender<Stop>) {
    for (n, asked) in [(1, Stop::Undo), (2, Stop::AtOnce)] {
        signals::came(n).await;
        if stop.send(asked).is_err() {
            return;
        }
    }
    std::future::pending::<()>().await;
}
