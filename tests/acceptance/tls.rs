//! TLS as a client of a public host meets it: certificates that it trusts, curl, and a tunnel for clients that speak no TLS themselves.
//! Deliberately absent: what is spoken over it.
use crate::project::Project;
use crate::server::Server;
use std::fs::{self, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::thread;

/// A new certificate of these hosts, and its key, among the project's secrets; clients trust all that there have been.
pub(crate) fn certify(project: &Project, hosts: &[&str]) {
    let folder = project.path("secrets/prod");
    fs::create_dir_all(&folder).expect("a folder");
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).expect("its mode");
    let [key, certificate] = ["shop_key", "shop_cert"].map(|name| folder.join(name));
    let names: Vec<String> = hosts.iter().map(|host| format!("DNS:{host}")).collect();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"])
        .args(["-subj", &format!("/CN={}", hosts[0]), "-addext", &format!("subjectAltName={}", names.join(",")), "-keyout"])
        .args([key.as_os_str(), "-out".as_ref(), certificate.as_os_str()])
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for file in [&key, &certificate] {
        fs::set_permissions(file, Permissions::from_mode(0o600)).expect("its mode");
    }
    let trusted = project.path("trusted.pem");
    let all = [fs::read(&trusted).unwrap_or_default(), fs::read(&certificate).expect("a certificate")].concat();
    // Clients read it at any moment.
    let whole = project.path("trusted.pem.part");
    fs::write(&whole, all).expect("what clients trust");
    fs::rename(whole, trusted).expect("what clients trust");
}

/// curl, for a host at this server.
pub(crate) fn curl_of(project: &Project, server: &Server, host: &str) -> Command {
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "10", "--cacert"]).arg(project.path("trusted.pem"));
    for port in [80, 443] {
        command.args(["--resolve", &format!("{host}:{port}:{}", server.address)]);
    }
    command
}

/// Where a client without TLS connects to, on this machine, to reach a host at this server over TLS. Every connection is a connection there,
/// by openssl, whose certificate is checked, and what is spoken over it is negotiated: `h2` or `http/1.1`.
pub(crate) fn tunnel(project: &Project, server: &Server, host: &str, spoken: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let here = listener.local_addr().expect("its address").to_string();
    let there = format!("{}:443", server.address);
    let trusted = project.path("trusted.pem").to_string_lossy().into_owned();
    let (host, spoken) = (host.to_owned(), spoken.to_owned());
    // The thread ends with the process: it holds nothing but the port.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let arguments = ["s_client", "-quiet", "-no_ign_eof", "-nocommands", "-verify_return_error", "-CAfile", &trusted];
            let wanted = ["-connect", &there, "-servername", &host, "-verify_hostname", &host, "-alpn", &spoken];
            let mut command = Command::new("openssl");
            command.args(arguments).args(wanted).stderr(Stdio::null());
            thread::spawn(move || through(command, stream));
        }
    });
    here
}

fn through(mut command: Command, stream: TcpStream) {
    let both = stream.try_clone().expect("the same connection");
    let mut child = command.stdin(OwnedFd::from(stream)).stdout(OwnedFd::from(both)).spawn().expect("openssl runs");
    // This process has the connection's two ends for as long as the command does.
    drop(command);
    child.wait().expect("a child");
}
