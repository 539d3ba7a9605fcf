//! Who still reaches a service that moves, or that stays while its users move. What one server held alone is reached by name, on that server
//! and on no other. Deliberately absent: the routes themselves (see `routes`).
use super::backends::unit_backend;
use super::routes::Routing;
use super::show::prose::server_list;
use super::target::Desired;
use super::types::{Change, Finding, Level};
use crate::model::{Backend, ServerName};
use std::collections::BTreeSet;

/// Users that would be without what they use, and servers that would serve public hosts no more.
#[must_use]
pub(super) fn findings(routing: &Routing<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for used in routing.desired {
        for user in routing.desired.iter().filter(|user| user.service.uses.contains_key(used.name)) {
            findings.extend(match (user.moves(), used.moves()) {
                (true, false) => stays_behind(routing, user, used),
                (false, true) => goes_away(routing, user, used),
                (true, true) | (false, false) => None,
            });
        }
        findings.extend(hosts_lost(routing, used));
    }
    findings
}

/// A fleet that grows publishes ports: what stays behind, reached by name on its own server alone, is of no use to what moves elsewhere.
fn stays_behind(routing: &Routing<'_>, user: &Desired<'_>, used: &Desired<'_>) -> Option<Finding> {
    let (side, present) = (used.to.filter(|_| used.internal_port.is_some())?, used.present?);
    let by_name = present.side(side).any(|unit| matches!(unit_backend(unit), Some(Backend::Container { .. })));
    let out_of_reach: BTreeSet<&ServerName> =
        user.servers.iter().filter(|server| routing.backends(server, used, side).is_empty()).collect();
    let stay = used.name;
    (by_name && !out_of_reach.is_empty()).then(|| Finding {
        level: Level::Fatal,
        server: None,
        service: Some(user.name.clone()),
        text: format!(
            "it uses {stay}, which {} cannot reach: {stay} runs without a published port, from when one server held everything",
            server_list(out_of_reach)
        ),
        hint: format!("deploy {stay} along with {}, or deploy everything", user.name),
    })
}

/// The other way round: a user goes on where it is, and what it uses goes where that server's NGINX does not reach it.
fn goes_away(routing: &Routing<'_>, user: &Desired<'_>, used: &Desired<'_>) -> Option<Finding> {
    let (live, present) = (user.to?, user.present?);
    let up = present.side(live).filter(|unit| unit.is_up()).map(|unit| &unit.server);
    let cut_off: BTreeSet<&ServerName> = up.filter(|server| is_lost(routing, server, used)).collect();
    let (name, goes) = (user.name, used.name);
    (!cut_off.is_empty()).then(|| Finding {
        level: Level::Fatal,
        server: None,
        service: Some(name.clone()),
        text: format!(
            "it uses {goes}, and stays as it is on {}, from where {goes} is out of reach then: {}",
            server_list(cut_off),
            why(used)
        ),
        hint: match used.change {
            Change::Restore => {
                format!(
                    "roll {name} back along with {goes}, where the same release brought both; or deploy the version of {goes} that you want"
                )
            }
            Change::Create | Change::Toggle | Change::Keep | Change::CatchUp | Change::Remove => {
                format!("deploy {name} along with {goes}, or deploy everything")
            }
        },
    })
}

/// Servers that lose the public hosts of a service. A deploy of everything is asked for by a playbook that has the fleet shrink; by a rollback,
/// or a deploy of some services, it comes as a surprise.
fn hosts_lost(routing: &Routing<'_>, desired: &Desired<'_>) -> Vec<Finding> {
    let is_surprise = desired.change == Change::Restore || routing.desired.iter().any(|other| other.as_routed);
    let routes = desired.present.iter().filter(|_| is_surprise && desired.moves()).flat_map(|present| &present.routes);
    let lost = routes.filter(|(server, route)| !route.hosts.is_empty() && is_lost(routing, server, desired));
    let findings = lost.map(|(server, route)| Finding {
        level: Level::Warning,
        server: Some(server.clone()),
        service: Some(desired.name.clone()),
        text: format!("its NGINX serves {} no more: {}", route.hosts.join(", "), why(desired)),
        hint: format!("lead clients to {} first", server_list(&desired.servers)),
    });
    findings.collect()
}

/// The server reaches it now, and does not once it has moved.
fn is_lost(routing: &Routing<'_>, server: &ServerName, desired: &Desired<'_>) -> bool {
    let reaches = |side| !routing.backends(server, desired, side).is_empty();
    desired.from.is_some_and(reaches) && !desired.to.is_some_and(reaches)
}

fn why(desired: &Desired<'_>) -> String {
    let (name, on) = (desired.name, server_list(&desired.servers));
    match desired.change {
        Change::Restore => {
            format!("{name} goes back to containers without a published port, on {on} alone, from when one server held everything")
        }
        Change::Create | Change::Toggle | Change::Keep | Change::CatchUp | Change::Remove => {
            format!("{name} goes to {on} alone, and publishes no port there, as where one server holds everything")
        }
    }
}
