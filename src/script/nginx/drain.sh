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
# The sockets that the old workers hold, by their inodes. Only their own user may look; it is the same for all of them. Old workers share
# some: at a reload each of them is given the channel of every new one.
held() {
    look="for pid in$leaving; do ls -l /proc/\$pid/fd; done"
    listing=$(eval "$look" 2>/dev/null)
    case $listing in
    *' -> '*) ;;
    *)
        [ -n "$owner" ] || owns "${leaving##* }"
        listing=$(su -s /bin/sh "$owner" -c "$look" 2>/dev/null)
        case $listing in *' -> '*) ;; *) return 1 ;; esac
        ;;
    esac
    inodes=' ' n_held=0
    while read -r line; do
        case $line in *' socket:['*) ;; *) continue ;; esac
        line=${line##*socket:[}
        ! is_held "${line%]}" || continue
        inodes="$inodes${line%]} "
        n_held=$((n_held + 1))
    done <<ROWS
$listing
ROWS
}
# The name of the user that a process runs as.
owner=
owns() {
    uid=
    { while read -r key id rest; do [ "$key" != Uid: ] || uid=$id; done <"/proc/$1/status"; } 2>/dev/null
    while IFS=: read -r name password id rest; do
        [ -n "$owner" ] || [ "$id" != "$uid" ] || owner=$name
    done </etc/passwd
}
is_held() { [ "$1" != 0 ] && case $inodes in *" $1 "*) ;; *) return 1 ;; esac; }
# A connection that NGINX has made, by its port in hexadecimal: the kernel has chosen it, and nobody listens there. A client's may have no
# listener either, where the switch has closed the port.
is_own() {
    case $ports in *" $1 "*) return 1 ;; esac
    [ $((0x$1)) -ge "$lowest" ] && [ $((0x$1)) -le "$highest" ]
}
# Requests that clients are still sending, where NGINX keeps a body until it has all of it: no connection leads to the old side yet, and the
# old workers know no other. Everybody else whom an old worker still serves has a connection of NGINX's own. A client that comes through a
# door has its socket in the table of the door's namespace: it is one that no table here has. A client that speaks HTTP/2 may have many
# connections of NGINX's own, and hides others.
sending() {
    n_sending=0 n_own=0 n_known=0 ports=' ' unseen=
    held || {
        [ -z "$leaving" ] || unseen=yes
        return 0
    }
    # Not by the shell's own read: a byte at a time the kernel gives the first one only.
    set -- $(cat /proc/sys/net/ipv4/ip_local_port_range 2>/dev/null)
    lowest=${1:-0} highest=${2:-65535}
    set -- /proc/net/tcp /proc/net/tcp6
    while read -r slot local remote state rest; do
        [ "$state" != 0A ] || ports="$ports${local##*:} "
    done <<ROWS
$(sockets 0A "$@")
ROWS
    while read -r slot local remote state queues timer retransmits uid timeout inode rest; do
        is_held "${inode:-0}" || continue
        n_known=$((n_known + 1))
        [ "$state" != 0A ] || continue
        if is_own "${local##*:}"; then n_own=$((n_own + 1)); else n_sending=$((n_sending + 1)); fi
    done <<ROWS
$(sockets '0[^6]' "$@")
ROWS
    while read -r slot references protocol flags type state inode path; do
        is_held "${inode:-0}" || continue
        n_known=$((n_known + 1))
        case $state$path in 03/flipside/run/?*) n_sending=$((n_sending + 1)) ;; esac
    done </proc/net/unix
    for table in /proc/net/udp /proc/net/udp6; do
        [ -r "$table" ] || continue
        while read -r slot local remote state queues timer retransmits uid timeout inode rest; do
            ! is_held "${inode:-0}" || n_known=$((n_known + 1))
        done <"$table"
    done
    n_sending=$((n_sending + n_held - n_known - n_own))
    [ "$n_sending" -gt 0 ] || n_sending=0
}
is_over() {
    now
    over=$((centis - began))
    [ "$over" -ge "$bound" ]
}
# Nothing has to be waited for any more. Who is sending takes long to see where there are many: once the bound is over, what the last look
# has seen is all that is said.
looked= n_sending=0 unseen=
idle() {
    left "$@"
    if [ "$n_left" -gt 0 ]; then
        looked= n_sending=0 unseen=
        return 1
    fi
    if [ -z "$looked" ] || ! is_over; then sending; fi
    looked=yes
    [ "$n_sending" -eq 0 ] && [ -z "$unseen" ]
}
while :; do
    is_over
    workers
    if [ -z "$leaving" ]; then
        say "seen: drained $(show_centis $over) after the switch: the old workers are gone"
        exit 0
    fi
    if [ "$over" -ge "$quiet" ]; then
        # Twice in a row, where there is time for it.
        if idle "$@" && { is_over || { nap 0.05 && idle "$@"; }; }; then
            say "seen: drained $(show_centis $over) after the switch: no connection to the old side is left ($(count $leaving) old workers serve others)"
            exit 0
        fi
        if [ "$over" -ge "$bound" ]; then
            rest="connections left to $where: $n_left"
            [ "$n_sending" -eq 0 ] || rest="requests that clients are still sending: $n_sending"
            [ -z "$unseen" ] || rest="whether clients are still sending a request cannot be seen: the sockets of NGINX's old workers cannot be looked at"
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
