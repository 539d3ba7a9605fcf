//! The fold of events into what a display shows: waves that begin and end, steps with their times, servers that are through.
//! Deliberately absent: text. Times come from the events' own clock, so a replay shows the same.
use crate::ledger::{Ledger, StepState};
use crate::model::{Event, EventKind, Failure, Millis, Outcome, ServerName, StepId, Verdict, WaveIndex};
use crate::plan::{Plan, WaveKind};
use std::collections::{BTreeMap, BTreeSet};

/// Doing or undoing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Forward,
    Back,
}

/// How a wave ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaveEnd {
    /// Its gate was passed.
    Passed,
    /// The run turned back in it, or ended in it.
    Broken,
    /// What had to be undone was tried.
    Undone,
}

/// How a step came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StepEnd {
    Done(String),
    Failed(Failure),
    Lost(Failure),
    NotReached,
}

/// Something to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    WaveBegan { wave: WaveIndex, way: Way, n_servers: usize },
    StepBegan { step: StepId, way: Way },
    StepCame { step: StepId, way: Way, took: Millis, end: StepEnd },
    ServerOver { server: ServerName, took: Millis },
    WaveOver { wave: WaveIndex, way: Way, end: WaveEnd, n_good: usize, n_servers: usize, took: Millis },
    AbortAsked { reason: String },
    Held,
    Waits,
    Closed { verdict: Verdict },
}

/// The wave that is being shown.
#[derive(Debug, Clone)]
struct Current {
    wave: WaveIndex,
    way: Way,
    since: u64,
    servers: BTreeSet<ServerName>,
    over: BTreeSet<ServerName>,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    current: Option<Current>,
    began: BTreeMap<StepId, u64>,
    last_end: BTreeMap<ServerName, u64>,
    open: BTreeSet<StepId>,
    touched: BTreeSet<StepId>,
    /// What is undone because the run is held is nothing that anybody waits for.
    held: bool,
    /// A step has failed.
    failed: bool,
    /// How long each wave took, in the order they were over.
    pub(super) times: Vec<(WaveIndex, Way, Millis)>,
}

impl Progress {
    /// A run of this plan that has come as far as this ledger.
    pub(super) fn new(plan: &Plan, ledger: &Ledger) -> Self {
        let mut progress = Self::default();
        for id in plan.step_ids() {
            match ledger.state(&id) {
                StepState::Pending | StepState::Running => {
                    progress.open.insert(id);
                }
                StepState::Unknown => {
                    progress.open.insert(id.clone());
                    progress.touched.insert(id);
                }
                StepState::Done | StepState::Failed | StepState::Undoing | StepState::UndoFailed => {
                    progress.touched.insert(id);
                }
                StepState::Undone => {}
            }
        }
        progress
    }

    /// Takes in one event and says what there is to show.
    pub(super) fn take(&mut self, plan: &Plan, event: &Event) -> Vec<Notice> {
        let mut notices = Vec::new();
        match &event.kind {
            EventKind::RunOpened { .. } => {}
            EventKind::RetryRequested { .. } | EventKind::Promoted { .. } => self.held = false,
            EventKind::UndoStarted { .. } | EventKind::UndoEnded { .. } if self.held => {}
            EventKind::RunHeld => {
                self.held = true;
                self.leave(event.at, &mut notices);
                notices.push(if self.failed { Notice::Held } else { Notice::Waits });
            }
            EventKind::StepStarted { step } => self.began(plan, step, Way::Forward, event.at, &mut notices),
            EventKind::UndoStarted { step } => self.began(plan, step, Way::Back, event.at, &mut notices),
            EventKind::StepEnded { step, outcome } => self.ended(plan, step, Way::Forward, outcome, event.at, &mut notices),
            EventKind::UndoEnded { step, outcome } => self.ended(plan, step, Way::Back, outcome, event.at, &mut notices),
            EventKind::GatePassed { .. } => self.over(WaveEnd::Passed, event.at, &mut notices),
            EventKind::AbortRequested { reason } => {
                self.held = false;
                notices.push(Notice::AbortAsked { reason: reason.clone() });
            }
            EventKind::RunClosed { verdict } => {
                self.leave(event.at, &mut notices);
                notices.push(Notice::Closed { verdict: *verdict });
            }
        }
        notices
    }

    /// The step that each server of the present wave is at, of those that are not through.
    pub(super) fn waited_for(&self, plan: &Plan) -> Vec<StepId> {
        let Some(current) = &self.current else { return Vec::new() };
        let steps = plan.waves.get(current.wave).map(|wave| &wave.servers);
        let open = |server: &ServerName| {
            let n_steps = steps.and_then(|steps| steps.get(server)).map_or(0, Vec::len);
            let mut ids = (0..n_steps).map(|index| StepId { wave: current.wave, server: server.clone(), index });
            match current.way {
                Way::Forward => ids.find(|id| self.open.contains(id)),
                Way::Back => ids.rev().find(|id| self.touched.contains(id) && plan.step(id).is_some_and(|step| !step.undo.is_empty())),
            }
        };
        current.servers.iter().filter(|server| !current.over.contains(*server)).filter_map(open).collect()
    }

    fn began(&mut self, plan: &Plan, step: &StepId, way: Way, at: u64, notices: &mut Vec<Notice>) {
        if self.current.as_ref().is_none_or(|current| (current.wave, current.way) != (step.wave, way)) {
            self.leave(at, notices);
            let servers = self.servers(plan, step.wave, way);
            let over = servers.iter().filter(|server| self.is_over(plan, step.wave, way, server)).cloned().collect();
            notices.push(Notice::WaveBegan { wave: step.wave, way, n_servers: servers.len() });
            self.current = Some(Current { wave: step.wave, way, since: at, servers, over });
        }
        self.began.insert(step.clone(), at);
        notices.push(Notice::StepBegan { step: step.clone(), way });
    }

    /// Steps travel together and are all begun at once, so a step's own time starts when the one before it came back.
    fn ended(&mut self, plan: &Plan, step: &StepId, way: Way, outcome: &Outcome, at: u64, notices: &mut Vec<Notice>) {
        let began = self.began.get(step).copied().unwrap_or(at).max(self.last_end.get(&step.server).copied().unwrap_or(0));
        let took = Millis(at.saturating_sub(began));
        let end = match outcome {
            Outcome::Done { seen } => StepEnd::Done(seen.clone()),
            Outcome::Failed(failure) => StepEnd::Failed(failure.clone()),
            Outcome::Unknown(failure) => StepEnd::Lost(failure.clone()),
            Outcome::NotReached => StepEnd::NotReached,
        };
        self.failed |= matches!(end, StepEnd::Failed(_) | StepEnd::Lost(_));
        if end != StepEnd::NotReached {
            self.last_end.insert(step.server.clone(), at);
        }
        self.settle(plan, step, way, &end);
        notices.push(Notice::StepCame { step: step.clone(), way, took, end });
        let is_over = self.is_over(plan, step.wave, way, &step.server);
        if let Some(current) = &mut self.current
            && is_over
            && current.over.insert(step.server.clone())
        {
            notices.push(Notice::ServerOver { server: step.server.clone(), took: Millis(at.saturating_sub(current.since)) });
        }
    }

    fn settle(&mut self, plan: &Plan, step: &StepId, way: Way, end: &StepEnd) {
        let cleanup = plan.waves.get(step.wave).is_some_and(|wave| wave.kind == WaveKind::Cleanup);
        match (way, end) {
            (_, StepEnd::NotReached) | (Way::Back, StepEnd::Failed(_) | StepEnd::Lost(_)) => {}
            (Way::Forward, StepEnd::Done(_)) => {
                self.open.remove(step);
                self.touched.insert(step.clone());
            }
            (Way::Forward, StepEnd::Failed(_)) => {
                self.touched.insert(step.clone());
                if cleanup {
                    self.open.remove(step);
                }
            }
            (Way::Forward, StepEnd::Lost(_)) => {
                self.touched.insert(step.clone());
            }
            (Way::Back, StepEnd::Done(_)) => {
                self.touched.remove(step);
            }
        }
    }

    /// The run goes elsewhere: whatever wave is shown is over.
    fn leave(&mut self, at: u64, notices: &mut Vec<Notice>) {
        match self.current.as_ref().map(|current| current.way) {
            Some(Way::Forward) => self.over(WaveEnd::Broken, at, notices),
            Some(Way::Back) => self.over(WaveEnd::Undone, at, notices),
            None => {}
        }
    }

    fn over(&mut self, end: WaveEnd, at: u64, notices: &mut Vec<Notice>) {
        let Some(current) = self.current.take() else { return };
        let took = Millis(at.saturating_sub(current.since));
        self.times.push((current.wave, current.way, took));
        let (wave, way) = (current.wave, current.way);
        notices.push(Notice::WaveOver { wave, way, end, n_good: current.over.len(), n_servers: current.servers.len(), took });
    }

    fn servers(&self, plan: &Plan, wave: WaveIndex, way: Way) -> BTreeSet<ServerName> {
        let Some(of_wave) = plan.waves.get(wave) else { return BTreeSet::new() };
        match way {
            Way::Forward => of_wave.servers.keys().cloned().collect(),
            Way::Back => of_wave.servers.keys().filter(|server| !self.is_over(plan, wave, way, server)).cloned().collect(),
        }
    }

    fn is_over(&self, plan: &Plan, wave: WaveIndex, way: Way, server: &ServerName) -> bool {
        let Some(steps) = plan.waves.get(wave).and_then(|of_wave| of_wave.servers.get(server)) else { return true };
        steps.iter().enumerate().all(|(index, step)| {
            let id = StepId { wave, server: server.clone(), index };
            match way {
                Way::Forward => !self.open.contains(&id),
                Way::Back => step.undo.is_empty() || !self.touched.contains(&id),
            }
        })
    }
}
