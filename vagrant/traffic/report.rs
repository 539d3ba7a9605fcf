//! What several runs of the load tool saw, as one table for each phase: for people. Deliberately absent: counting.
use crate::load::{Counts, Kind, Summary, Target, TargetSummary};

/// Reads the summaries in `files`, each a path or `LABEL=PATH`; the label says where that tool ran. Returns the text and the
/// number of failed requests. A run in which a target was never asked counts as a failure: it proves nothing.
///
/// # Errors
/// A file that cannot be read, or is no summary.
pub(crate) fn report(files: &[String]) -> Result<(String, u64), String> {
    let mut rows: Vec<(String, TargetSummary)> = Vec::new();
    for file in files {
        let (label, path) = file.split_once('=').unwrap_or(("", file));
        let text = std::fs::read_to_string(path).map_err(|problem| format!("{path}: {problem}"))?;
        let summary: Summary = serde_json::from_str(&text).map_err(|problem| format!("{path} is no summary: {problem}"))?;
        rows.extend(summary.targets.into_iter().map(|target| (client(&target.target, label), target)));
    }
    let width = rows.iter().map(|(client, _)| client.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for phase in phases(&rows) {
        text.push_str(&format!("{phase}\n  {:<width$} {:>8} {:>7} {:>11}  ANSWERED BY\n", "CLIENTS", "SENT", "FAILED", "SLOWEST"));
        for (client, target) in &rows {
            if let Some(seen) = target.phases.iter().find(|seen| seen.phase == phase) {
                text.push_str(&format!("  {client:<width$} {}\n", columns(&seen.counts)));
            }
        }
        text.push('\n');
    }
    let mut failed = 0;
    for (client, target) in &rows {
        failed += target.total.failed + u64::from(target.total.sent == 0);
        if target.total.sent == 0 {
            text.push_str(&format!("{client}: not one request was sent\n"));
        }
        for failure in &target.failures {
            text.push_str(&format!("{client}: in \"{}\", at {} ms: {}\n", failure.phase, failure.at_ms, failure.text));
        }
    }
    let sent: u64 = rows.iter().map(|(_, target)| target.total.sent).sum();
    text.push_str(&format!("{sent} requests, {failed} failed\n"));
    Ok((text, failed))
}

/// The phases, in the order in which the first target met them.
fn phases(rows: &[(String, TargetSummary)]) -> Vec<String> {
    let mut phases: Vec<String> = Vec::new();
    for seen in rows.iter().flat_map(|(_, target)| &target.phases) {
        if !seen.phase.is_empty() && !phases.contains(&seen.phase) {
            phases.push(seen.phase.clone());
        }
    }
    phases
}

/// A target in words: what its clients do, and where.
fn client(target: &str, label: &str) -> String {
    let Ok(parsed) = target.parse::<Target>() else { return target.to_owned() };
    let what = match parsed.kind {
        Kind::New => "HTTP, a new connection each,",
        Kind::Keep => "HTTP, kept connections,",
        Kind::Tcp => "TCP, a new connection each,",
        Kind::TcpKeep => "TCP, one long connection,",
        Kind::Ws => "WebSocket-like, one long connection,",
    };
    let place = if label.is_empty() { String::new() } else { format!(" {label}") };
    format!("{what} to {}{place}", parsed.address)
}

fn columns(counts: &Counts) -> String {
    let answers: Vec<String> = counts.answers.iter().map(|(word, count)| format!("{word} × {count}")).collect();
    let cuts = if counts.cuts == 0 { String::new() } else { format!("  ({} long connections ended)", counts.cuts) };
    format!("{:>8} {:>7} {:>8.0} ms  {}{cuts}", counts.sent, counts.failed, counts.slowest_ms, answers.join(", "))
}
