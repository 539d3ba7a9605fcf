//! Commands that run a plan: `deploy`, `rollback`, `remove`. Show it, ask, run it, say what came of it.
use super::args::{Global, Output};
use super::exit::Outcome;
use super::load::Loaded;
use super::look::{make, nginx_files, unknown_services};
use super::print::{complain, result_line, talk};
use super::resume::unfinished;
use super::survey::{Surveyed, commands_of, read_files, state_folder, survey_all};
use crate::ledger::Ledger;
use crate::model::{Action, Millis, ServiceName, Verdict};
use crate::plan::{Back, Finding, Force, Plan, View, Wanted, is_fatal, show};
use crate::remote::{LOCKED_BY, Servers};
use crate::report::{ColorChoice, Ending, Reporter, Sinks, Style, running};
use crate::run::{Gaps, Journal, Notice, RunError, Stop, dispatch};
use crate::script::quote::quote;
use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// `flipside deploy`.
pub(super) async fn deploy(global: &Global, services: &[ServiceName], yes: bool, force: bool, began: Instant) -> Outcome {
    let force = if force { Force::Yes } else { Force::No };
    let wanted = Wanted { selected: services.iter().cloned().collect(), force, back: Back::No };
    Command { word: "deploy", wanted, removed: BTreeSet::new(), confirmed: yes }.carry_out(global, services, began).await
}

/// `flipside rollback`.
pub(super) async fn rollback(global: &Global, services: &[ServiceName], yes: bool, began: Instant) -> Outcome {
    let wanted = Wanted { selected: services.iter().cloned().collect(), force: Force::No, back: Back::Yes };
    Command { word: "rollback", wanted, removed: BTreeSet::new(), confirmed: yes }.carry_out(global, services, began).await
}

/// `flipside remove`. A service that left the playbook can be removed too.
pub(super) async fn remove(global: &Global, services: &[ServiceName], yes: bool, began: Instant) -> Outcome {
    let removed = services.iter().cloned().collect();
    Command { word: "remove", wanted: Wanted::default(), removed, confirmed: yes }.carry_out(global, &[], began).await
}

struct Command {
    word: &'static str,
    wanted: Wanted,
    removed: BTreeSet<ServiceName>,
    confirmed: bool,
}

impl Command {
    async fn carry_out(self, global: &Global, services: &[ServiceName], began: Instant) -> Outcome {
        let can_be_asked = io::stdin().is_terminal() && io::stderr().is_terminal();
        if !self.confirmed && !can_be_asked {
            complain(&format!("without a terminal nobody can be asked: give -y to {} without a question", self.word));
            return Outcome::Usage;
        }
        let loaded = match read_files(global) {
            Ok(loaded) => loaded,
            Err(outcome) => return outcome,
        };
        if let Some(outcome) = unfinished(global, &loaded) {
            return outcome;
        }
        let surveyed = match survey_all(global, loaded, self.word).await {
            Ok(surveyed) => surveyed,
            Err(outcome) => return outcome,
        };
        let outcome = self.plan_and_run(global, services, &surveyed, began).await;
        surveyed.servers.release().await;
        outcome
    }

    async fn plan_and_run(&self, global: &Global, services: &[ServiceName], surveyed: &Surveyed, began: Instant) -> Outcome {
        if let Some(outcome) = unknown_services(surveyed, services) {
            return outcome;
        }
        let (plan, findings) = match make(surveyed, &self.wanted, &self.removed) {
            Ok(made) => made,
            Err(outcome) => return outcome,
        };
        if let Some(unknown) = self.removed.iter().find(|service| !plan.services.contains_key(*service)) {
            complain(&format!("nothing of a service `{unknown}` is on the servers of {}/{}", plan.project, plan.env));
            return Outcome::NothingToDo;
        }
        show_plan(global, surveyed, &plan, &findings);
        if is_fatal(&findings) {
            complain("the plan has fatal findings; nothing was changed on any server");
            return Outcome::FatalFindings;
        }
        if plan.waves.is_empty() {
            return self.nothing_to_do(global, &plan);
        }
        let asked = Instant::now();
        if !self.confirmed && !ask(self.word, &plan) {
            complain("nothing was changed");
            return Outcome::Declined;
        }
        // The time that a person takes to answer is no part of the run.
        let began = began + asked.elapsed();
        let state = state_folder(global, &surveyed.loaded);
        let mut ledger = Ledger::default();
        let journal = match Journal::create(&state, &plan, &mut ledger) {
            Ok(journal) => journal,
            Err(error) => {
                complain(&format!("{error}; nothing was changed on any server"));
                return Outcome::Configuration;
            }
        };
        let mut reporter = reporter(global);
        reporter.say(&format!("connected to {} servers and read their facts in {}", surveyed.fleet.len(), surveyed.took));
        reporter.plan_begins(&plan);
        perform(global, &surveyed.loaded, &surveyed.servers, &plan, ledger, journal, reporter, began).await
    }

    fn nothing_to_do(&self, global: &Global, plan: &Plan) -> Outcome {
        let text = format!(
            "flipside: {} {}/{}: nothing to do, {} unchanged",
            self.word,
            plan.project,
            plan.env,
            crate::plan::prose::count(plan.services.len(), "service")
        );
        match global.output {
            Output::Text => result_line(&text),
            Output::Json => result_line(&serde_json::json!({ "event": "summary", "verdict": "nothing_to_do", "text": text }).to_string()),
        }
        match self.wanted.back {
            Back::No => Outcome::NothingToDo,
            Back::Yes => {
                complain("there is nothing to go back to; nothing was touched");
                Outcome::FatalFindings
            }
        }
    }
}

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

fn show_plan(global: &Global, surveyed: &Surveyed, plan: &Plan, findings: &[Finding]) {
    let nginx = if global.verbose > 0 { nginx_files(surveyed, plan) } else { std::collections::BTreeMap::new() };
    let view = View { paint: ColorChoice::from(global.color).on_stderr(), findings, undo: false, commands: None, nginx: &nginx };
    if global.output == Output::Text {
        talk(&show(plan, &view));
    }
}

fn ask(word: &str, plan: &Plan) -> bool {
    talk(&format!("\n{word} {}/{} on {} servers? [y/N] ", plan.project, plan.env, plan.servers().len()));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

#[expect(clippy::too_many_arguments, reason = "everything that a run needs, gathered by its two callers")]
pub(super) async fn perform(
    global: &Global,
    loaded: &Loaded,
    servers: &Servers,
    plan: &Plan,
    mut ledger: Ledger,
    mut journal: Journal,
    mut reporter: Reporter,
    began: Instant,
) -> Outcome {
    for event in journal.opened() {
        reporter.event(plan, event);
    }
    let mut gaps = Gaps::default();
    let (stop, stopped) = watch::channel(Stop::No);
    let signals = tokio::spawn(listen(stop));
    let result = {
        let (reporter, gaps) = (&mut reporter, &mut gaps);
        dispatch(plan, &mut ledger, &mut journal, &Arc::new(servers.clone()), stopped, &mut |notice| match notice {
            Notice::Event(event) => {
                gaps.event(plan, event);
                reporter.event(plan, event);
            }
            Notice::Begun(step) => {
                if let Some(found) = plan.step(step) {
                    reporter.chatter(step, &running(&found.title));
                }
            }
            Notice::Chatter(step, text) => reporter.chatter(step, text),
            Notice::Quiet(silence) => reporter.quiet(plan, silence),
        })
        .await
    };
    signals.abort();
    let program = program(global);
    let elapsed = Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    let commands = commands_of(loaded);
    let ending = Ending { elapsed, gaps: &gaps.measured, program: &program, commands: &commands };
    reporter.finished(plan, &ledger, &ending);
    match result {
        Ok(verdict) => closed(plan, &ledger, verdict),
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
    if locked && verdict == Verdict::PutBack { Outcome::Locked } else { Outcome::Closed(verdict) }
}

/// The first signal asks for an undo, the second stops at once.
async fn listen(stop: watch::Sender<Stop>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return;
    };
    for asked in [Stop::Undo, Stop::AtOnce] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        if stop.send(asked).is_err() {
            return;
        }
    }
    std::future::pending::<()>().await;
}
