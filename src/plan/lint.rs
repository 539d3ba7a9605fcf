//! What a careful operator would notice before running the plan.
use super::adopt;
use super::app_port;
use super::balancing;
use super::build::participants;
use super::containers::{SET_BY_US, has_door};
use super::drift::strangers;
use super::fronts;
use super::images;
use super::present::PresentService;
use super::reach;
use super::routes::Routing;
use super::show::prose::server_list;
use super::target::Desired;
use super::types::{Change, Finding, Level};
use super::volumes;
use crate::config::{Ingress, Server};
use crate::facts::Facts;
use crate::model::{BackendMode, ServerName, ServiceName};
use crate::nginx::{MeshService, read_service};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Free space below which images and containers are likely to fail, in bytes: 128 MiB.
const LOW_DISK: u64 = 128 << 20;

/// Free space that is none: a generation of NGINX's files takes some dozen KiB.
const FULL_DISK: u64 = 256 << 10;

/// Checks the plan's ground: servers, names, volumes, ingress.
#[must_use]
pub(super) fn lint(routing: &Routing<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (server, facts) in routing.fleet {
        if let Some(settings) = routing.inventory.servers.get(server) {
            check_server(routing, server, settings, facts, &mut findings);
        }
    }
    check_names(routing, &mut findings);
    findings.extend(volumes::findings(routing));
    check_services(routing, &mut findings);
    check_engines(routing, &mut findings);
    check_images(routing, &mut findings);
    check_hosts(routing, &mut findings);
    check_former_hosts(routing, &mut findings);
    check_transports(routing, &mut findings);
    check_internal_ports(routing, &mut findings);
    findings.extend(reach::findings(routing));
    findings.extend(balancing::check(routing));
    findings.extend(fronts::findings(routing));
    findings.extend(app_port::findings(routing));
    findings
}

fn at(level: Level, server: &ServerName, text: String, hint: String) -> Finding {
    Finding { level, server: Some(server.clone()), service: None, text, hint }
}

fn check_server(routing: &Routing<'_>, server: &ServerName, settings: &Server, facts: &Facts, findings: &mut Vec<Finding>) {
    let root = &settings.remote_root;
    if !facts.root_writable {
        let text = format!("{} cannot write {root}", facts.user);
        let hint = format!(
            "on {server}: sudo install -d -o {} {root} — or set `become = \"sudo\"` or another `remote_root` in the inventory",
            facts.user
        );
        findings.push(at(Level::Fatal, server, text, hint));
    }
    if facts.free_bytes < FULL_DISK {
        let text = format!("no space is left where {root} lies");
        findings.push(at(Level::Fatal, server, text, format!("make room there (df -h {root}): NGINX's files cannot be written")));
    } else if facts.free_bytes < LOW_DISK {
        let text = format!("only {} MiB are free where {root} lies", facts.free_bytes >> 20);
        findings.push(at(Level::Warning, server, text, "free some space: docker image prune, docker system df".to_owned()));
    }
    if facts.ephemeral.0 < 19_000 {
        let text = format!(
            "outgoing connections use ports from {} on (net.ipv4.ip_local_port_range): one may sit on a service's port",
            facts.ephemeral.0
        );
        findings.push(at(Level::Warning, server, text, "set it to 32768 60999, or pin `host_port` below it".to_owned()));
    }
    let opens_publicly = |address: &Ipv4Addr| !is_private(*address) && !address.is_loopback() && !settings.allow_public_backends;
    if let (Ingress::Private, Some(address)) =
        (fronts::ingress_of(routing.inventory, server), settings.private_address.filter(opens_publicly))
        && participants(routing).contains(server)
    {
        findings.push(at(
            Level::Fatal,
            server,
            format!("its private_address {address} is public: `ingress = \"private\"` would publish ports 80 and 443 there"),
            format!("give [servers.{server}] a private address; or say `ingress = \"public\"` where that is what is wanted; or `allow_public_backends = true` where a firewall stands before it"),
        ));
    }
    if routing.mode == BackendMode::MultiServer
        && routing.desired.iter().any(|desired| desired.servers.contains(server) && desired.service.port.is_some())
    {
        match settings.private_address {
            None => findings.push(at(
                Level::Fatal,
                server,
                "it has no private_address, so other servers cannot reach its services".to_owned(),
                format!("set `private_address` under [servers.{server}] in the inventory"),
            )),
            Some(address) if address.is_loopback() => findings.push(at(
                Level::Fatal,
                server,
                format!("its private_address {address} leads every server to itself: the others could not reach its services"),
                format!("give [servers.{server}] the address that the other servers reach it at"),
            )),
            Some(address) if !is_private(address) && !settings.allow_public_backends => findings.push(at(
                Level::Fatal,
                server,
                format!("its private_address {address} is public: services would be open to the world"),
                format!("give [servers.{server}] a private address, or set `allow_public_backends = true` behind a firewall of your own"),
            )),
            Some(_) => {}
        }
    }
}

fn is_private(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    address.is_private() || address.is_link_local() || (a == 100 && (64..128).contains(&b))
}

/// A container with a name of ours and other labels is a stranger: it is never touched.
fn check_names(routing: &Routing<'_>, findings: &mut Vec<Finding>) {
    let found = strangers(routing.playbook, routing.fleet, |service, server| {
        routing.desired.iter().any(|desired| desired.name == service && desired.moves() && desired.servers.contains(server))
    });
    findings.extend(found.into_iter().map(|finding| adopt::by_another_name(routing.playbook, finding)));
}

fn check_services(routing: &Routing<'_>, findings: &mut Vec<Finding>) {
    for desired in routing.desired {
        let of = |level, text: String, hint: &str| Finding {
            level,
            server: None,
            service: Some(desired.name.clone()),
            text,
            hint: hint.to_owned(),
        };
        if let Some(why) = desired.why_handed_over().filter(|_| desired.moves() && desired.from.is_some()) {
            findings.push(of(
                Level::Note,
                format!("{why}: the old side stops before the new one starts, and requests in between fail"),
                "",
            ));
        }
        let n_servers = desired.servers.len() + desired.away.len();
        if desired.service.singleton && n_servers > 1 && desired.to.is_some() {
            let is_new = desired.moves() && desired.change != Change::Restore;
            findings.push(of(
                if is_new { Level::Fatal } else { Level::Warning },
                format!("it is a singleton, and its tags fit {n_servers} servers: it would run on each"),
                "name one with `servers`, or take its tag from the others",
            ));
        }
        let zone_of = |server| routing.inventory.servers.get(server).and_then(|settings| settings.zone.as_ref());
        if let Some(zone) = desired.service.server_zone.as_ref() {
            let outside: BTreeSet<&ServerName> = desired.service.servers.iter().filter(|server| zone_of(server) != Some(zone)).collect();
            if !outside.is_empty() {
                let text =
                    format!("`server_zone` is {zone}, and `servers` names {}, which are elsewhere: they count", server_list(outside));
                findings.push(of(Level::Warning, text, "leave out `server_zone`, or name servers of that zone"));
            }
        }
        for name in SET_BY_US.iter().filter(|name| desired.service.env.contains_key(**name)) {
            let text = format!("its {name} in `env` is not what the container gets: Flipside sets it");
            findings.push(of(Level::Warning, text, "give it another name"));
        }
        let unknown_used: Vec<&str> =
            desired.service.uses.keys().filter(|used| routing.removed.contains(*used)).map(|used| used.as_str()).collect();
        if !unknown_used.is_empty() && desired.change != Change::Remove && desired.from.is_some() {
            findings.push(of(
                Level::Warning,
                format!("it uses {}, which goes away", unknown_used.join(", ")),
                "remove it first, or take it out of `uses`",
            ));
        }
    }
}

/// Older engines do not start an app that joins its door's namespace as it should be started: moby #50327, mended in 28.4.
fn check_engines(routing: &Routing<'_>, findings: &mut Vec<Finding>) {
    let is_older = |server: &&ServerName| {
        let is_docker = routing.inventory.servers.get(*server).is_some_and(|settings| settings.docker.contains("docker"));
        let version = routing.fleet.get(*server).map_or("", |facts| &facts.docker_version);
        let mut parts = version.split(['.', '-', '+']).map(|part| part.parse::<u32>().ok());
        is_docker && parts.next().flatten().zip(parts.next().flatten()).is_some_and(|version| version < (28, 4))
    };
    let moving = routing.desired.iter().filter(|desired| desired.moves() && has_door(desired.service));
    let servers: BTreeSet<&ServerName> = moving.clone().flat_map(|desired| &desired.servers).filter(is_older).collect();
    let services: Vec<&str> =
        moving.filter(|desired| desired.servers.iter().any(|at| servers.contains(at))).map(|d| d.name.as_str()).collect();
    if !servers.is_empty() {
        findings.push(Finding {
            level: Level::Note,
            server: None,
            service: None,
            text: format!(
                "{}: Docker is older than 28.4: when it or the server is restarted, {} may stay stopped or cut off (moby #50327)",
                server_list(servers),
                services.join(", ")
            ),
            hint: "`flipside status` tells it and `flipside deploy` mends it; or renew Docker there".to_owned(),
        });
    }
}

/// A tag that was pushed again, and pulled by some servers only.
fn check_images(routing: &Routing<'_>, findings: &mut Vec<Finding>) {
    for desired in routing.desired.iter().filter(|desired| desired.is_made_anew() || desired.change == Change::CatchUp) {
        let image = &desired.service.image;
        let mut by_id: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for server in &desired.servers {
            let here = routing
                .fleet
                .get(server)
                .into_iter()
                .flat_map(|facts| &facts.images)
                .find(|here| here.tags.iter().any(|tag| images::is_same(tag, image)));
            if let Some(here) = here {
                by_id.entry(&here.id).or_default().push(server.as_str());
            }
        }
        if by_id.len() > 1 {
            let short = |id: &str| id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
            let each: Vec<String> = by_id.iter().map(|(id, servers)| format!("{} on {}", short(id), servers.join(", "))).collect();
            findings.push(Finding {
                level: Level::Warning,
                server: None,
                service: Some(desired.name.clone()),
                text: format!("{image} is not the same image everywhere: {}", each.join("; ")),
                hint: "pull it on every server, or name it by its digest".to_owned(),
            });
        }
    }
}

/// A public host leads to one service: one that another project or environment is served under is not taken over.
fn check_hosts(routing: &Routing<'_>, findings: &mut Vec<Finding>) {
    if !routing.removed.is_empty() {
        return;
    }
    let (project, env) = (&routing.playbook.project, &routing.playbook.env);
    for desired in routing.desired.iter().filter(|desired| desired.to.is_some()) {
        let hosts: Vec<&String> = desired.service.proxy.iter().flat_map(|proxy| &proxy.hosts).collect();
        let mut owners: BTreeMap<(&String, String), BTreeSet<&str>> = BTreeMap::new();
        for (server, facts) in routing.fleet.iter().filter(|_| !hosts.is_empty()) {
            let routed = facts.nginx.files.values().filter_map(|text| read_service(text).ok());
            for other in routed.filter(|other| other.project != *project || other.env != *env) {
                for host in hosts.iter().filter(|host| other.hosts.iter().any(|taken| taken.eq_ignore_ascii_case(host))) {
                    let owner = format!("{}/{} service {}", other.project, other.env, other.service);
                    owners.entry((*host, owner)).or_default().insert(server.as_str());
                }
            }
        }
        findings.extend(owners.into_iter().map(|((host, owner), servers)| Finding {
            level: Level::Fatal,
            server: None,
            service: Some(desired.name.clone()),
            text: format!("the host {host} leads to {owner} on {}", servers.into_iter().collect::<Vec<_>>().join(", ")),
            hint: "give one of the two another host, or take it out of the other project and deploy that first".to_owned(),
        }));
    }
}

/// A service that was renamed, or left the playbook, is routed until it is removed. Of two that have the same host NGINX takes one.
fn check_former_hosts(routing: &Routing<'_>, findings: &mut Vec<Finding>) {
    let goes = |name: &ServiceName| routing.removed.contains(name) || routing.leaving.contains(name);
    let is_former = |name: &ServiceName| !routing.playbook.services.contains_key(name) && !goes(name);
    for (former, present) in routing.present.services.iter().filter(|(name, _)| is_former(name)) {
        for desired in routing.desired.iter().filter(|desired| desired.to.is_some()) {
            let Some(proxy) = &desired.service.proxy else { continue };
            for host in &proxy.hosts {
                let has_it = |route: &MeshService| {
                    route.front.path_prefix == proxy.front.path_prefix && route.hosts.iter().any(|taken| taken.eq_ignore_ascii_case(host))
                };
                let servers: BTreeSet<_> = present.routes.iter().filter(|(_, route)| has_it(route)).map(|(server, _)| server).collect();
                if !servers.is_empty() {
                    findings.push(Finding {
                        level: Level::Warning,
                        server: None,
                        service: Some(desired.name.clone()),
                        text: format!("the host {host} also leads to {former}, which is not in the playbook, on {}", server_list(servers)),
                        hint: format!("requests may all go there until it is gone: flipside remove {former}"),
                    });
                }
            }
        }
    }
}

/// A door opens streams or datagrams, as what it leads to speaks: both are replaced in one deploy, or one of them talks to nobody.
fn check_transports(routing: &Routing<'_>, findings: &mut Vec<Finding>) {
    for used in routing.desired {
        let Some(from) = used.from.filter(|_| used.internal_port.is_some() && used.change != Change::Restore) else { continue };
        let (before, after) = (routing.protocol(used, from).transport(), used.service.protocol.transport());
        let users = routing.desired.iter().filter(|user| has_door(user.service) && user.service.uses.contains_key(used.name));
        // A run that was cut off may have moved the door, and not what it leads to.
        let is_ready = |user: &Desired<'_>| used.moves() && user.is_as_wanted();
        for user in users.filter(|user| before != after && user.to.is_some() && user.moves() != used.moves() && !is_ready(user)) {
            findings.push(Finding {
                level: Level::Fatal,
                server: None,
                service: Some(user.name.clone()),
                text: format!(
                    "it uses {}, which goes from {before} to {after}: the one is of no use to the other until both are deployed",
                    used.name
                ),
                hint: format!("deploy {} along with {}, or deploy everything", used.name, user.name),
            });
        }
    }
}

/// The port that never changes by itself does, because the playbook says so.
fn check_internal_ports(routing: &Routing<'_>, findings: &mut Vec<Finding>) {
    for desired in routing.desired.iter().filter(|desired| desired.to.is_some()) {
        let routed = desired.present.and_then(PresentService::internal_port);
        let Some((old, new)) = routed.zip(desired.internal_port).filter(|(old, new)| old != new) else { continue };
        findings.push(Finding {
            level: Level::Warning,
            server: None,
            service: Some(desired.name.clone()),
            text: format!("its internal port goes from {old} to {new}: who connects to {old} after the switch is refused"),
            hint: format!("deploy what uses it along with it, and tell everything else of {new} at the same moment; or leave {old} pinned"),
        });
    }
}
