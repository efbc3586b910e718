//! The gateway's settings for HTTP in one run.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use sluice::session::{HttpOptions, Web};

use super::post::Ack;

/// What a seed decides, in a form that a build without HTTP has as well.
#[derive(Clone, Debug)]
pub struct WebPlan {
    pub max_body_bytes: usize,
    pub body_store_bytes: usize,
    /// Holds the answer to the largest batch, if nobody else has any.
    pub answer_store_bytes: usize,
    /// Of a head, of a body, of a silent connection.
    pub timeouts: [Duration; 3],
    /// Window and bytes.
    pub keys: (Duration, usize),
    /// What the two routes do for a request that does not say, and how long they wait for delivery.
    pub acks: [Ack; 2],
    pub waits: [Duration; 2],
}

impl WebPlan {
    pub fn new(rng: &mut Rng) -> Self {
        let ack = |rng: &mut Rng| [Ack::None, Ack::Queued, Ack::Delivered, Ack::Delivered][rng.usize(..4)];
        let wait = |rng: &mut Rng| match rng.u32(..3) {
            0 => Duration::from_millis(rng.u64(20..2_000)),
            _ => Duration::from_secs(rng.u64(2..10)),
        };
        let max_body_bytes = if rng.u32(..3) == 0 { rng.usize(300..3_000) } else { 1 << 20 };
        let is_hasty = rng.u32(..12) == 0;
        let time = |rng: &mut Rng, seconds| match is_hasty {
            true => Duration::from_millis(rng.u64(50..3_000)),
            false => Duration::from_secs(seconds),
        };
        Self {
            max_body_bytes,
            body_store_bytes: if rng.u32(..8) == 0 { rng.usize(100..3_000) } else { 16 << 20 },
            answer_store_bytes: if rng.u32(..6) == 0 { rng.usize(32_000..80_000) } else { 12 << 20 },
            timeouts: [time(rng, 60), time(rng, 60), time(rng, 600)],
            keys: match rng.u32(..6) {
                0 => (Duration::from_millis(rng.u64(1..2_000)), 8 << 20),
                1 => (Duration::from_secs(600), rng.usize(300..4_000)),
                2 => (Duration::ZERO, 8 << 20),
                _ => (Duration::from_secs(36_000), 8 << 20),
            },
            acks: [ack(rng), ack(rng)],
            waits: [wait(rng), wait(rng)],
        }
    }

    /// Nobody is cut off for being slow.
    pub fn is_patient(&self) -> bool {
        self.timeouts[0].as_secs() >= 60
    }

    /// Keys outlast the run.
    pub fn keeps_keys(&self) -> bool {
        self.keys.0.as_secs() > 600 && self.keys.1 >= 8 << 20
    }

    pub fn is_store_small(&self) -> bool {
        self.body_store_bytes < 1 << 20
    }

    /// What keys and answers may hold beside incomplete messages. An answer is booked once it is made.
    pub fn held_bytes(&self) -> usize {
        self.keys.1 + 2 * self.answer_store_bytes
    }

    /// Both for the hub. `max_records`: what the buffer holds.
    #[cfg(feature = "http")]
    pub fn build(&self, max_records: usize) -> (Arc<HttpOptions>, Web) {
        use sluice::session::{Ack as Answered, IdempotencyOptions};
        let mut options = HttpOptions {
            max_body_bytes: self.max_body_bytes,
            body_store_bytes: self.body_store_bytes,
            answer_store_bytes: self.answer_store_bytes,
            header_timeout: self.timeouts[0],
            body_timeout: self.timeouts[1],
            idle_timeout: self.timeouts[2],
            idempotency: IdempotencyOptions { window: self.keys.0, bytes: self.keys.1 },
            ..HttpOptions::default()
        };
        for (index, route) in [&mut options.events, &mut options.player_events].into_iter().enumerate() {
            route.timeout = self.waits[index];
            route.ack = match self.acks[index] {
                Ack::None => Answered::None,
                Ack::Queued => Answered::Queued,
                Ack::Delivered => Answered::Delivered,
            };
        }
        let web = Web::new(&options, max_records, [7; 32]);
        (Arc::new(options), web)
    }

    #[cfg(not(feature = "http"))]
    pub fn build(&self, _: usize) -> (Arc<HttpOptions>, Web) {
        (Arc::default(), Web::default())
    }
}
