//! A canary that waits for `flipside promote`, on a fleet of two zones: who gets its share meanwhile, also when the new copy of their zone dies, and
//! what `promote` does when a new copy hangs by then. Deliberately absent: how requests to a canary are counted (see `canary`).
use crate::balance::{self, Copies};
use crate::canary::{counts, release};
use crate::fleet::Fleet;
use crate::project::{Project, inventory};
use crate::server::Server;
use crate::shop::{deploy, is};
use crate::traffic::{HOST, Traffic};
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

/// A phase of this length has requests of every client, also where the command in it ends at once.
const SOME_REQUESTS: Duration = Duration::from_secs(1);
/// Requests that ask for who answers. Of two that get half of them each, none is missed once in some million runs.
const N_ASKED: usize = 24;

/// One server's NGINX alone sends a share of its requests to the new side; nobody has to ask for it.
fn manual(version: &str, share: &str, on_failure: &str) -> String {
    let canary = format!("share = \"{share}\"\nservers = 1\npromote = \"manual\"");
    release(version)
        .replace("share = \"20%\"", &canary)
        .replace("time = \"10s\"", "time = \"5s\"")
        .replace("[rollout]\n", &format!("[rollout]\non_failure = \"{on_failure}\"\n"))
}

/// The next one, with the first one's app.
fn third() -> String {
    manual("1.0", "50%", "rollback").replace("version = \"1.0\"", "version = \"3.0\"")
}

/// Who answers requests to this server's NGINX: each version, and the server that its copy is on.
fn who(copies: &Copies, asked: &Server) -> BTreeSet<String> {
    let answers = (0..N_ASKED).map(|_| asked.get(HOST, "/"));
    let named = answers.map(|(status, body)| {
        let (version, name) = body.trim().split_once(' ').unwrap_or_default();
        format!("{version} on {}", copies.server(Some(name), &format!("{} answered {status}: {body}", asked.name)))
    });
    named.collect()
}

#[track_caller]
fn until(copies: &Copies, asked: &Server, wanted: &[&str]) {
    let wanted = wanted.iter().map(|answer| (*answer).to_owned()).collect();
    balance::until(&wanted, &asked.name, || who(copies, asked));
}

#[track_caller]
fn answered(copies: &Copies, asked: &Server, wanted: &[&str]) {
    assert!(who(copies, asked).iter().eq(wanted), "{}: {:?}, and not {wanted:?}", asked.name, who(copies, asked));
}

#[test]
fn a_canary_waits_for_promotion_in_its_own_zone_and_is_not_promoted_while_a_copy_hangs() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let (one, two, three) = (&servers[0], &servers[1], &servers[2]);
    let project = Project::new(&fleet, &manual("1.0", "100%", "hold"));
    // The server that tries the release is alone in its zone.
    project.inventory(&(inventory(&fleet, "root", &[2, 3, 1]) + "zone = \"fra1\"\n"));
    deploy(&project).exits(0);

    let traffic = Traffic::http(&servers);
    project.playbook(&manual("2.0", "100%", "hold"));
    deploy(&project).exits(9).says(&[
        "== the canary is well",
        "waits for promotion",
        "the canary's part: api 2.0; the rest: api 1.0",
        " promote  gives",
    ]);
    traffic.phase("waiting");
    deploy(&project).exits(9).says(&["waits for promotion", "Until then no deploy begins"]);
    project.flipside(&["resume"]).exits(9);
    project.flipside(&["status"]).exits(0).says(&["server1 tries the secondary side with 100% of the requests", "waits for promotion"]);
    let copies = Copies::of(&fleet);
    answered(&copies, one, &["2.0 on server1"]);
    for server in [two, three] {
        answered(&copies, server, &["1.0 on server2", "1.0 on server3"]);
    }

    // The only new copy of its zone dies: the canary's share goes to the new copies of the other zone, and comes back with it.
    traffic.phase("its copy dies");
    one.must("docker kill shop_prod_api_secondary");
    until(&copies, one, &["2.0 on server2", "2.0 on server3"]);
    answered(&copies, two, &["1.0 on server2", "1.0 on server3"]);
    one.must("docker start shop_prod_api_secondary");
    until(&copies, one, &["2.0 on server1"]);

    // A new copy hangs that nobody is sent to yet: it would get half the requests of its zone.
    traffic.phase("a copy hangs");
    three.must("docker kill --signal STOP shop_prod_api_secondary");
    project.flipside(&["promote"]).exits(8).says(&[
        "[server3] failed: wait for shop_prod_api_secondary to be healthy",
        "not healthy after 8s",
        "and is HELD",
    ]);
    answered(&copies, one, &["2.0 on server1"]);
    answered(&copies, two, &["1.0 on server2", "1.0 on server3"]);
    three.must("docker kill --signal CONT shop_prod_api_secondary");
    traffic.phase("promoting");
    project.flipside(&["resume"]).exits(0);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    traffic.phase("promoted");
    answered(&copies, one, &["2.0 on server1"]);
    for server in [two, three] {
        answered(&copies, server, &["2.0 on server2", "2.0 on server3"]);
    }
    project.flipside(&["promote"]).exits(0).says(&["no run of shop/prod was cut off"]);
    thread::sleep(SOME_REQUESTS);
    traffic.phase("second");

    // Both parts stay in the zone. Where a failure is not held, the release goes back, and can be tried anew.
    project.playbook(&third());
    deploy(&project).exits(9);
    answered(&Copies::of(&fleet), one, &["1.0 on server1", "2.0 on server1"]);
    three.must("docker pause shop_prod_api");
    project.flipside(&["promote"]).exits(5).says(&[
        "[server3] failed: wait for shop_prod_api to be healthy",
        "shop_prod_api is paused: `docker unpause` lets it go on",
        "everything was put back",
    ]);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    traffic.phase("put back");
    thread::sleep(SOME_REQUESTS);
    traffic.phase("third");
    deploy(&project).exits(9);
    project.flipside(&["abort"]).exits(0);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    traffic.phase("aborted");
    thread::sleep(SOME_REQUESTS);
    let seen = traffic.end().none_failed().versions(&["1.0", "2.0"]);
    let seen = ["promoted", "put back", "aborted"].iter().fold(seen, |seen, phase| seen.only(phase, "2.0"));
    let (sent, new, _) = counts(&seen, "waiting", "2.0");
    assert!(new * 100 > sent * 25 && new * 100 < sent * 45, "{new} of {sent} requests went through server1");
}
