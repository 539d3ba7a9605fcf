//! An undo that cannot start the old side again: who is switched back to it all the same, and who is not.
//! Deliberately absent: everything that holds for any step (see `main`).
use super::*;

#[test]
fn nobody_is_switched_back_to_an_old_side_that_runs_nowhere_any_more() {
    // Switched, then the old side stopped, on two servers; both stops fail, and `n_lost` of their undos.
    let close = |n_lost: usize| {
        let mut plan = plan(&[vec![vec![(true, true)]; 2], vec![vec![(true, true)]; 2]], 0);
        for steps in plan.waves[1].servers.values_mut() {
            steps[0].action = Action::StopContainer { name: "app".to_owned(), timeout: Millis::seconds(1) };
        }
        let mut ledger = Ledger::default();
        let mut undone = Vec::new();
        for _ in 0..20 {
            for one in next(&plan, &ledger) {
                let kinds = match one {
                    Move::Do(step) | Move::Recheck(step) => {
                        let fails = step.wave == 1;
                        let outcome = if fails { Outcome::Failed(Failure::default()) } else { Outcome::Done { seen: String::new() } };
                        vec![EventKind::StepStarted { step: step.clone() }, EventKind::StepEnded { step, outcome }]
                    }
                    Move::Undo(step) => {
                        let fails = step.wave == 1 && (0..n_lost).any(|n| step.server == server(n));
                        let outcome = if fails { Outcome::Failed(Failure::default()) } else { Outcome::Done { seen: String::new() } };
                        undone.extend((step.wave == 0).then(|| step.server.clone()));
                        vec![EventKind::UndoStarted { step: step.clone() }, EventKind::UndoEnded { step, outcome }]
                    }
                    Move::PassGate(wave) => vec![EventKind::GatePassed { wave }],
                    Move::Close(verdict) => vec![EventKind::RunClosed { verdict }],
                };
                for kind in kinds {
                    ledger.apply(&Event { seq: ledger.next_seq(), at: 0, kind }).unwrap();
                }
            }
        }
        (ledger.closed, undone)
    };
    assert_eq!(close(0), (Some(Verdict::PutBack), vec![server(0), server(1)]));
    assert_eq!(close(1), (Some(Verdict::Stuck), vec![server(1)]), "the old side answers on the other server");
    assert_eq!(close(2), (Some(Verdict::Stuck), Vec::new()));
}
