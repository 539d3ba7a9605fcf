//! Whether a canary's requests fail more often than those of the old side, all servers together. Deliberately absent: how they are counted on
//! one server (see `script`).
use super::Update;
use crate::model::{CanaryCheck, Failure, ServerName, Share, StepId};
use crate::remote::servers::{Servers, SurveyError};
use crate::remote::ssh::ChannelError;
use crate::script::{CanaryCounts, count_canary, forget_canary, read_canary_counts};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Between two looks at the logs.
const PAUSE: Duration = Duration::from_secs(2);
/// For one look.
const LOOK: Duration = Duration::from_secs(20);
/// The requests of one server are judged by themselves, too, and fail the canary where so much more of them fail: through one of many
/// servers nothing may get through, and the sum does not show it. Less than that is chance where servers are many and requests few.
const ONE_SERVER: Share = Share(5_000);

/// What each server has counted so far.
type Counts = BTreeMap<ServerName, CanaryCounts>;

/// The new side fails by more than so much more of its requests than the old one; said of enough requests only.
fn is_bad(counts: &CanaryCounts, check: &CanaryCheck, allowed: Share) -> bool {
    let CanaryCounts { n_new, bad_new, n_old, bad_old, .. } = *counts;
    if n_new < u64::from(check.min_requests) || n_new == 0 {
        return false;
    }
    // bad_new / n_new > allowed + bad_old / n_old, without a fraction.
    let (n_new, bad_new, n_old, bad_old) = (u128::from(n_new), u128::from(bad_new), u128::from(n_old.max(1)), u128::from(bad_old));
    bad_new * n_old * 10_000 > n_new * (u128::from(allowed.0) * n_old + bad_old * 10_000)
}

fn sum(counts: &Counts) -> CanaryCounts {
    counts.values().fold(CanaryCounts::default(), |sum, one| add(sum, *one))
}

/// As many more, up to the end of the later ones.
fn add(sum: CanaryCounts, more: CanaryCounts) -> CanaryCounts {
    CanaryCounts {
        end: more.end,
        n_new: sum.n_new.saturating_add(more.n_new),
        bad_new: sum.bad_new.saturating_add(more.bad_new),
        n_old: sum.n_old.saturating_add(more.n_old),
        bad_old: sum.bad_old.saturating_add(more.bad_old),
    }
}

/// Why the canary must not go on, where that is so.
fn verdict(check: &CanaryCheck, counts: &Counts) -> Option<Failure> {
    let all = sum(counts);
    let alone = check.max_error_rate.max(ONE_SERVER);
    let (through, seen, allowed) = if is_bad(&all, check, check.max_error_rate) {
        (String::new(), all, check.max_error_rate)
    } else {
        let (server, one) = counts.iter().find(|(_, one)| is_bad(one, check, alone))?;
        (format!(" through {server}"), *one, alone)
    };
    let (worst, _) = counts.iter().max_by_key(|(_, one)| one.bad_new)?;
    let log = check.logs.get(worst).map_or("", String::as_str);
    Some(Failure {
        seen: format!("requests{through} to the canary of {} fail: {}", check.service, told(&seen)),
        wanted: format!("at most {allowed} more of them than of the old side's"),
        hint: format!("most of the lines are in {log} on {worst}"),
        ..Failure::default()
    })
}

/// `60 of 1200 failed (5.0 %)`.
fn part(bad: u64, of: u64) -> String {
    let rate = if of == 0 { 0.0 } else { bad as f64 * 100.0 / of as f64 };
    format!("{bad} of {of} failed ({rate:.1} %)")
}

fn told(counts: &CanaryCounts) -> String {
    format!("new side: {}; old side: {}", part(counts.bad_new, counts.n_new), part(counts.bad_old, counts.n_old))
}

/// Counts on all servers until the time is over, or until it is too much.
pub(super) async fn judge(servers: &Servers, id: &StepId, check: &CanaryCheck, tell: &UnboundedSender<Update>) -> Result<String, Failure> {
    let began = Instant::now();
    let mut counts: Counts = look(servers, check, &Counts::new()).await?;
    loop {
        let rest = check.time.duration().saturating_sub(began.elapsed());
        if rest.is_zero() {
            break;
        }
        let told = told(&sum(&counts));
        let _ = tell.send(Update::Chatter(id.clone(), format!("{told}, {} s to go", rest.as_millis().div_ceil(1000))));
        sleep(PAUSE.min(rest)).await;
        for (server, more) in look(servers, check, &counts).await? {
            let so_far = counts.entry(server).or_default();
            *so_far = add(*so_far, more);
        }
        if let Some(failure) = verdict(check, &counts) {
            return Err(failure);
        }
    }
    // What stays is in nobody's way.
    on_all(servers, check, |_, log| forget_canary(log)).await;
    let all = sum(&counts);
    let few = if all.n_new < u64::from(check.min_requests) {
        format!("; too few to be judged by, which takes {}", check.min_requests)
    } else {
        String::new()
    };
    Ok(format!("{}{few}", told(&all)))
}

/// One look at the logs of all servers: what came since the last one.
async fn look(servers: &Servers, check: &CanaryCheck, so_far: &Counts) -> Result<Counts, Failure> {
    let count = |server: &ServerName, log: &str| count_canary(check, log, so_far.get(server).map(|counts| counts.end));
    let mut all = Counts::new();
    for (server, answer) in on_all(servers, check, count).await {
        let cannot = |why: &str| format!("the requests to the canary cannot be counted on {server}: {why}");
        let counts = answer.map_err(|why| Failure { seen: cannot(&why), ..Failure::default() })?.ok_or_else(|| Failure {
            seen: cannot("its log cannot be read"),
            wanted: "sh, wc, tail, head and awk on the server".to_owned(),
            ..Failure::default()
        })?;
        all.insert(server, counts);
    }
    Ok(all)
}

/// Runs a script for each log on its server, on all at once, and tells what each counts.
async fn on_all(
    servers: &Servers,
    check: &CanaryCheck,
    script: impl Fn(&ServerName, &str) -> String,
) -> BTreeMap<ServerName, Result<Option<CanaryCounts>, String>> {
    let mut tasks = JoinSet::new();
    for (server, log) in &check.logs {
        let (servers, server, script) = (servers.clone(), server.clone(), script(server, log));
        tasks.spawn(async move {
            let answer = ask(&servers, &server, &script).await;
            (server, answer.map_err(|error| error.to_string()))
        });
    }
    let mut all = BTreeMap::new();
    while let Some(done) = tasks.join_next().await {
        all.extend(done);
    }
    all
}

/// Runs a script that may be repeated: over a new connection, where the one that there is breaks.
async fn ask(servers: &Servers, server: &ServerName, script: &str) -> Result<Option<CanaryCounts>, SurveyError> {
    let Some(site) = servers.site(server) else { return Ok(None) };
    let mut seen = None;
    let mut hear = |line: &str| seen = read_canary_counts(line).or(seen);
    let connection = servers.connection(&site).await?;
    match connection.run_script(script, LOOK, &mut hear).await {
        Err(ChannelError::Lost { .. }) => {
            let connection = servers.connection(&site).await?;
            connection.run_script(script, LOOK, &mut hear).await?;
        }
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Millis, ServiceName};

    fn check() -> CanaryCheck {
        CanaryCheck {
            service: ServiceName::new("api").unwrap(),
            logs: BTreeMap::new(),
            new: "n".to_owned(),
            old: "o".to_owned(),
            time: Millis::seconds(60),
            max_error_rate: Share(100),
            min_requests: 50,
        }
    }

    fn counts(n_new: u64, bad_new: u64, n_old: u64, bad_old: u64) -> CanaryCounts {
        CanaryCounts { end: 0, n_new, bad_new, n_old, bad_old }
    }

    #[test]
    fn the_new_side_is_bad_where_it_fails_more_often_than_the_old_one_and_what_is_allowed() {
        let bad = |n_new, bad_new, n_old, bad_old| is_bad(&counts(n_new, bad_new, n_old, bad_old), &check(), Share(100));
        assert!(!bad(49, 49, 0, 0), "too few");
        assert!(bad(50, 1, 0, 0) && bad(100, 2, 1000, 0));
        assert!(!bad(100, 1, 1000, 0), "1 % is allowed");
        assert!(!bad(100, 6, 1000, 50), "the old side fails by 5 % as well");
        assert!(bad(100, 7, 1000, 50));
        assert!(!bad(0, 0, 0, 0) && !bad(1000, 0, 1000, 1000));
        assert!(!is_bad(&counts(100, 100, 0, 0), &check(), Share::WHOLE));
    }

    /// What is said of so many servers of each kind.
    fn said(check: &CanaryCheck, servers: &[(usize, CanaryCounts)]) -> Option<String> {
        let all = servers.iter().flat_map(|(n, one)| std::iter::repeat_n(*one, *n)).enumerate();
        let counts: Counts = all.map(|(n, one)| (ServerName::new(format!("s{n}")).unwrap(), one)).collect();
        verdict(check, &counts).map(|failure| failure.seen)
    }

    #[test]
    fn the_requests_of_all_servers_are_judged_together_and_a_server_alone_where_hardly_any_gets_through() {
        let (few, well) = (counts(10, 1, 90, 0), counts(1000, 0, 9000, 0));
        assert_eq!(said(&check(), &[(4, few)]), None, "40 requests are too few");
        let together = said(&check(), &[(5, few)]).unwrap();
        assert_eq!(together, "requests to the canary of api fail: new side: 5 of 50 failed (10.0 %); old side: 0 of 450 failed (0.0 %)");
        assert_eq!(said(&check(), &[(1, counts(100, 40, 900, 0)), (9, well)]), None, "0.4 % of all of them, and chance on one server");
        let alone = said(&check(), &[(9, well), (1, counts(60, 60, 500, 10))]).unwrap();
        assert!(alone.starts_with("requests through s9 to the canary of api fail: new side: 60 of 60 failed"), "{alone}");
        assert_eq!(said(&check(), &[(9, well), (1, counts(60, 60, 500, 500))]), None, "nor does the old side get through there");
        assert_eq!(said(&check(), &[(9, well), (1, counts(49, 49, 500, 0))]), None, "too few");
        let patient = CanaryCheck { max_error_rate: Share(8_000), ..check() };
        assert_eq!(said(&patient, &[(1, well), (1, counts(100, 70, 900, 0))]), None, "what is allowed to all is allowed to one");
    }
}
