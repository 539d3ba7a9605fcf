//! An undo that cannot start the old side again: who is switched back to it all the same, and who is not.
//! Deliberately absent: everything that holds for any step (see `main`).
use super::*;
use flipside::model::{GenerationId, ServiceName};

/// Goes on until nothing is next. The verdict, and what was taken back, in order.
fn run(plan: &Plan, fails: impl Fn(&StepId) -> bool, undo_fails: impl Fn(&StepId) -> bool) -> (Option<Verdict>, Vec<StepId>) {
    let outcome = |fails: bool| if fails { Outcome::Failed(Failure::default()) } else { Outcome::Done { seen: String::new() } };
    let mut ledger = Ledger::default();
    let mut undone = Vec::new();
    for _ in 0..30 {
        for one in next(plan, &ledger) {
            let kinds = match one {
                Move::Do(step) | Move::Recheck(step) => {
                    let outcome = outcome(fails(&step));
                    vec![EventKind::StepStarted { step: step.clone() }, EventKind::StepEnded { step, outcome }]
                }
                Move::Undo(step) => {
                    let outcome = outcome(undo_fails(&step));
                    undone.push(step.clone());
                    vec![EventKind::UndoStarted { step: step.clone() }, EventKind::UndoEnded { step, outcome }]
                }
                Move::Hold => vec![EventKind::RunHeld],
                Move::PassGate(wave) => vec![EventKind::GatePassed { wave }],
                Move::Close(verdict) => vec![EventKind::RunClosed { verdict }],
            };
            for kind in kinds {
                ledger.apply(&Event { seq: ledger.next_seq(), at: 0, kind }).unwrap();
            }
        }
    }
    (ledger.closed, undone)
}

fn stop() -> Action {
    Action::StopContainer { name: "app".to_owned(), timeout: Millis::seconds(1) }
}

#[test]
fn nobody_is_switched_back_to_an_old_side_that_runs_nowhere_any_more() {
    // Switched, then the old side stopped, on two servers; both stops fail, and `n_lost` of their undos.
    let mut plan = plan(&[vec![vec![(true, true)]; 2], vec![vec![(true, true)]; 2]], 0);
    for steps in plan.waves[1].servers.values_mut() {
        steps[0].action = stop();
    }
    let close = |n_lost: usize| {
        let lost = |step: &StepId| step.wave == 1 && (0..n_lost).any(|n| step.server == server(n));
        let (verdict, undone) = run(&plan, |step| step.wave == 1, lost);
        (verdict, undone.into_iter().filter(|step| step.wave == 0).map(|step| step.server).collect::<Vec<_>>())
    };
    assert_eq!(close(0), (Some(Verdict::PutBack), vec![server(0), server(1)]));
    assert_eq!(close(1), (Some(Verdict::Stuck), vec![server(1)]), "the old side answers on the other server");
    assert_eq!(close(2), (Some(Verdict::Stuck), Vec::new()));
}

#[test]
fn who_has_switched_goes_back_before_anything_is_stopped_that_nobody_is_routed_to() {
    // Started, switched, and the same for a second batch.
    let (start, switch) = (|| vec![vec![(true, false)]], || vec![vec![(true, true)]]);
    let mut plan = plan(&[start(), switch(), start(), switch()], 0);
    let order = |plan: &Plan, fails: usize| {
        let (verdict, undone) = run(plan, |step| step.wave == fails, |_| false);
        assert_eq!(verdict, Some(Verdict::PutBack));
        undone.into_iter().map(|step| step.wave).collect::<Vec<_>>()
    };
    plan.waves[2].kind = WaveKind::Unrouted;
    assert_eq!(order(&plan, 2), [2, 1, 0], "what is not switched back hangs on nothing behind it");
    let generation = |id: &str| GenerationId(id.to_owned());
    for wave in [1, 3] {
        let step = &mut plan.waves[wave].servers.get_mut(&server(0)).unwrap()[0];
        step.undo = vec![Action::SwitchBack { from: generation("a1"), to: generation("a0") }];
    }
    assert_eq!(order(&plan, 2), [1, 2, 0]);
    assert_eq!(order(&plan, 3), [3, 1, 2, 0]);
    plan.waves[2].kind = WaveKind::Work;
    assert_eq!(order(&plan, 3), [3, 2, 1, 0]);
}

#[test]
fn no_old_one_is_started_beside_a_new_one_that_could_not_be_stopped() {
    // It moves from one server to the other: stopped here, started there, and then something fails.
    let mut plan = plan(&[vec![vec![(true, true)], vec![]], vec![vec![], vec![(true, true)]], vec![vec![(true, true)], vec![]]], 0);
    let worker = Some(ServiceName::new("worker").unwrap());
    for (wave, at, action) in [(0, 0, stop()), (1, 1, Action::StartContainer { name: "app_secondary".to_owned() })] {
        let step = &mut plan.waves[wave].servers.get_mut(&server(at)).unwrap()[0];
        (step.action, step.service) = (action, worker.clone());
    }
    let waves = |undo_fails: bool| {
        let (verdict, undone) = run(&plan, |step| step.wave == 2, |step| undo_fails && step.wave == 1);
        (verdict, undone.into_iter().map(|step| step.wave).collect::<Vec<_>>())
    };
    assert_eq!(waves(false), (Some(Verdict::PutBack), vec![2, 1, 0]));
    assert_eq!(waves(true), (Some(Verdict::Stuck), vec![2, 1]));
}

#[test]
fn nor_beside_a_new_one_whose_undo_was_left_out() {
    // The same move; and then the server to which it moved cannot be switched back, so that nothing more is undone there.
    let mut plan = plan(&[vec![vec![(true, true)], vec![]], vec![vec![], vec![(true, true)]], vec![vec![], vec![(true, true)]]], 0);
    let worker = Some(ServiceName::new("worker").unwrap());
    for (wave, at, action) in [(0, 0, stop()), (1, 1, Action::StartContainer { name: "app_secondary".to_owned() })] {
        let step = &mut plan.waves[wave].servers.get_mut(&server(at)).unwrap()[0];
        (step.action, step.service) = (action, worker.clone());
    }
    let (verdict, undone) = run(&plan, |step| step.wave == 2, |step| step.wave == 2);
    assert_eq!((verdict, undone.into_iter().map(|step| step.wave).collect::<Vec<_>>()), (Some(Verdict::Stuck), vec![2]));
}
