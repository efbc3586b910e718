//! What the client library tells: a record's end, and whatever else its main queue holds.

use super::errors::{Code, Persistence};
use super::native::Deliveries;
use crate::handoff::{Token, TopicId};

/// One record's end, as the client library tells it.
#[derive(Clone, Debug)]
pub struct Delivery<'a> {
    pub token: Token,
    pub topic: TopicId,
    /// What it counted for in the buffer.
    pub accounted_bytes: usize,
    pub code: Code,
    pub persistence: Persistence,
    /// Negative when the record never got a partition.
    pub partition: i32,
    /// Negative where it is not known.
    pub offset: i64,
    /// `None` for a record without a key.
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
    /// As `event::headers` writes them; copied for a record that failed, empty for one that is stored.
    pub headers: Vec<u8>,
}

/// What the main queue holds.
pub enum Event<'a> {
    Deliveries(Deliveries<'a>),
    Statistics(&'a str),
    /// An error that concerns the client, not one record. `fatal`: the producer can never produce again.
    Error {
        code: Code,
        reason: &'a str,
        fatal: bool,
    },
    Log {
        level: i32,
        text: &'a str,
    },
}
