#!/bin/sh
# Has a real NGINX test every golden generation: nginx_t.sh [IMAGE [DOCKER]]. It runs one short-lived container a case and no network.
image=${1:-nginx:stable} docker=${2:-docker}
here=$(cd "$(dirname "$0")" && pwd) || exit 2
failed=0
for case in "$here"/*/expected; do
    name=$(basename "$(dirname "$case")")
    if answer=$("$docker" run --rm --network none --tmpfs /flipside/run -v "$case:/flipside/nginx/releases/x:ro" "$image" \
        nginx -t -c /flipside/nginx/releases/x/nginx.conf 2>&1); then
        printf 'ok      %s\n' "$name"
    else
        printf 'FAILED  %s\n%s\n' "$name" "$answer"
        failed=1
    fi
done
exit $failed
