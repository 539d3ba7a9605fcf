//! Asks for the passphrase of an encrypted key, where somebody sits at the terminal. Deliberately absent: what the key is for.
use crate::remote::Passphrase;
use console::Term;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

/// The question, or none where nobody can be asked: under cron, in a pipe. An empty answer passes the key over.
pub(super) fn passphrase() -> Option<Passphrase> {
    (std::io::stdin().is_terminal() && std::io::stderr().is_terminal()).then(|| Arc::new(ask) as Passphrase)
}

fn ask(key: &Path, attempt: u32) -> Option<String> {
    let terminal = Term::stderr();
    let again = if attempt == 1 { "" } else { "That does not open it. " };
    terminal.write_str(&format!("{again}Passphrase for {}: ", key.display())).ok()?;
    let answer = terminal.read_secure_line();
    answer.ok().filter(|word| !word.is_empty())
}
