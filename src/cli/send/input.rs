//! Cuts the input into lines and gives them to the account as it has room.
//!
//! Owns the carry of a line that spans reads, at most one longest line. Never sends blank lines or `#ack`
//! (whether the gateway counts those is then no question), never waits for input with the account locked.

use std::io::{self, BufRead, BufReader};

use memchr::memchr;

use super::Input;
use super::shared::Shared;

/// Size of a read.
const READ_BYTES: usize = 64 * 1024;

/// What becomes of a piece of input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Line { number: u64, text: &'a [u8] },
    TooLong { number: u64, bytes: u64 },
}

/// Finds lines in pieces of any size.
pub(super) struct Cutter {
    max: usize,
    carry: Vec<u8>,
    /// Bytes of the current line so far, kept or not.
    seen: u64,
    number: u64,
}

impl Cutter {
    pub(super) fn new(max: usize) -> Self {
        Self { max, carry: Vec::new(), seen: 0, number: 1 }
    }

    /// Calls `take` for each line that ends in `input`, and keeps what begins there.
    pub(super) fn feed(&mut self, mut input: &[u8], mut take: impl FnMut(Piece<'_>)) {
        while let Some(end) = memchr(b'\n', input) {
            let (text, rest) = (&input[..end], &input[end + 1..]);
            if self.seen == 0 {
                emit(self.number, text, text.len() as u64, self.max, &mut take);
            } else {
                self.keep(text);
                emit(self.number, &self.carry, self.seen, self.max, &mut take);
                self.carry.clear();
                self.seen = 0;
            }
            self.number += 1;
            input = rest;
        }
        self.keep(input);
    }

    /// The input ended: what is left is a line, if it is anything.
    pub(super) fn end(&mut self, mut take: impl FnMut(Piece<'_>)) {
        if self.seen > 0 {
            emit(self.number, &self.carry, self.seen, self.max, &mut take);
        }
    }

    fn keep(&mut self, text: &[u8]) {
        self.seen += text.len() as u64;
        if self.seen <= self.max as u64 {
            self.carry.extend_from_slice(text);
        }
    }
}

fn emit(number: u64, text: &[u8], bytes: u64, max: usize, take: &mut impl FnMut(Piece<'_>)) {
    if bytes > max as u64 {
        return take(Piece::TooLong { number, bytes });
    }
    let blank = text.trim_ascii().is_empty();
    if !blank && text.strip_suffix(b"\r").unwrap_or(text) != b"#ack" {
        take(Piece::Line { number, text });
    }
}

/// Reads to the end of the input, or until nobody wants more. Runs on a thread of its own: a terminal may never
/// say anything.
pub(super) fn feed(input: Input, max_line_bytes: usize, shared: &Shared) {
    let mut reader = BufReader::with_capacity(READ_BYTES, input);
    let mut cutter = Cutter::new(max_line_bytes);
    loop {
        let buffer = match reader.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return shared.end_input(Err(error)),
        };
        let read = buffer.len();
        let mut slot = shared.slot();
        if read == 0 {
            cutter.end(|piece| slot.take(piece));
        } else {
            cutter.feed(buffer, |piece| slot.take(piece));
        }
        let wanted = slot.finish(read as u64);
        if read == 0 || !wanted {
            return shared.end_input(Ok(wanted));
        }
        reader.consume(read);
    }
}

/// Gives every line to `take` until the end of the input, or until `take` wants no more.
pub(super) fn each(
    input: Input,
    max_line_bytes: usize,
    mut take: impl FnMut(Piece<'_>) -> bool,
) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(READ_BYTES, input);
    let mut cutter = Cutter::new(max_line_bytes);
    let mut is_wanted = true;
    while is_wanted {
        let buffer = match reader.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let read = buffer.len();
        let take = |piece: Piece<'_>| is_wanted = is_wanted && take(piece);
        if read == 0 {
            cutter.end(take);
            return Ok(());
        }
        cutter.feed(buffer, take);
        reader.consume(read);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]], max: usize) -> Vec<String> {
        let mut found = Vec::new();
        let mut cutter = Cutter::new(max);
        let mut take = |piece: Piece<'_>| {
            found.push(match piece {
                Piece::Line { number, text } => format!("{number} {}", text.escape_ascii()),
                Piece::TooLong { number, bytes } => format!("{number} too long {bytes}"),
            });
        };
        pieces.iter().for_each(|piece| cutter.feed(piece, &mut take));
        cutter.end(&mut take);
        assert!(cutter.carry.capacity() <= 2 * max.max(8), "carry is bounded");
        found
    }

    #[test]
    fn lines_are_found_whole_and_byte_by_byte() {
        let input = b"one\r\n\n \t\r\n#ack\ntwo\n123456\n1234567\n\x00\nlast";
        let expected = ["1 one\\r", "5 two", "6 123456", "7 too long 7", "8 \\x00", "9 last"];
        assert_eq!(cut(&[input], 6), expected);
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(cut(&bytes, 6), expected);
        for at in 0..input.len() {
            assert_eq!(cut(&[&input[..at], &input[at..]], 6), expected, "cut at {at}");
        }
    }

    #[test]
    fn an_endless_line_is_not_kept() {
        let long = vec![b'x'; 1000];
        let mut pieces: Vec<&[u8]> = vec![&long; 1000];
        pieces.push(b"\nnext\n");
        assert_eq!(cut(&pieces, 16), ["1 too long 1000000", "2 next"]);
        pieces.pop();
        assert_eq!(cut(&pieces, 16), ["1 too long 1000000"]);
    }
}
