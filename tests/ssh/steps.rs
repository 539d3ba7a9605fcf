//! Steps over a real sshd: how they end where the connection does, and where nobody answers. Deliberately absent: containers; the `docker` of
//! these tests says that they run.
use crate::sshd::{Setup, Sshd, options};
use flipside::config::read_inventory;
use flipside::model::{Action, Failure, HealthPolicy, Millis, Outcome, Probe, ProbeKind, ServerName, StepId};
use flipside::remote::{Call, Connector, Remote, Servers, Update};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};

/// What must come, comes within this time, on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One server, `a`, on which the container `app` runs.
fn run(sshd: &Sshd) -> Servers {
    let docker = sshd.path("docker");
    fs::write(&docker, "#!/bin/sh\n[ $1 != inspect ] || echo 'sight app running 0 false 0'\n").unwrap();
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
    let (hop, at) = (sshd.hop(), |name: &str| sshd.path(name).display().to_string());
    let text = format!(
        "[nginx]\nimage = \"nginx\"\n\n[servers.a]\naddress = \"127.0.0.1\"\nport = {}\nuser = \"{}\"\nzone = \"here\"\n\
         identity_files = [\"{}\"]\nknown_hosts = \"{}\"\ndocker = \"{}\"\nremote_root = \"{}\"\n",
        hop.port,
        hop.user,
        at("id"),
        at("known_hosts"),
        at("docker"),
        at("root")
    );
    let inventory = read_inventory("inventory.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    Servers::new(Connector::new(options()), &inventory, Path::new("/"), "ann").unwrap()
}

fn server() -> ServerName {
    ServerName::new("a").unwrap()
}

/// Begins one action; its news come through the channel.
fn begin(servers: &Servers, action: Action) -> UnboundedReceiver<Update> {
    let (sender, updates) = unbounded_channel();
    let call = Call { id: StepId { wave: 0, server: server(), index: 0 }, actions: vec![action], within: Millis::seconds(60) };
    let servers = servers.clone();
    tokio::spawn(async move { servers.perform(server(), vec![call], sender).await });
    updates
}

async fn end(mut updates: UnboundedReceiver<Update>) -> Outcome {
    loop {
        match timeout(PATIENCE, updates.recv()).await.unwrap().unwrap() {
            Update::Ended(_, outcome) => return outcome,
            Update::Begun(_) | Update::Chatter(..) => {}
        }
    }
}

/// Waits for an answer of this port.
fn await_healthy(kind: ProbeKind, port: u16, within: u64, deadline: u64) -> Action {
    Action::AwaitHealthy {
        container: "app".to_owned(),
        probe: Probe { kind, address: Ipv4Addr::LOCALHOST, port },
        policy: HealthPolicy {
            start_period: Millis::seconds(0),
            interval: Millis(200),
            timeout: Millis::seconds(within),
            retries: 1,
            deadline: Millis::seconds(deadline),
        },
    }
}

#[tokio::test]
async fn a_connection_that_breaks_while_a_container_is_waited_for_says_nothing_of_the_container() {
    let mut sshd = Sshd::start(&Setup::default());
    let servers = run(&sshd);
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let mut updates = begin(&servers, await_healthy(ProbeKind::Tcp, port, 5, 120));
    while !matches!(timeout(PATIENCE, updates.recv()).await.unwrap().unwrap(), Update::Chatter(..)) {}
    sshd.go();
    let outcome = end(updates).await;
    assert!(matches!(&outcome, Outcome::Unknown(Failure { seen, .. }) if seen.contains("nobody can see any more")), "{outcome:?}");
    // It is asked again, and answers by now.
    sshd.come_back();
    let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let outcome = end(begin(&servers, await_healthy(ProbeKind::Tcp, port, 5, 120))).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_for_a_moment_is_tried_again_where_it_was_reached_before() {
    let mut sshd = Sshd::start(&Setup::default());
    let servers = run(&sshd);
    let path = sshd.path("file").display().to_string();
    let write = |content: &str| Action::PutFile { path: path.clone(), mode: 0o600, content: content.to_owned() };
    for action in [Action::Lock, write("one")] {
        let outcome = end(begin(&servers, action)).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    }
    sshd.go();
    let again = async {
        // As a run does: what nobody saw the end of is looked at again.
        loop {
            match end(begin(&servers, write("two"))).await {
                Outcome::Unknown(_) => {}
                outcome => break outcome,
            }
        }
    };
    let (outcome, ()) = tokio::join!(again, async {
        sleep(Duration::from_secs(2)).await;
        sshd.come_back();
    });
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(fs::read_to_string(sshd.path("file")).unwrap(), "two");
    // One that was never reached is not waited for.
    sshd.go();
    let outcome = end(begin(&run(&sshd), Action::Lock)).await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
}

/// An answer that comes before Docker has said whether the container runs is kept until it does: the next question would be an interval away.
#[tokio::test]
async fn a_container_is_healthy_as_soon_as_it_has_answered_and_is_seen_to_run() {
    let sshd = Sshd::start(&Setup::default());
    let servers = run(&sshd);
    let slow = "#!/bin/sh\n[ $1 != inspect ] || { sleep 1; echo 'sight app running 0 false 0'; }\n";
    fs::write(sshd.path("docker"), slow).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut action = await_healthy(ProbeKind::Tcp, listener.local_addr().unwrap().port(), 5, 600);
    let Action::AwaitHealthy { policy, .. } = &mut action else { panic!("{action:?}") };
    policy.interval = Millis::seconds(300);
    let outcome = end(begin(&servers, action.clone())).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    // One that Docker has restarted meanwhile, which its start period forgives, is another one than has answered: it is asked itself.
    fs::write(sshd.path("docker"), slow.replace("false 0", "false 1")).unwrap();
    let Action::AwaitHealthy { policy, .. } = &mut action else { panic!("{action:?}") };
    (policy.start_period, policy.interval) = (Millis::seconds(600), Millis::seconds(3));
    let mut updates = begin(&servers, action);
    let mut n_answers = 0;
    let outcome = loop {
        match timeout(PATIENCE, updates.recv()).await.unwrap().unwrap() {
            Update::Ended(_, outcome) => break outcome,
            Update::Chatter(_, text) if text.contains("accepts connections") => n_answers += 1,
            Update::Begun(_) | Update::Chatter(..) => {}
        }
    };
    assert!(matches!(outcome, Outcome::Done { .. }) && n_answers == 2, "{n_answers} answers: {outcome:?}");
}

#[tokio::test]
async fn the_deadline_of_a_health_check_bounds_a_question_that_takes_long() {
    let sshd = Sshd::start(&Setup::default());
    let servers = run(&sshd);
    // It accepts, and never answers.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let http = ProbeKind::Http { path: "/".to_owned(), host: "localhost".to_owned() };
    let outcome = end(begin(&servers, await_healthy(http, listener.local_addr().unwrap().port(), 40, 2))).await;
    let said = "not healthy after 2s: the last question was not answered by then (1 probes)";
    assert!(matches!(&outcome, Outcome::Failed(Failure { seen, .. }) if seen == said), "{outcome:?}");
}
