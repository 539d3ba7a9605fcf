//! An action in words: its name in files, and what it does as an infinitive phrase. Deliberately absent: commands, which `docker/` knows.
use crate::model::{Action, Probe};
use crate::plan::proving::at_app_port;

/// The name that plans and events carry: the same as in the plan's JSON.
#[must_use]
pub fn action_name(action: &Action) -> &'static str {
    match action {
        Action::Lock => "lock",
        Action::ConfirmFacts { .. } => "confirm_facts",
        Action::PutFile { .. } => "put_file",
        Action::PutSecrets { .. } => "put_secrets",
        Action::RemoveSecrets { .. } => "remove_secrets",
        Action::EnsureNetwork(_) => "ensure_network",
        Action::RemoveNetwork { .. } => "remove_network",
        Action::ConnectNetwork { .. } => "connect_network",
        Action::PullImage { .. } => "pull_image",
        Action::RunContainer(_) => "run_container",
        Action::SetAside { .. } => "set_aside",
        Action::RenameContainer { .. } => "rename_container",
        Action::StartContainer { .. } => "start_container",
        Action::StopContainer { .. } => "stop_container",
        Action::StopAdopted { .. } => "stop_adopted",
        Action::StartAdopted { .. } => "start_adopted",
        Action::RemoveContainer { .. } => "remove_container",
        Action::AwaitHealthy { .. } => "await_healthy",
        Action::JudgeCanary(_) => "judge_canary",
        Action::StayHealthy { .. } => "stay_healthy",
        Action::BootNginx { .. } => "boot_nginx",
        Action::ReloadDoor { .. } => "reload_door",
        Action::AwaitDoor { .. } => "await_door",
        Action::StageNginx { .. } => "stage_nginx",
        Action::RestoreGeneration { .. } => "restore_generation",
        Action::DropGeneration { .. } => "drop_generation",
        Action::Switch { .. } => "switch",
        Action::SwitchBack { .. } => "switch_back",
        Action::ArmRevert { .. } => "arm_revert",
        Action::ConfirmSwitch { .. } => "confirm_switch",
        Action::DisarmRevert => "disarm_revert",
        Action::CheckRoute(_) => "check_route",
        Action::Drain { .. } => "drain",
        Action::Pause { .. } => "pause",
        Action::Hook(_) => "hook",
        Action::PruneGenerations { .. } => "prune_generations",
    }
}

/// What the action does, as an infinitive phrase: `stop shop_prod_api`. Used for undos, which have no title of their own.
#[must_use]
pub fn describe(action: &Action) -> String {
    match action {
        Action::Lock => "lock the server".to_owned(),
        Action::ConfirmFacts { .. } => "confirm that nothing changed since the plan".to_owned(),
        Action::PutFile { path, .. } => format!("write {path}"),
        Action::PutSecrets { folder, names, .. } => format!("write {} to {folder}", super::prose::count(names.len(), "secret")),
        Action::RemoveSecrets { folder } => format!("remove {folder}, if nothing uses it"),
        Action::EnsureNetwork(network) => format!("make network {}", network.name),
        Action::RemoveNetwork { name } => format!("remove network {name}, if nothing uses it"),
        Action::ConnectNetwork { network, container, .. } => format!("attach {container} to {network}"),
        Action::PullImage { image } => format!("pull {image}"),
        Action::RunContainer(spec) => format!("start {}", spec.name),
        Action::SetAside { name, to, .. } => format!("set aside {name} as {to}"),
        Action::RenameContainer { from, to } => format!("rename {from} to {to}"),
        Action::StartContainer { name } => format!("start {name} again"),
        Action::StopContainer { name, .. } => format!("stop {name}"),
        Action::StopAdopted { container, .. } => format!("stop {}, which is taken over", container.name),
        Action::StartAdopted { container } => format!("start {} again, as it was", container.name),
        Action::RemoveContainer { name, .. } => format!("remove {name}"),
        Action::AwaitHealthy { container, probe, .. } => format!("wait for {container}{}", at(probe)),
        Action::JudgeCanary(check) => {
            let through = match check.logs.len() {
                0 | 1 => String::new(),
                n_servers => format!(" through {n_servers} servers"),
            };
            format!("count the requests to the canary of {}{through} for {}", check.service, check.time)
        }
        Action::StayHealthy { container, probe, policy } => format!("watch {container} for {}{}", policy.time, at(probe)),
        Action::BootNginx { generation, .. } => format!("boot NGINX with generation {generation}"),
        Action::ReloadDoor { container } => format!("reload {container}"),
        Action::AwaitDoor { container, .. } => format!("wait for {container}"),
        Action::StageNginx { generation, .. } => format!("stage NGINX generation {generation}"),
        Action::RestoreGeneration { generation } => format!("restore NGINX generation {generation}"),
        Action::DropGeneration { generation } => format!("remove NGINX generation {generation}"),
        Action::Switch { to, .. } => format!("switch NGINX to generation {to}"),
        Action::SwitchBack { to, .. } => format!("put back NGINX generation {to}"),
        Action::ArmRevert { back, .. } => format!("arm the revert to generation {back}"),
        Action::ConfirmSwitch { to } => format!("confirm generation {to}"),
        Action::DisarmRevert => "disarm the revert".to_owned(),
        Action::CheckRoute(check) => format!("check the route to {}", check.service),
        Action::Drain { backends, .. } => {
            format!("drain {}", super::prose::count(backends.len(), "backend"))
        }
        Action::Pause { time } => format!("pause for {time}"),
        Action::Hook(hook) => format!("run {}", hook.point.as_str()),
        Action::PruneGenerations { keep, .. } => format!("prune NGINX generations to the newest {keep}"),
    }
}

/// Where it is asked, where that is not the service's own port.
fn at(probe: &Probe) -> String {
    at_app_port(probe).map_or_else(String::new, |port| format!(" at {port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GenerationId;

    #[test]
    fn a_name_is_the_one_that_the_plan_carries() {
        let generation = GenerationId("aa".to_owned());
        for action in [
            Action::Lock,
            Action::RemoveNetwork { name: "n".to_owned() },
            Action::StartContainer { name: "a".to_owned() },
            Action::SwitchBack { from: generation.clone(), to: generation.clone() },
            Action::ConfirmSwitch { to: generation.clone() },
            Action::DisarmRevert,
            Action::Pause { time: crate::model::Millis::seconds(10) },
            Action::DropGeneration { generation },
            Action::PruneGenerations { keep: 5, stems: "shop_prod_".to_owned() },
        ] {
            let json = serde_json::to_value(&action).unwrap();
            assert_eq!(json["action"], action_name(&action));
        }
    }
}
