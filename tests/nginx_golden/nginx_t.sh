#!/bin/sh
# Has a real NGINX test every golden generation: nginx_t.sh [IMAGE [DOCKER]]. It runs one short-lived container a case and no network.
# What NGINX Plus alone understands (the case `plus`) is taken out before: its image is not to be had here, so that nobody has tested it.
image=${1:-nginx:stable} docker=${2:-docker}
here=$(cd "$(dirname "$0")" && pwd) || exit 2
failed=0
for case in "$here"/*/expected; do
    name=$(basename "$(dirname "$case")")
    if [ "$name" = plus ]; then
        copy=$(mktemp -d) && cp -r "$case/." "$copy" && chmod -R a+rX "$copy" || exit 2
        find "$copy" -name '*.conf' -exec sed -i -e '/^ *health_check/d' -e '/^match /,/^}/d' -e 's/ slow_start=[0-9a-z]*//' {} +
        case=$copy
    fi
    if answer=$("$docker" run --rm --network none --tmpfs /flipside/run -v "$case:/flipside/nginx/releases/x:ro" "$image" \
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
