//! Dead letters into `dlq_events` (S4-R11): S4's envelopes and records with `dlq.*` headers alike, whatever they hold.
//!
//! Never refuses a record, or a dead letter would become a dead letter. What PostgreSQL does not take as the JSON that
//! it is comes in as a string.

use std::borrow::Cow;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::value::RawValue;

use super::super::batch::Record;
use super::super::json::{members, text};
use super::super::letters::original;
use super::super::table::{Poison, Row, Rows};
use super::rfc3339;
use crate::event::headers;

const INSERT: &str = "
INSERT INTO dlq_events (original_event, error_message, consumer_service, created_at)
SELECT event::jsonb, error, service, coalesce(at::timestamptz, now())
FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS row(event, error, service, at, place)
ORDER BY place";

/// Width of `consumer_service`.
const SERVICE_CHARS_MAX: usize = 100;
/// A string longer than this is cut: far above what Kafka takes as one record.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// See the module's text.
pub struct DeadLetters;

impl Rows for DeadLetters {
    fn statement(&self) -> &'static str {
        INSERT
    }

    fn read<'a>(&self, record: &Record<'a>) -> Result<Row<'a>, Poison> {
        Ok(enveloped(record).unwrap_or_else(|| bare(record, original(record.value, TEXT_BYTES_MAX))))
    }

    fn rescue<'a>(&self, record: &Record<'a>) -> Option<Row<'a>> {
        // As a string, whatever it holds: escapes of NUL or of half a surrogate pair are its text then.
        Some(match enveloped(record) {
            Some([Some(event), rest @ ..]) => {
                let [error, service, at, ..] = rest;
                let event = Cow::Owned(as_string(event.as_bytes()));
                [Some(event), error, service, at, None, None, None, None, None, None]
            }
            _ => bare(record, as_string(record.value.unwrap_or_default())),
        })
    }
}

/// Any bytes as a JSON string without NUL: text as it is, other bytes as base64.
fn as_string(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => serde_json::Value::from(text).to_string(),
        _ => serde_json::Value::from(BASE64_STANDARD.encode(bytes)).to_string(),
    }
}

/// A record in S4's envelope.
fn enveloped<'a>(record: &Record<'a>) -> Option<Row<'a>> {
    let [event, error, service] =
        members(record.value?, &["original_event", "error", "consumer_service"]).ok()?;
    let words = |value: Option<&'a RawValue>| text(value?, "").ok();
    let (event, service) = (event?, words(service)?);
    let error = words(error).map(without_nul);
    Some(row(Cow::Borrowed(event.get()), error, Some(without_nul(service)), record))
}

/// Any other record: what its headers say.
fn bare<'a>(record: &Record<'a>, event: String) -> Row<'a> {
    let header = |wanted: &str| {
        let found = headers::iter(record.headers).find(|(name, _)| *name == wanted);
        found.map(|(_, value)| without_nul(String::from_utf8_lossy(value)))
    };
    // Stages of the gateway have no service of their own.
    let service = match header("dlq.stage").as_deref() {
        Some("consume") | None => None,
        Some(_) => Some(Cow::Borrowed("gateway")),
    };
    let reason = match (header("dlq.code"), header("dlq.reason")) {
        (Some(code), Some(reason)) => Some(Cow::Owned(format!("{code}: {reason}"))),
        (code, reason) => reason.or(code),
    };
    row(Cow::Owned(event), reason, service, record)
}

fn row<'a>(
    event: Cow<'a, str>,
    error: Option<Cow<'a, str>>,
    service: Option<Cow<'a, str>>,
    record: &Record<'a>,
) -> Row<'a> {
    let service = service.map(|service| match service.char_indices().nth(SERVICE_CHARS_MAX) {
        Some((at, _)) => Cow::Owned(service[..at].to_owned()),
        None => service,
    });
    let at = record.timestamp_ms.map(rfc3339);
    [Some(event), error, service, at, None, None, None, None, None, None]
}

fn without_nul(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row_of(value: Option<&[u8]>, named: &[(&str, &str)]) -> [Option<String>; 3] {
        let mut bytes = Vec::new();
        for (name, value) in named {
            headers::push(&mut bytes, name, value.as_bytes());
        }
        let record =
            Record { partition: 0, offset: 0, timestamp_ms: None, key: None, value, headers: &bytes };
        let [event, error, service, ..] = DeadLetters.read(&record).unwrap();
        [event, error, service].map(|column| column.map(Cow::into_owned))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.into())
    }

    #[test]
    fn envelopes_give_up_what_they_hold() {
        let envelope = br#"{"original_event":{"a":1},"error":"x: y","timestamp":"T","consumer_service":"s"}"#;
        assert_eq!(
            row_of(Some(envelope), &[("dlq.code", "c")]),
            [some(r#"{"a":1}"#), some("x: y"), some("s")]
        );
        let long = format!(r#"{{"original_event":1,"consumer_service":"{}"}}"#, "é".repeat(200));
        assert_eq!(row_of(Some(long.as_bytes()), &[])[2], Some("é".repeat(100)));
    }

    #[test]
    fn other_records_are_stored_as_they_are_with_what_their_headers_say() {
        let named = [("dlq.code", "timed_out"), ("dlq.reason", "why"), ("dlq.stage", "deliver")];
        let event = br#"{"original_event":1}"#;
        assert_eq!(
            row_of(Some(event), &named),
            [some(r#"{"original_event":1}"#), some("timed_out: why"), some("gateway")]
        );
        assert_eq!(row_of(Some(b"text"), &[]), [some("\"text\""), None, None]);
        assert_eq!(row_of(Some(b"\xff"), &[]), [some("\"/w==\""), None, None]);
        assert_eq!(row_of(None, &[])[0], some("null"));
    }

    #[test]
    fn a_rescued_row_is_a_string_without_nul() {
        for value in [&br#"{"a":"\u0000"}"#[..], b"a\0b", b"\"\\ud800\"", b"\xff"] {
            let record = Record {
                partition: 0,
                offset: 0,
                timestamp_ms: None,
                key: None,
                value: Some(value),
                headers: b"",
            };
            let row = DeadLetters.rescue(&record).unwrap();
            let text: String = serde_json::from_str(row[0].as_deref().unwrap()).unwrap();
            assert!(!text.contains('\0'), "{text:?}");
        }
        let value = Some(&br#"{"original_event":{"a":"\u0000"},"error":"e","consumer_service":"s"}"#[..]);
        let record = Record { partition: 0, offset: 0, timestamp_ms: None, key: None, value, headers: b"" };
        let row = DeadLetters.rescue(&record).unwrap();
        let text: String = serde_json::from_str(row[0].as_deref().unwrap()).unwrap();
        assert_eq!(
            (text.as_str(), row[1].as_deref(), row[2].as_deref()),
            (r#"{"a":"\u0000"}"#, Some("e"), Some("s"))
        );
    }
}
