//! Whether a door is ready: by what it was given, and the sockets of its NGINX, which is this test.
use crate::Server;
use flipside::model::Millis;
use flipside::script::nginx::door_ready;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};

#[test]
fn a_door_is_ready_when_it_listens_for_all_that_it_was_given() {
    let server = Server::new("");
    let root = server.root.path().display().to_string();
    let write = |name: &str, text: &str| fs::write(server.root.path().join(name), text).unwrap();
    write(
        "docker",
        &format!(
            "#!/bin/sh\n[ $1 = exec ] || exit 0\nshift 4\n\
             script=$(printf '%s\\n' \"$1\" | sed 's,/tmp/flipside-door,{root}/door,;s,/proc/net/if_inet6,{root}/if_inet6,'); shift\n\
             FLIPSIDE_DOOR_FILE={root}/given exec sh -c \"$script\" \"$@\"\n"
        ),
    );
    write("door.pid", &format!("{}\n", std::process::id()));
    // A full disk leaves empty what the door writes, and NGINX goes on with what it had.
    write("door.conf", "");
    let ready = || server.run(&door_ready(&server.context(), "shop_prod_api.door", Millis(100)));
    let waits_for = |what: &str| {
        let (done, output) = ready();
        assert!(!done && output.contains(&format!("error: the door does not listen: {what}\n")), "{output}");
    };
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (first, second) = (listen(), listen());
    let [one, two] = [&first, &second].map(|listener| listener.local_addr().unwrap());
    write(
        "given",
        &format!("stream {{\n    server {{\n        listen {one} backlog=4096;\n        listen [::1]:{};\n    }}\n}}\n", one.port()),
    );
    let (done, output) = ready();
    assert!(done && output.starts_with("seen: the door listens after 0."), "{output}");
    write("if_inet6", "00000000000000000000000000000001 01 80 10 80       lo\n");
    waits_for(&format!("[::1]:{}", one.port()));
    write("given", &format!("listen {one};\nlisten {two};\n"));
    assert!(ready().0);
    drop(second);
    waits_for(&two.to_string());
}
