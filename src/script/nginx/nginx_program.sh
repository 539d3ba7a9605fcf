# PID 1 of the NGINX container. Sockets that a killed NGINX left behind would be "Address already in use".
# Every connection is two descriptors; the default of some engines is 1024 in all.
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
cd /flipside/nginx || exit 1
[ -e current/nginx.conf ] || ln -sfn releases/bootstrap current
mkdir -p /flipside/run && rm -f /flipside/run/*.sock
exec nginx -c /flipside/nginx/current/nginx.conf -g 'daemon off;'
