//! The journal on disk: what was written is read back, after every cut. Deliberately absent: what comes next.
#![expect(clippy::unwrap_used, reason = "a file that cannot be written fails the test")]
use flipside::ledger::{Ledger, StepState};
use flipside::model::{Action, BackendMode, EnvName, EventKind, Millis, ProjectName, ServerName, StepId, Verdict};
use flipside::plan::{Basis, Intent, PLAN_FORMAT, Plan, Step, UndoKind, Wave, WaveKind};
use flipside::run::{Journal, open_runs};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

fn plan() -> Plan {
    let step = Step {
        title: "lock".to_owned(),
        service: None,
        action: Action::Lock,
        undo: Vec::new(),
        undo_kind: UndoKind::Cleans,
        within: Millis::seconds(1),
    };
    let servers = BTreeMap::from([(ServerName::new("s1").unwrap(), vec![step])]);
    Plan {
        format: PLAN_FORMAT,
        intent: Intent::Deploy,
        project: ProjectName::new("shop").unwrap(),
        env: EnvName::new("prod").unwrap(),
        version: "1".to_owned(),
        mode: BackendMode::SingleServer,
        basis: Basis { playbook: String::new(), inventory: String::new(), templates: String::new(), facts: BTreeMap::new() },
        services: BTreeMap::new(),
        waves: vec![Wave { name: "lock".to_owned(), kind: WaveKind::Work, servers }],
    }
}

#[test]
fn a_run_is_taken_up_as_often_as_it_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let id = StepId { wave: 0, server: ServerName::new("s1").unwrap(), index: 0 };
    let started = || vec![EventKind::StepStarted { step: id.clone() }];
    let mut ledger = Ledger::default();
    let mut journal = Journal::create(folder.path(), &plan(), &mut ledger).unwrap();
    journal.write(&mut ledger, started()).unwrap();
    // The machine died while the next line was written.
    fs::OpenOptions::new().append(true).open(journal.folder().join("journal.jsonl")).unwrap().write_all(b"{\"seq\":2,").unwrap();
    drop(journal);
    for _ in 0..3 {
        let mut runs = open_runs(folder.path()).unwrap();
        assert_eq!(runs.len(), 1);
        let mut run = runs.remove(0);
        assert_eq!(run.plan, plan());
        assert_eq!(run.ledger.state(&id), StepState::Unknown);
        let mut journal = Journal::reopen(&mut run).unwrap();
        assert_eq!(run.ledger.state(&id), StepState::Unknown);
        journal.write(&mut run.ledger, started()).unwrap();
    }
    let mut run = open_runs(folder.path()).unwrap().remove(0);
    Journal::reopen(&mut run).unwrap().write(&mut run.ledger, vec![EventKind::RunClosed { verdict: Verdict::PutBack }]).unwrap();
    assert!(open_runs(folder.path()).unwrap().is_empty());
}
