# In the NGINX container: $1 the generation that must be live ('' right after setup), $2 the one to make live, $3 when the server was asked
# for it, in hundredths of a second since it started ('' where that is not known).
expect=${1:-bootstrap} to=$2 asked=$3
cd /flipside/nginx || fail 'the folder /flipside/nginx is not mounted in the NGINX container'
take_lock /flipside/nginx
now
began=$centis
read -r boot </proc/sys/kernel/random/boot_id
# It goes on when whoever asked for it has gone: one that begins after it was given up would undo the undo.
late() { fail "this switch was to begin $(show_centis $((began - asked))) ago: $1, and nothing was changed" 'the Docker engine of this server is slow, or stood still: look at it, then run again'; }
if [ -n "$asked" ]; then
    [ $((began - asked)) -le 3300 ] || late 'whoever asked for it has given it up'
    newest= newest_boot=
    { read -r newest newest_boot <asked; } 2>/dev/null
    [ "$newest_boot" != "$boot" ] || [ "$newest" -le "$asked" ] || late 'a later one has come before it'
    printf '%s %s\n' "$asked" "$boot" >asked.tmp && mv asked.tmp asked
fi
point_to() { ln -sfn "releases/$1" current.tmp && mv -T current.tmp current; }
record() {
    now
    printf '%s %s %s\n' "$to" "$centis" "$boot" >switched.tmp && mv switched.tmp switched
    rm -f switching
}
# A reload is proven when the generation is served and every worker from before it is gone or shutting down: old workers go on
# accepting for about 100 ms after the new ones answer.
proven() {
    now
    until_centis=$((centis + 1000))
    while [ "$centis" -lt "$until_centis" ]; do
        nap 0.05
        workers
        staying=
        for pid in $before; do
            case " $active " in *" $pid "*) staying="$staying $pid" ;; esac
        done
        if [ -z "$staying" ] && [ -n "$active" ]; then
            serving
            ! serves "$1" || return 0
        fi
        now
    done
    return 1
}
current=$(readlink current)
current=${current##*/}
serving
if [ "$current" = "$to" ] && serves "$to"; then
    switched=
    { read -r switched rest <switched; } 2>/dev/null
    [ "$switched" = "$to" ] || record
    say "seen: generation $to was live already"
    exit 0
fi
[ -n "$serving" ] || fail 'NGINX does not say which generation it serves' 'look at its log: docker logs flipside_nginx'
# A switch that was cut off between the rename and the reload is taken up where it stands.
if [ "$current" != "$expect" ] && { [ "$current" != "$to" ] || ! serves "$expect"; }; then
    fail "generation $current is live, and this run was made for $expect" 'somebody else has deployed here: plan again'
fi
serves "$expect" || { [ "$current" = "$expect" ] && serves "$to"; } ||
    fail "NGINX serves generation$serving, although $expect is the current one" 'reload it by hand (docker exec flipside_nginx nginx -s reload -c /flipside/nginx/current/nginx.conf) and look at its log'
[ -e "releases/$to/nginx.conf" ] || fail "generation $to is not on this server" 'it was never staged, or it was pruned: plan again'
# A reload that failed, or a kill, leaves sockets that nobody listens on: NGINX cannot bind them again, and `nginx -t` does not see it.
for socket in /flipside/run/*.sock; do
    case $bound in *" $socket "*) ;; *) rm -f "$socket" ;; esac
done
workers
before=$active
# A switch that is cut off here is not taken for somebody's who moved the link by hand.
printf '%s\n' "$to" >switching
point_to "$to" || {
    rm -f switching
    fail "the link current cannot be moved to $to" 'look at the disk of this server'
}
kill -HUP 1
if proven "$to"; then
    record
    say "seen: generation $to is served after $(show_centis $((centis - began))), $(count $leaving) old workers finish what they have"
    exit 0
fi
serving
got=${serving:- nothing} held=$staying
workers
before=$active
point_to "$expect" ||
    fail "NGINX did not take over generation $to within 10 s: it listens for$got, and the link current cannot be moved back to $expect" 'look at the disk of this server'
kill -HUP 1
if proven "$expect"; then
    rm -f switching
    say "error: NGINX did not take over generation $to within 10 s: it listens for$got${held:+, and the workers$held stayed}; $expect was put back and is served"
else
    say "error: NGINX did not take over generation $to within 10 s, and $expect was put back on disk, but it listens for${serving:- nothing}"
fi
say 'hint: the lines of its log above say why; a port that somebody else holds is the usual reason'
exit 1
