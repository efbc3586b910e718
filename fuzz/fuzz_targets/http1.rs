//! HTTP/1 heads and chunked bodies: however the bytes are cut they give the same, and what is found is what a plain
//! split of the whole at CRLF gives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::wire::http1::{Chunked, Fault, Framing, Head, HeaderSlots, Limits, Parsed, parse_head};

const LIMITS: Limits = Limits { head_bytes: 1_024, headers: 8 };
const BODY_BYTES: usize = 600;

/// Payload, and length of the body if it has ended.
type Body = (Vec<u8>, Option<usize>);

fuzz_target!(|data: &[u8]| {
    let (cuts, input) = data.split_at(data.len().min(4));
    // Shorter than what may be skipped in a body, so that the plain reader needs no bound for it.
    let input = &input[..input.len().min(4_000)];
    let whole = head(input);
    for cuts in [cuts, &[0]] {
        let first = ends(input, cuts).map(|end| head(&input[..end])).find(|found| *found != Ok(None));
        assert_eq!(first.unwrap_or(Ok(None)), whole);
    }
    let body = match whole {
        Ok(Some((bytes, true))) => &input[bytes..],
        Ok(None) if input.len() >= LIMITS.head_bytes => panic!("a head beyond its limit is a fault"),
        _ => input,
    };
    let whole = decode(body, &[]);
    assert_eq!(decode(body, cuts), whole);
    assert_eq!(decode(body, &[0]), whole);
    let ended = whole.ok().and_then(|(payload, end)| Some((payload, end?)));
    assert_eq!(ended, body_by_the_book(body));
});

/// Where the pieces end whose lengths `cuts` gives in rotation; the end of all is the last.
fn ends(input: &[u8], cuts: &[u8]) -> impl Iterator<Item = usize> {
    let (mut end, mut turn) = (0, 0);
    std::iter::from_fn(move || {
        if end == input.len() {
            return None;
        }
        let piece = cuts.get(turn % cuts.len().max(1)).map_or(input.len(), |cut| usize::from(*cut) + 1);
        turn += 1;
        end = (end + piece).min(input.len());
        Some(end)
    })
}

/// Length of the head and whether a chunked body follows.
fn head(input: &[u8]) -> Result<Option<(usize, bool)>, Fault> {
    match parse_head(input, &LIMITS, &mut HeaderSlots::new())? {
        Parsed::Partial => Ok(None),
        Parsed::Complete(head, bytes) => {
            assert!(bytes <= LIMITS.head_bytes);
            head_by_the_book(&head, &input[..bytes]);
            Ok(Some((bytes, head.framing == Framing::Chunked)))
        }
    }
}

fn head_by_the_book(head: &Head<'_>, mut bytes: &[u8]) {
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        bytes = rest;
    }
    let text = bytes.strip_suffix(b"\r\n\r\n").expect("a head ends with an empty line");
    let mut lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request_line = lines.next().expect("a request line");
    assert_eq!(request_line.iter().filter(|byte| **byte == b' ').count(), 2);
    assert_eq!(request_line.ends_with(b" HTTP/1.0"), head.http10);
    let lines: Vec<_> = lines
        .map(|line| {
            assert!(!line.contains(&b'\r') && !line.contains(&0));
            let colon = line.iter().position(|byte| *byte == b':').expect("a colon");
            (line[..colon].to_vec(), line[colon + 1..].trim_ascii().to_vec())
        })
        .collect();
    let found: Vec<_> =
        head.headers().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect();
    assert_eq!(found, lines);
    let values = |name: &str| {
        let named = lines.iter().filter(|line| line.0.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|line| String::from_utf8_lossy(&line.1).to_ascii_lowercase()).collect::<Vec<_>>()
    };
    let (lengths, codings, hosts) = (values("content-length"), values("transfer-encoding"), values("host"));
    assert!(hosts.len() == 1 || (hosts.is_empty() && head.http10));
    match head.framing {
        Framing::None => assert!(lengths.is_empty() && codings.is_empty()),
        Framing::Length(length) => {
            assert!(lengths.len() == 1 && codings.is_empty());
            assert_eq!(lengths[0].trim_start_matches('0').parse().unwrap_or(0), length);
        }
        Framing::Chunked => assert!(lengths.is_empty() && codings == ["chunked"] && !head.http10),
    }
}

fn decode(input: &[u8], cuts: &[u8]) -> Result<Body, Fault> {
    let (mut decoder, mut out, mut start) = (Chunked::default(), Vec::new(), 0);
    for end in ends(input, cuts) {
        let step = decoder.decode(&input[start..end], &mut out, BODY_BYTES)?;
        assert!(out.len() <= BODY_BYTES && out.capacity() <= BODY_BYTES);
        start += step.consumed;
        if step.done {
            return Ok((out, Some(start)));
        }
        assert_eq!(start, end, "a body that goes on takes everything");
    }
    Ok((out, None))
}

/// Payload and length of a body that is whole and valid.
fn body_by_the_book(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let is_text = |text: &[u8]| text.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    let (mut payload, mut rest) = (Vec::new(), input);
    loop {
        let line = take_line(&mut rest)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let extension = &line[digits..];
        if digits > 16
            || !(extension.is_empty() || extension.trim_ascii_start().starts_with(b";"))
            || !is_text(extension)
        {
            return None;
        }
        let size = u64::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        let size = usize::try_from(size).ok().filter(|size| *size <= BODY_BYTES - payload.len())?;
        if size == 0 {
            break;
        }
        payload.extend_from_slice(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
    loop {
        let line = take_line(&mut rest)?;
        if line.is_empty() {
            return Some((payload, input.len() - rest.len()));
        }
        let colon = line.iter().position(|byte| *byte == b':').filter(|colon| *colon > 0)?;
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        if !line[..colon].iter().all(is_name) || !is_text(&line[colon..]) {
            return None;
        }
    }
}

/// The line up to the first CRLF; none if that comes after a CR or LF of another kind.
fn take_line<'i>(rest: &mut &'i [u8]) -> Option<&'i [u8]> {
    let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
    let line = &rest[..end];
    *rest = rest[end..].strip_prefix(b"\r\n")?;
    Some(line)
}
