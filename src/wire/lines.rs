//! Lines that end in LF or CRLF (S0-R1).
//!
//! Remembers only how far it has looked, so that no byte is scanned twice however slowly a line trickles in,
//! and whether it is skipping the rest of an overlong line.

use super::{Item, Step};
use memchr::memchr;

/// Finds lines. One per connection; 24 bytes.
///
/// A line's length is counted without its LF or CRLF. Exactly one CR before the LF, or at the end of the
/// input, belongs to the terminator. A caller whose buffer holds `max_line_bytes` + 2 bytes never gets stuck:
/// with that many bytes there is a line, or it is known to be too long.
#[derive(Clone, Debug)]
pub struct Lines {
    max_line_bytes: usize,
    scanned: usize,
    skipping: bool,
}

impl Lines {
    /// A framer that takes lines of up to `max_line_bytes` bytes.
    pub fn new(max_line_bytes: usize) -> Self {
        Self { max_line_bytes, scanned: 0, skipping: false }
    }

    /// The next finding in `input`, which begins at the first byte that no earlier call consumed.
    ///
    /// `eof` says that nothing follows `input`: a last line without LF then counts. Blank lines are consumed
    /// without a finding.
    #[inline]
    pub fn next(&mut self, input: &[u8], eof: bool) -> Step {
        let mut start = 0;
        while let Some(found) = memchr(b'\n', &input[start + self.scanned..]) {
            let end = start + self.scanned + found;
            self.scanned = 0;
            if !std::mem::take(&mut self.skipping) {
                let line = start..without_cr(input, start, end);
                if line.len() > self.max_line_bytes {
                    return Step { consumed: end + 1, item: Some(Item::TooLong) };
                }
                if !line.is_empty() {
                    return Step { consumed: end + 1, item: Some(Item::Message(line)) };
                }
            }
            start = end + 1;
        }
        self.unfinished(input, start, eof)
    }

    /// No LF from `start` on: skip, wait, give up on the line, or take it because nothing follows.
    fn unfinished(&mut self, input: &[u8], start: usize, eof: bool) -> Step {
        let end = input.len();
        self.scanned = 0;
        if self.skipping {
            self.skipping = !eof;
            return Step { consumed: end, item: None };
        }
        let line = start..without_cr(input, start, end);
        // Without a CR at its end, or with anything more than one before it, the line is this long already.
        if line.len() > self.max_line_bytes {
            self.skipping = !eof;
            return Step { consumed: end, item: Some(Item::TooLong) };
        }
        if !eof {
            self.scanned = end - start;
            return Step { consumed: start, item: None };
        }
        Step { consumed: end, item: (!line.is_empty()).then_some(Item::Message(line)) }
    }
}

/// Where the line `start..end` ends when one CR at its end is not counted.
#[inline]
fn without_cr(input: &[u8], start: usize, end: usize) -> usize {
    if end > start && input[end - 1] == b'\r' { end - 1 } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{Found, check, split_anywhere};

    const MAX: usize = 8;

    fn holds(input: &[u8], expected: &[&str]) {
        let expected: Vec<Found> = expected
            .iter()
            .map(|item| match *item {
                "<too long>" => Found::TooLong,
                line => Found::Message(line.as_bytes().to_vec()),
            })
            .collect();
        check(
            || {
                let mut lines = Lines::new(MAX);
                move |input, eof| lines.next(input, eof)
            },
            input,
            &expected,
        );
    }

    /// S0-R1.
    #[test]
    fn lf_crlf_blank_lines_and_a_last_line_without_lf() {
        holds(b"", &[]);
        holds(b"a\nbc\r\nd\n", &["a", "bc", "d"]);
        holds(b"\n\r\n\n\na\n\r\n\n", &["a"]);
        holds(b"a\nlast", &["a", "last"]);
        holds(b"a\nlast\r", &["a", "last"]);
        holds(b"\r", &[]);
        holds(b"a\rb\n", &["a\rb"]);
        holds(b"a\r\r\n", &["a\r"]);
        holds(b"\0\n \n", &["\0", " "]);
    }

    /// S0-R1: the limit counts neither LF nor CRLF.
    #[test]
    fn a_line_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
        holds(b"12345678\n", &["12345678"]);
        holds(b"12345678\r\n", &["12345678"]);
        holds(b"12345678", &["12345678"]);
        holds(b"12345678\r", &["12345678"]);
        holds(b"123456789\n", &["<too long>"]);
        holds(b"123456789\r\n", &["<too long>"]);
        holds(b"123456789", &["<too long>"]);
        holds(b"12345678\rx\n", &["<too long>"]);
        holds(b"12345678\r\r\n", &["<too long>"]);
    }

    /// S0-R1: an overlong line is skipped to its LF and the next one counts.
    #[test]
    fn an_overlong_line_is_said_once_and_skipped() {
        holds(b"0123456789abcdefghijklmnopqrstuvwxyz\nok\n", &["<too long>", "ok"]);
        holds(b"0123456789abcdef\n\r\nok", &["<too long>", "ok"]);
        holds(b"0123456789\n0123456789\n", &["<too long>", "<too long>"]);
        holds(b"a\n0123456789abcdefghijkl", &["a", "<too long>"]);
    }

    #[test]
    fn too_long_is_said_before_the_line_ends() {
        let mut lines = Lines::new(MAX);
        assert_eq!(lines.next(b"12345678", false), Step { consumed: 0, item: None });
        assert_eq!(lines.next(b"12345678\r", false), Step { consumed: 0, item: None });
        assert_eq!(lines.next(b"12345678\r9", false), Step { consumed: 10, item: Some(Item::TooLong) });
        assert_eq!(lines.next(b"more", false), Step { consumed: 4, item: None });
        assert_eq!(lines.next(b"\nok\n", false), Step { consumed: 4, item: Some(Item::Message(1..3)) });
    }

    #[test]
    fn no_byte_is_scanned_twice() {
        let mut lines = Lines::new(1 << 20);
        let input = vec![b'a'; 1 << 20];
        for have in (0..input.len()).step_by(1024) {
            assert_eq!(lines.next(&input[..have], false), Step { consumed: 0, item: None });
            assert_eq!(lines.scanned, have);
        }
    }

    #[test]
    fn random_bytes_give_the_same_lines_however_they_are_cut() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..3_000 {
            let input: Vec<u8> =
                (0..random.usize(..60)).map(|_| *random.choice(b"ab\r\n").unwrap()).collect();
            split_anywhere(
                &mut random,
                || {
                    let mut lines = Lines::new(MAX);
                    move |input, eof| lines.next(input, eof)
                },
                &input,
            );
        }
    }
}
