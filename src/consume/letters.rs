//! Dead letters of consumers: records that no table takes, in S4's envelope, into KAFKA_DLQ_TOPIC (S4-R10).
//!
//! The envelope holds the original as the JSON that it is; else as text; else, if it is not UTF-8, as base64. Headers
//! say the same for programs, and where the record was; its key and its own headers go along untouched. Sent and
//! confirmed before this returns. Never retries by itself, and never sends a letter twice for one batch.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::batch::Record;
use super::sink::Trouble;
use super::table::Poison;
use crate::event::headers;
use crate::kafka::consumer::Partition;
use crate::kafka::resend::{Resender, Resent};

/// How long Kafka may take for all letters of a batch.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Letters that are sent before their outcomes are waited for.
const TOGETHER: usize = 500;

/// What an envelope has beside the original, and what a record batch adds, at most.
const ENVELOPE_BYTES: usize = 4 << 10;

/// Longest reason in an envelope.
const REASON_CHARS_MAX: usize = 1000;

/// What a header of ours is called.
const PREFIX: &str = "dlq.";

/// See the module's text.
pub struct Letters {
    way: Option<Way>,
    /// Of the batch at hand.
    sent: HashSet<(Partition, i64)>,
}

struct Way {
    producer: Resender,
    topic: String,
    source_topic: String,
    service: &'static str,
    /// What the topic takes as one record.
    record_bytes_max: usize,
}

impl Letters {
    /// No letters: for a consumer that refuses nothing.
    pub fn none() -> Self {
        Self { way: None, sent: HashSet::new() }
    }

    /// Letters of `service` about records of `source_topic`, into `topic`, which takes records of `record_bytes_max`.
    pub fn new(
        producer: Resender,
        topic: &str,
        source_topic: &str,
        service: &'static str,
        record_bytes_max: usize,
    ) -> Self {
        let way = Way {
            producer,
            topic: topic.into(),
            source_topic: source_topic.into(),
            service,
            record_bytes_max,
        };
        Self { way: Some(way), sent: HashSet::new() }
    }

    /// Sends a letter for each record that has none yet, and waits until Kafka has them.
    ///
    /// # Errors
    /// `Passing` if one is not confirmed; `Final` if letters have no topic.
    pub fn send(&mut self, refused: &[(Record<'_>, Poison)]) -> Result<(), Trouble> {
        let open: Vec<&(Record<'_>, Poison)> =
            refused.iter().filter(|(record, _)| !self.sent.contains(&place(record))).collect();
        let Some(way) = &self.way else {
            return match open.first() {
                None => Ok(()),
                Some((record, poison)) => Err(Trouble::Final(format!(
                    "partition {} offset {}: {}: {}, and there is no topic for dead letters",
                    record.partition, record.offset, poison.code, poison.reason
                ))),
            };
        };
        for some in open.chunks(TOGETHER) {
            way.send(some)?;
            self.sent.extend(some.iter().map(|(record, _)| place(record)));
        }
        Ok(())
    }

    /// The batch is done.
    pub fn forget(&mut self) {
        self.sent.clear();
    }
}

fn place(record: &Record<'_>) -> (Partition, i64) {
    (record.partition, record.offset)
}

impl Way {
    fn send(&self, some: &[&(Record<'_>, Poison)]) -> Result<(), Trouble> {
        let mut open = BTreeSet::new();
        for (index, (record, poison)) in some.iter().enumerate() {
            let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
            let room = self.record_bytes_max.saturating_sub(
                ENVELOPE_BYTES + record.key.map_or(0, <[u8]>::len) + 2 * record.headers.len(),
            );
            let value = envelope(record.value, poison, self.service, &now, room);
            let headers = self.headers(record, poison, &now);
            let letter =
                Resent { topic: &self.topic, key: record.key, value: value.as_bytes(), headers: &headers };
            self.producer.send_letter(index, &letter).map_err(|why| self.failed(&why))?;
            open.insert(index);
        }
        let mut failure = None;
        while !open.is_empty() {
            let Some((index, outcome)) = self.producer.next(2 * TIMEOUT) else {
                return Err(self.failed("no report came"));
            };
            open.remove(&index);
            failure = failure.or(outcome.err());
        }
        failure.map_or(Ok(()), |why| Err(self.failed(&why)))
    }

    fn failed(&self, why: &str) -> Trouble {
        Trouble::Passing(format!("dead letter to {}: {why}", self.topic))
    }

    /// The record's own headers, but for those of a former death, then ours.
    fn headers(&self, record: &Record<'_>, poison: &Poison, now: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(record.headers.len() + 256);
        for (name, value) in headers::iter(record.headers).filter(|(name, _)| !name.starts_with(PREFIX)) {
            headers::push(&mut out, name, value);
        }
        let (partition, offset) = (record.partition.to_string(), record.offset.to_string());
        for (name, value) in [
            ("dlq.reason", cut(&poison.reason, REASON_CHARS_MAX)),
            ("dlq.code", &poison.code),
            ("dlq.stage", "consume"),
            ("dlq.source_topic", &self.source_topic),
            ("dlq.source_partition", &partition),
            ("dlq.source_offset", &offset),
            ("dlq.attempts", "1"),
            ("dlq.time", now),
        ] {
            headers::push(&mut out, name, value.as_bytes());
        }
        out
    }
}

/// S4's envelope; the original is cut to `room` bytes if it is longer, which makes it text.
fn envelope(value: Option<&[u8]>, poison: &Poison, service: &str, now: &str, room: usize) -> String {
    let original = original(value, room);
    let error = serde_json::json!(format!("{}: {}", poison.code, cut(&poison.reason, REASON_CHARS_MAX)));
    format!(
        r#"{{"original_event":{original},"error":{error},"timestamp":"{now}","consumer_service":"{service}"}}"#
    )
}

/// Any bytes as JSON: what is JSON that every reader takes as it is, other text (half a surrogate pair in it, numbers
/// beyond a double) as a string, the rest as base64, nothing as null.
pub fn original(value: Option<&[u8]>, room: usize) -> String {
    let Some(bytes) = value else { return "null".into() };
    // An escape takes up to six bytes of JSON for one of text.
    match std::str::from_utf8(bytes) {
        Ok(text) if text.len() <= room && serde_json::from_str::<serde_json::Value>(text).is_ok() => {
            text.trim_ascii().to_owned()
        }
        Ok(text) => {
            let whole = serde_json::Value::from(text).to_string();
            if whole.len() <= room { whole } else { serde_json::Value::from(cut(text, room / 6)).to_string() }
        }
        Err(_) => {
            let most = room / 4 * 3;
            serde_json::Value::from(BASE64_STANDARD.encode(&bytes[..bytes.len().min(most)])).to_string()
        }
    }
}

fn cut(text: &str, chars: usize) -> &str {
    text.char_indices().nth(chars).map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_value_has_a_place_in_an_envelope() {
        for (value, expected) in [
            (None, "null"),
            (Some(&b"{\"a\":1.50}"[..]), "{\"a\":1.50}"),
            (Some(b" [1]\n"), "[1]"),
            (Some(b"{\"a\":"), "\"{\\\"a\\\":\""),
            (Some(br#""\ud800""#), r#""\"\\ud800\"""#),
            (Some(b"1e999999"), "\"1e999999\""),
            (Some(b""), "\"\""),
            (Some(b"\xff\x00"), "\"/wA=\""),
        ] {
            let text = envelope(value, &Poison::new("not_json", "why \"so\""), "event-logger", "T", 1000);
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            let original: serde_json::Value = serde_json::from_str(expected).unwrap();
            assert_eq!(read["original_event"], original, "{text}");
            assert_eq!(read["error"], "not_json: why \"so\"");
            assert_eq!(
                (&read["timestamp"], &read["consumer_service"]),
                (&"T".into(), &"event-logger".into())
            );
            assert!(text.contains(&format!("\"original_event\":{expected},")), "byte for byte: {text}");
        }
    }

    #[test]
    fn an_original_that_does_not_fit_is_cut() {
        let long = format!("\"{}\"", "\u{1}".repeat(400));
        for value in [long.as_bytes(), "é".repeat(4000).as_bytes(), &[0xff; 4000]] {
            let text = original(Some(value), 1000);
            assert!(text.len() <= 1002, "{}", text.len());
            assert!(serde_json::from_str::<String>(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn letters_without_a_topic_are_an_end() {
        let record =
            Record { partition: 1, offset: 2, timestamp_ms: None, key: None, value: None, headers: b"" };
        let refused = [(record, Poison::new("c", "r"))];
        assert!(
            matches!(Letters::none().send(&refused), Err(Trouble::Final(why)) if why.contains("offset 2"))
        );
        assert_eq!(Letters::none().send(&[]), Ok(()));
    }
}
