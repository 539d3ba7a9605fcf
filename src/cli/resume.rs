//! A run that was cut off: `resume`, and what other commands say of it. Deliberately absent: performing it.
use super::args::Global;
use super::deploy::{perform, program, reporter};
use super::exit::Outcome;
use super::load::Loaded;
use super::print::complain;
use super::secrets::read_secrets;
use super::survey::{read_files, state_folder, survey_all};
use crate::plan::{other_secrets, overtaken, secrets_of};
use crate::remote::LeaseError;
use crate::run::{Journal, OpenRun, open_runs};
use crate::script::quote::quote;
use std::time::Instant;

/// `flipside resume`.
pub(super) async fn resume(global: &Global, began: Instant) -> Outcome {
    let mut loaded = match read_files(global) {
        Ok(loaded) => loaded,
        Err(outcome) => return outcome,
    };
    let mut runs = match open_runs(&state_folder(global, &loaded)) {
        Ok(runs) => runs,
        Err(error) => {
            complain(&error.to_string());
            return Outcome::Configuration;
        }
    };
    if let Some(running) = runs.iter().find(|run| run.is_running) {
        return still_running(running);
    }
    let Some(mut run) = runs.pop() else {
        complain(&format!("no run of {}/{} was cut off on this workstation", loaded.playbook.project, loaded.playbook.env));
        return Outcome::NothingToDo;
    };
    if let Err(outcome) = read_secrets(&mut loaded, &secrets_of(&run.plan, &run.ledger)).await {
        return outcome;
    }
    let surveyed = match survey_all(global, loaded, "resume").await {
        Ok(surveyed) => surveyed,
        Err(outcome) => return outcome,
    };
    let others = other_secrets(&run.plan, &run.ledger, &surveyed.fleet, &surveyed.loaded.secrets);
    if !others.is_empty() {
        others.iter().for_each(|other| complain(other));
        complain("one release would have two values: resume with the values that the run began with; nothing was changed");
        surveyed.servers.release().await;
        return Outcome::FatalFindings;
    }
    let reasons = overtaken(&run.plan, &surveyed.loaded.inventory, &surveyed.fleet);
    if !reasons.is_empty() {
        reasons.iter().for_each(|reason| complain(reason));
        let intent = run.plan.intent.as_str();
        let forget = format!("rm -r {}", quote(&run.folder.display().to_string()));
        complain(&format!(
            "the fleet has moved since that {intent} was cut off: going on with it could stop what is live now, so nothing was changed. \
             Look at `{0} status`; then forget that run ({forget}), and `{0} plan` starts from what is there",
            program(global)
        ));
        surveyed.servers.release().await;
        return Outcome::FatalFindings;
    }
    if let Err((server, error)) = surveyed.servers.lease_again(&run.plan.servers()).await {
        complain(&format!("{server}: {error}; nothing was changed"));
        surveyed.servers.release().await;
        return match error {
            LeaseError::Held(_) => Outcome::Locked,
            LeaseError::Failed(_) | LeaseError::Channel(_) => Outcome::Unreachable,
        };
    }
    let outcome = match Journal::reopen(&mut run) {
        Ok(journal) => {
            let mut reporter = reporter(global);
            reporter.plan_resumes(&run.plan, &run.ledger);
            perform(global, &surveyed.loaded, &surveyed.servers, &run.plan, run.ledger, journal, reporter, began).await
        }
        Err(error) => {
            complain(&error.to_string());
            Outcome::Configuration
        }
    };
    surveyed.servers.release().await;
    outcome
}

/// A run that was cut off on this workstation comes first.
pub(super) fn unfinished(global: &Global, loaded: &Loaded) -> Option<Outcome> {
    match open_runs(&state_folder(global, loaded)) {
        Ok(runs) if runs.is_empty() => None,
        Ok(runs) => {
            if let Some(running) = runs.iter().find(|run| run.is_running) {
                return Some(still_running(running));
            }
            let program = program(global);
            for run in &runs {
                let folder = run.folder.display();
                complain(&format!("a {} was cut off here ({folder}): `{program} resume` goes on with it", run.plan.intent.as_str()));
            }
            Some(Outcome::Interrupted)
        }
        Err(error) => {
            complain(&error.to_string());
            Some(Outcome::Configuration)
        }
    }
}

/// Another process of this workstation has the same project and environment in hand.
fn still_running(run: &OpenRun) -> Outcome {
    let (plan, folder) = (&run.plan, run.folder.display());
    complain(&format!("a {} of {}/{} is running here ({folder}): wait until it has ended", plan.intent.as_str(), plan.project, plan.env));
    Outcome::Locked
}
