//! Payload to record or rejection: decode, validate, encode, as one straight list of steps.
//!
//! A [`Pipeline`] is scratch space and a value format. It never allocates for a record once its buffers have
//! grown, never reads a clock (`now_ms` is an argument), never logs or counts, and never panics on what a
//! peer sent. On a rejection `out` is as it was. Its callers are the sessions and the library face.
//! Bodies of HTTP requests are [`events`]' (feature `http`).
//!
//! What is accepted (S0-R2, S0-R3), where the source leaves room:
//! - Integers are exact: no fraction, exponent or quotes. `-0` is 0. An integer too large for 64 bits is out
//!   of range in a known member and harmless in an unknown one.
//! - Each of the four members may come once, however its name is escaped. Unknown members are ignored, also
//!   when they repeat; they still have to be valid JSON, at most [`MAX_DEPTH`] levels deep.
//! - A null `ts_ms` is mistyped; a missing one becomes `now_ms`. In Protobuf 0 is absent, so it does too.
//! - A character is a Unicode scalar value. `\u0000` is one like any other: a Protobuf string and a record
//!   key can hold it. A raw NUL byte, like any raw control character, is not JSON.
//! - Protobuf: unknown fields are ignored, of a repeated field the last one wins, as the format demands.
//! - Of several faults one is told: in the order of the line the first member that comes twice, has the
//!   wrong type or a number outside its range; then what is missing, then lengths, lb first.

mod encode;
#[cfg(feature = "http")]
pub mod events;
mod json;
mod options;
mod scan;
mod validate;

#[cfg(test)]
mod tests;

pub use json::MAX_DEPTH;
pub use options::ValueFormat;

use crate::event::{Rejection, ScoreUpdate, pb};
use prost::Message;

/// Where an encoded record lies: `key_len` key bytes and then `value_len` value bytes at the end of `out`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Bytes of the record's key, the player (S0-R4).
    pub key_len: u32,
    /// Bytes of the record's value.
    pub value_len: u32,
}

/// Turns messages into records. One per thread that reads; see the module for what it accepts.
#[derive(Debug)]
pub struct Pipeline {
    format: ValueFormat,
    parser: json::Parser,
    decoded: pb::ScoreUpdate,
}

impl Pipeline {
    /// A pipeline that writes values in `format` (S0-R4).
    pub fn new(format: ValueFormat) -> Self {
        Self { format, parser: json::Parser::new(), decoded: pb::ScoreUpdate::default() }
    }

    /// Appends the record for a line of JSON to `out` (S0-R2a).
    ///
    /// `now_ms` (milliseconds since the Unix epoch) stands in for a missing `ts_ms`; below 0 it counts as 0.
    ///
    /// # Errors
    /// The rule that the line breaks; `out` is then untouched.
    pub fn line(&mut self, line: &[u8], now_ms: i64, out: &mut Vec<u8>) -> Result<Encoded, Rejection> {
        let members = match scan::members(line) {
            Some(members) => members,
            None => self.parser.parse(line)?,
        };
        let update = members.complete(now_ms)?;
        validate::update(&update)?;
        Ok(encode::record(self.format, &update, out))
    }

    /// Appends the record for a frame, one Protobuf `leaderboard.ScoreUpdate`, to `out` (S0-R2b, S0-PB).
    ///
    /// `now_ms` (milliseconds since the Unix epoch) stands in for an absent or zero `timestamp_ms`.
    ///
    /// # Errors
    /// The rule that the frame breaks; `out` is then untouched.
    pub fn frame(&mut self, frame: &[u8], now_ms: i64, out: &mut Vec<u8>) -> Result<Encoded, Rejection> {
        if frame.is_empty() {
            return Err(Rejection::FrameEmpty);
        }
        self.decoded.clear();
        self.decoded.merge(frame).map_err(|_| Rejection::NotProtobuf)?;
        let decoded = &self.decoded;
        let ts_ms = if decoded.timestamp_ms == 0 { now_ms.max(0) } else { decoded.timestamp_ms };
        let update = ScoreUpdate {
            leaderboard: &decoded.leaderboard_id,
            player: &decoded.player_id,
            score: decoded.score,
            ts_ms,
        };
        validate::update(&update)?;
        Ok(encode::record(self.format, &update, out))
    }

    /// Appends the record for an update that never was bytes: the library face (S2-R14).
    ///
    /// # Errors
    /// The rule that the update breaks; `out` is then untouched.
    pub fn update(&mut self, update: &ScoreUpdate<'_>, out: &mut Vec<u8>) -> Result<Encoded, Rejection> {
        validate::update(update)?;
        Ok(encode::record(self.format, update, out))
    }
}
