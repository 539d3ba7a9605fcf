//! `flipside watch`: asks the copies that serve, again and again, and has those that fail taken out and those that pass taken in again, each
//! by an ordinary run. Deliberately absent: what answers in a row mean and which plan follows (`plan::checks`), and asking itself (`remote`).
mod act;
mod asking;
mod tell;

use super::args::Global;
use super::exit::Outcome;
use super::hooks::connecting;
use super::look::unknown_services;
use super::print::complain;
use super::signals::{self, is_stopped};
use super::survey::{Surveyed, read_files, survey};
use crate::model::{Checked, CopyAt, HookPoint, Millis, ServerName, ServiceName, Standing, Verdict};
use crate::plan::{CopyCheck, News, Streaks, copy_checks, prose};
use asking::Asking;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tell::{Told, word};

/// What is routed is looked at again this often, also where every copy answers: somebody may have deployed.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// A server that does not say within this time what it routes is passed over: but see [`look_within`].
const LOOK_WITHIN: Duration = Duration::from_secs(8);
/// Nor is it waited for longer than this, which is what it had when it was asked first.
const LOOK_AT_MOST: Duration = Duration::from_secs(30);
/// After a run that failed, the next one is not begun before this time is over.
const AFTER_A_FAILURE: Duration = Duration::from_secs(30);
/// Where another run has the servers, they are not asked for their locks again before.
const AFTER_A_REFUSAL: Duration = Duration::from_secs(5);
/// What the answers ask for and was tried is tried again after this time: a last copy stays where it is, however it answers.
const IN_VAIN: Duration = Duration::from_secs(5);
/// Answers of copies of one service that come so shortly after each other are acted on together.
const TOGETHER: Duration = Duration::from_secs(1);
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
    // Nobody asks over a connection that is being closed.
    watch.asking = Asking::new();
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

/// What the answers ask for.
struct Judged {
    verdicts: BTreeMap<CopyAt, Standing>,
    since: Instant,
    /// It was tried, and is not tried again before.
    again: Instant,
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
    /// For so long they may be silent then.
    look_within: Duration,
    /// No run begins before.
    not_before: Option<Instant>,
    judged: Option<Judged>,
    asking: Asking,
}

/// How long the servers have for saying what they route: twice what they `took` when they were asked first. Where some did not answer then,
/// nobody knows that of the others.
fn look_within(took: Option<Duration>) -> Duration {
    took.map_or(LOOK_WITHIN, |took| (took * 2).clamp(LOOK_WITHIN, LOOK_AT_MOST))
}

/// What a pass ends with whatever is known of the copies, where so many servers answer; None where it is for the copies to say.
fn said_by_itself(done: Outcome, n_answer: usize) -> Option<Outcome> {
    match done {
        Outcome::Done | Outcome::NothingToDo | Outcome::Closed(Verdict::Done | Verdict::DoneWithLeftovers) => None,
        // Some other run comes first, and has locked nothing. What it is was said.
        Outcome::FatalFindings => None,
        Outcome::Unreachable if n_answer > 0 => None,
        other => Some(other),
    }
}

impl<'a> Watch<'a> {
    fn new(global: &'a Global, surveyed: Surveyed, selected: BTreeSet<ServiceName>, interval: Option<Millis>) -> Watch<'a> {
        let streaks = Streaks::default();
        let look_within = look_within(surveyed.silent.is_empty().then(|| surveyed.took.duration()));
        let (told, looked, copies) = (Told::default(), Instant::now(), Vec::new());
        let mut watch = Watch {
            global,
            surveyed,
            selected,
            interval,
            copies,
            streaks,
            told,
            looked,
            look_within,
            not_before: None,
            judged: None,
            asking: Asking::new(),
        };
        watch.read();
        watch
    }

    /// Until somebody stops it.
    async fn for_ever(&mut self) -> Outcome {
        self.summary("begins", &format!("watches {}", self.counted()));
        loop {
            let is_due = self.looked.elapsed() >= LOOK_EVERY;
            if is_due && self.stoppable(async |watch| watch.look(Asked::All).await).await.is_none() {
                return ENDED;
            }
            let now = Instant::now();
            let acts = self.acts_from();
            if is_due && self.not_before.is_none_or(|then| then <= now) || acts.is_some_and(|then| then <= now) {
                match self.act().await {
                    // The run itself was stopped at once.
                    Outcome::Interrupted => return Outcome::Interrupted,
                    done @ Outcome::Closed(Verdict::Stuck) if is_stopped() => return done,
                    Outcome::Closed(Verdict::PutBack | Verdict::Stuck) => self.not_before = Some(Instant::now() + AFTER_A_FAILURE),
                    Outcome::Locked | Outcome::FatalFindings | Outcome::Unreachable => {
                        self.not_before = Some(Instant::now() + AFTER_A_REFUSAL);
                    }
                    _ => self.not_before = None,
                }
                if let Some(judged) = &mut self.judged {
                    judged.again = Instant::now() + IN_VAIN;
                }
            }
            self.asking.turns.keep(&self.copies);
            self.begin(None);
            let looks = self.looked + LOOK_EVERY;
            let until = [self.asking.turns.next(&self.copies), self.acts_from()].into_iter().flatten().fold(looks, Instant::min);
            if self.stoppable(async |watch| watch.hear(until).await).await.is_none() {
                return ENDED;
            }
        }
    }

    /// From when on it is to be acted on what the answers say; None where they ask for nothing. Copies of the same service that are being
    /// asked have a moment to answer: what fails together is judged together.
    fn acts_from(&mut self) -> Option<Instant> {
        let verdicts = self.streaks.verdicts(&self.copies);
        if verdicts.is_empty() {
            self.judged = None;
            return None;
        }
        let now = Instant::now();
        let judged = match self.judged.take() {
            Some(judged) if judged.verdicts == verdicts => judged,
            Some(_) | None => Judged { verdicts, since: now, again: now },
        };
        let services = judged.verdicts.keys().map(|at| &at.service).collect();
        let from = if self.asking.turns.are_asked(&services) { judged.since + TOGETHER } else { judged.since };
        let from = self.not_before.into_iter().fold(from.max(judged.again), Instant::max);
        self.judged = Some(judged);
        Some(from)
    }

    /// Until it is known of each copy whether it is well; then what is to be done is done.
    async fn once(&mut self) -> Outcome {
        if self.stoppable(async |watch| watch.decide().await).await.is_none() {
            return Outcome::Interrupted;
        }
        let done = self.act().await;
        if is_stopped() {
            return Outcome::Interrupted;
        }
        // A server was lost once it had said what it routes, and nothing was begun: who still answers?
        if done == Outcome::Unreachable && self.stoppable(async |watch| watch.look(Asked::Connected).await).await.is_none() {
            return Outcome::Interrupted;
        }
        if let Some(outcome) = said_by_itself(done, self.surveyed.fleet.len()) {
            match outcome {
                Outcome::Locked => self.summary("locked", "another run has the servers, and nothing was changed"),
                Outcome::Unreachable => self.summary("unreachable", "no server answers any more, and nothing was changed"),
                _ => {}
            }
            return outcome;
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

    /// Asks each copy until its answers are enough, or as often as it takes where they are.
    async fn decide(&mut self) {
        loop {
            let undecided = self.streaks.undecided(&self.copies);
            let is_open = |copy: &&CopyCheck| {
                let most = copy.checks.fails.max(copy.checks.passes);
                undecided.contains(&copy.at) && self.asking.turns.n_asked(&copy.at) < most
            };
            let open: Vec<CopyCheck> = self.copies.iter().filter(is_open).cloned().collect();
            self.begin(Some(&open));
            let next = self.asking.turns.next(&open);
            if next.is_none() && self.asking.is_idle() {
                return;
            }
            self.hear(next.unwrap_or_else(|| Instant::now() + LOOK_EVERY)).await;
        }
    }

    /// Begins to ask those whose turn it is, of all copies or of these.
    fn begin(&mut self, of: Option<&[CopyCheck]>) {
        let interval = self.interval;
        let every = |copy: &CopyCheck| interval.unwrap_or(copy.checks.interval).duration();
        self.asking.begin(of.unwrap_or(&self.copies), every, &self.surveyed.servers, &self.surveyed.silent);
    }

    /// Takes in the answers that come first, if any comes before then.
    async fn hear(&mut self, until: Instant) {
        for (asked, seen) in self.asking.answers(until).await {
            // Where somebody has deployed meanwhile, another copy stands in its place.
            let is_it = |copy: &&CopyCheck| copy.at == asked.at && (copy.address, copy.port) == (asked.address, asked.port);
            let Some(copy) = self.copies.iter().find(is_it).cloned() else { continue };
            let unknown = match &seen {
                Checked::Unknown(why) => Some(why.as_str()),
                Checked::Passed | Checked::Failed(_) => None,
            };
            self.tell_unknown(&copy, unknown);
            match self.streaks.take(&copy, &seen) {
                Some(News::Fails(seen)) => self.tell("fails", Some(&copy), &format!("fails: {}", prose::clean(&seen))),
                Some(News::Answers(0)) => self.tell("answers", Some(&copy), "answers again"),
                Some(News::Answers(n)) => {
                    self.tell("answers", Some(&copy), &format!("answers again, after {}", prose::count(n as usize, "failed check")))
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
        for (name, facts) in self.surveyed.servers.without(&left).survey_within(self.look_within).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_take_their_time_have_it_at_each_look() {
        let within = |took: u64| look_within(Some(Duration::from_secs(took))).as_secs();
        assert_eq!([1, 4, 12, 29].map(within), [8, 8, 24, 30]);
        assert_eq!(look_within(None), LOOK_WITHIN);
    }

    #[test]
    fn a_server_that_is_lost_before_the_run_is_no_reason_to_say_that_none_answers() {
        assert_eq!(said_by_itself(Outcome::Unreachable, 2), None);
        assert_eq!(said_by_itself(Outcome::Unreachable, 0), Some(Outcome::Unreachable));
        assert_eq!(said_by_itself(Outcome::Locked, 3), Some(Outcome::Locked));
        assert_eq!(said_by_itself(Outcome::NothingToDo, 3), None);
        assert_eq!(said_by_itself(Outcome::FatalFindings, 3), None, "no lock was in the way");
    }
}
