//! Step two: from values to the options that each room declares.

use std::net::SocketAddr;
#[cfg(feature = "http")]
use std::time::Duration;

use crate::admission::{AdmissionOptions, CapOptions, LimiterOptions};
use crate::gateway::GatewayOptions;
use crate::handoff::{BufferOptions, TopicId};
use crate::kafka::{Bootstrap, DEAD_LETTERS, KafkaOptions, LetterOptions, Topics};
use crate::net::NetOptions;
use crate::pipeline::ValueFormat;
#[cfg(feature = "http")]
use crate::pipeline::events::{EventRules, IdVersion, Layout};
#[cfg(feature = "http")]
use crate::session::{Ack, Cors, IdempotencyOptions, RouteOptions, answer_store_bytes_min};
use crate::session::{EVENTS_TOPIC, Framing, HttpOptions, PLAYER_EVENTS_TOPIC, TCP_TOPIC, TcpOptions};

use super::EMBEDDED;
use super::log_options::{LogFormat, LogOptions, LogOutput};
use super::passthrough::Property;
use super::values::Values;

/// S4's own limit for a request.
#[cfg(feature = "http")]
const PLAYER_EVENTS_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn gateway(values: &Values, properties: &[Property]) -> GatewayOptions {
    let tcp = tcp(values);
    let http = http(values);
    GatewayOptions {
        net: net(values, &tcp),
        tcp,
        http,
        value_format: match values.text("VALUE_FORMAT") {
            "json" => ValueFormat::Json,
            _ => ValueFormat::Protobuf,
        },
        buffer: BufferOptions {
            max_records: values.number("BUFFER_MAX_MSGS"),
            max_bytes: values.bytes("BUFFER_MAX_BYTES"),
        },
        kafka: kafka(values, properties),
        drain_timeout: values.time("DRAIN_TIMEOUT"),
        metrics_interval: values.time("METRICS_INTERVAL"),
        metrics_path: values.flag("METRICS_ENABLED").then(|| values.text("METRICS_PATH").to_owned()),
        memory_limit: values.bytes_or_off("MEMORY_LIMIT"),
        log_excerpts: values.flag("LOG_EXCERPTS"),
    }
}

pub(super) fn log(values: &Values) -> LogOptions {
    LogOptions {
        // The table's words are those of `log`; a word it did not know would have been a fault.
        level: values.text("LOG_LEVEL").parse().unwrap_or(log::LevelFilter::Info),
        format: match values.text("LOG_FORMAT") {
            "json" => LogFormat::Json,
            _ => LogFormat::Text,
        },
        output: match values.text("LOG_OUTPUT") {
            "stderr" => LogOutput::Stderr,
            "stdout" => LogOutput::Stdout,
            path => LogOutput::File(path.into()),
        },
    }
}

fn tcp(values: &Values) -> TcpOptions {
    TcpOptions {
        framing: match values.text("TCP_FRAMING") {
            "lines" => Framing::Lines,
            "frames" => Framing::Frames,
            _ => Framing::Auto,
        },
        max_line_bytes: values.bytes("TCP_MAX_LINE_BYTES"),
        max_frame_bytes: values.bytes("TCP_MAX_FRAME_BYTES"),
    }
}

#[cfg(not(feature = "http"))]
fn http(_: &Values) -> HttpOptions {
    HttpOptions
}

#[cfg(feature = "http")]
fn http(values: &Values) -> HttpOptions {
    let ack = |name| match values.text(name) {
        "none" => Ack::None,
        "delivered" => Ack::Delivered,
        _ => Ack::Queued,
    };
    let timeout = values.time("HTTP_REQUEST_TIMEOUT");
    let key_field = values.text("EVENTS_KEY_FIELD");
    let rules = EventRules {
        key_field: (!key_field.is_empty()).then(|| key_field.to_owned()),
        max_items: values.number("BUFFER_MAX_MSGS"),
        ids: if values.text("EVENT_ID_VERSION") == "7" { IdVersion::V7 } else { IdVersion::V4 },
        layout: if values.text("EVENTS_LAYOUT") == "ingest" { Layout::Ingest } else { Layout::Plain },
    };
    let is_on = |topic| !values.text(topic).is_empty();
    let max_body_bytes = values.bytes("HTTP_MAX_BODY_BYTES");
    HttpOptions {
        max_body_bytes,
        body_store_bytes: at_least(values, "HTTP_BODY_STORE_BYTES", max_body_bytes),
        answer_store_bytes: at_least(
            values,
            "HTTP_ANSWER_STORE_BYTES",
            answer_store_bytes_min(rules.max_items, max_body_bytes),
        ),
        header_timeout: values.time("HTTP_HEADER_TIMEOUT"),
        body_timeout: values.time("HTTP_BODY_TIMEOUT"),
        idle_timeout: values.time("HTTP_IDLE_TIMEOUT"),
        // The text was read once before: it can be read.
        cors: Cors::new(super::parse::origins(values.text("HTTP_CORS_ORIGINS")).unwrap_or_default()),
        idempotency: IdempotencyOptions {
            window: values.time("IDEMPOTENCY_WINDOW"),
            bytes: values.bytes("IDEMPOTENCY_BYTES"),
        },
        events: RouteOptions {
            is_on: is_on("EVENTS_TOPIC"),
            topic: EVENTS_TOPIC,
            ack: ack("EVENTS_ACK"),
            timeout,
            rules: rules.clone(),
        },
        player_events: RouteOptions {
            is_on: is_on("PLAYER_EVENTS_TOPIC"),
            topic: PLAYER_EVENTS_TOPIC,
            ack: ack("PLAYER_EVENTS_ACK"),
            timeout: timeout.min(PLAYER_EVENTS_TIMEOUT),
            rules,
        },
    }
}

fn net(values: &Values, tcp: &TcpOptions) -> NetOptions {
    let tcp_address = values.address("GATEWAY_LISTEN_ADDR");
    let http_address = values.address("HTTP_LISTEN_ADDR").or(tcp_address);
    let health_address = values.address("HEALTH_LISTEN_ADDR").or(tcp_address);
    let listener = |address, port| Some(SocketAddr::new(address?, values.port(port)?));
    NetOptions {
        tcp: listener(tcp_address, "GATEWAY_LISTEN_PORT"),
        http: listener(http_address, "HTTP_PORT").filter(|_| cfg!(feature = "http")),
        health: listener(health_address, "HEALTH_PORT"),
        max_connections: values.number("MAX_CONNECTIONS"),
        recv_buffer_bytes: at_least(values, "TCP_RECV_BUFFER_BYTES", recv_buffer_bytes_min(tcp)),
        partial_bytes: at_least(values, "TCP_PARTIAL_BYTES", longest_message_bytes(tcp)),
        admission: admission(values),
    }
}

fn admission(values: &Values) -> AdmissionOptions {
    let limiter = LimiterOptions {
        per_second: values.number("RATE_LIMIT_RPS"),
        burst: values.number("RATE_LIMIT_BURST"),
        ..LimiterOptions::default()
    };
    let caps = CapOptions {
        per_address: values.number("MAX_CONNECTIONS_PER_ADDRESS"),
        capacity: values.number("MAX_CONNECTIONS"),
    };
    AdmissionOptions {
        trusted: values.networks("TRUSTED_PROXIES"),
        limiter: values.flag("RATE_LIMIT_ENABLED").then_some(limiter),
        caps: (caps.per_address > 0).then_some(caps),
    }
}

#[cfg(feature = "http")]
const _: () = assert!(super::parse::ORIGIN_BYTES_MAX == crate::session::ORIGIN_BYTES_MAX);
const _: () = assert!(DEAD_LETTERS.0 == crate::session::LETTERS_TOPIC.0);

/// A default that grows with what it must hold; a value that was given is checked in `relations` instead.
fn at_least(values: &Values, name: &str, needed: usize) -> usize {
    let bytes = values.bytes(name);
    if values.is_given(name) { bytes } else { bytes.max(needed) }
}

/// The longest message that can be incomplete.
pub(super) fn longest_message_bytes(tcp: &TcpOptions) -> usize {
    match tcp.framing {
        Framing::Lines => tcp.max_line_bytes,
        Framing::Frames => tcp.max_frame_bytes,
        Framing::Auto => tcp.max_line_bytes.max(tcp.max_frame_bytes),
    }
}

/// A whole message must be able to wait in the kernel, whose own bookkeeping takes about half of a buffer.
pub(super) fn recv_buffer_bytes_min(tcp: &TcpOptions) -> usize {
    longest_message_bytes(tcp).saturating_mul(2)
}

/// HTTP's routes that are on, with the variables of their topics.
fn routes(values: &Values) -> impl Iterator<Item = (TopicId, &'static str)> {
    let has_http = cfg!(feature = "http") && values.port("HTTP_PORT").is_some();
    [(EVENTS_TOPIC, "EVENTS_TOPIC"), (PLAYER_EVENTS_TOPIC, "PLAYER_EVENTS_TOPIC")]
        .into_iter()
        .filter(move |(_, name)| has_http && !values.text(name).is_empty())
}

/// A route that is off has no topic: none is created for it, and none holds readiness back.
fn topics(values: &Values) -> Topics {
    let mut topics = Topics::default();
    // With nothing else to listen for there is one topic all the same, to show that Kafka is there.
    if values.port("GATEWAY_LISTEN_PORT").is_some() || routes(values).next().is_none() {
        topics.set(TCP_TOPIC, values.text("KAFKA_TOPIC"));
    }
    for (id, name) in routes(values) {
        topics.set(id, values.text(name));
    }
    let letters = values.text("KAFKA_DLQ_TOPIC");
    let rejects = cfg!(feature = "http") && values.flag("DEAD_LETTER_REJECTS");
    if !letters.is_empty() && (rejects || !letter_sources(values).is_empty()) {
        topics.set(DEAD_LETTERS, letters);
    }
    topics
}

/// Topics whose records become dead letters.
fn letter_sources(values: &Values) -> Vec<TopicId> {
    let mut sources: Vec<TopicId> = routes(values).map(|(id, _)| id).collect();
    if values.flag("DEAD_LETTER_TCP") {
        sources.push(TCP_TOPIC);
    }
    sources
}

fn letters(values: &Values) -> LetterOptions {
    let dir = values.text("DEAD_LETTER_DIR");
    LetterOptions {
        sources: letter_sources(values),
        rejects: values.flag("DEAD_LETTER_REJECTS"),
        dir: (!dir.is_empty()).then(|| dir.into()),
        max_bytes: values.bytes("DEAD_LETTER_MAX_BYTES") as u64,
    }
}

/// KAFKA_CREATE_TOPICS as given, or what the profile creates.
pub(super) fn creations(values: &Values) -> String {
    if values.is_given("KAFKA_CREATE_TOPICS") || values.port("HTTP_PORT").is_none() {
        return values.text("KAFKA_CREATE_TOPICS").to_owned();
    }
    values.profile.creations(values.text("PLAYER_EVENTS_TOPIC"), values.text("KAFKA_DLQ_TOPIC"))
}

pub(super) fn kafka(values: &Values, properties: &[Property]) -> KafkaOptions {
    let bootstrap = match values.text("KAFKA_BOOTSTRAP_SERVERS") {
        EMBEDDED => Bootstrap::Embedded,
        servers => Bootstrap::Servers(servers.into()),
    };
    let passthrough = properties.iter().map(|property| (property.name.clone(), property.value.clone()));
    KafkaOptions {
        bootstrap,
        topics: topics(values),
        partitions: values.number("KAFKA_PARTITIONS"),
        // The text was read once before: it can be read.
        creations: super::parse::creations(&creations(values)).unwrap_or_default(),
        replication_factor: values.number("KAFKA_REPLICATION_FACTOR"),
        min_insync_replicas: values.number("KAFKA_MIN_INSYNC_REPLICAS"),
        idempotence: values.flag("ENABLE_IDEMPOTENCE"),
        acks: values.text("KAFKA_REQUIRED_ACKS").into(),
        linger: values.time("KAFKA_LINGER_MS"),
        compression: values.text("KAFKA_COMPRESSION").into(),
        delivery_timeout: values.time("KAFKA_DELIVERY_TIMEOUT_MS"),
        letters: letters(values),
        passthrough: passthrough.collect(),
    }
}
