//! Servers that cannot be reached and are left behind, and those that were and are brought level: whether a run may do without them, what
//! it must leave as it is, and what is said of it. Deliberately absent: the steps (see `level`), and how many servers answered.
use super::place::Placement;
use super::present::{Present, PresentService};
use super::record::{LeftBehind, Record};
use super::show::prose::{clean, server_list};
use super::target::{Back, Desired, Wanted};
use super::types::{Change, Finding, Level};
use crate::config::{Inventory, Playbook};
use crate::model::{Backend, BackendMode, ServerName, ServiceName, Side, label};
use std::collections::{BTreeMap, BTreeSet};

/// Who is not here, and who is back.
#[derive(Debug, Clone, Default)]
pub(super) struct Behind {
    /// Servers of the inventory that this plan is made without.
    pub away: BTreeSet<ServerName>,
    /// Those of them that this project has to do with.
    pub concerned: BTreeSet<ServerName>,
    /// Servers that earlier runs left behind, and that are here again.
    pub back: BTreeSet<ServerName>,
    /// The record as it is.
    pub before: Option<Record>,
    /// The record until everything is switched: whom the run leaves behind is in it already, and whom it brings level still is.
    pub on_the_way: Option<Record>,
    /// The record after this plan.
    pub after: Option<Record>,
}

/// Why a run cannot do without the servers that are out of reach; None where it can. More than half must be there, so that any two runs
/// that leave servers out have reached one in common, which knows what the first has done.
#[must_use]
pub fn cannot_do_without(n_away: usize, n_all: usize, budget: u32) -> Option<String> {
    let these = format!("{n_away} of {n_all} servers cannot be used");
    if n_away > budget as usize {
        return Some(if budget == 0 { these } else { format!("{these}, and at most {budget} may be left behind") });
    }
    (n_away > 0 && 2 * n_away >= n_all).then(|| format!("{these}, and a deploy without some needs more than half of them"))
}

impl Behind {
    /// Compares the servers that were reached with the inventory and the record.
    #[must_use]
    pub(super) fn look(
        inventory: &Inventory,
        here: &BTreeSet<&ServerName>,
        present: &Present<'_>,
        placement: &Placement,
        mode: BackendMode,
    ) -> Behind {
        let before = present.record.clone();
        let recorded = |server: &ServerName| before.as_ref().is_some_and(|record| record.servers.contains_key(server));
        let away: BTreeSet<ServerName> = inventory.servers.keys().filter(|server| !here.contains(server)).cloned().collect();
        let is_placed = |server: &ServerName| placement.values().any(|servers| servers.contains(server));
        // What is nowhere to be seen may be there; and who routed to addresses so far may have been one of several.
        let is_unseen = placement.keys().any(|name| present.services.get(name).is_none_or(PresentService::is_unseen));
        let routes = present.services.values().flat_map(|service| service.routes.values());
        let had_several = routes.flat_map(|route| &route.backends).any(|backend| matches!(backend.backend, Backend::Address { .. }));
        let all = mode == BackendMode::MultiServer || is_unseen || had_several;
        let concerned = away.iter().filter(|server| all || is_placed(server) || recorded(server)).cloned().collect();
        let back = here.iter().filter(|server| recorded(server)).map(|server| (*server).clone()).collect();
        Behind { away, concerned, back, before: before.clone(), on_the_way: before.clone(), after: before }
    }

    /// The record once this plan is done. With `news`, servers that are out of reach now join it; without, only those stay that are there.
    #[must_use]
    pub(super) fn followed(&self, desired: &[Desired<'_>], placement: &Placement, wanted: &Wanted, news: bool) -> Behind {
        let old = |server: &ServerName| self.before.as_ref().and_then(|record| record.servers.get(server));
        let routed = |side: fn(&Desired<'_>) -> Option<Side>| -> BTreeMap<ServiceName, Side> {
            let with_port = desired.iter().filter(|desired| desired.service.port.is_some());
            with_port.filter_map(|desired| Some((desired.name.clone(), side(desired)?))).collect()
        };
        let holds = |server: &ServerName| -> BTreeSet<ServiceName> {
            placement.iter().filter(|(_, servers)| servers.contains(server)).map(|(name, _)| name.clone()).collect()
        };
        let is_split = |desired: &Desired<'_>| desired.present.is_some_and(PresentService::is_split);
        // Of a fleet that is half switched nobody knows on which half a server is that cannot be asked.
        let split: BTreeSet<ServiceName> = desired.iter().filter(|desired| is_split(desired)).map(|desired| desired.name.clone()).collect();
        let mut servers = BTreeMap::new();
        for server in self.concerned.iter().filter(|server| news || old(server).is_some()) {
            let new = || LeftBehind { routes: routed(|desired| desired.from), either: split.clone(), holds: BTreeSet::new() };
            servers.insert(server.clone(), LeftBehind { holds: holds(server), ..old(server).cloned().unwrap_or_else(new) });
        }
        let whole = wanted.selected.is_empty() && wanted.back == Back::No && split.is_empty();
        for server in self.back.iter().filter(|_| !whole) {
            let routes = routed(|desired| desired.to);
            servers.insert(server.clone(), LeftBehind { routes, either: BTreeSet::new(), holds: holds(server) });
        }
        let known = self.before.iter().flat_map(|record| record.servers.clone());
        let all = known.chain(servers.clone()).collect();
        let on_the_way = Record::followed_by(self.before.as_ref(), all);
        let after = Record::followed_by(on_the_way.as_ref(), servers);
        Behind { on_the_way, after, ..self.clone() }
    }

    /// The server is back and in the record no more once the plan is done.
    #[must_use]
    pub(super) fn becomes_level(&self, server: &ServerName) -> bool {
        self.back.contains(server) && !self.after.as_ref().is_some_and(|record| record.servers.contains_key(server))
    }

    /// The record names anybody, here or away.
    #[must_use]
    pub(super) fn anybody(&self) -> bool {
        self.before.as_ref().is_some_and(|record| !record.servers.is_empty())
    }

    /// A server that was left behind may have routed this side when it was: what runs there may have been kept for it.
    #[must_use]
    pub(super) fn was_kept(&self, service: &ServiceName, side: Side) -> bool {
        self.before.iter().flat_map(|record| record.servers.values()).any(|left| left.may_route(service, side))
    }

    /// Servers that are away and whose NGINX may route this side: it is not stopped.
    #[must_use]
    pub(super) fn who_routes(&self, service: &ServiceName, side: Side) -> BTreeSet<&ServerName> {
        let left = self.after.iter().flat_map(|record| &record.servers);
        left.filter(|(server, left)| self.away.contains(*server) && left.may_route(service, side)).map(|(server, _)| server).collect()
    }

    /// A service that is never up twice, and of which a server that is away may know more, or route to: it is left as it is.
    #[must_use]
    pub(super) fn holds_back(&self, desired: &Desired<'_>) -> bool {
        desired.hands_over() && !self.concerned.is_empty() || desired.servers.is_empty()
    }

    /// What servers that are away may run, or route to, is not to be moved or stopped without them.
    pub(super) fn hold_back(&self, desired: &mut Desired<'_>) {
        let (names, reason) = (self.names(), &desired.reason);
        let why = if desired.from.is_none() {
            format!("it is not deployed: {names} cannot be asked whether it runs there")
        } else if desired.servers.is_empty() {
            format!("it is left as it is, on {names}, which cannot be reached ({reason})")
        } else if desired.present.is_some_and(PresentService::is_unseen) {
            format!("it is left as it is: {names} cannot be asked whether it runs there ({reason})")
        } else {
            format!("it is left as it is: it is handed over, and {names} cannot be reached, which may route to it ({reason})")
        };
        (desired.change, desired.to) = (Change::Keep, desired.from);
        desired.reason = format!("waits for {names}");
        desired.held_back = Some(why);
    }

    /// Copies of the live side that servers which were left behind do not have.
    #[must_use]
    pub(super) fn missed(&self, desired: &Desired<'_>, live: Side) -> BTreeSet<(ServerName, u32)> {
        let runs = |server: &ServerName, replica: u32| {
            let mut units = desired.present.into_iter().flat_map(|present| present.side(live));
            units.any(|unit| unit.server == *server && unit.replica == replica && unit.runs())
        };
        let back = desired.servers.intersection(&self.back).filter(|_| !desired.hands_over());
        let copies = back.flat_map(|server| desired.replicas.iter().map(move |replica| (server.clone(), replica.number)));
        copies.filter(|(server, replica)| !runs(server, *replica)).collect()
    }

    /// `server3`.
    #[must_use]
    pub(super) fn names(&self) -> String {
        server_list(&self.concerned)
    }

    /// What forbids the plan, and what is worth knowing about it.
    #[must_use]
    pub(super) fn findings(&self, playbook: &Playbook, n_servers: usize, desired: &[Desired<'_>], wanted: &Wanted) -> Vec<Finding> {
        let mut all = Vec::new();
        let of = |level, server: Option<&ServerName>, service: Option<&ServiceName>, text: String, hint: &str| Finding {
            level,
            server: server.cloned(),
            service: service.cloned(),
            text,
            hint: hint.to_owned(),
        };
        let budget = wanted.budget(playbook, n_servers);
        if let (Some(why), Some(first)) = (cannot_do_without(self.away.len(), n_servers, budget), self.away.first()) {
            all.push(of(Level::Fatal, Some(first), None, why, "look at the servers and the network"));
        }
        let level = "`flipside catch-up`, or the next deploy, brings it level once it can be reached";
        let after = self.after.iter().flat_map(|record| record.servers.keys());
        for server in after.filter(|server| self.away.contains(*server)) {
            let text = "it cannot be reached, and is left behind: it goes on with what it has, if it runs".to_owned();
            all.push(of(Level::Warning, Some(server), None, text, level));
        }
        for server in &self.back {
            let (text, hint) = match self.becomes_level(server) {
                true => ("it was left behind by an earlier run: this one brings it level", ""),
                false => ("it was left behind by an earlier run", "`flipside catch-up`, or a deploy of all services, brings it level"),
            };
            all.push(of(Level::Note, Some(server), None, text.to_owned(), hint));
        }
        for desired in desired {
            let name = Some(desired.name);
            if let (Some(text), Some(first)) = (below_floor(desired, wanted), desired.away.first()) {
                let hint = "bring the server back, or lower `min_healthy` of the service";
                all.push(of(Level::Fatal, Some(first), name, text, hint));
            }
            if let Some(held) = &desired.held_back {
                // What uses it would be started without it.
                match (desired.from, self.concerned.first()) {
                    (None, Some(first)) => all.push(of(Level::Fatal, Some(first), name, held.clone(), "bring the server back")),
                    (Some(_), _) | (None, None) => all.push(of(Level::Warning, None, name, held.clone(), level)),
                }
            }
            let routers = |side: Option<Side>| side.map(|side| self.who_routes(desired.name, side)).unwrap_or_default();
            let is_up = |side: Option<Side>| {
                side.is_some_and(|side| desired.present.is_some_and(|there| there.side(side).any(super::present::Unit::is_up)))
            };
            if desired.moves() && !desired.hands_over() {
                let (old, new) = (routers(desired.from), routers(desired.to));
                if let (Some(from), false) = (desired.from, old.is_empty()) {
                    let text = format!("its {from} side goes on running: {} may still route to it", server_list(old));
                    all.push(of(Level::Note, None, name, text, "it is drained and stopped once no server is left behind"));
                }
                if let (Some(to), false, true) = (desired.to, new.is_empty() || desired.change == Change::Restore, is_up(desired.to)) {
                    let text = format!(
                        "its {to} side, which {} may still route to, is replaced: what comes in there is answered by the copies there alone until the new ones run",
                        server_list(new)
                    );
                    all.push(of(Level::Warning, None, name, text, "bring those servers level first, where that matters"));
                }
            }
        }
        all
    }
}

/// Why the service would fall below its floor, where servers of it are away. What the run does not touch is no matter of its.
fn below_floor(desired: &Desired<'_>, wanted: &Wanted) -> Option<String> {
    if desired.to.is_none() || !wanted.selects(desired.name) {
        return None;
    }
    let runs = || {
        let units = desired.to.and_then(|to| Some(desired.present?.side(to).filter(|unit| unit.runs()).count()));
        units.unwrap_or(0) + desired.missed.len()
    };
    let n_healthy = match desired.change {
        Change::Create | Change::Toggle | Change::Restore => desired.servers.len() * desired.replicas.len(),
        Change::Keep | Change::CatchUp => runs(),
        Change::Remove => return None,
    };
    let floor = desired.service.min_healthy;
    let short = !desired.away.is_empty() && n_healthy < floor as usize;
    short.then(|| {
        let away = server_list(&desired.away);
        format!("its `min_healthy` is {floor}, and without {away} it has {} that can be reached", copies(n_healthy))
    })
}

fn copies(n: usize) -> String {
    match n {
        0 => "no copy".to_owned(),
        1 => "1 copy".to_owned(),
        n => format!("{n} copies"),
    }
}

/// What `status` says of servers that were left behind.
#[must_use]
pub(super) fn behind_notes(playbook: &Playbook, present: &Present<'_>, silent: &BTreeSet<ServerName>) -> Vec<Finding> {
    let Some(record) = &present.record else { return Vec::new() };
    let mut findings = Vec::new();
    for (server, left) in &record.servers {
        let mut differs = Vec::new();
        for (name, service) in present.services.iter().filter(|(name, _)| playbook.services.contains_key(*name)) {
            let Some(live) = service.live() else { continue };
            let version = |mut units: Box<dyn Iterator<Item = &super::present::Unit<'_>> + '_>| {
                units.find_map(|unit| unit.label(label::VERSION).map(clean))
            };
            let fleet = version(Box::new(service.level_side(live)));
            let own = version(Box::new(service.units.iter().filter(|unit| unit.server == *server && unit.runs())));
            let holds = left.holds.contains(name);
            match (own, fleet) {
                (Some(own), Some(fleet)) if own != fleet => differs.push(format!("{name} {own}, and the fleet has {fleet}")),
                (None, Some(fleet)) if holds => differs.push(format!("no {name}, and the fleet has {fleet}")),
                (Some(_) | None, Some(_) | None) => {}
            }
        }
        let (text, hint) = if silent.contains(server) {
            (
                "it is behind: it could not be reached when the fleet was deployed to".to_owned(),
                "once it can be reached: `flipside catch-up`, or a deploy",
            )
        } else if differs.is_empty() {
            ("it is behind: the fleet was deployed to without it".to_owned(), "`flipside catch-up`, or a deploy, brings it level")
        } else {
            (format!("it is behind: it has {}", differs.join("; ")), "`flipside catch-up`, or a deploy, brings it level")
        };
        findings.push(Finding { level: Level::Warning, server: Some(server.clone()), service: None, text, hint: hint.to_owned() });
    }
    findings
}
