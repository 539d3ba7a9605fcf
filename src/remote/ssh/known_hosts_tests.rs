//! What a known_hosts file says: every form of line, and every verdict.
use super::{KnownHosts, Place, Verdict, glob, host_name, line_for};

// Three made-up blobs; the reader compares bytes and never looks inside.
const A: &str = "QUFBQQ==";
const B: &str = "QkJCQg==";

fn read(text: &str) -> KnownHosts {
    let mut hosts = KnownHosts::default();
    hosts.add("kh", text);
    hosts
}

fn place(line: usize) -> Place {
    Place { file: "kh".to_owned(), line }
}

fn changed(line: usize, kinds: &[&str]) -> Verdict {
    Verdict::Changed { place: place(line), kinds: kinds.iter().map(|&kind| kind.to_owned()).collect() }
}

fn verdict(text: &str, host: &str, port: u16, blob: &[u8]) -> Verdict {
    read(text).verdict(host, port, "ssh-ed25519", blob)
}

#[test]
fn plain_names_and_ports() {
    let text = format!("# a comment\n\nweb,10.0.0.1 ssh-ed25519 {A} me@here\n[web]:2222 ssh-ed25519 {B}\n");
    for (host, port, blob, wanted) in [
        ("web", 22, b"AAAA", Verdict::Known),
        ("WEB", 22, b"AAAA", Verdict::Known),
        ("10.0.0.1", 22, b"AAAA", Verdict::Known),
        ("web", 22, b"BBBB", changed(3, &["ssh-ed25519"])),
        ("web", 2222, b"BBBB", Verdict::Known),
        ("web", 2222, b"CCCC", changed(4, &["ssh-ed25519"])),
        ("other", 22, b"AAAA", Verdict::Unknown),
        ("web.example", 22, b"AAAA", Verdict::Unknown),
    ] {
        assert_eq!(verdict(&text, host, port, blob), wanted, "{host}:{port}");
    }
}

#[test]
fn a_line_without_a_port_vouches_but_does_not_condemn() {
    let text = format!("web ssh-ed25519 {A}\n");
    assert_eq!(verdict(&text, "web", 2222, b"AAAA"), Verdict::Known);
    assert_eq!(verdict(&text, "web", 2222, b"BBBB"), Verdict::Unknown, "another daemon may well have another key");
    let both = format!("web ssh-ed25519 {A}\n[web]:2222 ssh-ed25519 {B}\n");
    assert_eq!(verdict(&both, "web", 2222, b"AAAA"), changed(2, &["ssh-ed25519"]), "the machine at port 22 is not the one behind 2222");
    assert_eq!(verdict(&both, "web", 22, b"BBBB"), changed(1, &["ssh-ed25519"]), "a line with a port says nothing about 22");
}

#[test]
fn wildcards_and_negations() {
    let text = format!("*.example,!bad.example ssh-ed25519 {A}\n10.0.?.1 ssh-ed25519 {B}\n[*.lab]:2200 ssh-ed25519 {A}\n");
    assert_eq!(verdict(&text, "a.example", 22, b"AAAA"), Verdict::Known);
    assert_eq!(verdict(&text, "bad.example", 22, b"AAAA"), Verdict::Unknown);
    assert_eq!(verdict(&text, "example", 22, b"AAAA"), Verdict::Unknown);
    assert_eq!(verdict(&text, "10.0.7.1", 22, b"BBBB"), Verdict::Known);
    assert_eq!(verdict(&text, "10.0.77.1", 22, b"BBBB"), Verdict::Unknown);
    assert_eq!(verdict(&text, "x.lab", 2200, b"AAAA"), Verdict::Known);
    assert_eq!(verdict("!web ssh-ed25519 QUFBQQ==", "other", 22, b"AAAA"), Verdict::Unknown, "a negation alone names nobody");
}

#[test]
fn several_keys_per_host() {
    let text = format!("web ssh-rsa {A}\nweb ssh-ed25519 {B}\n");
    assert_eq!(verdict(&text, "web", 22, b"AAAA"), Verdict::Known);
    assert_eq!(verdict(&text, "web", 22, b"BBBB"), Verdict::Known);
    assert_eq!(verdict(&text, "web", 22, b"CCCC"), changed(2, &["ssh-rsa", "ssh-ed25519"]), "points at the line of the same type");
    assert_eq!(read(&text).kinds("web", 22), ["ssh-rsa", "ssh-ed25519"]);
    assert_eq!(read(&text).kinds("web", 2222), ["ssh-rsa", "ssh-ed25519"]);
    assert!(read(&text).kinds("other", 22).is_empty());
}

#[test]
fn markers() {
    let revoked = format!("web ssh-ed25519 {A}\n@revoked * ssh-ed25519 {A}\n");
    assert_eq!(verdict(&revoked, "web", 22, b"AAAA"), Verdict::Revoked(place(2)), "revoked beats known");
    assert_eq!(verdict(&revoked, "web", 2222, b"AAAA"), Verdict::Revoked(place(2)));
    let authority = format!("@cert-authority *.example ssh-ed25519 {A}\n");
    assert_eq!(verdict(&authority, "a.example", 22, b"BBBB"), Verdict::AuthorityOnly(place(1)));
    assert_eq!(verdict(&authority, "a.example", 22, b"AAAA"), Verdict::AuthorityOnly(place(1)), "an authority is not a host key");
    assert!(read(&authority).kinds("a.example", 22).is_empty());
    assert_eq!(verdict(&format!("@other web ssh-ed25519 {A}"), "web", 22, b"AAAA"), Verdict::Unknown);
}

#[test]
fn hashed_names() {
    // HMAC-SHA1 with the salt 0x00..0x13 of "web" and of "[web]:2222", computed with openssl.
    let web = "|1|AAECAwQFBgcICQoLDA0ODxAREhM=|8gIOEC5UbA/51N7pfEejONkBayA=";
    let port = "|1|AAECAwQFBgcICQoLDA0ODxAREhM=|t1812aMXqS711J7twcG5iNEYqZw=";
    let text = format!("{web} ssh-ed25519 {A}\n{port} ssh-ed25519 {B}\n");
    assert_eq!(verdict(&text, "web", 22, b"AAAA"), Verdict::Known);
    assert_eq!(verdict(&text, "web", 22, b"BBBB"), changed(1, &["ssh-ed25519"]));
    assert_eq!(verdict(&text, "web", 2222, b"BBBB"), Verdict::Known);
    assert_eq!(verdict(&text, "bew", 22, b"AAAA"), Verdict::Unknown);
}

#[test]
fn lines_that_cannot_be_read_are_passed_over() {
    let text = format!("web\nweb ssh-ed25519\nweb ssh-ed25519 ***\n|1|x ssh-ed25519 {A}\n\u{0}\u{7f}\nweb ssh-ed25519 {A}");
    assert_eq!(verdict(&text, "web", 22, b"AAAA"), Verdict::Known);
    assert_eq!(verdict(&text, "web", 22, b"BBBB"), changed(6, &["ssh-ed25519"]), "line numbers count every line");
}

#[test]
fn a_line_that_was_written_reads_back() {
    for port in [22, 2222] {
        let line = line_for("Web", port, "ssh-ed25519", b"AAAA");
        assert_eq!(verdict(&line, "web", port, b"AAAA"), Verdict::Known, "{line}");
    }
    assert_eq!(host_name("fe80::1", 2222), "[fe80::1]:2222");
}

#[test]
fn globs_do_not_explode() {
    assert!(glob(b"*", b""));
    assert!(glob(b"a*b*c", b"axxbyybzc"));
    assert!(!glob(b"a*b*c", b"axxbyybz"));
    assert!(!glob("*a".repeat(40).as_bytes(), "a".repeat(39).as_bytes()));
}
