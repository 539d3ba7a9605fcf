//! The shell of a hook on a server: in a session of its own, so that at its deadline, and at its end, whatever it has started is killed.
//! Deliberately absent: hooks on the workstation.
//!
//! `$FLIPSIDE_RUN` is set by whoever sends the script: it is the one variable that no plan holds.
use super::ScriptContext;
use super::nginx;
use super::quote::{line, quote};
use crate::docker::{self, Command};
use crate::model::{ContainerSpec, HOOK_RUN, HookPlace, HookRun, Millis, label};

/// The role of its containers: nothing else has it, and nobody takes them for a service's.
pub const HOOK_ROLE: &str = "hook";

// The watchdog holds neither the script's lock nor its output, and ends with its own group: nothing waits for its sleep.
const RUN: &str = r#"uptime() {
    read -r up rest </proc/uptime
    echo "${up%%.*}"
}
setsid @COMMAND@ 8<&- &
hook=$!
began=$(uptime)
setsid sh -c 'sleep "$1"; kill -TERM -"$2"; sleep 5; kill -KILL -"$2"' sh @LIMIT@ "$hook" >/dev/null 2>&1 8<&- &
watchdog=$!
stop() {
    kill -KILL -"$watchdog" -"$hook" 2>/dev/null
    clean
}
trap 'stop; exit 143' TERM HUP INT
wait "$hook"
code=$?
took=$(($(uptime) - began))
stop
[ "$code" != 0 ] || { echo "seen: exit code 0"; exit 0; }
[ "$took" -lt @WHOLE@ ] || {
    echo 'error: it did not end within @TIMEOUT@, and was killed'
    echo "wanted: exit code 0 within @TIMEOUT@"
    exit "$code"
}
echo "error: it failed with exit code $code"
echo "wanted: exit code 0"
exit "$code"
"#;

const CLEAN: &str = r#"clean() {
    for name in @NAMES@; do
        role=$(@ROLE@ "$name" 2>/dev/null) || continue
        [ "$role" = hook ] || { echo "error: the name $name is taken by a container that is no hook's"; exit 1; }
        @REMOVE@ "$name" >/dev/null 2>&1
    done
}
clean
"#;

const DOOR: &str = r#"message=$(@RUN@ 2>&1 8<&-) || { echo "error: its door cannot be started: $message"; clean; exit 1; }
(
@READY@
) || { clean; exit 1; }
"#;

/// The body of a hook on a server or in a container; None for one on the workstation. A door is waited for so long.
#[must_use]
pub(super) fn hook(context: &ScriptContext, run: &HookRun, door_deadline: Millis) -> Option<String> {
    let (before, command) = match &run.place {
        HookPlace::Workstation => return None,
        HookPlace::Server => {
            let mut before = String::from("clean() { :; }\n");
            for (name, value) in &run.variables {
                before.push_str(&format!("{name}={}\nexport {name}\n", quote(value)));
            }
            before.push_str(&format!("export {HOOK_RUN}\n"));
            (before, line(&Command(run.command.clone())))
        }
        HookPlace::Container { app, door } => {
            let command = docker::run_once(&context.docker, app);
            (containers(context, app, door.as_deref(), door_deadline), with_run(context, &command))
        }
    };
    let whole = (run.timeout.0 / 1000).max(1).to_string();
    let limit = format!("{}.{:03}", run.timeout.0 / 1000, run.timeout.0 % 1000);
    let limit = if run.timeout.0.is_multiple_of(1000) { whole.clone() } else { limit };
    let body = RUN
        .replace("@LIMIT@", &limit)
        .replace("@WHOLE@", if run.timeout.0 < 1000 { "0" } else { &whole })
        .replace("@TIMEOUT@", &run.timeout.to_string());
    // Last, and once: a command may hold anything.
    let (first, second) = body.split_once("@COMMAND@").unwrap_or((&body, ""));
    Some(["(\n", &before, first, &command, second, ")\n"].concat())
}

/// Takes away what an earlier try has left, and starts the door.
fn containers(context: &ScriptContext, app: &ContainerSpec, door: Option<&ContainerSpec>, deadline: Millis) -> String {
    let names: Vec<String> = std::iter::once(app).chain(door).map(|spec| quote(&spec.name)).collect();
    let role = format!("{{{{index .Config.Labels \"{}\"}}}}", label::ROLE);
    let Command(mut ask) = docker::inspect_container(&context.docker, &role, "");
    // The name is the loop's.
    ask.pop();
    let remove = Command::new(&context.docker).word("rm").word("-f");
    let mut text = CLEAN.replace("@NAMES@", &names.join(" ")).replace("@ROLE@", &line(&Command(ask))).replace("@REMOVE@", &line(&remove));
    if let Some(door) = door {
        let ready = nginx::door_ready(context, &door.name, deadline);
        text.push_str(&DOOR.replace("@READY@", &ready).replace("@RUN@", &line(&docker::run(&context.docker, door))));
    }
    text
}

/// The command with the run's id among the variables: behind `docker run`, where an option stands.
fn with_run(context: &ScriptContext, command: &Command) -> String {
    let n_words = Command::new(&context.docker).0.len() + 1;
    let (before, after) = command.0.split_at(n_words.min(command.0.len()));
    [line(&Command(before.to_vec())), format!("--env {HOOK_RUN}=\"${HOOK_RUN}\""), line(&Command(after.to_vec()))].join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HookPoint;
    use std::collections::BTreeMap;
    use std::process::Command as Process;
    use std::time::Instant;

    fn run(text: &str, timeout: Millis) -> (String, i32) {
        let variables = BTreeMap::from([("FLIPSIDE_PROJECT".to_owned(), "it's $HOME".to_owned())]);
        let command = ["sh", "-c", text].map(str::to_owned).to_vec();
        let hook_run = HookRun { point: HookPoint::BeforeSwitch, command, variables, timeout, place: HookPlace::Server };
        let context = ScriptContext { docker: "docker".to_owned(), remote_root: "/local".to_owned() };
        let body = format!("FLIPSIDE_RUN=7-1\n{}", hook(&context, &hook_run, Millis(0)).unwrap());
        let output = Process::new("sh").args(["-c", &body]).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
    }

    #[test]
    fn it_is_told_of_the_run_and_its_exit_code_counts() {
        let (said, code) = run("echo \"$FLIPSIDE_PROJECT $FLIPSIDE_RUN\"", Millis::seconds(60));
        assert_eq!((said.as_str(), code), ("it's $HOME 7-1\nseen: exit code 0\n", 0));
        let (said, code) = run("echo no; exit 3", Millis::seconds(60));
        assert_eq!((said.as_str(), code), ("no\nerror: it failed with exit code 3\nwanted: exit code 0\n", 3));
    }

    #[test]
    fn at_its_deadline_and_at_its_end_whatever_it_has_started_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let late = folder.path().join("late");
        let began = Instant::now();
        let (said, code) = run(&format!("sh -c 'sleep 3; echo >{}'", late.display()), Millis::seconds(1));
        assert!(said.contains("it did not end within 1s, and was killed") && code != 0, "{said} {code}");
        let (said, _) = run(&format!("sh -c 'sleep 3; echo >{}' & echo begun", late.display()), Millis::seconds(60));
        assert!(said.starts_with("begun\nseen:"), "{said}");
        // A machine may be slow: what matters is that it was not waited for, and that it never comes to its end.
        std::thread::sleep(std::time::Duration::from_secs(5));
        assert!(!late.exists(), "it goes on, {:?} later", began.elapsed());
    }
}
