facts() {
    LC_ALL=C
    export LC_ALL
    root=@ROOT@
    base=$root/flipside/nginx

    engine() {
        @ENGINE@ "$@"
    }

    # Frames what a command prints, its exit code and its standard error.
    section() {
        name=$1
        shift
        printf '\n@@flipside begin %s\n' "$name"
        message=$("$@" 2>&1 >&3)
        code=$?
        printf '\n@@flipside end %s %s\n' "$name" "$code"
        [ -z "$message" ] || printf '%s\n' "$message" | sed 's/^/@@flipside stderr /'
        return "$code"
    }

    # GNU date knows milliseconds; others answer something that is no number.
    clock() {
        now=$(date +%s%3N)
        case $now in
            '' | *[!0-9]*) date +%s ;;
            *) printf '%s\n' "$now" ;;
        esac
    }

    # The nearest existing parent stands for a folder that is not there yet.
    disk() {
        place=$root/flipside
        while [ -n "$place" ] && [ ! -e "$place" ]; do
            place=${place%/*}
        done
        [ -n "$place" ] || place=/
        if [ -d "$place" ] && [ -w "$place" ] && [ -x "$place" ]; then
            echo writable
        else
            echo fixed
        fi
        df -P -k "$place"
    }

    ephemeral() {
        [ ! -r /proc/sys/net/ipv4/ip_local_port_range ] || cat /proc/sys/net/ipv4/ip_local_port_range
    }

    # 0A: a listening TCP socket; 07: a UDP socket without a peer.
    listeners() {
        cat /proc/net/tcp >/dev/null || return
        grep -sHoE '^ *[0-9]+: [0-9A-F]+:[0-9A-F]+ 0+:0000 (0A|07) ' /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6
        return 0
    }

    containers() {
        ids=$(engine ps -aq --no-trunc) || return
        [ -n "$ids" ] || return 0
        all=$(engine inspect --type container --format @CONTAINER@ $ids)
        code=$?
        printf '%s\n' "$all"
        # When each was started, in ticks since the machine was: by no clock that somebody can set.
        for pid in $(printf '%s\n' "$all" | sed -n 's/.*"pid":\([1-9][0-9]*\),.*/\1/p'); do
            cat "/proc/$pid/stat"
        done 2>/dev/null
        return "$code"
    }

    # A network that is in use cannot be made anew with another subnet: its name is enough the second time.
    networks() {
        if ! @MORE@; then
            engine network ls --format '{{.Name}}'
            return
        fi
        ids=$(engine network ls -q --no-trunc) || return
        [ -z "$ids" ] || engine network inspect --format '{{json .}}' $ids
    }

    volumes() {
        engine volume ls -q
    }

    images() {
        engine image ls --no-trunc --digests --format '{{.ID}} {{.Repository}} {{.Tag}} {{.Digest}}'
    }

    live() {
        [ ! -L "$base/current" ] || readlink "$base/current"
    }

    releases() {
        [ ! -d "$base/releases" ] || ls -1 "$base/releases"
    }

    # First the sizes, then all contents in the same order: any text survives.
    texts() {
        [ ! -d "$1" ] || {
            cd "$1" && shift && find . "$@" -type f -exec wc -c {} + && echo && find . "$@" -type f -exec cat {} +
        }
    }

    files() {
        [ ! -L "$base/current" ] || {
            link=$(readlink "$base/current")
            case $link in
                /*) texts "$link" ;;
                *) texts "$base/$link" ;;
            esac
        }
    }

    # The copy that was made of the live generation, where the files are not the same any more, or gone.
    sealed() {
        [ -L "$base/current" ] || return 0
        id=$(readlink "$base/current")
        id=${id##*/}
        [ -d "$base/sealed/$id" ] || return 0
        diff -r "$base/releases/$id" "$base/sealed/$id" >/dev/null 2>&1 || texts "$base/sealed/$id"
    }

    # What Flipside itself switched to last, and what it was about to switch to.
    recorded() {
        for file in "$base/switched" "$base/switching"; do
            [ ! -r "$file" ] || sed 's/ .*//' "$file"
        done
    }

    # A generation that is not the one of the link: the one that NGINX serves, or the one that Flipside switched to last.
    other() {
        id=
        case $bound in
            '' | *"$newline"*) [ ! -r "$base/switched" ] || read -r id rest <"$base/switched" ;;
            */generation-bootstrap.sock) [ ! -r "$base/switched" ] || read -r id rest <"$base/switched" ;;
            *) id=${bound##*/generation-} && id=${id%.sock} ;;
        esac
        [ "$(readlink "$base/current")" != "releases/$id" ] || return 0
        case $id in
            '' | *[!0-9a-zA-Z]*) ;;
            *) if [ -d "$base/sealed/$id" ]; then texts "$base/sealed/$id"; else texts "$base/releases/$id"; fi ;;
        esac
    }

    doors() {
        texts "$root/flipside/doors" -name '*.conf'
    }

    # The proofs that lie beside the secrets, and no secret.
    secrets() {
        cd "$root" 2>/dev/null || return 0
        set --
        for proof in ./*/*/secrets/*/*/@PROOF@ ./flipside/tls/*/*/@PROOF@; do
            [ ! -r "$proof" ] || set -- "$@" "$proof"
        done
        [ $# -eq 0 ] || {
            wc -c "$@" && echo && cat "$@"
        }
    }

    # NGINX holds a socket named after the generation that it serves. What is bound shows in its namespace alone: by the process, where
    # that is one of this machine, which costs a fifth of a command inside the container.
    served() {
        set -- "$root"/flipside/run/generation-*.sock
        [ -S "$1" ] || return 0
        limit=
        ! command -v timeout >/dev/null || limit='timeout 3'
        pid=$($limit @ENGINE@ inspect --type container --format '{{.State.Pid}}' flipside_nginx) || return
        case $pid in
            0) return ;;
            '' | *[!0-9]*) ;;
            *) sed -n 's,^[^ ]* [^ ]* [^ ]* 00010000 .* \([^ ]*/generation-[^ ]*\.sock\)$,\1,p' "/proc/$pid/net/unix" 2>/dev/null | grep . && return ;;
        esac
        $limit @ENGINE@ exec flipside_nginx sh -c @BOUND@
    }

    # What is served was asked for first. A switch that has gone on since is waited for, and it is asked for again.
    in_one_moment() {
        tries=0
        until [ "$(readlink "$base/current")" = "$link" ] && { [ ! -e "$base/switching" ] || [ -z "$bound" ] || [ "${bound##*/}" = "generation-${link##*/}.sock" ]; }; do
            [ "$tries" -lt 5 ] || return
            tries=$((tries + 1))
            sleep 0.2 2>/dev/null || sleep 1
            link=$(readlink "$base/current")
            bound=$(served 2>/dev/null)
        done
    }

    # A shared lock is tried for an instant: it is refused while somebody holds the lease.
    lease() {
        lock=$root/flipside/lock
        [ -r "$lock/holder" ] && [ -r "$lock/lease" ] && command -v flock >/dev/null || return 0
        flock -s -n "$lock/lease" true || cat "$lock/holder"
    }

    # A revert that is armed is there as long as its shell is: its name stands in the arguments of the process.
    revert() {
        cd "$root/flipside/revert" 2>/dev/null || return 0
        for file in armed firing; do
            [ -r "$file" ] || continue
            read -r token process rest <"$file"
            if grep -qsF -- "$token" "/proc/$process/cmdline"; then echo watching; else echo lost; fi
            cat "$file"
            return 0
        done
        [ ! -r outcome ] || { echo ended && cat outcome; }
    }

    newline='
'
    link=$(readlink "$base/current" 2>/dev/null)
    bound=$(served 2>/dev/null)
    exec 3>&1
    printf '\n@@flipside facts 1\n'
    section asked printf '%s\n' @DOCKER@
    section user id -un
    if @MORE@; then
        section hostname uname -n
        section clock clock
        section disk disk
        section ephemeral ephemeral
        section listeners listeners
        section routes cat /proc/net/route
    fi
    # An engine that does not answer does not list its containers either.
    if ! @MORE@ || section docker engine version --format '{{if .Server}}{{.Server.Version}}{{else}}{{.Client.Version}}{{end}}'; then
        section containers containers
        section networks networks
        if @MORE@; then
            section images images
            section volumes volumes
        fi
    fi
    in_one_moment 2>/dev/null
    section live live
    section files files
    section served printf '%s\n' "$bound"
    section revert revert
    if @MORE@; then
        section releases releases
        section doors doors
        section secrets secrets
        section sealed sealed
        section recorded recorded
        section other other
        section lease lease
    fi
    printf '\n@@flipside over\n'
}
facts </dev/null
