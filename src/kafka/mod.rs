//! librdkafka; all of rdkafka.
//!
//! Owns the topic's existence, the producer, the lanes and what waits in them, and the judgement of every
//! report. Never sees a socket of ours, never decides what a message means.

mod accounts;
mod client;
pub mod errors;
mod feeder;
mod held;
pub mod lanes;
mod native;
mod options;
mod statistics;
mod thread;
mod topic;

pub use client::display as display_bootstrap;
pub use options::{Bootstrap, KafkaOptions};
pub use thread::start;
