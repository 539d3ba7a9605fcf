//! NGINX and the doors as containers: what to run, as values. Deliberately absent: docker's command line, and when to run it.
use crate::model::{ContainerSpec, Labels, Millis, NetworkMode, Publish, label};
use crate::script::layout::{self, HOST_DOOR, MESH_NETWORK, MOUNT, NGINX_CONTAINER};
use crate::script::nginx::{DOOR_PROGRAM, NGINX_PROGRAM};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// A server's NGINX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NginxContainer {
    /// 1.28 or newer, Debian's or the official image: besides NGINX it needs `sh` and the core utilities.
    pub image: String,
    /// The server's remote root.
    pub remote_root: String,
    /// Its fixed address in the network `0_flipside`, where the host's door sends datagrams.
    pub address: Option<Ipv4Addr>,
    /// 80 and 443, as the ingress says.
    pub publish: Vec<Publish>,
}

/// The door of the server's own namespace. Its configuration is the file [`layout::host_door_file`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDoor {
    /// The image of NGINX.
    pub image: String,
    /// The server's remote root.
    pub remote_root: String,
}

/// The door of one app: it owns the network namespace that the app joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceDoor {
    /// The door's name ([`crate::model::door_name`]).
    pub name: String,
    /// The image of NGINX.
    pub image: String,
    /// The server's remote root.
    pub remote_root: String,
    /// From [`super::render_door`]. It travels in the environment, so that a change of it is a change of the container.
    pub config: String,
    /// The project network, the fixed address, and the app's name among the aliases.
    pub network: NetworkMode,
    /// The app's published ports.
    pub publish: Vec<Publish>,
    /// The app's labels; the role is overwritten.
    pub labels: Labels,
}

/// A service's own name in its project's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The container's name.
    pub name: String,
    /// The image of NGINX.
    pub image: String,
    /// The server's remote root.
    pub remote_root: String,
    /// From [`super::render_alias`].
    pub config: String,
    /// The project network, with the service's name among the aliases.
    pub network: NetworkMode,
    /// Whose it is; the role is added.
    pub labels: Labels,
}

/// NGINX, as it should run. Attach it to every project network afterwards, with the alias [`layout::MESH_ALIAS`].
///
/// It needs `releases/bootstrap/` ([`super::bootstrap`]) and the run folder to be there.
#[must_use]
pub fn nginx_container(nginx: &NginxContainer) -> ContainerSpec {
    let network = NetworkMode::Bridge { network: MESH_NETWORK.to_owned(), ip: nginx.address, aliases: Vec::new() };
    let volumes = vec![format!("{}:{MOUNT}", layout::folder(&nginx.remote_root))];
    let mut spec = shell(NGINX_CONTAINER, &nginx.image, network, NGINX_PROGRAM);
    spec.volumes = volumes;
    spec.publish = nginx.publish.clone();
    spec.stop_signal = Some("SIGQUIT".to_owned());
    spec.stop_timeout = Millis::seconds(30);
    label_mesh(&mut spec, "mesh");
    spec
}

/// The host's door, as it should run.
#[must_use]
pub fn host_door(door: &HostDoor) -> ContainerSpec {
    let mut spec = shell(HOST_DOOR, &door.image, NetworkMode::Host, DOOR_PROGRAM);
    let file = format!("{MOUNT}/doors/{HOST_DOOR}.conf");
    spec.env = BTreeMap::from([("FLIPSIDE_DOOR_FILE".to_owned(), file)]);
    spec.volumes = vec![
        format!("{}:{MOUNT}/run:ro", layout::run_folder(&door.remote_root)),
        format!("{}:{MOUNT}/doors:ro", layout::doors_folder(&door.remote_root)),
    ];
    label_mesh(&mut spec, "door");
    spec
}

/// An app's door, as it should run, before the app. Like the app it stays down where it was stopped: with `always`, what waits on an idle
/// side would take its port and address again at every start of the server.
#[must_use]
pub fn service_door(door: &ServiceDoor) -> ContainerSpec {
    let mut spec = shell(&door.name, &door.image, door.network.clone(), DOOR_PROGRAM);
    spec.env = BTreeMap::from([("FLIPSIDE_DOOR".to_owned(), door.config.clone())]);
    spec.volumes = vec![format!("{}:{MOUNT}/run:ro", layout::run_folder(&door.remote_root))];
    spec.publish = door.publish.clone();
    "unless-stopped".clone_into(&mut spec.restart);
    spec.labels = door.labels.clone();
    spec.labels.insert(label::ROLE.to_owned(), "door".to_owned());
    spec
}

/// The container of a service's own name, as it should run.
#[must_use]
pub fn alias_container(alias: Alias) -> ContainerSpec {
    let mut spec = shell(&alias.name, "", alias.network, DOOR_PROGRAM);
    spec.env = BTreeMap::from([("FLIPSIDE_DOOR".to_owned(), alias.config)]);
    spec.volumes = vec![format!("{}:{MOUNT}/run:ro", layout::run_folder(&alias.remote_root))];
    spec.labels = alias.labels;
    label_mesh(&mut spec, "alias");
    // Another image alone is no reason to cut its connections.
    spec.image = alias.image;
    spec
}

fn shell(name: &str, image: &str, network: NetworkMode, program: &str) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        image: image.to_owned(),
        network,
        publish: Vec::new(),
        env: BTreeMap::new(),
        labels: Labels::new(),
        volumes: Vec::new(),
        secrets: BTreeMap::new(),
        entrypoint: Some("/bin/sh".to_owned()),
        command: vec!["-c".to_owned(), program.to_owned()],
        restart: "always".to_owned(),
        stop_signal: Some("SIGTERM".to_owned()),
        stop_timeout: Millis::seconds(5),
    }
}

/// The role, and a digest of everything else: a mesh container is replaced when it differs.
fn label_mesh(spec: &mut ContainerSpec, role: &str) {
    spec.labels.insert(label::ROLE.to_owned(), role.to_owned());
    let json = serde_json::to_string(&spec).unwrap_or_else(|error| error.to_string());
    let digest = Sha256::digest(json.as_bytes()).iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    spec.labels.insert(label::MESH.to_owned(), digest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nginx(image: &str) -> ContainerSpec {
        let nginx = NginxContainer { image: image.to_owned(), remote_root: "/local".to_owned(), address: None, publish: Vec::new() };
        nginx_container(&nginx)
    }

    #[test]
    fn nginx_gets_the_whole_folder_and_a_signal_that_is_graceful() {
        let spec = nginx("nginx:stable");
        assert_eq!(spec.volumes, ["/local/flipside:/flipside"]);
        assert_eq!((spec.stop_signal.as_deref(), spec.restart.as_str()), (Some("SIGQUIT"), "always"));
        assert_eq!(spec.command, ["-c", NGINX_PROGRAM]);
    }

    #[test]
    fn the_digest_tells_whether_it_is_the_same() {
        let digest = |spec: ContainerSpec| spec.labels[label::MESH].clone();
        assert_eq!(digest(nginx("nginx:stable")), digest(nginx("nginx:stable")));
        assert_ne!(digest(nginx("nginx:stable")), digest(nginx("nginx:1.30")));
    }

    #[test]
    fn a_services_door_differs_with_its_forwards_and_cannot_write() {
        let network = NetworkMode::Host;
        let door = ServiceDoor {
            name: "shop_prod_api.door".to_owned(),
            image: "nginx:stable".to_owned(),
            remote_root: "/local".to_owned(),
            config: "stream {}".to_owned(),
            network,
            publish: Vec::new(),
            labels: Labels::from([(label::ROLE.to_owned(), "app".to_owned())]),
        };
        let spec = service_door(&door);
        assert_eq!((spec.labels[label::ROLE].as_str(), spec.restart.as_str()), ("door", "unless-stopped"));
        assert_eq!(spec.env["FLIPSIDE_DOOR"], "stream {}");
        assert_eq!(spec.volumes, ["/local/flipside/run:/flipside/run:ro"]);
        let host = host_door(&HostDoor { image: door.image, remote_root: door.remote_root });
        assert_eq!(host.env["FLIPSIDE_DOOR_FILE"], "/flipside/doors/flipside_door.conf");
        assert!(host.volumes.iter().all(|volume| volume.ends_with(":ro")), "{:?}", host.volumes);
    }
}
