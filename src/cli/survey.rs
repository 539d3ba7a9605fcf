//! What every command that needs servers begins with: read the files, connect, ask for facts. Deliberately absent: what is done with them.
use super::args::Global;
use super::exit::Outcome;
use super::load::{Loaded, load};
use super::passphrase::passphrase;
use super::print::{complain, talk};
use crate::model::{Action, EnvName, Millis, ProjectName, ServerName, ServiceName, day_of};
use crate::plan::{Finding, Fleet, Inputs, Level, Plan, Wanted, cannot_do_without};
use crate::remote::{ConnectOptions, Connector, Servers, Surroundings};
use crate::script::{ScriptContext, commands};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// The system names the present user within this time, also where a directory in the network is asked.
const ID_WITHIN: Duration = Duration::from_secs(3);

/// Files read, servers asked.
pub(super) struct Surveyed {
    pub(super) loaded: Loaded,
    pub(super) servers: Servers,
    pub(super) fleet: Fleet,
    /// Servers that did not answer.
    pub(super) silent: BTreeSet<ServerName>,
    /// Servers whose sshd forbids forwarding; only known to [`survey_all`].
    pub(super) without_tunnels: BTreeSet<ServerName>,
    /// Connecting and asking took this long.
    pub(super) took: Millis,
}

impl Surveyed {
    /// What a plan is made from, of what was read and seen.
    pub(super) fn inputs<'a>(&'a self, wanted: &'a Wanted, removed: &'a BTreeSet<ServiceName>) -> Inputs<'a> {
        let Loaded { playbook, inventory, templates, secrets, .. } = &self.loaded;
        Inputs { playbook, inventory, fleet: &self.fleet, templates, wanted, removed, secrets }
    }

    /// Goes on with the servers that have answered, unless there is a reason not to.
    async fn or_refused(mut self, refusal: Option<String>) -> Result<Surveyed, Outcome> {
        if let Some(why) = refusal {
            complain(&format!("{why}; nothing was changed on any server"));
            self.servers.release().await;
            return Err(Outcome::Unreachable);
        }
        if !self.silent.is_empty() {
            self.servers = self.servers.without(&self.silent);
        }
        self.without_tunnels = self.servers.without_tunnels().await;
        Ok(self)
    }

    /// The outcome of a plan with these fatal findings: where one is about a server that did not answer, that is what it is about.
    pub(super) fn fatal(&self, findings: &[Finding]) -> Outcome {
        let silent = |finding: &Finding| finding.server.as_ref().is_some_and(|server| self.silent.contains(server));
        let by_silence = findings.iter().any(|finding| finding.level == Level::Fatal && silent(finding));
        if by_silence { Outcome::Unreachable } else { Outcome::FatalFindings }
    }

    /// Asks all servers for their facts once more.
    ///
    /// # Errors
    /// The outcome to exit with: one of them does not answer.
    pub(super) async fn again(&mut self) -> Result<(), Outcome> {
        for (name, facts) in self.servers.survey().await {
            match facts {
                Ok(facts) => {
                    self.fleet.insert(name, facts);
                }
                Err(error) => {
                    complain(&format!("{name}: {error}; nothing was changed on any server"));
                    return Err(Outcome::Unreachable);
                }
            }
        }
        Ok(())
    }

    /// As [`Surveyed::again`], to see under the lock whether anything has changed since the plan. That time has gone by is no change: a plan
    /// has times in it, and by every later clock it would be another one.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn again_by_the_same_clocks(&mut self) -> Result<(), Outcome> {
        let clocks: BTreeMap<ServerName, u64> = self.fleet.iter().map(|(name, facts)| (name.clone(), facts.clock)).collect();
        self.again().await?;
        for (name, facts) in &mut self.fleet {
            facts.clock = clocks.get(name).copied().unwrap_or(facts.clock);
        }
        Ok(())
    }
}

/// Reads the files; problems are printed.
///
/// # Errors
/// The outcome to exit with.
pub(super) fn read_files(global: &Global) -> Result<Loaded, Outcome> {
    load(global).map_err(|error| {
        match error {
            super::load::LoadError::Problems(problems) => talk(&format!("{problems}\n")),
            other => complain(&other.to_string()),
        }
        Outcome::Configuration
    })
}

/// Connects to all servers of the inventory and asks for their facts. Servers that do not answer are printed.
///
/// # Errors
/// The outcome to exit with.
pub(super) async fn survey(global: &Global, loaded: Loaded, command: &str) -> Result<Surveyed, Outcome> {
    let began = Instant::now();
    let mut surroundings = Surroundings::of_this_process();
    surroundings.ask_ssh(&loaded.inventory).await;
    let options =
        ConnectOptions { parallel: usize::from(global.parallel), passphrase: passphrase(), surroundings, ..ConnectOptions::default() };
    let holder = holder(&user().await, command, &loaded);
    let servers = Servers::new(Connector::new(options), &loaded.inventory, &loaded.inventory_dir, &holder).map_err(|error| {
        complain(&error.to_string());
        Outcome::Configuration
    })?;
    let servers = servers.with_secrets(loaded.secrets.clone());
    servers.prepare().await.map_err(|error| {
        complain(&format!("{error}; nothing was changed on any server"));
        Outcome::Unreachable
    })?;
    let mut fleet = Fleet::new();
    let mut silent = BTreeSet::new();
    for (name, facts) in servers.survey().await {
        match facts {
            Ok(facts) => {
                fleet.insert(name, facts);
            }
            Err(error) => {
                let text = error.to_string();
                complain(&if text.starts_with(name.as_str()) { text } else { format!("{name}: {text}") });
                silent.insert(name);
            }
        }
    }
    let took = Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    Ok(Surveyed { loaded, servers, fleet, silent, without_tunnels: BTreeSet::new(), took })
}

/// As [`survey`], for commands that change servers: all must answer.
///
/// # Errors
/// The outcome to exit with; nothing was changed anywhere.
pub(super) async fn survey_all(global: &Global, loaded: Loaded, command: &str) -> Result<Surveyed, Outcome> {
    survey_most(global, loaded, command, 0).await
}

/// As [`survey`], for commands that change servers: all must answer but so many. From then on nobody asks those that did not.
///
/// # Errors
/// The outcome to exit with; nothing was changed anywhere.
pub(super) async fn survey_most(global: &Global, loaded: Loaded, command: &str, budget: u32) -> Result<Surveyed, Outcome> {
    let surveyed = survey(global, loaded, command).await?;
    let (n_silent, n_all) = (surveyed.silent.len(), surveyed.silent.len() + surveyed.fleet.len());
    surveyed.or_refused(cannot_do_without(n_silent, n_all, budget)).await
}

/// As [`survey`], for a run that goes on: the servers of its plan must answer.
///
/// # Errors
/// The outcome to exit with; nothing was changed anywhere.
pub(super) async fn survey_for(global: &Global, loaded: Loaded, command: &str, plan: &Plan) -> Result<Surveyed, Outcome> {
    let surveyed = survey(global, loaded, command).await?;
    let n_missing = plan.servers().into_iter().filter(|server| surveyed.silent.contains(*server)).count();
    let n_all = surveyed.silent.len() + surveyed.fleet.len();
    surveyed.or_refused(cannot_do_without(n_missing, n_all, 0)).await
}

/// `ann@laptop: flipside deploy of shop/prod (pid 4711, since 2026-11-21 12:00:00 UTC)`: what another run is told while we hold the lease.
fn holder(user: &str, command: &str, loaded: &Loaded) -> String {
    let machine =
        std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "a workstation".to_owned(), |name| name.trim().to_owned());
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let who = format!("{user}@{machine}");
    words(&who, command, &loaded.playbook.project, &loaded.playbook.env, &utc(seconds))
}

/// The user whose process this is, by the system: under cron no variable says so, and elsewhere a variable says what it likes. Of a user
/// without a name, the number.
async fn user() -> String {
    let asked = Command::new("id").arg("-un").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).output();
    let answer = tokio::time::timeout(ID_WITHIN, asked).await.ok().and_then(Result::ok);
    let name = answer.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "somebody".to_owned())
}

fn words(who: &str, command: &str, project: &ProjectName, env: &EnvName, since: &str) -> String {
    format!("{who}: flipside {command} of {project}/{env} (pid {}, since {since})", std::process::id())
}

/// Whether these are the words of a run of this project and environment.
pub(super) fn is_of(holder: &str, project: &ProjectName, env: &EnvName) -> bool {
    holder.contains(&format!(" of {project}/{env} (pid "))
}

/// Seconds since the Unix epoch as `2026-11-21 12:00:00 UTC`.
fn utc(seconds: u64) -> String {
    let (day, rest) = (day_of(i64::try_from(seconds).unwrap_or(i64::MAX)), seconds % 86_400);
    format!("{day} {:02}:{:02}:{:02} UTC", rest / 3600, rest % 3600 / 60, rest % 60)
}

/// Where the runs of this project and environment are kept: `--state-dir`, or `$XDG_STATE_HOME/flipside`, or `~/.local/state/flipside`.
pub(super) fn state_folder(global: &Global, loaded: &Loaded) -> PathBuf {
    let base = global.state_dir.clone().unwrap_or_else(|| {
        let state = std::env::var_os("XDG_STATE_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".local/state");
        state.unwrap_or_else(home).join("flipside")
    });
    base.join(format!("{}_{}", loaded.playbook.project, loaded.playbook.env))
}

/// The commands of an action as somebody would type them on a server.
pub(super) fn commands_of(loaded: &Loaded) -> impl Fn(&ServerName, &Action) -> Vec<String> + '_ {
    |server, action| match loaded.inventory.servers.get(server) {
        Some(settings) => {
            let context = ScriptContext { docker: settings.docker.clone(), remote_root: settings.remote_root.clone() };
            commands(&context, action)
        }
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_known_as_its_projects_by_the_words_of_its_lock() {
        let (shop, blog) = (ProjectName::new("shop").unwrap(), ProjectName::new("blog").unwrap());
        let (prod, test) = (EnvName::new("prod").unwrap(), EnvName::new("test").unwrap());
        let holder = words("ann of blog/prod@laptop", "deploy", &shop, &prod, "2026-11-21 12:00:00 UTC");
        assert!(is_of(&holder, &shop, &prod), "{holder}");
        assert!(!is_of(&holder, &blog, &prod) && !is_of(&holder, &shop, &test));
    }

    #[test]
    fn the_calendar_is_right_around_leap_days() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_795_262_399), "2026-11-21 11:59:59 UTC");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }
}
