//! Services that two containers must not run at once: a volume, a worker. Their gap is measured and printed, and nobody else writes their data.
use crate::fleet::Fleet;
use crate::gap::Client;
use crate::project::{Output, Project, inventory};
use crate::server::{Server, in_quotes};
use crate::shop::{CHECK, deploy, header, is};
use crate::traffic::HOST;

/// What only the store can answer, from its volume.
const FILE: &str = "/file?path=/data/log";

/// A website that keeps data, and a worker of which there must be one.
fn playbook(tag: &str) -> String {
    header(tag)
        + &format!(
            "
[services.store]
image = \"flipside/app:{tag}\"
port = 8000
protocol = \"http\"
servers = [\"server1\"]
volumes = [\"data:/data\"]
health_check = {{ path = \"/up\", interval = \"200ms\", deadline = \"5s\" }}
proxy = {{ hosts = [\"{HOST}\"] }}

[services.worker]
image = \"flipside/app:{tag}\"
command = [\"--mode\", \"tcp\", \"--port\", \"9000\"]
servers = [\"server1\"]
singleton = true
health_check = {CHECK}
"
        )
}

/// From now on every start and every end of the containers of a service is written down, by the engine, in its order.
fn write_down(server: &Server, service: &str) {
    let filters = "--filter type=container --filter event=start --filter event=die --filter label=flipside.role=app";
    let events = format!("exec docker events {filters} --filter label=flipside.service={service} --format '{{{{.Action}}}}'");
    server.must(&format!(
        "(setsid sh -c {} >/tmp/{service}.events 2>&1 </dev/null &)",
        in_quotes(&format!("echo $$ >/tmp/{service}.pid; {events}"))
    ));
}

/// The most containers of a service that ever ran at once, by what was written down; which ends.
fn most_at_once(server: &Server, service: &str) -> i32 {
    let events = server.must(&format!("kill $(cat /tmp/{service}.pid); cat /tmp/{service}.events"));
    let (mut now, mut most) = (0, 0);
    for event in events.lines() {
        now += if event == "start" { 1 } else { -1 };
        most = most.max(now);
    }
    assert_eq!(now, 1, "one of {service} is left: {events}");
    most
}

#[test]
fn a_volume_never_has_two_writers_and_the_gap_is_told() {
    let fleet = Fleet::take();
    let server = fleet.server(1);
    let project = Project::new(&fleet, &playbook("1.0"));
    project.inventory(&inventory(&fleet, "root", &[1, 2]));
    for service in ["store", "worker"] {
        write_down(&server, service);
    }
    deploy(&project).exits(0);
    assert_eq!(server.get(HOST, "/append?path=/data/log&text=one").0, 200);
    let has_its_data = |output: &Output| assert_eq!(server.get(HOST, FILE), (200, "one\n".to_owned()), "{}", output.all());

    let client = Client::of(&server, HOST, FILE);
    project.playbook(&playbook("2.0"));
    let output = deploy(&project).exits(0).says(&["handed over, no answer for"]);
    client.judges(&output, "store");
    is(&project, "store", "RUNNING", "secondary", "2.0");
    has_its_data(&output);

    // A new side that fails: the old one has its volume back, and serves.
    let client = Client::of(&server, HOST, FILE);
    project.playbook(&playbook("2.0").replace("flipside/app:2.0\"\nport", "flipside/app:3.0-unhealthy\"\nport"));
    let output = deploy(&project).exits(5).says(&["store", "everything was put back", "handed over and back, no answer for"]);
    client.judges(&output, "store");
    is(&project, "store", "RUNNING", "secondary", "2.0");
    has_its_data(&output);

    // Killed when the old side is stopped and nothing runs: whoever comes next goes on, with or without the run's journal.
    for (tag, side, next) in [("3.0", "primary", "deploy"), ("1.0", "secondary", "resume")] {
        project.playbook(&playbook(tag));
        let mut run = project.start(&["deploy", "-y"]);
        run.until("[server1] stopped shop_prod_store");
        run.signal("KILL");
        assert_eq!(run.end().exit, None);
        let output = if next == "resume" {
            project.flipside(&["resume"])
        } else {
            project.another_workstation();
            deploy(&project)
        };
        let output = output.exits(0);
        is(&project, "store", "RUNNING", side, tag);
        is(&project, "worker", "RUNNING", side, tag);
        has_its_data(&output);
    }

    // The playbook has lost what says so, for a release that is not deployed yet: the way back is handed over all the same.
    project.playbook(&playbook("2.0").replace("volumes = [\"data:/data\"]\n", "").replace("singleton = true\n", ""));
    let output = project.flipside(&["rollback", "-y"]).exits(0).says(&["handed over, no answer for"]);
    is(&project, "store", "RUNNING", "primary", "3.0");
    is(&project, "worker", "RUNNING", "primary", "3.0");
    has_its_data(&output);

    // Renamed, it would write beside what it was called before.
    project.playbook(&playbook("2.0").replace("[services.store]", "[services.shelf]"));
    let before = server.containers();
    for command in [&["deploy", "-y"][..], &["deploy", "-y", "--remove-orphans"]] {
        project.flipside(command).exits(3).says(&[
            "shelf: shop_prod_store of store",
            "two would write it at once",
            "flipside remove store",
        ]);
        assert_eq!(server.containers(), before);
    }
    for service in ["store", "worker"] {
        assert_eq!(most_at_once(&server, service), 1, "{service}");
    }
}
