//! Every variable that Sluice reads, one row each.
//!
//! Everything is derived from this table: defaults, ranges, `sluice check-config`, `sluice serve --help`,
//! `docs/configuration.md` and the warnings about unknown names. A variable that is not here does not exist. The
//! names are those of the public conventions; other tools set them, so they do not change.

use super::profile::Profile;

/// Where a variable stands in help and documentation, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Profile,
    Listeners,
    Kafka,
    Buffer,
    Tcp,
    Http,
    DeadLetters,
    Consumers,
    Lifecycle,
    Log,
    Metrics,
}

impl Section {
    pub const ALL: [Self; 11] = [
        Self::Profile,
        Self::Listeners,
        Self::Kafka,
        Self::Buffer,
        Self::Tcp,
        Self::Http,
        Self::DeadLetters,
        Self::Consumers,
        Self::Lifecycle,
        Self::Log,
        Self::Metrics,
    ];

    /// The heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Profile => "Profile",
            Self::Listeners => "Listeners",
            Self::Kafka => "Kafka",
            Self::Buffer => "Buffer and memory",
            Self::Tcp => "TCP",
            Self::Http => "HTTP",
            Self::DeadLetters => "Dead letters",
            Self::Consumers => "Consumers",
            Self::Lifecycle => "Lifecycle",
            Self::Log => "Log",
            Self::Metrics => "Metrics",
        }
    }
}

/// What a value looks like, and its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An IP address, or `localhost`.
    Address,
    /// 0 to 65535 (0 takes a free one), or `off`.
    Port,
    /// `host:port,host:port`, or `embedded`.
    Servers,
    /// A name that Kafka takes for a topic.
    Topic,
    /// The same, or `off`.
    TopicOrOff,
    Count {
        min: u64,
        max: u64,
    },
    Bool,
    Choice(&'static [&'static str]),
    /// A bare integer in milliseconds, or a duration with its unit; range in milliseconds.
    Millis {
        min: u64,
        max: u64,
    },
    /// A duration with its unit, or 0; range in milliseconds.
    Duration {
        min: u64,
        max: u64,
    },
    /// Bytes, bare or with KiB, MiB, GiB.
    Bytes {
        min: u64,
        max: u64,
    },
    /// The same, or `off`.
    BytesOrOff {
        min: u64,
    },
    /// The name of a member, or nothing.
    Name,
    /// Any text, or nothing.
    Text,
    /// The same, never shown; may stand in a file that `<name>_FILE` names.
    Secret,
    /// Addresses and networks by comma, or nothing.
    Networks,
    /// Origins of web pages by comma, or `*`, or nothing.
    Origins,
    /// An absolute path within a URL.
    UrlPath,
    /// The path of a folder, or `off`, or nothing.
    Folder,
    /// Topics to create by comma, each `name[:partitions[:retention]]`, or nothing.
    Creations,
    /// `stderr`, `stdout` or a file.
    Output,
    /// Any client property: the row stands for all names that begin like it.
    Passthrough,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    /// The default as it would be written; empty where another variable gives it.
    pub default: &'static str,
    pub kind: Kind,
    /// One sentence or two.
    pub help: &'static str,
    pub section: Section,
}

/// What the names of passed-through client properties begin with.
pub const PASSTHROUGH_PREFIX: &str = "KAFKA_CONF_";

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

const fn row(
    section: Section,
    name: &'static str,
    aliases: &'static [&'static str],
    default: &'static str,
    kind: Kind,
    help: &'static str,
) -> Variable {
    Variable { name, aliases, default, kind, help, section }
}

/// The table.
#[rustfmt::skip]
pub const VARIABLES: &[Variable] = &[
    row(Section::Profile, "PROFILE", &[], "all", Kind::Choice(&Profile::NAMES),
        "Whose defaults hold: every listener and route, TCP's scores alone, `POST /events` alone, `POST /api/v1/events` alone."),

    row(Section::Listeners, "GATEWAY_LISTEN_ADDR", &[], "0.0.0.0", Kind::Address,
        "Address of the TCP listener."),
    row(Section::Listeners, "GATEWAY_LISTEN_PORT", &[], "7000", Kind::Port,
        "Port of the TCP listener; `off` for none, 0 for a free one, which the log names at start."),
    row(Section::Listeners, "HTTP_LISTEN_ADDR", &[], "", Kind::Address,
        "Address of the HTTP listener; the same as GATEWAY_LISTEN_ADDR unless given."),
    row(Section::Listeners, "HTTP_PORT", &["PORT"], "8080", Kind::Port,
        "Port of the HTTP listener; `off` for none, 0 for a free one; the Cargo feature `http`."),
    row(Section::Listeners, "HEALTH_LISTEN_ADDR", &[], "", Kind::Address,
        "Address of the health listener; the same as GATEWAY_LISTEN_ADDR unless given."),
    row(Section::Listeners, "HEALTH_PORT", &[], "7001", Kind::Port,
        "Port of /health, /ready and /metrics; `off` for none, 0 for a free one; `sluice consume` has none unless it is given."),
    row(Section::Listeners, "MAX_CONNECTIONS", &[], "16384", Kind::Count { min: 1, max: 1_000_000 },
        "Connections at once over all listeners; the file limit, raised at start, may lower it."),
    row(Section::Listeners, "MAX_CONNECTIONS_PER_ADDRESS", &[], "0", Kind::Count { min: 0, max: 1_000_000 },
        "Connections at once of one IPv4 address or IPv6 /64 to TCP and HTTP, beyond it they are closed; 0 for no such limit."),
    row(Section::Listeners, "TRUSTED_PROXIES", &[], "", Kind::Networks,
        "Proxies whose X-Forwarded-For, and PROXY header at the start of a connection, are believed, by address or network."),

    row(Section::Kafka, "KAFKA_BOOTSTRAP_SERVERS", &["KAFKA_BROKERS"], "localhost:9092", Kind::Servers,
        "Brokers to ask first; `embedded` runs a mock cluster inside the process, in memory only."),
    row(Section::Kafka, "KAFKA_TOPIC", &[], "score_updates", Kind::Topic,
        "Topic of TCP's score updates; created when it does not exist, never altered when it does, as are all others."),
    row(Section::Kafka, "EVENTS_TOPIC", &[], "events", Kind::TopicOrOff,
        "Topic of `POST /events`; `off` for no such route."),
    row(Section::Kafka, "PLAYER_EVENTS_TOPIC", &["KAFKA_TOPIC_PLAYER_EVENTS"], "player.events.raw", Kind::TopicOrOff,
        "Topic of `POST /api/v1/events`; `off` for no such route."),
    row(Section::Kafka, "KAFKA_CREATE_TOPICS", &[], "", Kind::Creations,
        "Topics to create beside those that are written, or in another shape, such as `a:3:7d,b::30d`: partitions and retention may be left out."),
    row(Section::Kafka, "KAFKA_PARTITIONS", &["KAFKA_NUM_PARTITIONS"], "12", Kind::Count { min: 1, max: 100_000 },
        "Partitions of a topic that is created."),
    row(Section::Kafka, "KAFKA_REPLICATION_FACTOR", &[], "1", Kind::Count { min: 1, max: 32_767 },
        "Replicas of a topic that is created."),
    row(Section::Kafka, "KAFKA_MIN_INSYNC_REPLICAS", &[], "1", Kind::Count { min: 1, max: 32_767 },
        "min.insync.replicas of a topic that is created."),
    row(Section::Kafka, "ENABLE_IDEMPOTENCE", &[], "true", Kind::Bool,
        "Idempotent producer: retries neither double nor reorder records."),
    row(Section::Kafka, "KAFKA_REQUIRED_ACKS", &[], "all", Kind::Choice(&["all", "1", "0"]),
        "Replicas that must have a record before it counts as stored; anything but `all` needs ENABLE_IDEMPOTENCE=false."),
    row(Section::Kafka, "KAFKA_LINGER_MS", &[], "5", Kind::Millis { min: 0, max: 900_000 },
        "How long a record may wait for others to share its request."),
    row(Section::Kafka, "KAFKA_COMPRESSION", &[], "lz4", Kind::Choice(&["none", "gzip", "snappy", "lz4", "zstd"]),
        "Compression of what is published; gzip and zstd are Cargo features, both on by default."),
    row(Section::Kafka, "KAFKA_DELIVERY_TIMEOUT_MS", &["KAFKA_WRITE_TIMEOUT"], "60000", Kind::Millis { min: 1, max: 2_147_483_647 },
        "How long a record may take, from its acceptance, until Kafka has it or its sender is told; the one bound on retries."),
    row(Section::Kafka, "KAFKA_CONF_*", &[], "", Kind::Passthrough,
        "Any property of librdkafka, dots written as underscores (KAFKA_CONF_CLIENT_ID is client.id); a variable of its own wins over it."),

    row(Section::Buffer, "BUFFER_MAX_MSGS", &["QUEUE_SIZE", "KAFKA_BUFFER_SIZE"], "10000", Kind::Count { min: 1, max: 10_000_000 },
        "Records between acceptance and receipt; reading pauses here and resumes below 80 % of it."),
    row(Section::Buffer, "BUFFER_MAX_BYTES", &[], "16MiB", Kind::Bytes { min: KIB, max: 64 * GIB },
        "The same mark in bytes of keys and values, plus 200 bytes a record for the client library."),
    row(Section::Buffer, "MEMORY_LIMIT", &[], "off", Kind::BytesOrOff { min: MIB },
        "Refuses to start when the worst-case memory sum is above it; `sluice check-config` prints the sum."),

    row(Section::Tcp, "TCP_FRAMING", &[], "auto", Kind::Choice(&["auto", "lines", "frames"]),
        "JSON lines, Protobuf frames with a 4-byte big-endian length, or whichever the first byte of a connection says."),
    row(Section::Tcp, "TCP_MAX_LINE_BYTES", &[], "65536", Kind::Bytes { min: 64, max: GIB },
        "Longest line without its end; a longer one is rejected and skipped."),
    row(Section::Tcp, "TCP_MAX_FRAME_BYTES", &[], "65536", Kind::Bytes { min: 64, max: GIB },
        "Longest frame without its length; a longer one is rejected and skipped."),
    row(Section::Tcp, "TCP_RECV_BUFFER_BYTES", &[], "256KiB", Kind::Bytes { min: 4 * KIB, max: GIB },
        "Receive buffer of a connection in the kernel, where bytes wait while reading is paused; unless given, at least twice the longest message."),
    row(Section::Tcp, "TCP_PARTIAL_BYTES", &[], "16MiB", Kind::Bytes { min: 4 * KIB, max: 64 * GIB },
        "Incomplete messages held over all connections, beyond it they stay in the kernel; unless given, at least the longest message."),
    row(Section::Tcp, "VALUE_FORMAT", &[], "protobuf", Kind::Choice(&["protobuf", "json"]),
        "Encoding of a record's value: leaderboard.ScoreUpdate, or a JSON object with lb, player, score, ts_ms."),

    row(Section::Http, "HTTP_MAX_BODY_BYTES", &[], "1MiB", Kind::Bytes { min: KIB, max: GIB },
        "Longest request body, also after inflating it; a longer one is answered with 413."),
    row(Section::Http, "HTTP_BODY_STORE_BYTES", &[], "16MiB", Kind::Bytes { min: 4 * KIB, max: 64 * GIB },
        "Bodies on their way held over all connections, beyond it a request is answered with 503; unless given, at least HTTP_MAX_BODY_BYTES."),
    row(Section::Http, "HTTP_ANSWER_STORE_BYTES", &[], "12MiB", Kind::Bytes { min: 256 * KIB, max: 64 * GIB },
        "Answers that wait or are not read, held over all connections, beyond it a batch is answered with 503 and no connection gets further while it owes answers; unless given, enough for a batch of BUFFER_MAX_MSGS."),
    row(Section::Http, "HTTP_REQUEST_TIMEOUT", &[], "10s", Kind::Duration { min: 1, max: DAY_MS },
        "Longest wait of a request for delivery, 5 s at most on /api/v1/events; `?timeout=` asks for less."),
    row(Section::Http, "HTTP_IDLE_TIMEOUT", &[], "75s", Kind::Duration { min: 1, max: DAY_MS },
        "A connection without a request is closed after so long."),
    row(Section::Http, "HTTP_HEADER_TIMEOUT", &[], "10s", Kind::Duration { min: 1, max: DAY_MS },
        "A request's head must be complete so long after its first byte; a slower one is answered with 408."),
    row(Section::Http, "HTTP_BODY_TIMEOUT", &[], "30s", Kind::Duration { min: 1, max: DAY_MS },
        "A request's body must be complete so long after its head; a slower one is answered with 408."),
    row(Section::Http, "HTTP_CORS_ORIGINS", &[], "", Kind::Origins,
        "Web pages that may send from a browser, such as https://app.example by comma, or `*` for all; none unless given."),
    row(Section::Http, "RATE_LIMIT_ENABLED", &[], "false", Kind::Bool,
        "Limit the requests of each sender to the routes for events; beyond it they are answered with 429."),
    row(Section::Http, "RATE_LIMIT_RPS", &[], "1000", Kind::Count { min: 1, max: 1_000_000 },
        "Requests a second of one sender (one IPv4 address or IPv6 /64, the true client behind trusted proxies), batches count once."),
    row(Section::Http, "RATE_LIMIT_BURST", &[], "100", Kind::Count { min: 1, max: 1_000_000 },
        "Requests that a rested sender may send at once."),
    row(Section::Http, "IDEMPOTENCY_WINDOW", &[], "10m", Kind::Duration { min: 0, max: DAY_MS },
        "How long a stored request with an Idempotency-Key is remembered, so that a retry gets its answer; 0 for not at all."),
    row(Section::Http, "IDEMPOTENCY_BYTES", &[], "8MiB", Kind::Bytes { min: 0, max: 64 * GIB },
        "Memory for those requests, the oldest are forgotten first; 0 for none."),
    row(Section::Http, "EVENTS_ACK", &[], "queued", Kind::Choice(&["none", "queued", "delivered"]),
        "When /events answers unless the request says: at once, once the event is in the buffer, or once Kafka has it."),
    row(Section::Http, "PLAYER_EVENTS_ACK", &[], "delivered", Kind::Choice(&["none", "queued", "delivered"]),
        "The same for /api/v1/events."),
    row(Section::Http, "EVENTS_KEY_FIELD", &[], "", Kind::Name,
        "Member of an event on /events whose value becomes the record's key; without it records have none."),
    row(Section::Http, "EVENTS_LAYOUT", &[], "plain", Kind::Choice(&["plain", "ingest"]),
        "Record of /events: no key and no header of ours, or the event's id as the key and as the header trace_id."),
    row(Section::Http, "EVENT_ID_VERSION", &[], "4", Kind::Choice(&["4", "7"]),
        "Version of the UUIDs that the gateway gives: random, or ordered by time."),

    row(Section::DeadLetters, "KAFKA_DLQ_TOPIC", &[], "events-dlq", Kind::TopicOrOff,
        "Topic of events that were answered 202 and that Kafka refuses or that expire; `off` for none; `sluice consume` takes `system.dlq` unless it is given."),
    row(Section::DeadLetters, "DEAD_LETTER_DIR", &[], "", Kind::Folder,
        "Folder for those that KAFKA_DLQ_TOPIC does not take; none unless given."),
    row(Section::DeadLetters, "DEAD_LETTER_MAX_BYTES", &[], "64MiB", Kind::Bytes { min: 64 * KIB, max: 1024 * GIB },
        "What that folder may hold; nothing is dropped to make room."),
    row(Section::DeadLetters, "DEAD_LETTER_TCP", &[], "false", Kind::Bool,
        "The same for records of TCP senders that did not ask with `#ack`, and of an embedding host that does not wait."),
    row(Section::DeadLetters, "DEAD_LETTER_REJECTS", &[], "false", Kind::Bool,
        "Keep refused messages as dead letters too, as they came; their senders are told of the refusal all the same."),

    row(Section::Consumers, "DATABASE_URL", &[], "", Kind::Secret,
        "PostgreSQL for `sluice consume` and `sluice migrate`, as libpq takes it (postgres://user:password@host:5432/name); wins over DB_*."),
    row(Section::Consumers, "DB_HOST", &[], "", Kind::Text,
        "Host of PostgreSQL, where there is no DATABASE_URL."),
    row(Section::Consumers, "DB_PORT", &[], "5432", Kind::Count { min: 1, max: 65_535 },
        "Its port."),
    row(Section::Consumers, "DB_NAME", &[], "", Kind::Text,
        "Name of the database; libpq's own default unless given, as for the user."),
    row(Section::Consumers, "DB_USER", &[], "", Kind::Text,
        "User."),
    row(Section::Consumers, "DB_PASSWORD", &[], "", Kind::Secret,
        "Password."),
    row(Section::Consumers, "USAGE_TOPIC", &[], "usage-events", Kind::Topic,
        "Topic of `sluice consume usage`; the other consumers read PLAYER_EVENTS_TOPIC and KAFKA_DLQ_TOPIC."),
    row(Section::Consumers, "KAFKA_SESSION_TIMEOUT", &[], "30s", Kind::Duration { min: 1000, max: DAY_MS },
        "A consumer that Kafka has not heard of for so long loses its partitions to others."),
    row(Section::Consumers, "CONSUME_BATCH_MIN", &[], "100", Kind::Count { min: 1, max: 100_000 },
        "Records that are written without waiting for more; what is at hand goes with them."),
    row(Section::Consumers, "CONSUME_BATCH_MAX", &[], "5000", Kind::Count { min: 1, max: 100_000 },
        "Records in one transaction at most; at least CONSUME_BATCH_MIN."),
    row(Section::Consumers, "CONSUME_BATCH_WAIT", &[], "200ms", Kind::Duration { min: 1, max: 60_000 },
        "How long fewer than CONSUME_BATCH_MIN records wait for more."),

    row(Section::Lifecycle, "DRAIN_TIMEOUT", &[], "5s", Kind::Duration { min: 0, max: DAY_MS },
        "How long a shutdown may take; what is left then is purged and accounted for."),

    row(Section::Log, "LOG_LEVEL", &[], "info", Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        "Least level that is written."),
    row(Section::Log, "LOG_FORMAT", &[], "text", Kind::Choice(&["text", "json"]),
        "Lines of logfmt pairs, or one JSON object a line."),
    row(Section::Log, "LOG_OUTPUT", &[], "stderr", Kind::Output,
        "`stderr`, `stdout` or the path of a file, which is appended to."),
    row(Section::Log, "LOG_EXCERPTS", &[], "true", Kind::Bool,
        "Show the first 200 characters of a refused message, escaped."),

    row(Section::Metrics, "METRICS_ENABLED", &[], "true", Kind::Bool,
        "Serve metrics on the health listener."),
    row(Section::Metrics, "METRICS_PATH", &[], "/metrics", Kind::UrlPath,
        "Where they are served."),
    row(Section::Metrics, "METRICS_INTERVAL", &[], "10s", Kind::Duration { min: 0, max: DAY_MS },
        "Time between two METRICS lines in the log; 0 for none."),
];

/// The row called `name`, by its own name or an alias.
#[must_use]
pub fn find(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|row| row.name == name || row.aliases.contains(&name))
}

/// The secret whose file `name` names.
#[must_use]
pub fn secret_of_file(name: &str) -> Option<&'static Variable> {
    find(name.strip_suffix("_FILE")?).filter(|row| row.kind == Kind::Secret)
}

/// The rows of one section, in the table's order.
pub fn section_rows(section: Section) -> impl Iterator<Item = &'static Variable> {
    VARIABLES.iter().filter(move |row| row.section == section)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_and_aliases_are_unique() {
        let mut seen = HashSet::new();
        for name in VARIABLES.iter().flat_map(|row| std::iter::once(&row.name).chain(row.aliases)) {
            assert!(seen.insert(*name), "{name} stands twice in the table");
        }
    }

    #[test]
    fn every_help_is_a_sentence_that_fits_a_table_cell() {
        for row in VARIABLES {
            assert!(row.help.ends_with('.') && !row.help.contains(['|', '\n']), "{}", row.name);
        }
    }

    #[test]
    fn sections_are_contiguous_and_complete() {
        let mut order: Vec<Section> = VARIABLES.iter().map(|row| row.section).collect();
        order.dedup();
        assert_eq!(order, Section::ALL);
    }
}
