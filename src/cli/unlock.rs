//! `flipside unlock`: who has locked the servers, and ending the runs that have. Deliberately absent: any need for it.
use super::args::{Global, Output};
use super::exit::Outcome;
use super::print::{complain, result_line, talk};
use super::survey::{Surveyed, read_files, survey};
use crate::model::ServerName;
use crate::plan::prose;
use crate::remote::Holder;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, IsTerminal};

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
    let mut held: BTreeMap<ServerName, Holder> = BTreeMap::new();
    let names: BTreeSet<&ServerName> = surveyed.fleet.keys().collect();
    for (name, holder) in surveyed.servers.holders(&names).await {
        match holder {
            Ok(Some(holder)) => {
                held.insert(name, holder);
            }
            Ok(None) => {}
            Err(error) => complain(&format!("{name}: {error}")),
        }
    }
    show(global, surveyed, &held);
    if held.is_empty() {
        return if surveyed.silent.is_empty() { Outcome::NothingToDo } else { Outcome::Unreachable };
    }
    if !yes {
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            complain("without a terminal nobody can be asked: give -y to end these runs without a question; nothing was changed");
            return Outcome::Usage;
        }
        talk(&format!("\nend what holds {}? [y/N] ", prose::count(held.len(), "lock")));
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        if read.is_err() || !matches!(answer.trim(), "y" | "Y" | "yes") {
            complain("nothing was changed");
            return Outcome::Declined;
        }
    }
    let mut outcome = Outcome::Done;
    for name in held.keys() {
        match surveyed.servers.end_lease(name).await {
            Ok(n_ended) => talk(&format!("{name}: ended, {n_ended} processes; free\n")),
            Err(error) => {
                complain(&format!("{name}: it is locked all the same: {error}"));
                outcome = Outcome::Locked;
            }
        }
    }
    outcome
}

fn show(global: &Global, surveyed: &Surveyed, held: &BTreeMap<ServerName, Holder>) {
    match global.output {
        Output::Json => {
            let lock = |name: &ServerName| {
                held.get(name).map(|holder| serde_json::json!({ "holder": holder.who, "seconds": holder.age.map(|age| age.0 / 1000) }))
            };
            let all: BTreeMap<&ServerName, Option<serde_json::Value>> = surveyed.fleet.keys().map(|name| (name, lock(name))).collect();
            result_line(&serde_json::json!({ "locks": all, "silent": surveyed.silent }).to_string());
        }
        Output::Text => {
            for name in surveyed.fleet.keys() {
                let state = held.get(name).map_or("free".to_owned(), |holder| format!("locked by {}", prose::clean(&holder.to_string())));
                result_line(&format!("{name}: {state}"));
            }
            talk(&format!("{NEVER_NEEDED}\n"));
        }
    }
}
