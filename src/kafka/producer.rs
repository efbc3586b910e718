//! What the feeder asks of a producer. One implementor is the client library, the other a test's pretence, so
//! that gathering, sorting, holding back and releasing are simulated with the real code. Static dispatch: it
//! costs the hot path nothing.

use super::errors::Code;
use crate::handoff::Token;

/// A record on its way into the client library.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    pub token: Token,
}

/// Takes records and owes a report for each that it took.
pub trait Producer {
    /// Hands records of one partition over, in order. Keys and values are copied. `refused` gets the position and
    /// the code of each record that was not taken; after the first QUEUE_FULL none of the call's records is taken.
    /// How many were taken.
    fn produce<'a>(
        &mut self,
        partition: u32,
        records: impl Iterator<Item = Outgoing<'a>>,
        refused: impl FnMut(usize, Code),
    ) -> usize;
}
