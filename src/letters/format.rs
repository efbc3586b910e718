//! A segment's bytes: a header, then letters, each with a mark, its length and a checksum.
//!
//! Whatever happened to a segment, reading gives every letter that is whole: a torn tail, a flipped bit or a hole
//! costs the letters that it touches, because reading goes on at the next mark whose letter's checksum is right.
//!
//! ```text
//! letter  = mark (4) | length of content, u32 | CRC-32 of content, u32 | content
//! content = time, u64 ms since the epoch | length of key, u32 (all ones: no key) | length of value, u32
//!           | key | value | headers, as `event::headers` writes them; all numbers little-endian
//! ```

use memchr::memmem;

/// What every segment begins with.
pub const HEADER: &[u8] = b"sluice dead letters 1\n";

/// What every letter begins with: no text has it.
const MARK: [u8; 4] = [0xd1, b'D', b'L', 0xff];
/// Mark, length and checksum.
const FRAME: usize = 12;
/// Time and the two lengths.
const FIXED: usize = 16;
const NO_KEY: u32 = u32::MAX;

/// One record that Kafka did not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letter<'a> {
    /// When it became a dead letter: milliseconds since the Unix epoch.
    pub time_ms: u64,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
    /// As `event::headers` writes them, those of the dead letter included.
    pub headers: &'a [u8],
}

/// Appends a letter as it stands in a segment. False, and nothing: a part is longer than its length can say.
pub fn encode(letter: &Letter<'_>, out: &mut Vec<u8>) -> bool {
    let key = letter.key.unwrap_or_default();
    let content = FIXED + key.len() + letter.value.len() + letter.headers.len();
    let (Ok(content), Ok(value_len)) = (u32::try_from(content), u32::try_from(letter.value.len())) else {
        return false;
    };
    let start = out.len();
    out.reserve(FRAME + content as usize);
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&content.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&letter.time_ms.to_le_bytes());
    out.extend_from_slice(&letter.key.map_or(NO_KEY, |key| key.len() as u32).to_le_bytes());
    out.extend_from_slice(&value_len.to_le_bytes());
    for part in [key, letter.value, letter.headers] {
        out.extend_from_slice(part);
    }
    let checksum = crc32fast::hash(&out[start + FRAME..]);
    out[start + 8..start + FRAME].copy_from_slice(&checksum.to_le_bytes());
    true
}

/// What stands at a place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A whole letter, and where its mark stands.
    Letter { offset: usize, letter: Letter<'a> },
    /// So many bytes that are no whole letter.
    Damaged { bytes: usize },
}

/// A segment's pieces, in order.
pub fn read(segment: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let mut at = if segment.starts_with(HEADER) { HEADER.len() } else { 0 };
    std::iter::from_fn(move || {
        let rest = &segment[at..];
        if rest.is_empty() {
            return None;
        }
        if let Some((length, letter)) = letter(rest) {
            let offset = at;
            at += length;
            return Some(Piece::Letter { offset, letter });
        }
        let whole = memmem::find_iter(&rest[1..], &MARK).find(|found| letter(&rest[1 + found..]).is_some());
        let bytes = whole.map_or(rest.len(), |found| found + 1);
        at += bytes;
        Some(Piece::Damaged { bytes })
    })
}

/// The letter that `bytes` begin with, and its length, if it is whole.
fn letter(bytes: &[u8]) -> Option<(usize, Letter<'_>)> {
    let rest = bytes.strip_prefix(&MARK)?;
    let (length, rest) = number(rest)?;
    let (checksum, rest) = number(rest)?;
    let content = rest.get(..length as usize)?;
    if crc32fast::hash(content) != checksum {
        return None;
    }
    let (time_ms, rest) = content.split_first_chunk()?;
    let (key_len, rest) = number(rest)?;
    let (value_len, rest) = number(rest)?;
    let (key, rest) = match key_len {
        NO_KEY => (None, rest),
        length => rest.split_at_checked(length as usize).map(|(key, rest)| (Some(key), rest))?,
    };
    let (value, headers) = rest.split_at_checked(value_len as usize)?;
    let letter = Letter { time_ms: u64::from_le_bytes(*time_ms), key, value, headers };
    Some((FRAME + content.len(), letter))
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LETTERS: [Letter<'static>; 3] = [
        Letter { time_ms: 1, key: Some(b"k"), value: b"{\"id\":1}", headers: b"head" },
        Letter { time_ms: u64::MAX, key: None, value: b"", headers: b"" },
        // A value that looks like a letter's beginning.
        Letter { time_ms: 3, key: Some(b""), value: b"\xd1DL\xff\x04\0\0\0\0\0\0\0abcd", headers: b"h" },
    ];

    /// A segment, and where each letter ends.
    fn segment() -> (Vec<u8>, Vec<usize>) {
        let mut bytes = HEADER.to_vec();
        let mut ends = Vec::new();
        for letter in &LETTERS {
            assert!(encode(letter, &mut bytes));
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn whole(segment: &[u8]) -> (Vec<Letter<'_>>, usize) {
        let (mut letters, mut damaged) = (Vec::new(), 0);
        for piece in read(segment) {
            match piece {
                Piece::Letter { letter, .. } => letters.push(letter),
                Piece::Damaged { bytes } => damaged += bytes,
            }
        }
        (letters, damaged)
    }

    #[test]
    fn what_was_written_comes_back_in_order() {
        assert_eq!(whole(&segment().0), (LETTERS.to_vec(), 0));
    }

    /// Torn at every byte: all letters before the tear, none beside them, and the rest is counted.
    #[test]
    fn a_torn_tail_costs_the_last_letter_only() {
        let (bytes, ends) = segment();
        for cut in HEADER.len()..=bytes.len() {
            let kept = ends.iter().filter(|end| **end <= cut).count();
            let before = if kept == 0 { HEADER.len() } else { ends[kept - 1] };
            assert_eq!(whole(&bytes[..cut]), (LETTERS[..kept].to_vec(), cut - before), "cut at {cut}");
        }
    }

    /// Every bit, one at a time: only the letter that it is in is lost, and no wrong one appears.
    #[test]
    fn a_flipped_bit_costs_one_letter() {
        let (bytes, ends) = segment();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let mut expected = LETTERS.to_vec();
            if bit / 8 >= HEADER.len() {
                expected.remove(ends.iter().position(|end| bit / 8 < *end).unwrap());
            }
            let (letters, lost) = whole(&damaged);
            assert_eq!(letters, expected, "bit {bit}");
            assert!(lost > 0, "bit {bit} is not seen");
        }
    }

    #[test]
    fn any_bytes_at_all_end() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..2_000 {
            let bytes: Vec<u8> = (0..random.usize(..200)).map(|_| MARK[random.usize(..4)]).collect();
            let (letters, damaged) = whole(&bytes);
            assert_eq!((letters.len(), damaged), (0, bytes.len()));
        }
    }
}
