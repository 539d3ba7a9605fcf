//! The settings of one server, or of the defaults: types, formats, and how one lies over the other. Deliberately absent: other servers.
use super::types::HostKeyPolicy;
use super::values;
use super::walk::{At, Section, Walk};
use crate::model::Zone;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Becoming root by `sudo -n`: the only way there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sudo;

/// What a section says; nothing where it is silent.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub(super) zone: Option<Zone>,
    pub(super) tags: Option<Vec<String>>,
    pub(super) port: Option<u16>,
    pub(super) user: Option<String>,
    pub(super) identity_files: Option<Vec<String>>,
    pub(super) jump: Option<At<String>>,
    pub(super) sudo: Option<Sudo>,
    pub(super) docker: Option<String>,
    pub(super) remote_root: Option<String>,
    pub(super) host_key: Option<HostKeyPolicy>,
    pub(super) known_hosts: Option<String>,
    pub(super) allow_public_backends: Option<bool>,
}

impl Settings {
    /// These, and the defaults where these are silent. Lists are replaced, not joined. A server that the others are reached
    /// through is not reached through itself.
    pub(super) fn over(self, defaults: &Settings, server: &str) -> Settings {
        let jump = || defaults.jump.clone().filter(|(jump, _)| jump != server);
        Settings {
            zone: self.zone.or_else(|| defaults.zone.clone()),
            tags: self.tags.or_else(|| defaults.tags.clone()),
            port: self.port.or(defaults.port),
            user: self.user.or_else(|| defaults.user.clone()),
            identity_files: self.identity_files.or_else(|| defaults.identity_files.clone()),
            jump: self.jump.or_else(jump),
            sudo: self.sudo.or(defaults.sudo),
            docker: self.docker.or_else(|| defaults.docker.clone()),
            remote_root: self.remote_root.or_else(|| defaults.remote_root.clone()),
            host_key: self.host_key.or(defaults.host_key),
            known_hosts: self.known_hosts.or_else(|| defaults.known_hosts.clone()),
            allow_public_backends: self.allow_public_backends.or(defaults.allow_public_backends),
        }
    }
}

/// Reads everything but the addresses.
pub(super) fn read(walk: &mut Walk<'_>, section: &Section<'_>) -> Settings {
    let host_keys = [("strict", HostKeyPolicy::Strict), ("accept-new", HostKeyPolicy::AcceptNew), ("off", HostKeyPolicy::Off)];
    Settings {
        zone: walk.name(section, "zone"),
        tags: walk.texts(section, "tags").map(|tags| tags.into_iter().map(|(tag, _)| tag).collect()),
        port: walk.port(section, "port", 1..=65535, "this is the port of sshd").map(|(port, _)| port),
        user: checked(walk, section, "user", user).map(|(user, _)| user),
        identity_files: identity_files(walk, section),
        jump: checked(walk, section, "jump", jump),
        sudo: walk.choice(section, "become", &[("sudo", Sudo)]).map(|(sudo, _)| sudo),
        docker: checked(walk, section, "docker", docker).map(|(docker, _)| docker),
        remote_root: checked(walk, section, "remote_root", remote_root).map(|(root, _)| root),
        host_key: walk.choice(section, "host_key", &host_keys).map(|(policy, _)| policy),
        known_hosts: walk.text(section, "known_hosts").map(|(file, _)| file),
        allow_public_backends: walk.flag(section, "allow_public_backends").map(|(allow, _)| allow),
    }
}

/// Reads where SSH connects.
pub(super) fn address(walk: &mut Walk<'_>, section: &Section<'_>) -> Option<At<String>> {
    if section.table.get("address").is_none() {
        walk.missing(section, "address", "write `address = \"…\"`: a name, an IP address, or \"local\" for this machine without SSH");
    }
    checked(walk, section, "address", host)
}

/// Reads where the other servers reach its backends. An `address` that is an IPv4 address serves; a loopback one would lead every server to itself.
pub(super) fn private_address(walk: &mut Walk<'_>, section: &Section<'_>, address: &str) -> Option<Ipv4Addr> {
    if section.table.get("private_address").is_none() {
        return address.parse().ok().filter(|address: &Ipv4Addr| !address.is_loopback());
    }
    let (text, span) = walk.text(section, "private_address")?;
    match text.parse::<Ipv4Addr>() {
        Ok(address) if address.is_unspecified() || address.is_multicast() || address.is_broadcast() => {
            walk.report(span, format!("`{text}` is not the address of one server"), "write the address that the other servers reach it at");
            None
        }
        Ok(address) => Some(address),
        Err(_) => {
            let label = "write an IPv4 address, such as `\"10.0.0.10\"`: containers are published on it";
            walk.report(span, format!("`private_address` in {} is not an IPv4 address: `{text}`", section.what), label);
            None
        }
    }
}

/// A line of text that passes a check of its format.
fn checked(walk: &mut Walk<'_>, section: &Section<'_>, key: &str, check: fn(&str) -> Result<(), String>) -> Option<At<String>> {
    let (text, span) = walk.text(section, key)?;
    match check(&text) {
        Ok(()) => Some((text, span)),
        Err(advice) => {
            walk.report(span, format!("`{text}` cannot be `{key}` in {}", section.what), advice);
            None
        }
    }
}

fn identity_files(walk: &mut Walk<'_>, section: &Section<'_>) -> Option<Vec<String>> {
    if let (Some(one), Some(many)) = (section.table.get("identity_file"), section.table.get("identity_files")) {
        let title = format!("{} has both `identity_file` and `identity_files`", section.what);
        walk.report(one.key_span.max(many.key_span), title, "keep one of the two");
    }
    let one = walk.text(section, "identity_file").map(|(file, _)| vec![file]);
    let many = walk.texts(section, "identity_files").map(|files| files.into_iter().map(|(file, _)| file).collect());
    one.or(many)
}

fn host(text: &str) -> Result<(), String> {
    if let Some((_, rest)) = text.split_once("://") {
        return Err(format!("write the host alone: `\"{}\"`", rest.trim_end_matches('/')));
    }
    if let Some((user, host)) = text.split_once('@') {
        return Err(format!("write `address = {}` and `user = {}`", values::quoted(host), values::quoted(user)));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok(());
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && port.parse::<u16>().is_ok()
    {
        return Err(format!("write `address = {}` and `port = {port}`", values::quoted(host)));
    }
    if text.chars().all(|c| c.is_ascii_digit() || c == '.') && text.parse::<Ipv4Addr>().is_err() {
        return Err("an IPv4 address has four numbers from 0 to 255: `10.0.0.10`".to_owned());
    }
    if is_plain(text, "._-") { Ok(()) } else { Err("an address is a host name or an IP address".to_owned()) }
}

fn user(text: &str) -> Result<(), String> {
    if is_plain(text, "._-\\") { Ok(()) } else { Err("a user's name is letters, digits, `_`, `.` and `-`".to_owned()) }
}

fn jump(text: &str) -> Result<(), String> {
    let (name, host_and_port) = text.split_once('@').map_or((None, text), |(name, rest)| (Some(name), rest));
    let (target, port) = match host_and_port.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inner, rest)) => (inner, rest.strip_prefix(':')),
        None => host_and_port.split_once(':').map_or((host_and_port, None), |(target, port)| (target, Some(port))),
    };
    let plain = name.is_none_or(|name| user(name).is_ok()) && host(target).is_ok();
    let port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if plain && port { Ok(()) } else { Err("write the name of another server, or `[user@]host[:port]`".to_owned()) }
}

fn docker(text: &str) -> Result<(), String> {
    if text.starts_with("sudo ") {
        return Err("write `become = \"sudo\"`: everything is then done as root".to_owned());
    }
    let is_command = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/') && is_plain(text.trim_start_matches('/'), "._-/");
    if is_command { Ok(()) } else { Err("write one command: `docker`, `podman`, or its absolute path".to_owned()) }
}

fn remote_root(text: &str) -> Result<(), String> {
    values::absolute_path(text)?;
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !"._-/".contains(*c)) {
        Some(wrong) => Err(format!("{wrong:?} cannot stand in it: use letters, digits, `.`, `_`, `-` and `/`")),
        None => Ok(()),
    }
}

/// Letters, digits and some signs; not beginning like an option.
fn is_plain(text: &str, signs: &str) -> bool {
    !text.is_empty() && !text.starts_with('-') && text.chars().all(|c| c.is_ascii_alphanumeric() || signs.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_alone() {
        for text in ["lon1-a", "lon1_a.example.com", "10.0.0.1", "fe80::1", "local"] {
            assert_eq!(host(text), Ok(()), "{text}");
        }
        for (text, part) in [
            ("root@10.0.0.1", "`user = \"root\"`"),
            ("10.0.0.1:22", "`port = 22`"),
            ("10.0.0.300", "four numbers"),
            ("ssh://a", "`\"a\"`"),
            ("-oProxyCommand=x", "host name"),
        ] {
            let fault = host(text).unwrap_err();
            assert!(fault.contains(part), "{text}: {fault}");
        }
    }

    #[test]
    fn a_jump_is_a_server_or_a_host() {
        for text in ["bastion", "me@bastion.example.com:2222", "[fe80::1]:22", "10.0.0.1"] {
            assert_eq!(jump(text), Ok(()), "{text}");
        }
        for text in ["a b", "@host", "host:0", "host:ssh", "-J x", "host:22:22"] {
            assert!(jump(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_remote_root_can_stand_in_any_command() {
        for text in ["/local", "/srv/flipside.d/x-1_2"] {
            assert_eq!(remote_root(text), Ok(()), "{text}");
        }
        for text in ["/", "local", "/local/", "/a/../b", "/a b", "/a;b", "/a//b", "/ä", "/a:b"] {
            assert!(remote_root(text).is_err(), "{text}");
        }
    }
}
