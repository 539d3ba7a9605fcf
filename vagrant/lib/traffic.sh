# The load tool, on this machine or inside a server.

# traffic_binary: builds the tool when its sources are newer than the copy in the cache, and prints where the copy is.
traffic_binary() {
  local copy=$FLEET_HOME/fleet-traffic
  if [ ! -x "$copy" ] || [ -n "$(find "$FLEET_VAGRANT/traffic" -name '*.rs' -newer "$copy" -print -quit)" ]; then
    say "Building the load tool"
    cp "$(example_binary fleet-traffic)" "$copy.part"
    mv "$copy.part" "$copy"
  fi
  printf '%s' "$copy"
}

# server_traffic_tool NAME: the server has the present tool.
server_traffic_tool() {
  local container mine
  container=$(container_of "$1")
  mine=$(sha256sum <"$TRAFFIC_BINARY")
  [ "$(docker exec "$container" sh -c 'sha256sum </usr/local/bin/fleet-traffic' 2>/dev/null)" != "$mine" ] || return 0
  docker cp "$TRAFFIC_BINARY" "$container:/usr/local/bin/fleet-traffic" >/dev/null 2>&1
}

# fleet_traffic [NAME] -- ARGS…: replaces this process where it can, so that a signal to it reaches the tool.
fleet_traffic() {
  local name= container pid
  if [ "${1:-}" != -- ]; then
    name=${1:-}
    [ $# -eq 0 ] || shift
  fi
  [ "${1:-}" = -- ] || fail "vagrant/fleet traffic [NAME] -- ARGUMENTS of the load tool"
  shift
  mkdir -p "$FLEET_HOME"
  TRAFFIC_BINARY=$(traffic_binary)
  [ -n "$name" ] || exec "$TRAFFIC_BINARY" "$@"
  engine_up
  need_server "$name"
  container=$(container_of "$name")
  pid=$(docker inspect -f '{{.State.Pid}}' "$container")
  # In the server's network, but with this machine's files: one phase file serves all tools. Only root may do that; for
  # others the tool runs in the server as a whole, and finds the files there.
  if nsenter --target "$pid" --net true 2>/dev/null; then
    exec nsenter --target "$pid" --net -- "$TRAFFIC_BINARY" "$@"
  fi
  server_traffic_tool "$name"
  exec "$FLEET_DOCKER" exec "$container" /usr/local/bin/fleet-traffic "$@"
}
