//! The shell of networks. Deliberately absent: choosing a subnet.
use super::super::ScriptContext;
use super::super::quote::{line, quote};
use super::prelude::{report, report_and_look, subshell};
use crate::docker;
use crate::model::NetworkSpec;

/// Fills `found` with what the command after it prints about a network; empty where there is none.
const FIND: &str = r#"find_network() {
    if found=$("$@" 2>&1); then
        [ -n "$found" ] || found=' '
    else
        case $found in
            *[Nn]"o such network"* | *[Nn]"etwork "*"not found"*) found= ;;
            *) fail "docker cannot say whether there is a network $name: $found" '' '' ;;
        esac
    fi
}
"#;

const ENSURE: &str = r#"find_network @INSPECT@
case $found in
    '') ;;
    @SUBNET@\ ) done_with "network $name is there with subnet "@SUBNET@ ;;
    *)
        fail "network $name is there with subnet $found" "subnet "@SUBNET@ \
            "remove it when nothing uses it: @DOCKER@ network rm $name, or put its subnet into the playbook"
        ;;
esac
message=$(@CREATE@ 2>&1) || case $message in
    *[Oo]verlaps*)
        fail "subnet "@SUBNET@" overlaps with another network or route of this server: $message" "a subnet that is free here" \
            "look at '@DOCKER@ network ls' and 'ip route'"
        ;;
    *) fail "docker could not make network $name: $message" "network $name with subnet "@SUBNET@ '' ;;
esac
done_with "network $name made with subnet "@SUBNET@
"#;

const REMOVE: &str = r#"find_network @INSPECT@
[ -n "$found" ] || done_with "there is no network $name"
users=$(@LIST@ 2>&1) || fail "docker cannot say who uses network $name: $users" '' ''
mesh=$(@LIST_MESH@ 2>&1) || fail "docker cannot say who uses network $name: $mesh" '' ''
for user in $users; do
    case " $(printf %s "$mesh" | tr '\n' ' ') " in
        *" $user "*) ;;
        *) fail "network $name is used by $(printf %s "$users" | tr '\n' ' ')" "no container but the mesh on $name" "remove them first" ;;
    esac
done
for user in $mesh; do
    message=$(@DISCONNECT@ "$user" 2>&1) || fail "docker could not detach $user from $name: $message" '' ''
done
message=$(@REMOVE@ 2>&1) || fail "docker could not remove network $name: $message" "no network $name" ''
done_with "network $name removed"
"#;

const CONNECT: &str = r#"attached() {
    attachment=$(@ATTACHMENT@ 2>/dev/null) && [ -n "$attachment" ]
}
report_attached() {
    for alias in @ALIASES@; do
        case $attachment in
            *" $alias "*) ;;
            *) fail "container $container is on network $name without the alias $alias" "the alias $alias" \
                "detach it, this cuts its connections there: @DOCKER@ network disconnect $name $container" ;;
        esac
    done
    done_with "container $container is on network $name"
}
look "$container"
[ -n "$state" ] || fail "there is no container $container" "container $container on network $name" ''
! attached || report_attached
message=$(@CONNECT@ 2>&1 8<&-) || {
    ! attached || report_attached
    fail "docker could not attach $container to network $name: $message" "container $container on network $name" ''
}
done_with "container $container attached to network $name"
"#;

/// Prints every subnet of a network, with a blank behind each.
const SUBNETS: &str = "{{range .IPAM.Config}}{{.Subnet}} {{end}}";

/// `docker network create` with its own subnet. A network that is there with the same subnet is fine, with another one not.
#[must_use]
pub fn ensure_network(ctx: &ScriptContext, spec: &NetworkSpec) -> String {
    let body = ENSURE
        .replace("@INSPECT@", &line(&docker::inspect_network(&ctx.docker, SUBNETS, &spec.name)))
        .replace("@DOCKER@", ctx.docker.trim())
        .replace("@SUBNET@", &quote(&spec.subnet))
        .replace("@CREATE@", &line(&docker::create_network(&ctx.docker, spec)));
    subshell(&format!("{}{FIND}name={}\n{body}", report(), quote(&spec.name)))
}

/// `docker network rm`. A missing network is fine. The mesh's own containers are detached first; any other user of the
/// network, also a stopped one, is a reason to refuse.
#[must_use]
pub fn remove_network(ctx: &ScriptContext, name: &str) -> String {
    let on_it = format!("network={name}");
    let mesh = [on_it.clone(), "label=flipside.role=mesh".to_owned()];
    let docker::Command(mut disconnect) = docker::disconnect_network(&ctx.docker, name, "");
    // The container is the loop's variable.
    disconnect.pop();
    let body = REMOVE
        .replace("@INSPECT@", &line(&docker::inspect_network(&ctx.docker, SUBNETS, name)))
        .replace("@LIST@", &line(&docker::list_containers(&ctx.docker, &[on_it])))
        .replace("@LIST_MESH@", &line(&docker::list_containers(&ctx.docker, &mesh)))
        .replace("@DISCONNECT@", &line(&docker::Command(disconnect)))
        .replace("@REMOVE@", &line(&docker::remove_network(&ctx.docker, name)));
    subshell(&format!("{}{FIND}name={}\n{body}", report(), quote(name)))
}

/// `docker network connect`. A container that is attached already, under all the aliases, is fine.
#[must_use]
pub fn connect_network(ctx: &ScriptContext, network: &str, container: &str, aliases: &[String]) -> String {
    let template =
        format!("{{{{with index .NetworkSettings.Networks \"{network}\"}}}} {{{{range .Aliases}}}}{{{{.}}}} {{{{end}}}}{{{{end}}}}");
    let body = CONNECT
        .replace("@ATTACHMENT@", &line(&docker::inspect_container(&ctx.docker, &template, container)))
        .replace("@ALIASES@", &aliases.iter().map(|alias| quote(alias)).collect::<Vec<_>>().join(" "))
        .replace("@DOCKER@", ctx.docker.trim())
        .replace("@CONNECT@", &line(&docker::connect_network(&ctx.docker, network, container, aliases)));
    subshell(&format!("{}name={}\ncontainer={}\n{body}", report_and_look(ctx), quote(network), quote(container)))
}
