//! The files of the live generation against their copy: which were edited, added or removed by hand, whose they are, and what they
//! should be. Deliberately absent: which generation is live.
use super::{Remedy, Trouble};
use crate::config::Playbook;
use crate::facts::NginxFact;
use crate::model::{GenerationId, Protocol, ServerName, ServiceName};
use crate::nginx::{
    ReadError, check_generation, generation_file, hosts_path, is_app_file, is_app_file_of, is_hosts_file, is_service_file, read_service,
    service_path,
};
use crate::plan::show::prose::clean;
use std::collections::{BTreeMap, BTreeSet};

/// Lines are shown up to this length.
const SHOWN: usize = 100;

/// The files as they should be carried over and read, and what was found.
///
/// What a file of this project routes counts as it stands, as long as it can be read; a foreign file that routes something else than it
/// was made for is left to its own project.
pub(super) fn edits(
    playbook: &Playbook,
    server: &ServerName,
    live: &GenerationId,
    seen: &NginxFact,
) -> (BTreeMap<String, String>, Vec<Trouble>) {
    let mut files = seen.files.clone();
    let mut troubles = Vec::new();
    let checked = check_generation(&seen.files);
    let is_whole = |(id, base): &(GenerationId, Option<GenerationId>)| {
        let (path, text) = generation_file(id, base.as_ref());
        id == live && seen.files.get(&path) == Some(&text)
    };
    if checked.as_ref().is_ok_and(is_whole) {
        return (files, troubles);
    }
    if !check_generation(&seen.sealed).is_ok_and(|(id, _)| id == *live) {
        let text = match checked {
            Err(error @ ReadError::Edited { .. }) => error.to_string(),
            Ok(_) | Err(_) => format!("generation {live} was edited by hand: its own file does not say its name"),
        };
        let hint = "there is no copy of what its files were: `--repair` writes this project's anew and takes the others as they are";
        return (files, vec![Trouble::new(server, Remedy::Repaired, text, hint)]);
    }
    let ours = hosts_path(&playbook.project, &playbook.env);
    let paths: BTreeSet<&String> = seen.files.keys().chain(seen.sealed.keys()).collect();
    for path in paths {
        let (found, made) = (seen.files.get(path), seen.sealed.get(path));
        if found == made {
            continue;
        }
        let owner = owner(playbook, path);
        let stays = match (found, made) {
            (Some(found), Some(made)) if is_service_file(path) => match (&owner, read_service(found), read_service(made)) {
                (Some(_), Ok(_), _) => Stays::Routing,
                (None, Ok(found), Ok(made)) if found == made => Stays::Nothing,
                (None, _, _) => Stays::Everything,
                (Some(_), Err(_), _) => Stays::Nothing,
            },
            // It follows from the files of the services.
            (Some(_), Some(_)) if is_hosts_file(path) && *path != ours => Stays::Everything,
            (Some(_), Some(_)) if is_app_file(path) && !is_app_file_of(&playbook.project, &playbook.env, path) => Stays::Everything,
            (Some(_), Some(_)) | (None, _) | (_, None) => Stays::Nothing,
        };
        let text = sentence(path, found, made);
        let trouble = match stays {
            Stays::Everything => Trouble::new(
                server,
                Remedy::Refused,
                format!("{text}. It may route otherwise than it was made for, so it is left to its own project"),
                "take the edit back, or deploy its project with --repair",
            ),
            Stays::Routing | Stays::Nothing => Trouble::new(
                server,
                Remedy::Repaired,
                text,
                "`--repair` sets it right; what should stay belongs into a template of your own",
            ),
        };
        troubles.push(match &owner {
            Some(service) => trouble.of(service),
            None => trouble,
        });
        match (stays, made) {
            (Stays::Routing | Stays::Everything, _) => {}
            (Stays::Nothing, Some(made)) => {
                files.insert(path.clone(), made.clone());
            }
            (Stays::Nothing, None) => {
                files.remove(path);
            }
        }
    }
    (files, troubles)
}

/// What of an edited file is kept.
#[derive(Clone, Copy)]
enum Stays {
    /// What it routes: the file itself is rendered anew.
    Routing,
    /// All of it.
    Everything,
    /// Nothing: it is what it was made as.
    Nothing,
}

/// The service of this playbook whose file it is.
fn owner(playbook: &Playbook, path: &str) -> Option<ServiceName> {
    let is_its = |name: &ServiceName| {
        [Protocol::Tcp, Protocol::Http].iter().any(|protocol| service_path(&playbook.project, &playbook.env, name, *protocol) == *path)
    };
    playbook.services.keys().find(|name| is_its(name)).cloned()
}

fn sentence(path: &str, found: Option<&String>, made: Option<&String>) -> String {
    let (Some(found), Some(made)) = (found, made) else {
        let what = if found.is_some() { "added" } else { "removed" };
        return format!("NGINX file {path} was {what} by hand");
    };
    let (mut found, mut made) = (found.lines(), made.lines());
    let mut line = 0;
    loop {
        line += 1;
        let (found, made) = (found.next(), made.next());
        if found != made || found.is_none() {
            let shown = |text: Option<&str>| {
                let text = text.map(|text| clean(text.trim()));
                text.map_or("nothing".to_owned(), |text| format!("`{}`", text.chars().take(SHOWN).collect::<String>()))
            };
            return format!("NGINX file {path} was edited by hand: line {line} is {}, and was made as {}", shown(found), shown(made));
        }
    }
}
