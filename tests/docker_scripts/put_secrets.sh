(
say() {
    [ -z "$2" ] || printf '%s: %s\n' "$1" "$(printf %s "$2" | tr '\n' ' ')"
}
done_with() {
    say seen "$1"
    exit 0
}
fail() {
    say error "$1"
    say wanted "$2"
    say hint "$3"
    exit 1
}
folder=/local/shop/prod/secrets/api/3
service=${folder%/*}
new=$service/.new
root=/local
owner=1000
broken() {
    rm -rf "$new"
    fail "the secrets in $folder cannot be written by user $(id -un): $message" "files with mode 400 in a folder with mode 700" "$1"
}
put() {
    [ "$(($(wc -c <"$new/$1")))" -eq "$2" ] || {
        message="$1 has another size than it should have"
        broken 'is the disk full?'
    }
    message=$(chmod 400 "$new/$1" 2>&1) || broken ''
}
umask 022
message=$(mkdir -p /local/shop/prod 2>&1) || broken "make $root writable for $(id -un)"
umask 077
message=$({ mkdir -p "$service" && chmod 700 "${service%/*}" "$service" && rm -rf "$new" && mkdir "$new"; } 2>&1) || broken ''
message=$({ printf 'hun\047ter2\012' >"$new"/db_password; } 2>&1) || broken ''
put db_password 9
message=$({ printf '\000\377' >"$new"/key; } 2>&1) || broken ''
put key 2
message=$({ printf 'salt 0707070707070707070707070707070707070707070707070707070707070707\012db_password 19553d4cbe93a1a6b57ddfe5b51b3bb5f70865219889f135d30676b8525cdfaf\012key 069fd9a50926ab87cbcf49811470009d801a41a1def3f780c59cc10f6a02f703\012' >"$new"/.proof; } 2>&1) || broken ''
put .proof 216
if [ -z "$owner" ]; then
    owner=$(sudo docker image inspect --format '{{.Config.User}}' shop/api:1 2>/dev/null)
    owner=${owner%%:*}
    case $owner in
        '' | 0 | root) owner= ;;
        *[!0-9]*)
            echo "note: the image runs as user $owner, who cannot read the secrets: give its number as secrets_owner"
            owner=
            ;;
    esac
fi
[ -z "$owner" ] || [ "$owner" = "$(id -u)" ] || message=$(cd "$new" && chown "$owner" db_password key 2>&1) ||
    broken "only root can give files to user $owner: become = \"sudo\" for this server in the inventory"
message=$({ rm -rf "$folder" && mv "$new" "$folder"; } 2>&1) || broken ''
done_with "2 secrets in $folder"
)
