//! What `flipside watch` says: one line, or one event, for each thing that has changed. Deliberately absent: what the runs print.
use super::Watch;
use crate::cli::args::Output;
use crate::cli::print::result_line;
use crate::model::{CopyAt, ServiceName};
use crate::plan::{CopyCheck, Finding, prose};
use std::collections::{BTreeMap, BTreeSet};

/// What is so already, and was said.
#[derive(Default)]
pub(super) struct Told {
    /// Whom it waits for; empty where for nobody.
    pub(super) waits: String,
    /// Why nothing is known of a copy.
    unknown: BTreeMap<CopyAt, String>,
    /// By who has found them.
    findings: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Watch<'_> {
    /// Nothing is known of a copy: said where it begins to be so, or is so for another reason.
    pub(super) fn tell_unknown(&mut self, copy: &CopyCheck, why: Option<&str>) {
        let Some(why) = why else {
            self.told.unknown.remove(&copy.at);
            return;
        };
        if self.told.unknown.insert(copy.at.clone(), why.to_owned()).as_deref() != Some(why) {
            self.tell("unknown", Some(copy), &format!("is not known to be well or not: {}", prose::clean(why)));
        }
    }

    pub(super) fn tell_findings(&mut self, from: &'static str, findings: &[Finding]) {
        let now: BTreeSet<String> = findings.iter().map(|finding| prose::finding(finding).join(" ")).collect();
        let before = self.told.findings.insert(from, now.clone()).unwrap_or_default();
        now.difference(&before).for_each(|finding| self.tell("finding", None, finding));
    }

    pub(super) fn counted(&self) -> String {
        let services: BTreeSet<&ServiceName> = self.copies.iter().map(|copy| &copy.at.service).collect();
        let n = self.copies.len();
        let copies = if n == 1 { "1 copy".to_owned() } else { format!("{n} copies") };
        format!("{copies} of {}", prose::count(services.len(), "service"))
    }

    /// One thing that happened, on stdout.
    pub(super) fn tell(&self, what: &str, copy: Option<&CopyCheck>, text: &str) {
        let text = copy.map_or_else(|| text.to_owned(), |copy| format!("{} {text}", word(copy)));
        match self.global.output {
            Output::Text => result_line(&format!("flipside: watch: {text}")),
            Output::Json => {
                let at = copy.map(|copy| &copy.at);
                let (service, server) = (at.map(|at| at.service.as_str()), at.map(|at| at.server.as_str()));
                let replica = at.map(|at| at.replica);
                let event = serde_json::json!({ "event": "watch", "what": what, "service": service, "server": server, "replica": replica, "text": text });
                result_line(&event.to_string());
            }
        }
    }

    pub(super) fn summary(&self, verdict: &str, text: &str) {
        let (project, env) = (&self.surveyed.loaded.playbook.project, &self.surveyed.loaded.playbook.env);
        let text = format!("flipside: watch {project}/{env}: {text}");
        match self.global.output {
            Output::Text => result_line(&text),
            Output::Json => result_line(&serde_json::json!({ "event": "summary", "verdict": verdict, "text": text }).to_string()),
        }
    }
}

/// `api, copy 1 on server2`.
pub(super) fn word(copy: &CopyCheck) -> String {
    format!("{}, copy {} on {}", copy.at.service, copy.at.replica, copy.at.server)
}
