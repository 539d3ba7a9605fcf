//! What a command that has waited for a lock finds on its own workstation. Deliberately absent: servers.
use super::super::args::{Color, Output};
use super::*;
use crate::model::{Action, EventKind, Failure, Outcome as Ended, StepId};
use std::fs;

const PLAYBOOK: &str = "[project]\nname = \"shop\"\nversion = \"1\"\n\n[env.prod]\n\n[services.api]\nimage = \"shop/api:1\"\n";
const INVENTORY: &str = "[servers.s1]\naddress = \"192.0.2.1\"\nuser = \"deploy\"\n";
const PLAN: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plan_cases/first_one_server/plan.json"));

fn global(folder: &Path) -> Global {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        Some(path)
    };
    Global {
        playbook: write("shop.toml", PLAYBOOK),
        inventory: write("fleet.toml", INVENTORY),
        env: None,
        output: Output::Text,
        color: Color::Never,
        state_dir: Some(folder.join("state")),
        templates: None,
        parallel: 1,
        verbose: 0,
    }
}

/// The journal of a run whose first step is under way.
fn begun(state: &Path) -> (Journal, Ledger, StepId) {
    let plan: Plan = serde_json::from_str(PLAN).unwrap();
    let mut ledger = Ledger::default();
    let mut journal = Journal::create(state, &plan, &mut ledger).unwrap();
    let (server, steps) = plan.waves[0].servers.first_key_value().unwrap();
    assert_eq!(steps[0].action, Action::Lock);
    let step = StepId { wave: 0, server: server.clone(), index: 0 };
    journal.write(&mut ledger, vec![EventKind::StepStarted { step: step.clone() }]).unwrap();
    (journal, ledger, step)
}

#[test]
fn what_was_waited_for_comes_first_where_it_is_held_now_and_its_place_is_taken_where_it_was_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let global = global(folder.path());
    let loaded = read_files(&global).unwrap();
    let left = || cut_off_meanwhile(&global, &loaded, "deploy", &[]).map(|left| left.into_iter().map(|run| run.folder).collect::<Vec<_>>());
    let (mut journal, mut ledger, step) = begun(&state_folder(&global, &loaded));
    assert_eq!(left(), Ok(vec![]), "it works elsewhere");

    let failed = Ended::Failed(Failure::default());
    journal.write(&mut ledger, vec![EventKind::StepEnded { step, outcome: failed }, EventKind::RunHeld]).unwrap();
    assert_eq!(left(), Err(Outcome::Held), "its hooks still run, without its leases");
    journal.write(&mut ledger, vec![EventKind::RunClosed { verdict: Verdict::Held }]).unwrap();
    assert_eq!(left(), Err(Outcome::Held));
    let held = journal.folder().to_owned();
    drop(journal);
    fs::remove_dir_all(held).unwrap();

    let (journal, _, _) = begun(&state_folder(&global, &loaded));
    let killed = journal.folder().to_owned();
    drop(journal);
    assert_eq!(left(), Ok(vec![killed]));
}
