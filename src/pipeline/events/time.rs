//! Times in RFC 3339: ours written, theirs checked.

use std::time::{Duration, UNIX_EPOCH};

/// 9999-12-31T23:59:59.999999Z, the last that RFC 3339 can write.
const LAST_US: u64 = 253_402_300_799_999_999;
/// `2026-01-31T23:59:59.123456Z`.
const TEXT_BYTES: usize = 27;

/// A moment in its two forms, made once for all events of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    unix_ms: u64,
    text: [u8; TEXT_BYTES],
}

impl Moment {
    /// From microseconds since the Unix epoch; beyond the year 9999 it is that year's end.
    pub fn new(unix_us: u64) -> Self {
        let unix_us = unix_us.min(LAST_US);
        let time = humantime::format_rfc3339_micros(UNIX_EPOCH + Duration::from_micros(unix_us));
        let mut text = [b' '; TEXT_BYTES];
        // Proof: what a year of four digits takes is exactly what there is.
        std::io::Write::write_fmt(&mut &mut text[..], format_args!("{time}")).expect("27 bytes");
        Self { unix_ms: unix_us / 1000, text }
    }

    /// Milliseconds since the Unix epoch.
    pub(super) fn unix_ms(&self) -> u64 {
        self.unix_ms
    }

    /// RFC 3339 in UTC with microseconds.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }
}

/// Whether `text` is a `date-time` of RFC 3339 (section 5.6). Its `T` and `Z` may be small; a blank in place of the `T`
/// is not taken. Second 60 is, at the only minute of a day that can have one.
pub(super) fn is_rfc3339(text: &str) -> bool {
    date_time(text.as_bytes()).is_some()
}

fn date_time(text: &[u8]) -> Option<()> {
    let (date, rest) = text.split_at_checked(10)?;
    let (clock, rest) = rest.split_at_checked(9)?;
    let ([_, _, _, _, b'-', _, _, b'-', _, _], [b'T' | b't', _, _, b':', _, _, b':', _, _]) = (date, clock)
    else {
        return None;
    };
    let (year, month, day) = (number(&date[..4], 9999)?, number(&date[5..7], 12)?, number(&date[8..], 31)?);
    let (hour, minute, second) =
        (number(&clock[1..3], 23)?, number(&clock[4..6], 59)?, number(&clock[7..], 60)?);
    let days = match month {
        0 => return None,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let offset = match fraction(rest)? {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let minutes = 60 * number(&[*h1, *h2], 23)? + number(&[*m1, *m2], 59)?;
            if *sign == b'+' { minutes } else { 1440 - minutes }
        }
        _ => return None,
    };
    let minute_of_utc = (60 * hour + minute + 1440 - offset) % 1440;
    ((1..=days).contains(&day) && (second < 60 || minute_of_utc == 1439)).then_some(())
}

/// Passes over a fraction, if there is one, of at least one digit.
fn fraction(rest: &[u8]) -> Option<&[u8]> {
    let Some(rest) = rest.strip_prefix(b".") else { return Some(rest) };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (digits > 0).then(|| &rest[digits..])
}

/// Digits only, `most` at most.
fn number(digits: &[u8], most: u16) -> Option<u16> {
    let number = digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| 10 * number + u16::from(digit - b'0')))?;
    (number <= most).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_with_microseconds() {
        let text = |us| String::from_utf8(Moment::new(us).as_bytes().to_vec()).unwrap();
        assert_eq!(text(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(text(1_700_000_000_123_456), "2023-11-14T22:13:20.123456Z");
        assert_eq!(text(951_782_400_000_001), "2000-02-29T00:00:00.000001Z");
        assert_eq!(text(u64::MAX), "9999-12-31T23:59:59.999999Z");
        for us in [0, 1, 1_700_000_000_123_456, u64::MAX] {
            assert!(is_rfc3339(&text(us)));
        }
    }

    #[test]
    fn times_of_rfc_3339() {
        for good in [
            "2026-01-31T23:59:59Z",
            "2026-01-31t23:59:59z",
            "2024-02-29T00:00:00+14:00",
            "2000-02-29T00:00:00-00:00",
            "2026-12-31T00:00:00.1Z",
            "2026-12-31T00:00:00.123456789012345678901234567890-23:59",
            "1990-12-31T23:59:60Z",
            "1990-12-31T15:59:60-08:00",
            "1991-01-01T05:29:60.5+05:30",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999999Z",
        ] {
            assert!(is_rfc3339(good), "{good}");
        }
        for bad in [
            "",
            "now",
            "1700000000",
            "2026-01-31",
            "2026-01-31T23:59:59",
            "2026-01-31 23:59:59Z",
            "2026-01-31T23:59Z",
            "2026-01-31T23:59:59.Z",
            "2026-01-31T23:59:59,5Z",
            "2026-01-31T23:59:59Z ",
            " 2026-01-31T23:59:59Z",
            "2026-01-31T23:59:59+0100",
            "2026-01-31T23:59:59+01",
            "2026-01-31T23:59:59+24:00",
            "2026-01-31T23:59:59+01:60",
            "2026-00-31T23:59:59Z",
            "2026-13-01T23:59:59Z",
            "2026-01-00T23:59:59Z",
            "2026-01-32T23:59:59Z",
            "2026-04-31T23:59:59Z",
            "2026-02-29T23:59:59Z",
            "1900-02-29T23:59:59Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T23:60:00Z",
            "2026-01-31T23:59:61Z",
            "2026-01-31T12:00:60Z",
            "1990-12-31T23:59:60-08:00",
            "-026-01-31T23:59:59Z",
            "+2026-01-31T23:59:59Z",
            "2026-1-31T23:59:59Z",
            "2026-01-31T23:59:59[UTC]",
            "\u{661}\u{661}26-01-31T23:59:59Z",
        ] {
            assert!(!is_rfc3339(bad), "{bad}");
        }
    }

    /// Each byte of a good one changed to each other: what is taken keeps the shape.
    #[test]
    fn one_byte_changed_anywhere() {
        let good = b"2026-01-31T23:59:59.5+01:00";
        for at in 0..good.len() {
            for byte in 0..128 {
                let mut changed = *good;
                changed[at] = byte;
                let is_taken = date_time(&changed).is_some();
                let may = byte.is_ascii_digit() || byte == good[at] || b"t-+".contains(&byte);
                assert!(!is_taken || may, "{}", changed.escape_ascii());
            }
            assert!(date_time(&good[..at]).is_none());
        }
    }
}
