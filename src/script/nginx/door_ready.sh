# In a door: $1 deadline in hundredths. Ready is: every listener that it was given is a socket that its own NGINX holds. A stranger on the same
# port, in the host's namespace, does not count. What the door has written of it does not either: a full disk leaves that empty, and NGINX
# goes on with what it had.
now
began=$centis
given() { if [ -n "${FLIPSIDE_DOOR-}" ]; then printf '%s\n' "$FLIPSIDE_DOOR"; else cat "$FLIPSIDE_DOOR_FILE"; fi; }
# As the door itself looks, which leaves out what it cannot have.
has_ipv6=
while read -r address rest; do
    [ "$address" != 00000000000000000000000000000001 ] || has_ipv6=yes
done 2>/dev/null </proc/net/if_inet6
missing() {
    missing=
    master=
    { read -r master </tmp/flipside-door.pid; } 2>/dev/null
    [ -n "$master" ] || { missing='NGINX itself'; return; }
    held=' '
    for fd in "/proc/$master/fd/"*; do
        link=$(readlink "$fd") && case $link in socket:*) held="$held${link#socket:} " ;; esac
    done
    bound=' '
    for file in tcp tcp6 udp udp6; do
        while read -r slot local remote state queues timer retransmits uid timeout inode rest; do
            case $file:$state in tcp*:0A | udp*:07) ;; *) continue ;; esac
            case $held in *" [$inode] "*) bound="$bound$file:${local##*:} " ;; esac
        done <<ROWS
$(sockets '0[A7]' "/proc/net/$file")
ROWS
    done
    while read -r word target options; do
        [ "$word" = listen ] || continue
        port=$(printf %04X "$(printf %s "${target##*:}" | tr -d ';')")
        case $options in *udp*) transport=udp ;; *) transport=tcp ;; esac
        case $has_ipv6$target in '[::1]'*) continue ;; *'[::1]'*) transport=${transport}6 ;; esac
        case $bound in *" $transport:$port "*) ;; *) missing="$missing${missing:+, }${target%;}" ;; esac
    done <<ROWS
$(given)
ROWS
}
while :; do
    missing
    now
    [ -n "$missing" ] || break
    [ $((centis - began)) -lt "$1" ] || fail "the door does not listen: $missing" 'the port may be taken on this server, or its disk full; its log says more'
    nap 0.02
done
say "seen: the door listens after $(show_centis $((centis - began)))"
