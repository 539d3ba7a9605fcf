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
image=registry.example.com/shop/api:1.4.0
if id=$(sudo docker image inspect --format '{{.Id}}' registry.example.com/shop/api:1.4.0 2>/dev/null); then
    done_with "image $image is there, $id"
fi
message=$(sudo docker pull --quiet registry.example.com/shop/api:1.4.0 2>&1) || {
    printf '%s\n' "$message"
    case $message in
        *"pull access denied"* | *unauthorized* | *"authentication required"* | *forbidden* | *denied*)
            hint="log in on the server as the user who runs docker: sudo docker login; or correct the name of the image" ;;
        *"manifest unknown"* | *"not found"* | *"invalid reference"*)
            hint="correct the name or the tag, or push the image first" ;;
        *"no such host"* | *timeout* | *"connection refused"* | *"no route"* | *unreachable*)
            hint="the registry cannot be reached from this server: look at its DNS, proxy and firewall" ;;
        *"no space left"*)
            hint="make room: sudo docker image prune" ;;
        *) hint="try it on the server: sudo docker pull $image" ;;
    esac
    # What came before its last line is shown as it came.
    fail "docker could not pull $image: $(printf '%s\n' "$message" | tail -n 1)" "image $image on this server" "$hint"
}
id=$(sudo docker image inspect --format '{{.Id}}' registry.example.com/shop/api:1.4.0 2>&1) || fail "image $image was pulled and is not there: $id" "image $image on this server" ''
done_with "image $image pulled, $id"
)
