//! Ids of events: the client's, one derived from its `Idempotency-Key`, or a fresh one.

use std::fmt;

use uuid::{Builder, Uuid};

use super::{Circumstances, EventFault, EventRules, IdVersion, Route};
use crate::event::Rejection;

/// Most bytes of an event's id: it is answered in a header and kept beside the record until its outcome is known.
pub const EVENT_ID_MAX_BYTES: usize = 128;
/// Most bytes of an `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_MAX_BYTES: usize = 255;

/// The namespace (RFC 9562, section 6.5) of ids that are derived from an `Idempotency-Key`, in UUIDv5.
///
/// The name is the route's path, the sender's identity (empty where keys are not scoped), and the key, joined by line
/// feeds; for an event of a batch a line feed and its place from 0 follow. So a retry has the same ids, and two senders
/// with the same key do not.
pub const NAMESPACE: Uuid = uuid::uuid!("35de5eb8-fa62-4199-ab21-95894bf1e0ed");

/// An event's id, in place. Never a control character, so it can stand in a header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EventId {
    len: u8,
    is_plain: bool,
    bytes: [u8; EVENT_ID_MAX_BYTES],
}

impl EventId {
    /// # Errors
    /// It is too long or holds a control character.
    pub(super) fn new(id: &str) -> Result<Self, EventFault> {
        let mut bytes = [0; EVENT_ID_MAX_BYTES];
        bytes.get_mut(..id.len()).ok_or(Rejection::IdTooLong)?.copy_from_slice(id.as_bytes());
        match id.chars().any(char::is_control) {
            true => Err(Rejection::IdControl),
            false => Ok(Self { len: id.len() as u8, is_plain: id.bytes().all(is_plain), bytes }),
        }
    }

    /// In the usual form: 36 characters in lower case.
    pub(super) fn from_uuid(uuid: Uuid) -> Self {
        let mut bytes = [0; EVENT_ID_MAX_BYTES];
        let len = uuid.as_hyphenated().encode_lower(&mut bytes).len() as u8;
        Self { len, is_plain: true, bytes }
    }

    /// Whether it has visible ASCII characters alone, and none that JSON escapes: it may stand anywhere as it is.
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        // Proof: both ways to make one copy a whole string.
        std::str::from_utf8(self.as_bytes()).expect("made of a string")
    }

    /// The id's bytes, which are UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\')
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A checked `Idempotency-Key`: 1 to 255 bytes of UTF-8 without control characters, taken as it stands. It is checked
/// once a request, before any of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyKey<'a>(&'a str);

impl<'a> IdempotencyKey<'a> {
    /// # Errors
    /// The rule that the header's value breaks.
    pub fn new(value: &'a [u8]) -> Result<Self, EventFault> {
        match std::str::from_utf8(value) {
            Ok("") => Err(Rejection::IdempotencyKeyEmpty),
            Ok(key) if key.len() > IDEMPOTENCY_KEY_MAX_BYTES => Err(Rejection::IdempotencyKeyTooLong),
            Ok(key) if !key.chars().any(char::is_control) => Ok(Self(key)),
            _ => Err(Rejection::IdempotencyKeyControl),
        }
    }

    /// The key.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

/// The id of an event whose client gave none.
pub(super) fn our_own(route: Route, rules: &EventRules, circumstances: &Circumstances<'_>) -> EventId {
    let fresh = circumstances.fresh;
    EventId::from_uuid(match (circumstances.idempotency_key, rules.ids) {
        (Some(key), _) => derived(route, key, circumstances),
        (None, IdVersion::V4) => Builder::from_random_bytes(fresh).into_uuid(),
        (None, IdVersion::V7) => {
            let [_, _, _, _, _, _, random @ ..] = fresh;
            Builder::from_unix_timestamp_millis(circumstances.moment.unix_ms(), &random).into_uuid()
        }
    })
}

/// See [`NAMESPACE`].
fn derived(route: Route, key: IdempotencyKey<'_>, circumstances: &Circumstances<'_>) -> Uuid {
    let mut name = [route.path(), circumstances.identity, key.0].join("\n");
    if let Some(index) = circumstances.index {
        name.push('\n');
        name.push_str(&index.to_string());
    }
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

/// Whether it is a UUID in its usual form; PostgreSQL takes others, other readers do not.
pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == uuid::fmt::Hyphenated::LENGTH && Uuid::try_parse(text).is_ok()
}
