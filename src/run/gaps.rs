//! How long a service that was handed over did not answer: from the start of the stop to the end of the switch, or until its old side was
//! started again. Of one that takes the place of a container, until the mesh was last seen to reach it. By a clock that nobody sets, which the caller has. Deliberately absent: what a run that died has measured.
use crate::model::{Action, EventKind, Millis, Outcome, ServiceName, StepId, WaveIndex};
use crate::plan::{Plan, Step};
use std::collections::BTreeMap;

/// Measures gaps while events come.
#[derive(Debug, Default)]
pub struct Gaps {
    began: BTreeMap<ServiceName, Gap>,
    /// The longest gap of each service so far.
    pub measured: BTreeMap<ServiceName, Millis>,
}

/// The present gap of a service, or the last one.
#[derive(Debug)]
struct Gap {
    began: Millis,
    is_over: bool,
}

impl Gaps {
    /// Takes in one event, which came at this time.
    pub fn event(&mut self, plan: &Plan, event: &EventKind, at: Millis) {
        match event {
            EventKind::StepStarted { step } => {
                if let Some(service) = stops_before_switch(plan, step) {
                    self.began.entry(service).or_insert(Gap { began: at, is_over: false });
                }
            }
            EventKind::StepEnded { step, outcome: Outcome::Done { .. } } => self.ends(at, |service| is_switched_by(plan, service, step)),
            // What was switched is switched back to a side that stands still, until it is started again.
            EventKind::UndoStarted { step } => {
                for (service, gap) in self.began.iter_mut().filter(|(_, gap)| gap.is_over) {
                    if is_switched_by(plan, service, step) || takes_over_until(plan, service) == Some(step.wave) {
                        *gap = Gap { began: at, is_over: false };
                    }
                }
            }
            EventKind::UndoEnded { step, outcome: Outcome::Done { .. } } => {
                let started_again = stops_before_switch(plan, step);
                self.ends(at, |service| started_again.as_ref() == Some(service));
            }
            EventKind::StepEnded { .. }
            | EventKind::UndoEnded { .. }
            | EventKind::RunOpened { .. }
            | EventKind::GatePassed { .. }
            | EventKind::AbortRequested { .. }
            | EventKind::RunHeld
            | EventKind::RetryRequested { .. }
            | EventKind::Promoted { .. }
            | EventKind::RunClosed { .. } => {}
        }
    }

    /// The present gap of these services ends: on the last server, when it has ended there.
    fn ends(&mut self, at: Millis, of: impl Fn(&ServiceName) -> bool) {
        for (service, gap) in self.began.iter_mut().filter(|(service, _)| of(service)) {
            gap.is_over = true;
            let longest = self.measured.entry(service.clone()).or_default();
            *longest = (*longest).max(Millis(at.0.saturating_sub(gap.began.0)));
        }
    }
}

/// The service whose old side this step stops before anything was switched to the new one.
pub(super) fn stops_before_switch(plan: &Plan, id: &StepId) -> Option<ServiceName> {
    let step = plan.step(id)?;
    let service = step.service.as_ref()?;
    let hands_over = || plan.services.get(service).is_some_and(|service| service.hands_over && service.from.is_some());
    let is_old_side = matches!(step.action, Action::StopContainer { .. }) && hands_over();
    let is_adopted = matches!(step.action, Action::StopAdopted { .. }) && last_check(plan, service).is_some_and(|wave| id.wave <= wave);
    (is_old_side || is_adopted).then(|| service.clone())
}

/// The last wave in which the run sees that the mesh reaches the service.
fn last_check(plan: &Plan, service: &ServiceName) -> Option<WaveIndex> {
    plan.step_ids().filter(|id| is_check(plan, service, id)).map(|id| id.wave).max()
}

fn is_check(plan: &Plan, service: &ServiceName, id: &StepId) -> bool {
    plan.step(id).is_some_and(|step| step.service.as_ref() == Some(service) && matches!(step.action, Action::CheckRoute(_)))
}

/// The wave with which the gap of a service ends that takes the place of a container.
fn takes_over_until(plan: &Plan, service: &ServiceName) -> Option<WaveIndex> {
    let adopts = |id: &StepId| {
        let stops = plan.step(id).is_some_and(|step| matches!(step.action, Action::StopAdopted { .. }));
        stops && stops_before_switch(plan, id).as_ref() == Some(service)
    };
    plan.step_ids().any(|id| adopts(&id)).then(|| last_check(plan, service)).flatten()
}

/// The first wave with a switch after the service's stop is the one that ends its gap.
fn is_switched_by(plan: &Plan, service: &ServiceName, switch: &StepId) -> bool {
    if let Some(last) = takes_over_until(plan, service) {
        return switch.wave == last && is_check(plan, service, switch);
    }
    let switches = |id: &StepId| plan.step(id).is_some_and(|step: &Step| matches!(step.action, Action::Switch { .. }));
    let stop = plan.step_ids().find(|id| stops_before_switch(plan, id).as_ref() == Some(service));
    let first = stop.and_then(|stop| plan.step_ids().find(|id| id.wave > stop.wave && switches(id)));
    switches(switch) && first.is_some_and(|first| first.wave == switch.wave)
}

#[cfg(test)]
mod tests {
    use super::super::sample::deploy_of;
    use super::*;
    use crate::model::{Adopted, GenerationId, ProbeKind, Protocol, RouteCheck, ServerName, Side};
    use crate::plan::{Change, ServicePlan, UndoKind, Wave, WaveKind};
    use std::collections::BTreeSet;

    const STOP: usize = 0;
    const START: usize = 1;
    const SWITCH: usize = 2;
    const LATER: usize = 3;

    fn plan() -> Plan {
        let db = ServiceName::new("db").unwrap();
        let servers = |action: &Action| {
            let step = |action: &Action| Step {
                title: String::new(),
                service: Some(db.clone()),
                first: Vec::new(),
                action: action.clone(),
                undo: Vec::new(),
                undo_kind: UndoKind::Restores,
                within: Millis::seconds(1),
            };
            ["s1", "s2"].map(|server| (ServerName::new(server).unwrap(), vec![step(action)])).into()
        };
        let (name, timeout) = ("shop_prod_db".to_owned(), Millis::seconds(3));
        let switch = |to: &str| Action::Switch { expect: None, to: GenerationId(to.to_owned()) };
        let start = Action::StartContainer { name: name.clone() };
        let actions = [Action::StopContainer { name, timeout }, start, switch("b2"), switch("c3")];
        let waves = actions.iter().map(|action| Wave { name: String::new(), kind: WaveKind::Work, servers: servers(action) }).collect();
        let service = ServicePlan {
            change: Change::Toggle,
            reason: String::new(),
            image: String::new(),
            protocol: Protocol::Tcp,
            from: Some(Side::Primary),
            to: Some(Side::Secondary),
            from_version: None,
            to_version: None,
            servers: BTreeSet::new(),
            replicas: 1,
            port: None,
            base_ports: BTreeMap::new(),
            app_port: None,
            app_base_ports: BTreeMap::new(),
            internal_port: None,
            hands_over: true,
            takes_over: BTreeMap::new(),
        };
        deploy_of([(db.clone(), service)].into(), waves)
    }

    fn id(wave: usize, server: &str) -> StepId {
        StepId { wave, server: ServerName::new(server).unwrap(), index: 0 }
    }

    /// What is measured of the service, where anything is.
    fn measured(events: &[(u64, EventKind)]) -> Option<u64> {
        measured_in(&plan(), events)
    }

    fn starts(wave: usize, server: &str) -> EventKind {
        EventKind::StepStarted { step: id(wave, server) }
    }

    fn ends(wave: usize, server: &str) -> EventKind {
        EventKind::StepEnded { step: id(wave, server), outcome: Outcome::Done { seen: String::new() } }
    }

    fn undoes(wave: usize, server: &str) -> EventKind {
        EventKind::UndoStarted { step: id(wave, server) }
    }

    fn undone(wave: usize, server: &str) -> EventKind {
        EventKind::UndoEnded { step: id(wave, server), outcome: Outcome::Done { seen: String::new() } }
    }

    /// The old side stops at 1.0 s, on the second server a little later, and the new one starts.
    fn until_started() -> Vec<(u64, EventKind)> {
        vec![(1000, starts(STOP, "s1")), (1100, starts(STOP, "s2")), (1500, ends(STOP, "s1")), (1600, ends(STOP, "s2"))]
    }

    #[test]
    fn a_gap_lasts_from_the_first_stop_to_the_last_server_of_the_first_switch() {
        let mut events = until_started();
        events.extend([(2000, starts(START, "s1")), (2500, ends(START, "s1"))]);
        assert_eq!(measured(&events), None, "nothing is over yet");
        events.extend([(3000, starts(SWITCH, "s1")), (3200, ends(SWITCH, "s1")), (3500, ends(SWITCH, "s2"))]);
        events.extend([(9000, starts(LATER, "s1")), (9500, ends(LATER, "s1"))]);
        assert_eq!(measured(&events), Some(2500));
    }

    #[test]
    fn a_handover_that_is_put_back_has_a_gap_until_the_old_side_answers() {
        let mut events = until_started();
        events.extend([(4000, undoes(START, "s1")), (4500, undone(START, "s1"))]);
        assert_eq!(measured(&events), None, "nobody answers yet");
        events.extend([(4600, undoes(STOP, "s1")), (4600, undoes(STOP, "s2")), (5000, undone(STOP, "s2")), (6000, undone(STOP, "s1"))]);
        assert_eq!(measured(&events), Some(5000));
    }

    #[test]
    fn of_a_switch_and_its_undo_the_longer_gap_counts() {
        let mut events = until_started();
        events.extend([(2000, ends(SWITCH, "s1")), (2100, ends(SWITCH, "s2"))]);
        // It answered until 8.0 s.
        events.extend([(8000, undoes(SWITCH, "s1")), (8100, undoes(SWITCH, "s2")), (8300, undone(SWITCH, "s1"))]);
        assert_eq!(measured(&events), Some(1100));
        events.extend([(8500, undone(START, "s1")), (9500, undone(STOP, "s1")), (9700, undone(STOP, "s2"))]);
        assert_eq!(measured(&events), Some(1700));
    }

    /// The old container of the plan above is somebody else's, and the mesh is seen to reach the service in these waves.
    fn takes_over(checks: &[usize]) -> Plan {
        let mut plan = plan();
        let db = ServiceName::new("db").unwrap();
        let service = plan.services.get_mut(&db).unwrap();
        (service.from, service.hands_over) = (None, false);
        let container = Adopted { name: "db".to_owned(), id: "1".to_owned(), restart: "always".to_owned() };
        let check = RouteCheck { service: db.to_string(), socket: String::new(), kind: ProbeKind::Tcp, deadline: Millis::seconds(1) };
        for (index, wave) in plan.waves.iter_mut().enumerate() {
            for steps in wave.servers.values_mut() {
                if index == STOP {
                    steps[0].action = Action::StopAdopted { container: container.clone(), timeout: Millis::seconds(3) };
                }
                if checks.contains(&index) {
                    steps.push(Step { action: Action::CheckRoute(check.clone()), ..steps[0].clone() });
                }
            }
        }
        plan
    }

    fn measured_in(plan: &Plan, events: &[(u64, EventKind)]) -> Option<u64> {
        let mut gaps = Gaps::default();
        for (at, event) in events {
            gaps.event(plan, event, Millis(*at));
        }
        gaps.measured.values().next().map(|gap| gap.0)
    }

    #[test]
    fn what_is_taken_over_has_a_gap_until_the_mesh_was_last_seen_to_reach_the_service() {
        let checked = |wave: usize, server: &str| {
            let step = StepId { index: 1, ..id(wave, server) };
            EventKind::StepEnded { step, outcome: Outcome::Done { seen: String::new() } }
        };
        let mut events = until_started();
        events.extend([(2000, ends(SWITCH, "s1")), (2100, checked(SWITCH, "s1")), (2200, checked(SWITCH, "s2"))]);
        assert_eq!(measured_in(&takes_over(&[SWITCH]), &events), Some(1200));
        assert_eq!(measured_in(&takes_over(&[SWITCH, LATER]), &events), None, "the port is not bound yet");
        events.extend([(3000, checked(LATER, "s1")), (3500, checked(LATER, "s2"))]);
        assert_eq!(measured_in(&takes_over(&[SWITCH, LATER]), &events), Some(2500));
        assert_eq!(measured_in(&takes_over(&[]), &events), None, "it stops when all is over");
    }

    #[test]
    fn what_fails_ends_no_gap() {
        let mut events = until_started();
        let failed = || Outcome::Unknown(crate::model::Failure::default());
        events.push((3000, EventKind::StepEnded { step: id(SWITCH, "s1"), outcome: failed() }));
        events.push((4000, EventKind::UndoEnded { step: id(STOP, "s1"), outcome: failed() }));
        assert_eq!(measured(&events), None);
    }
}
