//! The reader of an answer: sections → [`Facts`]. Deliberately absent: the formats of single sections, which have files of their own.
use super::digest::Relied;
use super::error::FactsError;
use super::frames::{Frames, Section};
use super::types::{Facts, NginxFact, RevertFact};
use super::{engine, revert, sockets, texts};
use crate::model::{EnvName, GenerationId, ProjectName, SecretsProof};
use std::collections::{BTreeMap, BTreeSet};

/// What Linux hands out where it says nothing else.
const EPHEMERAL: (u16, u16) = (32_768, 60_999);

/// Reads what the script of [`super::question`] printed; noise before and after it does not matter. Give it the bytes where
/// you have them: a file that is not UTF-8 then does no harm to its neighbours.
///
/// # Errors
/// [`FactsError`] where the answer breaks off, the engine cannot be used, or an answer cannot be read.
pub fn read(answer: impl AsRef<[u8]>) -> Result<Facts, FactsError> {
    let frames = Frames::cut(answer.as_ref())?;
    let user = plain(&frames, "user")?;
    let docker_version = answered(&frames, "docker", &user)?;
    let (root_writable, free_bytes) = disk(&plain(&frames, "disk")?)?;
    Ok(Facts {
        hostname: plain(&frames, "hostname")?,
        user,
        docker_version,
        clock: clock(&plain(&frames, "clock")?)?,
        free_bytes,
        root_writable,
        ephemeral: ephemeral(&plain(&frames, "ephemeral")?)?,
        containers: engine::containers(&listed(&frames, "containers")?)?,
        networks: engine::networks(&listed(&frames, "networks")?)?,
        images: engine::images(&plain(&frames, "images")?)?,
        volumes: volumes(&frames),
        listeners: sockets::listeners(&plain(&frames, "listeners")?)?,
        routes: sockets::routes(&plain(&frames, "routes")?)?,
        nginx: nginx(&frames)?,
        lease: Some(plain(&frames, "lease")?).filter(|holder| !holder.is_empty()),
        revert: revert(&frames),
        secrets: secrets(&frames)?,
    })
}

/// Reads what the script of [`super::question_again`] printed as the digest that [`super::digest`] makes of all facts.
///
/// # Errors
/// As [`read`].
pub fn read_digest(answer: impl AsRef<[u8]>, project: &ProjectName, env: &EnvName) -> Result<String, FactsError> {
    let frames = Frames::cut(answer.as_ref())?;
    let containers = listed(&frames, "containers").or_else(|_| answered(&frames, "containers", &plain(&frames, "user")?))?;
    let networks = plain(&frames, "networks")?;
    let (live, served, revert) = (live(&frames)?, served(&frames.get("served")?.text()), revert(&frames));
    let relied = Relied {
        containers: &engine::containers(&containers)?,
        networks: networks.lines().map(str::trim).collect(),
        live: live.as_ref(),
        served: served.as_ref(),
        files: &counted(&frames, "files")?,
        revert: revert.as_ref(),
    };
    Ok(relied.digest(project, env))
}

/// The trimmed text of a section that exited 0.
fn plain(frames: &Frames<'_>, name: &str) -> Result<String, FactsError> {
    let section = frames.get(name)?;
    section.succeeded(name)?;
    Ok(section.text())
}

/// As [`plain`]; but what went away between being listed and being asked about is not an error.
fn listed(frames: &Frames<'_>, name: &str) -> Result<String, FactsError> {
    let section = frames.get(name)?;
    let gone = |line: &str| {
        let line = line.to_ascii_lowercase();
        ["no such container", "no such object", "no such network"].iter().any(|words| line.contains(words))
            || line.split_once("network ").is_some_and(|(_, rest)| rest.contains("not found"))
    };
    if section.stderr.is_empty() || !section.stderr.split("; ").all(gone) {
        section.succeeded(name)?;
    }
    Ok(section.text())
}

/// What the engine answered first, or why it does not answer.
fn answered(frames: &Frames<'_>, name: &str, user: &str) -> Result<String, FactsError> {
    let section = frames.get(name)?;
    if section.exit == 0 {
        return Ok(section.text());
    }
    let asked = if name == "docker" { "docker version" } else { name };
    Err(refusal(section, asked, &plain(frames, "asked")?, user))
}

fn refusal(section: &Section<'_>, asked: &str, docker: &str, user: &str) -> FactsError {
    let seen = section.stderr.clone();
    let has = |part: &str| seen.to_ascii_lowercase().contains(part);
    let user = user.to_owned();
    if has("permission denied") {
        FactsError::NotPermitted { user, seen }
    } else if has("sudo:") && (has("password") || has("terminal") || has("not in the sudoers") || has("not allowed")) {
        FactsError::SudoRefused { user, seen }
    } else if section.exit == 127 || has("command not found") {
        FactsError::DockerMissing { docker: docker.to_owned() }
    } else if has("cannot connect") || has("daemon running") || has("connection refused") || has("failed to connect") {
        FactsError::DaemonDown { seen }
    } else {
        FactsError::Section { section: asked.to_owned(), exit: section.exit, seen }
    }
}

/// Milliseconds; a clock that knows only seconds has ten digits until the year 2286.
fn clock(text: &str) -> Result<u64, FactsError> {
    let number: u64 = text.parse().map_err(|_| FactsError::unreadable("clock", text, "seconds or milliseconds since 1970"))?;
    Ok(if number < 100_000_000_000 { number * 1000 } else { number })
}

/// A word, then `df -P -k`: the number before the percentage is what is free, in KiB.
fn disk(text: &str) -> Result<(bool, u64), FactsError> {
    let damaged = || FactsError::unreadable("disk", text, "`writable` or `fixed`, then what `df -P -k` prints");
    let mut lines = text.lines();
    let writable = match lines.next() {
        Some("writable") => true,
        Some("fixed") => false,
        _ => return Err(damaged()),
    };
    let words: Vec<&str> = lines.nth(1).ok_or_else(damaged)?.split_whitespace().collect();
    let percentage = words.iter().skip(4).position(|word| word.ends_with('%') || *word == "-").ok_or_else(damaged)?;
    let free: u64 = words[percentage + 3].parse().map_err(|_| damaged())?;
    Ok((writable, free * 1024))
}

fn ephemeral(text: &str) -> Result<(u16, u16), FactsError> {
    if text.is_empty() {
        return Ok(EPHEMERAL);
    }
    let range = text.split_once(char::is_whitespace).and_then(|(a, b)| Some((a.parse().ok()?, b.trim().parse().ok()?)));
    range.ok_or_else(|| FactsError::unreadable("ephemeral", text, "two ports"))
}

fn revert(frames: &Frames<'_>) -> Option<RevertFact> {
    revert::read(&frames.find("revert")?.text())
}

/// Where `current` points.
fn live(frames: &Frames<'_>) -> Result<Option<GenerationId>, FactsError> {
    let link = plain(frames, "live")?;
    Ok(generation(link.trim_end_matches('/').rsplit('/').next().unwrap_or_default()))
}

/// The files of a section: path → text.
fn counted(frames: &Frames<'_>, name: &str) -> Result<BTreeMap<String, String>, FactsError> {
    let section = frames.get(name)?;
    section.succeeded(name)?;
    texts::read(name, section.body)
}

fn nginx(frames: &Frames<'_>) -> Result<NginxFact, FactsError> {
    let mut generations: Vec<GenerationId> = plain(frames, "releases")?.lines().filter_map(generation).collect();
    generations.sort();
    // Answers that were kept by earlier versions do not have these.
    let later = |name: &str| if frames.find(name).is_some() { counted(frames, name) } else { Ok(BTreeMap::new()) };
    let recorded = if frames.find("recorded").is_some() { plain(frames, "recorded")? } else { String::new() };
    Ok(NginxFact {
        live: live(frames)?,
        served: served(&frames.get("served")?.text()),
        files: counted(frames, "files")?,
        generations,
        sealed: later("sealed")?,
        other: later("other")?,
        recorded: recorded.lines().filter_map(generation).collect(),
        doors: counted(frames, "doors")?.into_iter().filter(|(path, _)| !path.contains('/')).collect(),
    })
}

/// Answers that were kept by earlier versions do not have them, and an engine that does not tell them is used all the same.
fn volumes(frames: &Frames<'_>) -> Option<BTreeSet<String>> {
    let section = frames.find("volumes")?;
    (section.exit == 0).then(|| section.text().lines().map(str::to_owned).collect())
}

/// The folders of secrets, without the name of the file that proves them.
fn secrets(frames: &Frames<'_>) -> Result<BTreeMap<String, SecretsProof>, FactsError> {
    let Some(section) = frames.find("secrets") else { return Ok(BTreeMap::new()) };
    section.succeeded("secrets")?;
    let proofs = texts::read("secrets", section.body)?;
    let folder = |path: &str| Some(path.rsplit_once('/')?.0.to_owned());
    Ok(proofs.iter().filter_map(|(path, text)| Some((folder(path)?, SecretsProof::read(text)))).collect())
}

/// The socket that NGINX listens on names the generation. A reload in progress, or one that failed half-way, holds two: then
/// nobody can say. That NGINX does not run is no error either.
fn served(sockets: &str) -> Option<GenerationId> {
    let id = |path: &str| generation(path.rsplit('/').next()?.strip_prefix("generation-")?.strip_suffix(".sock")?);
    let mut ids: Vec<GenerationId> = sockets.lines().filter_map(id).collect();
    ids.sort();
    ids.dedup();
    if ids.len() == 1 { ids.pop() } else { None }
}

/// An id, and nothing else: a folder in the making or an error page is none.
pub(super) fn generation(text: &str) -> Option<GenerationId> {
    let fits = !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    fits.then(|| GenerationId(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(name: &str, body: &str, exit: i32, stderr: &str) -> String {
        format!("@@flipside facts 1\n\n@@flipside begin {name}\n{body}\n@@flipside end {name} {exit}\n{stderr}\n@@flipside over\n")
    }

    #[test]
    fn what_went_away_meanwhile_is_no_error() {
        let gone = "@@flipside stderr Error: No such container: ab\n@@flipside stderr Error response from daemon: network x not found\n";
        let answer = frames("containers", "{}", 1, gone);
        assert_eq!(listed(&Frames::cut(answer.as_bytes()).unwrap(), "containers").unwrap(), "{}");
        let answer = frames("containers", "{}", 1, &format!("{gone}@@flipside stderr Cannot connect\n"));
        assert!(listed(&Frames::cut(answer.as_bytes()).unwrap(), "containers").is_err());
        let stopped = "failed to connect to the docker API at unix:///run/docker.sock: dial unix /run/docker.sock: connect: no such file or directory";
        for other in [stopped, "sh: docker: not found"] {
            let answer = frames("containers", "{}", 1, &format!("{gone}@@flipside stderr {other}\n"));
            assert!(listed(&Frames::cut(answer.as_bytes()).unwrap(), "containers").is_err(), "{other}");
        }
        let answer = frames("containers", "", 1, "");
        assert!(listed(&Frames::cut(answer.as_bytes()).unwrap(), "containers").is_err(), "a failure without a word is one all the same");
    }

    #[test]
    fn a_clock_of_seconds_and_one_of_milliseconds() {
        assert_eq!((clock("1795262634"), clock("1795262634357")), (Ok(1_795_262_634_000), Ok(1_795_262_634_357)));
        assert!(clock("1795262634N").is_err());
    }

    #[test]
    fn free_space_is_found_between_odd_names() {
        let table = "Filesystem 1024-blocks Used Available Capacity Mounted on\n";
        let seen = |line: &str| disk(&format!("fixed\n{table}{line}"));
        assert_eq!(seen("/dev/sda1 1000 400 600 40% /"), Ok((false, 614_400)));
        assert_eq!(seen("//nas/my share 1000 400 600 40% /a b"), Ok((false, 614_400)));
        assert_eq!(seen("overlay 0 0 0 - /"), Ok((false, 0)));
        assert!(seen("/dev/sda1 1000").is_err() && disk("").is_err());
    }

    #[test]
    fn two_served_generations_are_none() {
        let socket = |id: &str| format!("/flipside/run/generation-{id}.sock\n");
        assert_eq!(served(&socket("ab")), Some(GenerationId("ab".to_owned())));
        assert_eq!(served(&(socket("ab") + &socket("cd"))), None);
        assert_eq!((served(""), served("/flipside/run/generation-.sock")), (None, None));
    }
}
