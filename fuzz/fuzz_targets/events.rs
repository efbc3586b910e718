//! Bodies of HTTP requests to records (S3, S4, CloudEvents): what is accepted a second reader reads, with every member
//! of the client unchanged; what is refused as unreadable it cannot read either; a fault leaves nothing behind.
//!
//! The first byte chooses route, kind and rules; the rest is the body, for a CloudEvent in binary form behind a line
//! of headers.
#![no_main]

use std::borrow::Cow;
use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use sluice::event::{Rejection, headers};
use sluice::pipeline::events::{
    BodyKind, Circumstances, EventRecord, EventRules, IdVersion, IdempotencyKey, Layout, Moment, Route,
    event, items,
};

const KINDS: [BodyKind; 5] = [
    BodyKind::Json,
    BodyKind::Ndjson,
    BodyKind::CloudStructured,
    BodyKind::CloudBatch,
    BodyKind::CloudBinary,
];
const MAX_ITEMS: usize = 8;

fuzz_target!(|data: &[u8]| {
    let [choice, body @ ..] = data else { return };
    let bit = |at: u8| choice >> at & 1 == 1;
    let kind = KINDS[usize::from(choice & 7) % KINDS.len()];
    let route = if bit(3) { Route::PlayerEvents } else { Route::Events };
    let rules = EventRules {
        key_field: bit(4).then(|| "type".to_owned()),
        layout: if bit(5) { Layout::Ingest } else { Layout::Plain },
        max_items: MAX_ITEMS,
        ids: if bit(6) { IdVersion::V7 } else { IdVersion::V4 },
    };
    let (attributes, body) = match kind {
        BodyKind::CloudBinary => head(body),
        _ => (Vec::new(), body),
    };
    let moment = Moment::new(1_700_000_000_123_456);
    let mut circumstances = Circumstances::new(kind, &moment, [*choice; 16]);
    circumstances.attributes = &attributes;
    circumstances.idempotency_key = IdempotencyKey::new(body).ok().filter(|_| bit(7));

    let found = match items(body, kind, MAX_ITEMS) {
        Ok(found) => found,
        Err(fault) => return refused_whole(body, kind, fault),
    };
    assert!(found.len() <= MAX_ITEMS);
    let mut end = 0;
    let mut out = b"before".to_vec();
    for span in found.spans() {
        assert!(end <= span.start && span.end <= body.len(), "in order, side by side");
        end = span.end;
        let item = &body[span.clone()];
        let before = out.clone();
        match event(route, &rules, item, &circumstances, &mut out) {
            Ok(record) => accepted(route, kind, item, &out[before.len()..], &record),
            Err(fault) => {
                assert_eq!(out, before, "nothing is left behind");
                refused(kind, item, fault);
            }
        }
        assert_eq!(out[..before.len()], before);
    }
});

/// `name:value` by `|` up to the first line feed; the names get their prefix here.
fn head(data: &[u8]) -> (Vec<u8>, &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let mut packed = Vec::new();
    for header in data[..end].split(|byte| *byte == b'|') {
        let colon = header.iter().position(|byte| *byte == b':').unwrap_or(header.len());
        let name = format!("ce-{}", String::from_utf8_lossy(&header[..colon]));
        headers::push(&mut packed, &name, header.get(colon + 1..).unwrap_or_default());
    }
    // Whatever the bytes, reading them as headers ends.
    let _ = headers::iter(data).count();
    (packed, data.get(end + 1..).unwrap_or_default())
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(text).is_ok()
}

/// Without JSON's blanks in front; ASCII has one more.
fn trimmed(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !b" \t\r\n".contains(byte));
    &text[start.unwrap_or(text.len())..]
}

fn refused_whole(body: &[u8], kind: BodyKind, fault: Rejection) {
    match fault {
        Rejection::BodyEmpty => assert!(trimmed(body).is_empty()),
        Rejection::BodyNotUtf8 => assert!(std::str::from_utf8(body).is_err()),
        Rejection::BodyNotJson => assert!(!is_json(body)),
        Rejection::NotAnArray => {
            assert!(kind == BodyKind::CloudBatch && !trimmed(body).starts_with(b"["))
        }
        Rejection::TooManyItems => {
            assert!(body.iter().filter(|byte| b",\n".contains(byte)).count() >= MAX_ITEMS);
        }
        other => panic!("{other:?} is an event's fault"),
    }
}

fn refused(kind: BodyKind, item: &[u8], fault: Rejection) {
    match fault {
        _ if kind == BodyKind::CloudBinary => {}
        Rejection::UnsupportedMediaType => {}
        Rejection::NotUtf8 => assert!(std::str::from_utf8(item).is_err()),
        Rejection::NotJson => assert!(!is_json(item)),
        Rejection::NotAnObject => assert!(is_json(item) && !trimmed(item).starts_with(b"{")),
        Rejection::TooDeep => assert!(item.iter().filter(|byte| b"[{".contains(byte)).count() > 64),
        Rejection::LoneSurrogate | Rejection::Nul => assert!(is_json(item) && item.contains(&b'\\')),
        _ => assert!(is_json(item), "a broken rule is about JSON that could be read: {fault:?}"),
    }
}

/// A repeated unknown name keeps its last value here, on both sides.
fn members(text: &[u8]) -> BTreeMap<Cow<'_, str>, &str> {
    let read: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(text).expect("an object");
    read.into_iter().map(|(name, value)| (name, value.get())).collect()
}

fn accepted(route: Route, kind: BodyKind, item: &[u8], bytes: &[u8], record: &EventRecord) {
    let (key, rest) = bytes.split_at(record.key_len as usize);
    let (value, rest) = rest.split_at(record.value_len as usize);
    assert_eq!(rest.len(), record.headers_len as usize);
    assert_eq!(record.has_key, !key.is_empty());
    assert!(std::str::from_utf8(key).is_ok() && !value.is_empty());
    let headers: Vec<_> = headers::iter(rest).collect();
    let read: usize = headers.iter().map(|(name, value)| 6 + name.len() + value.len()).sum();
    assert_eq!(read, rest.len(), "the headers are whole");
    assert!(headers.len() <= headers::MAX_COUNT);
    let id = record.event_id.as_str();
    assert!(!id.is_empty() && !id.contains(char::is_control));
    match kind {
        BodyKind::CloudBinary => assert_eq!(value, item),
        BodyKind::CloudStructured | BodyKind::CloudBatch => {
            assert!(
                headers.contains(&("ce_id", id.as_bytes())) && headers.contains(&("ce_specversion", b"1.0"))
            );
        }
        BodyKind::Json | BodyKind::Ndjson => unchanged(route, item, value, id),
    }
}

/// The client's members are there as they were, but for those that may give way; what is new is ours.
fn unchanged(route: Route, item: &[u8], value: &[u8], id: &str) {
    let (theirs, now) = (members(item), members(value));
    // Numbers beyond a double are JSON that `Value` does not read.
    if serde_json::from_slice::<serde_json::Value>(item).is_ok() {
        serde_json::from_slice::<serde_json::Value>(value).expect("what was a value stays one");
    }
    let (id_name, ours, needed): (_, &[&str], &[&str]) = match route {
        Route::Events => ("id", &["id", "timestamp"], &["id", "timestamp"]),
        Route::PlayerEvents => (
            "event_id",
            &["event_id", "ingested_at", "data"],
            &["event_id", "ingested_at", "data", "event_type", "player_id", "game_id", "timestamp"],
        ),
    };
    for (name, value) in &theirs {
        let may_give_way = *name == "ingested_at" && route == Route::PlayerEvents
            || ours.contains(&&**name) && ["null", "\"\""].contains(value);
        assert!(may_give_way || now[name] == *value, "{name}");
    }
    assert!(now.keys().all(|name| theirs.contains_key(name) || ours.contains(&&**name)));
    assert!(needed.iter().all(|name| now.contains_key(*name)));
    assert_eq!(serde_json::from_str::<String>(now[id_name]).unwrap(), id);
}
