//! The shell of `RunContainer`. Deliberately absent: waiting until the container is healthy.
use super::super::ScriptContext;
use super::super::quote::{line, quote};
use super::ports::{PORTS, ports_of};
use super::prelude::{OWNER, labels_template, labels_text, report, subshell};
use crate::docker;
use crate::model::{ContainerSpec, label};

/// The labels that, besides the owner's, make two containers the same one.
const SAME: [&str; 4] = [label::SIDE, label::REPLICA, label::SPEC, label::MESH];

const BODY: &str = r#"PORTS
name=@NAME@
owner=@OWNER@
same=@SAME@
look() {
    state= its_owner= its_same= image=
    if found=$(@INSPECT@ 2>&1); then
        state=${found%%|*} found=${found#*|}
        its_owner=${found%%|*} found=${found#*|}
        its_same=${found%%|*} image=${found#*|}
    else
        case $found in
            *[Nn]"o such container"* | *[Nn]"o such object"*) ;;
            *) fail "docker cannot say whether there is a container $name: $found" '' '' ;;
        esac
    fi
}
check_owner() {
    [ "$its_owner" = "$owner" ] || fail "the name $name is taken by a container of image $image ($state) with $its_owner" \
        "no container of this name, or one with $owner" "rename or remove it: @DOCKER@ rename $name $name.other"
}
look
case $state in
    '') ;;
    running | restarting)
        check_owner
        [ "$its_same" = "$same" ] || fail "container $name already runs with $its_same" "$same" ''
        done_with "container $name is $state already"
        ;;
    created)
        check_owner
        message=$(@REMOVE@ 2>&1) || fail "container $name, which was never started, cannot be removed: $message" "no container $name" ''
        echo "note: removed a container $name that was never started"
        ;;
    exited | dead)
        check_owner
        [ "$its_same" = "$same" ] || fail "container $name is there, stopped, with $its_same" "$same" ''
        message=$(@REMOVE@ 2>&1) || fail "the stopped container $name cannot be removed: $message" "no container $name" ''
        echo "note: removed a stopped container $name of the same making"
        ;;
    *)
        check_owner
        fail "container $name is $state" "running, stopped or not there" ''
        ;;
esac
attempt() {
    message=$(@RUN@ 2>&1 8<&-) && return
    code=$?
    printf '%s\n' "$message"
    look
    never_started=
    if [ "$state" = created ] && [ "$its_owner" = "$owner" ]; then
        never_started=yes
        @REMOVE@ >/dev/null 2>&1 || echo "note: $name, which was never started, could not be removed"
    fi
    return 1
}
again() {
    case $never_started$message in
        yes*"OCI runtime"*) ;;
        *) return 1 ;;
    esac
    say note "the runtime failed once, and was tried again: $message"
    sleep 1
    attempt
}
attempt || again || {
    blame_ports "$message" @TRIPLES@
    case $message in
        *[Nn]"o such image"* | *"image not known"*)
            fail "the image "@IMAGE@" is not on this server" "the image, pulled beforehand" ''
            ;;
    esac
    fail "docker could not run $name (exit code $code): $message" "a running container $name" ''
}
"#;

const WRAPPED: &str = r#"wrapped() {
    pid=$(@PID@ 2>/dev/null) || return 1
    [ "$pid" -gt 0 ] 2>/dev/null && [ -r "/proc/$pid/cmdline" ] || return 1
    case $(tr '\0' ' ' <"/proc/$pid/cmdline") in
        sh\ -c\ * | */sh\ -c\ * | bash\ -c\ * | */bash\ -c\ * | dash\ -c\ * | */dash\ -c\ * | ash\ -c\ * | */ash\ -c\ *) ;;
        *) return 1 ;;
    esac
}
if wrapped && { sleep 0.3 2>/dev/null || sleep 1; } && wrapped; then
    echo "note: the first process of $name is a shell that does not pass SIGTERM on: start the app with exec, or stops take the whole timeout"
fi
"#;

/// `docker run -d`. A container of this name with the same labels that runs is left, one that is stopped or was never
/// started is replaced, and any other is refused. What a failed start leaves behind is removed, and whoever holds the
/// port is named. Of a stranger's labels only ours are told: others hold secrets. An error of the container runtime before the container has started is tried once more: under load it
/// loses a connection to its own child now and then. The lock that the script holds as long as it lives (see [`crate::script::fence`]) is
/// not the container's: podman's monitor, a child of `podman run`, lives as long as that does. A shell in front of the app is noted, since it swallows SIGTERM.
#[must_use]
pub fn run_container(ctx: &ScriptContext, spec: &ContainerSpec) -> String {
    let template = format!("{{{{.State.Status}}}}|{}|{}|{{{{.Config.Image}}}}", labels_template(&OWNER), labels_template(&SAME));
    let mut body = report();
    body.push_str(
        &BODY
            .replace("PORTS\n", &PORTS.replace("@DOCKER_WORDS@", &line(&docker::Command::new(&ctx.docker))))
            .replace("@DOCKER@", ctx.docker.trim())
            .replace("@INSPECT@", &line(&docker::inspect_container(&ctx.docker, &template, &spec.name)))
            .replace("@REMOVE@", &line(&docker::remove(&ctx.docker, &spec.name)))
            .replace("@TRIPLES@", &ports_of(&spec.publish))
            .replace("@OWNER@", &quote(&labels_text(&OWNER, &spec.labels)))
            .replace("@SAME@", &quote(&labels_text(&SAME, &spec.labels)))
            .replace("@IMAGE@", &quote(&spec.image))
            .replace("@NAME@", &quote(&spec.name))
            .replace("@RUN@", &line(&docker::run(&ctx.docker, spec))),
    );
    // Doors and the mesh are shells by design, and pass signals on.
    if spec.labels.get(label::ROLE).is_none_or(|role| role == "app") {
        body.push_str(&WRAPPED.replace("@PID@", &line(&docker::inspect_container(&ctx.docker, "{{.State.Pid}}", &spec.name))));
    }
    body.push_str("done_with \"container $name started, $(printf '%s\\n' \"$message\" | tail -n 1 | cut -c 1-12)\"\n");
    subshell(&body)
}
