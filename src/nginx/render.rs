//! Values to files: `nginx.conf`, and one file a service. The file of public hosts is made in `hosts`. Deliberately absent: which services and backends there are; the plan knows.
use super::error::RenderError;
use super::header::{canary_variable, upstream_name, write_header, write_words};
use super::read::read_service;
use super::templates::{HTTP, MAIN, STREAM, Templates};
use super::types::{BackendRole, MainSettings, MeshBackend, MeshService};
use crate::model::{ActiveChecks, Backend, EnvName, Method, Millis, ProjectName, Protocol, ServiceName, Side, StagedListener, Upstream};
use crate::script::layout;
use minijinja::{Value, context};

/// Where a service's file lies below its generation's folder.
#[must_use]
pub fn service_path(project: &ProjectName, env: &EnvName, service: &ServiceName, protocol: Protocol) -> String {
    let folder = match protocol {
        Protocol::Tcp | Protocol::Udp => "stream.d",
        Protocol::Http => "http.d",
    };
    format!("{folder}/{}.conf", layout::stem(project, env, service))
}

/// The port that a service makes NGINX listen on, besides its unix socket.
#[must_use]
pub fn listener(service: &MeshService) -> StagedListener {
    StagedListener { port: service.internal_port, transport: service.protocol.transport().to_owned() }
}

/// `nginx.conf`: its path below the generation's folder, and its text. It does not hold the generation's id (see
/// [`super::generation_file`]), so it is the same in every generation of every server.
///
/// # Errors
/// [`RenderError::Template`] where a template of the user's is at fault.
pub fn render_main(templates: &Templates, settings: &MainSettings) -> Result<(String, String), RenderError> {
    let seconds = |time: Millis| time.seconds_ceil();
    let context = context! {
        worker_processes => settings.worker_processes,
        worker_connections => settings.worker_connections,
        keepalive_min_timeout => seconds(settings.keepalive_min_timeout),
        client_header_timeout => seconds(settings.client_header_timeout),
        worker_shutdown_timeout => seconds(settings.worker_shutdown_timeout),
        mount => layout::MOUNT,
        generation_port => layout::GENERATION_PORT,
        generation_file => layout::GENERATION_FILE,
        trusted_proxies => settings.trusted_proxies.clone(),
    };
    let path = "nginx.conf".to_owned();
    let text = templates.render(MAIN, context).map_err(|source| RenderError::Template { object: path.clone(), source })?;
    Ok((path, text))
}

/// A service's file: its path below the generation's folder, and its text, which [`read_service`] reads back as the same value.
///
/// # Errors
/// [`RenderError`] for a service that cannot be served, and for a template of the user's that leaves out what must be read back.
pub fn render_service(templates: &Templates, service: &MeshService) -> Result<(String, String), RenderError> {
    let name = layout::stem(&service.project, &service.env, &service.service);
    check(service, &name)?;
    let service = promoted(service);
    let n_active = service.backends.iter().filter(|backend| backend.role.takes_traffic()).count();
    let n_serving = service.backends.iter().filter(|backend| backend.takes_traffic()).count();
    let waits = service.backends.len() > n_active;
    let upstreams = [service.live, service.live.other()].into_iter().filter(|side| *side == service.live || waits);
    let template = match service.protocol {
        Protocol::Tcp | Protocol::Udp => STREAM,
        Protocol::Http => HTTP,
    };
    // The zone holds a peer in about 1 KiB, a resolved one in more; 32 KiB is the least that NGINX takes.
    let zone_kib = 64 + 4 * service.backends.len();
    let context = context! {
        header => write_header(&service),
        name => name.as_str(),
        project => service.project.as_str(),
        env => service.env.as_str(),
        service => service.service.as_str(),
        protocol => service.protocol.as_str(),
        internal_port => service.internal_port,
        socket => layout::run_file_inside(&name, layout::SOCKET),
        zone_kib => zone_kib,
        n_active => n_active,
        upstreams => upstreams.map(|side| upstream_value(&service, &name, side)).collect::<Vec<Value>>(),
        live => live(&service, &name),
        canary => canary(&service, &name),
        waiting => waits.then(|| context! {
            name => upstream_name(&name, service.live.other()),
            grpc => service.speaks_grpc(service.live.other()),
            socket => layout::run_file_inside(&name, layout::WAITING_SOCKET),
        }),
        method => method(&service, service.protocol, n_active),
        fails => fails(&service.upstream, n_active, n_serving),
        slow_start => slow_start(&service),
        checks => service.upstream.checks.as_ref().map(checks),
        tries => tries(&service.upstream),
        grpc => service.speaks_grpc(service.live),
        backends => Value::from_iter(service.backends.iter().map(|backend| backend_value(backend, "down"))),
    };
    let text = templates.render(template, context).map_err(|source| RenderError::Template { object: name.clone(), source })?;
    match read_service(&text) {
        Err(source) => Err(RenderError::Unreadable { template, service: name, source }),
        Ok(read) if read != service => Err(RenderError::ReadsDifferently { template, service: name }),
        Ok(_) => Ok((service_path(&service.project, &service.env, &service.service, service.protocol), text)),
    }
}

fn check(service: &MeshService, name: &str) -> Result<(), RenderError> {
    let service_name = || name.to_owned();
    if !service.backends.iter().any(MeshBackend::takes_traffic) {
        return Err(RenderError::NoBackend { service: service_name() });
    }
    if service.canary.is_some() && service.backends.iter().all(|backend| backend.role.takes_traffic()) {
        return Err(RenderError::NoBackend { service: service_name() });
    }
    // A variable names the upstream then: both sides have such a port, or none.
    let is_torn = service.canary.is_some() && service.has_app_port(service.live) != service.has_app_port(service.live.other());
    if is_torn && !service.hosts.is_empty() {
        return Err(RenderError::NoBackend { service: service_name() });
    }
    match service.protocol {
        Protocol::Http => {}
        Protocol::Tcp | Protocol::Udp if service.hosts.is_empty() || service.has_app_port(service.live) => {}
        Protocol::Tcp | Protocol::Udp => {
            return Err(RenderError::HostsNeedHttp { service: service_name(), protocol: service.protocol.as_str() });
        }
    }
    match service.hosts.iter().find(|host| !is_host(host)) {
        Some(host) => Err(RenderError::Host { service: service_name(), host: host.clone() }),
        None => Ok(()),
    }
}

/// The upstream of one side. Each has one of its own, which NGINX keeps over a reload with the addresses that it has found, whichever side
/// is live: what answers through the upstream of the side that waits answers after the switch, too.
fn upstream_value(service: &MeshService, name: &str, side: Side) -> Value {
    let backends: Vec<&MeshBackend> = service.backends.iter().filter(|backend| backend.side == side).collect();
    context! {
        name => upstream_name(name, side),
        method => method(service, service.protocol, backends.len()),
        backends => backends.into_iter().map(|backend| backend_value(backend, "")).collect::<Vec<Value>>(),
    }
}

/// The directive that chooses among several backends that take traffic, or nothing where NGINX is to take one after the other.
pub(super) fn method(service: &MeshService, protocol: Protocol, n_active: usize) -> Option<String> {
    let is_datagrams = protocol == Protocol::Udp;
    match &service.upstream.method {
        _ if n_active < 2 => None,
        None if is_datagrams => None,
        Some(Method::RoundRobin) => None,
        None | Some(Method::LeastConn) => Some("least_conn".to_owned()),
        Some(Method::IpHash) => Some(match protocol {
            Protocol::Http => "ip_hash".to_owned(),
            // There is no ip_hash of streams.
            Protocol::Tcp | Protocol::Udp => "hash $remote_addr consistent".to_owned(),
        }),
        Some(Method::Hash(key)) => Some(format!("hash {key} consistent")),
        Some(Method::RandomTwo) => Some("random two least_conn".to_owned()),
    }
}

/// When a backend is given up, where so many are to serve and so many of these are not out. NGINX takes whole seconds here, and nothing else.
pub(super) fn fails(upstream: &Upstream, n_active: usize, n_serving: usize) -> String {
    // One that is left of several: NGINX would give it up like one of several, and then nobody is left.
    if n_serving == 1 && n_active > 1 {
        return GIVES_NOBODY_UP.to_owned();
    }
    format!("max_fails={} fail_timeout={}s", upstream.max_fails, upstream.fail_timeout.seconds_ceil())
}

/// Its failures are not counted.
const GIVES_NOBODY_UP: &str = "max_fails=0";

/// The parameter of a `server`, where NGINX Plus can heed it: not with a method that knows no weights.
pub(super) fn slow_start(service: &MeshService) -> String {
    let time = service.upstream.slow_start.filter(|_| service.upstream.method.as_ref().is_none_or(Method::has_backups));
    time.map_or(String::new(), |time| format!(" slow_start={}", nginx_time(time)))
}

/// What NGINX Plus is told of its own checks.
fn checks(checks: &ActiveChecks) -> Value {
    context! {
        path => checks.path.as_deref().unwrap_or("/"),
        interval => nginx_time(checks.interval),
        timeout => nginx_time(checks.timeout),
        fails => checks.fails,
        passes => checks.passes,
    }
}

/// How often another backend is tried, where it is not as `nginx.conf` has it.
pub(super) fn tries(upstream: &Upstream) -> Option<Value> {
    let usual = Upstream::default();
    let is_usual = (upstream.tries, upstream.tries_timeout) == (usual.tries, usual.tries_timeout);
    (!is_usual).then(|| context! { number => upstream.tries, timeout => nginx_time(upstream.tries_timeout) })
}

/// NGINX knows no fractions.
pub(super) fn nginx_time(time: Millis) -> String {
    if time.0.is_multiple_of(1000) { format!("{}s", time.0 / 1000) } else { format!("{}ms", time.0) }
}

fn is_host(host: &str) -> bool {
    let host = host.strip_prefix("*.").unwrap_or(host);
    let label =
        |label: &str| !label.is_empty() && label.len() <= 63 && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    !host.is_empty() && host.len() <= 253 && host.split('.').all(label)
}

/// NGINX refuses an upstream of backups alone ("no servers in upstream"): without a live one, they are live. So on the side that waits.
pub(super) fn promoted(service: &MeshService) -> MeshService {
    let mut service = service.clone();
    for (first, reserve) in [(BackendRole::Live, BackendRole::Backup), (BackendRole::Idle, BackendRole::IdleBackup)] {
        if service.backends.iter().all(|backend| backend.role != first) {
            service.backends.iter_mut().filter(|backend| backend.role == reserve).for_each(|backend| backend.role = first);
        }
    }
    service
}

pub(super) fn backend_value(backend: &MeshBackend, idle: &str) -> Value {
    let (target, resolve) = match &backend.backend {
        Backend::Container { name, port, .. } => (format!("{name}:{port}"), "resolve"),
        Backend::Address { address, port } => (format!("{address}:{port}"), ""),
    };
    let (role, idle) = match backend.role {
        BackendRole::Live => ("", ""),
        BackendRole::Backup => ("backup", ""),
        BackendRole::Idle => ("", idle),
        BackendRole::IdleBackup => ("backup", idle),
    };
    let out = if backend.role.takes_traffic() && !backend.standing.is_in() { "down" } else { "" };
    let flags: Vec<&str> = [resolve, role, idle, out].into_iter().filter(|flag| !flag.is_empty()).collect();
    context! {
        target => target,
        flags => flags.iter().map(|flag| format!(" {flag}")).collect::<String>(),
        side => backend.side.as_str(),
        replica => backend.replica,
        server => backend.server.as_str(),
        words => write_words(backend),
    }
}

/// What requests are passed on to: the live side's upstream, or a variable that names one of both while a canary is tried.
pub(super) fn live(service: &MeshService, name: &str) -> String {
    match service.canary {
        None => upstream_name(name, service.live),
        Some(_) => format!("${}", canary_variable(name)),
    }
}

/// How a canary's requests are split and counted.
pub(super) fn canary(service: &MeshService, name: &str) -> Option<Value> {
    service.canary.map(|share| {
        context! {
            share => share.to_string(),
            variable => canary_variable(name),
            new => upstream_name(name, service.live.other()),
            old => upstream_name(name, service.live),
            log => layout::run_file_inside(name, layout::CANARY_LOG),
            // NGINX wants a format before its first use, and reads the file of hosts first.
            is_format_here => service.hosts.is_empty(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn services() -> Vec<MeshService> {
        serde_json::from_str(include_str!("../../tests/nginx_golden/multi_server_zones/services.json")).unwrap()
    }

    fn built_in() -> Templates {
        Templates::new(&BTreeMap::new()).unwrap()
    }

    #[test]
    fn backups_alone_are_rendered_as_live() {
        let mut service = services().remove(0);
        service.backends.retain(|backend| backend.role == BackendRole::Backup);
        let (_, text) = render_service(&built_in(), &service).unwrap();
        assert!(text.contains("server 10.0.1.10:18440 max_fails=3"), "{text}");
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        let render = |change: fn(&mut MeshService)| {
            let mut service = services().remove(0);
            change(&mut service);
            render_service(&built_in(), &service).unwrap_err()
        };
        assert!(matches!(render(|service| service.backends.clear()), RenderError::NoBackend { .. }));
        assert!(matches!(render(|service| service.protocol = Protocol::Tcp), RenderError::HostsNeedHttp { protocol: "tcp", .. }));
        let served = |app_port: Option<u16>| {
            let mut service = services().remove(0);
            service.protocol = Protocol::Tcp;
            service.backends.iter_mut().filter(|backend| backend.side == Side::Secondary).for_each(|backend| backend.app_port = app_port);
            render_service(&built_in(), &service).is_ok()
        };
        assert!(served(Some(9000)) && !served(None), "hosts are served from the live side's app port");
        for host in ["", "a b", "a;b", "a..b", "*", "a{}", "*.*.a"] {
            let mut service = services().remove(0);
            service.hosts = vec![host.to_owned()];
            assert!(matches!(render_service(&built_in(), &service), Err(RenderError::Host { .. })), "{host:?}");
        }
    }

    #[test]
    fn a_template_must_leave_what_is_read_back() {
        let own = |text: &str| Templates::new(&BTreeMap::from([(HTTP.to_owned(), text.to_owned())])).unwrap();
        let service = services().remove(0);
        let refused = |text| render_service(&own(text), &service).unwrap_err();
        assert!(matches!(refused("upstream x {}\n"), RenderError::Unreadable { .. }));
        assert!(matches!(refused("{{ header }}\nserver 10.0.0.10:18440; # secondary 1 lon1-a\n"), RenderError::ReadsDifferently { .. }));
        let kept = "{{ header }}\n{% for b in backends %}\nserver {{ b.target }}{{ b.flags }}; # {{ b.words }}\n{% endfor %}\n";
        assert!(render_service(&own(kept), &service).is_ok());
        let RenderError::Template { source, .. } = refused("{{ header }}\n{{ nonsense }}\n") else { panic!("another error") };
        assert_eq!(source.to_string(), "template `http_service.conf.j2`, line 2: undefined value: `nonsense` is undefined");
    }

    #[test]
    fn the_main_file_keeps_the_drain_rule() {
        let settings = MainSettings { client_header_timeout: Millis(12_400), ..MainSettings::default() };
        let (_, text) = render_main(&built_in(), &settings).unwrap();
        assert!(text.contains("client_header_timeout 13s;") && text.contains("keepalive_min_timeout 10s;"), "{text}");
        assert_eq!(settings.quiet(), Millis(13_500), "quiet follows what is rendered: whole seconds");
        for includes in ["include stream.d/*.conf;", "include http.d/*.conf;", "include generation.conf;"] {
            assert!(text.contains(includes), "{includes} is relative to the file's own folder");
        }
    }
}
