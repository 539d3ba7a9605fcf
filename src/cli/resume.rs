//! A run that was cut off: `resume` goes on with it, `abort` undoes it, and what other commands say of it. Deliberately absent: performing it.
use super::args::{Global, Probing};
use super::carry_out::{ASKED_BY_ABORT, perform, program, reporter};
use super::exit::Outcome;
use super::hooks::connecting;
use super::load::Loaded;
use super::patience::Patience;
use super::print::complain;
use super::reverts::{others, until_put_back};
use super::secrets::read_secrets;
use super::signals::before_the_run;
use super::survey::{Surveyed, read_files, state_folder, survey_for};
use crate::ledger::Ledger;
use crate::model::{HookPoint, Millis, Verdict};
use crate::plan::{
    Plan, asked_anew, back_by_themselves, is_asked_anew, is_same_inventory, is_tried_again, other_secrets, overtaken, past_undoing, prose,
    rebased, secrets_of, waits_for_promotion,
};
use crate::run::{Journal, JournalError, LeftRun, OpenRun, left_runs, stuck_run};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Leases are given back within this time, once somebody has asked to stop.
const GIVES_BACK: Duration = Duration::from_secs(3);

/// How a run is taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Where it was going, and watched like this.
    On(Probing),
    /// On, now that the canary is to have everything.
    Promote(Probing),
    /// Back.
    Back,
}

/// `flipside resume`.
pub(super) async fn resume(global: &Global, probing: Probing, lock_wait: Millis, began: Instant) -> Outcome {
    take_up(global, Way::On(probing), Patience::new(lock_wait), began).await
}

/// `flipside promote`.
pub(super) async fn promote(global: &Global, probing: Probing, lock_wait: Millis, began: Instant) -> Outcome {
    take_up(global, Way::Promote(probing), Patience::new(lock_wait), began).await
}

/// `flipside abort`. Everything put back is what was asked for.
pub(super) async fn abort(global: &Global, lock_wait: Millis, began: Instant) -> Outcome {
    match take_up(global, Way::Back, Patience::new(lock_wait), began).await {
        Outcome::Closed(Verdict::PutBack) => Outcome::Done,
        outcome => outcome,
    }
}

async fn take_up(global: &Global, way: Way, mut patience: Patience, began: Instant) -> Outcome {
    let (mut run, mut surveyed) = match before_the_run(prepare(global, way, &mut patience)).await {
        Ok(prepared) => prepared,
        Err(outcome) => return outcome,
    };
    let outcome = lock_and_run(global, way, &mut patience, &mut run, &mut surveyed, began).await;
    surveyed.servers.release().await;
    outcome
}

/// The run, where it can be taken up in this way, and its servers, with the hooks around connecting.
async fn prepare(global: &Global, way: Way, patience: &mut Patience) -> Result<(OpenRun, Surveyed), Outcome> {
    let mut loaded = read_files(global)?;
    let run = cut_off_run(global, &loaded, patience).await?;
    if way == Way::Back && past_undoing(&run.plan, &run.ledger) {
        complain(&format!(
            "that {} is past undoing: it has switched every server and begun to tidy up, so nothing was changed. \
             `{1} resume` finishes it; `{1} rollback` goes back to the release before",
            run.plan.intent.as_str(),
            program(global)
        ));
        return Err(Outcome::FatalFindings);
    }
    if matches!(way, Way::Promote(_)) && waits_for_promotion(&run.plan, &run.ledger).is_none() {
        if let Some((failed, outcome)) = held_words(&run.plan, &run.ledger, &run.folder, &program(global)) {
            complain(&format!("{failed}. Nothing waits for promotion"));
            return Err(outcome);
        }
        let went_on = match run.ledger.promoted.is_empty() {
            true => String::new(),
            false => format!(". The one that was cut off here was promoted before: `{} resume` goes on with it", program(global)),
        };
        complain(&format!("no run of {}/{} waits for promotion on this workstation{went_on}", run.plan.project, run.plan.env));
        return Err(Outcome::Configuration);
    }
    let word = match way {
        Way::On(_) => "resume",
        Way::Promote(_) => "promote",
        Way::Back => "abort",
    };
    // What is undone needs no values.
    if way != Way::Back {
        read_secrets(&mut loaded, &secrets_of(&run.plan, &run.ledger)).await?;
    }
    connecting(&loaded, HookPoint::BeforeConnect, word).await?;
    let surveyed = survey_for(global, loaded, word, &run.plan).await?;
    if let Err(outcome) = connecting(&surveyed.loaded, HookPoint::AfterConnect, word).await {
        surveyed.servers.release().await;
        return Err(outcome);
    }
    Ok((run, surveyed))
}

/// The run of this workstation that was cut off last.
async fn cut_off_run(global: &Global, loaded: &Loaded, patience: &mut Patience) -> Result<OpenRun, Outcome> {
    let state = state_folder(global, loaded);
    let Some(LeftRun { folder, is_running, read }) = not_running(&state, patience).await?.pop() else {
        match stuck_run(&state) {
            Ok(Some(stuck)) => return Ok(stuck),
            Ok(None) => {}
            Err(error) => complain(&error.to_string()),
        }
        complain(&format!("no run of {}/{} was cut off on this workstation", loaded.playbook.project, loaded.playbook.env));
        return Err(Outcome::NothingToDo);
    };
    let (plan, ledger) = read.map_err(|error| {
        complain(&format!("{error}. `{} deploy` does without it: it starts from what the servers show", program(global)));
        Outcome::Configuration
    })?;
    Ok(OpenRun { folder, plan, ledger, is_running })
}

/// Takes the leases of the run's servers, and sees what others did until then, or a server by itself.
async fn lock(patience: &mut Patience, plan: &Plan, surveyed: &mut Surveyed) -> Result<(), Outcome> {
    loop {
        until_put_back(surveyed, plan).await?;
        patience.take_leases(&surveyed.servers, &plan.servers()).await?;
        surveyed.again().await?;
        if others(surveyed, plan).is_empty() {
            return Ok(());
        }
        surveyed.servers.give_back_leases().await;
    }
}

/// Whoever held the leases before may take them again, where somebody stopped us before we did anything. Other ends give them back
/// themselves.
pub(super) async fn give_back(surveyed: &Surveyed, outcome: Outcome) {
    if outcome == Outcome::Interrupted {
        // A server that does not answer loses them with its connection.
        drop(tokio::time::timeout(GIVES_BACK, surveyed.servers.give_back_leases()).await);
    }
}

async fn lock_and_run(
    global: &Global,
    way: Way,
    patience: &mut Patience,
    run: &mut OpenRun,
    surveyed: &mut Surveyed,
    began: Instant,
) -> Outcome {
    if let Err(outcome) = before_the_run(lock(patience, &run.plan, surveyed)).await {
        give_back(surveyed, outcome).await;
        return outcome;
    }
    if run.ledger.held && !is_same_inventory(&run.plan, &surveyed.loaded.inventory) {
        complain(
            "the inventory is another one than that of the run, which stays as it is. Take the one that it began with; what is to change \
             there can change after the run. Nothing was changed",
        );
        return Outcome::FatalFindings;
    }
    // What other projects have deployed since stays, whichever way the run goes on.
    run.plan = rebased(&run.plan, &run.ledger, &surveyed.fleet);
    let reasons = overtaken(&run.plan, &run.ledger, &surveyed.loaded.inventory, &surveyed.fleet);
    if !reasons.is_empty() {
        reasons.iter().for_each(|reason| complain(reason));
        complain(&format!(
            "the fleet has moved since that {} was cut off: going on with it could stop what is live now, so nothing was changed. \
             Look at `{1} status`; `{1} plan` and `{1} deploy` start from what is there, and take that run's place",
            run.plan.intent.as_str(),
            program(global)
        ));
        // Nothing else begins while it is held, and nobody can go on with it any more.
        if run.ledger.held
            && let Err(error) = run.give_up("the fleet, which has moved since it was held")
        {
            complain(&format!("the run stays open: {error}"));
        }
        return Outcome::FatalFindings;
    }
    let others = other_secrets(&run.plan, &run.ledger, &surveyed.fleet, &surveyed.loaded.secrets);
    if way != Way::Back && !others.is_empty() {
        others.iter().for_each(|other| complain(other));
        complain("one release would have two values: resume with the values that the run began with; nothing was changed");
        return Outcome::FatalFindings;
    }
    let again = matches!(way, Way::On(_)) && is_tried_again(&run.plan, &run.ledger);
    let goes_back = run.ledger.unwinding() && !again;
    let back = if goes_back { Vec::new() } else { back_by_themselves(&run.plan, &run.ledger, &surveyed.fleet) };
    let (probing, undo) = match way {
        Way::On(probing) | Way::Promote(probing) => {
            (probing, (!back.is_empty()).then(|| format!("{}: it is undone everywhere", back.join("; "))))
        }
        Way::Back => (Probing::default(), Some(ASKED_BY_ABORT.to_owned())),
    };
    let journal = Journal::reopen(run).and_then(|mut journal| {
        let anew = asked_anew(&run.plan, &run.ledger);
        let promoted = waits_for_promotion(&run.plan, &run.ledger).filter(|_| matches!(way, Way::Promote(_)));
        match undo {
            None if let Some(wave) = promoted => journal.promote(&mut run.ledger, wave, anew)?,
            Some(reason) => journal.ask_to_undo(&mut run.ledger, &reason)?,
            None if again || is_asked_anew(&run.plan, &run.ledger) => journal.ask_to_retry(&mut run.ledger, anew)?,
            None => {}
        }
        Ok(journal)
    });
    match journal {
        Ok(journal) => {
            let mut reporter = reporter(global);
            reporter.plan_resumes(&run.plan, &run.ledger);
            let ledger = std::mem::take(&mut run.ledger);
            perform(global, surveyed, &run.plan, ledger, journal, reporter, probing, began).await
        }
        Err(error @ JournalError::Busy { .. }) => {
            complain(&error.to_string());
            Outcome::Locked
        }
        Err(error) => {
            complain(&error.to_string());
            Outcome::Configuration
        }
    }
}

/// The runs of this workstation that were cut off, said to the user: a new run takes their place. One that still runs is waited for, or
/// comes first.
///
/// # Errors
/// The outcome to exit with.
pub(super) async fn cut_off_here(global: &Global, loaded: &Loaded, word: &str, patience: &mut Patience) -> Result<Vec<LeftRun>, Outcome> {
    let runs = not_running(&state_folder(global, loaded), patience).await?;
    none_is_held(global, &runs, word)?;
    tell_of(global, &runs, word);
    Ok(runs)
}

/// As [`cut_off_here`], now that the leases are ours: what was waited for may have been cut off meanwhile, or have come to be held. Those
/// that are `known` were told of.
///
/// # Errors
/// The outcome to exit with.
pub(super) fn cut_off_meanwhile(global: &Global, loaded: &Loaded, word: &str, known: &[LeftRun]) -> Result<Vec<LeftRun>, Outcome> {
    let runs = left_here(&state_folder(global, loaded))?;
    // Also one whose hooks still run: it has freed its leases before them.
    none_is_held(global, &runs, word)?;
    let (_, cut_off): (Vec<_>, Vec<_>) = runs.into_iter().partition(|run| run.is_running);
    tell_of(global, cut_off.iter().filter(|run| known.iter().all(|known| known.folder != run.folder)), word);
    Ok(cut_off)
}

fn none_is_held(global: &Global, runs: &[LeftRun], word: &str) -> Result<(), Outcome> {
    let program = program(global);
    runs.iter().find_map(|run| held(run, &program)).map_or(Ok(()), |(held, outcome)| {
        complain(&format!("{held}. Until then no {word} begins; nothing was changed"));
        Err(outcome)
    })
}

fn tell_of<'a>(global: &Global, runs: impl IntoIterator<Item = &'a LeftRun>, word: &str) {
    let program = program(global);
    for run in runs {
        let (folder, when) = (run.folder.display(), began(&run.folder));
        let text = match &run.read {
            Ok((plan, ledger)) => {
                let back = if past_undoing(plan, ledger) { "" } else { &format!(", and `{program} abort` would undo it") };
                format!("a {} was cut off here ({when}{folder}). `{program} resume` would go on with it{back}", plan.intent.as_str())
            }
            Err(error) => format!("a run was cut off here ({when}{folder}), and cannot be read: {error}"),
        };
        complain(&format!("{text}. This {word} starts from what the servers show, and takes its place once it begins"));
    }
}

/// What is to be said of a run that is held: the failure is nobody's but a person's to decide.
pub(super) fn held(run: &LeftRun, program: &str) -> Option<(String, Outcome)> {
    let (plan, ledger) = run.read.as_ref().ok()?;
    held_words(plan, ledger, &run.folder, program)
}

fn held_words(plan: &Plan, ledger: &Ledger, folder: &Path, program: &str) -> Option<(String, Outcome)> {
    if !ledger.held {
        return None;
    }
    let place = format!("{}{}", began(folder), folder.display());
    let Some(failed) = &ledger.first_failure else {
        let text = format!(
            "a {} tries a canary here, and waits for promotion ({place}). `{program} promote` gives it all requests, `{program} abort` takes it back",
            plan.intent.as_str()
        );
        return Some((text, Outcome::Waiting));
    };
    let step = plan.step(failed).map_or("a step", |step| step.title.as_str());
    let server = format!(" on {}", failed.server);
    let text = format!(
        "a {} failed here and is held ({place}): {step}{server} failed, and nothing was undone. `{program} resume` tries it again, `{program} abort` puts the fleet back",
        plan.intent.as_str()
    );
    Some((text, Outcome::Held))
}

/// What `status` says of a run of this workstation that is held.
pub(super) fn held_here(global: &Global, loaded: &Loaded) -> Option<String> {
    let runs = left_runs(&state_folder(global, loaded)).ok()?;
    runs.iter().filter(|run| !run.is_running).find_map(|run| held(run, &program(global))).map(|(text, _)| text)
}

/// The runs that have no end, once none of them is being written.
async fn not_running(state: &Path, patience: &mut Patience) -> Result<Vec<LeftRun>, Outcome> {
    loop {
        let runs = left_here(state)?;
        let Some(running) = runs.iter().find(|run| run.is_running) else { return Ok(runs) };
        let what = match &running.read {
            Ok((plan, _)) => format!("{} of {}/{}", plan.intent.as_str(), plan.project, plan.env),
            Err(_) => "run of another version".to_owned(),
        };
        let folder = running.folder.display();
        let text = format!("a {what} is running here ({}{folder})", began(&running.folder));
        if !patience.pause(&folder.to_string(), &text).await {
            complain(&format!("{text}: wait until it has ended, or give --lock-wait; nothing was changed"));
            return Err(Outcome::Locked);
        }
    }
}

fn left_here(state: &Path) -> Result<Vec<LeftRun>, Outcome> {
    left_runs(state).map_err(|error| {
        complain(&error.to_string());
        Outcome::Configuration
    })
}

/// `pid 4711, begun 12.0 s ago, `: what the name of a run's folder says.
fn began(folder: &Path) -> String {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((millis, pid)) = name.split_once('-') else { return String::new() };
    let Ok(millis) = millis.parse().map(Duration::from_millis) else { return String::new() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ago = Millis(u64::try_from(now.saturating_sub(millis).as_millis()).unwrap_or(u64::MAX));
    format!("pid {pid}, begun {} ago, ", prose::seconds(ago))
}

/// Runs whose place is taken: `resume` and `abort` do not see them any more. `by` is the id of the run that takes it, or what else does.
pub(super) fn supersede(runs: &[LeftRun], by: &str) {
    for run in runs {
        if let Err(error) = run.supersede(by) {
            complain(&format!("the run that was cut off stays open: {error}"));
        }
    }
}

/// The id that others know a run by.
pub(super) fn run_id(journal: &Journal, plan: &Plan) -> String {
    let name = journal.folder().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{} {name}", plan.intent.as_str())
}

#[cfg(test)]
#[path = "resume_tests.rs"]
mod tests;
