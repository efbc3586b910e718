//! Conversations without a socket: whole, byte by byte, pipelined, cut off, and with answers that nobody reads.

use super::*;

struct View {
    good: bool,
    metrics_bytes: usize,
}

impl AdminView for View {
    fn health(&self, body: &mut String) -> bool {
        body.push_str(r#"{"status":"OK"}"#);
        self.good
    }
    fn ready(&self, body: &mut String) -> bool {
        body.push_str(if self.good { r#"{"status":"READY"}"# } else { r#"{"status":"NOT_READY"}"# });
        self.good
    }
    fn metrics(&self, body: &mut String) {
        body.extend(std::iter::repeat_n('m', self.metrics_bytes));
    }
    fn state(&self, body: &mut String) {
        body.push_str("nobody is paused\n");
    }
    fn status(&self, body: &mut String) {
        body.push_str(r#"{"version":"0"}"#);
    }
}

const GOOD: View = View { good: true, metrics_bytes: 10 };

fn session() -> AdminSession {
    AdminSession::new(Some("/metrics".into()))
}

/// Plays `input` in pieces of `piece` bytes, keeping what is not consumed, as a caller does that writes at once.
fn play(input: &str, piece: usize, eof: bool, view: &View) -> (String, bool) {
    let (mut session, mut kept, mut said) = (session(), Vec::new(), Vec::new());
    let mut pieces: Vec<_> = input.as_bytes().chunks(piece).map(|p| (p, false)).collect();
    if eof {
        pieces.push((b"", true));
    }
    for (piece, eof) in pieces {
        kept.extend_from_slice(piece);
        loop {
            let mut out = Vec::new();
            let consumed = session.receive(&kept, eof, view, &mut out);
            kept.drain(..consumed);
            said.extend_from_slice(&out);
            if consumed == 0 || kept.is_empty() {
                break;
            }
        }
        assert!(kept.len() <= HEAD_BYTES_MAX);
    }
    (String::from_utf8(said).expect("text"), session.finished())
}

/// What is answered, however the input is cut.
fn talk(input: &str, eof: bool, view: &View) -> (String, bool) {
    let whole = play(input, input.len().max(1), eof, view);
    for piece in [1, 2, 7] {
        assert_eq!(play(input, piece, eof, view), whole, "{input:?} in pieces of {piece}");
    }
    whole
}

fn request(line: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// Status and body of the one answer in `text`.
fn one(text: &str) -> (u16, &str) {
    let (head, body) = text.split_once("\r\n\r\n").expect(text);
    (head[9..12].parse().expect(text), body)
}

#[test]
fn each_route_has_its_answer() {
    let bad = View { good: false, ..GOOD };
    for (line, view, status, body, content_type) in [
        ("GET /health", &GOOD, 200, r#"{"status":"OK"}"#, JSON),
        ("GET /health", &bad, 503, r#"{"status":"OK"}"#, JSON),
        ("GET /health?verbose=1", &GOOD, 200, r#"{"status":"OK"}"#, JSON),
        ("GET /ready", &GOOD, 200, r#"{"status":"READY"}"#, JSON),
        ("GET /ready", &bad, 503, r#"{"status":"NOT_READY"}"#, JSON),
        ("GET /metrics", &GOOD, 200, "mmmmmmmmmm", METRICS),
        ("GET http://x/metrics", &GOOD, 200, "mmmmmmmmmm", METRICS),
        ("GET /state", &GOOD, 200, "nobody is paused\n", TEXT),
        ("GET /status.json", &GOOD, 200, r#"{"version":"0"}"#, JSON),
        ("HEAD /metrics", &GOOD, 200, "", METRICS),
        ("HEAD /ready", &bad, 503, "", JSON),
    ] {
        let (text, finished) = talk(&request(line), false, view);
        assert_eq!(one(&text), (status, body), "{line}");
        assert!(text.contains(&format!("\r\nContent-Type: {content_type}\r\n")), "{line}: {text}");
        assert!(!finished && !text.contains("\r\nConnection:"), "{line}: {text}");
        assert!(text.contains("\r\nX-Content-Type-Options: nosniff\r\n"), "{line}: {text}");
    }
    let (head, _) = talk(&request("HEAD /metrics"), false, &GOOD);
    assert!(head.contains("\r\nContent-Length: 10\r\n"), "{head}");
}

#[test]
fn the_index_lists_the_routes() {
    let (text, _) = talk(&request("GET /"), false, &GOOD);
    for path in ADMIN_PATHS.into_iter().skip(1).chain(["/metrics"]) {
        assert!(one(&text).1.lines().any(|l| l.starts_with(path)), "{text}");
    }
}

/// Who asks for HTML by name gets the page with its policy; everybody else the index.
#[test]
fn a_browser_gets_the_page() {
    let head = |method: &str, accept: &str| {
        let (text, _) =
            talk(&format!("{method} / HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n"), false, &GOOD);
        let (head, body) = text.split_once("\r\n\r\n").expect(&text);
        (head.to_owned(), body.to_owned())
    };
    let (page, body) = head("GET", "text/html,application/xhtml+xml,*/*;q=0.8");
    assert!(page.contains("\r\nContent-Type: text/html; charset=utf-8\r\n"), "{page}");
    assert!(page.contains("\r\nContent-Security-Policy: default-src 'none';"), "{page}");
    assert!(page.contains("\r\nX-Content-Type-Options: nosniff"), "{page}");
    assert_eq!(body, page::HTML);
    assert_eq!(head("HEAD", "text/html"), (page, String::new()));
    let (index, body) = head("GET", "*/*");
    assert!(
        index.contains(&format!("\r\nContent-Type: {TEXT}\r\n")) && body.starts_with("/health"),
        "{index}"
    );
}

#[test]
fn the_metrics_path_can_be_another_or_none() {
    for (path, metrics, elsewhere) in [(Some("/m"), 404, 200), (None, 404, 404)] {
        for (line, status) in [("GET /metrics", metrics), ("GET /m", elsewhere), ("GET /", 200)] {
            let mut out = Vec::new();
            let mut session = AdminSession::new(path.map(Arc::from));
            session.receive(request(line).as_bytes(), false, &GOOD, &mut out);
            let text = String::from_utf8(out).expect("text");
            assert_eq!(one(&text).0, status, "{path:?} {line}");
            assert!(!text.contains("\n/metrics"), "{text}");
        }
    }
}

#[test]
fn unknown_paths_and_methods_keep_the_connection() {
    for (line, status) in [
        ("GET /nope", 404),
        ("GET /health/", 404),
        ("GET /HEALTH", 404),
        ("GET //health", 404),
        ("GET /%68ealth", 404),
        ("POST /nope", 404),
        ("OPTIONS *", 404),
        ("POST /health", 405),
        ("DELETE /metrics", 405),
        ("get /health", 405),
    ] {
        let (text, finished) = talk(&request(line), false, &GOOD);
        let (got, body) = one(&text);
        assert_eq!((got, finished), (status, false), "{line}");
        assert_eq!(text.contains("\r\nAllow: GET, HEAD\r\n"), status == 405, "{text}");
        let problem: serde_json::Value = serde_json::from_str(body).expect(body);
        assert_eq!(problem["status"], status);
    }
}

#[test]
fn faults_are_answered_once_and_end_the_connection() {
    let next = request("GET /ready");
    for (input, status) in [
        ("POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n".to_owned(), 413),
        ("GET /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 413),
        ("GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\n".to_owned(), 400),
        ("hello\r\n\r\n".to_owned(), 400),
        (format!("GET /{} HTTP/1.1\r\n", "a".repeat(9_000)), 414),
        (format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(9_000)), 431),
    ] {
        let (text, finished) = talk(&(input + &next), false, &GOOD);
        let (got, body) = one(&text);
        assert_eq!((got, finished), (status, true), "{text}");
        assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
        let problem: serde_json::Value = serde_json::from_str(body).expect(body);
        assert_eq!(problem["status"], status);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_until_one_closes() {
    let input = request("GET /health")
        + "\r\n"
        + &request("HEAD /health")
        + &request("GET /nope")
        + "GET /state HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        + &request("GET /metrics");
    let (text, finished) = talk(&input, false, &GOOD);
    assert!(finished);
    let statuses: Vec<_> = text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "404", "200"], "{text}");
    assert!(text.ends_with("nobody is paused\n"), "nothing after the closing answer: {text}");
    let (text, finished) = talk("GET /health HTTP/1.0\r\n\r\n", false, &GOOD);
    assert!(finished && text.contains("\r\nConnection: close\r\n"), "{text}");
    let asked = "GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let (text, finished) = talk(asked, false, &GOOD);
    assert!(!finished && text.contains("\r\nConnection: keep-alive\r\n"), "{text}");
}

#[test]
fn the_end_of_input_ends_the_session_after_the_answers() {
    assert_eq!(talk("", true, &GOOD), (String::new(), true));
    assert_eq!(talk("\r\n", true, &GOOD), (String::new(), true));
    let (text, finished) = talk(&request("GET /health"), true, &GOOD);
    assert_eq!((one(&text).0, finished), (200, true));
    let (text, finished) = talk("GET /health HTTP/1.1\r\nHost: x\r\n", true, &GOOD);
    assert_eq!((one(&text).0, finished), (400, true));
}

/// A peer that sends requests and reads nothing: answers stay bounded, and none is missing once it reads.
#[test]
fn unread_answers_hold_back_the_requests() {
    let view = View { good: true, metrics_bytes: 10_000 };
    let count = 1_000;
    let input = request("GET /metrics").repeat(count);
    let (mut session, mut at, mut answers, mut out) = (session(), 0, 0, Vec::new());
    while !session.finished() {
        let consumed = session.receive(&input.as_bytes()[at..], true, &view, &mut out);
        at += consumed;
        assert!(out.len() < OUT_BYTES_MAX + 10_300, "{}", out.len());
        let full = out.len();
        if !session.finished() {
            assert!(full >= OUT_BYTES_MAX, "stopped for another reason");
            assert_eq!(session.receive(&input.as_bytes()[at..], true, &view, &mut out), 0);
            assert_eq!(out.len(), full, "took a request without room");
        }
        answers += out.windows(9).filter(|w| w == b"HTTP/1.1 ").count();
        out.clear();
    }
    assert_eq!((at, answers), (input.len(), count));
}

#[test]
fn a_finished_session_swallows_what_still_comes() {
    let mut session = session();
    let mut out = Vec::new();
    session.receive(b"GET / HTTP/1.0\r\n\r\n", false, &GOOD, &mut out);
    assert!(session.finished());
    let said = out.len();
    assert_eq!(session.receive(&[b'x'; 100_000], false, &GOOD, &mut out), 100_000);
    assert_eq!((out.len(), session.finished()), (said, true));
}
