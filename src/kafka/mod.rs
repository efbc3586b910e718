//! librdkafka; all of rdkafka.
//!
//! Owns the topic's existence, the producer, the lanes and what waits in them, and the judgement of every
//! report; beside them the embedded broker and a reader for tools. Never sees a socket of ours, never decides
//! what a message means.

pub mod accounts;
mod client;
#[cfg(feature = "consume")]
pub mod consumer;
pub mod deadline;

pub mod embedded;
pub mod errors;
pub mod feeder;
mod former;
pub mod held;
#[cfg(feature = "consume")]
mod identity;
mod inside;
mod keyless;
pub mod lanes;
pub mod letters;
mod native;
mod options;
pub mod producer;
mod property;
pub mod reader;
mod report;
pub mod resend;
mod statistics;
mod thread;
mod topic;
mod watch;

pub use client::display as display_bootstrap;
pub use embedded::{EmbeddedBroker, EmbeddedError};
pub use options::{Bootstrap, Creation, DEAD_LETTERS, KafkaOptions, LetterOptions, Topics};
pub use property::check_property;
pub use report::Delivery;
pub use thread::start;
#[cfg(feature = "consume")]
pub use topic::{TopicGate, TopicReady};
