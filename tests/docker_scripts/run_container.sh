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
name=shop_prod_api_secondary
owner='project=shop env=prod service=api role=app'
same='side=secondary replica=1 spec=3f2a mesh='
look() {
    state= its_owner= its_same= image=
    if found=$(sudo docker inspect --type container --format '{{.State.Status}}|project={{index .Config.Labels "flipside.project"}} env={{index .Config.Labels "flipside.env"}} service={{index .Config.Labels "flipside.service"}} role={{index .Config.Labels "flipside.role"}}|side={{index .Config.Labels "flipside.side"}} replica={{index .Config.Labels "flipside.replica"}} spec={{index .Config.Labels "flipside.spec"}} mesh={{index .Config.Labels "flipside.mesh"}}|{{.Config.Image}}' shop_prod_api_secondary 2>&1); then
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
        "no container of this name, or one with $owner" "rename or remove it: sudo docker rename $name $name.other"
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
        message=$(sudo docker rm shop_prod_api_secondary 2>&1) || fail "container $name, which was never started, cannot be removed: $message" "no container $name" ''
        echo "note: removed a container $name that was never started"
        ;;
    exited | dead)
        check_owner
        [ "$its_same" = "$same" ] || fail "container $name is there, stopped, with $its_same" "$same" ''
        message=$(sudo docker rm shop_prod_api_secondary 2>&1) || fail "the stopped container $name cannot be removed: $message" "no container $name" ''
        echo "note: removed a stopped container $name of the same making"
        ;;
    *)
        check_owner
        fail "container $name is $state" "running, stopped or not there" ''
        ;;
esac
attempt() {
    message=$(sudo docker run -d --name shop_prod_api_secondary --pull never '--sig-proxy=false' --restart unless-stopped --stop-timeout 30 --log-driver json-file --log-opt 'max-size=10m' --log-opt 'max-file=3' --network shop_prod_network --ip 10.210.4.11 -p 10.0.0.10:18959:8000/tcp --env 'GREETING=it'\''s $HOME' --label 'flipside.env=prod' --label 'flipside.project=shop' --label 'flipside.replica=1' --label 'flipside.role=app' --label 'flipside.service=api' --label 'flipside.side=secondary' --label 'flipside.spec=3f2a' --label 'flipside.version=1.4.0 "beta"' registry.example.com/shop/api:1.4.0 2>&1 8<&-) && return
    code=$?
    printf '%s\n' "$message"
    look
    never_started=
    if [ "$state" = created ] && [ "$its_owner" = "$owner" ]; then
        never_started=yes
        sudo docker rm shop_prod_api_secondary >/dev/null 2>&1 || echo "note: $name, which was never started, could not be removed"
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
    blame_ports "$message" 10.0.0.10:18959/tcp
    case $message in
        *[Nn]"o such image"* | *"image not known"*)
            fail "the image "registry.example.com/shop/api:1.4.0" is not on this server" "the image, pulled beforehand" ''
            ;;
    esac
    fail "docker could not run $name (exit code $code): $message" "a running container $name" ''
}
wrapped() {
    pid=$(sudo docker inspect --type container --format '{{.State.Pid}}' shop_prod_api_secondary 2>/dev/null) || return 1
    [ "$pid" -gt 0 ] 2>/dev/null && [ -r "/proc/$pid/cmdline" ] || return 1
    case $(tr '\0' ' ' <"/proc/$pid/cmdline") in
        sh\ -c\ * | */sh\ -c\ * | bash\ -c\ * | */bash\ -c\ * | dash\ -c\ * | */dash\ -c\ * | ash\ -c\ * | */ash\ -c\ *) ;;
        *) return 1 ;;
    esac
}
if wrapped && { sleep 0.3 2>/dev/null || sleep 1; } && wrapped; then
    echo "note: the first process of $name is a shell that does not pass SIGTERM on: start the app with exec, or stops take the whole timeout"
fi
done_with "container $name started, $(printf '%s\n' "$message" | tail -n 1 | cut -c 1-12)"
)
