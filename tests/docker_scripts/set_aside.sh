(
say() {
    [ -z "$2" ] || printf '%s: %s\n' "$1" "$(printf %s "$2" | tr '\n' ' ')"
}
done_with() {
    say seen "$1"
    exit 0
}
fail() {
    say error "$1"
    say wanted "$2"
    say hint "$3"
    exit 1
}
look() {
    state= owner= image=
    if found=$(sudo docker inspect --type container --format '{{.State.Status}}|project={{index .Config.Labels "flipside.project"}} env={{index .Config.Labels "flipside.env"}} service={{index .Config.Labels "flipside.service"}} role={{index .Config.Labels "flipside.role"}}|{{.Config.Image}}' "$1" 2>&1); then
        state=${found%%|*} found=${found#*|}
        owner=${found%%|*} image=${found#*|}
    else
        case $found in
            *[Nn]"o such container"* | *[Nn]"o such object"*) ;;
            *) fail "docker cannot say whether there is a container $1: $found" '' '' ;;
        esac
    fi
}
ours() {
    [ "$owner" != 'project= env= service= role=' ] ||
        fail "container $1 is not ours: it has image $image and none of our labels" "a container that Flipside runs" "rename it: sudo docker rename $1 $1.other"
}
halt() {
    stopped=$1
    shift
    message=$("$@" 2>&1) || fail "docker could not stop $stopped: $message" "a stopped container $stopped" ''
    code=$(sudo docker inspect --type container --format '{{.State.ExitCode}}' "$stopped" 2>/dev/null)
    [ "$code" != 137 ] || echo "note: $stopped did not end by itself in time and was killed"
}
name=shop_prod_api
to=shop_prod_api.previous
release=6
look "$to"
there=$state its_owner=$owner
look "$name"
case $state,$there in
    ,) done_with "there is no container $name: nothing is in the way" ;;
    ,*) done_with "container $to waits already" ;;
esac
ours "$name"
if found=$(sudo docker inspect --type container --format '{{index .Config.Labels "flipside.release"}}' shop_prod_api 2>&1); then
    [ "$found" = "$release" ] || done_with "container $name is of ${found:+release }${found:-no release}: it keeps its name"
else
    fail "docker cannot say of which release container $name is: $found" '' ''
fi
case $there in
    '') ;;
    running | restarting | paused)
        fail "container $to, which should wait as a spare, is $there" "$to stopped or not there" "stop it: sudo docker stop $to"
        ;;
    *)
        [ "$its_owner" = "$owner" ] ||
            fail "the name $to is taken by another container ($its_owner)" "$to of $owner, or none" "rename it: sudo docker rename $to $to.other"
        ;;
esac
code=
case $state in
    created | exited | dead) ;;
    *) halt "$name" sudo docker stop -t 30 shop_prod_api ;;
esac
if [ -n "$there" ]; then
    message=$(sudo docker rm shop_prod_api.previous 2>&1) || fail "docker could not remove the older $to: $message" "no container $to" ''
    echo "note: removed the older $to"
fi
message=$(sudo docker rename shop_prod_api shop_prod_api.previous 2>&1) || fail "docker could not rename $name to $to: $message" "container $to" ''
done_with "container $name waits as $to"
)
