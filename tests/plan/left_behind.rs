//! What a run that was cut off leaves behind, where somebody then deploys the old version: nothing of it runs on, and nothing else is gone.
//! Deliberately absent: every other way on (see `sweep`).
use crate::baseline::Baseline;
use crate::cases::{case, plan};
use crate::driver::{Servers, Trouble, drive};
use crate::engine::{Mishap, Workstation, unleased};
use crate::invariants::snapshot;
use flipside::model::Verdict;
use flipside::remote::fake::is_up;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The ids of all containers that run.
fn running(servers: &Servers) -> BTreeSet<&str> {
    let containers = servers.values().flat_map(|server| &server.base.containers);
    containers.filter(|container| is_up(container)).map(|container| container.id.as_str()).collect()
}

/// Somebody deploys what was there before a run that was cut off: nothing of that run runs on, and what waits for a rollback is what did.
#[tokio::test]
async fn a_deploy_of_the_old_version_takes_back_what_a_run_left_behind() {
    let mut problems = Vec::new();
    let mut case = case("second_to_secondary_three_servers");
    case.servers = unleased(&case.servers);
    let case = Arc::new(case);
    let base = Baseline::new(&case, &case.servers);
    let whole = case.ask.whole();
    // Two releases, so that both sides have containers; and a third that is cut off.
    let (second, _) = plan(&case.playbook, &case.inventory, &case.servers, &whole);
    let station = Workstation::new("this workstation");
    let ran = station.run(&case, &base, &second, case.servers.clone(), Mishap::None).await;
    assert_eq!(ran.verdict, Some(Verdict::Done));
    let servers = ran.servers;
    let mut third = case.playbook.clone();
    for service in third.services.values_mut() {
        service.env.insert("ANOTHER".to_owned(), "release".to_owned());
    }
    let (new, _) = plan(&third, &case.inventory, &servers, &whole);
    let before = snapshot(&servers, &case.playbook);
    let cut_off = Workstation::new("another workstation").run(&case, &base, &new, servers.clone(), Mishap::Record).await;
    let mut n_tidied = 0;
    for (number, moment) in cut_off.moments.iter().enumerate() {
        let mut now = unleased(&moment.servers);
        if snapshot(&now, &case.playbook).routes() != before.routes() {
            continue;
        }
        let (tidy, _) = plan(&case.playbook, &case.inventory, &now, &whole);
        n_tidied += usize::from(!tidy.waves.is_empty());
        drive(&tidy, &mut now, &Trouble::default(), &mut |_, _| {});
        let (next, _) = plan(&case.playbook, &case.inventory, &now, &whole);
        let after = snapshot(&now, &case.playbook);
        if !next.waves.is_empty() || after.routes() != before.routes() || !before.is_kept_in(&after) || running(&now) != running(&servers) {
            let left = now.values().flat_map(|server| &server.base.containers).map(|container| &container.name).collect::<Vec<_>>();
            problems.push(format!("after {number} of {}: {} steps left, {left:?}", cut_off.moments.len(), next.n_steps()));
        }
    }
    assert!(n_tidied > 1, "only {n_tidied} of {} cuts left anything behind", cut_off.moments.len());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
