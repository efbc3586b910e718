//! Which metrics there are: every name, help text and label, in the order in which they are shown.
//!
//! Names and labels are public (dashboards and alerts are built on them): they do not change. Counters are there at
//! 0 from the start; a gauge that is not known yet (no delivery so far, no broker up) is left out.

use super::STATUSES;
use super::exposition::Exposition;
use super::snapshot::{
    LISTENERS, ListenerSnapshot, OUTCOMES, PAUSE_REASONS, RETRY_RESULTS, Snapshot, outcome,
};

/// Appends everything in Prometheus text format 0.0.4 (served as `text/plain; version=0.0.4`). Passes promtool's
/// lint rules; see `scripts/promlint.sh`.
pub fn prometheus(s: &Snapshot, out: &mut String) {
    let mut text = Exposition::new(out);
    state(s, &mut text);
    connections(s, &mut text);
    records(s, &mut text);
    requests(s, &mut text);
    queue(s, &mut text);
    kafka(s, &mut text);
    work(s, &mut text);
    aliases(s, &mut text);
    s.process.families(&mut text);
}

fn state(s: &Snapshot, text: &mut Exposition<'_>) {
    text.gauges(
        "gateway_build_info",
        "Version of the program; the value is always 1.",
        "version",
        [(s.version, 1)],
    );
    text.gauge("gateway_uptime_seconds", "Time since the gateway was started.", s.uptime_seconds);
    text.gauge("gateway_ready", "1 if a record can be stored now, else 0.", u8::from(s.ready));
}

fn connections(s: &Snapshot, text: &mut Exposition<'_>) {
    let by_listener =
        |value: fn(&ListenerSnapshot) -> u64| LISTENERS.into_iter().zip(s.listeners.iter().map(value));
    text.gauges("gateway_connections", "Open connections.", "listener", by_listener(|l| l.connections));
    text.counters(
        "gateway_connections_accepted_total",
        "Connections taken.",
        "listener",
        by_listener(|l| l.accepted),
    );
    text.counters(
        "gateway_connections_refused_total",
        "Connections closed right after being taken: too many of their address, or a bad PROXY header.",
        "listener",
        by_listener(|l| l.refused),
    );
    text.counters(
        "gateway_accept_errors_total",
        "Failed attempts to take a connection.",
        "listener",
        by_listener(|l| l.accept_errors),
    );
    text.gauges(
        "gateway_connections_paused",
        "Connections that are not being read now, by what they wait for.",
        "reason",
        PAUSE_REASONS.into_iter().zip(s.paused),
    );
    text.counters(
        "gateway_connection_paused_seconds_total",
        "Time that connections spent paused, summed over connections.",
        "listener",
        LISTENERS.into_iter().zip(s.listeners.iter().map(|l| l.paused_seconds)),
    );
}

fn records(s: &Snapshot, text: &mut Exposition<'_>) {
    text.counter(
        "gateway_records_received_total",
        "Complete messages read, whatever became of them.",
        s.records_received,
    );
    text.counters(
        "gateway_records_total",
        "Records that ended, by how they ended.",
        "outcome",
        OUTCOMES.into_iter().zip(s.records),
    );
    text.counters(
        "gateway_rejects_total",
        "Rejected records by reason.",
        "reason",
        s.rejects.iter().copied(),
    );
    text.counter(
        "gateway_dead_letter_rejects_dropped_total",
        "Rejected records that were to be kept as dead letters and could not be.",
        s.reject_letters_dropped,
    );
    text.counter(
        "gateway_records_lost_total",
        "Records not stored whose sender was never told.",
        s.records_lost,
    );
    text.counter(
        "gateway_unread_bytes_total",
        "Bytes received by the kernel and left unread when their connection was closed at shutdown.",
        s.unread_bytes,
    );
    text.histogram_seconds(
        "gateway_record_ack_seconds",
        "Time from a record's acceptance to its receipt from Kafka.",
        &s.record_ack,
    );
    text.histogram_seconds(
        "gateway_resume_seconds",
        "Time from the buffer's low mark to the first turn after paused connections were read again.",
        &s.resume,
    );
}

fn requests(s: &Snapshot, text: &mut Exposition<'_>) {
    text.counters(
        "gateway_http_responses_total",
        "Responses of the HTTP listener by status, those of refused heads and of pages included.",
        "status",
        STATUSES.into_iter().zip(s.http_responses),
    );
    text.histogram_seconds(
        "gateway_request_duration_seconds",
        "Time from the end of a request's head until its response could be written.",
        &s.request_duration,
    );
    text.counter(
        "gateway_http_rate_limited_total",
        "HTTP requests answered with 429: their sender has used up its rate.",
        s.rate_limited,
    );
    text.counter(
        "gateway_rate_limit_crowded_out_total",
        "Senders whose place in the limiter's table went to another before their bucket was full.",
        s.rate_limit_crowded_out,
    );
    text.counters(
        "gateway_http_retries_total",
        "HTTP requests whose idempotency key had come before, by how they were answered.",
        "outcome",
        RETRY_RESULTS.into_iter().zip(s.retries_answered),
    );
}

/// The names of S3 (events, queue, requests by status) and S4 (events, durations) for what is the same here.
fn aliases(s: &Snapshot, text: &mut Exposition<'_>) {
    text.counter("events_received_total", "Same as gateway_records_received_total.", s.records_received);
    text.counter(
        "events_published_total",
        "Same as gateway_records_total, those stored.",
        s.records[outcome::STORED],
    );
    text.counter(
        "events_failed_total",
        "Events that ended otherwise than stored or rejected at the door.",
        s.failed_total(),
    );
    text.gauge("ingest_queue_size", "Same as gateway_queue_records.", s.queue_records);
    text.counters(
        "http_requests_total",
        "Same as gateway_http_responses_total.",
        "status",
        STATUSES.into_iter().zip(s.http_responses),
    );
    text.histogram_seconds(
        "http_request_duration_seconds",
        "Same as gateway_request_duration_seconds.",
        &s.request_duration,
    );
}

fn queue(s: &Snapshot, text: &mut Exposition<'_>) {
    text.gauge("gateway_queue_records", "Records accepted and without a receipt.", s.queue_records);
    text.gauge("gateway_queue_limit_records", "Records at which reading stops.", s.queue_limit_records);
    text.gauge("gateway_queue_bytes", "Bytes of the records accepted and without a receipt.", s.queue_bytes);
    text.gauge("gateway_queue_limit_bytes", "Bytes at which reading stops.", s.queue_limit_bytes);
    text.gauge(
        "gateway_inflight_records",
        "The queue's records that the Kafka client holds.",
        s.inflight_records,
    );
    text.gauge(
        "gateway_memory_accounted_bytes",
        "Memory of buffers, batches and records, as accounted for.",
        s.memory_accounted_bytes,
    );
    text.gauge(
        "gateway_memory_worst_case_bytes",
        "The most that the configuration lets the accounted memory grow to.",
        s.memory_worst_case_bytes,
    );
}

fn kafka(s: &Snapshot, text: &mut Exposition<'_>) {
    let brokers = [("up", s.brokers_up), ("down", s.brokers_down)];
    text.gauges(
        "gateway_kafka_brokers",
        "Brokers known, by the state of their connection.",
        "state",
        brokers,
    );
    if !s.broker_rtt.is_empty() {
        text.gauges(
            "gateway_kafka_request_rtt_seconds",
            "Average round trip of requests to a broker.",
            "broker",
            s.broker_rtt.iter().map(|b| (b.broker, b.seconds)),
        );
    }
    text.counter("gateway_kafka_retries_total", "Records that the Kafka client sent again.", s.retries);
    text.counter(
        "gateway_kafka_produce_errors_total",
        "Records that the Kafka client refused or reported as failed.",
        s.produce_errors,
    );
    text.counter(
        "gateway_kafka_producer_rebuilds_total",
        "Times that a producer turned fatal or silent and was built anew.",
        s.producer_rebuilds,
    );
    if let Some(at) = s.last_delivery_unix_seconds {
        text.gauge(
            "gateway_last_delivery_timestamp_seconds",
            "Unix time of the last report of a stored record.",
            at,
        );
    }
    text.gauge("gateway_kafka_partitions", "Partitions of the topic.", s.partitions);
    text.gauge(
        "gateway_kafka_lanes_held",
        "Partitions to which nothing is handed now, because their leader is away or behind.",
        s.lanes_held,
    );
}

fn work(s: &Snapshot, text: &mut Exposition<'_>) {
    text.counter("gateway_loop_turns_total", "Turns of the poll loop.", s.loop_turns);
    text.counter("gateway_loop_idle_turns_total", "Turns of the poll loop without work.", s.loop_idle_turns);
    text.counter("gateway_log_suppressed_total", "Log lines left out by summarising.", s.log_suppressed);
}
