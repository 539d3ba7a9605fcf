//! What each server's NGINX should route, and the generation that says so. Deliberately absent: when it is switched.
use super::backends::is_name;
use super::balancing::{assign_roles, upstream};
use super::batches::Batch;
use super::behind::Behind;
use super::canary::Split;
use super::checks::keep_out;
use super::containers::speaks_grpc;
use super::drift::Drift;
use super::fronts::{add_hosts, front, main_settings};
use super::left;
use super::present::{Fleet, Present, PresentService, Unit};
use super::record::Record;
use super::sites::Sites;
use super::target::Desired;
use super::warm::Warm;
use crate::config::{Inventory, Playbook};
use crate::facts::Facts;
use crate::model::{BackendMode, GenerationId, Millis, Protocol, Secrets, ServerName, ServiceName, Side, StagedListener, label};
use crate::nginx::{
    MeshBackend, MeshService, RenderError, Templates, generation_file, generation_id, listener, render_main, render_service, service_path,
};
use crate::script::layout::{BOOTSTRAP, GENERATION_FILE};
use std::collections::{BTreeMap, BTreeSet};

/// What everything about routes is made from.
#[derive(Clone, Copy)]
pub(super) struct Routing<'a> {
    /// The playbook.
    pub playbook: &'a Playbook,
    /// The inventory.
    pub inventory: &'a Inventory,
    /// The servers, once what hands did to them is set right.
    pub fleet: &'a Fleet,
    /// The servers as they were seen.
    pub seen: &'a Fleet,
    /// What hands did to them.
    pub drift: &'a Drift,
    /// What is there.
    pub present: &'a Present<'a>,
    /// What should be there.
    pub desired: &'a [Desired<'a>],
    /// Networks and addresses.
    pub sites: &'a Sites,
    /// How new containers are reached.
    pub mode: BackendMode,
    /// The templates.
    pub templates: &'a Templates,
    /// The values of secrets that were read.
    pub secrets: &'a Secrets,
    /// Services whose routes go away.
    pub removed: &'a BTreeSet<ServiceName>,
    /// Services that left the playbook and are taken away at the end of a deploy.
    pub leaving: &'a BTreeSet<ServiceName>,
    /// Servers that are out of reach, and those that were.
    pub behind: &'a Behind,
    /// Before or after the servers that were left behind have what they missed.
    pub moment: Moment,
    /// How far a rolling deploy has come; None for whatever it has come to the end of.
    pub batch: Option<&'a Batch>,
    /// What is split between the sides.
    pub split: Option<&'a Split>,
    /// For how long the run waits by what the playbook says.
    pub waits: Millis,
}

/// Before or after the servers that were left behind have what they missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// They route what the fleet has, and run nothing of it.
    Before,
    /// They run it.
    After,
}

/// A generation that one server is to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Generation {
    /// Its id.
    pub id: GenerationId,
    /// Ours and the main file: path to text.
    pub files: BTreeMap<String, String>,
    /// Paths of the live generation that go away.
    pub remove: Vec<String>,
    /// Listeners that the live generation does not have.
    pub listeners: Vec<StagedListener>,
}

impl Routing<'_> {
    /// What a side speaks: what is started, what the playbook says; what is there, what it was started as.
    #[must_use]
    pub(super) fn protocol(&self, desired: &Desired<'_>, side: Side) -> Protocol {
        let routed = || desired.present?.level_routes().find(|route| route.live == side).map(|route| route.protocol);
        let labelled = || desired.present?.side(side).find_map(Unit::protocol);
        let there = if self.is_new(desired, side) { None } else { routed().or_else(labelled) };
        there.unwrap_or(desired.service.protocol)
    }

    /// Whether a side is asked by gRPC, likewise.
    #[must_use]
    pub(super) fn is_grpc(&self, desired: &Desired<'_>, side: Side) -> bool {
        if self.is_new(desired, side) {
            return speaks_grpc(desired.service);
        }
        let routes: Vec<_> =
            desired.present.into_iter().flat_map(PresentService::level_routes).filter(|route| route.live == side).collect();
        match routes.is_empty() {
            true => {
                desired.present.and_then(|present| present.side(side).next()).is_some_and(|unit| unit.label(label::GRPC) == Some("true"))
            }
            false => routes.iter().any(|route| route.front.grpc),
        }
    }

    /// The side is yet to be started, as the playbook says.
    #[must_use]
    pub(super) fn is_new(&self, desired: &Desired<'_>, side: Side) -> bool {
        desired.moves() && desired.to == Some(side) && desired.change != super::types::Change::Restore
    }

    /// The same service, where a canary is tried with a part of its requests.
    fn shared(&self, server: &ServerName, desired: &Desired<'_>, service: MeshService) -> MeshService {
        let is_split = |split: &&&Split| split.services.contains(desired.name) && split.servers.contains(server);
        let (Some(split), Some(to)) = (self.split.as_ref().filter(is_split), desired.to) else { return service };
        // What stands there of the new side by name need not be started here: it may leave this server.
        let mut new = self.backends(server, desired, to);
        if new.is_empty() {
            return service;
        }
        // Its part of the requests keeps to the zones as all of them do.
        assign_roles(self, server, desired, &mut new);
        let mut backends: Vec<MeshBackend> = service.backends.into_iter().filter(|backend| backend.side != to).collect();
        backends.extend(new.into_iter().map(|backend| MeshBackend { role: backend.role.idle(), ..backend }));
        MeshService { canary: Some(split.share), backends, ..service }
    }

    /// The service as `server`'s NGINX should see it with `side` live. None where it cannot reach a backend.
    #[must_use]
    pub(super) fn mesh_service(&self, server: &ServerName, desired: &Desired<'_>, side: Side) -> Option<MeshService> {
        let internal_port = desired.internal_port?;
        let mut backends = self.backends(server, desired, side);
        if backends.is_empty() {
            return None;
        }
        assign_roles(self, server, desired, &mut backends);
        keep_out(desired, side, &mut backends);
        let protocol = self.protocol(desired, side);
        let (hosts, front) = front(self, server, desired, (side, protocol), &backends);
        let by_name = backends.iter().any(is_name);
        if by_name || (desired.from == Some(side) && self.announces(server, desired)) {
            backends.extend(self.idle_twins(server, desired, side));
            backends.sort_by_key(|backend| (backend.side != side, backend.replica));
        }
        let version = if self.is_new(desired, side) {
            self.playbook.version.clone()
        } else {
            let unit = desired.present.and_then(|present| present.side(side).next());
            let routed = || desired.present?.level_routes().next().map(|route| route.version.as_str());
            unit.and_then(|unit| unit.label(label::VERSION)).or_else(routed).unwrap_or_default().to_owned()
        };
        let service = MeshService {
            project: self.playbook.project.clone(),
            env: self.playbook.env.clone(),
            service: desired.name.clone(),
            protocol,
            internal_port,
            live: side,
            version,
            hosts,
            front,
            upstream: upstream(self.inventory, desired),
            canary: None,
            backends,
        };
        Some(left::balanced(self, server, desired, service))
    }

    /// The generation of one server in which the services of `switched` have moved and the others have not. Where the new side cannot be
    /// reached from this server (the fleet shrinks to another one), the old side serves until the last service has moved.
    ///
    /// # Errors
    /// [`RenderError`] where a template is at fault.
    pub(super) fn generation(&self, server: &ServerName, switched: &BTreeSet<&ServiceName>) -> Result<Option<Generation>, RenderError> {
        let empty = BTreeMap::new();
        let facts: Option<&Facts> = self.fleet.get(server);
        let live_files = facts.map_or(&empty, |facts| &facts.nginx.files);
        let mut ours = BTreeMap::new();
        let mut listeners = Vec::new();
        let mut remove = Vec::new();
        let complete = self.desired.iter().filter(|desired| desired.moves()).all(|desired| switched.contains(desired.name));
        let complete = complete && self.batch.is_none_or(Batch::is_last);
        for desired in self.desired {
            let side = if switched.contains(desired.name) { desired.to } else { desired.from };
            let paths = [Protocol::Tcp, Protocol::Http]
                .map(|protocol| service_path(&self.playbook.project, &self.playbook.env, desired.name, protocol));
            let service = side.and_then(|side| self.mesh_service(server, desired, side)).or_else(|| {
                let old = desired.from.filter(|_| !complete && !desired.hands_over())?;
                self.mesh_service(server, desired, old)
            });
            let service = service.map(|service| self.shared(server, desired, service));
            if service.is_none() && !switched.contains(desired.name) && is_gone(desired) {
                continue;
            }
            let rendered = service.as_ref().map(|service| render_service(self.templates, service)).transpose()?;
            remove.extend(
                paths
                    .into_iter()
                    .filter(|path| live_files.contains_key(path) && rendered.as_ref().is_none_or(|(written, _)| written != path)),
            );
            if let (Some(service), Some((path, text))) = (service, rendered) {
                let listener = listener(&service);
                if self.listener_there(server, desired.name).as_ref() != Some(&listener) {
                    listeners.push(listener);
                }
                ours.insert(path, text);
            }
        }
        for name in self.removed {
            for protocol in [Protocol::Tcp, Protocol::Http] {
                let path = service_path(&self.playbook.project, &self.playbook.env, name, protocol);
                if live_files.contains_key(&path) {
                    remove.push(path);
                }
            }
        }
        let path = Record::path(&self.playbook.project, &self.playbook.env);
        let record = match self.moment {
            Moment::Before => &self.behind.before,
            Moment::After if complete => &self.behind.after,
            Moment::After => &self.behind.on_the_way,
        };
        match record {
            Some(record) => drop(ours.insert(path, record.text())),
            None if live_files.contains_key(&path) => remove.push(path),
            None => {}
        }
        let path = Warm::path(&self.playbook.project, &self.playbook.env);
        match Warm::after(self, server, switched).text() {
            Some(text) => drop(ours.insert(path, text)),
            None if live_files.contains_key(&path) => remove.push(path),
            None => {}
        }
        add_hosts(self, live_files, &mut ours, &mut remove)?;
        let (main, text) = render_main(self.templates, &main_settings(&self.inventory.nginx))?;
        ours.insert(main, text);
        let base = base_generation(facts);
        let mut all = live_files.clone();
        all.retain(|path, _| !remove.contains(path) && path != GENERATION_FILE);
        all.extend(ours.clone());
        let disk = self.drift.disk.get(server).unwrap_or(&empty);
        let settled = |path: &String| path == GENERATION_FILE || all.get(path) == disk.get(path);
        if !self.drift.renew.contains(server) && all.keys().chain(disk.keys()).all(settled) {
            return Ok(None);
        }
        // What the base has on its disk is carried over, but for a first generation, of which nothing is.
        let carried = if base.0 == BOOTSTRAP { &empty } else { disk };
        remove.extend(carried.keys().filter(|path| *path != GENERATION_FILE && !all.contains_key(*path)).cloned());
        remove.sort();
        remove.dedup();
        ours.extend(all.iter().filter(|(path, text)| carried.get(*path) != Some(*text)).map(|(path, text)| (path.clone(), text.clone())));
        let id = generation_id(&all, Some(&base));
        let (path, text) = generation_file(&id, Some(&base));
        ours.insert(path, text);
        Ok(Some(Generation { id, files: ours, remove, listeners }))
    }

    fn listener_there(&self, server: &ServerName, service: &ServiceName) -> Option<StagedListener> {
        Some(listener(self.present.services.get(service)?.routes.get(server)?))
    }
}

/// All containers of the live side were removed by hand. Until it moves, its route stays as it is: what is not deployed is not touched, and
/// the route says which side is live and whose its port is.
fn is_gone(desired: &Desired<'_>) -> bool {
    let Some((present, live)) = desired.present.zip(desired.from) else { return false };
    present.side(live).next().is_none()
}

/// The generation that the next one of a server is based on: the live one, or the one that its NGINX will be set up with.
#[must_use]
pub(super) fn base_generation(facts: Option<&Facts>) -> GenerationId {
    facts.and_then(|facts| facts.nginx.live.clone()).unwrap_or_else(|| GenerationId(BOOTSTRAP.to_owned()))
}
