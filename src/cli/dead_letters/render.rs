//! A letter as text or JSON. Bytes of peers are escaped; values that are not UTF-8 are shown as hexadecimal digits.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::event::{excerpt, headers};
use crate::kafka::letters::id_of;

use super::{Found, header};

/// One line of the list, without its end.
pub(super) fn row(found: &Found<'_>, json: bool) -> String {
    let letter = &found.letter;
    let (topic, code) = (header(letter, "dlq.source_topic"), header(letter, "dlq.code"));
    let (id, bytes) = (id_of(letter.headers, letter.value), letter.value.len());
    if json {
        return json!({
            "n": found.number, "time": time(letter.time_ms), "topic": topic, "code": code,
            "id": text_or_hex(&id), "bytes": bytes, "sent": found.is_sent,
        })
        .to_string();
    }
    let sent = if found.is_sent { " sent" } else { "" };
    let (topic, code, id) = (excerpt(topic.as_bytes()), excerpt(code.as_bytes()), excerpt(&id));
    format!("{}\t{}\t{topic}\t{code}\t{id}\t{bytes}{sent}", found.number, time(letter.time_ms))
}

/// Everything about one letter.
pub(super) fn whole(found: &Found<'_>, json: bool) -> String {
    let letter = &found.letter;
    if json {
        let headers: Vec<Value> = headers::iter(letter.headers)
            .map(|(name, value)| json!({ "name": name, "value": text_or_hex(value) }))
            .collect();
        return json!({
            "n": found.number, "time": time(letter.time_ms), "sent": found.is_sent, "headers": headers,
            "key": letter.key.map(text_or_hex), "value": text_or_hex(letter.value),
        })
        .to_string();
    }
    let mut text = format!("number  {}\ntime    {}\n", found.number, time(letter.time_ms));
    for (name, value) in headers::iter(letter.headers) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "header  {}: {}", excerpt(name.as_bytes()), escaped(value));
    }
    match letter.key {
        Some(key) => text.push_str(&format!("key     {}\n", escaped(key))),
        None => text.push_str("key     (none)\n"),
    }
    text.push_str(&format!("value   {}\n", escaped(letter.value)));
    text
}

fn time(ms: u64) -> String {
    // The latest time that RFC 3339 can write.
    let ms = ms.min(253_402_300_799_999);
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

/// Whole, unlike an excerpt, but as safe to show on a terminal.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
        }
        text.extend(chunk.invalid().iter().flat_map(|byte| byte.escape_ascii()).map(char::from));
    }
    text
}

fn text_or_hex(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letters::Letter;

    #[test]
    fn a_letter_is_shown_whole_and_harmless() {
        let mut own = Vec::new();
        headers::push(&mut own, "dlq.source_topic", b"events");
        headers::push(&mut own, "dlq.code", b"MSG_SIZE_TOO_LARGE");
        let letter = Letter { time_ms: 0, key: None, value: b"{\"id\":\"e\x1b\"}", headers: &own };
        let found = Found { number: 3, offset: 22, is_sent: true, letter };
        // A control byte in a string is no JSON: there is no id to show.
        let row = row(&found, false);
        assert_eq!(row, "3\t1970-01-01T00:00:00.000Z\tevents\tMSG_SIZE_TOO_LARGE\t\t11 sent");
        let text = whole(&found, false);
        assert!(text.contains("header  dlq.code: MSG_SIZE_TOO_LARGE\nkey     (none)\n"), "{text}");
        assert!(text.ends_with("value   {\"id\":\"e\\u{1b}\"}\n"), "{text}");
        let whole: Value = serde_json::from_str(&whole(&found, true)).unwrap();
        assert_eq!(whole["headers"][0], json!({ "name": "dlq.source_topic", "value": "events" }));
        assert_eq!((&whole["key"], whole["value"].as_str()), (&Value::Null, Some("{\"id\":\"e\u{1b}\"}")));
        assert_eq!(text_or_hex(b"\xff\x00"), json!({ "hex": "ff00" }));
    }
}
