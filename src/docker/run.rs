//! `docker run -d`, in one fixed order of options. Deliberately absent: the check whether the container is there already.
use super::{Command, is_podman};
use crate::model::{ContainerSpec, NetworkMode};

/// Runs a container in the background. The image is never pulled here, and its logs are rotated (three files of 10 MB).
///
/// Without `--sig-proxy=false` a client that is told to end passes SIGTERM on to the container that it is starting, `-d` or not: a connection
/// that broke at that moment would leave a container that has exited and stays so.
#[must_use]
pub fn run(docker: &str, spec: &ContainerSpec) -> Command {
    started(Command::new(docker).word("run").word("-d"), docker, spec)
}

/// Runs a container to its end, with its output as our own, and removes it. Its restart policy has to be `no`.
#[must_use]
pub fn run_once(docker: &str, spec: &ContainerSpec) -> Command {
    started(Command::new(docker).word("run").word("--rm"), docker, spec)
}

fn started(command: Command, docker: &str, spec: &ContainerSpec) -> Command {
    let mut command = command.option("--name", &spec.name).option("--pull", "never");
    command = command.word("--sig-proxy=false").option("--restart", &spec.restart);
    if let Some(signal) = &spec.stop_signal {
        command = command.option("--stop-signal", signal);
    }
    command = command.option("--stop-timeout", spec.stop_timeout.seconds_ceil().to_string());
    command = logging(command, docker);
    command = network(command, &spec.network);
    for port in &spec.publish {
        let mapping = format!("{}:{}:{}/{}", port.address, port.host_port, port.container_port, port.transport);
        command = command.option("-p", mapping);
    }
    for (key, value) in &spec.env {
        command = command.option("--env", format!("{key}={value}"));
    }
    for (key, value) in &spec.labels {
        command = command.option("--label", format!("{key}={value}"));
    }
    for volume in &spec.volumes {
        command = command.option("--volume", volume);
    }
    for (name, path) in &spec.secrets {
        let mount = ["type=bind", &format!("src={path}"), &format!("dst=/run/secrets/{name}"), "readonly"].map(field).join(",");
        command = command.option("--mount", mount);
    }
    if let Some(entrypoint) = &spec.entrypoint {
        command = command.option("--entrypoint", entrypoint);
    }
    command = command.word(&spec.image);
    spec.command.iter().fold(command, Command::word)
}

/// One field of `--mount`, which is a line of CSV (RFC 4180).
fn field(text: &str) -> String {
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// The driver is named, because another default driver (journald, syslog) refuses the options of rotation.
fn logging(command: Command, docker: &str) -> Command {
    if is_podman(docker) {
        return command.option("--log-driver", "k8s-file").option("--log-opt", "max-size=10m");
    }
    command.option("--log-driver", "json-file").option("--log-opt", "max-size=10m").option("--log-opt", "max-file=3")
}

fn network(command: Command, mode: &NetworkMode) -> Command {
    match mode {
        NetworkMode::Bridge { network, ip, aliases } => {
            let mut command = command.option("--network", network);
            if let Some(ip) = ip {
                command = command.option("--ip", ip.to_string());
            }
            aliases.iter().fold(command, |command, alias| command.option("--network-alias", alias))
        }
        NetworkMode::Container { name } => command.option("--network", format!("container:{name}")),
        NetworkMode::Host => command.option("--network", "host"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Millis, Publish, SecretName};
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    fn spec() -> ContainerSpec {
        ContainerSpec {
            name: "shop_prod_api".into(),
            image: "registry.example.com/shop/api:1.4.0".into(),
            network: NetworkMode::Bridge {
                network: "shop_prod_network".into(),
                ip: Some(Ipv4Addr::new(10, 210, 4, 10)),
                aliases: vec!["api".into(), "shop_prod_api".into()],
            },
            publish: vec![Publish { address: Ipv4Addr::new(10, 0, 0, 10), host_port: 8959, container_port: 8000, transport: "tcp".into() }],
            env: BTreeMap::from([("B".into(), "two words".into()), ("A".into(), "1".into())]),
            labels: BTreeMap::from([("flipside.spec".into(), "ab12".into()), ("flipside.project".into(), "shop".into())]),
            volumes: vec!["shop_prod_data:/data".into()],
            secrets: BTreeMap::new(),
            entrypoint: None,
            command: vec!["serve".into(), "--port".into(), "8000".into()],
            restart: "unless-stopped".into(),
            stop_signal: None,
            stop_timeout: Millis(1500),
        }
    }

    fn check(docker: &str, spec: &ContainerSpec, expected: &str) {
        assert_eq!(run(docker, spec).0.join(" "), expected.split_whitespace().collect::<Vec<_>>().join(" "));
    }

    #[test]
    fn an_app_on_a_project_network() {
        check(
            "docker",
            &spec(),
            "docker run -d --name shop_prod_api --pull never --sig-proxy=false --restart unless-stopped --stop-timeout 2
             --log-driver json-file --log-opt max-size=10m --log-opt max-file=3
             --network shop_prod_network --ip 10.210.4.10 --network-alias api --network-alias shop_prod_api
             -p 10.0.0.10:8959:8000/tcp --env A=1 --env B=two words --label flipside.project=shop --label flipside.spec=ab12
             --volume shop_prod_data:/data registry.example.com/shop/api:1.4.0 serve --port 8000",
        );
    }

    #[test]
    fn a_value_with_blanks_stays_one_word() {
        assert!(run("docker", &spec()).0.contains(&"B=two words".to_owned()));
    }

    #[test]
    fn secrets_are_files_to_read_only() {
        let name = SecretName::new("db_password").unwrap();
        let mount = |path: &str| {
            let words = run("docker", &ContainerSpec { secrets: BTreeMap::from([(name.clone(), path.to_owned())]), ..spec() }).0;
            words[words.iter().position(|word| word == "--mount").unwrap() + 1].clone()
        };
        assert_eq!(mount("/local/a/3/db_password"), "type=bind,src=/local/a/3/db_password,dst=/run/secrets/db_password,readonly");
        assert_eq!(mount("/a,\"b/x"), "type=bind,\"src=/a,\"\"b/x\",dst=/run/secrets/db_password,readonly");
    }

    #[test]
    fn an_app_behind_its_door_and_a_door_of_the_host() {
        let mut behind = ContainerSpec { publish: vec![], env: BTreeMap::new(), labels: BTreeMap::new(), volumes: vec![], ..spec() };
        behind.network = NetworkMode::Container { name: "shop_prod_api.door".into() };
        behind.command = vec![];
        check(
            "sudo  docker",
            &behind,
            "sudo docker run -d --name shop_prod_api --pull never --sig-proxy=false --restart unless-stopped --stop-timeout 2
             --log-driver json-file --log-opt max-size=10m --log-opt max-file=3 --network container:shop_prod_api.door
             registry.example.com/shop/api:1.4.0",
        );
        let host = ContainerSpec {
            network: NetworkMode::Host,
            stop_signal: Some("SIGQUIT".into()),
            entrypoint: Some("/bin/sh".into()),
            command: vec!["-c".into(), "run".into()],
            restart: "always".into(),
            ..behind
        };
        check(
            "/usr/bin/podman",
            &host,
            "/usr/bin/podman run -d --name shop_prod_api --pull never --sig-proxy=false --restart always --stop-signal SIGQUIT --stop-timeout 2
             --log-driver k8s-file --log-opt max-size=10m --network host --entrypoint /bin/sh
             registry.example.com/shop/api:1.4.0 -c run",
        );
    }
}
