//! Commands that look and change nothing: `plan`, `status`, `ports`.
use super::args::{Global, Output};
use super::exit::Outcome;
use super::print::{complain, result, result_line};
use super::resume::held_here;
use super::secrets::{needed, read_secrets};
use super::survey::{Surveyed, commands_of, read_files, survey, survey_all, survey_most};
use crate::config::Playbook;
use crate::model::{Action, CopyAt, ProbeKind, ServerName, ServiceName, Standing};
use crate::plan::{
    CommandsOf, Finding, Level, NginxFiles, Plan, State, View, Wanted, build, check_plan, hooks_around, is_fatal, prose, revert_notes,
    show, show_hooks_around,
};
use std::collections::{BTreeMap, BTreeSet};

/// Services that were named and are not in the playbook: a mistake of the command line, told before any server is asked.
pub(super) fn unknown_services(playbook: &Playbook, services: &[ServiceName]) -> Option<Outcome> {
    let known = &playbook.services;
    let unknown = services.iter().find(|service| !known.contains_key(*service))?;
    let names: Vec<&str> = known.keys().map(ServiceName::as_str).collect();
    complain(&format!("there is no service `{unknown}` in the playbook; its services are {}", names.join(", ")));
    Some(Outcome::Usage)
}

/// Makes a plan of what was surveyed.
///
/// # Errors
/// The outcome to exit with.
pub(super) fn make(surveyed: &Surveyed, wanted: &Wanted, removed: &BTreeSet<ServiceName>) -> Result<(Plan, Vec<Finding>), Outcome> {
    let (plan, mut findings) = build(surveyed.inputs(wanted, removed)).map_err(|error| {
        complain(&error.to_string());
        Outcome::Configuration
    })?;
    findings.extend(surveyed.without_tunnels.iter().filter(|server| probes_a_port(&plan, server)).map(|server| Finding {
        level: Level::Note,
        server: Some(server.clone()),
        service: None,
        text: "its sshd forbids forwarding: health checks ask from a shell on the server, and need bash there".to_owned(),
        hint: "allow it (AllowTcpForwarding, PermitOpen and DisableForwarding in its sshd_config), or leave it".to_owned(),
    }));
    Ok((plan, findings))
}

/// Makes the plan after which these copies are out or in.
///
/// # Errors
/// The outcome to exit with.
pub(super) fn make_checked(surveyed: &Surveyed, verdicts: &BTreeMap<CopyAt, Standing>) -> Result<(Plan, Vec<Finding>), Outcome> {
    check_plan(surveyed.inputs(&Wanted::default(), &BTreeSet::new()), verdicts).map_err(|error| {
        complain(&error.to_string());
        Outcome::Configuration
    })
}

/// A container's port is asked on this server.
fn probes_a_port(plan: &Plan, server: &ServerName) -> bool {
    let mut steps = plan.waves.iter().filter_map(|wave| wave.servers.get(server)).flatten();
    steps.any(|step| match &step.action {
        Action::AwaitHealthy { probe, .. } | Action::StayHealthy { probe, .. } => {
            matches!(probe.kind, ProbeKind::Http { .. } | ProbeKind::Tcp | ProbeKind::AppPort)
        }
        _ => false,
    })
}

/// What each server's NGINX files are, and what they will be after the last switch.
pub(super) fn nginx_files(surveyed: &Surveyed, plan: &Plan) -> BTreeMap<ServerName, NginxFiles> {
    let mut all = BTreeMap::new();
    for (server, facts) in &surveyed.fleet {
        let mut stages = plan.waves.iter().filter_map(|wave| wave.servers.get(server)).flatten().filter_map(|step| match &step.action {
            Action::StageNginx { files, remove, .. } => Some((files, remove)),
            _ => None,
        });
        let Some((files, remove)) = stages.next_back() else { continue };
        let mut steps = plan.waves.iter().filter_map(|wave| wave.servers.get(server)).flatten();
        let restores = steps.any(|step| matches!(step.action, Action::RestoreGeneration { .. }));
        let restored = [&facts.nginx.other, &facts.nginx.sealed].into_iter().find(|files| restores && !files.is_empty());
        let old: BTreeMap<String, String> = restored.unwrap_or(&facts.nginx.files).clone();
        let mut new = old.clone();
        new.retain(|path, _| !remove.contains(path));
        new.extend(files.clone());
        all.insert(server.clone(), NginxFiles { old, new });
    }
    all
}

/// `flipside plan`.
pub(super) async fn plan(global: &Global, services: &[ServiceName], with_commands: bool, undo: bool, wanted: &Wanted) -> Outcome {
    let mut loaded = match read_files(global) {
        Ok(loaded) => loaded,
        Err(outcome) => return outcome,
    };
    if let Some(outcome) = unknown_services(&loaded.playbook, services) {
        return outcome;
    }
    let needed = needed(&loaded, services);
    if let Err(outcome) = read_secrets(&mut loaded, &needed).await {
        return outcome;
    }
    let budget = wanted.budget(&loaded.playbook, loaded.inventory.servers.len());
    let surveyed = match survey_most(global, loaded, "plan", budget).await {
        Ok(surveyed) => surveyed,
        Err(outcome) => return outcome,
    };
    surveyed.servers.release().await;
    let (plan, mut findings) = match make(&surveyed, wanted, &BTreeSet::new()) {
        Ok(made) => made,
        Err(outcome) => return outcome,
    };
    findings.extend(held(global, &surveyed));
    match global.output {
        Output::Json => {
            let around = hooks_around(&surveyed.loaded.playbook);
            print_json(&serde_json::json!({ "plan": plan, "findings": findings, "hooks_around": around }));
        }
        Output::Text => {
            let commands = commands_of(&surveyed.loaded);
            let commands: &CommandsOf<'_> = &commands;
            let nginx = nginx_files(&surveyed, &plan);
            let paint = crate::report::ColorChoice::from(global.color).on_stdout();
            let view = View { paint, findings: &findings, undo, commands: with_commands.then_some(commands), nginx: &nginx };
            result(&show(&plan, &view));
            show_hooks_around(&surveyed.loaded.playbook, paint).iter().for_each(|line| result_line(line));
        }
    }
    if is_fatal(&findings) { surveyed.fatal(&findings) } else { Outcome::Done }
}

/// A run of this workstation that is held: until somebody has decided, no other begins.
fn held(global: &Global, surveyed: &Surveyed) -> Option<Finding> {
    let text = held_here(global, &surveyed.loaded)?;
    Some(Finding { level: Level::Warning, server: None, service: None, text, hint: String::new() })
}

/// `flipside status`.
pub(super) async fn status(global: &Global, services: &[ServiceName]) -> Outcome {
    let surveyed = match read_files(global) {
        Ok(loaded) => match survey(global, loaded, "status").await {
            Ok(surveyed) => surveyed,
            Err(outcome) => return outcome,
        },
        Err(outcome) => return outcome,
    };
    surveyed.servers.release().await;
    if surveyed.fleet.is_empty() {
        return Outcome::Unreachable;
    }
    let (mut all, mut findings) =
        crate::plan::status(&surveyed.loaded.playbook, &surveyed.loaded.inventory, &surveyed.fleet, &surveyed.silent);
    all.retain(|name, _| services.is_empty() || services.contains(name));
    findings.retain(|finding| finding.service.as_ref().is_none_or(|name| services.is_empty() || services.contains(name)));
    if let Some(unknown) = services.iter().find(|service| !all.contains_key(*service)) {
        complain(&format!("there is no service `{unknown}`, neither in the playbook nor on the servers"));
        return Outcome::Usage;
    }
    findings.extend(revert_notes(&surveyed.fleet));
    findings.extend(held(global, &surveyed));
    match global.output {
        Output::Json => print_json(&serde_json::json!({ "services": all, "silent": surveyed.silent, "findings": findings })),
        Output::Text => {
            let paint = crate::report::ColorChoice::from(global.color).on_stdout();
            let mut rows = vec![["SERVICE", "STATE", "LIVE", "VERSION", "REPLICAS", "PREVIOUS", "SERVERS"].map(str::to_owned).to_vec()];
            for (name, status) in &all {
                let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
                rows.push(vec![
                    name.to_string(),
                    status.state.as_str().to_owned(),
                    status.live.map_or("-".to_owned(), |side| side.to_string()),
                    or_dash(status.versions.iter().cloned().collect::<Vec<_>>().join(", ")),
                    format!("{}/{}", status.n_running, status.n_wanted),
                    or_dash(status.waiting()),
                    or_dash(prose::server_list(status.servers.keys())),
                ]);
            }
            for (line, status) in prose::columns(&rows).into_iter().zip(std::iter::once(None).chain(all.values().map(Some))) {
                let word = status.map_or("", |status| status.state.as_str());
                let painted = match status.map(|status| status.state) {
                    None => paint.bold(&line),
                    Some(State::Running) => line.replacen(word, &paint.green(word), 1),
                    Some(State::Mixed | State::Degraded) => line.replacen(word, &paint.yellow(word), 1),
                    Some(State::Down) => line.replacen(word, &paint.red(word), 1),
                    Some(State::Absent) => line.replacen(word, &paint.dim(word), 1),
                };
                result_line(&painted);
            }
            for (name, status) in &all {
                for trouble in &status.troubles {
                    result_line(&format!("{name}: {trouble}"));
                }
            }
            for finding in &findings {
                for line in prose::finding(finding) {
                    result_line(&line);
                }
            }
        }
    }
    if surveyed.silent.is_empty() { Outcome::Done } else { Outcome::Unreachable }
}

/// `flipside ports`.
pub(super) async fn ports(global: &Global) -> Outcome {
    let surveyed = match read_files(global) {
        Ok(loaded) => match survey_all(global, loaded, "ports").await {
            Ok(surveyed) => surveyed,
            Err(outcome) => return outcome,
        },
        Err(outcome) => return outcome,
    };
    surveyed.servers.release().await;
    let (plan, _) = match make(&surveyed, &Wanted::default(), &BTreeSet::new()) {
        Ok(made) => made,
        Err(outcome) => return outcome,
    };
    let mut rows = vec![["SERVICE", "PROTOCOL", "PORT", "INTERNAL", "REPLICA", "BASE", "SECONDARY"].map(str::to_owned).to_vec()];
    let mut table = Vec::new();
    for (name, service) in &plan.services {
        let (Some(port), Some(internal)) = (service.port, service.internal_port) else { continue };
        for (replica, base) in &service.base_ports {
            let secondary = crate::model::secondary_port(*base);
            rows.push(vec![
                name.to_string(),
                service.protocol.as_str().to_owned(),
                port.to_string(),
                internal.to_string(),
                replica.to_string(),
                base.to_string(),
                secondary.to_string(),
            ]);
            let mut entry = serde_json::json!({
                "service": name, "protocol": service.protocol, "port": port, "internal": internal,
                "replica": replica, "base": base, "secondary": secondary,
            });
            if let (Some(app_port), Some(base)) = (service.app_port, service.app_base_ports.get(replica)) {
                let secondary = crate::model::secondary_port(*base);
                let cells =
                    [name.as_str(), "http", &app_port.to_string(), "-", &replica.to_string(), &base.to_string(), &secondary.to_string()];
                rows.push(cells.map(str::to_owned).to_vec());
                entry["app"] = serde_json::json!({ "port": app_port, "base": base, "secondary": secondary });
            }
            table.push(entry);
        }
    }
    match global.output {
        Output::Json => print_json(&serde_json::Value::Array(table)),
        Output::Text => {
            for line in prose::columns(&rows) {
                result_line(&line);
            }
        }
    }
    Outcome::Done
}

pub(super) fn print_json(value: &serde_json::Value) {
    result_line(&format!("{value:#}"));
}
