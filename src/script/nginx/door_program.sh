# PID 1 of a door. It outlives NGINX: a container that joined its namespace would be left with a dead one.
# Every connection is two descriptors; the default of some engines is 1024 in all.
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
conf=/tmp/flipside-door.conf
child= stop=
write_conf() {
    has_ipv6=
    while read -r address rest; do
        [ "$address" = 00000000000000000000000000000001 ] && has_ipv6=1
    done 2>/dev/null </proc/net/if_inet6
    if [ -n "${FLIPSIDE_DOOR-}" ]; then printf '%s\n' "$FLIPSIDE_DOOR"; else cat "$FLIPSIDE_DOOR_FILE"; fi |
        while IFS= read -r line; do
            case $line in *'[::1]:'*) [ -n "$has_ipv6" ] || continue ;; esac
            printf '%s\n' "$line"
        done >$conf.tmp
    mv $conf.tmp $conf
}
quit() {
    stop=1
    [ -z "$child" ] || kill -TERM "$child" 2>/dev/null
}
reload() {
    write_conf
    [ -z "$child" ] || kill -HUP "$child" 2>/dev/null
}
trap quit TERM QUIT INT
trap reload HUP
while [ -z "$stop" ]; do
    write_conf
    nginx -c $conf -g 'daemon off;' &
    child=$!
    while kill -0 "$child" 2>/dev/null; do wait "$child"; done
    child=
    [ -z "$stop" ] || break
    # Workers whose master was killed would hold the ports: they close them, finish their connections and go.
    kill -QUIT -1 2>/dev/null
    sleep 0.2
done
exit 0
