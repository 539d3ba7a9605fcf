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
ours() {
    [ "$owner" != 'project= env= service= role=' ] ||
        fail "container $1 is not ours: it has image $image and none of our labels" "a container that Flipside runs" "rename it: sudo docker rename $1 $1.other"
}
name=shop_prod_api.previous
to=shop_prod_api
look "$to"
there=$state
look "$name"
case $state,$there in
    ,) fail "there is no container $name and none $to" "container $name, to be renamed" '' ;;
    ,*) done_with "container $to has its name already" ;;
    *,) ;;
    *) fail "there are both containers, $name ($state) and $to ($there)" "container $name alone" "look at both, and remove the one that is of no use" ;;
esac
ours "$name"
message=$(sudo docker rename shop_prod_api.previous shop_prod_api 2>&1) || fail "docker could not rename $name to $to: $message" "container $to" ''
done_with "container $name renamed to $to"
)
