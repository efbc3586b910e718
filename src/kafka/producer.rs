//! What the feeder asks of a producer. One implementor is the client library, the other a test's pretence, so
//! that gathering, sorting, holding back and releasing are simulated with the real code. Static dispatch: it
//! costs the hot path nothing.

use super::errors::Code;
use crate::handoff::{Token, TopicId};

/// A partition of one of the topics that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    pub topic: TopicId,
    pub number: u32,
}

/// A record on its way into the client library.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// `None` for a record without a key, which is another thing than an empty one.
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
    /// As `event::headers` writes them.
    pub headers: &'a [u8],
    pub token: Token,
}

/// Takes records and owes a report for each that it took.
pub trait Producer {
    /// Hands records of one partition over, in order. Keys and values are copied. `refused` gets the position and
    /// the code of each record that was not taken; after the first QUEUE_FULL none of the call's records is taken.
    /// How many were taken.
    fn produce<'a>(
        &mut self,
        partition: Partition,
        records: impl Iterator<Item = Outgoing<'a>>,
        refused: impl FnMut(usize, Code),
    ) -> usize;
}
