# The shell that is left behind. $1 its token, $2 whose run it watches. Before it: folder, back, generations, grace, and put_back, a script
# that makes `back` live in place of the generation in `from`.
umask 077
token=$1 who=$2 bound=60
cd "$folder/revert" || exit 1
printf '%s %s %s %s %s\n%s\n' "$token" "$$" "$(date +%s)" "$back" "$generations" "$who" >armed.new && mv armed.new armed || exit 1

is_mine() {
    found=
    { read -r found rest <armed; } 2>/dev/null
    [ "$found" = "$token" ]
}

live_now() {
    live=$(readlink ../nginx/current)
    live=${live##*/}
}

# Ends the watch with a note for people: one line of words, whose run it was, and what was seen.
ends() {
    printf '%s %s %s\n%s\n%s\n' "$1" "$(date +%s)" "$back" "$who" "$2" >outcome.new && mv outcome.new outcome
    rm -f firing
    exit 0
}

# put_back in a session of its own: where it hangs, as a Docker engine may, it is ended with all that it began. What it has asked of the engine
# by then may come later, and is refused then.
put_back_in_time() {
    from=$from setsid sh -c "$put_back" flipside_put_back </dev/null 8>&- 9>&- &
    job=$!
    setsid sh -c 'sleep "$1" && kill -KILL -"$2"' flipside_end "$bound" "$job" </dev/null >/dev/null 2>&1 8>&- 9>&- &
    end=$!
    wait "$job"
    status=$?
    kill -KILL -"$end" 2>/dev/null
    return "$status"
}

# Once, under the lease. Comes back where somebody else has it, or where it did not work yet.
fire() {
    is_mine || exit 0
    (umask 022 && printf 'the server itself, which puts back what was left unconfirmed by %s\n' "$who" >../lock/holder.new) &&
        mv ../lock/holder.new ../lock/holder
    mv armed firing || exit 0
    live_now
    case " $back $generations " in
    *" $live "*) ;;
    *) ends left "generation $live is live, which that run did not make" ;;
    esac
    candidates=$live
    [ "$live" != "$back" ] || candidates=$generations
    for from in $candidates; do
        answer=$(put_back_in_time)
        case $?,$answer in
        0,*'was live already'*)
            [ "$live" = "$back" ] && [ -z "$hung" ] && rm -f firing && exit 0
            ends reverted "$answer"
            ;;
        0,*) ends reverted "$answer" ;;
        137,*)
            # Whoever wants the lease has the time of the grace to take it.
            answer="error: docker exec did not come back within $bound s" hung=yes n_free=0
            break
            ;;
        esac
    done
    n_failed=$((n_failed + 1))
    [ "$n_failed" -lt 100 ] || ends failed "$answer"
    # An engine that is being renewed takes its time: after some tries in a row each waits for the grace once more.
    [ "$n_failed" -lt 5 ] || n_free=0
    mv firing armed
}

n_free=0 n_failed=0 n_calm=0 hung=
while :; do
    sleep 1
    is_mine || exit 0
    if flock -s -n ../lock/lease true 2>/dev/null; then
        n_free=$((n_free + 1))
    else
        n_free=0
    fi
    [ "$n_free" -ge "$grace" ] || continue
    # Nothing to put back, so far: a switch that was begun before the run was cut off goes on in the NGINX container, and may come yet.
    live_now
    if [ "$live" = "$back" ] && [ "$n_calm" -lt 20 ]; then
        n_calm=$((n_calm + 1))
        continue
    fi
    exec 9>>../lock/lease 8>>../lock/work
    # The second: nothing that the run had begun here is at work any more.
    if flock -n 9 && flock -n 8; then
        fire
    fi
    exec 9>&- 8>&-
done
