//! CloudEvents: attributes, data, and the three forms.

use super::tests::{FRESH, NOW_US, Taken, pairs, run, run_as};
use super::*;
use crate::event::Rejection as R;

fn structured(item: impl AsRef<[u8]>) -> Result<Taken, Rejection> {
    run(Route::Events, &EventRules::default(), item.as_ref(), |c| c.kind = BodyKind::CloudStructured)
}

/// The least that is needed, and `members` behind it.
fn with(members: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{members}}}"#)
}

fn binary(
    body: &[u8],
    content_type: Option<&[u8]>,
    attributes: &[(&str, &[u8])],
) -> Result<Taken, Rejection> {
    let mut packed = Vec::new();
    for (name, value) in attributes {
        headers::push(&mut packed, name, value);
    }
    let moment = Moment::new(NOW_US);
    let mut circumstances = Circumstances::new(BodyKind::CloudBinary, &moment, FRESH);
    circumstances.content_type = content_type;
    circumstances.attributes = &packed;
    run_as(Route::Events, &EventRules::default(), body, &circumstances)
}

const LEAST: [(&str, &[u8]); 4] =
    [("ce-specversion", b"1.0"), ("ce-id", b"1"), ("ce-source", b"/s"), ("ce-type", b"t")];
const LEAST_OUT: [(&str, &str); 4] =
    [("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "/s"), ("ce_type", "t")];

/// The example of the specification's format for JSON.
#[test]
fn a_structured_event_becomes_a_record_in_binary_mode() {
    let item = r#"{
        "specversion" : "1.0",
        "type" : "com.example.someevent",
        "source" : "/mycontext",
        "id" : "A234-1234-1234",
        "time" : "2018-04-05T17:31:00Z",
        "comexampleextension1" : "value",
        "comexampleothervalue" : 5,
        "flag" : true,
        "unset" : null,
        "datacontenttype" : "application/vnd.x+json; v=1",
        "data" : { "n": 12345678901234567890 }
    }"#;
    let headers = pairs(&[
        ("content-type", "application/vnd.x+json; v=1"),
        ("ce_specversion", "1.0"),
        ("ce_type", "com.example.someevent"),
        ("ce_source", "/mycontext"),
        ("ce_id", "A234-1234-1234"),
        ("ce_time", "2018-04-05T17:31:00Z"),
        ("ce_comexampleextension1", "value"),
        ("ce_comexampleothervalue", "5"),
        ("ce_flag", "true"),
    ]);
    let value = r#"{ "n": 12345678901234567890 }"#.to_owned();
    assert_eq!(structured(item), Ok(Taken { key: None, value, headers, id: "A234-1234-1234".into() }));
}

#[test]
fn data_in_json() {
    for (members, content_type, value) in [
        (r#","data":[1, 2]"#, Some("application/json"), "[1, 2]"),
        (r#","data":"a\nb""#, Some("application/json"), r#""a\nb""#),
        (r#","data":"a\nb","datacontenttype":"text/plain""#, Some("text/plain"), "a\nb"),
        (r#","data":{"a":1},"datacontenttype":"text/plain""#, Some("text/plain"), r#"{"a":1}"#),
        (r#","data":0,"data_base64":null"#, Some("application/json"), "0"),
        (r#","data":null,"data_base64":"aGk=""#, None, "hi"),
        (r#","data_base64":"aGk=","datacontenttype":"image/png""#, Some("image/png"), "hi"),
        (r#","datacontenttype":null,"data":{}"#, Some("application/json"), "{}"),
    ] {
        let taken = structured(with(members)).unwrap_or_else(|fault| panic!("{members}: {fault:?}"));
        let least = pairs(&LEAST_OUT).into_iter();
        let expected: Vec<_> = content_type
            .map(|kind| ("content-type".into(), kind.to_owned()))
            .into_iter()
            .chain(least)
            .collect();
        assert_eq!((taken.value.as_str(), taken.headers), (value, expected), "{members}");
    }
}

#[test]
fn structured_faults() {
    let many: String = (0..45).map(|at| format!(",\"x{at}\":1")).collect();
    let just: String = (0..44).map(|at| format!(",\"x{at}\":1")).collect();
    let (long, longest) = ("a".repeat(65), "a".repeat(64));
    for (members, fault) in [
        ("", R::DataMissing),
        (r#","data":null"#, R::DataMissing),
        (r#","data_base64":"""#, R::DataMissing),
        (r#","data":"","datacontenttype":"text/plain""#, R::DataMissing),
        (r#","data":1,"data_base64":"aGk=""#, R::DataTwice),
        (r#","data":1,"data":1"#, R::DataDuplicate),
        (r#","data_base64":1"#, R::DataBase64Mistyped),
        (r#","data_base64":"a","data_base64":"a""#, R::DataBase64Duplicate),
        (r#","data_base64":"a_k=""#, R::DataBase64Broken),
        (r#","data_base64":"aGk""#, R::DataBase64Broken),
        (r#","data":1,"id":"2""#, R::IdDuplicate),
        (r#","data":1,"type":"2""#, R::TypeDuplicate),
        (r#","data":1,"source":"2""#, R::AttributeDuplicate),
        (r#","data":1,"x":"2","x":3"#, R::AttributeDuplicate),
        (r#","data":1,"time":"yesterday""#, R::TimeNotRfc3339),
        (r#","data":1,"time":5"#, R::TimeNotRfc3339),
        (r#","data":1,"subject":"""#, R::AttributeEmpty),
        (r#","data":1,"dataschema":"""#, R::AttributeEmpty),
        (r#","data":1,"datacontenttype":"""#, R::AttributeEmpty),
        (r#","data":1,"datacontenttype":true"#, R::AttributeMistyped),
        (r#","data":1,"datacontenttype":"a\nb""#, R::AttributeControl),
        (r#","data":1,"subject":5"#, R::AttributeMistyped),
        (r#","data":1,"x":1.5"#, R::AttributeMistyped),
        (r#","data":1,"x":2147483648"#, R::AttributeMistyped),
        (r#","data":1,"x":{}"#, R::AttributeMistyped),
        (r#","data":1,"x":"a\u0000""#, R::AttributeControl),
        (r#","data":1,"Subject":"a""#, R::AttributeName),
        (r#","data":1,"a_b":"a""#, R::AttributeName),
        (r#","data":1,"":"a""#, R::AttributeName),
        (&format!(",\"data\":1,\"{long}\":1"), R::AttributeName),
        (&format!(",\"data\":1{many}"), R::TooManyAttributes),
    ] {
        assert_eq!(structured(with(members)), Err(fault), "{members}");
    }
    let most = structured(with(&format!(",\"data\":1{just}"))).unwrap();
    assert_eq!(most.headers.len(), 49, "48 and the content type");
    assert!(structured(with(&format!(",\"data\":1,\"{longest}\":-2147483648"))).is_ok());
    assert_eq!(structured("[]"), Err(R::NotAnObject));
    assert_eq!(structured("{"), Err(R::NotJson));
}

#[test]
fn required_attributes() {
    for (without, missing, empty, mistyped) in [
        ("specversion", R::SpecVersionMissing, R::SpecVersionUnknown, R::SpecVersionUnknown),
        ("id", R::IdMissing, R::IdEmpty, R::IdMistyped),
        ("source", R::SourceMissing, R::SourceEmpty, R::SourceMistyped),
        ("type", R::TypeMissing, R::TypeEmpty, R::TypeMistyped),
    ] {
        let whole = with(r#","data":1"#);
        let broken = |value: &str| {
            let at = whole.find(&format!("\"{without}\":")).unwrap() + without.len() + 3;
            let end = at + 1 + whole[at + 1..].find('"').unwrap() + 1;
            format!("{}{value}{}", &whole[..at], &whole[end..])
        };
        assert_eq!(structured(broken("null")), Err(missing), "{without}");
        assert_eq!(structured(broken("\"\"")), Err(empty), "{without}");
        assert_eq!(structured(broken("1")), Err(mistyped), "{without}");
        assert!(structured(broken("[]")).is_err(), "{without}");

        let some: Vec<_> = LEAST.into_iter().filter(|(name, _)| name[3..] != *without).collect();
        assert_eq!(binary(b"x", None, &some), Err(missing), "{without}");
        assert_eq!(binary(b"", None, &some), Err(missing), "{without}");
    }
    assert_eq!(structured(with("").replace("1.0", "0.3")), Err(R::SpecVersionUnknown));
    let id = |id: &str| structured(with(r#","data":1"#).replace("\"id\":\"1\"", &format!("\"id\":\"{id}\"")));
    assert_eq!(id(&"i".repeat(129)), Err(R::IdTooLong));
    assert_eq!(id("a\\r"), Err(R::IdControl));
}

#[test]
fn binary_events() {
    let more: [(&str, &[u8]); 6] = [
        ("CE-Subject", b"Euro%20%E2%82%AC%20%F0%9F%98%80 100%"),
        ("ce-quoted", b"\"a \\\"b\\\" %41\""),
        ("ce-half", b"\"open"),
        ("accept", b"*/*"),
        ("ce-time", b"2018-04-05T17:31:00Z"),
        ("ce", b""),
    ];
    let body = b" {\"any\": thing\n";
    let taken = binary(body, Some(b"Text/X; q=1"), &[&LEAST[..], &more].concat()).unwrap();
    let mut headers = vec![("content-type", "Text/X; q=1")];
    headers.extend(LEAST_OUT);
    headers.extend([
        ("ce_subject", "Euro \u{20ac} \u{1f600} 100%"),
        ("ce_quoted", "a \"b\" A"),
        ("ce_half", "\"open"),
        ("ce_time", "2018-04-05T17:31:00Z"),
    ]);
    let value = String::from_utf8(body.to_vec()).unwrap();
    assert_eq!(taken, Taken { key: None, value, headers: pairs(&headers), id: "1".into() });
    assert_eq!(binary(b"x", None, &LEAST).unwrap().headers, pairs(&LEAST_OUT));
}

#[test]
fn binary_faults() {
    let fault = |name: &str, value: &[u8]| {
        let more = [(name, value)];
        binary(b"x", None, &[&LEAST[..], &more].concat()).unwrap_err()
    };
    for (name, value, expected) in [
        ("ce-x", &b"%ff"[..], R::AttributeNotUtf8),
        ("ce-x", b"\xff", R::AttributeNotUtf8),
        ("ce-x", b"\"%e2%82\"", R::AttributeNotUtf8),
        ("ce-x", b"a%00", R::AttributeControl),
        ("ce-x", b"a%0d%0ab", R::AttributeControl),
        ("ce-", b"x", R::AttributeName),
        ("ce-a-b", b"x", R::AttributeName),
        ("ce-a_b", b"x", R::AttributeName),
        ("ce-data", b"x", R::AttributeName),
        ("ce-datacontenttype", b"x", R::AttributeName),
        ("CE-ID", b"2", R::IdDuplicate),
        ("Ce-Source", b"2", R::AttributeDuplicate),
        ("ce-time", b"", R::TimeNotRfc3339),
        ("ce-subject", b"", R::AttributeEmpty),
    ] {
        assert_eq!(fault(name, value), expected, "{name}: {}", value.escape_ascii());
    }
    assert_eq!(binary(b"", None, &LEAST), Err(R::DataMissing));
}

#[test]
fn keys_of_cloudevents() {
    let item = with(r#","data":1,"partitionkey":"pk","n":7,"empty":"""#);
    let keyed = |key_field: Option<&str>, layout| {
        let rules = EventRules { key_field: key_field.map(str::to_owned), layout, ..EventRules::default() };
        run(Route::Events, &rules, item.as_bytes(), |c| c.kind = BodyKind::CloudBatch).unwrap()
    };
    for (key_field, key) in [
        (Some("partitionkey"), Some("pk")),
        (Some("id"), Some("1")),
        (Some("n"), Some("7")),
        (Some("empty"), None),
        (Some("absent"), None),
        (None, None),
    ] {
        let taken = keyed(key_field, Layout::Plain);
        assert_eq!(taken.key.as_deref(), key, "{key_field:?}");
        assert!(taken.headers.contains(&("ce_partitionkey".into(), "pk".into())), "it stays");
    }
    let original = keyed(None, Layout::Ingest);
    assert_eq!(original.key.as_deref(), Some("1"));
    assert_eq!(original.headers.last(), Some(&("trace_id".into(), "1".into())));
}
