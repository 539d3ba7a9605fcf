# What the scripts inside the NGINX container share. Of the image they need sh, ln, mv, rm, sleep and readlink.
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
