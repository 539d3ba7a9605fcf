//! How long a service that was handed over did not answer: from the start of the stop to the end of the switch. By the events' times.
use crate::model::{Action, Event, EventKind, Millis, Outcome, ServiceName, StepId};
use crate::plan::Plan;
use std::collections::BTreeMap;

/// Measures gaps while events come.
#[derive(Debug, Default)]
pub struct Gaps {
    began: BTreeMap<ServiceName, u64>,
    /// The longest gap of each service so far.
    pub measured: BTreeMap<ServiceName, Millis>,
}

impl Gaps {
    /// Takes in one event.
    pub fn event(&mut self, plan: &Plan, event: &Event) {
        match &event.kind {
            EventKind::StepStarted { step } => {
                if let Some(service) = stops_before_switch(plan, step) {
                    self.began.entry(service).or_insert(event.at);
                }
            }
            EventKind::StepEnded { step, outcome: Outcome::Done { .. } } => {
                let switched = plan.step(step).is_some_and(|step| matches!(step.action, Action::Switch { .. }));
                for (service, began) in self.began.iter().filter(|_| switched) {
                    let gap = Millis(event.at.saturating_sub(*began));
                    if is_switched_by(plan, service, step) {
                        self.measured.insert(service.clone(), gap);
                    }
                }
            }
            EventKind::StepEnded { .. }
            | EventKind::RunOpened { .. }
            | EventKind::UndoStarted { .. }
            | EventKind::UndoEnded { .. }
            | EventKind::GatePassed { .. }
            | EventKind::AbortRequested { .. }
            | EventKind::RunClosed { .. } => {}
        }
    }
}

/// The service whose old side this step stops before anything was switched to the new one.
pub(super) fn stops_before_switch(plan: &Plan, id: &StepId) -> Option<ServiceName> {
    let step = plan.step(id)?;
    let hands_over = plan.services.get(step.service.as_ref()?).is_some_and(|service| service.hands_over && service.from.is_some());
    (hands_over && matches!(step.action, Action::StopContainer { .. })).then(|| step.service.clone()).flatten()
}

/// The first wave with a switch after the service's stop is the one that ends its gap.
fn is_switched_by(plan: &Plan, service: &ServiceName, switch: &StepId) -> bool {
    let stop = plan.step_ids().find(|id| stops_before_switch(plan, id).as_ref() == Some(service));
    let first = stop.and_then(|stop| {
        plan.step_ids().find(|id| id.wave > stop.wave && plan.step(id).is_some_and(|step| matches!(step.action, Action::Switch { .. })))
    });
    first.is_some_and(|first| first.wave == switch.wave)
}
