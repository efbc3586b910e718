//! The gateway's answers, one line each. A stand-in with the shape of `crate::wire::ack`.

/// One answer; numbers count the messages of one connection from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// Every message up to this one that no other answer names is stored.
    Stored(u64),
    /// Not stored; send it again freely.
    Retry { n: u64, code: &'a str, detail: &'a str },
    /// Rejected; never send it like this.
    Fix { n: u64, code: &'a str, detail: &'a str },
    /// Possibly stored; a resend may double it.
    Unknown { n: u64, code: &'a str },
    /// The account is closed; messages after this one were not read.
    Closed(u64),
}

/// Parses one line without its line end. Errors: the line is none of the five forms.
pub(super) fn parse(line: &[u8]) -> Result<Answer<'_>, ()> {
    let line = std::str::from_utf8(line).map_err(|_| ())?;
    let (sign, rest) = line.split_once(' ').ok_or(())?;
    match sign {
        "+" => Ok(Answer::Stored(number(rest)?)),
        "." => Ok(Answer::Closed(number(rest)?)),
        "?" => {
            let (n, code) = rest.split_once(' ').ok_or(())?;
            Ok(Answer::Unknown { n: number(n)?, code: word(code)? })
        }
        "-" => {
            let mut parts = rest.splitn(4, ' ');
            let mut next = || parts.next().ok_or(());
            let (n, what, code) = (number(next()?)?, next()?, word(next()?)?);
            let detail = parts.next().unwrap_or("");
            match what {
                "retry" => Ok(Answer::Retry { n, code, detail }),
                "fix" => Ok(Answer::Fix { n, code, detail }),
                _ => Err(()),
            }
        }
        _ => Err(()),
    }
}

fn number(text: &str) -> Result<u64, ()> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().map_err(|_| ()) } else { Err(()) }
}

fn word(text: &str) -> Result<&str, ()> {
    if text.is_empty() || text.contains(' ') { Err(()) } else { Ok(text) }
}
