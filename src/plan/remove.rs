//! The waves that take services away: unroute, drain, stop, remove. Deliberately absent: which services.
use super::build::{drain_policy, forwards, locked, stage};
use super::prepare::{door_update, host_door_text};
use super::routes::Routing;
use super::steps::{plain, switch};
use super::turn::Turn;
use super::types::{Step, Wave, WaveKind};
use crate::model::{Action, ServiceName};
use crate::nginx::RenderError;
use std::collections::{BTreeMap, BTreeSet};

/// The waves of a removal.
///
/// # Errors
/// [`RenderError`] where a template is at fault.
pub(super) fn remove_waves(routing: &Routing<'_>) -> Result<Vec<Wave>, RenderError> {
    let turn = Turn { routing, services: &[], release: routing.present.release };
    let (mut prepared, mut switches, mut drains) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut tidy = BTreeMap::new();
    let leaving: BTreeSet<&ServiceName> = routing.removed.iter().collect();
    let staying = forwards(routing, |desired| desired.from.is_some());
    for (server, facts) in routing.fleet {
        let Some(settings) = routing.inventory.servers.get(server) else { continue };
        if facts.nginx.live.is_none() {
            continue;
        }
        let gone = routing.removed.iter().filter_map(|name| routing.present.services.get(name)?.routes.get(server));
        let old: Vec<_> = gone.flat_map(|route| &route.backends).map(|backend| backend.backend.clone()).collect();
        if let Some(generation) = routing.generation(server, &BTreeSet::new())? {
            prepared.insert(server.clone(), vec![stage(routing, server, &generation)]);
            switches.insert(server.clone(), vec![switch(facts.nginx.live.clone(), &generation.id, None)]);
        }
        if !old.is_empty() {
            drains.insert(
                server.clone(),
                vec![plain("drain its connections", Action::Drain { backends: old, policy: drain_policy(routing) })],
            );
        }
        let door = host_door_text(routing, server, &staying, &leaving)?;
        let steps: &mut Vec<Step> = tidy.entry(server.clone()).or_default();
        steps.extend(turn.removal_steps(server));
        steps.extend(door_update(facts, &settings.remote_root, &door));
    }
    let work = |name: &str, servers| Wave { name: name.to_owned(), kind: WaveKind::Work, servers };
    let waves = vec![
        work("prepare", prepared),
        work("switch", switches),
        work("drain", drains),
        work("stop", turn.stop_removed()),
        Wave { name: "finish".to_owned(), kind: WaveKind::Cleanup, servers: tidy },
    ];
    Ok(locked(routing, waves))
}
