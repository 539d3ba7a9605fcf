//! What hands have changed on the servers since Flipside was there last: found, explained, and set right where nobody loses anything by
//! it, or where `--repair` asks for it. Deliberately absent: what a run that was cut off has left, which is the plan's usual work.
//!
//! A plan is made from the servers as they are once this is set right, so that it shows what `--repair` would do; without it, what
//! would overwrite somebody's work is a fatal finding.
mod beside;
mod containers;
mod edits;
mod ground;
mod mesh;

pub(super) use beside::beside;
pub(super) use containers::strangers;

use super::present::{Fleet, present};
use super::steps::plain;
use super::target::Repair;
use super::types::{Finding, Level, Step, UndoKind};
use crate::config::{Inventory, Playbook};
use crate::facts::ContainerFact;
use crate::model::{Action, Millis, ServerName, ServiceName};
use std::collections::{BTreeMap, BTreeSet};

/// What was found, and what follows from it.
#[derive(Debug, Default)]
pub(super) struct Drift {
    /// What was asked for.
    pub repair: Repair,
    /// The servers as they are once everything that can be set right is.
    pub fleet: Fleet,
    /// The files on the disk of the generation that each server's next one is based on.
    pub disk: BTreeMap<ServerName, BTreeMap<String, String>>,
    /// Servers whose next generation is needed even where it routes the same.
    pub renew: BTreeSet<ServerName>,
    /// What comes before all other steps of a server.
    pub first: BTreeMap<ServerName, Vec<Step>>,
    troubles: Vec<Trouble>,
}

/// One thing that was found.
#[derive(Debug)]
pub(super) struct Trouble {
    server: ServerName,
    service: Option<ServiceName>,
    remedy: Remedy,
    text: String,
    hint: String,
}

/// What is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Set right by any run: nobody loses anything.
    Healed,
    /// Set right by `--repair` alone; without it nothing is run.
    Repaired,
    /// Not ours to set right: nothing is run.
    Refused,
    /// Worth knowing; a run neither needs it nor touches it, but for `--repair` where the hint says so.
    Told,
}

impl Trouble {
    fn new(server: &ServerName, remedy: Remedy, text: impl Into<String>, hint: impl Into<String>) -> Trouble {
        Trouble { server: server.clone(), service: None, remedy, text: text.into(), hint: hint.into() }
    }

    fn of(mut self, service: &ServiceName) -> Trouble {
        self.service = Some(service.clone());
        self
    }

    fn finding(&self, repair: Repair, concerned: bool) -> Finding {
        let level = match (self.remedy, repair) {
            (Remedy::Refused, _) | (Remedy::Repaired, Repair::No) if concerned => Level::Fatal,
            (Remedy::Refused | Remedy::Repaired | Remedy::Healed | Remedy::Told, _) => Level::Warning,
        };
        let hint = match (self.remedy, repair) {
            (Remedy::Repaired, Repair::Yes) if concerned => "this run sets it right".to_owned(),
            (Remedy::Refused | Remedy::Repaired | Remedy::Healed | Remedy::Told, _) => self.hint.clone(),
        };
        Finding { level, server: Some(self.server.clone()), service: self.service.clone(), text: self.text.clone(), hint }
    }
}

impl Drift {
    /// Looks at all servers.
    #[must_use]
    pub(super) fn look(playbook: &Playbook, inventory: &Inventory, fleet: &Fleet, repair: Repair) -> Drift {
        let mut drift = Drift { repair, fleet: fleet.clone(), ..Drift::default() };
        for (server, facts) in &mut drift.fleet {
            let Some(settings) = inventory.servers.get(server) else { continue };
            let (replaced, more) = mesh::look(server, facts, settings, repair);
            drift.troubles.extend(more);
            let first = drift.first.entry(server.clone()).or_default();
            for name in replaced {
                let timeout = Millis::seconds(30);
                first.push(plain(format!("remove {name}"), Action::RemoveContainer { name: name.to_owned(), timeout }));
                forget(facts, name);
            }
            let ground = ground::ground(playbook, server, &facts.nginx);
            if let Some(generation) = ground.restore {
                let title = format!("restore generation {generation}");
                first.push(plain(title, Action::RestoreGeneration { generation }));
            }
            if ground.renew {
                drift.renew.insert(server.clone());
            }
            facts.nginx = ground.nginx;
            drift.disk.insert(server.clone(), ground.disk);
            drift.troubles.extend(ground.troubles);
        }
        drift.rename(playbook);
        drift.troubles.extend(containers::look(playbook, &present(&playbook.project, &playbook.env, &drift.fleet)));
        drift
    }

    fn rename(&mut self, playbook: &Playbook) {
        let (renames, more) = containers::renamed(playbook, &present(&playbook.project, &playbook.env, &self.fleet), &self.fleet);
        self.troubles.extend(more);
        for (server, from, to) in renames {
            let back = Action::RenameContainer { from: to.clone(), to: from.clone() };
            let step = plain(format!("rename {from} to {to}"), Action::RenameContainer { from: from.clone(), to: to.clone() })
                .undone_by(UndoKind::Cleans, vec![back]);
            self.first.entry(server.clone()).or_default().push(step);
            let containers = self.fleet.get_mut(&server).into_iter().flat_map(|facts| &mut facts.containers);
            containers.filter(|container| container.name == from).for_each(|container| container.name.clone_from(&to));
        }
    }

    /// What was found, as findings. On servers that the plan has nothing to do with, nothing is fatal.
    #[must_use]
    pub(super) fn findings(&self, concerned: impl Fn(&ServerName) -> bool) -> Vec<Finding> {
        self.troubles.iter().map(|trouble| trouble.finding(self.repair, concerned(&trouble.server))).collect()
    }

    /// What comes first on a server.
    pub(super) fn first(&self, server: &ServerName) -> impl Iterator<Item = Step> + '_ {
        self.first.get(server).into_iter().flatten().cloned()
    }
}

/// A container that is removed first: it holds no port any more, and serves nothing.
fn forget(facts: &mut crate::facts::Facts, name: &str) {
    let ports: Vec<u16> = facts.containers.iter().filter(|c| c.name == name).flat_map(|c| &c.published).map(|p| p.host_port).collect();
    facts.listeners.retain(|listener| !ports.contains(&listener.port));
    facts.containers.retain(|container| container.name != name);
    if name == crate::script::layout::NGINX_CONTAINER {
        facts.nginx.served = None;
    }
}

/// It has a process, or keeps getting one.
fn is_up(container: &ContainerFact) -> bool {
    !container.state.is_stopped()
}
