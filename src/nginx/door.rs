//! A door's configuration: `127.0.0.1:INTERNAL_PORT` to a service's unix socket. Deliberately absent: backends; a door knows none.
use super::error::RenderError;
use super::templates::{ALIAS, DOOR, Templates};
use crate::model::{EnvName, ProjectName, Protocol, ServiceName};
use crate::script::layout::{self, MESH_ALIAS};
use minijinja::{Value, context};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// One service that a door opens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DoorForward {
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub env: EnvName,
    /// The service.
    pub service: ServiceName,
    /// What it speaks; http goes through as a plain connection.
    pub protocol: Protocol,
    /// The port on loopback.
    pub internal_port: u16,
}

/// Where a door reaches NGINX for datagrams. A unix socket will not do: the answer to a datagram needs an address to go to, and
/// NGINX's end of such a socket has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MeshAddress {
    /// By the alias `mesh` in the project network: a service's own door.
    Alias,
    /// By NGINX's fixed address in its own network: the host's door, whose namespace has no Docker DNS.
    Fixed(Ipv4Addr),
}

/// The configuration of a door. Equal forwards in any order give equal text.
///
/// # Errors
/// [`RenderError::Template`] where a template of the user's is at fault.
pub fn render_door(templates: &Templates, forwards: &[DoorForward], mesh: MeshAddress) -> Result<String, RenderError> {
    let mut forwards = forwards.to_vec();
    forwards.sort();
    forwards.dedup();
    let uses_udp = forwards.iter().any(|forward| forward.protocol == Protocol::Udp);
    let resolve = match mesh {
        MeshAddress::Alias => uses_udp,
        MeshAddress::Fixed(_) => false,
    };
    let context = context! {
        resolve => resolve,
        forwards => Value::from_iter(forwards.iter().map(|forward| forward_value(forward, mesh))),
    };
    templates.render(DOOR, context).map_err(|source| RenderError::Template { object: "a door".to_owned(), source })
}

/// The configuration of a service's own name in its project's network: its port, to the unix socket of this stem.
///
/// # Errors
/// [`RenderError::Template`] where a template of the user's is at fault.
pub fn render_alias(templates: &Templates, stem: &str, port: u16) -> Result<String, RenderError> {
    let context = context! { name => stem, port => port, target => layout::run_file_inside(stem, layout::SOCKET) };
    templates.render(ALIAS, context).map_err(|source| RenderError::Template { object: "an alias".to_owned(), source })
}

/// The ports on loopback that a rendered door opens, each with the stem (`{project}_{env}_{service}`) that it leads to.
#[must_use]
pub fn read_door(text: &str) -> BTreeMap<u16, String> {
    let mut ports = BTreeMap::new();
    let mut stem = "";
    for line in text.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("# ") {
            stem = comment;
        } else if let Some(port) = line.strip_prefix("listen 127.0.0.1:").and_then(|rest| rest.split([' ', ';']).next()?.parse().ok()) {
            ports.insert(port, stem.to_owned());
        }
    }
    ports
}

/// A rendered door, cut apart: one text after the other is all of it.
#[derive(Debug, PartialEq, Eq)]
pub struct DoorParts<'t> {
    /// What comes before the services.
    pub head: &'t str,
    /// Each stem, and what opens its port.
    pub services: Vec<(&'t str, &'t str)>,
    /// What comes behind them.
    pub tail: &'t str,
}

/// Cuts a rendered door apart, whatever its template puts between two services. As for [`read_door`] a service begins with its stem alone in
/// a comment; it ends with the next comment there, or where the block ends in which that stands. None where something else stands between
/// two services.
#[must_use]
pub fn cut_door(text: &str) -> Option<DoorParts<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let (mut from, mut depth) = (0, 0_usize);
    for whole in text.split_inclusive('\n') {
        let code = whole.split('#').next().unwrap_or_default();
        let after = (depth + code.matches('{').count()).checked_sub(code.matches('}').count())?;
        lines.push(Line { from, depth, closes: after < depth, text: whole.trim() });
        (from, depth) = (from + whole.len(), after);
    }
    let starts: Vec<&Line<'_>> = lines.iter().filter(|line| line.stem().is_some()).collect();
    let Some(first) = starts.first() else {
        let (head, tail) = text.split_at(lines.iter().rfind(|line| line.closes)?.from);
        return Some(DoorParts { head, services: Vec::new(), tail });
    };
    let bounds: Vec<&Line<'_>> = lines.iter().filter(|line| line.from >= first.from && line.bounds(first.depth)).collect();
    let n_services = bounds.iter().position(|line| line.stem().is_none()).filter(|n_services| *n_services == starts.len())?;
    // Empty lines belong to what follows them.
    let begin = |of: &Line<'_>| {
        let above = lines.iter().take_while(|line| line.from < of.from);
        above.fold(of.from, |begin, line| if line.text.is_empty() { begin.min(line.from) } else { of.from })
    };
    let cuts: Vec<usize> = bounds.iter().take(n_services + 1).map(|line| begin(line)).collect();
    let stems = starts.iter().filter_map(|line| line.stem());
    let services = stems.zip(cuts.windows(2)).map(|(stem, cut)| (stem, &text[cut[0]..cut[1]])).collect();
    Some(DoorParts { head: &text[..*cuts.first()?], services, tail: &text[*cuts.last()?..] })
}

/// A line of a door.
struct Line<'t> {
    /// Where it begins.
    from: usize,
    /// In how many blocks.
    depth: usize,
    /// It ends one that it does not begin.
    closes: bool,
    /// Without the space around it.
    text: &'t str,
}

impl<'t> Line<'t> {
    fn stem(&self) -> Option<&'t str> {
        self.text.strip_prefix("# ").filter(|stem| self.depth > 0 && !stem.contains(char::is_whitespace))
    }

    /// It ends what stands before it at this depth.
    fn bounds(&self, depth: usize) -> bool {
        self.depth == depth && (self.closes || self.text.starts_with('#'))
    }
}

fn forward_value(forward: &DoorForward, mesh: MeshAddress) -> Value {
    let name = layout::stem(&forward.project, &forward.env, &forward.service);
    let target = match (forward.protocol, mesh) {
        (Protocol::Tcp | Protocol::Http, MeshAddress::Alias | MeshAddress::Fixed(_)) => layout::run_file_inside(&name, layout::SOCKET),
        (Protocol::Udp, MeshAddress::Alias) => format!("{MESH_ALIAS}:{}", forward.internal_port),
        (Protocol::Udp, MeshAddress::Fixed(address)) => format!("{address}:{}", forward.internal_port),
    };
    context! { name => name, port => forward.internal_port, protocol => forward.protocol.as_str(), target => target }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(service: &str, protocol: Protocol, internal_port: u16) -> DoorForward {
        let (project, env) = (ProjectName::new("shop").unwrap(), EnvName::new("prod").unwrap());
        DoorForward { project, env, service: ServiceName::new(service).unwrap(), protocol, internal_port }
    }

    fn render(forwards: &[DoorForward], mesh: MeshAddress) -> String {
        render_door(&Templates::new(&BTreeMap::new()).unwrap(), forwards, mesh).unwrap()
    }

    #[test]
    fn the_order_of_the_forwards_does_not_matter() {
        let (a, b) = (forward("api", Protocol::Http, 5001), forward("db", Protocol::Tcp, 5002));
        let text = render(&[a.clone(), b.clone()], MeshAddress::Alias);
        assert_eq!(text, render(&[b, a.clone(), a], MeshAddress::Alias));
        assert!(text.contains("proxy_pass unix:/flipside/run/shop_prod_api.sock;") && !text.contains("resolver"), "{text}");
    }

    #[test]
    fn an_alias_listens_on_the_services_own_port() {
        let text = render_alias(&Templates::new(&BTreeMap::new()).unwrap(), "shop_prod_db", 5432).unwrap();
        assert!(text.contains("listen 5432 ") && text.contains("proxy_pass unix:/flipside/run/shop_prod_db.sock;"), "{text}");
    }

    #[test]
    fn datagrams_go_to_nginx_itself() {
        let dns = [forward("dns", Protocol::Udp, 5053)];
        let own = render(&dns, MeshAddress::Alias);
        assert!(own.contains("server mesh:5053 resolve") && own.contains("resolver 127.0.0.11"), "{own}");
        let host = render(&dns, MeshAddress::Fixed(Ipv4Addr::new(10, 1, 0, 2)));
        assert!(host.contains("proxy_pass 10.1.0.2:5053;") && !host.contains("resolver"), "{host}");
    }

    #[test]
    fn a_rendered_door_is_cut_apart_whatever_stands_between_its_services() {
        let template = include_str!("../../templates/door.conf.j2");
        let others = [
            template.to_owned(),
            template.replace("\n    # {{ forward.name }}", "# {{ forward.name }}"),
            template.replace("\n    # {{", "\n\n\t# {{").replace(
                "{% endfor %}\n}",
                "{% endfor %}\n    # Ours, and nobody's door.\n    server { listen 127.0.0.1:999; return ok; }\n}\n# The end.",
            ),
        ];
        for template in &others {
            let templates = Templates::new(&BTreeMap::from([(DOOR.to_owned(), template.clone())])).unwrap();
            let render = |forwards: &[DoorForward]| render_door(&templates, forwards, MeshAddress::Alias).unwrap();
            let all = [forward("api", Protocol::Http, 5066), forward("api", Protocol::Http, 5067), forward("dns", Protocol::Udp, 5300)];
            let text = render(&all);
            let parts = cut_door(&text).unwrap();
            assert_eq!(
                parts.services.iter().map(|(stem, _)| *stem).collect::<Vec<_>>(),
                ["shop_prod_api", "shop_prod_api", "shop_prod_dns"]
            );
            let put = |services: &[(&str, &str)]| services.iter().map(|(_, text)| *text).collect::<String>();
            assert_eq!([parts.head, &put(&parts.services), parts.tail].concat(), text);
            assert_eq!([parts.head, &put(&parts.services[2..]), parts.tail].concat(), render(&all[2..]));
            let none = render(&[]);
            let empty = cut_door(&none).unwrap();
            assert_eq!([empty.head, empty.tail].concat(), none);
            assert!(empty.services.is_empty() && none.ends_with(empty.tail) && empty.tail.starts_with('}'), "{empty:?}");
        }
        let between = "stream {\n    # a\n    server { }\n    # Something else.\n    # b\n    server { }\n}\n";
        assert_eq!(cut_door(between), None);
        assert_eq!(cut_door("not a door"), None);
    }

    #[test]
    fn a_rendered_door_is_read_back() {
        let forwards = [forward("api", Protocol::Http, 5066), forward("dns", Protocol::Udp, 5300)];
        for mesh in [MeshAddress::Alias, MeshAddress::Fixed(Ipv4Addr::LOCALHOST)] {
            let text = render(&forwards, mesh);
            let ports = BTreeMap::from([(5066, "shop_prod_api".to_owned()), (5300, "shop_prod_dns".to_owned())]);
            assert_eq!(read_door(&text), ports, "{text}");
        }
    }
}
