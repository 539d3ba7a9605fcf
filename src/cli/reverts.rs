//! Servers that are about to put back what a run of another project left half switched: that run's revert would be ours to take away, and
//! its project nobody's to mend. So they are let do it first. Deliberately absent: the reverts of our own project, which plans take over.
use super::exit::Outcome;
use super::print::{complain, talk};
use super::survey::{Surveyed, is_of};
use crate::facts::{Facts, RevertState};
use crate::model::ServerName;
use crate::plan::{Plan, REVERT_GRACE, prose};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// From the grace to the end: a late switch is waited for, for 20 s, and the switch itself takes its time.
const AFTER_THE_GRACE: Duration = Duration::from_secs(30);
/// Between two looks.
const AGAIN: Duration = Duration::from_secs(1);

/// The servers of the plan that watch over a run of another project or environment.
#[must_use]
pub(super) fn others(surveyed: &Surveyed, plan: &Plan) -> BTreeSet<ServerName> {
    let watches = |facts: &Facts| {
        facts
            .revert
            .as_ref()
            .is_some_and(|revert| revert.state == RevertState::Watching && !is_of(&revert.holder, &plan.project, &plan.env))
    };
    let servers = plan.servers();
    surveyed.fleet.iter().filter(|(server, facts)| servers.contains(server) && watches(facts)).map(|(server, _)| server.clone()).collect()
}

/// Waits until those of them that nobody has locked have put themselves back, and says whether the servers have changed by that. No lease
/// is to be held: it would keep them from it.
///
/// # Errors
/// The outcome to exit with; nothing was changed.
pub(super) async fn until_put_back(surveyed: &mut Surveyed, plan: &Plan) -> Result<bool, Outcome> {
    let before = others(surveyed, plan);
    if before.is_empty() {
        return Ok(false);
    }
    let bound = REVERT_GRACE.duration() + AFTER_THE_GRACE;
    let began = Instant::now();
    let mut told = false;
    loop {
        surveyed.again().await?;
        let others = others(surveyed, plan);
        // A lock that is held is another matter, and patience's.
        let free =
            others.iter().find_map(|server| surveyed.fleet.get(server).filter(|facts| facts.lease.is_none()).map(|facts| (server, facts)));
        let Some((server, facts)) = free else { return Ok(told || others != before) };
        let who = facts.revert.as_ref().map_or("", |revert| revert.holder.as_str());
        let who = prose::clean(who);
        let text = format!("{server} is about to put back what a run of another project left half switched ({who})");
        if began.elapsed() > bound {
            complain(&format!(
                "{text}, and has not done so in {} s: look at it with `flipside status` of that project; nothing was changed",
                bound.as_secs()
            ));
            return Err(Outcome::Locked);
        }
        if !told {
            talk(&format!("flipside: waiting, {} s at most: {text}\n", bound.as_secs()));
            told = true;
        }
        tokio::time::sleep(AGAIN).await;
    }
}
