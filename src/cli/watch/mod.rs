//! `flipside watch`: asks the copies that serve, again and again, and has those that fail taken out and those that pass taken in again, each
//! by an ordinary run. Deliberately absent: what answers in a row mean and which plan follows (`plan::checks`), and asking itself (`remote`).
mod act;
mod tell;

use super::args::Global;
use super::exit::Outcome;
use super::hooks::connecting;
use super::look::unknown_services;
use super::print::complain;
use super::signals::{self, is_stopped};
use super::survey::{Surveyed, read_files, survey};
use crate::model::{Checked, CopyAt, HookPoint, Millis, ServerName, ServiceName, Standing, Verdict};
use crate::plan::{CopyCheck, News, Streaks, copy_checks, prose, together};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tell::{Told, word};
use tokio::task::JoinSet;

/// What is routed is looked at again this often, also where every copy answers: somebody may have deployed.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// A server that does not say within this time what it routes is passed over.
const LOOK_WITHIN: Duration = Duration::from_secs(8);
/// After a run that failed, the next one is not begun before this time is over.
const AFTER_A_FAILURE: Duration = Duration::from_secs(30);
/// Where another run has the servers, they are not asked for their locks again before.
const AFTER_A_REFUSAL: Duration = Duration::from_secs(5);
/// So many copies are asked at the same time.
const AT_ONCE: usize = 64;
/// It watches until it is asked to end: then it has done what it was for.
const ENDED: Outcome = Outcome::Done;

/// `flipside watch`.
pub(super) async fn watch(global: &Global, services: &[ServiceName], once: bool, interval: Option<Millis>) -> Outcome {
    let loaded = match read_files(global) {
        Ok(loaded) => loaded,
        Err(outcome) => return outcome,
    };
    if let Some(outcome) = unknown_services(&loaded.playbook, services) {
        return outcome;
    }
    let selected: BTreeSet<ServiceName> = services.iter().cloned().collect();
    let is_checked = |name: &ServiceName| loaded.playbook.services.get(name).is_some_and(|service| service.balance.active_checks.is_some());
    if let Some(name) = selected.iter().find(|name| !is_checked(name)) {
        complain(&format!("`{name}` has no `active_checks`: write `active_checks = true` in its `balance`"));
        return Outcome::Usage;
    }
    if !loaded.playbook.services.keys().any(is_checked) {
        complain(
            "no service of the playbook has `active_checks`: write `active_checks = true` in the `balance` of those that are to be checked",
        );
        return Outcome::Configuration;
    }
    if interval.is_some_and(|interval| interval < Millis::seconds(1)) {
        complain("`--interval` must be at least 1s");
        return Outcome::Usage;
    }
    let asked_to_end = if once { Outcome::Interrupted } else { ENDED };
    let or_ended = |outcome| if outcome == Outcome::Interrupted { asked_to_end } else { outcome };
    if let Err(outcome) = connecting(&loaded, HookPoint::BeforeConnect, "watch").await {
        return or_ended(outcome);
    }
    let surveyed = tokio::select! {
        biased;
        () = signals::came(1) => return asked_to_end,
        surveyed = survey(global, loaded, "watch") => match surveyed {
            Ok(surveyed) => surveyed,
            Err(outcome) => return outcome,
        },
    };
    let connected = connecting(&surveyed.loaded, HookPoint::AfterConnect, "watch").await.map_err(or_ended);
    let mut watch = Watch::new(global, surveyed, selected, interval);
    let outcome = match connected {
        Ok(()) if watch.surveyed.fleet.is_empty() => Outcome::Unreachable,
        Ok(()) if once => watch.once().await,
        Ok(()) => watch.for_ever().await,
        Err(outcome) => outcome,
    };
    watch.surveyed.servers.release().await;
    outcome
}

/// Which servers are asked what they route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// All.
    All,
    /// Those that there is a connection to: nobody waits for the others.
    Connected,
}

struct Watch<'a> {
    global: &'a Global,
    surveyed: Surveyed,
    selected: BTreeSet<ServiceName>,
    interval: Option<Millis>,
    copies: Vec<CopyCheck>,
    streaks: Streaks,
    told: Told,
    /// When the servers were last asked what they route.
    looked: Instant,
    /// No run begins before.
    not_before: Option<Instant>,
}

impl<'a> Watch<'a> {
    fn new(global: &'a Global, surveyed: Surveyed, selected: BTreeSet<ServiceName>, interval: Option<Millis>) -> Watch<'a> {
        let streaks = Streaks::default();
        let (told, looked, copies) = (Told::default(), Instant::now(), Vec::new());
        let mut watch = Watch { global, surveyed, selected, interval, copies, streaks, told, looked, not_before: None };
        watch.read();
        watch
    }

    /// Until somebody stops it.
    async fn for_ever(&mut self) -> Outcome {
        self.summary("begins", &format!("watches {}", self.counted()));
        let mut due: BTreeMap<CopyAt, Instant> = BTreeMap::new();
        loop {
            let now = Instant::now();
            due.retain(|at, _| self.copies.iter().any(|copy| copy.at == *at));
            let asked: Vec<CopyCheck> =
                self.copies.iter().filter(|copy| due.get(&copy.at).is_none_or(|due| *due <= now)).cloned().collect();
            due.extend(asked.iter().map(|copy| (copy.at.clone(), now + self.every(copy))));
            let ended = self.stoppable(async |watch| watch.ask(&asked).await).await;
            if ended.is_none() {
                return ENDED;
            }
            let is_due = self.looked.elapsed() >= LOOK_EVERY;
            if is_due && self.stoppable(async |watch| watch.look(Asked::All).await).await.is_none() {
                return ENDED;
            }
            if (is_due || !self.streaks.verdicts(&self.copies).is_empty()) && self.not_before.is_none_or(|then| then <= Instant::now()) {
                match self.act().await {
                    // The run itself was stopped at once.
                    Outcome::Interrupted => return Outcome::Interrupted,
                    done @ Outcome::Closed(Verdict::Stuck) if is_stopped() => return done,
                    Outcome::Closed(Verdict::PutBack | Verdict::Stuck) => self.not_before = Some(Instant::now() + AFTER_A_FAILURE),
                    Outcome::Locked | Outcome::Unreachable => self.not_before = Some(Instant::now() + AFTER_A_REFUSAL),
                    _ => self.not_before = None,
                }
            }
            let next = due.values().min().copied().unwrap_or(now + LOOK_EVERY).min(self.looked + LOOK_EVERY);
            let wait = next.saturating_duration_since(Instant::now());
            if self.stoppable(async |_| tokio::time::sleep(wait).await).await.is_none() {
                return ENDED;
            }
        }
    }

    /// Until it is known of each copy whether it is well; then what is to be done is done.
    async fn once(&mut self) -> Outcome {
        let most = self.copies.iter().map(|copy| copy.checks.fails.max(copy.checks.passes)).max().unwrap_or(0);
        for round in 0..most {
            let undecided = self.streaks.undecided(&self.copies);
            let asked: Vec<CopyCheck> = self.copies.iter().filter(|copy| undecided.contains(&copy.at)).cloned().collect();
            let Some(pause) = asked.iter().map(|copy| self.every(copy)).min() else { break };
            let wait = if round == 0 { Duration::ZERO } else { pause };
            let ended = self.stoppable(async |watch| {
                tokio::time::sleep(wait).await;
                watch.ask(&asked).await;
            });
            if ended.await.is_none() {
                return Outcome::Interrupted;
            }
        }
        let done = self.act().await;
        if is_stopped() {
            return Outcome::Interrupted;
        }
        match done {
            Outcome::Done | Outcome::NothingToDo | Outcome::Closed(Verdict::Done | Verdict::DoneWithLeftovers) => {}
            Outcome::Locked => {
                self.summary("locked", "another run has the servers, and nothing was changed");
                return done;
            }
            _ => return done,
        }
        let failing = self.streaks.failing();
        let unknown = self.streaks.undecided(&self.copies);
        let ill: Vec<String> = self
            .copies
            .iter()
            .filter_map(|copy| match (copy.standing, failing.contains(&copy.at)) {
                (Standing::Out, _) => Some(format!("{} is out", word(copy))),
                (Standing::In, true) => Some(format!("{} fails and stays in", word(copy))),
                (Standing::In, false) if unknown.contains(&copy.at) => Some(format!("{} could not be asked", word(copy))),
                (Standing::In, false) => None,
            })
            .collect();
        if ill.is_empty() && self.surveyed.silent.is_empty() {
            self.summary("well", &format!("{}: all are in and answer", self.counted()));
            return Outcome::Done;
        }
        let silent = self.surveyed.silent.iter().map(|server| format!("{server} does not answer"));
        self.summary("unhealthy", &format!("{}: {}", self.counted(), ill.into_iter().chain(silent).collect::<Vec<_>>().join("; ")));
        Outcome::Unhealthy
    }

    /// What it does, unless somebody stops it first: then None.
    async fn stoppable<T>(&mut self, work: impl AsyncFnOnce(&mut Self) -> T) -> Option<T> {
        tokio::select! {
            biased;
            () = signals::came(1) => None,
            done = work(self) => Some(done),
        }
    }

    fn every(&self, copy: &CopyCheck) -> Duration {
        self.interval.unwrap_or(copy.checks.interval).duration()
    }

    /// Asks these copies once, from all their servers at the same time.
    async fn ask(&mut self, asked: &[CopyCheck]) {
        let mut answers: BTreeMap<CopyAt, Vec<(ServerName, Checked)>> = BTreeMap::new();
        for some in asked.chunks(AT_ONCE) {
            let mut tasks = JoinSet::new();
            for copy in some {
                for from in copy.from.iter().filter(|from| !self.surveyed.silent.contains(*from)) {
                    let (servers, copy, from) = (self.surveyed.servers.clone(), copy.clone(), from.clone());
                    tasks.spawn(async move {
                        let checks = &copy.checks;
                        let seen = servers.check(&from, copy.address, copy.port, checks.path.as_deref(), checks.timeout).await;
                        (copy.at, from, seen)
                    });
                }
            }
            while let Some(done) = tasks.join_next().await {
                if let Ok((at, from, seen)) = done {
                    answers.entry(at).or_default().push((from, seen));
                }
            }
        }
        for copy in asked {
            let mut answers = answers.remove(&copy.at).unwrap_or_default();
            answers.sort_by_key(|(from, _)| copy.from.iter().position(|there| there == from));
            let seen = together(&answers);
            let unknown = match &seen {
                Checked::Unknown(why) => Some(why.as_str()),
                Checked::Passed | Checked::Failed(_) => None,
            };
            self.tell_unknown(copy, unknown);
            match self.streaks.take(copy, &seen) {
                Some(News::Fails(seen)) => self.tell("fails", Some(copy), &format!("fails: {}", prose::clean(&seen))),
                Some(News::Answers(0)) => self.tell("answers", Some(copy), "answers again"),
                Some(News::Answers(n)) => {
                    self.tell("answers", Some(copy), &format!("answers again, after {}", prose::count(n as usize, "failed check")))
                }
                None => {}
            }
        }
    }

    /// Asks the servers what they route and run.
    async fn look(&mut self, asked: Asked) {
        let connected = self.surveyed.servers.connected().await;
        let left: BTreeSet<ServerName> = match asked {
            Asked::All => BTreeSet::new(),
            Asked::Connected => self.surveyed.loaded.inventory.servers.keys().filter(|name| !connected.contains(*name)).cloned().collect(),
        };
        for name in &left {
            self.surveyed.fleet.remove(name);
            self.falls_silent(name, "there is no connection to it");
        }
        for (name, facts) in self.surveyed.servers.without(&left).survey_within(LOOK_WITHIN).await {
            match facts {
                Ok(facts) => {
                    self.surveyed.fleet.insert(name.clone(), facts);
                    if self.surveyed.silent.remove(&name) {
                        self.tell("server", None, &format!("{name} answers"));
                    }
                }
                Err(error) => {
                    self.surveyed.fleet.remove(&name);
                    self.falls_silent(&name, &error.to_string());
                }
            }
        }
        self.looked = Instant::now();
        self.read();
    }

    fn falls_silent(&mut self, name: &ServerName, why: &str) {
        if self.surveyed.silent.insert(name.clone()) {
            self.tell("server", None, &format!("{name} does not answer, and its copies are asked from others: {}", prose::clean(why)));
        }
    }

    /// What there is to be checked.
    fn read(&mut self) {
        let loaded = &self.surveyed.loaded;
        let (copies, findings) = copy_checks(&loaded.playbook, &loaded.inventory, &self.surveyed.fleet, &self.selected);
        self.streaks.keep(&copies);
        self.copies = copies;
        self.tell_findings("copies", &findings);
    }
}
