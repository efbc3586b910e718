//! What bytes mean, sans-IO: bytes in, findings out.
//!
//! A framer gets the bytes that a connection has and has not consumed, and answers with the next message's
//! place in them or with "not enough yet". Nothing here owns a buffer, reads a clock or a socket, or judges
//! what a message says (that is `pipeline`'s). Sessions call it; whatever way TCP cut the bytes, the
//! findings are the same, and one test helper holds every codec to that.

pub mod ack;
mod frames;
pub mod http1;
mod lines;
pub mod proxy;
#[cfg(test)]
pub(crate) mod testing;

pub use frames::Frames;
pub use lines::Lines;

use std::ops::Range;

/// One finding of a framer. Each stands for one message of the peer's count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A whole message: its range in the `input` of this call, terminator and prefix excluded.
    Message(Range<usize>),
    /// A message longer than the limit: said once, as soon as it is certain; the rest of it is skipped.
    TooLong,
    /// The input ended inside a message. Frames only: a line without LF counts at the end.
    Truncated,
}

/// What one call found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of `input` that the caller drops before the next call. May be more than 0 without an item:
    /// skipped bytes and blank lines.
    pub consumed: usize,
    /// The finding; none when the bytes do not suffice.
    pub item: Option<Item>,
}
