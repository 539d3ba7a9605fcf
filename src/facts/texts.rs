//! Files in an answer: first their sizes as `wc -c` prints them, a blank line, then all contents without anything between.
//! Deliberately absent: which folder they come from.
use super::error::FactsError;
use std::collections::BTreeMap;

/// Sizes and paths, and where the contents begin. None where this is no list of counted files.
fn table(body: &[u8]) -> Option<(Vec<(usize, String)>, usize)> {
    let mut files = Vec::new();
    let mut at = 0;
    loop {
        let end = at + body[at..].iter().position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(&body[at..end]).ok()?;
        at = end + 1;
        if line.is_empty() {
            return Some((files, at));
        }
        let (size, path) = line.trim_start().split_once(' ')?;
        let size = size.parse().ok()?;
        // `find` gives every path `./` in front; the sum that wc adds has none.
        match path.strip_prefix("./") {
            Some(path) => files.push((size, path.to_owned())),
            None if path == "total" => {}
            None => return None,
        }
    }
}

/// The whole length in bytes, or None where this is no list of counted files, or a cut one.
pub(super) fn length(body: &[u8]) -> Option<usize> {
    let (files, start) = table(body)?;
    let length = files.iter().try_fold(start, |sum, (size, _)| sum.checked_add(*size))?;
    (length <= body.len()).then_some(length)
}

/// The files, path → text. A file that is not UTF-8 is read with replacement characters.
pub(super) fn read(section: &str, body: &[u8]) -> Result<BTreeMap<String, String>, FactsError> {
    if body.is_empty() {
        return Ok(BTreeMap::new());
    }
    let damaged = || FactsError::unreadable(section, &String::from_utf8_lossy(body), "sizes, a blank line and as many bytes");
    let (files, mut at) = table(body).filter(|_| length(body) == Some(body.len())).ok_or_else(damaged)?;
    let mut texts = BTreeMap::new();
    for (size, path) in files {
        texts.insert(path, String::from_utf8_lossy(&body[at..at + size]).into_owned());
        at += size;
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_survive_exactly() {
        let odd = "no line feed\n@@flipside end files 0\n\n@@flipside over";
        let body = format!("  {} ./a b.conf\n 0 ./empty\n3 ./http.d/x.conf\n{} total\n\n{odd}x\n\n", odd.len(), odd.len() + 3);
        assert_eq!(length(body.as_bytes()), Some(body.len()));
        let texts = read("files", body.as_bytes()).unwrap();
        assert_eq!(texts["a b.conf"], odd);
        assert_eq!(texts["empty"], "");
        assert_eq!(texts["http.d/x.conf"], "x\n\n");
        assert_eq!(texts.len(), 3);
    }

    #[test]
    fn bytes_that_are_not_text_do_not_shift_their_neighbours() {
        let texts = read("files", b"2 ./a\n3 ./b\n5 total\n\n\xe4;abc").unwrap();
        assert_eq!((texts["a"].as_str(), texts["b"].as_str()), ("\u{fffd};", "abc"));
    }

    #[test]
    fn a_wrong_count_is_an_error_and_an_empty_folder_is_none() {
        assert!(read("files", b"2 ./a\n\nabc").is_err());
        assert!(read("files", b"4 ./a\n\nabc").is_err());
        assert!(read("files", b"hello").is_err());
        assert_eq!(read("files", b""), Ok(BTreeMap::new()));
        assert_eq!(read("files", b"\n"), Ok(BTreeMap::new()));
    }
}
