//! The reverts that servers are left with while a run switches, and what is said of those that are found. Deliberately absent: the shell.
use super::present::Fleet;
use super::routes::Routing;
use super::soak::is_watch;
use super::steps::plain;
use super::types::{Finding, Level, Step, UndoKind, Wave, WaveKind};
use crate::facts::{Facts, RevertFact, RevertState};
use crate::model::{Action, GenerationId, HookPoint, Millis, ServerName};
use std::collections::BTreeMap;

/// A run that was cut off is given this long to come back, from when its lease is free, before a server puts itself back.
pub const REVERT_GRACE: Millis = Millis::seconds(15);

/// Waves with switches, by their positions: those of one stretch go back together, all of them or none. What a handover switches is in
/// none: its old side does not run any more, and to start it again is not for one server to decide, since the new side may run on another.
#[derive(Debug, Default)]
pub(super) struct Stretches(Vec<Vec<usize>>);

impl Stretches {
    /// The wave at this position belongs to the present stretch.
    pub(super) fn covers(&mut self, wave: usize) {
        match self.0.last_mut() {
            Some(stretch) => stretch.push(wave),
            None => self.0.push(vec![wave]),
        }
    }

    /// A handover comes: what is switched after it makes another stretch.
    pub(super) fn leaves_out(&mut self) {
        self.0.push(Vec::new());
    }
}

/// Arms a revert on every server before its first switch of a stretch, and confirms it on all of them in a wave of its own after the
/// last: nothing that the generation from before routes to is stopped before that wave is complete. While the run is undone, the reverts
/// are armed again before anything is switched back, and taken away at the end.
pub(super) fn guard(waves: &mut Vec<Wave>, stretches: &Stretches) {
    for stretch in stretches.0.iter().rev() {
        let Some(last) = stretch.last() else { continue };
        let mut switched: BTreeMap<ServerName, (GenerationId, Vec<GenerationId>)> = BTreeMap::new();
        for wave in stretch.iter().filter_map(|index| waves.get(*index)) {
            for (server, step) in wave.servers.iter().flat_map(|(server, steps)| steps.iter().map(move |step| (server, step))) {
                if let Action::Switch { expect: Some(before), to } = &step.action {
                    switched.entry(server.clone()).or_insert_with(|| (before.clone(), Vec::new())).1.push(to.clone());
                }
            }
        }
        let mut confirmed = BTreeMap::new();
        for (server, (back, to)) in switched {
            let Some(live) = to.last().cloned() else { continue };
            let arm = Action::ArmRevert { back: back.clone(), to, grace: REVERT_GRACE };
            let again = vec![arm.clone()];
            let step = plain(format!("arm the revert to generation {back}"), arm).undone_by(UndoKind::Cleans, vec![Action::DisarmRevert]);
            let first = stretch.iter().find(|index| waves.get(**index).is_some_and(|wave| wave.servers.contains_key(&server)));
            if let Some(steps) = first.and_then(|index| waves.get_mut(*index)?.servers.get_mut(&server)) {
                let position = steps.iter().position(|step| matches!(step.action, Action::Switch { .. })).unwrap_or(0);
                steps.insert(position, step);
            }
            let confirm = plain(format!("confirm generation {live}"), Action::ConfirmSwitch { to: live });
            confirmed.insert(server, vec![confirm.undone_by(UndoKind::Cleans, again)]);
        }
        // Where a hook after a switch or the watch of the new side is cut off, everybody goes back.
        let belongs = |wave: &&Wave| wave.servers.values().flatten().any(|step| after_switch(&step.action));
        let n_more = waves.iter().skip(last + 1).take_while(belongs).count();
        waves.insert(last + 1 + n_more, Wave { name: "confirm".to_owned(), kind: WaveKind::Work, servers: confirmed });
    }
}

fn after_switch(action: &Action) -> bool {
    is_watch(action) || matches!(action, Action::Hook(hook) if hook.point == HookPoint::AfterSwitch)
}

/// Takes over from a run that was cut off, once the leases of all servers are ours: its revert must not fire on what this run makes live.
/// Where this run fails, the fleet is as that one left it, and heals as before.
pub(super) fn take_over(facts: &Facts) -> Option<Step> {
    let RevertFact { state, back, to, .. } = facts.revert.as_ref()?;
    let again = Action::ArmRevert { back: back.clone(), to: to.clone(), grace: REVERT_GRACE };
    let step = plain("disarm the revert of an earlier run", Action::DisarmRevert);
    Some(if state.is_armed() { step.undone_by(UndoKind::Cleans, vec![again]) } else { step })
}

/// The servers that would put themselves back and that route this project, or have containers of it, since a run that was cut off may
/// have taken its last route away: also where they are as they should be already.
pub(super) fn to_take_over(routing: &Routing<'_>) -> Vec<ServerName> {
    let armed = |facts: &Facts| facts.revert.as_ref().is_some_and(|revert| revert.state.is_armed());
    let ours = |server: &ServerName| {
        let mut services = routing.present.services.values();
        services.any(|service| service.routes.contains_key(server) || service.units.iter().any(|unit| unit.server == *server))
    };
    routing.fleet.iter().filter(|(server, facts)| armed(facts) && ours(server)).map(|(server, _)| server.clone()).collect()
}

/// What is to be said of the reverts that servers were left with. Of those of a run that goes on, nothing.
#[must_use]
pub fn revert_notes(fleet: &Fleet) -> Vec<Finding> {
    fleet.iter().filter_map(|(server, facts)| note(server, facts, facts.revert.as_ref()?)).collect()
}

fn note(server: &ServerName, facts: &Facts, revert: &RevertFact) -> Option<Finding> {
    let RevertFact { back, holder, .. } = revert;
    let ago = ago(facts.clock.saturating_sub(revert.at));
    let (level, text, hint) = match revert.state {
        RevertState::Watching if facts.lease.is_some() => return None,
        RevertState::Watching => (
            Level::Note,
            format!("a run was cut off before all servers had switched ({holder}); this server will put itself back to generation {back}"),
            format!(
                "it does so {} s after that run was last heard of; a run of its project that begins earlier takes over, and one of another project waits",
                REVERT_GRACE.0 / 1000
            ),
        ),
        RevertState::Lost => (
            Level::Warning,
            format!(
                "a run was cut off before all servers had switched ({holder}), and this server was started anew before it could put itself back to generation {back}"
            ),
            "resume that run, or deploy: either brings all servers to one side".to_owned(),
        ),
        RevertState::Reverted => (
            Level::Note,
            format!("it put itself back to generation {back} {ago}: a run was cut off before all servers had switched ({holder})"),
            String::new(),
        ),
        RevertState::Left => return None,
        RevertState::Failed => (
            Level::Warning,
            format!(
                "a run was cut off before all servers had switched ({holder}), and this server could not put itself back to generation {back}: {}",
                revert.text
            ),
            "look at its NGINX; then resume that run, or deploy".to_owned(),
        ),
    };
    Some(Finding { level, server: Some(server.clone()), service: None, text, hint })
}

/// `12 seconds ago`, by one server's clock.
fn ago(millis: u64) -> String {
    let seconds = millis / 1000;
    let (n, unit) = match seconds {
        0..=119 => (seconds, "seconds"),
        120..=7_199 => (seconds / 60, "minutes"),
        7_200..=172_799 => (seconds / 3_600, "hours"),
        172_800.. => (seconds / 86_400, "days"),
    };
    format!("{n} {unit} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_unit_that_fits() {
        let told = [0, 119_999, 120_000, 7_199_000, 7_200_000, 172_800_000].map(ago);
        assert_eq!(told, ["0 seconds ago", "119 seconds ago", "2 minutes ago", "119 minutes ago", "2 hours ago", "2 days ago"]);
    }
}
