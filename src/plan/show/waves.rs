//! The waves: per server the titles of its steps. Servers with the same text share one block.
use super::{View, describe, prose};
use crate::model::ServerName;
use crate::plan::{Plan, Step, WaveKind};
use std::collections::BTreeMap;

pub(super) fn lines(plan: &Plan, view: &View<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, wave) in plan.waves.iter().enumerate() {
        let note = match wave.kind {
            WaveKind::Work | WaveKind::Unrouted => "",
            WaveKind::AfterPromotion => "  (waits for `flipside promote`: until then the run ends here)",
            WaveKind::Cleanup => "  (past undoing: a failure is reported and the rest goes on)",
        };
        let heading = format!("{}. {}", index + 1, wave.name);
        lines.push(format!("{}{}", view.paint.bold(&heading), view.paint.dim(note)));
        let mut blocks: Vec<(Vec<&ServerName>, Vec<String>)> = Vec::new();
        let mut places: BTreeMap<Vec<String>, usize> = BTreeMap::new();
        for (server, steps) in &wave.servers {
            let block: Vec<String> = steps.iter().flat_map(|step| step_lines(server, step, view)).collect();
            match places.get(&block) {
                Some(place) => blocks[*place].0.push(server),
                None => {
                    places.insert(block.clone(), blocks.len());
                    blocks.push((vec![server], block));
                }
            }
        }
        for (servers, block) in blocks {
            lines.push(format!("   {}", view.paint.cyan(&format!("{}:", prose::server_list(servers)))));
            lines.extend(block);
        }
    }
    lines
}

fn step_lines(server: &ServerName, step: &Step, view: &View<'_>) -> Vec<String> {
    let mut lines = vec![format!("     {}", step.title)];
    if let Some(commands) = view.commands {
        for command in commands(server, &step.action) {
            lines.extend(command.lines().map(|line| view.paint.dim(&format!("       $ {line}"))));
        }
    }
    if view.undo {
        lines.extend(step.undo.iter().map(|action| view.paint.dim(&format!("       undo: {}", describe(action)))));
    }
    lines
}
