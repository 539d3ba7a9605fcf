# A real registry for the fleet's servers, from the Debian package of the reference implementation. Nothing is installed: the package
# would start a service of its own on this machine.

# registry_binary: fetches the package once, and prints where the program is.
registry_binary() {
  local program=$FLEET_IMAGES/registry/usr/bin/docker-registry work
  if [ ! -x "$program" ]; then
    work=$(mktemp -d "$FLEET_IMAGES/registry.XXXXXX")
    # apt drops its privileges for a download, and may write only where others may.
    chmod 755 "$work"
    { (cd "$work" && apt-get -q download docker-registry) || (apt-get -q update && cd "$work" && apt-get -q download docker-registry); } >"$FLEET_HOME/apt.log" 2>&1 </dev/null \
      || fail "apt-get could not fetch docker-registry: $(tail -n 5 "$FLEET_HOME/apt.log")"
    dpkg-deb -x "$work"/docker-registry_*.deb "$work/root"
    rm -rf "$FLEET_IMAGES/registry"
    mv "$work/root" "$FLEET_IMAGES/registry"
    rm -r "$work"
  fi
  printf '%s' "$program"
}

# fleet_registry PORT: a registry at the fleet's own address of this machine, empty, in the foreground. It replaces this process.
fleet_registry() {
  local port=${1:-} program
  [[ $port =~ ^[1-9][0-9]{3,4}$ ]] || fail "Which port? It has to be 1024 at least."
  mkdir -p "$FLEET_IMAGES" "$FLEET_HOME"
  program=$(registry_binary)
  rm -rf "$FLEET_HOME/registry"
  mkdir -p "$FLEET_HOME/registry"
  cat >"$FLEET_HOME/registry.yml" <<CONF
version: 0.1
storage: { filesystem: { rootdirectory: "$FLEET_HOME/registry" } }
http: { addr: "$FLEET_NET.1:$port" }
CONF
  exec "$program" serve "$FLEET_HOME/registry.yml"
}
