//! DEAD_LETTER_REJECTS: refused messages are kept as they came, and nobody waits for them.
#![cfg(feature = "http")]

mod gateway;
mod support;

use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use gateway::{assert_ended, await_outcome, cluster, line, stop};
use support::{Broker, PATIENCE, Record, Sluice, command, eventually, read_all};

const LETTERS: &str = "events-dlq";

/// One broker with all topics, that of dead letters only if `has_letters`.
fn broker(has_letters: bool) -> Broker {
    let mut broker = cluster(1);
    for topic in ["events", "player.events.raw"] {
        broker.command(&format!("topic {topic} 2"));
    }
    if has_letters {
        broker.command(&format!("topic {LETTERS} 2"));
    }
    broker
}

/// A gateway that has found all of the broker's topics: before that it does not know how much each takes.
fn serving(broker: &Broker, has_letters: bool, env: &[(&str, &str)]) -> Sluice {
    let own = [
        ("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap()),
        ("KAFKA_TOPIC", gateway::TOPIC),
        ("HTTP_PORT", "0"),
        ("DEAD_LETTER_REJECTS", "true"),
    ];
    let sluice = Sluice::start(&[&own, env].concat());
    sluice.await_ready();
    let partitions = f64::from(gateway::PARTITIONS + if has_letters { 6 } else { 4 });
    eventually(PATIENCE, "all topics have their leaders", || {
        let metrics = sluice.metrics();
        metrics["gateway_kafka_partitions"] == partitions && metrics["gateway_kafka_lanes_held"] == 0.0
    });
    sluice
}

fn header<'a>(record: &'a Record, name: &str) -> &'a str {
    &record.headers.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("{name}: {record:?}")).1
}

/// What its sender reads until the connection ends.
fn answers(sluice: &Sluice, lines: &[u8]) -> String {
    let mut stream = sluice.connect();
    stream.write_all(lines).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Bytes, rule and origin, over TCP and both routes; the senders are told what they are told without it.
#[test]
fn refused_messages_are_letters_and_their_senders_are_told() {
    let broker = broker(true);
    let sluice = serving(&broker, true, &[]);
    let bad = br#"{"lb":"g","player":"bob","score":-1}"#;
    let text =
        answers(&sluice, &[b"#ack\n", &bad[..], b"\n", line("ann", 7).as_bytes(), b"\n\xff\xfe\n"].concat());
    assert!(
        text.contains("- 1 fix negative") && text.contains("+ 2") && text.contains("- 3 fix not_utf8"),
        "{text}"
    );
    let (status, body) = sluice.post("/events", "not json");
    assert_eq!(status, 400, "{body}");
    let batch = r#"[{"id":"ok"},{"payload":7},{"id":"fine"}]"#;
    let (status, body) = sluice.post("/events", batch);
    assert!(status == 207 && body.contains(r#""accepted":2,"refused":1"#), "{status} {body}");
    assert_eq!(sluice.post("/api/v1/events", r#"{"event_type":"x"}"#).0, 400);
    // Nothing to keep: a refused head has no body, an overlong line no whole.
    assert_eq!(sluice.post("/events?ack=never", "{}").0, 400);
    await_outcome(&sluice, "dead_lettered", 5);
    await_outcome(&sluice, "stored", 3);
    assert_eq!(sluice.metric("gateway_rejects_total{reason=\"negative\"}"), 1.0);
    assert_ended(&stop(sluice), 0, [3, 0, 0, 5, 0]);

    let letters = read_all(broker.bootstrap(), LETTERS);
    let find = |value: &[u8]| {
        let found: Vec<&Record> = letters.iter().filter(|letter| letter.value == value).collect();
        assert_eq!(found.len(), 1, "{}", String::from_utf8_lossy(value));
        found[0]
    };
    for (value, code, topic) in [
        (&bad[..], "negative", gateway::TOPIC),
        (b"\xff\xfe", "not_utf8", gateway::TOPIC),
        (b"not json", "not_json", "events"),
        (br#"{"payload":7}"#, "mistyped", "events"),
        (br#"{"event_type":"x"}"#, "missing", "player.events.raw"),
    ] {
        let letter = find(value);
        let said =
            ["dlq.code", "dlq.stage", "dlq.source_topic", "dlq.attempts"].map(|name| header(letter, name));
        assert_eq!(said, [code, "check", topic, "0"]);
        assert!(header(letter, "dlq.time").ends_with('Z') && !letter.has_key);
    }
    assert_eq!(header(find(bad), "dlq.reason"), "score must be 0 or more");
}

/// The topic of dead letters refuses them: the folder has them, where they are not sent again by accident; without a
/// folder they end as rejected, which their senders know, and the gateway ends clean.
#[test]
fn a_letter_that_does_not_arrive_leaves_a_rejected_message() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    for (env, expected) in [(&[("DEAD_LETTER_DIR", path)][..], [0, 0, 0, 1, 0]), (&[], [0, 1, 0, 0, 0])] {
        let mut broker = broker(true);
        let sluice = serving(&broker, true, env);
        broker.command("refuse produce MSG_SIZE_TOO_LARGE 1");
        assert_eq!(sluice.post("/events", "[7]").0, 207);
        let name = if env.is_empty() { "rejected" } else { "dead_lettered" };
        await_outcome(&sluice, name, 1);
        let lost = sluice.metric("gateway_dead_letter_rejects_dropped_total");
        assert_eq!(lost, if env.is_empty() { 1.0 } else { 0.0 });
        assert_ended(&stop(sluice), 0, expected);
        if !env.is_empty() {
            let run = |arguments: &[&str]| {
                let output = command(&[&["dead-letters"], arguments, &["--dir", path]].concat(), &[])
                    .output()
                    .unwrap();
                (output.status.code(), String::from_utf8(output.stdout).unwrap())
            };
            let resend = ["resend", "--brokers", broker.bootstrap()];
            assert_eq!(run(&resend), (Some(0), "resent=0 failed=0 left=1 damaged_bytes=0\n".into()));
            let named = [&resend[..], &["1"]].concat();
            assert_eq!(run(&named), (Some(1), "resent=0 failed=1 left=1 damaged_bytes=0\n".into()));
            assert!(run(&["list"]).1.contains("not_an_object"));
        }
    }
}

/// Without a topic for them, letters never hold up the main flow: a flood of refused lines between good ones, many
/// times the buffer. All good lines are stored, the refused ones end, and the rest of them when the gateway does.
#[test]
fn letters_without_a_way_hold_up_nobody() {
    let broker = broker(false);
    let sluice = serving(&broker, false, &[("BUFFER_MAX_MSGS", "400"), ("DRAIN_TIMEOUT", "2s")]);
    let total = 4000;
    let lines: Vec<String> = (0..total)
        .flat_map(|number| [line("p", number), r#"{"lb":"","player":"p","score":1}"#.to_owned()])
        .collect();
    sluice.send_lines(&lines);
    await_outcome(&sluice, "stored", total);
    let waiting = sluice.metric("gateway_queue_records");
    assert!(waiting <= 100.0, "letters take up {waiting} places, a quarter at most");
    let end = stop(sluice);
    assert_ended(&end, 0, [total, total, 0, 0, 0]);
}

/// A message that is too large for the topic of dead letters too is left out and counted.
#[test]
fn a_letter_that_is_too_large_is_left_out() {
    let broker = broker(true);
    let sluice = serving(&broker, true, &[("KAFKA_CONF_MESSAGE_MAX_BYTES", "2000")]);
    let event = format!(r#"{{"id":"e","payload":{{"x":"{}"}}}}"#, "y".repeat(3000));
    let (status, body) = sluice.post("/events", &event);
    assert!(status == 413 && body.contains("record_too_large"), "{status} {body}");
    await_outcome(&sluice, "rejected", 1);
    assert_eq!(sluice.metric("gateway_dead_letter_rejects_dropped_total"), 1.0);
    assert_ended(&stop(sluice), 0, [0, 1, 0, 0, 0]);
}
