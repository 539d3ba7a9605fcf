//! What a run may not break, judged from the fleet that it found; and what clients get from a fleet, whichever sides it is on.
//! Deliberately absent: the single rules (see `invariants`).
use super::adopted;
use super::cases::Case;
use super::driver::Servers;
use super::invariants::{clashes, cut_requests, dead_routes, double_writers, routes, unserved};
use flipside::model::{ServiceName, label};
use flipside::plan::present;
use std::collections::BTreeSet;

/// What holds in a fleet before a run, so that only what the run breaks counts.
#[derive(Debug, Clone)]
pub struct Baseline {
    /// Services that may be dead for a while: they are handed over, or were dead before.
    exempt: BTreeSet<String>,
    /// Services that were dead before.
    dead: BTreeSet<String>,
    doubled: bool,
    /// A server was lost: what is routed to several backends is served by any of them.
    one_is_enough: bool,
    /// Servers that were behind before and still are: where they route to makes room for the next release, but for what they run themselves.
    still_behind: BTreeSet<String>,
}

impl Baseline {
    /// Looks at the fleet before a run.
    #[must_use]
    pub fn new(case: &Case, servers: &Servers) -> Baseline {
        let dead: BTreeSet<String> =
            dead_routes(servers, &case.inventory, &case.playbook).into_iter().map(|(service, _)| service).collect();
        let cut = cut_requests(servers, &case.inventory).into_iter().map(|(service, _)| service);
        let is_handed_over = |name: &ServiceName| case.playbook.services[name].hands_over() || goes_back_alone(case, servers, name);
        let handed_over = case.playbook.services.keys().filter(|name| is_handed_over(name)).map(ToString::to_string);
        let exempt = dead.iter().cloned().chain(handed_over).chain(adopted::handed_over(case)).chain(cut).collect();
        let fleet = servers.iter().map(|(name, server)| (name.clone(), server.facts())).collect();
        let record = present(&case.playbook.project, &case.playbook.env, &fleet).record.unwrap_or_default();
        let still_behind = record.servers.keys().map(ToString::to_string).filter(|name| case.ask.away.contains(name)).collect();
        Baseline { exempt, dead, doubled: !double_writers(servers, &case.playbook).is_empty(), one_is_enough: false, still_behind }
    }

    /// The same, once a server was lost.
    #[must_use]
    pub fn where_one_is_enough(self) -> Baseline {
        Baseline { one_is_enough: true, ..self }
    }

    /// The same, of a fleet that a run has left as it is now: what is dead there is not made dead by the next one.
    #[must_use]
    pub fn seen_again(&self, case: &Case, servers: &Servers) -> Baseline {
        let now = Baseline::new(case, servers);
        Baseline { exempt: self.exempt.union(&now.exempt).cloned().collect(), ..self.clone() }
    }

    /// What is broken in the middle of a run.
    #[must_use]
    pub fn broken(&self, case: &Case, servers: &Servers) -> Vec<String> {
        let mut broken = self.beyond(&self.exempt, case, servers);
        let cut = cut_requests(servers, &case.inventory).into_iter();
        let cut = cut.filter(|(service, cut)| !self.exempt.contains(service) && !self.is_foretold(case, cut));
        broken.extend(cut.map(|(_, cut)| format!("requests are cut off: {cut}")));
        broken.extend(adopted::broken(case, servers));
        broken
    }

    /// What is broken after a run. A handover is over then.
    #[must_use]
    pub fn broken_at_the_end(&self, case: &Case, servers: &Servers) -> Vec<String> {
        let mut broken = self.beyond(&self.dead, case, servers);
        broken.extend(adopted::broken_at_the_end(case, servers));
        broken
    }

    /// A server that is still behind is to lose what others run that it routes to, and the plan says so.
    fn is_foretold(&self, case: &Case, dead: &str) -> bool {
        let of = |name: &str| case.inventory.servers.iter().find(|(server, _)| server.as_str() == name)?.1.private_address;
        let own = |name: &str| of(name).is_some_and(|own| dead.contains(&format!("address: {own},")));
        self.still_behind.iter().any(|name| dead.starts_with(&format!("{name}: ")) && !own(name))
    }

    fn beyond(&self, exempt: &BTreeSet<String>, case: &Case, servers: &Servers) -> Vec<String> {
        let dead = if self.one_is_enough { unserved } else { dead_routes };
        let dead = dead(servers, &case.inventory, &case.playbook).into_iter();
        let mut broken: Vec<String> = dead
            .filter(|(service, dead)| !exempt.contains(service) && !self.is_foretold(case, dead))
            .map(|(_, dead)| format!("dead route {dead}"))
            .collect();
        if !self.doubled {
            broken.extend(double_writers(servers, &case.playbook).iter().map(|twice| format!("two at once: {twice}")));
        }
        broken
    }
}

/// A rollback hands it over for what its two sides are, although the playbook says nothing of it.
#[must_use]
pub fn goes_back_alone(case: &Case, servers: &Servers, name: &ServiceName) -> bool {
    case.ask.intent == "rollback" && clashes(servers, &case.playbook, name, |_| true)
}

/// What runs for clients, whichever side it is on: each live copy that runs, with its image and version, and who routes to its service.
#[must_use]
pub fn essence(case: &Case, servers: &Servers) -> BTreeSet<String> {
    let fleet = servers.iter().map(|(name, server)| (name.clone(), server.facts())).collect();
    let present = present(&case.playbook.project, &case.playbook.env, &fleet);
    let mut all = BTreeSet::new();
    for (name, service) in &present.services {
        for unit in service.live().into_iter().flat_map(|live| service.side(live)).filter(|unit| unit.runs()) {
            let image = unit.app.map(|app| (app.image.clone(), app.labels.get(label::VERSION).cloned()));
            all.insert(format!("{name}: {} replica {} {image:?}", unit.server, unit.replica));
        }
    }
    all.extend(adopted::essence(case, servers));
    for (name, server) in servers {
        all.extend(routes(server).into_iter().map(|service| {
            let live = service.backends.iter().filter(|backend| backend.role.takes_traffic());
            let backends: BTreeSet<String> = live.map(|backend| backend.server.to_string()).collect();
            format!("{name} routes {}/{} to {backends:?}", service.project, service.service)
        }));
    }
    all
}
