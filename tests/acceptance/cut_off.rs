//! Runs that were killed: undone by `abort`, or left behind by the next deploy, which starts from what the servers show.
//! Deliberately absent: `resume` (see `interrupt`).
use crate::fleet::Fleet;
use crate::project::Project;
use crate::shop::{api_on, deploy, header, is, status};
use crate::traffic::Traffic;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The names of all containers of the shop on all servers, running ones with a star.
fn containers(fleet: &Fleet) -> Vec<String> {
    let star = |state: &str| if state == "running" { "*" } else { "" };
    let of_server = |server: crate::server::Server| {
        let of_shop = server.containers().into_iter().filter(|(name, _)| name.starts_with("shop_"));
        of_shop.map(|(name, found)| format!("{} {name}{}", server.name, star(&found.state))).collect::<Vec<_>>()
    };
    fleet.servers().into_iter().flat_map(of_server).collect()
}

/// Starts a deploy and kills it once it has said this.
fn killed(project: &Project, when: &str) {
    let mut run = project.start(&["deploy", "-y"]);
    run.until(when);
    run.signal("KILL");
    assert_eq!(run.end().exit, None, "it was to be killed at `{when}`");
}

#[test]
fn a_killed_run_is_undone_by_abort_or_replaced_by_the_next_deploy() {
    let fleet = Fleet::take();
    let project = Project::new(&fleet, &(header("1.0") + &api_on(3, "1.0", "")));
    deploy(&project).exits(0);
    project.flipside(&["abort"]).exits(0).says(&["no run of shop/prod was cut off"]);
    let before = containers(&fleet);
    let traffic = Traffic::http(&fleet.servers());

    // Undone from before, in, and after the switch: everything is as it was.
    project.playbook(&(header("2.0") + &api_on(3, "2.0", "")));
    for when in ["== start", "== switch", "== drain"] {
        killed(&project, when);
        project.flipside(&["abort"]).exits(0).says(&["undoing deploy shop/prod", "everything was put back"]);
        is(&project, "api", "RUNNING", "primary", "1.0");
        let now: Vec<String> = containers(&fleet).into_iter().filter(|name| !name.contains(".failed")).collect();
        assert_eq!(now, before, "killed at `{when}`");
        project.flipside(&["resume"]).exits(0).says(&["no run of shop/prod was cut off"]);
    }

    // The old playbook again, by cron: what the killed run had started is stopped.
    killed(&project, "waited for");
    project.playbook(&(header("1.0") + &api_on(3, "1.0", "")));
    deploy(&project).exits(0).says(&["a deploy was cut off here", "takes its place", "abort` would undo it"]);
    is(&project, "api", "RUNNING", "primary", "1.0");
    let now: Vec<String> = containers(&fleet).into_iter().filter(|name| name.ends_with('*')).collect();
    assert_eq!(now, before, "what the killed run had started runs on");
    deploy(&project).exits(0).says(&["nothing to do"]).says_not(&["cut off"]);

    // The new one again, after kills at both ends of the switch: one deploy, or two where the first had to bring the fleet together.
    for (when, version, tag) in [("== start", "2.0", "2.0"), ("switched NGINX", "3.0", "3.0")] {
        project.playbook(&(header(version) + &api_on(3, tag, "")));
        killed(&project, when);
        deploy(&project).exits(0).says(&["cut off here"]);
        deploy(&project).exits(0).says_not(&["cut off"]);
        deploy(&project).exits(0).says(&["nothing to do"]);
        let now = containers(&fleet);
        assert!(now.iter().all(|name| !name.contains(".previous") && !name.contains(".failed")), "{now:?}");
        assert_eq!(now.iter().filter(|name| name.ends_with('*')).count(), 3, "one side alone: {now:?}");
        project.flipside(&["abort"]).exits(0).says(&["no run of shop/prod was cut off"]);
    }
    traffic.end().none_failed();

    // A run that only has to write down its end is past undoing.
    let journal = newest_journal(&project);
    let whole = fs::read_to_string(&journal).expect("a journal");
    let (cut, _) = whole.trim_end().rsplit_once('\n').expect("lines");
    fs::write(&journal, format!("{cut}\n{{\"seq\":")).expect("a journal");
    project.flipside(&["abort"]).exits(3).says(&["past undoing", "resume` finishes it", "rollback` goes back"]);
    project.flipside(&["resume"]).exits(0);
    project.flipside(&["abort"]).exits(0).says(&["no run of shop/prod was cut off"]);
    another_versions_run(&project);
}

/// A run that another version of the program has begun: it is not guessed at, and a deploy starts from what the servers show.
fn another_versions_run(project: &Project) {
    project.playbook(&(header("4.0") + &api_on(3, "2.0", "")));
    killed(project, "== switch");
    let plan = newest_journal(project).with_file_name("plan.json");
    let text = fs::read_to_string(&plan).expect("a plan");
    fs::write(&plan, text.replacen("\"format\": ", "\"format\": 9", 1)).expect("a plan");
    for command in ["resume", "abort"] {
        let said = ["is no plan that this version can read: it has format 9", "starts from what the servers show"];
        project.flipside(&[command]).exits(2).says(&said);
    }
    deploy(project).exits(0);
    deploy(project).exits(0).says(&["nothing to do"]);
    let seen = status(project, "api");
    assert_eq!((&seen["state"], &seen["versions"]), (&"RUNNING".into(), &serde_json::json!(["4.0"])), "{seen:#}");
}

fn newest_journal(project: &Project) -> PathBuf {
    let state = project.path("state").join("shop_prod");
    let runs = fs::read_dir(&state).expect("runs").map(|entry| entry.expect("a run").path());
    runs.max().expect("a run").join("journal.jsonl")
}

/// A small disk in the place of this folder, for as long as the value lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(path: PathBuf, size: &str) -> Self {
        fs::create_dir_all(&path).expect("a folder");
        let made = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&path).status().expect("mount");
        assert!(made.success(), "a tmpfs cannot be mounted");
        Self(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn a_full_disk_on_the_workstation_and_a_second_signal_stop_a_run_that_can_be_undone() {
    let fleet = Fleet::take();
    let project = Project::new(&fleet, &(header("1.0") + &api_on(2, "1.0", "")));
    deploy(&project).exits(0);
    project.playbook(&(header("3.0") + &api_on(2, "3.0-slow-start", "")));

    // No room for a plan: no server is touched.
    let before = fleet.snapshot();
    {
        let _disk = SmallDisk::at(project.path("state"), "16k");
        let refused = project.flipside(&["deploy", "-y"]).exits(2);
        refused.says(&["No space left on device", "nothing was changed on any server"]);
    }
    assert_eq!(fleet.snapshot(), before);

    // No room for a step in the middle: nothing more is begun, and with room again the run is undone.
    {
        let disk = SmallDisk::at(project.path("state"), "2m");
        let mut run = project.start(&["deploy", "-y"]);
        run.until("== start");
        drop(fs::write(disk.0.join("ballast"), vec![0; 4 << 20]));
        run.end().exits(130).says(&["the journal cannot be written", "abort"]);
        fs::remove_file(disk.0.join("ballast")).expect("the ballast");
        project.flipside(&["abort"]).exits(0).says(&["everything was put back"]);
    }
    is(&project, "api", "RUNNING", "primary", "1.0");

    // The first signal undoes, once a switch that is under way has ended; the second stops at once and says what is left to type.
    project.playbook(&(header("2.0") + &api_on(2, "2.0", "")));
    let first = fleet.server(1);
    first.nginx_is_taken();
    let mut run = project.start(&["deploy", "-y"]);
    run.until("[server2] switched NGINX");
    run.signal("INT");
    run.until("asked to stop");
    run.signal("TERM");
    run.end().exits(130).says(&["was interrupted", "flipside -p", "resume", "abort", "puts everything back"]);
    first.nginx_is_let_go();
    project.flipside(&["abort"]).exits(0).says(&["everything was put back"]);
    is(&project, "api", "RUNNING", "primary", "1.0");
}
