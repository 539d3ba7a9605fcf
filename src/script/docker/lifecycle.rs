//! The shell that stops, starts, renames and removes containers. Deliberately absent: running new ones.
use super::super::ScriptContext;
use super::super::quote::{line, quote};
use super::ports::PORTS;
use super::prelude::{report_and_look, stranger, subshell};
use crate::docker;
use crate::model::{Millis, label};

/// The ports of a container as words `address:port/container_port/transport`, also while it is stopped.
const BOUND: &str = "{{range $to, $list := .HostConfig.PortBindings}}{{range $list}}{{.HostIp}}:{{.HostPort}}/{{$to}} {{end}}{{end}}";

/// Ends the body where `$1` is not ours. A container without our labels is never touched.
const OURS: &str = r#"ours() {
    [ "$owner" != @STRANGER@ ] ||
        fail "container $1 is not ours: it has image $image and none of our labels" "a container that Flipside runs" "rename it: @DOCKER@ rename $1 $1.other"
}
"#;

/// Stops the container `$1`, which runs, by the command that follows it, and says how it ended.
const HALT: &str = r#"halt() {
    stopped=$1
    shift
    message=$("$@" 2>&1) || fail "docker could not stop $stopped: $message" "a stopped container $stopped" ''
    code=$(@DOCKER_WORDS@ inspect --type container --format '{{.State.ExitCode}}' "$stopped" 2>/dev/null)
    [ "$code" != 137 ] || echo "note: $stopped did not end by itself in time and was killed"
}
"#;

const STOP: &str = r#"look "$name"
case $state in
    '') fail "there is no container $name" "container $name, stopped" '' ;;
esac
ours "$name"
case $state in
    created | exited | dead) done_with "container $name was stopped already" ;;
esac
halt "$name" @STOP@
done_with "container $name stopped, exit code $code"
"#;

const START: &str = r#"look "$name"
case $state in
    '') fail "there is no container $name" "container $name, running" '' ;;
    running) done_with "container $name runs already" ;;
esac
ours "$name"
case $state in
    paused) fail "container $name is paused" "container $name, running" "@DOCKER@ unpause $name" ;;
esac
message=$(@START@ 2>&1 8<&-) || {
    blame_ports "$message" $(@PORTS_OF@ 2>/dev/null)
    fail "docker could not start $name: $message" "container $name, running" ''
}
done_with "container $name started"
"#;

const REMOVE: &str = r#"look "$name"
case $state in
    '') done_with "there is no container $name" ;;
esac
if [ "$owner" = @STRANGER@ ]; then
    echo "note: container $name of image $image is not ours and was left alone"
    done_with "there is no container $name of ours"
fi
case $state in
    running | restarting | paused) halt "$name" @STOP@ ;;
esac
message=$(@REMOVE@ 2>&1) || {
    look "$name"
    [ -z "$state" ] || fail "docker could not remove $name: $message" "no container $name" ''
}
done_with "container $name removed"
"#;

const RENAME: &str = r#"look "$to"
there=$state
look "$name"
case $state,$there in
    ,) fail "there is no container $name and none $to" "container $name, to be renamed" '' ;;
    ,*) done_with "container $to has its name already" ;;
    *,) ;;
    *) fail "there are both containers, $name ($state) and $to ($there)" "container $name alone" "look at both, and remove the one that is of no use" ;;
esac
ours "$name"
message=$(@RENAME@ 2>&1) || fail "docker could not rename $name to $to: $message" "container $to" ''
done_with "container $name renamed to $to"
"#;

const SET_ASIDE: &str = r#"look "$to"
there=$state its_owner=$owner
look "$name"
case $state,$there in
    ,) done_with "there is no container $name: nothing is in the way" ;;
    ,*) done_with "container $to waits already" ;;
esac
ours "$name"
if found=$(@RELEASE_OF@ 2>&1); then
    [ "$found" = "$release" ] || done_with "container $name is of ${found:+release }${found:-no release}: it keeps its name"
else
    fail "docker cannot say of which release container $name is: $found" '' ''
fi
case $there in
    '') ;;
    running | restarting | paused)
        fail "container $to, which should wait as a spare, is $there" "$to stopped or not there" "stop it: @DOCKER@ stop $to"
        ;;
    *)
        [ "$its_owner" = "$owner" ] ||
            fail "the name $to is taken by another container ($its_owner)" "$to of $owner, or none" "rename it: @DOCKER@ rename $to $to.other"
        ;;
esac
code=
case $state in
    created | exited | dead) ;;
    *) halt "$name" @STOP@ ;;
esac
if [ -n "$there" ]; then
    message=$(@REMOVE@ 2>&1) || fail "docker could not remove the older $to: $message" "no container $to" ''
    echo "note: removed the older $to"
fi
message=$(@RENAME@ 2>&1) || fail "docker could not rename $name to $to: $message" "container $to" ''
done_with "container $name waits as $to"
"#;

/// `docker stop`. A container that is stopped already is fine, one that is missing or not ours is not.
#[must_use]
pub fn stop_container(ctx: &ScriptContext, name: &str, timeout: Millis) -> String {
    let body = STOP.replace("@STOP@", &line(&docker::stop(&ctx.docker, name, timeout)));
    script(ctx, &[OURS, HALT], &[("name", name)], &body)
}

/// `docker start`. A container that runs already is fine. Where a port is taken, whoever holds it is named. As for `docker run`, what the
/// engine leaves beside the container holds no lock of the script.
#[must_use]
pub fn start_container(ctx: &ScriptContext, name: &str) -> String {
    let ports = docker::inspect_container(&ctx.docker, BOUND, name);
    let body = START.replace("@START@", &line(&docker::start(&ctx.docker, name))).replace("@PORTS_OF@", &line(&ports));
    script(ctx, &[OURS, PORTS], &[("name", name)], &body)
}

/// `docker rm`, after `docker stop` where it still runs. A missing container is fine; one that is not ours is left alone.
#[must_use]
pub fn remove_container(ctx: &ScriptContext, name: &str, timeout: Millis) -> String {
    let body = REMOVE
        .replace("@STOP@", &line(&docker::stop(&ctx.docker, name, timeout)))
        .replace("@REMOVE@", &line(&docker::remove(&ctx.docker, name)));
    script(ctx, &[HALT], &[("name", name)], &body)
}

/// `docker rename`. Fine where `to` is there and `from` is not.
#[must_use]
pub fn rename_container(ctx: &ScriptContext, from: &str, to: &str) -> String {
    let body = RENAME.replace("@RENAME@", &line(&docker::rename(&ctx.docker, from, to)));
    script(ctx, &[OURS], &[("name", from), ("to", to)], &body)
}

/// Stops a container and renames it to `to`, in the place of an older one that waits there. Fine where `name` is not there:
/// then nothing is in the way, or the run that is taken back never came to be. Fine, too, where `name` is of another release than this one:
/// then the container that makes room has done so, and this is the new one. A `to` that runs, or that belongs to another service, is refused.
#[must_use]
pub fn set_aside(ctx: &ScriptContext, name: &str, to: &str, release: Option<&str>, stop_timeout: Millis) -> String {
    let label = format!("{{{{index .Config.Labels \"{}\"}}}}", label::RELEASE);
    let body = SET_ASIDE
        .replace("@RELEASE_OF@", &line(&docker::inspect_container(&ctx.docker, &label, name)))
        .replace("@STOP@", &line(&docker::stop(&ctx.docker, name, stop_timeout)))
        .replace("@REMOVE@", &line(&docker::remove(&ctx.docker, to)))
        .replace("@RENAME@", &line(&docker::rename(&ctx.docker, name, to)));
    script(ctx, &[OURS, HALT], &[("name", name), ("to", to), ("release", release.unwrap_or_default())], &body)
}

/// The shared functions, the variables and the body, in this order.
fn script(ctx: &ScriptContext, functions: &[&str], variables: &[(&str, &str)], body: &str) -> String {
    let mut text = report_and_look(ctx);
    for function in functions {
        text.push_str(function);
    }
    for (name, value) in variables {
        text.push_str(&format!("{name}={}\n", quote(value)));
    }
    text.push_str(body);
    let text = text.replace("@STRANGER@", &quote(&stranger()));
    subshell(&text.replace("@DOCKER_WORDS@", &line(&docker::Command::new(&ctx.docker))).replace("@DOCKER@", ctx.docker.trim()))
}
