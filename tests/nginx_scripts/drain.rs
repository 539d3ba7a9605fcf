//! The drain: whom it waits for, by the kernel's own tables. This test's connections are NGINX's.
use crate::Server;
use flipside::model::{Backend, DrainPolicy, Millis};
use flipside::script::nginx::drain;
use std::fs;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Waits for a connection from NGINX to a backend, in the state that `end` leaves it in, beside an old worker that never goes.
fn drained(end: impl FnOnce(TcpStream, &TcpStream) -> Option<TcpStream>) -> String {
    drained_by("exec \"$@\"", end)
}

/// The same, with a body of shell that runs the script.
fn drained_by(run: &str, end: impl FnOnce(TcpStream, &TcpStream) -> Option<TcpStream>) -> String {
    // The script runs here instead of in a container: this test's connections are NGINX's.
    let server = Server::new(&format!("shift 2\n{run}"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let nginx = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let (backend, _) = listener.accept().unwrap();
    let nginx = end(nginx, &backend);
    let mut worker = Command::new("sleep").arg0("nginx: worker process is shutting down").arg("20").spawn().unwrap();
    let policy = DrainPolicy { quiet: Millis(0), timeout: Millis(300) };
    let (done, output) = server.run(&drain(&server.context(), &[Backend::Address { address: Ipv4Addr::LOCALHOST, port }], &policy));
    worker.kill().unwrap();
    worker.wait().unwrap();
    drop((nginx, backend));
    assert!(done, "{output}");
    output
}

#[test]
fn a_half_closed_connection_is_not_drained_and_one_that_nobody_holds_is() {
    let left = |output: String| assert!(output.contains("drain_timeout is over") && output.ends_with(": 1\n"), "{output}");
    left(drained(|nginx, _| Some(nginx)));
    left(drained(|nginx, _| {
        nginx.shutdown(Shutdown::Write).unwrap();
        Some(nginx)
    }));
    left(drained(|nginx, backend| {
        backend.shutdown(Shutdown::Write).unwrap();
        Some(nginx)
    }));
    let output = drained(|nginx, _| {
        drop(nginx);
        None
    });
    assert!(output.contains("no connection to the old side is left"), "{output}");
}

/// The ends of the connection that was accepted, as the kernel writes them in its table.
fn ends(accepted: &TcpStream) -> String {
    let (local, remote) = (accepted.local_addr().unwrap().port(), accepted.peer_addr().unwrap().port());
    format!("0100007F:{local:04X} 0100007F:{remote:04X} \n")
}

#[test]
fn who_is_still_sending_a_request_is_waited_for_and_who_has_a_connection_of_nginxs_own_is_not() {
    // Two clients of NGINX, and one connection of its own to somebody whom nobody drains.
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (nginx, other) = (listen(), listen());
    let connect = |to: &TcpListener| TcpStream::connect(to.local_addr().unwrap()).unwrap();
    let (sending, passed_on) = (connect(&nginx), connect(&nginx));
    let (first, second) = (nginx.accept().unwrap().0, nginx.accept().unwrap().0);
    let own = connect(&other);
    let noted = tempfile::NamedTempFile::new().unwrap();
    let path = noted.path().display();
    let run =
        format!("script=$(printf '%s\\n' \"$3\" | sed 's,/flipside/nginx/connections,{path},g'); shift 3; exec sh -c \"$script\" \"$@\"");
    let gone = |nginx: TcpStream, _: &TcpStream| {
        drop(nginx);
        None
    };
    fs::write(noted.path(), [ends(&first), ends(&second), ends(&own)].concat()).unwrap();
    let output = drained_by(&run, gone);
    assert!(output.contains("drain_timeout is over") && output.ends_with("requests that clients are still sending: 1\n"), "{output}");
    drop((first, sending));
    let output = drained_by(&run, gone);
    assert!(output.contains("no connection to the old side is left"), "{output}");
    drop((second, passed_on, own));
}

#[test]
fn connections_are_seen_in_an_image_without_grep_too() {
    let tools = "folder=$(dirname \"$0\")/tools; mkdir \"$folder\"\nfor tool in sh cat ls readlink sleep; do ln -s \"$(command -v $tool)\" \"$folder/\"; done";
    let without = format!("{tools}\nPATH=$folder exec \"$@\"");
    let output = drained_by(&without, |nginx, _| Some(nginx));
    assert!(output.contains("drain_timeout is over") && output.ends_with(": 1\n"), "{output}");
}
