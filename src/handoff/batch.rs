//! A batch: one arena of bytes and an index of records, recycled from turn to turn.
//!
//! The pipeline appends a record's key and value to the arena, then the batch takes note of it. Nothing is
//! allocated per record: a recycled batch has grown to its working size and keeps it.

use super::partitioner::murmur2;
use super::token::Token;

/// A batch is handed over at the latest when it holds this many records.
pub const BATCH_RECORDS: usize = 1024;
/// ... or this many bytes. One record may go beyond it.
pub const BATCH_BYTES: usize = 128 << 10;
/// What librdkafka spends on a record beside its bytes; counted, or the limit would be a fiction (G4).
pub const RECORD_OVERHEAD_BYTES: usize = 200;

/// One record of a batch: where its bytes lie, and whom its outcome concerns.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub token: Token,
    /// [`murmur2`] of the key.
    pub hash: u32,
    start: u32,
    key_len: u32,
    value_len: u32,
}

impl Record {
    /// What this record counts for in the buffer, in bytes.
    pub fn accounted_bytes(&self) -> usize {
        (self.key_len + self.value_len) as usize + RECORD_OVERHEAD_BYTES
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    records: Vec<Record>,
    accepted_us: u64,
}

/// A record taken out of its batch because its lane is full; it goes back in unchanged.
#[derive(Debug)]
pub struct Parked {
    bytes: Box<[u8]>,
    record: Record,
}

impl Parked {
    pub fn hash(&self) -> u32 {
        self.record.hash
    }
}

impl Batch {
    /// The arena's end: append key bytes, then value bytes, then call [`Batch::commit`].
    pub fn arena(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Takes note of the record that ends the arena. `now_us` is the moment of acceptance.
    pub fn commit(&mut self, token: Token, key_len: u32, value_len: u32, now_us: u64) -> Record {
        let start = self.bytes.len() - (key_len + value_len) as usize;
        let hash = murmur2(&self.bytes[start..start + key_len as usize]);
        let record = Record { token, hash, start: start as u32, key_len, value_len };
        self.push(record, now_us);
        record
    }

    fn push(&mut self, record: Record, now_us: u64) {
        if self.records.is_empty() {
            self.accepted_us = now_us;
        }
        self.records.push(record);
    }

    /// Takes the last record out again: its lane had no room.
    pub fn park_last(&mut self) -> Option<Parked> {
        let record = self.records.pop()?;
        let bytes = self.bytes[record.start as usize..].into();
        self.bytes.truncate(record.start as usize);
        Some(Parked { bytes, record })
    }

    /// Puts a parked record back; the moment of acceptance is now.
    pub fn unpark(&mut self, parked: Parked, now_us: u64) -> Record {
        let record = Record { start: self.bytes.len() as u32, ..parked.record };
        self.bytes.extend_from_slice(&parked.bytes);
        self.push(record, now_us);
        record
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it should be handed over before another record is added.
    pub fn is_full(&self) -> bool {
        self.records.len() >= BATCH_RECORDS || self.bytes.len() >= BATCH_BYTES
    }

    pub fn records(&self) -> &[Record] {
        &self.records
    }

    pub fn key(&self, record: &Record) -> &[u8] {
        let start = record.start as usize;
        &self.bytes[start..start + record.key_len as usize]
    }

    pub fn value(&self, record: &Record) -> &[u8] {
        let start = (record.start + record.key_len) as usize;
        &self.bytes[start..start + record.value_len as usize]
    }

    /// When the oldest record was accepted: microseconds on the gateway's clock.
    pub fn accepted_us(&self) -> u64 {
        self.accepted_us
    }

    /// Makes it ready for the next turn. The memory stays, unless one huge record blew it up.
    pub fn clear(&mut self) {
        self.records.clear();
        self.bytes.clear();
        if self.bytes.capacity() > 2 * BATCH_BYTES {
            self.bytes.shrink_to(BATCH_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(batch: &mut Batch, key: &str, value: &str) -> Record {
        batch.arena().extend_from_slice(key.as_bytes());
        batch.arena().extend_from_slice(value.as_bytes());
        batch.commit(Token::nobody(1), key.len() as u32, value.len() as u32, 1)
    }

    #[test]
    fn parks_and_unparks_the_last_record_unchanged() {
        let mut batch = Batch::default();
        add(&mut batch, "a", "first");
        add(&mut batch, "bb", "second");
        let parked = batch.park_last().unwrap();
        assert_eq!((batch.len(), parked.hash()), (1, murmur2(b"bb")));
        add(&mut batch, "c", "third");
        let back = batch.unpark(parked, 9);
        assert_eq!((batch.key(&back), batch.value(&back)), (&b"bb"[..], &b"second"[..]));
        assert_eq!(batch.records().len(), 3);
    }
}
