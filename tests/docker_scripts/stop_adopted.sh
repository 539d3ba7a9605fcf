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
strange() {
    [ "$owner" = 'project= env= service= role=' ] || fail "container $name carries labels of Flipside" "a container that Flipside does not run" 'take it out of `adopt`'
    policy=$(sudo docker inspect --type container --format '{{.HostConfig.RestartPolicy.Name}}{{if .HostConfig.RestartPolicy.MaximumRetryCount}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}{{end}}' 0123456789abcdef 2>&1) || fail "docker cannot say how $name is started by itself: $policy" '' ''
    policy=${policy:-no}
}
name=shop-api-1
id=0123456789abcdef
restart=on-failure:5
look "$id"
case $state in
    '') done_with "container $name is gone: there is nothing to stop" ;;
esac
strange
[ "$policy" = no ] || message=$(sudo docker update --restart no 0123456789abcdef 2>&1) ||
    fail "docker could not keep $name from being started by itself: $message" "container $name with the restart policy no" ''
case $state in
    created | exited | dead) done_with "container $name was stopped already" ;;
esac
message=$(sudo docker stop -t 30 0123456789abcdef 2>&1) || fail "docker could not stop $name: $message" "container $name, stopped" ''
code=$(sudo docker inspect --type container --format '{{.State.ExitCode}}' 0123456789abcdef 2>/dev/null)
[ "$code" != 137 ] || echo "note: $name did not end by itself in time and was killed"
done_with "container $name stopped, exit code $code"
)
