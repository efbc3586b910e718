//! PROXY headers: whatever the bytes, every beginning says "more" or what the whole says, and the whole says what a
//! reader with all bytes in hand says.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use sluice::wire::proxy::{Fault, Parsed, V1_BYTES_MAX, V2_BYTES_MAX, parse};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fuzz_target!(|data: &[u8]| {
    // The bytes as they are, and behind what a header begins with: the fuzzer would seldom find twelve bytes.
    for start in [&b""[..], b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ", SIGNATURE, b"\r\n\r\n\0\r\nQUIT\n\x21"]
    {
        check(&[start, data].concat());
    }
});

fn check(input: &[u8]) {
    let whole = parse(input);
    let first =
        (0..=input.len()).map(|at| (at, parse(&input[..at]))).find(|(_, told)| *told != Ok(Parsed::Partial));
    match first {
        Some((at, told)) => {
            assert!(at <= V2_BYTES_MAX, "told after {at} bytes");
            for more in at..=input.len() {
                assert_eq!(parse(&input[..more]), told, "changed at {more}");
            }
        }
        None => assert!(input.len() < V2_BYTES_MAX, "never told"),
    }
    match whole {
        Ok(Parsed::Complete { source, bytes }) => assert_eq!(by_the_book(input), Some((source, bytes))),
        Ok(Parsed::Partial) | Err(Fault::Malformed(_) | Fault::TooLong) => {
            assert_eq!(by_the_book(input), None)
        }
        Ok(Parsed::Absent) => assert!(!input.starts_with(b"PROXY ") && !input.starts_with(SIGNATURE)),
    }
}

/// The header that `input` begins with, if it is a whole one.
fn by_the_book(input: &[u8]) -> Option<(Option<SocketAddr>, usize)> {
    match input.strip_prefix(SIGNATURE) {
        Some(rest) => binary(rest),
        None => text(input),
    }
}

fn text(input: &[u8]) -> Option<(Option<SocketAddr>, usize)> {
    let bytes = input.iter().position(|byte| *byte == b'\n')? + 1;
    let line = input[..bytes].strip_suffix(b"\r\n").filter(|_| bytes <= V1_BYTES_MAX)?;
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    if fields.starts_with(&[b"PROXY", b"UNKNOWN"]) {
        return Some((None, bytes));
    }
    let fields: Vec<&str> =
        fields.into_iter().map(|field| std::str::from_utf8(field).ok()).collect::<Option<_>>()?;
    let ["PROXY", protocol, source, destination, from, to] = fields[..] else { return None };
    let (source, destination): (IpAddr, IpAddr) = (source.parse().ok()?, destination.parse().ok()?);
    let (from, _) = (port(from)?, port(to)?);
    let is_right = match protocol {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    is_right.then(|| (Some(SocketAddr::new(source, from)), bytes))
}

/// A number that reads back as it was written.
fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port: &u16| port.to_string() == text)
}

/// What follows the signature: command, family, length, and so many bytes.
fn binary(rest: &[u8]) -> Option<(Option<SocketAddr>, usize)> {
    let [command, family, high, low, body @ ..] = rest else { return None };
    let length = usize::from(*high) << 8 | usize::from(*low);
    let body = body.get(..length).filter(|_| length <= 536)?;
    let source = match (command, family, body) {
        (0x20, ..) => None,
        (0x21, 0x11, [a, b, c, d, _, _, _, _, high, low, _, _, ..]) => {
            Some(SocketAddr::from(([*a, *b, *c, *d], u16::from_be_bytes([*high, *low]))))
        }
        (0x21, 0x21, body) if length >= 36 => {
            let octets: [u8; 16] = body[..16].try_into().ok()?;
            Some(SocketAddr::from((octets, u16::from_be_bytes([body[32], body[33]]))))
        }
        (0x21, 0x00..=0x02, _) => None,
        (0x21, 0x10 | 0x12, body) if body.len() >= 12 => None,
        (0x21, 0x20 | 0x22, body) if body.len() >= 36 => None,
        (0x21, 0x30..=0x32, body) if body.len() >= 216 => None,
        _ => return None,
    };
    Some((source, 16 + length))
}
