//! S4's events: each rule with its exact answer.

use super::tests::{FRESH_V4, NOW, Taken, pairs, run};
use super::*;
use crate::event::{Field, Rejection as R};

const GOOD: &str =
    r#"{"event_type":"kill","player_id":"p-1","game_id":"g","timestamp":"2024-01-01T00:00:00+02:00"}"#;

fn s4(item: impl AsRef<[u8]>) -> Result<Taken, Rejection> {
    run(Route::PlayerEvents, &EventRules::default(), item.as_ref(), |_| {})
}

/// The good event with one member's value changed, or taken out.
fn with(name: &str, value: Option<&str>) -> String {
    let mut members = vec![
        ("event_type", "\"kill\""),
        ("player_id", "\"p-1\""),
        ("game_id", "\"g\""),
        ("timestamp", "\"2024-01-01T00:00:00Z\""),
    ];
    members.retain(|(known, _)| *known != name);
    members.extend(value.map(|value| (name, value)));
    let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// S4-R1, S4-R2, S4-R4.
#[test]
fn a_good_event() {
    let taken = s4(GOOD).unwrap();
    let value = format!(r#"{{"event_id":"{FRESH_V4}","ingested_at":"{NOW}","data":null,{}"#, &GOOD[1..]);
    let headers = pairs(&[("event_type", "kill"), ("event_id", FRESH_V4)]);
    assert_eq!(taken, Taken { key: Some("p-1".into()), value, headers, id: FRESH_V4.into() });
}

/// What the client sent stays, but for what is the gateway's to say.
#[test]
fn members_of_the_client() {
    let uuid = "0D5E9F5A-3B1C-4f0e-8a55-1234567890ab";
    let rest = r#""player_id":"\u00fc","game_id":"g","timestamp":"2024-01-01T00:00:00.123456789-07:00"}"#;
    let item = format!(
        r#"{{ "event_id":"{uuid}","ingested_at" : "1999-01-01T00:00:00Z" ,"data": {{"big":12345678901234567890}}, "x":[1],"event_type":"a\nb",{rest}"#
    );
    let taken = s4(&item).unwrap();
    assert_eq!(taken.value, item.replace("1999-01-01T00:00:00Z", NOW));
    assert_eq!(taken.key.as_deref(), Some("\u{fc}"));
    assert_eq!(taken.headers, pairs(&[("event_type", "a\nb"), ("event_id", uuid)]));
    assert_eq!(taken.id, uuid);

    for (name, value) in [("event_id", "null"), ("event_id", "\"\"")] {
        let taken = s4(with(name, Some(value))).unwrap();
        assert!(taken.value.ends_with(&format!(r#","event_id":"{FRESH_V4}"}}"#)), "{}", taken.value);
    }
    for value in ["null", "7", "\"0001-01-01T00:00:00Z\"", "{\"a\":[]}"] {
        let taken = s4(with("ingested_at", Some(value))).unwrap();
        assert!(taken.value.ends_with(&format!(r#","ingested_at":"{NOW}"}}"#)), "{}", taken.value);
    }
    let taken = s4(with("data", Some("null"))).unwrap();
    assert!(taken.value.ends_with(r#","data":null}"#) && taken.value.matches("data").count() == 1);
}

/// Several members that give way, in any order.
#[test]
fn members_that_give_way_stand_in_any_order() {
    for members in [r#""event_id":"","ingested_at":1"#, r#""ingested_at":1,"event_id":"""#] {
        let item = format!("{{{members},{}", &GOOD[1..]);
        let value = s4(&item).unwrap().value;
        let expected = item
            .replace(r#""event_id":"""#, &format!(r#""event_id":"{FRESH_V4}""#))
            .replace(r#""ingested_at":1"#, &format!(r#""ingested_at":"{NOW}""#));
        assert_eq!(value, format!(r#"{{"data":null,{}"#, &expected[1..]));
    }
}

#[test]
fn required_strings() {
    use Field::{EventType, GameId, PlayerId};
    for field in [EventType, PlayerId, GameId] {
        let fault = |value: Option<&str>| {
            s4(with(field.name(), value)).err().map(|fault| {
                assert_eq!(fault.field(), Some(field), "{value:?}");
                assert_eq!(field.pointer(), Some(&*format!("/{}", field.name())));
                fault.code()
            })
        };
        let text = |chars: usize, c: &str| format!("\"{}\"", c.repeat(chars));
        assert_eq!(fault(None), Some("missing"));
        for wrong in ["null", "1", "1.5", "true", "{}", "[\"a\"]"] {
            assert_eq!(fault(Some(wrong)), Some("mistyped"), "{wrong}");
        }
        assert_eq!(fault(Some("\"\"")), Some("empty"));
        for c in ["a", "\u{e4}", "\u{1f600}", "\\u00e4", "\\ud83d\\ude00"] {
            assert_eq!(fault(Some(&text(100, c))), None, "{c}");
            assert_eq!(fault(Some(&text(101, c))), Some("too_long"), "{c}");
        }
        let twice = format!(r#"{{"{0}":"a",{1}"#, field.name(), &GOOD[1..]);
        assert_eq!(s4(twice), Err(Rejection::duplicate(field)));
    }
}

#[test]
fn other_faults() {
    for (name, value, fault) in [
        ("timestamp", None, R::TimestampMissing),
        ("timestamp", Some("null"), R::TimestampMistyped),
        ("timestamp", Some("1700000000"), R::TimestampMistyped),
        ("timestamp", Some("\"\""), R::TimestampNotRfc3339),
        ("timestamp", Some("\"2024-01-01T00:00:00\""), R::TimestampNotRfc3339),
        ("timestamp", Some("\"2024-13-01T00:00:00Z\""), R::TimestampNotRfc3339),
        ("data", Some("[]"), R::DataMistyped),
        ("data", Some("\"{}\""), R::DataMistyped),
        ("data", Some("1"), R::DataMistyped),
        ("event_id", Some("1"), R::EventIdMistyped),
        ("event_id", Some("{}"), R::EventIdMistyped),
        ("event_id", Some("\"mine\""), R::EventIdNotUuid),
        ("event_id", Some("\"0d5e9f5a3b1c4f0e8a551234567890ab\""), R::EventIdNotUuid),
        ("event_id", Some("\"{0d5e9f5a-3b1c-4f0e-8a55-12345678}\""), R::EventIdNotUuid),
        ("event_id", Some("\"0d5e9f5a-3b1c-4f0e-8a55-1234567890ag\""), R::EventIdNotUuid),
        ("event_id", Some("\"0d5e9f5a-3b1c-4f0e-8a55-1234567890ab\",\"event_id\":null"), R::EventIdDuplicate),
        ("ingested_at", Some("1,\"ingested_at\":2"), R::IngestedAtDuplicate),
        ("data", Some("{},\"data\":{}"), R::DataDuplicate),
        ("timestamp", Some("\"2024-01-01T00:00:00Z\",\"timestamp\":1"), R::TimestampDuplicate),
        // PostgreSQL: no U+0000 in any string, names and data included.
        ("player_id", Some("\"a\\u0000\""), R::Nul),
        ("data", Some("{\"a\":[\"\\u0000\"]}"), R::Nul),
        ("data", Some("{\"\\u0000\":1}"), R::Nul),
        ("x", Some("\"\\\\\\u0000\""), R::Nul),
        ("data", Some("{\"a\":\"\\ud800\"}"), R::LoneSurrogate),
    ] {
        let item = with(name, value);
        assert_eq!(s4(&item), Err(fault), "{item}");
    }
    assert!(s4(with("x", Some("\"\\\\u0000\""))).is_ok(), "a backslash and letters");
    assert_eq!(s4("{}"), Err(R::EventTypeMissing), "the first in the route's order");
}

#[test]
fn cloudevents_are_not_for_this_route() {
    for kind in [BodyKind::CloudBatch, BodyKind::CloudBinary, BodyKind::CloudStructured] {
        let result = run(Route::PlayerEvents, &EventRules::default(), GOOD.as_bytes(), |c| c.kind = kind);
        assert_eq!(result, Err(R::UnsupportedMediaType));
    }
}

/// The layout and the key of `/events` leave this route alone.
#[test]
fn rules_of_the_other_route() {
    let rules =
        EventRules { key_field: Some("game_id".into()), layout: Layout::Ingest, ..EventRules::default() };
    assert_eq!(run(Route::PlayerEvents, &rules, GOOD.as_bytes(), |_| {}), s4(GOOD));
}
