//! Answer lines of the ack protocol: written by the gateway, read by the client tools.
//!
//! ```text
//! + N                    every message up to N that was not named otherwise is stored
//! - N retry CODE DETAIL  message N is not stored: send it again freely
//! - N fix CODE DETAIL    message N was rejected: never send it like this
//! ? N CODE               message N may be stored: sending it again may double it
//! . N                    the last answer: N messages were read
//! ```
//! Messages count from 1. This file knows the form of a line only; which answer is due when is the session's.

/// Appends `+ N`.
pub fn stored(out: &mut Vec<u8>, n: u64) {
    number(out, b'+', n);
    out.push(b'\n');
}

/// Appends `- N retry CODE DETAIL`.
pub fn retry(out: &mut Vec<u8>, n: u64, code: &str, detail: &str) {
    refused(out, n, b" retry", code, detail);
}

/// Appends `- N fix CODE DETAIL`.
pub fn fix(out: &mut Vec<u8>, n: u64, code: &str, detail: &str) {
    refused(out, n, b" fix", code, detail);
}

/// Appends `? N CODE`.
pub fn unknown(out: &mut Vec<u8>, n: u64, code: &str) {
    number(out, b'?', n);
    word(out, code);
    out.push(b'\n');
}

/// Appends `. N`.
pub fn closed(out: &mut Vec<u8>, n: u64) {
    number(out, b'.', n);
    out.push(b'\n');
}

fn refused(out: &mut Vec<u8>, n: u64, advice: &[u8], code: &str, detail: &str) {
    number(out, b'-', n);
    out.extend_from_slice(advice);
    word(out, code);
    if !detail.is_empty() {
        out.push(b' ');
        // A detail may quote a broker; no byte of it may end the line.
        out.extend(detail.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
    }
    out.push(b'\n');
}

/// The sign, a space and the number in decimal.
fn number(out: &mut Vec<u8>, sign: u8, n: u64) {
    let mut digits = [0; 20]; // 2^64-1 has 20
    let mut at = digits.len();
    let mut rest = n;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&[sign, b' ']);
    out.extend_from_slice(&digits[at..]);
}

/// A space and the code, kept one word whatever it holds.
fn word(out: &mut Vec<u8>, code: &str) {
    out.push(b' ');
    out.extend(code.bytes().map(|byte| if byte <= b' ' || byte == 0x7f { b'_' } else { byte }));
    if code.is_empty() {
        out.push(b'_');
    }
}

/// One answer line, as a client reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Every message up to this number that was not named otherwise is stored.
    Stored(u64),
    /// Not stored: send it again freely.
    Retry {
        /// The message's number, from 1.
        n: u64,
        /// Stable word.
        code: &'a str,
        /// One sentence, or nothing.
        detail: &'a str,
    },
    /// Rejected: never send it like this.
    Fix {
        /// The message's number, from 1.
        n: u64,
        /// Stable word.
        code: &'a str,
        /// One sentence, or nothing.
        detail: &'a str,
    },
    /// May be stored.
    Unknown {
        /// The message's number, from 1.
        n: u64,
        /// Stable word.
        code: &'a str,
    },
    /// The last answer: this many messages were read.
    Closed(u64),
}

/// A line that is no answer of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnAnswer;

impl std::fmt::Display for NotAnAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not an answer line of the ack protocol")
    }
}

impl std::error::Error for NotAnAnswer {}

/// Reads one answer line, with or without its LF or CRLF.
///
/// # Errors
/// [`NotAnAnswer`] for anything that the functions above do not write.
pub fn parse(line: &[u8]) -> Result<Answer<'_>, NotAnAnswer> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = std::str::from_utf8(line).map_err(|_| NotAnAnswer)?;
    let (sign, rest) = line.split_once(' ').ok_or(NotAnAnswer)?;
    let (n, rest) = rest.split_once(' ').map_or((rest, None), |(n, rest)| (n, Some(rest)));
    let n = decimal(n)?;
    match (sign, rest) {
        ("+", None) => Ok(Answer::Stored(n)),
        (".", None) => Ok(Answer::Closed(n)),
        ("?", Some(code)) if is_word(code) => Ok(Answer::Unknown { n, code }),
        ("-", Some(rest)) => {
            let (advice, rest) = rest.split_once(' ').ok_or(NotAnAnswer)?;
            let (code, detail) = rest.split_once(' ').unwrap_or((rest, ""));
            match advice {
                "retry" if is_word(code) => Ok(Answer::Retry { n, code, detail }),
                "fix" if is_word(code) => Ok(Answer::Fix { n, code, detail }),
                _ => Err(NotAnAnswer),
            }
        }
        _ => Err(NotAnAnswer),
    }
}

/// Digits only: `u64::from_str` would take a plus sign.
fn decimal(digits: &str) -> Result<u64, NotAnAnswer> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten().ok_or(NotAnAnswer)
}

fn is_word(code: &str) -> bool {
    !code.is_empty() && !code.bytes().any(|byte| byte <= b' ' || byte == 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Rejection;

    fn line(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_as_written() {
        assert_eq!(line(|out| stored(out, 1)), "+ 1\n");
        assert_eq!(line(|out| stored(out, u64::MAX)), "+ 18446744073709551615\n");
        assert_eq!(line(|out| closed(out, 0)), ". 0\n");
        assert_eq!(line(|out| unknown(out, 10, "timed_out")), "? 10 timed_out\n");
        assert_eq!(line(|out| retry(out, 7, "draining", "")), "- 7 retry draining\n");
        assert_eq!(
            line(|out| fix(out, 7, "missing", "lb must be given")),
            "- 7 fix missing lb must be given\n"
        );
    }

    #[test]
    fn nothing_given_can_break_a_line() {
        assert_eq!(line(|out| retry(out, 1, "a b", "x\ny\r\0z")), "- 1 retry a_b x y  z\n");
        assert_eq!(line(|out| unknown(out, 1, "")), "? 1 _\n");
    }

    #[test]
    fn every_answer_reads_back_as_it_was_written() {
        let mut random = fastrand::Rng::with_seed(5);
        for rejection in Rejection::all() {
            let (n, code, detail) = (random.u64(..), rejection.code(), rejection.detail());
            for (written, read) in [
                (line(|out| stored(out, n)), Answer::Stored(n)),
                (line(|out| closed(out, n)), Answer::Closed(n)),
                (line(|out| unknown(out, n, code)), Answer::Unknown { n, code }),
                (line(|out| retry(out, n, code, detail)), Answer::Retry { n, code, detail }),
                (line(|out| fix(out, n, code, "")), Answer::Fix { n, code, detail: "" }),
            ] {
                assert_eq!(parse(written.as_bytes()), Ok(read));
                assert_eq!(parse(written.trim_end().as_bytes()), Ok(read), "without LF");
                assert_eq!(parse(written.replace('\n', "\r\n").as_bytes()), Ok(read), "with CRLF");
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bad in [
            "",
            "+",
            "+ ",
            "+ x",
            "+ +1",
            "+ -1",
            "+ 1 more",
            "+  1",
            "- 1",
            "- 1 retry",
            "- 1 retry ",
            "- 1 perhaps code",
            "- 1 fix  two",
            "? 1",
            "? 1 ",
            "? 1 a b",
            ". 1 x",
            "! 1",
            "+ 18446744073709551616",
            "stored 1",
            "#ack",
        ] {
            assert_eq!(parse(bad.as_bytes()), Err(NotAnAnswer), "{bad:?}");
        }
        assert_eq!(parse(b"? 1 \xff"), Err(NotAnAnswer));
    }
}
