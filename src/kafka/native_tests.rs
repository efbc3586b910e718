//! The unsafe module against the embedded broker: what it lends, what it takes back, and in which order it ends.
//! `scripts/asan.sh kafka::native` runs the same under AddressSanitizer, which is what these are for.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use super::super::embedded::{BrokerId, EmbeddedBroker};
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn broker() -> EmbeddedBroker {
    EmbeddedBroker::start(1, "t", 3, 1).unwrap()
}

fn config(broker: &EmbeddedBroker, more: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.bootstrap_servers());
    config.set("partitioner", "murmur2_random");
    config.set("linger.ms", "1");
    for (property, value) in more {
        config.set(*property, *value);
    }
    config
}

/// Records of many sizes, the empty value among them; numbered by their tokens.
fn records(count: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    (0..count).map(|number| (format!("key-{number}").into_bytes(), vec![b'v'; number % 300])).collect()
}

fn native(config: &ClientConfig, alarm: &Alarm) -> Native {
    let mut native = Native::new(config, alarm).unwrap();
    native.add_topic(TopicId(0), "t").unwrap();
    native
}

fn produce(native: &mut Native, records: &[(Vec<u8>, Vec<u8>)]) -> (usize, Vec<(usize, Code)>) {
    produce_to(native, 1, records)
}

fn produce_to(
    native: &mut Native,
    partition: u32,
    records: &[(Vec<u8>, Vec<u8>)],
) -> (usize, Vec<(usize, Code)>) {
    let mut refused = Vec::new();
    let outgoing = records.iter().enumerate().map(|(number, (key, value))| Outgoing {
        key: Some(key.as_slice()),
        value,
        headers: &[],
        token: Token::nobody(number as u64),
    });
    let partition = Partition { topic: TopicId(0), number: partition };
    let taken = native.produce(partition, outgoing, |position, code| refused.push((position, code)));
    (taken, refused)
}

/// Polls until `count` records have ended: their tokens' bits in the order of the reports, and all reports' codes.
fn deliveries(native: &mut Native, count: usize) -> Vec<(u64, Code, Vec<u8>, usize)> {
    let until = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while seen.len() < count {
        assert!(Instant::now() < until, "{} of {count} reports", seen.len());
        native.poll(100, |event| {
            if let Event::Deliveries(deliveries) = event {
                let reports = deliveries.iter();
                seen.extend(reports.map(|d| (d.token.to_bits(), d.code, d.key.to_vec(), d.value_len)));
            }
        });
    }
    seen
}

/// More reports than one call takes out of an event; each comes back once, with its key.
#[test]
fn every_record_comes_back_once_with_what_it_carried() {
    let broker = broker();
    let mut native = native(&config(&broker, &[]), &Alarm::default());
    let records = records(3 * REPORTS_A_CALL + 7);
    assert_eq!(produce(&mut native, &records), (records.len(), Vec::new()));
    let mut seen = deliveries(&mut native, records.len());
    seen.sort_by_key(|(bits, ..)| *bits);
    for (number, (bits, code, key, value_len)) in seen.iter().enumerate() {
        assert_eq!((*bits, *code), (number as u64, Code::RD_KAFKA_RESP_ERR_NO_ERROR));
        assert_eq!((key, *value_len), (&records[number].0, records[number].1.len()));
    }
    assert_eq!(produce(&mut native, &[]), (0, Vec::new()));
}

#[test]
fn refused_records_are_named_and_never_reported() {
    let broker = broker();
    let limits = [("queue.buffering.max.messages", "10"), ("message.max.bytes", "1000")];
    let mut native = native(&config(&broker, &limits), &Alarm::default());
    let mut records = records(15);
    records[3].1 = vec![0; 2000];
    let (taken, refused) = produce(&mut native, &records);
    assert_eq!(taken, 10);
    let codes: Vec<_> = refused.iter().map(|(position, code)| (*position, *code)).collect();
    assert_eq!(codes[0], (3, Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE));
    let full: Vec<_> = (11..15).map(|position| (position, Code::RD_KAFKA_RESP_ERR__QUEUE_FULL)).collect();
    assert_eq!(codes[1..], full);
    assert_eq!(deliveries(&mut native, 10).len(), 10);
    assert!(!native.poll(50, |event| assert!(!matches!(event, Event::Deliveries(_)))));
}

/// A partition that the cluster does not have: every record refused, none kept inside, so that the end is not held up.
#[test]
fn a_partition_that_does_not_exist_refuses_and_keeps_nothing() {
    let broker = broker();
    let mut native = native(&config(&broker, &[]), &Alarm::default());
    let records = records(20);
    produce(&mut native, &records);
    assert_eq!(deliveries(&mut native, 20).len(), 20, "the topic is known now");
    let (taken, refused) = produce_to(&mut native, 3, &records);
    let all: Vec<_> =
        (0..20).map(|position| (position, Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION)).collect();
    assert_eq!((taken, refused), (0, all));
    assert_eq!(native.producer.in_flight_count(), 0);
}

#[test]
fn purged_records_come_back_with_their_keys() {
    let broker = broker();
    let mut native = native(&config(&broker, &[]), &Alarm::default());
    broker.broker_down(BrokerId::All).unwrap();
    let records = records(2000);
    assert_eq!(produce(&mut native, &records).0, records.len());
    native.flush(10);
    native.purge();
    let seen = deliveries(&mut native, records.len());
    for (bits, code, key, _) in seen {
        assert_ne!(code, Code::RD_KAFKA_RESP_ERR_NO_ERROR);
        assert_eq!(key, records[bits as usize].0);
    }
}

#[test]
fn statistics_and_errors_are_shown() {
    let broker = broker();
    let statistics = [("statistics.interval.ms", "20")];
    let mut native = native(&config(&broker, &statistics), &Alarm::default());
    broker.broker_down(BrokerId::All).unwrap();
    let (mut has_statistics, mut has_error, until) = (false, false, Instant::now() + PATIENCE);
    while !(has_statistics && has_error) {
        assert!(Instant::now() < until, "statistics {has_statistics}, error {has_error}");
        native.poll(100, |event| match event {
            Event::Statistics(text) => has_statistics |= text.starts_with('{') && text.ends_with('}'),
            Event::Error { reason, fatal, .. } => has_error |= !reason.is_empty() && !fatal,
            Event::Deliveries(_) | Event::Log { .. } => {}
        });
    }
}

/// Before there is a producer, while it sleeps, while it is dropped, and after.
#[test]
fn the_alarm_may_ring_at_any_time() {
    let broker = broker();
    let alarm = Alarm::default();
    alarm.ring();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(SeqCst) {
                alarm.ring();
                std::thread::yield_now();
            }
        });
        for count in [0, 1, 1000] {
            let mut native = native(&config(&broker, &[]), &alarm);
            let start = Instant::now();
            while native.poll(60_000, |_| {}) {}
            assert!(start.elapsed() < PATIENCE, "the alarm wakes");
            produce(&mut native, &records(count));
            drop(native);
        }
        over.store(true, SeqCst);
    });
    alarm.ring();
}

/// Records inside, reports unserved, broker gone: the end comes all the same, and nothing is touched after it.
#[test]
fn dropped_with_records_inside() {
    let broker = broker();
    let alarm = Alarm::default();
    let mut stored = native(&config(&broker, &[]), &alarm);
    produce(&mut stored, &records(500));
    deliveries(&mut stored, 1);
    let mut stuck = native(&config(&broker, &[]), &alarm);
    broker.broker_down(BrokerId::All).unwrap();
    produce(&mut stuck, &records(500));
    let start = Instant::now();
    drop(stuck);
    drop(broker);
    drop(stored);
    alarm.ring();
    assert!(start.elapsed() < PATIENCE);
}
