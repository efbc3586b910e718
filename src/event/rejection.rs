//! Every reason to refuse a message, one name each (S0-E1, S0-E2).
//!
//! One table below is the whole truth: variant, code, field, log event, sentence. The code is the metric's
//! label `reason`, the log's `reason=` and the CODE of an ack line; the field, where there is one, says
//! which member. Combinations that cannot occur (a missing `ts_ms`, an empty `score`) do not exist.

use super::Field;

/// The log event for what could not be read at all (S0-E1).
const MALFORMED: &str = "input.malformed";
/// The log event for what was read and broke a rule (S0-E2).
const INVALID: &str = "validation.failed";

macro_rules! rejections {
    ($($name:ident = $code:literal, $field:expr, $event:expr, $detail:literal;)+) => {
        /// Why a message was refused. One byte; cheap to carry and to count.
        #[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
        #[repr(u8)]
        pub enum Rejection {
            $(#[doc = concat!("`", $code, "`: ", $detail, ".")] $name,)+
        }

        impl Rejection {
            /// How many reasons there are.
            pub const COUNT: usize = [$($code),+].len();
            const ALL: [Rejection; Self::COUNT] = [$(Rejection::$name),+];

            /// Stable snake_case word, low in number: metric label `reason`, log's `reason=`, CODE of an
            /// ack line. Codes repeat over fields.
            pub const fn code(&self) -> &'static str {
                match self { $(Rejection::$name => $code,)+ }
            }

            /// The member at fault, where it is one member's.
            pub const fn field(&self) -> Option<Field> {
                match self { $(Rejection::$name => $field,)+ }
            }

            /// `input.malformed` when it could not be read, `validation.failed` when a rule was broken.
            pub const fn log_event(&self) -> &'static str {
                match self { $(Rejection::$name => $event,)+ }
            }

            /// One plain sentence without a full stop, naming field and rule with its number.
            pub const fn detail(&self) -> &'static str {
                match self { $(Rejection::$name => $detail,)+ }
            }
        }
    };
}

use Field::{Lb, Player, Score, TsMs};

rejections! {
    LineTooLong = "line_too_long", None, MALFORMED, "the line is longer than TCP_MAX_LINE_BYTES";
    FrameTooLong = "frame_too_long", None, MALFORMED, "the frame is longer than TCP_MAX_FRAME_BYTES";
    FrameEmpty = "frame_empty", None, MALFORMED, "a frame must carry at least 1 byte";
    FrameTruncated = "frame_truncated", None, MALFORMED, "the connection ended inside a frame";
    NotUtf8 = "not_utf8", None, MALFORMED, "the line must be valid UTF-8";
    NotJson = "not_json", None, MALFORMED, "the line must be exactly one valid JSON object";
    TooDeep = "too_deep", None, MALFORMED, "objects and arrays may nest 64 levels deep at most";
    NotProtobuf = "not_protobuf", None, MALFORMED, "the frame must be one valid leaderboard.ScoreUpdate";
    NotAnObject = "not_an_object", None, INVALID, "the line must be a JSON object, not another JSON value";
    LbDuplicate = "duplicate_member", Some(Lb), INVALID, "lb must appear 1 time at most";
    PlayerDuplicate = "duplicate_member", Some(Player), INVALID, "player must appear 1 time at most";
    ScoreDuplicate = "duplicate_member", Some(Score), INVALID, "score must appear 1 time at most";
    TsMsDuplicate = "duplicate_member", Some(TsMs), INVALID, "ts_ms must appear 1 time at most";
    LbMistyped = "mistyped", Some(Lb), INVALID, "lb must be a string";
    PlayerMistyped = "mistyped", Some(Player), INVALID, "player must be a string";
    ScoreMistyped = "mistyped", Some(Score), INVALID, "score must be an integer from 0 to 9223372036854775807, without fraction, exponent or quotes";
    TsMsMistyped = "mistyped", Some(TsMs), INVALID, "ts_ms must be left out or be an integer from 0 to 9223372036854775807, without fraction, exponent or quotes";
    LbMissing = "missing", Some(Lb), INVALID, "lb must be given";
    PlayerMissing = "missing", Some(Player), INVALID, "player must be given";
    ScoreMissing = "missing", Some(Score), INVALID, "score must be given";
    LbEmpty = "empty", Some(Lb), INVALID, "lb must have 1 to 64 characters";
    PlayerEmpty = "empty", Some(Player), INVALID, "player must have 1 to 128 characters";
    LbTooLong = "too_long", Some(Lb), INVALID, "lb must have 1 to 64 characters";
    PlayerTooLong = "too_long", Some(Player), INVALID, "player must have 1 to 128 characters";
    ScoreNegative = "negative", Some(Score), INVALID, "score must be 0 or more";
    TsMsNegative = "negative", Some(TsMs), INVALID, "ts_ms must be 0 or more";
    ScoreOutOfRange = "out_of_range", Some(Score), INVALID, "score must be at most 9223372036854775807";
    TsMsOutOfRange = "out_of_range", Some(TsMs), INVALID, "ts_ms must be at most 9223372036854775807";
    RecordTooLarge = "record_too_large", None, INVALID, "the encoded record is larger than the topic or the broker takes";
}

impl Rejection {
    /// Dense number from 0, for arrays of counters.
    pub const fn index(&self) -> usize {
        *self as usize
    }

    /// All reasons, in the order of [`Rejection::index`].
    pub fn all() -> impl Iterator<Item = Rejection> {
        Self::ALL.into_iter()
    }

    /// A known member that came twice.
    pub(crate) const fn duplicate(field: Field) -> Self {
        match field {
            Lb => Self::LbDuplicate,
            Player => Self::PlayerDuplicate,
            Score => Self::ScoreDuplicate,
            TsMs => Self::TsMsDuplicate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_stable_words_and_the_index_is_dense() {
        assert_eq!(size_of::<Rejection>(), 1);
        assert_eq!(size_of::<Result<u64, Rejection>>(), 16);
        for (at, rejection) in Rejection::all().enumerate() {
            assert_eq!(rejection.index(), at);
            let code = rejection.code();
            assert!(
                code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'8'),
                "{code}"
            );
            assert!(["input.malformed", "validation.failed"].contains(&rejection.log_event()));
            assert!(!rejection.detail().contains(|c: char| c.is_control() || c == '"'), "{code}");
            if let Some(field) = rejection.field() {
                assert!(rejection.detail().starts_with(field.name()), "S0-E2: {code} names its field");
            }
        }
        assert_eq!(Rejection::all().count(), Rejection::COUNT);
    }

    #[test]
    fn code_and_field_together_name_one_reason() {
        let all: Vec<_> = Rejection::all().map(|r| (r.code(), r.field())).collect();
        for (at, pair) in all.iter().enumerate() {
            assert!(!all[..at].contains(pair), "{pair:?}");
        }
    }

    #[test]
    fn sentences_carry_the_numbers_that_are_enforced() {
        let lb = Rejection::LbTooLong.detail();
        assert!(lb.contains(&crate::event::LB_MAX_CHARS.to_string()));
        let player = Rejection::PlayerTooLong.detail();
        assert!(player.contains(&crate::event::PLAYER_MAX_CHARS.to_string()));
        assert!(Rejection::ScoreOutOfRange.detail().contains(&i64::MAX.to_string()));
        assert!(Rejection::TooDeep.detail().contains(&crate::pipeline::MAX_DEPTH.to_string()));
    }
}
