//! How an inventory's words become routes.
use super::{Hop, HostKey, Reach, SshSettings, Surroundings, Target, TargetError, split_jump};
use crate::config::{HostKeyPolicy, Ingress, Inventory, NginxSettings, Server};
use crate::model::ServerName;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn server(address: &str) -> Server {
    Server {
        address: address.to_owned(),
        private_address: None,
        allow_public_backends: false,
        zone: None,
        tags: Vec::new(),
        port: 22,
        user: None,
        identity_files: Vec::new(),
        jump: None,
        sudo: false,
        docker: "docker".to_owned(),
        remote_root: "/local".to_owned(),
        host_key: HostKeyPolicy::Strict,
        known_hosts: None,
    }
}

fn jumping(address: &str, jump: &str) -> Server {
    Server { jump: Some(jump.to_owned()), ..server(address) }
}

fn resolve(servers: &[(&str, Server)], name: &str, around: &Surroundings) -> Result<Target, TargetError> {
    let servers: BTreeMap<_, _> = servers.iter().map(|(name, server)| (ServerName::new(*name).unwrap(), server.clone())).collect();
    let nginx =
        NginxSettings { image: "nginx".to_owned(), ingress: Ingress::Off, edge: Vec::new(), trusted_proxies: Vec::new(), plus: false };
    Target::resolve(&Inventory { servers, nginx }, &ServerName::new(name).unwrap(), Path::new("/inv"), around)
}

fn around() -> Surroundings {
    Surroundings { home: Some(PathBuf::from("/home/me")), user: Some("me".to_owned()), ssh: BTreeMap::new() }
}

fn hop(servers: &[(&str, Server)], name: &str) -> Hop {
    match resolve(servers, name, &around()).unwrap().reach {
        Reach::Ssh(hop) => hop,
        Reach::Local => panic!("{name} is local"),
    }
}

#[test]
fn paths_and_users() {
    let mut one = server("[2001:db8::1]");
    one.identity_files = vec!["~/.ssh/k".to_owned(), "keys/k".to_owned(), "/abs/k".to_owned()];
    one.known_hosts = Some("kh".to_owned());
    one.host_key = HostKeyPolicy::AcceptNew;
    let hop = hop(&[("a", one.clone())], "a");
    assert_eq!(hop.identity_files, [Path::new("/home/me/.ssh/k"), Path::new("/inv/keys/k"), Path::new("/abs/k")]);
    assert_eq!((hop.known_hosts.as_deref(), hop.host_key), (Some(Path::new("/inv/kh")), HostKey::AcceptNew));
    assert_eq!((hop.user.as_str(), hop.socket().as_str()), ("me", "[2001:db8::1]:22"));
    assert_eq!(resolve(&[("a", server("h"))], "a", &Surroundings::default()), Err(TargetError::NoUser("a".to_owned())));
    one.user = Some("root".to_owned());
    assert_eq!(resolve(&[("a", one)], "a", &Surroundings::default()), Err(TargetError::NoHome("~/.ssh/k".to_owned())));
}

#[test]
fn local_and_sudo() {
    let local = Server { sudo: true, ..server("local") };
    let target = resolve(&[("a", local)], "a", &Surroundings::default()).unwrap();
    assert_eq!((target.reach, target.sudo), (Reach::Local, true));
    assert_eq!(resolve(&[], "a", &around()), Err(TargetError::NoServer(ServerName::new("a").unwrap())));
}

#[test]
fn jumps_by_name_at_any_depth() {
    let bastion = Server { user: Some("gate".to_owned()), port: 2222, ..jumping("b.example", "outer") };
    let hop = hop(&[("a", jumping("10.0.0.1", "bastion")), ("bastion", bastion), ("outer", server("o.example"))], "a");
    let middle = hop.jump.unwrap();
    assert_eq!((middle.label.as_str(), middle.user.as_str(), middle.port), ("bastion", "gate", 2222));
    assert_eq!(middle.jump.unwrap().address, "o.example");
}

#[test]
fn a_jump_that_is_no_server_inherits() {
    let mut one = jumping("10.0.0.1", "gate@b.example:2222");
    one.identity_files = vec!["/k".to_owned()];
    one.known_hosts = Some("/kh".to_owned());
    let hop = hop(&[("a", one)], "a");
    let jump = hop.jump.unwrap();
    assert_eq!((jump.user.as_str(), jump.socket().as_str(), jump.jump), ("gate", "b.example:2222", None));
    assert_eq!((jump.identity_files, jump.known_hosts), (vec![PathBuf::from("/k")], Some(PathBuf::from("/kh"))));
}

#[test]
fn jumps_that_make_no_sense() {
    let circle = [("a", jumping("1.1.1.1", "b")), ("b", jumping("1.1.1.2", "a"))];
    assert_eq!(resolve(&circle, "a", &around()), Err(TargetError::Circle("a → b → a".to_owned())));
    let local = [("a", jumping("1.1.1.1", "b")), ("b", server("local"))];
    assert!(matches!(resolve(&local, "a", &around()), Err(TargetError::LocalJump { .. })));
    let wrong = [("a", jumping("1.1.1.1", "-oProxyCommand=x y"))];
    assert!(matches!(resolve(&wrong, "a", &around()), Err(TargetError::Jump { .. })));
}

#[test]
fn the_forms_of_a_jump() {
    let some = |user: Option<&str>, host: &str, port| Some((user.map(str::to_owned), host.to_owned(), port));
    assert_eq!(split_jump("h"), some(None, "h", None));
    assert_eq!(split_jump("u@h:2200"), some(Some("u"), "h", Some(2200)));
    assert_eq!(split_jump("u@[::1]:2200"), some(Some("u"), "::1", Some(2200)));
    assert_eq!(split_jump("[::1]"), some(None, "::1", None));
    assert_eq!(split_jump("::1"), some(None, "::1", None));
    for text in ["", "@h", "-h", "h:", "h:x", "h:0", "h:70000", "a b", "[::1]22", "$(id)"] {
        assert_eq!(split_jump(text), None, "{text:?}");
    }
}

#[test]
fn ssh_config_fills_in_what_the_inventory_leaves_open() {
    let mut around = around();
    let web = SshSettings {
        host_name: Some("10.0.0.5".to_owned()),
        user: Some("deploy".to_owned()),
        port: Some(2222),
        identity_files: vec!["~/.ssh/work".to_owned()],
        jump: Some("far,gate@near:2200".to_owned()),
        ..SshSettings::default()
    };
    around.ssh.insert("web".to_owned(), web);
    around.ssh.insert("near".to_owned(), SshSettings { host_name: Some("192.0.2.1".to_owned()), port: Some(1), ..SshSettings::default() });
    let reach = |server: Server| match resolve(&[("a", server)], "a", &around).unwrap().reach {
        Reach::Ssh(hop) => hop,
        Reach::Local => panic!("local"),
    };
    let hop = reach(server("web"));
    assert_eq!((hop.socket().as_str(), hop.user.as_str(), hop.label.as_str()), ("10.0.0.5:2222", "deploy", "a"));
    assert_eq!(hop.identity_files, [Path::new("/home/me/.ssh/work")]);
    let near = hop.jump.unwrap();
    assert_eq!((near.socket().as_str(), near.user.as_str()), ("192.0.2.1:2200", "gate"));
    assert_eq!(near.jump.unwrap().socket(), "far:22");
    let said = reach(Server { user: Some("root".to_owned()), port: 2, jump: Some("other".to_owned()), ..server("web") });
    assert_eq!((said.socket().as_str(), said.user.as_str(), said.jump.unwrap().address.as_str()), ("10.0.0.5:2", "root", "other"));

    let command = SshSettings { proxy_command: Some("nc %h %p".to_owned()), ..SshSettings::default() };
    around.ssh.insert("odd".to_owned(), command);
    assert!(matches!(resolve(&[("a", server("odd"))], "a", &around), Err(TargetError::ProxyCommand { .. })));
}
