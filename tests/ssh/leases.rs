//! Leases over a real sshd: what becomes of them while nothing is asked of their servers. Deliberately absent: the lock itself, which
//! has its tests beside its script.
use crate::sshd::{Setup, Sshd, TALKS, options, signal};
use flipside::config::read_inventory;
use flipside::model::ServerName;
use flipside::remote::{Connector, Holder, LeaseError, Servers};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// What must come, comes within this time, on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Four addresses of one sshd.
fn sshd() -> Sshd {
    let sshd = Sshd::start(&Setup { addresses: 4, lines: &[TALKS], ..Setup::default() });
    let keys: String = [1, 2, 3, 4].map(|n| sshd.host_line(&format!("127.0.1.{n}"), "ed25519")).concat();
    std::fs::write(sshd.path("known_hosts"), keys).unwrap();
    sshd
}

/// Four servers at these addresses, each with a folder of its own.
fn run(sshd: &Sshd, holder: &str) -> Servers {
    let folder = |name: &str| sshd.path(name).display().to_string();
    let hop = sshd.hop();
    let mut text = format!(
        "[nginx]\nimage = \"nginx\"\n\n[defaults]\nport = {}\nuser = \"{}\"\nzone = \"here\"\nidentity_files = [\"{}\"]\nknown_hosts = \"{}\"\n",
        hop.port,
        hop.user,
        folder("id"),
        folder("known_hosts")
    );
    for (name, n) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        text += &format!("\n[servers.{name}]\naddress = \"127.0.1.{n}\"\nremote_root = \"{}\"\n", folder(name));
    }
    let inventory = read_inventory("inventory.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    Servers::new(Connector::new(options()), &inventory, Path::new("/"), holder).unwrap()
}

fn names() -> [ServerName; 2] {
    named(["a", "b"])
}

fn named<const N: usize>(names: [&str; N]) -> [ServerName; N] {
    names.map(|name| ServerName::new(name).unwrap())
}

async fn take(servers: &Servers, names: &[ServerName]) -> Result<(), (ServerName, LeaseError)> {
    servers.take_leases(&names.iter().collect()).await
}

/// Who holds the lease of this server.
async fn holder(servers: &Servers, name: &ServerName) -> Option<String> {
    let mut all = servers.holders(&BTreeSet::from([name])).await;
    all.remove(name).unwrap().unwrap().map(|holder| {
        assert!(holder.age.is_some(), "{name}: how long {} holds it is not known", holder.who);
        holder.who
    })
}

fn last_holder(sshd: &Sshd, server: &str) -> Option<String> {
    std::fs::read_to_string(sshd.path(server).join("flipside/lock/holder")).ok()
}

#[tokio::test]
async fn a_lease_that_is_lost_while_nothing_is_asked_of_its_server_comes_back_by_itself() {
    let sshd = sshd();
    let (ann, names) = (run(&sshd, "ann"), names());
    take(&ann, &names).await.unwrap();
    for _ in 0..2 {
        for child in sshd.children() {
            signal("KILL", child);
        }
        let looker = run(&sshd, "looker");
        let began = Instant::now();
        for name in &names {
            while holder(&looker, name).await.as_deref() != Some("ann") {
                assert!(began.elapsed() < PATIENCE, "{name} has not been locked again: {}", sshd.log());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        looker.release().await;
    }
    // Given back, they stay free, whatever breaks.
    ann.free_leases().await;
    for child in sshd.children() {
        signal("KILL", child);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let bob = run(&sshd, "bob");
    take(&bob, &names).await.unwrap();
    bob.release().await;
    ann.release().await;
}

#[tokio::test]
async fn whoever_is_refused_one_lease_leaves_no_trace_on_the_others() {
    let sshd = sshd();
    let ([a, b], first, bob) = (names(), run(&sshd, "ann"), run(&sshd, "bob"));
    // Ann's connection to `a` is gone for the moment, and her lease with it.
    take(&first, &[a.clone(), b.clone()]).await.unwrap();
    first.release().await;
    take(&first, std::slice::from_ref(&b)).await.unwrap();
    for _ in 0..2 {
        let (at, error) = take(&bob, &names()).await.unwrap_err();
        assert!(at == b && error.to_string().starts_with("locked by ann, held for "), "{at}: {error}");
        assert_eq!(last_holder(&sshd, "a").as_deref(), Some("ann\n"), "bob has done nothing there");
        assert_eq!(holder(&first, &a).await, None);
    }
    first.release().await;
    take(&bob, &names()).await.unwrap();
    assert_eq!(last_holder(&sshd, "a").as_deref(), Some("bob\n"));
    bob.release().await;
    assert_eq!(last_holder(&sshd, "a").as_deref(), Some("bob\n"), "he may have changed it");
}

#[tokio::test]
async fn of_two_runs_that_begin_together_and_overlap_in_part_one_gets_all_that_it_wants() {
    let sshd = sshd();
    let (ann, bob) = (run(&sshd, "ann"), run(&sshd, "bob"));
    for _ in 0..2 {
        // Each has been the first at one of the two servers that both want.
        let [c, d] = named(["c", "d"]);
        take(&ann, std::slice::from_ref(&c)).await.unwrap();
        take(&bob, &[d]).await.unwrap();
        let (of_ann, of_bob) = (named(["a", "c", "d"]), named(["b", "c", "d"]));
        let (first, second) = tokio::join!(take(&ann, &of_ann), take(&bob, &of_bob));
        first.unwrap_or_else(|(at, error)| panic!("{at}: {error}, and {second:?}"));
        let (at, error) = second.unwrap_err();
        assert!(at == c && error.to_string().starts_with("locked by ann"), "{at}: {error}");
        for name in &of_ann {
            assert_eq!(holder(&bob, name).await.as_deref(), Some("ann"), "{name}");
        }
        assert_eq!(holder(&bob, &of_bob[0]).await, None, "what nobody else wanted is free again");
        ann.free_leases().await;
        bob.free_leases().await;
    }

    // A run that has long begun gives way to nobody: whoever comes is refused at once.
    take(&bob, &named(["c", "d"])).await.unwrap();
    let since = sshd.path("d").join("flipside/lock/since");
    let earlier: u64 = std::fs::read_to_string(&since).unwrap().trim().parse().unwrap();
    std::fs::write(&since, format!("{}\n", earlier - 60)).unwrap();
    let (at, error) = take(&ann, &named(["a", "d"])).await.unwrap_err();
    assert!(at.as_str() == "d" && error.to_string().starts_with("locked by bob, held for 6"), "{at}: {error}");
    assert_eq!(holder(&bob, &names()[0]).await, None);
    // It is ended by hand, and nobody else that may hold it by then.
    let shown = |who: &str| Holder { who: who.to_owned(), age: None };
    let error = ann.end_lease(&at, &shown("carol")).await.unwrap_err().to_string();
    assert_eq!(error, "it went to bob meanwhile");
    assert_eq!(holder(&ann, &at).await.as_deref(), Some("bob"));
    assert!(ann.end_lease(&at, &shown("bob")).await.unwrap() > 0);
    assert_eq!(holder(&ann, &at).await, None);
    ann.release().await;
    bob.release().await;
}
