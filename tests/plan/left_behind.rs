//! What a run that was cut off leaves behind, where somebody then deploys the old version: nothing of it runs on, and nothing else is gone.
//! Deliberately absent: every other way on (see `sweep`).
use crate::baseline::Baseline;
use crate::cases::{case, plan};
use crate::driver::{Servers, Trouble, drive};
use crate::engine::{Mishap, Workstation, unleased};
use crate::invariants::snapshot;
use flipside::model::{StepId, Verdict};
use flipside::remote::fake::{FakeServer, is_up};
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

/// A server that was left behind is in every server's record until all of them have switched: whoever comes then would else take it for
/// one that has what the others have.
#[test]
fn a_server_is_level_when_the_last_batch_of_a_roll_has_switched_and_no_earlier() {
    let case = case("rolling_brings_one_level");
    let (roll, _) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
    let names = |servers: &Servers| -> Vec<bool> {
        let live = |server: &FakeServer| server.files(server.base.nginx.live.as_ref().unwrap()).unwrap().get("shop_prod.behind").cloned();
        servers.values().map(|server| live(server).is_some_and(|record| record.contains("\"s3\""))).collect()
    };
    let last = roll.waves.iter().rposition(|wave| wave.name.starts_with("switch")).unwrap();
    let n_switches = roll.waves.iter().filter(|wave| wave.name.starts_with("switch")).count();
    assert!(n_switches > 2, "it rolls");
    let cut_after = roll.step_ids().take_while(|id| id.wave < last).count();
    let mut servers = case.servers.clone();
    drive(&roll, &mut servers, &Trouble { cut_after: Some(cut_after), ..Trouble::default() }, &mut |_, _| {});
    assert_eq!(names(&servers), [true; 3], "before the last batch");
    let mut servers = case.servers.clone();
    assert_eq!(drive(&roll, &mut servers, &Trouble::default(), &mut |_, _| {}).verdict, Some(Verdict::Done));
    assert_eq!(names(&servers), [false; 3], "at the end");
}

/// The first run has stopped what it takes over, and started what never gets well; its journal is lost. Whoever deploys that release from
/// elsewhere fails, too, and does not wait for what nobody was served by.
#[test]
fn a_release_that_was_never_well_is_not_waited_for_on_the_way_back() {
    let mut case = case("adopt_volume_and_port_80");
    case.servers.values_mut().for_each(|server| server.unhealthy.extend(["shop/api:2".to_owned()]));
    let (first, _) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
    let begins = |id: &StepId, words: &str| first.step(id).unwrap().title.starts_with(words);
    let started = first.step_ids().position(|id| begins(&id, "start shop_prod_api")).unwrap();
    let mut servers = case.servers.clone();
    drive(&first, &mut servers, &Trouble { cut_after: Some(started + 1), ..Trouble::default() }, &mut |_, _| {});
    let mut servers = unleased(&servers);
    let (second, findings) = plan(&case.playbook, &case.inventory, &servers, &case.ask);
    assert!(findings.iter().any(|finding| finding.text.contains("shop_api_1 stays stopped")), "{findings:#?}");
    let ended = drive(&second, &mut servers, &Trouble::default(), &mut |_, _| {});
    assert_eq!(ended.verdict, Some(Verdict::PutBack), "{}", ended.log.join("\n"));
}
