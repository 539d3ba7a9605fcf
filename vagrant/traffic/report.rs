//! What several runs of the load tool saw, as one table, and whether it is what was expected: for people. Deliberately absent: counting.
use crate::load::{Counts, Kind, Summary, Target, TargetSummary};
use std::collections::BTreeMap;

/// In this phase every target is answered, by exactly these words: `Deploy of 2.0=1.0,2.0`.
struct Expectation {
    phase: String,
    words: Vec<String>,
}

/// What the clients of one kind, in one place, saw in one phase.
struct Row {
    clients: String,
    sent: u64,
    failed: u64,
    cuts: u64,
    slowest_ms: f64,
    answers: BTreeMap<String, u64>,
}

/// Reads `arguments`: summaries, each a path or `LABEL=PATH`, where the label says where that tool ran; and `--expect
/// PHASE=WORD,…`. Returns the text and the number of failed requests and unmet expectations. A target that was never asked
/// counts as one: it proves nothing.
///
/// # Errors
/// A file that cannot be read, or is no summary; an expectation that names no phase.
pub(crate) fn report(arguments: &[String]) -> Result<(String, u64), String> {
    let mut targets: Vec<(String, TargetSummary)> = Vec::new();
    let mut expectations = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--expect" {
            expectations.push(expectation(arguments.next().map_or("", String::as_str))?);
            continue;
        }
        let (label, path) = argument.split_once('=').unwrap_or(("", argument));
        let text = std::fs::read_to_string(path).map_err(|problem| format!("{path}: {problem}"))?;
        let summary: Summary = serde_json::from_str(&text).map_err(|problem| format!("{path} is no summary: {problem}"))?;
        targets.extend(summary.targets.into_iter().map(|target| (label.to_owned(), target)));
    }
    let problems: Vec<String> = expectations.iter().flat_map(|expectation| unmet(expectation, &targets)).collect();
    let mut text = table(&targets);
    let mut failed = problems.len() as u64;
    for (label, target) in &targets {
        failed += target.total.failed + u64::from(target.total.sent == 0);
        if target.total.sent == 0 {
            text.push_str(&format!("{}: not one request was sent\n", place(&target.target, label)));
        }
        for failure in &target.failures {
            let place = place(&target.target, label);
            text.push_str(&format!("{place}: in \"{}\", at {} ms: {}\n", failure.phase, failure.at_ms, failure.text));
        }
    }
    problems.iter().for_each(|problem| text.push_str(&format!("not as expected: {problem}\n")));
    let sum = |count: fn(&Counts) -> u64| targets.iter().map(|(_, target)| count(&target.total)).sum::<u64>();
    text.push_str(&format!("\n{} requests in all, {} failed\n", sum(|counts| counts.sent), sum(|counts| counts.failed)));
    Ok((text, failed))
}

fn expectation(text: &str) -> Result<Expectation, String> {
    let (phase, words) = text.split_once('=').ok_or_else(|| format!("--expect needs PHASE=WORD,…, not \"{text}\""))?;
    Ok(Expectation { phase: phase.to_owned(), words: words.split(',').map(str::to_owned).collect() })
}

fn unmet<'a>(expectation: &'a Expectation, targets: &'a [(String, TargetSummary)]) -> impl Iterator<Item = String> + 'a {
    targets.iter().filter_map(|(label, target)| {
        let seen: Vec<String> = target
            .phases
            .iter()
            .filter(|seen| seen.phase == expectation.phase)
            .flat_map(|seen| seen.counts.answers.keys().cloned())
            .collect();
        let place = place(&target.target, label);
        let named = |words: &[String]| if words.is_empty() { "nobody".to_owned() } else { words.join(" and ") };
        (seen != expectation.words).then(|| {
            format!("{place}: in \"{}\", answers came from {}, not from {}", expectation.phase, named(&seen), named(&expectation.words))
        })
    })
}

/// One line for each phase and kind of client.
fn table(targets: &[(String, TargetSummary)]) -> String {
    let phases = phases(targets);
    let rows: Vec<(&str, Vec<Row>)> = phases.iter().map(|phase| (phase.as_str(), rows(phase, targets))).collect();
    let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    let phase_width = longest(&mut phases.iter().map(|phase| phase.chars().count()));
    let width = longest(&mut rows.iter().flat_map(|(_, rows)| rows).map(|row| row.clients.chars().count()));
    let mut text =
        format!("{:<phase_width$}  {:<width$} {:>7} {:>7} {:>8}  ANSWERED BY\n", "PHASE", "CLIENTS", "SENT", "FAILED", "SLOWEST");
    for (phase, rows) in &rows {
        for (number, row) in rows.iter().enumerate() {
            let phase = if number == 0 { phase } else { "" };
            let answers: Vec<String> = row.answers.iter().map(|(word, count)| format!("{word} × {count}")).collect();
            let cuts = if row.cuts == 0 { String::new() } else { format!("  ({} long connections ended)", row.cuts) };
            text.push_str(&format!(
                "{phase:<phase_width$}  {:<width$} {:>7} {:>7} {:>5.0} ms  {}{cuts}\n",
                row.clients,
                row.sent,
                row.failed,
                row.slowest_ms,
                answers.join(", ")
            ));
        }
    }
    text
}

/// The phases, in the order in which the first target met them.
fn phases(targets: &[(String, TargetSummary)]) -> Vec<String> {
    let mut phases: Vec<String> = Vec::new();
    for seen in targets.iter().flat_map(|(_, target)| &target.phases) {
        if !seen.phase.is_empty() && !phases.contains(&seen.phase) {
            phases.push(seen.phase.clone());
        }
    }
    phases
}

/// What was seen in one phase, targets of one kind and label together.
fn rows(phase: &str, targets: &[(String, TargetSummary)]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (label, target) in targets {
        let Some(counts) = target.phases.iter().find(|seen| seen.phase == phase).map(|seen| &seen.counts) else { continue };
        let clients = clients(&target.target, label);
        let at = rows.iter().position(|row| row.clients == clients).unwrap_or_else(|| {
            rows.push(Row { clients, sent: 0, failed: 0, cuts: 0, slowest_ms: 0.0, answers: BTreeMap::new() });
            rows.len() - 1
        });
        let row = &mut rows[at];
        row.sent += counts.sent;
        row.failed += counts.failed;
        row.cuts += counts.cuts;
        row.slowest_ms = row.slowest_ms.max(counts.slowest_ms);
        counts.answers.iter().for_each(|(word, count)| *row.answers.entry(word.clone()).or_default() += count);
    }
    rows
}

/// What the clients of a target do.
fn clients(target: &str, label: &str) -> String {
    let what = match target.parse::<Target>().map(|target| target.kind) {
        Ok(Kind::New) => "HTTP, a new connection each",
        Ok(Kind::Keep) => "HTTP, kept connections",
        Ok(Kind::Tcp) => "TCP, a new connection each",
        Ok(Kind::TcpKeep) => "TCP, one long connection",
        Ok(Kind::Ws) => "WebSocket-like, one long connection",
        Ok(Kind::H2) => "HTTP/2, kept connections",
        Ok(Kind::Grpc) => "gRPC, unary calls",
        Ok(Kind::GrpcStream) => "gRPC, one long stream",
        Err(_) => target,
    };
    if label.is_empty() { what.to_owned() } else { format!("{what}, {label}") }
}

/// A target in words: what its clients do, and where.
fn place(target: &str, label: &str) -> String {
    let address = target.parse::<Target>().map_or_else(|_| target.to_owned(), |target| target.address);
    format!("{} to {address}", clients(target, label))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::PhaseCounts;

    /// A phase, its failures, and its answers by word.
    type Seen<'a> = (&'a str, u64, &'a [(&'a str, u64)]);

    fn summary(target: &str, phases: &[Seen<'_>]) -> TargetSummary {
        let counts = |failed: u64, answers: &[(&str, u64)]| {
            let ok = answers.iter().map(|(_, count)| count).sum::<u64>();
            let answers = answers.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
            Counts { sent: ok + failed, ok, failed, slowest_ms: ok as f64, answers, ..Counts::default() }
        };
        let phases: Vec<PhaseCounts> = phases
            .iter()
            .map(|(phase, failed, answers)| PhaseCounts { phase: (*phase).to_owned(), counts: counts(*failed, answers) })
            .collect();
        let sent = phases.iter().map(|phase| phase.counts.sent).sum();
        let failed = phases.iter().map(|phase| phase.counts.failed).sum();
        TargetSummary { target: target.to_owned(), total: Counts { sent, failed, ..Counts::default() }, phases, failures: Vec::new() }
    }

    #[test]
    fn targets_of_one_kind_share_a_line() {
        let targets = [
            (String::new(), summary("new:http://10.0.0.1:80/", &[("Idle", 0, &[("1.0", 3)]), ("Deploy", 1, &[("1.0", 2), ("2.0", 4)])])),
            (String::new(), summary("new:http://10.0.0.2:80/", &[("Idle", 0, &[("1.0", 5)]), ("Deploy", 0, &[("2.0", 4)])])),
            ("on server1".to_owned(), summary("tcp:127.0.0.1:9", &[("Idle", 0, &[("1.0", 1)])])),
        ];
        let wanted = "PHASE   CLIENTS                                   SENT  FAILED  SLOWEST  ANSWERED BY
Idle    HTTP, a new connection each                  8       0     5 ms  1.0 × 8
        TCP, a new connection each, on server1       1       0     1 ms  1.0 × 1
Deploy  HTTP, a new connection each                 11       1     6 ms  1.0 × 2, 2.0 × 8
";
        assert_eq!(table(&targets), wanted);
    }

    #[test]
    fn an_expectation_holds_for_every_target() {
        let targets = [
            (String::new(), summary("new:http://10.0.0.1:80/", &[("Deploy", 0, &[("1.0", 2), ("2.0", 4)])])),
            (String::new(), summary("new:http://10.0.0.2:80/", &[("Deploy", 0, &[("2.0", 4)])])),
            (String::new(), summary("new:http://10.0.0.3:80/", &[])),
        ];
        let unmet = |text: &str| unmet(&expectation(text).unwrap(), &targets).collect::<Vec<_>>();
        let seen = unmet("Deploy=1.0,2.0");
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(seen[0].ends_with("10.0.0.2:80: in \"Deploy\", answers came from 2.0, not from 1.0 and 2.0"), "{}", seen[0]);
        assert!(seen[1].contains("from nobody"), "{}", seen[1]);
        assert_eq!(unmet("Deploy=2.0").len(), 2);
        assert!(expectation("Deploy").is_err());
    }
}
