//! Where things are on a server: paths below the remote root and the names of the mesh's own containers. Deliberately absent: content.
use crate::model::{EnvName, ProjectName, ServiceName};

/// The NGINX container of every server.
pub const NGINX_CONTAINER: &str = "flipside_nginx";
/// The door of the server's own network namespace.
pub const HOST_DOOR: &str = "flipside_door";
/// The user-defined network that NGINX is started on; it is attached to every project network afterwards.
///
/// A container's published ports hang on one of its networks: the first by name (unless told otherwise, which older engines cannot be).
/// When that one changes, ports 80 and 443 are closed and opened again, and clients are refused. Names of projects begin with a letter, so
/// this one always stays first, whatever project network comes or goes.
pub const MESH_NETWORK: &str = "0_flipside";
/// NGINX's name in every project network: apps without a door connect to `mesh:INTERNAL_PORT`.
pub const MESH_ALIAS: &str = "mesh";
/// Where the server's folder is mounted in the NGINX container.
pub const MOUNT: &str = "/flipside";
/// The generation that a fresh NGINX container starts with: it routes nothing.
pub const BOOTSTRAP: &str = "bootstrap";
/// The file that holds a generation's own id and its base's. It is the only file that is not part of the id.
pub const GENERATION_FILE: &str = "generation.conf";
/// The loopback port in NGINX's namespace that answers with the generation's id. Below 1024, where no internal port can be pinned.
pub const GENERATION_PORT: u16 = 998;

/// `{remote_root}/flipside`.
#[must_use]
pub fn folder(remote_root: &str) -> String {
    format!("{}/flipside", remote_root.trim_end_matches('/'))
}

/// `{remote_root}/flipside/nginx`: `releases/<generation>/` and a copy of each in `sealed/`, `current`, `lock`, `switched`.
#[must_use]
pub fn nginx_folder(remote_root: &str) -> String {
    format!("{}/nginx", folder(remote_root))
}

/// `{remote_root}/flipside/nginx/releases/<generation>`.
#[must_use]
pub fn release_folder(remote_root: &str, generation: &str) -> String {
    format!("{}/releases/{generation}", nginx_folder(remote_root))
}

/// `{remote_root}/flipside/revert`: `armed` while a revert waits, `firing` while it is carried out, `outcome` of the last one. Mode 700.
#[must_use]
pub fn revert_folder(remote_root: &str) -> String {
    format!("{}/revert", folder(remote_root))
}

/// `{remote_root}/flipside/run`: the unix sockets. Mode 755: the workers of doors are nobody in particular.
#[must_use]
pub fn run_folder(remote_root: &str) -> String {
    format!("{}/run", folder(remote_root))
}

/// `{remote_root}/flipside/doors`: the host door's configuration.
#[must_use]
pub fn doors_folder(remote_root: &str) -> String {
    format!("{}/doors", folder(remote_root))
}

/// `{remote_root}/flipside/doors/flipside_door.conf`.
#[must_use]
pub fn host_door_file(remote_root: &str) -> String {
    format!("{}/{HOST_DOOR}.conf", doors_folder(remote_root))
}

/// `{remote_root}/{project}/{env}/secrets/{service}/{release}`: the secrets of the containers of one release. Folders have mode 700.
#[must_use]
pub fn secrets_folder(remote_root: &str, project: &ProjectName, env: &EnvName, service: &ServiceName, release: u64) -> String {
    format!("{}/{project}/{env}/secrets/{service}/{release}", remote_root.trim_end_matches('/'))
}

/// `{remote_root}/flipside/tls/{stem}/{digest}`: a certificate of a service's public hosts, and its key. Folders have mode 700.
#[must_use]
pub fn tls_folder(remote_root: &str, project: &ProjectName, env: &EnvName, service: &ServiceName, digest: &str) -> String {
    format!("{}/tls/{}/{digest}", folder(remote_root), stem(project, env, service))
}

/// The same folder, as NGINX sees it.
#[must_use]
pub fn tls_folder_inside(project: &ProjectName, env: &EnvName, service: &ServiceName, digest: &str) -> String {
    format!("{MOUNT}/tls/{}/{digest}", stem(project, env, service))
}

/// `{project}_{env}_{service}`: the stem of a service's NGINX file, socket, upstream and zone.
#[must_use]
pub fn stem(project: &ProjectName, env: &EnvName, service: &ServiceName) -> String {
    format!("{project}_{env}_{service}")
}

/// What the stems of all services of a project in one environment begin with.
#[must_use]
pub fn stems(project: &ProjectName, env: &EnvName) -> String {
    format!("{project}_{env}_")
}

/// What is there of a service in the [`run_folder`], as an absolute path on the server: its stem, and one of these endings.
#[must_use]
pub fn run_file(remote_root: &str, project: &ProjectName, env: &EnvName, service: &ServiceName, ending: &str) -> String {
    format!("{}/{}{ending}", run_folder(remote_root), stem(project, env, service))
}

/// The same, as NGINX and the doors see it.
#[must_use]
pub fn run_file_inside(stem: &str, ending: &str) -> String {
    format!("{MOUNT}/run/{stem}{ending}")
}

/// The unix socket of a service.
pub const SOCKET: &str = ".sock";

/// The one that leads to its side that waits. It ends as [`SOCKET`] does.
pub const WAITING_SOCKET: &str = ".waiting.sock";

/// The one that leads to where its public hosts are served from, where that is a port of its own.
pub const APP_SOCKET: &str = ".app.sock";

/// The same of the side that waits. It ends as [`WAITING_SOCKET`] does.
pub const APP_WAITING_SOCKET: &str = ".app.waiting.sock";

/// What NGINX writes of each request of it while a canary is tried.
pub const CANARY_LOG: &str = ".canary.log";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_slash_of_the_root_does_not_double() {
        assert_eq!(release_folder("/local/", "ab"), "/local/flipside/nginx/releases/ab");
        assert_eq!(host_door_file("/"), "/flipside/doors/flipside_door.conf");
    }
}
