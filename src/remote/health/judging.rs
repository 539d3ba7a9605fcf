//! Whether a canary's requests fail more often than those of the old side. Deliberately absent: how they are counted (see `script`).
use super::Update;
use crate::model::{CanaryCheck, Failure, StepId};
use crate::remote::ssh::Connection;
use crate::script::{CanaryCounts, count_canary, forget_canary, read_canary_counts};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep};

/// Between two looks at the log.
const PAUSE: Duration = Duration::from_secs(2);
/// For one look.
const LOOK: Duration = Duration::from_secs(20);

/// The new side fails by more than so much more of its requests than the old one; said of enough requests only.
fn is_bad(counts: &CanaryCounts, check: &CanaryCheck) -> bool {
    let CanaryCounts { n_new, bad_new, n_old, bad_old, .. } = *counts;
    if n_new < u64::from(check.min_requests) || n_new == 0 {
        return false;
    }
    // bad_new / n_new > max + bad_old / n_old, without a fraction.
    let (n_new, bad_new, n_old, bad_old) = (u128::from(n_new), u128::from(bad_new), u128::from(n_old.max(1)), u128::from(bad_old));
    bad_new * n_old * 10_000 > n_new * (u128::from(check.max_error_rate.0) * n_old + bad_old * 10_000)
}

/// `60 of 1200 (5%)`.
fn part(bad: u64, of: u64) -> String {
    let rate = if of == 0 { 0.0 } else { bad as f64 * 100.0 / of as f64 };
    format!("{bad} of {of} failed ({rate:.1} %)")
}

fn told(counts: &CanaryCounts) -> String {
    format!("new side: {}; old side: {}", part(counts.bad_new, counts.n_new), part(counts.bad_old, counts.n_old))
}

/// Counts until the time is over, or until it is too much.
pub(super) async fn judge(
    connection: &Connection,
    id: &StepId,
    check: &CanaryCheck,
    tell: &UnboundedSender<Update>,
) -> Result<String, Failure> {
    let began = Instant::now();
    let mut all = CanaryCounts::default();
    let mut from = None;
    loop {
        let mut seen = None;
        let end = connection.run_script(&count_canary(check, from), LOOK, &mut |line| seen = read_canary_counts(line).or(seen)).await;
        if let Err(error) = end {
            return Err(Failure { seen: format!("the requests to the canary cannot be counted: {error}"), ..Failure::default() });
        }
        let Some(now) = seen else {
            return Err(Failure {
                seen: format!("the requests to the canary cannot be counted: {} cannot be read", check.log),
                wanted: "sh, wc, tail, head and awk on the server".to_owned(),
                ..Failure::default()
            });
        };
        from = Some(now.end);
        all = CanaryCounts {
            end: now.end,
            n_new: all.n_new + now.n_new,
            bad_new: all.bad_new + now.bad_new,
            n_old: all.n_old + now.n_old,
            bad_old: all.bad_old + now.bad_old,
        };
        if is_bad(&all, check) {
            return Err(Failure {
                seen: format!("requests to the canary of {} fail: {}", check.service, told(&all)),
                wanted: format!("at most {} more of them than of the old side's", check.max_error_rate),
                hint: format!("the lines are in {} on the server", check.log),
                ..Failure::default()
            });
        }
        let rest = check.time.duration().saturating_sub(began.elapsed());
        if rest.is_zero() {
            break;
        }
        let _ = tell.send(Update::Chatter(id.clone(), format!("{}, {} s to go", told(&all), rest.as_millis().div_ceil(1000))));
        sleep(PAUSE.min(rest)).await;
    }
    // What stays is in nobody's way.
    let _ = connection.run_script(&forget_canary(check), LOOK, &mut |_| {}).await;
    let few = if all.n_new < u64::from(check.min_requests) {
        format!("; too few to be judged by, which takes {}", check.min_requests)
    } else {
        String::new()
    };
    Ok(format!("{}{few}", told(&all)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Millis, ServiceName, Share};

    #[test]
    fn the_new_side_is_bad_where_it_fails_more_often_than_the_old_one_and_what_is_allowed() {
        let check = CanaryCheck {
            service: ServiceName::new("api").unwrap(),
            log: "/log".to_owned(),
            new: "n".to_owned(),
            old: "o".to_owned(),
            time: Millis::seconds(60),
            max_error_rate: Share(100),
            min_requests: 50,
        };
        let bad = |n_new, bad_new, n_old, bad_old| is_bad(&CanaryCounts { end: 0, n_new, bad_new, n_old, bad_old }, &check);
        assert!(!bad(49, 49, 0, 0), "too few");
        assert!(bad(50, 1, 0, 0) && bad(100, 2, 1000, 0));
        assert!(!bad(100, 1, 1000, 0), "1 % is allowed");
        assert!(!bad(100, 6, 1000, 50), "the old side fails by 5 % as well");
        assert!(bad(100, 7, 1000, 50));
        assert!(!bad(0, 0, 0, 0) && !bad(1000, 0, 1000, 1000));
        let whole = CanaryCheck { max_error_rate: Share::WHOLE, ..check };
        assert!(!is_bad(&CanaryCounts { end: 0, n_new: 100, bad_new: 100, n_old: 0, bad_old: 0 }, &whole));
    }
}
