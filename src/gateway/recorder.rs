//! Recording without a socket: what an embedding host calls (S2-R14).
//!
//! `record` never waits: at the high mark it gives the work back. Host threads share one open batch, which the
//! Kafka thread takes as a whole.

use std::fmt;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::event::{Outcome, Rejection, ScoreUpdate};
use crate::handoff::{Bell, Cause, Clock, Shape, Shared, Token, lock};
use crate::pipeline::{Pipeline, ValueFormat};
use crate::session::TCP_TOPIC;

/// Records in the open batch that are worth waking a dozing Kafka thread for.
const WORTH_WAKING_RECORDS: usize = 512;

/// Why a record was not taken. It was borrowed: the caller still has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The buffer is at its high mark: try again once receipts have come.
    Full,
    /// It breaks a rule: never send it like this.
    Rejected(Rejection),
    /// The gateway has ended or is ending.
    Closed,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "the buffer is full"),
            Self::Rejected(rejection) => write!(f, "{}", rejection.detail()),
            Self::Closed => write!(f, "the gateway is closed"),
        }
    }
}

impl std::error::Error for RecordError {}

/// Waits for one record's outcome.
#[derive(Debug)]
pub struct Pending(Receiver<(Outcome, Cause)>);

impl Pending {
    /// The outcome, or `None` if it is not known within `timeout`.
    pub fn wait(&self, timeout: Duration) -> Option<(Outcome, Cause)> {
        self.0.recv_timeout(timeout).ok()
    }
}

/// A handle for one or many threads of the host.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
    kafka_bell: Bell,
    clock: Clock,
    pipeline: Arc<Mutex<Pipeline>>,
}

impl Recorder {
    pub(super) fn new(shared: Arc<Shared>, kafka_bell: Bell, clock: Clock, format: ValueFormat) -> Self {
        Self { shared, kafka_bell, clock, pipeline: Arc::new(Mutex::new(Pipeline::new(format))) }
    }

    /// Takes one record; its outcome shows in the ledger only.
    pub fn record(&self, update: &ScoreUpdate<'_>) -> Result<(), RecordError> {
        self.add(update, Token::nobody(self.clock.now_us()))
    }

    /// Takes one record and calls back with its outcome, on the poll thread: be short there.
    pub fn record_then(
        &self,
        update: &ScoreUpdate<'_>,
        then: impl FnOnce(Outcome, Cause) + Send + 'static,
    ) -> Result<(), RecordError> {
        let token = self.shared.hosts.expect(then);
        self.add(update, token).inspect_err(|_| self.shared.hosts.forget(token))
    }

    /// Takes one record and gives a handle to wait for its outcome.
    pub fn record_tracked(&self, update: &ScoreUpdate<'_>) -> Result<Pending, RecordError> {
        let (sender, receiver) = sync_channel(1);
        self.record_then(update, move |outcome, cause| {
            // Nobody waits any more: the ledger has it all the same.
            let _ = sender.send((outcome, cause));
        })?;
        Ok(Pending(receiver))
    }

    fn add(&self, update: &ScoreUpdate<'_>, token: Token) -> Result<(), RecordError> {
        if self.shared.closing_us().is_some() {
            return Err(RecordError::Closed);
        }
        let now_us = self.clock.now_us();
        let added = self.shared.inlet.add(|batch| {
            let encoded =
                lock(&self.pipeline).update(update, batch.arena()).map_err(RecordError::Rejected)?;
            let shape = Shape::keyed(TCP_TOPIC, encoded.key_len, encoded.value_len);
            let record = batch.commit(token, shape, now_us);
            if !self.shared.budget.try_take_one(record.accounted_bytes()) {
                drop(batch.park_last());
                return Err(RecordError::Full);
            }
            self.shared.ledger.accept(1);
            Ok(batch.len())
        });
        match added.unwrap_or(Err(RecordError::Closed)) {
            Ok(waiting) => {
                self.kafka_bell.ring(waiting >= WORTH_WAKING_RECORDS);
                Ok(())
            }
            Err(RecordError::Rejected(rejection)) => {
                self.shared.ledger.accept(1);
                self.shared.ledger.credit(Outcome::Rejected, 1);
                Err(RecordError::Rejected(rejection))
            }
            Err(error) => Err(error),
        }
    }
}
