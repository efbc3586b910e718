//! The idempotency window: what became of requests with an `Idempotency-Key`, for as long as a retry may come.
//!
//! The window alone follows the records of such requests: their receipts come here and not to the connection that
//! sent them, because the retry that matters most comes after that connection died. Whoever waits for an outcome, the
//! first request or a retry of it, waits for the window. A key is kept once its request is stored, never before; if a
//! part of it may not be stored, the key is forgotten, and a retry is tried again as if it were the first.
//!
//! Bounded by bytes and time, every step is O(1): entries leave in the order in which they were stored, early if room
//! is needed. Those in flight never leave; when they take all the room, a new key finds none. Keys and bodies are held
//! as 128 bits of two SipHashes with keys of this process, which nobody outside can make collide.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use slab::Slab;

use super::exchange::{Fate, Item};
use crate::event::Outcome;
use crate::handoff::{Address, KEYED_SLOT, KEYED_TAKEN_SLOT, Receipt};

/// How long and how much is remembered; nothing if either is 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyOptions {
    /// IDEMPOTENCY_WINDOW: from the moment at which a request is stored.
    pub window: Duration,
    /// IDEMPOTENCY_BYTES.
    pub bytes: usize,
}

impl Default for IdempotencyOptions {
    fn default() -> Self {
        Self { window: Duration::from_secs(600), bytes: 8 << 20 }
    }
}

/// Bits of a ticket that say which event of its request it is.
const ITEM_BITS: u32 = 24;
/// Bits that say which request; both together fill the fields of an [`Address`].
const ENTRY_BITS: u32 = 19;
const SEQUENCE_BITS: u32 = Address::SEQUENCE_MODULUS.trailing_zeros();
const _: () = assert!(ITEM_BITS + ENTRY_BITS == SEQUENCE_BITS + Address::GENERATION_MODULUS.trailing_zeros());

/// An entry with what leads to it: a place in the map and one in the queue, each twice for their spare room.
const ENTRY_BYTES: usize = 2 * (size_of::<Entry>() + size_of::<(u128, usize)>() + size_of::<(u64, usize)>());
const ITEM_BYTES: usize = size_of::<Item>();
/// A waiter, and the room that a vector grows ahead.
const WAITER_BYTES: usize = 2 * size_of::<Waiter>();

/// 128 bits that stand for some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(u128);

/// Which entry, until it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(usize);

/// A connection that waits for an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    pub slot: u32,
    pub generation: u16,
}

/// What is known of a key.
#[derive(Debug)]
pub(super) enum Found<'a> {
    Nothing,
    /// The key came with another body.
    Conflict,
    /// In flight; its events as far as known, and the number of the outcome to wait for.
    Open {
        ticket: Ticket,
        serial: u64,
        items: &'a [Item],
    },
    /// Stored.
    Kept(&'a [Item]),
}

/// One record's end.
#[derive(Debug)]
pub struct Settled {
    pub latency_us: u64,
    /// Its whole request's end.
    pub ended: Option<Ended>,
}

/// What is to be told to everybody who waits.
#[derive(Debug)]
pub struct Ended {
    pub serial: u64,
    pub(super) items: Vec<Item>,
    pub waiters: Vec<Waiter>,
    /// Its events that are not stored.
    pub not_stored: u64,
    /// Its sender was answered before: that they are taken.
    pub is_accepted: bool,
}

/// How requests with a key were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// From what is kept.
    pub replayed: u64,
    /// Together with one in flight.
    pub joined: u64,
    /// With 409.
    pub conflicts: u64,
}

#[derive(Debug)]
struct Entry {
    name: Digest,
    body: Digest,
    serial: u64,
    accepted_us: u64,
    /// Items whose receipt has not come.
    open: usize,
    items: Vec<Item>,
    waiters: Vec<Waiter>,
    bytes: usize,
    is_accepted: bool,
}

/// See the module's text.
#[derive(Debug)]
pub struct Window {
    window_us: u64,
    bytes_max: usize,
    bytes: usize,
    hashers: [RandomState; 2],
    names: HashMap<Digest, usize>,
    entries: Slab<Entry>,
    /// Stored entries and when they are to be forgotten, the first one first.
    kept: VecDeque<(u64, usize)>,
    serial: u64,
    pub counts: KeyCounts,
}

impl Window {
    pub fn new(options: &IdempotencyOptions) -> Self {
        Self {
            window_us: options.window.as_micros() as u64,
            bytes_max: options.bytes,
            bytes: 0,
            hashers: [RandomState::new(), RandomState::new()],
            names: HashMap::new(),
            entries: Slab::new(),
            kept: VecDeque::new(),
            serial: 0,
            counts: KeyCounts::default(),
        }
    }

    /// Whether keys are remembered at all.
    pub fn is_on(&self) -> bool {
        self.window_us > 0 && self.bytes_max > 0
    }

    /// 128 bits for these parts in this order.
    pub fn digest(&self, parts: &[&[u8]]) -> Digest {
        let half = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            for part in parts {
                hasher.write_usize(part.len());
                hasher.write(part);
            }
            u128::from(hasher.finish())
        };
        Digest(half(&self.hashers[0]) << 64 | half(&self.hashers[1]))
    }

    /// What is known of the key `name`, which comes with this body.
    pub(super) fn find(&mut self, name: Digest, body: Digest, now_us: u64) -> Found<'_> {
        while self.kept.front().is_some_and(|(until_us, _)| *until_us <= now_us) {
            self.forget_oldest();
        }
        let Some(&at) = self.names.get(&name) else { return Found::Nothing };
        let entry = &self.entries[at];
        if entry.body != body {
            self.counts.conflicts += 1;
            return Found::Conflict;
        }
        match entry.open {
            0 => {
                self.counts.replayed += 1;
                Found::Kept(&entry.items)
            }
            _ => Found::Open { ticket: Ticket(at), serial: entry.serial, items: &entry.items },
        }
    }

    /// Takes a key in that [`find`](Self::find) does not know, for a request of so many events, and room for one that
    /// waits. None: there is no room.
    pub(super) fn open(&mut self, name: Digest, body: Digest, items: usize, now_us: u64) -> Option<Ticket> {
        let bytes = ENTRY_BYTES + items.checked_mul(ITEM_BYTES)? + WAITER_BYTES;
        if items >= 1 << ITEM_BITS || !self.make_room(bytes) {
            return None;
        }
        while self.entries.len() >= 1 << ENTRY_BITS {
            self.forget_oldest().then_some(())?;
        }
        self.bytes += bytes;
        self.serial += 1;
        let (items, waiters, serial) = (Vec::new(), Vec::new(), self.serial);
        let is_accepted = false;
        let entry =
            Entry { name, body, serial, accepted_us: now_us, open: 0, items, waiters, bytes, is_accepted };
        let at = self.entries.insert(entry);
        self.names.insert(name, at);
        Some(Ticket(at))
    }

    /// Where the receipt of one event of a request goes. `waits`: its sender is told the outcome; else it is told at once
    /// that the event is taken, and what Kafka does not take is a dead letter.
    pub(super) fn address(&self, ticket: Ticket, index: usize, waits: bool) -> Address {
        let bits = (ticket.0 as u64) << ITEM_BITS | index as u64;
        Address {
            slot: if waits { KEYED_SLOT } else { KEYED_TAKEN_SLOT },
            generation: (bits >> SEQUENCE_BITS) as u16,
            sequence: (bits % Address::SEQUENCE_MODULUS) as u32,
        }
    }

    /// Says what was taken of a request: those [`Fate::Open`] will be settled. The number of its outcome; none, and
    /// the key is forgotten, if nothing is to come.
    pub(super) fn fill(&mut self, ticket: Ticket, items: Vec<Item>) -> Option<u64> {
        let entry = &mut self.entries[ticket.0];
        entry.open = items.iter().filter(|item| item.fate == Fate::Open).count();
        entry.items = items;
        if entry.open == 0 {
            self.remove(ticket.0);
            return None;
        }
        Some(entry.serial)
    }

    /// The first request waits for its own outcome; its room was taken by [`open`](Self::open).
    pub(super) fn wait(&mut self, ticket: Ticket, waiter: Waiter) {
        self.entries[ticket.0].waiters.push(waiter);
    }

    /// The first request does not wait: it is told that its events are taken.
    pub(super) fn accept(&mut self, ticket: Ticket) {
        self.entries[ticket.0].is_accepted = true;
    }

    /// One more waits for the outcome of a request in flight. False: there is no room.
    pub(super) fn join(&mut self, ticket: Ticket, waiter: Waiter) -> bool {
        // It holds a copy of the items while it waits.
        let bytes = WAITER_BYTES + self.entries[ticket.0].items.len() * ITEM_BYTES;
        if !self.make_room(bytes) {
            return false;
        }
        self.bytes += bytes;
        let entry = &mut self.entries[ticket.0];
        entry.bytes += bytes;
        entry.waiters.push(waiter);
        self.counts.joined += 1;
        true
    }

    /// Takes the outcome of one record; none if nobody knows it.
    pub fn settle(&mut self, receipt: &Receipt, now_us: u64) -> Option<Settled> {
        let to = receipt.to;
        let bits = u64::from(to.generation) << SEQUENCE_BITS | u64::from(to.sequence);
        let (at, index) = ((bits >> ITEM_BITS) as usize, (bits % (1 << ITEM_BITS)) as usize);
        let entry = self.entries.get_mut(at)?;
        let item = entry.items.get_mut(index).filter(|item| item.fate == Fate::Open)?;
        item.end(receipt);
        entry.open -= 1;
        let latency_us = now_us.saturating_sub(entry.accepted_us);
        let ended = (entry.open == 0).then(|| self.end(at, now_us));
        Some(Settled { latency_us, ended })
    }

    fn end(&mut self, at: usize, now_us: u64) -> Ended {
        let entry = &mut self.entries[at];
        let waiters = std::mem::take(&mut entry.waiters);
        let (serial, is_accepted) = (entry.serial, entry.is_accepted);
        let is_final = |fate| matches!(fate, Fate::Refused(_) | Fate::Ended { outcome: Outcome::Stored, .. });
        if !entry.items.iter().all(|item| is_final(item.fate)) {
            let items = self.remove(at);
            let is_lost = |item: &&Item| matches!(item.fate, Fate::Ended { outcome: Outcome::NotStored, .. });
            let not_stored = items.iter().filter(is_lost).count() as u64;
            return Ended { serial, items, waiters, not_stored, is_accepted };
        }
        let bytes = ENTRY_BYTES + entry.items.len() * ITEM_BYTES;
        self.bytes -= std::mem::replace(&mut entry.bytes, bytes) - bytes;
        let items = if waiters.is_empty() { Vec::new() } else { entry.items.clone() };
        self.kept.push_back((now_us.saturating_add(self.window_us), at));
        Ended { serial, items, waiters, not_stored: 0, is_accepted }
    }

    /// Forgets what was stored longest ago until so many bytes fit.
    fn make_room(&mut self, bytes: usize) -> bool {
        while self.bytes.saturating_add(bytes) > self.bytes_max {
            if !self.forget_oldest() {
                return false;
            }
        }
        true
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((_, at)) = self.kept.pop_front() else { return false };
        self.remove(at);
        true
    }

    fn remove(&mut self, at: usize) -> Vec<Item> {
        let entry = self.entries.remove(at);
        self.names.remove(&entry.name);
        self.bytes -= entry.bytes;
        entry.items
    }

    /// Bytes in use, as accounted for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
#[path = "idempotency_tests.rs"]
mod tests;
