# ask CONTAINER WORD…: runs it there; `$answer` is what it says. On a busy server the runtime sometimes fails before the program has begun
# (`read init-p: connection reset by peer`): nothing was done then, and it is run again.
ask() {
    for pause in 1 1 2 ''; do
        answer=$(engine exec "$@" 2>&1) && return
        case $pause/$answer in [12]/*'OCI runtime exec failed: '*) sleep "$pause" ;; *) return 1 ;; esac
    done
}
