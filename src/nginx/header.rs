//! The comments that let a rendered file be read back: its header and the words after each `server` line. Both directions in one place.
use super::error::ReadError;
use super::types::{MeshBackend, MeshService};
use crate::model::{Backend, EnvName, Front, NameError, ProjectName, Protocol, ServerName, ServiceName, Share, Side, Standing, Upstream};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The first line of every service's file.
pub(super) const FIRST_LINE: &str = "# flipside service";

/// What the header says. Everything but the backends.
pub(super) struct Header {
    pub(super) project: ProjectName,
    pub(super) env: EnvName,
    pub(super) service: ServiceName,
    pub(super) protocol: Protocol,
    pub(super) internal_port: u16,
    pub(super) live: Side,
    pub(super) version: String,
    pub(super) hosts: Vec<String>,
    pub(super) upstream: Upstream,
    pub(super) front: Front,
    pub(super) canary: Option<Share>,
}

/// The header of a service's file, without a newline at the end.
pub(super) fn write_header(service: &MeshService) -> String {
    let version = serde_json::Value::from(service.version.as_str());
    // Left out where nothing is set: files of releases that did not have it are read, and written, as they are.
    let upstream = match serde_json::to_string(&service.upstream) {
        Ok(json) if service.upstream != Upstream::default() => format!("\n# upstream: {json}"),
        Ok(_) | Err(_) => String::new(),
    };
    let front = match serde_json::to_string(&service.front) {
        Ok(json) if service.front != Front::default() => format!("\n# front: {json}"),
        Ok(_) | Err(_) => String::new(),
    };
    let text = format!(
        "{FIRST_LINE}: rendered, not edited; what is changed here is found and refused.\n\
         # project: {}\n# env: {}\n# service: {}\n# protocol: {}\n# internal port: {}\n# live: {}\n# version: {version}\n# hosts: {}",
        service.project,
        service.env,
        service.service,
        service.protocol.as_str(),
        service.internal_port,
        service.live,
        service.hosts.join(" "),
    );
    let canary = service.canary.map_or_else(String::new, |share| format!("\n# canary: {share}"));
    format!("{}{upstream}{front}{canary}", text.trim_end())
}

/// Reads what [`write_header`] wrote.
pub(super) fn read_header(text: &str) -> Result<Header, ReadError> {
    let mut lines = text.lines().enumerate();
    if !lines.next().is_some_and(|(_, line)| line.starts_with(FIRST_LINE)) {
        return Err(ReadError::NoHeader);
    }
    let mut fields = BTreeMap::new();
    for (index, line) in lines {
        let Some(comment) = line.strip_prefix("# ") else { break };
        if let Some((field, value)) = comment.split_once(':') {
            fields.insert(field.to_owned(), (index + 1, value.trim().to_owned()));
        }
    }
    let name = |error: NameError| error.to_string();
    Ok(Header {
        project: field(&fields, "project", |text| ProjectName::new(text).map_err(name))?,
        env: field(&fields, "env", |text| EnvName::new(text).map_err(name))?,
        service: field(&fields, "service", |text| ServiceName::new(text).map_err(name))?,
        protocol: field(&fields, "protocol", |text| read_protocol(text).ok_or_else(String::new))?,
        internal_port: field(&fields, "internal port", |text| text.parse::<u16>().map_err(|error| error.to_string()))?,
        live: field(&fields, "live", |text| read_side(text).ok_or_else(String::new))?,
        version: field(&fields, "version", |text| serde_json::from_str::<String>(text).map_err(|error| error.to_string()))?,
        hosts: field(&fields, "hosts", |text| Ok(text.split_whitespace().map(str::to_owned).collect()))?,
        upstream: match fields.contains_key("upstream") {
            true => field(&fields, "upstream", |text| serde_json::from_str(text).map_err(|error| error.to_string()))?,
            false => Upstream::default(),
        },
        front: match fields.contains_key("front") {
            true => field(&fields, "front", |text| serde_json::from_str(text).map_err(|error| error.to_string()))?,
            false => Front::default(),
        },
        canary: match fields.contains_key("canary") {
            true => Some(field(&fields, "canary", |text| Share::read(text).ok_or_else(String::new))?),
            false => None,
        },
    })
}

fn field<T>(
    fields: &BTreeMap<String, (usize, String)>,
    name: &'static str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, ReadError> {
    let (line, value) = fields.get(name).ok_or(ReadError::Missing(name))?;
    read(value).map_err(|_| ReadError::Field { line: *line, field: name, value: value.clone() })
}

fn read_protocol(text: &str) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp, Protocol::Http].into_iter().find(|protocol| protocol.as_str() == text)
}

fn read_side(text: &str) -> Option<Side> {
    Side::BOTH.into_iter().find(|side| side.as_str() == text)
}

/// The words after a `server` line: `primary 1 lon1-a`, `app:15672` where public hosts are served from another port of it, and the fixed
/// address where the target is a name, as the last one; `waiting` before them where no traffic goes there, `out` where it failed its active
/// checks.
pub(super) fn write_words(backend: &MeshBackend) -> String {
    let before = match (backend.role.takes_traffic(), backend.standing) {
        (false, _) => WAITING,
        (true, Standing::Out) => OUT,
        (true, Standing::In) => "",
    };
    let app = backend.app_port.map_or_else(String::new, |port| format!(" {APP}{port}"));
    let words = format!("{before}{} {} {}{app}", backend.side, backend.replica, backend.server);
    match &backend.backend {
        Backend::Container { address, .. } => format!("{words} {address}"),
        Backend::Address { .. } => words,
    }
}

/// A side's upstream, named as its containers are. `name` is the service's stem.
#[must_use]
pub fn upstream_name(name: &str, side: Side) -> String {
    match side {
        Side::Primary => name.to_owned(),
        Side::Secondary => format!("{name}_secondary"),
    }
}

/// Before the words of a backend that waits.
pub(super) const WAITING: &str = "waiting ";

/// Before the words of a backend that failed its active checks.
pub(super) const OUT: &str = "out ";

/// Before the port that public hosts are served from.
const APP: &str = "app:";

/// What a `server` line says of its backend, but for what traffic it gets.
pub(super) struct Named {
    pub(super) backend: Backend,
    pub(super) app_port: Option<u16>,
    pub(super) side: Side,
    pub(super) replica: u32,
    pub(super) server: ServerName,
}

/// Reads what [`write_words`] wrote, without [`WAITING`] and [`OUT`]; `target` is the `host:port` of the line.
pub(super) fn read_words(target: &str, words: &str) -> Option<Named> {
    let (host, port) = target.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let mut words = words.split_whitespace().peekable();
    let side = read_side(words.next()?)?;
    let replica = words.next()?.parse().ok().filter(|replica| *replica > 0)?;
    let server = ServerName::new(words.next()?).ok()?;
    let app_port = match words.next_if(|word| word.starts_with(APP)) {
        Some(word) => Some(word.strip_prefix(APP)?.parse().ok().filter(|port| *port > 0)?),
        None => None,
    };
    let backend = match (host.parse::<Ipv4Addr>(), words.next()) {
        (Ok(address), None) => Backend::Address { address, port },
        (Err(_), Some(address)) => Backend::Container { name: host.to_owned(), address: address.parse().ok()?, port },
        (Ok(_), Some(_)) | (Err(_), None) => return None,
    };
    words.next().is_none().then_some(Named { backend, app_port, side, replica, server })
}

/// The upstream of a side's app port. Names have no dots: it is nobody else's.
pub(super) fn app_upstream(name: &str, side: Side) -> String {
    format!("{}{APP_UPSTREAM}", upstream_name(name, side))
}

/// What follows the name of a side's own upstream in that of its app port.
pub(super) const APP_UPSTREAM: &str = ".app";

/// The variable that names the upstream of one request while a canary is tried, and the format of its log. A variable has no `-`.
pub(super) fn canary_variable(name: &str) -> String {
    format!("flipside_canary_{}", name.replace('_', "_u").replace('-', "_d"))
}
