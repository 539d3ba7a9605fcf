//! What the tree must be like: rooms on floors, pure rooms, one room a crate, one quoting function, short files that say what they are.
//! Each rule is a function over a file's path and text, and is itself tested with a planted violation.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
use std::fs;
use std::path::{Path, PathBuf};

const MOST_LINES: usize = 400;

/// The rooms from the bottom up. A room imports only rooms of lower floors; those of one floor do not know each other.
const FLOORS: [&[&str]; 7] =
    [&["model"], &["config", "docker", "ledger"], &["script"], &["facts", "nginx"], &["plan", "remote"], &["report", "run"], &["cli"]];

/// Rooms that decide in values: no effects, no time, no waiting.
const PURE: [&str; 8] = ["model", "config", "docker", "ledger", "script", "facts", "nginx", "plan"];

const IMPURE: [&str; 17] = [
    "async",
    "await",
    "tokio",
    "russh",
    "indicatif",
    "fs",
    "process",
    "env",
    "Instant",
    "SystemTime",
    "UNIX_EPOCH",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "ToSocketAddrs",
];

/// Crates, and the only places that name them.
const OWNERS: [(&str, &[&str]); 12] = [
    ("russh", &["src/remote/ssh/"]),
    ("indicatif", &["src/report/"]),
    ("minijinja", &["src/nginx/"]),
    ("toml", &["src/config/"]),
    ("jsonc_parser", &["src/config/"]),
    ("clap", &["src/cli/args.rs", "src/cli/options.rs"]),
    ("clap_complete", &["src/cli/args.rs"]),
    ("console", &["src/cli/passphrase.rs"]),
    ("x509_cert", &["src/model/certificate.rs"]),
    ("pkcs8", &["src/model/certificate.rs"]),
    ("sec1", &["src/model/certificate.rs"]),
    ("tokio", &["src/remote/", "src/run/", "src/cli/", "src/main.rs"]),
];

/// The room of a file of `src/`; [`None`] for `lib.rs` and `main.rs`.
fn room(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("src/")?;
    let name = rest.split('/').next()?.trim_end_matches(".rs");
    (!["lib", "main"].contains(&name)).then_some(name)
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// The code of a file: without comments, and without the tests at its end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The words of a text, with what stands before each.
fn words(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text.get(at..)?.find(is_part)?;
        let end = text[start..].find(|c| !is_part(c)).map_or(text.len(), |length| start + length);
        at = end;
        Some((&text[..start], &text[start..end]))
    })
}

/// The names behind `prefix::`, also those of a group in braces.
fn names_behind<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    let mut names = Vec::new();
    for (at, found) in text.match_indices(prefix) {
        let whole = !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let Some(rest) = text[at + found.len()..].strip_prefix("::").filter(|_| whole) else { continue };
        match rest.strip_prefix('{') {
            None => names.extend(words(rest).next().map(|(_, name)| name)),
            Some(group) => {
                let mut depth = 0;
                for part in group.split_inclusive(['{', '}', ',']) {
                    if depth == 0 {
                        names.extend(words(part).next().map(|(_, name)| name));
                    }
                    depth += part.matches('{').count();
                    match (part.ends_with('}'), depth) {
                        (true, 0) => break,
                        (true, _) => depth -= 1,
                        (false, _) => {}
                    }
                }
            }
        }
    }
    names
}

fn opens_with_a_sentence(path: &str, text: &str) -> Vec<String> {
    let opens = text.lines().next().is_some_and(|line| line.starts_with("//! ") && line.len() > 20);
    if opens { Vec::new() } else { vec![format!("{path} does not open with a line that says what it is for")] }
}

fn is_short(path: &str, text: &str) -> Vec<String> {
    let n_lines = text.lines().count();
    if n_lines <= MOST_LINES { Vec::new() } else { vec![format!("{path} has {n_lines} lines: split it")] }
}

fn imports_go_downwards(path: &str, text: &str) -> Vec<String> {
    let Some(here) = room(path) else { return Vec::new() };
    let Some(own) = floor(here) else { return vec![format!("{path}: the room `{here}` stands on no floor")] };
    let code = code(text);
    let upwards = names_behind(&code, "crate").into_iter().filter(|name| *name != here && floor(name).is_none_or(|other| other >= own));
    upwards.map(|name| format!("{path} imports crate::{name}, which is not on a lower floor")).collect()
}

/// SSH knows nothing of what it carries.
fn ssh_knows_no_deploy(path: &str, text: &str) -> Vec<String> {
    if !path.starts_with("src/remote/ssh/") {
        return Vec::new();
    }
    let code = code(text);
    let known = ["config", "model", "script"];
    let mut problems: Vec<String> = names_behind(&code, "crate")
        .into_iter()
        .filter(|name| !known.contains(name))
        .map(|name| format!("{path} imports crate::{name}: SSH carries bytes, and knows no deploy"))
        .collect();
    problems.extend(code.contains("super::super").then(|| format!("{path} reaches out of ssh/")));
    problems
}

fn pure_rooms_are_pure(path: &str, text: &str) -> Vec<String> {
    if !room(path).is_some_and(|room| PURE.contains(&room)) {
        return Vec::new();
    }
    let code = code(text);
    let mut problems = Vec::new();
    for (before, word) in words(&code).filter(|(_, word)| IMPURE.contains(word)) {
        // A variable may be called env; what may not be named is the module.
        let is_module = before.ends_with("std::") || before.rsplit_once("std::{").is_some_and(|(_, group)| !group.contains([';', '}']));
        if !["fs", "process", "env"].contains(&word) || is_module {
            problems.push(format!("{path} names `{word}`, and the room is pure"));
        }
    }
    problems
}

fn crates_have_one_owner(path: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let named = |name: &str| {
        code.match_indices(&format!("{name}::"))
            .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || "_:".contains(c)))
    };
    let strangers = OWNERS.iter().filter(|(name, places)| named(name) && !places.iter().any(|place| path.starts_with(place)));
    strangers.map(|(name, places)| format!("{path} names {name}, which only {} does", places.join(", "))).collect()
}

fn one_function_quotes(path: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let quotes = code.contains("fn quote(") || code.contains(r#""'\''""#) || code.contains(r#""'\\''""#);
    if quotes && path != "src/script/quote.rs" {
        vec![format!("{path} quotes for a shell by itself: use script::quote")]
    } else {
        Vec::new()
    }
}

fn files(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<PathBuf> = vec![root.join(folder)];
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn check(folders: &[&str], rule: fn(&str, &str) -> Vec<String>) {
    let files: Vec<(String, String)> = folders.iter().flat_map(|folder| files(folder)).collect();
    assert!(files.len() > 20, "only {} files were looked at", files.len());
    // A file of tests beside its module is not a part of the room.
    let is_tests = |path: &str| path.starts_with("src/") && path.ends_with("_tests.rs") && folders == ["src"];
    let problems: Vec<String> = files.iter().filter(|(path, _)| !is_tests(path)).flat_map(|(path, text)| rule(path, text)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The rule finds nothing in the first text, and one thing in the second.
fn sees(rule: fn(&str, &str) -> Vec<String>, path: &str, good: &str, bad: &str) {
    assert_eq!(rule(path, good), Vec::<String>::new());
    assert_eq!(rule(path, bad).len(), 1, "{:?}", rule(path, bad));
}

#[test]
fn every_file_opens_with_a_sentence() {
    sees(opens_with_a_sentence, "src/a.rs", "//! What this file is for, and what it is not for.\n", "use std::fs;\n");
    check(&["src", "tests"], opens_with_a_sentence);
}

#[test]
fn no_file_is_long() {
    sees(is_short, "src/a.rs", &"x\n".repeat(400), &"x\n".repeat(401));
    check(&["src", "tests"], is_short);
}

#[test]
fn every_arrow_goes_downwards() {
    let rule = imports_go_downwards;
    sees(rule, "src/plan/next.rs", "use crate::model::{Action, run};\nuse crate::plan::x;\n", "use crate::remote::Call;\n");
    sees(
        rule,
        "src/facts/a.rs",
        "/// See [`crate::cli`].\n#[cfg(test)]\nmod t { use crate::cli; }\n",
        "use crate::{model::{a, cli}, nginx};\n",
    );
    sees(rule, "src/ledger.rs", "", "let x = crate::cli::run();\n");
    sees(rule, "src/remote/ssh/a.rs", "use crate::script::quote::quote;", "use crate::run::Stop;");
    assert_eq!(rule("src/attic/a.rs", "").len(), 1, "a new room needs a floor");
    check(&["src"], rule);
}

#[test]
fn ssh_carries_bytes() {
    let rule = ssh_knows_no_deploy;
    sees(rule, "src/remote/ssh/a.rs", "use crate::config::Server;", "use crate::facts::Facts;");
    sees(rule, "src/remote/ssh/a.rs", "use super::wire::Wire;", "use super::super::Servers;");
    check(&["src"], rule);
}

#[test]
fn pure_rooms_stay_pure() {
    let rule = pure_rooms_are_pure;
    sees(rule, "src/plan/a.rs", "let env = plan.env;\nuse std::net::Ipv4Addr;\n// async\n", "use std::{collections::X, fs};\n");
    sees(rule, "src/model/a.rs", "use std::time::Duration;", "let now = std::time::Instant::now();");
    sees(rule, "src/config/a.rs", "", "async fn a() {}");
    sees(rule, "src/nginx/a.rs", "", "std::env::var_os(\"HOME\");");
    assert!(rule("src/remote/a.rs", "use std::fs;").is_empty(), "only pure rooms");
    check(&["src"], rule);
}

#[test]
fn every_crate_has_its_room() {
    let rule = crates_have_one_owner;
    sees(rule, "src/config/json.rs", "use jsonc_parser::ast::Value; use super::clap::x;", "use clap::Parser;");
    sees(rule, "src/remote/servers.rs", "use tokio::sync::Mutex;", "use russh::client;");
    sees(rule, "src/report/a.rs", "use indicatif::X;", "let x = tokio::spawn(y);");
    check(&["src"], rule);
}

#[test]
fn there_is_one_quoting_function() {
    let rule = one_function_quotes;
    sees(rule, "src/remote/a.rs", "use crate::script::quote::quote;", r#"format!("'{}'", text.replace('\'', r"'\''"))"#);
    sees(rule, "src/plan/a.rs", "fn quoted() {}", "fn quote(text: &str) {}");
    assert!(files("src").iter().any(|(path, text)| path == "src/script/quote.rs" && text.contains("fn quote(")));
    check(&["src"], rule);
}
