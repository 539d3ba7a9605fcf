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
path=/local/flipside/run
if [ -d "$path" ]; then
    [ "$(stat -c %a "$path" 2>/dev/null)" != 755 ] || done_with "directory $path is there"
elif [ -e "$path" ]; then
    fail "$path is no directory" "a directory" "move the file away"
fi
message=$(mkdir -p "$path" 2>&1 && chmod 755 "$path" 2>&1) ||
    fail "the directory $path cannot be made by user $(id -un): $message" "directory $path with mode 755" \
        "make it once as root: install -d -o $(id -un) $path"
done_with "directory $path made"
)
