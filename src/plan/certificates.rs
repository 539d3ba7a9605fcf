//! Certificates of public hosts: where their files lie, who has to be given them, and what is wrong with one. Each certificate has a folder
//! of its own, named by its content, so that an undo finds the one before; those that no generation names any more go when generations are
//! pruned, those of a service that is taken away go with it, and a host that others stay on has to have another by then. Deliberately absent:
//! keys, which are never a part of a plan.
use super::fronts::{in_the_end, is_edge};
use super::present::clock;
use super::routes::Routing;
use super::steps::plain;
use super::target::Desired;
use super::types::{Finding, Level, Step, UndoKind};
use crate::config::{Proxy, ProxyTls};
use crate::model::{Action, Certificate, CertificateError, FrontTls, Protocol, ServerName, ServiceName, day_of};
use crate::nginx::RenderError;
use crate::script::layout;
use std::collections::{BTreeMap, BTreeSet};

/// A certificate that ends within two weeks is said to.
const SOON: i64 = 14 * 24 * 3600;

/// The certificate that was read on the workstation, and the name of its folder. None where this run has read none.
fn known<'r>(routing: &Routing<'r>, tls: &ProxyTls) -> Option<(&'r [u8], String)> {
    routing.secrets.value(&tls.key).ok()?;
    let pem = routing.secrets.value(&tls.certificate).ok()?.bytes();
    // The files have the secrets' names.
    let all = [pem, b"\n", tls.certificate.as_str().as_bytes(), b"\n", tls.key.as_str().as_bytes()].concat();
    Some((pem, Certificate::digest_of(&all)))
}

/// How a service's hosts are served on port 443 of this server: with the certificate that was read, else with the one that it has.
#[must_use]
pub(super) fn front_tls(routing: &Routing<'_>, server: &ServerName, desired: &Desired<'_>, proxy: &Proxy) -> Option<FrontTls> {
    let tls = proxy.tls.as_ref()?;
    let (certificate, key) = match known(routing, tls) {
        Some((_, digest)) => {
            let folder = layout::tls_folder_inside(&routing.playbook.project, &routing.playbook.env, desired.name, &digest);
            (format!("{folder}/{}", tls.certificate), format!("{folder}/{}", tls.key))
        }
        None => {
            let there = desired.present?.routes.get(server)?.front.tls.as_ref()?;
            (there.certificate.clone(), there.key.clone())
        }
    };
    Some(FrontTls { certificate, key, redirect: tls.redirect, hsts: tls.hsts, http2: tls.http2 })
}

/// The server has this certificate of a service, or gets it in this run.
#[must_use]
pub(super) fn has_certificate(routing: &Routing<'_>, server: &ServerName, desired: &Desired<'_>, tls: &FrontTls) -> bool {
    let folder = tls.certificate.rsplit_once('/').map_or("", |(folder, _)| folder);
    let digest = folder.rsplit('/').next().unwrap_or_default();
    let read = desired.service.proxy.as_ref().and_then(|proxy| known(routing, proxy.tls.as_ref()?));
    if read.is_some_and(|(_, read)| read == digest) {
        return true;
    }
    let path = layout::tls_folder("", &routing.playbook.project, &routing.playbook.env, desired.name, digest);
    routing.fleet.get(server).is_some_and(|facts| facts.secrets.contains_key(path.trim_start_matches('/')))
}

/// The services with TLS that a server of this kind has to serve.
fn served<'d>(routing: &Routing<'d>) -> impl Iterator<Item = (&'d Desired<'d>, &'d Proxy, &'d ProxyTls)> {
    let desired: &'d [Desired<'d>] = routing.desired;
    let is_public = |desired: &&Desired<'_>| desired.service.protocol == Protocol::Http || desired.service.app_port().is_some();
    let there = desired.iter().filter(|desired| desired.to.is_some()).filter(is_public);
    there.filter_map(|desired| {
        let proxy = desired.service.proxy.as_ref()?;
        Some((desired, proxy, proxy.tls.as_ref()?))
    })
}

/// The steps that give a server the certificates that it does not have.
#[must_use]
pub(super) fn put_steps(routing: &Routing<'_>, server: &ServerName) -> Vec<Step> {
    let (Some(settings), Some(facts)) = (routing.inventory.servers.get(server), routing.fleet.get(server)) else { return Vec::new() };
    if !is_edge(routing.inventory, server) {
        return Vec::new();
    }
    let (project, env) = (&routing.playbook.project, &routing.playbook.env);
    let mut steps = Vec::new();
    for (desired, _, tls) in served(routing) {
        let Some((_, digest)) = known(routing, tls) else { continue };
        let folder = |root: &str| layout::tls_folder(root, project, env, desired.name, &digest);
        if facts.secrets.contains_key(folder("").trim_start_matches('/')) {
            continue;
        }
        let folder = folder(&settings.remote_root);
        let names = BTreeSet::from([tls.certificate.clone(), tls.key.clone()]);
        let action = Action::PutSecrets { folder: folder.clone(), names, owner: None, image: routing.inventory.nginx.image.clone() };
        let step = plain(format!("write the certificate of {}", desired.name), action);
        steps.push(step.undone_by(UndoKind::Cleans, vec![Action::RemoveSecrets { folder }]).of(desired.name));
    }
    steps
}

/// Adds the steps that remove the certificates and keys of services that go, once no server routes them: nobody goes back to a generation
/// that names them.
pub(super) fn tidy(routing: &Routing<'_>, gone: &BTreeSet<ServiceName>, all: &mut BTreeMap<ServerName, Vec<Step>>) {
    let (project, env) = (&routing.playbook.project, &routing.playbook.env);
    for (server, facts) in routing.fleet {
        let Some(settings) = routing.inventory.servers.get(server) else { continue };
        let root = settings.remote_root.trim_end_matches('/');
        for service in gone {
            let prefix = layout::tls_folder("", project, env, service, "");
            let prefix = prefix.trim_start_matches('/');
            let folders = facts.secrets.keys().filter(|path| path.starts_with(prefix)).map(|path| format!("{root}/{path}"));
            let steps = folders.map(|folder| plain(format!("remove a certificate of {service}"), Action::RemoveSecrets { folder }));
            let steps: Vec<Step> = steps.collect();
            if !steps.is_empty() {
                all.entry(server.clone()).or_default().extend(steps);
            }
        }
    }
}

/// What is wrong with the certificates that were read, and which are new.
#[must_use]
pub(super) fn findings(routing: &Routing<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let now = i64::try_from(clock(routing.fleet) / 1000).unwrap_or_default();
    for (desired, proxy, tls) in served(routing) {
        let Some((pem, digest)) = known(routing, tls) else { continue };
        let mut push = |level, text: String, hint: &str| {
            findings.push(Finding { level, server: None, service: Some(desired.name.clone()), text, hint: hint.to_owned() });
        };
        let certificate = match Certificate::read(pem) {
            Ok(certificate) => certificate,
            Err(error @ CertificateError::Unreadable) => {
                push(
                    Level::Warning,
                    format!("the certificate {}: {error}, and is not checked", tls.certificate),
                    "NGINX looks at it before it is served",
                );
                continue;
            }
            Err(error) => {
                push(
                    Level::Fatal,
                    format!("the certificate {}: {error}", tls.certificate),
                    "the server's own certificate comes first, then those that it was signed by",
                );
                continue;
            }
        };
        if let Some(Err(error)) = routing.secrets.value(&tls.key).ok().map(|key| certificate.belongs(key.bytes())) {
            push(
                Level::Fatal,
                format!("the key {}: {error}", tls.key),
                "give the key that the certificate was made with, as PEM and without a passphrase",
            );
        }
        let before: BTreeSet<&str> = desired
            .present
            .into_iter()
            .flat_map(|there| there.level_routes())
            .filter_map(|route| Some(route.front.tls.as_ref()?.certificate.as_str()))
            .collect();
        let is_served = |path: &&str| path.contains(&format!("/{digest}/"));
        // What is served already is no reason to leave everything else as it is.
        let level = if before.iter().any(is_served) { Level::Warning } else { Level::Fatal };
        let renew = "put a renewed one in its place, and deploy";
        let (from, until) = (day_of(certificate.not_before), day_of(certificate.not_after));
        if now > certificate.not_after {
            push(level, format!("the certificate {} has expired on {until}", tls.certificate), renew);
        } else if now < certificate.not_before {
            push(level, format!("the certificate {} is not valid before {from}", tls.certificate), "wait, or look at the servers' clocks");
        } else if certificate.not_after - now < SOON {
            push(Level::Warning, format!("the certificate {} expires on {until}", tls.certificate), renew);
        }
        let bare: Vec<&str> = proxy.hosts.iter().map(String::as_str).filter(|host| !certificate.covers(host)).collect();
        if !bare.is_empty() {
            let names = if certificate.names.is_empty() { "no host".to_owned() } else { certificate.names.join(", ") };
            push(
                level,
                format!("the certificate {} is not for {}, but for {names}", tls.certificate, bare.join(", ")),
                "one certificate has to name all `hosts`",
            );
        }
        if !before.is_empty() && !before.iter().any(is_served) {
            push(Level::Note, format!("its certificate is renewed: valid from {from} until {until}"), "");
        }
    }
    findings
}

/// The hosts for which a service that goes was the one with `tls`, and that others stay on: those would be asked in plain text, and a browser
/// that was told to come over TLS alone would not get through at all. `tls` that a service loses in the playbook is what somebody wrote.
///
/// # Errors
/// [`RenderError`] where a template is at fault.
pub(super) fn left_without(routing: &Routing<'_>) -> Result<Vec<Finding>, RenderError> {
    let gone = if routing.removed.is_empty() { routing.leaving } else { routing.removed };
    let mut bare: BTreeMap<(&ServiceName, &String), BTreeSet<ServiceName>> = BTreeMap::new();
    for server in routing.fleet.keys() {
        let routed = gone.iter().filter_map(|name| Some((name, routing.present.services.get(name)?.routes.get(server)?)));
        let with_tls: Vec<_> = routed.filter(|(_, route)| route.front.tls.is_some()).collect();
        if with_tls.is_empty() {
            continue;
        }
        let staying = in_the_end(&Routing { removed: gone, ..*routing }, server)?;
        for (name, host) in with_tls.iter().flat_map(|(name, route)| route.hosts.iter().map(|host| (*name, host))) {
            let mates: Vec<_> = staying.iter().filter(|mate| mate.hosts.contains(host)).collect();
            if !mates.is_empty() && mates.iter().all(|mate| mate.front.tls.is_none()) {
                bare.entry((name, host)).or_default().extend(mates.iter().map(|mate| mate.service.clone()));
            }
        }
    }
    let finding = |((name, host), mates): ((&ServiceName, &String), BTreeSet<ServiceName>)| {
        let listed = |between: &str| mates.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(between);
        let all: BTreeSet<&str> = gone.iter().chain(&mates).map(ServiceName::as_str).collect();
        let all = all.into_iter().collect::<Vec<_>>().join(" ");
        Finding {
            level: Level::Fatal,
            server: None,
            service: Some(name.clone()),
            text: format!("the host {host} has its `tls` from it alone: without it {} would be served there in plain text", listed(", ")),
            hint: format!("give `tls` to {} and deploy that first; or take all of them away: flipside remove {all}", listed(" or ")),
        }
    };
    Ok(bare.into_iter().map(finding).collect())
}
