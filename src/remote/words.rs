//! What a container says, without the secrets that it was given: they may be those of an older run, and no value of this one. Where they
//! cannot be read its words are not shown at all. Deliberately absent: the values of this run (see `redact`).
use super::redact;
use super::ssh::Connection;
use crate::model::{Failure, Redactor};
use crate::script::{ScriptContext, read_last_words, secrets_given};
use std::time::Duration;
use tokio::sync::OnceCell;

/// A container's last words, and its secrets, are waited for so long.
const WITHIN: Duration = Duration::from_secs(10);
/// Instead of them.
const WITHHELD: &str = "(its words are not shown: the secrets that it was given cannot be read)";

/// The secrets of one container, read when it says something for the first time.
#[derive(Default)]
pub(super) struct Words {
    given: OnceCell<Redactor>,
}

impl Words {
    /// What the container said, with every value masked.
    pub(super) async fn masked(&self, connection: &Connection, context: &ScriptContext, container: &str, said: &str) -> String {
        if said.is_empty() {
            return String::new();
        }
        let given = self.given.get_or_try_init(|| async {
            let mut lines = Vec::new();
            let end = connection.run_script(&secrets_given(context, container), WITHIN, &mut |line| lines.push(line.to_owned())).await;
            let values = if end.is_ok() { read_last_words(&lines).0 } else { None };
            values.as_ref().map(Redactor::new).ok_or(())
        });
        match given.await {
            Ok(redactor) => redactor.redact(said),
            Err(()) => WITHHELD.to_owned(),
        }
    }
}

/// Adds a container's last log lines, exit code and out-of-memory flag to a failure.
pub(super) async fn last_words(connection: &Connection, context: &ScriptContext, container: &str, failure: &mut Failure) {
    let mut lines = Vec::new();
    let script = crate::script::last_words(context, container, 20);
    let end = connection.run_script(&script, WITHIN, &mut |line| lines.push(line.to_owned())).await;
    if end.is_err() {
        return;
    }
    let (secrets, mut lines) = read_last_words(&lines);
    if let Some(position) = lines.iter().rposition(|line| line.starts_with("@state ")) {
        let state = lines.remove(position);
        let words: Vec<&str> = state.split_whitespace().collect();
        if let [_, status, exit, oom] = words[..] {
            if status != "running" {
                failure.exit = exit.parse().ok();
            }
            if oom == "true" {
                failure.causes.push("the kernel killed it: out of memory".to_owned());
            }
        }
    }
    lines.retain(|line| !line.trim().is_empty());
    if !lines.is_empty() {
        failure.tail = if secrets.is_some() { lines } else { vec![WITHHELD.to_owned()] };
    }
    if let Some(secrets) = &secrets {
        *failure = redact::failure(&Redactor::new(secrets), std::mem::take(failure));
    }
}
