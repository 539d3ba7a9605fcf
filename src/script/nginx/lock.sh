# One change of a server's generations at a time. The lock goes with the process. It is asked for again and again: busybox has no flock
# that waits.
take_lock() {
    [ -e "$1/lock" ] || : >>"$1/lock" || fail "$1/lock cannot be written"
    now
    lock_until=$((centis + 3000))
    if command -v flock >/dev/null 2>&1; then
        exec 9<"$1/lock" || fail "$1/lock cannot be opened"
        until flock -n 9; do
            now
            [ "$centis" -lt "$lock_until" ] || fail 'another run has held the NGINX lock of this server for 30 s' 'wait for it, then run again'
            sleep 0.2 2>/dev/null || sleep 1
        done
        return
    fi
    until mkdir "$1/lock.d" 2>/dev/null; do
        now
        [ "$centis" -lt "$lock_until" ] || fail 'another run has held the NGINX lock of this server for 30 s' "if nobody else deploys here, remove $1/lock.d"
        sleep 1
    done
    trap 'rmdir "$locked"' EXIT
    locked=$1/lock.d
}
