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
    '') done_with "there is no container $name" ;;
esac
if [ "$owner" = 'project= env= service= role=' ]; then
    echo "note: container $name of image $image is not ours and was left alone"
    done_with "there is no container $name of ours"
fi
case $state in
    running | restarting | paused) halt "$name" sudo docker stop -t 30 shop_prod_api ;;
esac
message=$(sudo docker rm shop_prod_api 2>&1) || {
    look "$name"
    [ -z "$state" ] || fail "docker could not remove $name: $message" "no container $name" ''
}
done_with "container $name removed"
)
