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
look() {
    state= owner= image=
    if found=$(sudo docker inspect --type container --format '{{.State.Status}}|project={{index .Config.Labels "flipside.project"}} env={{index .Config.Labels "flipside.env"}} service={{index .Config.Labels "flipside.service"}} role={{index .Config.Labels "flipside.role"}}|{{.Config.Image}}' "$1" 2>&1); then
        state=${found%%|*} found=${found#*|}
        owner=${found%%|*} image=${found#*|}
    else
        case $found in
            *[Nn]"o such container"* | *[Nn]"o such object"*) ;;
            *) fail "docker cannot say whether there is a container $1: $found" '' '' ;;
        esac
    fi
}
name=shop_prod_network
container=flipside_nginx
attached() {
    attachment=$(sudo docker inspect --type container --format '{{with index .NetworkSettings.Networks "shop_prod_network"}} {{range .Aliases}}{{.}} {{end}}{{end}}' flipside_nginx 2>/dev/null) && [ -n "$attachment" ]
}
report_attached() {
    for alias in mesh; do
        case $attachment in
            *" $alias "*) ;;
            *) fail "container $container is on network $name without the alias $alias" "the alias $alias" \
                "detach it, this cuts its connections there: sudo docker network disconnect $name $container" ;;
        esac
    done
    done_with "container $container is on network $name"
}
look "$container"
[ -n "$state" ] || fail "there is no container $container" "container $container on network $name" ''
! attached || report_attached
message=$(sudo docker network connect --alias mesh shop_prod_network flipside_nginx 2>&1 8<&-) || {
    ! attached || report_attached
    fail "docker could not attach $container to network $name: $message" "container $container on network $name" ''
}
done_with "container $container attached to network $name"
)
