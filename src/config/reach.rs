//! How a service is reached and proves itself: health check, used services, environment. Deliberately absent: public hosts (`proxy`), other services.
use super::keys::Part;
use super::node::Value;
use super::problem::Span;
use super::service::part;
use super::types::{EnvPrefix, HealthCheck};
use super::values;
use super::walk::{Section, Walk};
use crate::model::{Millis, Protocol, ServiceName};
use std::collections::BTreeMap;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Reads the plain environment of a service. Numbers and flags are taken as they are written.
pub(super) fn env(walk: &mut Walk<'_>, section: &Section<'_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let Some(entry) = section.table.get("env") else { return env };
    let Some(table) = entry.node.table() else {
        let title = format!("`env` in {} must be a table, not {}", section.what, entry.node.kind());
        walk.report(entry.node.span, title, "write `env = { NAME = \"value\" }`");
        return env;
    };
    for entry in &table.entries {
        let name = &entry.key;
        if !values::is_variable(name) {
            let label = "use letters, digits and `_`, not beginning with a digit";
            walk.report(entry.key_span, format!("`{name}` is not the name of an environment variable"), label);
            continue;
        }
        let subject = format!("variable `{name}` in {}", section.what);
        let value = match &entry.node.value {
            Value::Integer(number) => Some(number.to_string()),
            Value::Number(number) => Some(number.clone()),
            Value::Flag(flag) => Some(flag.to_string()),
            Value::Text(_) | Value::Date => walk.any_text(&entry.node, &subject),
            Value::Null | Value::List(_) | Value::Table(_) => {
                walk.report(entry.node.span, format!("{subject} must be a string or a number, not {}", entry.node.kind()), "");
                None
            }
        };
        env.extend(value.map(|value| (name.clone(), value)));
    }
    env
}

/// Reads `uses`, a list of services or a table from service to prefix.
pub(super) fn uses(walk: &mut Walk<'_>, section: &Section<'_>, env: &BTreeMap<String, String>) -> BTreeMap<ServiceName, EnvPrefix> {
    let mut uses: BTreeMap<ServiceName, EnvPrefix> = BTreeMap::new();
    let Some(entry) = section.table.get("uses") else { return uses };
    let subject = format!("`uses` in {}", section.what);
    let found: Vec<(String, Span, Option<String>)> = match &entry.node.value {
        Value::List(_) => walk.texts(section, "uses").unwrap_or_default().into_iter().map(|(name, span)| (name, span, None)).collect(),
        Value::Table(table) => table
            .entries
            .iter()
            .filter_map(|entry| {
                let prefix = walk.line(&entry.node, &format!("the prefix of `{}` in {subject}", entry.key))?;
                if !values::is_variable(&prefix.0) {
                    let label = format!(
                        "it begins the names of variables, as in `{}_HOST`: use letters, digits and `_`",
                        default_prefix(&entry.key)
                    );
                    walk.report(prefix.1, format!("`{}` is not a prefix of environment variables", prefix.0), label);
                    return None;
                }
                Some((entry.key.clone(), entry.key_span, Some(prefix.0)))
            })
            .collect(),
        Value::Text(_) | Value::Integer(_) | Value::Number(_) | Value::Flag(_) | Value::Date | Value::Null => {
            walk.list(&entry.node, &subject);
            return uses;
        }
    };
    for (text, span, prefix) in found {
        let Some(name) = walk.named::<ServiceName>(&text, span) else { continue };
        let prefix = prefix.unwrap_or_else(|| default_prefix(name.as_str()));
        let rename = format!("choose another prefix: `uses = {{ {name} = \"OTHER\" }}`");
        if let Some((other, _)) = uses.iter().find(|(_, other)| other.0 == prefix) {
            walk.report(span, format!("`{other}` and `{name}` would both set `{prefix}_HOST` in {}", section.what), rename.clone());
        }
        for variable in [format!("{prefix}_HOST"), format!("{prefix}_PORT")] {
            if env.contains_key(&variable) {
                let place = section.table.get("env").map_or(span, |entry| entry.node.item_span(&variable));
                walk.report(place, format!("`{variable}` in {} is set by `uses` already", section.what), format!("remove it, or {rename}"));
            }
        }
        uses.insert(name, EnvPrefix(prefix));
    }
    uses
}

/// The service's name in upper case, with `_` for `-`.
fn default_prefix(service: &str) -> String {
    service.to_uppercase().replace('-', "_")
}

/// Reads the health check. `protocol` is absent when it was not given or not understood.
pub(super) fn health_check(walk: &mut Walk<'_>, service: &Section<'_>, protocol: Option<Protocol>) -> HealthCheck {
    let mut check = HealthCheck {
        path: None,
        command: None,
        start_period: Millis(0),
        interval: Millis::seconds(1),
        timeout: Millis::seconds(5),
        retries: 3,
        deadline: Millis::seconds(60),
    };
    let Some(section) = part(walk, service, "health_check", Part::HealthCheck) else { return check };
    check.path = health_path(walk, service, &section, protocol);
    check.command = walk.text(&section, "command").map(|(command, _)| command);
    if let (Some(path), Some(command)) = (section.table.get("path"), section.table.get("command")) {
        let later = path.key_span.max(command.key_span);
        walk.report(later, format!("{} has both `path` and `command`", section.what), "one of them decides: keep one");
    }
    let tenth = Millis(100);
    let mut time = |key: &str, range, target: &mut Millis| {
        if let Some((value, _)) = walk.duration(&section, key, range, "") {
            *target = value;
        }
    };
    time("start_period", Millis(0)..=Millis::seconds(HOUR), &mut check.start_period);
    time("interval", tenth..=Millis::seconds(10 * MINUTE), &mut check.interval);
    time("timeout", tenth..=Millis::seconds(10 * MINUTE), &mut check.timeout);
    time("deadline", Millis::seconds(1)..=Millis::seconds(24 * HOUR), &mut check.deadline);
    if let Some((retries, _)) = walk.number(&section, "retries", 1..=100, "passes in a row that count as healthy") {
        check.retries = retries;
    }
    enough_time(walk, &section, &check);
    check
}

fn health_path(walk: &mut Walk<'_>, service: &Section<'_>, section: &Section<'_>, protocol: Option<Protocol>) -> Option<String> {
    let (path, span) = walk.text(section, "path")?;
    if let Err(advice) = values::request_path(&path) {
        walk.report(span, format!("`{path}` is not the path of a request"), advice);
    }
    let entry = section.table.get("path")?;
    not_http(walk, service, entry.key_span, "`path` in its health check", protocol, |protocol| match protocol {
        Protocol::Udp => "write `command`, or nothing",
        Protocol::Tcp | Protocol::Http => "write `protocol = \"http\"`; a tcp service proves itself by accepting a connection",
    });
    Some(path)
}

/// Reports `holder` on a service that is known not to speak http.
pub(super) fn not_http(
    walk: &mut Walk<'_>,
    service: &Section<'_>,
    span: Span,
    holder: &str,
    protocol: Option<Protocol>,
    advice: fn(Protocol) -> &'static str,
) {
    let understood = protocol.is_some() || service.table.get("protocol").is_none();
    let protocol = protocol.unwrap_or(Protocol::Tcp);
    if understood && protocol != Protocol::Http {
        walk.report(span, format!("{} speaks {} and cannot have {holder}", service.what, protocol.as_str()), advice(protocol));
    }
}

/// The deadline must leave room for the passes that are wanted.
fn enough_time(walk: &mut Walk<'_>, section: &Section<'_>, check: &HealthCheck) {
    let passes = Millis(check.interval.0.saturating_mul(u64::from(check.retries - 1)));
    let least = Millis(check.start_period.0.max(passes.0));
    if check.deadline > least {
        return;
    }
    let keys = ["deadline", "start_period", "retries", "interval"];
    let span = keys.iter().find_map(|key| section.table.get(key)).map_or(section.span, |entry| entry.node.span);
    let title = if check.start_period >= check.deadline {
        format!("{}: the deadline of {} is over before the start period of {}", section.what, check.deadline, check.start_period)
    } else {
        let (retries, interval) = (check.retries, check.interval);
        format!("{}: {retries} passes, one every {interval}, do not fit in the deadline of {}", section.what, check.deadline)
    };
    walk.report(span, title, format!("`deadline` must be longer than {least}"));
}
