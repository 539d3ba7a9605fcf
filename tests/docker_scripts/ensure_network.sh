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
case $found in
    '') ;;
    10.210.4.0/22\ ) done_with "network $name is there with subnet "10.210.4.0/22 ;;
    *)
        fail "network $name is there with subnet $found" "subnet "10.210.4.0/22 \
            "remove it when nothing uses it: sudo docker network rm $name, or put its subnet into the playbook"
        ;;
esac
message=$(sudo docker network create --driver bridge --subnet 10.210.4.0/22 --ip-range 10.210.7.0/24 --label 'flipside.project=shop' shop_prod_network 2>&1) || case $message in
    *[Oo]verlaps*)
        fail "subnet "10.210.4.0/22" overlaps with another network or route of this server: $message" "a subnet that is free here" \
            "look at 'sudo docker network ls' and 'ip route'"
        ;;
    *) fail "docker could not make network $name: $message" "network $name with subnet "10.210.4.0/22 '' ;;
esac
done_with "network $name made with subnet "10.210.4.0/22
)
