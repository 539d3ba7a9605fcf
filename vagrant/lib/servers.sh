# Servers: up, down, reset, status, logging in, loading images, the load tool.

fleet_up() {
  local count=${1:-} name
  local -a names=()
  mkdir -p "$FLEET_HOME"
  chmod 700 "$FLEET_HOME"
  fleet_lock
  install_missing openssh-client
  engine_up
  # Without a number, a fleet that is up stays as large as it is.
  [ -n "$count" ] || count=$(fleet_names | sed -n '$s/server//p')
  count=${count:-3}
  [[ $count =~ ^[1-9][0-9]?$ ]] || fail "\"$count\" is not a number of servers from 1 to 99."
  images_ensure
  [ -f "$FLEET_KEY" ] || ssh-keygen -q -t ed25519 -N '' -C "$FLEET_NAME" -f "$FLEET_KEY"
  docker network inspect "$FLEET_NAME" >/dev/null 2>&1 \
    || docker network create --label "$FLEET_LABEL" --subnet "$FLEET_NET.0/24" "$FLEET_NAME" >/dev/null \
    || fail "The network $FLEET_NET.0/24 could not be made. Is it in use? FLIPSIDE_FLEET_NET names another."
  for name in $(seq -f 'server%.0f' "$count"); do names+=("$name"); done
  inner_archive
  TRAFFIC_BINARY=$(traffic_binary)
  for_each server_up "${names[@]}" || fail "Not every server came up."
  write_known_hosts
  for_each server_login "${names[@]}" || fail "Not every server can be logged in to."
  say "The fleet is up: $(for name in "${names[@]}"; do printf '%s=%s ' "$name" "$(address_of "$name")"; done)"
  say "Log in: vagrant/fleet ssh server1    or: ssh -i $FLEET_KEY -o UserKnownHostsFile=$FLEET_KNOWN_HOSTS root@$(address_of server1)"
}

# server_up NAME: the server runs, its engine answers, has the images, and knows this checkout's key.
server_up() {
  local name=$1 container
  container=$(container_of "$name")
  server_run "$name" || return 1
  if [ "$(docker inspect -f '{{.Image}}' "$container")" != "$(docker image inspect -f '{{.Id}}' "$SERVER_IMAGE")" ]; then
    say "$name runs an older server image; \"vagrant/fleet down\" and \"up\" renew it."
  fi
  in_server "$name" engine-wait || return 1
  in_server "$name" authorize <"$FLEET_KEY.pub" || return 1
  server_images "$name"
}

# server_run NAME: whatever its state is, it runs now.
server_run() {
  case $(state_of "$1") in
    running) ;;
    paused) server_thaw "$1" ;;
    '') server_create "$1" ;;
    *) docker start "$(container_of "$1")" >/dev/null ;;
  esac
}

# Disks that are left of a server whose container somebody removed by hand go first: a new server has new host keys.
# The flags make sshd, dockerd and its containers work without --privileged, which fails on machines whose own set of
# capabilities is not complete. overlayfs cannot be stacked on overlayfs, hence the volume.
server_create() {
  local name=$1 container
  container=$(container_of "$name")
  docker volume rm "${container}_docker" "${container}_state" >/dev/null 2>&1 || true
  docker run -d --name "$container" --hostname "$name" --label "$FLEET_LABEL" \
    --network "$FLEET_NAME" --ip "$(address_of "$name")" \
    --cap-add ALL --cap-drop SYS_RESOURCE --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
    --security-opt systempaths=unconfined --cgroupns=host -v /sys/fs/cgroup:/sys/fs/cgroup:rw --device-cgroup-rule 'a *:* rwm' \
    --tmpfs /run -v "${container}_docker:/var/lib/docker" -v "${container}_state:/var/lib/fleet" "$SERVER_IMAGE" >/dev/null \
    || { say "$name could not be started."; return 1; }
}

# in_server NAME WORD…: has the server's own script do something.
in_server() {
  local name=$1
  shift
  docker exec -i "$(container_of "$name")" /usr/local/sbin/fleet-server "$@"
}

# One archive with all images that servers start with; made again when one of them changed.
inner_archive() {
  local -a images=()
  local ids
  mapfile -t images < <(inner_images)
  ids=$(docker image inspect -f '{{.Id}}' "${images[@]}")
  INNER_IMAGES=$(paste -d ' ' <(printf '%s\n' "${images[@]}") <(cut -c8-19 <<<"$ids") | sort)
  [ "$ids" != "$(cat "$FLEET_IMAGES/inner.ids" 2>/dev/null)" ] || [ ! -f "$FLEET_IMAGES/inner.tar" ] || return 0
  docker save -o "$FLEET_IMAGES/inner.tar" "${images[@]}"
  printf '%s\n' "$ids" >"$FLEET_IMAGES/inner.ids"
}

server_images() {
  local name=$1
  [ -n "$(comm -23 - <(in_server "$name" images </dev/null) <<<"$INNER_IMAGES")" ] || return 0
  docker exec -i "$(container_of "$name")" docker load -q <"$FLEET_IMAGES/inner.tar" >/dev/null || { say "$name could not load the images."; return 1; }
  in_server "$name" keep-images </dev/null
}

# The keys are asked of the containers, not of the network: this is the one place where they can be trusted at first sight.
# A server that does not run (it was left out of "up N") keeps the lines that it has.
write_known_hosts() {
  local name
  for name in $(fleet_names); do
    if [ "$(state_of "$name")" = running ]; then
      in_server "$name" host-keys </dev/null | sed "s/^/$name,$(address_of "$name") /; s/ [^ ]*$//"
    else
      grep "^$name," "$FLEET_KNOWN_HOSTS" 2>/dev/null || true
    fi
  done >"$FLEET_KNOWN_HOSTS.part"
  mv "$FLEET_KNOWN_HOSTS.part" "$FLEET_KNOWN_HOSTS"
  chmod 600 "$FLEET_KNOWN_HOSTS"
}

# fleet_ssh [USER@]NAME [CMD…]
fleet_ssh() {
  local target=${1:-} user=root address
  [ -n "$target" ] || fail "Which server? There are: $(engine_up && fleet_names | tr '\n' ' ')"
  shift
  case $target in *@*) user=${target%%@*} target=${target#*@} ;; esac
  address=$(address_of "$target") || exit 1
  ssh -F none -i "$FLEET_KEY" -o IdentitiesOnly=yes -o UserKnownHostsFile="$FLEET_KNOWN_HOSTS" -o ConnectTimeout=10 \
    -o LogLevel=ERROR "$user@$address" "$@"
}

server_login() {
  local attempt
  for attempt in $(seq 1 50); do
    fleet_ssh "root@$1" true </dev/null 2>/dev/null && return 0
    sleep 0.2
  done
  say "$1: $(fleet_ssh "root@$1" true </dev/null 2>&1)"
  return 1
}

fleet_down() {
  local container
  fleet_lock
  engine_up
  local -a containers=()
  mapfile -t containers < <(docker ps -aq --filter "label=$FLEET_LABEL")
  [ ${#containers[@]} -eq 0 ] || docker rm -f -v "${containers[@]}" >/dev/null
  for container in $(docker volume ls -q | grep -E "^${FLEET_NAME}_server[0-9]+_(docker|state)$" || true); do docker volume rm "$container" >/dev/null; done
  docker network inspect "$FLEET_NAME" >/dev/null 2>&1 && docker network rm "$FLEET_NAME" >/dev/null
  say "The fleet is gone. Its images and keys stay in $FLEET_CACHE."
}

fleet_reset() {
  local -a names=()
  fleet_lock
  engine_up
  mapfile -t names < <(fleet_names)
  [ ${#names[@]} -gt 0 ] || fail 'There is no fleet. "vagrant/fleet up" makes one.'
  for_each server_reset "${names[@]}" || fail "Not every server could be reset."
}

server_reset() {
  server_run "$1" || return 1
  in_server "$1" reset </dev/null || return 1
  in_server "$1" authorize <"$FLEET_KEY.pub"
}

fleet_status() {
  local name state format='%-10s %-12s %-9s %-22s %s\n'
  engine_up
  printf "$format" NAME ADDRESS STATE ENGINE FAULTS
  for name in $(fleet_names); do
    state=$(state_of "$name")
    if [ "$state" = running ]; then
      printf "$format" "$name" "$(address_of "$name")" "$state" \
        "$(docker exec "$(container_of "$name")" sh -c "docker version >/dev/null && docker info --format '{{.ServerVersion}}, {{.ContainersRunning}}/{{.Containers}} up'" 2>/dev/null || echo 'no answer')" \
        "$(in_server "$name" ailments </dev/null)"
    else
      printf "$format" "$name" "$(address_of "$name")" "$state" - "$([ "$state" = paused ] && echo frozen || echo stopped)"
    fi
  done
}

fleet_env() {
  local names
  engine_up
  names=$(fleet_names | tr '\n' ' ')
  printf 'FLEET_SERVERS=%q\nFLEET_ADDRESSES=%q\n' "${names% }" "$(for name in $names; do address_of "$name" && printf ' '; done | sed 's/ $//')"
  printf 'FLEET_KEY=%q\nFLEET_KNOWN_HOSTS=%q\nFLEET_NGINX_IMAGE=%q\nFLEET_APP_IMAGE=%q\n' "$FLEET_KEY" "$FLEET_KNOWN_HOSTS" "$NGINX_IMAGE" "$APP_IMAGE"
}

fleet_load() {
  local archive name
  [ $# -gt 0 ] || fail "Which archive?"
  engine_up
  for archive in "$@"; do [ -r "$archive" ] || fail "$archive cannot be read."; done
  server_load() {
    for archive in "${archives[@]}"; do docker exec -i "$(container_of "$1")" docker load -q <"$archive" || return 1; done
    in_server "$1" keep-images </dev/null
  }
  local -a archives=("$@") names=()
  mapfile -t names < <(fleet_names)
  for_each server_load "${names[@]}" || fail "Not every server could load the images."
}
