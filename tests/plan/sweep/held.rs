//! A run that is held: whatever fails, nothing is undone, no lock and no revert is left, and the run goes on forward or back from there, also
//! where our process dies on the way. Deliberately absent: mishaps while it goes on, which are those of any run.
use super::*;
use crate::engine::{Moment, Way};
use flipside::remote::fake::Fate;

struct Held {
    case: Arc<Case>,
    base: Baseline,
    plan: Plan,
    before: Snapshot,
    after: Snapshot,
    n_held: usize,
    n_taken_up: usize,
    problems: Vec<String>,
}

impl Held {
    fn problem(&mut self, what: &str, problem: impl std::fmt::Display) {
        self.problems.push(format!("{}: {what}: {problem}", self.case.name));
    }

    /// The run stands as it is: nobody holds a lock, and no server puts itself back.
    fn rests(&mut self, servers: &Servers, what: &str) {
        let moving: Vec<_> = servers.iter().filter(|(_, server)| server.base.lease.is_some() || will_go_back(server)).collect();
        if !moving.is_empty() {
            let names: Vec<_> = moving.into_iter().map(|(name, _)| name.clone()).collect();
            self.problem(what, format!("locked or armed are {names:?}"));
        }
    }

    /// Both ways on from here.
    async fn taken_up(&mut self, station: &Workstation, servers: &Servers, journal: &[u8], on: &[Verdict], what: &str) {
        for (way, wanted) in [(Way::On, on), (Way::Back, &[Verdict::PutBack][..])] {
            let what = format!("{what}, then {way:?}");
            station.rewind(journal);
            let overtaken = station.overtaken(&self.case, servers);
            if !overtaken.is_empty() {
                self.problem(&what, format!("refused: {overtaken:?}"));
                continue;
            }
            let Some(ran) = station.take_up(&self.case, &self.base, servers.clone(), way, Mishap::None).await else { continue };
            self.n_taken_up += 1;
            ran.faults.iter().take(2).for_each(|fault| self.problem(&what, fault));
            let now = snapshot(&ran.servers, &self.case.playbook);
            let target = match ran.verdict {
                Some(Verdict::PutBack) => &self.before,
                Some(Verdict::Waiting) => &now,
                Some(_) | None => &self.after,
            };
            if !ran.verdict.is_some_and(|verdict| wanted.contains(&verdict)) || now != *target {
                let problem = format!("{:?}, wanted {wanted:?}\n  {target:?}\n  {now:?}", ran.verdict);
                self.problem(&what, problem);
            }
            self.rests(&ran.servers, &what);
        }
    }
}

async fn held(name: &str) {
    let mut case = case(name);
    case.servers = unleased(&case.servers);
    let (plan, _) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
    let case = Arc::new(case);
    let base = Baseline::new(&case, &case.servers);
    let station = Workstation::new("this workstation");
    let calm = station.run(&case, &base, &plan, case.servers.clone(), Mishap::None).await;
    assert_eq!(calm.verdict, Some(Verdict::Done));
    let (before, after) = (snapshot(&case.servers, &case.playbook), snapshot(&calm.servers, &case.playbook));
    let mut held = Held { case, base, plan, before, after, n_held: 0, n_taken_up: 0, problems: Vec::new() };
    for (number, step) in calm.steps.iter().enumerate() {
        for fate in [Fate::Fails, Fate::FailsAfter] {
            let what = format!("{fate:?} at action {number} ({})", held.plan.step(step).unwrap().title);
            let ran = station.run(&held.case, &held.base, &held.plan, held.case.servers.clone(), Mishap::Once(number, fate)).await;
            match ran.verdict {
                Some(Verdict::Held) => {}
                // Before the servers are ours, and when everything that matters is done.
                Some(Verdict::PutBack) if step.wave == 0 => continue,
                Some(Verdict::DoneWithLeftovers) if step.wave + 1 == held.plan.waves.len() => continue,
                verdict => {
                    held.problem(&what, format!("{verdict:?}"));
                    continue;
                }
            }
            held.n_held += 1;
            assert!(station.has_open_run(), "{what}: it is open");
            held.rests(&ran.servers, &what);
            held.taken_up(&station, &ran.servers, &ran.journal, &[Verdict::Done], &what).await;
        }
    }
    let shown: Vec<&str> = held.problems.iter().take(10).map(String::as_str).collect();
    assert!(held.problems.is_empty(), "{} problems:\n{}", held.problems.len(), shown.join("\n"));
    assert!(held.n_held > 20 && held.n_taken_up > 40, "{} held, {} taken up", held.n_held, held.n_taken_up);
}

#[tokio::test]
async fn whatever_fails_is_held_and_goes_on_or_back() {
    held("held").await;
}

#[tokio::test]
async fn a_canary_that_fails_is_held_and_goes_on_or_back() {
    held("canary_held").await;
}

/// Our process dies at every action of a run that comes to be held; servers go back by themselves meanwhile, or not. Then the cause is gone.
#[tokio::test]
async fn a_run_that_dies_before_it_is_held_goes_on_or_back() {
    let mut case = case("held");
    case.servers = unleased(&case.servers);
    let (plan, _) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
    let whole = case.servers.clone();
    case.servers.values_mut().for_each(|server| server.short_lived.extend(["shop/api:2".to_owned()]));
    let case = Arc::new(case);
    let base = Baseline::new(&case, &case.servers);
    let station = Workstation::new("this workstation");
    let calm = station.run(&case, &base, &plan, whole, Mishap::None).await;
    let (before, after) = (snapshot(&case.servers, &case.playbook), snapshot(&calm.servers, &case.playbook));
    let ran = station.run(&case, &base, &plan, case.servers.clone(), Mishap::Record).await;
    assert_eq!(ran.verdict, Some(Verdict::Held), "{:?}", ran.faults);
    let mut held = Held { case, base, plan, before, after, n_held: 0, n_taken_up: 0, problems: Vec::new() };
    let mut n_back = 0;
    for (number, moment) in ran.moments.iter().enumerate() {
        for goes_back in [false, true] {
            let mut servers = unleased(&moment.servers);
            let waiting: Vec<_> = servers.values_mut().filter(|server| will_go_back(server)).collect();
            if goes_back && waiting.is_empty() {
                continue;
            }
            n_back += usize::from(goes_back);
            waiting.into_iter().filter(|_| goes_back).for_each(FakeServer::grace_is_over);
            servers.values_mut().for_each(|server| server.short_lived.clear());
            let what = format!("killed {}{}", at(number), if goes_back { ", and servers went back" } else { "" });
            // What went back by itself is undone everywhere.
            let wanted = if goes_back { [Verdict::PutBack, Verdict::PutBack] } else { [Verdict::Done, Verdict::Done] };
            held.taken_up(&station, &servers, &ran.journal[..moment.journal], &wanted, &what).await;
        }
    }
    let shown: Vec<&str> = held.problems.iter().take(10).map(String::as_str).collect();
    assert!(held.problems.is_empty(), "{} problems:\n{}", held.problems.len(), shown.join("\n"));
    assert!(n_back > 0 && held.n_taken_up > 100, "{n_back} went back, {} taken up", held.n_taken_up);
}

/// A canary has stood the test and waits; our process dies at every action before that, or not. Then it is promoted, or taken back.
#[tokio::test]
async fn a_canary_waits_until_it_is_promoted_or_taken_back() {
    let mut case = case("canary_that_waits");
    case.servers = unleased(&case.servers);
    let (plan, _) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
    let case = Arc::new(case);
    let base = Baseline::new(&case, &case.servers);
    let station = Workstation::new("this workstation");
    let before = snapshot(&case.servers, &case.playbook);
    let waits = station.run(&case, &base, &plan, case.servers.clone(), Mishap::Record).await;
    assert_eq!((waits.verdict, &waits.faults[..]), (Some(Verdict::Waiting), &[][..]));
    assert!(station.has_open_run());
    let promoted = station.take_up(&case, &base, waits.servers.clone(), Way::Promote, Mishap::None).await.unwrap();
    assert_eq!(promoted.verdict, Some(Verdict::Done), "{:?}", promoted.faults);
    let after = snapshot(&promoted.servers, &case.playbook);
    assert!(before != after && !station.has_open_run());
    let mut held = Held { case, base, plan, before, after, n_held: 0, n_taken_up: 0, problems: Vec::new() };
    held.rests(&waits.servers, "it waits");
    let last = Moment { servers: waits.servers.clone(), journal: waits.journal.len() };
    for (number, moment) in waits.moments.iter().chain([&last]).enumerate() {
        let (what, journal) = (format!("killed {}", at(number)), &waits.journal[..moment.journal]);
        let servers = unleased(&moment.servers);
        // Taken up without a word it comes to wait again; and so often it is promoted, and taken back.
        held.taken_up(&station, &servers, journal, &[Verdict::Waiting], &what).await;
        station.rewind(journal);
        let again = station.take_up(&held.case, &held.base, servers.clone(), Way::On, Mishap::None).await.unwrap();
        held.rests(&again.servers, &what);
        let on = again.journal.clone();
        for (way, wanted) in [(Way::Promote, Verdict::Done), (Way::Back, Verdict::PutBack)] {
            station.rewind(&on);
            let ended = station.take_up(&held.case, &held.base, again.servers.clone(), way, Mishap::None).await;
            let ended = ended.map(|ran| (ran.verdict, snapshot(&ran.servers, &held.case.playbook)));
            let target = if way == Way::Promote { held.after.clone() } else { held.before.clone() };
            if ended.as_ref() != Some(&(Some(wanted), target)) {
                held.problem(&what, format!("{way:?}: {ended:?}"));
            }
        }
    }
    let shown: Vec<&str> = held.problems.iter().take(5).map(String::as_str).collect();
    assert!(held.problems.is_empty(), "{} problems:\n{}", held.problems.len(), shown.join("\n"));
}
