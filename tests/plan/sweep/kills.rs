//! Our process dies, once and twice, and servers go back by themselves meanwhile or not; then the run is resumed, undone, or somebody
//! without its journal deploys. Deliberately absent: everything that our process lives to see.
use super::*;
use crate::engine::Way;
use crate::invariants::dead_routes;
use flipside::remote::fake::FakeServer;

/// Of a case's runs that are killed, so many are taken up in every way and killed again, and each of those at so many points.
const N_FIRST: usize = 12;
const N_SECOND: usize = 10;

/// What servers do by themselves before anybody comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    OneGoesBack,
    AllGoBack,
}

impl Meanwhile {
    /// What can happen where so many servers have switched and are not confirmed.
    fn all(servers: &Servers) -> &'static [Meanwhile] {
        match servers.values().filter(|server| will_go_back(server)).count() {
            0 => &[Meanwhile::Nothing],
            1 => &[Meanwhile::Nothing, Meanwhile::AllGoBack],
            _ => &[Meanwhile::Nothing, Meanwhile::OneGoesBack, Meanwhile::AllGoBack],
        }
    }

    fn happens(self, servers: &mut Servers) {
        let waiting = servers.values_mut().filter(|server| will_go_back(server));
        match self {
            Meanwhile::Nothing => {}
            Meanwhile::OneGoesBack => waiting.take(1).for_each(FakeServer::grace_is_over),
            Meanwhile::AllGoBack => waiting.for_each(FakeServer::grace_is_over),
        }
    }
}

impl Sweep {
    /// Going back makes nothing dead; and when all do, everybody is served by the old side again.
    fn goes_back(&mut self, servers: &mut Servers, meanwhile: Meanwhile, what: &str) {
        if meanwhile == Meanwhile::Nothing {
            return;
        }
        let dead = |servers: &Servers, case: &Case| dead_routes(servers, &case.inventory, &case.playbook);
        let (before, is_others) = (dead(servers, &self.case), self.is_of_another_run(servers));
        meanwhile.happens(servers);
        let new: Vec<_> = dead(servers, &self.case).difference(&before).cloned().collect();
        if !new.is_empty() {
            self.problem(what, format!("a server that went back routes to what is dead: {new:?}"));
        }
        let hands_over = self.plan.services.values().any(|service| service.hands_over);
        let takes_away = self.plan.intent == Intent::Deploy && self.plan.services.values().any(|service| service.change == Change::Remove);
        let joins = self.plan.waves.iter().any(|wave| wave.name == "join the fleet");
        let now = snapshot(servers, &self.case.playbook);
        let all = meanwhile == Meanwhile::AllGoBack && !hands_over && !is_others;
        for (name, server) in servers.iter().filter(|_| all) {
            let is_confirmed = server.base.revert.is_none();
            // Orphans go in a stretch of their own, which goes back to what the deploy proper made; and who was left behind has joined first.
            let back = server.base.revert.as_ref().map(|revert| &revert.back);
            let is_second = (takes_away || joins) && back != self.case.servers[name].base.nginx.live.as_ref();
            if !is_confirmed && !is_second && now.routes().get(name) != self.before.routes().get(name) {
                self.problem(what, format!("{name} went back, and NGINX routes {:?}", now.routes().get(name)));
            }
        }
        self.counts.back += 1;
    }

    /// What waits to go back was armed before the run began.
    fn is_of_another_run(&self, servers: &Servers) -> bool {
        servers.iter().any(|(name, server)| will_go_back(server) && server.base.revert == self.case.servers[name].base.revert)
    }

    /// Our process stands still with its leases: whoever comes is refused, and changes nothing.
    async fn is_refused(&mut self, meanwhile: &Servers, what: &str) {
        if meanwhile.values().all(|server| server.base.lease.is_none()) {
            return;
        }
        let Some(plan) = self.plan_anew(meanwhile, what) else { return };
        if !plan.servers().iter().any(|name| meanwhile[*name].base.lease.is_some()) {
            return;
        }
        self.counts.frozen += 1;
        let other = Workstation::new("another workstation");
        let ran = other.run(&self.case, &self.base, &plan, meanwhile.clone(), Mishap::None).await;
        if ran.verdict != Some(Verdict::PutBack) || ran.servers != *meanwhile {
            self.problem(what, format!("while it stands still, another run is {:?}, or changed something", ran.verdict));
        }
    }

    /// Our process dies at every moment of a run; the run is resumed, or undone, or somebody else comes.
    pub(super) async fn kills(&mut self, station: &Workstation, ran: &Ran) {
        let mut last: Option<Servers> = None;
        let mut n_refused = 0;
        for (number, moment) in ran.moments.iter().enumerate() {
            // Every other time the line that was being written is torn.
            let torn = if number % 2 == 0 { 0 } else { 17 };
            let journal = &ran.journal[..(moment.journal + torn).min(ran.journal.len() - 1)];
            for meanwhile in Meanwhile::all(&moment.servers) {
                let what = format!("killed {} of {}, {meanwhile:?}", at(number), ran.steps.len());
                let mut servers = unleased(&moment.servers);
                self.counts.kills += 1;
                self.goes_back(&mut servers, *meanwhile, &what);
                if *meanwhile != Meanwhile::Nothing && self.is_of_another_run(&moment.servers) {
                    // Those of a run before this one, which had not taken over yet.
                    self.settle(servers, &what).await;
                    continue;
                }
                station.rewind(journal);
                let reasons = station.overtaken(&self.case, &servers);
                if !reasons.is_empty() {
                    self.problem(&what, format!("its own steps look foreign: {reasons:?}"));
                }
                let resumed = station.resume(&self.case, &self.base, servers.clone(), Mishap::None).await;
                let wanted: &[Verdict] = if *meanwhile == Meanwhile::Nothing { &[self.calm] } else { &[self.calm, Verdict::PutBack] };
                self.check(&resumed, &format!("{what}, resumed"), wanted, Alike::Whole);
                self.settle(resumed.servers, &format!("{what}, resumed")).await;
                station.rewind(journal);
                match station.take_up(&self.case, &self.base, servers.clone(), Way::Back, Mishap::None).await {
                    Some(undone) => {
                        self.check(&undone, &format!("{what}, undone"), &[Verdict::PutBack], Alike::Whole);
                        if number % 4 == 0 {
                            self.settle(undone.servers, &format!("{what}, undone")).await;
                        }
                    }
                    None => n_refused += 1,
                }
                if last.as_ref() != Some(&servers) {
                    if number % 3 == 0 {
                        self.is_refused(&moment.servers, &what).await;
                    }
                    self.settle(servers.clone(), &what).await;
                    last = Some(servers);
                }
            }
        }
        // A run is past undoing from the first call of its last wave on.
        assert!(n_refused < self.counts.kills, "every undo was refused");
    }

    /// It is killed, and who comes then, with the journal or without, is killed too.
    pub(super) async fn pairs(&mut self, station: &Workstation, ran: &Ran) {
        let (n_first, n_second) = (points(N_FIRST), points(N_SECOND));
        for (number, moment) in ran.moments.iter().enumerate().skip(1).step_by(stride(ran.moments.len(), n_first)) {
            let servers = unleased(&moment.servers);
            let whole = &ran.journal[..moment.journal];
            let what = format!("killed {} of {}", at(number), ran.steps.len());
            for way in [Way::On, Way::Back] {
                station.rewind(whole);
                let Some(second) = station.take_up(&self.case, &self.base, servers.clone(), way, Mishap::Record).await else { continue };
                for (again, moment) in second.moments.iter().enumerate().skip(number % 3).step_by(stride(second.moments.len(), n_second)) {
                    let what = format!("{what}, taken up {way:?}, killed {} of {}", at(again), second.steps.len());
                    self.counts.pairs += 1;
                    station.rewind(&second.journal[..moment.journal]);
                    let servers = unleased(&moment.servers);
                    let third = station.resume(&self.case, &self.base, servers.clone(), Mishap::None).await;
                    let wanted = if way == Way::On { self.calm } else { Verdict::PutBack };
                    self.check(&third, &what, &[wanted], Alike::Whole);
                    self.settle(third.servers, &what).await;
                    self.settle(servers, &what).await;
                }
            }
            let Some(plan) = self.plan_anew(&servers, &what) else { continue };
            let other = Workstation::new("another workstation");
            let second = other.run(&self.case, &self.base, &plan, servers, Mishap::Record).await;
            for (again, moment) in second.moments.iter().enumerate().skip(number % 3).step_by(stride(second.moments.len(), n_second)) {
                let what = format!("{what}, then another workstation, killed {} of {}", at(again), second.steps.len());
                self.counts.pairs += 1;
                self.settle(unleased(&moment.servers), &what).await;
                // The first one comes back with its journal: it is told that it was overtaken, or does no harm.
                station.rewind(whole);
                if station.overtaken(&self.case, &moment.servers).is_empty() {
                    let late = station.resume(&self.case, &self.base, unleased(&moment.servers), Mishap::None).await;
                    let what = format!("{what}, and the first one resumed");
                    self.faults(&late, &what);
                    self.settle(late.servers, &what).await;
                }
            }
        }
    }
}
