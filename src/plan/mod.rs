//! The heart: from playbook, inventory and facts to a plan, and from plan and ledger to what is next. Deliberately absent: doing anything.
mod next;
mod show;
mod types;

pub use next::{Move, next};
pub use show::{CommandsOf, NginxFiles, Paint, View, action_name, describe, prose, show};
pub use types::{Basis, Change, Finding, Intent, Level, PLAN_FORMAT, Plan, ServicePlan, Step, UndoKind, Wave, WaveKind};
