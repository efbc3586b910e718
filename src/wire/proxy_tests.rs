//! Headers whole, byte by byte, at every cut and with trailing bytes; a table of those that must be refused.

use super::*;

/// What `input` is in the end. At every cut the beginning is either partial or says the same, once said it stays said,
/// and it needs no more bytes than promised.
fn outcome(input: &[u8]) -> Result<Parsed, Fault> {
    let whole = parse(input);
    let shown = input.escape_ascii();
    let mut told = None;
    for at in 0..=input.len() {
        let now = parse(&input[..at]);
        match told {
            None if now != Ok(Parsed::Partial) => told = Some(now),
            None => assert!(at < V2_BYTES_MAX, "undecided after {at} bytes: {shown}"),
            Some(told) => assert_eq!(now, told, "changed at {at}: {shown}"),
        }
    }
    assert_eq!(told.unwrap_or(Ok(Parsed::Partial)), whole, "{shown}");
    if whole != Ok(Parsed::Partial) {
        for trailing in [&b"{\"lb\":\"a\"}\n"[..], b"\r\n", b"\n", b"\0\xff", V2_START, &[b'P'; 600]] {
            assert_eq!(parse(&[input, trailing].concat()), whole, "with trailing bytes: {shown}");
        }
    }
    whole
}

fn v2_header(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u16).to_be_bytes();
    [V2_START, &[version_command, family], &length, body].concat()
}

const BODY_V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0x11, 0x5c, 0x1b, 0x58];

fn body_v6() -> Vec<u8> {
    let source: Ipv6Addr = "2001:db8::1".parse().unwrap();
    [&source.octets()[..], &[0xee; 16], &[0xff, 0xff, 0, 80]].concat()
}

#[test]
fn version_1() {
    let full = "ffff:f5ff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY TCP6 {full} {full} 65535 65535\r\n");
    let unknown_longest = format!("PROXY UNKNOWN {full} {full} 65535 65535\r\n");
    assert_eq!(unknown_longest.len(), V1_BYTES_MAX);
    let table = [
        ("PROXY TCP4 192.0.2.1 198.51.100.7 4444 7000\r\n", Some("192.0.2.1:4444")),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Some("255.255.255.255:65535")),
        ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", Some("0.0.0.0:0")),
        ("PROXY TCP6 2001:db8::1 ::1 4444 7000\r\n", Some("[2001:db8::1]:4444")),
        ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", Some("[::ffff:192.0.2.1]:1")),
        (&longest, Some("[ffff:f5ff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN \r\n", None),
        ("PROXY UNKNOWN what ever \u{fc} 1 2 3\r\n", None),
        (&unknown_longest, None),
    ];
    for (line, source) in table {
        let source = source.map(|source| source.parse().unwrap());
        let complete = Parsed::Complete { source, bytes: line.len() };
        assert_eq!(outcome(line.as_bytes()), Ok(complete), "{line:?}");
    }
}

#[test]
fn version_1_refused() {
    let lines = [
        "PROXY \r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY unknown\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 192.0.2.1\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1  198.51.100.7 1 2\r\n",
        "PROXY TCP4 192.0.2.1\t198.51.100.7 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 2\r\r\n",
        "PROXY TCP4 192.0.2.1\r198.51.100.7 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 65536 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 -1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 x 2\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.7 1 2\r\n",
        "PROXY TCP4 192.0.2 198.51.100.7 1 2\r\n",
        "PROXY TCP4 192.00.2.1 198.51.100.7 1 2\r\n",
        "PROXY TCP4 192.0.2.1 nowhere 1 2\r\n",
        "PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY TCP6 fe80::1%1 ::1 1 2\r\n",
        "PROXY TCP6 [::1] ::1 1 2\r\n",
        "PROXY TCP4 192.0.2.\u{661} 198.51.100.7 1 2\r\n",
    ];
    for line in lines {
        assert!(matches!(outcome(line.as_bytes()), Err(Fault::Malformed(_))), "{line:?}");
    }
    assert!(matches!(outcome(b"PROXY TCP4 192.0.2.1\xff 198.51.100.7 1 2\r\n"), Err(Fault::Malformed(_))));
    // One byte too many, whether the line ends there or never does.
    for end in ["\r\n", "xx"] {
        let line = format!("PROXY UNKNOWN {}{end}", "x".repeat(92));
        assert_eq!(line.len(), V1_BYTES_MAX + 1);
        assert_eq!(outcome(line.as_bytes()), Err(Fault::TooLong));
    }
}

#[test]
fn version_2() {
    let tlvs = [&BODY_V4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
    let longest = [&BODY_V4[..], &[7; V2_BYTES_MAX - V2_FIXED - 12]].concat();
    let body_v6 = body_v6();
    let (v4, v6) = (Some("192.0.2.1:4444"), Some("[2001:db8::1]:65535"));
    let table: [(u8, u8, &[u8], Option<&str>); 18] = [
        (0x21, 0x11, &BODY_V4, v4),
        (0x21, 0x11, &tlvs, v4),
        (0x21, 0x11, &longest, v4),
        (0x21, 0x21, &body_v6, v6),
        (0x21, 0x21, &[&body_v6[..], &[9; 5]].concat(), v6),
        (0x20, 0x00, b"", None),         // LOCAL, as health checks send it
        (0x20, 0x11, &BODY_V4, None),    // LOCAL with addresses that do not count
        (0x20, 0x11, b"short", None),    // nor does their length
        (0x20, 0xff, b"nonsense", None), // nor their family
        (0x21, 0x00, b"", None),
        (0x21, 0x00, b"anything", None),
        (0x21, 0x01, b"", None),
        (0x21, 0x12, &BODY_V4, None), // UDP
        (0x21, 0x10, &BODY_V4, None),
        (0x21, 0x22, &body_v6, None),
        (0x21, 0x31, &[b'/'; 216], None), // Unix sockets
        (0x21, 0x32, &[b'/'; 217], None),
        (0x21, 0x30, &[b'/'; 216], None),
    ];
    for (version_command, family, body, source) in table {
        let header = v2_header(version_command, family, body);
        let source = source.map(|source| source.parse().unwrap());
        assert_eq!(outcome(&header), Ok(Parsed::Complete { source, bytes: header.len() }));
    }
}

#[test]
fn version_2_refused() {
    let body_v6 = body_v6();
    let table: [(u8, u8, &[u8]); 14] = [
        (0x11, 0x11, &BODY_V4), // version 1 in a binary header
        (0x31, 0x11, &BODY_V4),
        (0x01, 0x11, &BODY_V4),
        (0x22, 0x11, &BODY_V4), // commands that there are not
        (0x2f, 0x11, &BODY_V4),
        (0x21, 0x13, &BODY_V4), // a transport that there is not
        (0x21, 0x03, b""),
        (0x21, 0x41, &BODY_V4), // a family that there is not
        (0x21, 0xf1, &BODY_V4),
        (0x21, 0x11, &BODY_V4[..11]),
        (0x21, 0x12, b""),
        (0x21, 0x21, &BODY_V4),
        (0x21, 0x21, &body_v6[..35]),
        (0x21, 0x31, &[b'/'; 215]),
    ];
    for (version_command, family, body) in table {
        let header = v2_header(version_command, family, body);
        assert!(matches!(outcome(&header), Err(Fault::Malformed(_))), "{version_command:#x} {family:#x}");
    }
    for (length, family) in [(537, 0x11), (u16::MAX, 0x21), (537, 0x00)] {
        let header = v2_header(0x21, family, &vec![0; length.into()]);
        assert_eq!(outcome(&header), Err(Fault::TooLong));
        assert_eq!(parse(&header[..V2_FIXED]), Err(Fault::TooLong), "told before the bytes are awaited");
    }
    let local = v2_header(0x20, 0, &[0; 537]);
    assert_eq!(outcome(&local), Err(Fault::TooLong), "LOCAL is no way around the limit");
}

/// First bytes of connections without a header, told as soon as it is certain.
#[test]
fn absent() {
    let table: [(&[u8], usize); 12] = [
        (b"{\"lb\":\"a\",\"player\":\"b\",\"score\":1}\n", 1),
        (b"GET / HTTP/1.1\r\n", 1),
        (b"POST / HTTP/1.1\r\n", 2),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 3),
        (b"PROXYING", 6),
        (b"PROXY\r\n", 6),
        (b"proxy TCP4 192.0.2.1 198.51.100.7 1 2\r\n", 1),
        (b"\r\n{\"lb\":\"a\"}\n", 3),
        (b"\r\n\r\n{\"lb\":\"a\"}\n", 5),
        (b"\r\n\r\n\0\r\nQUIT\r", 12),
        (b"\0\0\0\x05hello", 1),
        (b"\x16\x03\x01", 1),
    ];
    for (input, certain) in table {
        assert_eq!(outcome(input), Ok(Parsed::Absent), "{}", input.escape_ascii());
        assert_eq!(parse(&input[..certain]), Ok(Parsed::Absent), "{}", input.escape_ascii());
        assert_eq!(parse(&input[..certain - 1]), Ok(Parsed::Partial), "{}", input.escape_ascii());
    }
}

#[test]
fn a_beginning_is_no_fault() {
    let v2 = v2_header(0x21, 0x11, &BODY_V4);
    let v1 = b"PROXY TCP4 192.0.2.1 198.51.100.7 4444 7000\r\n";
    for whole in [&v1[..], &v2] {
        for at in 0..whole.len() {
            assert_eq!(parse(&whole[..at]), Ok(Parsed::Partial), "{}", whole[..at].escape_ascii());
        }
    }
}

/// Whatever a header is changed to, cuts do not matter and nothing panics.
#[test]
fn damaged_headers() {
    let mut random = fastrand::Rng::with_seed(5);
    let wholes = [
        b"PROXY TCP4 192.0.2.1 198.51.100.7 4444 7000\r\n{\"lb\":\"a\"}\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 ::1 4444 7000\r\n{\"lb\":\"a\"}\n".to_vec(),
        v2_header(0x21, 0x11, &BODY_V4),
        v2_header(0x21, 0x21, &body_v6()),
    ];
    let mut seen = [0; 4];
    for _ in 0..20_000 {
        let mut input = wholes[random.usize(..wholes.len())].clone();
        for _ in 0..random.usize(1..=3) {
            let at = random.usize(..input.len());
            match random.u32(..3) {
                0 => input[at] = random.u8(..),
                1 => input[at] = random.choice(*b" \r\n\0.:019A").unwrap(),
                _ => input.truncate(at.max(1)),
            }
        }
        seen[match outcome(&input) {
            Ok(Parsed::Partial) => 0,
            Ok(Parsed::Absent) => 1,
            Ok(Parsed::Complete { bytes, .. }) => {
                assert!(bytes <= input.len());
                2
            }
            Err(_) => 3,
        }] += 1;
    }
    assert!(seen.iter().all(|count| *count > 500), "all of them happen: {seen:?}");
}
