//! Records that wait on our side: one arena and an index, first in, first out.
//!
//! Bounded from outside by the buffer's marks; memory is given back when the last record leaves.

use std::collections::VecDeque;

use super::producer::Outgoing;
use crate::handoff::{Batch, PATIENCE_US, Record, Shape, Token};

/// A record that waits, or is about to.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub token: Token,
    /// murmur2 of the key.
    pub hash: u32,
    /// Gateway's clock, microseconds.
    pub accepted_us: u64,
    pub shape: Shape,
    /// Key, value and headers, one after the other.
    pub parts: &'a [u8],
}

impl<'a> Entry<'a> {
    /// A batch's record as it would wait.
    pub fn of(batch: &'a Batch, record: &Record) -> Self {
        Self {
            token: record.token,
            hash: record.hash,
            accepted_us: batch.accepted_us(),
            shape: record.shape,
            parts: batch.parts(record),
        }
    }

    /// Empty for a record without a key.
    pub fn key(&self) -> &'a [u8] {
        &self.parts[..self.shape.key_len.unwrap_or(0) as usize]
    }

    /// When it has waited long enough: microseconds on the gateway's clock.
    fn until_us(&self) -> u64 {
        match self.shape.patience {
            0 => u64::MAX,
            patience => self.accepted_us + u64::from(patience) * PATIENCE_US,
        }
    }

    /// As the client library takes it.
    pub fn outgoing(&self) -> Outgoing<'a> {
        let (key, rest) = self.parts.split_at(self.key().len());
        let (value, headers) = rest.split_at(self.shape.value_len as usize);
        Outgoing { key: self.shape.key_len.map(|_| key), value, headers, token: self.token }
    }
}

#[derive(Clone, Copy, Debug)]
struct Index {
    token: Token,
    hash: u32,
    accepted_us: u64,
    shape: Shape,
    /// Counted from the first byte ever pushed since the arena was empty.
    start: u64,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Held {
    bytes: Vec<u8>,
    /// Bytes dropped from the arena's front so far.
    dropped: u64,
    entries: VecDeque<Index>,
    /// Entries with a patience of their own.
    impatient: usize,
}

impl Held {
    pub fn push(&mut self, entry: Entry<'_>) {
        self.entries.push_back(Index {
            token: entry.token,
            hash: entry.hash,
            accepted_us: entry.accepted_us,
            shape: entry.shape,
            start: self.dropped + self.bytes.len() as u64,
        });
        self.bytes.extend_from_slice(entry.parts);
        self.impatient += usize::from(entry.shape.patience > 0);
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn front(&self) -> Option<Entry<'_>> {
        self.iter().next()
    }

    /// Oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.entries.iter().map(|index| {
            let start = (index.start - self.dropped) as usize;
            let parts = &self.bytes[start..start + index.shape.len()];
            Entry {
                token: index.token,
                hash: index.hash,
                accepted_us: index.accepted_us,
                shape: index.shape,
                parts,
            }
        })
    }

    /// Takes out what was accepted before `before_us` (`u64::MAX`: all), and what has waited longer than its own
    /// patience; shows each, and says how many.
    pub fn expire(&mut self, before_us: u64, now_us: u64, show: &mut impl FnMut(&Entry<'_>)) -> usize {
        if self.entries.is_empty() {
            return 0; // nearly always, and asked of each lane in each turn
        }
        let mut gone = 0;
        while let Some(front) = self.front().filter(|entry| entry.accepted_us < before_us) {
            show(&front);
            self.drop_front(1);
            gone += 1;
        }
        let is_impatient = |entry: &Entry<'_>| entry.until_us() <= now_us;
        if self.impatient == 0 || !self.iter().any(|entry| is_impatient(&entry)) {
            return gone;
        }
        let mut rest = Self::default();
        for entry in self.iter() {
            match is_impatient(&entry) {
                false => rest.push(entry),
                true => {
                    show(&entry);
                    gone += 1;
                }
            }
        }
        *self = rest;
        gone
    }

    /// The `count` oldest are gone.
    pub fn drop_front(&mut self, count: usize) {
        let impatient = self.entries.drain(..count).filter(|index| index.shape.patience > 0).count();
        self.impatient -= impatient;
        match self.entries.front() {
            None => *self = Self::default(),
            Some(first) => {
                let unused = (first.start - self.dropped) as usize;
                if unused > self.bytes.len() / 2 {
                    self.bytes.drain(..unused);
                    self.dropped += unused as u64;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::TopicId;

    #[test]
    fn first_in_first_out_whatever_is_dropped() {
        let mut held = Held::default();
        let keys: Vec<String> = (0..100).map(|number| format!("key-{number}")).collect();
        for (number, key) in keys.iter().enumerate() {
            let entry = Entry {
                token: Token::nobody(number as u64),
                hash: 0,
                accepted_us: 0,
                shape: Shape::keyed(TopicId(0), key.len() as u32, 0),
                parts: key.as_bytes(),
            };
            held.push(entry);
        }
        for step in [1, 30, 40, 28] {
            let front = held.front().unwrap().key().to_vec();
            assert_eq!(front, keys[100 - held.len()].as_bytes());
            held.drop_front(step);
        }
        assert_eq!(held.front().unwrap().key(), b"key-99");
        held.drop_front(1);
        assert!(held.is_empty() && held.bytes.capacity() == 0);
    }
}
