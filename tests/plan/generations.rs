//! The NGINX configuration of every generation that a rollout stages, one after the other, where `case.toml` asks for it: the folders
//! `nginx/G2` and so on, by the names of `expected.txt`. A real NGINX tests them, too (`tests/nginx_golden/nginx_t.sh`). Deliberately absent:
//! what the templates make of a service (see `tests/nginx.rs`).
use crate::cases::{cases, plan};
use crate::driver::{Servers, Trouble, drive};
use crate::{generations, golden};
use flipside::model::{GenerationId, Verdict};
use std::collections::BTreeMap;

#[test]
fn what_a_rollout_stages_is_as_written_down() {
    let mut n_checked = 0;
    for mut case in cases().into_iter().filter(|case| case.nginx) {
        let (plan, _) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
        let named = generations(&case, &plan);
        let staged = plan.step_ids().filter_map(|id| match &plan.step(&id).unwrap().action {
            flipside::model::Action::StageNginx { generation, .. } => Some(generation.clone()),
            _ => None,
        });
        let staged: Vec<GenerationId> = staged.collect();
        let mut files = BTreeMap::new();
        let mut look = |_: &str, servers: &Servers| {
            for generation in &staged {
                let number = named.iter().position(|id| *id == generation.0).unwrap() + 1;
                let Some(found) = servers.values().find_map(|server| server.files(generation)) else { continue };
                files.extend(found.iter().map(|(path, text)| (format!("G{number}/{path}"), text.clone())));
            }
        };
        let ended = drive(&plan, &mut case.servers, &Trouble::default(), &mut look);
        assert_eq!(ended.verdict, Some(Verdict::Done), "{}: {:?}", case.name, ended.log);
        golden::check(&case.path.join("nginx"), &files);
        n_checked += 1;
    }
    assert!(n_checked >= 5 || std::env::var_os("CASE").is_some(), "only {n_checked} cases");
}
