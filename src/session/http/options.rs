//! What the HTTP sessions are told at start.

use std::time::Duration;

use super::super::intake::{EVENTS_TOPIC, PLAYER_EVENTS_TOPIC};
use super::cors::Cors;
use super::idempotency::IdempotencyOptions;
use crate::handoff::TopicId;
use crate::pipeline::events::EventRules;

/// When a sender is answered (G2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// At once; its fate shows in the ledger only.
    None,
    /// Once it is in the buffer: 202.
    Queued,
    /// Once Kafka has it: 200.
    Delivered,
}

/// One route that takes events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteOptions {
    /// A route that is off is no path.
    pub is_on: bool,
    pub topic: TopicId,
    /// For requests that do not say.
    pub ack: Ack,
    /// Longest time to wait for delivery; a request may ask for less.
    pub timeout: Duration,
    pub rules: EventRules,
}

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpOptions {
    /// Longest body, inflated.
    pub max_body_bytes: usize,
    /// Bodies on their way, over all connections.
    pub body_store_bytes: usize,
    /// Answers that are not written, over all connections, beside [`ANSWER_FREE_BYTES`](super::ANSWER_FREE_BYTES) of each.
    pub answer_store_bytes: usize,
    /// A request's head must be complete so long after its first byte.
    pub header_timeout: Duration,
    /// A body must be complete so long after its head.
    pub body_timeout: Duration,
    /// A connection without a request is closed after so long.
    pub idle_timeout: Duration,
    /// Web pages that may send (HTTP_CORS_ORIGINS).
    pub cors: Cors,
    /// Requests with an `Idempotency-Key`.
    pub idempotency: IdempotencyOptions,
    /// `POST /events` (S3).
    pub events: RouteOptions,
    /// `POST /api/v1/events` (S4).
    pub player_events: RouteOptions,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            max_body_bytes: 1 << 20,
            body_store_bytes: 16 << 20,
            answer_store_bytes: 12 << 20,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            cors: Cors::default(),
            idempotency: IdempotencyOptions::default(),
            events: RouteOptions {
                is_on: true,
                topic: EVENTS_TOPIC,
                ack: Ack::Queued,
                timeout: Duration::from_secs(10),
                rules: EventRules::default(),
            },
            player_events: RouteOptions {
                is_on: true,
                topic: PLAYER_EVENTS_TOPIC,
                ack: Ack::Delivered,
                timeout: Duration::from_secs(5),
                rules: EventRules::default(),
            },
        }
    }
}
