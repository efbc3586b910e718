//! A checked update to a record: key bytes, then value bytes (S0-R4).
//!
//! Protobuf is written from borrowed slices, without filling owned strings first; tests hold every byte
//! against prost and against protoc. Nothing here checks a rule: callers have.

use super::{Encoded, ValueFormat};
use crate::event::ScoreUpdate;

/// Appends key and value of a valid update to `out`.
#[inline]
pub(super) fn record(format: ValueFormat, update: &ScoreUpdate<'_>, out: &mut Vec<u8>) -> Encoded {
    out.extend_from_slice(update.player.as_bytes());
    let value_at = out.len();
    match format {
        ValueFormat::Protobuf => protobuf(update, out),
        ValueFormat::Json => json(update, out),
    }
    // Both are below 16 KiB: S0-R3 bounds the strings, and an escape is six bytes at most.
    Encoded { key_len: update.player.len() as u32, value_len: (out.len() - value_at) as u32 }
}

/// `leaderboard.ScoreUpdate` (S0-PB): fields in order, defaults left out, as proto3 has it.
#[inline]
fn protobuf(update: &ScoreUpdate<'_>, out: &mut Vec<u8>) {
    // Tags of four fields, two lengths below 2^14, two numbers below 2^63.
    const BESIDE_TEXT_MAX: usize = 4 + 2 * 2 + 2 * 9;
    out.reserve(update.leaderboard.len() + update.player.len() + BESIDE_TEXT_MAX);
    text(1, update.leaderboard, out);
    text(2, update.player, out);
    // Both numbers are put together in place and appended at once: a push for every byte costs 10 ns a record.
    let (mut numbers, mut len) = ([0; 2 * NUMBER_MAX], 0);
    for (field, number) in [(3, update.score), (4, update.ts_ms)] {
        if number != 0 {
            len += number_at(&mut numbers[len..], field, number);
        }
    }
    out.extend_from_slice(&numbers[..len]);
}

/// Tag and varint of a 64-bit number at most.
const NUMBER_MAX: usize = 11;

/// Writes a number's tag and varint to the start of `to`; how many bytes that took.
#[inline]
fn number_at(to: &mut [u8], field: u8, number: i64) -> usize {
    to[0] = field << 3; // wire type 0: varint
    let mut rest = number as u64; // int64 is written as its two's complement
    let mut len = 1;
    while rest >= 0x80 {
        to[len] = rest as u8 | 0x80;
        rest >>= 7;
        len += 1;
    }
    to[len] = rest as u8;
    len + 1
}

#[inline]
fn text(field: u8, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        out.push(field << 3 | 2); // wire type 2: length-delimited
        varint(text.len() as u64, out);
        out.extend_from_slice(text.as_bytes());
    }
}

/// Seven bits a byte, the low ones first.
#[inline]
fn varint(mut rest: u64, out: &mut Vec<u8>) {
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// An object with the members lb, player, score, ts_ms in this order, no blanks.
fn json(update: &ScoreUpdate<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"lb\":");
    json_text(update.leaderboard, out);
    out.extend_from_slice(b",\"player\":");
    json_text(update.player, out);
    out.extend_from_slice(b",\"score\":");
    json_number(update.score, out);
    out.extend_from_slice(b",\"ts_ms\":");
    json_number(update.ts_ms, out);
    out.push(b'}');
}

fn json_text(text: &str, out: &mut Vec<u8>) {
    // Proof: a string always has a JSON form, and writing to a `Vec` has no way to fail.
    serde_json::to_writer(out, text).expect("a string is written to memory");
}

fn json_number(number: i64, out: &mut Vec<u8>) {
    // Proof: as above.
    serde_json::to_writer(out, &number).expect("an integer is written to memory");
}
