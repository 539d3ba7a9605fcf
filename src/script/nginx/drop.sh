# On the server: $1 the generation.
cd "$folder" 2>/dev/null || { say 'seen: it was not there' && exit 0; }
[ "$(readlink current)" != "releases/$1" ] || fail "generation $1 is live: it is not removed" 'switch back first'
rm -rf "releases/$1" "releases/$1.new" "sealed/$1" || fail "generation $1 cannot be removed"
say "seen: generation $1 is not there"
