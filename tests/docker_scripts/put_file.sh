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
path=/local/flipside/env/shop
umask 077
[ ! -d "$path" ] || fail "$path is a directory" "a file" ''
beside=$path.flipside.$$
message=$({ printf %s 'user=shop
name='\''hun'\''ter2'\''
' >"$beside" && chmod 600 "$beside" && mv -f "$beside" "$path"; } 2>&1) || {
    rm -f "$beside"
    fail "the file $path cannot be written by user $(id -un): $message" "the file $path with mode 600" ''
}
done_with "file $path, 26 bytes"
)
