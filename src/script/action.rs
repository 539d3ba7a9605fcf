//! An action as the body of a script. Deliberately absent: actions that are not a script (the lease, health probes, confirming facts, a pause).
use super::ScriptContext;
use super::quote::quote;
use super::{docker, hook, layout, nginx, revert};
use crate::model::{Action, GenerationId, Millis, MissingSecret, Secrets};
use std::collections::BTreeMap;

/// A door listens within this time, or something is wrong with it.
const DOOR_DEADLINE: Millis = Millis::seconds(15);

/// Why an action has no body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The action is done by other means than a script.
    #[error("this action is not a script")]
    NotAScript,
    /// A secret is not known.
    #[error(transparent)]
    Secret(#[from] MissingSecret),
}

/// The body of an action: POSIX sh that prints `seen: …` and exits 0, or `error: …`, `wanted: …`, `hint: …` and exits otherwise.
///
/// # Errors
/// [`BodyError`].
pub fn body(context: &ScriptContext, action: &Action, secrets: &Secrets) -> Result<String, BodyError> {
    let text = match action {
        Action::Lock
        | Action::ConfirmFacts { .. }
        | Action::AwaitHealthy { .. }
        | Action::StayHealthy { .. }
        | Action::JudgeCanary(_)
        | Action::Pause { .. } => {
            return Err(BodyError::NotAScript);
        }
        Action::PutFile { path, mode, content } => docker::put_file(path, *mode, content),
        Action::PutSecrets { folder, names, owner, image } => docker::put_secrets(context, folder, names, *owner, image, secrets)?,
        Action::RemoveSecrets { folder } => docker::remove_secrets(context, folder),
        Action::EnsureNetwork(spec) => docker::ensure_network(context, spec),
        Action::RemoveNetwork { name } => docker::remove_network(context, name),
        Action::ConnectNetwork { network, container, aliases } => docker::connect_network(context, network, container, aliases),
        Action::PullImage { image } => docker::pull_image(context, image),
        Action::RunContainer(spec) => docker::run_container(context, spec),
        Action::SetAside { name, to, release, stop_timeout } => docker::set_aside(context, name, to, release.as_deref(), *stop_timeout),
        Action::RenameContainer { from, to } => docker::rename_container(context, from, to),
        Action::StartContainer { name } => docker::start_container(context, name),
        Action::StopContainer { name, timeout } => docker::stop_container(context, name, *timeout),
        Action::StopAdopted { container, timeout } => docker::stop_adopted(context, container, *timeout),
        Action::StartAdopted { container } => docker::start_adopted(context, container),
        Action::RemoveContainer { name, timeout } => docker::remove_container(context, name, *timeout),
        Action::BootNginx { generation, files } => boot_nginx(context, generation, files),
        Action::ReloadDoor { container } => nginx::door_reload(context, container, DOOR_DEADLINE),
        Action::AwaitDoor { container, .. } => nginx::door_ready(context, container, DOOR_DEADLINE),
        Action::StageNginx { generation, base, files, remove, listeners } => {
            nginx::stage_nginx(context, generation, base.as_ref(), files, remove, listeners)
        }
        Action::RestoreGeneration { generation } => nginx::restore_generation(context, generation),
        Action::DropGeneration { generation } => nginx::drop_generation(context, generation),
        Action::Switch { expect, to } => nginx::switch(context, expect.as_ref(), to),
        Action::SwitchBack { from, to } => switch_back(context, from, to),
        Action::ArmRevert { back, to, grace } => revert::arm(context, back, to, *grace),
        Action::ConfirmSwitch { to } => revert::confirm(context, to),
        Action::DisarmRevert => revert::disarm(context),
        Action::CheckRoute(check) => nginx::check_route(context, check),
        Action::Drain { backends, policy } => nginx::drain(context, backends, policy),
        Action::Hook(run) => hook::hook(context, run, DOOR_DEADLINE).ok_or(BodyError::NotAScript)?,
        Action::PruneGenerations { keep, stems } => nginx::prune_generations(context, *keep, stems),
    };
    Ok(text)
}

/// The folders and the first generation of a server that has none. The folder of sockets is open to all: a door's workers are nobody.
fn boot_nginx(context: &ScriptContext, generation: &GenerationId, files: &BTreeMap<String, String>) -> String {
    let root = &context.remote_root;
    let release = layout::release_folder(root, &generation.0);
    let current = format!("{}/current", layout::nginx_folder(root));
    let mut text = format!(
        "current={}\nif [ -L \"$current\" ]; then echo \"seen: $(readlink \"$current\") is there already\"; exit 0; fi\numask 022\n",
        quote(&current)
    );
    let folders = [format!("{release}/http.d"), format!("{release}/stream.d"), layout::run_folder(root), layout::doors_folder(root)];
    for folder in folders {
        let folder = quote(&folder);
        text.push_str(&format!("message=$(mkdir -p {folder} 2>&1) || {{ echo \"error: $message\"; echo \"hint: make {root} writable for $(id -un)\"; exit 1; }}\n"));
    }
    for (path, content) in files {
        text.push_str(&format!("printf '%s' {} > {} || exit 1\n", quote(content), quote(&format!("{release}/{path}"))));
    }
    text.push_str(&format!("ln -s {} \"$current\" || exit 1\necho 'seen: written'\n", quote(&format!("releases/{generation}"))));
    text
}

/// Undo of a switch: only what this run made live is taken back.
fn switch_back(context: &ScriptContext, from: &GenerationId, to: &GenerationId) -> String {
    let current = quote(&format!("{}/current", layout::nginx_folder(&context.remote_root)));
    format!(
        "live=$(readlink {current})\nlive=${{live##*/}}\n\
         if [ \"$live\" != {from} ] && [ \"$live\" != {to} ]; then echo \"seen: generation $live is live: nothing to put back\"; exit 0; fi\n{}",
        nginx::switch(context, Some(from), to),
        from = quote(&from.0),
        to = quote(&to.0),
    )
}
