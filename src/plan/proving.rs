//! How a container proves itself: at its own port as its health check says, and by taking connections at the port that public hosts are served
//! from, where that is another one. Deliberately absent: how it is asked (see `remote`), and what follows.
use super::app_port;
use super::backends::unit_backend;
use super::present::Unit;
use super::routes::Routing;
use super::steps::{plain, policy, policy_by_name, probe};
use super::switching;
use super::target::Desired;
use super::types::Step;
use crate::config::Service;
use crate::model::{Action, Backend, BackendMode, HealthPolicy, Probe, ProbeKind, ServerName, label};
use std::net::Ipv4Addr;

/// The questions to NGINX whether it finds the new side, where it reaches that by name: at its own port, and at its app port.
pub(super) fn found_checks(routing: &Routing<'_>, server: &ServerName, desired: &Desired<'_>) -> impl Iterator<Item = Step> {
    let app = app_port::found_check(routing, server, desired);
    switching::found_check(routing, server, desired).into_iter().chain(app)
}

/// The steps that wait until a container that was just started answers.
pub(super) fn wait_for(routing: &Routing<'_>, server: &ServerName, desired: &Desired<'_>, name: &str, address: Ipv4Addr) -> Vec<Step> {
    let service = desired.service;
    // NGINX that cannot be asked whether it has found a name gets the time to find it.
    let policy = |found: Option<Step>| match (routing.mode, service.port) {
        (BackendMode::SingleServer, Some(_)) if found.is_none() => policy_by_name(&service.health_check),
        (BackendMode::SingleServer | BackendMode::MultiServer, _) => policy(&service.health_check),
    };
    let question = probe(&service.health_check, service.protocol, address, service.port);
    let own = wait(name, question, policy(switching::found_check(routing, server, desired)));
    let app = service.app_port().map(|port| wait(name, app_probe(address, port), policy(app_port::found_check(routing, server, desired))));
    std::iter::once(own).chain(app).collect()
}

/// The same of a container that is there and was started again.
pub(super) fn wait_again(unit: &Unit<'_>, service: &Service) -> Vec<Step> {
    let Some(app) = unit.app else { return Vec::new() };
    proofs(unit, service).into_iter().map(|(probe, policy)| wait(&app.name, probe, policy)).collect()
}

/// One good answer is enough of a unit that ran all the time.
pub(super) fn look_again(unit: &Unit<'_>, service: &Service) -> Vec<Step> {
    let Some(app) = unit.app else { return Vec::new() };
    let check = |(probe, policy): (Probe, HealthPolicy)| {
        let title = match at_app_port(&probe) {
            Some(port) => format!("check that {} still takes connections at {port}", app.name),
            None => format!("check that {} is still healthy", app.name),
        };
        let policy = HealthPolicy { retries: 1, ..policy };
        plain(title, Action::AwaitHealthy { container: app.name.clone(), probe, policy })
    };
    proofs(unit, service).into_iter().map(check).collect()
}

/// The same as actions: what is undone by starting a container is undone once it is well.
pub(super) fn health(unit: &Unit<'_>, service: &Service) -> Vec<Action> {
    let Some(app) = unit.app else { return Vec::new() };
    let healthy = |(probe, policy)| Action::AwaitHealthy { container: app.name.clone(), probe, policy };
    proofs(unit, service).into_iter().map(healthy).collect()
}

/// What a container that is there was to be asked, by its own labels: the playbook may have another health check by now, which that release
/// fails.
fn proofs(unit: &Unit<'_>, service: &Service) -> Vec<(Probe, HealthPolicy)> {
    let address = unit.address().unwrap_or(Ipv4Addr::LOCALHOST);
    let protocol = unit.protocol().unwrap_or(service.protocol);
    let check = unit.health_check().unwrap_or_else(|| service.health_check.clone());
    let policy = match unit_backend(unit) {
        Some(Backend::Container { .. }) => policy_by_name(&check),
        Some(Backend::Address { .. }) | None => policy(&check),
    };
    let own = probe(&check, protocol, address, unit.number(label::PORT));
    let app_port = unit.number(label::APP_PORT).map(|port| app_probe(address, port));
    std::iter::once(own).chain(app_port).map(|probe| (probe, policy)).collect()
}

fn wait(name: &str, probe: Probe, policy: HealthPolicy) -> Step {
    let title = match at_app_port(&probe) {
        Some(port) => format!("wait for {name} to take connections at {port}"),
        None => format!("wait for {name} to be healthy"),
    };
    plain(title, Action::AwaitHealthy { container: name.to_owned(), probe, policy })
}

fn app_probe(address: Ipv4Addr, port: u16) -> Probe {
    Probe { kind: ProbeKind::AppPort, address, port }
}

/// `app port 15672`, where it is asked there.
pub(super) fn at_app_port(probe: &Probe) -> Option<String> {
    (probe.kind == ProbeKind::AppPort).then(|| format!("app port {}", probe.port))
}
