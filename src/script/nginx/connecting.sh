# In the NGINX container: exit 0 while a connection to a backend of $stem that takes traffic, or that does not where $waiting has a word, is
# on its way and not there yet; with a word in $1, only where it had to be tried again: clients of a busy service are connecting all the time.
late=$1
backends=' '
while IFS= read -r line; do
    case $line in *' server '*';'*'# '*) ;; *) continue ;; esac
    case ${line%%;*} in *' down'*) continue ;; esac
    case $line in *'# waiting '*) word=yes ;; *) word= ;; esac
    [ "$word" = "$waiting" ] || continue
    target=${line#* server }
    target=${target%% *}
    address=${line##* }
    case $address in [0-9]*.[0-9]*.[0-9]*.[0-9]*) ;; *) address=${target%:*} ;; esac
    IFS=.
    set -- $address
    unset IFS
    backends="$backends$(printf '%02X%02X%02X%02X:%04X' "$4" "$3" "$2" "$1" "${target##*:}") "
done <"/flipside/nginx/current/stream.d/$stem.conf"
while read -r slot local remote state queues timer retransmits rest; do
    [ "$state" = 02 ] || continue
    [ -z "$late" ] || [ "$retransmits" != 00000000 ] || continue
    case $backends in *" $remote "*) exit 0 ;; esac
done <<ROWS
$(sockets 02 /proc/net/tcp)
ROWS
exit 1
