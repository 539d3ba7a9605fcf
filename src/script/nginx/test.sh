# In the NGINX container: $1 the candidate's main file, then new listeners, `tcp:5228`. `nginx -t` does not see that one is taken.
conf=$1
shift
for listener in "$@"; do
    transport=${listener%%:*}
    port=$(printf %04X "${listener#*:}")
    case $transport in udp) listening=07 ;; *) listening=0A ;; esac
    for file in "/proc/net/$transport" "/proc/net/${transport}6"; do
        while read -r slot local remote state rest; do
            [ "$state" = $listening ] || continue
            [ "${local##*:}" != "$port" ] ||
                fail "$transport port ${listener#*:} is already taken inside the NGINX container" 'pin another internal_port, or find out who listens there'
        done <<ROWS
$(sockets "$listening" "$file")
ROWS
    done
done
exec nginx -t -c "$conf"
