//! What a body is and where its events lie.

use super::*;
use crate::event::Rejection as R;

fn found(body: &str, kind: BodyKind) -> Result<(bool, Vec<&str>), Rejection> {
    let items = items(body.as_bytes(), kind, 3)?;
    assert_eq!((items.len(), items.is_empty()), (items.spans().len(), items.spans().is_empty()));
    Ok((items.is_batch(), items.spans().iter().map(|span| &body[span.clone()]).collect()))
}

#[test]
fn events_of_a_body() {
    use BodyKind::{CloudBatch, CloudBinary, CloudStructured, Json, Ndjson};
    for (kind, body, expected) in [
        (Json, "{\"a\":1}", Ok((false, vec!["{\"a\":1}"]))),
        (Json, " {} ", Ok((false, vec![" {} "]))),
        (Json, "{broken", Ok((false, vec!["{broken"]))),
        (Json, "{}\n{}", Ok((false, vec!["{}\n{}"]))),
        (Json, "7", Ok((false, vec!["7"]))),
        (Json, "[]", Ok((true, vec![]))),
        (Json, " [ {} ,7, [\"]\"] ] \n", Ok((true, vec!["{}", "7", "[\"]\"]"]))),
        (Json, "[{\"a\":\"\\ud800\"}]", Ok((true, vec!["{\"a\":\"\\ud800\"}"]))),
        (Json, "[1,2,3,4]", Err(R::TooManyItems)),
        (Json, "[1,2,3,4,broken", Err(R::TooManyItems)),
        (Json, "[1,2", Err(R::BodyNotJson)),
        (Json, "[1,2,]", Err(R::BodyNotJson)),
        (Json, "[1,2,3]x", Err(R::BodyNotJson)),
        (Json, "[{},{]", Err(R::BodyNotJson)),
        (Json, "", Err(R::BodyEmpty)),
        (Json, " \r\n\t", Err(R::BodyEmpty)),
        (Ndjson, "{}", Ok((true, vec!["{}"]))),
        (Ndjson, "{}\n{}\n", Ok((true, vec!["{}", "{}"]))),
        (Ndjson, "\n\r\n{}\r\n \n[1]\nbroken", Ok((true, vec!["{}\r", "[1]", "broken"]))),
        (Ndjson, "1\n2\n3\n\n", Ok((true, vec!["1", "2", "3"]))),
        (Ndjson, "1\n2\n3\n\n4", Err(R::TooManyItems)),
        (Ndjson, "\n\n", Err(R::BodyEmpty)),
        (CloudStructured, "{}", Ok((false, vec!["{}"]))),
        (CloudBatch, "[{},{}]", Ok((true, vec!["{}", "{}"]))),
        (CloudBatch, "[]", Ok((true, vec![]))),
        (CloudBatch, "{}", Err(R::NotAnArray)),
        (CloudBatch, "", Err(R::BodyEmpty)),
        (CloudBinary, " any\nthing ", Ok((false, vec![" any\nthing "]))),
        (CloudBinary, "", Ok((false, vec![""]))),
    ] {
        assert_eq!(found(body, kind), expected, "{kind:?} {body:?}");
    }
    assert_eq!(items(b"[\"\xff\"]", Json, 3), Err(R::BodyNotUtf8));
    assert_eq!(items(b"{}\n\xff\n{}", Ndjson, 3).unwrap().len(), 3, "a bad line harms no other");
    let deep = "[".repeat(100_000);
    assert_eq!(items(deep.as_bytes(), Json, 3), Err(R::BodyNotJson));
    let deep = deep + &"]".repeat(100_000);
    assert_eq!(items(deep.as_bytes(), Json, 3).unwrap().len(), 1);
}

/// A bad event of an array is its own fault; its neighbours are as good as alone.
#[test]
fn a_bad_event_harms_no_other() {
    let body = br#"[{"type":"a"},{"type":1},7,{"x":"\ud800"},{"type":"b"}]"#;
    let results: Vec<_> = items(body, BodyKind::Json, 10)
        .unwrap()
        .spans()
        .iter()
        .map(|span| {
            super::tests::run(Route::Events, &EventRules::default(), &body[span.clone()], |_| {}).err()
        })
        .collect();
    assert_eq!(results, [None, Some(R::TypeMistyped), Some(R::NotAnObject), Some(R::LoneSurrogate), None]);
}

#[test]
fn content_types() {
    use BodyKind::{CloudBatch, CloudBinary, CloudStructured, Json, Ndjson};
    let kind = |route, content_type: &str, has_specversion| {
        body_kind(route, Some(content_type.as_bytes()).filter(|bytes| *bytes != b"none"), has_specversion)
            .ok()
    };
    for (content_type, expected, with_specversion) in [
        ("none", Some(Json), Some(CloudBinary)),
        ("", Some(Json), Some(CloudBinary)),
        ("application/json", Some(Json), Some(CloudBinary)),
        (" Application/JSON ; charset=utf-8", Some(Json), Some(CloudBinary)),
        ("application/problem+json", Some(Json), Some(CloudBinary)),
        ("text/plain", Some(Json), Some(CloudBinary)),
        ("text/html", Some(Json), Some(CloudBinary)),
        ("application/x-www-form-urlencoded", Some(Json), Some(CloudBinary)),
        ("application/octet-stream", Some(Json), Some(CloudBinary)),
        ("application/vnd.acme.v1", Some(Json), Some(CloudBinary)),
        ("application/x-ndjson", Some(Ndjson), Some(CloudBinary)),
        ("application/jsonl", Some(Ndjson), Some(CloudBinary)),
        ("application/cloudevents+json; charset=UTF-8", Some(CloudStructured), Some(CloudStructured)),
        ("application/cloudevents-batch+json", Some(CloudBatch), Some(CloudBatch)),
        ("application/cloudevents+avro", None, None),
        ("multipart/form-data; boundary=x", None, Some(CloudBinary)),
        ("text/xml", None, Some(CloudBinary)),
        ("application/xml", None, Some(CloudBinary)),
        ("image/png", None, Some(CloudBinary)),
        ("application/soap+xml", None, Some(CloudBinary)),
        ("application/x-protobuf", None, Some(CloudBinary)),
        ("application/grpc+proto", None, Some(CloudBinary)),
    ] {
        assert_eq!(kind(Route::Events, content_type, false), expected, "{content_type}");
        assert_eq!(kind(Route::Events, content_type, true), with_specversion, "{content_type}");
        let on_s4 = expected.filter(|kind| [Json, Ndjson].contains(kind));
        assert_eq!(kind(Route::PlayerEvents, content_type, false), on_s4, "{content_type}");
        assert_eq!(kind(Route::PlayerEvents, content_type, true), None, "{content_type}");
    }
    let long = [b'a'; 300];
    assert_eq!(body_kind(Route::Events, Some(&long), false), Err(R::UnsupportedMediaType));
    assert_eq!(body_kind(Route::Events, Some(b"\xff/json"), false), Err(R::UnsupportedMediaType));
}
