//! What the buffer between senders and Kafka may hold.

/// Bounds of the buffer, counted from acceptance to receipt: records inside the client library included (S0-R7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferOptions {
    /// Records; reading pauses at this mark and resumes below 80 % of it.
    pub max_records: usize,
    /// Bytes of keys, values and the client library's overhead; the same two marks.
    pub max_bytes: usize,
}

impl Default for BufferOptions {
    fn default() -> Self {
        Self { max_records: 10_000, max_bytes: 16 << 20 }
    }
}
