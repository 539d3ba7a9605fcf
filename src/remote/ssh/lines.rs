//! Bytes to lines, and the end of a text. Deliberately absent: any meaning of the lines.

/// A line longer than this, in bytes, is a flood.
const LONGEST: usize = 16 << 20;
/// What is kept of stderr, in bytes.
const TAIL: usize = 8 << 10;

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    unfinished: Vec<u8>,
}

/// A line does not end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endless;

impl Lines {
    /// Hands every line that is now complete to `on_line`, without its newline. What is not UTF-8 becomes U+FFFD.
    pub(super) fn push(&mut self, mut bytes: &[u8], on_line: &mut (dyn FnMut(&str) + Send)) -> Result<(), Endless> {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            if self.unfinished.is_empty() {
                on_line(&String::from_utf8_lossy(&bytes[..end]));
            } else {
                self.unfinished.extend_from_slice(&bytes[..end]);
                on_line(&String::from_utf8_lossy(&self.unfinished));
                self.unfinished.clear();
            }
            bytes = &bytes[end + 1..];
        }
        self.unfinished.extend_from_slice(bytes);
        if self.unfinished.len() > LONGEST { Err(Endless) } else { Ok(()) }
    }

    /// What came after the last newline.
    pub(super) fn rest(&self) -> String {
        String::from_utf8_lossy(&self.unfinished).into_owned()
    }
}

/// The last 8 KiB of a stream of bytes.
#[derive(Debug, Default)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        if self.0.len() > 4 * TAIL {
            self.0.drain(..self.0.len() - TAIL);
        }
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0[self.0.len().saturating_sub(TAIL)..]).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> (Vec<String>, String) {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for chunk in chunks {
            lines.push(chunk, &mut |line| seen.push(line.to_owned())).unwrap();
        }
        (seen, lines.rest())
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_are_cut() {
        let text = "one\n\ntwo ö\nthree".as_bytes();
        let whole = lines(&[text]);
        assert_eq!(whole, (vec!["one".to_owned(), String::new(), "two ö".to_owned()], "three".to_owned()));
        for cut in 0..text.len() {
            assert_eq!(lines(&[&text[..cut], &text[cut..]]), whole, "cut at {cut}");
        }
        assert_eq!(lines(&[b"\xff\n"]).0, ["\u{fffd}"]);
    }

    #[test]
    fn a_tail_is_bounded() {
        let mut tail = Tail::default();
        for _ in 0..10_000 {
            tail.push(b"0123456789");
        }
        assert_eq!(tail.text().len(), TAIL);
        assert!(tail.text().ends_with("789"));
    }
}
