#!/bin/sh
# Has a real NGINX test every golden generation, and those of the plans that have theirs written down: nginx_t.sh [IMAGE [DOCKER]]. It runs one short-lived container a case and no network.
# openssl makes the certificates that they name.
# What NGINX Plus alone understands (the case `plus`) is taken out before: its image is not to be had here, so that nobody has tested it.
image=${1:-nginx:stable} docker=${2:-docker}
here=$(cd "$(dirname "$0")" && pwd) || exit 2
failed=0
tls=$(mktemp -d) || exit 2
trap 'rm -rf "$tls"' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$tls/key" -out "$tls/certificate" -subj /CN=test -days 2 2>/dev/null || exit 2
for case in "$here"/*/expected "$here"/../plan_cases/*/nginx/*; do
    rm -rf "$tls/files"
    mkdir "$tls/files"
    cat "$case"/http.d/*.hosts.conf 2>/dev/null | sed -n 's,^ *ssl_\(certificate[_key]*\) /flipside/tls/\(.*\);$,\1 \2,p' | while read -r kind path; do
        mkdir -p "$tls/files/${path%/*}" && cp "$tls/${kind#certificate_}" "$tls/files/$path"
    done
    name=$(basename "$(dirname "$case")")
    [ "$name" != nginx ] || name="$(basename "$(dirname "$(dirname "$case")")"), $(basename "$case")"
    if [ "$name" = plus ]; then
        copy=$(mktemp -d) && cp -r "$case/." "$copy" && chmod -R a+rX "$copy" || exit 2
        find "$copy" -name '*.conf' -exec sed -i -e '/^ *health_check/d' -e '/^match /,/^}/d' -e 's/ slow_start=[0-9a-z]*//' {} +
        case=$copy
    fi
    if answer=$("$docker" run --rm --network none --tmpfs /flipside/run -v "$case:/flipside/nginx/releases/x:ro" -v "$tls/files:/flipside/tls:ro" "$image" \
        nginx -t -c /flipside/nginx/releases/x/nginx.conf 2>&1); then
        printf 'ok      %s\n' "$name"
    else
        printf 'FAILED  %s\n%s\n' "$name" "$answer"
        failed=1
    fi
    [ -z "${copy:-}" ] || rm -rf "$copy"
    copy=
done
exit $failed
