# One change of a server's generations at a time. The lock goes with the process.
take_lock() {
    [ -e "$1/lock" ] || : >>"$1/lock" || fail "$1/lock cannot be written"
    if command -v flock >/dev/null 2>&1; then
        exec 9<"$1/lock" || fail "$1/lock cannot be opened"
        flock -w 30 9 2>/dev/null || flock 9 || fail 'another run has held the NGINX lock of this server for 30 s' 'wait for it, then run again'
        return
    fi
    tries=0
    until mkdir "$1/lock.d" 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 30 ] || fail 'another run has held the NGINX lock of this server for 30 s' "if nobody else deploys here, remove $1/lock.d"
        sleep 1
    done
    trap 'rmdir "$locked"' EXIT
    locked=$1/lock.d
}
