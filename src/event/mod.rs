//! What an event is: the score update, its rules by name and number, every reason to refuse one, and every
//! way one can end.
//!
//! Plain data only: nothing here reads a peer's bytes, logs or counts. That work is `pipeline`'s, `wire`'s
//! and `metrics`'; all of them speak in the words defined here, so that a log line, a metric's label and a
//! reply name the same thing alike.

mod excerpt;
mod field;
pub mod headers;
mod outcome;
mod rejection;

pub use excerpt::{EXCERPT_MAX_CHARS, Excerpt, excerpt, quoted};
pub use field::Field;
pub use outcome::Outcome;
pub use rejection::Rejection;

/// Types generated from `proto/score_update.proto` (S0-PB).
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/leaderboard.rs"));
}

/// Most characters (Unicode scalar values) of a leaderboard's id (S0-R3). At four bytes a character the
/// byte cap is [`LB_MAX_BYTES`].
pub const LB_MAX_CHARS: usize = 64;
/// Most bytes of a leaderboard's id in UTF-8: what 64 of the widest characters take.
pub const LB_MAX_BYTES: usize = 4 * LB_MAX_CHARS;
/// Most characters (Unicode scalar values) of a player's id (S0-R3), which is also the record's key.
pub const PLAYER_MAX_CHARS: usize = 128;
/// Most bytes of a player's id in UTF-8: what 128 of the widest characters take.
pub const PLAYER_MAX_BYTES: usize = 4 * PLAYER_MAX_CHARS;

/// One player's score on one leaderboard, borrowed from wherever it was read.
///
/// A value of this type is not yet checked: the pipeline holds it against S0-R3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoreUpdate<'a> {
    /// Leaderboard, 1 to 64 characters.
    pub leaderboard: &'a str,
    /// Player, 1 to 128 characters; the record's key.
    pub player: &'a str,
    /// Score, 0 to 2^63-1.
    pub score: i64,
    /// Milliseconds since the Unix epoch, not negative.
    pub ts_ms: i64,
}
