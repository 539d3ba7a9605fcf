//! One run that takes copies out or in again: planned, locked and carried out like any other. Deliberately absent: when.
use super::{Asked, Watch};
use crate::cli::args::Probing;
use crate::cli::carry_out::{perform, program, reporter};
use crate::cli::exit::Outcome;
use crate::cli::look::make_checked;
use crate::cli::print::complain;
use crate::cli::resume::{self, run_id, supersede};
use crate::cli::survey::state_folder;
use crate::ledger::Ledger;
use crate::model::{CopyAt, Standing};
use crate::plan::{Intent, Plan, is_fatal};
use crate::remote::LeaseError;
use crate::run::{Journal, LeftRun, left_runs};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What the servers said so shortly ago is taken as it is: the run itself sees whether it still holds.
const JUST_NOW: Duration = Duration::from_secs(2);

impl Watch<'_> {
    /// Has done what the answers ask for. Nothing where there is nothing, where somebody else is at work or comes first, since it comes to
    /// that later, and where it was stopped before that.
    pub(super) async fn act(&mut self) -> Outcome {
        let began = Instant::now();
        let prepared = self.stoppable(async |watch| watch.prepare().await).await;
        let (plan, cut_off) = match prepared {
            None => return Outcome::NothingToDo,
            Some(Err(outcome)) => return outcome,
            Some(Ok(prepared)) => prepared,
        };
        let mut ledger = Ledger::default();
        let journal = match Journal::create(&state_folder(self.global, &self.surveyed.loaded), &plan, &mut ledger) {
            Ok(journal) => journal,
            Err(error) => {
                complain(&format!("{error}; nothing was changed on any server"));
                self.surveyed.servers.give_back_leases().await;
                return Outcome::Configuration;
            }
        };
        supersede(&cut_off, &run_id(&journal, &plan));
        let mut reporter = reporter(self.global);
        reporter.plan_begins(&plan);
        let outcome = perform(self.global, &self.surveyed, &plan, ledger, journal, reporter, Probing::default(), began).await;
        self.surveyed.servers.free_leases().await;
        let before: BTreeMap<CopyAt, Standing> = self.copies.iter().map(|copy| (copy.at.clone(), copy.standing)).collect();
        if self.stoppable(async |watch| watch.look(Asked::Connected).await).await.is_none() {
            return outcome;
        }
        for copy in self.copies.clone().iter().filter(|copy| before.get(&copy.at).is_some_and(|before| *before != copy.standing)) {
            match copy.standing {
                Standing::Out => self.tell("out", Some(copy), "is out of every upstream"),
                Standing::In => self.tell("in", Some(copy), "is in again"),
            }
        }
        outcome
    }

    /// The plan that is to be run, with the leases of its servers; and the runs of this kind whose place it takes.
    async fn prepare(&mut self) -> Result<(Plan, Vec<LeftRun>), Outcome> {
        if self.looked.elapsed() > JUST_NOW {
            self.look(Asked::Connected).await;
        }
        let (plan, findings) = make_checked(&self.surveyed, &self.streaks.verdicts(&self.copies))?;
        if plan.waves.is_empty() {
            self.tell_findings("plan", &findings);
            return Err(Outcome::NothingToDo);
        }
        let held = plan.servers().into_iter().find_map(|name| Some((name, self.surveyed.fleet.get(name)?.lease.as_ref()?)));
        if let Some((name, holder)) = held {
            self.wait_for(format!("waits for {name}, which is locked by {holder}"));
            return Err(Outcome::Locked);
        }
        self.tell_findings("plan", &findings);
        if is_fatal(&findings) {
            return Err(Outcome::FatalFindings);
        }
        let left = left_runs(&state_folder(self.global, &self.surveyed.loaded)).map_err(|error| {
            complain(&error.to_string());
            Outcome::Configuration
        })?;
        let is_ours = |run: &LeftRun| !run.is_running && run.read.as_ref().is_ok_and(|(plan, _)| plan.intent == Intent::Watch);
        if let Some(other) = left.iter().find(|run| !is_ours(run)) {
            let word = other.read.as_ref().map_or("run", |(plan, _)| plan.intent.as_str());
            let (text, outcome) = if other.is_running {
                (format!("waits: a {word} is running here"), Outcome::Locked)
            } else if let Some((held, _)) = resume::held(other, &program(self.global)) {
                (format!("waits: {held}"), Outcome::FatalFindings)
            } else {
                let ways = "`flipside resume` goes on with it, `flipside abort` undoes it, a deploy takes its place";
                (format!("waits: a {word} was cut off here; {ways}"), Outcome::FatalFindings)
            };
            self.wait_for(text);
            return Err(outcome);
        }
        let taken = self.surveyed.servers.take_leases(&plan.servers()).await;
        if let Err((name, error)) = taken {
            let (text, outcome) = match &error {
                LeaseError::Held(holder) => (format!("waits for {name}, which is locked by {}", holder.who), Outcome::Locked),
                LeaseError::Failed(_) | LeaseError::Channel(_) => (format!("waits for {name}: {error}"), Outcome::Unreachable),
            };
            self.wait_for(text);
            return Err(outcome);
        }
        self.told.waits.clear();
        Ok((plan, left))
    }

    /// Said once for whom it waits.
    fn wait_for(&mut self, text: String) {
        if self.told.waits != text {
            self.tell("waits", None, &text);
            self.told.waits = text;
        }
    }
}
