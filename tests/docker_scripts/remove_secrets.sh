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
[ -d "$folder" ] || [ -d "$service/.new" ] || done_with "there is no folder $folder"
ids=$(sudo docker ps -aq --no-trunc 2>&1) || fail "docker cannot list its containers: $ids" '' ''
users=
if [ -n "$ids" ]; then
    # One may go away meanwhile: each line that is no mount has to say so.
    mounts=$(sudo docker inspect --type container --format '{{$name := .Name}}{{range .Mounts}}{{println $name .Source}}{{end}}' $ids 2>&1) || case $mounts in
        *[Nn]"o such container"* | *[Nn]"o such object"*)
            other=$(printf '%s\n' "$mounts" | grep -Ev '^([^ ]* (/.*)?)?$' | grep -Eiv 'no such (container|object)')
            [ -z "$other" ] || fail "docker cannot say what its containers mount: $other" '' ''
            ;;
        *) fail "docker cannot say what its containers mount: $mounts" '' '' ;;
    esac
    users=$(printf '%s\n' "$mounts" | grep -F " $folder/" | cut -d ' ' -f 1 | sort -u | tr -d / | tr '\n' ' ')
fi
[ -z "$users" ] || done_with "$folder is kept: ${users}uses it"
message=$(rm -rf "$folder" "$service/.new" 2>&1) || fail "$folder cannot be removed by user $(id -un): $message" "no secrets that nobody uses" ''
rmdir "$service" "${service%/*}" "${service%/*/*}" "${service%/*/*/*}" 2>/dev/null
done_with "$folder removed"
)
