//! What a sender, an operator and the next reader of the topic see on a good day: S0's acceptance criteria against the
//! mock cluster.

mod gateway;
mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gateway::acks::{AckSender, Told};
use gateway::{
    PARTITIONS, TOPIC, assert_ordered_by_player, await_stored, cluster, line, lines, outcome, scores,
    serving, stop, topic,
};
use prost::Message as _;
use sluice::event::pb;
use support::{PATIENCE, end_offsets, eventually, read_all};

fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// S0-AC1, S0-R5, S0-NFR5: the addresses and the topic as found, at start.
#[test]
fn it_starts_and_logs_topic_readiness() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    let ready = sluice.await_log("topic.ready");
    assert!(ready.contains("[INFO] topic.ready name=scores partitions=6 created=false"), "{ready}");
    let start = sluice.await_log("gateway.start");
    for part in ["[INFO]", "listen=127.0.0.1:", "health=127.0.0.1:", "topic=scores", "component=gateway"] {
        assert!(start.contains(part), "{part}: {start}");
    }
    let time = start.split(' ').next().unwrap();
    assert!(humantime::parse_rfc3339(time).is_ok() && time.ends_with('Z'), "{start}");
    stop(sluice).assert_clean(0);
}

/// S0-AC2, S0-AC4, S0-R1, S0-R2a, S0-R4, S0-L1, S0-PB: what was sent is what the topic holds, bare Protobuf, the
/// player as the key.
#[test]
fn good_lines_arrive_as_protobuf_with_the_player_as_key() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[("LOG_LEVEL", "debug")]);
    let before: i64 = end_offsets(broker.bootstrap(), TOPIC).iter().sum();
    sluice.send_lines(&[
        r#"{"lb":"global","player":"p1","score":7,"ts_ms":1730000000000}"#,
        r#"{"player":"J\u00f6rg 😀","ts_ms":0,"score":9223372036854775807,"lb":"ü","more":[1,{"x":null}]}"#,
        r#"{"lb":"global","player":"p1","score":0,"ts_ms":1}"#,
    ]);
    await_stored(&sluice, 3);
    let after: i64 = end_offsets(broker.bootstrap(), TOPIC).iter().sum();
    assert_eq!(after - before, 3, "S0-AC4");
    eventually(PATIENCE, "three publish.ok lines", || {
        let logs = sluice.logs();
        logs.iter().filter(|line| line.contains("[DEBUG] publish.ok key=")).count() == 3
    });
    let mut updates: Vec<pb::ScoreUpdate> = topic(&broker).into_iter().map(|one| one.update).collect();
    updates.sort_by_key(|update| update.player_id.clone());
    let update = |lb: &str, player: &str, score, ts| pb::ScoreUpdate {
        leaderboard_id: lb.into(),
        player_id: player.into(),
        score,
        timestamp_ms: ts,
    };
    assert_eq!(
        updates,
        [
            update("ü", "Jörg 😀", i64::MAX, 0),
            update("global", "p1", 7, 1_730_000_000_000),
            update("global", "p1", 0, 1),
        ]
    );
    stop(sluice).assert_clean(3);
}

/// S0-AC3, S0-E1, S0-E2: a warning that names reason and field, no crash, and the next line is as good as ever.
#[test]
fn malformed_lines_are_refused_with_a_warning() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    sluice.send_lines(&["this is no JSON", r#"{"lb":"g","player":"","score":1}"#, &line("p", 1)]);
    await_stored(&sluice, 1);
    let malformed = sluice.await_log("input.malformed");
    assert!(malformed.contains("[WARN]") && malformed.contains("reason=not_json"), "{malformed}");
    assert!(malformed.contains(r#"bytes="this is no JSON""#), "{malformed}");
    let invalid = sluice.await_log("validation.failed");
    assert!(invalid.contains("[WARN]") && invalid.contains("field=player reason=empty"), "{invalid}");
    assert_eq!(outcome(&sluice, "rejected"), 2);
    let end = stop(sluice);
    assert_eq!(end.of("rejected"), 2);
    end.assert_clean(1);
    assert_eq!(scores(&broker), [1]);
}

/// S0-AC5, S0-R6: two senders at the same time, line by line; each one's order is kept.
#[test]
fn concurrent_senders_do_not_disturb_each_other() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    let mut senders = [sluice.connect(), sluice.connect()];
    for round in 0..200 {
        for (number, sender) in senders.iter_mut().enumerate() {
            let text = line(&format!("sender-{number}"), round) + "\n";
            let (head, tail) = text.split_at(text.len() / 2);
            sender.write_all(head.as_bytes()).unwrap();
            sender.write_all(tail.as_bytes()).unwrap();
        }
    }
    await_stored(&sluice, 400);
    let stored = topic(&broker);
    assert_ordered_by_player(&stored);
    for player in ["sender-0", "sender-1"] {
        assert_eq!(stored.iter().filter(|one| one.update.player_id == player).count(), 200);
    }
    drop(senders);
    stop(sluice).assert_clean(400);
}

/// S0-AC6, S0-NFR3: SIGTERM right behind the last byte of 5,000 lines loses none of them.
#[test]
fn a_graceful_shutdown_delivers_what_was_sent() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    sluice.connect().write_all(lines(0..5_000).as_bytes()).unwrap();
    stop(sluice).assert_clean(5_000);
    assert_eq!(scores(&broker), (0..5_000).collect::<Vec<_>>());
    assert_ordered_by_player(&topic(&broker));
}

/// S0-R2b: frames and lines on one port; the first byte of each connection decides.
#[test]
fn frames_and_lines_come_through_the_same_port() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    let frame = |score| {
        let update = pb::ScoreUpdate {
            leaderboard_id: "g".into(),
            player_id: "framed".into(),
            score,
            timestamp_ms: 5,
        };
        let payload = update.encode_to_vec();
        [&(payload.len() as u32).to_be_bytes()[..], &payload].concat()
    };
    let mut frames = sluice.connect();
    for score in 0..50 {
        for byte in frame(score).chunks(7) {
            frames.write_all(byte).unwrap();
        }
    }
    sluice.send_lines(&[line("lined", 50)]);
    // A frame that is no ScoreUpdate, and one cut off by the sender's end.
    frames.write_all(&[0, 0, 0, 2, 0xff, 0xff]).unwrap();
    frames.write_all(&frame(99)[..10]).unwrap();
    drop(frames);
    await_stored(&sluice, 51);
    eventually(PATIENCE, "both bad frames are counted", || outcome(&sluice, "rejected") == 2);
    for reason in ["not_protobuf", "frame_truncated"] {
        assert_eq!(sluice.metric(&format!("gateway_rejects_total{{reason=\"{reason}\"}}")), 1.0, "{reason}");
    }
    stop(sluice).assert_clean(51);
    assert_eq!(scores(&broker), (0..=50).collect::<Vec<_>>());
}

/// S0-R2b: a listener that is told its framing does not guess.
#[test]
fn a_fixed_framing_does_not_look_at_the_first_byte() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[("TCP_FRAMING", "frames"), ("TCP_MAX_FRAME_BYTES", "64")]);
    // As a length, `{"lb` is two thousand million bytes: one frame too long, skipped to the connection's end.
    sluice.send_lines(&[line("p", 1), line("p", 2)]);
    eventually(PATIENCE, "the line is refused as a frame", || outcome(&sluice, "rejected") >= 1);
    assert_eq!(sluice.metric("gateway_rejects_total{reason=\"frame_too_long\"}"), 1.0);
    stop(sluice).assert_clean(0);
}

/// S0-R1, S0-SM: CRLF, blank lines, a last line without LF; the peer's half-close is answered by our close, and
/// nothing was written back.
#[test]
fn half_close_ends_the_conversation_after_the_last_line() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    let mut sender = sluice.connect();
    let text = format!("{}\r\n\n\r\n{}\n{}", line("p", 1), line("p", 2), line("p", 3));
    sender.write_all(text.as_bytes()).unwrap();
    sender.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    assert_eq!(sender.read_to_end(&mut answer).unwrap(), 0, "silent by default: {answer:?}");
    await_stored(&sluice, 3);
    stop(sluice).assert_clean(3);
    assert_eq!(scores(&broker), [1, 2, 3]);
}

/// Pain 15, G17, S0-R3: a record's timestamp is its arrival, whatever its event time says; a missing event time is now.
#[test]
fn the_record_timestamp_is_the_arrival() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    let before = unix_ms();
    sluice.send_lines(&[
        r#"{"lb":"g","player":"old","score":1,"ts_ms":86400000}"#,
        r#"{"lb":"g","player":"future","score":2,"ts_ms":32503680000000}"#,
        r#"{"lb":"g","player":"none","score":3}"#,
    ]);
    await_stored(&sluice, 3);
    let after = unix_ms();
    for one in topic(&broker) {
        let stamp = one.record.timestamp_ms;
        assert!((before..=after).contains(&stamp), "{one:?}, between {before} and {after}");
        let event = one.update.timestamp_ms;
        match one.update.player_id.as_str() {
            "old" => assert_eq!(event, 86_400_000),
            "future" => assert_eq!(event, 32_503_680_000_000),
            _ => assert!((before..=after).contains(&event), "{event}"),
        }
    }
    stop(sluice).assert_clean(3);
}

/// S0-R4: VALUE_FORMAT=json writes the four members.
#[test]
fn values_are_json_on_request() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[("VALUE_FORMAT", "json")]);
    sluice.send_lines(&[r#"{"score":9007199254740993,"lb":"g\"","player":"p\u0001","ts_ms":12,"x":1}"#]);
    await_stored(&sluice, 1);
    stop(sluice).assert_clean(1);
    let records = read_all(broker.bootstrap(), TOPIC);
    assert_eq!(records[0].key, b"p\x01");
    let value: serde_json::Value = serde_json::from_slice(&records[0].value).unwrap();
    let expected =
        serde_json::json!({"lb": "g\"", "player": "p\u{1}", "score": 9_007_199_254_740_993_u64, "ts_ms": 12});
    assert_eq!(value, expected);
}

/// S0-PB: partitions are those of the Java client. Hashes from Kafka's own `UtilsTest.testMurmur2`.
#[test]
fn partitions_are_those_of_the_java_client() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    let known: [(&str, i32); 6] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];
    sluice.send_lines(&known.map(|(key, _)| line(key, 1)));
    await_stored(&sluice, known.len() as u64);
    for one in topic(&broker) {
        let (key, hash) = known.iter().find(|(key, _)| *key == one.update.player_id).unwrap();
        assert_eq!(one.record.partition, (hash & 0x7fff_ffff) % PARTITIONS as i32, "{key}");
    }
    stop(sluice).assert_clean(known.len() as u64);
}

/// G12, G14: the account of a sender that asked for one: numbers, both kinds of news, and the last line.
#[test]
fn a_sender_that_asks_is_told_of_every_message() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    let mut sender = AckSender::connect(&sluice);
    sender.send(format!("{}\n\nno json\n{}\r\n", line("p", 1), line("p", 2)));
    sender.send(r#"{"lb":"g","player":"p"}"#);
    sender.send(format!("\n#ack\n{}", line("p", 3)));
    let account = sender.finish();
    // 1 good, blank not counted, 2 bad, 3 good, 4 without score, 5 a second #ack is a message, 6 good without LF.
    let fix = |code: &str| Told::Fix(code.to_owned());
    let named: Vec<_> = account.named.into_iter().collect();
    assert_eq!(named, [(2, fix("not_json")), (4, fix("missing")), (5, fix("not_json"))]);
    assert_eq!((account.plus, account.closed), (6, Some(6)));
    stop(sluice).assert_clean(3);
    assert_eq!(scores(&broker), [1, 2, 3]);
}

/// S0-NFR2: 5,000 messages a second are the floor, from the first byte to the last one stored.
#[test]
fn five_thousand_messages_a_second_are_the_floor() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    let start = Instant::now();
    sluice.connect().write_all(lines(0..20_000).as_bytes()).unwrap();
    await_stored(&sluice, 20_000);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(4), "20,000 messages in {took:?}");
    stop(sluice).assert_clean(20_000);
}
