//! The shell of NGINX's actions: stage, test, switch, check, drain, prune, and the doors' own. Pure text. Deliberately absent: running it,
//! and the frame around it (markers, deadlines, the lease).
//!
//! Each function returns one POSIX `sh` subshell for the server. Its exit status is the step's; `seen: …` is its evidence, `error: …` and
//! `hint: …` say why it failed. The constant parts are files in `nginx/`; every value goes through [`quote`] into a positional parameter or
//! a variable, never into the middle of a text. What must not be cut in two runs inside the NGINX container, in one `docker exec`: it goes
//! on to its end, also when our connection does not.
use super::ScriptContext;
use super::layout::{self, NGINX_CONTAINER};
use super::quote::quote;
use crate::model::{Backend, DrainPolicy, GenerationId, Millis, ProbeKind, RouteCheck, StagedListener};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// PID 1 of the NGINX container.
pub const NGINX_PROGRAM: &str = include_str!("nginx/nginx_program.sh");
/// PID 1 of a door: reads `FLIPSIDE_DOOR` (text) or `FLIPSIDE_DOOR_FILE` (path), and reads it again on SIGHUP.
pub const DOOR_PROGRAM: &str = include_str!("nginx/door_program.sh");

const LIB: &str = include_str!("nginx/lib.sh");
const ASK: &str = include_str!("nginx/ask.sh");
const LOCK: &str = include_str!("nginx/lock.sh");
const TEST: &str = include_str!("nginx/test.sh");
const STAGE: &str = include_str!("nginx/stage.sh");
const SWITCH: &str = include_str!("nginx/switch.sh");
/// When a switch is asked for: a server and its containers have one clock since the start of the machine, but where that of the server is
/// its own container's (lxcfs).
const ASKED: &str = "asked=\n{ read -r up rest </proc/uptime && ! grep -qs ' /proc/uptime ' /proc/mounts && asked=$((${up%.*} * 100 + 1${up#*.} - 100)); } 2>/dev/null\n";
const ROUTE: &str = include_str!("nginx/route.sh");
const ROUTE_PERL: &str = include_str!("nginx/route.pl");
const ROUTE_PYTHON: &str = include_str!("nginx/route.py");
const CONNECTING: &str = include_str!("nginx/connecting.sh");
const DRAIN: &str = include_str!("nginx/drain.sh");
const RESTORE: &str = include_str!("nginx/restore.sh");
const DROP: &str = include_str!("nginx/drop.sh");
const PRUNE: &str = include_str!("nginx/prune.sh");
const DOOR_READY: &str = include_str!("nginx/door_ready.sh");

/// StageNginx: writes the generation beside the live one, with the base's other files, and tests it in the running container.
///
/// `files` holds [`layout::GENERATION_FILE`] too. The folder's digest must come out as `generation`, so files that were carried over and
/// are not what the plan was made from are refused here.
#[must_use]
pub fn stage_nginx(
    context: &ScriptContext,
    generation: &GenerationId,
    base: Option<&GenerationId>,
    files: &BTreeMap<String, String>,
    remove: &[String],
    listeners: &[StagedListener],
) -> String {
    let mut write = String::from("write_files() {\n");
    for path in remove {
        let _ = writeln!(write, "    rm -f {} || return", quote(&format!("./{path}")));
    }
    for (path, text) in files {
        let (path, temporary) = (quote(&format!("./{path}")), quote(&format!("./{path}.tmp")));
        let _ = writeln!(write, "    printf '%s' {} >{temporary} && chmod 644 {temporary} && mv {temporary} {path} || return", quote(text));
    }
    write.push_str("    :\n}\n");
    let listeners: Vec<String> = listeners.iter().map(|listener| format!("{}:{}", listener.transport, listener.port)).collect();
    let variables = [
        ("container", NGINX_CONTAINER),
        ("folder", &layout::nginx_folder(&context.remote_root)),
        ("generation", &generation.0),
        ("base", base.map_or("", |base| &base.0)),
        ("inner", &format!("{LIB}{TEST}")),
        ("listeners", &listeners.join(" ")),
    ];
    subshell(&format!("{}{}{LIB}{ASK}{write}{STAGE}", engine(context), assignments(&variables)))
}

/// DropGeneration: removes a generation that is not live.
#[must_use]
pub fn drop_generation(context: &ScriptContext, generation: &GenerationId) -> String {
    let folder = layout::nginx_folder(&context.remote_root);
    subshell(&format!("{}set -- {}\n{LIB}{DROP}", assignments(&[("folder", &folder)]), quote(&generation.0)))
}

/// RestoreGeneration: the folder of a generation that NGINX serves, from its copy where it is missing, and the link `current`.
#[must_use]
pub fn restore_generation(context: &ScriptContext, generation: &GenerationId) -> String {
    let folder = layout::nginx_folder(&context.remote_root);
    subshell(&format!("{}set -- {}\n{LIB}{LOCK}{RESTORE}", assignments(&[("folder", &folder)]), quote(&generation.0)))
}

/// Switch: compare-and-swap of the live generation, reload, proof; on any doubt the previous files again. Done at once where `to` is live.
///
/// It begins within 33 s or not at all: a run that was cut off is thought dead, and what it has switched is put back, 35 s after the server
/// was last asked for anything (see [`super::revert`]). Nor does it begin after a switch that was asked for later.
#[must_use]
pub fn switch(context: &ScriptContext, expect: Option<&GenerationId>, to: &GenerationId) -> String {
    switch_words(context, &quote(expect.map_or("", |expect| &expect.0)), to)
}

/// As [`switch`], from the generation that the shell's variable `from` holds.
#[must_use]
pub(super) fn switch_from_variable(context: &ScriptContext, to: &GenerationId) -> String {
    switch_words(context, "\"$from\"", to)
}

fn switch_words(context: &ScriptContext, expect: &str, to: &GenerationId) -> String {
    let arguments = [expect.to_owned(), quote(&to.0), "\"$asked\"".to_owned()];
    let docker = context.docker_words();
    // The log goes first: the last lines are what is looked at.
    let log = format!(
        "case $answer in *'did not take over'*)\n\
         {docker} logs --since 15s {NGINX_CONTAINER} 2>&1 | grep -E '\\[(emerg|alert|crit)\\]' | sed 's/^[0-9/]* [0-9:]* //' | awk '!seen[$0]++' | tail -n 10\nesac\n"
    );
    inside_words(context, NGINX_CONTAINER, &format!("{LIB}{LOCK}{SWITCH}"), &arguments, ASKED, &log)
}

/// CheckRoute: one real request through the service's socket reaches a backend; repeated until the deadline.
///
/// http: any status but 502, 503 and 504. tcp: NGINX keeps the connection open for 300 ms and is not still connecting to a backend.
/// An http service asked with `Tcp` gets `GET /`. Asked with the server's own perl or python3, through the socket; where it has neither,
/// with curl from the NGINX image (the official ones have it).
#[must_use]
pub fn check_route(context: &ScriptContext, check: &RouteCheck) -> String {
    let stem = check.socket.rsplit('/').next().unwrap_or(&check.socket);
    let (stem, waiting) = match stem.strip_suffix(layout::WAITING_SOCKET) {
        Some(stem) => (stem, "yes"),
        None => (stem.strip_suffix(layout::SOCKET).unwrap_or(stem), ""),
    };
    let docker = &context.docker;
    let (trouble, advice) = match waiting {
        "" => (
            format!("{} is not reached through NGINX", check.service),
            format!("its log says which backend was tried: {docker} logs {NGINX_CONTAINER}"),
        ),
        _ => (
            format!("NGINX does not find the side of {} that waits, and nothing was switched", check.service),
            format!(
                "does Docker answer for the container's name there? {docker} exec {NGINX_CONTAINER} getent hosts NAME; {docker} logs {NGINX_CONTAINER}"
            ),
        ),
    };
    let inside = check.socket.rsplit('/').next().unwrap_or(&check.socket);
    let (kind, path, host) = match &check.kind {
        ProbeKind::Http { path, host } => ("http", path.as_str(), host.as_str()),
        ProbeKind::Tcp => ("tcp", "/", "localhost"),
        ProbeKind::AppPort | ProbeKind::Command(_) | ProbeKind::Running => ("other", "/", "localhost"),
    };
    let variables = [
        ("docker", context.docker.as_str()),
        ("container", NGINX_CONTAINER),
        ("trouble", &trouble),
        ("advice", &advice),
        ("socket", &check.socket),
        ("inside", &format!("{}/run/{inside}", layout::MOUNT)),
        ("conf", &format!("{}/current/http.d/{stem}.conf", layout::nginx_folder(&context.remote_root))),
        ("kind", kind),
        ("path", path),
        ("host", host),
        ("deadline", &centiseconds(check.deadline)),
        ("connecting", &format!("stem={}\nwaiting={waiting}\n{LIB}{CONNECTING}", quote(stem))),
        ("perl_program", ROUTE_PERL),
        ("python_program", ROUTE_PYTHON),
    ];
    subshell(&format!("{}{}{LIB}{ROUTE}", engine(context), assignments(&variables)))
}

/// Drain: until the old workers are gone, or the quiet time is over, no socket leads to these backends and no client that was connected at
/// the switch is still sending a request, or the bound is reached. Both times count from the last switch on this server. What is left at the
/// bound is said, and is no failure.
///
/// Only TCP sockets count: a datagram has no connection to wait for.
#[must_use]
pub fn drain(context: &ScriptContext, backends: &[Backend], policy: &DrainPolicy) -> String {
    let mut arguments = vec![centiseconds(policy.quiet), centiseconds(policy.timeout)];
    for backend in backends {
        let (address, port) = backend.socket();
        // The kernel prints an address as one number in its own byte order: little-endian on every platform that Docker is common on.
        let [a, b, c, d] = address.octets();
        let hex = format!("{d:02X}{c:02X}{b:02X}{a:02X}:{port:04X}");
        arguments.push(format!("{hex}={address}:{port}"));
        arguments.push(format!("0000000000000000FFFF0000{hex}={address}:{port}"));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    inside(context, NGINX_CONTAINER, &format!("{LIB}{DRAIN}"), &arguments, "")
}

/// PruneGenerations: keeps the newest `keep`, the live one, and the one that NGINX was set up with; and what certificates they name. Those
/// of services whose stem does not begin with `stems` stay in any case.
#[must_use]
pub fn prune_generations(context: &ScriptContext, keep: u32, stems: &str) -> String {
    let folder = layout::nginx_folder(&context.remote_root);
    subshell(&format!("{}set -- {keep} {}\n{LIB}{PRUNE}", assignments(&[("folder", &folder)]), quote(stems)))
}

/// Waits until a door that was just run listens on all its ports. `docker run -d` returns earlier: run this before the app starts.
#[must_use]
pub fn door_ready(context: &ScriptContext, door: &str, deadline: Millis) -> String {
    inside(context, door, &format!("{LIB}{DOOR_READY}"), &[&centiseconds(deadline)], &door_log(context, door))
}

/// Makes a door read its file again, after the file was put in place, and waits until it listens on all its ports. Connections stay.
#[must_use]
pub fn door_reload(context: &ScriptContext, door: &str, deadline: Millis) -> String {
    let script = format!("{LIB}kill -HUP 1\nnap 0.2\n{DOOR_READY}");
    inside(context, door, &script, &[&centiseconds(deadline)], &door_log(context, door))
}

fn door_log(context: &ScriptContext, door: &str) -> String {
    format!("{} logs --tail 5 {} 2>&1\n", context.docker_words(), quote(door))
}

/// `docker exec CONTAINER sh -c SCRIPT flipside ARGUMENTS…`. Where it fails, `on_failure` may print more before the answer, and an answer
/// that is docker's own, not the script's, is turned into an error.
fn inside(context: &ScriptContext, container: &str, script: &str, arguments: &[&str], on_failure: &str) -> String {
    let arguments: Vec<String> = arguments.iter().map(|word| quote(word)).collect();
    inside_words(context, container, script, &arguments, "", on_failure)
}

/// As [`inside`], with arguments that are words of the shell already, and what comes `first` on the server.
fn inside_words(context: &ScriptContext, container: &str, script: &str, arguments: &[String], first: &str, on_failure: &str) -> String {
    let fixed = [container, "sh", "-c", script, "flipside"].map(quote);
    let words: Vec<&str> = fixed.iter().chain(arguments).map(String::as_str).collect();
    let gone = quote(&format!("error: the container {container} cannot be asked: is it running?"));
    subshell(&format!(
        "{}{ASK}{first}ask {} && {{ printf '%s\\n' \"$answer\"; exit 0; }}\n{on_failure}printf '%s\\n' \"$answer\"\n\
         case $answer in *'error: '*) ;; *) printf '%s\\n' {gone} ;; esac\nexit 1\n",
        engine(context),
        words.join(" ")
    ))
}

/// The docker command as a function: it may be several words.
fn engine(context: &ScriptContext) -> String {
    format!("engine() {{ {} \"$@\"; }}\n", context.docker_words())
}

fn assignments(variables: &[(&str, &str)]) -> String {
    variables.iter().map(|(name, value)| format!("{name}={}\n", quote(value))).collect()
}

/// `exit` inside ends the step, not the script that it is a part of; the working directory and the variables stay inside too.
fn subshell(body: &str) -> String {
    format!("(\n{body})\n")
}

/// Milliseconds to the unit of the scripts, rounded up.
fn centiseconds(time: Millis) -> String {
    time.0.div_ceil(10).to_string()
}
