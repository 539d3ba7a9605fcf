//! A reader of OpenSSH's known_hosts format (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"): text to entries, and what they say about
//! a host and a key. Deliberately absent: files, policy (see `trust.rs`), and the crypto of certificates.
use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use std::collections::{BTreeMap, BTreeSet};

/// The lines of one or more known_hosts files, indexed so that a lookup of a plain name costs no scan.
#[derive(Debug, Default)]
pub(super) struct KnownHosts {
    entries: Vec<Entry>,
    /// Entries whose host field is only plain names, by each of them.
    by_name: BTreeMap<String, Vec<usize>>,
    /// Entries with a hash, a wildcard or a negation: these are asked every time.
    asked: Vec<usize>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// What the line's marker says.
    pub(super) mark: Mark,
    /// The key's type as the file names it, such as `ssh-ed25519`.
    pub(super) kind: String,
    /// The key in SSH wire format.
    pub(super) blob: Vec<u8>,
    /// Where the line stands.
    pub(super) place: Place,
    hosts: Hosts,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named when it was read.
    pub file: String,
    /// From 1.
    pub line: usize,
}

/// The marker at the start of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// None: the host's own key.
    Plain,
    /// `@revoked`: never to be accepted.
    Revoked,
    /// `@cert-authority`: signs host certificates.
    Authority,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    Patterns(Vec<Pattern>),
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    negated: bool,
    text: String,
}

/// What the files say about a key that a host has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The host is known by this key.
    Known,
    /// The key is marked `@revoked`.
    Revoked(Place),
    /// The host is known, but by other keys only.
    Changed {
        /// The line that was looked for: one of the same type where there is one.
        place: Place,
        /// The types of the keys that are known.
        kinds: Vec<String>,
    },
    /// The host is known through a certificate authority only.
    AuthorityOnly(Place),
    /// No line names the host.
    Unknown,
}

impl KnownHosts {
    /// Adds the lines of one file. A line that cannot be read is passed over, as OpenSSH does.
    pub(super) fn add(&mut self, file: &str, text: &str) {
        for (index, line) in text.lines().enumerate() {
            if let Some(entry) = read_line(line, Place { file: file.to_owned(), line: index + 1 }) {
                self.push(entry);
            }
        }
    }

    fn push(&mut self, entry: Entry) {
        let index = self.entries.len();
        match &entry.hosts {
            Hosts::Patterns(patterns) if patterns.iter().all(Pattern::is_plain) => {
                for pattern in patterns {
                    self.by_name.entry(pattern.text.clone()).or_default().push(index);
                }
            }
            Hosts::Patterns(_) | Hosts::Hashed { .. } => self.asked.push(index),
        }
        self.entries.push(entry);
    }

    /// The entries that name a host, in the order of the files. `name` is as [`host_name`] makes it.
    fn naming<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Entry> {
        let plain = self.by_name.get(name).map_or(&[][..], Vec::as_slice).iter().copied();
        let asked = self.asked.iter().copied().filter(move |&index| self.entries[index].hosts.names(name));
        let indices: BTreeSet<usize> = plain.chain(asked).collect();
        indices.into_iter().map(|index| &self.entries[index])
    }

    /// The types of the keys by which a host is known, in the order of the files: these should be offered to it first.
    /// Falls back to the entries without a port, as [`KnownHosts::verdict`] does.
    #[must_use]
    pub(super) fn kinds(&self, host: &str, port: u16) -> Vec<String> {
        let mut kinds = Vec::new();
        for name in lookups(host, port) {
            for entry in self.naming(&name).filter(|entry| entry.mark == Mark::Plain) {
                if !kinds.contains(&entry.kind) {
                    kinds.push(entry.kind.clone());
                }
            }
            if !kinds.is_empty() {
                break;
            }
        }
        kinds
    }

    /// What the files say about `blob` (wire format) of type `kind`, shown by `host` on `port`.
    /// On a port other than 22 a line without a port vouches for its key where no line names the host with the port, as in OpenSSH, but never
    /// condemns another one.
    #[must_use]
    pub(super) fn verdict(&self, host: &str, port: u16, kind: &str, blob: &[u8]) -> Verdict {
        let names = lookups(host, port);
        let all = || names.iter().flat_map(|name| self.naming(name));
        if let Some(entry) = all().find(|entry| entry.mark == Mark::Revoked && entry.blob == blob) {
            return Verdict::Revoked(entry.place.clone());
        }
        let plain_of = |name| self.naming(name).filter(|entry| entry.mark == Mark::Plain);
        let asked = names.iter().find(|name| plain_of(name).next().is_some());
        if asked.is_some_and(|name| plain_of(name).any(|entry| entry.blob == blob)) {
            return Verdict::Known;
        }
        let Some(name) = names.first() else { return Verdict::Unknown };
        let plain: Vec<&Entry> = plain_of(name).collect();
        if let Some(nearest) = plain.iter().find(|entry| entry.kind == kind).or_else(|| plain.first()) {
            let mut kinds: Vec<String> = plain.iter().map(|entry| entry.kind.clone()).collect();
            kinds.dedup();
            return Verdict::Changed { place: nearest.place.clone(), kinds };
        }
        match self.naming(name).find(|entry| entry.mark == Mark::Authority) {
            Some(authority) => Verdict::AuthorityOnly(authority.place.clone()),
            None => Verdict::Unknown,
        }
    }
}

impl Pattern {
    fn is_plain(&self) -> bool {
        !self.negated && !self.text.contains(['*', '?'])
    }
}

impl Hosts {
    fn names(&self, name: &str) -> bool {
        match self {
            Hosts::Patterns(patterns) => {
                let hit = |pattern: &&Pattern| glob(pattern.text.as_bytes(), name.as_bytes());
                !patterns.iter().filter(|pattern| pattern.negated).any(|pattern| hit(&pattern))
                    && patterns.iter().filter(|pattern| !pattern.negated).any(|pattern| hit(&pattern))
            }
            Hosts::Hashed { salt, hash } => Hmac::<Sha1>::new_from_slice(salt).is_ok_and(|mut mac| {
                mac.update(name.as_bytes());
                mac.verify_slice(hash).is_ok()
            }),
        }
    }
}

/// The name under which a host and port stand in the file: `host`, or `[host]:port` where the port is not 22.
#[must_use]
pub(super) fn host_name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

/// One line to append for a key: a plain name, its type, its base64, and no comment. Ends in a newline.
#[must_use]
pub(super) fn line_for(host: &str, port: u16, kind: &str, blob: &[u8]) -> String {
    format!("{} {kind} {}\n", host_name(host, port), BASE64.encode(blob))
}

fn lookups(host: &str, port: u16) -> Vec<String> {
    let mut names = vec![host_name(host, port)];
    if port != 22 {
        names.push(host_name(host, 22));
    }
    names
}

fn read_line(line: &str, place: Place) -> Option<Entry> {
    let mut words = line.split_ascii_whitespace();
    let first = words.next().filter(|word| !word.starts_with('#'))?;
    let (mark, hosts) = match first {
        "@revoked" => (Mark::Revoked, words.next()?),
        "@cert-authority" => (Mark::Authority, words.next()?),
        marker if marker.starts_with('@') => return None,
        hosts => (Mark::Plain, hosts),
    };
    let (kind, key) = (words.next()?, words.next()?);
    let blob = BASE64.decode(key.as_bytes()).ok()?;
    Some(Entry { mark, kind: kind.to_owned(), blob, place, hosts: read_hosts(hosts)? })
}

fn read_hosts(field: &str) -> Option<Hosts> {
    if let Some(hashed) = field.strip_prefix("|1|") {
        let (salt, hash) = hashed.split_once('|')?;
        return Some(Hosts::Hashed { salt: BASE64.decode(salt.as_bytes()).ok()?, hash: BASE64.decode(hash.as_bytes()).ok()? });
    }
    let patterns = field.split(',').filter(|text| !text.is_empty()).map(|text| match text.strip_prefix('!') {
        Some(rest) => Pattern { negated: true, text: rest.to_ascii_lowercase() },
        None => Pattern { negated: false, text: text.to_ascii_lowercase() },
    });
    Some(Hosts::Patterns(patterns.collect()))
}

/// `*` is any run, `?` any one byte; brackets are plain characters, because `[host]:port` uses them.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == b'?' || pattern[p] == text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star_p, star_t)) = star {
            p = star_p + 1;
            t = star_t + 1;
            star = Some((star_p, star_t + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
#[path = "known_hosts_tests.rs"]
mod tests;
