//! Who else writes what a service is about to write: what it was called before, another service, another project, a stranger. Deliberately
//! absent: its own two sides (see `handover`), names that two projects have in common (see `same_names`), and where data is (see `volumes`).
use super::adopt::is_of_the_system;
use super::containers::{source, volume_name};
use super::present::is_ours;
use super::routes::Routing;
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
        Change::Create | Change::Toggle | Change::Keep | Change::CatchUp | Change::Remove => {
            let volumes = desired.service.volumes.iter().filter(|volume| !volume.read_only);
            volumes.map(|volume| source(routing.playbook, volume)).collect()
        }
    };
    let counts = |source: &String| !desired.service.overlap && !source.is_empty() && !is_of_the_system(source);
    all.into_iter().filter(counts).collect()
}

/// A container that writes it, too, and that this plan does not stop before.
fn beside(routing: &Routing<'_>, desired: &Desired<'_>, server: &ServerName, other: &ContainerFact, source: &str) -> Option<Finding> {
    let name = desired.name;
    let mut units = desired.present.into_iter().flat_map(|present| &present.units).filter(|unit| unit.server == *server);
    // Two that have written it side by side so far are no news, nor is it when a run was cut off while one of them stood still.
    let is_new = !units.any(|unit| unit.app.is_some_and(|app| writes(app, source)));
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
        let is_news = service != *name && !settings.overlap && is_new;
        let text = format!("{} of {service} writes {source}, too: two would write it at once", other.name);
        return is_news.then(|| of(Level::Warning, text, format!("give one of them another volume; or {may_overlap}")));
    }
    let project = other.labels.get(label::PROJECT);
    // A name that two projects have in common is refused already.
    let is_told =
        project.is_some() && desired.service.volumes.iter().any(|own| !own.external && volume_name(routing.playbook, own) == source);
    let is_taken = desired.taking.containers.iter().any(|(at, taken)| at == server && taken.name == other.name);
    if is_told || is_taken || !is_new {
        return None;
    }
    let env = other.labels.get(label::ENV).map_or("?", String::as_str);
    let whose = project.map_or_else(|| "which is not Flipside's".to_owned(), |project| format!("which is of {project}/{env}"));
    let text = format!("container {}, {whose}, runs and writes {source}: two would write it at once", other.name);
    Some(of(Level::Warning, text, format!("docker stop {} first, where it must not be so; {may_overlap}", other.name)))
}
