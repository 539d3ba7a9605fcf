//! Commands that run a plan: `deploy`, `catch-up`, `rollback`, `remove`, `maintenance`. Show it, ask, run it, say what came of it.
use super::args::{Global, OnOff, Output};
use super::carry_out::{perform, reporter};
use super::exit::Outcome;
use super::hooks::connecting;
use super::load::Loaded;
use super::look::{make, nginx_files, unknown_services};
use super::manner::{Manner, wanted};
use super::patience::Patience;
use super::print::{agrees, complain, result_line, talk};
use super::resume::{cut_off_here, cut_off_meanwhile, give_back, run_id, supersede};
use super::reverts::{others, until_put_back};
use super::secrets::{needed, read_secrets};
use super::signals::before_the_run;
use super::survey::{Surveyed, read_files, state_folder, survey_most};
use crate::facts::Facts;
use crate::ledger::Ledger;
use crate::model::{HookPoint, ServiceName, Verdict};
use crate::plan::{Back, Finding, Maintenance, Plan, View, Wanted, is_fatal, show};
use crate::report::ColorChoice;
use crate::run::{Journal, LeftRun};
use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// `flipside deploy`.
pub(super) async fn deploy(global: &Global, services: &[ServiceName], wanted: Wanted, manner: Manner, began: Instant) -> Outcome {
    Command { word: "deploy", wanted, removed: BTreeSet::new(), manner }.carry_out(global, services, began).await
}

/// `flipside catch-up`.
pub(super) async fn catch_up(global: &Global, wanted: Wanted, manner: Manner, began: Instant) -> Outcome {
    let wanted = Wanted { catch_up: true, ..wanted };
    Command { word: "catch-up", wanted, removed: BTreeSet::new(), manner }.carry_out(global, &[], began).await
}

/// `flipside rollback`.
pub(super) async fn rollback(global: &Global, services: &[ServiceName], wanted: Wanted, manner: Manner, began: Instant) -> Outcome {
    let wanted = Wanted { back: Back::Yes, ..wanted };
    Command { word: "rollback", wanted, removed: BTreeSet::new(), manner }.carry_out(global, services, began).await
}

/// `flipside remove`. A service that left the playbook can be removed too.
pub(super) async fn remove(global: &Global, services: &[ServiceName], wanted: Wanted, manner: Manner, began: Instant) -> Outcome {
    let removed = services.iter().cloned().collect();
    Command { word: "remove", wanted, removed, manner }.carry_out(global, &[], began).await
}

/// `flipside maintenance`.
pub(super) async fn maintenance(global: &Global, services: &[ServiceName], state: OnOff, manner: Manner, began: Instant) -> Outcome {
    let asked = match state {
        OnOff::On => Maintenance::On,
        OnOff::Off => Maintenance::Off,
    };
    let wanted = Wanted { maintenance: Some(asked), ..wanted(services, false, false) };
    Command { word: "maintenance", wanted, removed: BTreeSet::new(), manner }.carry_out(global, services, began).await
}

/// An engine may still be busy with what a run began that was killed a moment ago: a port is taken, and the container not yet to be seen.
/// A run that works elsewhere, or a server that puts itself back, may be in the middle of something. So what forbids a plan then is looked
/// at again so many times.
const LOOKS: u32 = 3;
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

/// Which of the plans of one deploy.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// What was typed, and when.
    First(Instant),
    /// The deploy itself, of a fleet that was half switched.
    Second,
}

/// What came of one of them.
struct Came {
    outcome: Outcome,
    /// What was run; None where nothing was begun.
    ran: Option<Plan>,
}

struct Command {
    word: &'static str,
    wanted: Wanted,
    removed: BTreeSet<ServiceName>,
    manner: Manner,
}

impl Command {
    async fn carry_out(self, global: &Global, services: &[ServiceName], began: Instant) -> Outcome {
        let can_be_asked = io::stdin().is_terminal() && io::stderr().is_terminal();
        if !self.manner.confirmed && !can_be_asked {
            complain(&format!("without a terminal nobody can be asked: give -y to {} without a question", self.word));
            return Outcome::Usage;
        }
        let mut patience = Patience::new(self.manner.lock_wait);
        let (mut surveyed, cut_off) = match before_the_run(self.prepare(global, services, &mut patience)).await {
            Ok(prepared) => prepared,
            Err(outcome) => return outcome,
        };
        let outcome = self.plan_and_run_both(global, &mut surveyed, &mut patience, &cut_off, began).await;
        surveyed.servers.release().await;
        outcome
    }

    /// The files, the secrets and the servers, with the hooks around connecting; and the runs that were cut off here.
    ///
    /// # Errors
    /// The outcome to exit with; no server was changed.
    async fn prepare(
        &self,
        global: &Global,
        services: &[ServiceName],
        patience: &mut Patience,
    ) -> Result<(Surveyed, Vec<LeftRun>), Outcome> {
        let mut loaded = read_files(global)?;
        if let Some(outcome) = unknown_services(&loaded.playbook, services) {
            return Err(outcome);
        }
        let cut_off = cut_off_here(global, &loaded, self.word, patience).await;
        let cut_off = cut_off.map_err(|outcome| self.not_begun(global, &loaded, outcome))?;
        if self.starts_new_containers() {
            let needed = needed(&loaded, services);
            read_secrets(&mut loaded, &needed).await?;
        }
        let budget = if self.removed.is_empty() { self.wanted.budget(&loaded.playbook, loaded.inventory.servers.len()) } else { 0 };
        connecting(&loaded, HookPoint::BeforeConnect, self.word).await?;
        let surveyed = survey_most(global, loaded, self.word, budget).await?;
        if let Err(outcome) = connecting(&surveyed.loaded, HookPoint::AfterConnect, self.word).await {
            surveyed.servers.release().await;
            return Err(outcome);
        }
        Ok((surveyed, cut_off))
    }

    /// A fleet that is half switched is brought to one side by a plan of its own; what was asked for follows.
    async fn plan_and_run_both(
        &self,
        global: &Global,
        surveyed: &mut Surveyed,
        patience: &mut Patience,
        cut_off: &[LeftRun],
        began: Instant,
    ) -> Outcome {
        let first = self.plan_and_run(global, surveyed, patience, cut_off, Turn::First(began)).await;
        let is_done = matches!(first.outcome, Outcome::Closed(Verdict::Done | Verdict::DoneWithLeftovers));
        if !is_done || !first.ran.is_some_and(|plan| self.goes_on_after(&plan)) {
            return first.outcome;
        }
        complain("every server routes the same side again: now the deploy itself");
        surveyed.servers.free_leases().await;
        let second = match surveyed.again().await {
            Ok(()) => self.plan_and_run(global, surveyed, patience, &[], Turn::Second).await,
            Err(outcome) => Came { outcome, ran: None },
        };
        if second.ran.is_none() && second.outcome != Outcome::NothingToDo {
            complain("the fleet was brought to one side; the deploy itself has not begun: run it again");
        }
        second.outcome
    }

    /// The plan only brings a fleet that is half switched to one side.
    fn goes_on_after(&self, plan: &Plan) -> bool {
        plan.mends() && self.starts_new_containers()
    }

    /// A rollback starts the containers that wait, with the secrets that they were given.
    fn starts_new_containers(&self) -> bool {
        self.removed.is_empty() && self.wanted.back == Back::No && self.wanted.maintenance.is_none()
    }

    async fn plan_and_run(
        &self,
        global: &Global,
        surveyed: &mut Surveyed,
        patience: &mut Patience,
        cut_off: &[LeftRun],
        turn: Turn,
    ) -> Came {
        let mut answering = Duration::ZERO;
        let began = match turn {
            Turn::First(began) => began,
            Turn::Second => Instant::now(),
        };
        let (plan, cut_off) = match before_the_run(self.settle(global, surveyed, patience, cut_off, &mut answering)).await {
            Ok(settled) => settled,
            Err(outcome) => {
                give_back(surveyed, outcome).await;
                return Came { outcome: self.not_begun(global, &surveyed.loaded, outcome), ran: None };
            }
        };
        // The time that a person takes to answer is no part of the run.
        let began = began + answering;
        let state = state_folder(global, &surveyed.loaded);
        let mut ledger = Ledger::default();
        let journal = match Journal::create(&state, &plan, &mut ledger) {
            Ok(journal) => journal,
            Err(error) => {
                complain(&format!("{error}; nothing was changed on any server"));
                return Came { outcome: Outcome::Configuration, ran: None };
            }
        };
        supersede(&cut_off, &run_id(&journal, &plan));
        let reporter = reporter(global);
        let mut reporter = if self.goes_on_after(&plan) { reporter.mending() } else { reporter };
        reporter.say(&format!("connected to {} servers and read their facts in {}", surveyed.fleet.len(), surveyed.took));
        reporter.plan_begins(&plan);
        let outcome = perform(global, surveyed, &plan, ledger, journal, reporter, self.manner.probing, began).await;
        Came { outcome, ran: Some(plan) }
    }

    /// The plan that is confirmed, with the leases of its servers, and the runs whose place it takes. Where other runs were waited for, it
    /// is made of what they left; a plan that changes by that is shown and asked about again.
    ///
    /// # Errors
    /// The outcome to exit with; no server was changed.
    async fn settle(
        &self,
        global: &Global,
        surveyed: &mut Surveyed,
        patience: &mut Patience,
        cut_off: &[LeftRun],
        answering: &mut Duration,
    ) -> Result<(Plan, Vec<LeftRun>), Outcome> {
        let mut confirmed: Option<Plan> = None;
        let mut n_looks = 0;
        loop {
            let (plan, findings) = make(surveyed, &self.wanted, &self.removed)?;
            let at_work = |facts: &Facts| facts.lease.is_some() || facts.revert.as_ref().is_some_and(|revert| revert.state.is_armed());
            let moves = !cut_off.is_empty() || surveyed.fleet.values().any(at_work);
            if is_fatal(&findings) && moves && n_looks < LOOKS {
                n_looks += 1;
                tokio::time::sleep(BETWEEN_LOOKS).await;
                surveyed.again().await?;
                continue;
            }
            if patience.until_free(&surveyed.servers, &plan.servers()).await? {
                surveyed.again().await?;
                continue;
            }
            if until_put_back(surveyed, &plan).await? {
                continue;
            }
            if confirmed.as_ref() != Some(&plan) {
                self.confirm(global, surveyed, &plan, &findings, cut_off, answering).await?;
            }
            let waited = patience.take_leases(&surveyed.servers, &plan.servers()).await?;
            let left = match cut_off_meanwhile(global, &surveyed.loaded, self.word, cut_off) {
                Ok(left) => left,
                Err(outcome) => {
                    surveyed.servers.give_back_leases().await;
                    return Err(outcome);
                }
            };
            let reverts = surveyed.fleet.values().any(|facts| facts.revert.as_ref().is_some_and(|revert| revert.state.is_armed()));
            if !waited && !patience.is_given() && !reverts {
                return Ok((plan, left));
            }
            // Whoever was waited for, or a server by itself, may have changed the servers after they were asked.
            surveyed.again_by_the_same_clocks().await?;
            let (planned, findings) = make(surveyed, &self.wanted, &self.removed)?;
            if planned == plan && !is_fatal(&findings) && others(surveyed, &plan).is_empty() {
                return Ok((plan, left));
            }
            surveyed.servers.give_back_leases().await;
            complain("the servers have changed meanwhile: planning anew");
            confirmed = Some(plan);
        }
    }

    /// Shows the plan and asks, where it is one that can be run.
    async fn confirm(
        &self,
        global: &Global,
        surveyed: &Surveyed,
        plan: &Plan,
        findings: &[Finding],
        cut_off: &[LeftRun],
        answering: &mut Duration,
    ) -> Result<(), Outcome> {
        let absent: Vec<_> = self.removed.iter().filter(|service| !plan.services.contains_key(*service)).collect();
        for service in &absent {
            complain(&format!("nothing of a service `{service}` is on the servers of {}/{}", plan.project, plan.env));
        }
        if !absent.is_empty() && absent.len() == self.removed.len() {
            return Err(Outcome::NothingToDo);
        }
        show_plan(global, surveyed, plan, findings);
        if is_fatal(findings) {
            let text = format!(
                "flipside: {} {}/{}: the plan has fatal findings; nothing was changed on any server",
                self.word, plan.project, plan.env
            );
            summary(global, "refused", &text);
            return Err(surveyed.fatal(findings));
        }
        if plan.waves.is_empty() {
            if self.wanted.selected.is_empty() && self.wanted.back == Back::No && self.removed.is_empty() {
                supersede(cut_off, "a deploy that found nothing to do");
            }
            return Err(self.nothing_to_do(global, plan));
        }
        let asked = Instant::now();
        let question = format!("{} {}/{} on {} servers?", self.word, plan.project, plan.env, plan.servers().len());
        if !self.manner.confirmed && !agrees(&question).await {
            complain("nothing was changed");
            return Err(Outcome::Declined);
        }
        *answering += asked.elapsed();
        Ok(())
    }

    /// A lock that somebody else holds is worth a summary: cron mails nothing else.
    fn not_begun(&self, global: &Global, loaded: &Loaded, outcome: Outcome) -> Outcome {
        if outcome == Outcome::Locked {
            let (project, env) = (&loaded.playbook.project, &loaded.playbook.env);
            summary(global, "locked", &format!("flipside: {} {project}/{env}: locked by another run, and nothing was changed", self.word));
        }
        outcome
    }

    fn nothing_to_do(&self, global: &Global, plan: &Plan) -> Outcome {
        let n_services = crate::plan::prose::count(plan.services.len(), "service");
        let (verdict, what, outcome) = match self.wanted.back {
            Back::No => ("nothing_to_do", "nothing to do", Outcome::NothingToDo),
            Back::Yes => {
                complain("there is nothing to go back to; nothing was touched");
                ("nothing_to_go_back_to", "nothing to go back to", Outcome::FatalFindings)
            }
        };
        summary(global, verdict, &format!("flipside: {} {}/{}: {what}, {n_services} unchanged", self.word, plan.project, plan.env));
        outcome
    }
}

/// The one line on stdout of a run that has not begun.
fn summary(global: &Global, verdict: &str, text: &str) {
    match global.output {
        Output::Text => result_line(text),
        Output::Json => result_line(&serde_json::json!({ "event": "summary", "verdict": verdict, "text": text }).to_string()),
    }
}

fn show_plan(global: &Global, surveyed: &Surveyed, plan: &Plan, findings: &[Finding]) {
    let nginx = if global.verbose > 0 { nginx_files(surveyed, plan) } else { std::collections::BTreeMap::new() };
    let view = View { paint: ColorChoice::from(global.color).on_stderr(), findings, undo: false, commands: None, nginx: &nginx };
    match global.output {
        Output::Text => talk(&show(plan, &view)),
        Output::Json if findings.is_empty() => {}
        Output::Json => result_line(&serde_json::json!({ "event": "findings", "findings": findings }).to_string()),
    }
}
