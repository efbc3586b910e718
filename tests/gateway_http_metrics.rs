//! HTTP in the metrics: responses by status, how long requests took, and the same under the names of S3 and S4.

mod gateway;
mod support;

use gateway::web::{event, player_event, web, web_cluster};
use gateway::{await_stored, stop};
use support::{PATIENCE, Sluice, eventually};

/// Responses by status that are not 0, under either name.
fn responses(sluice: &Sluice) -> Vec<(u16, u64)> {
    let metrics = sluice.metrics();
    let of = |name: &str| {
        let prefix = format!("{name}{{status=\"");
        let found = metrics.iter().filter_map(|(series, value)| {
            let status = series.strip_prefix(&prefix)?.strip_suffix("\"}")?;
            Some((status.parse().ok()?, *value as u64))
        });
        let mut found: Vec<(u16, u64)> = found.filter(|(_, count)| *count > 0).collect();
        found.sort_unstable();
        found
    };
    let responses = of("gateway_http_responses_total");
    assert_eq!(of("http_requests_total"), responses, "S3's name");
    responses
}

/// S3-R11, S4's metrics: what each client was told, whoever refused it: the codec, the limiter, a rule, the door.
#[test]
fn every_response_is_counted() {
    let broker = web_cluster();
    let limit = [("RATE_LIMIT_ENABLED", "true"), ("RATE_LIMIT_RPS", "1"), ("RATE_LIMIT_BURST", "6")];
    let sluice = web(&broker, &limit);
    assert_eq!(responses(&sluice), []);
    let mut http = sluice.http();
    let mut told = Vec::new();
    for (method, target, body) in [
        ("POST", "/events", event("a")),
        ("POST", "/events?ack=delivered", event("b")),
        ("POST", "/api/v1/events", player_event("ann")),
        ("POST", "/events", "[7]".into()),
        ("POST", "/events", "{".into()),
        ("POST", "/events", "x".repeat((1 << 20) + 1)),
        ("GET", "/nowhere", String::new()),
        ("DELETE", "/events", String::new()),
        ("OPTIONS", "/events", String::new()),
        ("GET", "/health", String::new()),
    ] {
        told.push(http.ask(method, target, &[], body.as_bytes()).status);
    }
    // Its bucket has filled a little meanwhile.
    while told.last() != Some(&429) {
        assert!(told.len() < 100, "nothing limits it: {told:?}");
        told.push(http.post("/events", event("over")).status);
    }
    let stored = told.iter().filter(|status| matches!(status, 200 | 202)).count() as u64 - 1;
    let mut broken = sluice.http();
    broken.send(b"GET / HTTP/3.0\r\n\r\n");
    told.push(broken.answer().status);
    told.sort_unstable();
    let mut counted: Vec<(u16, u64)> = Vec::new();
    for status in told.iter().copied() {
        match counted.last_mut() {
            Some((last, count)) if *last == status => *count += 1,
            _ => counted.push((status, 1)),
        }
    }
    assert_eq!(responses(&sluice), counted);
    await_stored(&sluice, stored);
    let metrics = sluice.metrics();
    assert_eq!(metrics["gateway_request_duration_seconds_count"], told.len() as f64);
    assert_eq!(metrics["http_request_duration_seconds_count"], told.len() as f64);
    assert!(metrics["gateway_request_duration_seconds_sum"] > 0.001, "two waited for Kafka");
    // Two broke a rule; the one that was too large and the one over the limit were never events.
    let events =
        [metrics["events_received_total"], metrics["events_published_total"]].map(|events| events as u64);
    assert_eq!(events, [stored + 2, stored]);
    assert_eq!((metrics["events_failed_total"], metrics["ingest_queue_size"]), (0.0, 0.0));
    stop(sluice).assert_clean(stored);
}

/// What Kafka does not take is a failure under S3's and S4's name, and 503 is counted.
#[test]
fn failures_are_counted() {
    let mut broker = web_cluster();
    let sluice = web(&broker, &[]);
    broker.command("down all");
    let mut http = sluice.http();
    let answer = http.post("/events?ack=delivered&timeout=300ms", event("late"));
    assert!(matches!(answer.status, 503 | 504), "{answer:?}");
    assert_eq!(responses(&sluice), [(answer.status, 1)]);
    if answer.status == 503 {
        eventually(PATIENCE, "it failed", || sluice.metric("events_failed_total") == 1.0);
    }
    broker.command("up all");
    drop(http);
    stop(sluice).assert_balanced();
}
