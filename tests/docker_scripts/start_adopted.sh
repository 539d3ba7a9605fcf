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
holder_of() {
    by=$(sudo docker ps --filter "publish=$2/$3" --format '{{.Names}}' 2>/dev/null | head -n 1)
    [ -z "$by" ] || { echo "container $by"; return; }
    case $3 in
        udp) sockets=$(ss -Hlunp "sport = :$2" 2>/dev/null) ;;
        *) sockets=$(ss -Hltnp "sport = :$2" 2>/dev/null) ;;
    esac
    sockets=$(printf '%s\n' "$sockets" | grep -F -e " $1:$2 " -e " 0.0.0.0:$2 " -e " *:$2 " -e " [::]:$2 ")
    [ -n "$sockets" ] || return 1
    process=$(printf '%s\n' "$sockets" | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\),.*/pid \2 (\1)/p' | head -n 1)
    echo "${process:-a process that only root can see}"
}
blame_ports() {
    case $1 in
        *"port is already allocated"* | *"address already in use"*) ;;
        *) return ;;
    esac
    shift
    for triple in "$@"; do
        address=${triple%%:*} port=${triple#*:}
        transport=${port##*/} port=${port%%/*}
        if by=$(holder_of "$address" "$port" "$transport"); then
            fail "port $port on $address is taken by $by" "port $port/$transport on $address, free" "stop it, or pin another host_port in the playbook"
        fi
    done
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
    '') fail "there is no container $name any more" "container $name, running" '' ;;
esac
strange
case $state in
    running | restarting) ;;
    paused) fail "container $name is paused" "container $name, running" "sudo docker unpause $name" ;;
    *)
        message=$(sudo docker start 0123456789abcdef 2>&1 8<&-) || {
            blame_ports "$message" $(sudo docker inspect --type container --format '{{range $to, $list := .HostConfig.PortBindings}}{{range $list}}{{.HostIp}}:{{.HostPort}}/{{$to}} {{end}}{{end}}' 0123456789abcdef 2>/dev/null)
            fail "docker could not start $name: $message" "container $name, running" ''
        }
        ;;
esac
[ "$policy" = "$restart" ] || message=$(sudo docker update --restart on-failure:5 0123456789abcdef 2>&1) ||
    fail "docker could not give $name its restart policy $restart: $message" "container $name with the restart policy $restart" ''
done_with "container $name runs as it did"
)
