//! Whether new containers answer, as often and as long as they are asked, while somebody watches that they stay up. Deliberately absent: the
//! question itself (see `asking`), and what happens when they do not.
mod asking;
mod judging;
mod staying;

use super::perform::Update;
use super::servers::Servers;
use super::ssh::Connection;
use super::standing::{Standing, standing};
use super::words::Words;
use crate::model::{Action, Failure, HealthPolicy, Millis, Probe, ProbeKind, StayPolicy, StepId};
use crate::script::{ContainerSight, ScriptContext, read_sight, watch};
pub(super) use asking::judge;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// The answer to a question that is asked just before the deadline is waited for so long, where its own time is not shorter.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// What the watcher knows.
#[derive(Default)]
struct Sights {
    containers: BTreeMap<String, ContainerSight>,
    /// What docker says instead of a state.
    unseen: Option<String>,
    /// Why it watches no more: without it nothing can be seen to run.
    blind: Option<String>,
}

/// Waits for all of them side by side, until the first that fails. Answers in the order of the question: what was seen, or why not;
/// None where another one failed first.
pub(super) async fn await_healthy(
    servers: &Servers,
    connection: &Connection,
    context: &ScriptContext,
    asked: Vec<(StepId, Action)>,
    tell: UnboundedSender<Update>,
) -> Vec<Option<Result<String, Failure>>> {
    let names: BTreeSet<String> = asked.iter().filter_map(|(_, action)| container(action).map(|(name, ..)| name.to_owned())).collect();
    let longest = asked
        .iter()
        .filter_map(|(_, action)| container(action))
        .map(|(_, _, policy, _)| policy.deadline.duration())
        .max()
        .unwrap_or_default();
    let (sights, seen) = watch::channel(Sights::default());
    let watcher = {
        let (connection, script) = (connection.clone(), watch(context, &names.iter().map(String::as_str).collect::<Vec<_>>()));
        tokio::spawn(async move {
            let end = connection
                .run_script(&script, longest + Duration::from_secs(10), &mut |line| {
                    if let Some(sight) = read_sight(line) {
                        sights.send_modify(|all| {
                            all.containers.insert(sight.name.clone(), sight);
                            all.unseen = None;
                        });
                    } else if let Some(why) = line.strip_prefix("unseen ") {
                        sights.send_modify(|all| all.unseen = Some(why.trim().to_owned()));
                    }
                })
                .await;
            let why = match end {
                Ok(_) => "the script that watches the containers was ended".to_owned(),
                Err(error) => error.to_string(),
            };
            sights.send_modify(|all| all.blind = Some(why));
            // The last word has to be heard: the sender lives as long as anybody listens.
            sights.closed().await;
        })
    };
    let n_asked = asked.len();
    let mut tasks = JoinSet::new();
    for (number, (id, action)) in asked.into_iter().enumerate() {
        let (servers, connection, context) = (servers.clone(), connection.clone(), context.clone());
        let (tell, seen) = (tell.clone(), seen.clone());
        tasks.spawn(async move {
            let answer = match container(&action) {
                Some((name, probe, policy, stays)) => {
                    let (name, probe) = (name.to_owned(), probe.clone());
                    let (began, forgiven, words) = (Instant::now(), AtomicU32::new(0), Words::default());
                    let patient = Patient { connection, context, id, name, probe, policy, tell, seen, began, forgiven, words };
                    match stays {
                        Some(stays) => patient.stay(&stays).await,
                        None => patient.wait().await,
                    }
                }
                None => match &action {
                    Action::JudgeCanary(check) => judging::judge(&servers, &id, check, &tell).await,
                    _ => Err(Failure { seen: "this action is not a health check".to_owned(), ..Failure::default() }),
                },
            };
            (number, answer)
        });
    }
    let mut answers: Vec<Option<Result<String, Failure>>> = vec![None; n_asked];
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok((number, answer)) => {
                let failed = answer.is_err();
                answers[number] = Some(answer);
                if failed {
                    break;
                }
            }
            // Whoever waits for its answer would wait for ever.
            Err(broken) if broken.is_panic() => std::panic::resume_unwind(broken.into_panic()),
            Err(_) => {}
        }
    }
    watcher.abort();
    answers
}

/// What is asked of a container, how often and how long, and whether it is healthy already and has to stay so.
fn container(action: &Action) -> Option<(&str, &Probe, HealthPolicy, Option<StayPolicy>)> {
    match action {
        Action::AwaitHealthy { container, probe, policy } => Some((container, probe, *policy, None)),
        Action::StayHealthy { container, probe, policy: stays } => {
            let StayPolicy { interval, timeout, retries, .. } = *stays;
            let policy = HealthPolicy { start_period: Millis(0), interval, timeout, retries, deadline: stays.at_most() };
            Some((container, probe, policy, Some(*stays)))
        }
        _ => None,
    }
}

/// One container that is being waited for.
struct Patient {
    connection: Connection,
    context: ScriptContext,
    id: StepId,
    name: String,
    probe: Probe,
    policy: HealthPolicy,
    tell: UnboundedSender<Update>,
    seen: watch::Receiver<Sights>,
    began: Instant,
    /// Restarts that happened in the start period.
    forgiven: AtomicU32,
    words: Words,
}

impl Patient {
    async fn wait(&self) -> Result<String, Failure> {
        let mut n_passes = 0;
        let mut n_probes = 0_u32;
        let mut last;
        let mut by_shell = false;
        loop {
            let at = Instant::now();
            n_probes += 1;
            match self.answer(&mut by_shell).await? {
                Ok(text) => {
                    n_passes += 1;
                    last = text;
                    self.say(format!("{last}, {n_passes} of {}", self.policy.retries));
                }
                Err(text) => {
                    n_passes = 0;
                    last = text;
                    self.say(last.clone());
                }
            }
            let enough = n_passes >= self.policy.retries;
            let passed = last.clone();
            if enough && self.sight().is_none() {
                last = format!("{last}, but docker has not said yet whether it runs");
            }
            if enough && self.is_up() {
                return Ok(self.healthy(&last));
            }
            if self.left().is_zero() {
                return Err(self.too_late(&last, n_probes));
            }
            tokio::select! {
                biased;
                failure = self.fall() => return Err(failure),
                () = self.first_seen_up(), if enough && self.sight().is_none() => return Ok(self.healthy(&passed)),
                () = sleep(self.policy.interval.duration().saturating_sub(at.elapsed()).min(self.left())) => {}
            }
        }
    }

    fn healthy(&self, last: &str) -> String {
        let elapsed = self.began.elapsed();
        format!("{last} after {}.{} s", elapsed.as_secs(), elapsed.subsec_millis() / 100)
    }

    fn say(&self, text: String) {
        let _ = self.tell.send(Update::Chatter(self.id.clone(), text));
    }

    /// One question, and what came of it; the failure is that the container is gone meanwhile.
    async fn answer(&self, by_shell: &mut bool) -> Result<Result<String, String>, Failure> {
        // The last question, too, is over soon after the deadline: the watcher goes on for a few seconds only.
        let within = self.policy.timeout.duration().min(self.left().max(LAST_ANSWER));
        tokio::select! {
            answer = timeout(within, self.ask(by_shell)) => Ok(match answer {
                Ok(answer) => answer,
                Err(_) if within < self.policy.timeout.duration() => Err("the last question was not answered by then".to_owned()),
                Err(_) => Err(format!("no answer within {}", self.policy.timeout)),
            }),
            failure = self.fall() => Err(failure),
        }
    }

    /// Until the deadline.
    fn left(&self) -> Duration {
        self.policy.deadline.duration().saturating_sub(self.began.elapsed())
    }

    /// Comes back when the container is seen to have exited.
    async fn fall(&self) -> Failure {
        let mut seen = self.seen.clone();
        loop {
            if let Some(failure) = self.fallen() {
                return failure;
            }
            // What was forgiven in the start period is looked at once more when it is over.
            let rest = self.policy.start_period.duration().saturating_sub(self.began.elapsed());
            tokio::select! {
                changed = seen.changed() => if changed.is_err() {
                    return std::future::pending().await;
                },
                () = sleep(rest), if !rest.is_zero() => {}
            }
        }
    }

    fn sight(&self) -> Option<ContainerSight> {
        self.seen.borrow().containers.get(&self.name).cloned()
    }

    /// It was looked at, and runs. Nothing is healthy that nobody has seen running.
    fn is_up(&self) -> bool {
        self.sight().is_some_and(|sight| sight.status == "running")
    }

    /// Comes back when the first that is seen of it is that it runs, and has never been restarted: what has answered before that is it.
    async fn first_seen_up(&self) {
        let mut seen = self.seen.clone();
        while self.sight().is_none() && seen.changed().await.is_ok() {}
        if !self.sight().is_some_and(|sight| sight.status == "running" && sight.restarts == 0) {
            std::future::pending().await
        }
    }

    /// The watcher's news, where it is the end.
    fn fallen(&self) -> Option<Failure> {
        if let Some(why) = &self.seen.borrow().blind {
            return Some(Failure {
                seen: format!("nobody can see any more whether {} runs: {why}", self.name),
                wanted: self.wanted(),
                ..Failure::default()
            });
        }
        let in_start_period = self.began.elapsed() < self.policy.start_period.duration();
        match standing(&self.sight()?, in_start_period, self.forgiven.load(Ordering::Relaxed)) {
            Standing::Up => None,
            Standing::Forgiven(restarts) => {
                self.forgiven.store(restarts, Ordering::Relaxed);
                None
            }
            Standing::Fallen { seen, exit } => Some(Failure {
                seen: format!("{} {seen}", self.name),
                wanted: format!("a container that stays up, and {}", self.wanted()),
                exit,
                ..Failure::default()
            }),
        }
    }

    fn too_late(&self, last: &str, n_probes: u32) -> Failure {
        Failure {
            seen: format!("not healthy after {}: {last} ({n_probes} probes)", self.policy.deadline),
            wanted: match self.policy.retries {
                1 => self.wanted(),
                retries => format!("{}, {retries} times in a row", self.wanted()),
            },
            causes: self.seen.borrow().unseen.iter().map(|why| format!("docker says nothing of it: {why}")).collect(),
            hint: if last.contains("\"sh\": executable file not found") {
                "the image has no sh to run a health command with: use `path`, or leave both out to ask whether the port accepts connections".to_owned()
            } else {
                String::new()
            },
            ..Failure::default()
        }
    }

    fn port(&self) -> String {
        format!("{}port {}", if self.probe.kind == ProbeKind::AppPort { "app " } else { "" }, self.probe.port)
    }

    fn wanted(&self) -> String {
        match &self.probe.kind {
            ProbeKind::Http { path, .. } => format!("GET {path} on port {} to answer 2xx or 3xx", self.probe.port),
            ProbeKind::Tcp | ProbeKind::AppPort => format!("{} to accept connections", self.port()),
            ProbeKind::Command(command) => format!("`{command}` to exit 0"),
            ProbeKind::Running => "it to keep running".to_owned(),
        }
    }
}
