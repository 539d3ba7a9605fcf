//! A release that is tried on a part of the traffic before it gets all: which services, on which servers, and the waves. Deliberately absent:
//! counting what comes of it.
use super::build::all_generations;
use super::routes::{Generation, Routing};
use super::show::describe;
use super::soak::watch_for;
use super::steps::plain;
use super::switching::switch_steps;
use super::target::Desired;
use super::turn::Turn;
use super::types::{Change, Finding, Level, Step, Wave, WaveKind};
use crate::config::{Canary, Promote, Strategy, Takes, hides_requests};
use crate::model::{Action, CanaryCheck, Millis, Protocol, ServerName, ServiceName, Share};
use crate::nginx::{MeshBackend, RenderError, upstream_name};
use crate::script::layout;
use std::collections::{BTreeMap, BTreeSet};

/// What NGINX splits between the sides.
pub(super) struct Split {
    pub(super) services: BTreeSet<ServiceName>,
    pub(super) servers: BTreeSet<ServerName>,
    pub(super) share: Share,
}

/// The canary of one turn.
pub(super) struct Trial {
    split: Split,
    pub(super) generations: BTreeMap<ServerName, Generation>,
}

fn wanted(routing: &Routing<'_>) -> Option<Canary> {
    match routing.playbook.rollout.strategy {
        Strategy::AllAtOnce | Strategy::Rolling => None,
        Strategy::Canary => Some(routing.playbook.rollout.canary.clone().unwrap_or_default()),
    }
}

/// Why a service that moves cannot be tried first.
fn obstacle(routing: &Routing<'_>, desired: &Desired<'_>) -> Option<&'static str> {
    let (Some(from), Some(to)) = (desired.from, desired.to) else { return Some("it is new: there is nobody to share the requests with") };
    let serves_otherwise = routing.fleet.keys().any(|server| {
        let [old, new] = [from, to].map(|side| routing.backends(server, desired, side));
        let has_app_port = |backends: &[MeshBackend]| backends.iter().any(|backend| backend.app_port.is_some());
        !old.is_empty() && !new.is_empty() && has_app_port(&old) != has_app_port(&new)
    });
    let announced = routing.fleet.keys().any(|server| routing.announces(server, desired));
    if desired.hands_over() {
        Some("it is handed over: two of it must not run at once")
    } else if matches!(desired.service.balance.takes, Takes::First(_)) {
        Some("some of its copies are to wait until the others fail")
    } else if desired.internal_port.is_none() {
        Some("it has no port: no request goes to it")
    } else if routing.protocol(desired, from) != routing.protocol(desired, to) {
        Some("its protocol changes")
    } else if routing.is_grpc(desired, from) != routing.is_grpc(desired, to) {
        Some("it is asked by gRPC on one of its sides alone")
    } else if serves_otherwise {
        Some("the port that its hosts are served from changes")
    } else if announced {
        Some("the way in which NGINX reaches it changes")
    } else {
        None
    }
}

/// How long it takes to try what of these is tried.
pub(super) fn time(routing: &Routing<'_>, services: &[&Desired<'_>]) -> Option<Millis> {
    let canary = wanted(routing)?;
    split(routing, services, &mut Vec::new()).map(|_| canary.time)
}

/// Why a canary would not see all that it is judged by: too few requests pass, so a log that is off would let any release pass.
fn uncounted(desired: &Desired<'_>) -> Option<Finding> {
    let proxy = desired.service.proxy.as_ref()?;
    hides_requests(&proxy.front.snippets.location).then(|| Finding {
        level: Level::Fatal,
        server: None,
        service: Some(desired.name.clone()),
        text: "its canary is judged by the requests that NGINX writes down, and `access_log` in `snippets.location` hides some of them"
            .to_owned(),
        hint: "take `access_log off`, and blocks with an `access_log` of their own, out of it; or deploy with another `strategy`"
            .to_owned(),
    })
}

/// `canary`, or `canary` or `edge`.
fn one_of(tags: &[String]) -> String {
    tags.iter().map(|tag| format!("`{tag}`")).collect::<Vec<_>>().join(" or ")
}

/// What of a turn is tried first, and where. What cannot be is told.
fn split(routing: &Routing<'_>, services: &[&Desired<'_>], findings: &mut Vec<Finding>) -> Option<Split> {
    let canary = wanted(routing)?;
    let mut chosen = BTreeSet::new();
    let new = || services.iter().filter(|desired| matches!(desired.change, Change::Create | Change::Toggle));
    let has_tag = |server: &ServerName| {
        let tags = routing.inventory.servers.get(server).map(|server| &server.tags);
        canary.tags.is_empty() || tags.is_some_and(|tags| canary.tags.iter().any(|tag| tags.contains(tag)))
    };
    if new().next().is_some() && !routing.inventory.servers.keys().any(has_tag) {
        findings.push(Finding {
            level: Level::Fatal,
            server: None,
            service: None,
            text: format!("no server has the tag {}, and those that do are to try a release first", one_of(&canary.tags)),
            hint: "tag a server in the inventory, or take `tags` out of `[rollout.canary]`".to_owned(),
        });
        return None;
    }
    for desired in new() {
        match obstacle(routing, desired) {
            None => {
                chosen.insert(desired.name.clone());
                findings.extend(uncounted(desired));
            }
            Some(why) => findings.push(Finding {
                level: Level::Note,
                server: None,
                service: Some(desired.name.clone()),
                text: format!("it is not tried by a canary first: {why}"),
                hint: String::new(),
            }),
        }
    }
    let routes = |server: &&ServerName| {
        let mut tried = services.iter().filter(|desired| chosen.contains(desired.name));
        tried.any(|desired| {
            let is_routed = desired.present.is_some_and(|present| present.routes.contains_key(*server));
            is_routed && desired.to.is_some_and(|to| !routing.backends(server, desired, to).is_empty())
        })
    };
    let n_servers = canary.servers.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let servers: BTreeSet<ServerName> =
        routing.fleet.keys().filter(routes).filter(|server| has_tag(server)).take(n_servers).cloned().collect();
    if servers.is_empty() && !canary.tags.is_empty() {
        findings.extend(chosen.iter().map(|name| Finding {
            level: Level::Warning,
            server: None,
            service: Some(name.clone()),
            text: format!("it is not tried by a canary first: no server with the tag {} routes it now", one_of(&canary.tags)),
            hint: "tag a server that does, or go on without a canary".to_owned(),
        }));
    }
    let is_any = !chosen.is_empty() && !servers.is_empty();
    is_any.then_some(Split { services: chosen, servers, share: canary.share })
}

/// What of each turn is tried by a canary first, when the turns before it have moved.
///
/// # Errors
/// [`RenderError`] where a template is at fault.
pub(super) fn trials(
    routing: &Routing<'_>,
    turns: &[Vec<&Desired<'_>>],
    findings: &mut Vec<Finding>,
) -> Result<Vec<Option<Trial>>, RenderError> {
    let mut switched = BTreeSet::new();
    let mut trials = Vec::new();
    for turn in turns {
        let split = split(routing, turn, findings);
        trials.push(match split {
            None => None,
            Some(split) => {
                let generations = all_generations(&Routing { split: Some(&split), ..*routing }, &switched)?;
                Some(Trial::new(split, generations))
            }
        });
        switched.extend(turn.iter().map(|desired| desired.name));
    }
    Ok(trials)
}

impl Trial {
    /// The canary with the generations that its servers serve meanwhile.
    fn new(split: Split, mut generations: BTreeMap<ServerName, Generation>) -> Trial {
        generations.retain(|server, _| split.servers.contains(server));
        Trial { split, generations }
    }

    /// The services of the turn that are tried.
    fn tried<'a>(&self, turn: &Turn<'a>) -> Vec<&'a Desired<'a>> {
        turn.services.iter().filter(|desired| self.split.services.contains(desired.name)).copied().collect()
    }

    /// The share is switched to the new side.
    pub(super) fn switch(&self, turn: &Turn<'_>, live: &mut BTreeMap<ServerName, Generation>, suffix: &str) -> Wave {
        let name = format!("switch {} to the canary{suffix}", self.split.share);
        // The others of the turn are not routed to yet.
        let tried = self.tried(turn);
        let turn = Turn { routing: turn.routing, services: &tried, release: turn.release };
        Wave { name, kind: WaveKind::Work, servers: switch_steps(&turn, &self.generations, live) }
    }

    /// It is watched, and its requests are counted.
    pub(super) fn watch(&self, turn: &Turn<'_>, waves: &[Wave], suffix: &str) -> Option<Wave> {
        let canary = wanted(turn.routing)?;
        let tried = self.tried(turn);
        let mut servers = watch_for(canary.time, waves, &tried);
        // One step counts on all servers: their requests are judged together.
        if let Some(first) = self.generations.keys().next() {
            let checks = tried.iter().filter_map(|desired| self.check(turn.routing, &canary, desired));
            servers.entry(first.clone()).or_default().extend(checks);
        }
        Some(Wave { name: format!("try the canary{suffix}"), kind: WaveKind::Work, servers })
    }

    /// When the servers switch to the new side altogether.
    pub(super) fn then(routing: &Routing<'_>) -> WaveKind {
        match wanted(routing).map(|canary| canary.promote) {
            Some(Promote::Manual) => WaveKind::AfterPromotion,
            Some(Promote::Auto) | None => WaveKind::Work,
        }
    }

    fn check(&self, routing: &Routing<'_>, canary: &Canary, desired: &Desired<'_>) -> Option<Step> {
        let (from, to) = (desired.from?, desired.to?);
        // A datagram that gets no answer says nothing.
        match routing.protocol(desired, to) {
            Protocol::Http | Protocol::Tcp => {}
            Protocol::Udp => return None,
        }
        let (project, env) = (&routing.playbook.project, &routing.playbook.env);
        let root = |server: &ServerName| Some(&routing.inventory.servers.get(server)?.remote_root);
        let log =
            |server: &ServerName| Some((server.clone(), layout::run_file(root(server)?, project, env, desired.name, layout::CANARY_LOG)));
        let stem = layout::stem(project, env, desired.name);
        let check = CanaryCheck {
            service: desired.name.clone(),
            logs: self.generations.keys().filter_map(log).collect(),
            new: upstream_name(&stem, to),
            old: upstream_name(&stem, from),
            time: canary.time,
            max_error_rate: canary.max_error_rate,
            min_requests: canary.min_requests,
        };
        let action = Action::JudgeCanary(Box::new(check));
        Some(plain(describe(&action), action).of(desired.name))
    }
}
