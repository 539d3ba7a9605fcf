# What the scripts inside the NGINX container share. Of the image they need sh, cat, ln, mv (with -T), rm, sleep and readlink, a door's tr, too;
# with grep they are quicker where there are many connections, with ls and su a drain sees who is still sending, and with flock no lock outlives
# whoever holds it.
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
# A moment; not every sleep knows parts of a second.
nap() { sleep "$1" 2>/dev/null || sleep 1; }
# The rows of the tables $2… in the states $1, a pattern such as `0[12]`; without grep all rows, so readers look at the state again. A busy
# server has tens of thousands of rows, TIME_WAIT most of them, and a shell reads its input byte by byte.
sockets() {
    states=$1
    shift
    for table in "$@"; do
        [ -r "$table" ] || continue
        grep "^ *[0-9]*: [0-9A-F]*:[0-9A-F]* [0-9A-F]*:[0-9A-F]* $states " "$table" 2>/dev/null || [ $? -eq 1 ] || cat "$table"
    done
}
# The generations that NGINX listens for, one in calm times. Each has a socket of that name, bound by the master and by nobody else; a
# reload that fails half-way binds it too, so it proves a switch only together with the workers. Read without any client in the image.
serving() {
    serving= bound=' '
    while read -r slot references protocol flags type state inode path; do
        [ "$flags" = 00010000 ] || continue
        bound="$bound$path "
        case $path in
        /flipside/run/generation-*.sock)
            path=${path#/flipside/run/generation-}
            serving="$serving ${path%.sock}"
            ;;
        esac
    done </proc/net/unix
}
serves() { case " $serving " in *" $1 "*) ;; *) return 1 ;; esac; }
