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
look "$name"
case $state in
    '') fail "there is no container $name" "container $name, stopped" '' ;;
esac
ours "$name"
case $state in
    created | exited | dead) done_with "container $name was stopped already" ;;
esac
halt "$name" sudo docker stop -t 30 shop_prod_api
done_with "container $name stopped, exit code $code"
)
