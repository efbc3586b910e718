//! `POST /events` and `POST /api/v1/events`: what is answered, and what is in the topic afterwards.

mod gateway;
mod support;

use gateway::web::{EVENTS, PLAYERS, event, ids, player_event, stored, web, web_cluster};
use gateway::{await_stored, outcome, stop};
use support::{Http, PATIENCE, eventually, request};

/// S3-R1, S4-R1, S4-R2: bodies, headers and records are those that clients and consumers of the originals know.
#[test]
fn each_route_answers_and_stores_as_its_original_does() {
    let broker = web_cluster();
    let sluice = web(&broker, &[]);
    let mut http = sluice.http();
    let given = r#"{ "id":"é-1", "payload":{"big":12345678901234567890,"e":1e2}, "x":"\u0041","type":null}"#;
    let answer = http.ask("POST", "/events", &["traceparent: 00-a-b-01"], given.as_bytes());
    assert_eq!(answer.status, 202);
    assert_eq!(answer.body, "{\"id\":\"é-1\",\"status\":\"accepted\",\"event_id\":\"é-1\"}\n");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-request-id"), None, "no header holds what is not ASCII");

    let answer = http.post("/events?ack=delivered", "{}");
    let body = answer.json();
    assert_eq!((answer.status, &body["status"]), (200, &"stored".into()));
    let our_id = body["id"].as_str().unwrap().to_owned();
    assert_eq!((our_id.len(), &our_id[14..15]), (36, "4"), "a UUIDv4");
    assert_eq!(answer.header("x-request-id"), Some(our_id.as_str()));

    let answer = http.post("/api/v1/events", player_event("ann"));
    assert_eq!((answer.status, answer.closes()), (200, false));
    let id = answer.json()["event_id"].as_str().unwrap().to_owned();
    assert_eq!(answer.body, format!(r#"{{"status":"success","event_id":"{id}"}}"#));

    await_stored(&sluice, 3);
    stop(sluice).assert_clean(3);
    let records = stored(&broker, EVENTS);
    let values: Vec<_> = records.iter().map(|one| String::from_utf8_lossy(&one.value)).collect();
    let first = values.iter().position(|value| value.contains("é-1")).expect("the first one");
    // Byte for byte, but for what was not given.
    assert!(values[first].starts_with(r#"{"timestamp":"2"#), "{}", values[first]);
    assert!(values[first].ends_with(given.strip_prefix('{').unwrap()), "{}", values[first]);
    assert_eq!(records[first].headers, [("traceparent".to_owned(), "00-a-b-01".to_owned())]);
    assert!(values[1 - first].starts_with(&format!(r#"{{"id":"{our_id}","timestamp":"2"#)), "{values:?}");
    assert!(records.iter().all(|one| !one.has_key), "PROFILE=all: no key unless configured");

    let records = stored(&broker, PLAYERS);
    let [record] = &records[..] else { panic!("{records:?}") };
    let headers = [("event_type", "login"), ("event_id", &id)].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!((&record.key[..], &record.headers[..]), (&b"ann"[..], &headers[..]));
    let value: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
    assert_eq!((&value["event_id"], &value["player_id"]), (&id.as_str().into(), &"ann".into()));
    assert_eq!(value["timestamp"], "2026-01-31T23:59:59.5+02:00", "the zone is kept");
    assert!(value["data"].is_null() && value["ingested_at"].is_string(), "{value}");
}

/// G2: the ack mode by query or Prefer, on either route; the query wins.
#[test]
fn a_request_says_when_it_is_answered() {
    let broker = web_cluster();
    let sluice = web(&broker, &[]);
    let mut http = sluice.http();
    let cases = [
        ("", "", 202, 200),
        ("?ack=none", "", 202, 202),
        ("?ack=queued", "", 202, 202),
        ("?ack=delivered", "", 200, 200),
        ("", "Prefer: ack=none", 202, 202),
        ("", "Prefer: respond-async, ack=delivered; wait=10", 200, 200),
        ("", "Prefer: handling=strict", 202, 200),
        ("?ack=delivered&timeout=9s", "Prefer: ack=queued", 200, 200),
        ("?ack=delivered&timeout=0ms", "", 400, 400),
        ("?timeout=5", "", 400, 400),
        ("?ack=soon", "", 400, 400),
        ("", "Prefer: ack=soon", 400, 400),
    ];
    for (query, prefer, events, players) in cases {
        let headers = if prefer.is_empty() { vec![] } else { vec![prefer] };
        let answer = http.ask("POST", &format!("/events{query}"), &headers, event("a").as_bytes());
        assert_eq!(answer.status, events, "{query} {prefer}");
        let path = format!("/api/v1/events{query}");
        let answer = http.ask("POST", &path, &headers, player_event("p").as_bytes());
        assert_eq!(answer.status, players, "{query} {prefer}");
        let word = match players {
            200 => "success",
            202 => "accepted",
            _ => {
                assert_eq!(answer.code(), "bad_parameter");
                continue;
            }
        };
        assert_eq!(answer.json()["status"], word, "{query} {prefer}");
    }
    await_stored(&sluice, 16);
    stop(sluice).assert_clean(16);
}

/// G22: where in the topic an event is, for who asks and is told of delivery; nobody else is.
#[test]
fn offsets_are_told_only_when_asked_for() {
    let broker = web_cluster();
    let sluice = web(&broker, &[]);
    let mut http = sluice.http();
    let mut told = Vec::new();
    let answer = http.post("/events?ack=delivered&offsets=1", event("a"));
    told.push(answer.json());
    let answer = http.ask(
        "POST",
        "/events?ack=delivered&offsets=true",
        &["Idempotency-Key: k"],
        event("b").as_bytes(),
    );
    let again =
        http.ask("POST", "/events?ack=delivered&offsets=1", &["Idempotency-Key: k"], event("b").as_bytes());
    assert_eq!(answer.body, again.body);
    told.push(answer.json());
    let batch = format!("[{},7,{}]", event("c"), event("d"));
    let answer = http.post("/events?ack=delivered&offsets=1", &batch);
    assert_eq!(answer.status, 207);
    let items = answer.json()["items"].as_array().expect("items").clone();
    assert!(items[1].get("offset").is_none(), "{items:?}");
    told.extend([items[0].clone(), items[2].clone()]);
    let mut told: Vec<_> = told
        .iter()
        .map(|one| {
            (one["event_id"].as_str().unwrap().to_owned(), one["partition"].as_i64(), one["offset"].as_i64())
        })
        .collect();
    let answer = http.post("/api/v1/events?offsets=1", player_event("ann")).json();
    assert!(answer["partition"].is_i64() && answer["offset"].is_i64(), "{answer}");
    for path in
        ["/events?ack=delivered", "/events?ack=delivered&offsets=0", "/events?offsets=1", "/api/v1/events"]
    {
        let body = if path.starts_with("/e") { event("x") } else { player_event("bob") };
        let answer = http.post(path, body).json();
        assert!(answer.get("offset").is_none() && answer.get("partition").is_none(), "{path} {answer}");
    }
    assert_eq!(http.post("/events?offsets=yes", "{}").code(), "bad_parameter");
    await_stored(&sluice, 9);
    stop(sluice).assert_clean(9);
    let mut found: Vec<_> = stored(&broker, EVENTS)
        .iter()
        .map(|one| {
            let value: serde_json::Value = serde_json::from_slice(&one.value).unwrap();
            (value["id"].as_str().unwrap().to_owned(), Some(i64::from(one.partition)), Some(one.offset))
        })
        .filter(|(id, ..)| id != "x")
        .collect();
    told.sort();
    found.sort();
    assert_eq!(told, found);
}

/// Batches: one status for all when they agree, 207 otherwise, items in input order; each neighbour of a bad one
/// arrives. CloudEvents in their three forms.
#[test]
fn batches_are_answered_item_by_item() {
    let broker = web_cluster();
    let sluice = web(&broker, &[]);
    let mut http = sluice.http();
    let json = "Content-Type: application/json";
    let ndjson = "Content-Type: application/x-ndjson";
    let cloud = "Content-Type: application/cloudevents-batch+json";
    let ce = |id: &str| format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","data":1}}"#);
    let cases = [
        (json, format!("[{},{}]", event("a0"), event("a1")), vec![202, 202], 202),
        (json, format!(" [ {} , 7, {} ] ", event("b0"), event("b1")), vec![202, 400, 202], 207),
        (json, r#"[{"id":1},[]]"#.to_owned(), vec![400, 400], 207),
        (json, "[]".to_owned(), vec![], 200),
        (ndjson, format!("{}\r\n\n{}", event("c0"), event("c1")), vec![202, 202], 202),
        (ndjson, format!("{}\n{{\n{}\n", event("d0"), event("d1")), vec![202, 400, 202], 207),
        (ndjson, event("e0"), vec![202], 202),
        (cloud, format!("[{},{}]", ce("f0"), ce("f1")), vec![202, 202], 202),
        (cloud, format!("[{},{{}}]", ce("g0")), vec![202, 400], 207),
    ];
    for (kind, body, statuses, status) in &cases {
        let answer = http.ask("POST", "/events", &[kind], body.as_bytes());
        assert_eq!(answer.status, *status, "{body}: {answer:?}");
        let told = answer.json();
        let items = told["items"].as_array().unwrap();
        let found: Vec<u64> = items.iter().map(|item| item["status"].as_u64().unwrap()).collect();
        assert_eq!(&found, statuses, "{body}");
        assert!(items.iter().enumerate().all(|(at, item)| item["index"] == at));
        let good = statuses.iter().filter(|status| **status < 300).count();
        assert_eq!((&told["accepted"], &told["refused"]), (&good.into(), &(found.len() - good).into()));
        for item in items.iter().filter(|item| item["status"] == 400) {
            assert!(
                item["code"].is_string() && item["detail"].is_string() && item["outcome"] == "not_stored"
            );
        }
    }
    let answer = http.ask("POST", "/events?ack=delivered", &[ndjson], (event("h0") + "\n").as_bytes());
    assert_eq!((answer.status, &answer.json()["items"][0]["status"]), (200, &200.into()));

    let structured = "Content-Type: application/cloudevents+json; charset=utf-8";
    assert_eq!(http.ask("POST", "/events", &[structured], ce("i0").as_bytes()).status, 202);
    let binary =
        ["ce-specversion: 1.0", "ce-id: j%200", "ce-source: /s", "ce-type: t", "Content-Type: text/x"];
    assert_eq!(http.ask("POST", "/events?ack=delivered", &binary, b"\x00 raw").status, 200);
    let answer = http.ask("POST", "/api/v1/events", &binary, b"{}");
    assert_eq!((answer.status, answer.code()), (415, "unsupported_media_type".into()));

    let good = 2 + 2 + 2 + 2 + 1 + 2 + 1 + 1 + 1 + 1;
    await_stored(&sluice, good);
    let end = stop(sluice);
    end.assert_clean(good);
    assert_eq!(end.of("rejected"), 1 + 2 + 1 + 1 + 1);
    let records = stored(&broker, EVENTS);
    let raw =
        records.iter().find(|one| one.value == b"\x00 raw").expect("the binary one's data is the value");
    let header =
        |name: &str| raw.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &value[..]);
    assert_eq!((header("ce_id"), header("content-type")), (Some("j 0"), Some("text/x")), "{raw:?}");
    let plain = records.iter().filter(|one| one.headers.is_empty()).count();
    assert_eq!(plain, 10, "those of JSON bodies carry no headers");
}

/// What the issues list as bad input: refused with its own word, and exactly the good ones beside it arrive.
#[test]
fn malformed_events_are_refused_and_harm_nobody() {
    let broker = web_cluster();
    let sluice = web(&broker, &[]);
    let mut http = sluice.http();
    let deep = format!(r#"{{"payload":{}1{}}}"#, r#"{"a":"#.repeat(70), "}".repeat(70));
    let long_id = format!(r#"{{"id":"{}"}}"#, "i".repeat(129));
    let bad: [(&[u8], &str); 22] = [
        (b"", "empty"),
        (b" \r\n", "empty"),
        (b"{", "not_json"),
        (b"{} {}", "not_json"),
        (b"nonsense", "not_json"),
        (b"\xef\xbb\xbf{}", "not_json"),
        (b"{\"a\":01}", "not_json"),
        (b"{\"a\":NaN}", "not_json"),
        (b"{\"a\":\"\x01\"}", "not_json"),
        (b"{\"a\":1,}", "not_json"),
        (b"\x00", "not_json"),
        (b"{\"a\":\"\xff\"}", "not_utf8"),
        (b"{\"a\":\"\\ud800\"}", "lone_surrogate"),
        (b"\"text\"", "not_an_object"),
        (b"12", "not_an_object"),
        (b"{\"id\":\"a\",\"\\u0069d\":\"b\"}", "duplicate_member"),
        (b"{\"id\":7}", "mistyped"),
        (b"{\"payload\":[]}", "mistyped"),
        (b"{\"timestamp\":\"yesterday\"}", "not_rfc3339"),
        (b"{\"id\":\"a\\nb\"}", "control_character"),
        (deep.as_bytes(), "too_deep"),
        (long_id.as_bytes(), "too_long"),
    ];
    let mut good = Vec::new();
    for (at, (body, code)) in bad.iter().enumerate() {
        let answer = http.post("/events", body);
        assert_eq!((answer.status, answer.code().as_str()), (400, *code), "{}", body.escape_ascii());
        assert_eq!((answer.json()["outcome"].as_str(), answer.closes()), (Some("not_stored"), false));
        good.push(format!("g{at:02}"));
        assert_eq!(http.post("/events", event(&good[at])).status, 202);
    }
    let players: [(&str, &str, &str); 9] = [
        (r#"{"player_id":"p","game_id":"g","timestamp":"2026-01-01T00:00:00Z"}"#, "missing", "/event_type"),
        (r#"{"event_type":"","player_id":"p"}"#, "empty", "/event_type"),
        (r#"{"event_type":"e","player_id":5}"#, "mistyped", "/player_id"),
        (r#"{"event_type":"e","player_id":"p","game_id":null}"#, "mistyped", "/game_id"),
        (r#"{"event_type":"e","player_id":"p","game_id":"g"}"#, "missing", "/timestamp"),
        (
            r#"{"event_type":"e","player_id":"p","game_id":"g","timestamp":"2026-01-01T00:00:00"}"#,
            "not_rfc3339",
            "/timestamp",
        ),
        (
            r#"{"event_type":"e","player_id":"p","game_id":"g","timestamp":"2026-01-01T00:00:00Z","data":3}"#,
            "mistyped",
            "/data",
        ),
        (
            r#"{"event_type":"e","player_id":"p","game_id":"g","timestamp":"2026-01-01T00:00:00Z","event_id":"x"}"#,
            "not_uuid",
            "/event_id",
        ),
        (r#"{"event_type":"e","event_type":"f"}"#, "duplicate_member", "/event_type"),
    ];
    for (body, code, pointer) in players {
        let answer = http.post("/api/v1/events", body);
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{body}");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{body}");
    }
    await_stored(&sluice, good.len() as u64);
    let end = stop(sluice);
    end.assert_clean(good.len() as u64);
    assert_eq!(end.of("rejected"), (bad.len() + players.len()) as u64);
    assert_eq!(ids(&broker), good);
}

/// A body that never ends is no event: whatever its cut, nothing is stored and the next one is served.
#[test]
fn bodies_cut_at_every_byte_leave_nothing() {
    let broker = web_cluster();
    // Enough for one such body: what a cut one held must come back.
    let sluice = web(&broker, &[("HTTP_BODY_STORE_BYTES", "4KiB"), ("HTTP_MAX_BODY_BYTES", "4KiB")]);
    let body = format!(r#"{{"id":"cut","payload":{{"a":"{}"}}}}"#, "x".repeat(40));
    let whole = request("POST", "/events", &["Content-Type: application/json"], body.as_bytes());
    let mut chunks = b"POST /events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    chunks.extend(support::chunked(body.as_bytes(), 30));
    for bytes in [&whole, &chunks] {
        for cut in 0..bytes.len() {
            let mut http = sluice.http();
            http.send(&bytes[..cut]);
            // Every third one breaks off, the others say that nothing follows and look at the answer, if any.
            if cut % 3 > 0 {
                http.half_close();
                let answer = http.maybe_answer();
                assert!(answer.as_ref().is_none_or(|answer| answer.status == 400), "{cut}: {answer:?}");
            }
        }
    }
    for _ in 0..40 {
        // Announces as much as there is room for, and goes.
        let mut http = sluice.http();
        http.send(b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 4000\r\n\r\n{");
        http.half_close();
        assert!(http.maybe_answer().is_none_or(|answer| answer.status == 400));
    }
    let mut http = sluice.http();
    assert_eq!(http.post("/events?ack=delivered", event(&"i".repeat(100))).status, 200);
    http.send(b"POST /events?ack=delivered HTTP/1.1\r\nHost: a\r\nContent-Length: 4000\r\n\r\n");
    http.send([b"{".to_vec(), b" ".repeat(3998), b"}".to_vec()].concat());
    assert_eq!(http.answer().status, 200, "the store of bodies has all its room");
    eventually(PATIENCE, "the connections are gone", || {
        sluice.metric("gateway_connections{listener=\"http\"}") == 1.0
    });
    stop(sluice).assert_clean(2);
    assert_eq!(stored(&broker, EVENTS).len(), 2);
}

/// A client that goes before its answer changes nothing for its record.
#[test]
fn a_client_gone_before_its_answer_has_its_record_accounted() {
    let mut broker = web_cluster();
    let sluice = web(&broker, &[]);
    broker.command("slow all 100ms");
    for at in 0..20 {
        let mut http = sluice.http();
        http.send(request("POST", "/events?ack=delivered", &[], event(&format!("{at:02}")).as_bytes()));
        if at % 2 == 0 {
            eventually(PATIENCE, "it was taken", || {
                sluice.metric("gateway_records_received_total") > f64::from(at)
            });
        } else {
            http.half_close();
            assert_eq!(http.answer().status, 200, "half-close is honoured");
            http.assert_ends();
        }
    }
    await_stored(&sluice, 20);
    assert_eq!(outcome(&sluice, "stored"), 20);
    stop(sluice).assert_clean(20);
    assert_eq!(ids(&broker), (0..20).map(|at| format!("{at:02}")).collect::<Vec<_>>());
}

/// 64 requests in one piece, with every ack mode, refusals and pages between: answers in their order.
#[test]
fn pipelined_answers_come_in_order() {
    let broker = web_cluster();
    let sluice = web(&broker, &[]);
    let mut http = sluice.http();
    for round in 0..8 {
        let (mut bytes, mut wanted) = (Vec::new(), Vec::new());
        for at in 0..64 {
            let id = format!("{round}-{at:02}");
            let (target, status) = match at % 8 {
                0 | 5 => ("/events?ack=delivered", 200),
                1 => ("/events?ack=queued", 202),
                2 => ("/events?ack=none", 202),
                3 => ("/nowhere", 404),
                4 => ("/events?ack=wrong", 400),
                6 => ("/health", 200),
                _ => ("/events", 202),
            };
            let method = if target == "/health" { "GET" } else { "POST" };
            bytes.extend(request(method, target, &[], event(&id).as_bytes()));
            let is_event = target.starts_with("/events") && status < 300;
            wanted.push((status, is_event.then_some(id)));
        }
        // In one piece, and in pieces that end anywhere.
        for piece in bytes.chunks(if round % 2 == 0 { bytes.len() } else { 97 }) {
            http.send(piece);
        }
        for (at, (status, id)) in wanted.into_iter().enumerate() {
            let answer = http.answer();
            assert_eq!(answer.status, status, "{at}: {answer:?}");
            if let Some(id) = id {
                assert_eq!(answer.json()["event_id"], id, "{at}");
            }
        }
    }
    await_stored(&sluice, 8 * 40);
    drop::<Http>(http);
    stop(sluice).assert_clean(8 * 40);
    assert_eq!(ids(&broker).len(), 8 * 40);
}
