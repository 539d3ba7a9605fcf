# The Docker engine of this machine, and the Debian packages that the fleet needs. Nothing is configured: an engine that
# answers is used as it is, and one is started only when none does.

# install_missing PACKAGE…: installs those that are not there. The package lists are fetched only when something is missing.
install_missing() {
  local -a missing=()
  local package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" -eq 0 ] || fail "These packages are missing: ${missing[*]}. Install them as root: apt-get install ${missing[*]}"
  say "Installing ${missing[*]}"
  mkdir -p "$FLEET_HOME"
  { apt-get -q -o DPkg::Lock::Timeout=300 update && DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}"; } \
    >"$FLEET_HOME/apt.log" 2>&1 </dev/null || fail "apt-get could not install ${missing[*]}: $(tail -n 5 "$FLEET_HOME/apt.log")"
}

# engine_answers: some docker client reaches the engine. A client on the PATH may be too new for a distribution's engine.
engine_answers() {
  local client
  for client in docker /usr/bin/docker; do
    if command "$client" version --format '{{.Server.Version}}' >/dev/null 2>&1; then
      FLEET_DOCKER=$client
      return 0
    fi
  done
  return 1
}

# A pid file outlives a machine that lost its power; dockerd refuses to start when any process has that number now.
forget_stale_pid() {
  local file=$1 wanted=$2 pid
  [ -f "$file" ] || return 0
  pid=$(cat "$file")
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$wanted" ] || rm -f "$file"
}

# engine_up: an engine answers, or the reason why not is told.
engine_up() {
  engine_answers && return 0
  [ -z "${DOCKER_HOST:-}" ] || fail "DOCKER_HOST is set to $DOCKER_HOST, and no Docker engine answers there."
  if ! command -v dockerd >/dev/null && [ ! -x /usr/sbin/dockerd ]; then
    install_missing docker.io iptables
  fi
  # Until bookworm the client was in docker.io; since then it is a package of its own, which is only recommended.
  command -v docker >/dev/null || install_missing docker-cli
  engine_answers && return 0
  [ "$(id -u)" -eq 0 ] || fail "No Docker engine answers to this user, and only root can start one."
  say "Starting dockerd"
  mkdir -p "$FLEET_HOME"
  if [ -d /run/systemd/system ]; then
    systemctl start docker || fail "systemd could not start docker: see \"journalctl -u docker\"."
  else
    forget_stale_pid /var/run/docker.pid dockerd
    forget_stale_pid /var/run/docker/containerd/containerd.pid containerd
    PATH=$PATH:/usr/sbin:/sbin setsid dockerd >"$FLEET_HOME/dockerd.log" 2>&1 </dev/null 9>&- &
    echo $! >"$FLEET_HOME/dockerd.pid"
  fi
  local waited
  for waited in $(seq 1 120); do
    engine_answers && return 0
    if [ -f "$FLEET_HOME/dockerd.pid" ] && [ ! -d /run/systemd/system ] && ! kill -0 "$(cat "$FLEET_HOME/dockerd.pid")" 2>/dev/null; then
      fail "dockerd ended at once. The end of $FLEET_HOME/dockerd.log: $(grep -v level=info "$FLEET_HOME/dockerd.log" | tail -n 5)"
    fi
    sleep 0.5
  done
  fail "dockerd runs, but did not answer within a minute. See $FLEET_HOME/dockerd.log."
}
