//! Hooks in their order and with their variables; one that fails stops the run and puts it back, and none hides why.
use crate::fleet::Fleet;
use crate::project::Project;
use crate::shop::{CHECK, deploy, header, is};
use crate::traffic::Traffic;
use std::fs::{self, DirEntry, Permissions};
use std::os::unix::fs::PermissionsExt;

/// The example that the README points to.
const EXAMPLE: &str = include_str!("../../playbooks/hooks.toml");
const SECRET: &str = "sentinel-hook-71ab";

/// What the hooks of the workstation have written since they were asked last, with RUN in the place of the run's id.
fn log(project: &Project) -> Vec<String> {
    let path = project.path("hooks.log");
    let text = fs::read_to_string(&path).unwrap_or_default();
    drop(fs::remove_file(path));
    let line = |line: &str| line.split_once(", run ").map_or_else(|| line.to_owned(), |(before, _)| format!("{before}, run RUN"));
    text.lines().map(line).collect()
}

/// What `after_failure` writes down in the example, and more of what it is told.
const TOLD: [&str; 2] = ["$FLIPSIDE_VERDICT:", "$FLIPSIDE_VERDICT in $FLIPSIDE_PROJECT/$FLIPSIDE_ENV/$FLIPSIDE_FAILED_SERVICE:"];
/// `after_failure` of a migration that failed.
const FAILED_MIGRATION: &str =
    "after_failure put_back in shop/prod/worker: run before_deploy 3 in a container of worker on server1: it failed with exit code 7";

/// The next release of `api` and `worker`, whose migration ends with this command.
fn migrating(end: &str) -> String {
    let text = EXAMPLE
        .replace("version = \"1.0\"", "version = \"2.0\"")
        .replace("[services.api]\nimage = \"flipside/app:1.0\"", "[services.api]\nimage = \"flipside/app:2.0\"")
        .replace("LEVEL = \"info\"", "LEVEL = \"debug\"")
        .replace(TOLD[0], TOLD[1])
        .replace("done </proc/net/tcp\n", &format!("done </proc/net/tcp\n        {end}\n"));
    assert!(text.contains("debug") && text.contains(&format!("        {end}\n")) && text.contains("app:2.0"));
    text
}

/// A hook of all servers that fails on one of them.
const SMOKE: &str =
    "{ command = \"echo smoke of $FLIPSIDE_PROJECT in $FLIPSIDE_ENV; [ $FLIPSIDE_SERVER != server2 ] || exit 3\", on = \"all\" }";

/// The rest of a hook of the workstation that would go on for more than an hour, and that nobody waits for.
const DAWDLES: &str = "; echo $$ >group; sleep 4321\", timeout = \"1s\"";
const KILLED: &str = "it did not end within 1s, and was killed";

/// Something of it goes on. What has ended and is yet to be reaped, by whoever reaps what has no parent any more, does not.
fn dawdles(project: &Project) -> bool {
    let group = fs::read_to_string(project.path("group")).expect("it has begun");
    let group = group.trim();
    assert!(group.parse::<u32>().is_ok(), "{group:?}");
    let goes_on = |process: DirEntry| {
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let mut after_its_name = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let (state, in_group) = (after_its_name.next(), after_its_name.nth(1) == Some(group));
        let words = fs::read(process.path().join("cmdline")).unwrap_or_default();
        in_group && !matches!(state, Some("Z" | "X")) && String::from_utf8_lossy(&words).contains("4321")
    };
    fs::read_dir("/proc").expect("all processes").flatten().any(goes_on)
}

#[test]
fn hooks_run_in_order_and_one_that_fails_stops_the_run_and_puts_it_back() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let project = Project::new(&fleet, EXAMPLE);
    let folder = project.path("secrets/prod");
    fs::create_dir_all(&folder).expect("a folder");
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).expect("its mode");
    fs::write(folder.join("db_password"), SECRET).expect("a secret");
    fs::set_permissions(folder.join("db_password"), Permissions::from_mode(0o600)).expect("its mode");

    let first = deploy(&project).exits(0).says(&[
        "[server1] │ before_deploy on server1 in run ",
        "[server3] │ before_deploy on server3 in run ",
        "│ migrating info with [secret] through localhost",
    ]);
    assert!(!first.all().contains(SECRET), "{}", first.all());
    let order = [
        "before_connect deploy of api echo worker",
        "after_connect server1 server2 server3",
        "before_deploy api echo worker, run RUN",
        "before_switch api echo: api=1.0 echo=1.0",
        "before_switch worker: worker=1.0",
        "after_deploy 1.0 after",
    ];
    assert_eq!(log(&project), order, "{}", first.all());
    let run = |said: &str| said.split("in run ").nth(1).and_then(|rest| rest.split_whitespace().next()).map(str::to_owned);
    assert!(run(&first.stderr).is_some_and(|id| project.path("state/shop_prod").join(id).is_dir()), "{}", first.all());
    for server in &servers {
        assert_eq!(server.run("docker ps -a --format '{{.Names}}' | grep -F .hook"), "", "{}", server.name);
    }

    // One that fails after the switch, on one server of all: traffic goes back to the old side everywhere, and the failing after_failure hides
    // nothing.
    let traffic = Traffic::http(&servers);
    let second = EXAMPLE
        .replace("version = \"1.0\"", "version = \"2.0\"")
        .replace("[services.api]\nimage = \"flipside/app:1.0\"", "[services.api]\nimage = \"flipside/app:2.0\"")
        .replace("{ command = \"uptime\", on = \"one\" }", SMOKE)
        .replace(TOLD[0], TOLD[1])
        .replace("$FLIPSIDE_FAILURE\\\" >>hooks.log", "$FLIPSIDE_FAILURE\\\" >>hooks.log; exit 9");
    assert!(second.contains(SMOKE) && second.contains(TOLD[1]) && second.contains("exit 9") && second.contains("app:2.0"));
    project.playbook(&second);
    deploy(&project).exits(5).says(&[
        "== switch (3 servers)",
        "[server1] │ smoke of shop in prod",
        "[server2] │ smoke of shop in prod",
        "[server3] │ smoke of shop in prod",
        "[server2] failed: run after_switch",
        "it failed with exit code 3",
        "everything was put back",
        "hook after_failure failed, too: it failed with exit code 9",
    ]);
    is(&project, "api", "RUNNING", "primary", "1.0");
    let order = [
        "before_connect deploy of api echo worker",
        "after_connect server1 server2 server3",
        "before_deploy api, run RUN",
        "before_switch api: api=2.0",
        "after_failure put_back in shop/prod/: run after_switch on server2: it failed with exit code 3",
    ];
    assert_eq!(log(&project), order);

    // One that does not end before the switch: the new side is healthy, and nobody meets it.
    traffic.phase("before_switch");
    project.playbook(&EXAMPLE.replace("app:1.0", "app:2.0").replace("$FLIPSIDE_SERVICES: $FLIPSIDE_VERSIONS >>hooks.log\"", DAWDLES));
    deploy(&project)
        .exits(5)
        .says(&["== before_switch", "run before_switch on the workstation", KILLED, "everything was put back"])
        .says_not(&["== switch"]);
    is(&project, "api", "RUNNING", "primary", "1.0");
    let told = format!("after_failure put_back: run before_switch on the workstation on server1: {KILLED}");
    assert_eq!((log(&project).last(), dawdles(&project)), (Some(&told), false));
    traffic.phase("");

    // A migration that fails, in its container, when another service has switched: nothing of the new release is left, nor of the container.
    project.playbook(&migrating("exit 7"));
    deploy(&project).exits(5).says(&[
        "│ migrating debug with [secret] through localhost",
        "run before_deploy 3 in a container of worker",
        "it failed with exit code 7",
        "everything was put back",
    ]);
    is(&project, "worker", "RUNNING", "primary", "1.0");
    is(&project, "api", "RUNNING", "primary", "1.0");
    for server in &servers {
        assert_eq!(server.run("docker ps --format '{{.Names}}' | grep -e .hook -e secondary"), "", "{}", server.name);
    }
    assert_eq!(log(&project).last().map(String::as_str), Some(FAILED_MIGRATION));

    // One that goes well, and the way back: each is told what was there before it.
    project.playbook(&migrating(":"));
    deploy(&project).exits(0);
    assert_eq!(log(&project).last().map(String::as_str), Some("after_deploy 2.0 after api=1.0 worker=1.0"));
    // A way back that cannot begin, on one server, and one that fails when it has switched: the release stays what it was, with its version.
    for (moment, hook, title, seen) in [
        (
            "before_rollback",
            "{ command = \"sleep 4321\", on = \"one\", server = \"server2\", timeout = \"1s\" }",
            "run before_rollback",
            KILLED,
        ),
        ("after_rollback", "{ command = \"exit 8\" }", "run after_rollback on the workstation", "it failed with exit code 8"),
    ] {
        traffic.phase(moment);
        let text = migrating(":");
        let line = |line: &str| if line.starts_with(moment) { format!("{moment} = [{hook}]\n") } else { format!("{line}\n") };
        project.playbook(&text.lines().map(line).collect::<String>());
        project.flipside(&["rollback", "-y"]).exits(5).says(&[title, seen, "everything was put back"]);
        is(&project, "api", "RUNNING", "secondary", "2.0");
        is(&project, "worker", "RUNNING", "secondary", "2.0");
        let told = log(&project).pop().unwrap_or_default();
        assert!(told.starts_with(&format!("after_failure put_back in shop/prod/: {title} on ")) && told.ends_with(seen), "{told}");
        assert_eq!(servers[1].run("pgrep -f '[s]leep 4321'"), "", "{moment}");
        traffic.phase("");
    }
    traffic.end().none_failed().versions(&["1.0", "2.0"]).only("before_switch", "1.0").only("before_rollback", "2.0");
    project.playbook(&migrating(":"));
    project.flipside(&["rollback", "-y"]).exits(0).says_not(&["migrating"]);
    let order = [
        "before_connect rollback of api echo worker",
        "after_connect server1 server2 server3",
        "before_rollback of api worker to 1.0",
        "before_switch api: api=1.0",
        "before_switch worker: worker=1.0",
        "after_rollback api=1.0 worker=1.0 after api=2.0 worker=2.0",
    ];
    assert_eq!(log(&project), order);
    is(&project, "api", "RUNNING", "primary", "1.0");

    // Nothing is begun where the first one fails, nor where the one after connecting does.
    let before = fleet.snapshot();
    project.playbook(&EXAMPLE.replace("$FLIPSIDE_HOOK $FLIPSIDE_SERVERS >>hooks.log", "$FLIPSIDE_HOOK >>hooks.log; exit 4"));
    deploy(&project)
        .exits(3)
        .says(&["hook after_connect on the workstation: it failed with exit code 4; nothing was changed on any server"]);
    assert_eq!(fleet.snapshot(), before);
    assert_eq!(log(&project), ["before_connect deploy of api echo worker", "after_connect"]);
    project.playbook(&EXAMPLE.replace("of $FLIPSIDE_SERVICES >>hooks.log", "; exit 1"));
    deploy(&project)
        .exits(3)
        .says(&["hook before_connect on the workstation: it failed with exit code 1; nothing was changed on any server"]);
    assert_eq!(fleet.snapshot(), before);
    assert_eq!(log(&project), Vec::<String>::new());
}

/// A worker whose image has a shell, with these hooks.
fn worker(version: &str, hooks: &str) -> String {
    let service =
        "[services.worker]\nimage = \"flipside/nginx:stable\"\ncommand = [\"sh\", \"-c\", \"exec sleep 86400\"]\nservers = [\"server1\"]\n";
    format!("{}\n{service}env = {{ LEVEL = \"{version}\" }}\nhealth_check = {CHECK}\n\n[hooks]\n{hooks}\n", header(version))
}

#[test]
fn a_hook_that_does_not_end_is_killed_and_one_that_was_cut_off_is_repeated_or_undone() {
    let fleet = Fleet::take();
    let server = fleet.server(1);
    let left = || server.run("docker ps -a --format '{{.Names}}' | grep -F .hook; pgrep -f '[s]leep 4321'");
    let migrates = |seconds: u32, timeout: &str| {
        let command = format!("echo migrating $LEVEL; sleep {seconds}; echo migrated");
        format!("before_deploy = [{{ command = \"{command}\", on = \"container\", service = \"worker\", timeout = \"{timeout}\" }}]")
    };
    let failed = "after_failure = [{ command = \"echo $FLIPSIDE_VERDICT: $FLIPSIDE_FAILURE >>hooks.log\" }]";
    let project = Project::new(&fleet, &worker("1.0", &format!("{}\n{failed}", migrates(4321, "3s"))));
    // It is listed, although it is no step of the plan.
    project.flipside(&["plan"]).exits(0).says(&[
        "Hooks around the run",
        "after_failure",
        "hooks.log",
        "run before_deploy in a container of worker",
    ]);
    deploy(&project).exits(5).says(&["migrating 1.0", "it did not end within 3s, and was killed", "everything was put back"]);
    assert_eq!(log(&project), ["put_back: it did not end within 3s, and was killed"]);
    assert_eq!(left(), "");
    assert_eq!(server.running("shop_"), Vec::<String>::new());

    // Flipside is killed in the middle of one in a container, which goes on; the run is taken up: the hook is ended and begins again.
    project.playbook(&worker("1.0", &migrates(8, "60s")));
    let mut run = project.start(&["deploy", "-y"]);
    run.until("│ migrating 1.0");
    run.signal("KILL");
    assert_eq!(run.end().exit, None);
    project.flipside(&["resume"]).exits(0).says(&["migrating 1.0", "migrated"]);
    is(&project, "worker", "RUNNING", "primary", "1.0");
    assert_eq!(left(), "");

    // In the middle of one on a server, and the run is undone: nothing of it goes on.
    let tries = "echo try >>/tmp/tries; echo tries: $(wc -l </tmp/tries); [ $(wc -l </tmp/tries) -gt 1 ] || sleep 4321";
    project.playbook(&worker("2.0", &format!("before_switch = [{{ command = \"{tries}\", on = \"one\", server = \"server1\" }}]")));
    server.must("rm -f /tmp/tries");
    let mut run = project.start(&["deploy", "-y"]);
    run.until("│ tries: 1");
    run.signal("KILL");
    assert_eq!(run.end().exit, None);
    project.flipside(&["abort"]).exits(0);
    assert_eq!((left().as_str(), server.run("cat /tmp/tries").as_str()), ("", "try\n"));
    is(&project, "worker", "RUNNING", "primary", "1.0");
    deploy(&project).exits(0).says(&["tries: 2"]);
    is(&project, "worker", "RUNNING", "secondary", "2.0");
}
