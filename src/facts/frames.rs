//! The frame of an answer: sections between marker lines, whatever a login shell said before. Deliberately absent: what they mean.
//!
//! ```text
//! @@flipside facts 1
//!
//! @@flipside begin NAME
//! what the question printed, as it is
//! @@flipside end NAME EXIT
//! @@flipside stderr one line of its standard error
//!
//! @@flipside over
//! ```
//! Every `begin`, `end` and `over` has a line feed of its own before it, so that an unfinished last line survives exactly.
use super::error::FactsError;
use super::texts;
use std::collections::BTreeMap;

/// One answered question.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// What it printed.
    pub(super) body: &'a [u8],
    /// How it ended.
    pub(super) exit: i32,
    /// Its standard error, its lines joined by `; `.
    pub(super) stderr: String,
}

impl Section<'_> {
    /// The body as trimmed text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(self.body).trim().to_owned()
    }

    /// Fails unless the question exited 0.
    pub(super) fn succeeded(&self, name: &str) -> Result<(), FactsError> {
        if self.exit == 0 {
            return Ok(());
        }
        Err(FactsError::Section { section: name.to_owned(), exit: self.exit, seen: self.stderr.clone() })
    }
}

/// All sections of one answer.
#[derive(Debug)]
pub(super) struct Frames<'a>(BTreeMap<String, Section<'a>>);

impl<'a> Frames<'a> {
    /// Cuts an answer into its sections.
    pub(super) fn cut(answer: &'a [u8]) -> Result<Self, FactsError> {
        let mut rest = opening(answer).ok_or_else(|| FactsError::CutOff { after: "before its first line".to_owned() })?;
        let mut sections = BTreeMap::new();
        let mut after = "at its beginning".to_owned();
        loop {
            if rest.starts_with(b"\n@@flipside over") {
                return Ok(Self(sections));
            }
            let cut = || FactsError::CutOff { after: after.clone() };
            let (name, inner) = rest.strip_prefix(b"\n@@flipside begin ").and_then(line).ok_or_else(cut)?;
            let (section, behind) = section(&name, inner).ok_or_else(|| FactsError::CutOff { after: format!("within \"{name}\"") })?;
            after = format!("after \"{name}\"");
            sections.insert(name, section);
            rest = behind;
        }
    }

    /// A section that may be absent.
    pub(super) fn find(&self, name: &str) -> Option<&Section<'a>> {
        self.0.get(name)
    }

    /// A section that must be there.
    pub(super) fn get(&self, name: &str) -> Result<&Section<'a>, FactsError> {
        self.find(name).ok_or_else(|| FactsError::CutOff { after: format!("before \"{name}\"") })
    }
}

/// The question that an answer breaks off in: the last that was begun, where it has not ended.
#[must_use]
pub fn unanswered(answer: &[u8]) -> Option<String> {
    const BEGIN: &[u8] = b"\n@@flipside begin ";
    let at = answer.windows(BEGIN.len()).rposition(|window| window == BEGIN)?;
    let (name, inner) = line(&answer[at + BEGIN.len()..])?;
    section(&name, inner).is_none().then_some(name)
}

/// What follows the opening line, which may stand behind any noise.
fn opening(answer: &[u8]) -> Option<&[u8]> {
    const OPENING: &[u8] = b"\n@@flipside facts 1\n";
    if let Some(rest) = answer.strip_prefix(&OPENING[1..]) {
        return Some(rest);
    }
    position(answer, OPENING).map(|at| &answer[at + OPENING.len()..])
}

/// The section that begins here, and what follows it.
fn section<'a>(name: &str, inner: &'a [u8]) -> Option<(Section<'a>, &'a [u8])> {
    let marker = format!("\n@@flipside end {name} ").into_bytes();
    // Counted texts may hold anything, even a marker: they are stepped over by their own counts.
    let counted = texts::length(inner).filter(|length| inner[*length..].starts_with(&marker));
    let length = match counted {
        Some(length) => length,
        None => position(inner, &marker)?,
    };
    let (exit, mut rest) = line(&inner[length + marker.len()..])?;
    let mut stderr = Vec::new();
    while let Some((text, behind)) = rest.strip_prefix(b"@@flipside stderr ").and_then(line) {
        stderr.push(text);
        rest = behind;
    }
    Some((Section { body: &inner[..length], exit: exit.parse().ok()?, stderr: stderr.join("; ") }, rest))
}

/// The text up to the next line feed, and what follows that.
fn line(bytes: &[u8]) -> Option<(String, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((String::from_utf8_lossy(&bytes[..end]).into_owned(), &bytes[end + 1..]))
}

/// Where `needle` first stands in `bytes`.
fn position(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_before_the_answer_and_stderr_within_it() {
        let answer =
            b"Welcome!\nno line feed\n@@flipside facts 1\n\n@@flipside begin a\nx y\n\n@@flipside end a 3\n@@flipside stderr one\n\
            @@flipside stderr two\n\n@@flipside begin b\n\n@@flipside end b 0\n\n@@flipside over\nlogout";
        let frames = Frames::cut(answer).unwrap();
        let a = frames.get("a").unwrap();
        assert_eq!((a.text().as_str(), a.exit, a.stderr.as_str()), ("x y", 3, "one; two"));
        assert_eq!(a.succeeded("a"), Err(FactsError::Section { section: "a".to_owned(), exit: 3, seen: "one; two".to_owned() }));
        assert_eq!(frames.get("b").unwrap().body, b"");
        assert!(frames.find("c").is_none());
    }

    #[test]
    fn an_answer_that_breaks_off_says_where() {
        let whole = "\n@@flipside facts 1\n\n@@flipside begin a\nx\n\n@@flipside end a 0\n\n@@flipside over\n";
        let after = |length: usize| match Frames::cut(&whole.as_bytes()[..length]) {
            Err(FactsError::CutOff { after }) => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(unanswered(&whole.as_bytes()[..44]).as_deref(), Some("a"));
        assert_eq!((unanswered(whole.as_bytes()), unanswered(b"Welcome!")), (None, None));
        assert_eq!(after(5), "before its first line");
        assert_eq!(after(20), "at its beginning");
        assert_eq!(after(44), "within \"a\"");
        assert_eq!(after(whole.len() - 3), "after \"a\"");
        assert!(Frames::cut(whole.as_bytes()).is_ok());
    }
}
