//! A UDP service through every server's door, and servers whose keys are taken on trust the first time.
use crate::fleet::Fleet;
use crate::project::{Project, inventory};
use crate::shop::{CHECK, deploy, header, is, ports};
use std::fs;

fn playbook(tag: &str) -> String {
    header(tag)
        + &format!(
            "
[services.dns]
image = \"flipside/app:{tag}\"
command = [\"--mode\", \"udp\", \"--port\", \"9000\"]
port = 9000
protocol = \"udp\"
servers = [\"server1\", \"server2\"]
health_check = {CHECK}
"
        )
}

#[test]
fn datagrams_reach_the_live_side_from_every_server_and_new_host_keys_are_written_down() {
    let fleet = Fleet::take();
    let project = Project::new(&fleet, &playbook("1.0"));
    let known = project.path("known_hosts");
    let strict = inventory(&fleet, "root", &[1, 2, 3]).replace(&format!("{:?}", fleet.known_hosts()), "\"known_hosts\"");
    project.inventory(&strict);
    deploy(&project).exits(4).says(&["its host key is not known", "nothing was changed"]);
    project.inventory(&strict.replace("[defaults]\n", "[defaults]\nhost_key = \"accept-new\"\n"));
    deploy(&project).exits(0);
    let written = fs::read_to_string(&known).expect("a known_hosts file");
    for server in fleet.servers() {
        assert!(written.contains(&server.address), "{}: {written}", server.address);
    }
    // From here on they are known.
    project.inventory(&strict);

    let (internal, ..) = ports(&project, "dns");
    for tag in ["1.0", "2.0"] {
        if tag == "2.0" {
            project.playbook(&playbook(tag));
            project.flipside(&["deploy", "-y", "--probe"]).exits(0).says(&["dns is not probed"]);
        }
        for server in fleet.servers() {
            let answer = server.datagram_to_localhost(internal, "hello");
            assert!(answer.starts_with(&format!("{tag} ")) && answer.ends_with(" hello"), "{}: {answer}", server.name);
        }
    }
    is(&project, "dns", "RUNNING", "secondary", "2.0");
}
