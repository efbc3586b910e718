//! The client library's configuration: our knobs, what we set ourselves and why, then KAFKA_CONF_*.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::keyless::request_records;
use super::options::{Bootstrap, KafkaOptions};
use crate::handoff::BufferOptions;

/// Time between two statistics; readiness and lanes follow them.
const STATISTICS_MS: &str = "500";

/// The client library's own limit for a batch (batch.size).
const BATCH_BYTES: usize = 1_000_000;

/// Room that the client's queue has beyond our buffer, so that ours is the one that fills.
const SPARE_RECORDS: usize = 1000;

/// How long the Kafka thread dozes between two batches where records linger anyway; taken off the client's own linger,
/// so that both together are what was asked for; zero where they linger too briefly. A third of the linger: each doze
/// costs a wake of this thread and, for what it feeds, of the client library's. Beyond 5 ms there is little left to save.
pub fn doze(options: &KafkaOptions) -> Duration {
    match options.linger.as_millis() as u64 {
        0 | 1 => Duration::ZERO,
        linger => Duration::from_millis((linger / 3).clamp(1, 5)),
    }
}

/// Settings that every client of ours shares. `servers` stands in for [`Bootstrap::Embedded`].
pub fn common(options: &KafkaOptions, servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Warning);
    for (property, value) in &options.passthrough {
        config.set(property, value);
    }
    config.set("bootstrap.servers", servers);
    default_to(&mut config, "client.id", "sluice");
    // A lost broker is tried again within a second; the client's own default lets ten pass.
    default_to(&mut config, "reconnect.backoff.ms", "50");
    default_to(&mut config, "reconnect.backoff.max.ms", "1000");
    default_to(&mut config, "socket.keepalive.enable", "true");
    default_to(&mut config, "log.connection.close", "false");
    config
}

/// Settings of the producer for a topic of `partitions` that takes batches of `max_batch_bytes`.
pub fn producer(
    options: &KafkaOptions,
    buffer: &BufferOptions,
    servers: &str,
    partitions: usize,
    max_batch_bytes: usize,
) -> ClientConfig {
    let mut config = common(options, servers);
    let linger = options.linger - doze(options);
    config.set("enable.idempotence", options.idempotence.to_string());
    config.set("acks", &options.acks);
    config.set("linger.ms", format!("{:.3}", linger.as_secs_f64() * 1000.0));
    config.set("compression.type", &options.compression);
    config.set("message.timeout.ms", backstop_ms(options.delivery_timeout).to_string());
    config.set("partitioner", "murmur2_random");
    config.set("statistics.interval.ms", STATISTICS_MS);
    // Or the first question about a topic would create it with the broker's defaults.
    config.set("allow.auto.create.topics", "false");
    // Every broker is connected from the start, so that "up" can be known before the first record.
    config.set("enable.sparse.connections", "false");
    config.set("queue.buffering.max.messages", (buffer.max_records + SPARE_RECORDS).to_string());
    config.set(
        "queue.buffering.max.kbytes",
        (buffer.max_bytes / 1024 * 2 + (16 << 10)).min(2_097_151).to_string(),
    );
    let share = request_records(buffer.max_records, partitions);
    default_to(&mut config, "batch.num.messages", &share.to_string());
    // The topic's limit is one for whole batches: a larger one would be refused with every record in it.
    let batch_bytes = config.get("batch.size").and_then(|bytes| bytes.parse().ok()).unwrap_or(BATCH_BYTES);
    config.set("batch.size", batch_bytes.min(max_batch_bytes).to_string());
    default_to(&mut config, "topic.metadata.refresh.interval.ms", "10000");
    config
}

/// The client's own timeout for a record. The lanes keep the deadline; this one only ends records that they lost
/// sight of. A record that times out in the client makes it number what is left anew and send it again
/// (docs/decisions/0009-one-delivery-deadline.md).
fn backstop_ms(timeout: Duration) -> u128 {
    (2 * timeout.as_millis() + 30_000).min(i32::MAX as u128)
}

fn default_to(config: &mut ClientConfig, property: &str, value: &str) {
    if config.get(property).is_none() {
        config.set(property, value);
    }
}

/// The addresses to start from, as a log line names them.
pub fn display(bootstrap: &Bootstrap) -> &str {
    match bootstrap {
        Bootstrap::Servers(servers) => servers,
        Bootstrap::Embedded => "embedded",
    }
}
