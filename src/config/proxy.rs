//! How a service is served to the outside: `proxy` of a service. Deliberately absent: what services of one playbook share (`cross`).
use super::keys::Part;
use super::node::{Node, Value};
use super::reach::not_http;
use super::service::part;
use super::snippet;
use super::types::Service;
use super::values;
use super::walk::{Section, Walk};
use crate::model::{Front, Millis, Protocol, SecretName, Snippets};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Public hosts of a service that speaks HTTP, at its own port or at another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// Host names, served on port 80, and with `tls` on 443. Lower case.
    pub hosts: Vec<String>,
    /// The container's port that they are served from. Default: the service's. See [`Service::app_port`].
    pub app_port: Option<u16>,
    /// Port 443. None: port 80 alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ProxyTls>,
    /// The page of a service that is in maintenance: a file beside the playbook. Default: a built-in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_page: Option<String>,
    /// The pages of statuses that NGINX itself gives: files beside the playbook.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub error_pages: BTreeMap<u16, String>,
    /// How they are served, but for what depends on the servers.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub front: Front,
}

/// How public hosts are served on port 443.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyTls {
    /// The secret that holds the certificate and those that it was signed by, as PEM.
    pub certificate: SecretName,
    /// The secret that holds its key, as PEM.
    pub key: SecretName,
    /// Port 80 sends clients to port 443. Default true.
    pub redirect: bool,
    /// How long browsers are told to use TLS alone, up to two years; 0 takes it back. Default: they are not told.
    pub hsts: Option<Millis>,
    /// HTTP/2, where the client can. Default: for gRPC alone. At a reload NGINX says goodbye on every connection of HTTP/2, and loses nothing
    /// that it has begun with; but clients are needed that ask again what it has not (RFC 9113, 8.7), as not all do.
    pub http2: bool,
}

fn is_usual(front: &Front) -> bool {
    *front == Front::default()
}

/// The kernel gives up after so long.
const LONGEST_CONNECT: Millis = Millis::seconds(75);
/// A day: nothing that is read or written waits longer.
const LONGEST: Millis = Millis::seconds(24 * 3600);
/// Two years, which is what lists of hosts with TLS ask for.
const LONGEST_HSTS: Millis = Millis::seconds(17_520 * 3600);
/// Snippets become a part of a file that is read on every plan.
const LONGEST_SNIPPET: usize = 16 << 10;

/// Reads the public hosts.
pub(super) fn proxy(walk: &mut Walk<'_>, service: &Section<'_>, protocol: Option<Protocol>, port: Option<u16>) -> Option<Proxy> {
    let entry = service.table.get("proxy")?;
    let section = part(walk, service, "proxy", Part::Proxy)?;
    let app_port = walk.port(&section, "app_port", 1..=65535, "this is a port that the container listens on").map(|(port, _)| port);
    let has_own = app_port.is_some() && app_port != port;
    if service.table.get("port").is_some() && !has_own {
        not_http(
            walk,
            service,
            entry.key_span,
            "`proxy`",
            protocol,
            |_| "public hosts are served for `protocol = \"http\"`; or name another port of the container that speaks HTTP: `app_port = 15672`",
        );
    }
    let hosts = hosts(walk, &section);
    let mut front = Front::default();
    prefix(walk, &section, &mut front);
    if let Some((text, span)) = walk.text(&section, "body_size") {
        match values::size(&text) {
            Ok(size) => front.body_size = size,
            Err(advice) => walk.report(span, format!("`body_size` in {} is not a size: `{text}`", section.what), advice),
        }
    }
    timeouts(walk, &section, &mut front);
    if let Some((buffering, _)) = walk.flag(&section, "buffering") {
        front.buffering = buffering;
    }
    front.grpc = walk.flag(&section, "grpc").is_some_and(|(grpc, _)| grpc);
    if let Some(path) = service.table.table("health_check").and_then(|check| check.get("path")).filter(|_| front.grpc && !has_own) {
        let title = format!("{} speaks gRPC and cannot be asked for a `path`", service.what);
        walk.report(path.key_span, title, "write `command`, or nothing: it then proves itself by accepting a connection");
    }
    front.snippets = snippets(walk, &section);
    let tls = tls(walk, &section, &front);
    let maintenance_page = walk.text(&section, "maintenance_page").map(|(path, _)| path);
    let error_pages = error_pages(walk, &section);
    front.error_pages = error_pages.keys().copied().collect();
    Some(Proxy { hosts, app_port, tls, maintenance_page, error_pages, front })
}

impl Service {
    /// The port of its containers that public hosts are served from, where that is not `port`.
    #[must_use]
    pub fn app_port(&self) -> Option<u16> {
        self.proxy.as_ref()?.app_port.filter(|app_port| self.port.is_some_and(|port| port != *app_port))
    }

    /// It speaks gRPC at `port`: what `proxy` says of gRPC is said of the port that it serves.
    #[must_use]
    pub(super) fn speaks_grpc(&self) -> bool {
        self.proxy.as_ref().is_some_and(|proxy| proxy.front.grpc) && self.app_port().is_none()
    }
}

impl Proxy {
    /// The files that it names, relative to the playbook.
    pub fn pages(&self) -> impl Iterator<Item = &String> {
        self.maintenance_page.iter().chain(self.error_pages.values())
    }
}

fn error_pages(walk: &mut Walk<'_>, section: &Section<'_>) -> BTreeMap<u16, String> {
    let mut pages = BTreeMap::new();
    let Some(entry) = section.table.get("error_pages") else { return pages };
    let subject = format!("`error_pages` in {}", section.what);
    let Some(table) = entry.node.table() else {
        let title = format!("{subject} must be a table, not {}", entry.node.kind());
        walk.report(entry.node.span, title, "write `error_pages = { 502 = \"pages/502.html\" }`");
        return pages;
    };
    for entry in &table.entries {
        let code = entry.key.parse().ok().filter(|code| (400..=599).contains(code) && *code != 499);
        let page = walk.line(&entry.node, &format!("the page of `{}` in {subject}", entry.key));
        if code.is_none() {
            let label = "write a status from 400 to 599 that NGINX itself gives, such as 502 or 504";
            walk.report(entry.key_span, format!("`{}` in {subject} is not the status of an error", entry.key), label);
        }
        pages.extend(code.zip(page.map(|(page, _)| page)));
    }
    pages
}

fn tls(walk: &mut Walk<'_>, proxy: &Section<'_>, front: &Front) -> Option<ProxyTls> {
    let section = part(walk, proxy, "tls", Part::ProxyTls)?;
    for key in ["certificate", "key"] {
        if section.table.get(key).is_none() {
            walk.missing(&section, key, "name the secret that holds it: `certificate = \"shop_cert\", key = \"shop_key\"`");
        }
    }
    let certificate = walk.name(&section, "certificate");
    let key = walk.name(&section, "key");
    let why = "how long browsers use TLS alone once they were told; `0s` takes it back";
    Some(ProxyTls {
        redirect: walk.flag(&section, "redirect").is_none_or(|(redirect, _)| redirect),
        hsts: walk.duration(&section, "hsts", Millis(0)..=LONGEST_HSTS, why).map(|(time, _)| time),
        http2: walk.flag(&section, "http2").map_or(front.grpc, |(http2, _)| http2),
        certificate: certificate?,
        key: key?,
    })
}

fn hosts(walk: &mut Walk<'_>, section: &Section<'_>) -> Vec<String> {
    if section.table.get("hosts").is_none() {
        walk.missing(section, "hosts", "write `hosts = [\"shop.example.com\"]`");
    }
    let mut hosts = Vec::new();
    for (host, span) in walk.texts(section, "hosts").unwrap_or_default() {
        match values::host_name(&host) {
            Ok(()) => hosts.push(host),
            Err(advice) => walk.report(span, format!("`{host}` is not a host name"), advice),
        }
    }
    if let Some(Node { value: Value::List(items), span }) = section.table.get("hosts").map(|entry| &entry.node)
        && items.is_empty()
    {
        walk.report(*span, format!("`hosts` in {} is empty", section.what), "name at least one host, or remove the proxy");
    }
    hosts
}

fn prefix(walk: &mut Walk<'_>, section: &Section<'_>, front: &mut Front) {
    if let Some((prefix, span)) = walk.text(section, "path_prefix") {
        match values::path_prefix(&prefix) {
            Ok(()) => front.path_prefix = prefix,
            Err(advice) => walk.report(span, format!("`{prefix}` cannot be the `path_prefix` in {}", section.what), advice),
        }
    }
    let Some((strips, span)) = walk.flag(section, "strip_prefix") else { return };
    if strips && section.table.get("path_prefix").is_none() {
        walk.report(span, format!("{} has `strip_prefix` without `path_prefix`", section.what), "there is nothing to take away: remove it");
    }
    front.strip_prefix = strips && front.path_prefix != "/";
}

fn timeouts(walk: &mut Walk<'_>, proxy: &Section<'_>, front: &mut Front) {
    let Some(section) = part(walk, proxy, "timeout", Part::ProxyTimeout) else { return };
    let mut time = |key, longest, target: &mut Millis| {
        if let Some((value, _)) = walk.duration(&section, key, Millis(100)..=longest, "") {
            *target = value;
        }
    };
    time("connect", LONGEST_CONNECT, &mut front.connect);
    time("read", LONGEST, &mut front.read);
    time("send", LONGEST, &mut front.send);
}

fn snippets(walk: &mut Walk<'_>, proxy: &Section<'_>) -> Snippets {
    let mut snippets = Snippets::default();
    let Some(section) = part(walk, proxy, "snippets", Part::Snippets) else { return snippets };
    for (key, target) in [("server", &mut snippets.server), ("location", &mut snippets.location)] {
        let Some(entry) = section.table.get(key) else { continue };
        let subject = format!("`{key}` in {}", section.what);
        let Some(text) = walk.any_text(&entry.node, &subject) else { continue };
        match snippet::check(&text) {
            _ if text.len() > LONGEST_SNIPPET => {
                walk.report(entry.node.span, format!("{subject} is longer than 16 KiB"), "a template of your own can be longer");
            }
            Ok(()) => text.trim_end().clone_into(target),
            Err(advice) => walk.report(entry.node.span, format!("{subject} does not stay in its block"), advice),
        }
    }
    snippets
}
