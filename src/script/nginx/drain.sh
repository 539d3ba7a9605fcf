# In the NGINX container: $1 quiet time, $2 bound, both in hundredths of a second since the switch; then the backends, `ADDRESS:PORT`
# as /proc/net/tcp and tcp6 write them, each with the plain form after a `=`.
quiet=$1 bound=$2
shift 2
began=
read -r boot </proc/sys/kernel/random/boot_id
# A switch that could not note its moment, on a full disk, has left that of an earlier one: then the time counts from now.
current=$(readlink /flipside/nginx/current)
{ read -r id at booted </flipside/nginx/switched; } 2>/dev/null && [ "$booted $id" = "$boot ${current##*/}" ] && began=$at
now
first=$centis
[ -n "$began" ] || began=$first
# Connections of a door's or an app's own are none of ours: only sockets of this namespace. They count when established or about to be, and
# when one of the two has finished sending and the other has not (04, 05, 08): with proxy_half_close an answer may still flow then. Those
# that NGINX has closed too linger in the same states with inode 0, and nobody waits for them.
# The kernel reads its table out in pieces: one that moves meanwhile may be there twice, or not at all.
left() {
    n_left=0 where= counted=
    while read -r slot local remote state queues timer retransmits uid timeout inode rest; do
        case $state in 01 | 02) ;; 04 | 05 | 08) [ "$inode" != 0 ] || continue ;; *) continue ;; esac
        for backend in "$@"; do
            [ "$remote" = "${backend%=*}" ] || continue
            case " $counted " in *" $local>$remote "*) continue ;; esac
            counted="$counted $local>$remote"
            n_left=$((n_left + 1))
            case " $where " in *" ${backend#*=} "*) ;; *) where="$where${where:+ }${backend#*=}" ;; esac
        done
    done <<ROWS
$(sockets '0[12458]' /proc/net/tcp /proc/net/tcp6)
ROWS
}
# Requests that clients are still sending, where NGINX keeps a body until it has all of it: no connection leads to the old side yet, and the
# old workers know no other. Everybody else who was connected at the switch and is still served by an old worker has a connection of NGINX's
# own. A client that speaks HTTP/2 may have many of these, and hides others; without grep nobody is found.
sending() {
    n_sending=0
    [ -s /flipside/nginx/connections ] || return 0
    set -- /proc/net/tcp
    [ ! -r /proc/net/tcp6 ] || set -- /proc/net/tcp /proc/net/tcp6
    ports=
    for port in $(grep -oh ':[0-9A-F]* 0*:0000 0A ' "$@" 2>/dev/null); do
        case $port in :????) ports="$ports${ports:+|}${port#:}" ;; esac
    done
    [ -n "$ports" ] || return 0
    rows=$(grep -hFf /flipside/nginx/connections "$@")
    clients=$(printf '%s\n' "$rows" | grep -cE "^ *[0-9]+: [0-9A-F]+:($ports) [0-9A-F:]+ 01 ")
    own=$(printf '%s\n' "$rows" | grep -vE "^ *[0-9]+: [0-9A-F]+:($ports) " | grep -cE '^ *[0-9]+: [0-9A-F:]+ [0-9A-F:]+ 0[18] ')
    n_sending=$((clients + $(grep -cFf /flipside/nginx/connections /proc/net/unix) - own))
    [ "$n_sending" -gt 0 ] || n_sending=0
}
while :; do
    now
    over=$((centis - began))
    workers
    if [ -z "$leaving" ]; then
        say "seen: drained $(show_centis $over) after the switch: the old workers are gone"
        exit 0
    fi
    if [ "$over" -ge "$quiet" ]; then
        left "$@"
        n_sending=0
        [ "$n_left" -gt 0 ] || sending
        # So nothing has to be left twice in a row.
        if [ "$n_left" -eq 0 ] && [ "$n_sending" -eq 0 ] && nap 0.05 && left "$@" && [ "$n_left" -eq 0 ] && sending && [ "$n_sending" -eq 0 ]; then
            say "seen: drained $(show_centis $over) after the switch: no connection to the old side is left ($(count $leaving) old workers serve others)"
            exit 0
        fi
        if [ "$over" -ge "$bound" ]; then
            rest="connections left to $where: $n_left"
            [ "$n_sending" -eq 0 ] || rest="requests that clients are still sending: $n_sending"
            say "seen: drain_timeout is over $(show_centis $over) after the switch; $rest"
            exit 0
        fi
    elif [ "$over" -ge "$bound" ]; then
        left "$@"
        say "seen: drain_timeout is over $(show_centis $over) after the switch, before the quiet time; connections left to $where: $n_left"
        exit 0
    fi
    nap 0.1
done
