//! What values must be to each other.
//!
//! Runs after every value has been read; a relation with a value that could not be read is skipped, so that one
//! typing error is one fault.

use std::net::SocketAddr;

use crate::gateway::GatewayOptions;
use crate::kafka::{DEAD_LETTERS, KafkaOptions};
use crate::session::ADMIN_PATHS;

use super::fault::{Fault, Warning};
use super::profile::{self, Profile};
use super::values::Values;
use super::{memory, ready};

/// Fewer records than this cannot keep a Kafka request filled.
const BUFFER_RECORDS_ADVISED: usize = 100;

/// Holds the finished options against each other.
pub(super) fn check(
    values: &Values,
    options: &GatewayOptions,
    faults: &mut Vec<Fault>,
    warnings: &mut Vec<Warning>,
) {
    let found = [
        ports_differ(values, options, "HEALTH_PORT", options.net.health),
        ports_differ(values, options, "HTTP_PORT", options.net.http),
        http_differs_from_health(values, options),
        metrics_have_their_own_path(values, options),
        replicas_suffice(values, &options.kafka),
        acks_fit_idempotence(values, &options.kafka),
        linger_ends_before_the_deadline(values, &options.kafka),
        compression_is_built_in(values, &options.kafka),
        http_is_built_in(values),
        profile_is_built_in(values),
        letters_are_built_in(values),
        rejects_have_a_topic(values, &options.kafka),
        letters_have_their_own_topic(values, &options.kafka),
        line_fits_buffer(values, options),
        message_fits_kernel(values, options),
        message_fits_partial(values, options),
        memory_suffices(values, options, faults.is_empty()),
    ];
    faults.extend(found.into_iter().flatten());
    warn(options, warnings);
}

const ADDRESSES: [&str; 6] = [
    "GATEWAY_LISTEN_ADDR",
    "GATEWAY_LISTEN_PORT",
    "HTTP_LISTEN_ADDR",
    "HTTP_PORT",
    "HEALTH_LISTEN_ADDR",
    "HEALTH_PORT",
];

fn ports_differ(
    values: &Values,
    options: &GatewayOptions,
    name: &'static str,
    other: Option<SocketAddr>,
) -> Option<Fault> {
    let (tcp, other) = (options.net.tcp?, other?);
    (values.usable(&ADDRESSES) && clash(tcp, other))
        .then(|| values.fault(name, format!("another port than GATEWAY_LISTEN_PORT={}", tcp.port())))
}

fn http_differs_from_health(values: &Values, options: &GatewayOptions) -> Option<Fault> {
    let (http, health) = (options.net.http?, options.net.health?);
    (values.usable(&ADDRESSES) && clash(http, health))
        .then(|| values.fault("HTTP_PORT", format!("another port than HEALTH_PORT={}", health.port())))
}

fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() != 0 && one.port() == other.port() && overlap(one, other)
}

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified()
}

fn metrics_have_their_own_path(values: &Values, options: &GatewayOptions) -> Option<Fault> {
    let path = options.metrics_path.as_deref()?;
    let taken = values.usable(&["METRICS_PATH"]) && ADMIN_PATHS.contains(&path);
    taken.then(|| values.fault("METRICS_PATH", format!("a path other than {}", ADMIN_PATHS.join(", "))))
}

fn replicas_suffice(values: &Values, kafka: &KafkaOptions) -> Option<Fault> {
    let usable = values.usable(&["KAFKA_MIN_INSYNC_REPLICAS", "KAFKA_REPLICATION_FACTOR"]);
    let right = || format!("at most KAFKA_REPLICATION_FACTOR={}", kafka.replication_factor);
    (usable && kafka.min_insync_replicas > kafka.replication_factor)
        .then(|| values.fault("KAFKA_MIN_INSYNC_REPLICAS", right()))
}

fn acks_fit_idempotence(values: &Values, kafka: &KafkaOptions) -> Option<Fault> {
    let usable = values.usable(&["KAFKA_REQUIRED_ACKS", "ENABLE_IDEMPOTENCE"]);
    (usable && kafka.idempotence && kafka.acks != "all")
        .then(|| values.fault("KAFKA_REQUIRED_ACKS", "all, or ENABLE_IDEMPOTENCE=false beside it"))
}

/// librdkafka refuses a deadline that is not beyond the linger.
fn linger_ends_before_the_deadline(values: &Values, kafka: &KafkaOptions) -> Option<Fault> {
    let usable = values.usable(&["KAFKA_LINGER_MS", "KAFKA_DELIVERY_TIMEOUT_MS"]);
    let right = || format!("less than KAFKA_DELIVERY_TIMEOUT_MS={}", kafka.delivery_timeout.as_millis());
    (usable && kafka.linger >= kafka.delivery_timeout).then(|| values.fault("KAFKA_LINGER_MS", right()))
}

fn compression_is_built_in(values: &Values, kafka: &KafkaOptions) -> Option<Fault> {
    let missing = match kafka.compression.as_str() {
        "gzip" if !cfg!(feature = "gzip") => "gzip",
        "zstd" if !cfg!(feature = "zstd") => "zstd",
        _ => return None,
    };
    let right = format!("none, snappy or lz4: this build lacks the Cargo feature `{missing}`");
    Some(values.fault("KAFKA_COMPRESSION", right))
}

/// Dead letters come with HTTP's promises.
fn letters_are_built_in(values: &Values) -> Option<Fault> {
    let asked = ["DEAD_LETTER_DIR", "DEAD_LETTER_TCP", "DEAD_LETTER_REJECTS"]
        .into_iter()
        .find(|name| values.is_given(name));
    let right = "nothing: this build lacks the Cargo feature `http`, and dead letters with it";
    asked.filter(|_| !cfg!(feature = "http")).map(|name| values.fault(name, right))
}

/// Refused messages go to the topic first, whose lanes bound them.
fn rejects_have_a_topic(values: &Values, kafka: &KafkaOptions) -> Option<Fault> {
    let usable = values.usable(&["DEAD_LETTER_REJECTS", "KAFKA_DLQ_TOPIC"]);
    let has_topic = !kafka.topics.name(DEAD_LETTERS).is_empty();
    (usable && kafka.letters.rejects && !has_topic)
        .then(|| values.fault("DEAD_LETTER_REJECTS", "false, or KAFKA_DLQ_TOPIC with a name"))
}

/// Asked for by name, and not there.
fn http_is_built_in(values: &Values) -> Option<Fault> {
    let is_asked =
        values.is_given("HTTP_PORT") && values.usable(&["HTTP_PORT"]) && values.port("HTTP_PORT").is_some();
    let right = "off: this build lacks the Cargo feature `http`";
    (is_asked && !cfg!(feature = "http")).then(|| values.fault("HTTP_PORT", right))
}

/// HTTP's profiles, and no HTTP.
fn profile_is_built_in(values: &Values) -> Option<Fault> {
    let is_asked = matches!(values.profile, Profile::Ingest | Profile::Games);
    let right = "all or scores: this build lacks the Cargo feature `http`";
    (is_asked && !cfg!(feature = "http")).then(|| values.fault(profile::VARIABLE, right))
}

/// Or a letter could not be told from an event.
fn letters_have_their_own_topic(values: &Values, kafka: &KafkaOptions) -> Option<Fault> {
    let usable = values.usable(&["KAFKA_DLQ_TOPIC", "KAFKA_TOPIC", "EVENTS_TOPIC", "PLAYER_EVENTS_TOPIC"]);
    let shared = kafka.topics.own_id(DEAD_LETTERS) != DEAD_LETTERS;
    (usable && shared).then(|| values.fault("KAFKA_DLQ_TOPIC", "another topic than those of events"))
}

/// A line that the buffer can never hold would pause its connection for ever.
fn line_fits_buffer(values: &Values, options: &GatewayOptions) -> Option<Fault> {
    let usable =
        values.usable(&["BUFFER_MAX_BYTES", "TCP_MAX_LINE_BYTES", "TCP_MAX_FRAME_BYTES", "TCP_FRAMING"]);
    let needed = ready::longest_message_bytes(&options.tcp);
    let right = || format!("at least {needed}, {}", longest_name(options));
    (usable && options.buffer.max_bytes < needed).then(|| values.fault("BUFFER_MAX_BYTES", right()))
}

fn message_fits_kernel(values: &Values, options: &GatewayOptions) -> Option<Fault> {
    let names = ["TCP_RECV_BUFFER_BYTES", "TCP_MAX_LINE_BYTES", "TCP_MAX_FRAME_BYTES", "TCP_FRAMING"];
    let needed = ready::recv_buffer_bytes_min(&options.tcp);
    let right = || format!("at least {needed}, twice {}", longest_name(options));
    (values.usable(&names) && options.net.recv_buffer_bytes < needed)
        .then(|| values.fault("TCP_RECV_BUFFER_BYTES", right()))
}

fn message_fits_partial(values: &Values, options: &GatewayOptions) -> Option<Fault> {
    let names = ["TCP_PARTIAL_BYTES", "TCP_MAX_LINE_BYTES", "TCP_MAX_FRAME_BYTES", "TCP_FRAMING"];
    let needed = ready::longest_message_bytes(&options.tcp);
    let right = || format!("at least {needed}, {}", longest_name(options));
    (values.usable(&names) && options.net.partial_bytes < needed)
        .then(|| values.fault("TCP_PARTIAL_BYTES", right()))
}

/// The variable that sets the longest message, with its value.
fn longest_name(options: &GatewayOptions) -> String {
    let longest = ready::longest_message_bytes(&options.tcp);
    let frame =
        options.tcp.framing == crate::session::Framing::Frames || longest != options.tcp.max_line_bytes;
    format!("{}={longest}", if frame { "TCP_MAX_FRAME_BYTES" } else { "TCP_MAX_LINE_BYTES" })
}

/// The sum means something only when every value that goes into it is right.
fn memory_suffices(values: &Values, options: &GatewayOptions, all_read: bool) -> Option<Fault> {
    let limit = options.memory_limit.filter(|_| all_read)?;
    let mut parts = memory::worst_case(options);
    let total = memory::total(&parts);
    parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
    let parts: Vec<String> = parts.iter().map(|part| format!("{} {}", part.name, part.bytes)).collect();
    let right = format!("at least the worst case of {total} bytes, or smaller limits ({})", parts.join(", "));
    (limit < total).then(|| values.fault("MEMORY_LIMIT", right))
}

fn warn(options: &GatewayOptions, warnings: &mut Vec<Warning>) {
    if !options.kafka.idempotence {
        let text = "off: a retry may double or reorder records in the topic";
        warnings.push(Warning::new("ENABLE_IDEMPOTENCE", text));
    }
    if options.buffer.max_records < BUFFER_RECORDS_ADVISED {
        let text = format!("below {BUFFER_RECORDS_ADVISED} records reading pauses all the time");
        warnings.push(Warning::new("BUFFER_MAX_MSGS", text));
    }
    if options.net.tcp.is_none() && options.net.http.is_none() {
        warnings.push(Warning::new("GATEWAY_LISTEN_PORT", "off: no listener takes events"));
    }
}
