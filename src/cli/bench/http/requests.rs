//! The requests that are sent, rendered once before the clock starts.

use std::io::Write;

use super::Load;
use crate::cli::bench::lines::Corpus;

/// Bounds of the ring: many different keys, and bounded memory when requests are long.
const RING_REQUESTS: usize = 16_384;
const RING_BYTES: usize = 32 << 20;

/// A ring of rendered requests.
pub struct Requests {
    bytes: Vec<u8>,
    /// `ends[i]` = offset after request `i`; `ends[0]` = 0 belongs to none.
    ends: Vec<usize>,
    event_bytes: usize,
}

impl Requests {
    pub fn new(load: &Load, corpus: &Corpus) -> Self {
        let event_bytes = corpus.run(0, 1).bytes.len();
        let batch = load.batch as usize;
        let count = (RING_BYTES / (batch * event_bytes + 256)).clamp(16, RING_REQUESTS);
        let mut requests = Self { bytes: Vec::new(), ends: vec![0], event_bytes };
        let mut body = Vec::with_capacity(batch * event_bytes);
        let mut at = 0;
        for _ in 0..count {
            body.clear();
            let mut left = batch;
            while left > 0 {
                let run = corpus.run(at, left);
                body.extend_from_slice(run.bytes);
                (at, left) = (at + run.lines as u64, left - run.lines);
            }
            let (kind, body) = match batch {
                1 => ("application/json", body.trim_ascii_end()),
                _ => ("application/x-ndjson", &body[..]),
            };
            let Load { addr, target, .. } = load;
            // Writing to a Vec cannot fail.
            let _ = write!(
                requests.bytes,
                "POST {target} HTTP/1.1\r\nHost: {addr}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            requests.bytes.extend_from_slice(body);
            requests.ends.push(requests.bytes.len());
        }
        requests
    }

    /// Bytes of one event, its line end included.
    pub fn event_bytes(&self) -> usize {
        self.event_bytes
    }

    /// Request `k` of connection `i` of `connections`, which walk round the ring from different places.
    pub fn get(&self, i: u32, connections: u32, k: u64) -> &[u8] {
        let len = self.ends.len() as u64 - 1;
        let at = ((u64::from(i) * len / u64::from(connections) + k) % len) as usize;
        &self.bytes[self.ends[at]..self.ends[at + 1]]
    }
}
