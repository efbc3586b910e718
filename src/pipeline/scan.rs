//! The short way for plain lines: the four members, no escapes, whole numbers of up to 18 digits.
//!
//! It answers only when it is certain and otherwise says nothing, so that simd-json judges every line that is
//! unusual or wrong; no rejection is decided here. The reason is measured (`benches/pipeline.rs`): on a line
//! of 78 bytes simd-json's two passes and its tape cost several times what one look at the bytes does. Tests
//! and a fuzz target hold that whatever is read here, simd-json reads alike.

use super::json::Members;

/// Digits that a number may have here: more could overflow, and simd-json decides about those.
const DIGITS_MAX: usize = 18;

/// A byte in every lane of a word.
#[inline(always)]
const fn lanes(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The members of a plain line, or nothing when this is not certainly one.
#[inline]
pub(super) fn members(line: &[u8]) -> Option<Members<'_>> {
    // Once for the whole line is cheaper than once for each string.
    let text = std::str::from_utf8(line).ok()?;
    let mut cursor = Cursor { text, line, at: 0 };
    let mut found = Members::default();
    cursor.byte(b'{')?;
    loop {
        cursor.blanks();
        match cursor.name()? {
            Name::Lb if found.lb.is_none() => found.lb = Some(cursor.text()?),
            Name::Player if found.player.is_none() => found.player = Some(cursor.text()?),
            Name::Score if found.score.is_none() => found.score = Some(cursor.integer()?),
            Name::TsMs if found.ts_ms.is_none() => found.ts_ms = Some(cursor.integer()?),
            _ => return None,
        }
        cursor.blanks();
        if cursor.byte(b',').is_none() {
            break;
        }
    }
    cursor.byte(b'}')?;
    cursor.blanks();
    (cursor.at == line.len()).then_some(found)
}

enum Name {
    Lb,
    Player,
    Score,
    TsMs,
}

/// Where we are in the line. Every step that returns nothing ends the short way, so none goes back.
struct Cursor<'a> {
    text: &'a str,
    /// The bytes of `text`.
    line: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Passes over `expected`.
    #[inline(always)]
    fn byte(&mut self, expected: u8) -> Option<()> {
        (*self.line.get(self.at)? == expected).then(|| self.at += 1)
    }

    /// Passes over JSON's blanks.
    #[inline(always)]
    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.line.get(self.at) {
            self.at += 1;
        }
    }

    /// The next eight bytes, the first one lowest; behind the line's end they are 0.
    #[inline(always)]
    fn word(&self) -> Option<u64> {
        let rest = self.line.get(self.at..)?;
        if let Some(word) = rest.first_chunk() {
            return Some(u64::from_le_bytes(*word));
        }
        // The last eight bytes of the line, less those that lie before. Shifting out all eight is 0.
        let last = u64::from_le_bytes(*self.line.last_chunk()?);
        Some(last.checked_shr(8 * (8 - rest.len() as u32)).unwrap_or(0))
    }

    /// Passes over a known name, the colon behind it and blanks around that.
    #[inline(always)]
    fn name(&mut self) -> Option<Name> {
        self.byte(b'"')?;
        let word = self.word()?;
        let begins = |name: &[u8; 8], bytes: u32| (word ^ u64::from_le_bytes(*name)) << (64 - 8 * bytes) == 0;
        let (name, bytes) = match word {
            _ if begins(b"player\"\0", 7) => (Name::Player, 7),
            _ if begins(b"score\"\0\0", 6) => (Name::Score, 6),
            _ if begins(b"ts_ms\"\0\0", 6) => (Name::TsMs, 6),
            _ if begins(b"lb\"\0\0\0\0\0", 3) => (Name::Lb, 3),
            _ => return None,
        };
        self.at += bytes;
        self.blanks();
        self.byte(b':')?;
        self.blanks();
        Some(name)
    }

    /// A string without escapes.
    #[inline(always)]
    fn text(&mut self) -> Option<&'a str> {
        self.byte(b'"')?;
        let start = self.at;
        let end = loop {
            let stops = quotes_escapes_controls(self.word()?);
            if stops != 0 {
                break self.at + first_lane(stops);
            }
            self.at += 8;
        };
        self.at = end;
        // An escape or a control byte is not for us; behind the line's end there is no quote either.
        self.byte(b'"')?;
        self.text.get(start..end)
    }

    /// An integer that cannot overflow. What follows it has to be matched by the caller: `1.5` ends after 1.
    #[inline(always)]
    fn integer(&mut self) -> Option<i64> {
        let start = self.at;
        let mut number = 0_u64;
        loop {
            let word = self.word()?;
            let digits = first_lane(not_digits(word));
            number = number.wrapping_mul(POWERS_OF_TEN[digits]).wrapping_add(leading_digits(word, digits));
            self.at += digits;
            if digits < 8 {
                break;
            }
        }
        let digits = self.at - start;
        let leading_zero = digits > 1 && self.line[start] == b'0';
        // Below 10^18 nothing wrapped.
        (1..=DIGITS_MAX).contains(&digits).then_some(()).filter(|()| !leading_zero).map(|()| number as i64)
    }
}

const POWERS_OF_TEN: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The first lane whose top bit is set, 8 for none.
#[inline(always)]
const fn first_lane(tops: u64) -> usize {
    tops.trailing_zeros() as usize / 8
}

/// The top bit of each lane that holds a quote, a backslash or a control byte. Lanes above the first such
/// one may be marked wrongly (a borrow runs upwards), so only the first one counts.
#[inline(always)]
const fn quotes_escapes_controls(word: u64) -> u64 {
    let quote = word ^ lanes(b'"');
    let escape = word ^ lanes(b'\\');
    let zero_at_quote = quote.wrapping_sub(lanes(1)) & !quote;
    let zero_at_escape = escape.wrapping_sub(lanes(1)) & !escape;
    let below_blank = word.wrapping_sub(lanes(b' ')) & !word;
    (zero_at_quote | zero_at_escape | below_blank) & lanes(0x80)
}

/// The top bit of each lane that holds no digit. Exact in all lanes: no sum carries over.
#[inline(always)]
const fn not_digits(word: u64) -> u64 {
    let value = word ^ lanes(b'0');
    (((value & lanes(0x7f)) + lanes(0x80 - 10)) | value) & lanes(0x80)
}

/// The number that the first `digits` lanes spell.
#[inline(always)]
const fn leading_digits(word: u64, digits: usize) -> u64 {
    if digits == 0 {
        return 0;
    }
    // To the top, so that the lanes below read as leading zeros; then pairs, fours and eight are joined.
    let ones = (word << (64 - 8 * digits as u32)) & lanes(0x0f);
    let twos = (ones.wrapping_mul(10 << 8 | 1) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (twos.wrapping_mul(100 << 16 | 1) >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::json::Parser;

    /// The rule of this file: what it reads, simd-json reads alike. Says whether it read anything.
    fn agrees(line: &[u8]) -> bool {
        let short = members(line);
        if let Some(short) = short {
            assert_eq!(Parser::new().parse(line), Ok(short), "{}", line.escape_ascii());
        }
        short.is_some()
    }

    #[test]
    fn plain_lines_take_the_short_way() {
        for line in [
            r#"{"lb":"global","player":"player-000042","score":9001,"ts_ms":1700000000000}"#,
            r#"{"lb": "global", "player": "player-000042", "score": 9001, "ts_ms": 1700000000000}"#,
            "{ \"score\" : 0 ,\t\"player\":\"\",\r\n\"lb\":\"12345678\"} \r",
            r#"{"ts_ms":999999999999999999,"score":12345678,"lb":"1234567","player":"123456789"}"#,
            "{\"lb\":\"gl\u{f6}bal\",\"player\":\"\u{1f600}\u{7f}\"}",
            r#"{"score":1}"#,
            r#"{"lb":"{}[]:,'"}"#,
        ] {
            assert!(agrees(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn everything_else_is_left_to_simd_json() {
        for line in [
            "",
            "{",
            "{}",
            "{\"",
            "{\"lb",
            "{\"lb\"",
            "{\"lb\":",
            "{\"lb\":\"",
            "{\"lb\":\"a",
            "{\"lb\":\"a\"",
            "{\"lb\":\"a\",",
            "{\"lb\":\"a\",}",
            r#"{"lb":"a\n"}"#,
            r#"{"lb":"a","lb":"a"}"#,
            r#"{"x":1}"#,
            r#"{"lb":1}"#,
            r#"{"score":"1"}"#,
            r#"{"score":-1}"#,
            r#"{"score":01}"#,
            r#"{"score":1.0}"#,
            r#"{"score":1e3}"#,
            r#"{"score":}"#,
            r#"{"score":1 2}"#,
            r#"{"score":1}}"#,
            r#"{"score":1}x"#,
            r#" {"score":1}"#,
            r#"{"score":1000000000000000000}"#,
            r#"{"score":00}"#,
            "{\"lb\":\"a\0\"}",
            "{\"lb\":\"a\tb\"}",
            r#"{"score":null}"#,
            r#"{"score":1"lb":"a"}"#,
        ] {
            assert_eq!(members(line.as_bytes()), None, "{line}");
        }
        assert_eq!(members(b"{\"lb\":\"\xff\"}"), None);
    }

    /// Every byte in every place of a plain line, and every cut of it.
    #[test]
    fn one_byte_changed_anywhere() {
        let line = br#"{"lb":"gl", "player":"player-42","score":9001,"ts_ms":1700000000000}"#;
        let mut read = 0;
        for at in 0..line.len() {
            for byte in 0..=255 {
                let mut changed = line.to_vec();
                changed[at] = byte;
                read += u32::from(agrees(&changed));
                changed.insert(at, line[at]);
                read += u32::from(agrees(&changed));
            }
            agrees(&line[..at]);
        }
        assert!(read > 2_000, "{read}: many changes inside strings and numbers stay plain");
    }

    /// Lines put together from pieces that matter, valid and not.
    #[test]
    fn lines_put_together_at_random() {
        const NAMES: [&str; 7] =
            ["\"lb\"", "\"player\"", "\"score\"", "\"ts_ms\"", "\"x\"", "\"l\\u0062\"", "lb"];
        const BLANKS: [&str; 8] = ["", "", "", "", "", " ", "\t \r", "\0"];
        const VALUES: [&str; 16] = [
            "\"a\"",
            "\"\"",
            "\"12345678\"",
            "\"123456789abcdefg\"",
            "\"\u{e4}\u{1f600}\"",
            "\"\\\"\"",
            "\"a\x1fb\"",
            "0",
            "7",
            "12345678",
            "123456789012345678",
            "1234567890123456789",
            "00",
            "-1",
            "1.5",
            "null",
        ];
        let mut random = fastrand::Rng::with_seed(17);
        let (mut line, mut read) = (String::new(), 0);
        for _ in 0..200_000 {
            line.clear();
            line.push('{');
            for member in 0..random.usize(1..5) {
                let name = if random.u8(..8) == 0 { random.usize(..7) } else { member };
                let value = if random.u8(..8) == 0 {
                    random.usize(..16)
                } else {
                    random.usize(..5) + 5 * usize::from(name > 1)
                };
                let separator = if member == 0 { "" } else { "," };
                for piece in [separator, NAMES[name], ":", VALUES[value.min(15)]] {
                    line.push_str(BLANKS[random.usize(..8)]);
                    line.push_str(piece);
                }
            }
            line.push_str(["}", "}", "}", " } ", "", "}}", "}0"][random.usize(..7)]);
            read += u32::from(agrees(line.as_bytes()));
        }
        assert!(read > 10_000, "{read} of the lines are plain");
    }

    #[test]
    fn lanes_are_told_apart() {
        for byte in 0..=255_u8 {
            for lane in 0..8 {
                let at = |byte: u8, rest: u8| {
                    let mut bytes = [rest; 8];
                    bytes[lane] = byte;
                    u64::from_le_bytes(bytes)
                };
                let stops = byte < 0x20 || byte == b'"' || byte == b'\\';
                assert_eq!(first_lane(quotes_escapes_controls(at(byte, b'a'))), if stops { lane } else { 8 });
                assert_eq!(
                    first_lane(not_digits(at(byte, b'9'))),
                    if byte.is_ascii_digit() { 8 } else { lane }
                );
            }
        }
        assert_eq!(leading_digits(u64::from_le_bytes(*b"12345678"), 8), 12_345_678);
        assert_eq!(leading_digits(u64::from_le_bytes(*b"123}\xff\xff\xff\xff"), 3), 123);
        assert_eq!(leading_digits(u64::from_le_bytes(*b"}\xff\xff\xff\xff\xff\xff\xff"), 0), 0);
    }
}
