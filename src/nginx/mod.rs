//! Services and backends to the files of one NGINX generation, and back. Deliberately absent: reading folders, reaching servers.
//!
//! A generation is a folder: `nginx.conf`, `generation.conf`, one file a service in `stream.d/` or `http.d/`, and one for the public hosts of
//! each project. Every path inside is
//! relative to the folder, so a candidate can be tested where it lies and `current` can be a symlink.
mod app;
mod containers;
mod door;
mod error;
mod generation;
mod header;
mod hosts;
mod read;
mod render;
mod templates;
mod types;

pub use app::{app_path, is_app_file, is_app_file_of, render_app};
pub use containers::{Alias, HostDoor, NginxContainer, ServiceDoor, alias_container, host_door, nginx_container, service_door};
pub use door::{DoorForward, DoorParts, MeshAddress, cut_door, read_door, render_alias, render_door};
pub use error::{ReadError, RenderError, TemplateError};
pub use generation::{bootstrap, check_generation, generation_file, generation_id};
pub use header::upstream_name;
pub use hosts::{MAINTENANCE, hosts_path, is_hosts_file, is_service_file, page_kinds, page_path, render_hosts};
pub use read::read_service;
pub use render::{listener, render_main, render_service, service_path};
pub use templates::Templates;
pub use types::{BackendRole, MainSettings, MeshBackend, MeshService};
