//! Services of which servers route different sides, or both: what is said of those that a plan brings to one side. Every plan does, since it
//! writes what servers route of all services. Deliberately absent: which side that is.
use super::present::PresentService;
use super::target::Desired;
use super::types::{Finding, Level};
use crate::model::Side;

/// After a deploy that brings them to one side.
pub(super) const GOES_ON: &str = "`deploy` goes on to the playbook's version by itself, with a plan of its own";

/// Before a plan for something else.
pub(super) const DECIDE_FIRST: &str = "where its run was made, `flipside resume`, `promote` or `abort` decides about it: do that first";

/// What is said of one, where it is one.
pub(super) fn warning(desired: &Desired<'_>, live: Side, hint: &str) -> Option<Finding> {
    let present = desired.present.filter(|present| present.is_split())?;
    let seen = match present.level_routes().any(|route| route.canary.is_some()) {
        true => "a canary is tried, and nobody is at it: its run was cut off, is held or waits for promotion",
        false => "servers route different sides: a run was cut off",
    };
    Some(Finding {
        level: Level::Warning,
        server: None,
        service: Some(desired.name.clone()),
        text: format!("{seen}. This plan brings them all to the {live} side, and no further"),
        hint: hint.to_owned(),
    })
}

/// The same of all that a plan for something else leaves as they are.
pub(super) fn warnings(desired: &[Desired<'_>]) -> Vec<Finding> {
    let live = |desired: &Desired<'_>| desired.present.and_then(PresentService::live);
    desired.iter().filter_map(|desired| warning(desired, live(desired)?, DECIDE_FIRST)).collect()
}
