//! Services that two containers must not run at once: a volume, a worker. Their gap is measured and printed.
use crate::fleet::Fleet;
use crate::project::{Project, inventory};
use crate::server::Server;
use crate::shop::{CHECK, deploy, header, is};
use crate::traffic::HOST;
use std::thread;

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

/// Looks at a server twenty times a second until the file is there, and returns the most containers of a service that ran at once.
fn most_at_once(server: &Server, service: &str, until: &str) -> usize {
    let watch = format!(
        "most=0; while [ ! -e {until} ]; do n=$(docker ps -q --filter label=flipside.service={service} --filter label=flipside.role=app | wc -l); [ $n -le $most ] || most=$n; sleep 0.05; done; echo $most"
    );
    server.must(&watch).trim().parse().expect("a number")
}

#[test]
fn a_volume_never_has_two_writers_and_the_gap_is_told() {
    let fleet = Fleet::take();
    let server = fleet.server(1);
    let project = Project::new(&fleet, &playbook("1.0"));
    project.inventory(&inventory(&fleet, "root", &[1, 2]));
    deploy(&project).exits(0);
    assert_eq!(server.get(HOST, "/append?path=/data/log&text=one").0, 200);

    let watchers: Vec<_> = ["store", "worker"]
        .map(|service| {
            let server = server.clone();
            thread::spawn(move || (service, most_at_once(&server, service, "/tmp/enough")))
        })
        .into_iter()
        .collect();
    project.playbook(&playbook("2.0"));
    let output = deploy(&project).exits(0).says(&["handed over, no answer for"]);
    is(&project, "store", "RUNNING", "secondary", "2.0");
    assert_eq!(server.get(HOST, "/file?path=/data/log"), (200, "one\n".to_owned()), "the new side has the data: {}", output.all());

    // A new side that fails: the old one has its volume back, and serves.
    project.playbook(&playbook("2.0").replace("flipside/app:2.0\"\nport", "flipside/app:3.0-unhealthy\"\nport"));
    deploy(&project).exits(5).says(&["store", "everything was put back"]);
    is(&project, "store", "RUNNING", "secondary", "2.0");
    assert_eq!(server.get(HOST, "/file?path=/data/log"), (200, "one\n".to_owned()));

    server.must("touch /tmp/enough");
    for watcher in watchers {
        let (service, most) = watcher.join().expect("a watcher");
        assert_eq!(most, 1, "{service} ran {most} times at once");
    }
}
