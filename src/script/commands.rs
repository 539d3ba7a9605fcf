//! An action as the commands that a person would type: for `plan --commands`, and for what has to be put back by hand.
//! Deliberately absent: the checks around them that the real bodies have.
use super::quote::{line, quote};
use super::{ScriptContext, layout};
use crate::docker;
use crate::model::{Action, HookPlace, ProbeKind};

/// The commands, one a line. Files are named with their size. No secret is in them.
#[must_use]
pub fn commands(context: &ScriptContext, action: &Action) -> Vec<String> {
    let docker = context.docker.as_str();
    let nginx = layout::nginx_folder(&context.remote_root);
    let link = |generation: &str| {
        vec![
            format!("ln -sfn {} {}", quote(&format!("releases/{generation}")), quote(&format!("{nginx}/current"))),
            format!("{docker} exec {} nginx -s reload -c {}/nginx/current/nginx.conf", layout::NGINX_CONTAINER, layout::MOUNT),
        ]
    };
    match action {
        Action::Lock => vec![format!("flock -n {}", quote(&format!("{}/lock/lease", layout::folder(&context.remote_root))))],
        Action::ConfirmFacts { .. } | Action::Pause { .. } => Vec::new(),
        Action::PutFile { path, mode, .. } => vec![format!("write {} (mode {mode:o})", quote(path))],
        Action::PutSecrets { folder, names, .. } => {
            names.iter().map(|name| format!("write {} (mode 400)", quote(&format!("{folder}/{name}")))).collect()
        }
        Action::RemoveSecrets { folder } => vec![format!("rm -r {}", quote(folder))],
        Action::EnsureNetwork(spec) => vec![line(&docker::create_network(docker, spec))],
        Action::RemoveNetwork { name } => vec![line(&docker::remove_network(docker, name))],
        Action::ConnectNetwork { network, container, aliases } => vec![line(&docker::connect_network(docker, network, container, aliases))],
        Action::PullImage { image } => vec![line(&docker::pull(docker, image))],
        Action::RunContainer(spec) => vec![line(&docker::run(docker, spec))],
        Action::SetAside { name, to, release: _, stop_timeout } => {
            vec![line(&docker::stop(docker, name, *stop_timeout)), line(&docker::rename(docker, name, to))]
        }
        Action::RenameContainer { from, to } => vec![line(&docker::rename(docker, from, to))],
        Action::StartContainer { name } => vec![line(&docker::start(docker, name))],
        Action::StopContainer { name, timeout } => vec![line(&docker::stop(docker, name, *timeout))],
        Action::StopAdopted { container, timeout } => {
            vec![line(&docker::update_restart(docker, &container.name, "no")), line(&docker::stop(docker, &container.name, *timeout))]
        }
        Action::StartAdopted { container } => {
            vec![line(&docker::start(docker, &container.name)), line(&docker::update_restart(docker, &container.name, &container.restart))]
        }
        Action::RemoveContainer { name, .. } => vec![line(&docker::remove(docker, name))],
        Action::AwaitHealthy { probe, .. } | Action::StayHealthy { probe, .. } => vec![match &probe.kind {
            ProbeKind::Http { path, .. } => format!("through an SSH tunnel: GET http://{}:{}{path}", probe.address, probe.port),
            ProbeKind::Tcp | ProbeKind::AppPort => format!("through an SSH tunnel: connect to {}:{}", probe.address, probe.port),
            ProbeKind::Command(command) => format!("in the container: {command}"),
            ProbeKind::Running => format!("{docker} inspect"),
        }],
        Action::JudgeCanary(check) => {
            check.logs.iter().map(|(server, log)| format!("on {server}: count the lines of {}", quote(log))).collect()
        }
        Action::BootNginx { generation, files } => {
            files.iter().map(|(path, text)| format!("write {nginx}/releases/{generation}/{path} ({} bytes)", text.len())).collect()
        }
        Action::ReloadDoor { container } => vec![format!("{docker} exec {} kill -HUP 1", quote(container))],
        Action::AwaitDoor { .. } => Vec::new(),
        Action::StageNginx { generation, files, remove, .. } => {
            let folder = format!("{nginx}/releases/{generation}");
            let written = files.iter().map(|(path, text)| format!("write {folder}/{path} ({} bytes)", text.len()));
            let removed = remove.iter().map(|path| format!("leave out {path}"));
            let test =
                format!("{docker} exec {} nginx -t -c {}/nginx/releases/{generation}/nginx.conf", layout::NGINX_CONTAINER, layout::MOUNT);
            written.chain(removed).chain([test]).collect()
        }
        Action::RestoreGeneration { generation } => {
            vec![format!("ln -sfn {} {}", quote(&format!("releases/{generation}")), quote(&format!("{nginx}/current")))]
        }
        Action::DropGeneration { generation } => vec![format!("rm -r {}", quote(&format!("{nginx}/releases/{generation}")))],
        Action::Switch { to, .. } | Action::SwitchBack { to, .. } => link(&to.0),
        Action::ArmRevert { back, grace, .. } => {
            vec![format!("leave a shell behind that makes generation {back} live again, {grace} after the lock is free")]
        }
        Action::ConfirmSwitch { .. } | Action::DisarmRevert => {
            vec![format!("rm -f {}", quote(&format!("{}/armed", layout::revert_folder(&context.remote_root))))]
        }
        Action::CheckRoute(check) => vec![format!("ask {}", quote(&check.socket))],
        Action::Drain { backends, policy } => {
            let sockets: Vec<String> =
                backends.iter().map(|backend| backend.socket()).map(|(address, port)| format!("{address}:{port}")).collect();
            vec![format!("wait, {} at most, until NGINX has no connection to {}", policy.timeout, sockets.join(", "))]
        }
        Action::Hook(hook) => match &hook.place {
            HookPlace::Workstation => vec![format!("on the workstation: {}", line(&docker::Command(hook.command.clone())))],
            HookPlace::Server => vec![line(&docker::Command(hook.command.clone()))],
            HookPlace::Container { app, door } => {
                let door = door.iter().map(|door| line(&docker::run(docker, door)));
                door.chain([line(&docker::run_once(docker, app))]).collect()
            }
        },
        Action::PruneGenerations { keep, .. } => vec![format!("keep the {keep} newest folders in {nginx}/releases")],
    }
}
