//! A plain producer for tools: sends records one after the other and says of each what became of it.
//!
//! Idempotent, acks from all replicas, a topic that does not exist is not made. Not the gateway's producer: it may wait.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::client;
use super::options::KafkaOptions;
use crate::event::headers;
use crate::handoff::lock;

/// A record to send.
#[derive(Clone, Copy, Debug)]
pub struct Resent<'a> {
    pub topic: &'a str,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
    /// As `event::headers` writes them; those of the dead letter are left out.
    pub headers: &'a [u8],
}

/// What the headers of a dead letter begin with.
const LETTER_PREFIX: &str = "dlq.";

#[derive(Default)]
struct Reports(Mutex<VecDeque<(usize, Result<(), String>)>>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let outcome = result.as_ref().map(|_| ()).map_err(|(error, _)| error.to_string());
        lock(&self.0).push_back((number, outcome));
    }
}

/// See the module's text.
pub struct Resender {
    producer: BaseProducer<Reports>,
}

impl Resender {
    /// Speaks to `servers`, with the client properties of `options`.
    pub fn new(options: &KafkaOptions, servers: &str, timeout: Duration) -> Result<Self, KafkaError> {
        let mut config = client::common(options, servers);
        config.set("enable.idempotence", "true");
        config.set("allow.auto.create.topics", "false");
        config.set("compression.type", &options.compression);
        config.set("partitioner", "murmur2_random");
        config.set("message.timeout.ms", timeout.as_millis().clamp(1000, i32::MAX as u128).to_string());
        Ok(Self { producer: config.create_with_context(Reports::default())? })
    }

    /// Takes a record; its outcome comes from [`Resender::next`] under `number`. Waits while the client has no room.
    pub fn send(&self, number: usize, record: &Resent<'_>) -> Result<(), String> {
        self.take(number, record, |name| !name.starts_with(LETTER_PREFIX))
    }

    /// The same for a dead letter: with all of its headers.
    #[cfg(feature = "consume")]
    pub fn send_letter(&self, number: usize, record: &Resent<'_>) -> Result<(), String> {
        self.take(number, record, |_| true)
    }

    fn take(&self, number: usize, record: &Resent<'_>, keeps: impl Fn(&str) -> bool) -> Result<(), String> {
        let mut list = OwnedHeaders::new();
        for (key, value) in headers::iter(record.headers).filter(|(name, _)| keeps(name)) {
            list = list.insert(Header { key, value: Some(value) });
        }
        let mut next = BaseRecord::with_opaque_to(record.topic, number).payload(record.value).headers(list);
        if let Some(key) = record.key {
            next = next.key(key);
        }
        loop {
            match self.producer.send(next) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    next = back;
                    self.producer.poll(Duration::from_millis(100));
                }
                Err((error, _)) => return Err(error.to_string()),
            }
        }
    }

    /// The next record that has ended; `None` if none has within `wait`.
    pub fn next(&self, wait: Duration) -> Option<(usize, Result<(), String>)> {
        let until = Instant::now() + wait;
        loop {
            if let Some(report) = lock(&self.producer.context().0).pop_front() {
                return Some(report);
            }
            if Instant::now() >= until {
                return None;
            }
            self.producer.poll(Duration::from_millis(20));
        }
    }
}
