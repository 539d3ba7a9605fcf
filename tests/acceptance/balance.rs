//! `playbooks/balance.toml` on the two zones of `inventory/zones.toml`, over HTTP and TCP: one's own zone first, copies in reserve, what a hash
//! leads to; and what a copy that dies, or a whole zone that is lost, costs the clients. Deliberately absent: what tells one method from another
//! (see `strategies`).
use crate::fleet::Fleet;
use crate::project::{Project, example};
use crate::server::Server;
use crate::shop::{deploy, ports};
use crate::traffic::{Seen, Traffic};
use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

const API: &str = "api.example.com";
const LEADER: &str = "leader.example.com";
const CACHE: &str = "cache.example.com";
const WIDE: &str = "wide.example.com";
const SESSIONS: &str = "sessions.example.com";
const SEARCH: &str = "search.example.com";
const PLAYBOOK: &str = include_str!("../../playbooks/balance.toml");
const INVENTORY: &str = include_str!("../../inventory/zones.toml");
/// When nothing happens: what has failed is given up, or is back.
const QUIET: [&str; 3] = ["without them", "all of them", "without a zone"];
/// Clients of each target.
const N_CLIENTS: u64 = 2;
/// What these may lose to Docker on the copy's own server, until it has given up a dead container's port.
const OWN: u64 = 60;

/// Which server's copy says which name. A container that is started again is the same one.
pub(crate) struct Copies(Vec<(String, String)>);

impl Copies {
    pub(crate) fn of(fleet: &Fleet) -> Copies {
        let of = |server: &Server| server.containers().into_values().map(|found| (found.id, server.name.clone())).collect::<Vec<_>>();
        Copies(fleet.servers().iter().flat_map(of).collect())
    }

    /// The servers whose copies answer some requests to this server's NGINX.
    pub(crate) fn who(&self, asked: &Server, host: &str, path: &str) -> BTreeSet<String> {
        let answers = (0..12).map(|_| asked.get(host, path));
        answers
            .map(|(status, body)| self.server(body.trim().rsplit(' ').next(), &format!("{} answered {status}: {body}", asked.name)))
            .collect()
    }

    /// The same for connections to a port of its localhost, that all stay open until the last one has answered.
    pub(crate) fn who_over_tcp(&self, asked: &Server, port: u16) -> BTreeSet<String> {
        let names = asked.names_of_localhost(port, 12, 0);
        names.iter().map(|name| self.server(Some(name), &format!("{} at port {port}: {names:?}", asked.name))).collect()
    }

    /// The server whose copy says this name.
    ///
    /// # Panics
    /// With the second text where there is none.
    pub(crate) fn server(&self, name: Option<&str>, otherwise: &str) -> String {
        let found = self.0.iter().find(|(id, _)| name.is_some_and(|name| !name.is_empty() && id.starts_with(name)));
        found.map_or_else(|| panic!("{otherwise}"), |(_, server)| server.clone())
    }

    /// Asks until these servers' copies answer, and no others: a copy that was given up is tried again after its `fail_timeout`.
    fn until(&self, asked: &Server, host: &str, wanted: &[usize]) {
        until(&names(wanted), host, || self.who(asked, host, "/"));
    }

    fn until_over_tcp(&self, asked: &Server, port: u16, wanted: &[usize]) {
        until(&names(wanted), &format!("port {port} of {}", asked.name), || self.who_over_tcp(asked, port));
    }
}

/// Asks until these answer, and no others.
#[track_caller]
pub(crate) fn until(wanted: &BTreeSet<String>, what: &str, ask: impl Fn() -> BTreeSet<String>) {
    let began = Instant::now();
    loop {
        let seen = ask();
        if seen == *wanted {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{what}: {seen:?}");
        thread::sleep(Duration::from_millis(200));
    }
}

fn quiet(traffic: &Traffic, phase: &str) {
    traffic.phase(phase);
    thread::sleep(Duration::from_secs(1));
}

/// These servers' names.
pub(crate) fn names(numbers: &[usize]) -> BTreeSet<String> {
    numbers.iter().map(|number| format!("server{number}")).collect()
}

#[test]
fn zones_reserves_and_hashes_lead_to_the_right_copies_and_a_dead_one_costs_nothing() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let (one, two, three) = (&servers[0], &servers[1], &servers[2]);
    let project = Project::new(&fleet, PLAYBOOK);
    project.inventory(&example(&fleet, INVENTORY));
    deploy(&project).exits(0);
    let copies = Copies::of(&fleet);
    let [queue, store] = ["queue", "store"].map(|service| ports(&project, service).0);
    assert_eq!(copies.who(one, API, "/"), names(&[1, 2]), "its own zone");
    assert_eq!(copies.who(three, API, "/"), names(&[3]), "its own zone");
    assert_eq!(copies.who_over_tcp(one, queue), names(&[1, 2]), "its own zone");
    assert_eq!(copies.who_over_tcp(three, queue), names(&[3]), "its own zone");
    for server in &servers {
        assert_eq!(copies.who(server, WIDE, "/"), names(&[1, 2, 3]), "all zones");
        // By chance, 12 requests may all pass by a copy: once in some 130 times.
        let searched: BTreeSet<String> = (0..6).flat_map(|_| copies.who(server, SEARCH, "/")).collect();
        assert_eq!(searched, names(&[1, 2, 3]), "all zones");
        assert_eq!(copies.who(server, SESSIONS, "/").len(), 1, "a client stays with one copy");
        assert_eq!(copies.who(server, LEADER, "/"), names(&[2]), "the first of `servers`, for {} too", server.name);
    }
    assert_eq!(copies.who_over_tcp(three, store), names(&[1, 2]), "the first two of `servers`, for another zone too");
    let pages: Vec<_> =
        servers.iter().map(|server| (0..5).map(|n| copies.who(server, CACHE, &format!("/?{n}"))).collect::<Vec<_>>()).collect();
    assert!(pages[0].iter().all(|copies| copies.len() == 1) && pages.iter().all(|of| *of == pages[0]), "a page is at one copy: {pages:?}");
    assert!(pages[0].iter().collect::<BTreeSet<_>>().len() > 1, "not all pages are at the same: {pages:?}");

    // A copy dies, and comes back. Who asks does not notice, in its zone or in another.
    let target = |server: &Server, host: &str| ["new", "keep"].map(|kind| format!("{kind}:http://{}/#{host}", server.address));
    let lines = [queue, store].map(|port| format!("tcp:127.0.0.1:{port}"));
    let traffic = Traffic::to([one, three].into_iter().flat_map(|server| [API, LEADER, WIDE].map(|host| target(server, host))).flatten())
        .and_inside(one, &lines)
        .and_inside(three, &lines);
    traffic.phase("copies die");
    two.must("docker kill spread_prod_leader spread_prod_store");
    three.must("docker kill spread_prod_api spread_prod_queue");
    copies.until(three, API, &[1, 2]);
    copies.until(one, LEADER, &[1, 3]);
    copies.until_over_tcp(three, queue, &[1, 2]);
    copies.until_over_tcp(one, store, &[1]);
    quiet(&traffic, "without them");
    traffic.phase("copies come back");
    two.must("docker start spread_prod_leader spread_prod_store");
    three.must("docker start spread_prod_api spread_prod_queue");
    copies.until(three, API, &[3]);
    copies.until(one, LEADER, &[2]);
    copies.until_over_tcp(three, queue, &[3]);
    copies.until_over_tcp(one, store, &[1, 2]);
    quiet(&traffic, "all of them");
    // The zone of server1 loses a server to a power cut and the other copy to a crash: the other zone serves its clients.
    traffic.phase("a zone is lost");
    let began = Instant::now();
    let before = three.tried_in_vain(two);
    two.fault("stop", &[]);
    one.must("docker kill spread_prod_api spread_prod_wide spread_prod_queue spread_prod_store");
    copies.until(one, API, &[3]);
    copies.until(one, WIDE, &[3]);
    copies.until_over_tcp(one, queue, &[3]);
    copies.until_over_tcp(one, store, &[3]);
    quiet(&traffic, "without a zone");
    thread::sleep(Duration::from_secs(4));
    // A copy that nobody reaches costs `max_fails` requests, three at most, and one after each `fail_timeout`, 2 s, of each client at most. Many
    // more are sent.
    let after = three.tried_in_vain(two);
    for host in [LEADER, WIDE] {
        let n = after.get(host).unwrap_or(&0) - before.get(host).unwrap_or(&0);
        println!("{host}: server3 tried {n} requests at server2 in vain");
        let most = 2 * N_CLIENTS * (4 + began.elapsed().as_secs() / 2);
        assert!((1..=most).contains(&n), "{host}: {n} of {most} at most");
    }
    traffic.phase("a zone comes back");
    two.fault("start", &[]);
    one.must("docker start spread_prod_api spread_prod_wide spread_prod_queue spread_prod_store");
    copies.until(one, API, &[1, 2]);
    copies.until(one, WIDE, &[1, 2, 3]);
    copies.until_over_tcp(one, queue, &[1, 2]);
    copies.until_over_tcp(one, store, &[1, 2]);
    let mut seen = traffic.end().0;
    let (lines, requests) = seen.targets.drain(..).partition::<Vec<_>, _>(|target| target.target.starts_with("tcp:"));
    for target in lines.iter().chain(&requests) {
        for phase in &target.phases {
            let (counts, lost) = (&phase.counts, phase.counts.failed + phase.counts.cuts);
            println!("{}, {}: {} sent, {lost} failed, slowest {:?} ms", target.target, phase.phase, counts.sent, counts.slowest_ms);
        }
    }
    seen.targets = requests;
    Seen(seen).none_failed();
    // A connection that a copy took is lost with it: nobody can send its line again. Docker itself goes on taking those of the copy's own server for
    // a moment, and once a server's power is back, of other servers, too, for copies that do not listen yet. But for these, nobody loses any.
    for (target, own) in lines.iter().zip(
        [["a zone is lost", "a zone comes back"]; 2].into_iter().chain([["copies die", "copies come back"], ["", "a zone comes back"]]),
    ) {
        for phase in &target.phases {
            let most = match phase.phase.as_str() {
                quiet if QUIET.contains(&quiet) => 0,
                at_home if own.contains(&at_home) => OWN,
                _ => 2 * N_CLIENTS,
            };
            let (sent, lost) = (phase.counts.sent, phase.counts.failed + phase.counts.cuts);
            assert!(lost <= most && sent > lost, "{}, {}: {lost} of {sent}: {:#?}", target.target, phase.phase, target.failures);
        }
        let n_quiet = target.phases.iter().filter(|phase| QUIET.contains(&phase.phase.as_str())).count();
        assert_eq!(n_quiet, QUIET.len(), "{}: {:?}", target.target, target.phases);
    }

    // Said otherwise in the playbook: NGINX alone is told, and no container is touched.
    let before: Vec<_> = servers.iter().map(Server::containers).collect();
    let tries = "balance = { tries = 3 }";
    assert_eq!(PLAYBOOK.matches(tries).count(), 2, "the playbook says it otherwise");
    project.playbook(&PLAYBOOK.replace(tries, "balance = { tries = 3, zone_routing = \"global\" }"));
    deploy(&project).exits(0);
    assert_eq!(servers.iter().map(Server::containers).collect::<Vec<_>>(), before);
    for server in &servers {
        assert_eq!(copies.who(server, API, "/"), names(&[1, 2, 3]));
        assert_eq!(copies.who_over_tcp(server, queue), names(&[1, 2, 3]));
    }
    deploy(&project).exits(0).says(&["nothing to do"]);
}
