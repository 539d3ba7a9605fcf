# In the NGINX container: $1 `http`, `tcp` or `other`, $2 the socket's stem, $3 deadline in hundredths, $4 path, $5 host.
kind=$1 stem=$2 deadline=$3 path=$4 host=$5
socket=/flipside/run/$stem.sock
now
began=$centis
conf=/flipside/nginx/current/http.d/$stem.conf
if [ -e "$conf" ]; then
    # A connection to an http listener always succeeds: only a request proves anything.
    [ "$kind" != tcp ] || { kind=http path=/ host=localhost; }
else
    conf=/flipside/nginx/current/stream.d/$stem.conf
fi
port= backends=
if [ -e "$conf" ]; then
    while IFS= read -r line; do
        case $line in
        '# internal port: '*) port=${line##*: } ;;
        *' server '*';'*'# '*)
            case ${line%%;*} in *' down'*) continue ;; esac
            target=${line#* server }
            target=${target%% *}
            address=${line##* }
            case $address in [0-9]*.[0-9]*.[0-9]*.[0-9]*) ;; *) address=${target%:*} ;; esac
            IFS=.
            set -- $address
            unset IFS
            backends="$backends $(printf '%02X%02X%02X%02X:%04X' "$4" "$3" "$2" "$1" "${target##*:}" 2>/dev/null)"
            ;;
        esac
    done <"$conf"
fi
[ -n "$port" ] || fail "the live generation has no file for $stem" 'look at the server'"'"'s folder flipside/nginx/current'
# A backend that swallows packets leaves the client connected: a connection that is still on its way has reached nothing.
connecting() {
    while read -r slot local remote state rest; do
        [ "$state" = 02 ] || continue
        case " $backends " in *" $remote "*) return 0 ;; esac
    done </proc/net/tcp
    return 1
}
ask_http() {
    if command -v curl >/dev/null 2>&1; then
        answer=$(curl -s -o /dev/null -m 5 --unix-socket "$socket" -H "Host: $host" -w '%{http_code}' "http://localhost$path")
    elif command -v bash >/dev/null 2>&1; then
        answer=$(bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" || exit; printf "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" "$2" "$3" >&3
            read -r -t 5 version status rest <&3; printf %s "${status%%[!0-9]*}"' sh "$port" "$path" "$host" 2>/dev/null)
    else
        answer=$(wget -S -O /dev/null -T 5 --header "Host: $host" "http://127.0.0.1:$port$path" 2>&1)
        answer=${answer#*HTTP/1.? } answer=${answer%%[!0-9]*}
    fi
    case $answer in
    [1-5][0-9][0-9]) seen="status $answer" ;;
    *) answer= seen='no answer' ;;
    esac
    case $answer in '' | 502 | 503 | 504) return 1 ;; esac
}
ask_tcp() {
    out=/tmp/flipside-route.$$
    if command -v bash >/dev/null 2>&1; then
        bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && read -r -t 8 -n 1 byte <&3 && printf x' sh "$port" >"$out" 2>/dev/null &
    elif command -v curl >/dev/null 2>&1; then
        sleep 8 | curl -s -N -m 8 --unix-socket "$socket" -o "$out" telnet://localhost 2>/dev/null &
    else
        sleep 8 | nc 127.0.0.1 "$port" >"$out" 2>/dev/null &
    fi
    asker=$!
    sleep 0.15
    while kill -0 "$asker" 2>/dev/null && connecting; do sleep 0.1; done
    reached=1 seen='the connection was closed at once'
    if kill -0 "$asker" 2>/dev/null; then
        reached=0 seen='the connection stays open'
        kill "$asker" 2>/dev/null
    elif [ -s "$out" ]; then
        reached=0 seen='the backend spoke'
    fi
    wait "$asker" 2>/dev/null
    rm -f "$out"
    return $reached
}
n_tries=0
while :; do
    n_tries=$((n_tries + 1))
    case $kind in
    http) ask_http && break ;;
    tcp) ask_tcp && break ;;
    *) seen='nothing to ask' && break ;;
    esac
    now
    [ $((centis - began)) -lt "$deadline" ] || fail "$stem is not reached through NGINX: $seen, $n_tries tries in $(show_centis $((centis - began)))" 'the log of NGINX says which backend it tried: docker logs flipside_nginx'
    sleep 0.2
done
now
say "seen: $seen after $(show_centis $((centis - began))), try $n_tries"
