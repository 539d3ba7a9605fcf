//! How requests are spread over a service's copies: `balance` of a service. Deliberately absent: which copies there are, and in which zones.
use super::checks::{active_checks, slow_start};
use super::keys::Part;
use super::service::part;
use super::types::{Balance, Takes, ZoneRouting};
use super::walk::{Section, Walk};
use crate::model::{Method, Millis, Upstream};

/// The words for a method, without what belongs to it.
const METHODS: [(&str, Word); 5] = [
    ("round_robin", Word::RoundRobin),
    ("least_conn", Word::LeastConn),
    ("ip_hash", Word::IpHash),
    ("hash", Word::Hash),
    ("random_two", Word::RandomTwo),
];

#[derive(Clone, Copy, PartialEq)]
enum Word {
    RoundRobin,
    LeastConn,
    IpHash,
    Hash,
    RandomTwo,
}

#[derive(Clone, Copy, PartialEq)]
enum Strategy {
    ActiveActive,
    ActivePassive,
}

/// Reads `balance`, with defaults where something is absent or wrong.
pub(super) fn balance(walk: &mut Walk<'_>, service: &Section<'_>) -> Balance {
    let mut balance = Balance::default();
    let Some(section) = part(walk, service, "balance", Part::Balance) else { return balance };
    let strategies = [("active-active", Strategy::ActiveActive), ("active-passive", Strategy::ActivePassive)];
    let strategy = walk.choice(&section, "strategy", &strategies).map_or(Strategy::ActiveActive, |(strategy, _)| strategy);
    let active = walk.number(&section, "active", 1..=1000, "so many copies take requests, and the others wait");
    balance.takes = match (strategy, &active) {
        (Strategy::ActivePassive, active) => Takes::First(active.map_or(1, |(active, _)| active)),
        (Strategy::ActiveActive, None) => Takes::All,
        (Strategy::ActiveActive, Some((_, span))) => {
            let title = format!("{} has `active`, and all its copies are", section.what);
            walk.report(*span, title, "add `strategy = \"active-passive\"`, or remove it");
            Takes::All
        }
    };
    let routings = [("local", ZoneRouting::Local), ("global", ZoneRouting::Global)];
    let zones = walk.choice(&section, "zone_routing", &routings);
    balance.zone_routing = zones.map_or(ZoneRouting::Local, |(routing, _)| routing);
    balance.upstream = upstream(walk, &section);
    balance.upstream.slow_start = slow_start(walk, &section, balance.upstream.method.as_ref());
    balance.active_checks = active_checks(walk, &section);
    let method = balance.upstream.method.as_ref().filter(|method| !method.has_backups());
    if let (Some(method), Some(entry)) = (method, section.table.get("method")) {
        let why = format!("NGINX keeps no backend in reserve with {}, which leads to any of them", method.as_str());
        let refused = |walk: &mut Walk<'_>, with: &str, advice: &str| {
            let title = format!("{} has `method = \"{}\"` and {with}", section.what, method.as_str());
            walk.report_with_note(entry.node.span, title, advice, why.clone());
        };
        if balance.takes != Takes::All {
            refused(walk, "`strategy = \"active-passive\"`", "use `round_robin` or `least_conn`, or leave one of the two out");
        }
        if zones.is_some_and(|(routing, _)| routing == ZoneRouting::Local) {
            refused(walk, "`zone_routing = \"local\"`", "use `round_robin` or `least_conn`, or `zone_routing = \"global\"`");
        }
    }
    balance
}

fn upstream(walk: &mut Walk<'_>, section: &Section<'_>) -> Upstream {
    let mut upstream = Upstream { method: method(walk, section), ..Upstream::default() };
    if let Some((fails, _)) = walk.number(section, "max_fails", 0..=1000, "failures that take a copy out; 0 for never") {
        upstream.max_fails = fails;
    }
    if let Some((tries, _)) = walk.number(section, "tries", 1..=100, "copies that one request is tried on; 1 for no second try") {
        upstream.tries = tries;
    }
    let mut time = |key, range, target: &mut Millis| {
        if let Some((value, _)) = walk.duration(section, key, range, "") {
            *target = value;
        }
    };
    time("fail_timeout", Millis::seconds(1)..=Millis::seconds(3600), &mut upstream.fail_timeout);
    time("tries_timeout", Millis::seconds(1)..=Millis::seconds(3600), &mut upstream.tries_timeout);
    upstream
}

fn method(walk: &mut Walk<'_>, section: &Section<'_>) -> Option<Method> {
    let word = walk.choice(section, "method", &METHODS).map(|(word, _)| word);
    let key = walk.text(section, "key");
    if let (Some((_, span)), true) = (&key, word.is_some_and(|word| word != Word::Hash) || section.table.get("method").is_none()) {
        walk.report(
            *span,
            format!("{} has `key` without `method = \"hash\"`", section.what),
            "it is what is hashed: add the method, or remove it",
        );
    }
    Some(match word? {
        Word::RoundRobin => Method::RoundRobin,
        Word::LeastConn => Method::LeastConn,
        Word::IpHash => Method::IpHash,
        Word::RandomTwo => Method::RandomTwo,
        Word::Hash => {
            let Some((key, span)) = key else {
                walk.missing(section, "key", "write what is hashed: `key = \"$request_uri\"`");
                return None;
            };
            if !is_key(&key) {
                let label = "use NGINX variables, and letters, digits and `_ . : / -` between them: `$host$request_uri`";
                walk.report(span, format!("`{key}` cannot be the `key` in {}", section.what), label);
                return None;
            }
            Method::Hash(key)
        }
    })
}

/// One word of NGINX's grammar that holds a variable. Whether there is one of that name, NGINX says when it tests the generation.
fn is_key(key: &str) -> bool {
    let begins = |rest: &str| rest.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.:/-$".contains(c);
    key.contains('$') && key.chars().all(plain) && key.split('$').skip(1).all(begins)
}
