//! What each server serves now, as far as plan and ledger say. Deliberately absent: asking the servers.
use crate::ledger::{Ledger, StepState};
use crate::model::{Action, ServerName, StepId, Verdict};
use crate::plan::{Plan, Step, UndoKind};
use std::collections::BTreeMap;

/// What a server serves now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Serving {
    /// What it served before the run.
    Before,
    /// What the plan says.
    After,
    /// Part of each: these steps are done, others of their kind are not.
    Between(Vec<StepId>),
    /// Nobody saw how these steps ended.
    Unclear(Vec<StepId>),
    /// The undo of these steps failed, and requests hang on it.
    Stuck(Vec<StepId>),
}

/// What each server of the plan serves now.
#[must_use]
pub fn serving(plan: &Plan, ledger: &Ledger) -> BTreeMap<ServerName, Serving> {
    plan.servers().into_iter().map(|server| (server.clone(), serving_on(plan, ledger, server))).collect()
}

fn serving_on(plan: &Plan, ledger: &Ledger, server: &ServerName) -> Serving {
    match ledger.closed {
        Some(Verdict::Done | Verdict::DoneWithLeftovers) => return Serving::After,
        Some(Verdict::PutBack) => return Serving::Before,
        Some(Verdict::Stuck | Verdict::Held | Verdict::Waiting) | None => {}
    }
    // Stopping the old side after the last switch takes nothing from anybody: until then the plan's side is what is served.
    let is_switch = |id: &StepId| plan.step(id).is_some_and(|step| matches!(step.action, Action::Switch { .. }));
    let last_switch = plan.step_ids().filter(|id| id.server == *server && is_switch(id)).map(|id| id.wave).max();
    let (mut done, mut unclear, mut stuck, mut open) = (Vec::new(), Vec::new(), Vec::new(), false);
    for id in plan.step_ids().filter(|id| id.server == *server && plan.step(id).is_some_and(decides)) {
        match ledger.state(&id) {
            StepState::Pending | StepState::Undone => open |= last_switch.is_none_or(|wave| id.wave <= wave),
            StepState::Done => done.push(id),
            StepState::Running | StepState::Unknown | StepState::Failed | StepState::Undoing => unclear.push(id),
            StepState::UndoFailed => stuck.push(id),
        }
    }
    if !stuck.is_empty() {
        Serving::Stuck(stuck)
    } else if !unclear.is_empty() {
        Serving::Unclear(unclear)
    } else if done.is_empty() {
        Serving::Before
    } else if open {
        Serving::Between(done)
    } else {
        Serving::After
    }
}

/// Requests hang on the step: it moves traffic, or takes away what traffic needs.
fn decides(step: &Step) -> bool {
    step.undo_kind == UndoKind::Restores || matches!(step.action, Action::Switch { .. })
}
