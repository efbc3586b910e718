//! Three brokers of real Apache Kafka: one is killed under load, and too few replicas are in sync.

mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use support::{
    Fate, PATIENCE, RealKafka, Senders, Sent, Sluice, assert_balanced, compare, count, eventually, read_all,
    score_of, tally,
};

const SIGTERM: i32 = signal_hook::consts::SIGTERM;

/// One cluster for all tests of this file, one after the other; each leaves all nodes running.
fn kafka() -> MutexGuard<'static, RealKafka> {
    static KAFKA: LazyLock<Mutex<RealKafka>> = LazyLock::new(|| Mutex::new(RealKafka::own(3)));
    KAFKA.lock().unwrap_or_else(PoisonError::into_inner)
}

fn gateway(kafka: &RealKafka, topic: &str, more: &[(&str, &str)]) -> Sluice {
    let env = [
        ("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap()),
        ("KAFKA_TOPIC", topic),
        ("KAFKA_REPLICATION_FACTOR", "3"),
        ("KAFKA_MIN_INSYNC_REPLICAS", "2"),
    ];
    let sluice = Sluice::start(&[&env, more].concat());
    sluice.await_ready();
    sluice
}

fn all_stored(told: &[Sent]) -> bool {
    told.iter().all(|sent| sent.fate == Fate::Stored)
}

/// "SIGKILL of one of three real brokers under load": with two of three in sync every message is stored, once, in
/// order, and told so; the broker's return changes nothing.
#[test]
fn a_broker_of_three_killed_under_load() {
    let kafka = kafka();
    let sluice = gateway(&kafka, "killed", &[]);
    assert!(sluice.await_log("topic.ready").contains("partitions=12 created=true"));
    let senders = Senders::start(&sluice, 4, 3_000, 50);
    senders.await_sent(10_000);
    kafka.kill(2);
    senders.await_sent(20_000);
    assert_eq!(sluice.get("/ready").0, 200, "two of three brokers lead everything");
    kafka.restart(2);
    senders.await_sent(10_000);
    let told = senders.finish();
    assert!(all_stored(&told), "{:?}", tally(&told));
    let records = read_all(kafka.bootstrap(), "killed");
    assert_eq!(compare(&told, &records), 0);
    assert_eq!(records.len(), told.len());
    stop_clean(sluice, &told);
}

/// The same with the tool that users have: `sluice send --ack` ends with 0, and each of its lines is stored once.
#[test]
fn send_with_answers_while_a_broker_is_killed() {
    let kafka = kafka();
    let sluice = gateway(&kafka, "sent", &[]);
    let mut send = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["send", "--ack", "--addr", &sluice.listen().to_string()])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = send.stdin.take().unwrap();
    let mut push = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let key = number % 50;
            writeln!(input, "{{\"lb\":\"w\",\"player\":\"p{key}\",\"score\":{number}}}").unwrap();
        }
    };
    push(0..10_000);
    kafka.kill(1);
    push(10_000..30_000);
    kafka.restart(1);
    push(30_000..40_000);
    drop(input);
    let output = send.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let mut scores: Vec<i64> = read_all(kafka.bootstrap(), "sent").iter().map(score_of).collect();
    scores.sort_unstable();
    assert!(scores.into_iter().eq(0..40_000), "each line once");
}

/// "NOT_ENOUGH_REPLICAS": what Kafka will not take is told, is not there, and is taken again once the replica is back.
#[test]
fn too_few_replicas_in_sync() {
    let kafka = kafka();
    kafka.topic_create("strict", 3, 3, &[("min.insync.replicas", "3")]);
    kafka.kill(3);
    eventually(PATIENCE, "the cluster gives the replica up", || kafka.in_sync("strict") == [2, 2, 2]);
    let sluice = gateway(&kafka, "strict", &[("KAFKA_DELIVERY_TIMEOUT_MS", "2000")]);
    let mut told = Senders::flood(&sluice, 2, 500, 20).wait();
    assert_eq!(count(&told, |fate| matches!(fate, Fate::Retry(_))), 1_000, "{:?}", tally(&told));

    kafka.restart(3);
    eventually(PATIENCE, "the replica is in sync again", || kafka.in_sync("strict") == [3, 3, 3]);
    eventually(PATIENCE, "readiness returns", || sluice.get("/ready").0 == 200);
    let later = Senders::flood(&sluice, 2, 500, 20).wait();
    assert!(all_stored(&later), "{:?}", tally(&later));
    told.extend(later);
    assert_eq!(compare(&told, &read_all(kafka.bootstrap(), "strict")), 0);
    stop_clean(sluice, &told);
}

/// The same while records are on their way: the leader may keep what it could not have copied. Records pass their
/// deadline, again and again, and the client library lets go of all of them each time. Nothing is there twice or out of
/// order; what was told stored is there, and what was told not stored is not.
#[test]
fn a_replica_lost_under_load_doubles_and_loses_nothing() {
    let kafka = kafka();
    kafka.topic_create("shrinking", 3, 3, &[("min.insync.replicas", "3")]);
    let sluice = gateway(&kafka, "shrinking", &[("KAFKA_DELIVERY_TIMEOUT_MS", "3000")]);
    let senders = Senders::start(&sluice, 2, 500, 20);
    senders.await_sent(500);
    kafka.kill(3);
    let ended = |outcome: &str| sluice.metric(&format!("gateway_records_total{{outcome=\"{outcome}\"}}"));
    eventually(PATIENCE, "records are refused", || ended("not_stored") + ended("unknown") > 500.0);
    let let_go = || sluice.logs().iter().filter(|line| line.contains("producer.let_go")).count();
    eventually(PATIENCE, "the deadline passes more than once", || let_go() >= 3);
    kafka.restart(3);
    let stored = ended("stored");
    eventually(PATIENCE, "records are stored again", || ended("stored") > stored + 500.0);
    let (let_go, rebuilds) = (let_go(), sluice.metric("gateway_kafka_producer_rebuilds_total"));
    assert_eq!(rebuilds, 0.0, "one producer all along");
    let told = senders.finish();
    // This fails on any record that is there twice, whatever was told of it.
    let doubtful = compare(&told, &read_all(kafka.bootstrap(), "shrinking"));
    println!("{:?}, {doubtful} of the unknown ones are there, let go {let_go} times", tally(&told));
    stop_clean(sluice, &told);
}

/// Stops the gateway: the ledger balances, and nothing is lost.
fn stop_clean(sluice: Sluice, told: &[Sent]) {
    sluice.signal(SIGTERM);
    let (code, stop) = sluice.wait();
    assert_balanced(&stop);
    assert_eq!((stop["accepted"], stop["lost"]), (told.len() as u64, 0), "{stop:?}");
    assert_eq!(code, i32::from(stop["unknown"] > 0), "{stop:?}");
}
