//! NGINX and doors of a server in memory: generations are read as NGINX would read them, and what was routed before may still have
//! requests until somebody has waited for them. Deliberately absent: the requests.
use super::server::FakeServer;
use super::{listened, refuse, seen};
use crate::model::{Backend, CanaryCheck, Failure, GenerationId, RouteCheck, ServiceName, StagedListener, label, network_name};
use crate::nginx::{MeshBackend, generation_id, is_app_file, is_hosts_file, is_service_file, read_service};
use crate::script::layout::{BOOTSTRAP, HOST_DOOR, NGINX_CONTAINER, SOCKET, WAITING_SOCKET};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl FakeServer {
    pub(super) fn host_door_text(&self) -> String {
        self.base.nginx.doors.get(&format!("{HOST_DOOR}.conf")).cloned().unwrap_or_default()
    }

    pub(super) fn reload_door(&mut self, name: &str) -> Result<String, Failure> {
        let Some(id) = self.running(name).map(|door| door.id.clone()) else { return refuse(format!("{name} does not run")) };
        let text = self.host_door_text();
        let mut lines = BTreeSet::new();
        if let Some(twice) = text.lines().map(str::trim).find(|line| line.starts_with("listen ") && !lines.insert(*line)) {
            return refuse(format!("duplicate address and port pair: {twice}"));
        }
        let ports = listened(&text);
        if let Some(port) = self.in_the_doors_way(&ports).filter(|_| name == HOST_DOOR) {
            return refuse(format!("the door does not listen: 127.0.0.1:{port}"));
        }
        self.door_ports.insert(id, ports);
        seen("reloaded")
    }

    pub(super) fn await_door(&self, name: &str) -> Result<String, Failure> {
        match self.running(name).map(|door| self.door_ports.contains_key(&door.id)) {
            None => refuse(format!("{name} does not run")),
            Some(false) => refuse(format!("{name} listens nowhere")),
            Some(true) => seen("listens"),
        }
    }

    pub(super) fn stage(
        &mut self,
        generation: &GenerationId,
        base: Option<&GenerationId>,
        files: &BTreeMap<String, String>,
        remove: &[String],
        listeners: &[StagedListener],
    ) -> Result<String, Failure> {
        let Some(nginx) = self.running(NGINX_CONTAINER) else { return refuse(format!("{NGINX_CONTAINER} does not run")) };
        if self.base.nginx.live.as_ref() == Some(generation) {
            return seen("live already");
        }
        let mut all = BTreeMap::new();
        if let Some(base) = base.filter(|base| base.0 != BOOTSTRAP) {
            match self.files(base) {
                Some(files) => all.extend(files.clone()),
                None => return refuse(format!("generation {base}, whose files are to be carried over, is not on this server")),
            }
        }
        all.retain(|path, _| !remove.contains(path));
        all.extend(files.clone());
        let found = generation_id(&all, base);
        if found != *generation {
            return refuse(format!("the files amount to {found}, not {generation}"));
        }
        if !all.contains_key("nginx.conf") {
            return refuse("nginx.conf: no such file".to_owned());
        }
        let mut owners: BTreeMap<u16, String> = BTreeMap::new();
        for (path, text) in all.iter().filter(|(path, _)| is_service_file(path)) {
            let service = match read_service(text) {
                Ok(service) => service,
                Err(error) => return refuse(format!("{path}: {error}")),
            };
            let network = network_name(&service.project, &service.env);
            let by_name = service.backends.iter().any(|backend| matches!(backend.backend, Backend::Container { .. }));
            if by_name && !nginx.networks.contains_key(&network) {
                return refuse(format!("{path}: host not found in upstream: NGINX is not attached to {network}"));
            }
            if let Some(other) = owners.insert(service.internal_port, path.clone()) {
                return refuse(format!("{path} and {other} both listen on {}", service.internal_port));
            }
        }
        for (path, text) in all.iter().filter(|(path, _)| is_hosts_file(path) || is_app_file(path)) {
            let names = text.lines().filter_map(|line| line.trim().strip_prefix("proxy_pass http://"));
            for name in names.map(|name| name.trim_end_matches([';', '/'])) {
                // A canary's variable, with what is the same of both sides behind it, or an upstream.
                let definition = match name.strip_prefix("${").and_then(|name| name.split_once('}')) {
                    Some((variable, _)) => format!(" ${variable} {{\n"),
                    None if name.starts_with('$') => format!(" {name} {{\n"),
                    None => format!("\nupstream {name} {{\n"),
                };
                if !all.values().any(|text| text.contains(&definition)) {
                    return refuse(format!("{path}: host not found in upstream \"{name}\""));
                }
            }
        }
        for (path, text) in all.iter().filter(|(path, _)| is_hosts_file(path)) {
            let files = text.lines().filter_map(|line| line.trim().strip_prefix("ssl_certificate")?.split_once(' '));
            if let Some((_, file)) = files.into_iter().find(|(_, file)| !self.has_secret(file.trim_end_matches(';'))) {
                return refuse(format!("{path}: cannot load certificate \"{file}\": No such file"));
            }
        }
        if let Some(twice) = listeners.iter().find(|listener| !owners.contains_key(&listener.port)) {
            return refuse(format!("port {} is to be bound, and no file listens on it", twice.port));
        }
        self.releases.retain(|(id, _)| id != generation);
        let all = Arc::new(all);
        self.sealed.insert(generation.clone(), Arc::clone(&all));
        self.releases.push((generation.clone(), all));
        seen("passes nginx -t")
    }

    pub(super) fn restore_generation(&mut self, generation: &GenerationId) -> Result<String, Failure> {
        if self.files(generation).is_none() {
            match self.sealed.get(generation) {
                Some(files) => self.releases.push((generation.clone(), files.clone())),
                None => return refuse(format!("generation {generation} is not on this server, and no copy of it is")),
            }
        }
        self.base.nginx.live = Some(generation.clone());
        self.serves_other = self.serves_other.take().filter(|other| other != generation);
        seen("current leads there")
    }

    pub(super) fn switch(&mut self, expect: Option<&GenerationId>, to: &GenerationId) -> Result<String, Failure> {
        let bootstrap = GenerationId(BOOTSTRAP.to_owned());
        let expect = expect.unwrap_or(&bootstrap);
        if self.running(NGINX_CONTAINER).is_none() {
            return refuse(format!("{NGINX_CONTAINER} does not run"));
        }
        let live = self.base.nginx.live.clone();
        if live.as_ref() == Some(to) && self.serves_other.is_none() {
            return seen("live already");
        }
        if live.as_ref() != Some(expect) || self.serves_other.is_some() {
            return refuse(format!("generation {live:?} is live, and this run was made for {expect}"));
        }
        if self.files(to).is_none() {
            return refuse(format!("generation {to} is not on this server"));
        }
        let (old, new) = (self.routed(expect), self.routed(to));
        self.lingering.extend(old);
        self.lingering.retain(|there| !new.contains(there));
        self.base.nginx.live = Some(to.clone());
        self.base.nginx.recorded = vec![to.clone()];
        seen(&format!("generation {to}"))
    }

    /// What a generation gives traffic to.
    fn routed(&self, generation: &GenerationId) -> BTreeSet<(ServiceName, Backend)> {
        let texts = self.files(generation).into_iter().flatten().filter(|(path, _)| is_service_file(path));
        let services = texts.filter_map(|(_, text)| read_service(text).ok());
        let backends = services.flat_map(|service| {
            let live = service.backends.iter().filter(|backend| service.sends_to(backend));
            let reached: Vec<Backend> = live.flat_map(MeshBackend::reached_at).collect();
            reached.into_iter().map(move |backend| (service.service.clone(), backend))
        });
        backends.collect()
    }

    pub(super) fn drain(&mut self, backends: &[Backend]) -> Result<String, Failure> {
        if self.running(NGINX_CONTAINER).is_none() {
            return refuse(format!("{NGINX_CONTAINER} does not run"));
        }
        self.lingering.retain(|(_, there)| backends.iter().all(|backend| backend.socket() != there.socket()));
        seen("0 connections")
    }

    pub(super) fn judge_canary(&self, check: &CanaryCheck) -> Result<String, Failure> {
        let files = self.base.nginx.live.as_ref().and_then(|live| self.files(live));
        let mut services = files.into_iter().flatten().filter_map(|(_, text)| read_service(text).ok());
        match services.any(|service| service.service == check.service && service.canary.is_some()) {
            true => seen("60 requests to the new side, 0 failed"),
            false => refuse(format!("no canary of {} is live", check.service)),
        }
    }

    pub(super) fn check_route(&self, check: &RouteCheck) -> Result<String, Failure> {
        let socket = check.socket.rsplit('/').next().unwrap_or_default();
        let waits = socket.ends_with(WAITING_SOCKET);
        let stem = socket.trim_end_matches(WAITING_SOCKET).trim_end_matches(SOCKET);
        let (stem, at_app_port) = stem.strip_suffix(".app").map_or((stem, false), |stem| (stem, true));
        let files = self.base.nginx.live.as_ref().and_then(|live| self.files(live));
        let listens = |text: &String| text.contains(&format!("/{socket};")) || text.contains(&format!("/{socket} "));
        if !files.into_iter().flatten().any(|(_, text)| listens(text)) {
            return refuse(format!("NGINX has no socket {socket}"));
        }
        let text = files.into_iter().flatten().find(|(path, _)| path.ends_with(&format!("/{stem}.conf"))).map(|(_, text)| text);
        let Some(service) = text.and_then(|text| read_service(text).ok()) else {
            return refuse(format!("the live generation has no file for {stem}"));
        };
        let is_asked = |backend: &&MeshBackend| if waits { !backend.role.takes_traffic() } else { backend.takes_traffic() };
        let mut asked = service.backends.iter().filter(is_asked).peekable();
        if asked.peek().is_none() {
            return refuse(format!("NGINX has no socket {socket}"));
        }
        let (key, wanted): (_, fn(&MeshBackend) -> Option<Backend>) =
            if at_app_port { (label::APP_PORT, MeshBackend::app) } else { (label::PORT, |backend| Some(backend.backend.clone())) };
        let dead = asked.find_map(|backend| match (&backend.backend, wanted(backend)) {
            (Backend::Container { name, .. }, Some(Backend::Container { port, .. })) => {
                let listens = self.running(name).is_some_and(|app| app.labels.get(key) == Some(&port.to_string()));
                (!listens || at_app_port && self.is_deaf(name)).then(|| name.clone())
            }
            (Backend::Container { name, .. }, _) => Some(name.clone()),
            (Backend::Address { .. }, _) => None,
        });
        match dead {
            Some(name) => refuse(format!("{name} does not answer through NGINX")),
            None => seen("status 200"),
        }
    }
}
