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
find_network() {
    if found=$("$@" 2>&1); then
        [ -n "$found" ] || found=' '
    else
        case $found in
            *[Nn]"o such network"* | *[Nn]"etwork "*"not found"*) found= ;;
            *) fail "docker cannot say whether there is a network $name: $found" '' '' ;;
        esac
    fi
}
name=shop_prod_network
find_network sudo docker network inspect --format '{{range .IPAM.Config}}{{.Subnet}} {{end}}' shop_prod_network
[ -n "$found" ] || done_with "there is no network $name"
users=$(sudo docker ps -a --filter 'network=shop_prod_network' --format '{{.Names}}' 2>&1) || fail "docker cannot say who uses network $name: $users" '' ''
mesh=$(sudo docker ps -a --filter 'network=shop_prod_network' --filter 'label=flipside.role=mesh' --format '{{.Names}}' 2>&1) || fail "docker cannot say who uses network $name: $mesh" '' ''
for user in $users; do
    case " $(printf %s "$mesh" | tr '\n' ' ') " in
        *" $user "*) ;;
        *) fail "network $name is used by $(printf %s "$users" | tr '\n' ' ')" "no container but the mesh on $name" "remove them first" ;;
    esac
done
for user in $mesh; do
    message=$(sudo docker network disconnect shop_prod_network "$user" 2>&1) || fail "docker could not detach $user from $name: $message" '' ''
done
message=$(sudo docker network rm shop_prod_network 2>&1) || fail "docker could not remove network $name: $message" "no network $name" ''
done_with "network $name removed"
)
