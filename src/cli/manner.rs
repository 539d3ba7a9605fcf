//! What the options of a run ask for. Deliberately absent: carrying it out.
use super::args::{DoingWithout, Leaving, Probing};
use crate::model::{Millis, ServiceName};
use crate::plan::{Back, Force, Orphans, Repair, Wanted};

/// What the options ask for, of a plan that goes to the playbook.
pub(super) fn wanted(services: &[ServiceName], force: bool, repair: bool) -> Wanted {
    Wanted {
        selected: services.iter().cloned().collect(),
        force: if force { Force::Yes } else { Force::No },
        back: Back::No,
        repair: if repair { Repair::Yes } else { Repair::No },
        max_unreachable: None,
        catch_up: false,
        orphans: Orphans::Stay,
        maintenance: None,
    }
}

impl Wanted {
    /// The same, with the option's budget for servers that are left behind.
    pub(super) fn without(self, doing_without: DoingWithout) -> Wanted {
        Wanted { max_unreachable: doing_without.max_unreachable, ..self }
    }

    /// The same, with what the option says of services that left the playbook.
    pub(super) fn with(self, leaving: Leaving) -> Wanted {
        Wanted { orphans: if leaving.remove_orphans { Orphans::Go } else { Orphans::Stay }, ..self }
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
