//! The question: one POSIX sh script for one round trip. Deliberately absent: sending it, and anything that changes the server.
use crate::docker::Command;
use crate::script::docker::PROOF;
use crate::script::quote::quote;

/// The script, with `@NAMES@` for what differs between servers. Its answer is framed as [`super::frames`] describes.
const SCRIPT: &str = include_str!("question.sh");

/// What is asked of every container, as a Go template. Of its environment the names alone: a value may be nobody's business.
const CONTAINER: &str = concat!(
    r#"{"id":{{json .Id}},"name":{{json .Name}},"image":{{json .Config.Image}},"image_id":{{json .Image}},"#,
    r#""status":{{json .State.Status}},"pid":{{json .State.Pid}},"exit_code":{{json .State.ExitCode}},"oom_killed":{{json .State.OOMKilled}},"#,
    r#""restarts":{{json .RestartCount}},"labels":{{json .Config.Labels}},"networks":{{json .NetworkSettings.Networks}},"#,
    r#""mode":{{json .HostConfig.NetworkMode}},"bindings":{{json .HostConfig.PortBindings}},"ports":{{json .NetworkSettings.Ports}},"#,
    r#""restart":{{json .HostConfig.RestartPolicy.Name}},"memory":{{json .HostConfig.Memory}},"mounts":{{json .Mounts}},"#,
    r#""restart_limit":{{json .HostConfig.RestartPolicy.MaximumRetryCount}},"auto_remove":{{json .HostConfig.AutoRemove}},"#,
    r#""variables":[{{range $i, $v := .Config.Env}}{{if $i}},{{end}}{{json (index (split $v "=") 0)}}{{end}}]}"#
);

/// Prints the listening unix sockets that are named after a generation, by what every image with `sh` has.
const BOUND: &str = r#"while read -r slot references protocol flags type state inode path; do
    case $flags,$path in 00010000,*/generation-*.sock) echo "$path" ;; esac
done </proc/net/unix"#;

/// The script that asks a server for everything that [`super::Facts`] holds. It runs in dash, bash and busybox ash, reads
/// nothing from its standard input and writes nothing to the disk. `docker` is split on blanks (`sudo docker`).
#[must_use]
pub fn question(docker: &str, remote_root: &str) -> String {
    asking(docker, remote_root, "true")
}

/// The same script, which asks for no more than [`super::read_digest`] reads: half the work for the server.
#[must_use]
pub fn question_again(docker: &str, remote_root: &str) -> String {
    asking(docker, remote_root, "false")
}

/// `more` is the command that says whether all is asked for.
fn asking(docker: &str, remote_root: &str, more: &str) -> String {
    let engine = Command::new(docker).0.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
    SCRIPT
        .replace("@MORE@", more)
        .replace("@CONTAINER@", &quote(CONTAINER))
        .replace("@BOUND@", &quote(BOUND))
        .replace("@ENGINE@", &engine)
        .replace("@DOCKER@", &quote(docker))
        .replace("@PROOF@", PROOF)
        .replace("@ROOT@", &quote(remote_root.trim_end_matches('/')))
}
