//! A generation's identity: what its files are and what it came after. Deliberately absent: where the files lie.
use super::error::{ReadError, RenderError};
use super::render::render_main;
use super::templates::Templates;
use super::types::MainSettings;
use crate::model::GenerationId;
use crate::script::layout::{BOOTSTRAP, GENERATION_FILE, MOUNT};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The id of a generation that holds these files (all of them, carried over ones too) and follows `base`.
///
/// It is the first 16 hex digits of the SHA-256 of one `sha256sum` line a file, sorted by path in byte order, and a last line
/// `base <id>` (`base -` without one): a server computes the same with `sha256sum`. [`GENERATION_FILE`] is left out, since it holds the id.
#[must_use]
pub fn generation_id(files: &BTreeMap<String, String>, base: Option<&GenerationId>) -> GenerationId {
    let mut lines = String::new();
    for (path, text) in files.iter().filter(|(path, _)| path.as_str() != GENERATION_FILE) {
        let _ = writeln!(lines, "{}  {path}", hex(text.as_bytes()));
    }
    let _ = writeln!(lines, "base {}", base.map_or("-", |base| base.0.as_str()));
    GenerationId(hex(lines.as_bytes())[..16].to_owned())
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The file from which NGINX serves its generation's id: one of the `files` of a StageNginx, always.
///
/// The id is the answer on `127.0.0.1:998` in NGINX's namespace, and the name of a unix socket: that NGINX listens on it can be read from
/// `/proc/net/unix` there, in an image without any HTTP client.
#[must_use]
pub fn generation_file(id: &GenerationId, base: Option<&GenerationId>) -> (String, String) {
    let base = base.map_or("-", |base| base.0.as_str());
    (
        GENERATION_FILE.to_owned(),
        format!("# generation: {id}\n# base: {base}\nlisten unix:{MOUNT}/run/generation-{id}.sock;\nreturn 200 \"{id}\\n\";\n"),
    )
}

/// What a server's NGINX starts with before its first deploy: it routes nothing. Put below `releases/bootstrap/`.
///
/// # Errors
/// [`RenderError::Template`] where a template of the user's is at fault.
pub fn bootstrap(templates: &Templates, settings: &MainSettings) -> Result<BTreeMap<String, String>, RenderError> {
    let main = render_main(templates, settings)?;
    let id = generation_file(&GenerationId(BOOTSTRAP.to_owned()), None);
    Ok(BTreeMap::from([main, id]))
}

/// The id and the base of a generation that was read from a server, when its files are still what the id says.
///
/// # Errors
/// [`ReadError::Edited`] when a file was changed, added or removed by hand, [`ReadError::Missing`] when the id is gone.
pub fn check_generation(files: &BTreeMap<String, String>) -> Result<(GenerationId, Option<GenerationId>), ReadError> {
    let text = files.get(GENERATION_FILE).ok_or(ReadError::Missing(GENERATION_FILE))?;
    let field = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix)).map(|id| GenerationId(id.trim().to_owned()));
    let id = field("# generation: ").ok_or(ReadError::Missing("generation"))?;
    let base = field("# base: ").ok_or(ReadError::Missing("base"))?;
    let base = (base.0 != "-").then_some(base);
    let found = generation_id(files, base.as_ref());
    if id.0 == BOOTSTRAP || found == id { Ok((id, base)) } else { Err(ReadError::Edited { id: id.0, found: found.0 }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> BTreeMap<String, String> {
        BTreeMap::from([("nginx.conf".to_owned(), "a\n".to_owned()), ("http.d/x.conf".to_owned(), "b\n".to_owned())])
    }

    #[test]
    fn content_path_and_base_all_count() {
        let first = generation_id(&files(), None);
        assert_eq!(first.0.len(), 16);
        assert_ne!(generation_id(&files(), Some(&first)), first);
        let mut moved = files();
        let text = moved.remove("http.d/x.conf").unwrap();
        moved.insert("stream.d/x.conf".to_owned(), text);
        assert_ne!(generation_id(&moved, None), first);
    }

    #[test]
    fn its_own_file_does_not_count_and_an_edit_is_found() {
        let id = generation_id(&files(), None);
        let mut whole = files();
        whole.extend([generation_file(&id, None)]);
        assert_eq!(generation_id(&whole, None), id);
        assert_eq!(check_generation(&whole), Ok((id.clone(), None)));
        whole.insert("http.d/x.conf".to_owned(), "b \n".to_owned());
        let error = check_generation(&whole).unwrap_err();
        assert!(error.to_string().contains(&id.0), "{error}");
    }
}
