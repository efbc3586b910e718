//! Chunked bodies whole, byte by byte, in every split in two and with bytes behind; a table of what must be refused.

use super::*;

const LIMIT: usize = 1_000;

/// Payload and length of a body; `None` if it goes on.
type Outcome = Result<(Vec<u8>, Option<usize>), Fault>;

/// Feeds the pieces to one decoder.
fn run(pieces: &[&[u8]]) -> Outcome {
    let (mut decoder, mut out, mut consumed) = (Chunked::default(), Vec::new(), 0);
    for piece in pieces {
        let step = decoder.decode(piece, &mut out, LIMIT)?;
        consumed += step.consumed;
        assert!(out.len() <= LIMIT && out.len() == decoder.decoded());
        if step.done {
            return Ok((out, Some(consumed)));
        }
        assert_eq!(step.consumed, piece.len(), "a body that goes on takes everything");
    }
    Ok((out, None))
}

/// What `input` is in the end, however it is cut.
fn outcome(input: &[u8]) -> Outcome {
    let whole = run(&[input]);
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(run(&bytes), whole, "byte by byte: {}", input.escape_ascii());
    for at in 0..=input.len() {
        assert_eq!(run(&[&input[..at], &input[at..]]), whole, "cut at {at}: {}", input.escape_ascii());
    }
    if !matches!(whole, Ok((_, None))) {
        for trailing in [&b"GET / HTTP/1.1\r\n"[..], b"\r\n", b"0\r\n\r\n", b"\0"] {
            assert_eq!(
                run(&[&[input, trailing].concat()]),
                whole,
                "with trailing bytes: {}",
                input.escape_ascii()
            );
        }
    }
    whole
}

#[test]
fn musts_for_bodies_that_are_taken() {
    for (section, input, payload) in [
        ("7.1", "0\r\n\r\n", ""),
        ("7.1", "000\r\n\r\n", ""),
        ("7.1", "3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("7.1", "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
        ("7.1", "0000000000000003\r\n\r\n\n\r\n0\r\n\r\n", "\r\n\n"), // payload may look like framing
        ("7.1.1", "3;a=b;c=\"d;e\\\"\"\r\nabc\r\n0;last\r\n\r\n", "abc"),
        ("7.1.1", "3 \t;\ta = b\r\nabc\r\n0\r\n\r\n", "abc"), // BWS
        ("7.1.2", "3\r\nabc\r\n0\r\nA: b\r\nx-y:\r\n\r\n", "abc"),
    ] {
        let expected = Ok((payload.as_bytes().to_vec(), Some(input.len())));
        assert_eq!(outcome(input.as_bytes()), expected, "RFC 9112 {section}: {input:?}");
    }
}

#[test]
fn a_beginning_is_no_fault() {
    let body = b"3;a\r\nabc\r\n0\r\nA: b\r\n\r\n";
    for length in 0..body.len() {
        let payload = &b"abc"[..length.saturating_sub(5).min(3)];
        assert_eq!(run(&[&body[..length]]), Ok((payload.to_vec(), None)));
    }
}

#[test]
fn musts_for_malformed_bodies() {
    for (section, input) in [
        ("7.1", "\r\n"), // no size
        ("7.1", ";a\r\n"),
        ("7.1", "+3\r\nabc\r\n"),
        ("7.1", "-3\r\nabc\r\n"),
        ("7.1", " 3\r\nabc\r\n"),
        ("7.1", "3 \r\nabc\r\n"),
        ("7.1", "3 3\r\nabc\r\n"),
        ("7.1", "0x3\r\nabc\r\n"),
        ("7.1", "3g\r\nabc\r\n"),
        ("7.1", "00000000000000003\r\nabc\r\n"), // 17 digits
        ("7.1", "3\nabc\r\n"),                   // bare LF
        ("7.1", "3\rabc\r\n"),                   // bare CR
        ("7.1", "3\r\nabc\n0\r\n\r\n"),
        ("7.1", "3\r\nabcd\r\n"),        // longer than it says
        ("7.1", "3\r\nab\r\n0\r\n\r\n"), // shorter
        ("7.1", "3\r\nabc0\r\n\r\n"),    // no CRLF behind
        ("7.1", "3\r\nabc\r\r\n"),
        ("7.1.1", "3;a\nb\r\nabc\r\n"),
        ("7.1.1", "3;a\rb\r\nabc\r\n"),
        ("7.1.1", "3;a\0\r\nabc\r\n"),
        ("7.1.2", "0\r\n\n"),
        ("7.1.2", "0\r\n\rA"),
        ("7.1.2", "0\r\nA\r\n\r\n"), // no colon
        ("7.1.2", "0\r\nA : b\r\n\r\n"),
        ("7.1.2", "0\r\n: b\r\n\r\n"),
        ("7.1.2", "0\r\nA: b\r\n c\r\n\r\n"), // folded
        ("7.1.2", "0\r\nA: b\n\r\n"),
        ("7.1.2", "0\r\nA: \0\r\n\r\n"),
    ] {
        let got = outcome(input.as_bytes());
        assert!(matches!(got, Err(Fault::Malformed(_))), "RFC 9112 {section}: {input:?}: {got:?}");
    }
}

#[test]
fn the_payload_is_bounded_by_what_a_chunk_announces() {
    let chunk = |size: usize| format!("{size:x}\r\n{}\r\n", "a".repeat(size));
    let exact = chunk(LIMIT / 2).repeat(2) + "0\r\n\r\n";
    assert_eq!(outcome(exact.as_bytes()).map(|(payload, _)| payload.len()), Ok(LIMIT));
    let over = chunk(LIMIT / 2).repeat(2) + "1";
    assert_eq!(outcome(over.as_bytes()), Err(Fault::BodyTooLarge));
    for size in ["3e9", "ffffffffffffffff", "fffffffffffffffffffff", "10000000000000000000000"] {
        assert_eq!(outcome(size.as_bytes()), Err(Fault::BodyTooLarge), "RFC 9112 7.1: overflow: {size}");
    }
}

/// The limit holds for the whole body, also where the caller takes the payload away in between; and no capacity is
/// taken for what was only announced.
#[test]
fn memory_follows_the_payload() {
    let (mut decoder, mut out) = (Chunked::default(), Vec::new());
    decoder.decode(b"3e8\r\nabc", &mut out, LIMIT).expect("a beginning");
    assert!(out.capacity() < 100, "{}", out.capacity());
    for _ in 0..997 {
        decoder.decode(b"d", &mut out, LIMIT).expect("more");
    }
    assert!(out.len() == LIMIT && out.capacity() <= LIMIT, "{}", out.capacity());
    out.clear();
    assert_eq!(decoder.decode(b"\r\n1", &mut out, LIMIT), Err(Fault::BodyTooLarge));
}

/// RFC 9112 7.1.1, 7.1.2: what is skipped is bounded for the whole body, not for a line only.
#[test]
fn extensions_and_trailers_are_bounded() {
    let extension = |bytes: usize| format!("1;{}\r\na\r\n", "e".repeat(bytes));
    let half = SKIPPED_BYTES_MAX / 2;
    assert!(outcome((extension(half).repeat(2) + "0\r\n\r\n").as_bytes()).is_ok());
    let got = outcome((extension(half).repeat(2) + "0;e").as_bytes());
    assert!(matches!(got, Err(Fault::Malformed(_))), "{got:?}");
    let trailers = |lines: usize| "0\r\n".to_owned() + &"A:b\r\n".repeat(lines) + "\r\n";
    assert!(outcome(trailers(half).as_bytes()).is_ok());
    assert_eq!(outcome(trailers(half + 1).as_bytes()), Err(Fault::HeadTooLarge));
}

/// Bodies with one random byte changed, put in or left out.
#[test]
fn damaged_bodies_are_judged_alike_however_they_are_cut() {
    let good = b"3;a=b\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nA: b\r\n\r\n";
    let mut rng = fastrand::Rng::with_seed(11);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..3_000 {
        let mut body = good.to_vec();
        let at = rng.usize(..body.len());
        let byte = *rng.choice(b"\r\n ;:\t\0\xff0aA3g").expect("not empty");
        match rng.u8(..3) {
            0 => body[at] = byte,
            1 => body.insert(at, byte),
            _ => drop(body.remove(at)),
        }
        match outcome(&body) {
            Ok(_) => taken += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(taken > 100 && refused > 100, "{taken} taken, {refused} refused");
}
