#!/bin/sh
# Has a real NGINX test every golden generation, those of the plans that have theirs written down, and every door: nginx_t.sh [IMAGE [DOCKER]].
# It runs one short-lived container and no network. openssl makes the certificates that they name.
# What NGINX Plus alone understands (the case `plus`) is taken out before: its image is not to be had here, so that nobody has tested it.
image=${1:-nginx:stable} docker=${2:-docker}
here=$(cd "$(dirname "$0")" && pwd) || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$work/key" -out "$work/certificate" -subj /CN=test -days 2 2>/dev/null || exit 2
mkdir "$work/releases" "$work/tls" || exit 2

# add NAME FOLDER: to what is tested, and the certificates that it names.
add() {
    cp -r "$2" "$work/releases/$1" || exit 2
    cat "$2"/http.d/*.hosts.conf 2>/dev/null | sed -n 's,^ *ssl_\(certificate[_key]*\) /flipside/tls/\(.*\);$,\1 \2,p' | while read -r kind path; do
        mkdir -p "$work/tls/${path%/*}" && cp "$work/${kind#certificate_}" "$work/tls/$path"
    done
}
for case in "$here"/*/expected; do
    add "$(basename "$(dirname "$case")")" "$case"
done
for case in "$here"/doors/*; do
    add "door_$(basename "$case")" "$case"
done
for case in "$here"/../plan_cases/*/nginx/*; do
    plan=${case%/nginx/*}
    add "plan_${plan##*/}_${case##*/}" "$case"
done
find "$work/releases/plus" -name '*.conf' -exec sed -i -e '/^ *health_check/d' -e '/^match /,/^}/d' -e 's/ slow_start=[0-9a-z]*//' {} +
chmod -R a+rX "$work/releases" "$work/tls"
chmod a+x "$work"

"$docker" run --rm --network none --sysctl net.ipv6.conf.all.disable_ipv6=0 --tmpfs /flipside/run -v "$work/releases:/flipside/nginx/releases:ro" -v "$work/tls:/flipside/tls:ro" --entrypoint sh "$image" -c '
    failed=0 n_tested=0
    for case in /flipside/nginx/releases/*; do
        n_tested=$((n_tested + 1))
        if answer=$(nginx -t -c "$case/nginx.conf" 2>&1); then
            printf "ok      %s\n" "${case##*/}"
        else
            printf "FAILED  %s\n%s\n" "${case##*/}" "$answer"
            failed=1
        fi
    done
    [ "$n_tested" -ge 30 ] || { echo "only $n_tested cases"; exit 1; }
    exit "$failed"'
