//! What the engine says about containers, networks and images, as facts. Deliberately absent: judging who they belong to.
use super::error::FactsError;
use super::types::{ContainerFact, ContainerState, ImageFact, NetworkFact, PublishedFact};
use crate::model::Labels;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// A line of the template that `question` sends.
#[derive(Deserialize)]
struct Container {
    id: String,
    name: String,
    image: String,
    image_id: String,
    status: String,
    #[serde(default)]
    pid: u32,
    exit_code: i32,
    oom_killed: bool,
    restarts: u32,
    labels: Option<Labels>,
    networks: Option<BTreeMap<String, Endpoint>>,
    mode: String,
    bindings: Option<PortMap>,
    ports: Option<PortMap>,
    #[serde(default)]
    restart: String,
    #[serde(default)]
    memory: i64,
    mounts: Option<Vec<Mount>>,
    #[serde(default)]
    restart_limit: i64,
    #[serde(default)]
    auto_remove: bool,
    #[serde(default)]
    variables: Vec<String>,
}

#[derive(Deserialize)]
struct Mount {
    #[serde(rename = "Source", default)]
    source: String,
    #[serde(rename = "Destination", default)]
    destination: String,
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "RW", default)]
    is_written: bool,
}

/// `5432/tcp` → where it is published.
type PortMap = BTreeMap<String, Option<Vec<Binding>>>;

#[derive(Deserialize)]
struct Binding {
    #[serde(rename = "HostIp")]
    address: String,
    #[serde(rename = "HostPort")]
    port: String,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "IPAMConfig")]
    configured: Option<Configured>,
    #[serde(rename = "IPAddress", default)]
    present: String,
}

#[derive(Deserialize)]
struct Configured {
    #[serde(rename = "IPv4Address", default)]
    address: String,
}

/// A network as docker says it, or as podman does (in lower case).
#[derive(Deserialize)]
struct Network {
    #[serde(rename = "Name", alias = "name")]
    name: String,
    #[serde(rename = "Driver", alias = "driver")]
    driver: String,
    #[serde(rename = "Labels", alias = "labels")]
    labels: Option<Labels>,
    #[serde(rename = "IPAM")]
    ipam: Option<Ipam>,
    subnets: Option<Vec<Subnet>>,
}

#[derive(Deserialize)]
struct Ipam {
    #[serde(rename = "Config")]
    config: Option<Vec<Subnet>>,
}

#[derive(Deserialize)]
struct Subnet {
    #[serde(rename = "Subnet", alias = "subnet")]
    subnet: String,
}

fn lines<'a, T: Deserialize<'a>>(section: &str, text: &'a str) -> Result<Vec<T>, FactsError> {
    let read = |line: &'a str| serde_json::from_str(line).map_err(|error| FactsError::unreadable(section, line, &format!("JSON: {error}")));
    text.lines().filter(|line| !line.trim().is_empty()).map(read).collect()
}

/// All containers, sorted by name.
pub(super) fn containers(text: &str) -> Result<Vec<ContainerFact>, FactsError> {
    let is_container = |line: &&str| line.starts_with('{');
    let starts: BTreeMap<u32, u64> = text.lines().filter(|line| !is_container(line)).filter_map(start).collect();
    let seen: String = text.lines().filter(is_container).flat_map(|line| [line, "\n"]).collect();
    let mut facts = lines("containers", &seen)?.into_iter().map(|seen| container(seen, &starts)).collect::<Result<Vec<_>, _>>()?;
    facts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(facts)
}

/// A line of `/proc/PID/stat` (proc(5)): the process's id, its name in brackets, which may hold anything, and fields, of which the 22nd,
/// its start, is the 20th after the name.
fn start(line: &str) -> Option<(u32, u64)> {
    let (before, after) = line.rsplit_once(')')?;
    let id = before.split_once(' ')?.0.parse().ok()?;
    Some((id, after.split_whitespace().nth(19)?.parse().ok()?))
}

fn container(seen: Container, starts: &BTreeMap<u32, u64>) -> Result<ContainerFact, FactsError> {
    let networks = seen.networks.unwrap_or_default().into_iter().map(|(name, endpoint)| (name, endpoint.address())).collect();
    let mounts: Vec<Mount> = seen.mounts.into_iter().flatten().collect();
    let written = mounts.iter().filter(|mount| mount.is_written);
    let origin = |mount: &Mount| if mount.name.is_empty() { mount.source.clone() } else { mount.name.clone() };
    let mut published = Vec::new();
    for map in [seen.bindings, seen.ports] {
        published.extend(map.iter().flatten().flat_map(publications));
    }
    published.sort();
    published.dedup();
    Ok(ContainerFact {
        name: seen.name.trim_start_matches('/').to_owned(),
        state: state(&seen.status)?,
        image_id: image_id(&seen.image_id),
        started: starts.get(&seen.pid).copied(),
        id: seen.id,
        image: seen.image,
        exit_code: seen.exit_code,
        oom_killed: seen.oom_killed,
        restarts: seen.restarts,
        labels: seen.labels.unwrap_or_default(),
        networks,
        network_mode: seen.mode,
        published,
        restart: seen.restart,
        memory: u64::try_from(seen.memory).unwrap_or(0),
        written: written.map(|mount| (mount.destination.clone(), origin(mount))).collect(),
        mounts: mounts.into_iter().map(|mount| (mount.destination, mount.source)).collect(),
        restart_limit: u32::try_from(seen.restart_limit).unwrap_or(0),
        auto_remove: seen.auto_remove,
        variables: seen.variables,
    })
}

impl Endpoint {
    fn address(&self) -> Option<Ipv4Addr> {
        let configured = self.configured.as_ref().and_then(|configured| configured.address.parse().ok());
        configured.or_else(|| self.present.parse().ok())
    }
}

/// The words of docker, and those that podman has besides.
fn state(word: &str) -> Result<ContainerState, FactsError> {
    match word {
        "created" | "configured" | "initialized" => Ok(ContainerState::Created),
        "running" | "stopping" => Ok(ContainerState::Running),
        "paused" => Ok(ContainerState::Paused),
        "restarting" => Ok(ContainerState::Restarting),
        "removing" => Ok(ContainerState::Removing),
        "exited" | "stopped" => Ok(ContainerState::Exited),
        "dead" => Ok(ContainerState::Dead),
        other => Err(FactsError::unreadable("containers", other, "a container's state")),
    }
}

/// Podman says ids without `sha256:`.
fn image_id(id: &str) -> String {
    if id.contains(':') { id.to_owned() } else { format!("sha256:{id}") }
}

/// Ports that docker picks itself have no number before the start, and addresses of version 6 alone have no place here.
fn publications((key, bindings): (&String, &Option<Vec<Binding>>)) -> Vec<PublishedFact> {
    let (container_port, transport) = key.split_once('/').unwrap_or((key, "tcp"));
    let Ok(container_port) = container_port.parse() else { return Vec::new() };
    let read = |binding: &Binding| {
        let address = match binding.address.as_str() {
            "" | "0.0.0.0" | "::" => None,
            address => Some(address.parse().ok()?),
        };
        let host_port = binding.port.parse().ok().filter(|port| *port != 0)?;
        Some(PublishedFact { address, host_port, container_port, transport: transport.to_owned() })
    };
    bindings.iter().flatten().filter_map(read).collect()
}

/// All networks, sorted by name.
pub(super) fn networks(text: &str) -> Result<Vec<NetworkFact>, FactsError> {
    let mut facts: Vec<NetworkFact> = lines::<Network>("networks", text)?.into_iter().map(network).collect();
    facts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(facts)
}

fn network(seen: Network) -> NetworkFact {
    let subnets = seen.ipam.and_then(|ipam| ipam.config).into_iter().chain(seen.subnets).flatten().map(|subnet| subnet.subnet);
    NetworkFact { name: seen.name, driver: seen.driver, subnets: subnets.collect(), labels: seen.labels.unwrap_or_default() }
}

/// Lines of id, repository, tag and digest, merged by id and sorted. Images without a tag and a digest are left out.
pub(super) fn images(text: &str) -> Result<Vec<ImageFact>, FactsError> {
    let mut found: BTreeMap<String, ImageFact> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let [id, repository, tag, digest] = words[..] else {
            return Err(FactsError::unreadable("images", line, "an id, a repository, a tag and a digest"));
        };
        let id = image_id(id);
        let image = found.entry(id.clone()).or_insert_with(|| ImageFact { id, tags: Vec::new(), digests: Vec::new() });
        if tag != "<none>" {
            image.tags.push(format!("{repository}:{tag}"));
        }
        if digest != "<none>" && repository != "<none>" {
            image.digests.push(format!("{repository}@{digest}"));
        }
    }
    let sorted = found.into_values().map(|mut image| {
        for list in [&mut image.tags, &mut image.digests] {
            list.sort();
            list.dedup();
        }
        image
    });
    Ok(sorted.filter(|image| !image.tags.is_empty() || !image.digests.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_the_engine_chose_are_read_from_the_running_container() {
        let line = r#"{"id":"ab","name":"/x","image":"i","image_id":"cd","status":"running","exit_code":0,"oom_killed":true,"restarts":2,
            "labels":null,"networks":null,"mode":"default","bindings":{"80/tcp":[{"HostIp":"","HostPort":""}],"53/udp":null},
            "ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"32768"},{"HostIp":"::","HostPort":"32768"},{"HostIp":"::1","HostPort":"9"}]}}"#;
        let facts = containers(&line.replace('\n', " ")).unwrap();
        let port = PublishedFact { address: None, host_port: 32_768, container_port: 80, transport: "tcp".to_owned() };
        assert_eq!(facts[0].published, [port]);
        assert_eq!((facts[0].name.as_str(), facts[0].image_id.as_str(), facts[0].oom_killed), ("x", "sha256:cd", true));
        assert!(containers(&line.replace('\n', " ").replace("running", "flying")).is_err());
    }

    #[test]
    fn what_a_container_writes_is_a_volume_by_its_name_or_a_folder_and_values_of_variables_are_nobodys_business() {
        let line = r#"{"id":"ab","name":"/x","image":"i","image_id":"cd","status":"running","exit_code":0,"oom_killed":false,"restarts":0,
            "labels":null,"networks":null,"mode":"default","bindings":null,"ports":null,"restart":"on-failure","restart_limit":5,
            "auto_remove":true,"variables":["PATH","LEVEL"],"mounts":[
            {"Type":"volume","Name":"old_data","Source":"/var/lib/docker/volumes/old_data/_data","Destination":"/data","RW":true},
            {"Type":"bind","Source":"/srv","Destination":"/srv","RW":true},{"Type":"bind","Source":"/etc","Destination":"/etc","RW":false}]}"#;
        let facts = containers(&line.replace('\n', " ")).unwrap();
        let written: Vec<(&str, &str)> = facts[0].written.iter().map(|(to, from)| (to.as_str(), from.as_str())).collect();
        assert_eq!(written, [("/data", "old_data"), ("/srv", "/srv")]);
        assert_eq!((facts[0].mounts.len(), facts[0].restart_limit, facts[0].auto_remove), (3, 5, true));
        assert_eq!(facts[0].variables, ["PATH", "LEVEL"]);
    }

    #[test]
    fn networks_of_docker_and_of_podman() {
        let docker =
            r#"{"Name":"b","Driver":"bridge","IPAM":{"Config":[{"Subnet":"10.0.0.0/24","Gateway":"10.0.0.1"}]},"Labels":{"k":"v"}}"#;
        let podman = r#"{"name":"a","driver":"bridge","subnets":[{"subnet":"10.88.0.0/16"}],"labels":null}"#;
        let facts = networks(&format!("{docker}\n{podman}\n")).unwrap();
        assert_eq!((facts[0].name.as_str(), facts[0].subnets[0].as_str()), ("a", "10.88.0.0/16"));
        assert_eq!((facts[1].labels["k"].as_str(), facts[1].subnets[0].as_str()), ("v", "10.0.0.0/24"));
    }

    #[test]
    fn an_image_with_two_tags_is_one_image_and_one_without_a_name_is_none() {
        let text = "sha256:b r/x 1 sha256:d\nsha256:a <none> <none> <none>\nsha256:b r/x 2 sha256:d\nsha256:c r/y <none> sha256:e\n";
        let facts = images(text).unwrap();
        assert_eq!((facts.len(), facts[0].tags.len(), facts[0].digests.len()), (2, 2, 1));
        assert_eq!((facts[1].tags.len(), facts[1].digests[0].as_str()), (0, "r/y@sha256:e"));
        assert!(images("what?").is_err());
    }
}
