//! The only place where threads meet.
//!
//! Owns: batches, the bounded channel and its way back, the buffer's marks, the ledger, receipts, the two
//! bells, and the board on which the Kafka thread writes what it knows. Never opens a socket, never calls the
//! client library, never waits. Everything that is counted is counted here, once.

mod batch;
mod bell;
mod board;
mod budget;
mod clock;
mod hosts;
mod ledger;
mod options;
mod partitioner;
mod queue;
mod receipt;
mod token;

pub use batch::{
    BATCH_BYTES, BATCH_RECORDS, Batch, PATIENCE_US, Parked, RECORD_OVERHEAD_BYTES, Record, Shape, TopicId,
    accounted_bytes,
};
pub use bell::{Bell, Sleep};
pub use board::{Board, Cell, TOPICS_MAX, lock};
pub use budget::{Budget, Room};
pub use clock::{Clock, unix_ms};
pub use hosts::{HOST_SLOT, HostReceipts, KEYED_SLOT, KEYED_TAKEN_SLOT};
pub use ledger::{Account, Ledger};
pub use options::BufferOptions;
pub use partitioner::{murmur2, partition_of};
pub use queue::{CHANNEL_BATCHES, Inlet, KafkaEnd, LaneView, PollEnd, Report, Shared, Tally, crossing};
pub use receipt::{Cause, Place, Receipt};
pub use token::{Address, MAX_SLOTS, Target, Token};
