//! What the options of a run ask for. Deliberately absent: carrying it out.
use super::args::{DoingWithout, Probing};
use crate::model::{Millis, ServiceName};
use crate::plan::{Back, Force, Repair, Wanted};

/// What the options ask for, of a plan that goes to the playbook.
pub(super) fn wanted(services: &[ServiceName], force: bool, repair: bool) -> Wanted {
    Wanted {
        selected: services.iter().cloned().collect(),
        force: if force { Force::Yes } else { Force::No },
        back: Back::No,
        repair: if repair { Repair::Yes } else { Repair::No },
        max_unreachable: None,
        catch_up: false,
    }
}

impl Wanted {
    /// The same, with the option's budget for servers that are left behind.
    pub(super) fn without(self, doing_without: DoingWithout) -> Wanted {
        Wanted { max_unreachable: doing_without.max_unreachable, ..self }
    }
}

/// How a plan is run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// Nobody is asked.
    pub(super) confirmed: bool,
    /// Requests that watch the run.
    pub(super) probing: Probing,
    /// How long other runs are waited for.
    pub(super) lock_wait: Millis,
}
