//! The NGINX files before and after, as unified diffs. Servers with the same diff share it.
use super::paint::Paint;
use super::{NginxFiles, prose};
use crate::model::ServerName;
use similar::TextDiff;
use std::collections::{BTreeMap, BTreeSet};

/// Unchanged lines shown around a change, as `diff -u` does.
const CONTEXT: usize = 3;

pub(super) fn lines(nginx: &BTreeMap<ServerName, NginxFiles>, paint: Paint) -> Vec<String> {
    let mut groups: Vec<(Vec<&ServerName>, &NginxFiles)> = Vec::new();
    for (server, files) in nginx {
        match groups.iter_mut().find(|(_, seen)| *seen == files) {
            Some((servers, _)) => servers.push(server),
            None => groups.push((vec![server], files)),
        }
    }
    let mut lines = Vec::new();
    for (servers, files) in groups {
        let diff = files_diff(files, paint);
        if !diff.is_empty() {
            lines.push(paint.bold(&format!("NGINX on {}", prose::server_list(servers))));
            lines.extend(diff);
        }
    }
    lines
}

fn files_diff(files: &NginxFiles, paint: Paint) -> Vec<String> {
    let paths: BTreeSet<&String> = files.old.keys().chain(files.new.keys()).collect();
    let mut lines = Vec::new();
    for path in paths {
        let old = files.old.get(path).map(String::as_str);
        let new = files.new.get(path).map(String::as_str);
        if old == new {
            continue;
        }
        let name = |side: &str, content: Option<&str>| content.map_or_else(|| "/dev/null".to_owned(), |_| format!("{side}/{path}"));
        let diff = TextDiff::from_lines(old.unwrap_or(""), new.unwrap_or(""));
        let text = diff.unified_diff().context_radius(CONTEXT).header(&name("a", old), &name("b", new)).to_string();
        lines.extend(text.lines().map(|line| coloured(&prose::clean(line), paint)));
    }
    lines
}

fn coloured(line: &str, paint: Paint) -> String {
    match line.as_bytes().first() {
        Some(b'+') => paint.green(line),
        Some(b'-') => paint.red(line),
        Some(b'@') => paint.cyan(line),
        Some(_) | None => line.to_owned(),
    }
}
