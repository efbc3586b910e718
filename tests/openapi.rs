//! `GET /openapi.json` against the program: what it describes is answered so, and what is answered is described.

mod gateway;
#[path = "openapi/schema.rs"]
mod schema;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gateway::web::{web, web_cluster};
use gateway::{await_stored, stop};
use schema::Document;
use serde_json::Value;
use sluice::event::{Field, Rejection};
use sluice::handoff::Cause;
use sluice::kafka::errors::{Class, TABLE};
use sluice::pipeline::events;
use sluice::session::{ADMIN_PATHS, OPENAPI, OUT_BYTES_MAX};
use sluice::wire::http1::Fault;
use support::{Answer, Sluice, request};

/// Responses that no operation has: they are those to paths and methods that are not described.
const OF_NO_OPERATION: [&str; 1] = ["MethodNotAllowed"];

fn document() -> Document {
    Document(serde_json::from_str(OPENAPI).expect("JSON"))
}

/// The sources of the HTTP sessions without their tests, whatever their line breaks.
fn sources() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/session/http");
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            text.push_str(std::fs::read_to_string(&path).unwrap().split("#[cfg(test)]").next().unwrap());
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(")
}

/// The words in quotes right behind each `before`.
fn words_behind<'t>(text: &'t str, before: &'t str) -> impl Iterator<Item = &'t str> {
    text.match_indices(before).filter_map(move |(at, _)| {
        let rest = text[at + before.len()..].trim_start().strip_prefix('"')?;
        rest.split('"').next()
    })
}

/// Status and codes of every response that the document describes as a problem.
fn described(document: &Document) -> BTreeMap<u64, BTreeSet<String>> {
    let mut codes: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for response in document.0["components"]["responses"].as_object().unwrap().values() {
        let schema = &response["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"];
        let Some(status) = schema["status"]["const"].as_u64() else { continue };
        let words =
            schema["code"]["enum"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned());
        codes.entry(status).or_default().extend(words);
    }
    codes
}

/// Status and codes of every refusal that the code can give.
fn given() -> BTreeMap<u64, BTreeSet<String>> {
    let mut codes: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    let mut give = |status: u16, code: &str| codes.entry(status.into()).or_default().insert(code.to_owned());
    // Those that only lines and frames can break.
    let is_tcps = |rule: &Rejection| {
        matches!(rule.field(), Some(Field::Lb | Field::Player | Field::Score | Field::TsMs))
            || ["line_", "frame_", "not_protobuf"].iter().any(|start| rule.code().starts_with(start))
    };
    for rule in Rejection::all().filter(|rule| !is_tcps(rule)) {
        give(events::status(rule), rule.code());
    }
    let faults = [
        Fault::Malformed(""),
        Fault::CorruptContent(""),
        Fault::LengthRequired,
        Fault::BodyTooLarge,
        Fault::UriTooLong,
        Fault::UnknownContentCoding,
        Fault::ExpectationFailed,
        Fault::HeadTooLarge,
        Fault::UnknownTransferCoding,
        Fault::VersionUnsupported,
    ];
    for fault in faults {
        give(fault.status(), fault.code());
    }
    for cause in Cause::ALL.iter().filter(|cause| **cause != Cause::Delivered) {
        // Whatever may have been stored is unknown. A record that is refused for good is never one to send again.
        give(504, cause.code());
        match TABLE.iter().find(|(_, _, known)| known == cause) {
            Some((_, Class::RefusedForGood, _)) if *cause == Cause::TooLarge => give(413, cause.code()),
            Some((_, Class::RefusedForGood, _)) => give(422, cause.code()),
            _ => give(503, cause.code()),
        };
    }
    let sources = sources();
    for status in 400..600 {
        for code in words_behind(&sources, &format!("Problem::of({status},")) {
            give(status, code);
        }
    }
    // OPEN stands where no event gets: its request is answered once none is open.
    for code in words_behind(&sources, "unknown(").filter(|code| *code != "OPEN") {
        give(504, code);
    }
    codes
}

#[test]
fn every_status_and_code_is_described_and_no_other() {
    let given = given();
    assert!(
        given[&503].contains("draining") && given[&504].contains("TIMEOUT"),
        "the words are found: {given:?}"
    );
    assert_eq!(described(&document()), given);
}

/// Paths as the code has them; METRICS_PATH is at its default.
#[test]
fn every_path_is_described_and_no_other() {
    let sources = sources();
    let literals = sources.match_indices("\"/").map(|(at, _)| sources[at + 1..].split('"').next().unwrap());
    let routes = [events::Route::Events, events::Route::PlayerEvents].map(events::Route::path);
    let known: BTreeSet<_> = literals.chain(routes).chain(["/metrics"]).collect();
    let document = document();
    let paths: BTreeSet<_> = document.0["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(paths, known);
}

/// It is whole: every reference leads somewhere, every component is used, and its version is the program's.
#[test]
fn it_is_whole() {
    let document = document();
    assert_eq!(
        (&document.0["openapi"], &document.0["info"]["version"]),
        (&"3.1.0".into(), &env!("CARGO_PKG_VERSION").into())
    );
    assert!(
        OPENAPI.len() <= OUT_BYTES_MAX,
        "{} bytes: no larger than what may wait to be written",
        OPENAPI.len()
    );
    let mut used = BTreeSet::new();
    for (at, _) in OPENAPI.match_indices("\"$ref\": \"#") {
        let pointer = OPENAPI[at + 10..].split('"').next().unwrap();
        assert!(document.0.pointer(pointer).is_some(), "{pointer}");
        used.insert(pointer);
    }
    for (kind, components) in document.0["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys() {
            let is_used = used.contains(format!("/components/{kind}/{name}").as_str());
            assert_eq!(is_used, !OF_NO_OPERATION.contains(&name.as_str()), "{kind}/{name}");
        }
    }
}

/// Holds an answer against the response that is described for its status; the response.
#[track_caller]
fn hold<'d>(document: &'d Document, responses: &'d Value, answer: &Answer, has_body: bool) -> &'d Value {
    let response = document.resolve(&responses[answer.status.to_string()]);
    assert!(response.is_object(), "{} is not described: {answer:?}", answer.status);
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        let header = document.resolve(header);
        let value = answer.header(&name.to_ascii_lowercase());
        assert!(value.is_some() || header["required"] != true, "no {name}: {answer:?}");
        if let Some(value) = value {
            let value = match header["schema"]["type"] == "integer" {
                true => serde_json::from_str(value).expect("a number"),
                false => Value::from(value),
            };
            assert_eq!(document.faults(&header["schema"], &value), [""; 0], "{name}");
        }
    }
    for name in
        ["allow", "retry-after", "x-request-id", "accept-encoding", "cache-control", "x-content-type-options"]
    {
        let is_described = response["headers"]
            .as_object()
            .is_some_and(|all| all.keys().any(|one| one.eq_ignore_ascii_case(name)));
        assert!(is_described || answer.header(name).is_none(), "{name} is not described: {answer:?}");
    }
    let Some(content) = response["content"].as_object().filter(|_| has_body) else {
        assert_eq!(answer.body, "");
        return response;
    };
    let media_type = answer.header("content-type").unwrap().split(';').next().unwrap();
    let media = content.get(media_type).unwrap_or_else(|| panic!("{media_type} is not described"));
    if media_type.ends_with("json") {
        assert_eq!(document.faults(&media["schema"], &answer.json()), [""; 0], "{answer:?}");
    }
    response
}

/// The example of that name in a response.
fn example<'d>(response: &'d Value, name: &str) -> Option<&'d Value> {
    let media = response["content"].as_object()?.values().next()?;
    media["examples"].get(name).map(|example| &example["value"])
}

/// The same, whichever ids the gateway chose.
fn without_ids(value: &Value) -> Value {
    let is_uuid = |text: &str| text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    match value {
        Value::String(text) if is_uuid(text) => "a UUID".into(),
        Value::Array(items) => items.iter().map(without_ids).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), without_ids(value))).collect()
        }
        other => other.clone(),
    }
}

/// Every operation is answered as described, and other methods and the health listener's other pages are not served.
#[test]
fn every_operation_is_answered_as_described() {
    let document = document();
    let broker = web_cluster();
    let sluice = web(&broker, &[]);
    let mut http = sluice.http();
    assert_eq!(http.ask("GET", "/openapi.json", &[], b"").body, OPENAPI);
    let operations = document.operations();
    for (path, method, operation) in &operations {
        let answer = http.ask(method, path, &[], b"");
        assert!(answer.status < 300 || method == "POST", "{method} {path}: {answer:?}");
        hold(&document, &operation["responses"], &answer, method != "HEAD");
        let allowed: BTreeSet<_> =
            operations.iter().filter(|other| other.0 == *path).map(|other| other.1.as_str()).collect();
        for other in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "get"]
        {
            if allowed.contains(other) {
                continue;
            }
            let answer = http.ask(other, path, &[], b"");
            let not_allowed = serde_json::json!({"405": {"$ref": "#/components/responses/MethodNotAllowed"}});
            let response = hold(&document, &not_allowed, &answer, other != "HEAD").clone();
            let told: BTreeSet<_> = answer.header("allow").unwrap().split(", ").collect();
            assert_eq!(told, allowed, "{other} {path}");
            if other != "HEAD" {
                assert_eq!(Some(&answer.json()), example(&response, "method_not_allowed"));
            }
        }
        if method == "GET" {
            let answer = http.ask("GET", path, &["Content-Length: 1"], b"");
            http = sluice.http(); // the body never comes
            let response = hold(&document, &operation["responses"], &answer, true);
            assert_eq!(example(response, "body_unwanted"), Some(&answer.json()));
        }
    }
    let described = |path: &str| operations.iter().any(|(known, ..)| *known == path);
    for path in ADMIN_PATHS.iter().filter(|path| !described(path)) {
        assert_eq!(http.ask("GET", path, &[], b"").status, 404, "{path}");
    }
    stop(sluice).assert_clean(0);
}

/// Each example of a request gets the example of its name, at once and once it is stored; each example is met.
#[test]
fn examples_are_answered_by_their_namesakes() {
    let document = document();
    let broker = web_cluster();
    // Each of them is sent twice, and is to be stored twice.
    let sluice = web(&broker, &[("IDEMPOTENCY_WINDOW", "0")]);
    let mut http = sluice.http();
    let mut stored = 0;
    for (path, method, operation) in document.operations() {
        let mut met = BTreeSet::new();
        for (media_type, media) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            let mut headers = vec![format!("Content-Type: {media_type}")];
            if media_type == "application/octet-stream" {
                let parameters =
                    operation["parameters"].as_array().unwrap().iter().map(|one| document.resolve(one));
                let attributes = parameters.filter(|one| one["name"].as_str().unwrap().starts_with("ce-"));
                headers.extend(attributes.map(|one| {
                    format!("{}: {}", one["name"].as_str().unwrap(), one["example"].as_str().unwrap())
                }));
            }
            let headers: Vec<_> = headers.iter().map(String::as_str).collect();
            for (name, sent) in media["examples"].as_object().unwrap() {
                let body = sent["value"].as_str().map_or_else(|| sent["value"].to_string(), str::to_owned);
                let mut is_met = false;
                for ack in ["queued", "delivered"] {
                    let answer = http.ask(&method, &format!("{path}?ack={ack}"), &headers, body.as_bytes());
                    let response = hold(&document, &operation["responses"], &answer, true);
                    let told = answer.json();
                    stored += told["accepted"].as_u64().unwrap_or(1);
                    if let Some(example) =
                        example(response, name).filter(|_| ack == "queued" || answer.status != 207)
                    {
                        assert_eq!(without_ids(&told), without_ids(example), "{path} {name} {ack}");
                        is_met = met.insert((answer.status.to_string(), name.clone())) || is_met;
                    }
                }
                assert!(is_met, "{path} {name} has no answer");
            }
        }
        for status in ["200", "202", "207"].iter().filter(|_| method == "POST") {
            let media = &operation["responses"][status]["content"]["application/json"];
            for name in media["examples"].as_object().unwrap().keys() {
                assert!(
                    met.contains(&((*status).to_owned(), name.clone())),
                    "{path} {status} {name} has no request"
                );
            }
        }
    }
    await_stored(&sluice, stored);
    let end = stop(sluice);
    end.assert_clean(stored);
}

/// Holds a refusal of `POST /events` against the document: its description, and the example of its code if there is one.
#[track_caller]
fn refused(document: &Document, answer: &Answer, status: u16, code: &str) {
    let operation = &document.0["paths"]["/events"]["post"];
    let response = hold(document, &operation["responses"], answer, true);
    assert_eq!((answer.status, answer.code()), (status, code.to_owned()), "{answer:?}");
    if let Some(example) = example(response, code) {
        let mut told = answer.json();
        told.as_object_mut().unwrap().remove("event_id");
        assert_eq!(&told, example, "{code}");
    }
}

/// Without Kafka: readiness says so, nobody is told that it is stored, and what does not fit is refused. A route that
/// is off is none.
fn refusals_without_kafka(document: &Document) {
    let away = [("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"), ("BUFFER_MAX_MSGS", "1")];
    let sluice = Sluice::start(&[&[("HTTP_PORT", "0"), ("PLAYER_EVENTS_TOPIC", "off")][..], &away].concat());
    let mut http = sluice.http();
    for method in ["GET", "HEAD"] {
        let answer = http.ask(method, "/ready", &[], b"");
        let responses =
            &document.0["components"]["pathItems"]["Readiness"][method.to_lowercase()]["responses"];
        hold(document, responses, &answer, method == "GET");
        assert_eq!(answer.status, 503);
    }
    refused(document, &http.post("/events?ack=delivered&timeout=100ms", "{}"), 503, "DEADLINE");
    assert_eq!(http.post("/events?ack=queued", "{}").status, 202);
    refused(document, &http.post("/events", "{}"), 503, "overloaded");
    for method in ["POST", "OPTIONS"] {
        let operation = &document.0["paths"]["/api/v1/events"][method.to_lowercase()];
        let answer = http.ask(method, "/api/v1/events", &[], b"");
        hold(document, &operation["responses"], &answer, true);
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"));
    }
}

/// One refusal of each status, and of each code that has an example.
#[test]
fn refusals_are_answered_as_described() {
    let document = document();
    let mut broker = web_cluster();
    let sluice = web(&broker, &[("HTTP_MAX_BODY_BYTES", "4KiB"), ("HTTP_HEADER_TIMEOUT", "1s")]);
    let post = |headers: &[&str], body: &str| request("POST", "/events", headers, body.as_bytes());
    let raw = |text: &str| format!("{text}\r\nHost: a\r\n\r\n").into_bytes();
    let long = "x".repeat(20 << 10);
    let cases = [
        (post(&[], "{"), 400, "not_json"),
        (post(&[], r#"{"type":7}"#), 400, "mistyped"),
        (request("POST", "/events?ack=soon", &[], b"{}"), 400, "bad_parameter"),
        (post(&["Content-Encoding: gzip"], "{}"), 400, "corrupt_content"),
        (b"nonsense\r\n\r\n".to_vec(), 400, "malformed_request"),
        (b"POST /events HTTP/1.1\r\n".to_vec(), 408, "head_too_slow"),
        (raw("POST /events HTTP/1.1"), 411, "length_required"),
        (post(&[], &long), 413, "body_too_large"),
        (raw(&format!("POST /events?{long} HTTP/1.1")), 414, "uri_too_long"),
        (post(&["Content-Type: image/png"], "{}"), 415, "unsupported_media_type"),
        (post(&["Content-Encoding: br"], "{}"), 415, "unsupported_content_coding"),
        (post(&["Expect: 200-ok"], "{}"), 417, "expectation_failed"),
        (post(&[&format!("X: {long}")], "{}"), 431, "head_too_large"),
        (
            raw("POST /events HTTP/1.1\r\nTransfer-Encoding: gzip, chunked"),
            501,
            "unsupported_transfer_coding",
        ),
        (raw("POST /events HTTP/2.0"), 505, "unsupported_http_version"),
    ];
    let ask = |sluice: &Sluice, bytes: &[u8]| {
        let mut http = sluice.http();
        http.send(bytes);
        http.answer()
    };
    let mut met: BTreeSet<u16> = cases.iter().map(|(_, status, _)| *status).collect();
    for (bytes, status, code) in &cases {
        refused(&document, &ask(&sluice, bytes), *status, code);
    }
    let key = ["Idempotency-Key: k"];
    assert_eq!(ask(&sluice, &request("POST", "/events?ack=delivered", &key, b"{}")).status, 200);
    refused(&document, &ask(&sluice, &post(&key, "{ }")), 409, "idempotency_conflict");
    broker.command("refuse produce INVALID_RECORD 1");
    refused(
        &document,
        &ask(&sluice, &request("POST", "/events?ack=delivered", &[], b"{}")),
        422,
        "INVALID_RECORD",
    );
    broker.command("slow all 2s");
    let hasty = request("POST", "/events?ack=delivered&timeout=50ms", &[], b"{}");
    refused(&document, &ask(&sluice, &hasty), 504, "TIMEOUT");
    drop(sluice);

    let other = web_cluster();
    let limited = web(
        &other,
        &[
            ("RATE_LIMIT_ENABLED", "true"),
            ("RATE_LIMIT_BURST", "1"),
            ("RATE_LIMIT_RPS", "1"),
            ("METRICS_ENABLED", "false"),
            ("HTTP_CORS_ORIGINS", "http://a.example"),
        ],
    );
    let _ = ask(&limited, &post(&[], "{"));
    refused(&document, &ask(&limited, &post(&[], "{}")), 429, "rate_limited");
    let question = request("OPTIONS", "/events", &["Origin: http://a.example"], b"");
    let (operation, answer) = (&document.0["paths"]["/events"]["options"], ask(&limited, &question));
    let described = hold(&document, &operation["responses"], &answer, true)["headers"].as_object().unwrap();
    for name in described.keys() {
        assert!(answer.header(&name.to_ascii_lowercase()).is_some(), "no {name}: {answer:?}");
    }
    let page = &document.0["paths"]["/metrics"]["get"]["responses"];
    let answer = ask(&limited, &request("GET", "/metrics", &[], b""));
    assert_eq!(example(hold(&document, page, &answer, true), "not_found"), Some(&answer.json()));
    drop(limited);

    refusals_without_kafka(&document);
    met.extend([404, 409, 422, 429, 503, 504]);
    let responses = document.0["paths"]["/events"]["post"]["responses"].as_object().unwrap();
    let all: BTreeSet<u16> =
        responses.keys().map(|status| status.parse().unwrap()).filter(|status| *status >= 400).collect();
    assert_eq!(met, all, "each status that is described was met");
}
