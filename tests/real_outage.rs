//! A broker that is away before the start, in the middle, for longer than the deadline and at the end: one node of
//! real Apache Kafka, killed and started again under load.

mod support;

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use support::{
    Fate, PATIENCE, RealKafka, Senders, Sent, Sluice, assert_balanced, compare, count, eventually, read_all,
    tally,
};

const SIGTERM: i32 = signal_hook::consts::SIGTERM;
/// Within this time readiness falls and returns (conventions, HTTP /ready), and a little for a busy machine.
const READINESS: Duration = Duration::from_secs(4);

/// One node for all tests of this file, one after the other; each leaves it running. It ends with this process.
fn kafka() -> MutexGuard<'static, RealKafka> {
    static KAFKA: LazyLock<Mutex<RealKafka>> = LazyLock::new(|| Mutex::new(RealKafka::own(1)));
    KAFKA.lock().unwrap_or_else(PoisonError::into_inner)
}

fn gateway(kafka: &RealKafka, topic: &str, more: &[(&str, &str)]) -> Sluice {
    let env = [("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap()), ("KAFKA_TOPIC", topic)];
    Sluice::start(&[&env, more].concat())
}

fn all_stored(told: &[Sent]) -> bool {
    told.iter().all(|sent| sent.fate == Fate::Stored)
}

/// "Brokers away before start": the gateway is up and takes records, is not ready, says why; when the broker comes,
/// what waited is stored.
#[test]
fn a_broker_away_before_the_start() {
    let kafka = kafka();
    kafka.kill(1);
    let sluice = gateway(&kafka, "before", &[]);
    let senders = Senders::flood(&sluice, 4, 1_000, 20);
    sluice.await_log("kafka.waiting");
    assert_eq!((sluice.get("/ready").0, sluice.get("/health").0), (503, 200));
    eventually(PATIENCE, "records wait on our side", || sluice.metric("gateway_queue_records") == 4_000.0);
    kafka.restart(1);
    let told = senders.wait();
    assert!(all_stored(&told), "{:?}", tally(&told));
    assert_eq!(compare(&told, &read_all(kafka.bootstrap(), "before")), 0);
    sluice.await_ready();
}

/// "Brokers away mid-run, during a flood": an outage shorter than the deadline costs time, and nothing else. G15:
/// readiness falls and returns with the leader.
#[test]
fn an_outage_shorter_than_the_deadline_loses_nothing() {
    let kafka = kafka();
    let sluice = gateway(&kafka, "during", &[]);
    sluice.await_ready();
    let senders = Senders::start(&sluice, 4, 4_000, 20);
    senders.await_sent(10_000);
    kafka.kill(1);
    let down = Instant::now();
    eventually(READINESS, "readiness falls", || sluice.get("/ready").0 == 503);
    eventually(PATIENCE, "senders are paused", || {
        sluice.metric("gateway_connections_paused{reason=\"queue\"}") >= 4.0
    });
    eventually(PATIENCE, "the outage lasts", || down.elapsed() > Duration::from_secs(6));
    kafka.restart(1);
    let up = Instant::now();
    eventually(READINESS, "readiness returns", || sluice.get("/ready").0 == 200);
    println!("ready {:?} after the broker answers again", up.elapsed());
    senders.await_sent(10_000);
    let told = senders.finish();
    assert!(all_stored(&told), "{:?}", tally(&told));
    assert_eq!(compare(&told, &read_all(kafka.bootstrap(), "during")), 0);
    sluice.signal(SIGTERM);
    let (code, stop) = sluice.wait();
    assert_balanced(&stop);
    assert_eq!((code, stop["stored"]), (0, told.len() as u64), "{stop:?}");
}

/// "For longer than the deadline": everything is told, nothing is silent; what was told not stored is not there, and
/// afterwards records flow again. G1.
#[test]
fn an_outage_longer_than_the_deadline_is_told() {
    let kafka = kafka();
    let sluice = gateway(&kafka, "beyond", &[("KAFKA_DELIVERY_TIMEOUT_MS", "2000")]);
    sluice.await_ready();
    let senders = Senders::start(&sluice, 4, 2_000, 20);
    senders.await_sent(10_000);
    kafka.kill(1);
    let down = Instant::now();
    let not_stored = "gateway_records_total{outcome=\"not_stored\"}";
    eventually(PATIENCE, "records pass their deadline", || sluice.metric(not_stored) > 5_000.0);
    let lines = sluice.logs().iter().filter(|line| line.contains("code=DEADLINE")).count() as u64;
    assert!((1..=down.elapsed().as_secs()).contains(&lines), "{lines} lines in {:?}", down.elapsed());
    kafka.restart(1);
    eventually(READINESS, "readiness returns", || sluice.get("/ready").0 == 200);
    let mut told = senders.finish();
    let fates = tally(&told);
    assert!(count(&told, |fate| matches!(fate, Fate::Retry(_))) > 5_000, "{fates:?}");
    let later = Senders::flood(&sluice, 4, 1_000, 20).wait();
    assert!(all_stored(&later), "{:?}", tally(&later));
    told.extend(later);
    let doubtful = compare(&told, &read_all(kafka.bootstrap(), "beyond"));
    println!("{fates:?}, {doubtful} of the unknown ones are there");

    sluice.signal(SIGTERM);
    let (code, stop) = sluice.wait();
    assert_balanced(&stop);
    assert_eq!((stop["accepted"], stop["lost"]), (told.len() as u64, 0), "{stop:?}");
    assert_eq!(code, i32::from(stop["unknown"] > 0), "{stop:?}");
}

/// Records that pass their deadline before the client library sent them leave a gap in its numbers, which no broker's
/// answer has told it of: the same producer stores what comes later, once and in order.
#[test]
fn records_given_up_unsent_leave_nothing_behind() {
    let kafka = kafka();
    let env = [("KAFKA_DELIVERY_TIMEOUT_MS", "2000"), ("KAFKA_LINGER_MS", "1500")];
    let sluice = gateway(&kafka, "unsent", &env);
    sluice.await_ready();
    let mut told = Senders::flood(&sluice, 2, 500, 20).wait();
    assert!(all_stored(&told), "{:?}", tally(&told));
    let lingering = Senders::flood(&sluice, 2, 50, 20);
    eventually(PATIENCE, "they linger", || sluice.metric("gateway_inflight_records") == 100.0);
    kafka.kill(1);
    let unsent = lingering.wait();
    let code = |fate: &Fate| matches!(fate, Fate::Retry(code) if code == "MSG_TIMED_OUT");
    assert_eq!(count(&unsent, code), 100, "{:?}", tally(&unsent));
    kafka.restart(1);
    eventually(PATIENCE, "readiness returns", || sluice.get("/ready").0 == 200);
    let later = Senders::flood(&sluice, 4, 500, 20).wait();
    assert!(all_stored(&later), "{:?}", tally(&later));
    assert_eq!(sluice.metric("gateway_kafka_producer_rebuilds_total"), 0.0);
    told.extend(unsent);
    told.extend(later);
    assert_eq!(compare(&told, &read_all(kafka.bootstrap(), "unsent")), 0);
}

/// "SIGTERM during an outage": every record is answered or counted, and the exit code is 1 with the number.
#[test]
fn sigterm_during_an_outage_answers_or_counts_everything() {
    let kafka = kafka();
    let sluice = gateway(&kafka, "stopped", &[("DRAIN_TIMEOUT", "1s")]);
    sluice.await_ready();
    let senders = Senders::start(&sluice, 4, 2_000, 20);
    senders.await_sent(5_000);
    kafka.kill(1);
    eventually(READINESS, "readiness falls", || sluice.get("/ready").0 == 503);
    let quiet: Vec<_> = (0..50)
        .map(|number| format!("{{\"lb\":\"w\",\"player\":\"quiet\",\"score\":{}}}", 1_i64 << 60 | number))
        .collect();
    let before = sluice.metric("gateway_records_received_total");
    sluice.send_lines(&quiet);
    eventually(PATIENCE, "more is accepted", || {
        sluice.metric("gateway_records_received_total") > before + 500.0
    });
    sluice.signal(SIGTERM);
    let told = senders.wait();
    let (code, stop) = sluice.wait();
    assert_balanced(&stop);
    let named = |wanted: fn(&Fate) -> bool| count(&told, wanted);
    let fates = tally(&told);
    assert_eq!(named(|fate| *fate == Fate::Untold), 0, "{fates:?} {stop:?}");
    assert_eq!(named(|fate| *fate == Fate::Stored), stop["stored"], "{fates:?} {stop:?}");
    assert_eq!(named(|fate| matches!(fate, Fate::Unknown(_))), stop["unknown"], "{fates:?} {stop:?}");
    // Nobody waits for an answer about the quiet ones: they are what is lost.
    let answered = named(|fate| matches!(fate, Fate::Retry(_)));
    assert_eq!((stop["lost"], stop["not_stored"]), (50, answered + 50), "{fates:?} {stop:?}");
    assert_eq!(code, 1);

    kafka.restart(1);
    compare(&told, &read_all(kafka.bootstrap(), "stopped"));
    println!("{fates:?} {}", sorted(&stop));
}

fn sorted(numbers: &HashMap<String, u64>) -> String {
    let mut words: Vec<_> = numbers.iter().map(|(name, number)| format!("{name}={number}")).collect();
    words.sort();
    words.join(" ")
}
