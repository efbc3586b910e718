//! What RFC 9112 and RFC 9110 demand of a head, as tables; every head whole, cut at every byte and with bytes behind.

use super::*;

/// The admin's limits: small enough for heads that fill them.
const SMALL: Limits = Limits { head_bytes: 8 * 1024, headers: HEADERS_MAX };

/// What a head says, without the header lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    method: Method,
    path: &'static str,
    query: Option<&'static str>,
    keep_alive: bool,
    expect_continue: bool,
    framing: Framing,
}

const GET: Said = Said {
    method: Method::Get,
    path: "/",
    query: None,
    keep_alive: true,
    expect_continue: false,
    framing: Framing::None,
};
const POST: Said = Said { method: Method::Post, path: "/events", ..GET };

fn shown(input: &[u8]) -> String {
    input.escape_ascii().to_string()
}

/// Parses and copies the finding as text, so that it outlives the slots and can be compared over different cuts.
fn parse(input: &[u8]) -> Result<Option<(String, usize)>, Fault> {
    match parse_head(input, &SMALL, &mut HeaderSlots::new())? {
        Parsed::Partial => Ok(None),
        Parsed::Complete(head, bytes) => Ok(Some((format!("{head:?}"), bytes))),
    }
}

/// What `input` is in the end: the same fed whole, byte by byte, cut in two anywhere, and followed by other bytes.
/// A head is parsed from its beginning each time, so every beginning stands for every cut that ends there.
fn outcome(input: &[u8]) -> Result<Option<(String, usize)>, Fault> {
    let whole = parse(input);
    let first = (0..=input.len()).map(|n| parse(&input[..n])).find(|found| *found != Ok(None));
    assert_eq!(first.unwrap_or(Ok(None)), whole, "byte by byte: {}", shown(input));
    if whole != Ok(None) {
        let next =
            [&b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\n", b"\0\xff", b" folded\r\n", &[b'a'; 9_000]];
        for trailing in next {
            let more = [input, trailing].concat();
            assert_eq!(parse(&more), whole, "with trailing bytes: {}", shown(input));
        }
    }
    whole
}

fn fault(input: &[u8]) -> Option<Fault> {
    outcome(input).err()
}

fn with_head<R>(input: &[u8], look: impl FnOnce(Head<'_>) -> R) -> R {
    assert!(matches!(outcome(input), Ok(Some((_, bytes))) if bytes == input.len()), "{}", shown(input));
    match parse_head(input, &SMALL, &mut HeaderSlots::new()) {
        Ok(Parsed::Complete(head, _)) => look(head),
        other => panic!("{}: {other:?}", shown(input)),
    }
}

#[test]
fn musts_for_heads_that_are_taken() {
    use Framing::*;
    use Method::*;
    // (section, request line, header lines, what it says)
    let table = [
        ("9112 2.2", "\r\n\r\nGET / HTTP/1.1", "Host: x", GET), // blank lines before the request line
        ("9110 9.1", "get / HTTP/1.1", "Host: x", Said { method: Other, ..GET }),
        ("9110 9.1", "POSTS / HTTP/1.1", "Host: x", Said { method: Other, ..GET }),
        ("9110 9.3.2", "HEAD / HTTP/1.1", "Host: x", Said { method: Head, ..GET }),
        ("9110 5.1", "GET / HTTP/1.1", "hOsT: x", GET),
        ("9112 5.1", "GET / HTTP/1.1", "Host:\t x \t", GET),
        ("9110 7.2", "GET / HTTP/1.1", "Host:", GET), // empty is valid
        ("9110 7.2", "GET / HTTP/1.1", "Host: [::1]:8080", GET),
        ("9110 7.2", "GET / HTTP/1.1", "Host: a-b.example:", GET),
        // Targets.
        (
            "9112 3.2.1",
            "GET /a%20b?c=/d?e HTTP/1.1",
            "Host: x",
            Said { path: "/a%20b", query: Some("c=/d?e"), ..GET },
        ),
        ("9112 3.2.1", "GET /? HTTP/1.1", "Host: x", Said { query: Some(""), ..GET }),
        ("9112 3.2.1", "GET //x/m HTTP/1.1", "Host: x", Said { path: "//x/m", ..GET }),
        (
            "9112 3.2.2",
            "GET http://x:80/m?a HTTP/1.1",
            "Host: y",
            Said { path: "/m", query: Some("a"), ..GET },
        ),
        ("9112 3.2.2", "POST HTTP://x/events HTTP/1.1", "Host: x", POST),
        ("9112 3.2.2", "GET HTTPS://[::1] HTTP/1.1", "Host: x", GET),
        ("9112 3.2.2", "GET http://x?a/b HTTP/1.1", "Host: x", Said { query: Some("a/b"), ..GET }),
        ("9112 3.2.3", "CONNECT x:80 HTTP/1.1", "Host: x", Said { method: Other, path: "x:80", ..GET }),
        ("9112 3.2.4", "OPTIONS * HTTP/1.1", "Host: x", Said { method: Options, path: "*", ..GET }),
        ("9112 3.2.4", "OPTIONS http://x HTTP/1.1", "Host: x", Said { method: Options, path: "*", ..GET }),
        ("9112 3.2.4", "OPTIONS http://x/ HTTP/1.1", "Host: x", Said { method: Options, ..GET }),
        // Persistence.
        ("9112 9.3", "GET / HTTP/1.1", "Host: x\r\nConnection: close", Said { keep_alive: false, ..GET }),
        (
            "9112 9.3",
            "GET / HTTP/1.1",
            "Host: x\r\nConnection: TE , CLOSE",
            Said { keep_alive: false, ..GET },
        ),
        (
            "9112 9.3",
            "GET / HTTP/1.1",
            "Host: x\r\nConnection: te\r\nConnection: close",
            Said { keep_alive: false, ..GET },
        ),
        (
            "9112 9.3",
            "GET / HTTP/1.1",
            "Host: x\r\nConnection: close, keep-alive",
            Said { keep_alive: false, ..GET },
        ),
        ("9112 9.3", "GET / HTTP/1.1", "Host: x\r\nConnection: closed", GET),
        ("9112 9.3", "GET / HTTP/1.0", "A: b", Said { keep_alive: false, ..GET }),
        ("9112 9.3", "GET / HTTP/1.0", "Connection: Keep-Alive", GET),
        ("9112 9.3", "GET / HTTP/1.0", "Connection: keep-alive, close", Said { keep_alive: false, ..GET }),
        // Bodies.
        ("9112 6.3", "POST /events HTTP/1.1", "Host: x", POST), // neither field: no body
        (
            "9110 8.6",
            "POST /events HTTP/1.1",
            "Host: x\r\ncontent-LENGTH: 007",
            Said { framing: Length(7), ..POST },
        ),
        ("9110 8.6", "GET / HTTP/1.1", "Host: x\r\nContent-Length: 0", Said { framing: Length(0), ..GET }),
        (
            "9110 8.6",
            "GET / HTTP/1.1",
            "Host: x\r\nContent-Length: 18446744073709551615",
            Said { framing: Length(u64::MAX), ..GET },
        ),
        (
            "9112 6.1",
            "POST /events HTTP/1.1",
            "Host: x\r\nTransfer-Encoding: CHUNKED ",
            Said { framing: Chunked, ..POST },
        ),
        // Expectations.
        (
            "9110 10.1.1",
            "POST /events HTTP/1.1",
            "Host: x\r\nContent-Length: 1\r\nExpect: 100-Continue",
            Said { framing: Length(1), expect_continue: true, ..POST },
        ),
        (
            "9110 10.1.1",
            "POST /events HTTP/1.1",
            "Host: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue",
            Said { framing: Chunked, expect_continue: true, ..POST },
        ),
        (
            "9110 10.1.1",
            "POST /events HTTP/1.1",
            "Host: x\r\nContent-Length: 0\r\nExpect: 100-continue",
            Said { framing: Length(0), ..POST },
        ), // nothing to wait for
        (
            "9110 10.1.1",
            "POST /events HTTP/1.0",
            "Content-Length: 1\r\nExpect: 100-continue",
            Said { framing: Length(1), keep_alive: false, ..POST },
        ),
    ];
    for (section, line, fields, said) in table {
        let input = format!("{line}\r\n{fields}\r\n\r\n");
        with_head(input.as_bytes(), |head| {
            let super::Head { method, path, query, keep_alive, expect_continue, framing, .. } = head;
            let got = (method, path, query, keep_alive, expect_continue, framing);
            let Said { method, path, query, keep_alive, expect_continue, framing } = said;
            assert_eq!(
                got,
                (method, path, query, keep_alive, expect_continue, framing),
                "RFC {section}: {input:?}"
            );
            assert_eq!(head.http10, line.ends_with("1.0"), "{input:?}");
        });
    }
}

#[test]
fn header_lines_are_found_by_name_and_in_order() {
    let input = b"POST / HTTP/1.1\r\nHost: x\r\nX-A: \t1 2\t \r\nx-a: 3\r\nX-Empty:\r\nX-Raw: \xff\r\n\r\n";
    with_head(input, |head| {
        assert_eq!(head.header("x-A"), Some(&b"1 2"[..]));
        assert_eq!(head.header("X-EMPTY"), Some(&b""[..]));
        assert_eq!(head.header("X-Raw"), Some(&b"\xff"[..]));
        assert_eq!(head.header("X"), None);
        let all: Vec<_> = head.headers().collect();
        let expected: [(&str, &[u8]); 5] =
            [("Host", b"x"), ("X-A", b"1 2"), ("x-a", b"3"), ("X-Empty", b""), ("X-Raw", b"\xff")];
        assert_eq!(all, expected);
    });
}

#[test]
fn a_beginning_is_no_fault() {
    for input in ["", "\r", "\r\n", "G", "GET / HTTP/1.1", "GET / HTTP/1.1\r\nHost: x\r\n\r"] {
        assert_eq!(outcome(input.as_bytes()), Ok(None), "{input:?}");
    }
}

/// Shapes by which requests are smuggled past a proxy, and plain rubbish: none is taken for two requests.
#[test]
fn musts_for_malformed_heads() {
    // (section, head without its last empty line)
    let table = [
        ("9112 2.2", "GET / HTTP/1.1\nHost: x\r\n"), // bare LF after the request line
        ("9112 2.2", "GET / HTTP/1.1\r\nHost: x\n"), // after a header
        ("9112 2.2", "GET / HTTP/1.1\r\nHost: x\r\n\n"), // as the last line
        ("9112 2.2", "\nGET / HTTP/1.1\r\nHost: x\r\n"), // before it all
        ("9112 2.2", "GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n"), // bare CR in a value
        ("9112 2.2", "GET / HTTP/1.1\rHost: x\r\n"), // as a line end
        ("9112 2.2", "GET / HTTP/1.1\r\n Host: x\r\n"), // blank before the first header
        ("9112 3", "GET /  HTTP/1.1\r\nHost: x\r\n"), // two blanks
        ("9112 3", "GET  / HTTP/1.1\r\nHost: x\r\n"),
        ("9112 3", " GET / HTTP/1.1\r\nHost: x\r\n"),
        ("9112 3", "GET / HTTP/1.1 \r\nHost: x\r\n"),
        ("9112 3", "GET\t/ HTTP/1.1\r\nHost: x\r\n"),
        ("9112 3", "GET /\r\n"), // HTTP/0.9
        ("9112 3", "G(T / HTTP/1.1\r\nHost: x\r\n"),
        ("9112 3", "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03"), // TLS
        ("9112 3", "{\"lb\":\"a\",\"player\":\"b\",\"score\":1}\r\n"), // an event on the wrong port
        ("9112 2.3", "GET / http/1.1\r\nHost: x\r\n"),
        ("9112 2.3", "GET / HTTP/1.x\r\nHost: x\r\n"),
        ("9112 2.3", "GET / HTTP/1.10\r\nHost: x\r\n"),
        ("9112 2.3", "GET / HTTP9/1.1\r\nHost: x\r\n"),
        ("9112 3.2", "GET /\0 HTTP/1.1\r\nHost: x\r\n"),
        ("9112 3.2", "GET /caf\u{e9} HTTP/1.1\r\nHost: x\r\n"),
        ("9112 3.2", "GET /a#b HTTP/1.1\r\nHost: x\r\n"),
        ("9112 3.2", "GET health HTTP/1.1\r\nHost: x\r\n"),
        ("9112 3.2.2", "GET http:///m HTTP/1.1\r\nHost: x\r\n"),
        ("9112 3.2.2", "GET ftp://x/m HTTP/1.1\r\nHost: x\r\n"),
        ("9110 4.2.4", "GET http://a@x/m HTTP/1.1\r\nHost: x\r\n"),
        ("9112 3.2.3", "GET x:80 HTTP/1.1\r\nHost: x\r\n"),
        ("9112 3.2.4", "GET * HTTP/1.1\r\nHost: x\r\n"),
        ("9112 3.2.4", "OPTIONS *?a HTTP/1.1\r\nHost: x\r\n"),
        ("9112 3.2", "GET / HTTP/1.1\r\n"), // no Host
        ("9112 3.2", "GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n"),
        ("9112 3.2", "GET / HTTP/1.0\r\nHost: x\r\nhost: x\r\n"),
        ("9112 3.2", "GET / HTTP/1.1\r\nHost: x y\r\n"),
        ("9112 3.2", "GET / HTTP/1.1\r\nHost: x/y\r\n"),
        ("9112 3.2", "GET / HTTP/1.1\r\nHost: a@x\r\n"),
        ("9112 3.2", "GET / HTTP/1.1\r\nHost: x:80a\r\n"),
        ("9112 3.2", "GET / HTTP/1.1\r\nHost: [::1\r\n"),
        ("9112 3.2", "GET / HTTP/1.1\r\nHost: :80\r\n"),
        ("9112 5.1", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length : 0\r\n"), // blank before the colon
        ("9112 5.2", "GET / HTTP/1.1\r\nHost: x\r\n y\r\n"),                 // folded
        ("9112 5.2", "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc\r\n"),
        ("9112 5", "GET / HTTP/1.1\r\nHost: x\r\n: b\r\n"), // no name
        ("9112 5", "GET / HTTP/1.1\r\nHost: x\r\nA\r\n"),   // no colon
        ("9112 5", "GET / HTTP/1.1\r\nHost: x\r\nA\u{e9}: b\r\n"),
        ("9110 5.5", "GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n"),
        ("9110 5.5", "GET / HTTP/1.1\r\nHost: x\r\nA: \x7f\r\n"),
    ];
    for (section, head) in table {
        assert_malformed(section, &format!("{head}\r\n"));
    }
}

#[test]
fn musts_for_framing_in_doubt() {
    let lengths = [
        "",
        "-1",
        "+5",
        "0x5",
        "1_0",
        "0, 0",
        "5 ,5",
        "0,5",
        "5 5",
        "5;",
        "1e3",
        "a",
        "18446744073709551616",
        "\u{0665}",
    ];
    for length in lengths {
        assert_malformed(
            "9110 8.6",
            &format!("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"),
        );
    }
    for (section, fields) in [
        ("9112 6.3", "Content-Length: 0\r\nContent-Length: 0"),
        ("9112 6.3", "Content-Length: 0\r\ncontent-length: 5"),
        ("9112 6.1", "Content-Length: 0\r\nTransfer-Encoding: chunked"),
        ("9112 6.1", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
        ("9112 6.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        ("9112 6.1", "Transfer-Encoding: chunked, chunked"),
        ("9112 6.3", "Transfer-Encoding: chunked, gzip"),
        ("9112 6.3", "Transfer-Encoding: gzip"),
        ("9112 6.3", "Transfer-Encoding: identity"),
        ("9112 6.3", "Transfer-Encoding: xchunked"),
        ("9112 6.3", "Transfer-Encoding: chunked,"),
        ("9112 6.3", "Transfer-Encoding: \"chunked\""),
        ("9112 6.3", "Transfer-Encoding:"),
        ("9110 5.5", "Transfer-Encoding: \x0bchunked"),
    ] {
        assert_malformed(section, &format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n"));
    }
    assert_malformed("9112 6.1", "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
}

fn assert_malformed(section: &str, head: &str) {
    let got = outcome(head.as_bytes());
    assert!(matches!(got, Err(Fault::Malformed(_))), "RFC {section}: {head:?}: {got:?}");
}

#[test]
fn what_is_not_offered_has_its_own_status() {
    for (section, head, expected) in [
        ("9110 15.6.6", "GET / HTTP/2.0\r\nHost: x\r\n\r\n", Fault::VersionUnsupported),
        ("9110 15.6.6", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Fault::VersionUnsupported),
        ("9110 15.6.6", "GET / HTTP/0.9\r\nHost: x\r\n\r\n", Fault::VersionUnsupported),
        ("9110 6.2", "\r\nGET / HTTP/1.2\r\nHost: x\r\n\r\n", Fault::VersionUnsupported),
        (
            "9112 6.1",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            Fault::UnknownTransferCoding,
        ),
        (
            "9112 6.1",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
            Fault::UnknownTransferCoding,
        ),
        ("9110 10.1.1", "POST / HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\n\r\n", Fault::ExpectationFailed),
        (
            "9110 10.1.1",
            "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue, a=b\r\n\r\n",
            Fault::ExpectationFailed,
        ),
    ] {
        assert_eq!(fault(head.as_bytes()), Some(expected), "RFC {section}: {head:?}");
    }
}

#[test]
fn the_head_is_bounded_in_bytes_and_lines() {
    let limit = SMALL.head_bytes;
    let start = "GET / HTTP/1.1\r\nHost: x\r\nA: ";
    let exact = format!("{start}{}\r\n\r\n", "a".repeat(limit - start.len() - 4));
    assert_eq!(exact.len(), limit);
    with_head(exact.as_bytes(), |_| ());
    assert_eq!(fault(exact.replacen("A: ", "A: a", 1).as_bytes()), Some(Fault::HeadTooLarge));
    assert_eq!(fault("\r\n".repeat(limit / 2).as_bytes()), Some(Fault::UriTooLong));
    let line = |bytes: usize| format!("GET /{} HTTP/1.1\r\n", "a".repeat(bytes - 16));
    assert_eq!(
        fault(line(limit).as_bytes()),
        Some(Fault::HeadTooLarge),
        "the request line fits, nothing else"
    );
    assert_eq!(fault(line(limit + 1).as_bytes()), Some(Fault::UriTooLong)); // RFC 9112 3
    let lines = |n| format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(n));
    with_head(lines(HEADERS_MAX - 1).as_bytes(), |_| ());
    assert_eq!(fault(lines(HEADERS_MAX).as_bytes()), Some(Fault::HeadTooLarge)); // RFC 6585 5
    let few = Limits { headers: 2, ..SMALL };
    let mut slots = HeaderSlots::new();
    let parsed = parse_head(b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\nB: c\r\n\r\n", &few, &mut slots);
    assert_eq!(parsed, Err(Fault::HeadTooLarge));
}

/// 100 MB of header lines, or of one line: refused as soon as the limit is reached, so that no caller buffers more.
#[test]
fn a_flood_is_refused_at_the_limit() {
    let limits = Limits::default();
    for (start, flood) in [
        ("GET / HTTP/1.1\r\nHost: x\r\nA: ", "a"),
        ("GET /", "a"),
        ("", "\r\n"),
        ("GET / HTTP/1.1\r\n", "A: b\r\n"),
    ] {
        let input = start.to_owned() + &flood.repeat(limits.head_bytes * 2 / flood.len());
        let mut fed = 0;
        let fault = loop {
            fed += 1_000;
            match parse_head(&input.as_bytes()[..fed], &limits, &mut HeaderSlots::new()) {
                Ok(Parsed::Partial) => assert!(fed < limits.head_bytes, "{start:?}"),
                Ok(Parsed::Complete(..)) => panic!("{start:?} is no head"),
                Err(fault) => break fault,
            }
        };
        assert!(fed < limits.head_bytes + 1_000);
        assert!(matches!(fault, Fault::HeadTooLarge | Fault::UriTooLong), "{start:?}: {fault:?}");
    }
}

/// RFC 9112 9.3.2: requests back to back are found one after the other, a body between them left alone.
#[test]
fn pipelined_requests() {
    let input = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n\n\n\0\n\r\nGET /c HTTP/1.0\r\n\r\n";
    let (mut at, mut paths) = (0, Vec::new());
    while at < input.len() {
        match parse_head(&input[at..], &SMALL, &mut HeaderSlots::new()) {
            Ok(Parsed::Complete(head, bytes)) => {
                paths.push(head.path.to_owned());
                at += bytes;
                if let Framing::Length(length) = head.framing {
                    at += length as usize;
                }
            }
            other => panic!("{other:?} at {at}"),
        }
    }
    assert_eq!((paths, at), (vec!["/a".to_owned(), "/b".to_owned(), "/c".to_owned()], input.len()));
}

/// Heads with one random byte changed, put in or left out: never a panic, and never another result for another cut.
#[test]
fn damaged_heads_are_judged_alike_however_they_are_cut() {
    let good =
        b"POST /events?ack=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
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
        match outcome(&head) {
            Ok(_) => taken += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(taken > 100 && refused > 100, "{taken} taken, {refused} refused");
}
