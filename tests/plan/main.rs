//! What `plan` makes of whole situations. Each folder of `plan_cases` holds what happened before and what is asked; `expected.txt` is the
//! printed plan. `UPDATE=1 cargo test --release --test plan` writes the expectations anew; read the difference as an operator would.
//!
//! Every plan that may be run is then run on servers in memory: to its end, with every step failing, and cut off after every step.
#![expect(clippy::unwrap_used, unreachable_pub, reason = "a case that cannot be read is a broken test; its parts are written like rooms")]
mod adopted;
mod asked_anew;
mod baseline;
mod beside;
mod by_hand;
mod cases;
mod driver;
mod engine;
mod generations;
#[path = "../golden/mod.rs"]
mod golden;
mod invariants;
mod left_behind;
mod overtaken;
mod revert;
mod sweep;

use baseline::{Baseline, goes_back_alone};
use cases::{Case, case, cases, plan, proposals};
use driver::{Effect, Servers, Trouble, drive};
use flipside::facts::{ContainerState, digest};
use flipside::model::{Action, BackendMode, ContainerSpec, EnvName, ProjectName, StepId, Verdict, label};
use flipside::plan::{Finding, Intent, Paint, Plan, UndoKind, View, WaveKind, is_fatal, present, show};
use flipside::remote::fake::FakeServer;
use flipside::script::layout::HOST_DOOR;
use invariants::snapshot;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

#[test]
fn every_case_is_planned_as_written_down() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut differing = Vec::new();
    let cases = cases();
    for case in &cases {
        let (plan, findings) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
        let (again, _) = self::plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
        assert_eq!(
            serde_json::to_string(&plan).unwrap(),
            serde_json::to_string(&again).unwrap(),
            "{}: equal inputs, equal bytes",
            case.name
        );
        let mut texts = vec![("expected.txt", masked(case, &plan, &text(&plan, &findings)))];
        if case.json {
            let mut json = serde_json::to_string_pretty(&plan).unwrap();
            json.push('\n');
            let back: Plan = serde_json::from_str(&json).unwrap();
            assert_eq!(back, plan, "{}: the plan's file is the plan", case.name);
            texts.push(("plan.json", masked(case, &plan, &json)));
        }
        if case.status {
            texts.push(("status.txt", masked(case, &plan, &status_text(case))));
        }
        if case.adopt {
            let json = serde_json::to_string_pretty(&proposals(case)).unwrap();
            texts.push(("adopt.json", json + "\n"));
        }
        for (name, seen) in texts {
            let file = case.path.join(name);
            if update {
                fs::write(&file, &seen).unwrap();
            } else if fs::read_to_string(&file).unwrap_or_default() != seen {
                differing.push(format!("== {}/{name}\n{seen}", case.name));
            }
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert!(cases.len() >= 30 || std::env::var_os("CASE").is_some(), "only {} cases", cases.len());
}

fn text(plan: &Plan, findings: &[Finding]) -> String {
    show(plan, &View { paint: Paint::Plain, findings, undo: true, commands: None, nginx: &BTreeMap::new() })
}

/// What `status` says: a word a service, its troubles, and what hands have changed.
fn status_text(case: &Case) -> String {
    let fleet = case.servers.iter().map(|(name, server)| (name.clone(), server.facts())).collect();
    let (services, findings) = flipside::plan::status(&case.playbook, &case.inventory, &fleet, &BTreeSet::new());
    let mut lines = Vec::new();
    for (name, status) in &services {
        lines.push(format!("{name} {} {}/{}", status.state.as_str(), status.n_running, status.n_wanted));
        lines.extend((!status.warm.is_empty()).then(|| format!("{name}: {} waits", status.waiting())));
        lines.extend(status.troubles.iter().map(|trouble| format!("{name}: {trouble}")));
    }
    lines.extend(findings.iter().flat_map(flipside::plan::prose::finding));
    lines.join("\n") + "\n"
}

/// The ids of generations, in the plan's order, and then in that of the servers' past.
fn generations(case: &Case, plan: &Plan) -> Vec<String> {
    let mut ids = Vec::new();
    let mut note = |id: &String| {
        if id.len() == 16 && !ids.contains(id) {
            ids.push(id.clone());
        }
    };
    for id in plan.step_ids() {
        if let Action::StageNginx { generation, base, .. } = &plan.step(&id).unwrap().action {
            base.iter().for_each(|base| note(&base.0));
            note(&generation.0);
        }
    }
    for server in case.servers.values() {
        let nginx = &server.base.nginx;
        server.releases.iter().map(|(id, _)| id).chain(&nginx.recorded).chain(&nginx.live).for_each(|id| note(&id.0));
    }
    ids
}

/// Generation ids and digests of templates change with every word of a template: here they are `G1`, `G2` and so on.
fn masked(case: &Case, plan: &Plan, text: &str) -> String {
    let mut text = text.replace(&plan.basis.templates, "TEMPLATES");
    for (number, id) in generations(case, plan).iter().enumerate() {
        text = text.replace(id, &format!("G{}", number + 1));
    }
    text
}

/// Runs a plan and expects a verdict; nothing that NGINX routes may be dead on the way.
fn run(case: &Case, plan: &Plan, servers: &mut Servers, trouble: &Trouble, what: &str, problems: &mut Vec<String>) -> Option<Verdict> {
    let base = Baseline::new(case, servers);
    let mut faults = Vec::new();
    let ended = drive(plan, servers, trouble, &mut |step, servers| {
        faults.extend(base.broken(case, servers).into_iter().map(|broken| format!("after {step}: {broken}")));
    });
    if !faults.is_empty() {
        problems.push(format!("{} {what}: {}", case.name, faults[..faults.len().min(3)].join("; ")));
    }
    if ended.verdict == Some(Verdict::PutBack) && !ended.ledger.undo_failures.is_empty() {
        problems.push(format!("{} {what}: undos failed: {:?}", case.name, ended.ledger.undo_failures));
    }
    ended.verdict
}

fn runnable() -> impl Iterator<Item = (Case, Plan)> {
    cases().into_iter().filter_map(|case| {
        let (plan, findings) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
        (!is_fatal(&findings) && !plan.waves.is_empty()).then_some((case, plan))
    })
}

/// Deploys until nothing is left to do, at most `limit` times.
fn settles(case: &Case, servers: &mut Servers, limit: usize, what: &str, problems: &mut Vec<String>) {
    let ask = if case.ask.intent == "remove" { case.ask.again() } else { case.ask.whole() };
    for round in 0..=limit {
        let (plan, findings) = plan(&case.playbook, &case.inventory, servers, &ask);
        if is_fatal(&findings) {
            problems.push(format!("{} {what}, round {round}: refused: {findings:?}", case.name));
            return;
        }
        if plan.waves.is_empty() {
            return;
        }
        if round == limit {
            let titles: Vec<_> = plan.step_ids().map(|id| format!("{id} {}", plan.step(&id).unwrap().title)).collect();
            problems.push(format!("{} {what}: still something to do: {}", case.name, titles.join("; ")));
            return;
        }
        let verdict = run(case, &plan, servers, &Trouble::default(), &format!("{what}, round {round}"), problems);
        if verdict != Some(Verdict::Done) {
            problems.push(format!("{} {what}, round {round}: {verdict:?}", case.name));
            return;
        }
    }
}

fn report(problems: &[String]) {
    let shown: Vec<&str> = problems.iter().take(40).map(String::as_str).collect();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), shown.join("\n"));
}

#[test]
fn every_plan_runs_to_its_end_and_leaves_nothing_to_do() {
    let mut problems = Vec::new();
    for (case, plan) in runnable() {
        let mut servers = case.servers.clone();
        if !plan.left_out.is_empty() && 2 * plan.servers().len() <= case.inventory.servers.len() {
            problems.push(format!("{}: a run that leaves out other servers may work beside it", case.name));
        }
        let before = live_containers(&case, &servers);
        spares_the_live_side(&case, &plan, &before, &mut problems);
        let verdict = run(&case, &plan, &mut servers, &Trouble::default(), "whole", &mut problems);
        if verdict != Some(Verdict::Done) {
            let ended = drive(&plan, &mut case.servers.clone(), &Trouble::default(), &mut |_, _| {});
            problems.push(format!("{}: {verdict:?}\n{}", case.name, ended.log.join("\n")));
        }
        let halved = plan.services.values().any(|service| service.reason.starts_with("half switched"));
        if plan.intent != Intent::Rollback && !halved {
            let (next, _) = self::plan(&case.playbook, &case.inventory, &servers, &case.ask.again());
            for id in next.step_ids() {
                problems.push(format!("{}: still to do: {id} {}", case.name, next.step(&id).unwrap().title));
            }
        }
    }
    report(&problems);
}

/// The containers of every live side, by server and name, of services that overlap.
fn live_containers(case: &Case, servers: &Servers) -> BTreeSet<(String, String)> {
    let playbook = &case.playbook;
    let fleet = servers.iter().map(|(name, server)| (name.clone(), server.facts())).collect();
    let present = present(&playbook.project, &playbook.env, &fleet);
    let mut live = BTreeSet::new();
    for (name, service) in &present.services {
        let hands_over = playbook.services.get(name).is_some_and(|settings| settings.hands_over() || goes_back_alone(case, servers, name));
        for side in service.live().into_iter().filter(|_| !hands_over && !service.routes.is_empty()) {
            let containers = service.side(side).flat_map(|unit| [unit.app, unit.door].into_iter().flatten().map(move |c| (unit, c)));
            live.extend(containers.map(|(unit, container)| (unit.server.to_string(), container.name.clone())));
        }
    }
    live
}

/// No step before the drain touches a container of the live side.
fn spares_the_live_side(case: &Case, plan: &Plan, live: &BTreeSet<(String, String)>, problems: &mut Vec<String>) {
    let is_over = |wave: &flipside::plan::Wave| wave.name == "drain" || wave.name.starts_with("take away ");
    let n_before = plan.waves.iter().position(is_over).unwrap_or(plan.waves.len());
    for id in plan.step_ids().filter(|id| id.wave < n_before && plan.intent != Intent::Remove) {
        let step = plan.step(&id).unwrap();
        let touched = match &step.action {
            Action::SetAside { name, .. } | Action::StopContainer { name, .. } | Action::RemoveContainer { name, .. } => vec![name],
            Action::RenameContainer { from, to } => vec![from, to],
            _ => Vec::new(),
        };
        if touched.into_iter().any(|name| live.contains(&(id.server.to_string(), name.clone()))) {
            problems.push(format!("{}: {id} {} touches the live side", case.name, step.title));
        }
    }
}

#[test]
fn whatever_step_fails_before_its_effect_the_fleet_is_put_back_and_the_next_deploy_works() {
    whatever_fails(Effect::None);
}

#[test]
fn whatever_step_fails_after_its_effect_the_fleet_is_put_back_and_the_next_deploy_works() {
    whatever_fails(Effect::Whole);
}

fn whatever_fails(effect: Effect) {
    let mut problems = Vec::new();
    // What is held is swept by itself.
    for (case, plan) in runnable().filter(|(_, plan)| plan.on_failure.is_rollback()) {
        let before = snapshot(&case.servers, &case.playbook);
        // Most failures of a wave leave the same fleet, from which the next deploy need not be seen again.
        let mut settled: Vec<Servers> = Vec::new();
        for id in plan.step_ids() {
            let step = plan.step(&id).unwrap();
            let what = format!("{id} ({}) fails, effect {effect:?}", step.title);
            let mut servers = case.servers.clone();
            let trouble = Trouble { fails: Some((id.clone(), effect)), cut_after: None };
            let verdict = run(&case, &plan, &mut servers, &trouble, &what, &mut problems);
            let work = plan.waves[id.wave].kind != WaveKind::Cleanup;
            let wanted = if work { Verdict::PutBack } else { Verdict::DoneWithLeftovers };
            if verdict != Some(wanted) {
                problems.push(format!("{} {what}: {verdict:?}", case.name));
                continue;
            }
            if work && snapshot(&servers, &case.playbook) != before {
                problems.push(format!("{} {what}: not as before\n  {before:?}\n  {:?}", case.name, snapshot(&servers, &case.playbook)));
            }
            if work {
                keeps_the_doors_text(&case, &servers, &what, &mut problems);
            }
            if effect == Effect::Whole {
                keeps_what_failed(&case, &plan, &id, &servers, &mut problems);
            }
            if !settled.contains(&servers) {
                settled.push(servers.clone());
                settles(&case, &mut servers, 2, &format!("after {what}"), &mut problems);
            }
        }
    }
    report(&problems);
}

/// The file that a host's door is started with, of all projects: where there was one, it is as it was.
fn keeps_the_doors_text(case: &Case, servers: &Servers, what: &str, problems: &mut Vec<String>) {
    for (name, before) in &case.servers {
        let text = |server: &FakeServer| server.base.nginx.doors.get(&format!("{HOST_DOOR}.conf")).cloned();
        if text(before).is_some() && text(before) != text(&servers[name]) {
            problems.push(format!("{} {what}: the door's text of {name} is not as before", case.name));
        }
    }
}

#[test]
fn a_port_that_is_passed_on_in_one_deploy_is_refused_and_would_have_been_put_back() {
    for name in ["internal_port_passed_on", "internal_ports_swapped", "base_port_passed_on"] {
        let (case, mut problems) = (case(name), Vec::new());
        let (plan, findings) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
        assert!(is_fatal(&findings), "{name}: {findings:#?}");
        let mut servers = case.servers.clone();
        let verdict = run(&case, &plan, &mut servers, &Trouble::default(), "is run all the same", &mut problems);
        assert_eq!(verdict, Some(Verdict::PutBack), "{name}");
        keeps_the_doors_text(&case, &servers, "is put back", &mut problems);
        report(&problems);
        // What the playbook says of ports by now is no matter of a rollback's.
        let mut back = case.ask.clone();
        "rollback".clone_into(&mut back.intent);
        assert!(!is_fatal(&self::plan(&case.playbook, &case.inventory, &case.servers, &back).1), "{name}");
    }
}

/// A container that was run and failed is kept as `.failed`, but for a service's name and NGINX, which run nothing of the user's.
fn keeps_what_failed(case: &Case, plan: &Plan, id: &StepId, servers: &Servers, problems: &mut Vec<String>) {
    let step = plan.step(id).unwrap();
    let is_mesh = |spec: &ContainerSpec| spec.labels.contains_key(label::MESH);
    if let (Action::RunContainer(spec), false) = (&step.action, step.undo.is_empty())
        && !is_mesh(spec)
    {
        let kept = flipside::model::failed_name(&spec.name);
        if servers.get(&id.server).unwrap().container(&kept).is_none() {
            problems.push(format!("{}: {kept} was not kept on {}", case.name, id.server));
        }
        if servers.get(&id.server).unwrap().running(&kept).is_some() {
            problems.push(format!("{}: {kept} still runs on {}", case.name, id.server));
        }
    }
}

#[test]
fn wherever_a_run_is_cut_off_a_new_deploy_settles_the_fleet() {
    let mut problems = Vec::new();
    for (case, plan) in runnable().filter(|(case, _)| !sweep::SWEPT.contains(&case.name.as_str())) {
        for n_steps in 0..plan.n_steps() {
            let mut servers = case.servers.clone();
            let trouble = Trouble { fails: None, cut_after: Some(n_steps) };
            let what = format!("cut off after {n_steps} of {}", plan.n_steps());
            run(&case, &plan, &mut servers, &trouble, &what, &mut problems);
            settles(&case, &mut servers, 3, &what, &mut problems);
        }
    }
    report(&problems);
}

#[test]
fn what_nginx_reaches_by_name_is_found_by_it_or_answers_for_longer_than_an_answer_of_the_resolver_is_kept() {
    let mut quickest = u64::MAX;
    let (mut n_found, mut n_waited) = (0, 0);
    for (case, plan) in runnable().filter(|(_, plan)| plan.mode == BackendMode::SingleServer) {
        for id in plan.step_ids() {
            let step = plan.step(&id).unwrap();
            let Action::AwaitHealthy { policy, container, .. } = &step.action else { continue };
            let asks = |action: &Action| matches!(action, Action::CheckRoute(check) if check.socket.ends_with(".waiting.sock"));
            let later = plan.step_ids().filter(|other| (other.wave, &other.server) == (id.wave, &id.server) && other.index > id.index);
            let is_found = later.map(|id| plan.step(&id).unwrap()).any(|other| other.service == step.service && asks(&other.action));
            let answers = policy.interval.0 * u64::from(policy.retries - 1);
            assert!(is_found || answers >= 2000, "{}: {container} is switched to after {answers} ms", case.name);
            (n_found, n_waited) = (n_found + usize::from(is_found), n_waited + usize::from(!is_found));
            assert!(policy.deadline.0 > answers, "{}: {container} has no time for its passes", case.name);
            quickest = quickest.min(policy.interval.0);
        }
    }
    assert!(n_found > 20 && n_waited > 20 || std::env::var_os("CASE").is_some(), "{n_found} are asked for, {n_waited} waited for");
    assert!(quickest < 1000 || std::env::var_os("CASE").is_some(), "a case with a quick health check is needed");
}

#[test]
fn a_container_that_keeps_exiting_does_not_make_a_plan_stale() {
    let (project, env) = (ProjectName::new("shop").unwrap(), EnvName::new("prod").unwrap());
    let mut server = FakeServer::new("s1");
    let labels = [(label::PROJECT, "shop"), (label::ENV, "prod")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    server.add_container("shop_prod_clock", "shop/clock:1", labels.into(), Vec::new());
    let mut at = |state| {
        server.set_state("shop_prod_clock", state);
        digest(&server.facts(), &project, &env)
    };
    assert_eq!(at(ContainerState::Restarting), at(ContainerState::Running));
    assert_ne!(at(ContainerState::Exited), at(ContainerState::Running));
}

#[test]
fn a_server_that_has_nothing_to_do_with_the_project_is_not_left_behind() {
    for (name, is_left_behind) in [("behind_nothing_there", false), ("behind_one_of_three", true)] {
        let case = case(name);
        let (plan, findings) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
        assert!(!plan.waves.is_empty() && !is_fatal(&findings), "{name}: {findings:?}");
        assert_eq!(plan.left_out.iter().any(|server| server.as_str() == "s3"), is_left_behind, "{name}: {:?}", plan.left_out);
    }
}

#[test]
fn only_an_undo_that_restores_can_leave_a_run_stuck() {
    let all: Vec<UndoKind> =
        runnable().flat_map(|(_, plan)| plan.step_ids().map(|id| plan.step(&id).unwrap().undo_kind).collect::<Vec<_>>()).collect();
    assert!(all.contains(&UndoKind::Restores) && all.contains(&UndoKind::Cleans));
}
