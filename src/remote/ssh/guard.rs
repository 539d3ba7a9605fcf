//! The few lines of shell around every script that make sure it does not survive us. Deliberately absent: what scripts do.
//!
//! The whole text goes to `sh -s` on stdin; stdin then stays open, and a newline follows every [`HEARTBEAT`]. On the server:
//!
//! - The script is a quoted string that is complete before anything runs: a connection that breaks while it is being sent leaves
//!   a syntax error and no effect.
//! - It runs in a second `sh -s`, in a session and process group of its own (`setsid`, where the server has it), inside
//!   `{ … } </dev/null`: it is parsed to its end before its first command runs, and no command of it can eat the rest of it.
//! - A watcher reads the heartbeats. At end of file (we died, closed the channel, or sshd noticed that we are gone) at once, and
//!   after [`SILENCE`] without a heartbeat where the server has `timeout`, it sends SIGTERM to the script's process group, and
//!   SIGKILL five seconds later. Without `setsid` only the script's shell itself gets the signals.
//! - When the script ends, what it left running in its process group is killed, and its exit status is ours.
//!
//! Only builtins, `sh`, `setsid`, `timeout`, `sleep` and `kill` are used; dash, busybox ash and bash agree on all of it.
use crate::script::quote::quote;
use std::time::Duration;

/// How often a newline is sent while a script runs.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);
/// After this long without one the server stops the script.
const SILENCE: Duration = Duration::from_secs(20);

const WATCH: &str = r#"{
exec 3<&0
flipside_setsid=
command -v setsid >/dev/null 2>&1 && flipside_setsid=setsid
printf '%s\n' "$flipside_script" | $flipside_setsid sh -s 3<&- &
flipside_run=$!
unset flipside_script
(
    flipside_wait=
    timeout 5 sh -c : && flipside_wait='timeout @SILENCE@'
    while $flipside_wait sh -c 'read -r line' <&3; do :; done
    kill -TERM -"$flipside_run" || kill -TERM "$flipside_run"
    sleep 5
    kill -KILL -"$flipside_run" || kill -KILL "$flipside_run"
) </dev/null >/dev/null 2>&1 &
flipside_watch=$!
wait "$flipside_run"
flipside_exit=$?
kill "$flipside_watch" 2>/dev/null
kill -KILL -"$flipside_run" 2>/dev/null
exit "$flipside_exit"
}
"#;

/// What is written to `sh -s` to run `script`.
pub(super) fn guarded(script: &str) -> String {
    with_silence(script, SILENCE)
}

fn with_silence(script: &str, silence: Duration) -> String {
    let watch = WATCH.replace("@SILENCE@", &silence.as_secs().to_string());
    format!("flipside_script={}\n{watch}", quote(&format!("{{\n{script}\n}} </dev/null")))
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
