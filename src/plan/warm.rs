//! Old sides that stay running for a quick way back: which, since when, and for how long. A file of each server's generation has it, that
//! changes with its routes and goes back with them. Deliberately absent: stopping them (see `leftovers`), and a clock: a server's own is one of
//! its facts.
use super::batches;
use super::canary;
use super::present::Unit;
use super::routes::Routing;
use super::target::Desired;
use super::types::{Change, Finding, Level, WaveKind};
use crate::config::{Keep, Playbook, Rollout};
use crate::facts::Facts;
use crate::model::{EnvName, Millis, ProjectName, ServerName, ServiceName, Side, label};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What one server keeps running of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Warm(BTreeMap<ServiceName, Idle>);

/// A side that takes no traffic and runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Idle {
    /// Which.
    side: Side,
    /// Of which release. What is on that side of another one was put there later.
    release: u64,
    /// From when its time counts: when the run was planned that left it, and as much later as that run waited by what the playbook says. The
    /// server's clock, milliseconds since the Unix epoch.
    since: u64,
}

impl Warm {
    /// The file, relative to the generation's folder. NGINX does not read it.
    #[must_use]
    pub(super) fn path(project: &ProjectName, env: &EnvName) -> String {
        format!("{project}_{env}.warm")
    }

    /// What a server keeps. A file that cannot be read says nothing: `drift` tells of those that were edited.
    #[must_use]
    pub(super) fn of(project: &ProjectName, env: &EnvName, facts: &Facts) -> Warm {
        let text = facts.nginx.files.get(&Warm::path(project, env));
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// The file's text; None where nothing is kept.
    #[must_use]
    pub(super) fn text(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| serde_json::to_string(self).unwrap_or_default() + "\n")
    }

    /// For how long a unit was left idle at this time of its server's clock; where that was put back, it begins anew.
    #[must_use]
    pub(super) fn idle_for(&self, service: &ServiceName, unit: &Unit<'_>, clock: u64) -> Option<Millis> {
        let idle = self.0.get(service)?;
        let is_it = idle.side == unit.side && Some(idle.release) == unit.number(label::RELEASE) && !unit.is_stale;
        is_it.then(|| Millis(clock.saturating_sub(idle.since)))
    }

    /// What `server` keeps once the services of `switched` have moved.
    #[must_use]
    pub(super) fn after(routing: &Routing<'_>, server: &ServerName, switched: &BTreeSet<&ServiceName>) -> Warm {
        let (project, env) = (&routing.playbook.project, &routing.playbook.env);
        let Some(facts) = routing.fleet.get(server) else { return Warm::default() };
        let mut all = Warm::of(project, env, facts).0;
        all.retain(|name, _| !routing.removed.contains(name));
        for desired in routing.desired {
            if !desired.moves() || !switched.contains(desired.name) {
                // Servers that route different sides are brought to one: what one of them kept may be live.
                let is_live = all.get(desired.name).is_some_and(|idle| Some(idle.side) == desired.from);
                if is_live {
                    all.remove(desired.name);
                }
                continue;
            }
            all.remove(desired.name);
            let (Some(from), Some(present)) = (desired.from, desired.present) else { continue };
            let is_here = present.side(from).any(|unit| unit.server == *server);
            if let (true, true, Some(release)) = (stays(routing.playbook, desired), is_here, present.release(from)) {
                let since = facts.clock.saturating_add(routing.waits.0);
                all.insert(desired.name.clone(), Idle { side: from, release, since });
            }
        }
        Warm(all)
    }
}

/// The old side of a service that moves goes on running: nothing but NGINX gives it work, and two of it may run.
#[must_use]
pub(super) fn stays(playbook: &Playbook, desired: &Desired<'_>) -> bool {
    playbook.rollout.keep == Keep::Warm && desired.service.port.is_some() && !desired.hands_over()
}

/// The unit runs, takes no traffic, and may go on.
#[must_use]
pub(super) fn is_warm(rollout: &Rollout, unit: &Unit<'_>) -> bool {
    unit.runs() && left(rollout, unit).is_some_and(|left| left.0 > 0)
}

/// For how long a unit that was left idle may go on; none at all where the playbook keeps nothing warm any more. None for all others.
#[must_use]
pub(super) fn left(rollout: &Rollout, unit: &Unit<'_>) -> Option<Millis> {
    let warm_time = match rollout.keep {
        Keep::Warm => rollout.warm_time,
        Keep::Stopped | Keep::Removed => Millis(0),
    };
    unit.idle_for.map(|idle| Millis(warm_time.0.saturating_sub(idle.0)))
}

/// What is said of one whose time is over.
#[must_use]
pub(super) fn over(rollout: &Rollout, unit: &Unit<'_>, service: &ServiceName, hint: &str) -> Option<Finding> {
    let name = unit.app.map_or_else(String::new, |app| app.name.clone());
    let why = match rollout.keep {
        Keep::Warm => format!("its `warm_time` of {} is over", rollout.warm_time),
        Keep::Stopped | Keep::Removed => "the playbook keeps no old side warm any more".to_owned(),
    };
    (!is_warm(rollout, unit)).then(|| Finding {
        level: Level::Note,
        server: Some(unit.server.clone()),
        service: Some(service.clone()),
        text: format!("{name} of the {} side was kept warm, and {why}", unit.side),
        hint: hint.to_owned(),
    })
}

/// For how long a run of these turns waits by what the playbook says: canaries that are tried, watches after a switch, pauses between
/// batches. Until it is over nothing is idle, and nobody goes back by a rollback.
#[must_use]
pub(super) fn waits(routing: &Routing<'_>, turns: &[Vec<&Desired<'_>>]) -> Millis {
    let rollout = &routing.playbook.rollout;
    let is_new = |desired: &&Desired<'_>| matches!(desired.change, Change::Create | Change::Toggle);
    let tried = turns.iter().filter_map(|services| canary::time(routing, services)).map(|time| time.0);
    let stages = batches::stages(routing, turns);
    let watched = stages.iter().filter(|stage| stage.services.iter().any(is_new));
    let n_pauses = stages.iter().filter(|stage| !stage.is_last()).count() as u64;
    let watches = rollout.min_healthy_time.0.saturating_mul(watched.count() as u64);
    Millis(tried.sum::<u64>().saturating_add(watches).saturating_add(rollout.rolling.pause.0.saturating_mul(n_pauses)))
}

/// The services that move, and whose old side is stopped all the same.
#[must_use]
pub(super) fn findings(routing: &Routing<'_>) -> Vec<Finding> {
    let is_asked = routing.playbook.rollout.keep == Keep::Warm;
    let moving = routing.desired.iter().filter(|desired| is_asked && desired.moves() && desired.from.is_some());
    let stopped = moving.filter(|desired| !stays(routing.playbook, desired)).map(|desired| Finding {
        level: Level::Note,
        server: None,
        service: Some(desired.name.clone()),
        text: match desired.hands_over() {
            true => "its old side does not stay warm: two of it must not run at once".to_owned(),
            false => "its old side does not stay warm: it has no port, so it would go on working beside the new one".to_owned(),
        },
        hint: "it is stopped, and a rollback starts it again".to_owned(),
    });
    stopped.chain(unknown(routing)).collect()
}

/// Nobody knows for how long a canary waits for somebody, and its old side is not idle before.
fn unknown(routing: &Routing<'_>) -> Option<Finding> {
    let services: Vec<&Desired<'_>> =
        routing.desired.iter().filter(|desired| desired.moves() && stays(routing.playbook, desired)).collect();
    let is_tried = canary::time(routing, &services).is_some() && canary::Trial::then(routing) == WaveKind::AfterPromotion;
    let time = routing.playbook.rollout.warm_time;
    is_tried.then(|| Finding {
        level: Level::Note,
        server: None,
        service: None,
        text: format!("`warm_time` ({time}) begins when the canary has been tried, and not only when it is promoted"),
        hint: "where it may wait for long, make `warm_time` as much longer: once it is over, the next deploy stops the old side".to_owned(),
    })
}
