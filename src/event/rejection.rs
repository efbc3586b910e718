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

use Field::{
    Attribute, Body, Data, DataBase64, EventId, EventType, GameId, Id, IdempotencyKey, IngestedAt, KeyMember,
    Lb, Payload, Player, PlayerId, Score, Source, SpecVersion, Time, Timestamp, TsMs, Type,
};

rejections! {
    LineTooLong = "line_too_long", None, MALFORMED, "the line is longer than TCP_MAX_LINE_BYTES";
    FrameTooLong = "frame_too_long", None, MALFORMED, "the frame is longer than TCP_MAX_FRAME_BYTES";
    FrameEmpty = "frame_empty", None, MALFORMED, "a frame must carry at least 1 byte";
    FrameTruncated = "frame_truncated", None, MALFORMED, "the connection ended inside a frame";
    NotUtf8 = "not_utf8", None, MALFORMED, "the event must be valid UTF-8";
    NotJson = "not_json", None, MALFORMED, "the event must be exactly one valid JSON object";
    TooDeep = "too_deep", None, MALFORMED, "objects and arrays may nest 64 levels deep at most";
    NotProtobuf = "not_protobuf", None, MALFORMED, "the frame must be one valid leaderboard.ScoreUpdate";
    NotAnObject = "not_an_object", None, INVALID, "the event must be a JSON object, not another JSON value";
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
    // What comes over HTTP: the request as a whole.
    UnsupportedMediaType = "unsupported_media_type", Some(Body), MALFORMED, "body must be JSON, NDJSON, or on /events a CloudEvent in JSON or in ce- headers";
    BodyEmpty = "empty", Some(Body), MALFORMED, "body must hold at least 1 event";
    BodyNotUtf8 = "not_utf8", Some(Body), MALFORMED, "body must be valid UTF-8";
    BodyNotJson = "not_json", Some(Body), MALFORMED, "body must be exactly one valid JSON array of events";
    NotAnArray = "not_an_array", Some(Body), INVALID, "body must be a JSON array of events, not another JSON value";
    TooManyItems = "too_many_items", Some(Body), INVALID, "body must not hold more events than the buffer can ever hold";
    IdempotencyKeyEmpty = "empty", Some(IdempotencyKey), INVALID, "Idempotency-Key must have 1 to 255 bytes";
    IdempotencyKeyTooLong = "too_long", Some(IdempotencyKey), INVALID, "Idempotency-Key must have 1 to 255 bytes";
    IdempotencyKeyControl = "control_character", Some(IdempotencyKey), INVALID, "Idempotency-Key must be UTF-8 without control characters";
    // Its strings.
    LoneSurrogate = "lone_surrogate", None, INVALID, "an escaped surrogate must be one half of a pair";
    Nul = "nul_character", None, INVALID, "no string of the event may hold U+0000, which PostgreSQL cannot store";
    // Members of S3 and S4.
    IdDuplicate = "duplicate_member", Some(Id), INVALID, "id must appear 1 time at most";
    IdMistyped = "mistyped", Some(Id), INVALID, "id must be a string";
    IdTooLong = "too_long", Some(Id), INVALID, "id must have at most 128 bytes in UTF-8";
    IdControl = "control_character", Some(Id), INVALID, "id must not hold control characters, as it is answered in a header";
    TypeDuplicate = "duplicate_member", Some(Type), INVALID, "type must appear 1 time at most";
    TypeMistyped = "mistyped", Some(Type), INVALID, "type must be a string";
    TimestampDuplicate = "duplicate_member", Some(Timestamp), INVALID, "timestamp must appear 1 time at most";
    TimestampMissing = "missing", Some(Timestamp), INVALID, "timestamp must be given";
    TimestampMistyped = "mistyped", Some(Timestamp), INVALID, "timestamp must be a string";
    TimestampNotRfc3339 = "not_rfc3339", Some(Timestamp), INVALID, "timestamp must be a time in RFC 3339 with its zone, such as 2026-01-31T23:59:59.5Z";
    PayloadDuplicate = "duplicate_member", Some(Payload), INVALID, "payload must appear 1 time at most";
    PayloadMistyped = "mistyped", Some(Payload), INVALID, "payload must be an object";
    KeyMemberDuplicate = "duplicate_member", Some(KeyMember), INVALID, "EVENTS_KEY_FIELD's member must appear 1 time at most";
    KeyMemberMistyped = "mistyped", Some(KeyMember), INVALID, "EVENTS_KEY_FIELD's member must be a string or an integer";
    EventTypeDuplicate = "duplicate_member", Some(EventType), INVALID, "event_type must appear 1 time at most";
    EventTypeMissing = "missing", Some(EventType), INVALID, "event_type must be given";
    EventTypeMistyped = "mistyped", Some(EventType), INVALID, "event_type must be a string";
    EventTypeEmpty = "empty", Some(EventType), INVALID, "event_type must have 1 to 100 characters";
    EventTypeTooLong = "too_long", Some(EventType), INVALID, "event_type must have 1 to 100 characters";
    PlayerIdDuplicate = "duplicate_member", Some(PlayerId), INVALID, "player_id must appear 1 time at most";
    PlayerIdMissing = "missing", Some(PlayerId), INVALID, "player_id must be given";
    PlayerIdMistyped = "mistyped", Some(PlayerId), INVALID, "player_id must be a string";
    PlayerIdEmpty = "empty", Some(PlayerId), INVALID, "player_id must have 1 to 100 characters";
    PlayerIdTooLong = "too_long", Some(PlayerId), INVALID, "player_id must have 1 to 100 characters";
    GameIdDuplicate = "duplicate_member", Some(GameId), INVALID, "game_id must appear 1 time at most";
    GameIdMissing = "missing", Some(GameId), INVALID, "game_id must be given";
    GameIdMistyped = "mistyped", Some(GameId), INVALID, "game_id must be a string";
    GameIdEmpty = "empty", Some(GameId), INVALID, "game_id must have 1 to 100 characters";
    GameIdTooLong = "too_long", Some(GameId), INVALID, "game_id must have 1 to 100 characters";
    DataDuplicate = "duplicate_member", Some(Data), INVALID, "data must appear 1 time at most";
    DataMistyped = "mistyped", Some(Data), INVALID, "data must be left out or be an object";
    EventIdDuplicate = "duplicate_member", Some(EventId), INVALID, "event_id must appear 1 time at most";
    EventIdMistyped = "mistyped", Some(EventId), INVALID, "event_id must be left out or be a string that holds a UUID";
    EventIdNotUuid = "not_uuid", Some(EventId), INVALID, "event_id must be a UUID of 36 characters";
    IngestedAtDuplicate = "duplicate_member", Some(IngestedAt), INVALID, "ingested_at must appear 1 time at most";
    // CloudEvents.
    DataMissing = "missing", Some(Data), INVALID, "data must be given: a record without a value deletes its key on a compacted topic";
    DataTwice = "conflict", Some(Data), INVALID, "data and data_base64 must not both be given";
    DataBase64Duplicate = "duplicate_member", Some(DataBase64), INVALID, "data_base64 must appear 1 time at most";
    DataBase64Mistyped = "mistyped", Some(DataBase64), INVALID, "data_base64 must be a string";
    DataBase64Broken = "not_base64", Some(DataBase64), INVALID, "data_base64 must be in base64 (RFC 4648, section 4)";
    IdMissing = "missing", Some(Id), INVALID, "id must be given";
    IdEmpty = "empty", Some(Id), INVALID, "id must have at least 1 character";
    TypeMissing = "missing", Some(Type), INVALID, "type must be given";
    TypeEmpty = "empty", Some(Type), INVALID, "type must have at least 1 character";
    SourceMissing = "missing", Some(Source), INVALID, "source must be given";
    SourceMistyped = "mistyped", Some(Source), INVALID, "source must be a string";
    SourceEmpty = "empty", Some(Source), INVALID, "source must have at least 1 character";
    SpecVersionMissing = "missing", Some(SpecVersion), INVALID, "specversion must be given";
    SpecVersionUnknown = "out_of_range", Some(SpecVersion), INVALID, "specversion must be 1.0";
    TimeNotRfc3339 = "not_rfc3339", Some(Time), INVALID, "time must be a time in RFC 3339 with its zone, such as 2026-01-31T23:59:59.5Z";
    AttributeName = "bad_name", Some(Attribute), INVALID, "attribute names must have 1 to 64 of a-z and 0-9, and datacontenttype has no ce- header";
    AttributeDuplicate = "duplicate_member", Some(Attribute), INVALID, "attributes must appear 1 time at most";
    AttributeEmpty = "empty", Some(Attribute), INVALID, "attributes subject, dataschema and datacontenttype must have at least 1 character where given";
    AttributeMistyped = "mistyped", Some(Attribute), INVALID, "attributes must be strings, those of extensions also booleans or integers from -2147483648 to 2147483647";
    AttributeNotUtf8 = "not_utf8", Some(Attribute), MALFORMED, "attributes in headers must be valid UTF-8 after percent-decoding";
    AttributeControl = "control_character", Some(Attribute), INVALID, "attributes must not hold control characters";
    TooManyAttributes = "too_many_items", Some(Attribute), INVALID, "attributes may be 48 at most";
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
            Id => Self::IdDuplicate,
            Type => Self::TypeDuplicate,
            Timestamp => Self::TimestampDuplicate,
            Payload => Self::PayloadDuplicate,
            EventType => Self::EventTypeDuplicate,
            PlayerId => Self::PlayerIdDuplicate,
            GameId => Self::GameIdDuplicate,
            Data => Self::DataDuplicate,
            DataBase64 => Self::DataBase64Duplicate,
            EventId => Self::EventIdDuplicate,
            IngestedAt => Self::IngestedAtDuplicate,
            KeyMember => Self::KeyMemberDuplicate,
            // The other attributes of a CloudEvent share one reason; the others are no members.
            SpecVersion | Source | Time | Attribute | IdempotencyKey | Body => Self::AttributeDuplicate,
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
                code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
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
