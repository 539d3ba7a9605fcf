//! Copies that are out of NGINX's upstreams: read from what is routed, kept by a deploy that leaves their service as it is, and told.
//! Deliberately absent: taking them out.
use crate::config::Playbook;
use crate::model::{CopyAt, ServiceName, Side, Standing};
use crate::nginx::MeshBackend;
use crate::plan::present::{Present, PresentService};
use crate::plan::target::Desired;
use crate::plan::types::{Finding, Level};
use std::collections::BTreeSet;

/// The copies of one side that some server's NGINX has out. One that was away while they were taken out does not know of it.
#[must_use]
pub(super) fn out_of(name: &ServiceName, service: &PresentService<'_>, side: Side) -> BTreeSet<CopyAt> {
    let backends = service.level_routes().flat_map(|route| &route.backends);
    let out = backends.filter(|backend| backend.side == side && backend.standing == Standing::Out);
    out.map(|backend| copy_at(name, backend)).collect()
}

pub(super) fn copy_at(name: &ServiceName, backend: &MeshBackend) -> CopyAt {
    CopyAt { service: name.clone(), server: backend.server.clone(), replica: backend.replica, side: backend.side }
}

/// What was out stays out where its service stays as it is and is still checked; what is started anew is in. Where that would leave nobody,
/// all are in.
pub(in crate::plan) fn keep_out(desired: &Desired<'_>, side: Side, backends: &mut [MeshBackend]) {
    let Some(present) = desired.present.filter(|_| stays(desired, side)) else { return };
    let out = out_of(desired.name, present, side);
    let is_missed = |backend: &MeshBackend| desired.missed.contains(&(backend.server.clone(), backend.replica));
    apply(backends, |backend| out.contains(&copy_at(desired.name, backend)) && !is_missed(backend));
}

/// Gives every backend that serves its standing.
pub(super) fn apply(backends: &mut [MeshBackend], is_out: impl Fn(&MeshBackend) -> bool) {
    let somebody_is_in = backends.iter().any(|backend| backend.role.takes_traffic() && !is_out(backend));
    for backend in backends.iter_mut().filter(|backend| backend.role.takes_traffic()) {
        backend.standing = if somebody_is_in && is_out(backend) { Standing::Out } else { Standing::In };
    }
}

fn stays(desired: &Desired<'_>, side: Side) -> bool {
    desired.from == Some(side) && desired.service.balance.active_checks.is_some()
}

/// What a plan has to say of them.
#[must_use]
pub(in crate::plan) fn notes(present: &Present<'_>, playbook: &Playbook, moves: impl Fn(&ServiceName) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, service) in present.services.iter().filter(|(name, _)| !moves(name)) {
        let is_checked = playbook.services.get(name).is_some_and(|service| service.balance.active_checks.is_some());
        for copy in service.live().map(|live| out_of(name, service, live)).unwrap_or_default() {
            let then = if is_checked {
                "it stays out; `flipside watch` takes it in again once it passes them"
            } else {
                "it is taken in again: the playbook has no `active_checks` for it any more"
            };
            findings.push(Finding {
                level: Level::Note,
                server: Some(copy.server.clone()),
                service: Some(name.clone()),
                text: format!("its copy {} here is out of every upstream: it failed its active checks", copy.replica),
                hint: then.to_owned(),
            });
        }
    }
    findings
}

/// What `status` has to say of one service.
#[must_use]
pub(in crate::plan) fn troubles(service: &PresentService<'_>, live: Side) -> Vec<String> {
    let mut told = BTreeSet::new();
    for backend in service.level_routes().flat_map(|route| &route.backends) {
        if backend.side == live && backend.standing == Standing::Out {
            told.insert(format!(
                "copy {} on {} is out of every upstream: it failed its active checks, and `flipside watch` takes it in again once it passes them",
                backend.replica, backend.server
            ));
        }
    }
    told.into_iter().collect()
}
