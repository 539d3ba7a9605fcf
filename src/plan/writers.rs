//! Who else writes what a service is about to write: what it was called before, another service, another project, a stranger. Deliberately
//! absent: its own two sides (see `handover`), names that two projects have in common (see `same_names`), and where data is (see `volumes`).
use super::adopt::is_of_the_system;
use super::containers::{source, volume_name};
use super::present::is_ours;
use super::routes::Routing;
use super::same_names::is_named_by;
use super::target::Desired;
use super::types::{Change, Finding, Level};
use crate::facts::ContainerFact;
use crate::model::{ServerName, ServiceName, label};
use std::collections::BTreeSet;

/// What would have two writers at once.
#[must_use]
pub(super) fn findings(routing: &Routing<'_>) -> Vec<Finding> {
    let mut all = Vec::new();
    for desired in routing.desired.iter().filter(|desired| desired.moves()) {
        for (server, facts) in routing.fleet.iter().filter(|(server, _)| desired.servers.contains(*server)) {
            for source in written(routing, desired, server) {
                let others = facts.containers.iter().filter(|other| !other.state.is_stopped() && writes(other, &source));
                all.extend(others.filter_map(|other| beside(routing, desired, server, other, &source)));
            }
        }
    }
    all
}

fn writes(container: &ContainerFact, source: &str) -> bool {
    container.written.values().any(|written| written == source)
}

/// The service of this project that the container is of.
fn service_of(routing: &Routing<'_>, container: &ContainerFact) -> Option<ServiceName> {
    let is_ours = is_ours(container, &routing.playbook.project, &routing.playbook.env);
    ServiceName::new(container.labels.get(label::SERVICE).filter(|_| is_ours)?).ok()
}

/// What a container that is started on this server will write, where two may not: what the playbook says, or of one that is started again what
/// it has written already.
fn written(routing: &Routing<'_>, desired: &Desired<'_>, server: &ServerName) -> BTreeSet<String> {
    let all: BTreeSet<String> = match desired.change {
        Change::Restore => {
            let units = desired.present.zip(desired.to).into_iter().flat_map(|(present, to)| present.side(to));
            let here = units.filter(|unit| unit.server == *server).filter_map(|unit| unit.app);
            here.flat_map(|app| app.written.values().cloned()).collect()
        }
        Change::Create | Change::Toggle | Change::Keep | Change::CatchUp | Change::Remove => wanted(routing, desired),
    };
    let counts = |source: &String| !desired.service.overlap && !source.is_empty() && !is_of_the_system(source);
    all.into_iter().filter(counts).collect()
}

/// What the playbook has it write.
fn wanted(routing: &Routing<'_>, desired: &Desired<'_>) -> BTreeSet<String> {
    desired.service.volumes.iter().filter(|volume| !volume.read_only).map(|volume| source(routing.playbook, volume)).collect()
}

/// Its live side has written it beside that container so far, or what goes back did: that is no news, nor is it when a run was cut off while it
/// stood still. What stood still before the other one was started has not, nor has what is not gone back to.
fn has_written_beside(desired: &Desired<'_>, server: &ServerName, other: &ContainerFact, source: &str) -> bool {
    let release: Option<u64> = other.labels.get(label::RELEASE).and_then(|number| number.parse().ok());
    let back = desired.to.filter(|_| desired.change == Change::Restore);
    let sides = desired.from.into_iter().chain(back);
    let units = desired.present.into_iter().flat_map(|present| sides.clone().flat_map(|side| present.side(side)));
    let mut here = units.filter(|unit| unit.server == *server && unit.app.is_some_and(|app| writes(app, source)));
    here.any(|unit| unit.is_up() || release <= unit.number(label::RELEASE))
}

/// A container that writes it, too, and that this plan does not stop before.
fn beside(routing: &Routing<'_>, desired: &Desired<'_>, server: &ServerName, other: &ContainerFact, source: &str) -> Option<Finding> {
    let name = desired.name;
    let is_new = !has_written_beside(desired, server, other, source);
    let of = |level, text: String, hint: String| Finding { level, server: Some(server.clone()), service: Some(name.clone()), text, hint };
    let may_overlap = "`overlap = true` says that the data can take two writers";
    if let Some(service) = service_of(routing, other) {
        let Some(settings) = routing.playbook.services.get(&service) else {
            let level = if is_new { Level::Fatal } else { Level::Warning };
            let text =
                format!("{} of {service}, which is not in the playbook, runs and writes {source}: two would write it at once", other.name);
            let renamed =
                if desired.change == Change::Create { format!("give {name} the name {service} again; or ") } else { String::new() };
            let hint = format!(
                "`flipside remove {service}` first: its volumes stay, and nothing answers between that and the end of this deploy; or {renamed}{may_overlap}"
            );
            return Some(of(level, text, hint));
        };
        if service == *name || settings.overlap || !is_new {
            return None;
        }
        let text = format!("{} of {service} writes {source}, too: two would write it at once", other.name);
        // What goes back is not what the playbook says.
        if desired.change != Change::Restore || wanted(routing, desired).contains(source) {
            return Some(of(Level::Warning, text, format!("give one of them another volume; or {may_overlap}")));
        }
        let goes_back = routing.desired.iter().any(|other| *other.name == service && other.change == Change::Restore);
        let way = if goes_back { "rollback" } else { "remove" };
        let hint = format!("`flipside {way} {service}` first: its volumes stay; or deploy the version that you want instead");
        return Some(of(Level::Fatal, text, hint));
    }
    let project = other.labels.get(label::PROJECT);
    // A name that two projects have in common is refused already.
    let is_told = is_named_by(other, source)
        && desired.service.volumes.iter().any(|own| !own.external && volume_name(routing.playbook, own) == source);
    let is_taken = desired.taking.containers.iter().any(|(at, taken)| at == server && taken.name == other.name);
    if is_told || is_taken || !is_new {
        return None;
    }
    let env = other.labels.get(label::ENV).map_or("?", String::as_str);
    let whose = project.map_or_else(|| "which is not Flipside's".to_owned(), |project| format!("which is of {project}/{env}"));
    let text = format!("container {}, {whose}, runs and writes {source}: two would write it at once", other.name);
    Some(of(Level::Warning, text, format!("docker stop {} first, where it must not be so; {may_overlap}", other.name)))
}
