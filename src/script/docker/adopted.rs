//! The shell that stops and starts a container which a service takes the place of: the only one that touches what is not ours, and nothing
//! else. Deliberately absent: removing it, which is left to people.
use super::super::ScriptContext;
use super::super::quote::{line, quote};
use super::ports::PORTS;
use super::prelude::{report_and_look, stranger, subshell};
use crate::docker;
use crate::model::{Adopted, Millis};

/// The restart policy as `docker update` takes it. Podman has no word for none.
const POLICY: &str = "{{.HostConfig.RestartPolicy.Name}}{{if .HostConfig.RestartPolicy.MaximumRetryCount}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}{{end}}";

/// The ports of a container as words `address:port/container_port/transport`, also while it is stopped.
const BOUND: &str = "{{range $to, $list := .HostConfig.PortBindings}}{{range $list}}{{.HostIp}}:{{.HostPort}}/{{$to}} {{end}}{{end}}";

/// Ends the body where the container is one of ours; fills `policy`.
const LOOK: &str = r#"strange() {
    [ "$owner" = @STRANGER@ ] || fail "container $name carries labels of Flipside" "a container that Flipside does not run" 'take it out of `adopt`'
    policy=$(@POLICY@ 2>&1) || fail "docker cannot say how $name is started by itself: $policy" '' ''
    policy=${policy:-no}
}
"#;

const STOP: &str = r#"look "$id"
case $state in
    '') done_with "container $name is gone: there is nothing to stop" ;;
esac
strange
[ "$policy" = no ] || message=$(@KEEP_DOWN@ 2>&1) ||
    fail "docker could not keep $name from being started by itself: $message" "container $name with the restart policy no" ''
case $state in
    created | exited | dead) done_with "container $name was stopped already" ;;
esac
message=$(@STOP@ 2>&1) || fail "docker could not stop $name: $message" "container $name, stopped" ''
code=$(@CODE@ 2>/dev/null)
[ "$code" != 137 ] || echo "note: $name did not end by itself in time and was killed"
done_with "container $name stopped, exit code $code"
"#;

const START: &str = r#"look "$id"
case $state in
    '') fail "there is no container $name any more" "container $name, running" '' ;;
esac
strange
case $state in
    running | restarting) ;;
    paused) fail "container $name is paused" "container $name, running" "@DOCKER@ unpause $name" ;;
    *)
        message=$(@START@ 2>&1 8<&-) || {
            blame_ports "$message" $(@PORTS_OF@ 2>/dev/null)
            fail "docker could not start $name: $message" "container $name, running" ''
        }
        ;;
esac
[ "$policy" = "$restart" ] || message=$(@AS_IT_WAS@ 2>&1) ||
    fail "docker could not give $name its restart policy $restart: $message" "container $name with the restart policy $restart" ''
done_with "container $name runs as it did"
"#;

/// `docker update --restart no`, then `docker stop`. One that is stopped or gone is fine; one that is ours is refused.
#[must_use]
pub fn stop_adopted(ctx: &ScriptContext, container: &Adopted, timeout: Millis) -> String {
    let body = STOP
        .replace("@KEEP_DOWN@", &line(&docker::update_restart(&ctx.docker, &container.id, "no")))
        .replace("@STOP@", &line(&docker::stop(&ctx.docker, &container.id, timeout)))
        .replace("@CODE@", &line(&docker::inspect_container(&ctx.docker, "{{.State.ExitCode}}", &container.id)));
    script(ctx, container, "", &body)
}

/// `docker start`, then its restart policy again. One that runs is fine, one that is gone is not.
#[must_use]
pub fn start_adopted(ctx: &ScriptContext, container: &Adopted) -> String {
    let body = START
        .replace("@START@", &line(&docker::start(&ctx.docker, &container.id)))
        .replace("@PORTS_OF@", &line(&docker::inspect_container(&ctx.docker, BOUND, &container.id)))
        .replace("@AS_IT_WAS@", &line(&docker::update_restart(&ctx.docker, &container.id, &container.restart)));
    script(ctx, container, PORTS, &body)
}

fn script(ctx: &ScriptContext, container: &Adopted, functions: &str, body: &str) -> String {
    let mut text = report_and_look(ctx);
    text.push_str(functions);
    text.push_str(LOOK);
    for (name, value) in [("name", &container.name), ("id", &container.id), ("restart", &container.restart)] {
        text.push_str(&format!("{name}={}\n", quote(value)));
    }
    text.push_str(body);
    let policy = line(&docker::inspect_container(&ctx.docker, POLICY, &container.id));
    let text = text.replace("@STRANGER@", &quote(&stranger())).replace("@POLICY@", &policy);
    subshell(&text.replace("@DOCKER_WORDS@", &line(&docker::Command::new(&ctx.docker))).replace("@DOCKER@", ctx.docker.trim()))
}
