mod options;
pub use options::{Bootstrap, KafkaOptions};
