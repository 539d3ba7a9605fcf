//! Actions on the real servers: consecutive script actions travel as one script over one channel, health probes run side by side.
//! Deliberately absent: what is done when one fails.
use super::health::await_healthy;
use super::hook::{HOOK_OUTPUT, run_here};
use super::leases::LeaseError;
use super::patience::{Over, Patience, engine_is_back};
use super::perform::{Call, Remote, Update};
use super::redact;
use super::servers::{Servers, Site, SurveyError};
use super::ssh::{ChannelError, Connection, ScriptEnd};
use crate::model::{Action, Failure, HOOK_RUN, HookPlace, Outcome, ServerName, StepId};
use crate::script::quote::quote;
use crate::script::{Frame, Heard, Sound, Verdict, body, fence};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::timeout;

/// Scripts are ended by the deadlines of their steps, and by nothing else.
const FOREVER: Duration = Duration::from_secs(30 * 24 * 3600);

/// One action of one call.
struct Item {
    call: usize,
    action: Action,
}

/// Calls on their way.
struct Work {
    calls: Vec<Call>,
    left: Vec<usize>,
    seen: Vec<Vec<String>>,
    begun: Vec<bool>,
    tell: UnboundedSender<Update>,
}

impl Remote for Servers {
    async fn perform(&self, server: ServerName, calls: Vec<Call>, tell: UnboundedSender<Update>) {
        let (sender, mut updates) = unbounded_channel();
        let telling = async {
            while let Some(update) = updates.recv().await {
                let _ = tell.send(redact::update(&self.redactor, update));
            }
        };
        tokio::join!(self.perform_calls(server, calls, sender), telling);
    }
}

impl Servers {
    async fn perform_calls(&self, server: ServerName, calls: Vec<Call>, tell: UnboundedSender<Update>) {
        let n_calls = calls.len();
        let left = calls.iter().map(|call| call.actions.len()).collect();
        let mut work = Work { calls, left, seen: vec![Vec::new(); n_calls], begun: vec![false; n_calls], tell };
        let Some(site) = self.site(&server) else {
            let failure = Failure { seen: format!("{server} is not in the inventory"), ..Failure::default() };
            work.stop(0, Outcome::Failed(failure));
            return;
        };
        let items: Vec<Item> = work
            .calls
            .iter()
            .enumerate()
            .flat_map(|(call, c)| c.actions.iter().map(move |action| Item { call, action: action.clone() }))
            .collect();
        let mut rest = items.as_slice();
        while let Some(first) = rest.first() {
            let kind = kind(&first.action);
            let n_together = match kind {
                Kind::Alone => 1,
                Kind::Script | Kind::Probe => rest.iter().take_while(|item| self::kind(&item.action) == kind).count(),
            };
            let (now, later) = rest.split_at(n_together);
            rest = later;
            let went_well = match kind {
                Kind::Script => self.run_scripts(&site, now, &mut work).await,
                Kind::Probe => self.run_probes(&site, now, &mut work).await,
                Kind::Alone => self.run_alone(&site, first, &mut work).await,
            };
            if !went_well {
                return;
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Script,
    Probe,
    Alone,
}

fn kind(action: &Action) -> Kind {
    match action {
        Action::Lock | Action::ConfirmFacts { .. } | Action::Pause { .. } => Kind::Alone,
        Action::AwaitHealthy { .. } | Action::StayHealthy { .. } | Action::JudgeCanary(_) => Kind::Probe,
        Action::PutFile { .. }
        | Action::PutSecrets { .. }
        | Action::RemoveSecrets { .. }
        | Action::EnsureNetwork(_)
        | Action::RemoveNetwork { .. }
        | Action::ConnectNetwork { .. }
        | Action::PullImage { .. }
        | Action::RunContainer(_)
        | Action::SetAside { .. }
        | Action::RenameContainer { .. }
        | Action::StartContainer { .. }
        | Action::StopContainer { .. }
        | Action::StopAdopted { .. }
        | Action::StartAdopted { .. }
        | Action::RemoveContainer { .. }
        | Action::BootNginx { .. }
        | Action::ReloadDoor { .. }
        | Action::AwaitDoor { .. }
        | Action::StageNginx { .. }
        | Action::RestoreGeneration { .. }
        | Action::DropGeneration { .. }
        | Action::Switch { .. }
        | Action::SwitchBack { .. }
        | Action::ArmRevert { .. }
        | Action::ConfirmSwitch { .. }
        | Action::DisarmRevert
        | Action::CheckRoute(_)
        | Action::Drain { .. }
        | Action::PruneGenerations { .. } => Kind::Script,
        Action::Hook(hook) => match hook.place {
            HookPlace::Workstation => Kind::Alone,
            HookPlace::Server | HookPlace::Container { .. } => Kind::Script,
        },
    }
}

impl Work {
    /// The first action of the call begins, or another one; true for the first.
    fn begin(&mut self, call: usize) -> bool {
        let first = !self.begun[call];
        if first {
            self.begun[call] = true;
            let _ = self.tell.send(Update::Begun(self.calls[call].id.clone()));
        }
        first
    }

    /// One action of the call is done.
    fn done(&mut self, call: usize, seen: String) {
        if !seen.is_empty() {
            self.seen[call].push(seen);
        }
        self.left[call] = self.left[call].saturating_sub(1);
        if self.left[call] == 0 {
            let seen = self.seen[call].join("; ");
            let _ = self.tell.send(Update::Ended(self.calls[call].id.clone(), Outcome::Done { seen }));
        }
    }

    /// The call did not succeed: whatever else is not done is not reached.
    fn stop(&mut self, call: usize, outcome: Outcome) {
        for (number, other) in self.calls.iter().enumerate().filter(|(number, _)| self.left[*number] > 0) {
            let outcome = if number == call { outcome.clone() } else { Outcome::NotReached };
            let _ = self.tell.send(Update::Ended(other.id.clone(), outcome));
        }
    }
}

impl Servers {
    async fn run_scripts(&self, site: &Arc<Site>, items: &[Item], work: &mut Work) -> bool {
        let mut bodies = Vec::new();
        for item in items {
            match body(&site.context, &item.action, &self.secrets) {
                Ok(text) => bodies.push(text),
                Err(error) => {
                    work.stop(item.call, Outcome::Failed(Failure { seen: error.to_string(), ..Failure::default() }));
                    return false;
                }
            }
        }
        let connection = match self.connection(site).await {
            Ok(connection) => connection,
            Err(error) => {
                work.stop(items[0].call, Outcome::Failed(unreachable(&error.to_string())));
                return false;
            }
        };
        if !engine_is_back(&connection, site).await {
            work.stop(items[0].call, Outcome::Failed(engine_hangs()));
            return false;
        }
        let before = format!("{}{HOOK_RUN}={}\n", fence(&site.context, &self.holder), quote(&self.run.id));
        let frame = Frame::new(&nonce(), bodies).behind(&before);
        let mut heard = Heard::default();
        let mut n_done = 0;
        let mut failed: Option<(usize, Failure)> = None;
        let patience = Patience::new();
        let script = frame.script();
        let mut running: Option<(StepId, bool)> = None;
        let mut on_line = |line: &str| {
            patience.heard();
            match frame.hear(&mut heard, line) {
                None => {
                    let hook = running.as_ref().filter(|(_, is_hook)| *is_hook && !line.is_empty() && !Frame::is_verdict(line));
                    if let Some((step, _)) = hook {
                        let _ = work.tell.send(Update::Chatter(step.clone(), format!("{HOOK_OUTPUT}{line}")));
                    }
                }
                Some(Sound::Begun(number)) => {
                    running = items.get(number).map(|item| (work.calls[item.call].id.clone(), matches!(item.action, Action::Hook(_))));
                    if let Some(item) = items.get(number)
                        && work.begin(item.call)
                    {
                        patience.step(work.calls[item.call].within.duration());
                    }
                }
                Some(Sound::Ended(number, Verdict::Done(seen))) => {
                    if let Some(item) = items.get(number) {
                        n_done = number + 1;
                        work.done(item.call, seen);
                    }
                }
                Some(Sound::Ended(number, Verdict::Failed(failure))) => failed = Some((number, failure)),
            }
        };
        // Where it is over the script is dropped, which ends it on the server, too.
        let end = tokio::select! {
            end = connection.run_script(&script, FOREVER, &mut on_line) => end.map_err(Cut::Channel),
            over = patience.over(&connection, site) => Err(Cut::Over(over)),
        };
        if let Some((number, mut failure)) = failed {
            let item = &items[number.min(items.len() - 1)];
            self.explain(&connection, site, &item.action, &mut failure).await;
            work.stop(item.call, Outcome::Failed(failure));
            return false;
        }
        if n_done == items.len() {
            return true;
        }
        let failure = cut_off(&end, &heard);
        let outcome = match end {
            Err(Cut::Channel(ChannelError::Refused { .. } | ChannelError::NoChannel { .. })) => Outcome::Failed(failure),
            Ok(_) | Err(_) => Outcome::Unknown(failure),
        };
        work.stop(items[n_done].call, outcome);
        false
    }

    async fn run_probes(&self, site: &Arc<Site>, items: &[Item], work: &mut Work) -> bool {
        let connection = match self.connection(site).await {
            Ok(connection) => connection,
            Err(error) => {
                work.stop(items[0].call, Outcome::Failed(unreachable(&error.to_string())));
                return false;
            }
        };
        let asked: Vec<(StepId, Action)> = items.iter().map(|item| (work.calls[item.call].id.clone(), item.action.clone())).collect();
        if !engine_is_back(&connection, site).await {
            work.stop(items[0].call, Outcome::Failed(engine_hangs()));
            return false;
        }
        for item in items {
            work.begin(item.call);
        }
        let answers = await_healthy(self, &connection, &site.context, asked, work.tell.clone()).await;
        let mut failed = None;
        for (item, answer) in items.iter().zip(answers) {
            match answer {
                Some(Ok(seen)) => work.done(item.call, seen),
                Some(Err(failure)) => failed = Some((item, failure)),
                None => {}
            }
        }
        let Some((item, mut failure)) = failed else { return true };
        // Nothing was seen of the containers then: over a new connection they are asked again.
        if timeout(Duration::ZERO, connection.lost()).await.is_ok() {
            work.stop(item.call, Outcome::Unknown(failure));
            return false;
        }
        self.explain(&connection, site, &item.action, &mut failure).await;
        work.stop(item.call, Outcome::Failed(failure));
        false
    }

    async fn run_alone(&self, site: &Arc<Site>, item: &Item, work: &mut Work) -> bool {
        work.begin(item.call);
        let answer = match &item.action {
            Action::Lock => match self.take_lease(site).await {
                Ok(()) => Ok("locked".to_owned()),
                Err(error @ LeaseError::Held(_)) => Err(Failure {
                    seen: error.to_string(),
                    wanted: "a server that no other run works on".to_owned(),
                    hint: "wait until that run has ended, and try again".to_owned(),
                    ..Failure::default()
                }),
                Err(error) => Err(Failure { seen: format!("the lock cannot be taken: {error}"), ..Failure::default() }),
            },
            Action::ConfirmFacts { project, env, digest: expected } => match self.facts_digest(site, project, env).await {
                Ok(digest) if digest == *expected => Ok("unchanged".to_owned()),
                Ok(_) => Err(Failure {
                    seen: "its containers or its NGINX have changed since the plan was made".to_owned(),
                    wanted: "the server as the plan saw it".to_owned(),
                    hint: "somebody else has deployed or worked here: run the command again to plan anew".to_owned(),
                    ..Failure::default()
                }),
                // These say themselves what to do.
                Err(
                    error @ (SurveyError::Facts { .. }
                    | SurveyError::Channel(ChannelError::Refused { .. } | ChannelError::NoChannel { .. })),
                ) => Err(Failure { seen: error.to_string(), wanted: "the server as the plan saw it".to_owned(), ..Failure::default() }),
                // It only reads: over a new connection it is done again.
                Err(error @ SurveyError::Channel(ChannelError::Lost { .. })) => {
                    work.stop(item.call, Outcome::Unknown(unreachable(&error.to_string())));
                    return false;
                }
                Err(error) => Err(unreachable(&error.to_string())),
            },
            // Here and not on the server: nothing is left there when nobody waits any more.
            Action::Pause { time } => {
                tokio::time::sleep(time.duration()).await;
                Ok("it is over".to_owned())
            }
            Action::Hook(hook) => {
                let (id, tell) = (work.calls[item.call].id.clone(), work.tell.clone());
                let mut variables = hook.variables.clone();
                variables.insert(HOOK_RUN.to_owned(), self.run.id.clone());
                let mut hear = |line: &str| drop(tell.send(Update::Chatter(id.clone(), format!("{HOOK_OUTPUT}{line}"))));
                let ended = run_here(&hook.command, &variables, &self.run.folder, hook.timeout, &mut hear).await;
                ended.map(|()| "exit code 0".to_owned())
            }
            _ => Err(Failure { seen: "this action is a script".to_owned(), ..Failure::default() }),
        };
        match answer {
            Ok(seen) => {
                work.done(item.call, seen);
                true
            }
            Err(failure) => {
                work.stop(item.call, Outcome::Failed(failure));
                false
            }
        }
    }

    /// Adds the container's last words to the failure of an action that has one.
    async fn explain(&self, connection: &Connection, site: &Site, action: &Action, failure: &mut Failure) {
        let Some(container) = action.container() else { return };
        // Its words are the engine's to give.
        if site.engine_hangs.load(Ordering::Relaxed) {
            return;
        }
        super::words::last_words(connection, &site.context, container, failure).await;
    }
}

fn unreachable(seen: &str) -> Failure {
    Failure {
        seen: seen.to_owned(),
        wanted: "an answer from the server".to_owned(),
        hint: "look at the server and at the network".to_owned(),
        ..Failure::default()
    }
}

/// Why a script has no end.
enum Cut {
    Channel(ChannelError),
    Over(Over),
}

fn cut_off(end: &Result<ScriptEnd, Cut>, heard: &Heard) -> Failure {
    let (seen, causes) = match end {
        Err(Cut::Over(Over::Engine)) => return Failure { tail: heard.cut_off(), ..engine_hangs() },
        Err(Cut::Over(Over::Deadline(within))) => (format!("no end was seen within {} s", within.as_secs()), Vec::new()),
        Err(Cut::Channel(error @ (ChannelError::Refused { .. } | ChannelError::NoChannel { .. }))) => (error.to_string(), Vec::new()),
        Err(Cut::Channel(error)) => ("the connection was lost in the middle of it".to_owned(), vec![error.to_string()]),
        Ok(end) => {
            let tail = end.stderr_tail.trim();
            ("the script ended before its last line".to_owned(), tail.lines().last().map(str::to_owned).into_iter().collect())
        }
    };
    Failure { seen, wanted: "to see how it ended".to_owned(), causes, tail: heard.cut_off(), ..Failure::default() }
}

fn engine_hangs() -> Failure {
    Failure {
        seen: "the Docker engine of this server does not answer: `docker version` hangs".to_owned(),
        wanted: "a Docker engine that answers".to_owned(),
        hint: "look at dockerd on the server (`systemctl status docker`, `journalctl -u docker`); one that stays like this has to be restarted".to_owned(),
        ..Failure::default()
    }
}

/// Sixteen hex digits that no output can foresee: the standard library seeds its hasher from the system's randomness.
fn nonce() -> String {
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u8(0);
    format!("{:016x}", hasher.finish())
}
