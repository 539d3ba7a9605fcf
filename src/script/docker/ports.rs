//! Who holds a port that docker could not publish. Deliberately absent: taking it away.
use super::super::quote::quote;
use crate::model::Publish;

/// `blame_ports MESSAGE TRIPLE…` ends the body where the message says that a port is taken. A triple is `address:port/transport`;
/// between the two may stand the container's port, as docker's template prints it.
/// Containers are asked first, then `ss`, which names processes to root alone.
pub(super) const PORTS: &str = r#"holder_of() {
    by=$(@DOCKER_WORDS@ ps --filter "publish=$2/$3" --format '{{.Names}}' 2>/dev/null | head -n 1)
    [ -z "$by" ] || { echo "container $by"; return; }
    case $3 in
        udp) sockets=$(ss -Hlunp "sport = :$2" 2>/dev/null) ;;
        *) sockets=$(ss -Hltnp "sport = :$2" 2>/dev/null) ;;
    esac
    sockets=$(printf '%s\n' "$sockets" | grep -F -e " $1:$2 " -e " 0.0.0.0:$2 " -e " *:$2 " -e " [::]:$2 ")
    [ -n "$sockets" ] || return 1
    process=$(printf '%s\n' "$sockets" | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\),.*/pid \2 (\1)/p' | head -n 1)
    echo "${process:-a process that only root can see}"
}
blame_ports() {
    case $1 in
        *"port is already allocated"* | *"address already in use"*) ;;
        *) return ;;
    esac
    shift
    for triple in "$@"; do
        address=${triple%%:*} port=${triple#*:}
        transport=${port##*/} port=${port%%/*}
        if by=$(holder_of "$address" "$port" "$transport"); then
            fail "port $port on $address is taken by $by" "port $port/$transport on $address, free" "stop it, or pin another host_port in the playbook"
        fi
    done
}
"#;

/// The ports as words of shell.
pub(super) fn ports_of(publish: &[Publish]) -> String {
    let word = |port: &Publish| quote(&format!("{}:{}/{}", port.address, port.host_port, port.transport));
    publish.iter().map(word).collect::<Vec<_>>().join(" ")
}
