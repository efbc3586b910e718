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

/// What a record's headers cost the client library beside their bytes.
pub const HEADERS_OVERHEAD_BYTES: usize = 200;
/// Unit of [`Shape::patience`], in microseconds.
pub const PATIENCE_US: u64 = 10_000;

/// A topic, by its place in the gateway's list of topics; the same on both sides of the crossing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TopicId(pub u8);

/// The parts of a record: key, value and headers lie one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub topic: TopicId,
    /// `None`: the record has no key, and any partition will do.
    pub key_len: Option<u32>,
    pub value_len: u32,
    /// As `event::headers` writes them; 0 for none.
    pub headers_len: u32,
    /// After so long a record that still waits on our side is taken out: units of [`PATIENCE_US`]; 0 leaves it to the
    /// delivery timeout.
    pub patience: u16,
}

impl Shape {
    /// A record with a key and without headers.
    pub fn keyed(topic: TopicId, key_len: u32, value_len: u32) -> Self {
        Self { topic, key_len: Some(key_len), value_len, headers_len: 0, patience: 0 }
    }

    /// What a record of this shape counts for in the buffer, in bytes.
    pub fn accounted_bytes(&self) -> usize {
        accounted_bytes((self.key_len.unwrap_or(0) + self.value_len) as usize, self.headers_len as usize)
    }

    /// Length of all parts together.
    pub fn len(&self) -> usize {
        (self.key_len.unwrap_or(0) + self.value_len + self.headers_len) as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a record counts for in the buffer: `payload` bytes of key and value, and bytes of headers.
pub fn accounted_bytes(payload: usize, headers: usize) -> usize {
    let extra = if headers > 0 { headers + HEADERS_OVERHEAD_BYTES } else { 0 };
    payload + RECORD_OVERHEAD_BYTES + extra
}

/// One record of a batch: where its bytes lie, and whom its outcome concerns.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub token: Token,
    /// [`murmur2`] of the key; the batch's own number for a record without one, so that those of a batch stay together.
    pub hash: u32,
    start: u32,
    pub shape: Shape,
}

impl Record {
    /// What this record counts for in the buffer, in bytes.
    pub fn accounted_bytes(&self) -> usize {
        self.shape.accounted_bytes()
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    records: Vec<Record>,
    accepted_us: u64,
    /// Changes from use to use: the hash of records without a key.
    spread: u32,
}

/// A record taken out of its batch because its lane is full; it goes back in unchanged.
#[derive(Debug)]
pub struct Parked {
    bytes: Box<[u8]>,
    record: Record,
}

impl Parked {
    pub fn record(&self) -> &Record {
        &self.record
    }
}

impl Batch {
    /// The arena's end: append key, value and headers, then call [`Batch::commit`].
    pub fn arena(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Takes note of the record that ends the arena. `now_us` is the moment of acceptance.
    pub fn commit(&mut self, token: Token, shape: Shape, now_us: u64) -> Record {
        let start = self.bytes.len() - shape.len();
        let hash = match shape.key_len {
            Some(length) => murmur2(&self.bytes[start..start + length as usize]),
            None => self.spread,
        };
        let record = Record { token, hash, start: start as u32, shape };
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

    /// Takes the last record out for good.
    pub fn drop_last(&mut self) {
        if let Some(record) = self.records.pop() {
            self.bytes.truncate(record.start as usize);
        }
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

    /// Empty for a record without a key.
    pub fn key(&self, record: &Record) -> &[u8] {
        let start = record.start as usize;
        &self.bytes[start..start + record.shape.key_len.unwrap_or(0) as usize]
    }

    pub fn value(&self, record: &Record) -> &[u8] {
        let start = (record.start + record.shape.key_len.unwrap_or(0)) as usize;
        &self.bytes[start..start + record.shape.value_len as usize]
    }

    /// Key, value and headers in one piece.
    pub fn parts(&self, record: &Record) -> &[u8] {
        let start = record.start as usize;
        &self.bytes[start..start + record.shape.len()]
    }

    /// When the oldest record was accepted: microseconds on the gateway's clock.
    pub fn accepted_us(&self) -> u64 {
        self.accepted_us
    }

    /// Makes it ready for the next turn. The memory stays, unless one huge record blew it up.
    pub fn clear(&mut self) {
        self.records.clear();
        self.bytes.clear();
        self.spread = self.spread.wrapping_add(1);
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
        let shape = Shape::keyed(TopicId(0), key.len() as u32, value.len() as u32);
        batch.commit(Token::nobody(1), shape, 1)
    }

    #[test]
    fn parks_and_unparks_the_last_record_unchanged() {
        let mut batch = Batch::default();
        add(&mut batch, "a", "first");
        add(&mut batch, "bb", "second");
        let parked = batch.park_last().unwrap();
        assert_eq!((batch.len(), parked.record().hash), (1, murmur2(b"bb")));
        add(&mut batch, "c", "third");
        let back = batch.unpark(parked, 9);
        assert_eq!((batch.key(&back), batch.value(&back)), (&b"bb"[..], &b"second"[..]));
        assert_eq!(batch.records().len(), 3);
    }
}
