//! What the requests say that watch a run: which of them are sent when, which failures count, and whether there are too many.
//! By the times of events and requests, which are those of one clock. Deliberately absent: sending, and undoing.
use super::gaps::stops_before_switch;
use crate::ledger::{Ledger, StepState};
use crate::model::{
    Action, Answer, Event, EventKind, GenerationId, Moment, Outcome, ProbeAt, ProbeTally, ProbeTarget, Sample, ServiceName, StepId,
};
use crate::plan::{Plan, Probed, WaveKind};
use std::collections::BTreeMap;

/// What has to be begun or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Send requests there from now on.
    Begin(ProbeTarget),
    /// Send no more there.
    End(ProbeAt),
    /// Send no more at all.
    EndAll,
}

/// Judges requests while events come.
#[derive(Debug)]
pub struct Probes {
    watched: BTreeMap<ProbeAt, Watched>,
    /// The count so far.
    pub tally: ProbeTally,
    wave: String,
    unwinding: bool,
    /// Nothing can be undone any more, or it is being undone.
    settled: bool,
}

/// One service behind one server's NGINX.
#[derive(Debug)]
struct Watched {
    target: ProbeTarget,
    is_live: bool,
    leaves_with: Option<GenerationId>,
    /// It answered at this time, so a later failure is news.
    proven: Option<u64>,
    /// It is, or was, handed over: from, and until.
    gap: Option<(u64, Option<u64>)>,
    /// From then on nobody says that it answers.
    until: Option<u64>,
}

impl Probes {
    /// Judges the run of this plan from wherever its ledger stands. More than `budget` failures are too many.
    #[must_use]
    pub fn new(plan: &Plan, ledger: &Ledger, targets: Vec<Probed>, unprobed: BTreeMap<ServiceName, String>, budget: u64) -> Probes {
        let watched = targets.into_iter().map(|probed| {
            let Probed { target, is_live, leaves_with } = probed;
            let handed_over = plan
                .step_ids()
                .any(|id| ledger.state(&id) != StepState::Pending && stops_before_switch(plan, &id).as_ref() == Some(&target.at.service));
            let gap = handed_over.then_some((0, None));
            (target.at.clone(), Watched { target, is_live, leaves_with, proven: None, gap, until: None })
        });
        let unwinding = ledger.unwinding();
        Probes {
            watched: watched.collect(),
            tally: ProbeTally { budget, unprobed, ..ProbeTally::default() },
            wave: String::new(),
            unwinding,
            settled: unwinding,
        }
    }

    /// What is to be sent from the start: nothing before the locks are held.
    #[must_use]
    pub fn begin(&self, ledger: &Ledger) -> Vec<Order> {
        if ledger.passed.contains(&0) { self.begin_live() } else { Vec::new() }
    }

    fn begin_live(&self) -> Vec<Order> {
        self.watched.values().filter(|watched| watched.is_live).map(|watched| Order::Begin(watched.target.clone())).collect()
    }

    /// Takes in one event.
    pub fn event(&mut self, plan: &Plan, event: &Event) -> Vec<Order> {
        match &event.kind {
            EventKind::RunOpened { .. } | EventKind::RunHeld | EventKind::RetryRequested { .. } | EventKind::Promoted { .. } => Vec::new(),
            EventKind::StepStarted { step } => self.started(plan, step, event.at),
            EventKind::StepEnded { step, outcome } => match outcome {
                Outcome::Done { .. } => self.done(plan, step, event.at),
                Outcome::Failed(_) if is_work(plan, step.wave) => self.unwind(event.at),
                Outcome::Failed(_) | Outcome::Unknown(_) | Outcome::NotReached => Vec::new(),
            },
            EventKind::UndoStarted { step } => {
                self.wave = plan.waves.get(step.wave).map(|wave| format!("undo {}", wave.name)).unwrap_or_default();
                // What was handed over is handed back: nothing answers for a while again.
                self.watched.values_mut().filter_map(|watched| watched.gap.as_mut()).for_each(|gap| gap.1 = None);
                self.unwind(event.at)
            }
            EventKind::UndoEnded { .. } => Vec::new(),
            EventKind::GatePassed { wave: 0 } => self.begin_live(),
            EventKind::GatePassed { wave } if is_work(plan, *wave) && !is_work(plan, wave + 1) => {
                self.settled = true;
                vec![Order::EndAll]
            }
            EventKind::GatePassed { .. } => Vec::new(),
            EventKind::AbortRequested { .. } if self.settled => Vec::new(),
            EventKind::AbortRequested { .. } => self.unwind(event.at),
            EventKind::RunClosed { .. } => vec![Order::EndAll],
        }
    }

    fn started(&mut self, plan: &Plan, id: &StepId, at: u64) -> Vec<Order> {
        self.wave = plan.waves.get(id.wave).map(|wave| wave.name.clone()).unwrap_or_default();
        if let Some(service) = stops_before_switch(plan, id) {
            for watched in self.watched.values_mut().filter(|watched| watched.target.at.service == service) {
                watched.gap.get_or_insert((at, None));
            }
        }
        let Some(Action::Switch { to, .. }) = plan.step(id).map(|step| &step.action) else { return Vec::new() };
        let leaving =
            self.watched.values_mut().filter(|watched| watched.target.at.server == id.server && watched.leaves_with.as_ref() == Some(to));
        leaving.map(|watched| watched.end(at)).collect()
    }

    fn done(&mut self, plan: &Plan, id: &StepId, at: u64) -> Vec<Order> {
        let checked = plan.step(id).filter(|step| matches!(step.action, Action::CheckRoute(_))).and_then(|step| step.service.clone());
        let here = checked.map(|service| ProbeAt { service, server: id.server.clone() });
        let Some(watched) = here.and_then(|at| self.watched.get_mut(&at)) else { return Vec::new() };
        watched.proven.get_or_insert(at);
        if let Some((_, until)) = &mut watched.gap {
            until.get_or_insert(at);
        }
        if watched.is_live || self.unwinding { Vec::new() } else { vec![Order::Begin(watched.target.clone())] }
    }

    /// What was new is taken away again, and is not asked any more.
    fn unwind(&mut self, at: u64) -> Vec<Order> {
        self.settled = true;
        if std::mem::replace(&mut self.unwinding, true) {
            return Vec::new();
        }
        self.watched.values_mut().filter(|watched| !watched.is_live).map(|watched| watched.end(at)).collect()
    }

    /// Takes in one request. Where this one is too much, the reason to undo the run: once, and only while it can be undone.
    pub fn sample(&mut self, sample: &Sample) -> Option<String> {
        let watched = self.watched.get_mut(&sample.at)?;
        let ended = sample.began + sample.took.0;
        let bad = matches!(sample.answer, Answer::Bad(_));
        if bad && watched.until.is_some_and(|until| ended >= until) {
            return None;
        }
        let in_gap = watched.gap.is_some_and(|(from, until)| ended >= from && until.is_none_or(|until| sample.began <= until));
        let moment = if in_gap {
            Moment::Gap
        } else if watched.proven.is_none_or(|proven| sample.began < proven) {
            Moment::Early
        } else {
            Moment::Counted
        };
        if sample.answer == Answer::Good {
            watched.proven.get_or_insert(sample.began);
        }
        self.tally.take(sample, &self.wave, moment);
        if self.settled || !self.tally.is_over() {
            return None;
        }
        self.settled = true;
        let total = self.tally.total();
        let last = match &sample.answer {
            Answer::Bad(seen) => format!(": {} through {}'s NGINX: {seen}", sample.at.service, sample.at.server),
            Answer::Good | Answer::Unmeasured(_) => String::new(),
        };
        Some(format!("{} of {} probes failed, and --probe-budget allows {}{last}", total.failed, total.sent, self.tally.budget))
    }
}

impl Watched {
    fn end(&mut self, at: u64) -> Order {
        self.until.get_or_insert(at);
        Order::End(self.target.at.clone())
    }
}

fn is_work(plan: &Plan, wave: usize) -> bool {
    plan.waves.get(wave).is_some_and(|wave| wave.kind != WaveKind::Cleanup)
}

#[cfg(test)]
#[path = "probes_tests.rs"]
mod tests;
