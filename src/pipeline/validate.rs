//! The rules of S0-R3, for an update from whatever source.

use crate::event::{LB_MAX_CHARS, PLAYER_MAX_CHARS, Rejection, ScoreUpdate};

/// Holds an update against every rule, in the order lb, player, score, ts_ms.
#[inline]
pub(super) fn update(update: &ScoreUpdate<'_>) -> Result<(), Rejection> {
    length(update.leaderboard, LB_MAX_CHARS, Rejection::LbEmpty, Rejection::LbTooLong)?;
    length(update.player, PLAYER_MAX_CHARS, Rejection::PlayerEmpty, Rejection::PlayerTooLong)?;
    if update.score < 0 {
        return Err(Rejection::ScoreNegative);
    }
    if update.ts_ms < 0 {
        return Err(Rejection::TsMsNegative);
    }
    Ok(())
}

/// 1 to `max_chars` Unicode scalar values. As none takes more than 4 bytes, this is the byte cap as well.
#[inline]
fn length(text: &str, max_chars: usize, empty: Rejection, too_long: Rejection) -> Result<(), Rejection> {
    match text.len() {
        0 => Err(empty),
        // No character is shorter than a byte, so there is nothing to count.
        bytes if bytes <= max_chars => Ok(()),
        bytes if bytes <= 4 * max_chars && text.chars().count() <= max_chars => Ok(()),
        _ => Err(too_long),
    }
}
