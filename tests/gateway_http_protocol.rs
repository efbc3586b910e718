//! HTTP/1.1 itself over a socket: what is refused and how, content codings, `Expect`, HTTP/1.0, and connections that go
//! on, or end so that their last answer arrives.

mod gateway;
mod support;

use std::io::Write;
use std::time::Duration;

use gateway::web::{EVENTS, event, ids, stored, web, web_cluster};
use gateway::{await_stored, stop};
use support::{PATIENCE, Sluice, chunked, eventually, request};

/// Resident memory that a test may cost, whatever is thrown at the gateway.
const FLAT_KIB: u64 = 24 << 10;

/// Each refusal has its status and word; after those that leave the connection usable it is used, after the others
/// the answer says `close` and the connection ends.
#[test]
fn each_refusal_has_its_status_and_the_connection_goes_on() {
    let broker = web_cluster();
    let sluice = web(&broker, &[("HTTP_MAX_BODY_BYTES", "4KiB")]);
    let head = |lines: &str| format!("{lines}\r\nHost: a\r\n\r\n").into_bytes();
    let post = |lines: &str| format!("POST /events HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n").into_bytes();
    let big = |length: usize| [post(&format!("Content-Length: {length}")), b" ".repeat(length)].concat();
    let many = (0..200).map(|at| format!("X-{at}: 1\r\n")).collect::<String>() + "Content-Length: 0";
    let cases: Vec<(Vec<u8>, u16, &str, bool)> = vec![
        (head("GET / HTTP/1.1"), 404, "not_found", true),
        (request("POST", "/event", &[], b"{\"a\":1}"), 404, "not_found", true),
        (head("GET /events HTTP/1.1"), 405, "method_not_allowed", true),
        (head("DELETE /api/v1/events HTTP/1.1"), 405, "method_not_allowed", true),
        (request("POST", "/health", &[], b"x"), 405, "method_not_allowed", true),
        (head("POST /events HTTP/1.1"), 411, "length_required", true),
        (big(4097), 413, "body_too_large", true),
        (big(16 << 10), 413, "body_too_large", true),
        (big(17 << 10), 413, "body_too_large", false),
        (
            [post("Transfer-Encoding: chunked"), chunked(&b" ".repeat(4097), 1000)].concat(),
            413,
            "body_too_large",
            false,
        ),
        (
            request("POST", "/events", &["Content-Type: multipart/form-data; boundary=x"], b"x"),
            415,
            "unsupported_media_type",
            true,
        ),
        (
            request("POST", "/events", &["Content-Encoding: br"], b"x"),
            415,
            "unsupported_content_coding",
            true,
        ),
        (request("POST", "/events", &["Content-Encoding: gzip"], b"no gzip"), 400, "corrupt_content", true),
        (request("POST", "/events", &["Idempotency-Key: "], b"{}"), 400, "empty", true),
        (request("POST", "/events", &["Expect: 200-ok"], b"{}"), 417, "expectation_failed", false),
        (head(&format!("GET /{} HTTP/1.1", "u".repeat(20 << 10))), 414, "uri_too_long", false),
        (post(&format!("X: {}", "x".repeat(20 << 10))), 431, "head_too_large", false),
        (post(&many), 431, "head_too_large", false),
        (post("Content-Length: 1\r\nTransfer-Encoding: chunked"), 400, "malformed_request", false),
        (post("Content-Length: 1\r\nContent-Length: 2"), 400, "malformed_request", false),
        (post("Content-Length : 1"), 400, "malformed_request", false),
        (post("A: b\r\n c"), 400, "malformed_request", false),
        (post("Transfer-Encoding: gzip, chunked"), 501, "unsupported_transfer_coding", false),
        ([post("Transfer-Encoding: chunked"), b"zz\r\n".to_vec()].concat(), 400, "malformed_request", false),
        (head("GET / HTTP/2.0"), 505, "unsupported_http_version", false),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), 400, "malformed_request", false),
    ];
    let (mut http, mut good) = (sluice.http(), 0);
    for (at, (bytes, status, code, goes_on)) in cases.iter().enumerate() {
        http.send(bytes);
        let answer = http.answer();
        let found = (answer.status, answer.code(), !answer.closes());
        assert_eq!(found, (*status, (*code).to_owned(), *goes_on), "{at}: {answer:?}");
        if *status == 405 {
            let wanted = if at == 4 { "GET, HEAD, OPTIONS" } else { "POST, OPTIONS" };
            assert_eq!(answer.header("allow"), Some(wanted), "{at}");
        }
        let codings = (*code == "unsupported_content_coding").then_some("gzip, deflate, zstd");
        assert_eq!(answer.header("accept-encoding"), codings, "{at}");
        if !goes_on {
            http.assert_ends();
            http = sluice.http();
        }
        assert_eq!(http.post("/events", event(&format!("{at:02}"))).status, 202, "after {at}");
        good += 1;
    }
    await_stored(&sluice, good);
    stop(sluice).assert_clean(good);
    assert_eq!(ids(&broker), (0..good).map(|at| format!("{at:02}")).collect::<Vec<_>>());
}

/// One gateway for three conversations that leave nothing behind but their records.
#[test]
fn pages_expectations_and_old_clients() {
    let broker = web_cluster();
    let sluice = web(&broker, &[]);
    pages_and_methods(&sluice);
    who_asks_first_is_answered_first(&sluice);
    http_1_0(&sluice);
    await_stored(&sluice, 5);
    stop(sluice).assert_clean(5);
    assert_eq!(stored(&broker, EVENTS).len(), 5);
}

/// Pages, HEAD and OPTIONS.
fn pages_and_methods(sluice: &Sluice) {
    let mut http = sluice.http();
    for path in ["/health", "/ready", "/metrics", "/health/live", "/health/ready"] {
        let page = http.ask("GET", path, &[], b"");
        assert_eq!(page.status, 200, "{path}");
        let head = http.ask("HEAD", path, &[], b"");
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        assert_eq!(head.header("content-type"), page.header("content-type"), "{path}");
        assert_eq!(http.ask("OPTIONS", path, &[], b"").header("allow"), Some("GET, HEAD, OPTIONS"));
    }
    let answer =
        http.ask("OPTIONS", "/events", &["Origin: http://a", "Access-Control-Request-Method: POST"], b"");
    assert_eq!((answer.status, answer.header("allow")), (204, Some("POST, OPTIONS")));
    assert_eq!(answer.header("access-control-allow-origin"), None, "CORS is off");
    let answer = http.ask("HEAD", "/events", &[], b"");
    assert_eq!((answer.status, answer.closes()), (405, false));
    assert!(http.ask("GET", "/metrics", &[], b"").body.contains("gateway_records_total"));
}

/// Bodies in chunks, compressed, and both: the same events. A bomb is refused, and costs nothing.
#[test]
fn bodies_come_in_every_coding_and_bombs_cost_nothing() {
    let broker = web_cluster();
    let sluice = web(&broker, &[]);
    let mut http = sluice.http();
    let gzip = |body: &[u8]| {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        writer.write_all(body).unwrap();
        writer.finish().unwrap()
    };
    let deflate = |body: &[u8]| {
        let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        writer.write_all(body).unwrap();
        writer.finish().unwrap()
    };
    let zstd = |body: &[u8]| {
        let mut out = Vec::with_capacity(zstd_safe::compress_bound(body.len()));
        zstd_safe::compress(&mut out, body, 19).expect("it compresses");
        out
    };
    type Coder<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let codings: [(&str, Coder<'_>); 4] =
        [("identity", &<[u8]>::to_vec), ("gzip", &gzip), ("deflate", &deflate), ("zstd", &zstd)];
    let mut wanted = Vec::new();
    for (name, coder) in codings {
        let header = format!("Content-Encoding: {name}");
        for piece in [0, 1, 7, 4096] {
            let id = format!("{name}-{piece:04}");
            let body = coder(event(&id).as_bytes());
            if piece == 0 {
                assert_eq!(http.ask("POST", "/events", &[&header], &body).status, 202, "{id}");
            } else {
                http.send(format!(
                    "POST /events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{header}\r\n\r\n"
                ));
                http.send(chunked(&body, piece));
                assert_eq!(http.answer().status, 202, "{id}");
            }
            wanted.push(id);
        }
    }
    wanted.sort_unstable();
    let before = sluice.rss_kib();
    let zeros = vec![b' '; 64 << 20];
    for (name, coder) in &codings[1..] {
        let bomb = coder(&zeros);
        assert!(bomb.len() < 1 << 20, "{name} is a bomb");
        for _ in 0..20 {
            let answer = http.ask("POST", "/events", &[&format!("Content-Encoding: {name}")], &bomb);
            assert_eq!((answer.status, answer.closes()), (413, false), "{name}: {answer:?}");
        }
    }
    assert!(sluice.rss_kib() < before + FLAT_KIB, "{} KiB, before {before}", sluice.rss_kib());
    await_stored(&sluice, wanted.len() as u64);
    stop(sluice).assert_clean(wanted.len() as u64);
    assert_eq!(ids(&broker), wanted);
}

/// `Expect: 100-continue`: told to go on where the body is wanted, and told the truth where it is not.
fn who_asks_first_is_answered_first(sluice: &Sluice) {
    let head = |path: &str, length: usize| {
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
    };
    let (mut http, body) = (sluice.http(), event("asked"));
    http.send(head("/events?ack=delivered", body.len()));
    assert_eq!(http.answer().status, 100);
    http.send(&body[..5]);
    http.assert_silent(Duration::from_millis(50));
    http.send(&body[5..]);
    assert_eq!(http.answer().status, 200);
    // A body that is there already needs no leave.
    http.send(head("/events?ack=delivered", body.len()) + &body);
    assert_eq!(http.answer().status, 200);
    for (path, length, status) in [("/events", 2 << 20, 413), ("/nowhere", 10, 404)] {
        let mut http = sluice.http();
        http.send(head(path, length));
        let answer = http.answer();
        assert_eq!((answer.status, answer.closes()), (status, true), "{answer:?}");
        http.assert_ends();
    }
}

/// HTTP/1.0: one request a connection, unless it asks to keep it.
fn http_1_0(sluice: &Sluice) {
    let mut http = sluice.http();
    let body = event("old");
    let request = |header: &str| {
        format!("POST /events HTTP/1.0\r\n{header}Content-Length: {}\r\n\r\n{body}", body.len())
    };
    http.send(request("Connection: keep-alive\r\n"));
    let answer = http.answer();
    assert_eq!((answer.status, answer.header("connection")), (202, Some("keep-alive")));
    http.send(request(""));
    let answer = http.answer();
    assert_eq!((answer.status, answer.closes()), (202, true));
    http.assert_ends();
    let mut http = sluice.http();
    http.send(support::request("POST", "/events", &["Connection: close"], body.as_bytes()));
    assert!(http.answer().closes());
    http.assert_ends();
}

/// A peer that sends on for ever after its refusal still gets to read it, and is then cut off; nothing grows.
#[test]
fn a_refusal_reaches_a_peer_that_goes_on_sending() {
    let broker = web_cluster();
    let sluice = web(&broker, &[]);
    let before = sluice.rss_kib();
    let mib = vec![b'x'; 1 << 20];
    let heads = [
        (413, b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n".to_vec()),
        (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec()),
        (400, b"nonsense\r\n\r\n".to_vec()),
    ];
    for (status, head) in heads {
        let mut http = sluice.http();
        http.send(&head);
        for _ in 0..30 {
            assert!(http.try_send(&mib), "{status}: cut off before its answer can be read");
        }
        let answer = http.answer();
        assert_eq!((answer.status, answer.closes()), (status, true), "{answer:?}");
        eventually(PATIENCE, "it is cut off in the end", || !http.try_send(&mib));
    }
    assert!(sluice.rss_kib() < before + FLAT_KIB, "{} KiB, before {before}", sluice.rss_kib());
    eventually(PATIENCE, "nobody is left", || sluice.metric("gateway_connections{listener=\"http\"}") == 0.0);
    stop(sluice).assert_clean(0);
}

/// Behind an answer that waits, only so many others are held, however many are asked for.
#[test]
fn answers_behind_one_that_waits_are_bounded() {
    let mut broker = web_cluster();
    let sluice = web(&broker, &[]);
    broker.command("slow all 2s");
    let mut http = sluice.http();
    http.send(request("POST", "/events?ack=delivered", &[], event("slow").as_bytes()));
    let before = sluice.rss_kib();
    let refused = request("GET", "/nowhere", &[], b"");
    let many = refused.repeat(20_000);
    let reader = std::thread::spawn({
        move || {
            http.send(&many);
            http
        }
    });
    let metric = || sluice.metric("gateway_records_received_total");
    eventually(PATIENCE, "the slow one is taken", || metric() == 1.0);
    // All the while that it waits.
    while gateway::outcome(&sluice, "stored") == 0 {
        assert!(sluice.rss_kib() < before + FLAT_KIB / 4, "{} KiB, before {before}", sluice.rss_kib());
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut http = reader.join().expect("all is sent");
    assert_eq!(http.answer().status, 200);
    for at in 0..20_000 {
        assert_eq!(http.answer().status, 404, "{at}");
    }
    stop(sluice).assert_clean(1);
}

/// Web pages: off unless their origins are named; then a browser is told by OPTIONS, and by every answer, a refusal too.
#[test]
fn web_pages_may_send_where_their_origins_are_named() {
    let broker = web_cluster();
    let sluice = web(&broker, &[("HTTP_CORS_ORIGINS", "https://app.example, http://localhost:3000")]);
    let mut http = sluice.http();
    let (page, stranger) = ("Origin: http://localhost:3000", "Origin: https://evil.example");
    let preflight = ["Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type"];
    let asked = http.ask("OPTIONS", "/events", &[&[page][..], &preflight].concat(), b"");
    let of = |answer: &support::Answer, name: &str| answer.header(name).map(str::to_owned);
    assert_eq!((asked.status, of(&asked, "allow").as_deref()), (204, Some("POST, OPTIONS")));
    for (name, value) in [
        ("access-control-allow-origin", "http://localhost:3000"),
        ("access-control-allow-methods", "POST, OPTIONS"),
        ("access-control-allow-headers", "*"),
        ("vary", "Origin"),
    ] {
        assert_eq!(of(&asked, name).as_deref(), Some(value), "{asked:?}");
    }
    for (path, body, status) in [
        ("/events", "{}", 202),
        ("/events?ack=delivered", "{}", 200),
        ("/events", "[{},7]", 207),
        ("/events", "no", 400),
        ("/nowhere", "{}", 404),
    ] {
        let answer = http.ask("POST", path, &[page], body.as_bytes());
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(
            of(&answer, "access-control-allow-origin").as_deref(),
            Some("http://localhost:3000"),
            "{answer:?}"
        );
        let answer = http.ask("POST", path, &[stranger], body.as_bytes());
        assert_eq!((answer.status, of(&answer, "access-control-allow-origin")), (status, None), "{answer:?}");
    }
    let health = http.ask("GET", "/health", &[page], b"");
    assert!(of(&health, "access-control-allow-origin").is_some(), "{health:?}");
    assert_eq!(stop(sluice).code, 0);

    let sluice = web(&broker, &[]);
    let asked = sluice.http().ask("OPTIONS", "/events", &[&[page][..], &preflight].concat(), b"");
    assert_eq!((asked.status, of(&asked, "access-control-allow-origin")), (204, None));
    assert_eq!(stop(sluice).code, 0);
}
