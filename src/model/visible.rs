//! What can be seen of text. Deliberately absent: what becomes of the rest of it.

/// Unicode characters that turn or hide the text around them: zero-width ones, direction marks, overrides and isolates, and line separators.
#[must_use]
pub fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
