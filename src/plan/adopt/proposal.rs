//! `flipside adopt`: which containers of others look like a service, why, and the lines that have it take their place. What the plan would
//! say of these lines is asked of the plan itself. Deliberately absent: writing them.
use super::findings::{is_of_the_system, volume_line};
use super::{is_flipsides, there};
use crate::config::{Adopt, Playbook, Service, Volume};
use crate::facts::{ContainerFact, ContainerState};
use crate::model::{ServerName, ServiceName};
use crate::nginx::RenderError;
use crate::plan::build::{Inputs, build};
use crate::plan::containers::volume_name;
use crate::plan::present::{Fleet, present};
use crate::plan::show::prose::clean;
use crate::plan::types::Finding;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The label by which compose says which service of its file a container is.
const COMPOSE_SERVICE: &str = "com.docker.compose.service";

/// So much alike is worth a word.
const ALIKE: u32 = 2;

/// Variables of nearly every image.
const EVERYBODYS: [&str; 8] = ["PATH", "HOME", "HOSTNAME", "LANG", "LC_ALL", "TERM", "PWD", "GPG_KEY"];

/// What is proposed for one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// The service.
    pub service: ServiceName,
    /// Flipside runs it already: there is nothing to take over.
    pub is_deployed: bool,
    /// The containers that look like it, and those that its `adopt` names.
    pub containers: Vec<Likeness>,
    /// What to write into `[services.NAME]`. Empty where there is nothing to add.
    pub lines: Vec<String>,
    /// What is different besides.
    pub differences: Vec<String>,
    /// What the plan of a deploy with these lines says of the service.
    pub findings: Vec<Finding>,
}

/// A container that looks like a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Likeness {
    /// Where.
    pub server: ServerName,
    /// Its name.
    pub name: String,
    /// The image that it was run from.
    pub image: String,
    /// Whether it runs.
    pub state: ContainerState,
    /// Why it looks like it.
    pub reasons: Vec<String>,
    /// The playbook names it already.
    pub is_named: bool,
}

/// Proposes what each of these services takes over; all of the playbook's where none is named.
///
/// # Errors
/// [`RenderError`] where a template is at fault.
pub fn propose(inputs: Inputs<'_>) -> Result<Vec<Proposal>, RenderError> {
    let (playbook, fleet) = (inputs.playbook, inputs.fleet);
    let present = present(&playbook.project, &playbook.env, fleet);
    let is_deployed = |name: &ServiceName| present.services.get(name).is_some_and(|service| service.live().is_some());
    let asked = playbook.services.iter().filter(|(name, _)| inputs.wanted.selects(name));
    let mut alike = alike(playbook, fleet, &is_deployed);
    let mut as_proposed = playbook.clone();
    let mut all = Vec::new();
    for (name, service) in asked {
        let containers = if is_deployed(name) { Vec::new() } else { alike.remove(name).unwrap_or_default() };
        let olds: Vec<(ServerName, &ContainerFact)> = containers.iter().map(|(likeness, old)| (likeness.server.clone(), *old)).collect();
        let mut lines = Vec::new();
        if let Some(service) = as_proposed.services.get_mut(name).filter(|_| !olds.is_empty()) {
            lines = amend(playbook, service, &olds, fleet);
        }
        let mut differences: Vec<String> = olds.iter().flat_map(|(server, old)| differs(server, old, service)).collect();
        for server in olds.iter().map(|(server, _)| server).collect::<BTreeSet<_>>() {
            let copies = olds.iter().filter(|(at, old)| at == server && !old.state.is_stopped()).count();
            if copies > service.replicas as usize {
                differences.push(format!("{server} has {copies} copies, and the playbook says `replicas = {}`", service.replicas));
            }
        }
        let containers = containers.into_iter().map(|(likeness, _)| likeness).collect();
        all.push(Proposal { service: name.clone(), is_deployed: is_deployed(name), containers, lines, differences, findings: Vec::new() });
    }
    let (_, findings) = build(Inputs { playbook: &as_proposed, ..inputs })?;
    for proposal in all.iter_mut().filter(|proposal| !proposal.containers.is_empty()) {
        proposal.findings = findings.iter().filter(|finding| finding.service.as_ref() == Some(&proposal.service)).cloned().collect();
    }
    Ok(all)
}

/// How much a container looks like a service.
type Scored<'a> = (u32, Likeness, &'a ContainerFact);

/// By service.
type Found<'a> = BTreeMap<ServiceName, Vec<(Likeness, &'a ContainerFact)>>;

/// Every container of others goes to the service that it looks most like; of a service, on one server, those that look most like it.
fn alike<'a>(playbook: &Playbook, fleet: &'a Fleet, is_deployed: &impl Fn(&ServiceName) -> bool) -> Found<'a> {
    let mut found = BTreeMap::<(ServiceName, ServerName), Vec<Scored<'_>>>::new();
    for (server, facts) in fleet {
        for container in facts.containers.iter().filter(|container| !is_flipsides(container)) {
            let judged = playbook.services.iter().filter(|(name, _)| !is_deployed(name)).map(|(name, service)| {
                let is_named = service.adopt.on(server).contains(&container.name);
                let (score, mut reasons) = judge(name, service, container);
                if is_named {
                    reasons.insert(0, "`adopt` names it".to_owned());
                }
                (score + if is_named { 100 } else { 0 }, name, reasons, is_named)
            });
            let best = judged.max_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(a.1)));
            let Some((score, name, reasons, is_named)) = best.filter(|(score, ..)| *score >= ALIKE) else { continue };
            let likeness = Likeness {
                server: server.clone(),
                name: container.name.clone(),
                image: clean(&container.image),
                state: container.state,
                reasons,
                is_named,
            };
            found.entry((name.clone(), server.clone())).or_default().push((score, likeness, container));
        }
    }
    let mut all = Found::new();
    for ((service, _), mut containers) in found {
        // What is stopped was replaced by something, where something runs.
        let runs = |container: &ContainerFact| !container.state.is_stopped();
        if containers.iter().any(|(_, likeness, container)| runs(container) && !likeness.is_named) {
            containers.retain(|(_, likeness, container)| runs(container) || likeness.is_named);
        }
        let most = containers.iter().map(|(score, ..)| *score).max().unwrap_or(0);
        let best = containers.into_iter().filter(|(score, ..)| *score == most).map(|(_, likeness, container)| (likeness, container));
        all.entry(service).or_default().extend(best);
    }
    all
}

/// How much a container looks like a service, and by what.
fn judge(name: &ServiceName, service: &Service, container: &ContainerFact) -> (u32, Vec<String>) {
    let mut score = 0;
    let mut reasons = Vec::new();
    let mut counts = |points: u32, reason: String| {
        score += points;
        reasons.push(reason);
    };
    let (theirs, ours) = (repository(&container.image), repository(&service.image));
    let last = |repository: &str| repository.rsplit('/').next().unwrap_or_default().to_owned();
    if !ours.is_empty() && theirs == ours {
        counts(3, format!("its image is of the same repository, {}", clean(&theirs)));
    } else if !ours.is_empty() && last(&theirs) == last(&ours) {
        counts(2, format!("its image has the same name, {}", clean(&last(&theirs))));
    }
    if container.labels.get(COMPOSE_SERVICE).is_some_and(|theirs| theirs == name.as_str()) {
        counts(3, format!("compose calls it {name}"));
    }
    if container.name == name.as_str() || container.name.split(['-', '_', '.']).any(|word| word == name.as_str()) {
        counts(2, format!("its name has the word {name}"));
    }
    if let Some(port) = service.port.filter(|port| container.published.iter().any(|published| published.container_port == *port)) {
        counts(1, format!("it publishes its port {port}"));
    }
    (score, reasons)
}

/// An image without tag and digest, and without what docker fills in.
fn repository(image: &str) -> String {
    let name = image.split('@').next().unwrap_or_default();
    let (path, last) = name.rsplit_once('/').map_or(("", name), |(path, last)| (path, last));
    let last = last.split(':').next().unwrap_or_default();
    let full = if path.is_empty() { last.to_owned() } else { format!("{path}/{last}") };
    let short = full.strip_prefix("docker.io/").unwrap_or(&full);
    short.strip_prefix("library/").unwrap_or(short).to_owned()
}

/// Has the service take over these containers and their data. Gives the lines that differ from what the playbook says.
fn amend(playbook: &Playbook, service: &mut Service, olds: &[(ServerName, &ContainerFact)], fleet: &Fleet) -> Vec<String> {
    let mut by_server: BTreeMap<ServerName, BTreeSet<String>> = BTreeMap::new();
    for (server, container) in olds {
        by_server.entry(server.clone()).or_default().insert(container.name.clone());
    }
    let mut lines = Vec::new();
    let named: BTreeSet<_> = there(&service.adopt, fleet).into_iter().map(|(server, container)| (server, container.name.clone())).collect();
    let wanted: BTreeSet<_> = olds.iter().map(|(server, container)| (server.clone(), container.name.clone())).collect();
    if named != wanted {
        let leave_behind = service.adopt.leave_behind.clone();
        let mut sets: Vec<&BTreeSet<String>> = by_server.values().collect();
        sets.dedup();
        let unambiguous = |names: &BTreeSet<String>| {
            let same = |server: &ServerName, name: &String| by_server.get(server).is_some_and(|names| names.contains(name));
            fleet.iter().all(|(server, facts)| facts.containers.iter().all(|c| !names.contains(&c.name) || same(server, &c.name)))
        };
        service.adopt = match sets.as_slice() {
            [names] if unambiguous(names) => Adopt { containers: (*names).clone(), servers: BTreeMap::new(), leave_behind },
            _ => Adopt { containers: BTreeSet::new(), servers: by_server, leave_behind },
        };
        lines.push(adopt_line(&service.adopt));
    }
    let before = service.volumes.clone();
    for (target, source) in olds.iter().flat_map(|(_, container)| &container.written) {
        if source.is_empty() || service.adopt.leave_behind.contains(target) || is_of_the_system(source) {
            continue;
        }
        let is_it = |volume: &Volume| {
            if volume.source.starts_with('/') { volume.source == *source } else { volume_name(playbook, volume) == *source }
        };
        let place = service.volumes.iter().position(|volume| volume.target == *target);
        match place {
            Some(place) if is_it(&service.volumes[place]) => {}
            Some(place) => service.volumes[place] = external(source, target),
            None => service.volumes.push(external(source, target)),
        }
    }
    if service.volumes != before {
        let quoted: Vec<String> = service.volumes.iter().map(|volume| format!("{:?}", written(volume))).collect();
        lines.push(format!("volumes = [{}]", quoted.join(", ")));
    }
    lines
}

fn external(source: &str, target: &str) -> Volume {
    Volume { source: source.to_owned(), target: target.to_owned(), read_only: false, external: !source.starts_with('/') }
}

/// A volume as a playbook has it.
fn written(volume: &Volume) -> String {
    match (volume.external, volume.read_only) {
        (true, true) => format!("{}:{}:ro,external", volume.source, volume.target),
        (true, false) => volume_line(&volume.source, &volume.target),
        (false, true) => format!("{}:{}:ro", volume.source, volume.target),
        (false, false) => format!("{}:{}", volume.source, volume.target),
    }
}

fn adopt_line(adopt: &Adopt) -> String {
    let value = |names: &BTreeSet<String>| {
        let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
        if quoted.len() == 1 { quoted.concat() } else { format!("[{}]", quoted.join(", ")) }
    };
    let servers: Vec<String> = adopt.servers.iter().map(|(server, names)| format!("{server} = {}", value(names))).collect();
    let left: Vec<String> = adopt.leave_behind.iter().map(|path| format!("{path:?}")).collect();
    let left = if left.is_empty() { String::new() } else { format!(", leave_behind = [{}]", left.join(", ")) };
    match (servers.is_empty(), left.is_empty()) {
        (true, true) => format!("adopt = {}", value(&adopt.containers)),
        (true, false) => format!("adopt = {{ container = {}{left} }}", value(&adopt.containers)),
        (false, _) => format!("adopt = {{ servers = {{ {} }}{left} }}", servers.join(", ")),
    }
}

/// What the new container would not have, or would have otherwise.
fn differs(server: &ServerName, old: &ContainerFact, service: &Service) -> Vec<String> {
    let mut all = Vec::new();
    let name = &old.name;
    let prefixes: Vec<String> =
        service.uses.values().flat_map(|prefix| [format!("{}_HOST", prefix.0), format!("{}_PORT", prefix.0)]).collect();
    let is_set =
        |variable: &&String| service.env.contains_key(*variable) || prefixes.contains(variable) || EVERYBODYS.contains(&variable.as_str());
    let unset: Vec<String> = old.variables.iter().filter(|variable| !is_set(variable)).map(|variable| clean(variable)).collect();
    if !unset.is_empty() {
        all.push(format!(
            "{name} on {server} has variables that the playbook does not set, some perhaps by its image: {}. Plain ones belong in `env`, others in `secrets`",
            unset.join(", ")
        ));
    }
    if old.image != service.image {
        all.push(format!("{name} on {server} runs {}, and the playbook says {}", clean(&old.image), service.image));
    }
    for (target, source) in old.mounts.iter().filter(|(target, _)| !old.written.contains_key(*target)) {
        if !service.volumes.iter().any(|volume| volume.target == *target) {
            all.push(format!("{name} on {server} reads {} at {}, and the service has nothing there", clean(source), clean(target)));
        }
    }
    if old.network_mode == "host" {
        all.push(format!("{name} on {server} is in the host's network: nobody can tell here which ports it listens on; a port that it holds is not free before it stops"));
    }
    if let Some(port) = service.port.filter(|port| !old.published.is_empty() && old.published.iter().all(|p| p.container_port != *port)) {
        all.push(format!("{name} on {server} publishes other ports than the service's {port}"));
    }
    all
}
