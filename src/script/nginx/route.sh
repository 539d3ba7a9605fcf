# On the server. `ask KIND` prints the status, or a byte where the backend speaks first; over tcp it ends when NGINX hangs up.
# curl notices only a connection that is closed in its first moments, and only while its input stays open without a pipe.
hold_program='fifo=/tmp/flipside-route.$$
mkfifo "$fifo" || exit
sleep 5 >"$fifo" &
curl -s -N -m 5 --unix-socket "$1" telnet://localhost <"$fifo"
kill $! 2>/dev/null
rm -f "$fifo"'
notices_late=1
if command -v perl >/dev/null 2>&1; then
    ask() { perl -e "$perl_program" "$1" "$socket" "$path" "$host"; }
elif command -v python3 >/dev/null 2>&1; then
    ask() { python3 -c "$python_program" "$1" "$socket" "$path" "$host"; }
elif engine exec "$container" sh -c 'command -v curl' >/dev/null 2>&1; then
    notices_late=
    ask() {
        case $1 in
        http) engine exec "$container" curl -s -o /dev/null -m 5 --unix-socket "$inside" -H "Host: $host" -w '%{http_code}' "http://localhost$path" ;;
        *) engine exec "$container" sh -c "$hold_program" flipside "$inside" ;;
        esac
    }
else
    fail 'nothing here can ask through a unix socket: the server has neither perl nor python3, and the NGINX image no curl' 'use an NGINX image with curl, such as nginx:stable'
fi
# A connection to an http listener always succeeds: only a request proves anything.
if [ "$kind" = tcp ] && [ -e "$conf" ]; then kind=http path=/ host=localhost; fi
ask_http() {
    answer=$(ask http 2>/dev/null)
    case $answer in
    [1-5][0-9][0-9]) seen="status $answer" ;;
    *) answer= seen='no answer' ;;
    esac
    case $answer in '' | 502 | 503 | 504) return 1 ;; esac
}
# A backend that swallows packets leaves the client connected: while NGINX is still connecting, nothing is reached.
ask_tcp() {
    out=$(mktemp) || fail 'no temporary file can be made' 'is the disk full?'
    ask tcp >"$out" 2>/dev/null &
    asker=$!
    nap 0.3
    hesitated= calm= late=
    now
    asked=$centis
    while kill -0 "$asker" 2>/dev/null; do
        # Linux sends a SYN again after one second.
        now
        [ $((centis - asked)) -lt 120 ] || late=1
        if engine exec "$container" sh -c "$connecting" flipside "$late" 2>/dev/null; then
            hesitated=1 calm=
        elif [ -z "$hesitated$calm" ] || [ -n "$calm" ]; then
            break
        else
            # The news that NGINX gave up needs a moment to get here.
            calm=1
        fi
        nap 0.2
    done
    if [ -s "$out" ]; then
        reached=0 seen='the backend spoke'
    elif [ -n "$hesitated" ] && [ -z "$notices_late" ]; then
        reached=1 seen='no backend took the connection at once'
    elif kill -0 "$asker" 2>/dev/null; then
        reached=0 seen='the connection stays open'
    else
        # 28: nobody hung up for five seconds, longer than NGINX tries. Under load some client or other is connecting at every look.
        wait "$asker"
        case $?$notices_late in
        281) reached=0 seen='the connection stays open' ;;
        *) reached=1 seen='the connection was closed at once' ;;
        esac
    fi
    kill "$asker" 2>/dev/null
    wait "$asker" 2>/dev/null
    rm -f "$out"
    return $reached
}
now
began=$centis n_tries=0
while :; do
    n_tries=$((n_tries + 1))
    case $kind in
    http) ask_http && break ;;
    tcp) ask_tcp && break ;;
    *) seen='nothing to ask' && break ;;
    esac
    now
    [ $((centis - began)) -lt "$deadline" ] ||
        fail "$trouble: $seen; $n_tries tries in $(show_centis $((centis - began)))" "$advice"
    nap 0.2
done
now
say "seen: $seen after $(show_centis $((centis - began))), try $n_tries"
