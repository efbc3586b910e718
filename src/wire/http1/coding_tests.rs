//! Bodies in each coding: taken whole, refused when cut, longer than the limit, or followed by something else.

use std::io::Write;

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};

use super::*;
use crate::wire::http1::{HeaderSlots, Limits, Parsed, parse_head};

fn gzipped(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zlibbed(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn deflated(plain: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zstded(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
    zstd_safe::compress(&mut out, plain, 3).unwrap();
    out
}

/// One frame that says neither how long its content is nor that its window is smaller than 2^`window_log`.
fn zstded_by_stream(plain: &[u8], window_log: u32) -> Vec<u8> {
    let mut context = zstd_safe::CCtx::create();
    context.set_parameter(zstd_safe::CParameter::WindowLog(window_log)).unwrap();
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(plain.len()) + 100);
    let mut output = OutBuffer::around(&mut out);
    context.compress_stream(&mut output, &mut InBuffer::around(plain)).unwrap();
    assert_eq!(context.end_stream(&mut output), Ok(0));
    out
}

/// Each coding with an encoder for it.
type Encoder = fn(&[u8]) -> Vec<u8>;
const ALL: [(Coding, Encoder); 5] = [
    (Coding::Gzip, gzipped),
    (Coding::Deflate, zlibbed),
    (Coding::Deflate, deflated),
    (Coding::Zstd, zstded),
    (Coding::Zstd, |plain| zstded_by_stream(plain, 23)),
];

fn inflated(coding: Coding, input: &[u8], limit: usize) -> Result<Vec<u8>, Fault> {
    let mut out = b"before".to_vec();
    inflate(coding, input, &mut out, limit)?;
    Ok(out.strip_prefix(b"before").expect("appended").to_vec())
}

fn is_corrupt(result: &Result<Vec<u8>, Fault>) -> bool {
    matches!(result, Err(Fault::CorruptContent(_)))
}

#[test]
fn names_of_codings() {
    for (value, coding) in [
        ("", Ok(Coding::Identity)),
        ("Identity", Ok(Coding::Identity)),
        ("GZIP", Ok(Coding::Gzip)),
        ("x-gzip", Ok(Coding::Gzip)),
        ("deflate", Ok(Coding::Deflate)),
        ("zstd", Ok(Coding::Zstd)),
        ("br", Err(Fault::UnknownContentCoding)),
        ("gzip, gzip", Err(Fault::UnknownContentCoding)),
        ("gzip,", Err(Fault::UnknownContentCoding)),
    ] {
        assert_eq!(Coding::parse(value.as_bytes()), coding, "{value}");
    }
    for (fields, coding) in [
        ("", Ok(Coding::Identity)),
        ("content-encoding: zstd\r\n", Ok(Coding::Zstd)),
        ("Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n", Err(Fault::UnknownContentCoding)),
    ] {
        let input = format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        match parse_head(input.as_bytes(), &Limits::default(), &mut HeaderSlots::new()) {
            Ok(Parsed::Complete(head, _)) => assert_eq!(Coding::of(&head), coding, "{fields}"),
            other => panic!("{other:?}"),
        }
    }
    for name in ACCEPT_ENCODING.split(", ") {
        assert!(Coding::parse(name.as_bytes()).is_ok(), "{name}");
    }
}

#[test]
fn what_was_coded_comes_back() {
    let mut rng = fastrand::Rng::with_seed(3);
    for length in [0, 1, 100, FIRST_BYTES - 6, FIRST_BYTES, 100_000, 1_000_000] {
        let noise: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(length).collect();
        for plain in [noise, vec![b'a'; length]] {
            for (coding, encode) in ALL {
                assert!(
                    inflated(coding, &encode(&plain), length).as_ref() == Ok(&plain),
                    "{coding:?} {length}"
                );
            }
            assert!(inflated(Coding::Identity, &plain, length).as_ref() == Ok(&plain));
        }
    }
}

#[test]
fn one_byte_over_the_limit_is_too_large() {
    for length in [1, 2, FIRST_BYTES, FIRST_BYTES + 1, 100_000] {
        let plain = vec![b'a'; length];
        for (coding, encode) in ALL {
            assert_eq!(
                inflated(coding, &encode(&plain), length - 1),
                Err(Fault::BodyTooLarge),
                "{coding:?} {length}"
            );
        }
        assert_eq!(inflated(Coding::Identity, &plain, length - 1), Err(Fault::BodyTooLarge));
    }
}

/// A few KiB that want to be 64 MiB, and a limit of 10 000: neither bytes nor capacity exceed it.
#[test]
fn a_bomb_takes_no_memory() {
    let plain = vec![0; 64 << 20];
    for (coding, encode) in ALL {
        let mut out = Vec::new();
        assert_eq!(inflate(coding, &encode(&plain), &mut out, 10_000), Err(Fault::BodyTooLarge));
        assert!(
            out.len() <= 10_001 && out.capacity() <= 10_001,
            "{coding:?}: {} of {}",
            out.len(),
            out.capacity()
        );
    }
}

#[test]
fn what_is_cut_or_continued_or_something_else_is_corrupt() {
    let plain: Vec<u8> = (0..2_000_u32).flat_map(u32::to_le_bytes).collect();
    for (coding, encode) in ALL {
        let coded = encode(&plain);
        for end in (0..coded.len()).step_by(7).chain([coded.len() - 1]) {
            let result = inflated(coding, &coded[..end], plain.len());
            assert!(is_corrupt(&result), "{coding:?} cut at {end} of {}", coded.len());
        }
        for trailing in [&b"\0"[..], b"{}\n", &[0x1f]] {
            let result = inflated(coding, &[&coded, trailing].concat(), plain.len());
            assert!(is_corrupt(&result), "{coding:?} with {trailing:?} behind");
        }
        assert!(
            is_corrupt(&inflated(coding, br#"{"lb":"global","player":"a","score":1}"#, 1_000)),
            "{coding:?}"
        );
    }
    for (coding, encode) in [(Coding::Gzip, gzipped as Encoder), (Coding::Deflate, zlibbed)] {
        let mut coded = encode(&plain);
        *coded.last_mut().unwrap() ^= 1;
        assert!(is_corrupt(&inflated(coding, &coded, plain.len())), "{coding:?} with another checksum");
    }
}

/// RFC 1952 2.2 and RFC 8878 3.1: a body may have several members or frames; each costs a setup, so there is a bound.
#[test]
fn members_and_frames_follow_each_other() {
    for (coding, encode, most) in
        [(Coding::Gzip, gzipped as Encoder, GZIP_MEMBERS_MAX), (Coding::Zstd, zstded, ZSTD_FRAMES_MAX)]
    {
        assert_eq!(
            inflated(coding, &[encode(b"ab"), encode(b""), encode(b"c")].concat(), 3).unwrap(),
            b"abc"
        );
        assert_eq!(inflated(coding, &encode(b"a").repeat(most), 1_000).unwrap(), b"a".repeat(most));
        assert!(is_corrupt(&inflated(coding, &encode(b"a").repeat(most + 1), 1_000)), "{coding:?}");
        assert_eq!(inflated(coding, &encode(b"ab").repeat(2), 3), Err(Fault::BodyTooLarge));
    }
}

#[test]
fn zstd_has_limits_of_its_own() {
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2][..], &zstded(b"a")].concat();
    assert_eq!(inflated(Coding::Zstd, &skipped, 1).unwrap(), b"a");
    let wide = zstded_by_stream(b"a", ZSTD_WINDOW_LOG_MAX + 1);
    assert!(is_corrupt(&inflated(Coding::Zstd, &wide, 10)), "RFC 9659");
    let legacy = [0x27, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0];
    assert!(is_corrupt(&inflated(Coding::Zstd, &legacy, 10)));
}

/// Any damage is a fault or another text, never a panic and never more than the limit.
#[test]
fn damage_is_survived() {
    let plain = br#"{"lb":"global","player":"player-000042","score":9001}"#.repeat(20);
    let mut rng = fastrand::Rng::with_seed(5);
    let mut corrupt = 0;
    for round in 0..2_000 {
        let (coding, encode) = ALL[round % ALL.len()];
        let mut coded = encode(&plain);
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..coded.len());
            coded[at] = rng.u8(..);
        }
        let mut out = Vec::new();
        match inflate(coding, &coded, &mut out, 5_000) {
            Ok(()) => assert!(out.len() <= 5_000),
            Err(fault) => {
                corrupt += 1;
                assert!(matches!(fault, Fault::CorruptContent(_) | Fault::BodyTooLarge));
            }
        }
        assert!(out.capacity() <= 5_001);
    }
    assert!(corrupt > 1_000, "{corrupt}");
}
