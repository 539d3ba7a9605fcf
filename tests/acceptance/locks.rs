//! Several runs at once: who waits, who is refused, and what becomes of a run that has lost its servers.
use crate::fleet::Fleet;
use crate::project::{Project, inventory};
use crate::server::FREE_WITHIN;
use crate::shop::{api_on, deploy, header, is};
use std::process::Command;

/// A project of another name on some of the servers.
fn other(fleet: &Fleet, name: &str, numbers: &[usize]) -> Project {
    let playbook = header("2.0").replace("shop", name) + &api_on(numbers.len(), "2.0", "").replace("shop.", &format!("{name}."));
    let project = Project::new(fleet, &playbook);
    project.inventory(&inventory(fleet, "root", numbers));
    project
}

/// `user@machine` of this process. The program is run without USER and LOGNAME, as by cron.
fn somebody_here() -> String {
    let said = Command::new("sh").args(["-c", "printf '%s@%s' \"$(id -un)\" \"$(uname -n)\""]).output().expect("a shell");
    String::from_utf8(said.stdout).expect("text")
}

#[test]
fn runs_that_wait_are_told_for_whom_and_none_waits_for_ever() {
    let fleet = Fleet::take();
    let project = Project::new(&fleet, &(header("1.0") + &api_on(3, "1.0", "")));
    deploy(&project).exits(0);
    // Slow enough for all that is asked meanwhile.
    let slow = api_on(3, "3.0", "command = [\"--behaviour\", \"slow-start=10000\"]").replace("8s", "20s");
    project.playbook(&(header("3.0") + &slow));
    let mut first = project.start(&["deploy", "-y"]);
    first.until("== start");

    // On this workstation: its journal says that it is still written.
    deploy(&project).exits(7).says(&["a deploy of shop/prod is running here (pid "]);
    project.flipside(&["abort"]).exits(7).says(&["is running here"]);
    let again = project.start(&["deploy", "-y", "--lock-wait", "100s"]);
    // From others: different servers of the same fleet, which overlap in one.
    let left = other(&fleet, "left", &[1, 2]);
    let right = other(&fleet, "right", &[2, 3]);
    let mut waiting = [left.start(&["deploy", "-y", "--lock-wait", "100s"]), right.start(&["deploy", "-y", "--lock-wait", "100s"])];
    for run in &mut waiting {
        run.until("waiting, ");
        run.until(&format!("locked by {}: flipside deploy of shop/prod (pid ", somebody_here()));
        run.until(", held for ");
    }
    let seen = project.flipside(&["unlock"]).exits(2).says(&["server1: locked by ", "flipside deploy of shop/prod", "-y"]);
    assert_eq!(seen.stdout.lines().filter(|line| line.contains("held for")).count(), 3, "{}", seen.all());
    first.end().exits(0);
    for run in waiting {
        run.end().exits(0);
    }
    // It planned from what the first had done, and found nothing left to do.
    again.end().exits(0).says(&["waiting, ", "nothing to do"]);
    is(&project, "api", "RUNNING", "secondary", "3.0");
    for (project, numbers) in [(&left, [1, 2]), (&right, [2, 3])] {
        is(project, "api", "RUNNING", "primary", "2.0");
        for number in numbers {
            assert_ne!(fleet.server(number).running(if numbers[0] == 1 { "left_" } else { "right_" }), Vec::<String>::new());
        }
    }
    project.flipside(&["unlock", "-y"]).exits(0).says(&["server1: free"]);
}

#[test]
fn a_run_that_froze_or_was_ended_gives_its_servers_up_and_never_comes_back_to_them() {
    let fleet = Fleet::take();
    let project = Project::new(&fleet, &(header("1.0") + &api_on(2, "1.0", "")));
    deploy(&project).exits(0);
    project.playbook(&(header("3.0") + &api_on(2, "3.0-slow-start", "")));
    let elsewhere = Project::new(&fleet, &(header("2.0") + &api_on(2, "2.0", "")));

    // Frozen: the servers are free within 25 s, to somebody who has not its journal.
    let mut frozen = project.start(&["deploy", "-y"]);
    frozen.until("[server1] started shop_prod_api_secondary ");
    let first = fleet.server(1);
    let locked = first.watch_lease();
    frozen.signal("STOP");
    elsewhere.flipside(&["deploy", "-y", "--lock-wait", "60s"]).exits(0).says(&["waiting, ", "locked by "]);
    let free = first.lease_was_free_at() - locked;
    assert!(free < FREE_WITHIN, "the lease of a run that stood still was free after {free} s");
    is(&elsewhere, "api", "RUNNING", "secondary", "2.0");
    let before = fleet.snapshot();
    frozen.signal("CONT");
    let ended = frozen.end();
    assert!(matches!(ended.exit, Some(5 | 6)), "{}", ended.all());
    ended.says(&["flipside deploy of shop/prod"]);
    assert_eq!(fleet.snapshot(), before, "a run that lost its servers changed them");

    // Ended by hand.
    let mut run = project.start(&["deploy", "-y"]);
    run.until("== start");
    elsewhere.flipside(&["unlock", "-y"]).exits(0).says(&["server1: locked by ", "server1: ended"]);
    let ended = run.end();
    assert!(matches!(ended.exit, Some(5 | 6)), "{}", ended.all());
    ended.says(&["flipside unlock of shop/prod"]);
    deploy(&project).exits(0);
    is(&project, "api", "RUNNING", "primary", "3.0");

    // Of a server that cannot be asked nobody says that it is free.
    fleet.server(2).fault("cut", &[]);
    let seen = project.flipside(&["unlock"]).exits(4).says(&["server1: free", "server2: unknown"]);
    fleet.server(2).fault("heal", &[]);
    assert!(!seen.stdout.contains("server2: free"), "{}", seen.all());
}
