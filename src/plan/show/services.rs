//! The table of services: one line each, with what changes and why.
use super::paint::Paint;
use super::prose;
use crate::model::{BackendMode, Side, secondary_port};
use crate::plan::{Change, Plan, ServicePlan};

pub(super) fn lines(plan: &Plan, paint: Paint) -> Vec<String> {
    let head = ["  service", "version", "side", "servers", "base/secondary", "internal", "why"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (name, service) in &plan.services {
        rows.push(vec![
            format!("{} {name}", sign(service.change)),
            arrow(service.from_version.as_deref(), service.to_version.as_deref()),
            arrow(service.from.map(Side::as_str), service.to.map(Side::as_str)),
            servers(service),
            ports(service, plan.mode),
            service.internal_port.map_or_else(String::new, |port| port.to_string()),
            why(service),
        ]);
    }
    let mut lines = prose::columns(&rows);
    lines[0] = paint.dim(&lines[0]);
    for (line, service) in lines.iter_mut().skip(1).zip(plan.services.values()) {
        *line = match service.change {
            Change::Create => paint.green(line),
            Change::Toggle | Change::Restore | Change::CatchUp => paint.yellow(line),
            Change::Keep => paint.dim(line),
            Change::Remove => paint.red(line),
        };
    }
    lines
}

fn sign(change: Change) -> char {
    match change {
        Change::Create => '+',
        Change::Toggle | Change::Restore | Change::CatchUp => '~',
        Change::Keep => '=',
        Change::Remove => '-',
    }
}

fn arrow(from: Option<&str>, to: Option<&str>) -> String {
    match (from, to) {
        (None, None) => String::new(),
        (Some(from), Some(to)) if from == to => to.to_owned(),
        (from, to) => format!("{} → {}", from.unwrap_or("none"), to.unwrap_or("none")),
    }
}

fn servers(service: &ServicePlan) -> String {
    let list = prose::server_list(&service.servers);
    if service.replicas > 1 { format!("{list} × {}", service.replicas) } else { list }
}

fn ports(service: &ServicePlan, mode: BackendMode) -> String {
    match mode {
        BackendMode::SingleServer => "not published".to_owned(),
        BackendMode::MultiServer => {
            let pair = |base: &u16| format!("{base}/{}", secondary_port(*base));
            let own = service.base_ports.values().map(pair);
            // What public hosts are served from, where it is another port of the same containers.
            let app = service.app_base_ports.values().map(|base| format!("app {}", pair(base)));
            own.chain(app).collect::<Vec<_>>().join(" ")
        }
    }
}

fn why(service: &ServicePlan) -> String {
    if service.hands_over && service.change != Change::Keep { format!("{} (handed over)", service.reason) } else { service.reason.clone() }
}
