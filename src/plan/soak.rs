//! The watch after a switch: every new container must stay healthy for a time, while the old side still runs and everything can be undone.
//! Deliberately absent: the watching itself.
use super::proving::at_app_port;
use super::steps::plain;
use super::target::Desired;
use super::types::{Change, Step, Wave, WaveKind};
use crate::config::Rollout;
use crate::model::{Action, Millis, ServerName, StayPolicy};
use std::collections::BTreeMap;

/// A wave that watches what the waves so far have started of these services, for `min_healthy_time`.
pub(super) fn soak(waves: &[Wave], moved: &[&Desired<'_>], rollout: &Rollout, suffix: &str) -> Option<Wave> {
    let servers = watch_for(rollout.min_healthy_time, waves, moved);
    (!servers.is_empty()).then(|| Wave { name: format!("watch{suffix}"), kind: WaveKind::Work, servers })
}

/// What the waves so far have started of these services is watched for a time. What was there before, and what a rollback starts again, has
/// proven itself.
pub(super) fn watch_for(time: Millis, waves: &[Wave], moved: &[&Desired<'_>]) -> BTreeMap<ServerName, Vec<Step>> {
    let mut servers: BTreeMap<ServerName, Vec<Step>> = BTreeMap::new();
    if time.0 == 0 {
        return servers;
    }
    let is_new = |step: &&Step| {
        let mut new = moved.iter().filter(|desired| matches!(desired.change, Change::Create | Change::Toggle));
        step.service.as_ref().is_some_and(|service| new.any(|desired| desired.name == service))
    };
    for (server, steps) in waves.iter().flat_map(|wave| &wave.servers) {
        let watched: Vec<Step> = steps.iter().filter(is_new).filter_map(|step| watch(step, time)).collect();
        if !watched.is_empty() {
            servers.entry(server.clone()).or_default().extend(watched);
        }
    }
    servers
}

/// The container that a step waited for is asked the same for longer.
fn watch(step: &Step, time: Millis) -> Option<Step> {
    let Action::AwaitHealthy { container, probe, policy } = &step.action else { return None };
    let policy =
        StayPolicy { time, start_period: policy.start_period, interval: policy.interval, timeout: policy.timeout, retries: policy.retries };
    let at = at_app_port(probe).map_or_else(String::new, |port| format!(" at {port}"));
    let title = format!("watch {container} for {time}{at}");
    let watch = plain(title, Action::StayHealthy { container: container.clone(), probe: probe.clone(), policy });
    Some(match &step.service {
        Some(service) => watch.of(service),
        None => watch,
    })
}

/// A step of such a wave.
pub(super) fn is_watch(action: &Action) -> bool {
    matches!(action, Action::StayHealthy { .. })
}
