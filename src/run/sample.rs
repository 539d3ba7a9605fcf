//! A plan for the tests of this room: what it does to which servers is theirs to say.
use crate::config::OnFailure;
use crate::model::{BackendMode, EnvName, ProjectName, ServiceName};
use crate::plan::{Basis, Intent, PLAN_FORMAT, Plan, ServicePlan, Wave};
use std::collections::{BTreeMap, BTreeSet};

/// A deploy of `shop` in `prod` to several servers, with these services and waves.
pub(super) fn deploy_of(services: BTreeMap<ServiceName, ServicePlan>, waves: Vec<Wave>) -> Plan {
    Plan {
        format: PLAN_FORMAT,
        intent: Intent::Deploy,
        project: ProjectName::new("shop").unwrap(),
        env: EnvName::new("prod").unwrap(),
        version: String::new(),
        mode: BackendMode::MultiServer,
        basis: Basis { playbook: String::new(), inventory: String::new(), templates: String::new(), facts: BTreeMap::new() },
        services,
        left_out: BTreeSet::new(),
        on_failure: OnFailure::Rollback,
        found: BTreeMap::new(),
        waves,
    }
}
