//! S3's events, bodies and types: each rule with its exact answer. S4's and CloudEvents have files of their own.

use super::*;
use crate::event::Rejection as R;

/// 2023-11-14T22:13:20.123456Z.
pub(super) const NOW_US: u64 = 1_700_000_000_123_456;
pub(super) const NOW: &str = "2023-11-14T22:13:20.123456Z";
pub(super) const FRESH: [u8; 16] = [0x11; 16];
pub(super) const FRESH_V4: &str = "11111111-1111-4111-9111-111111111111";

/// A record taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub key: Option<String>,
    pub value: String,
    pub headers: Vec<(String, String)>,
    pub id: String,
}

/// Runs one event; asserts that `out` is untouched on a fault and holds nothing besides on success.
pub(super) fn run(
    route: Route,
    rules: &EventRules,
    item: &[u8],
    change: impl FnOnce(&mut Circumstances<'_>),
) -> Result<Taken, Rejection> {
    let moment = Moment::new(NOW_US);
    let mut circumstances = Circumstances::new(BodyKind::Json, &moment, FRESH);
    change(&mut circumstances);
    run_as(route, rules, item, &circumstances)
}

pub(super) fn run_as(
    route: Route,
    rules: &EventRules,
    item: &[u8],
    circumstances: &Circumstances<'_>,
) -> Result<Taken, Rejection> {
    let mut out = b"before".to_vec();
    let result = event(route, rules, item, circumstances, &mut out);
    let (before, record) = out.split_at(6);
    assert_eq!(before, b"before");
    let found = match result {
        Ok(found) => found,
        Err(fault) => {
            assert_eq!(record, b"", "{fault:?} leaves nothing behind");
            return Err(fault);
        }
    };
    let (key, rest) = record.split_at(found.key_len as usize);
    let (value, rest) = rest.split_at(found.value_len as usize);
    assert_eq!(rest.len(), found.headers_len as usize);
    assert_eq!(found.has_key, !key.is_empty(), "a key is null, or it is not empty");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Ok(Taken {
        key: found.has_key.then(|| text(key)),
        value: text(value),
        headers: headers::iter(rest).map(|(name, value)| (name.to_owned(), text(value))).collect(),
        id: found.event_id.to_string(),
    })
}

fn plain(item: impl AsRef<[u8]>) -> Result<Taken, Rejection> {
    run(Route::Events, &EventRules::default(), item.as_ref(), |_| {})
}

fn keyed(key_field: &str, item: &str) -> Result<Option<String>, Rejection> {
    let rules = EventRules { key_field: Some(key_field.into()), ..EventRules::default() };
    run(Route::Events, &rules, item.as_bytes(), |_| {}).map(|taken| taken.key)
}

pub(super) fn pairs(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// S3-R1, S3-R16: what is there stays byte for byte, what is missing comes first.
#[test]
fn s3_values() {
    let front = format!(r#"{{"id":"{FRESH_V4}","timestamp":"{NOW}""#);
    for (item, value) in [
        ("{}", format!("{front}}}")),
        ("{ }", format!("{front} }}")),
        (" \r\n{\"a\":1}\t\n", format!("{front},\"a\":1}}")),
        (r#"{ "b" : 1 , "a":[ 1,2 ]}"#, format!(r#"{front}, "b" : 1 , "a":[ 1,2 ]}}"#)),
        (
            r#"{"type":"click","payload":{"n":12345678901234567890,"f":1.50E+2,"s":"\u003c\/é"}}"#,
            format!(
                r#"{front},"type":"click","payload":{{"n":12345678901234567890,"f":1.50E+2,"s":"\u003c\/é"}}}}"#
            ),
        ),
        (r#"{"x":1,"x":2,"":{"id":3}}"#, format!(r#"{front},"x":1,"x":2,"":{{"id":3}}}}"#)),
        (r#"{"payload":null,"type":null}"#, format!(r#"{front},"payload":null,"type":null}}"#)),
        (r#"{"type":"\u0000"}"#, format!(r#"{front},"type":"\u0000"}}"#)),
        (
            r#"{"timestamp":null,"x":1, "id" : "" }"#,
            format!(r#"{{"timestamp":"{NOW}","x":1, "id" : "{FRESH_V4}" }}"#),
        ),
        (r#"{"x":1,"id":null}"#, format!(r#"{{"timestamp":"{NOW}","x":1,"id":"{FRESH_V4}"}}"#)),
    ] {
        let taken = plain(item).unwrap_or_else(|fault| panic!("{item}: {fault:?}"));
        assert_eq!(taken, Taken { key: None, value, headers: vec![], id: FRESH_V4.into() }, "{item}");
    }
    let whole = r#"{"id":"a\u0042-1","type":"t","timestamp":"2024-01-01t00:00:00.5+01:00","payload":{}}"#;
    let taken = plain(whole).unwrap();
    assert_eq!((taken.value.as_str(), taken.id.as_str()), (whole, "aB-1"));
    let escaped = r#"{"\u0069d":"x","time\u0073tamp":"2024-01-01T00:00:00Z"}"#;
    assert_eq!(plain(escaped).unwrap().value, escaped, "a name is the same however it is escaped");
}

#[test]
fn s3_faults() {
    let long = format!(r#"{{"id":"{}"}}"#, "é".repeat(65));
    for (item, fault) in [
        (r#"{"id":1}"#, R::IdMistyped),
        (r#"{"id":{}}"#, R::IdMistyped),
        (r#"{"id":"a","id":"a"}"#, R::IdDuplicate),
        (r#"{"id":"a","\u0069d":"b"}"#, R::IdDuplicate),
        (r#"{"id":null,"id":null}"#, R::IdDuplicate),
        (r#"{"id":"a\nb"}"#, R::IdControl),
        (r#"{"id":"a\u0000"}"#, R::IdControl),
        (r#"{"id":"a\u0085"}"#, R::IdControl),
        (&long, R::IdTooLong),
        (r#"{"type":1.5}"#, R::TypeMistyped),
        (r#"{"type":"a","type":"b"}"#, R::TypeDuplicate),
        (r#"{"timestamp":1700000000}"#, R::TimestampMistyped),
        (r#"{"timestamp":""}"#, R::TimestampNotRfc3339),
        (r#"{"timestamp":"2024-02-30T00:00:00Z"}"#, R::TimestampNotRfc3339),
        (r#"{"timestamp":"2024-02-03T00:00:00"}"#, R::TimestampNotRfc3339),
        (r#"{"timestamp":null,"timestamp":null}"#, R::TimestampDuplicate),
        (r#"{"payload":[]}"#, R::PayloadMistyped),
        (r#"{"payload":"{}"}"#, R::PayloadMistyped),
        (r#"{"payload":1}"#, R::PayloadMistyped),
        (r#"{"payload":true}"#, R::PayloadMistyped),
        (r#"{"payload":{},"payload":{}}"#, R::PayloadDuplicate),
        // Of several: what came twice, then the route's order.
        (r#"{"payload":1,"type":2,"id":3,"x":1,"type":4}"#, R::TypeDuplicate),
        (r#"{"payload":1,"type":2,"id":3}"#, R::IdMistyped),
    ] {
        assert_eq!(plain(item), Err(fault), "{item}");
    }
    assert_eq!(plain(format!(r#"{{"id":"{}"}}"#, "é".repeat(64))).unwrap().id, "é".repeat(64));
}

/// What holds of any event, whatever the route.
#[test]
fn not_an_event_at_all() {
    let nested = |levels: usize| {
        format!(r#"{{"a":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1)).into_bytes()
    };
    for (item, fault) in [
        (&b"{"[..], R::NotJson),
        (b"", R::NotJson),
        (b"{\"a\":1", R::NotJson),
        (b"{\"id\":1", R::NotJson),
        (b"{\"a\":1}}", R::NotJson),
        (b"{\"a\":1}{\"a\":1}", R::NotJson),
        (b"{\"a\":1,}", R::NotJson),
        (b"{'a':1}", R::NotJson),
        (b"{a:1}", R::NotJson),
        (b"{\"a\":01}", R::NotJson),
        (b"{\"a\":+1}", R::NotJson),
        (b"{\"a\":1.}", R::NotJson),
        (b"{\"a\":NaN}", R::NotJson),
        (b"{\"a\":\"\\x\"}", R::NotJson),
        (b"{\"a\":\"\\u12\"}", R::NotJson),
        (b"{\"a\":\"\x01\"}", R::NotJson),
        (b"{\"a\0\":1}", R::NotJson),
        (b"{\"a\":1}\0", R::NotJson),
        (b"\xef\xbb\xbf{}", R::NotJson),
        (b"type=click&x=1", R::NotJson),
        (b"{\"a\":\"\xff\"}", R::NotUtf8),
        (b"{\"a\":\"\xed\xa0\x80\"}", R::NotUtf8),
        (b"\xff", R::NotUtf8),
        (b"null", R::NotAnObject),
        (b"[]", R::NotAnObject),
        (b"\"{}\"", R::NotAnObject),
        (b" 1.5 ", R::NotAnObject),
        (br#"{"a":"\ud800"}"#, R::LoneSurrogate),
        (br#"{"a":{"b":["\udc00"]}}"#, R::LoneSurrogate),
        (br#"{"a":"\ud83d\ud83d\ude00"}"#, R::LoneSurrogate),
        (br#"{"a":"\ud83dx"}"#, R::LoneSurrogate),
        (br#"{"\udfff":1}"#, R::LoneSurrogate),
        (br#"{"id":"\ud800"}"#, R::LoneSurrogate),
        (&nested(65), R::TooDeep),
        (&nested(50_000), R::TooDeep),
    ] {
        for route in [Route::Events, Route::PlayerEvents] {
            let result = run(route, &EventRules::default(), item, |_| {});
            assert_eq!(result, Err(fault), "{}", item.escape_ascii());
        }
    }
    assert!(plain(nested(64)).is_ok());
    let brackets = format!(r#"{{"a":"\\\"{}","b":[{}1]}}"#, "[{".repeat(100), "[],".repeat(100));
    assert!(plain(brackets).is_ok(), "brackets in strings and side by side are no depth");
    assert!(
        plain(r#"{"a":"\ud83d\ude00\\ud800","b\\u":"\\"}"#).is_ok(),
        "pairs, and what only looks like one"
    );
}

/// Every cut of a good event is a fault, and no cut panics.
#[test]
fn cut_at_every_byte() {
    let whole =
        r#"{"id":"é\ud83d\ude00","payload":{"n":-1.5e3,"a":[true,null]},"timestamp":"2024-01-01T00:00:00Z"}"#;
    assert_eq!(plain(whole).unwrap().value, whole);
    for cut in 0..whole.len() {
        let fault = plain(&whole.as_bytes()[..cut]).unwrap_err();
        assert!([R::NotJson, R::NotUtf8].contains(&fault), "{cut}: {fault:?}");
    }
}

/// S3-R16.
#[test]
fn the_key_is_what_the_configuration_says() {
    for (item, key) in [
        (r#"{"user":"u-1"}"#, Ok(Some("u-1"))),
        (r#"{"user":"\u00fc\u0000"}"#, Ok(Some("\u{fc}\0"))),
        (r#"{"user":12345678901234567890}"#, Ok(Some("12345678901234567890"))),
        (r#"{"user":-7}"#, Ok(Some("-7"))),
        (r#"{"user":""}"#, Ok(None)),
        (r#"{"user":null}"#, Ok(None)),
        (r#"{"payload":{"user":"u"}}"#, Ok(None)),
        (r#"{"user":1.0}"#, Err(R::KeyMemberMistyped)),
        (r#"{"user":1e3}"#, Err(R::KeyMemberMistyped)),
        (r#"{"user":true}"#, Err(R::KeyMemberMistyped)),
        (r#"{"user":["u"]}"#, Err(R::KeyMemberMistyped)),
        (r#"{"user":"u","user":"u"}"#, Err(R::KeyMemberDuplicate)),
    ] {
        assert_eq!(keyed("user", item), key.map(|key| key.map(str::to_owned)), "{item}");
    }
    assert_eq!(keyed("type", r#"{"type":"click"}"#), Ok(Some("click".into())));
    assert_eq!(keyed("type", r#"{"type":"click","type":"x"}"#), Err(R::TypeDuplicate));
    assert_eq!(keyed("id", r#"{"id":"mine"}"#), Ok(Some("mine".into())));
    assert_eq!(keyed("id", r#"{"id":""}"#), Ok(Some(FRESH_V4.into())), "the id that the record has");
}

/// S3-R16: `PROFILE=ingest`.
#[test]
fn the_originals_layout() {
    let rules = EventRules { layout: Layout::Ingest, ..EventRules::default() };
    for (item, id) in [(r#"{"id":"mine"}"#, "mine"), ("{}", FRESH_V4)] {
        let taken = run(Route::Events, &rules, item.as_bytes(), |_| {}).unwrap();
        assert_eq!(taken.key.as_deref(), Some(id));
        assert_eq!(taken.headers, pairs(&[("trace_id", id)]));
    }
    let rules = EventRules { key_field: Some("u".into()), ..rules };
    let taken = run(Route::Events, &rules, br#"{"id":"mine","u":5}"#, |_| {}).unwrap();
    assert_eq!((taken.key.as_deref(), taken.headers), (Some("5"), pairs(&[("trace_id", "mine")])));
}

#[test]
fn ids_of_ours() {
    let rules = EventRules { ids: IdVersion::V7, ..EventRules::default() };
    let id = run(Route::Events, &rules, b"{}", |_| {}).unwrap().id;
    assert_eq!(id, "018bcfe5-687b-7111-9111-111111111111", "1700000000123 ms in front");

    let with = |route, key: &'static str, identity: &'static str, index, item: &[u8]| {
        let key = IdempotencyKey::new(key.as_bytes()).unwrap();
        run(route, &EventRules::default(), item, |circumstances| {
            circumstances.idempotency_key = Some(key);
            circumstances.identity = identity;
            circumstances.index = index;
            circumstances.fresh = [7; 16];
        })
        .unwrap()
    };
    let first = with(Route::Events, "order-1", "", None, b"{}");
    let name = b"/events\n\norder-1";
    assert_eq!(first.id, uuid::Uuid::new_v5(&NAMESPACE, name).to_string());
    assert_eq!(first.headers, pairs(&[("idempotency-key", "order-1")]));
    assert!(first.value.contains(&first.id));
    assert_eq!(with(Route::Events, "order-1", "", None, b"{}").id, first.id, "a retry is the same event");
    let s4 = br#"{"event_type":"e","player_id":"p","game_id":"g","timestamp":"2024-01-01T00:00:00Z"}"#;
    let others = [
        with(Route::Events, "order-2", "", None, b"{}").id,
        with(Route::Events, "order-1", "tenant", None, b"{}").id,
        with(Route::Events, "order-1", "", Some(0), b"{}").id,
        with(Route::Events, "order-1", "", Some(1), b"{}").id,
        with(Route::PlayerEvents, "order-1", "", None, s4).id,
    ];
    for (at, other) in others.iter().enumerate() {
        assert!(*other != first.id && !others[..at].contains(other), "{at}");
    }
    assert_eq!(with(Route::Events, "order-1", "", None, br#"{"id":"mine"}"#).id, "mine");
}

#[test]
fn idempotency_keys_are_bounded() {
    for (value, expected) in [
        (&b"k"[..], Ok("k")),
        (b"\"quoted\"", Ok("\"quoted\"")),
        (&[b'k'; 255], Ok(std::str::from_utf8(&[b'k'; 255]).unwrap())),
        (b"", Err(R::IdempotencyKeyEmpty)),
        (&[b'k'; 256], Err(R::IdempotencyKeyTooLong)),
        (b"a\tb", Err(R::IdempotencyKeyControl)),
        (b"\xff", Err(R::IdempotencyKeyControl)),
    ] {
        assert_eq!(IdempotencyKey::new(value).map(IdempotencyKey::as_str), expected);
    }
}

#[test]
fn trace_headers_pass_through() {
    let (parent, state) = ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "congo=t61rcWkgMzE");
    let long = [b'x'; 513];
    let taken = |parent: &[u8], state: &[u8]| {
        let moment = Moment::new(NOW_US);
        let mut circumstances = Circumstances::new(BodyKind::Ndjson, &moment, FRESH);
        circumstances.traceparent = Some(parent);
        circumstances.tracestate = Some(state);
        run_as(Route::Events, &EventRules::default(), b"{}", &circumstances).unwrap().headers
    };
    let both = taken(parent.as_bytes(), state.as_bytes());
    assert_eq!(both, pairs(&[("traceparent", parent), ("tracestate", state)]));
    assert_eq!(taken(b"", &long), [], "what is empty or too long is left out");
}

#[test]
fn sentences_carry_the_numbers() {
    for (fault, number) in [
        (R::IdTooLong, EVENT_ID_MAX_BYTES),
        (R::IdempotencyKeyTooLong, IDEMPOTENCY_KEY_MAX_BYTES),
        (R::PlayerIdTooLong, players::TEXT_MAX_CHARS),
        (R::AttributeName, cloud::NAME_MAX),
        (R::TooManyAttributes, cloud::ATTRIBUTES_MAX),
    ] {
        assert!(fault.detail().contains(&number.to_string()), "{fault:?}");
    }
    // Content-Type, trace_id and three that pass through stand beside the attributes.
    const { assert!(cloud::ATTRIBUTES_MAX + 5 <= headers::MAX_COUNT) };
    assert_eq!(
        (status(R::UnsupportedMediaType), status(R::TooManyItems), status(R::IdMistyped)),
        (415, 413, 400)
    );
}

/// Random members in random order, blanks and all: the value is the client's text with ours in front.
#[test]
fn random_events_come_through_unchanged() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut ours = 0;
    for _ in 0..3_000 {
        let mut members = Vec::new();
        for at in 0..random.usize(..6) {
            members.push(format!(
                "{}\"m{at}\"{}:{}",
                blank(&mut random),
                blank(&mut random),
                json(&mut random, 4)
            ));
        }
        let (has_id, has_time) = (random.bool(), random.bool());
        if has_id {
            members.push(format!(r#" "id":"{}""#, random.u32(1..)));
        }
        if has_time {
            members.push(r#""timestamp":"2024-01-01T00:00:00Z""#.to_owned());
        }
        random.shuffle(&mut members);
        let inner = members.join(",") + blank(&mut random);
        let value = plain(format!("{{{inner}}}")).unwrap_or_else(|fault| panic!("{inner}: {fault:?}")).value;
        assert!(value.ends_with(&format!("{inner}}}")), "{inner} became {value}");
        let read: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&value).unwrap();
        let added = usize::from(!has_id) + usize::from(!has_time);
        assert_eq!(read.len(), members.len() + added);
        ours += added;
    }
    assert!(ours > 1_000);
}

fn blank(random: &mut fastrand::Rng) -> &'static str {
    ["", "", "", " ", "\n", "\t \r"][random.usize(..6)]
}

/// Any JSON value, as text.
pub(super) fn json(random: &mut fastrand::Rng, depth: usize) -> String {
    let scalars =
        ["null", "true", "false", "0", "-0", "1.50", "-3E+07", "12345678901234567890123", "\"\"", "\"a\""];
    let texts = ["\"\\u003c\\n\\\"\"", "\"\u{e4}\u{1f600}\"", "\"\\ud83d\\ude00\"", "\"[{\"", "\"\\\\\""];
    let list = |random: &mut fastrand::Rng, one: &dyn Fn(&mut fastrand::Rng) -> String| {
        let items: Vec<_> = (0..random.usize(..4)).map(|_| one(random)).collect();
        items.join(",")
    };
    match random.u8(if depth == 0 { 0..2 } else { 0..4 }) {
        0 => scalars[random.usize(..scalars.len())].to_owned(),
        1 => texts[random.usize(..texts.len())].to_owned(),
        2 => format!("[{}]", list(random, &|random| json(random, depth - 1))),
        _ => format!(
            "{{{}}}",
            list(random, &|random| format!("\"k{}\":{}", random.u8(..), json(random, depth - 1)))
        ),
    }
}
