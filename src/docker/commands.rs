//! The small docker commands, one function each. Deliberately absent: `docker run`, which has a file of its own.
use super::Command;
use crate::model::{Millis, NetworkSpec};

/// Stops a container: its stop signal, then SIGKILL after `timeout`, rounded up to whole seconds.
/// `-t` is the spelling that every version knows; the long one changed its name in docker 28.
#[must_use]
pub fn stop(docker: &str, name: &str, timeout: Millis) -> Command {
    Command::new(docker).word("stop").option("-t", timeout.seconds_ceil().to_string()).word(name)
}

/// Starts a stopped container.
#[must_use]
pub fn start(docker: &str, name: &str) -> Command {
    Command::new(docker).word("start").word(name)
}

/// Says when the engine starts a container by itself: `no`, `always`, `unless-stopped`, `on-failure`, `on-failure:5`.
#[must_use]
pub fn update_restart(docker: &str, name: &str, policy: &str) -> Command {
    Command::new(docker).word("update").option("--restart", policy).word(name)
}

/// Removes a container that does not run. Its volumes stay.
#[must_use]
pub fn remove(docker: &str, name: &str) -> Command {
    Command::new(docker).word("rm").word(name)
}

/// Gives a container another name.
#[must_use]
pub fn rename(docker: &str, from: &str, to: &str) -> Command {
    Command::new(docker).word("rename").word(from).word(to)
}

/// Pulls an image and prints no progress.
#[must_use]
pub fn pull(docker: &str, image: &str) -> Command {
    Command::new(docker).word("pull").word("--quiet").word(image)
}

/// Prints `format`, a Go template, for a container.
#[must_use]
pub fn inspect_container(docker: &str, format: &str, name: &str) -> Command {
    Command::new(docker).word("inspect").option("--type", "container").option("--format", format).word(name)
}

/// Prints `format`, a Go template, for an image.
#[must_use]
pub fn inspect_image(docker: &str, format: &str, image: &str) -> Command {
    Command::new(docker).word("image").word("inspect").option("--format", format).word(image)
}

/// Prints `format`, a Go template, for a network.
#[must_use]
pub fn inspect_network(docker: &str, format: &str, name: &str) -> Command {
    Command::new(docker).word("network").word("inspect").option("--format", format).word(name)
}

/// The names of all containers, stopped ones too, that pass every filter (`key=value`, in docker's words).
#[must_use]
pub fn list_containers(docker: &str, filters: &[String]) -> Command {
    let command = Command::new(docker).word("ps").word("-a");
    filters.iter().fold(command, |command, filter| command.option("--filter", filter)).option("--format", "{{.Names}}")
}

/// Makes a bridge network with its own subnet. Docker hands out addresses of `ip_range` alone.
#[must_use]
pub fn create_network(docker: &str, spec: &NetworkSpec) -> Command {
    let command = Command::new(docker).word("network").word("create").option("--driver", "bridge");
    let command = command.option("--subnet", &spec.subnet).option("--ip-range", &spec.ip_range);
    spec.labels.iter().fold(command, |command, (key, value)| command.option("--label", format!("{key}={value}"))).word(&spec.name)
}

/// Attaches a container to a network under further names.
#[must_use]
pub fn connect_network(docker: &str, network: &str, container: &str, aliases: &[String]) -> Command {
    let command = Command::new(docker).word("network").word("connect");
    aliases.iter().fold(command, |command, alias| command.option("--alias", alias)).word(network).word(container)
}

/// Detaches a container from a network.
#[must_use]
pub fn disconnect_network(docker: &str, network: &str, container: &str) -> Command {
    Command::new(docker).word("network").word("disconnect").word(network).word(container)
}

/// Removes a network that nothing is attached to.
#[must_use]
pub fn remove_network(docker: &str, name: &str) -> Command {
    Command::new(docker).word("network").word("rm").word(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn check(command: &Command, expected: &str) {
        assert_eq!(command.0.join(" "), expected);
    }

    #[test]
    fn containers() {
        check(&stop("docker", "api", Millis(30_000)), "docker stop -t 30 api");
        check(&stop("docker", "api", Millis(1)), "docker stop -t 1 api");
        check(&start("sudo docker", "api"), "sudo docker start api");
        check(&update_restart("docker", "api", "on-failure:5"), "docker update --restart on-failure:5 api");
        check(&remove("docker", "api"), "docker rm api");
        check(&rename("podman", "api", "api.previous"), "podman rename api api.previous");
        check(&inspect_container("docker", "{{.Id}}", "api"), "docker inspect --type container --format {{.Id}} api");
        check(
            &list_containers("docker", &["network=n".into(), "label=flipside.role=mesh".into()]),
            "docker ps -a --filter network=n --filter label=flipside.role=mesh --format {{.Names}}",
        );
    }

    #[test]
    fn images() {
        check(&pull("docker", "postgres:15"), "docker pull --quiet postgres:15");
        check(&inspect_image("docker", "{{.Id}}", "postgres:15"), "docker image inspect --format {{.Id}} postgres:15");
    }

    #[test]
    fn networks() {
        let spec = NetworkSpec {
            name: "shop_prod_network".into(),
            subnet: "10.210.4.0/22".into(),
            ip_range: "10.210.7.0/24".into(),
            labels: BTreeMap::from([("flipside.project".into(), "shop".into()), ("flipside.env".into(), "prod".into())]),
        };
        check(
            &create_network("docker", &spec),
            "docker network create --driver bridge --subnet 10.210.4.0/22 --ip-range 10.210.7.0/24 \
             --label flipside.env=prod --label flipside.project=shop shop_prod_network",
        );
        check(
            &connect_network("docker", "shop_prod_network", "flipside_nginx", &["mesh".into()]),
            "docker network connect --alias mesh shop_prod_network flipside_nginx",
        );
        check(&disconnect_network("docker", "n", "c"), "docker network disconnect n c");
        check(&remove_network("docker", "n"), "docker network rm n");
        check(&inspect_network("docker", "{{.Id}}", "n"), "docker network inspect --format {{.Id}} n");
    }
}
