# On the server: leaves the shell `program` behind, which goes back to `back`.
fail() {
    printf 'error: %s\nhint: %s\n' "$1" "$2"
    exit 1
}
umask 077
command -v setsid >/dev/null 2>&1 || fail 'there is no setsid on this server, so no revert can be left on it' 'install util-linux'
message=$(mkdir -p "$folder/revert" 2>&1) || fail "$message" "make $folder writable for $(id -un)"
cd "$folder/revert" || exit 1
read -r token </proc/sys/kernel/random/uuid
who=$(cat ../lock/holder 2>/dev/null)
rm -f firing outcome
# Without the lock that every script of a run holds: it outlives this one.
setsid sh -c "$program" flipside_revert "$token" "$who" </dev/null >/dev/null 2>&1 8<&- &
tries=0 armed=
while :; do
    { read -r armed rest <armed; } 2>/dev/null
    [ "$armed" != "$token" ] || break
    tries=$((tries + 1))
    [ "$tries" -lt 250 ] || fail 'the shell that should put this server back does not start' "look at the disk and the processes of this server"
    sleep 0.02 2>/dev/null || { sleep 1 && tries=$((tries + 49)); }
done
echo "seen: goes back to generation $back $grace s after the lock is free"
