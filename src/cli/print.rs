//! Results go to stdout, talk goes to stderr; a reader who has gone away is passed over, so that no closed pipe ends a deploy half-way.
//! Questions are talk, too. Deliberately absent: what a run prints (the reporter has its own sinks).
use crate::plan::prose;
use std::io::{self, Write};
use tokio::task::spawn_blocking;

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

/// Asks somebody at the terminal, and says whether the answer is yes. The answer is read beside everything else, so that a signal ends
/// the question; whoever reads then reads on until the process ends.
pub(super) async fn agrees(question: &str) -> bool {
    talk(&format!("\n{question} [y/N] "));
    let read = || {
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map(|_| answer)
    };
    let answer = spawn_blocking(read).await;
    matches!(answer, Ok(Ok(answer)) if matches!(answer.trim(), "y" | "Y" | "yes"))
}
