//! Messages through a gateway into real Apache Kafka: once each, in order, where a Java program looks for them; while
//! the topic grows, goes and comes back, and when the gateway is stopped at full speed.

mod support;

use std::collections::{HashMap, HashSet};
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluice::handoff::{murmur2, partition_of, unix_ms};
use support::{
    Fate, PATIENCE, RealKafka, Senders, Sluice, assert_balanced, compare, count, end_offsets, eventually,
    read_all, score_of, tally,
};

const SIGTERM: i32 = signal_hook::consts::SIGTERM;

/// Within this time readiness falls and returns (conventions, HTTP /ready), and a little for a busy machine.
const READINESS: Duration = Duration::from_secs(4);

/// One cluster for all tests of this file, one after the other. It ends with this process.
fn kafka() -> MutexGuard<'static, RealKafka> {
    static KAFKA: LazyLock<Mutex<RealKafka>> = LazyLock::new(|| Mutex::new(RealKafka::start(1)));
    KAFKA.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A topic name that no other run uses.
fn topic(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// A gateway that looks at the cluster's metadata every second, so that tests need not wait for its ten.
fn gateway(kafka: &RealKafka, topic: &str) -> Sluice {
    let env = [
        ("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap()),
        ("KAFKA_TOPIC", topic),
        ("KAFKA_CONF_TOPIC_METADATA_REFRESH_INTERVAL_MS", "1000"),
    ];
    let sluice = Sluice::start(&env);
    sluice.await_ready();
    sluice
}

/// What `sluice tail` prints of the topic as it is now, line by line.
fn tail(kafka: &RealKafka, topic: &str, arguments: &[&str]) -> Vec<serde_json::Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["tail", topic, "--brokers", kafka.bootstrap(), "--until-end"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// S0-R4, S0-R6, S0-PB, S0-AC2, S0-AC5: from several connections at once, distinct messages arrive exactly once, in
/// order for each key, as Protobuf, in the partition that a Java producer would choose, timestamped on arrival.
/// Reading by time and by offset finds them.
#[test]
fn messages_arrive_once_in_order_where_java_looks_for_them() {
    let kafka = kafka();
    let topic = topic("flow");
    let sluice = gateway(&kafka, &topic);
    let begin_ms = unix_ms();
    let told = Senders::flood(&sluice, 8, 5_000, 50).wait();
    let middle_ms = unix_ms() + 1;
    assert_eq!(tally(&told), HashMap::from([(Fate::Stored, 40_000)]));

    let records = read_all(kafka.bootstrap(), &topic);
    assert_eq!(compare(&told, &records), 0);
    assert_eq!(records.len(), 40_000);
    for record in &records {
        assert_eq!(record.partition as u32, partition_of(murmur2(&record.key), 12), "{record:?}");
    }

    eventually(PATIENCE, "the clock moves on", || unix_ms() > middle_ms);
    let later = Senders::flood(&sluice, 2, 100, 10).wait();
    let end_ms = unix_ms();
    let lines = tail(&kafka, &topic, &["--from", &format!("@{begin_ms}")]);
    assert_eq!(lines.len(), 40_200);
    for line in &lines {
        let (stored_ms, event_ms) =
            (line["timestamp_ms"].as_i64().unwrap(), line["value"]["ts_ms"].as_i64().unwrap());
        assert!((begin_ms..=end_ms).contains(&stored_ms), "{line} is not of {begin_ms}..{end_ms}");
        assert!(
            (begin_ms..=stored_ms + 1).contains(&event_ms),
            "S0-R3, the server's time where none is given: {line}"
        );
    }
    let by_time = tail(&kafka, &topic, &["--from", &format!("@{middle_ms}")]);
    let scores = |lines: &[serde_json::Value]| -> HashSet<i64> {
        lines.iter().map(|line| line["value"]["score"].as_i64().unwrap()).collect()
    };
    assert_eq!(scores(&by_time), later.iter().map(|sent| sent.score).collect(), "read by time");
    let ends = end_offsets(kafka.bootstrap(), &topic);
    let from = (ends[5] - 3).to_string();
    let by_offset = tail(&kafka, &topic, &["--partition", "5", "--from", &from]);
    let offsets: Vec<_> = by_offset.iter().map(|line| line["offset"].as_i64().unwrap()).collect();
    assert_eq!(offsets, [ends[5] - 3, ends[5] - 2, ends[5] - 1], "read by offset");
}

/// S0-PB: Kafka's own producer puts a key where we put it.
#[test]
fn kafkas_own_producer_agrees_on_partitions() {
    let kafka = kafka();
    let (ours, theirs) = (topic("ours"), topic("theirs"));
    kafka.topic_create(&theirs, 12, 1, &[]);
    let sluice = gateway(&kafka, &ours);
    let keys: Vec<String> =
        (0..300).map(|number| format!("{}é{number}", "key".repeat(number % 11))).collect();
    let lines: Vec<_> =
        keys.iter().map(|key| format!("{{\"lb\":\"w\",\"player\":\"{key}\",\"score\":1}}")).collect();
    sluice.send_lines(&lines);
    kafka.produce_with_java(&theirs, keys.iter().map(|key| (key.as_str(), "x")));
    sluice.signal(SIGTERM);
    assert_eq!(sluice.wait().0, 0);
    let partitions = |topic: &str| -> HashMap<Vec<u8>, i32> {
        read_all(kafka.bootstrap(), topic).into_iter().map(|record| (record.key, record.partition)).collect()
    };
    let ours = partitions(&ours);
    assert_eq!(ours.len(), keys.len());
    assert_eq!(ours, partitions(&theirs));
}

/// Issue part 4, "partitions added": a topic that grows from 12 to 24 partitions while senders push loses nothing,
/// doubles nothing, keeps each key's order within a partition, and its new partitions are used.
#[test]
fn a_topic_that_grows_under_load_loses_nothing() {
    let kafka = kafka();
    let topic = topic("grows");
    let sluice = gateway(&kafka, &topic);
    let senders = Senders::start(&sluice, 4, 4_000, 50);
    senders.await_sent(5_000);
    kafka.topic_grow(&topic, 24);
    let changed = sluice.await_log("topic.changed");
    assert!(changed.contains("partitions_before=12 partitions=24"), "{changed}");
    senders.await_sent(10_000);
    let told = senders.finish();
    assert_eq!(count(&told, |fate| *fate == Fate::Stored), told.len() as u64, "{:?}", tally(&told));
    let records = read_all(kafka.bootstrap(), &topic);
    compare(&told, &records);
    let used: HashSet<i32> = records.iter().map(|record| record.partition).collect();
    assert!((12..24).any(|partition| used.contains(&partition)), "{used:?}");
    sluice.signal(SIGTERM);
    let (code, stop) = sluice.wait();
    assert_balanced(&stop);
    assert_eq!((code, stop["stored"]), (0, told.len() as u64));
}

/// "Topic deleted under us": readiness falls, every message is answered, nothing hangs or leaks; once the topic is
/// there again, with fewer partitions, readiness returns and records flow.
#[test]
fn a_topic_deleted_under_load_and_made_again() {
    let kafka = kafka();
    let topic = topic("deleted");
    let sluice = gateway(&kafka, &topic);
    let senders = Senders::start(&sluice, 4, 2_000, 50);
    senders.await_sent(5_000);
    kafka.topic_delete(&topic);
    let gone = Instant::now();
    eventually(READINESS, "readiness falls", || sluice.get("/ready").0 == 503);
    let fell = gone.elapsed();
    kafka.topic_create(&topic, 6, 1, &[]);
    let back = Instant::now();
    sluice.await_ready();
    println!("not ready {fell:?} after it went, ready {:?} after it came", back.elapsed());
    let mut told = senders.finish();
    let later = Senders::flood(&sluice, 4, 2_000, 50).wait();
    assert_eq!(tally(&later), HashMap::from([(Fate::Stored, 8_000)]), "after the topic's return");

    let records = read_all(kafka.bootstrap(), &topic);
    let held: HashSet<i64> = records.iter().map(score_of).collect();
    let fates = tally(&told);
    println!("{fates:?}");
    let gone = |fate: &Fate| *fate == Fate::Retry("UNKNOWN_TOPIC_OR_PART".into());
    assert!(fates.keys().all(|fate| *fate == Fate::Stored || gone(fate)), "{fates:?}");
    // What was stored before went with the old topic.
    told.retain(|sent| sent.fate != Fate::Stored || held.contains(&sent.score));
    told.extend(later);
    compare(&told, &records);

    sluice.signal(SIGTERM);
    let (_, stop) = sluice.wait();
    assert_balanced(&stop);
    let answered: usize = fates.values().sum();
    assert_eq!(stop["accepted"], answered as u64 + 8_000, "{fates:?} {stop:?}");
    assert_eq!(stop["lost"], 0, "{fates:?} {stop:?}");
}

/// S0-NFR3, S0-AC6, "SIGTERM while senders push at full speed": what was accepted is stored, what was not read is
/// counted, and the exit code says which of both it was.
#[test]
fn sigterm_at_full_speed_stores_all_that_was_accepted() {
    let kafka = kafka();
    let topic = topic("stopped");
    let sluice = gateway(&kafka, &topic);
    let senders = Senders::flood(&sluice, 8, 1_000_000, 50);
    senders.await_sent(30_000);
    sluice.signal(SIGTERM);
    let told = senders.wait();
    let (code, stop) = sluice.wait();
    assert_balanced(&stop);
    assert_eq!(stop["stored"], stop["accepted"], "{stop:?}");
    assert_eq!((stop["lost"], stop["unknown"]), (0, 0), "{stop:?}");
    assert_eq!(code, i32::from(stop["unread_bytes"] > 0), "{stop:?}");
    assert_eq!(count(&told, |fate| *fate == Fate::Stored), stop["accepted"]);
    compare(&told, &read_all(kafka.bootstrap(), &topic));
}
