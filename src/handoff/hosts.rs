//! Outcomes for an embedding host: a callback for each record that wants one.
//!
//! Callbacks run on the poll thread, one after the other: they must be short and must not block.

use std::fmt;
use std::sync::Mutex;

use slab::Slab;

use super::board::lock;
use super::receipt::{Cause, Receipt};
use super::token::{Address, MAX_SLOTS, Token};
use crate::event::Outcome;

/// The slot that stands for the host; no connection ever gets it.
pub const HOST_SLOT: u32 = MAX_SLOTS as u32 - 1;

/// The slot that stands for requests with an idempotency key, which outlive their connections.
pub const KEYED_SLOT: u32 = HOST_SLOT - 1;

/// The same for those whose sender was told that they are taken: nobody needs to wait, and a failure is no answer.
pub const KEYED_TAKEN_SLOT: u32 = HOST_SLOT - 2;

type Callback = Box<dyn FnOnce(Outcome, Cause) + Send>;

/// Callbacks by the sequence number in their records' tokens.
#[derive(Default)]
pub struct HostReceipts(Mutex<Slab<Callback>>);

impl HostReceipts {
    /// The token for a record whose outcome `callback` wants to know.
    pub fn expect(&self, callback: impl FnOnce(Outcome, Cause) + Send + 'static) -> Token {
        let sequence = lock(&self.0).insert(Box::new(callback)) as u32;
        Token::peer(Address { slot: HOST_SLOT, generation: 0, sequence })
    }

    /// The record was not taken after all.
    pub fn forget(&self, token: Token) {
        if let super::token::Target::Peer(address) = token.target() {
            drop(self.take(address.sequence));
        }
    }

    /// Calls back. False: nobody waits for this number.
    pub fn settle(&self, receipt: &Receipt) -> bool {
        match self.take(receipt.to.sequence) {
            None => false,
            Some(callback) => {
                callback(receipt.outcome, receipt.cause);
                true
            }
        }
    }

    fn take(&self, sequence: u32) -> Option<Callback> {
        lock(&self.0).try_remove(sequence as usize)
    }
}

impl fmt::Debug for HostReceipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostReceipts").field("waiting", &lock(&self.0).len()).finish()
    }
}
