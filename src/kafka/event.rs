//! What the client library has to tell, as its main queue holds it.

use super::errors::Code;
use super::native::Deliveries;

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
