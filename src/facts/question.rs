//! The question: one POSIX sh script for one round trip. Deliberately absent: sending it, and anything that changes the server.
use crate::docker::Command;
use crate::script::quote::quote;

/// The script, with `@NAMES@` for what differs between servers. Its answer is framed as [`super::frames`] describes.
const SCRIPT: &str = include_str!("question.sh");

/// What is asked of every container, as a Go template. No environment: it may hold what is nobody's business.
const CONTAINER: &str = concat!(
    r#"{"id":{{json .Id}},"name":{{json .Name}},"image":{{json .Config.Image}},"image_id":{{json .Image}},"#,
    r#""status":{{json .State.Status}},"exit_code":{{json .State.ExitCode}},"oom_killed":{{json .State.OOMKilled}},"#,
    r#""restarts":{{json .RestartCount}},"labels":{{json .Config.Labels}},"networks":{{json .NetworkSettings.Networks}},"#,
    r#""mode":{{json .HostConfig.NetworkMode}},"bindings":{{json .HostConfig.PortBindings}},"ports":{{json .NetworkSettings.Ports}}}"#
);

/// Asks the unix socket `$1` for `/` with what there is, or, inside NGINX's namespace, its loopback port `$2`. 127: nothing can ask.
const ASK: &str = r#"if command -v curl >/dev/null; then
    curl -q -s -f -m 3 --noproxy '*' --unix-socket "$1" http://localhost/
elif command -v perl >/dev/null; then
    perl -MIO::Socket::UNIX -e '
        alarm 3;
        my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or exit 1;
        print $s "GET / HTTP/1.0\r\n\r\n";
        local $/;
        my ($head, $body) = split /\r\n\r\n/, <$s>, 2;
        exit 1 unless $head =~ m{^HTTP/1.. 200 };
        print $body;' "$1"
elif [ -z "$2" ]; then
    exit 127
elif command -v bash >/dev/null; then
    bash -c '
        exec 3<>"/dev/tcp/127.0.0.1/$0" || exit 1
        printf "GET / HTTP/1.0\r\n\r\n" >&3
        while IFS= read -r -t 3 line <&3 && [ "$line" != $'"'\\r'"' ]; do :; done
        IFS= read -r -t 3 line <&3
        printf "%s\n" "$line"' "$2"
else
    wget -q -T 3 -O - "http://127.0.0.1:$2/"
fi"#;

/// The script that asks a server for everything that [`super::Facts`] holds. It runs in dash, bash and busybox ash, reads
/// nothing from its standard input and writes nothing to the disk. `docker` is split on blanks (`sudo docker`).
#[must_use]
pub fn question(docker: &str, remote_root: &str) -> String {
    let engine = Command::new(docker).0.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
    SCRIPT
        .replace("@CONTAINER@", &quote(CONTAINER))
        .replace("@ASK@", &quote(ASK))
        .replace("@ENGINE@", &engine)
        .replace("@DOCKER@", &quote(docker))
        .replace("@ROOT@", &quote(remote_root.trim_end_matches('/')))
}
