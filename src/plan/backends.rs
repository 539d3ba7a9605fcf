//! Where each server's NGINX reaches the copies of a service: what is there, what is started, what waits on the other side. Deliberately absent:
//! which of them take requests (`balancing`), and the files that say so (`routes`).
use super::containers::Place;
use super::fronts::front;
use super::present::Unit;
use super::routes::{Moment, Routing};
use super::target::{Desired, Replica};
use super::types::Change;
use crate::model::{Backend, BackendMode, Front, ServerName, Side, Standing, container_name, label};
use crate::nginx::{BackendRole, MeshBackend};
use std::net::Ipv4Addr;

impl Routing<'_> {
    /// The backends of a service's side as `server`'s NGINX reaches them.
    #[must_use]
    pub(super) fn backends(&self, server: &ServerName, desired: &Desired<'_>, side: Side) -> Vec<MeshBackend> {
        let moving = desired.moves() && desired.to == Some(side);
        match (moving, desired.change == Change::Restore) {
            (true, false) => self.new_backends(server, desired, side),
            (true, true) => self.present_backends(server, desired, side),
            (false, _) => {
                let is_missed = |backend: &MeshBackend| {
                    desired.from == Some(side) && desired.missed.contains(&(backend.server.clone(), backend.replica))
                };
                let mut backends = self.present_backends(server, desired, side);
                backends.retain(|backend| !is_missed(backend));
                backends.extend(self.routed_elsewhere(server, desired, side));
                if self.moment == Moment::After && !desired.missed.is_empty() {
                    backends.extend(self.new_backends(server, desired, side).into_iter().filter(|backend| is_missed(backend)));
                }
                backends.sort_by(|a, b| (&a.server, a.replica).cmp(&(&b.server, b.replica)));
                backends
            }
        }
    }

    /// What servers run that cannot be asked, as the others route it.
    fn routed_elsewhere(&self, server: &ServerName, desired: &Desired<'_>, side: Side) -> Vec<MeshBackend> {
        let mut elsewhere: Vec<MeshBackend> = Vec::new();
        for backend in desired.present.into_iter().flat_map(|there| there.level_routes()).flat_map(|route| &route.backends) {
            let is_away = backend.side == side && backend.role.takes_traffic() && self.behind.away.contains(&backend.server);
            let known = elsewhere.iter().any(|other| other.server == backend.server && other.replica == backend.replica);
            if is_away && !known && reaches(server, &backend.server, &backend.backend) {
                elsewhere.push(MeshBackend { role: BackendRole::Live, standing: Standing::In, ..backend.clone() });
            }
        }
        elsewhere
    }

    fn new_backends(&self, server: &ServerName, desired: &Desired<'_>, side: Side) -> Vec<MeshBackend> {
        let mut backends = Vec::new();
        let is_there = |at: &&ServerName| self.batch.is_none_or(|batch| batch.has(desired.name, at));
        for at in desired.servers.iter().filter(is_there) {
            for replica in &desired.replicas {
                let Some(port) = desired.service.port else { continue };
                let (backend, app_port) = match self.mode {
                    BackendMode::SingleServer => {
                        let Some(address) = self.sites.address(at, replica.slot, side) else { continue };
                        (Backend::Container { name: self.container(desired, replica, side), address, port }, desired.service.app_port())
                    }
                    BackendMode::MultiServer => {
                        let place = Place {
                            playbook: self.playbook,
                            desired,
                            replica,
                            side,
                            address: Ipv4Addr::UNSPECIFIED,
                            private_address: None,
                            remote_root: "",
                            version: "",
                            release: 0,
                        };
                        let (Some(address), Some(port)) = (self.private_address(at), place.host_port()) else { continue };
                        (Backend::Address { address, port }, place.app_host_port())
                    }
                };
                if reaches(server, at, &backend) {
                    let (role, standing) = (BackendRole::Live, Standing::In);
                    backends.push(MeshBackend { backend, app_port, side, replica: replica.number, server: at.clone(), role, standing });
                }
            }
        }
        backends
    }

    pub(super) fn present_backends(&self, server: &ServerName, desired: &Desired<'_>, side: Side) -> Vec<MeshBackend> {
        let units = desired.present.into_iter().flat_map(|present| present.side(side));
        let mut backends = Vec::new();
        for unit in units {
            let Some(backend) = unit_backend(unit) else { continue };
            if reaches(server, &unit.server, &backend) {
                let (role, standing, app_port) = (BackendRole::Live, Standing::In, unit_app_port(unit));
                let (server, replica) = (unit.server.clone(), unit.replica);
                backends.push(MeshBackend { backend, app_port, side, replica, server, role, standing });
            }
        }
        backends
    }

    fn container(&self, desired: &Desired<'_>, replica: &Replica, side: Side) -> String {
        container_name(&self.playbook.project, &self.playbook.env, desired.name, replica.number, side)
    }

    fn private_address(&self, server: &ServerName) -> Option<Ipv4Addr> {
        self.inventory.servers.get(server)?.private_address
    }

    /// NGINX has to know of the new side before the switch, or has no address for it in its first moment, and does not know it: the fleet
    /// shrinks to one server, and there a service moves from published ports to names; or a name has another port than it was listed with.
    pub(super) fn announces(&self, server: &ServerName, desired: &Desired<'_>) -> bool {
        let (Some(from), Some(to)) = (desired.from, desired.to) else { return false };
        let new = self.new_backends(server, desired, to);
        let shrinks = || new.iter().any(is_name) && self.present_backends(server, desired, from).iter().any(|backend| !is_name(backend));
        desired.moves() && from != to && (shrinks() || self.renumbers(server, desired, from, to))
    }

    /// The names of the new side are listed on this server, and with other ports.
    fn renumbers(&self, server: &ServerName, desired: &Desired<'_>, from: Side, to: Side) -> bool {
        let Some(routed) = desired.present.and_then(|present| present.routes.get(server)) else { return false };
        let new = self.backends(server, desired, to);
        let is_public = || !self.hosts(server, desired, from).0.is_empty();
        let differs = |new: &MeshBackend, listed: &MeshBackend| {
            let is_other_app = new.app_port.is_some() && new.app_port != listed.app_port;
            new.backend.socket().1 != listed.backend.socket().1 || (is_other_app && is_public())
        };
        new.iter().filter(|new| is_name(new)).any(|new| {
            let mut listed = routed.backends.iter().filter(|listed| is_name(listed) && listed.side == to);
            listed.any(|listed| listed.replica == new.replica && differs(new, listed))
        })
    }

    /// The public hosts that this side serves on this server, and how.
    pub(super) fn hosts(&self, server: &ServerName, desired: &Desired<'_>, side: Side) -> (Vec<String>, Front) {
        front(self, server, desired, (side, self.protocol(desired, side)), &self.backends(server, desired, side))
    }

    /// The other side of every replica, listed and resolved so that the next switch finds its name known: with the ports of what is about to
    /// take over, and else with those of the playbook.
    pub(super) fn idle_twins(&self, server: &ServerName, desired: &Desired<'_>, live: Side) -> Vec<MeshBackend> {
        let Some(port) = desired.service.port else { return Vec::new() };
        let side = live.other();
        let comes = desired.moves() && desired.to == Some(side);
        let coming = if comes { self.backends(server, desired, side) } else { Vec::new() };
        let twins = desired.replicas.iter().filter_map(|replica| {
            let address = self.sites.address(server, replica.slot, side)?;
            let known = coming.iter().find(|backend| is_name(backend) && backend.replica == replica.number);
            let (port, app_port) = known.map_or((port, desired.service.app_port()), |known| (known.backend.socket().1, known.app_port));
            let backend = Backend::Container { name: self.container(desired, replica, side), address, port };
            let (role, standing) = (BackendRole::Idle, Standing::In);
            Some(MeshBackend { backend, app_port, side, replica: replica.number, server: server.clone(), role, standing })
        });
        twins.collect()
    }
}

/// NGINX reaches it by its name.
pub(super) fn is_name(backend: &MeshBackend) -> bool {
    matches!(backend.backend, Backend::Container { .. })
}

/// A container's name means something on its own server only.
#[must_use]
pub(super) fn reaches(from: &ServerName, at: &ServerName, backend: &Backend) -> bool {
    match backend {
        Backend::Container { .. } => from == at,
        Backend::Address { .. } => true,
    }
}

/// How a container that is there is reached: by its published port where it has one, else by name.
#[must_use]
pub(super) fn unit_backend(unit: &Unit<'_>) -> Option<Backend> {
    let owner = unit.owner()?;
    let app = unit.app.or(unit.door)?;
    let port: u16 = unit.number(label::PORT)?;
    if let Some(published) = owner.published.iter().find(|published| published.container_port == port) {
        return Some(Backend::Address { address: published.address?, port: published.host_port });
    }
    Some(Backend::Container { name: app.name.clone(), address: unit.address()?, port })
}

/// Where it serves public hosts, if not at its own port: the container's port, or the one that this is published on.
fn unit_app_port(unit: &Unit<'_>) -> Option<u16> {
    let port: u16 = unit.number(label::APP_PORT)?;
    match unit_backend(unit)? {
        Backend::Container { .. } => Some(port),
        Backend::Address { .. } => {
            let mut published = unit.owner()?.published.iter().filter(|published| published.address.is_some());
            published.find(|published| published.container_port == port).map(|published| published.host_port)
        }
    }
}

/// Everywhere that NGINX may have connections to of a container that is there.
pub(super) fn unit_backends(unit: &Unit<'_>) -> impl Iterator<Item = Backend> {
    let own = unit_backend(unit);
    let app = own.as_ref().zip(unit_app_port(unit)).map(|(own, port)| own.at(port));
    own.into_iter().chain(app)
}
