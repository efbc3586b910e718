//! (room: see docs/architecture.md)
pub mod embedded;
mod options;
pub mod reader;
pub use options::{Bootstrap, KafkaOptions};
