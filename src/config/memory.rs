//! The worst-case memory of a configuration, part by part (G4).
//!
//! A sum of bounds that the rooms keep, not a measurement: steady use is far below it. `MEMORY_LIMIT` is held
//! against it before anything starts, and `sluice check-config` prints it.

use crate::gateway::GatewayOptions;
use crate::kafka::{Bootstrap, KafkaOptions};
use crate::{handoff, kafka, net, session};

use super::parse::size_text;

/// Fixed bytes of an open connection in our own memory: its slot, session and registration.
pub const CONNECTION_BYTES: u64 = 1536;

/// Batches that can exist at once between the poll thread and the Kafka thread: on their way, and on their way back.
pub const BATCHES_MAX: u64 = 2 * handoff::CHANNEL_BATCHES as u64;

/// What a batch keeps of its arena at most.
pub const BATCH_BYTES_MAX: u64 = 2 * handoff::BATCH_BYTES as u64;

/// The read scratch beyond two messages of the longest kind.
pub const SCRATCH_EXTRA_BYTES: u64 = 256 << 10;

/// Program, stacks, allocator and librdkafka's threads before the first event, measured as resident bytes.
pub const PROCESS_BYTES: u64 = 8 << 20;

/// What librdkafka's mock cluster keeps of a partition at most (`max_size` in its rdkafka_mock.c).
pub const EMBEDDED_PARTITION_BYTES: u64 = 5 << 20;

/// Brokers to reckon with when the bootstrap list names fewer.
pub const BROKERS_MIN: u64 = 3;

/// librdkafka's own defaults for what a request may hold and how many may be under way to one broker.
const MESSAGE_MAX_BYTES: u64 = 1_000_000;
const BATCH_SIZE: u64 = 1_000_000;
const IN_FLIGHT_MAX: u64 = 5;

/// Receive buffers, metadata and bookkeeping of one broker connection in librdkafka, an estimate.
const BROKER_BYTES: u64 = 256 << 10;

/// Answers that each connection holds for nothing: those that wait, and those that are not read.
const FREE_BYTES: u64 = (session::FREE_ANSWERS * session::ANSWER_BYTES + net::OUT_LIMIT_BYTES) as u64;

/// zstd's window and tables while it inflates one body; deflate's are smaller.
#[cfg(feature = "http")]
const INFLATE_BYTES: u64 = 9 << 20;

/// One summand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub name: &'static str,
    pub bytes: u64,
    /// The reckoning in words.
    pub how: String,
}

/// The most that this process may come to hold, part by part. The kernel's socket buffers are not in it
/// ([`kernel_buffers`]).
#[must_use]
pub fn worst_case(options: &GatewayOptions) -> Vec<Part> {
    let mut parts = vec![
        connections(options),
        partial(options),
        answers(options),
        scratch(options),
        Part {
            name: "batches",
            bytes: BATCHES_MAX * BATCH_BYTES_MAX,
            how: format!("{BATCHES_MAX} batches x {}", size_text(BATCH_BYTES_MAX)),
        },
        Part {
            name: "buffer",
            bytes: wide(options.buffer.max_bytes),
            how: format!(
                "BUFFER_MAX_BYTES, which counts {} bytes a record for the client library",
                handoff::RECORD_OVERHEAD_BYTES
            ),
        },
        letters(options),
        client(&options.kafka, wide(options.buffer.max_bytes)),
    ];
    let admission = wide(options.net.admission.bytes());
    if admission > 0 {
        let how = "tables of the rate limit and of connections per address".into();
        parts.push(Part { name: "admission", bytes: admission, how });
    }
    if options.net.http.is_some() {
        parts.extend(http(options));
    }
    if options.kafka.bootstrap == Bootstrap::Embedded {
        parts.push(embedded(&options.kafka));
    }
    let how = "program, stacks, allocator".into();
    parts.push(Part { name: "process", bytes: PROCESS_BYTES, how });
    parts
}

/// The sum of [`worst_case`] in bytes.
#[must_use]
pub fn total(parts: &[Part]) -> u64 {
    parts.iter().fold(0, |sum, part| sum.saturating_add(part.bytes))
}

/// What the kernel may hold for our sockets: counted on the host, and in a container's memory limit, but not in
/// this process.
#[must_use]
pub fn kernel_buffers(options: &GatewayOptions) -> Part {
    let connections = wide(options.net.max_connections);
    let each = wide(options.net.recv_buffer_bytes);
    let how = format!(
        "{connections} connections x {} (TCP_RECV_BUFFER_BYTES) when all are full; its bookkeeping may double it",
        size_text(each)
    );
    Part { name: "kernel socket buffers", bytes: connections.saturating_mul(each), how }
}

fn connections(options: &GatewayOptions) -> Part {
    let count = wide(options.net.max_connections);
    let how = format!("{count} x {CONNECTION_BYTES} (MAX_CONNECTIONS)");
    Part { name: "connections", bytes: count.saturating_mul(CONNECTION_BYTES), how }
}

fn partial(options: &GatewayOptions) -> Part {
    let how = "TCP_PARTIAL_BYTES, shared by all connections".into();
    Part { name: "partial messages", bytes: wide(options.net.partial_bytes), how }
}

/// Answers of senders that asked for them: the free ones of each connection, the shared store, unread text.
fn answers(options: &GatewayOptions) -> Part {
    let count = wide(options.net.max_connections);
    let each = FREE_BYTES;
    let shared = wide(net::answers_limit(options.buffer.max_records) * session::ANSWER_BYTES);
    // A ring of answers grows by doubling.
    let bytes = count.saturating_mul(each).saturating_add(shared.saturating_mul(2));
    let how = format!("{count} connections x {each} + 2 x {} for all", size_text(shared));
    Part { name: "answers", bytes, how }
}

#[cfg(not(feature = "http"))]
fn http(_: &GatewayOptions) -> [Part; 0] {
    []
}

/// What HTTP adds: bodies on their way, the inflater's own, answers that nobody reads, the idempotency window.
#[cfg(feature = "http")]
fn http(options: &GatewayOptions) -> [Part; 4] {
    let (body, store) = (wide(options.http.max_body_bytes), wide(options.http.body_store_bytes));
    let count = wide(options.net.max_connections);
    // A connection is TCP's or HTTP's, and TCP's free answers are in the sum already.
    let each = wide(session::ANSWER_FREE_BYTES).saturating_sub(FREE_BYTES);
    let answers = wide(options.http.answer_store_bytes);
    let window = &options.http.idempotency;
    let remembered = if window.window.is_zero() { 0 } else { wide(window.bytes) };
    [
        Part {
            name: "HTTP bodies",
            bytes: store,
            how: "HTTP_BODY_STORE_BYTES, shared by all connections".into(),
        },
        Part {
            name: "HTTP inflating",
            bytes: body.saturating_mul(2).saturating_add(INFLATE_BYTES),
            how: format!(
                "2 x {} (HTTP_MAX_BODY_BYTES) + {} for one call",
                size_text(body),
                size_text(INFLATE_BYTES)
            ),
        },
        Part {
            name: "HTTP answers",
            bytes: count.saturating_mul(each).saturating_add(answers.saturating_mul(2)),
            how: format!(
                "{count} connections x {each} beyond those of TCP + 2 x {} (HTTP_ANSWER_STORE_BYTES)",
                size_text(answers)
            ),
        },
        Part { name: "HTTP retries", bytes: remembered, how: "IDEMPOTENCY_BYTES".into() },
    ]
}

fn scratch(options: &GatewayOptions) -> Part {
    let longest = wide(options.tcp.max_line_bytes.max(options.tcp.max_frame_bytes));
    let bytes = longest.saturating_mul(2).saturating_add(SCRATCH_EXTRA_BYTES);
    let how = format!("2 x {} (longest message) + {}", size_text(longest), size_text(SCRATCH_EXTRA_BYTES));
    Part { name: "read scratch", bytes, how }
}

/// An estimate from how librdkafka writes requests: a record is in one request at most, so all requests under way
/// copy no more than the buffer holds and no more than what may be under way; each broker also has one request
/// being built and its compressed copy.
fn client(kafka: &KafkaOptions, buffer_bytes: u64) -> Part {
    let named = match &kafka.bootstrap {
        Bootstrap::Servers(list) => list.split(',').count() as u64,
        Bootstrap::Embedded => 1,
    };
    let brokers = named.max(BROKERS_MIN);
    let message_max = property(kafka, &["message.max.bytes"], MESSAGE_MAX_BYTES);
    let request = property(kafka, &["batch.size"], BATCH_SIZE).min(message_max);
    let in_flight =
        property(kafka, &["max.in.flight.requests.per.connection", "max.in.flight"], IN_FLIGHT_MAX);
    let under_way = brokers.saturating_mul(in_flight).saturating_mul(request).min(buffer_bytes);
    let built = brokers.saturating_mul(request.saturating_mul(2).saturating_add(BROKER_BYTES));
    let how = format!(
        "estimate: requests under way {under_way} + {brokers} brokers x (2 requests of {request} + {})",
        size_text(BROKER_BYTES)
    );
    Part { name: "librdkafka", bytes: under_way.saturating_add(built), how }
}

/// Dead letters keep their place in the buffer and are longer than their records; the file's thread has copies.
fn letters(options: &GatewayOptions) -> Part {
    let name = options.kafka.topics.iter().map(|(_, name)| name.len()).max().unwrap_or(0);
    let growth = wide(kafka::letters::GROWTH_BYTES + name);
    let grown = wide(options.buffer.max_records).saturating_mul(growth);
    let copies = if options.kafka.letters.dir.is_some() { wide(options.buffer.max_bytes) } else { 0 };
    let is_there = !options.kafka.letters.sources.is_empty() || options.kafka.letters.rejects;
    let how =
        format!("BUFFER_MAX_MSGS x {growth} for their headers, and copies for DEAD_LETTER_DIR {copies}");
    Part { name: "dead letters", bytes: if is_there { grown.saturating_add(copies) } else { 0 }, how }
}

fn property(kafka: &KafkaOptions, names: &[&str], default: u64) -> u64 {
    let given = kafka.passthrough.iter().find(|(name, _)| names.contains(&name.as_str()));
    given.and_then(|(_, value)| value.parse().ok()).unwrap_or(default)
}

fn embedded(kafka: &KafkaOptions) -> Part {
    let names = kafka.topics.names().into_iter().chain(kafka.beside());
    let each = |name| u64::try_from(kafka.creation(name).partitions.unwrap_or(0)).unwrap_or(0);
    let partitions = names.map(each).fold(0, u64::saturating_add);
    let how = format!("{partitions} partitions x {}, as compressed", size_text(EMBEDDED_PARTITION_BYTES));
    Part { name: "embedded broker", bytes: partitions.saturating_mul(EMBEDDED_PARTITION_BYTES), how }
}

/// `usize` is never wider than 64 bits on a platform that Rust's std supports.
fn wide(bytes: usize) -> u64 {
    bytes as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(options: &GatewayOptions, name: &str) -> Option<u64> {
        worst_case(options).iter().find(|part| part.name == name).map(|part| part.bytes)
    }

    #[test]
    fn parts_follow_their_limits() {
        let mut options = GatewayOptions::default();
        options.kafka.topics = crate::kafka::Topics::of("score_updates");
        options.kafka.letters.sources.clear();
        options.net.max_connections = 10;
        options.tcp.max_frame_bytes = 1 << 20;
        options.buffer.max_bytes = 3_000_000;
        assert_eq!(bytes(&options, "connections"), Some(15_360));
        assert_eq!(bytes(&options, "partial messages"), Some(16 << 20));
        assert_eq!(bytes(&options, "read scratch"), Some((2 << 20) + (256 << 10)));
        assert_eq!(bytes(&options, "batches"), Some(16 << 20));
        assert_eq!(bytes(&options, "buffer"), Some(3_000_000));
        assert_eq!(bytes(&options, "librdkafka"), Some(3_000_000 + 3 * (2_000_000 + (256 << 10))));
        assert_eq!(bytes(&options, "embedded broker"), None);
        options.kafka.bootstrap = Bootstrap::Embedded;
        assert_eq!(bytes(&options, "embedded broker"), Some(12 * (5 << 20)));
        assert_eq!(bytes(&options, "dead letters"), Some(0));
        options.kafka.letters.sources = vec![handoff::TopicId(1)];
        assert_eq!(bytes(&options, "dead letters"), Some(4_630_000));
        options.kafka.letters.dir = Some("letters".into());
        assert_eq!(bytes(&options, "dead letters"), Some(7_630_000));
        assert_eq!(kernel_buffers(&options).bytes, 10 * (256 << 10));
        options.net.http = None;
        assert_eq!((bytes(&options, "HTTP bodies"), bytes(&options, "admission")), (None, None));
        options.net.http = Some(([127, 0, 0, 1], 0).into());
        options.http.idempotency.bytes = 12_345;
        options.net.admission.limiter = Some(crate::admission::LimiterOptions::default());
        assert_eq!(bytes(&options, "HTTP bodies"), Some(16 << 20));
        assert_eq!(bytes(&options, "HTTP inflating"), Some((2 << 20) + (9 << 20)));
        assert_eq!(bytes(&options, "HTTP answers"), Some(10 * (2048 - 1280) + (24 << 20)));
        assert_eq!(bytes(&options, "HTTP retries"), Some(12_345));
        assert_eq!(bytes(&options, "admission"), Some(917_552));
        options.http.idempotency.window = std::time::Duration::ZERO;
        assert_eq!(bytes(&options, "HTTP retries"), Some(0));
    }

    /// Whoever runs it with its defaults can give it a quarter of a gigabyte and no more.
    #[test]
    fn the_defaults_stay_small() {
        let sum = total(&worst_case(&GatewayOptions::default()));
        assert!(sum <= 200 << 20, "{sum}");
    }

    #[test]
    fn client_properties_count() {
        let mut options = GatewayOptions::default();
        options.kafka.passthrough =
            vec![("batch.size".into(), "100000".into()), ("max.in.flight".into(), "1".into())];
        assert_eq!(bytes(&options, "librdkafka"), Some(300_000 + 3 * (200_000 + (256 << 10))));
    }

    #[test]
    fn absurd_limits_do_not_overflow() {
        let mut options = GatewayOptions::default();
        options.net.max_connections = usize::MAX;
        options.buffer.max_bytes = usize::MAX;
        assert_eq!(total(&worst_case(&options)), u64::MAX);
    }
}
