//! The requests that watched a run: how many, how many failed, where, and the first of these. Deliberately absent: judging them.
use crate::ledger::Ledger;
use crate::model::{ProbeAt, ProbeCount, ProbeFailure, ProbeTally, ServiceName, Verdict};
use crate::plan::{Paint, prose};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// With more rows than this, servers on which nothing happened share one.
const ROWS: usize = 16;
/// Blind spots that are named one by one.
const NAMED: usize = 6;

/// `probe: 1,204 sent, 0 failed`.
pub(super) fn short(tally: &ProbeTally) -> String {
    let total = tally.total();
    format!("probe: {} sent, {} failed", thousands(total.sent), thousands(total.failed))
}

/// `api through server2's NGINX at 19:20:03.412 UTC, in wave switch: status 502`.
pub(super) fn failure(failure: &ProbeFailure) -> String {
    let ProbeFailure { at, began, wave, seen } = failure;
    format!("{} through {}'s NGINX at {}, in wave {wave}: {}", at.service, at.server, clock(*began), prose::clean(seen))
}

/// All that is to be said at the end of a run.
pub(super) fn lines(tally: &ProbeTally, ledger: &Ledger, paint: Paint) -> Vec<String> {
    let total = tally.total();
    let handed_over = if total.in_gap == 0 { String::new() } else { format!(" and {} in a handover", thousands(total.in_gap)) };
    let title = format!(
        "probe: {} requests through the servers' NGINX, {} failed{handed_over}, slowest {}",
        thousands(total.sent),
        thousands(total.failed),
        tally_time(&total)
    );
    let mark = if total.failed == 0 { paint.green("✔") } else { paint.red("✘") };
    let mut lines = vec![format!("{mark} {}", paint.bold(&title))];
    lines.extend(prose::columns(&rows(tally)).into_iter().map(|line| format!("  {line}")));
    lines.extend(tally.unprobed.iter().map(|(service, why)| format!("  {service} is not probed: {why}")));
    for (position, first) in tally.failures.iter().enumerate() {
        let name = if position == 0 { "failed first" } else { "" };
        lines.push(paint.red(&format!("  {name:<12}  {}", failure(first))));
    }
    if tally.is_over() && matches!(ledger.closed, Some(Verdict::Done | Verdict::DoneWithLeftovers)) {
        lines.push(paint.yellow(&format!(
            "! More failed than --probe-budget allows ({}), but it was seen too late to undo the run.",
            thousands(tally.budget)
        )));
    }
    let blind: BTreeSet<String> =
        tally.counts.iter().filter(|(_, count)| count.sent == 0).map(|(at, _)| format!("{} through {}", at.service, at.server)).collect();
    if !blind.is_empty() {
        let names: Vec<&str> = blind.iter().map(String::as_str).take(NAMED).collect();
        let more = if blind.len() > NAMED { format!(" and {} more", blind.len() - NAMED) } else { String::new() };
        lines.push(paint.yellow(&format!("! Nothing is known of {}{more}: no request got there.", names.join(", "))));
    }
    lines
}

fn rows(tally: &ProbeTally) -> Vec<Vec<String>> {
    let fold = tally.counts.len() > ROWS;
    let mut clean: BTreeMap<&ServiceName, (usize, ProbeCount)> = BTreeMap::new();
    let mut rows = Vec::new();
    for (ProbeAt { service, server }, count) in &tally.counts {
        if fold && count.is_clean() {
            let (n_servers, all) = clean.entry(service).or_default();
            *n_servers += 1;
            all.add(count);
        } else {
            rows.push(row(service, server.to_string(), count));
        }
    }
    rows.extend(clean.into_iter().map(|(service, (n_servers, count))| row(service, prose::count(n_servers, "server"), &count)));
    rows.sort();
    rows
}

fn row(service: &ServiceName, servers: String, count: &ProbeCount) -> Vec<String> {
    let mut more = Vec::new();
    if count.in_gap > 0 {
        more.push(format!("{} failed while it was handed over (not counted)", thousands(count.in_gap)));
    }
    if count.early > 0 {
        more.push(format!("{} failed before its first answer in this run (not counted)", thousands(count.early)));
    }
    if count.unmeasured > 0 {
        more.push(format!("{} not measured: {}", thousands(count.unmeasured), prose::clean(&count.unmeasured_because)));
    }
    vec![
        service.to_string(),
        servers,
        format!("{} sent", thousands(count.sent)),
        format!("{} failed", thousands(count.failed)),
        format!("slowest {}", tally_time(count)),
        more.join("; "),
    ]
}

fn tally_time(count: &ProbeCount) -> String {
    if count.slowest.0 < 1000 { format!("{} ms", count.slowest.0) } else { prose::seconds(count.slowest) }
}

/// `1204` as `1,204`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The time of day of a moment in milliseconds since the Unix epoch.
fn clock(at: u64) -> String {
    let seconds = at / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}.{:03} UTC", seconds / 3600, seconds % 3600 / 60, seconds % 60, at % 1000)
}

/// For programs. The names are explained in `json.rs`.
pub(super) fn json(tally: &ProbeTally) -> Value {
    let targets: Vec<Value> = tally
        .counts
        .iter()
        .map(|(at, count)| {
            let mut value = count_json(count);
            value["service"] = json!(at.service);
            value["server"] = json!(at.server);
            value
        })
        .collect();
    let failures: Vec<Value> = tally
        .failures
        .iter()
        .map(|first| {
            let ProbeFailure { at, began, wave, seen } = first;
            json!({ "at": began, "service": at.service, "server": at.server, "wave_name": wave, "seen": seen })
        })
        .collect();
    json!({
        "budget": tally.budget,
        "total": count_json(&tally.total()),
        "targets": targets,
        "failures": failures,
        "not_probed": tally.unprobed,
    })
}

fn count_json(count: &ProbeCount) -> Value {
    json!({
        "sent": count.sent,
        "failed": count.failed,
        "in_handover": count.in_gap,
        "before_first_answer": count.early,
        "not_measured": count.unmeasured,
        "slowest_ms": count.slowest.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Answer, Millis, Moment, Sample, ServerName};

    fn tally(n_servers: usize) -> ProbeTally {
        let mut tally = ProbeTally::default();
        for number in 1..=n_servers {
            let at = ProbeAt { service: ServiceName::new("api").unwrap(), server: ServerName::new(format!("s{number}")).unwrap() };
            for _ in 0..602 {
                tally.take(&Sample { at: at.clone(), began: 0, took: Millis(31), answer: Answer::Good }, "start", Moment::Counted);
            }
        }
        tally
    }

    fn fail(tally: &mut ProbeTally, server: &str, moment: Moment) {
        let at = ProbeAt { service: ServiceName::new("api").unwrap(), server: ServerName::new(server).unwrap() };
        let answer = Answer::Bad("status 502".to_owned());
        tally.take(&Sample { at, began: 1_795_288_803_412, took: Millis(2), answer }, "switch", moment);
    }

    fn done(verdict: Verdict) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.closed = Some(verdict);
        ledger
    }

    #[test]
    fn a_good_run_in_three_lines() {
        let lines = lines(&tally(2), &done(Verdict::Done), Paint::Plain);
        assert_eq!(
            lines,
            [
                "✔ probe: 1,204 requests through the servers' NGINX, 0 failed, slowest 31 ms",
                "  api  s1  602 sent  0 failed  slowest 31 ms",
                "  api  s2  602 sent  0 failed  slowest 31 ms",
            ]
        );
        assert_eq!(short(&tally(2)), "probe: 1,204 sent, 0 failed");
    }

    #[test]
    fn failures_name_place_time_and_wave_and_those_that_do_not_count_say_why() {
        let mut tally = tally(1);
        fail(&mut tally, "s1", Moment::Counted);
        fail(&mut tally, "s1", Moment::Gap);
        fail(&mut tally, "s2", Moment::Early);
        tally.unprobed.insert(ServiceName::new("dns").unwrap(), "why".to_owned());
        let at = ProbeAt { service: ServiceName::new("api").unwrap(), server: ServerName::new("s3").unwrap() };
        let answer = Answer::Unmeasured("sshd forbids it".to_owned());
        tally.take(&Sample { at, began: 0, took: Millis(1), answer }, "start", Moment::Counted);
        let text = lines(&tally, &done(Verdict::Done), Paint::Plain).join("\n");
        for part in [
            "✘ probe: 605 requests",
            "1 failed while it was handed over (not counted)",
            "1 failed before its first answer",
            "dns is not probed: why",
            "  failed first  api through s1's NGINX at 19:20:03.412 UTC, in wave switch: status 502",
            "too late to undo",
            "1 not measured: sshd forbids it",
            "! Nothing is known of api through s3: no request got there.",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!lines(&tally, &done(Verdict::PutBack), Paint::Plain).join("\n").contains("too late"));
    }

    #[test]
    fn a_large_fleet_has_a_row_for_each_server_on_which_something_happened() {
        let mut tally = tally(50);
        fail(&mut tally, "s7", Moment::Counted);
        let rows: Vec<String> = prose::columns(&rows(&tally));
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert!(rows[0].starts_with("api  49 servers  29,498 sent") && rows[1].starts_with("api  s7 "), "{rows:?}");
    }

    #[test]
    fn programs_get_every_count() {
        let mut tally = tally(1);
        fail(&mut tally, "s1", Moment::Counted);
        let value = json(&tally);
        assert_eq!((&value["total"]["sent"], &value["total"]["failed"]), (&json!(603), &json!(1)));
        assert_eq!((&value["targets"][0]["server"], &value["failures"][0]["wave_name"]), (&json!("s1"), &json!("switch")));
    }
}
