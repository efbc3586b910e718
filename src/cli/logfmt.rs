//! One log message taken apart, and written as text or JSON. Pure: time, level and target are arguments.
//!
//! The rooms log `event.name key=value key="quoted value"`. Where the pairs do not look like that, or the whole is a
//! library's free text, it becomes one field `message`. Whatever a value holds, a line stays one line: control characters are escaped.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::Level;

/// The last second that RFC 3339 has a four-digit year for.
const LAST_SECOND: u64 = 253_402_300_799;

/// A message taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub component: &'a str,
    pub event: &'a str,
    pub fields: Vec<Field<'a>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub key: &'a str,
    pub value: Cow<'a, str>,
    /// Written in quotes: a string even if it looks like a number.
    pub quoted: bool,
}

impl<'a> Line<'a> {
    /// Takes a message apart; never fails, free text becomes one field.
    pub(super) fn read(target: &'a str, message: &'a str) -> Self {
        let (component, library_event) = component(target);
        if let Some(event) = library_event {
            return Self { component, event, fields: vec![free_text(message)] };
        }
        let (event, rest) = message.split_once(' ').unwrap_or((message, ""));
        match is_event(event) {
            true => Self { component, event, fields: fields(rest).unwrap_or_else(|| vec![free_text(rest)]) },
            false => Self { component, event: "log.message", fields: vec![free_text(message)] },
        }
    }

    /// RFC 3339 time, level, event name, logfmt pairs, the component last.
    pub(super) fn text(&self, out: &mut String, time: SystemTime, level: Level) {
        push_time(out, time);
        // Writing into a String cannot fail.
        let _ = write!(out, " [{level}] {}", self.event);
        for field in &self.fields {
            let _ = write!(out, " {}=", field.key);
            if field.quoted || field.value.is_empty() || field.value.contains(needs_quotes) {
                push_quoted(out, &field.value);
            } else {
                out.push_str(&field.value);
            }
        }
        let _ = writeln!(out, " component={}", self.component);
    }

    /// One object: ts, level, component, event, fields. Bare integers are numbers, all else strings.
    pub(super) fn json(&self, out: &mut String, time: SystemTime, level: Level) {
        out.push_str("{\"ts\":\"");
        push_time(out, time);
        let level = level.as_str().to_ascii_lowercase();
        let _ = write!(out, "\",\"level\":\"{level}\",\"component\":");
        push_json(out, self.component);
        out.push_str(",\"event\":");
        push_json(out, self.event);
        out.push_str(",\"fields\":{");
        for (index, field) in self.fields.iter().enumerate() {
            if self.fields[..index].iter().any(|earlier| earlier.key == field.key) {
                continue; // a member twice is no valid object to many readers
            }
            if index > 0 {
                out.push(',');
            }
            push_json(out, field.key);
            out.push(':');
            if !field.quoted && is_integer(&field.value) {
                out.push_str(&field.value);
            } else {
                push_json(out, &field.value);
            }
        }
        out.push_str("}}\n");
    }
}

fn free_text(text: &str) -> Field<'_> {
    Field { key: "message", value: Cow::Borrowed(text.trim_end()), quoted: true }
}

/// The component of a log target, and the event that stands for all that a library logs under it.
fn component(target: &str) -> (&str, Option<&'static str>) {
    let (first, rest) = target.split_once("::").unwrap_or((target, ""));
    match first {
        "librdkafka" | "rdkafka" => ("kafka", Some("kafka.client")),
        // A log call of ours without a target: the room that it stands in.
        "sluice" if !rest.is_empty() => (rest.split("::").next().unwrap_or(rest), None),
        _ if first.is_empty() || first.contains(needs_quotes) => ("unknown", None),
        _ => (first, None),
    }
}

/// `gateway.start`, `METRICS`: dotted lower-case words, or capitals alone.
fn is_event(text: &str) -> bool {
    let capitals = !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase());
    let word = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
    };
    capitals || (text.contains('.') && text.split('.').all(word))
}

/// All of `rest` as pairs, or nothing when any part of it is something else.
fn fields(mut rest: &str) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    loop {
        rest = rest.trim_start_matches(' ');
        if rest.is_empty() {
            return Some(fields);
        }
        let (key, after) = rest.split_once('=')?;
        let (value, quoted, after) = match after.strip_prefix('"') {
            Some(inner) => {
                let end = closing_quote(inner)?;
                (unescape(&inner[..end]), true, &inner[end + 1..])
            }
            None => {
                let end = after.find(' ').unwrap_or(after.len());
                (Cow::Borrowed(&after[..end]), false, &after[end..])
            }
        };
        if !is_key(key) || !(after.is_empty() || after.starts_with(' ')) {
            return None;
        }
        fields.push(Field { key, value, quoted });
        rest = after;
    }
}

fn is_key(key: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && key.bytes().all(legal)
}

/// The first quote that no backslash escapes.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|b| {
        let end = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        end
    })
}

/// Undoes what [`push_quoted`] does; an escape that it does not write stays as it is.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let (c, taken) = escape(&rest[at + 1..]).unwrap_or(('\\', 0));
        plain.push(c);
        rest = &rest[at + 1 + taken..];
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// The character that an escape stands for, and its length after the backslash.
fn escape(text: &str) -> Option<(char, usize)> {
    let c = match text.bytes().next()? {
        b'"' => '"',
        b'\\' => '\\',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let digits = text.get(1..5).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
            return u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).map(|c| (c, 5));
        }
        _ => return None,
    };
    Some((c, 1))
}

/// Whether a character may not stand in a bare value.
fn needs_quotes(c: char) -> bool {
    matches!(c, ' ' | '"' | '\\') || needs_escape(c)
}

/// Characters that end a line, move the cursor or turn the direction of writing in a terminal.
fn needs_escape(c: char) -> bool {
    let turns =
        matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{feff}');
    c.is_control() || turns
}

/// A value in quotes, with what would break the line escaped.
pub(super) fn push_quoted(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // All of them lie below U+FFFF: four digits are enough.
            c if needs_escape(c) => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn push_json(out: &mut String, text: &str) {
    // A str always serialises.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// An integer exactly as JSON writes it, within 64 bits.
fn is_integer(text: &str) -> bool {
    let signed = text.parse::<i64>().is_ok_and(|n| n.to_string() == text);
    signed || text.parse::<u64>().is_ok_and(|n| n.to_string() == text)
}

/// Milliseconds, UTC. A clock that is set before 1970 or after 9999 must not end the program.
fn push_time(out: &mut String, time: SystemTime) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().min(Duration::from_secs(LAST_SECOND));
    let _ = write!(out, "{}", humantime::format_rfc3339_millis(UNIX_EPOCH + since));
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-01-02T03:04:05.678Z";

    fn text(target: &str, message: &str) -> String {
        let mut out = String::new();
        Line::read(target, message).text(&mut out, humantime::parse_rfc3339(TIME).unwrap(), Level::Info);
        out
    }

    fn json(target: &str, message: &str) -> String {
        let mut out = String::new();
        Line::read(target, message).json(&mut out, humantime::parse_rfc3339(TIME).unwrap(), Level::Warn);
        out
    }

    /// (target, message, text line after time and level, JSON from component on)
    const CASES: &[(&str, &str, &str, &str)] = &[
        (
            "gateway",
            "gateway.start listen=0.0.0.0:7000 kafka=localhost:9092 topic=score_updates",
            "gateway.start listen=0.0.0.0:7000 kafka=localhost:9092 topic=score_updates component=gateway",
            r#""gateway","event":"gateway.start","fields":{"listen":"0.0.0.0:7000","kafka":"localhost:9092","topic":"score_updates"}"#,
        ),
        (
            "metrics",
            "METRICS ts=1730000000 accepted=12500 rate=1.5",
            "METRICS ts=1730000000 accepted=12500 rate=1.5 component=metrics",
            r#""metrics","event":"METRICS","fields":{"ts":1730000000,"accepted":12500,"rate":"1.5"}"#,
        ),
        (
            "tcp",
            r#"input.malformed peer=127.0.0.1:5 bytes="{\"lb\":\\x00}""#,
            r#"input.malformed peer=127.0.0.1:5 bytes="{\"lb\":\\x00}" component=tcp"#,
            r#""tcp","event":"input.malformed","fields":{"peer":"127.0.0.1:5","bytes":"{\"lb\":\\x00}"}"#,
        ),
        (
            "kafka",
            r#"publish.ok key="42" size=42 empty= neg=-7 big=99999999999999999999 zero=007"#,
            r#"publish.ok key="42" size=42 empty="" neg=-7 big=99999999999999999999 zero=007 component=kafka"#,
            r#""kafka","event":"publish.ok","fields":{"key":"42","size":42,"empty":"","neg":-7,"big":"99999999999999999999","zero":"007"}"#,
        ),
        (
            "gateway",
            "gateway.drain",
            "gateway.drain component=gateway",
            r#""gateway","event":"gateway.drain","fields":{}"#,
        ),
        (
            "sluice::net::poll",
            "the clock jumped",
            r#"log.message message="the clock jumped" component=net"#,
            r#""net","event":"log.message","fields":{"message":"the clock jumped"}"#,
        ),
        (
            "librdkafka",
            "FAIL [thrd:a:9092/1]: connect.failed key=value",
            r#"kafka.client message="FAIL [thrd:a:9092/1]: connect.failed key=value" component=kafka"#,
            r#""kafka","event":"kafka.client","fields":{"message":"FAIL [thrd:a:9092/1]: connect.failed key=value"}"#,
        ),
        (
            "rdkafka::client",
            "error: \"x\"\n",
            r#"kafka.client message="error: \"x\"" component=kafka"#,
            r#""kafka","event":"kafka.client","fields":{"message":"error: \"x\""}"#,
        ),
        (
            "tcp",
            "a.b k=1 k=2 component=x",
            "a.b k=1 k=2 component=x component=tcp",
            r#""tcp","event":"a.b","fields":{"k":1,"component":"x"}"#,
        ),
    ];

    #[test]
    fn text_and_json_lines() {
        for (target, message, expected_text, expected_json) in CASES {
            assert_eq!(text(target, message), format!("{TIME} [INFO] {expected_text}\n"));
            let head = format!(r#"{{"ts":"{TIME}","level":"warn","component":"#);
            assert_eq!(json(target, message), format!("{head}{expected_json}}}\n"));
        }
    }

    /// What is not an event with pairs goes whole into one field.
    #[test]
    fn free_text_is_one_message() {
        for message in ["", "hello", "A.b k=v", "a..b k=v", ".a k=v", "Connected to=3"] {
            let line = Line::read("tcp", message);
            assert_eq!((line.event, line.fields.len()), ("log.message", 1), "{message:?}");
            assert_eq!(line.fields[0].value, message);
        }
        // An event's name is kept even when what follows is no list of pairs.
        for rest in
            ["but words", "k=\"open", "k=\"x\"y", "=x", "1k=x", "k=v words", "reason=\"no \"such\" thing\""]
        {
            let message = format!("a.b {rest}");
            let line = Line::read("tcp", &message);
            assert_eq!((line.event, line.fields.len(), line.fields[0].value.as_ref()), ("a.b", 1, rest));
        }
    }

    #[test]
    fn no_value_breaks_a_line() {
        let nasty: String =
            ('\0'..'\u{a0}').chain(['\u{2028}', '\u{2029}', '\u{202e}', '\u{feff}', 'ä', '😀']).collect();
        let mut quoted = String::new();
        push_quoted(&mut quoted, &nasty);
        let raw = nasty.replace(['"', '\\', ' '], "");
        let target = "tcp\nforged";
        for message in
            [format!("a.b k={quoted}"), format!("a.b k={raw}"), format!("a.b k=\"{raw}\""), nasty.clone()]
        {
            let text = text(target, &message);
            assert_eq!(text.find(needs_escape), Some(text.len() - 1), "{text:?}");
            let json = json(target, &message);
            assert!(json.ends_with("}}\n") && json.trim_end().bytes().all(|b| b >= b' '), "{json:?}");
            serde_json::from_str::<serde_json::Value>(&json).unwrap();
        }
        let message = format!("a.b k={quoted}");
        assert_eq!(Line::read("tcp", &message).fields[0].value, nasty, "escapes are undone");
    }

    /// Whatever is logged: one line, valid JSON, and reading the text line's pairs again changes nothing.
    #[test]
    fn any_message_makes_one_line() {
        let mut random = fastrand::Rng::with_seed(7);
        let pieces = [
            "a.b", "METRICS", " ", "=", "\"", "\\", "k", "k=", "1", "-0", "\n", "\u{1b}", "\\u00", "é",
            "\\n", "x=\"y\"",
        ];
        for round in 0..20_000 {
            let count = random.usize(..12);
            let mut message: String = (0..count).map(|_| pieces[random.usize(..pieces.len())]).collect();
            if random.bool() {
                message.insert_str(0, "a.b ");
            }
            let text = text("tcp", &message);
            assert_eq!(text.find(needs_escape), Some(text.len() - 1), "round {round}: {message:?} {text:?}");
            let json = json("tcp", &message);
            serde_json::from_str::<serde_json::Value>(&json)
                .unwrap_or_else(|e| panic!("round {round}: {e} {json}"));
            let body = text[TIME.len() + " [INFO] ".len()..].strip_suffix(" component=tcp\n").unwrap();
            let (first, again) = (Line::read("tcp", &message), Line::read("tcp", body));
            let values = |line: &Line<'_>| {
                line.fields.iter().map(|field| field.value.clone().into_owned()).collect::<Vec<_>>()
            };
            assert_eq!(
                (first.event, values(&first)),
                (again.event, values(&again)),
                "round {round}: {message:?} {text:?}"
            );
        }
    }

    #[test]
    fn escapes_that_are_not_ours_stay() {
        for (written, plain) in
            [(r"\x00", r"\x00"), (r"\u00", r"\u00"), (r"\ud800", r"\ud800"), (r"\u0041", "A")]
        {
            assert_eq!(unescape(written), plain);
        }
    }

    #[test]
    fn a_clock_far_off_is_no_panic() {
        for (time, expected) in [
            (UNIX_EPOCH - Duration::from_secs(1), "1970-01-01T00:00:00.000Z"),
            (UNIX_EPOCH + Duration::from_secs(LAST_SECOND + 1_000), "9999-12-31T23:59:59.000Z"),
        ] {
            let mut out = String::new();
            push_time(&mut out, time);
            assert_eq!(out, expected);
        }
    }
}
