//! The host's door: which ports it opens while a plan runs and once it is over. Deliberately absent: the file's text (see `prepare`).
use super::adopt;
use super::prepare::{host_door_text, new_door_text};
use super::routes::Routing;
use super::target::Desired;
use super::types::Step;
use crate::model::{ServerName, Side};
use crate::nginx::{DoorForward, RenderError};
use std::collections::{BTreeMap, BTreeSet};

/// Which ports the host's door opens for services that change theirs, and for what.
#[derive(Clone, Copy)]
pub(super) enum Doors {
    /// Until the containers have stopped that are taken over and that hold some of the ports.
    BeforeTakingOver,
    /// While the deploy runs.
    OldAndNew,
    /// Once it is over.
    New,
}

/// The text of the host's door on one server.
///
/// # Errors
/// [`RenderError`] where a template is at fault.
pub(super) fn door_text(routing: &Routing<'_>, server: &ServerName, doors: Doors) -> Result<String, RenderError> {
    let deployed = |desired: &Desired<'_>| desired.to.is_some();
    let leaving = match doors {
        Doors::BeforeTakingOver => adopt::withheld(routing, server),
        Doors::OldAndNew => BTreeSet::new(),
        Doors::New => {
            routing.desired.iter().filter(|desired| deployed(desired)).map(|desired| desired.name).chain(routing.leaving).collect()
        }
    };
    let side: fn(&Desired<'_>) -> Option<Side> = match doors {
        Doors::BeforeTakingOver | Doors::OldAndNew => |desired| desired.from.filter(|_| desired.to.is_some()).or(desired.to),
        Doors::New => |desired| desired.to,
    };
    let mut forwards = forwards(routing, side);
    match doors {
        Doors::BeforeTakingOver => forwards.retain(|forward| !leaving.contains(&forward.service)),
        Doors::OldAndNew | Doors::New => {}
    }
    host_door_text(routing, server, &forwards, &leaving)
}

/// The host doors of this playbook's services, each as its `side` speaks.
pub(super) fn forwards(routing: &Routing<'_>, side: impl Fn(&Desired<'_>) -> Option<Side>) -> Vec<DoorForward> {
    let routed = routing.desired.iter();
    let forward = |desired: &Desired<'_>| {
        Some(DoorForward {
            project: routing.playbook.project.clone(),
            env: routing.playbook.env.clone(),
            service: desired.name.clone(),
            protocol: routing.protocol(desired, side(desired)?),
            internal_port: desired.internal_port?,
        })
    };
    routed.filter_map(forward).collect()
}

/// Adds the steps that close the ports which nobody listens on any more, on these servers.
///
/// # Errors
/// [`RenderError`] where a template is at fault.
pub(super) fn close<'a>(
    routing: &Routing<'_>,
    servers: impl Iterator<Item = &'a ServerName>,
    all: &mut BTreeMap<ServerName, Vec<Step>>,
) -> Result<(), RenderError> {
    for server in servers {
        let Some(settings) = routing.inventory.servers.get(server) else { continue };
        let (meanwhile, afterwards) = (door_text(routing, server, Doors::OldAndNew)?, door_text(routing, server, Doors::New)?);
        if meanwhile != afterwards {
            all.entry(server.clone()).or_default().extend(new_door_text(&settings.remote_root, &afterwards));
        }
    }
    Ok(())
}
