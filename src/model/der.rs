//! The outermost layer of DER (ITU-T X.690): tags, lengths, contents. Deliberately absent: what the contents mean, and long tags.

/// What is left to read of one level.
#[derive(Debug, Clone, Copy)]
pub(super) struct Der<'a>(pub(super) &'a [u8]);

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BITS: u8 = 0x03;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

impl<'a> Der<'a> {
    /// The next value: its tag and its contents. None at the end, and where the rest makes no sense.
    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, mut rest) = rest.split_first()?;
        let mut length = usize::from(*first);
        if length & 0x80 != 0 {
            let n_bytes = length & 0x7f;
            if n_bytes == 0 || n_bytes > 4 {
                return None;
            }
            let (bytes, after) = rest.split_at_checked(n_bytes)?;
            length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest = after;
        }
        let (contents, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((*tag, contents))
    }

    /// The contents of the next value, which has this tag.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, contents)| contents)
    }

    /// The contents of the next value where it has this tag; otherwise it stays.
    pub(super) fn maybe(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() == Some(&tag) { self.take(tag) } else { None }
    }

    /// The values of the next one, which is a sequence.
    pub(super) fn sequence(&mut self) -> Option<Der<'a>> {
        self.take(SEQUENCE).map(Der)
    }

    /// The bytes of the next one, which is a bit string of whole bytes.
    pub(super) fn bits(&mut self) -> Option<&'a [u8]> {
        self.take(BITS).and_then(|bits| bits.strip_prefix(&[0]))
    }

    /// The next one, which is a positive integer, without zeros before it.
    pub(super) fn number(&mut self) -> Option<&'a [u8]> {
        let bytes = self.take(INTEGER)?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes.get(zeros..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_short_or_long_and_never_past_the_end() {
        let long = [&[0x04, 0x81, 0x80][..], &[7; 128]].concat();
        assert_eq!(Der(&long).take(OCTETS), Some(&[7; 128][..]));
        assert_eq!(Der(&[0x30, 0x03, 0x02, 0x01, 0x05]).sequence().and_then(|mut inside| inside.number()), Some(&[5][..]));
        for broken in [&[0x04, 0x02, 0x01][..], &[0x04, 0x80], &[0x04, 0x85, 1, 1, 1, 1, 1], &[0x04], &[]] {
            assert_eq!(Der(broken).next(), None, "{broken:?}");
        }
    }
}
