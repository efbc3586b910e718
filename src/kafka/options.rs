//! Where Kafka is, which topic is written, and how.

use std::fmt;
use std::time::Duration;

/// The brokers to speak to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// `host:port` list, comma separated.
    Servers(String),
    /// librdkafka's mock cluster inside this process: memory only, for trials and tests.
    Embedded,
}

/// Everything the Kafka side needs. Shown for debugging, it names passed-through properties without their values.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaOptions {
    pub bootstrap: Bootstrap,
    pub topic: String,
    /// Used only when the topic is created (S0-R5), like the two that follow.
    pub partitions: i32,
    pub replication_factor: i32,
    pub min_insync_replicas: i32,
    pub idempotence: bool,
    /// `all`, `1` or `0`.
    pub acks: String,
    pub linger: Duration,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub compression: String,
    /// The one delivery deadline, kept by the lanes (message.timeout.ms and delivery.timeout.ms are the same knob).
    pub delivery_timeout: Duration,
    /// KAFKA_CONF_*: client properties passed through, as (property, value).
    pub passthrough: Vec<(String, String)>,
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passthrough: Vec<&str> = self.passthrough.iter().map(|(property, _)| property.as_str()).collect();
        f.debug_struct("KafkaOptions")
            .field("bootstrap", &self.bootstrap)
            .field("topic", &self.topic)
            .field("partitions", &self.partitions)
            .field("replication_factor", &self.replication_factor)
            .field("min_insync_replicas", &self.min_insync_replicas)
            .field("idempotence", &self.idempotence)
            .field("acks", &self.acks)
            .field("linger", &self.linger)
            .field("compression", &self.compression)
            .field("delivery_timeout", &self.delivery_timeout)
            .field("passthrough", &passthrough)
            .finish()
    }
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            bootstrap: Bootstrap::Servers("localhost:9092".into()),
            topic: "score_updates".into(),
            partitions: 12,
            replication_factor: 1,
            min_insync_replicas: 1,
            idempotence: true,
            acks: "all".into(),
            linger: Duration::from_millis(5),
            compression: "lz4".into(),
            delivery_timeout: Duration::from_secs(60),
            passthrough: Vec::new(),
        }
    }
}
