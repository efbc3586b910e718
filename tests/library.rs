//! The library face (S2-R14): a host builds a gateway from options, records without a socket, flushes and closes.

mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use prost::Message as _;
use sluice::event::{Outcome, Rejection, ScoreUpdate, pb};
use sluice::gateway::{Gateway, GatewayOptions, RecordError};
use sluice::handoff::{BufferOptions, Cause};
use sluice::kafka::embedded::BrokerId;
use sluice::kafka::{Bootstrap, EmbeddedBroker, KafkaOptions, Topics, reader};
use sluice::net::NetOptions;
use support::{PATIENCE, eventually};

const TOPIC: &str = "scores";

fn broker() -> EmbeddedBroker {
    EmbeddedBroker::start(1, TOPIC, 4, 1).expect("the mock cluster starts")
}

/// Options of a host that wants no sockets.
fn options(broker: &EmbeddedBroker) -> GatewayOptions {
    GatewayOptions {
        net: NetOptions { tcp: None, http: None, health: None, ..NetOptions::default() },
        kafka: KafkaOptions {
            bootstrap: Bootstrap::Servers(broker.bootstrap_servers()),
            topics: Topics::of(TOPIC),
            ..KafkaOptions::default()
        },
        drain_timeout: Duration::from_secs(1),
        metrics_interval: Duration::ZERO,
        ..GatewayOptions::default()
    }
}

fn ready(options: GatewayOptions) -> Gateway {
    let gateway = Gateway::start(options).expect("the gateway starts");
    eventually(PATIENCE, "the gateway is ready", || gateway.is_ready());
    assert_eq!(gateway.phase(), "ready");
    gateway
}

fn update(player: &str, score: i64) -> ScoreUpdate<'_> {
    ScoreUpdate { leaderboard: "global", player, score, ts_ms: 1_730_000_000_000 }
}

fn topic(broker: &EmbeddedBroker) -> Vec<pb::ScoreUpdate> {
    let records =
        reader::read_all(&broker.bootstrap_servers(), TOPIC, PATIENCE).expect("the topic can be read");
    records
        .into_iter()
        .map(|record| pb::ScoreUpdate::decode(&record.value[..]).expect("a ScoreUpdate"))
        .collect()
}

/// S2-R14: record, flush, close; what was recorded is what the topic holds, and the account says so.
#[test]
fn what_a_host_records_is_stored() {
    let broker = broker();
    let gateway = ready(options(&broker));
    assert_eq!((gateway.tcp_address(), gateway.health_address()), (None, None));
    let recorder = gateway.recorder();
    for score in 0..1000 {
        recorder.record(&update("p", score)).expect("there is room");
    }
    assert!(gateway.flush(PATIENCE), "everything ends in time");
    let account = gateway.account();
    assert_eq!((account.accepted, account.of(Outcome::Stored), account.in_flight()), (1000, 1000, 0));
    let summary = gateway.close().expect("it ends well");
    assert!(summary.is_clean(), "{summary}");
    assert_eq!(topic(&broker).iter().map(|one| one.score).collect::<Vec<_>>(), (0..1000).collect::<Vec<_>>());
}

/// S2-R14: the outcome of a record comes by callback or by handle.
#[test]
fn outcomes_come_by_callback_and_by_handle() {
    let broker = broker();
    let gateway = ready(options(&broker));
    let recorder = gateway.recorder();
    let pending = recorder.record_tracked(&update("p", 1)).unwrap();
    let (sender, receiver) = mpsc::channel();
    recorder
        .record_then(&update("p", 2), move |outcome, cause| sender.send((outcome, cause)).unwrap())
        .unwrap();
    let stored = (Outcome::Stored, Cause::Delivered);
    assert_eq!(pending.wait(PATIENCE), Some(stored));
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(stored));
    assert!(gateway.close().unwrap().is_clean());
}

/// S2-R14, S0-R7: at the high mark the work is given back, at once and untouched; once there is room it is taken.
#[test]
fn a_full_buffer_gives_the_work_back() {
    let broker = broker();
    let buffer = BufferOptions { max_records: 100, ..BufferOptions::default() };
    let gateway = ready(GatewayOptions { buffer, ..options(&broker) });
    broker.broker_down(BrokerId::All).unwrap();
    eventually(PATIENCE, "the outage is noticed", || !gateway.is_ready());
    let recorder = gateway.recorder();
    for score in 0..100 {
        recorder.record(&update("p", score)).expect("there is room");
    }
    let start = Instant::now();
    for _ in 0..1000 {
        assert_eq!(recorder.record(&update("p", 100)), Err(RecordError::Full));
        assert_eq!(recorder.record_tracked(&update("p", 100)).err(), Some(RecordError::Full));
    }
    assert!(start.elapsed() < Duration::from_secs(1), "it never waits: {:?}", start.elapsed());
    assert!(!gateway.flush(Duration::from_millis(50)), "nothing can end now");
    broker.broker_up(BrokerId::All).unwrap();
    eventually(PATIENCE, "there is room again", || recorder.record(&update("p", 100)).is_ok());
    assert!(gateway.flush(PATIENCE));
    assert_eq!(gateway.account().accepted, 101, "work given back was not accepted");
    assert!(gateway.close().unwrap().is_clean());
    let scores: HashSet<i64> = topic(&broker).iter().map(|one| one.score).collect();
    assert_eq!(scores, (0..=100).collect());
}

/// S0-R3, S2-R14: a record that breaks a rule is refused with its name, counted, and holds no room.
#[test]
fn a_broken_rule_is_refused_by_name() {
    let broker = broker();
    let gateway = ready(options(&broker));
    let recorder = gateway.recorder();
    let (empty, negative) = (update("", 1), update("p", -1));
    assert_eq!(recorder.record(&empty), Err(RecordError::Rejected(Rejection::PlayerEmpty)));
    let told = recorder.record_tracked(&negative).map(|_| ()).unwrap_err();
    assert_eq!(told.to_string(), "score must be 0 or more");
    recorder.record(&update("p", 1)).unwrap();
    assert!(gateway.flush(PATIENCE));
    let summary = gateway.close().unwrap();
    let outcomes = [Outcome::Rejected, Outcome::Stored].map(|outcome| summary.account.of(outcome));
    assert_eq!((outcomes, summary.account.in_flight()), ([2, 1], 0));
    assert!(summary.is_clean());
}

/// G20: several threads record while the gateway closes: each record is stored, or its host knows that it is not.
#[test]
fn closing_under_load_leaves_nobody_in_doubt() {
    let broker = broker();
    let gateway = ready(options(&broker));
    let (taken, told) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
    let threads: Vec<_> = (0..3)
        .map(|thread: i64| {
            let (recorder, taken, told) = (gateway.recorder(), Arc::clone(&taken), Arc::clone(&told));
            std::thread::spawn(move || {
                let player = format!("thread-{thread}");
                let mut score = thread << 32;
                loop {
                    let told = Arc::clone(&told);
                    let note = move |outcome, _| told.lock().unwrap().push((score, outcome));
                    match recorder.record_then(&update(&player, score), note) {
                        Ok(()) => {
                            taken.fetch_add(1, SeqCst);
                            score += 1;
                        }
                        Err(RecordError::Full) => std::thread::yield_now(),
                        Err(RecordError::Closed) => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    eventually(PATIENCE, "traffic flows", || gateway.account().of(Outcome::Stored) > 5_000);
    let summary = gateway.close().unwrap();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let taken = taken.load(SeqCst);
    assert_eq!((summary.account.accepted, summary.account.in_flight()), (taken, 0), "{summary}");
    let told = told.lock().unwrap();
    assert_eq!(told.len() as u64, taken, "every host is called back, once");
    let stored: HashSet<i64> = topic(&broker).iter().map(|one| one.score).collect();
    for (score, outcome) in told.iter() {
        assert_eq!(stored.contains(score), *outcome == Outcome::Stored, "{score}: {outcome:?}");
    }
}

/// G20: what cannot be delivered until the end is told to the host that tracks it, and counted for the one that does not.
#[test]
fn closing_during_an_outage_tells_and_counts() {
    let broker = broker();
    let gateway = ready(options(&broker));
    broker.broker_down(BrokerId::All).unwrap();
    eventually(PATIENCE, "the outage is noticed", || !gateway.is_ready());
    let recorder = gateway.recorder();
    let tracked: Vec<_> = (0..5).map(|score| recorder.record_tracked(&update("p", score)).unwrap()).collect();
    for score in 5..12 {
        recorder.record(&update("p", score)).unwrap();
    }
    let summary = gateway.close().unwrap();
    for pending in tracked {
        assert_eq!(pending.wait(Duration::ZERO), Some((Outcome::NotStored, Cause::ShuttingDown)));
    }
    assert_eq!((summary.account.of(Outcome::NotStored), summary.account.lost), (12, 7), "{summary}");
    assert!(!summary.is_clean());
    assert_eq!(recorder.record(&update("p", 12)), Err(RecordError::Closed));
    assert_eq!(recorder.record_tracked(&update("p", 12)).err(), Some(RecordError::Closed));
}

/// A gateway that is dropped drains as one that is closed does.
#[test]
fn a_dropped_gateway_drains() {
    let broker = broker();
    let gateway = ready(options(&broker));
    let recorder = gateway.recorder();
    for score in 0..500 {
        recorder.record(&update("p", score)).unwrap();
    }
    drop(gateway);
    assert_eq!(topic(&broker).len(), 500);
    assert_eq!(recorder.record(&update("p", 500)), Err(RecordError::Closed));
}

/// Two gateways live side by side in one process, each with its own account.
#[test]
fn gateways_live_side_by_side() {
    let (one, other) = (broker(), broker());
    let gateways = [ready(options(&one)), ready(options(&other))];
    for (count, gateway) in [3, 5].into_iter().zip(&gateways) {
        (0..count).for_each(|score| gateway.recorder().record(&update("p", score)).unwrap());
    }
    for (count, gateway) in [3, 5].into_iter().zip(gateways) {
        assert_eq!(gateway.close().unwrap().account.of(Outcome::Stored), count);
    }
    assert_eq!((topic(&one).len(), topic(&other).len()), (3, 5));
}
