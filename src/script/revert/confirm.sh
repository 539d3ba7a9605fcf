# On the server: the run is over here, as far as NGINX goes, and `to` stays.
fail() {
    printf 'error: %s\nwanted: generation %s, which this run made live\n' "$1" "$to"
    printf 'hint: %s\n' "${2:-the server was not reached by the run for too long; nothing is lost: start it again}"
    exit 1
}
expect() {
    live=$(readlink "$folder/nginx/current")
    live=${live##*/}
    [ ! -e "$folder/revert/firing" ] || fail 'the server is putting itself back, since nobody held its lock'
    [ "$live" = "$to" ] || fail "generation $live is live: the server has put itself back, or somebody else has deployed"
}
expect
{ mv "$folder/revert/armed" "$folder/revert/confirmed" && rm -f "$folder/revert/confirmed"; } 2>/dev/null
[ ! -e "$folder/revert/armed" ] ||
    fail 'the revert that is armed here cannot be taken away, so this server will put itself back' "look at the disk under $folder/revert, then start it again"
expect
rm -f "$folder/revert/outcome" 2>/dev/null
echo "seen: generation $to stays"
