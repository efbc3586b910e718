//! What an operator sees: METRICS line, health listener, logs.

mod gateway;
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use gateway::{await_stored, cluster, line, lines, listening, outcome, paused, serving, stop};
use serde_json::Value;
use support::{PATIENCE, Sluice, eventually};

fn health_address(sluice: &Sluice) -> SocketAddr {
    let line = sluice.await_log("gateway.start");
    let address = line.split_whitespace().find_map(|word| word.strip_prefix("health="));
    address.unwrap().parse().unwrap()
}

/// S0-R8, S0-NFR5: the METRICS line with exactly S0's keys first, true to the numbers, every interval.
#[test]
fn the_metrics_line_begins_with_s0_s_keys() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[("METRICS_INTERVAL", "1s")]);
    sluice.send_lines(&[line("p", 1), line("p", 2), "bad".into()]);
    await_stored(&sluice, 2);
    let metrics = sluice.await_log("accepted=3 published=2 rejected=1 buffered=0 retried=0 ");
    let start = metrics.split_once("METRICS ts=").expect(&metrics);
    assert!(start.0.ends_with("[INFO] ") && start.1[..10].parse::<u64>().is_ok(), "{metrics}");
    eventually(PATIENCE, "another one", || {
        sluice.logs().iter().filter(|line| line.contains("METRICS ts=")).count() >= 3
    });
    stop(sluice).assert_clean(2);
}

/// S0-R8, S0-ST, G15: health, readiness, metrics and state on one port, by plain HTTP; what is not there is 404.
#[test]
fn the_health_listener_answers() {
    let broker = cluster(1);
    let sluice = listening(&broker, &[]);
    let (status, body) = sluice.get("/ready");
    assert!(status == 503 || status == 200, "{status} {body}");
    sluice.await_ready();
    for path in ["/health", "/ready"] {
        let (status, body) = sluice.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        assert!(body.starts_with(r#"{"status":""#), "{path}: status comes first in {body}");
        let json: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(json["status"], if path == "/health" { "OK" } else { "ready" });
    }
    assert!(sluice.get("/state").1.contains("state phase=ready"));
    assert_eq!((sluice.get("/nothing").0, sluice.get("/").0), (404, 200));

    let metrics = sluice.metrics();
    for name in [
        "gateway_connections{listener=\"tcp\"}",
        "gateway_connections_paused{reason=\"queue\"}",
        "gateway_connection_paused_seconds_total{listener=\"tcp\"}",
        "gateway_records_received_total",
        "gateway_records_total{outcome=\"stored\"}",
        "gateway_records_total{outcome=\"rejected\"}",
        "gateway_records_total{outcome=\"not_stored\"}",
        "gateway_records_total{outcome=\"dead_lettered\"}",
        "gateway_records_total{outcome=\"dropped\"}",
        "gateway_records_total{outcome=\"unknown\"}",
        "gateway_rejects_total{reason=\"not_json\"}",
        "gateway_queue_records",
        "gateway_queue_bytes",
        "gateway_queue_limit_bytes",
        "gateway_inflight_records",
        "gateway_memory_accounted_bytes",
        "gateway_record_ack_seconds_count",
        "gateway_http_responses_total{status=\"202\"}",
        "gateway_http_responses_total{status=\"503\"}",
        "gateway_request_duration_seconds_count",
        "events_received_total",
        "events_published_total",
        "events_failed_total",
        "ingest_queue_size",
        "http_requests_total{status=\"200\"}",
        "http_request_duration_seconds_count",
        "gateway_kafka_brokers{state=\"up\"}",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(metrics.contains_key(name), "{name} is there from the start");
    }
    assert_eq!(metrics["gateway_ready"], 1.0);
    stop(sluice).assert_clean(0);
}

/// A probe that keeps its connection, one that sends HEAD, one that sends nonsense: each gets its answer.
#[test]
fn probes_of_every_manner_are_answered() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    let talk = |text: &str| {
        let mut stream = TcpStream::connect(health_address(&sluice)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let two =
        "GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = talk(two);
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
    let head = talk("HEAD /health HTTP/1.0\r\n\r\n");
    assert!(head.contains(" 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(talk("POST /health HTTP/1.0\r\n\r\n").contains(" 405 "));
    assert!(talk("\x16\x03\x01 no HTTP at all\r\n\r\n").contains(" 400 "));
    stop(sluice).assert_clean(0);
}

/// METRICS_PATH moves the metrics, METRICS_ENABLED=false takes them away; health stays.
#[test]
fn metrics_can_be_moved_or_switched_off() {
    let broker = cluster(1);
    let moved = listening(&broker, &[("METRICS_PATH", "/internal/metrics")]);
    let (status, body) = moved.get("/internal/metrics");
    assert_eq!((status, moved.get("/metrics").0), (200, 404), "{body}");
    assert!(body.contains("gateway_build_info"));
    let off = listening(&broker, &[("METRICS_ENABLED", "false")]);
    assert_eq!((off.get("/metrics").0, off.get("/health").0), (404, 200));
}

/// S3-R12: LOG_FORMAT=json writes one object a line, with ts, level, component, event and fields, whatever senders send.
#[test]
fn json_logs_are_one_object_a_line() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[("LOG_FORMAT", "json"), ("METRICS_INTERVAL", "1s")]);
    let mut rude = sluice.connect();
    rude.write_all(b"\"}\x1b[31m\xff\xfe\\\"\n{\"lb\":\"\\u202e\"}\n").unwrap();
    sluice.send_lines(&[line("p", 1)]);
    await_stored(&sluice, 1);
    eventually(PATIENCE, "both are refused", || outcome(&sluice, "rejected") == 2);
    sluice.await_log(r#""published":1,"#);
    drop(rude);
    sluice.signal(signal_hook::consts::SIGUSR1);
    sluice.await_log("phase");
    let logs = sluice.logs();
    for text in &logs {
        let object: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let members: Vec<&str> = object.as_object().expect(text).keys().map(String::as_str).collect();
        assert_eq!(members.len(), 5, "{text}");
        for member in ["ts", "level", "component", "event"] {
            assert!(object[member].is_string(), "{member} in {text}");
        }
        assert!(object["fields"].is_object(), "{text}");
    }
    let with = |event: &str| {
        let found = logs.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
        found
            .into_iter()
            .find(|object| object["event"] == event)
            .unwrap_or_else(|| panic!("no {event}: {logs:#?}"))
    };
    assert_eq!(with("topic.ready")["fields"]["partitions"], 6);
    let refused = with("input.malformed");
    assert_eq!(
        (&refused["level"], &refused["component"], &refused["fields"]["reason"]),
        (&"warn".into(), &"tcp".into(), &"not_utf8".into())
    );
    assert!(with("METRICS")["fields"]["published"].is_u64());
    sluice.signal(signal_hook::consts::SIGTERM);
    assert_eq!(sluice.wait().0, 0);
}

/// S0-E1: excerpts are escaped and at most 200 characters; a log line stays one line.
#[test]
fn excerpts_are_escaped_and_capped() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    let mut rude = sluice.connect();
    rude.write_all(b"a\x1b[31m\t\"quoted\"\\\r\x00\xff!\n").unwrap();
    rude.write_all(&[b'x'; 5000]).unwrap();
    rude.write_all(b"\n").unwrap();
    eventually(PATIENCE, "both are refused", || outcome(&sluice, "rejected") == 2);
    let escaped = sluice.await_log("reason=not_utf8");
    assert!(escaped.contains("peer=127.0.0.1:") && escaped.contains("!\""), "{escaped}");
    assert!(escaped.chars().all(|c| !c.is_control()), "{}", escaped.escape_debug());
    let long = sluice.await_log("reason=not_json");
    let shown = long.chars().filter(|c| *c == 'x').count();
    assert!((100..=200).contains(&shown), "{shown} characters: {long}");
    stop(sluice).assert_clean(0);
}

/// S0-E1, conventions: payload excerpts can be switched off; the reason stays.
#[test]
fn excerpts_can_be_switched_off() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[("LOG_EXCERPTS", "false")]);
    sluice.send_lines(&["secret secret", r#"{"lb":"secret","player":"","score":1}"#]);
    let refused = sluice.await_log("input.malformed");
    assert!(refused.contains("reason=not_json"), "{refused}");
    sluice.await_log("validation.failed");
    assert!(sluice.logs().iter().all(|line| !line.contains("secret")));
    stop(sluice).assert_clean(0);
}

/// S0-E1: thousands of bad lines are all counted, and fill no log.
#[test]
fn repeated_warnings_do_not_flood_the_log() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    sluice.send_lines(&vec!["bad"; 20_000]);
    eventually(PATIENCE, "all are refused", || outcome(&sluice, "rejected") == 20_000);
    let shown = sluice.logs().iter().filter(|line| line.contains("input.malformed peer=")).count();
    assert!((1..=50).contains(&shown), "{shown} lines for 20,000 bad messages");
    let suppressed = sluice.metric("gateway_log_suppressed_total") as usize;
    assert!(suppressed + 50 >= 20_000 && suppressed < 20_000, "{suppressed} lines were left out");
    let end = stop(sluice);
    end.assert_clean(0);
    assert_eq!(end.of("rejected"), 20_000);
}

/// G20, S0-R8: the counters of `/metrics` and the last line tell the same story.
#[test]
fn counters_agree_with_what_was_sent() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    sluice.send_lines(&lines(0..1000).lines().collect::<Vec<_>>());
    await_stored(&sluice, 1000);
    let metrics = sluice.metrics();
    assert_eq!(metrics["gateway_records_received_total"], 1000.0);
    assert_eq!(metrics["gateway_record_ack_seconds_count"], 1000.0);
    assert_eq!(metrics["gateway_connections_accepted_total{listener=\"tcp\"}"], 1.0);
    assert_eq!((metrics["gateway_queue_records"], metrics["gateway_queue_bytes"]), (0.0, 0.0));
    assert!(metrics["gateway_last_delivery_timestamp_seconds"] > 1.7e9);
    stop(sluice).assert_clean(1000);
}

/// A turn without work is counted as one, and turns with work are not: each line that is sent alone makes one.
#[test]
fn idle_turns_are_told_from_busy_ones() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    let (turns, idle) = ("gateway_loop_turns_total", "gateway_loop_idle_turns_total");
    let before = sluice.metrics();
    eventually(PATIENCE, "the clock's turns", || sluice.metric(idle) >= before[idle] + 2.0);
    let mut stored = 0;
    let before = sluice.metrics();
    for score in 0..50 {
        sluice.send_lines(&[line("p", score)]);
        stored += 1;
        await_stored(&sluice, stored);
    }
    let after = sluice.metrics();
    let busy = (after[turns] - after[idle]) - (before[turns] - before[idle]);
    assert!(busy >= 50.0, "{busy} busy turns for 50 lines");
    stop(sluice).assert_clean(50);
}

/// The start of a message that finds no room here is left in the kernel, and its connection shown as paused.
#[test]
fn connections_that_wait_for_memory_are_shown() {
    let broker = cluster(1);
    let small = ["TCP_PARTIAL_BYTES", "TCP_MAX_LINE_BYTES", "TCP_MAX_FRAME_BYTES"].map(|name| (name, "4KiB"));
    let sluice = serving(&broker, &small);
    let mut slow: Vec<_> = (0..5).map(|_| sluice.connect()).collect();
    for sender in &mut slow {
        sender.write_all(br#"{"lb":"g","player":"p","#).unwrap();
    }
    eventually(PATIENCE, "all five wait", || paused(&sluice, "memory") == 5);
    assert!(sluice.get("/state").1.contains("reason=memory"));
    for sender in &mut slow {
        sender.write_all(b"\"score\":1}\n").unwrap();
    }
    await_stored(&sluice, 5);
    assert_eq!(paused(&sluice, "memory"), 0);
    stop(sluice).assert_clean(5);
}
