//! What the next generation of a server's NGINX stands on: which one counts as live, what its files should be, and what hands have done
//! to it. Deliberately absent: the comparison of single files.
use super::edits::edits;
use super::{Remedy, Trouble};
use crate::config::Playbook;
use crate::facts::NginxFact;
use crate::model::{GenerationId, ServerName};
use crate::nginx::check_generation;
use crate::script::layout::{BOOTSTRAP, NGINX_CONTAINER};
use std::collections::BTreeMap;

/// One server's ground.
#[derive(Debug)]
pub(super) struct Ground {
    /// As it is once everything is set right: its `files` are what is carried over and read.
    pub nginx: NginxFact,
    /// The files on disk of the generation that counts as live.
    pub disk: BTreeMap<String, String>,
    /// `current` is to lead to this one again.
    pub restore: Option<GenerationId>,
    /// Its files are not what its name says: another generation has to take its place.
    pub renew: bool,
    pub troubles: Vec<Trouble>,
}

/// The generation that these files are, untouched.
fn made(files: &BTreeMap<String, String>) -> Option<GenerationId> {
    check_generation(files).ok().map(|(id, _)| id)
}

/// Judges one server.
pub(super) fn ground(playbook: &Playbook, server: &ServerName, seen: &NginxFact) -> Ground {
    let disk = seen.files.clone();
    let mut ground = Ground { nginx: seen.clone(), disk, restore: None, renew: false, troubles: Vec::new() };
    let other = made(&seen.other);
    let is_there = |id: &GenerationId| seen.generations.contains(id);
    let recorded = seen.recorded.first();
    let gone = "put the folder back from a backup. Without one NGINX has to begin anew there, and every project to be deployed again: \
                docker rm -f flipside_nginx, and remove the link `current`";
    match (&seen.live, &seen.served) {
        (live, Some(served)) if live.as_ref() != Some(served) => {
            let word = live.as_ref().map_or("none".to_owned(), ToString::to_string);
            let moved = live.as_ref().is_some_and(is_there);
            let text = format!("NGINX serves generation {served} while the files on disk are {word}");
            if other.as_ref() != Some(served) {
                let hint = format!("look at: docker exec {NGINX_CONTAINER} nginx -t -c /flipside/nginx/current/nginx.conf, then reload it");
                ground.troubles.push(Trouble::new(server, Remedy::Refused, text, hint));
            } else if moved {
                let hint = format!(
                    "somebody moved the link `current`: `--repair` leads it back to what is served. If it was meant: docker exec {NGINX_CONTAINER} nginx -s reload -c /flipside/nginx/current/nginx.conf"
                );
                ground.troubles.push(Trouble::new(server, Remedy::Repaired, text, hint));
                ground.restore(served.clone(), seen.other.clone());
            } else {
                let what = if live.is_some() { format!("leads to {word}, which is not there") } else { "is gone".to_owned() };
                let text = format!("the link `current` {what}; NGINX serves generation {served}");
                ground.troubles.push(Trouble::new(server, Remedy::Healed, text, "the next run leads it back to what is served"));
                ground.restore(served.clone(), seen.other.clone());
            }
        }
        (Some(live), _) if !is_there(live) => {
            let text = format!("the files of the live generation {live} are gone");
            if made(&seen.sealed).as_ref() == Some(live) {
                ground.troubles.push(Trouble::new(server, Remedy::Healed, text, "the next run brings them back from their copy"));
                ground.restore(live.clone(), seen.sealed.clone());
            } else {
                let text = format!("{text}, and so is their copy");
                ground.troubles.push(Trouble::new(server, Remedy::Refused, text, gone));
            }
        }
        (None, _) => {
            if let Some(recorded) = recorded.filter(|recorded| other.as_ref() == Some(*recorded)) {
                let text = format!("the link `current` is gone; Flipside switched to generation {recorded} last");
                ground.troubles.push(Trouble::new(server, Remedy::Healed, text, "the next run leads it there again"));
                ground.restore(recorded.clone(), seen.other.clone());
            }
        }
        (Some(live), _) if live.0 == BOOTSTRAP => {
            let Some(lost) = recorded.filter(|recorded| *recorded != live) else { return ground };
            let text = format!("NGINX has lost generation {lost}, and routes nothing");
            if other.as_ref() == Some(lost) {
                ground.nginx.files.clone_from(&seen.other);
                ground.troubles.push(Trouble::new(server, Remedy::Healed, text, "the next run brings all its routes back from their copy"));
            } else {
                let hint = "the services of other projects are routed again once these are deployed";
                ground.troubles.push(Trouble::new(server, Remedy::Told, text, hint));
            }
        }
        (Some(live), _) => {
            if let Some(recorded) = recorded.filter(|_| !seen.recorded.contains(live)) {
                let text =
                    format!("NGINX serves generation {live}, and Flipside switched to {recorded} last: somebody has switched by hand");
                ground.troubles.push(Trouble::new(server, Remedy::Told, text, "what it routes now counts as live"));
            }
            let (files, troubles) = edits(playbook, server, live, seen);
            ground.renew = !troubles.is_empty();
            ground.nginx.files = files;
            ground.troubles.extend(troubles);
        }
    }
    ground
}

impl Ground {
    /// `current` leads to this generation again, whose files are these.
    fn restore(&mut self, generation: GenerationId, files: BTreeMap<String, String>) {
        self.nginx.live = Some(generation.clone());
        self.nginx.files.clone_from(&files);
        self.disk = files;
        self.restore = Some(generation);
    }
}
