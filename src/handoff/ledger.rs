//! The account of every message: accepted, and how it ended (G20).
//!
//! accepted = stored + rejected + not_stored + dead_lettered + dropped + unknown + in flight, at every moment.
//! Whoever accepts debits before the hand-over, whoever learns an outcome credits once.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::event::Outcome;

/// Shared by all threads; written a few times a batch, not per record.
#[derive(Debug, Default)]
pub struct Ledger {
    accepted: AtomicU64,
    outcomes: [AtomicU64; Outcome::COUNT],
    /// not_stored or unknown, and nobody was there to be told.
    untold: AtomicU64,
}

/// A copy of the account at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub accepted: u64,
    /// By [`Outcome::index`].
    pub outcomes: [u64; Outcome::COUNT],
    /// not_stored whose sender was never told: `lost` of the last line.
    pub lost: u64,
}

impl Ledger {
    pub fn accept(&self, messages: u64) {
        self.accepted.fetch_add(messages, SeqCst);
    }

    pub fn credit(&self, outcome: Outcome, messages: u64) {
        self.outcomes[outcome.index()].fetch_add(messages, SeqCst);
    }

    /// Messages that were not stored and whose sender cannot be told.
    pub fn lose(&self, messages: u64) {
        self.untold.fetch_add(messages, SeqCst);
    }

    /// Outcomes are read before `accepted`, so that in flight is never negative.
    pub fn account(&self) -> Account {
        let mut account = Account { lost: self.untold.load(SeqCst), ..Account::default() };
        for (copy, outcome) in account.outcomes.iter_mut().zip(&self.outcomes) {
            *copy = outcome.load(SeqCst);
        }
        account.accepted = self.accepted.load(SeqCst);
        account
    }
}

impl Account {
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome.index()]
    }

    /// Messages whose end is open.
    pub fn in_flight(&self) -> u64 {
        self.accepted - self.outcomes.iter().sum::<u64>()
    }
}
