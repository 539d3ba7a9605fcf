# The fleet as a shell library: source this file with FLEET_VAGRANT set to the folder `vagrant`, then call fleet_up,
# fleet_reset, fleet_down and the rest. It holds the names and the small words that all parts use; the parts are beside it.

FLEET_TOP=$(dirname -- "$FLEET_VAGRANT")
FLEET_CACHE=${FLIPSIDE_CACHE:-$FLEET_TOP/.cache}
FLEET_NAME=${FLIPSIDE_FLEET:-flipside_fleet}
FLEET_NET=${FLIPSIDE_FLEET_NET:-10.77.0}
FLEET_IMAGES=$FLEET_CACHE/images
# The files of the default fleet have a fixed place, because inventory/local.toml names it.
FLEET_HOME=$FLEET_CACHE/fleet
[ "$FLEET_NAME" = flipside_fleet ] || FLEET_HOME=$FLEET_CACHE/$FLEET_NAME
FLEET_KEY=$FLEET_HOME/id_ed25519
FLEET_KNOWN_HOSTS=$FLEET_HOME/known_hosts
FLEET_LABEL=flipside.fleet=$FLEET_NAME

say() { printf '%s\n' "$*" >&2; }

fail() {
  printf 'fleet: %s\n' "$*" >&2
  exit 1
}

# All parts call this name. Which client it is, is decided once, in engine.sh.
FLEET_DOCKER=docker
docker() { command "$FLEET_DOCKER" "$@"; }

# container_of NAME: the name of a server's container.
container_of() { printf '%s_%s' "$FLEET_NAME" "$1"; }

# address_of NAME: the address of a server on the fleet's bridge: server1 is .11.
address_of() {
  [[ $1 =~ ^server([1-9][0-9]?)$ ]] || fail "There is no server \"$1\": they are named server1, server2 and so on."
  printf '%s.%d' "$FLEET_NET" $((10 + BASH_REMATCH[1]))
}

# state_of NAME: running, paused, exited, created …, or nothing where there is no such container.
state_of() { docker inspect -f '{{.State.Status}}' "$(container_of "$1")" 2>/dev/null | tr -d '\n' || true; }

# Only one command at a time may change the fleet, also when several checkouts of the repository use it.
fleet_lock() {
  # Of this user alone: another one may not write to it.
  exec 9>"${TMPDIR:-/tmp}/$FLEET_NAME.$(id -u).lock"
  flock -w 600 9 || fail "Another command holds the fleet for more than ten minutes."
}

# fleet_names: the servers that exist, one a line, in order. The label is what makes a container ours.
fleet_names() {
  docker ps -a --filter "label=$FLEET_LABEL" --format '{{.Names}}' | sed "s/^${FLEET_NAME}_//" | sort -V
}

# need_server NAME: fails, with the names that would do, where there is no such server.
need_server() {
  [ -n "${1:-}" ] || fail "Which server? There are: $(fleet_names | tr '\n' ' ')"
  fleet_names | grep -qx -- "$1" || fail "There is no server \"$1\". There are: $(fleet_names | tr '\n' ' ')"
}

# for_each FUNCTION NAME…: runs FUNCTION NAME for all servers at once; fails when one of them failed.
for_each() {
  local function=$1 failed=0 name pid
  local -a pids=()
  shift
  for name in "$@"; do
    "$function" "$name" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  return $failed
}

. "$FLEET_VAGRANT/lib/engine.sh"
. "$FLEET_VAGRANT/lib/images.sh"
. "$FLEET_VAGRANT/lib/servers.sh"
. "$FLEET_VAGRANT/lib/faults.sh"
. "$FLEET_VAGRANT/lib/traffic.sh"
. "$FLEET_VAGRANT/lib/registry.sh"
