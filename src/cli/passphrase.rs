//! Asks for the passphrase of an encrypted key, where somebody sits at the terminal. Deliberately absent: what the key is for.
use crate::remote::Passphrase;
use console::Term;
use std::io::IsTerminal;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Somebody is asked at this moment, and the terminal does not show what is typed.
static ASKS: AtomicBool = AtomicBool::new(false);

/// The question, or none where nobody can be asked: under cron, in a pipe. An empty answer passes the key over.
pub(super) fn passphrase() -> Option<Passphrase> {
    (std::io::stdin().is_terminal() && std::io::stderr().is_terminal()).then(|| Arc::new(ask) as Passphrase)
}

fn ask(key: &Path, attempt: u32) -> Option<String> {
    let terminal = Term::stderr();
    let again = if attempt == 1 { "" } else { "That does not open it. " };
    terminal.write_str(&format!("{again}Passphrase for {}: ", key.display())).ok()?;
    ASKS.store(true, Ordering::Relaxed);
    let answer = terminal.read_secure_line();
    ASKS.store(false, Ordering::Relaxed);
    answer.ok().filter(|word| !word.is_empty())
}

/// Nobody waits for the answer any more, and the process is about to end: the terminal shows again what is typed.
pub(super) fn give_up() {
    if ASKS.load(Ordering::Relaxed) {
        let shown = Command::new("stty").arg("echo").stderr(Stdio::null()).status();
        // Without it the shell has to do it, as after a kill.
        drop(shown);
    }
}
