//! Names that are joined from parts may be the same for two projects: `shop` in `prod_eu` with `api`, and `shop` in `prod` with `eu_api`. What
//! another project or environment has by such a name is not taken over. Deliberately absent: containers (`drift`), and ports (`claims`).
use super::containers::volume_name;
use super::present::is_ours;
use super::routes::Routing;
use super::target::Desired;
use super::types::{Finding, Level};
use crate::facts::{ContainerFact, Facts};
use crate::model::{Protocol, ServiceName, label};
use crate::nginx::{read_service, service_path};
use std::collections::BTreeSet;

const ANOTHER_NAME: &str = "the parts of two names come to one and the same: give a service, an environment or a project another name";

/// One finding for each file of NGINX and each volume that is to be a service's, and is somebody else's.
#[must_use]
pub(super) fn findings(routing: &Routing<'_>) -> Vec<Finding> {
    let mut all = Vec::new();
    for (server, facts) in routing.fleet {
        let of = |service: &ServiceName, text: String, hint: &str| Finding {
            level: Level::Fatal,
            server: Some(server.clone()),
            service: Some(service.clone()),
            text,
            hint: hint.to_owned(),
        };
        let routed = routing.desired.iter().filter(|desired| desired.to.is_some()).map(|desired| desired.name);
        let names: BTreeSet<&ServiceName> = routed.chain(routing.removed).chain(routing.leaving).collect();
        for name in names {
            let files = Protocol::ALL.into_iter().filter_map(|protocol| whose_file(routing, facts, name, protocol));
            let files: BTreeSet<String> = files.collect();
            all.extend(files.into_iter().map(|text| of(name, text, ANOTHER_NAME)));
        }
        for desired in routing.desired.iter().filter(|desired| desired.is_made_anew() && desired.servers.contains(server)) {
            let volumes = facts.containers.iter().flat_map(|container| whose_volumes(routing, container, desired));
            let hint = format!("{ANOTHER_NAME}; or say `external` of a volume that two are to share");
            all.extend(volumes.map(|text| of(desired.name, text, &hint)));
        }
    }
    all
}

/// The file that a service's routes are written into, where it holds another one's.
fn whose_file(routing: &Routing<'_>, facts: &Facts, name: &ServiceName, protocol: Protocol) -> Option<String> {
    let (project, env) = (&routing.playbook.project, &routing.playbook.env);
    let path = service_path(project, env, name, protocol);
    let there = read_service(facts.nginx.files.get(&path)?).ok()?;
    let is_another = there.project != *project || there.env != *env;
    is_another.then(|| format!("NGINX's {path} is of {}/{} service {}", there.project, there.env, there.service))
}

/// The volumes of a service that another project's container has by a name of its own. What it was given as `external` is not its own.
fn whose_volumes(routing: &Routing<'_>, container: &ContainerFact, desired: &Desired<'_>) -> Vec<String> {
    let Some(project) = container.labels.get(label::PROJECT) else { return Vec::new() };
    if is_ours(container, &routing.playbook.project, &routing.playbook.env) {
        return Vec::new();
    }
    let own = desired.service.volumes.iter().filter(|volume| !volume.external && !volume.source.starts_with('/'));
    let env = container.labels.get(label::ENV).map_or("?", String::as_str);
    let names = own.map(|volume| volume_name(routing.playbook, volume)).filter(|name| is_named_by(container, name));
    let shared = names.filter(|name| container.written.values().any(|held| held == name));
    shared.map(|name| format!("the volume {name} is of {project}/{env}: {} has it", container.name)).collect()
}

/// A volume's name begins as the container's own project and environment have it.
pub(super) fn is_named_by(container: &ContainerFact, volume: &str) -> bool {
    let [project, env] = [label::PROJECT, label::ENV].map(|key| container.labels.get(key));
    project.zip(env).is_some_and(|(project, env)| volume.starts_with(&format!("{project}_{env}_")))
}
