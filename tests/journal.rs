//! The journal on disk: what was written is read back, after every cut. Deliberately absent: what comes next.
#![expect(clippy::unwrap_used, reason = "a file that cannot be written fails the test")]
use flipside::ledger::{Ledger, StepState};
use flipside::model::{Action, BackendMode, EnvName, EventKind, Millis, ProjectName, ServerName, StepId, Verdict};
use flipside::plan::{Basis, Intent, PLAN_FORMAT, Plan, Step, UndoKind, Wave, WaveKind};
use flipside::run::{Journal, JournalError, left_runs, open_runs};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

fn plan() -> Plan {
    let step = Step {
        title: "lock".to_owned(),
        service: None,
        first: Vec::new(),
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
        left_out: std::collections::BTreeSet::new(),
        on_failure: flipside::config::OnFailure::Rollback,
        found: BTreeMap::new(),
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

/// The first run in this state folder, cut off before its first step ended.
fn cut_off(state: &std::path::Path) -> std::path::PathBuf {
    let mut ledger = Ledger::default();
    Journal::create(state, &plan(), &mut ledger).unwrap().folder().to_owned()
}

#[test]
fn a_run_whose_place_is_taken_is_kept_and_not_taken_up_any_more() {
    let state = tempfile::tempdir().unwrap();
    let folder = cut_off(state.path());
    let mut read_before = open_runs(state.path()).unwrap().remove(0);
    let left = left_runs(state.path()).unwrap().remove(0);
    left.supersede("deploy 1795262399000-4711").unwrap();
    left.supersede("another").unwrap();
    assert!(left_runs(state.path()).unwrap().is_empty() && folder.join("journal.jsonl").exists());
    assert_eq!(fs::read_to_string(folder.join("superseded")).unwrap(), "deploy 1795262399000-4711\n");
    // Somebody who had read it before does not go on with it.
    assert!(matches!(Journal::reopen(&mut read_before), Err(JournalError::Superseded { .. })));
}

#[test]
fn a_run_that_is_written_is_neither_taken_up_nor_superseded() {
    let state = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::default();
    let mut journal = Journal::create(state.path(), &plan(), &mut ledger).unwrap();
    let left = left_runs(state.path()).unwrap().remove(0);
    assert!(left.is_running);
    assert!(matches!(left.supersede("another"), Err(JournalError::Busy { .. })));
    let mut run = open_runs(state.path()).unwrap().remove(0);
    assert!(matches!(Journal::reopen(&mut run), Err(JournalError::Busy { .. })));
    // It went on, and then it was cut off: what was read before is no more true.
    journal.write(&mut ledger, vec![EventKind::GatePassed { wave: 0 }]).unwrap();
    drop(journal);
    assert!(matches!(Journal::reopen(&mut run), Err(JournalError::Moved { .. })));
    assert!(Journal::reopen(&mut open_runs(state.path()).unwrap().remove(0)).is_ok());
}

#[test]
fn a_run_of_another_version_says_so_and_a_new_run_can_take_its_place() {
    for (file, from, to, told) in [
        ("plan.json", "\"format\": 4", "\"format\": 5, \"more\": [1]", "it has format 5, this version reads 4"),
        ("plan.json", "\"lock\"", "\"levitate\"", "levitate"),
        ("journal.jsonl", "run_opened", "run_dreamt_of", "line 1 of"),
    ] {
        let state = tempfile::tempdir().unwrap();
        let path = cut_off(state.path()).join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
        let error = open_runs(state.path()).unwrap_err().to_string();
        assert!(error.contains(told) && error.contains(file), "{error}");
        let left = left_runs(state.path()).unwrap().remove(0);
        assert!(left.read.is_err() && !left.is_running);
        left.supersede("deploy").unwrap();
        assert!(open_runs(state.path()).unwrap().is_empty());
    }
    // Both at once: a plan of another format is what is said.
    let state = tempfile::tempdir().unwrap();
    let folder = cut_off(state.path());
    for (file, from, to) in [("plan.json", "\"format\": 4", "\"format\": 9"), ("journal.jsonl", "run_opened", "run_dreamt_of")] {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        fs::write(folder.join(file), text.replace(from, to)).unwrap();
    }
    assert!(open_runs(state.path()).unwrap_err().to_string().contains("format 9"));
}

#[test]
fn an_undo_that_somebody_asked_for_is_on_disk_before_it_begins() {
    let state = tempfile::tempdir().unwrap();
    cut_off(state.path());
    let mut run = open_runs(state.path()).unwrap().remove(0);
    let mut journal = Journal::reopen(&mut run).unwrap();
    journal.ask_to_undo(&mut run.ledger, "abort").unwrap();
    assert_eq!(journal.opened().len(), 2, "that it was opened again, and what was asked");
    drop(journal);
    assert!(open_runs(state.path()).unwrap().remove(0).ledger.unwinding());
}

#[test]
fn a_run_that_cannot_be_written_down_never_was() {
    let state = tempfile::tempdir().unwrap();
    // A file where a folder has to be made: as root, too, this fails.
    let blocked = state.path().join("shop_prod");
    fs::write(&blocked, "").unwrap();
    let error = Journal::create(&blocked, &plan(), &mut Ledger::default()).unwrap_err();
    assert!(error.to_string().contains("cannot make"), "{error}");
}

/// Another container has its own process of our number, and may keep its runs in the same folder.
#[test]
fn a_run_leaves_alone_what_has_its_name() {
    let state = tempfile::tempdir().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let others: Vec<_> = (now..now + 3000).map(|millis| state.path().join(format!("{millis:013}-{}", std::process::id()))).collect();
    for folder in &others {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("plan.json"), "another's").unwrap();
    }
    let journal = Journal::create(state.path(), &plan(), &mut Ledger::default()).unwrap();
    assert!(!others.iter().any(|folder| folder == journal.folder()));
    assert!(others.iter().all(|folder| fs::read_to_string(folder.join("plan.json")).is_ok_and(|text| text == "another's")));
}

/// As those of two lines of cron do, which start at the same moment.
#[test]
fn runs_that_begin_together_clear_old_ones_away_together() {
    let state = tempfile::tempdir().unwrap();
    for number in 0..400 {
        let folder = state.path().join(format!("{number:04}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("journal.jsonl"), "").unwrap();
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| left_runs(state.path()).map(|left| left.len()))).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap().unwrap(), 0);
        }
    });
    assert_eq!(fs::read_dir(state.path()).unwrap().count(), 50);
}

/// An empty one is that of a run that nobody is at: after the clock was set back it would be the oldest, and the first to be cleared away.
#[test]
fn nobody_sees_a_journal_before_its_first_event() {
    let state = tempfile::tempdir().unwrap();
    let (ended, seen) = (AtomicBool::new(false), AtomicBool::new(false));
    let is_empty = |folder: &Path| fs::metadata(folder.join("journal.jsonl")).is_ok_and(|found| found.len() == 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                if fs::read_dir(state.path()).unwrap().any(|entry| is_empty(&entry.unwrap().path())) {
                    seen.store(true, Ordering::Relaxed);
                }
            }
        });
        let run = |_| {
            let journal = Journal::create(state.path(), &plan(), &mut Ledger::default())?;
            let n_left = left_runs(state.path())?.len();
            // What is left of it fails the next one's count.
            let _ = fs::remove_dir_all(journal.folder());
            Ok::<_, JournalError>(n_left)
        };
        let counts: Result<Vec<usize>, _> = (0..100).map(run).collect();
        // Before anything panics: the other thread would be waited for.
        ended.store(true, Ordering::Relaxed);
        assert!(counts.unwrap().into_iter().all(|n_left| n_left == 1));
    });
    assert!(!seen.load(Ordering::Relaxed));
}
