//! Which folders of certificates and which logs of canaries are pruned; and what is read of certificates and keys that openssl made, with `faketime` so that they are valid from a fixed day; the files lie in
//! `tests/certificates` and protect nothing. Deliberately absent: TLS itself, which the acceptance tests speak.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
use flipside::model::{Certificate, CertificateError, day_of};
use flipside::script::nginx::prune_generations;
use flipside::script::{ScriptContext, layout};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

fn file(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates").join(name)).unwrap()
}

fn certificate(name: &str) -> Certificate {
    Certificate::read(&file(name)).unwrap()
}

#[test]
fn names_and_days_are_read() {
    let read = |name: &str| {
        let certificate = certificate(name);
        (certificate.names.join(" "), day_of(certificate.not_before), day_of(certificate.not_after))
    };
    let seen = |names: &str, from: &str, until: &str| (names.to_owned(), from.to_owned(), until.to_owned());
    assert_eq!(read("one.crt"), seen("shop.example.com", "2020-01-01", "2119-12-08"));
    assert_eq!(read("two.crt"), seen("shop.example.com *.example.com", "2021-01-01", "2120-12-08"));
    assert_eq!(read("old.crt"), seen("old.example.com", "2020-01-01", "2020-01-31"));
    assert_eq!(read("rsa.crt").0, "rsa.example.com");
    assert_ne!(certificate("one.crt").digest, certificate("two.crt").digest);
}

#[test]
fn the_chain_after_the_first_certificate_changes_nothing_but_the_digest() {
    let chain = [file("one.crt"), file("rsa.crt")].concat();
    let read = Certificate::read(&chain).unwrap();
    assert_eq!((&read.names, read.digest != certificate("one.crt").digest), (&certificate("one.crt").names, true));
}

#[test]
fn a_key_belongs_to_its_own_certificate_alone() {
    let belongs = |name: &str, key: &str| certificate(name).belongs(&file(key));
    for (name, key) in
        [("one.crt", "one.key"), ("one.crt", "onesec.key"), ("rsa.crt", "rsa.key"), ("rsa.crt", "rsa1.key"), ("ed.crt", "ed.key")]
    {
        assert_eq!(belongs(name, key), Ok(()), "{name} {key}");
    }
    for (name, key) in
        [("one.crt", "two.key"), ("one.crt", "rsa.key"), ("rsa.crt", "one.key"), ("rsa.crt", "ed.key"), ("ed.crt", "one.key")]
    {
        assert_eq!(belongs(name, key), Err(CertificateError::OtherKey), "{name} {key}");
    }
    for key in ["enc1.key", "enc8.key"] {
        assert_eq!(belongs("one.crt", key), Err(CertificateError::Encrypted), "{key}");
    }
    assert_eq!(belongs("one.crt", "one.crt"), Err(CertificateError::NoKey));
}

#[test]
fn a_certificate_goes_when_no_generation_that_is_kept_names_it_and_a_canarys_log_with_the_live_one() {
    let root = tempfile::tempdir().unwrap();
    let context = ScriptContext { docker: "docker".to_owned(), remote_root: root.path().to_str().unwrap().to_owned() };
    let nginx = PathBuf::from(layout::nginx_folder(&context.remote_root));
    let certificates = nginx.join("../tls/shop_prod_web");
    for (release, digest) in [("releases/g1", "aa"), ("sealed/g1", "bb")] {
        let folder = nginx.join(release).join("http.d");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("shop.prod.hosts.conf"), format!("ssl_certificate /flipside/tls/shop_prod_web/{digest}/cert;\n")).unwrap();
    }
    for digest in ["aa", "bb", "cc"] {
        fs::create_dir_all(certificates.join(digest)).unwrap();
    }
    let theirs = certificates.join("../../tls/blog_prod_web/dd");
    fs::create_dir_all(&theirs).unwrap();
    // A canary that is tried by what is live, and one that is over.
    let run = nginx.join("../run");
    fs::create_dir_all(&run).unwrap();
    fs::write(nginx.join("releases/g1/http.d/shop_prod_api.conf"), "access_log /flipside/run/shop_prod_api.canary.log x;\n").unwrap();
    for service in ["api", "old"] {
        fs::write(run.join(format!("shop_prod_{service}.canary.log")), "").unwrap();
    }
    symlink("releases/g1", nginx.join("current")).unwrap();
    let pruned = Command::new("sh").arg("-c").arg(prune_generations(&context, 5, "shop_prod_")).output().unwrap();
    assert!(pruned.status.success() && pruned.stderr.is_empty(), "{pruned:?}");
    let mut left: Vec<_> = fs::read_dir(&certificates).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["aa", "bb"]);
    assert!(theirs.exists(), "what a held run of another project needs is not ours to remove");
    assert!(run.join("shop_prod_api.canary.log").exists() && !run.join("shop_prod_old.canary.log").exists());
}
