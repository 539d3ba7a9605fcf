//! The hooks that are no steps of any plan: around connecting, and after a failure. Deliberately absent: all others, which stand among the waves.
use super::paint::Paint;
use super::prose;
use crate::config::{Hook, Playbook};
use crate::docker::Command;
use crate::model::HookPoint;
use crate::script::quote::line;
use std::collections::BTreeMap;

/// Those of the playbook, by their moment.
#[must_use]
pub fn hooks_around(playbook: &Playbook) -> BTreeMap<HookPoint, Vec<Hook>> {
    let is_around = |point: &HookPoint| match point {
        HookPoint::BeforeConnect | HookPoint::AfterConnect | HookPoint::AfterFailure => true,
        HookPoint::BeforeDeploy
        | HookPoint::BeforeRollback
        | HookPoint::BeforeSwitch
        | HookPoint::AfterSwitch
        | HookPoint::AfterDeploy
        | HookPoint::AfterRollback => false,
    };
    playbook.hooks.iter().filter(|(point, _)| is_around(point)).map(|(point, hooks)| (*point, hooks.clone())).collect()
}

/// The same as lines of text; none where there are none.
#[must_use]
pub fn show_hooks_around(playbook: &Playbook, paint: Paint) -> Vec<String> {
    let mut rows = Vec::new();
    for (point, hooks) in hooks_around(playbook) {
        let when = if point == HookPoint::AfterFailure { "where the run fails" } else { "also where nothing is to do" };
        rows.extend(hooks.into_iter().map(|hook| {
            let command = prose::clean(&line(&Command(hook.command)).replace('\n', " "));
            vec![format!("  {}", point.as_str()), when.to_owned(), command]
        }));
    }
    if rows.is_empty() {
        return Vec::new();
    }
    let title = paint.bold("Hooks around the run, on the workstation: they are no steps");
    std::iter::once(title).chain(prose::columns(&rows)).collect()
}
