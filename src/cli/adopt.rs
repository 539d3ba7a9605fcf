//! `flipside adopt`: prints what could be taken over. Deliberately absent: finding it, which `plan` does, and writing anything.
use super::args::{Global, Output};
use super::exit::Outcome;
use super::look::{print_json, unknown_services};
use super::print::{complain, result_line};
use super::survey::{read_files, survey_all};
use crate::facts::ContainerState;
use crate::model::ServiceName;
use crate::plan::{Paint, Proposal, Wanted, propose, prose};
use std::collections::BTreeSet;

pub(super) async fn adopt(global: &Global, services: &[ServiceName], wanted: &Wanted) -> Outcome {
    let loaded = match read_files(global) {
        Ok(loaded) => loaded,
        Err(outcome) => return outcome,
    };
    if let Some(outcome) = unknown_services(&loaded.playbook, services) {
        return outcome;
    }
    let surveyed = match survey_all(global, loaded, "adopt").await {
        Ok(surveyed) => surveyed,
        Err(outcome) => return outcome,
    };
    surveyed.servers.release().await;
    let proposals = match propose(surveyed.inputs(wanted, &BTreeSet::new())) {
        Ok(proposals) => proposals,
        Err(error) => {
            complain(&error.to_string());
            return Outcome::Configuration;
        }
    };
    match global.output {
        Output::Json => print_json(&serde_json::json!({ "services": proposals })),
        Output::Text => {
            let paint = crate::report::ColorChoice::from(global.color).on_stdout();
            for line in proposals.iter().flat_map(|proposal| lines(proposal, paint)) {
                result_line(&line);
            }
            if proposals.iter().any(|proposal| !proposal.lines.is_empty()) {
                result_line("nothing was changed; with these lines in the playbook, `flipside plan` shows the whole deploy");
            }
        }
    }
    Outcome::Done
}

fn lines(proposal: &Proposal, paint: Paint) -> Vec<String> {
    let name = paint.bold(proposal.service.as_str());
    if proposal.is_deployed {
        return vec![format!("{name}: Flipside runs it already: there is nothing to take over")];
    }
    if proposal.containers.is_empty() {
        return vec![format!("{name}: no container of others looks like it")];
    }
    let mut lines = vec![format!("{name}: {}", prose::count(proposal.containers.len(), "container"))];
    for found in &proposal.containers {
        lines.push(format!("  {} on {}, {}, {}", prose::clean(&found.name), found.server, found.image, word(found.state)));
        lines.extend(found.reasons.iter().map(|reason| paint.dim(&format!("    {reason}"))));
    }
    if proposal.lines.is_empty() {
        lines.push("  the playbook names it already".to_owned());
    } else {
        lines.push(format!("  write in [services.{}]:", proposal.service));
        lines.extend(proposal.lines.iter().map(|line| paint.green(&format!("    {line}"))));
    }
    if !proposal.differences.is_empty() {
        lines.push("  different:".to_owned());
        lines.extend(proposal.differences.iter().map(|difference| format!("    {difference}")));
    }
    if !proposal.findings.is_empty() {
        lines.push("  the plan says:".to_owned());
        lines.extend(proposal.findings.iter().flat_map(prose::finding).map(|line| format!("    {line}")));
    }
    lines
}

fn word(state: ContainerState) -> &'static str {
    if state.is_stopped() { "stopped" } else { "runs" }
}
