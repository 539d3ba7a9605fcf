//! `playbooks/balance.toml`, which copy answers: one's own zone first, copies in reserve, what a hash leads to; and what a copy that dies, or a whole zone that is
//! lost, costs the clients. Deliberately absent: each method and strategy (see `strategies`).
use crate::fleet::Fleet;
use crate::project::{Project, inventory};
use crate::server::Server;
use crate::shop::deploy;
use crate::traffic::Traffic;
use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

const API: &str = "api.example.com";
const LEADER: &str = "leader.example.com";
const CACHE: &str = "cache.example.com";
const WIDE: &str = "wide.example.com";
const PLAYBOOK: &str = include_str!("../../playbooks/balance.toml");
/// As `api`, but that every server's NGINX asks the copies of all zones alike.
const GLOBAL: &str = "
[services.wide]
image = \"flipside/app:1.0\"
port = 8000
protocol = \"http\"
servers_count = 3
health_check = { path = \"/up\", interval = \"200ms\" }
proxy = { hosts = [\"wide.example.com\"] }
balance = { zone_routing = \"global\", tries = 3 }
";

/// Which server's copy says which name. A container that is started again is the same one.
struct Copies(Vec<(String, String)>);

impl Copies {
    fn of(fleet: &Fleet) -> Copies {
        let of = |server: &Server| server.containers().into_values().map(|found| (found.id, server.name.clone())).collect::<Vec<_>>();
        Copies(fleet.servers().iter().flat_map(of).collect())
    }

    /// The servers whose copies answer some requests to this server's NGINX.
    fn who(&self, asked: &Server, host: &str, path: &str) -> BTreeSet<String> {
        let of = |_| {
            let (status, body) = asked.get(host, path);
            let name = body.trim().rsplit(' ').next().unwrap_or_default().to_owned();
            let found = self.0.iter().find(|(id, _)| !name.is_empty() && id.starts_with(&name));
            found.map_or_else(|| panic!("{} answered {status}: {body}", asked.name), |(_, server)| server.clone())
        };
        (0..12).map(of).collect()
    }

    /// Asks until these servers' copies answer, and no others: a copy that was given up is tried again after its `fail_timeout`.
    fn until(&self, asked: &Server, host: &str, wanted: &[usize]) {
        let began = Instant::now();
        loop {
            let seen = self.who(asked, host, "/");
            if seen == names(wanted) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{host} by way of {}: {seen:?}", asked.name);
            thread::sleep(Duration::from_millis(200));
        }
    }
}

fn names(numbers: &[usize]) -> BTreeSet<String> {
    numbers.iter().map(|number| format!("server{number}")).collect()
}

#[test]
fn zones_reserves_and_hashes_lead_to_the_right_copies_and_a_dead_one_costs_nothing() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let (one, two, three) = (&servers[0], &servers[1], &servers[2]);
    let project = Project::new(&fleet, &format!("{PLAYBOOK}{GLOBAL}"));
    project.inventory(&(inventory(&fleet, "root", &[1, 2, 3]) + "zone = \"fra1\"\n"));
    deploy(&project).exits(0);
    let copies = Copies::of(&fleet);
    assert_eq!(copies.who(one, API, "/"), names(&[1, 2]), "its own zone");
    assert_eq!(copies.who(three, API, "/"), names(&[3]), "its own zone");
    for server in &servers {
        assert_eq!(copies.who(server, WIDE, "/"), names(&[1, 2, 3]), "all zones");
        assert_eq!(copies.who(server, LEADER, "/"), names(&[2]), "the first of `servers`, for {} too", server.name);
    }
    let pages: Vec<_> =
        servers.iter().map(|server| (0..5).map(|n| copies.who(server, CACHE, &format!("/?{n}"))).collect::<Vec<_>>()).collect();
    assert!(pages[0].iter().all(|copies| copies.len() == 1) && pages.iter().all(|of| *of == pages[0]), "a page is at one copy: {pages:?}");
    assert!(pages[0].iter().collect::<BTreeSet<_>>().len() > 1, "not all pages are at the same: {pages:?}");

    // A copy dies, and comes back. Who asks does not notice, in its zone or in another.
    let target = |server: &Server, host: &str| ["new", "keep"].map(|kind| format!("{kind}:http://{}/#{host}", server.address));
    let traffic = Traffic::to([one, three].into_iter().flat_map(|server| [API, LEADER, WIDE].map(|host| target(server, host))).flatten());
    traffic.phase("copies die");
    two.must("docker kill spread_prod_leader");
    three.must("docker kill spread_prod_api");
    copies.until(three, API, &[1, 2]);
    copies.until(one, LEADER, &[1, 3]);
    traffic.phase("copies come back");
    two.must("docker start spread_prod_leader");
    three.must("docker start spread_prod_api");
    copies.until(three, API, &[3]);
    copies.until(one, LEADER, &[2]);
    // The zone of server1 loses a server to a power cut and the other copy to a crash: the other zone serves its clients.
    traffic.phase("a zone is lost");
    two.fault("stop", &[]);
    one.must("docker kill spread_prod_api spread_prod_wide");
    copies.until(one, API, &[3]);
    copies.until(one, WIDE, &[3]);
    thread::sleep(Duration::from_secs(5));
    traffic.phase("a zone comes back");
    two.fault("start", &[]);
    one.must("docker start spread_prod_api spread_prod_wide");
    copies.until(one, API, &[1, 2]);
    copies.until(one, WIDE, &[1, 2, 3]);
    let seen = traffic.end().none_failed();
    for target in &seen.0.targets {
        let slowest: Vec<_> = target.phases.iter().map(|phase| format!("{}: {:?} ms", phase.phase, phase.counts.slowest_ms)).collect();
        println!("{}: {} sent, none failed; slowest: {}", target.target, target.total.sent, slowest.join(", "));
    }

    // Said otherwise in the playbook: NGINX alone is told, and no container is touched.
    let before: Vec<_> = servers.iter().map(Server::containers).collect();
    let tries = "balance = { tries = 3 }";
    assert!(PLAYBOOK.contains(tries), "the playbook says it otherwise");
    project.playbook(&(PLAYBOOK.replace(tries, "balance = { tries = 3, zone_routing = \"global\" }") + GLOBAL));
    deploy(&project).exits(0);
    assert_eq!(servers.iter().map(Server::containers).collect::<Vec<_>>(), before);
    for server in &servers {
        assert_eq!(copies.who(server, API, "/"), names(&[1, 2, 3]));
    }
    deploy(&project).exits(0).says(&["nothing to do"]);
}
