//! The plan as text, for `flipside plan` and for the question before a deploy. Deliberately absent: writing it anywhere, and the
//! commands and NGINX files themselves, which the caller hands in.
mod actions;
mod around;
mod diff;
mod paint;
pub mod prose;
mod services;
mod waves;

pub use actions::{action_name, describe};
pub use around::{hooks_around, show_hooks_around};
pub use paint::Paint;

use super::types::{Change, Finding, Intent, Level, Plan};
use crate::config::OnFailure;
use crate::model::{Action, ServerName};
use std::collections::BTreeMap;

/// The exact commands of an action on a server, one a line, without secrets.
pub type CommandsOf<'a> = dyn Fn(&ServerName, &Action) -> Vec<String> + 'a;

/// What is shown besides the plan itself.
pub struct View<'a> {
    /// Coloured or not.
    pub paint: Paint,
    /// What the checks noticed.
    pub findings: &'a [Finding],
    /// Below each step, what takes it back.
    pub undo: bool,
    /// Below each step, its commands.
    pub commands: Option<&'a CommandsOf<'a>>,
    /// Each server's NGINX files before and after. Empty: no diff is shown.
    pub nginx: &'a BTreeMap<ServerName, NginxFiles>,
}

/// One server's NGINX files before and after: paths below the generation's folder, with their whole content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NginxFiles {
    /// As they are.
    pub old: BTreeMap<String, String>,
    /// As they will be.
    pub new: BTreeMap<String, String>,
}

/// The plan as text, ending in a line feed.
#[must_use]
pub fn show(plan: &Plan, view: &View<'_>) -> String {
    let mut lines = vec![header(plan, view.paint)];
    if !plan.services.is_empty() {
        lines.push(String::new());
        lines.extend(services::lines(plan, view.paint));
    }
    if !view.findings.is_empty() {
        lines.push(String::new());
        lines.extend(findings(view.findings, view.paint));
    }
    if !plan.waves.is_empty() {
        lines.push(String::new());
        lines.extend(waves::lines(plan, view));
    }
    let diff = diff::lines(view.nginx, view.paint);
    if !diff.is_empty() {
        lines.push(String::new());
        lines.extend(diff);
    }
    lines.push(String::new());
    lines.push(footer(plan, view));
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

fn header(plan: &Plan, paint: Paint) -> String {
    let title = format!("{} {}/{} {}", plan.intent.as_str(), plan.project, plan.env, plan.version);
    let servers = plan.servers();
    let place = if servers.is_empty() { String::new() } else { format!(" on {}", prose::server_list(servers)) };
    format!("{}{place} ({})", paint.bold(&title), plan.mode.as_str())
}

fn footer(plan: &Plan, view: &View<'_>) -> String {
    let fatal = view.findings.iter().filter(|finding| finding.level == Level::Fatal).count();
    if fatal > 0 {
        return view.paint.red(&format!("This plan cannot be run: {}.", prose::count(fatal, "fatal finding")));
    }
    if plan.waves.is_empty() {
        return view.paint.green(match plan.intent {
            Intent::Deploy => "Nothing to do: the servers are as the playbook says.",
            Intent::CatchUp => "Nothing to do: no server is behind.",
            Intent::Watch => "Nothing to do: every copy is in or out as its checks say.",
            Intent::Rollback => "Nothing to do: there is nothing to go back to.",
            Intent::Maintenance => "Nothing to do: the public hosts are as they should be.",
            Intent::Remove => "Nothing to do: there is nothing of it on the servers.",
        });
    }
    let of = |wanted: &[Change]| plan.services.values().filter(|service| wanted.contains(&service.change)).count();
    let parts = [
        (of(&[Change::Create]), "to create"),
        (of(&[Change::Toggle, Change::Restore]), "to switch"),
        (of(&[Change::CatchUp]), "to bring level"),
        (of(&[Change::Remove]), "to remove"),
        (of(&[Change::Keep]), "unchanged"),
    ];
    let held = match plan.on_failure {
        OnFailure::Rollback => "",
        OnFailure::Hold => " Where a step fails nothing is undone: the run is held.",
    };
    let mut text: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    text.push(format!("{} in {}", prose::count(plan.n_steps(), "step"), prose::count(plan.waves.len(), "wave")));
    format!("{}.{held}", text.join(", "))
}

fn findings(findings: &[Finding], paint: Paint) -> Vec<String> {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort();
    let mut lines = vec![paint.bold("Findings")];
    for finding in sorted {
        let level = match finding.level {
            Level::Fatal => paint.red("fatal  "),
            Level::Warning => paint.yellow("warning"),
            Level::Note => paint.dim("note   "),
        };
        let place: Vec<&str> =
            finding.server.iter().map(|name| name.as_str()).chain(finding.service.iter().map(|name| name.as_str())).collect();
        let place = if place.is_empty() { String::new() } else { format!("{}: ", place.join(", ")) };
        lines.push(format!("  {level}  {place}{}", prose::clean_lines(&finding.text)));
        if !finding.hint.is_empty() {
            lines.push(format!("           {}", paint.cyan(&prose::clean_lines(&finding.hint))));
        }
    }
    lines
}
