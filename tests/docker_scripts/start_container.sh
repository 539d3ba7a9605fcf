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
name=shop_prod_api
look "$name"
case $state in
    '') fail "there is no container $name" "container $name, running" '' ;;
    running) done_with "container $name runs already" ;;
esac
ours "$name"
case $state in
    paused) fail "container $name is paused" "container $name, running" "sudo docker unpause $name" ;;
esac
message=$(sudo docker start shop_prod_api 2>&1 8<&-) || {
    blame_ports "$message" $(sudo docker inspect --type container --format '{{range $to, $list := .HostConfig.PortBindings}}{{range $list}}{{.HostIp}}:{{.HostPort}}/{{$to}} {{end}}{{end}}' shop_prod_api 2>/dev/null)
    fail "docker could not start $name: $message" "container $name, running" ''
}
done_with "container $name started"
)
