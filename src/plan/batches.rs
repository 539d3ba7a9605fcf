//! A rolling deploy: services that move together do so batch by batch of their servers. After each batch the NGINXs of its servers, and of
//! those before it, route to all new copies so far; the others to the old side. Deliberately absent: the waves themselves (see `build`).
use super::routes::Routing;
use super::steps::plain;
use super::target::Desired;
use super::types::{Change, Step, Wave, WaveKind};
use crate::config::Strategy;
use crate::model::{Action, GenerationId, ServerName, ServiceName};
use std::collections::{BTreeMap, BTreeSet};

/// What is started and switched together.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    /// Services that move together.
    pub services: &'a [&'a Desired<'a>],
    /// None where they do so everywhere at once.
    pub batch: Option<Batch>,
}

/// What a plan does that moves nothing.
pub(super) const NOTHING: Stage<'static> = Stage { services: &[], batch: None };

/// One of the batches of a turn.
#[derive(Debug)]
pub(super) struct Batch {
    services: BTreeSet<ServiceName>,
    /// Where it starts the new side.
    fresh: BTreeSet<ServerName>,
    /// These, and those of the batches before it.
    so_far: BTreeSet<ServerName>,
    /// From 1.
    number: usize,
    n_batches: usize,
}

impl Stage<'_> {
    /// It begins what the turn does.
    #[must_use]
    pub(super) fn is_first(&self) -> bool {
        self.batch.as_ref().is_none_or(|batch| batch.number == 1)
    }

    /// Everybody routes to the new side afterwards.
    #[must_use]
    pub(super) fn is_last(&self) -> bool {
        self.batch.as_ref().is_none_or(Batch::is_last)
    }

    /// What tells its waves from those of the other batches.
    #[must_use]
    pub(super) fn suffix(&self) -> String {
        let words = |batch: &Batch| format!(", batch {} of {}", batch.number, batch.n_batches);
        self.batch.as_ref().map(words).unwrap_or_default()
    }

    /// The server's NGINX switches with it.
    #[must_use]
    pub(super) fn switches(&self, server: &ServerName) -> bool {
        self.batch.as_ref().is_none_or(|batch| batch.is_last() || batch.so_far.contains(server))
    }

    /// The time before the next batch. None after the last one, and where nobody wants it.
    #[must_use]
    pub(super) fn pause(&self, routing: &Routing<'_>, name: &str) -> Option<Wave> {
        let batch = self.batch.as_ref().filter(|batch| !batch.is_last())?;
        let time = routing.playbook.rollout.rolling.pause;
        let server = batch.fresh.first().filter(|_| time.0 > 0)?;
        let step = plain(format!("pause for {time}"), Action::Pause { time });
        let servers = BTreeMap::from([(server.clone(), vec![step])]);
        Some(Wave { name: name.to_owned(), kind: WaveKind::Work, servers })
    }
}

impl Batch {
    /// The last one of its turn.
    #[must_use]
    pub(super) fn is_last(&self) -> bool {
        self.number == self.n_batches
    }

    /// The new side of the service is on this server by now, or is not this turn's matter.
    #[must_use]
    pub(super) fn has(&self, service: &ServiceName, server: &ServerName) -> bool {
        !self.services.contains(service) || self.so_far.contains(server)
    }

    /// This batch starts the service there.
    #[must_use]
    pub(super) fn starts(&self, server: &ServerName) -> bool {
        self.fresh.contains(server)
    }
}

/// The stages of all turns, in order. Where nothing replaces anything, or something is handed over, a turn is one stage: the way back is not
/// to be slow, and of what is handed over nothing may run while the other side is somewhere.
#[must_use]
pub(super) fn stages<'a>(routing: &Routing<'_>, turns: &'a [Vec<&'a Desired<'a>>]) -> Vec<Stage<'a>> {
    let rollout = &routing.playbook.rollout;
    let mut all = Vec::new();
    for services in turns {
        let rolls = rollout.strategy == Strategy::Rolling
            && services.iter().any(|desired| desired.change == Change::Toggle)
            && !services.iter().any(|desired| desired.hands_over() || desired.taking.first.is_some());
        let servers: BTreeSet<&ServerName> = services.iter().flat_map(|desired| &desired.servers).collect();
        let size = if rolls { rollout.rolling.batch.at_least_one_of(servers.len()) } else { servers.len().max(1) };
        let servers: Vec<&ServerName> = servers.into_iter().collect();
        let n_batches = servers.len().div_ceil(size);
        if n_batches < 2 {
            all.push(Stage { services, batch: None });
            continue;
        }
        for (index, fresh) in servers.chunks(size).enumerate() {
            all.push(Stage {
                services,
                batch: Some(Batch {
                    services: services.iter().map(|desired| desired.name.clone()).collect(),
                    fresh: fresh.iter().copied().cloned().collect(),
                    so_far: servers.iter().take(index * size + fresh.len()).copied().cloned().collect(),
                    number: index + 1,
                    n_batches,
                }),
            });
        }
    }
    all
}

/// Whichever batch a server has come to, it goes back to what it routed before the first one, and at once: the batches are undone one after
/// the other, and each only takes away what nobody routes to any more by then. `switches` are the positions of the turn's waves.
pub(super) fn go_straight_back(waves: &mut [Wave], switches: &[usize]) {
    let mut home: BTreeMap<ServerName, GenerationId> = BTreeMap::new();
    for index in switches {
        let Some(wave) = waves.get_mut(*index) else { continue };
        for (server, steps) in &mut wave.servers {
            for step in steps {
                let Step { action: Action::Switch { expect: Some(before), .. }, undo, .. } = step else { continue };
                let first = home.entry(server.clone()).or_insert_with(|| before.clone());
                for action in undo {
                    if let Action::SwitchBack { to, .. } = action {
                        to.clone_from(first);
                    }
                }
            }
        }
    }
}
