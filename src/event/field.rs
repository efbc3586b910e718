//! The members of an event that a rule is about, each by the name that its sender uses.

macro_rules! fields {
    ($($name:ident = $text:literal, $pointer:expr, $what:literal;)+) => {
        /// A member of an event, or what stands beside one in a request.
        #[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
        pub enum Field {
            $(#[doc = concat!($what, ".")] $name,)+
        }

        impl Field {
            /// The name in JSON, logs and replies.
            pub const fn name(self) -> &'static str {
                match self { $(Field::$name => $text,)+ }
            }

            /// JSON Pointer (RFC 6901) of a member with a fixed place in the event's object.
            pub const fn pointer(self) -> Option<&'static str> {
                match self { $(Field::$name => $pointer,)+ }
            }
        }
    };
}

fields! {
    Lb = "lb", Some("/lb"), "The leaderboard";
    Player = "player", Some("/player"), "The player";
    Score = "score", Some("/score"), "The score";
    TsMs = "ts_ms", Some("/ts_ms"), "The score's time";
    Id = "id", Some("/id"), "The id that its sender chose (S3, CloudEvents)";
    Type = "type", Some("/type"), "The kind of event (S3, CloudEvents)";
    Timestamp = "timestamp", Some("/timestamp"), "The event's time (S3, S4)";
    Payload = "payload", Some("/payload"), "The event's content (S3)";
    EventType = "event_type", Some("/event_type"), "The kind of event (S4)";
    PlayerId = "player_id", Some("/player_id"), "The player, also the record's key (S4)";
    GameId = "game_id", Some("/game_id"), "The game (S4)";
    Data = "data", Some("/data"), "The event's content (S4, CloudEvents)";
    EventId = "event_id", Some("/event_id"), "The id that makes a retry the same event (S4)";
    IngestedAt = "ingested_at", Some("/ingested_at"), "When the gateway took it in (S4)";
    SpecVersion = "specversion", Some("/specversion"), "The version of CloudEvents";
    Source = "source", Some("/source"), "Where the event happened (CloudEvents)";
    Time = "time", Some("/time"), "When the event happened (CloudEvents)";
    DataBase64 = "data_base64", Some("/data_base64"), "The event's content, not being JSON (CloudEvents)";
    Body = "body", None, "The body of a request";
    Attribute = "attribute", None, "Any other attribute (CloudEvents)";
    KeyMember = "EVENTS_KEY_FIELD", None, "The member that the configuration makes the record's key";
    IdempotencyKey = "Idempotency-Key", None, "The request's header of that name";
}
