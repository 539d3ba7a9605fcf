//! The shell that brings an image to a server. Deliberately absent: archives and builds.
use super::super::ScriptContext;
use super::super::quote::{line, quote};
use super::prelude::{report, subshell};
use crate::docker;

const PULL: &str = r#"image=@IMAGE@
if id=$(@INSPECT@ 2>/dev/null); then
    done_with "image $image is there, $id"
fi
message=$(@PULL@ 2>&1) || {
    printf '%s\n' "$message"
    case $message in
        *"pull access denied"* | *unauthorized* | *"authentication required"* | *forbidden* | *denied*)
            hint="log in on the server as the user who runs docker: @DOCKER@ login; or correct the name of the image" ;;
        *"manifest unknown"* | *"not found"* | *"invalid reference"*)
            hint="correct the name or the tag, or push the image first" ;;
        *"no such host"* | *timeout* | *"connection refused"* | *"no route"* | *unreachable*)
            hint="the registry cannot be reached from this server: look at its DNS, proxy and firewall" ;;
        *"no space left"*)
            hint="make room: @DOCKER@ image prune" ;;
        *) hint="try it on the server: @DOCKER@ pull $image" ;;
    esac
    # What came before its last line is shown as it came.
    fail "docker could not pull $image: $(printf '%s\n' "$message" | tail -n 1)" "image $image on this server" "$hint"
}
id=$(@INSPECT@ 2>&1) || fail "image $image was pulled and is not there: $id" "image $image on this server" ''
done_with "image $image pulled, $id"
"#;

/// `docker pull`, unless the image is there. Says the image's id.
#[must_use]
pub fn pull_image(ctx: &ScriptContext, image: &str) -> String {
    let body = PULL
        .replace("@DOCKER@", ctx.docker.trim())
        .replace("@INSPECT@", &line(&docker::inspect_image(&ctx.docker, "{{.Id}}", image)))
        .replace("@PULL@", &line(&docker::pull(&ctx.docker, image)))
        .replace("@IMAGE@", &quote(image));
    subshell(&(report() + &body))
}
