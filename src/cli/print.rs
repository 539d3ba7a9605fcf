//! Results go to stdout, talk goes to stderr; a reader who has gone away is passed over, so that no closed pipe ends a deploy half-way.
//! Deliberately absent: what a run prints (the reporter has its own sinks).
use crate::plan::prose;
use std::io::{self, Write};

/// A result, as it is.
pub(super) fn result(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// One line of a result.
pub(super) fn result_line(text: &str) {
    result(&format!("{text}\n"));
}

/// Talk, as it is.
pub(super) fn talk(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// What is wrong, mostly one line. Words of a server may be in it: they cannot steer the terminal.
pub(super) fn complain(text: &str) {
    let lines: Vec<String> = text.lines().map(prose::clean).collect();
    talk(&format!("flipside: {}\n", lines.join("\n")));
}
