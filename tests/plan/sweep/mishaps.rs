//! Everything that can go wrong with an action while our process lives: an error, a lost connection, a server that is gone for a while or
//! for good, an action that is performed twice, somebody who asks to stop. Deliberately absent: kills.
use super::*;
use crate::engine::{Lost, Moment, Way};
use flipside::model::StepId;
use flipside::plan::{WaveKind, present};
use flipside::remote::fake::Fate;

impl Sweep {
    /// What a run may end with that has a mishap in this step.
    fn verdicts(&self, mishap: Mishap, step: &StepId) -> Vec<Verdict> {
        let last = self.plan.waves.get(step.wave + 1).is_none_or(|wave| wave.kind == WaveKind::Cleanup);
        let tidies = self.plan.waves[step.wave].kind == WaveKind::Cleanup;
        match mishap {
            Mishap::None | Mishap::Record | Mishap::Once(_, Fate::Repeated | Fate::Performed) => vec![self.calm],
            Mishap::Stopped(_) if self.calm == Verdict::PutBack => vec![Verdict::PutBack],
            _ if self.calm == Verdict::PutBack => vec![Verdict::PutBack, Verdict::Stuck],
            // What ends in the same moment may be the last of the work.
            Mishap::Stopped(_) if last => vec![Verdict::Done, Verdict::PutBack],
            Mishap::Stopped(_) => vec![if tidies { Verdict::Done } else { Verdict::PutBack }],
            Mishap::Once(_, Fate::LostBefore | Fate::LostAfter) => vec![Verdict::Done],
            Mishap::Once(..) | Mishap::LostTwice(_) | Mishap::Gone { .. } if tidies => vec![Verdict::DoneWithLeftovers],
            Mishap::Once(..) | Mishap::LostTwice(_) => vec![Verdict::PutBack],
            Mishap::Gone { .. } => vec![Verdict::PutBack, Verdict::Stuck],
        }
    }

    /// Every other thing that can go wrong with an action. A run is taken up where the action's wave begins.
    pub(super) async fn mishaps(&mut self, station: &Workstation, ran: &Ran) {
        let gates = gates(ran);
        for (n, step) in ran.steps.iter().enumerate() {
            let (first, journal) = gates.iter().rev().find(|(first, _)| *first <= n).copied().unwrap_or((0, 0));
            let once = |fate| Mishap::Once(n - first, fate);
            let gone = |n_fails, server| Mishap::Gone { at: n - first, n_fails, server };
            let all = [
                once(Fate::Fails),
                once(Fate::FailsAfter),
                once(Fate::LostBefore),
                once(Fate::LostAfter),
                once(Fate::Repeated),
                Mishap::LostTwice(n - first),
                Mishap::Stopped(n - first),
                gone(1, Lost::Waits),
                gone(3, Lost::GoesBack),
                gone(usize::MAX, Lost::Waits),
                gone(usize::MAX, Lost::GoesBack),
            ];
            for mishap in all {
                if matches!(mishap, Mishap::Gone { server: Lost::GoesBack, .. }) && self.case.servers.values().any(will_go_back) {
                    continue;
                }
                let what = format!("{mishap:?} at action {n} of {} ({})", ran.steps.len(), self.plan.step(step).unwrap().title);
                self.counts.mishaps += 1;
                station.rewind(&ran.journal[..journal]);
                let servers = unleased(&ran.moments[2 * first].servers);
                let may_leave = matches!(mishap, Mishap::Gone { .. }) || self.calm == Verdict::PutBack;
                let base = if may_leave { self.base.clone().where_one_is_enough() } else { self.base.clone() };
                let seen = station.take_up(&self.case, &base, servers, Way::Uninterrupted, mishap).await.unwrap();
                let wanted = self.verdicts(mishap, step);
                self.check(&seen, &what, &wanted, if may_leave { Alike::Routes } else { Alike::Whole });
                if seen.verdict == Some(Verdict::Stuck) {
                    self.comes_back(station, &seen, step, &what).await;
                }
                self.settle(seen.servers, &what).await;
            }
        }
    }

    /// A server was lost for good while the run was put back. The others are as before; and once it is there again, it is put back, too.
    async fn comes_back(&mut self, station: &Workstation, ran: &Ran, step: &StepId, what: &str) {
        self.counts.stuck += 1;
        let hands_over = self.plan.services.values().any(|service| service.hands_over && service.change != Change::Keep);
        let now = snapshot(&ran.servers, &self.case.playbook);
        let concerned = !hands_over && self.calm == Verdict::Done && !self.stops_the_last(step);
        // One that was behind stays with those that it joined: what it routed before cannot all be had again.
        let fleet = self.case.servers.iter().map(|(name, server)| (name.clone(), server.facts())).collect();
        let record = present(&self.case.playbook.project, &self.case.playbook.env, &fleet).record.unwrap_or_default();
        for name in ran.servers.keys().filter(|name| **name != step.server && concerned && !record.servers.contains_key(*name)) {
            let routed = now.routes().get(name);
            if routed != self.before.routes().get(name) {
                self.problem(what, format!("stuck, and {name}, which was not lost, is not put back: {routed:?}"));
            }
        }
        let undone = station.resume(&self.case, &self.base.clone().where_one_is_enough(), ran.servers.clone(), Mishap::None).await;
        self.check(&undone, &format!("{what}, back again and resumed"), &[Verdict::PutBack], Alike::Whole);
    }
}

impl Sweep {
    /// With the server of this step an old side is lost that runs on no other: there is nothing that the others could go back to.
    fn stops_the_last(&self, lost: &StepId) -> bool {
        let stops = |id: &StepId| self.plan.step(id).filter(|step| matches!(step.action, Action::StopContainer { .. }));
        let here = self.plan.step_ids().filter(|id| id.server == lost.server && id.wave <= lost.wave);
        let services: Vec<_> = here.filter_map(|id| stops(&id)).map(|step| step.service.clone()).collect();
        let others: Vec<_> = self.plan.step_ids().filter(|id| id.server != lost.server).filter_map(|id| stops(&id)).collect();
        services.iter().any(|service| others.iter().all(|other| other.service != *service))
    }
}

/// Where waves begin: the number of the first action, and the length of the journal then. A run that goes on from there is the run that
/// went up to there, for every state of it is in the journal.
fn gates(ran: &Ran) -> Vec<(usize, usize)> {
    let mut ends = Vec::new();
    let mut length = 0;
    for (number, line) in ran.journal.split_inclusive(|byte| *byte == b'\n').enumerate() {
        length += line.len();
        if number == 0 || String::from_utf8_lossy(line).contains("gate_passed") {
            ends.push(length);
        }
    }
    let first = |end: &usize| Some((ran.moments.iter().step_by(2).position(|moment: &Moment| moment.journal >= *end)?, *end));
    ends.iter().filter_map(first).collect()
}
