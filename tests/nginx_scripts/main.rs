//! The scripts of NGINX's actions, run by a real `sh` against a folder of their own, with a `docker` that is not one.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
mod door;
mod drain;

use flipside::model::{DrainPolicy, GenerationId, Millis, ProbeKind, RouteCheck, StagedListener};
use flipside::nginx::{generation_file, generation_id};
use flipside::script::ScriptContext;
use flipside::script::layout;
use flipside::script::nginx::{check_route, drain, drop_generation, prune_generations, restore_generation, stage_nginx, switch};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use tempfile::TempDir;

/// A server: its folder, and the `docker` that its scripts run.
struct Server {
    root: TempDir,
}

impl Server {
    /// `docker` is the body of a shell script. It is called by a command of several words, as `sudo docker` is.
    fn new(docker: &str) -> Self {
        let server = Self { root: TempDir::new().unwrap() };
        fs::create_dir_all(server.nginx().join("releases/bootstrap")).unwrap();
        symlink("releases/bootstrap", server.nginx().join("current")).unwrap();
        let path = server.root.path().join("docker");
        fs::write(&path, format!("#!/bin/sh\n{docker}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        server
    }

    fn context(&self) -> ScriptContext {
        let path = self.root.path().to_str().unwrap();
        ScriptContext { docker: format!("env  WHO=admin {path}/docker"), remote_root: path.to_owned() }
    }

    fn nginx(&self) -> PathBuf {
        PathBuf::from(layout::nginx_folder(self.root.path().to_str().unwrap()))
    }

    /// Exit status and output.
    fn run(&self, script: &str) -> (bool, String) {
        let output = Command::new("sh").arg("-c").arg(script).stdin(Stdio::null()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "nothing goes to stderr");
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }

    fn stage(
        &self,
        base: Option<&GenerationId>,
        carried: &BTreeMap<String, String>,
        own: &BTreeMap<String, String>,
    ) -> (GenerationId, String) {
        let mut all = carried.clone();
        all.extend(own.clone());
        let id = generation_id(&all, base);
        let mut files = own.clone();
        files.extend([generation_file(&id, base)]);
        let listeners = [StagedListener { port: 5228, transport: "tcp".to_owned() }];
        (id.clone(), stage_nginx(&self.context(), &id, base, &files, &[], &listeners))
    }
}

fn files() -> BTreeMap<String, String> {
    BTreeMap::from([
        ("nginx.conf".to_owned(), "it's \"$HOME\" `id` \\n %s\n\n".to_owned()),
        ("http.d/a_b_c.conf".to_owned(), "ä\n\tx".to_owned()),
    ])
}

#[test]
fn a_generation_is_written_to_the_byte_and_a_second_time() {
    let server = Server::new("exit 0");
    let (id, script) = server.stage(None, &BTreeMap::new(), &files());
    for _ in 0..2 {
        assert_eq!(server.run(&script), (true, format!("seen: generation {id} passes nginx -t\n")));
        for (path, text) in files() {
            let path = server.nginx().join("releases").join(&id.0).join(path);
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        }
    }
}

#[test]
fn the_bases_other_files_come_along_unless_somebody_edited_them() {
    let server = Server::new("exit 0");
    let (base, script) = server.stage(None, &BTreeMap::new(), &files());
    assert!(server.run(&script).0);
    let own = BTreeMap::from([("stream.d/x_y_z.conf".to_owned(), "new\n".to_owned())]);
    let (id, script) = server.stage(Some(&base), &files(), &own);
    assert_eq!(server.run(&script), (true, format!("seen: generation {id} passes nginx -t\n")));
    assert_eq!(fs::read_to_string(server.nginx().join(format!("releases/{id}/http.d/a_b_c.conf"))).unwrap(), "ä\n\tx");

    fs::write(server.nginx().join(format!("releases/{base}/http.d/a_b_c.conf")), "edited").unwrap();
    fs::remove_dir_all(server.nginx().join(format!("releases/{id}"))).unwrap();
    let (done, output) = server.run(&script);
    assert!(!done && output.starts_with(&format!("error: the files carried over from generation {base} are not the ones")), "{output}");
    assert!(!server.nginx().join(format!("releases/{id}")).exists());
    assert!(!server.nginx().join(format!("releases/{id}.new")).exists());
}

#[test]
fn a_refused_candidate_is_gone_and_nginx_says_why() {
    let server = Server::new("echo 'nginx: [emerg] unknown directive \"it\"' >&2; exit 1");
    let (id, script) = server.stage(None, &BTreeMap::new(), &files());
    let (done, output) = server.run(&script);
    assert!(!done);
    assert!(output.starts_with(&format!("error: NGINX refuses generation {id}: [emerg] unknown directive \"it\"\n")), "{output}");
    let left: Vec<_> = fs::read_dir(server.nginx().join("releases")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["bootstrap"]);
}

#[test]
fn the_live_generation_is_neither_dropped_nor_pruned() {
    let server = Server::new("exit 0");
    for name in ["a1", "a2", "a3", "a4", "a5.new"] {
        fs::create_dir(server.nginx().join("releases").join(name)).unwrap();
        thread::sleep(std::time::Duration::from_millis(15));
    }
    fs::remove_file(server.nginx().join("current")).unwrap();
    symlink("releases/a1", server.nginx().join("current")).unwrap();
    let (done, output) = server.run(&drop_generation(&server.context(), &GenerationId("a1".to_owned())));
    assert!(!done && output.starts_with("error: generation a1 is live"), "{output}");
    let gone = "seen: generation zz is not there\n".to_owned();
    assert_eq!(server.run(&drop_generation(&server.context(), &GenerationId("zz".to_owned()))), (true, gone));
    assert_eq!(server.run(&prune_generations(&server.context(), 1, "")), (true, "seen: 3 old generations removed\n".to_owned()));
    let mut left: Vec<_> = fs::read_dir(server.nginx().join("releases")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["a1", "a4", "bootstrap"]);
}

#[test]
fn a_generation_comes_back_from_its_copy_and_the_link_leads_to_it_again() {
    let server = Server::new("exit 0");
    let (id, script) = server.stage(None, &BTreeMap::new(), &files());
    assert!(server.run(&script).0);
    let (release, current) = (server.nginx().join("releases").join(&id.0), server.nginx().join("current"));
    let copy = server.nginx().join("sealed").join(&id.0);
    for (path, text) in files() {
        assert_eq!(fs::read_to_string(copy.join(path)).unwrap(), text);
    }
    let restore = restore_generation(&server.context(), &id);
    let whole = format!("seen: its files were brought back, and current leads to generation {id}\n");
    let link = format!("seen: current leads to generation {id}\n");
    for (elsewhere, words) in [(Some("releases/bootstrap"), &link), (Some("releases/nothing"), &whole), (None, &link)] {
        drop(fs::remove_file(&current));
        elsewhere.into_iter().for_each(|elsewhere| symlink(elsewhere, &current).unwrap());
        if words == &whole {
            fs::remove_dir_all(&release).unwrap();
        }
        for words in [words, &link] {
            assert_eq!(server.run(&restore), (true, words.clone()), "{elsewhere:?}");
            assert_eq!(fs::read_link(&current).unwrap(), PathBuf::from(format!("releases/{id}")));
            assert_eq!(fs::read_to_string(release.join("http.d/a_b_c.conf")).unwrap(), "ä\n\tx");
        }
    }

    // What somebody put in the link's place is not ours to remove, and without a copy nothing comes back.
    fs::remove_file(&current).unwrap();
    fs::create_dir(&current).unwrap();
    let (done, output) = server.run(&restore);
    assert!(!done && output.contains("current is not a link"), "{output}");
    let (done, output) = server.run(&restore_generation(&server.context(), &GenerationId("ab12".to_owned())));
    assert!(!done && output.starts_with("error: generation ab12 is not on this server, and no copy of it is"), "{output}");

    // Copies go with their generations, but for the live one's.
    fs::remove_dir(&current).unwrap();
    symlink(format!("releases/{id}"), &current).unwrap();
    fs::remove_dir_all(&release).unwrap();
    fs::create_dir(server.nginx().join("sealed/00old")).unwrap();
    assert!(server.run(&prune_generations(&server.context(), 1, "")).0);
    let left: Vec<_> = fs::read_dir(server.nginx().join("sealed")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [id.0.as_str()]);
    fs::remove_file(&current).unwrap();
    assert!(server.run(&drop_generation(&server.context(), &id)).0);
    assert!(!copy.exists());
}

/// A switch, run here in the place of the container, whose clock is in the file `clock` of the server's folder. It ends, where it may begin, by
/// finding that no NGINX is there.
fn switch_here(server: &Server, to: &str, wait: &str) -> String {
    let folder = server.nginx().display().to_string();
    let clock = server.root.path().join("clock").display().to_string();
    let text = format!(
        "#!/bin/sh\nshift 4; script=$(printf '%s\\n' \"$1\" | sed 's,/flipside/nginx,{folder},g;s,/proc/uptime,{clock},g;s,3000,{wait},'); shift\nexec sh -c \"$script\" \"$@\"\n"
    );
    fs::write(server.root.path().join("docker"), text).unwrap();
    let (done, output) = server.run(&switch(&server.context(), None, &GenerationId(to.to_owned())));
    assert!(!done, "{output}");
    output
}

#[test]
fn a_switch_that_comes_late_does_not_begin_and_waits_for_the_lock_only_so_long() {
    let server = Server::new("");
    let clock = server.root.path().join("clock");
    let at = |seconds: f64| {
        let now = fs::read_to_string("/proc/uptime").unwrap();
        let now: f64 = now.split(' ').next().unwrap().parse().unwrap();
        fs::write(&clock, format!("{:.2} 1.00\n", now + seconds)).unwrap();
    };
    at(36.0);
    let output = switch_here(&server, "ab", "3000");
    let words = " s ago: whoever asked for it has given it up, and nothing was changed\n";
    assert!(output.starts_with("error: this switch was to begin 3") && output.contains(words), "{output}");
    assert!(output.contains("hint: the Docker engine of this server is slow"), "{output}");
    let begins = |output: String| assert!(output.starts_with("error: NGINX does not say which generation it serves"), "{output}");
    at(20.0);
    begins(switch_here(&server, "ab", "3000"));
    // One that was asked for later has been here since, also before a restart of the machine.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    fs::write(server.nginx().join("asked"), format!("999999999999 {boot}")).unwrap();
    let output = switch_here(&server, "ab", "3000");
    assert!(output.contains(" s ago: a later one has come before it, and nothing was changed\n"), "{output}");
    fs::write(server.nginx().join("asked"), "999999999999 another-boot\n").unwrap();
    begins(switch_here(&server, "ab", "3000"));

    // Somebody has the lock, and keeps it: by a clock that goes on.
    fs::remove_file(&clock).unwrap();
    symlink("/proc/uptime", &clock).unwrap();
    let held = fs::File::open(server.nginx().join("lock")).unwrap();
    held.lock().unwrap();
    let output = switch_here(&server, "ab", "50");
    assert!(output.starts_with("error: another run has held the NGINX lock of this server for 30 s\n"), "{output}");
    held.unlock().unwrap();
    begins(switch_here(&server, "ab", "50"));
}

/// As [`switch_here`], where an NGINX serves the first generation, and takes over no other. `reload` is done in the place of its reload.
fn switch_in_vain(server: &Server, reload: &str) -> String {
    let (folder, root) = (server.nginx().display().to_string(), server.root.path().display().to_string());
    let socket = "0: 00000002 00000000 00010000 0001 01 1 /flipside/run/generation-bootstrap.sock\n";
    fs::write(server.root.path().join("unix"), socket).unwrap();
    fs::create_dir_all(server.nginx().join("releases/ab")).unwrap();
    fs::write(server.nginx().join("releases/ab/nginx.conf"), "").unwrap();
    let text = format!(
        "#!/bin/sh\n[ $1 = exec ] || exit 0\nshift 4; script=$(printf '%s\\n' \"$1\" | sed 's,/flipside/nginx,{folder},g;s,/proc/net/unix,{root}/unix,;\
         s,/proc/\\[0-9,{root}/none/[0-9,;s,+ 1000,+ 10,;s,kill -HUP 1,{reload},'); shift\nexec sh -c \"$script\" \"$@\"\n"
    );
    fs::write(server.root.path().join("docker"), text).unwrap();
    let (done, output) = server.run(&switch(&server.context(), None, &GenerationId("ab".to_owned())));
    assert!(!done, "{output}");
    output
}

/// Here a folder is in the way of the link; on a server it would be a disk that is full.
#[test]
fn a_link_that_cannot_be_moved_is_not_said_to_be_moved() {
    let server = Server::new("");
    let switching = server.nginx().join("switching");
    let output = switch_in_vain(&server, "true");
    assert!(output.contains("and bootstrap was put back on disk"), "{output}");
    fs::remove_file(&switching).unwrap();
    let output = switch_in_vain(&server, "mkdir current.tmp");
    assert!(output.contains("the link current cannot be moved back to bootstrap") && !output.contains("was put back"), "{output}");
    fs::remove_file(server.nginx().join("current")).unwrap();
    symlink("releases/bootstrap", server.nginx().join("current")).unwrap();
    fs::remove_file(&switching).unwrap();
    let output = switch_in_vain(&server, "true");
    assert!(output.contains("error: the link current cannot be moved to ab\n") && !switching.exists(), "{output}");
}

#[test]
fn a_container_that_is_away_is_named() {
    let server = Server::new("echo 'Error response from daemon: No such container: flipside_nginx' >&2; exit 1");
    let (done, output) = server.run(&switch(&server.context(), None, &GenerationId("ab".to_owned())));
    assert!(!done);
    assert!(output.ends_with("error: the container flipside_nginx cannot be asked: is it running?\n"), "{output}");
}

#[test]
fn a_runtime_that_fails_before_the_program_has_begun_is_asked_again() {
    let fails = "OCI runtime exec failed: exec failed: unable to start container process: read init-p: connection reset by peer: unknown";
    let times = |n_failures: u32| {
        let count = "here=${0%/*}; printf x >>$here/asked; asked=$(cat $here/asked)";
        Server::new(&format!("{count}\n[ ${{#asked}} -gt {n_failures} ] || {{ echo '{fails}' >&2; exit 126; }}\necho 'seen: all well'"))
    };
    let policy = DrainPolicy { quiet: Millis(0), timeout: Millis(0) };
    let server = times(2);
    assert_eq!(server.run(&drain(&server.context(), &[], &policy)), (true, "seen: all well\n".to_owned()));
    let server = times(9);
    let (done, output) = server.run(&drain(&server.context(), &[], &policy));
    assert!(!done && output.ends_with("error: the container flipside_nginx cannot be asked: is it running?\n"), "{output}");
    assert_eq!(fs::read_to_string(server.root.path().join("asked")).unwrap(), "xxxx", "four times, and no more");
}

/// Asks a socket that answers each connection with `answer`, or says nothing and keeps it open, or hangs up.
fn route(answer: Option<&'static str>, kind: ProbeKind) -> (bool, String) {
    // No curl in the image, and no backend that is still being connected to.
    route_with("exit 1", answer, kind)
}

fn route_with(docker: &str, answer: Option<&'static str>, kind: ProbeKind) -> (bool, String) {
    let server = Server::new(docker);
    let socket = server.root.path().join("p_e_s.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            match answer {
                Some("") => open.push(stream),
                Some(text) => {
                    let _ = stream.read(&mut [0; 500]);
                    let _ = stream.write_all(text.as_bytes());
                }
                None => drop(stream),
            }
        }
    });
    let check = RouteCheck { service: "api".to_owned(), socket: socket.to_str().unwrap().to_owned(), kind, deadline: Millis(300) };
    server.run(&check_route(&server.context(), &check))
}

#[test]
fn a_route_is_reached_by_any_answer_that_is_not_nginxs_own() {
    let http = || ProbeKind::Http { path: "/up?a=1&b='2'".to_owned(), host: "api.example.com".to_owned() };
    let (done, output) = route(Some("HTTP/1.1 404 Not Found\r\n\r\n"), http());
    assert!(done && output.starts_with("seen: status 404 after 0."), "{output}");
    let (done, output) = route(Some("HTTP/1.1 502 Bad Gateway\r\n\r\n"), http());
    assert!(!done && output.starts_with("error: api is not reached through NGINX: status 502; "), "{output}");
    let (done, output) = route(None, http());
    assert!(!done && output.contains("no answer"), "{output}");
}

#[test]
fn a_tcp_route_is_reached_by_a_connection_that_stays() {
    let (done, output) = route(Some(""), ProbeKind::Tcp);
    assert!(done && output.contains("the connection stays open"), "{output}");
    let (done, output) = route(None, ProbeKind::Tcp);
    assert!(!done && output.contains("the connection was closed at once"), "{output}");
}

#[test]
fn a_busy_tcp_route_is_reached_although_some_client_is_connecting_at_every_look() {
    // By this docker a connection to the backend is always on its way.
    let (done, output) = route_with("exit 0", Some(""), ProbeKind::Tcp);
    assert!(done && output.contains("the connection stays open"), "{output}");
    let (done, output) = route_with("exit 0", None, ProbeKind::Tcp);
    assert!(!done && output.contains("the connection was closed at once"), "{output}");
}
