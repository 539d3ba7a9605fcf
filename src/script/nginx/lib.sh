# What the scripts inside the NGINX container share. Nothing but sh, ln, mv, sleep and one of curl, bash, wget is needed of the image.
say() { printf '%s\n' "$*"; }
fail() {
    say "error: $1"
    [ $# -lt 2 ] || say "hint: $2"
    exit 1
}
# Hundredths of a second since the machine started: no clock that somebody can set.
now() {
    read -r up rest </proc/uptime
    centis=$((${up%.*} * 100 + 1${up#*.} - 100))
}
show_centis() { printf '%d.%02d s' $(($1 / 100)) $(($1 % 100)); }
# Pids of workers: active ones, and old ones that finish what they have.
workers() {
    active= leaving=
    for dir in /proc/[0-9]*; do
        title=
        { IFS= read -r title <"$dir/cmdline"; } 2>/dev/null
        case $title in
        'nginx: worker process is shutting down'*) leaving="$leaving ${dir#/proc/}" ;;
        'nginx: worker process'*) active="$active ${dir#/proc/}" ;;
        esac
    done
}
count() { echo $#; }
# The generation that NGINX answers with, or nothing.
served() {
    generation=
    if command -v curl >/dev/null 2>&1; then
        generation=$(curl -s -m 2 http://127.0.0.1:998/)
    elif command -v bash >/dev/null 2>&1; then
        generation=$(bash -c 'exec 3<>/dev/tcp/127.0.0.1/998 || exit; printf "GET / HTTP/1.0\r\n\r\n" >&3
            while IFS= read -r -t 2 line <&3; do last=$line; done; printf %s "$last"' 2>/dev/null)
    elif command -v wget >/dev/null 2>&1; then
        generation=$(wget -q -T 2 -O - http://127.0.0.1:998/ 2>/dev/null)
    else
        fail 'the NGINX image has none of curl, bash and wget: what NGINX serves cannot be read' 'use an image that has one of them'
    fi
    case $generation in *[!a-z0-9]*) generation= ;; esac
}
