//! Checks of copies that serve: `active_checks` and `slow_start` in a service's `balance`. Deliberately absent: who checks, and what follows.
use super::keys::Part;
use super::node::Value;
use super::types::Service;
use super::values;
use super::walk::{Section, Walk};
use crate::model::{ActiveChecks, Method, Millis, Protocol};

const MINUTE: u64 = 60;
/// What a word of an NGINX file cannot have.
const NOT_A_WORD: [char; 7] = [';', '{', '}', '$', '"', '\'', '\\'];

/// `active_checks`: true, false, or a table.
pub(super) fn active_checks(walk: &mut Walk<'_>, balance: &Section<'_>) -> Option<ActiveChecks> {
    let entry = balance.table.get("active_checks")?;
    match &entry.node.value {
        Value::Table(_) => {}
        Value::Flag(true) => return Some(ActiveChecks::default()),
        Value::Flag(false) => return None,
        Value::Text(_) | Value::Integer(_) | Value::Number(_) | Value::Date | Value::Null | Value::List(_) => {
            let title = format!("`active_checks` in {} must be true, false or a table, not {}", balance.what, entry.node.kind());
            walk.report(entry.node.span, title, "write `active_checks = true`");
            return None;
        }
    }
    let section = walk.section(entry, Part::ActiveChecks, format!("`active_checks` in {}", balance.what))?;
    let mut checks = ActiveChecks::default();
    if let Some((path, span)) = walk.text(&section, "path") {
        if let Err(advice) = values::request_path(&path) {
            walk.report(span, format!("`{path}` is not the path of a request"), advice);
        }
        checks.path = Some(path);
    }
    let mut time = |key, range, target: &mut Millis| {
        if let Some((value, _)) = walk.duration(&section, key, range, "") {
            *target = value;
        }
    };
    time("interval", Millis::seconds(1)..=Millis::seconds(10 * MINUTE), &mut checks.interval);
    time("timeout", Millis(100)..=Millis::seconds(MINUTE), &mut checks.timeout);
    if let Some((fails, _)) = walk.number(&section, "fails", 1..=100, "failed checks in a row that take a copy out") {
        checks.fails = fails;
    }
    if let Some((passes, _)) = walk.number(&section, "passes", 1..=100, "passed checks in a row that take it in again") {
        checks.passes = passes;
    }
    Some(checks)
}

/// `slow_start`, which goes with the methods alone that know of weights.
pub(super) fn slow_start(walk: &mut Walk<'_>, balance: &Section<'_>, method: Option<&Method>) -> Option<Millis> {
    let (time, span) = walk.duration(balance, "slow_start", Millis::seconds(1)..=Millis::seconds(60 * MINUTE), "")?;
    if let Some(method) = method.filter(|method| !method.has_backups()) {
        let title = format!("{} has `method = \"{}\"` and `slow_start`", balance.what, method.as_str());
        walk.report(span, title, "NGINX Plus refuses the two together: use `round_robin` or `least_conn`, or leave one of the two out");
        return None;
    }
    Some(time)
}

/// What is asked: for http a path, its own or that of the health check; for tcp nothing. Datagrams cannot be checked.
pub(super) fn complete(walk: &mut Walk<'_>, section: &Section<'_>, service: &mut Service) {
    let speaks_grpc = service.speaks_grpc();
    let Some(checks) = &mut service.balance.active_checks else { return };
    let entry = section.table.get("balance").and_then(|balance| balance.node.table()).and_then(|balance| balance.get("active_checks"));
    let span = entry.map_or(section.span, |entry| entry.key_span);
    let what = &section.what;
    match service.protocol {
        Protocol::Http if speaks_grpc => {
            let title = format!("{what} speaks gRPC and cannot have `active_checks`");
            walk.report(span, title, "they ask by HTTP/1.1: leave it out");
        }
        Protocol::Http => {
            checks.path = checks.path.take().or_else(|| service.health_check.path.clone());
            match &checks.path {
                Some(path) if path.contains(NOT_A_WORD) => {
                    let title = format!("{what} has `active_checks` that ask for `{path}`");
                    walk.report(span, title, "NGINX Plus could not be told of it: leave out `;`, `{`, `}`, `$`, quotes and `\\`");
                }
                Some(_) => {}
                None => {
                    let title = format!("{what} has `active_checks` and no path to ask for");
                    walk.report(span, title, "write `active_checks = { path = \"/up\" }`, or `path` in its health check");
                }
            }
        }
        Protocol::Tcp if checks.path.is_some() => {
            let title = format!("{what} speaks tcp and cannot have `path` in its active checks");
            walk.report(span, title, "write `protocol = \"http\"`, or leave `path` out: then a connection is made");
        }
        Protocol::Tcp => {}
        Protocol::Udp => {
            let title = format!("{what} speaks udp and cannot have `active_checks`");
            walk.report(span, title, "nobody knows what a datagram would be answered with: leave it out");
        }
    }
}
