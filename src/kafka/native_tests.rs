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

fn native_of(config: &ClientConfig, alarm: &Alarm) -> Native {
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
                seen.extend(
                    reports.map(|d| {
                        (d.token.to_bits(), d.code, d.key.unwrap_or_default().to_vec(), d.value.len())
                    }),
                );
            }
        });
    }
    seen
}

/// More reports than one call takes out of an event; each comes back once, with its key.
#[test]
fn every_record_comes_back_once_with_what_it_carried() {
    let broker = broker();
    let mut native = native_of(&config(&broker, &[]), &Alarm::default());
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
    let mut native = native_of(&config(&broker, &limits), &Alarm::default());
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
    let mut native = native_of(&config(&broker, &[]), &Alarm::default());
    let records = records(20);
    produce(&mut native, &records);
    assert_eq!(deliveries(&mut native, 20).len(), 20, "the topic is known now");
    let (taken, refused) = produce_to(&mut native, 3, &records);
    let all: Vec<_> =
        (0..20).map(|position| (position, Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION)).collect();
    assert_eq!((taken, refused), (0, all));
    assert_eq!(native.producer.in_flight_count(), 0);
}

/// Records in flight and records that wait, brokers gone: each comes back, with its key and the word for where it was.
/// Nothing is sent before it is told to go on; then it is the same producer as before.
#[test]
fn it_lets_go_of_everything_and_goes_on() {
    let broker = broker();
    let config = config(&broker, &[("enable.idempotence", "true"), ("batch.num.messages", "100")]);
    let mut native = native_of(&config, &Alarm::default());
    let records = records(2000);
    produce(&mut native, &records[..10]);
    assert_eq!(deliveries(&mut native, 10).len(), 10);
    broker.broker_slow(BrokerId::All, PATIENCE).unwrap();
    assert_eq!(produce(&mut native, &records).0, records.len());
    native.flush(200);
    let start = Instant::now();
    native.let_go([(TopicId(0), 3)].into_iter());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let seen = deliveries(&mut native, records.len());
    for (bits, code, key, _) in &seen {
        let is_purge =
            matches!(code, Code::RD_KAFKA_RESP_ERR__PURGE_INFLIGHT | Code::RD_KAFKA_RESP_ERR__PURGE_QUEUE);
        assert!(is_purge, "{code:?}");
        assert_eq!(*key, records[*bits as usize].0);
    }
    let in_flight = seen.iter().filter(|(_, code, ..)| *code == Code::RD_KAFKA_RESP_ERR__PURGE_INFLIGHT);
    assert!((1..2000).contains(&in_flight.count()));

    // Connections of their own, which nothing slow is left on.
    broker.broker_down(BrokerId::All).unwrap();
    broker.broker_slow(BrokerId::All, Duration::ZERO).unwrap();
    broker.broker_up(BrokerId::All).unwrap();
    assert_eq!(produce(&mut native, &records[..10]).0, 10);
    native.flush(1000);
    while native.poll(200, |event| assert!(!matches!(event, Event::Deliveries(_)), "nothing is sent")) {}
    native.go_on([(TopicId(0), 3)].into_iter());
    for (_, code, ..) in deliveries(&mut native, 10) {
        assert_eq!(code, Code::RD_KAFKA_RESP_ERR_NO_ERROR);
    }
}

/// Given up, a producer gives everything back and takes nothing any more.
#[test]
fn given_up_it_gives_everything_back() {
    let broker = broker();
    let config = config(&broker, &[("enable.idempotence", "true")]);
    let mut native = native_of(&config, &Alarm::default());
    broker.broker_down(BrokerId::All).unwrap();
    let records = records(2000);
    assert_eq!(produce(&mut native, &records).0, records.len());
    native.flush(10);
    native.give_up();
    for (bits, code, key, _) in deliveries(&mut native, records.len()) {
        assert_eq!(code, Code::RD_KAFKA_RESP_ERR__PURGE_QUEUE);
        assert_eq!(key, records[bits as usize].0);
    }
    broker.broker_up(BrokerId::All).unwrap();
    let (taken, refused) = produce(&mut native, &records[..5]);
    assert_eq!((taken, refused.len()), (0, 5));
    assert!(refused.iter().all(|(_, code)| *code == Code::RD_KAFKA_RESP_ERR__FATAL), "{refused:?}");
}

/// It may end on another thread, and the alarm is free for the next one.
#[test]
fn a_detached_producer_leaves_the_alarm_alone() {
    let broker = broker();
    let alarm = Alarm::default();
    let mut former = native_of(&config(&broker, &[]), &alarm);
    former.detach();
    let mut native = native_of(&config(&broker, &[]), &alarm);
    produce(&mut former, &records(100));
    std::thread::spawn(move || drop(former)).join().unwrap();
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| alarm.ring());
        while native.poll(60_000, |_| {}) {}
    });
    assert!(start.elapsed() < PATIENCE, "the alarm wakes");
}

#[test]
fn statistics_and_errors_are_shown() {
    let broker = broker();
    let statistics = [("statistics.interval.ms", "20")];
    let mut native = native_of(&config(&broker, &statistics), &Alarm::default());
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
            let mut native = native_of(&config(&broker, &[]), &alarm);
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
    let mut stored = native_of(&config(&broker, &[]), &alarm);
    produce(&mut stored, &records(500));
    deliveries(&mut stored, 1);
    let mut stuck = native_of(&config(&broker, &[]), &alarm);
    broker.broker_down(BrokerId::All).unwrap();
    produce(&mut stuck, &records(500));
    let start = Instant::now();
    drop(stuck);
    drop(broker);
    drop(stored);
    alarm.ring();
    assert!(start.elapsed() < PATIENCE);
}
