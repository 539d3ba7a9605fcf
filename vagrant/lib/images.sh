# The images of the fleet, made from Debian packages and from this repository's examples: no registry is asked, ever.
# Packages become a tarball in the cache once; a tarball becomes an image whenever the engine has none of the same recipe.

SERVER_IMAGE=flipside/server:trixie
NGINX_IMAGE=flipside/nginx:stable
APP_IMAGE=flipside/app
SERVER_PACKAGES=openssh-server,docker.io,docker-cli,iptables,iproute2,procps,ca-certificates,sudo,passwd,util-linux,mount,e2fsprogs
# Debian's trixie has NGINX 1.26, which loses requests of keep-alive clients in a reload; sid has what nginx:stable has.
NGINX_PACKAGES=nginx,libnginx-mod-stream

# The tags of the app: a version, and how it behaves. An image behaves this way unless APP_BEHAVIOUR says otherwise.
APP_TAGS='1.0 ok
2.0 ok
3.0 ok
3.0-broken exit
3.0-exit exit
3.0-unhealthy unhealthy
3.0-wrong-port wrong-port
3.0-slow-start slow-start=5000
3.0-crash-after crash-after=3000
3.0-ignore-term ignore-term
3.0-die-at-once die-at-once'

images_ensure() {
  mkdir -p "$FLEET_IMAGES" "$FLEET_HOME"
  server_image
  nginx_image
  app_images
}

# recipe_of TEXT… <FILES: a short digest of what an image is made from.
recipe_of() { { printf '%s\n' "$@"; cat; } | sha256sum | cut -c1-12; }

# has_recipe IMAGE RECIPE: the engine has the image, made from this recipe.
has_recipe() { [ "$(docker image inspect -f '{{index .Config.Labels "flipside.recipe"}}' "$1" 2>/dev/null)" = "$2" ]; }

# The Debian mirror of this machine, as apt knows it.
debian_mirror() {
  local mirror
  mirror=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null | sed -n 's/^Debian //p' | grep -v security | head -n 1)
  if [ -z "$mirror" ]; then
    apt-get -q update >"$FLEET_HOME/apt.log" 2>&1 </dev/null || true
    mirror=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian //p' | grep -v security | head -n 1)
  fi
  [ -n "$mirror" ] || fail "apt knows no Debian mirror: see /etc/apt/sources.list and /etc/apt/sources.list.d."
  printf '%s' "$mirror"
}

# debian_tarball FILE SUITE PACKAGES [mmdebstrap option…]: a root file system from Debian packages, without manuals and translations.
debian_tarball() {
  local file=$1 suite=$2 packages=$3 mirror
  shift 3
  [ ! -f "$file" ] || return 0
  install_missing mmdebstrap debian-archive-keyring
  mirror=$(debian_mirror)
  say "Building $(basename "$file") from Debian $suite (once; under a minute)"
  mmdebstrap --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Retries "3"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --include="$packages" "$@" \
    "$suite" "$file.part.tar" "deb $mirror $suite main" >"$FLEET_HOME/mmdebstrap.log" 2>&1 </dev/null \
    || fail "mmdebstrap could not build $(basename "$file"): $(tail -n 8 "$FLEET_HOME/mmdebstrap.log")"
  mv "$file.part.tar" "$file"
}

# import_image IMAGE RECIPE TARBALL [docker import option…]
import_image() {
  local image=$1 recipe=$2 tarball=$3
  shift 3
  docker import --change "LABEL flipside.recipe=$recipe" "$@" "$tarball" "$image" >/dev/null || fail "The engine could not import $image from $tarball."
}

server_image() {
  local packages recipe tarball
  packages=$(recipe_of "$SERVER_PACKAGES" </dev/null)
  tarball=$FLEET_IMAGES/server-$packages.tar
  recipe=$(recipe_of "$packages" <"$FLEET_VAGRANT/server/fleet-server")
  has_recipe "$SERVER_IMAGE" "$recipe" && return 0
  debian_tarball "$tarball" trixie "$SERVER_PACKAGES"
  cp "$tarball" "$tarball.import"
  tar --append -f "$tarball.import" --owner=root:0 --group=root:0 --mode=0755 --transform='s,^,./usr/local/sbin/,' -C "$FLEET_VAGRANT/server" fleet-server
  import_image "$SERVER_IMAGE" "$recipe" "$tarball.import" --change 'ENTRYPOINT ["/usr/local/sbin/fleet-server", "boot"]' --change 'EXPOSE 22'
  rm "$tarball.import"
}

# What NGINX does not need goes: perl, apt, gconv. A shell, coreutils, grep, sed and awk stay, as in the official image.
nginx_image() {
  local packages recipe tarball
  local slim='rm -rf "$1"/usr/lib/x86_64-linux-gnu/gconv "$1"/usr/lib/*/perl-base "$1"/usr/bin/perl* "$1"/usr/share/perl5 "$1"/usr/lib/apt "$1"/usr/lib/*/libapt-* "$1"/usr/bin/sqv "$1"/usr/share/keyrings "$1"/usr/share/zoneinfo "$1"/usr/share/locale "$1"/usr/bin/bash "$1"/bin/bash "$1"/var/lib/dpkg/info "$1"/var/cache/debconf "$1"/usr/lib/locale "$1"/usr/bin/localedef'
  local logs='ln -sf /dev/stdout "$1"/var/log/nginx/access.log; ln -sf /dev/stderr "$1"/var/log/nginx/error.log'
  packages=$(recipe_of "$NGINX_PACKAGES" "$slim" "$logs" </dev/null)
  tarball=$FLEET_IMAGES/nginx-$packages.tar
  recipe=$packages
  has_recipe "$NGINX_IMAGE" "$recipe" && return 0
  debian_tarball "$tarball" sid "$NGINX_PACKAGES" --customize-hook="$slim" --customize-hook="$logs"
  # As in the official image, arguments replace the command. Its STOPSIGNAL cannot be had by an import: run with --stop-signal SIGQUIT.
  import_image "$NGINX_IMAGE" "$recipe" "$tarball" --change 'CMD ["nginx", "-g", "daemon off;"]' --change 'EXPOSE 80'
}

# example_binary NAME: builds an example of this repository, statically linked, and prints where it is. The flag goes to the
# last compiler run alone, so that the build shares everything else with the release binary. What "cargo test" tells its tests of their
# package is not passed on: the build script of "ring" would take it for a change, and everything above it would be built again.
example_binary() {
  local name=$1 target=${CARGO_TARGET_DIR:-$FLEET_TOP/target}
  (cd "$FLEET_TOP" && unset "${!CARGO_PKG_@}" "${!CARGO_MANIFEST_@}" && cargo rustc -q --release --example "$name" --target-dir "$target" -- -C target-feature=+crt-static) >&2 \
    || fail "cargo could not build the example $name."
  printf '%s' "$target/release/examples/$name"
}

app_images() {
  local recipe binary tag behaviour root=$FLEET_IMAGES/app
  recipe=$(find "$FLEET_VAGRANT/app" -name '*.rs' -print0 | sort -z | xargs -0 cat | recipe_of "$APP_TAGS")
  local -a stale=()
  while read -r tag behaviour; do has_recipe "$APP_IMAGE:$tag" "$recipe" || stale+=("$tag"); done <<<"$APP_TAGS"
  [ ${#stale[@]} -gt 0 ] || return 0
  say "Building the example app"
  binary=$(example_binary fleet-app)
  rm -rf "$root" && mkdir -p "$root/tmp" "$root/data"
  chmod 1777 "$root/tmp" "$root/data"
  cp "$binary" "$root/app"
  # One tarball for all tags, with fixed times: they share their only layer.
  tar -cf "$FLEET_IMAGES/app.tar" --sort=name --mtime=@0 --owner=root:0 --group=root:0 -C "$root" .
  while read -r tag behaviour; do
    import_image "$APP_IMAGE:$tag" "$recipe" "$FLEET_IMAGES/app.tar" --change 'ENTRYPOINT ["/app"]' \
      --change "ENV APP_VERSION=$tag" --change "ENV APP_BEHAVIOUR=$behaviour"
  done <<<"$APP_TAGS"
}

# inner_images: what every server's own engine has after "up".
inner_images() {
  printf '%s\n' "$NGINX_IMAGE"
  sed "s,^\([^ ]*\) .*,$APP_IMAGE:\1," <<<"$APP_TAGS"
}

# fleet_images: what "up" would build, and the archive of what servers start with.
fleet_images() {
  mkdir -p "$FLEET_HOME"
  fleet_lock
  engine_up
  images_ensure
  inner_archive
}

# fleet_send_images KEY ADDRESS: for machines that are not of this fleet, and are thrown away: their host keys are not looked at.
fleet_send_images() {
  [ $# -eq 2 ] || fail "vagrant/fleet send-images KEY ADDRESS"
  fleet_images
  local attempt present=
  local -a login=(ssh -F none -i "$1" -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null
    -o LogLevel=ERROR -o ConnectTimeout=10 "root@$2")
  for attempt in $(seq 1 30); do
    present=$("${login[@]}" "docker images --format '{{.Repository}}:{{.Tag}} {{.ID}}'" </dev/null 2>/dev/null) && break
    sleep 1
  done
  [ -n "$(comm -23 - <(sort <<<"$present") <<<"$INNER_IMAGES")" ] || return 0
  "${login[@]}" 'docker load -q >/dev/null' <"$FLEET_IMAGES/inner.tar" || fail "The images could not be loaded at $2."
}
