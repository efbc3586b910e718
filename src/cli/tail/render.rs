//! Records into lines, in one buffer that is reused.
//!
//! Owns the shape of a line. Never loses a byte: what is no JSON, no ScoreUpdate and no UTF-8 is printed with
//! the escapes of Rust's byte strings (`\xNN`), and says so. No allocation per record on the Protobuf path.

use std::io::{self, Write};

use prost::Message;

use crate::event::pb::ScoreUpdate;
use crate::kafka::reader::Record;

/// The lines that wait to be written.
pub(super) struct Lines {
    buffer: Vec<u8>,
    /// `{"topic":"...","partition":`, the same on every line.
    head: Vec<u8>,
    raw: bool,
    score: ScoreUpdate,
    count: usize,
}

impl Lines {
    pub(super) fn new(topic: &str, raw: bool) -> Self {
        let mut head = b"{\"topic\":".to_vec();
        json(&mut head, topic);
        head.extend_from_slice(b",\"partition\":");
        Self { buffer: Vec::new(), head, raw, score: ScoreUpdate::default(), count: 0 }
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Records rendered so far, written ones included.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn write_to(&mut self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.buffer)?;
        self.buffer.clear();
        out.flush()
    }

    pub(super) fn push(&mut self, record: &Record<'_>) {
        self.count += 1;
        if self.raw {
            self.buffer.extend_from_slice(record.value().unwrap_or_default());
            return self.buffer.push(b'\n');
        }
        let (place, time) = ((record.partition(), record.offset()), record.timestamp_ms());
        self.line(place, time, record.key(), record.value());
    }

    fn line(&mut self, place: (i32, i64), time: Option<i64>, key: Option<&[u8]>, value: Option<&[u8]>) {
        let out = &mut self.buffer;
        out.extend_from_slice(&self.head);
        number(out, place.0.into());
        out.extend_from_slice(b",\"offset\":");
        number(out, place.1);
        out.extend_from_slice(b",\"timestamp_ms\":");
        match time {
            Some(ms) => number(out, ms),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"key\":");
        match key.map(|key| (key, std::str::from_utf8(key))) {
            None => out.extend_from_slice(b"null"),
            Some((_, Ok(key))) => json(out, key),
            Some((key, Err(_))) => {
                escaped(out, key);
                out.extend_from_slice(b",\"key_encoding\":\"escaped\"");
            }
        }
        out.extend_from_slice(b",\"value\":");
        match value {
            None => out.extend_from_slice(b"null"),
            Some(value) => render_value(out, value, &mut self.score),
        }
        out.extend_from_slice(b"}\n");
    }
}

fn render_value(out: &mut Vec<u8>, value: &[u8], score: &mut ScoreUpdate) {
    // Neither `{` nor `[` can begin a ScoreUpdate: as tags they would be groups, which proto3 has not.
    if matches!(value.trim_ascii_start(), [b'{' | b'[', ..])
        && serde_json::from_slice::<serde_json::Value>(value).is_ok()
    {
        // Line ends in valid JSON are only ever space between tokens.
        out.extend(value.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
        return;
    }
    score.clear();
    // Protobuf takes much for a message; only one with both names is ours (S0-R3).
    if score.merge(value).is_ok() && !score.leaderboard_id.is_empty() && !score.player_id.is_empty() {
        return render_score(out, score);
    }
    match std::str::from_utf8(value) {
        Ok(text) => {
            json(out, text);
            out.extend_from_slice(b",\"value_encoding\":\"text\"");
        }
        Err(_) => {
            escaped(out, value);
            out.extend_from_slice(b",\"value_encoding\":\"escaped\"");
        }
    }
}

fn render_score(out: &mut Vec<u8>, score: &ScoreUpdate) {
    out.extend_from_slice(b"{\"lb\":");
    json(out, &score.leaderboard_id);
    out.extend_from_slice(b",\"player\":");
    json(out, &score.player_id);
    out.extend_from_slice(b",\"score\":");
    number(out, score.score);
    out.extend_from_slice(b",\"ts_ms\":");
    number(out, score.timestamp_ms);
    out.push(b'}');
}

fn json(out: &mut Vec<u8>, text: &str) {
    let written = serde_json::to_writer(out, text);
    debug_assert!(written.is_ok(), "a Vec takes every write, and a str is always a JSON string");
}

fn number(out: &mut Vec<u8>, number: i64) {
    let written = serde_json::to_writer(out, &number);
    debug_assert!(written.is_ok(), "a Vec takes every write, and an i64 is always a JSON number");
}

fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    json(out, &bytes.escape_ascii().to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: &[u8]) -> String {
        let mut lines = Lines::new("t", false);
        lines.line((3, 7), Some(9), Some(b"k"), Some(bytes));
        let line = String::from_utf8(lines.buffer).unwrap();
        serde_json::from_str::<serde_json::Value>(&line).expect(&line);
        let head = r#"{"topic":"t","partition":3,"offset":7,"timestamp_ms":9,"key":"k","value":"#;
        line.strip_prefix(head).expect(&line).strip_suffix("}\n").expect(&line).to_owned()
    }

    #[test]
    fn a_score_is_decoded() {
        let score = ScoreUpdate {
            leaderboard_id: "w\"1".into(),
            player_id: "ü\u{1}".into(),
            score: i64::MAX,
            timestamp_ms: 5,
        };
        let expected =
            "{\"lb\":\"w\\\"1\",\"player\":\"ü\\u0001\",\"score\":9223372036854775807,\"ts_ms\":5}";
        assert_eq!(value(&score.encode_to_vec()), expected);
    }

    #[test]
    fn json_stays_as_it_is_on_one_line() {
        assert_eq!(value(b"{\"a\":1.50,\n\"a\":[ ]}"), "{\"a\":1.50, \"a\":[ ]}");
        assert_eq!(value(b"{\"a\""), "\"{\\\"a\\\"\",\"value_encoding\":\"text\"");
    }

    #[test]
    fn anything_else_is_text_or_escaped_and_says_so() {
        assert_eq!(value(b""), "\"\",\"value_encoding\":\"text\"");
        assert_eq!(value("gruß\n".as_bytes()), "\"gruß\\n\",\"value_encoding\":\"text\"");
        assert_eq!(value(b"\xff\x00a"), "\"\\\\xff\\\\x00a\",\"value_encoding\":\"escaped\"");
    }

    #[test]
    fn what_a_record_lacks_is_null() {
        let mut lines = Lines::new("a\"b", false);
        lines.line((0, 1), None, None, None);
        lines.line((0, 2), None, Some(b"\xfe"), None);
        let expected = concat!(
            r#"{"topic":"a\"b","partition":0,"offset":1,"timestamp_ms":null,"key":null,"value":null}"#,
            "\n",
            r#"{"topic":"a\"b","partition":0,"offset":2,"timestamp_ms":null,"key":"\\xfe","key_encoding":"escaped","value":null}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(lines.buffer).unwrap(), expected);
    }
}
