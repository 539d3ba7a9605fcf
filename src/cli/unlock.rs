//! `flipside unlock`: who has locked the servers, and ending the runs that have. Deliberately absent: any need for it.
use super::args::{Global, Output};
use super::exit::Outcome;
use super::print::{agrees, complain, result_line, talk};
use super::survey::{Surveyed, read_files, survey};
use crate::model::ServerName;
use crate::plan::prose;
use crate::remote::Holder;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal};

const NEVER_NEEDED: &str = "A lock goes by itself: at once when its run ends or is killed, and 25 s at most after its workstation has frozen or \
lost its network. A run that is ended here leaves its servers where they stand. Those that have switched and are not confirmed put \
themselves back, but in a first deploy or a handover; the next deploy, resume or abort puts the rest right.";

/// `flipside unlock`.
pub(super) async fn unlock(global: &Global, yes: bool) -> Outcome {
    let surveyed = match read_files(global) {
        Ok(loaded) => match survey(global, loaded, "unlock").await {
            Ok(surveyed) => surveyed,
            Err(outcome) => return outcome,
        },
        Err(outcome) => return outcome,
    };
    let outcome = look_and_end(global, yes, &surveyed).await;
    surveyed.servers.release().await;
    outcome
}

async fn look_and_end(global: &Global, yes: bool, surveyed: &Surveyed) -> Outcome {
    let mut seen = Seen::default();
    let names: BTreeSet<&ServerName> = surveyed.fleet.keys().collect();
    for (name, holder) in surveyed.servers.holders(&names).await {
        let lock = match holder {
            Ok(Some(holder)) => Lock::Held(holder),
            Ok(None) => Lock::Free,
            Err(error) => {
                complain(&format!("{name}: {error}"));
                Lock::Unknown
            }
        };
        seen.0.insert(name, lock);
    }
    seen.0.extend(surveyed.silent.iter().map(|name| (name.clone(), Lock::Unknown)));
    show(global, &seen);
    let mut outcome = seen.outcome();
    let held = seen.held();
    if held.is_empty() {
        return outcome;
    }
    let (itself, ended): (Vec<_>, Vec<_>) = held.into_iter().partition(|(_, holder)| holder.is_the_server_itself());
    if !yes && !ended.is_empty() {
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            complain("without a terminal nobody can be asked: give -y to end these runs without a question; nothing was changed");
            return Outcome::Usage;
        }
        if !agrees(&format!("end what holds {}?", prose::count(ended.len(), "lock"))).await {
            complain("nothing was changed");
            return Outcome::Declined;
        }
    }
    for (name, _) in itself {
        complain(&format!("{name}: the server is putting itself back, which is left to end: run the command again in a minute"));
        outcome = Outcome::Locked;
    }
    for (name, holder) in ended {
        match surveyed.servers.end_lease(name, holder).await {
            Ok(n_ended) => talk(&format!("{name}: ended, {n_ended} processes; free\n")),
            Err(error) => {
                complain(&format!("{name}: it is locked all the same: {error}"));
                outcome = Outcome::Locked;
            }
        }
    }
    outcome
}

/// What a server says of its lock.
enum Lock {
    /// It could not be asked.
    Unknown,
    Free,
    Held(Holder),
}

impl Lock {
    fn holder(&self) -> Option<&Holder> {
        match self {
            Lock::Held(holder) => Some(holder),
            Lock::Unknown | Lock::Free => None,
        }
    }
}

/// The locks of all servers.
#[derive(Default)]
struct Seen(BTreeMap<ServerName, Lock>);

impl Seen {
    fn held(&self) -> Vec<(&ServerName, &Holder)> {
        self.0.iter().filter_map(|(name, lock)| Some((name, lock.holder()?))).collect()
    }

    fn unknown(&self) -> BTreeSet<&ServerName> {
        self.0.iter().filter(|(_, lock)| matches!(lock, Lock::Unknown)).map(|(name, _)| name).collect()
    }

    /// What it comes to where every lock that is held is ended.
    fn outcome(&self) -> Outcome {
        match (self.unknown().is_empty(), self.held().is_empty()) {
            (false, _) => Outcome::Unreachable,
            (true, true) => Outcome::NothingToDo,
            (true, false) => Outcome::Done,
        }
    }

    fn lines(&self) -> Vec<String> {
        let line = |(name, lock): (&ServerName, &Lock)| match lock {
            Lock::Unknown => format!("{name}: unknown"),
            Lock::Free => format!("{name}: free"),
            Lock::Held(holder) => format!("{name}: locked by {}", prose::clean(&holder.to_string())),
        };
        self.0.iter().map(line).collect()
    }

    fn json(&self) -> serde_json::Value {
        let unknown = self.unknown();
        let held = |holder: &Holder| serde_json::json!({ "holder": holder.who, "seconds": holder.age.map(|age| age.0 / 1000) });
        let known = self.0.iter().filter(|(name, _)| !unknown.contains(name));
        let locks: BTreeMap<_, _> = known.map(|(name, lock)| (name, lock.holder().map(held))).collect();
        serde_json::json!({ "locks": locks, "silent": unknown })
    }
}

fn show(global: &Global, seen: &Seen) {
    match global.output {
        Output::Json => result_line(&seen.json().to_string()),
        Output::Text => {
            seen.lines().iter().for_each(|line| result_line(line));
            talk(&format!("{NEVER_NEEDED}\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_could_not_be_asked_is_not_free() {
        let held = || Lock::Held(Holder { who: "ann".to_owned(), age: None });
        let seen = |locks: [Lock; 2]| Seen(["s1", "s2"].map(|name| ServerName::new(name).unwrap()).into_iter().zip(locks).collect());
        let (one_free, one_held) = (seen([Lock::Unknown, Lock::Free]), seen([Lock::Unknown, held()]));
        assert_eq!(one_free.lines(), ["s1: unknown", "s2: free"]);
        assert_eq!(one_free.json(), serde_json::json!({ "locks": { "s2": null }, "silent": ["s1"] }));
        assert_eq!(one_held.json(), serde_json::json!({ "locks": { "s2": { "holder": "ann", "seconds": null } }, "silent": ["s1"] }));
        assert_eq!((one_free.outcome(), one_held.outcome()), (Outcome::Unreachable, Outcome::Unreachable));
        assert_eq!(seen([Lock::Free, Lock::Free]).outcome(), Outcome::NothingToDo);
        assert_eq!(seen([Lock::Free, held()]).outcome(), Outcome::Done);
    }
}
