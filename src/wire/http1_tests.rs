//! Heads whole, byte by byte and with trailing bytes; a table of heads that must be refused.

use super::*;

/// What `input` is in the end. Fed whole, cut at every byte and followed by other bytes, it must come out the same.
fn outcome(input: &[u8]) -> Result<Parsed<'_>, Fault> {
    let whole = parse(input);
    let cut = (0..=input.len()).map(|n| parse(&input[..n])).find(|p| *p != Ok(Parsed::Partial));
    assert_eq!(
        cut.unwrap_or(Ok(Parsed::Partial)),
        whole,
        "{:?} byte by byte",
        String::from_utf8_lossy(input)
    );
    if whole != Ok(Parsed::Partial) {
        for trailing in
            [&b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\n", b"\0\xff", b" folded\r\n", &[b'a'; 9_000]]
        {
            let more = [input, trailing].concat();
            assert_eq!(parse(&more), whole, "{:?} with trailing bytes", String::from_utf8_lossy(input));
        }
    }
    whole
}

fn complete(input: &[u8]) -> Request<'_> {
    match outcome(input) {
        Ok(Parsed::Complete(request, bytes)) if bytes == input.len() => request,
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(input)),
    }
}

#[test]
fn good_heads() {
    use Method::*;
    let table: [(&[u8], Method, &str, bool); 15] = [
        (b"GET /health HTTP/1.1\r\nHost: localhost:7001\r\n\r\n", Get, "/health", true),
        (b"GET /health HTTP/1.1\r\nhOsT:\r\n\r\n", Get, "/health", true),
        (b"HEAD / HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n", Head, "/", true),
        (b"GET /health HTTP/1.0\r\n\r\n", Get, "/health", false),
        (b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Get, "/health", false),
        (b"GET /m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", Get, "/m", false),
        (b"GET /m HTTP/1.1\r\nHost: x\r\nConnection: TE , CLOSE\r\n\r\n", Get, "/m", false),
        (b"GET /m HTTP/1.1\r\nHost: x\r\nConnection: te\r\nConnection: close\r\n\r\n", Get, "/m", false),
        (b"GET /m HTTP/1.1\r\nHost: x\r\nConnection: closed\r\n\r\n", Get, "/m", true),
        (b"GET /m?a=/b?c HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", Get, "/m", true),
        (b"GET http://x:7001/m?a HTTP/1.1\r\nHost: x\r\n\r\n", Get, "/m", true),
        (b"GET HTTPS://x HTTP/1.1\r\nHost: x\r\n\r\n", Get, "/", true),
        (b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", Get, "/", true),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", Other, "*", true),
        (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", Other, "/", true),
    ];
    for (input, method, path, keep_alive) in table {
        assert_eq!(complete(input), Request { method, path, keep_alive, accepts_html: false });
    }
}

#[test]
fn html_is_accepted_by_name_only() {
    for (accept, html) in [
        ("text/html", true),
        ("application/xhtml+xml, Text/HTML;q=0.9,*/*;q=0.8", true),
        ("*/*", false),
        ("text/*", false),
        ("text/htmlx", false),
        ("text/html;level=1; q=0.0, */*", false),
        ("", false),
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n");
        assert_eq!(complete(head.as_bytes()).accepts_html, html, "{accept}");
    }
    let twice = b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nAccept: a/b\r\n\r\n";
    assert!(complete(twice).accepts_html);
}

#[test]
fn a_beginning_is_no_fault() {
    for input in [
        "",
        "\r",
        "\r\n",
        "G",
        "GET / HTTP/1.1",
        "GET / HTTP/1.1\r\nHost: x\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\r",
    ] {
        assert_eq!(outcome(input.as_bytes()), Ok(Parsed::Partial), "{input:?}");
    }
}

/// Shapes by which requests are smuggled past a proxy, and plain rubbish: each is 400, none is taken for two requests.
#[test]
fn malformed_heads() {
    let lines = [
        "GET / HTTP/1.1\nHost: x\r\n\r\n",     // bare LF after the request line
        "GET / HTTP/1.1\r\nHost: x\n\r\n",     // bare LF after a header
        "GET / HTTP/1.1\r\nHost: x\r\n\n",     // bare LF as the last line
        "\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", // bare LF before it all
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", // bare CR in a value
        "GET / HTTP/1.1\rHost: x\r\n\r\n",     // bare CR as a line end
        "GET /  HTTP/1.1\r\nHost: x\r\n\r\n",  // two blanks
        "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
        "GET /\r\n", // HTTP/0.9
        "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: x\r\n\r\n",
        "GET / http/1.1\r\nHost: x\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",                // HTTP/2 preface
        "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03",        // TLS
        "{\"lb\":\"a\",\"player\":\"b\",\"score\":1}\r\n", // an event on the wrong port
        "GET health HTTP/1.1\r\nHost: x\r\n\r\n",          // no path
        "GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http:///m HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET ftp://x/m HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n", // no Host
        "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length : 0\r\n\r\n", // blank before the colon
        "GET / HTTP/1.1\r\n Host: x\r\n\r\n",                      // blank before the name
        "GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n",                 // folded
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc\r\n\r\n",        // folded
        "GET / HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",                // no name
        "GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n",                  // no colon
        "GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    for head in lines {
        assert_malformed(head.as_bytes());
    }
    let lengths =
        ["", "-1", "+0", "0x0", "1_0", "0, 0", "0,5", "5 5", "1e3", "a", "18446744073709551616", "\u{0660}"];
    for length in lengths {
        assert_malformed(format!("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n").as_bytes());
    }
    for pair in [
        "Content-Length: 0\r\nContent-Length: 0",
        "Content-Length: 0\r\ncontent-length: 5",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:",
    ] {
        assert_malformed(format!("GET / HTTP/1.1\r\nHost: x\r\n{pair}\r\n\r\n").as_bytes());
    }
}

fn assert_malformed(head: &[u8]) {
    let got = outcome(head);
    assert!(matches!(got, Err(Fault::Malformed(_))), "{:?}: {got:?}", String::from_utf8_lossy(head));
}

#[test]
fn announced_bodies() {
    for field in [
        "Content-Length: 1",
        "content-length: 007",
        "TRANSFER-ENCODING: Chunked",
        "Content-Length: 18446744073709551615",
    ] {
        for method in ["GET", "POST"] {
            let head = format!("{method} /health HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n");
            assert_eq!(outcome(head.as_bytes()), Err(Fault::BodyAnnounced), "{head}");
        }
    }
}

#[test]
fn the_head_is_bounded_in_bytes_and_lines() {
    let start = "GET / HTTP/1.1\r\nHost: x\r\nA: ";
    let exact = format!("{start}{}\r\n\r\n", "a".repeat(HEAD_BYTES_MAX - start.len() - 4));
    assert_eq!(exact.len(), HEAD_BYTES_MAX);
    complete(exact.as_bytes());
    let longer = exact.replacen("A: ", "A: a", 1);
    assert_eq!(outcome(longer.as_bytes()), Err(Fault::HeadTooLarge));
    assert_eq!(outcome("\r\n".repeat(HEAD_BYTES_MAX / 2).as_bytes()), Err(Fault::HeadTooLarge));
    let lines = |n| format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(n));
    complete(lines(HEADERS_MAX - 1).as_bytes());
    assert_eq!(outcome(lines(HEADERS_MAX).as_bytes()), Err(Fault::HeadTooLarge));
}

/// Heads with one random byte changed, put in or left out: never a panic, and never another result for another cut.
#[test]
fn damaged_heads_are_judged_alike_however_they_are_cut() {
    let good =
        b"GET /metrics?x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..3_000 {
        let mut head = good.to_vec();
        let at = rng.usize(..head.len());
        let byte = *rng.choice(b"\r\n :,\t\0\xff0aA/?").expect("not empty");
        match rng.u8(..3) {
            0 => head[at] = byte,
            1 => head.insert(at, byte),
            _ => drop(head.remove(at)),
        }
        match outcome_bytewise(&head) {
            Ok(_) => taken += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(taken > 100 && refused > 100, "{taken} taken, {refused} refused");
}

fn outcome_bytewise(input: &[u8]) -> Result<Parsed<'_>, Fault> {
    let cut = (0..=input.len()).map(|n| parse(&input[..n])).find(|p| *p != Ok(Parsed::Partial));
    let whole = parse(input);
    match (whole, cut) {
        (Err(whole), Some(Err(cut))) => assert_eq!(whole.status(), cut.status()),
        (whole, cut) => assert_eq!(whole, cut.unwrap_or(Ok(Parsed::Partial))),
    }
    whole
}

#[test]
fn responses_say_their_length_and_whether_the_connection_stays() {
    let write = |status, keep_alive, head_only| {
        let mut out = b"before".to_vec();
        Response { status, content_type: "text/plain", headers: "", body: "hé\n", keep_alive, head_only }
            .write(&mut out);
        String::from_utf8(out).expect("text")
    };
    assert_eq!(
        write(200, true, false),
        "beforeHTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\
         Cache-Control: no-store\r\n\r\nhé\n"
    );
    assert_eq!(write(200, true, false).strip_suffix("hé\n"), Some(write(200, true, true).as_str()));
    assert!(write(405, false, false).contains("Connection: close\r\n"));
    assert!(write(405, false, false).contains("\r\nAllow: GET, HEAD\r\n"));
    assert!(write(503, false, false).contains("503 Service Unavailable\r\n"));
    assert!(write(503, false, false).contains("\r\nRetry-After: 1\r\n"));
}
