# On the server: $1 how many generations to keep, besides the live one and the one NGINX starts with; $2 what the stems of services begin
# with whose certificates may go.
keep=$1 stems=$2
cd "$folder/releases" 2>/dev/null || fail "the folder $folder/releases is missing: NGINX was set up in it" 'run `flipside deploy`: it sets NGINX up again'
live=$(readlink ../current)
live=${live##*/}
n_kept=0 n_removed=0
for release in $(ls -1t); do
    case $release in
    *.new) ;;
    *)
        n_kept=$((n_kept + 1))
        [ "$release" = "$live" ] || [ "$release" = bootstrap ] || [ "$n_kept" -gt "$keep" ] || continue
        [ "$release" != "$live" ] && [ "$release" != bootstrap ] || continue
        ;;
    esac
    rm -rf "./$release" || fail "generation $release cannot be removed"
    n_removed=$((n_removed + 1))
done
# The copy of a generation that is not there any more; but that of the live one may still be needed.
for seal in ../sealed/*; do
    seal=${seal##*/}
    [ -d "./$seal" ] || [ "$seal" = "$live" ] || rm -rf "../sealed/$seal"
done
# Certificates that no generation names any more. Those of others may be needed by a run of theirs that is held.
for certificate in ../../tls/"$stems"*/*; do
    [ -d "$certificate" ] && command -v grep >/dev/null 2>&1 || continue
    grep -rqsF "/${certificate#../../}/" . ../sealed
    [ $? -ne 1 ] || rm -rf "$certificate"
done
# What was written down of canaries that are over.
for log in ../../run/*.canary.log; do
    [ -e "$log" ] && command -v grep >/dev/null 2>&1 || continue
    grep -rqsF "/${log##*/} " "./$live"
    [ $? -ne 1 ] || rm -f "$log"
done
say "seen: $n_removed old generations removed"
