//! The playbook that most tests deploy: `api`, a website on every server, and `echo`, the service behind it, over raw TCP.
use crate::project::{Output, Project};
use serde_json::Value;

/// Names and times. Short, so that the tests are; the drain bound is still longer than the time that an idle connection is kept.
pub(crate) const HEADER: &str = "\
[project]
name = \"shop\"
version = \"VERSION\"
default_env = \"prod\"

[rollout]
drain_timeout = \"12s\"
stop_timeout = \"3s\"
";

/// Three probes in less than a second.
pub(crate) const CHECK: &str = "{ interval = \"200ms\", deadline = \"8s\" }";

/// `api` on three servers and `echo` on one, with these tags of the app's image.
pub(crate) fn shop(api: &str, echo: &str) -> String {
    header(api) + &api_on(3, api, "uses = [\"echo\"]") + &service_echo(echo)
}

/// The playbook's head.
pub(crate) fn header(version: &str) -> String {
    HEADER.replace("VERSION", version)
}

/// `api` alone, on so many servers, with more lines of its own.
pub(crate) fn api_on(n_servers: usize, tag: &str, more: &str) -> String {
    format!(
        "
[services.api]
image = \"flipside/app:{tag}\"
port = 8000
protocol = \"http\"
servers_count = {n_servers}
health_check = {{ path = \"/up\", interval = \"200ms\", deadline = \"8s\" }}
proxy = {{ hosts = [\"shop.example.com\"] }}
{more}
"
    )
}

/// `echo`, on one server.
pub(crate) fn service_echo(tag: &str) -> String {
    format!(
        "
[services.echo]
image = \"flipside/app:{tag}\"
command = [\"--mode\", \"tcp\", \"--port\", \"9000\"]
port = 9000
health_check = {CHECK}
"
    )
}

/// What `flipside ports` says of a service's first replica: internal, base, secondary.
pub(crate) fn ports(project: &Project, service: &str) -> (u16, u16, u16) {
    let output = project.flipside(&["ports"]).exits(0);
    let row: Vec<&str> = output
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|row| row.first() == Some(&service))
        .unwrap_or_else(|| panic!("no ports of {service}: {}", output.all()));
    let number = |column: usize| row[column].parse().unwrap_or_else(|_| panic!("{}", output.all()));
    (number(3), number(5), number(6))
}

/// What `flipside status` says of a service.
pub(crate) fn status(project: &Project, service: &str) -> Value {
    let output = project.flipside(&["status", "--output", "json"]).exits(0);
    let all: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|problem| panic!("{problem}: {}", output.all()));
    all["services"][service].clone()
}

/// A service is in this state, and its live side and version are these.
#[track_caller]
pub(crate) fn is(project: &Project, service: &str, state: &str, side: &str, version: &str) {
    let seen = status(project, service);
    let versions: Vec<&str> = seen["versions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert_eq!((seen["state"].as_str(), seen["live"].as_str(), versions), (Some(state), Some(side), vec![version]), "{service}: {seen:#}");
}

/// Deploys without a question.
#[track_caller]
pub(crate) fn deploy(project: &Project) -> Output {
    project.flipside(&["deploy", "-y"])
}
