//! What the user's own ssh_config says about a name, as `ssh -G NAME` tells it: HostName, User, Port, IdentityFile, ProxyJump and
//! UserKnownHostsFile. Deliberately absent: a reader of ssh_config of our own (Include, Match and tokens are ssh's business), and
//! every other keyword. Where no `ssh` is installed, nothing is said.
use crate::config::Inventory;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::task::JoinSet;

/// `ssh -G` takes some 8 ms; a Match that runs a command may take longer.
const PATIENCE: Duration = Duration::from_secs(5);
const AT_ONCE: usize = 8;
/// Jump hosts that are named by jump hosts.
const DEPTH: usize = 4;

/// What ssh_config says about one name, where it differs from ssh's defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SshSettings {
    /// HostName.
    pub host_name: Option<String>,
    /// User. The name of the local user, which ssh gives where nothing is configured, is left out by [`super::Surroundings`].
    pub user: Option<String>,
    /// Port, unless it is 22.
    pub port: Option<u16>,
    /// IdentityFile, unless these are only ssh's default files.
    pub identity_files: Vec<String>,
    /// ProxyJump: `host[,host…]`, the first of them the farthest.
    pub jump: Option<String>,
    /// The first UserKnownHostsFile, unless it is the default one.
    pub known_hosts: Option<String>,
    /// A ProxyCommand, which cannot be honoured.
    pub proxy_command: Option<String>,
}

/// Asks ssh about every name in an inventory that is not an IP address, and about the jump hosts that it answers with.
pub(super) async fn ask(inventory: &Inventory) -> BTreeMap<String, SshSettings> {
    let mut known = BTreeMap::new();
    let mut names: BTreeSet<String> = BTreeSet::new();
    for server in inventory.servers.values() {
        names.insert(server.address.clone());
        names.extend(server.jump.as_deref().and_then(host_of));
    }
    for _ in 0..DEPTH {
        names.retain(|name| is_asked(name) && !known.contains_key(name));
        let mut found = BTreeMap::new();
        let mut tasks = JoinSet::new();
        let mut queue = std::mem::take(&mut names).into_iter();
        loop {
            while tasks.len() < AT_ONCE {
                let Some(name) = queue.next() else { break };
                tasks.spawn(async move { (ask_one(&name).await, name) });
            }
            match tasks.join_next().await {
                Some(Ok((Some(settings), name))) => {
                    found.insert(name, settings);
                }
                Some(_) => {}
                None => break,
            }
        }
        names.extend(
            found
                .values()
                .filter_map(|settings: &SshSettings| settings.jump.as_deref())
                .flat_map(|jump| jump.split(','))
                .filter_map(host_of),
        );
        known.append(&mut found);
    }
    known
}

/// The host of `[user@]host[:port]`.
fn host_of(jump: &str) -> Option<String> {
    let place = jump.rsplit_once('@').map_or(jump, |(_, place)| place);
    (!place.starts_with('[')).then(|| place.split_once(':').map_or(place, |(host, _)| host).to_owned())
}

/// Names that begin with a dash would be options.
fn is_asked(name: &str) -> bool {
    name != "local" && !name.is_empty() && !name.starts_with('-') && name.parse::<IpAddr>().is_err()
}

async fn ask_one(name: &str) -> Option<SshSettings> {
    let asking = Command::new("ssh").args(["-G", "--", name]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, asking).await.ok()?.ok()?;
    output.status.success().then(|| read(name, &String::from_utf8_lossy(&output.stdout)))
}

/// Reads the answer of `ssh -G`: a keyword in lower case and its value on each line.
fn read(name: &str, text: &str) -> SshSettings {
    let mut settings = SshSettings::default();
    for (keyword, value) in text.lines().filter_map(|line| line.split_once(' ')) {
        let value = value.trim();
        match keyword {
            "hostname" if value != name => settings.host_name = Some(value.to_owned()),
            "user" => settings.user = Some(value.to_owned()),
            "port" => settings.port = value.parse().ok().filter(|&port| port != 22),
            "identityfile" if !is_default_file(value) => settings.identity_files.push(value.to_owned()),
            "proxyjump" if value != "none" => settings.jump = Some(value.to_owned()),
            "proxycommand" if value != "none" => settings.proxy_command = Some(value.to_owned()),
            "userknownhostsfile" => {
                let first = value.split(' ').next().unwrap_or_default();
                settings.known_hosts = (!first.ends_with("/.ssh/known_hosts") && !first.is_empty()).then(|| first.to_owned());
            }
            _ => {}
        }
    }
    settings
}

fn is_default_file(path: &str) -> bool {
    let kinds = ["rsa", "ecdsa", "ecdsa_sk", "ed25519", "ed25519_sk", "xmss", "dsa"];
    path.strip_prefix("~/.ssh/id_").is_some_and(|kind| kinds.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_ssh_is_read() {
        let text = "host web\nuser deploy\nhostname 10.0.0.5\nport 2222\nidentityfile ~/.ssh/work\nidentityfile /abs/k\n\
                    proxyjump gate@bastion:2200,inner\nuserknownhostsfile /tmp/kh /tmp/kh2\n";
        let settings = read("web", text);
        assert_eq!(
            (settings.host_name.as_deref(), settings.user.as_deref(), settings.port),
            (Some("10.0.0.5"), Some("deploy"), Some(2222))
        );
        assert_eq!(settings.identity_files, ["~/.ssh/work", "/abs/k"]);
        assert_eq!(settings.jump.as_deref(), Some("gate@bastion:2200,inner"));
        assert_eq!(settings.known_hosts.as_deref(), Some("/tmp/kh"));
        let plain = "host web\nuser me\nhostname web\nport 22\nidentityfile ~/.ssh/id_rsa\nidentityfile ~/.ssh/id_ed25519_sk\n\
                     proxycommand none\nuserknownhostsfile /home/me/.ssh/known_hosts /home/me/.ssh/known_hosts2\n";
        assert_eq!(read("web", plain), SshSettings { user: Some("me".to_owned()), ..SshSettings::default() });
    }

    #[tokio::test]
    async fn ssh_itself_is_asked() {
        let settings = ask_one("flipside-test.invalid").await.unwrap();
        assert!(settings.user.is_some(), "{settings:?}");
    }

    #[test]
    fn only_names_are_asked_about() {
        for name in ["local", "10.0.0.1", "::1", "-oProxyCommand=id", ""] {
            assert!(!is_asked(name), "{name}");
        }
        assert!(is_asked("web"));
        assert_eq!(host_of("me@bastion:22").as_deref(), Some("bastion"));
        assert_eq!(host_of("[::1]:22"), None);
    }
}
