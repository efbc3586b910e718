//! Bytes of a peer made safe to show: no control byte, no quote, no invalid UTF-8, never long (S0-E1).
//!
//! Nothing here decides whether an excerpt is shown at all; the caller's log options do.

use std::fmt::{self, Write as _};

/// Most characters that an excerpt shows before its closing dots (S0-E1).
pub const EXCERPT_MAX_CHARS: usize = 200;

/// What [`excerpt`] returns: shows the bytes, escaped and cut.
#[derive(Clone, Copy, Debug)]
pub struct Excerpt<'a>(&'a [u8]);

/// Shows `bytes` so that they can stand inside a quoted logfmt value or a JSON string's source.
///
/// Control bytes and bytes that are not UTF-8 become `\xNN`, quotes and backslashes get a backslash,
/// invisible and direction-changing characters become `\u{NNNN}`. At most [`EXCERPT_MAX_CHARS`] characters
/// come out, then `...` when something is left; an escape is never cut in two. Work is bounded by that
/// number, not by the length of `bytes`.
pub fn excerpt(bytes: &[u8]) -> Excerpt<'_> {
    Excerpt(bytes)
}

/// Any text as a quoted logfmt value: escaped and cut like an [`excerpt`].
pub fn quoted(text: &impl fmt::Display) -> String {
    format!("\"{}\"", excerpt(text.to_string().as_bytes()))
}

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every input byte yields at least a quarter of a character, so no more than this can be shown.
        let visible = &self.0[..self.0.len().min(4 * EXCERPT_MAX_CHARS + 4)];
        let mut room = Room { f, left: EXCERPT_MAX_CHARS };
        for chunk in visible.utf8_chunks() {
            for c in chunk.valid().chars() {
                if !room.escaped(c)? {
                    return room.f.write_str("...");
                }
            }
            for byte in chunk.invalid() {
                if !room.hex(*byte)? {
                    return room.f.write_str("...");
                }
            }
        }
        Ok(())
    }
}

/// The output and how many characters it may still take.
struct Room<'f, 'b> {
    f: &'f mut fmt::Formatter<'b>,
    left: usize,
}

impl Room<'_, '_> {
    /// Takes `chars` from what is left; false when that is too much, and then nothing fits any more.
    fn take(&mut self, chars: usize) -> bool {
        let fits = chars <= self.left;
        self.left = if fits { self.left - chars } else { 0 };
        fits
    }

    fn hex(&mut self, byte: u8) -> Result<bool, fmt::Error> {
        if !self.take(4) {
            return Ok(false);
        }
        write!(self.f, "\\x{byte:02x}").map(|()| true)
    }

    fn escaped(&mut self, c: char) -> Result<bool, fmt::Error> {
        match c {
            '\0'..='\x1f' | '\x7f' => self.hex(c as u8),
            '\'' => Ok(self.take(1) && self.f.write_char(c).map(|()| true)?),
            _ => {
                let escape = c.escape_debug();
                Ok(self.take(escape.len()) && write!(self.f, "{escape}").map(|()| true)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_sent_cannot_break_a_log_line() {
        for (bytes, shown) in [
            (&b"{\"lb\":\"a\"}"[..], r#"{\"lb\":\"a\"}"#),
            (b"a\r\n\t\0\x7f", r"a\x0d\x0a\x09\x00\x7f"),
            (b"back\\slash 'quote'", r"back\\slash 'quote'"),
            (b"\xff\xfea\xc3", r"\xff\xfea\xc3"),
            ("J\u{f6}rg \u{1f600}".as_bytes(), "J\u{f6}rg \u{1f600}"),
            ("\u{202e}\u{2028}\u{85}".as_bytes(), r"\u{202e}\u{2028}\u{85}"),
            (b"", ""),
        ] {
            assert_eq!(excerpt(bytes).to_string(), shown, "S0-E1");
        }
    }

    #[test]
    fn never_more_than_200_characters_and_an_escape_stays_whole() {
        assert_eq!(excerpt(&[b'a'; 200]).to_string(), "a".repeat(200));
        assert_eq!(excerpt(&[b'a'; 201]).to_string(), "a".repeat(200) + "...");
        assert_eq!(excerpt(&[0; 51]).to_string(), r"\x00".repeat(50) + "...");
        let mut uneven = vec![b'a'; 198];
        uneven.extend([0, b'b']);
        assert_eq!(excerpt(&uneven).to_string(), "a".repeat(198) + "...", "S0-E1: cut before the escape");
        let wide = "\u{1f600}".repeat(300);
        assert_eq!(excerpt(wide.as_bytes()).to_string(), "\u{1f600}".repeat(200) + "...");
    }

    #[test]
    fn any_bytes_at_all() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let bytes: Vec<u8> = (0..random.usize(..400)).map(|_| random.u8(..)).collect();
            let shown = excerpt(&bytes).to_string();
            assert!(shown.chars().count() <= EXCERPT_MAX_CHARS + 3);
            assert!(!shown.chars().any(char::is_control));
            let unescaped = shown.replace(r"\\", "").replace(r#"\""#, "");
            assert!(!unescaped.contains('"'), "{shown}");
        }
    }
}
