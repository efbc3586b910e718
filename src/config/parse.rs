//! Text to value, by the kind of a row.
//!
//! Knows one value at a time: what two values must be to each other is in `relations`. An error is the sentence
//! that says what would be right.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::table::Kind;
use crate::admission::TrustedProxies;
use crate::kafka::Creation;

/// A value that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Address(IpAddr),
    /// `None` is `off`.
    Port(Option<u16>),
    Text(String),
    Number(u64),
    Flag(bool),
    Time(Duration),
    /// `None` is `off`.
    Bytes(Option<u64>),
    Networks(TrustedProxies),
}

/// Reads `text` as `kind` says; the error says what would be right.
pub fn parse(kind: Kind, text: &str) -> Result<Value, String> {
    read(kind, text).ok_or_else(|| expected(kind))
}

fn read(kind: Kind, text: &str) -> Option<Value> {
    match kind {
        Kind::Address => address(text).map(Value::Address),
        Kind::Port if text.eq_ignore_ascii_case("off") => Some(Value::Port(None)),
        Kind::Port => integer(text).and_then(|n| u16::try_from(n).ok()).map(|n| Value::Port(Some(n))),
        Kind::Servers => servers(text).then(|| Value::Text(text.into())),
        Kind::Topic => topic(text).then(|| Value::Text(text.into())),
        Kind::TopicOrOff if text.eq_ignore_ascii_case("off") => Some(Value::Text(String::new())),
        Kind::TopicOrOff => topic(text).then(|| Value::Text(text.into())),
        Kind::Count { min, max } => integer(text).filter(within(min, max)).map(Value::Number),
        Kind::Bool => boolean(text).map(Value::Flag),
        Kind::Choice(words) => choice(words, text).map(|word| Value::Text(word.into())),
        Kind::Millis { min, max } => integer(text)
            .map(Duration::from_millis)
            .or_else(|| duration(text))
            .and_then(time_within(min, max)),
        Kind::Duration { min, max } => duration(text).and_then(time_within(min, max)),
        Kind::Bytes { min, max } => size(text).filter(within(min, max)).map(|n| Value::Bytes(Some(n))),
        Kind::BytesOrOff { .. } if text.eq_ignore_ascii_case("off") => Some(Value::Bytes(None)),
        Kind::BytesOrOff { min } => size(text).filter(|n| *n >= min).map(|n| Value::Bytes(Some(n))),
        Kind::Name => (text.len() <= 100).then(|| Value::Text(text.into())),
        Kind::Text | Kind::Secret => (!text.contains('\0')).then(|| Value::Text(text.into())),
        Kind::Networks => TrustedProxies::parse(text).ok().map(Value::Networks),
        Kind::Origins => origins(text).map(|_| Value::Text(text.into())),
        Kind::UrlPath => url_path(text).then(|| Value::Text(text.into())),
        Kind::Folder if text.eq_ignore_ascii_case("off") => Some(Value::Text(String::new())),
        Kind::Folder => (!text.contains('\0')).then(|| Value::Text(text.into())),
        Kind::Creations => creations(text).map(|_| Value::Text(text.into())),
        Kind::Output | Kind::Passthrough => (!text.is_empty()).then(|| Value::Text(text.into())),
    }
}

/// What a value of this kind is, in words: for faults, help and documentation.
#[must_use]
pub fn expected(kind: Kind) -> String {
    match kind {
        Kind::Address => "an IP address such as 0.0.0.0, 127.0.0.1 or ::1, or localhost".into(),
        Kind::Port => "a port from 0 to 65535, or off".into(),
        Kind::Servers => "host:port, several by comma, or embedded".into(),
        Kind::Topic => "1 to 249 of the characters a-z A-Z 0-9 . _ - (not . or .. alone)".into(),
        Kind::TopicOrOff => format!("{}, or off", expected(Kind::Topic)),
        Kind::Count { min, max } => format!("a whole number from {min} to {max}"),
        Kind::Bool => "true, false, 1 or 0".into(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        Kind::Millis { min, max } => format!("milliseconds from {min} to {max}, such as 500"),
        Kind::Duration { min: 0, max } => {
            format!("a duration with its unit such as 500ms, 10s or 2m, at most {}; or 0", span(max))
        }
        Kind::Duration { min, max } => {
            format!("a duration with its unit such as 500ms, 10s or 2m, from {} to {}", span(min), span(max))
        }
        Kind::Bytes { min, max } => {
            format!("bytes, bare or with KiB, MiB or GiB, from {} to {}", size_text(min), size_text(max))
        }
        Kind::BytesOrOff { min } => {
            format!("bytes, bare or with KiB, MiB or GiB, at least {}; or off", size_text(min))
        }
        Kind::Name => "a name of at most 100 bytes".into(),
        Kind::Text | Kind::Secret => "text without NUL".into(),
        Kind::Networks => {
            "addresses and networks by comma, such as 192.0.2.7, 10.0.0.0/8, with no bits set beyond the prefix"
                .into()
        }
        Kind::Origins => {
            "origins by comma, such as https://app.example or http://localhost:3000, or * alone".into()
        }
        Kind::UrlPath => "a path such as /metrics: a slash, then letters, digits and . _ - /".into(),
        Kind::Folder => "the path of a folder, or off".into(),
        Kind::Creations => "name[:partitions[:retention]] by comma, such as a:3:7d,b::30d".into(),
        Kind::Output => "stderr, stdout or the path of a file".into(),
        Kind::Passthrough => "a value that librdkafka takes for this property, not empty".into(),
    }
}

/// Bytes as they would be written: with a unit where nothing is lost by it.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes >= 1 << shift && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

fn span(ms: u64) -> String {
    humantime::format_duration(Duration::from_millis(ms)).to_string()
}

fn within(min: u64, max: u64) -> impl Fn(&u64) -> bool {
    move |n| (min..=max).contains(n)
}

fn time_within(min: u64, max: u64) -> impl Fn(Duration) -> Option<Value> {
    move |time| {
        let range = Duration::from_millis(min)..=Duration::from_millis(max);
        range.contains(&time).then_some(Value::Time(time))
    }
}

/// Digits only: `str::parse` would take a sign.
fn integer(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn duration(text: &str) -> Option<Duration> {
    if text == "0" { Some(Duration::ZERO) } else { humantime::parse_duration(text).ok() }
}

fn size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    for (unit, shift) in [("kib", 10), ("mib", 20), ("gib", 30)] {
        if let Some(count) = lower.strip_suffix(unit) {
            return integer(count.trim_end())?.checked_mul(1 << shift);
        }
    }
    integer(text)
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn choice(words: &[&'static str], text: &str) -> Option<&'static str> {
    words.iter().find(|word| word.eq_ignore_ascii_case(text)).copied()
}

fn address(text: &str) -> Option<IpAddr> {
    if text == "localhost" {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(text).parse().ok()
}

fn servers(text: &str) -> bool {
    text == super::EMBEDDED || text.split(',').all(|one| server(one.trim()))
}

/// One broker as librdkafka takes it: `[protocol://]host[:port]`.
fn server(text: &str) -> bool {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => match rest.strip_prefix(':') {
            None if !rest.is_empty() => return false,
            port => (host, port),
        },
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let host_ok = !host.is_empty()
        && host != super::EMBEDDED
        && !host.contains(|c: char| c.is_whitespace() || c == '/');
    host_ok && port.is_none_or(|port| integer(port).is_some_and(|n| (1..=65_535).contains(&n)))
}

fn topic(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=249).contains(&text.len()) && text.bytes().all(legal) && text != "." && text != ".."
}

/// Longest origin, in bytes.
pub(super) const ORIGIN_BYTES_MAX: usize = 128;

/// Origins as a browser sends them (RFC 6454 6.2): scheme, host in lower case, and a port that is not the scheme's own.
pub(super) fn origins(text: &str) -> Option<Vec<String>> {
    let one = |text: &str| {
        let (scheme, rest) = text.split_once("://")?;
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (rest, None),
        };
        let own = match scheme {
            "http" => "80",
            "https" => "443",
            _ => return None,
        };
        let is_host = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._[]:".contains(&b);
        let is_right = !host.is_empty()
            && host.bytes().all(is_host)
            && port
                .is_none_or(|port| port != own && integer(port).is_some_and(|n| (1..=65_535).contains(&n)))
            && text.len() <= ORIGIN_BYTES_MAX;
        is_right.then(|| text.to_owned())
    };
    match text.trim() {
        "*" => Some(vec!["*".into()]),
        text => text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(one).collect(),
    }
}

/// `name[:partitions[:retention]]` by comma, each part but the name possibly empty.
pub(super) fn creations(text: &str) -> Option<Vec<Creation>> {
    let one = |text: &str| {
        let mut parts = text.trim().split(':');
        let name = parts.next().filter(|name| topic(name))?.to_owned();
        let partitions = match parts.next().unwrap_or_default() {
            "" => None,
            count => Some(
                integer(count).and_then(|n| i32::try_from(n).ok()).filter(|n| (1..=100_000).contains(n))?,
            ),
        };
        let retention = match parts.next().unwrap_or_default() {
            "" => None,
            time => Some(duration(time).filter(|time| !time.is_zero())?),
        };
        parts.next().is_none().then_some(Creation { name, partitions, retention })
    };
    text.split(',').filter(|text| !text.trim().is_empty()).map(one).collect()
}

fn url_path(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
    text.starts_with('/') && text.len() > 1 && text.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, good: &[(&str, Value)], bad: &[&str]) {
        for (text, value) in good {
            assert_eq!(parse(kind, text).as_ref(), Ok(value), "{text:?}");
        }
        for text in bad {
            assert_eq!(parse(kind, text), Err(expected(kind)), "{text:?}");
        }
    }

    #[test]
    fn origins_of_web_pages() {
        let read =
            origins("https://app.example, http://localhost:3000,http://[::1]:8000,http://[::1]").unwrap();
        assert_eq!(
            read,
            ["https://app.example", "http://localhost:3000", "http://[::1]:8000", "http://[::1]"]
        );
        assert_eq!((origins(""), origins("*")), (Some(Vec::new()), Some(vec!["*".to_owned()])));
        for bad in [
            "app.example",
            "https://App.example",
            "https://a/",
            "https://a:443",
            "ftp://a",
            "*,https://a",
            "http://",
            "null",
        ] {
            assert_eq!(origins(bad), None, "{bad}");
        }
        assert_eq!(origins(&format!("https://{}", "a".repeat(121))), None);
    }

    #[test]
    fn topics_to_create() {
        let creation = |name: &str, partitions, days: Option<u64>| Creation {
            name: name.into(),
            partitions,
            retention: days.map(|days| Duration::from_secs(days * 86_400)),
        };
        let read = creations("a:3:7d, b::30d,c:1,d").unwrap();
        let meant = [
            creation("a", Some(3), Some(7)),
            creation("b", None, Some(30)),
            creation("c", Some(1), None),
            creation("d", None, None),
        ];
        assert_eq!(read, meant);
        assert_eq!(creations(""), Some(Vec::new()));
        for bad in [":3", "a:0", "a:x", "a::0", "a::7", "a:1:7d:x", "a b", "a:100001"] {
            assert_eq!(creations(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses_and_ports() {
        let local = Value::Address(IpAddr::from([127, 0, 0, 1]));
        let six = Value::Address("::1".parse().unwrap());
        let good = [("localhost", local.clone()), ("127.0.0.1", local), ("::1", six.clone()), ("[::1]", six)];
        check(Kind::Address, &good, &["", "host", "1.2.3", "127.0.0.1:7000"]);
        let good =
            [("off", Value::Port(None)), ("0", Value::Port(Some(0))), ("65535", Value::Port(Some(65_535)))];
        check(Kind::Port, &good, &["65536", "-1", "+1", "", " 1", "tcp://10.0.0.1:7000"]);
    }

    #[test]
    fn sizes() {
        let kind = Kind::Bytes { min: 1, max: 3 << 30 };
        let some = |n| Value::Bytes(Some(n));
        let good =
            [("1", some(1)), ("64KiB", some(65_536)), ("16 mib", some(16 << 20)), ("3GiB", some(3 << 30))];
        check(
            kind,
            &good,
            &["0", "4GiB", "1KB", "1.5MiB", "MiB", "-1", "99999999999999999999", "17179869184GiB"],
        );
        let off = Kind::BytesOrOff { min: 1 };
        check(off, &[("off", Value::Bytes(None)), ("1MiB", some(1 << 20))], &["0", "none"]);
    }

    #[test]
    fn times() {
        let ms = |n| Value::Time(Duration::from_millis(n));
        let good = [("500ms", ms(500)), ("10s", ms(10_000)), ("1h", ms(3_600_000)), ("0", ms(0))];
        check(Kind::Duration { min: 0, max: 3_600_000 }, &good, &["5", "", "10 parsecs", "61m", "-1s"]);
        check(Kind::Millis { min: 1, max: 900 }, &[("5", ms(5)), ("5ms", ms(5))], &["0", "901", "x", "1s"]);
    }

    #[test]
    fn words() {
        let good = [("true", Value::Flag(true)), ("1", Value::Flag(true)), ("FALSE", Value::Flag(false))];
        check(Kind::Bool, &good, &["yes", "on", "", "2"]);
        let off = Value::Text(String::new());
        check(Kind::TopicOrOff, &[("OFF", off.clone()), ("t", Value::Text("t".into()))], &["", "a b"]);
        check(
            Kind::Folder,
            &[("off", off.clone()), ("", off), ("/a b", Value::Text("/a b".into()))],
            &["\0"],
        );
        let kind = Kind::Choice(&["info", "debug"]);
        check(kind, &[("DeBuG", Value::Text("debug".into()))], &["verbose", ""]);
        let count = Kind::Count { min: 1, max: 12 };
        check(count, &[("12", Value::Number(12))], &["0", "13", "1e1", "0x1", "12 "]);
    }

    #[test]
    fn broker_lists() {
        for good in [
            "localhost:9092",
            "a,b:1",
            "a:1, b:2",
            "[::1]:9092",
            "SASL_SSL://h:9093",
            "embedded",
            "10.0.0.1:9",
        ] {
            assert!(servers(good), "{good}");
        }
        for bad in
            ["", ",", "a:1,", "h:0", "h:65536", "h:x", "a b:1", ":9092", "embedded,h:1", "[::1]9092", "h:1/x"]
        {
            assert!(!servers(bad), "{bad}");
        }
    }

    #[test]
    fn topics_and_paths() {
        assert!(topic("score_updates") && topic(&"x".repeat(249)) && topic("a.b-C_9"));
        assert!(!topic("") && !topic(".") && !topic("..") && !topic("a b") && !topic("a/b") && !topic("ä"));
        assert!(!topic(&"x".repeat(250)));
        assert!(url_path("/metrics") && url_path("/a/b.c"));
        assert!(!url_path("metrics") && !url_path("/") && !url_path("/a?b") && !url_path("/a b"));
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for (bytes, text) in
            [(1, "1"), (1024, "1KiB"), (65_537, "65537"), (16 << 20, "16MiB"), (2 << 30, "2GiB")]
        {
            assert_eq!(size_text(bytes), text);
            assert_eq!(size(text), Some(bytes));
        }
    }
}
