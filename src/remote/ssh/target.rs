//! Whom to reach and by which road: an inventory's words made into complete routes. Deliberately absent: connecting, reading key files.
use super::ssh_config::{self, SshSettings};
use crate::config::{HostKeyPolicy, Inventory, Server};
use crate::model::ServerName;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// A server to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name in the inventory.
    pub name: ServerName,
    /// How it is reached.
    pub reach: Reach,
    /// Run every script as root, by `sudo -n`.
    pub sudo: bool,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// It is this machine: `address = "local"`.
    Local,
    /// By SSH.
    Ssh(Hop),
}

/// One SSH login, with all that it needs. A jump host is a hop too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// What messages call it: a server's name, or the jump host as it was written.
    pub label: String,
    /// A name or an IP address, without brackets.
    pub address: String,
    /// The TCP port.
    pub port: u16,
    /// The user on the server.
    pub user: String,
    /// Private keys in the order they are offered. Empty: what the agent holds, then OpenSSH's default files.
    pub identity_files: Vec<PathBuf>,
    /// What happens when its host key is not known.
    pub host_key: HostKey,
    /// A known_hosts file instead of the user's and the system's.
    pub known_hosts: Option<PathBuf>,
    /// The hop through which this one is reached.
    pub jump: Option<Box<Hop>>,
}

/// [`HostKeyPolicy`] in a form that can be part of a key of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostKey {
    /// Refuse an unknown key and a changed one.
    Strict,
    /// Record an unknown key, refuse a changed one.
    AcceptNew,
    /// Accept everything.
    Off,
}

impl From<HostKeyPolicy> for HostKey {
    fn from(policy: HostKeyPolicy) -> Self {
        match policy {
            HostKeyPolicy::Strict => HostKey::Strict,
            HostKeyPolicy::AcceptNew => HostKey::AcceptNew,
            HostKeyPolicy::Off => HostKey::Off,
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.label, self.socket())
    }
}

impl Hop {
    /// `host:port`, with brackets around an IPv6 address.
    #[must_use]
    pub fn socket(&self) -> String {
        if self.address.contains(':') { format!("[{}]:{}", self.address, self.port) } else { format!("{}:{}", self.address, self.port) }
    }
}

/// Why an inventory does not say how to reach a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No such server.
    #[error("the inventory has no server `{0}`")]
    NoServer(ServerName),
    /// Neither the inventory nor the environment names a user.
    #[error("no user is known for {0}: write `user = \"…\"` in the inventory (USER and LOGNAME are not set)")]
    NoUser(String),
    /// `~` without a home directory.
    #[error("`{0}` cannot be resolved, because HOME is not set: write an absolute path")]
    NoHome(String),
    /// The jump host is neither a server nor `[user@]host[:port]`.
    #[error("{server}: the jump host `{jump}` is neither a server of the inventory nor of the form `[user@]host[:port]`")]
    Jump {
        /// The server that names it.
        server: String,
        /// What was written.
        jump: String,
    },
    /// Servers that jump through each other.
    #[error("the jump hosts go round in a circle: {0}")]
    Circle(String),
    /// ssh_config reaches the server in a way that we cannot.
    #[error("{server}: ssh_config reaches it by a ProxyCommand (`{command}`), which is not supported: name a `jump` in the inventory")]
    ProxyCommand {
        /// The server.
        server: String,
        /// The command.
        command: String,
    },
    /// The jump host is this machine.
    #[error("{server}: the jump host `{jump}` is `local`, which needs no jump: remove the line")]
    LocalJump {
        /// The server that names it.
        server: String,
        /// The jump host.
        jump: String,
    },
}

/// What the environment adds to the inventory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The home directory, for `~`.
    pub home: Option<PathBuf>,
    /// The name of the user who runs Flipside.
    pub user: Option<String>,
    /// What ssh_config says about names, where it was asked. The inventory's own words come first.
    pub ssh: BTreeMap<String, SshSettings>,
}

impl Surroundings {
    /// HOME, and USER or LOGNAME.
    #[must_use]
    pub fn of_this_process() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Surroundings {
            home: variable("HOME").map(PathBuf::from),
            user: variable("USER").or_else(|| variable("LOGNAME")),
            ssh: BTreeMap::new(),
        }
    }

    /// Asks ssh what its configuration says about the names in an inventory; some 8 ms a name, eight at a time.
    pub async fn ask_ssh(&mut self, inventory: &Inventory) {
        self.ssh = ssh_config::ask(inventory).await;
        for settings in self.ssh.values_mut() {
            settings.user = settings.user.take().filter(|user| Some(user) != self.user.as_ref());
        }
    }
}

impl Target {
    /// Resolves one server of an inventory: `~`, paths relative to the inventory's folder, the default user, ssh_config, and jump hosts
    /// at any depth. A jump host that is not a server of the inventory inherits user, keys and host key policy from the server that names it.
    ///
    /// # Errors
    /// [`TargetError`] when something needed is missing or the jump hosts make no sense.
    pub fn resolve(inventory: &Inventory, name: &ServerName, dir: &Path, around: &Surroundings) -> Result<Target, TargetError> {
        Resolver { inventory, dir, around }.target(name)
    }
}

struct Resolver<'a> {
    inventory: &'a Inventory,
    dir: &'a Path,
    around: &'a Surroundings,
}

impl Resolver<'_> {
    fn target(&self, name: &ServerName) -> Result<Target, TargetError> {
        let server = self.inventory.servers.get(name).ok_or_else(|| TargetError::NoServer(name.clone()))?;
        let reach = if server.address == "local" { Reach::Local } else { Reach::Ssh(self.hop(name, server, &mut Vec::new())?) };
        Ok(Target { name: name.clone(), reach, sudo: server.sudo })
    }

    fn hop(&self, name: &ServerName, server: &Server, road: &mut Vec<ServerName>) -> Result<Hop, TargetError> {
        road.push(name.clone());
        if road[..road.len() - 1].contains(name) {
            let names: Vec<&str> = road.iter().map(ServerName::as_str).collect();
            return Err(TargetError::Circle(names.join(" → ")));
        }
        let unsaid = SshSettings::default();
        let ssh = self.around.ssh.get(&server.address).unwrap_or(&unsaid);
        let user = server.user.as_ref().or(ssh.user.as_ref()).or(self.around.user.as_ref());
        let files = if server.identity_files.is_empty() { &ssh.identity_files } else { &server.identity_files };
        let address = ssh.host_name.as_deref().unwrap_or(&server.address);
        let mut hop = Hop {
            label: name.to_string(),
            address: address.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: if server.port == 22 { ssh.port.unwrap_or(22) } else { server.port },
            user: user.cloned().ok_or_else(|| TargetError::NoUser(name.to_string()))?,
            identity_files: files.iter().map(|path| self.path(path)).collect::<Result<_, _>>()?,
            host_key: server.host_key.into(),
            known_hosts: server.known_hosts.as_ref().or(ssh.known_hosts.as_ref()).map(|path| self.path(path)).transpose()?,
            jump: None,
        };
        hop.jump = match (&server.jump, &ssh.jump, &ssh.proxy_command) {
            (Some(jump), _, _) => Some(Box::new(self.jump(&hop, jump, road)?)),
            (None, Some(jump), _) => Some(Box::new(self.jumps(&hop, jump)?)),
            (None, None, Some(command)) => return Err(TargetError::ProxyCommand { server: hop.label, command: command.clone() }),
            (None, None, None) => None,
        };
        Ok(hop)
    }

    fn jump(&self, from: &Hop, jump: &str, road: &mut Vec<ServerName>) -> Result<Hop, TargetError> {
        let known = ServerName::new(jump).ok().and_then(|name| self.inventory.servers.get_key_value(&name));
        if let Some((name, server)) = known {
            if server.address == "local" {
                return Err(TargetError::LocalJump { server: from.label.clone(), jump: jump.to_owned() });
            }
            return self.hop(name, server, road);
        }
        self.stranger(from, jump)
    }

    /// ProxyJump: the last of the list is the nearest to `from`.
    fn jumps(&self, from: &Hop, list: &str) -> Result<Hop, TargetError> {
        match list.rsplit_once(',') {
            None => self.stranger(from, list),
            Some((farther, nearest)) => {
                let mut hop = self.stranger(from, nearest)?;
                hop.jump = Some(Box::new(self.jumps(&hop, farther)?));
                Ok(hop)
            }
        }
    }

    /// A jump host that is not a server of the inventory. Its own ProxyJump is not followed: the list says it all.
    fn stranger(&self, from: &Hop, jump: &str) -> Result<Hop, TargetError> {
        let (user, host, port) = split_jump(jump).ok_or_else(|| TargetError::Jump { server: from.label.clone(), jump: jump.to_owned() })?;
        let mut hop = Hop { label: jump.to_owned(), address: host.clone(), port: port.unwrap_or(22), jump: None, ..from.clone() };
        if let Some(ssh) = self.around.ssh.get(&host) {
            hop.address = ssh.host_name.clone().unwrap_or(host);
            hop.port = port.or(ssh.port).unwrap_or(22);
            hop.user = ssh.user.clone().unwrap_or(hop.user);
            if !ssh.identity_files.is_empty() {
                hop.identity_files = ssh.identity_files.iter().map(|path| self.path(path)).collect::<Result<_, _>>()?;
            }
        }
        hop.user = user.unwrap_or(hop.user);
        Ok(hop)
    }

    fn path(&self, text: &str) -> Result<PathBuf, TargetError> {
        match text.strip_prefix("~/") {
            Some(rest) => self.around.home.as_ref().map(|home| home.join(rest)).ok_or_else(|| TargetError::NoHome(text.to_owned())),
            None => Ok(self.dir.join(text)),
        }
    }
}

/// `[user@]host[:port]`, where an IPv6 address with a port stands in brackets.
fn split_jump(text: &str) -> Option<(Option<String>, String, Option<u16>)> {
    let (user, place) = match text.rsplit_once('@') {
        Some(("", _)) => return None,
        Some((user, place)) => (Some(user.to_owned()), place),
        None => (None, text),
    };
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':')?)),
        None => match place.split_once(':') {
            Some((_, rest)) if rest.contains(':') => (place, None),
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = port.map(|port| port.parse().ok().filter(|&port| port != 0)).map_or(Some(None), |port: Option<u16>| port.map(Some))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    (!host.is_empty() && !host.starts_with('-') && host.chars().all(plain)).then(|| (user, host.to_owned(), port))
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
