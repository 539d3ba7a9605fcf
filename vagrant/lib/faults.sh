# Faults: what can happen to a server, on demand. Each has a partner that undoes it, and "reset" undoes them all.

fault() {
  local what=$1 name=${2:-} container
  engine_up
  need_server "$name"
  shift 2
  container=$(container_of "$name")
  case $what in
    # As when the power goes: nothing is told to end, nothing is written out.
    stop) docker kill "$container" >/dev/null ;;
    start)
      docker start "$container" >/dev/null
      in_server "$name" engine-wait </dev/null
      server_login "$name"
      ;;
    freeze) server_freeze "$name" ;;
    thaw) server_thaw "$name" ;;
    dockerd-stop) in_server "$name" engine-stop </dev/null ;;
    # The engine outlives this call: it must not hold this call's pipe.
    dockerd-start) in_server "$name" engine-start </dev/null ;;
    occupy)
      [[ ${1:-} =~ ^[0-9]+$ ]] || fail "Which port? vagrant/fleet occupy NAME PORT [ADDRESS]"
      in_server "$name" occupy "$@" </dev/null
      ;;
    cut | heal | vacate | fill | empty) in_server "$name" "$what" "$@" </dev/null ;;
  esac
}

# Containers of the inner engine have control groups beside the server's, not below it: they are stopped first.
server_freeze() {
  local container
  container=$(container_of "$1")
  docker exec "$container" sh -c 'docker ps -q --filter status=running | xargs -r docker pause' >/dev/null
  docker pause "$container" >/dev/null
}

server_thaw() {
  local container
  container=$(container_of "$1")
  docker unpause "$container" >/dev/null
  docker exec "$container" sh -c 'docker ps -q --filter status=paused | xargs -r docker unpause' >/dev/null
}
