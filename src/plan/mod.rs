//! The heart: from playbook, inventory and facts to a plan, and from plan and ledger to what is next. Deliberately absent: doing anything.
mod build;
mod claims;
mod containers;
mod lint;
mod next;
mod place;
mod ports;
mod prepare;
mod present;
mod remove;
mod routes;
mod show;
mod sites;
mod status;
mod steps;
mod summary;
mod target;
mod turn;
mod types;

pub use build::{Inputs, build, is_fatal};
pub use next::{Move, next};
pub use place::{Placement, place};
pub use present::{Fleet, Present, PresentService, Unit, present};
pub use show::{CommandsOf, NginxFiles, Paint, View, action_name, describe, prose, show};
pub use status::{ServiceStatus, State, status};
pub use target::{Back, Force, Wanted, backend_mode};
pub use types::{Basis, Change, Finding, Intent, Level, PLAN_FORMAT, Plan, ServicePlan, Step, UndoKind, Wave, WaveKind};
