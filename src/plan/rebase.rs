//! A run that is taken up where other projects have deployed since: what it has still to make live, forward or back, is made anew from what
//! they have there now. Deliberately absent: whether the run may go on (see `overtaken`).
use super::open_ports::keep_open;
use super::overtaken::{generations, is_to_restore};
use super::present::Fleet;
use super::record::Record;
use super::types::{Found, Plan, Step, Wave};
use super::warm::Warm;
use crate::facts::Facts;
use crate::ledger::{Ledger, StepState};
use crate::model::{Action, EnvName, GenerationId, ProjectName, ServerName, StagedListener};
use crate::nginx::{generation_file, generation_id, hosts_path, is_app_file_of};
use crate::script::layout::{GENERATION_FILE, stems};
use std::collections::{BTreeMap, BTreeSet};

type Files = BTreeMap<String, String>;

/// The same plan, for servers that serve a generation by now which this run neither found nor made, and in which all files of its project
/// and environment are as in one that it did: somebody else has deployed there. That generation takes the place of the one that is like
/// it, and every other one of the run is made anew on top of it, with what the others have there now. Their names differ, and nothing else.
///
/// A server where files of this project differ is left as it is planned; `overtaken` tells of it.
#[must_use]
pub fn rebased(plan: &Plan, ledger: &Ledger, fleet: &Fleet) -> Plan {
    let mut new = plan.clone();
    for (server, facts) in fleet {
        if let Some(anew) = Anew::of(plan, ledger, server, facts) {
            anew.write(&mut new, server);
        }
        keep_open(&mut new, ledger, server, facts);
    }
    new
}

/// What the live generations hold that the way back is made from, should another project deploy meanwhile: the files of this project, and
/// whatever else the plan changes.
pub(super) fn found(project: &ProjectName, env: &EnvName, waves: &[Wave], fleet: &Fleet) -> BTreeMap<ServerName, Found> {
    let mut touched: BTreeMap<&ServerName, (&GenerationId, BTreeSet<&String>)> = BTreeMap::new();
    for (server, steps) in waves.iter().flat_map(|wave| &wave.servers) {
        for step in steps {
            if let Action::StageNginx { base: Some(base), files, remove, .. } = &step.action {
                touched.entry(server).or_insert_with(|| (base, BTreeSet::new())).1.extend(files.keys().chain(remove));
            }
        }
    }
    let of = |server: &ServerName, base: &GenerationId, touched: &BTreeSet<&String>| -> Found {
        let files = fleet.get(server).into_iter().flat_map(|facts| &facts.nginx.files);
        let kept = files.filter(|(path, _)| *path != GENERATION_FILE && (touched.contains(path) || is_ours(project, env, path)));
        Found { generation: base.clone(), files: kept.map(|(path, text)| (path.clone(), text.clone())).collect() }
    };
    touched.into_iter().map(|(server, (base, touched))| (server.clone(), of(server, base, &touched))).collect()
}

/// The path is that of a file of this project and environment. Names may hold `_`: one of another project may pass for ours.
fn is_ours(project: &ProjectName, env: &EnvName, path: &str) -> bool {
    let folders = ["http.d", "stream.d"].map(|folder| format!("{folder}/{}", stems(project, env)));
    folders.iter().any(|prefix| path.starts_with(prefix))
        || path.starts_with(&format!("pages/{project}.{env}."))
        || is_app_file_of(project, env, path)
        || [hosts_path(project, env), Record::path(project, env), Warm::path(project, env)].iter().any(|ours| ours == path)
}

/// A generation of the run, as its plan stages it.
struct Staged<'a> {
    files: &'a Files,
    remove: &'a [String],
    listeners: &'a [StagedListener],
}

/// What takes the place of the run's generations on one server.
struct Anew {
    /// The one that is live, and the one of the run that it is like.
    live: (GenerationId, GenerationId),
    /// The others: by their id, the new one and the action that stages it.
    made: BTreeMap<GenerationId, (GenerationId, Action)>,
    /// What the live one holds of the files that count.
    found: Found,
}

impl Anew {
    fn of(plan: &Plan, ledger: &Ledger, server: &ServerName, facts: &Facts) -> Option<Anew> {
        let live = facts.nginx.live.as_ref().filter(|live| facts.nginx.served.as_ref() == Some(*live))?;
        let known = generations(plan, ledger, server);
        let Found { generation: base, files: found } = plan.found.get(server)?;
        let steps = || plan.waves.iter().filter_map(|wave| wave.servers.get(server)).flatten();
        if known.contains(&live) || is_to_restore(plan, ledger, server) {
            return None;
        }
        let staged = staged(base, steps());
        let text = |generation: &GenerationId, path: &String| match staged.get(generation) {
            Some(staged) if staged.remove.contains(path) => None,
            Some(staged) => staged.files.get(path).or_else(|| found.get(path)),
            None => found.get(path),
        };
        let paths: BTreeSet<&String> =
            staged.values().flat_map(|staged| staged.files.keys().chain(staged.remove)).chain(found.keys()).collect();
        let now = &facts.nginx.files;
        let ours = |path: &str| is_ours(&plan.project, &plan.env, path);
        let all_ours: BTreeSet<&String> = paths.iter().copied().chain(now.keys()).filter(|path| ours(path)).collect();
        // One that the run has left behind is live again where another run of this project was there, which is none of its.
        let is_like = |generation: &&GenerationId| {
            (staged.contains_key(*generation) || *generation == base)
                && all_ours.iter().all(|path| text(generation, path) == now.get(*path))
        };
        let like = *current(plan, ledger, server).iter().find(|generation| is_like(generation))?;
        let mut made = BTreeMap::new();
        for generation in staged.keys().copied().chain([base]).filter(|generation| *generation != like) {
            let mut all = now.clone();
            all.remove(GENERATION_FILE);
            for path in paths.iter().copied().filter(|path| *path != GENERATION_FILE) {
                // What others have changed since stays as they have it.
                if text(like, path) == now.get(path) {
                    match text(generation, path) {
                        Some(text) => drop(all.insert(path.clone(), text.clone())),
                        // What is nobody's own, such as the main file, others need by now.
                        None if ours(path) => drop(all.remove(path)),
                        None => {}
                    }
                }
            }
            let bound = staged.get(like).map_or(&[][..], |staged| staged.listeners);
            let listeners = staged.get(generation).map_or(&[][..], |staged| staged.listeners);
            made.insert(generation.clone(), stage(live, now, &all, listeners.iter().filter(|listener| !bound.contains(listener))));
        }
        let counts = |path: &String| *path != GENERATION_FILE && (paths.contains(path) || ours(path));
        let files = now.iter().filter(|(path, _)| counts(path)).map(|(path, text)| (path.clone(), text.clone())).collect();
        let found = Found { generation: live.clone(), files };
        Some(Anew { live: (live.clone(), like.clone()), made, found })
    }

    fn write(self, plan: &mut Plan, server: &ServerName) {
        for step in plan.waves.iter_mut().filter_map(|wave| wave.servers.get_mut(server)).flatten() {
            self.rewrite(step);
        }
        plan.found.insert(server.clone(), self.found);
    }

    fn rewrite(&self, step: &mut Step) {
        let stages = |action: &Action| matches!(action, Action::StageNginx { .. });
        step.action = self.renamed(&step.action);
        // One that takes a step back and stages something does so for what comes next, and so does this.
        step.first = self.staged_for(&step.action).into_iter().collect();
        let undo = std::mem::take(&mut step.undo);
        for action in undo.into_iter().filter(|action| !stages(action)) {
            if let Action::DropGeneration { generation } = &action {
                step.undo.extend(self.made.get(generation).map(|(new, _)| Action::DropGeneration { generation: new.clone() }));
                step.undo.push(action);
                continue;
            }
            let action = self.renamed(&action);
            step.undo.extend(self.staged_for(&action));
            step.undo.push(action);
        }
        let names = self.made.iter().map(|(old, (new, _))| (old, new)).chain([(&self.live.1, &self.live.0)]);
        for (old, new) in names {
            if step.title.contains(&old.0) {
                step.title = step.title.replace(&old.0, &new.0);
                break;
            }
        }
    }

    /// What takes the generation's place. One that the run does not know, such as an earlier run's, keeps its name.
    fn name(&self, generation: &GenerationId) -> GenerationId {
        let (live, like) = &self.live;
        let made = self.made.get(generation).map(|(new, _)| new);
        made.or((generation == like).then_some(live)).unwrap_or(generation).clone()
    }

    fn renamed(&self, action: &Action) -> Action {
        match action {
            Action::StageNginx { generation, .. } => self.made.get(generation).map_or(action, |(_, stage)| stage).clone(),
            Action::Switch { expect, to } => Action::Switch { expect: expect.as_ref().map(|expect| self.name(expect)), to: self.name(to) },
            Action::SwitchBack { from, to } => Action::SwitchBack { from: self.name(from), to: self.name(to) },
            Action::ArmRevert { back, to, grace } => {
                Action::ArmRevert { back: self.name(back), to: to.iter().map(|to| self.name(to)).collect(), grace: *grace }
            }
            Action::ConfirmSwitch { to } => Action::ConfirmSwitch { to: self.name(to) },
            other => other.clone(),
        }
    }

    /// What the action makes live, now or by itself later, is to be there: where it was made anew, nobody has staged it.
    fn staged_for(&self, action: &Action) -> Option<Action> {
        let target = match action {
            Action::Switch { to, .. } | Action::SwitchBack { to, .. } => to,
            Action::ArmRevert { back, .. } => back,
            _ => return None,
        };
        self.made.values().find(|(new, _)| new == target).map(|(_, stage)| stage.clone())
    }
}

/// What the run has live on the server, by its journal: one generation, or any of some where nobody saw how a switch ended.
fn current<'a>(plan: &'a Plan, ledger: &Ledger, server: &ServerName) -> Vec<&'a GenerationId> {
    let mut now = Vec::new();
    for id in plan.step_ids().filter(|id| id.server == *server) {
        let Some(step) = plan.step(&id) else { continue };
        let Action::Switch { expect: Some(before), to } = &step.action else { continue };
        // The way back of a later batch leads past what earlier ones have switched to.
        let back = step.undo.iter().filter_map(|action| match action {
            Action::SwitchBack { to, .. } => Some(to),
            _ => None,
        });
        let either = || [to, before].into_iter().chain(back).collect();
        match ledger.state(&id) {
            // An undo that was cut off reads as one that is yet to be done.
            StepState::Done if ledger.unwinding() => now = either(),
            StepState::Done => now = vec![to],
            // What is undone went back to what an earlier switch led to, or further.
            StepState::Pending | StepState::Undone if now.is_empty() => now = vec![before],
            StepState::Pending | StepState::Undone => {}
            StepState::Running | StepState::Unknown | StepState::Failed | StepState::Undoing | StepState::UndoFailed => now = either(),
        }
    }
    now
}

/// The generations that the steps stage on this one, wherever they do.
fn staged<'a>(on: &GenerationId, steps: impl Iterator<Item = &'a Step>) -> BTreeMap<&'a GenerationId, Staged<'a>> {
    let actions = steps.flat_map(|step| step.first.iter().chain([&step.action]).chain(&step.undo));
    let staged = actions.filter_map(|action| match action {
        Action::StageNginx { generation, base: Some(base), files, remove, listeners } if base == on => {
            Some((generation, Staged { files, remove, listeners }))
        }
        _ => None,
    });
    staged.collect()
}

/// The generation of these files on top of the live one, and the action that stages it.
fn stage<'a>(live: &GenerationId, now: &Files, all: &Files, new: impl Iterator<Item = &'a StagedListener>) -> (GenerationId, Action) {
    let id = generation_id(all, Some(live));
    let differing = all.iter().filter(|(path, text)| now.get(*path) != Some(*text));
    let mut files: Files = differing.map(|(path, text)| (path.clone(), text.clone())).collect();
    files.extend([generation_file(&id, Some(live))]);
    let remove = now.keys().filter(|path| *path != GENERATION_FILE && !all.contains_key(*path)).cloned().collect();
    let action = Action::StageNginx { generation: id.clone(), base: Some(live.clone()), files, remove, listeners: new.cloned().collect() };
    (id, action)
}
