//! HTTP in front of real Apache Kafka while brokers fail: what every client was told, held against the topics, the
//! dead letters and the log.
//!
//! `HTTP_REQUESTS` requests (60,000 unless given), over three brokers: one is killed and started again, all are away
//! for longer than the delivery deadline, the gateway is asked to end once with Kafka there and once without.

mod gate;
mod held;
mod mix;
mod senders;
#[path = "../support/mod.rs"]
mod support;
mod told;
mod verdict;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gate::Gate;
use held::{EVENTS, Held, LETTERS, PLAYERS};
use senders::{Heard, Senders};
use support::{PATIENCE, RealKafka, Sluice, assert_balanced, command, eventually};
use told::Account;

const SIGTERM: i32 = signal_hook::consts::SIGTERM;
const NODES: u32 = 3;
const DELIVERY_TIMEOUT: Duration = Duration::from_millis(3000);
/// The last requests of a gateway, all written when it is asked to end.
const LAST: u64 = 256;

fn gateway(kafka: &RealKafka, letters: &Path) -> Sluice {
    let timeout = DELIVERY_TIMEOUT.as_millis().to_string();
    let env = [
        ("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap()),
        ("KAFKA_TOPIC", "web-scores"),
        ("EVENTS_TOPIC", EVENTS),
        ("PLAYER_EVENTS_TOPIC", PLAYERS),
        ("KAFKA_DLQ_TOPIC", LETTERS),
        ("DEAD_LETTER_DIR", letters.to_str().unwrap()),
        ("KAFKA_PARTITIONS", "6"),
        ("KAFKA_REPLICATION_FACTOR", "3"),
        ("KAFKA_MIN_INSYNC_REPLICAS", "2"),
        ("KAFKA_DELIVERY_TIMEOUT_MS", &timeout),
        ("IDEMPOTENCY_BYTES", "256MiB"), // no key is forgotten early
        ("DRAIN_TIMEOUT", "2s"),
        ("HTTP_PORT", "0"),
    ];
    let sluice = Sluice::start(&env);
    sluice.await_ready();
    eventually(PATIENCE, "all topics have their leaders", || {
        let metrics = sluice.metrics();
        metrics["gateway_kafka_partitions"] == 24.0 && metrics["gateway_kafka_lanes_held"] == 0.0
    });
    sluice
}

/// One gateway's life.
struct Life {
    sluice: Sluice,
    gate: Arc<Gate>,
    senders: Senders,
}

impl Life {
    fn start(kafka: &RealKafka, letters: &Path, first: u64) -> Life {
        let sluice = gateway(kafka, letters);
        let gate = Arc::new(Gate::from(first));
        let senders = Senders::start(sluice.http_address(), &gate);
        Life { sluice, gate, senders }
    }

    /// Sends so many requests as fast as they are answered.
    fn flood(&self, requests: u64) {
        self.gate.grant(requests);
        self.gate.await_written(20 * PATIENCE);
    }

    /// The last requests, and SIGTERM while they are under way: each is answered. The number behind the last one.
    fn end(self, total: &mut HashMap<String, u64>, heard: &mut Heard, held_log: &mut Vec<String>) {
        self.gate.await_written(PATIENCE);
        self.gate.grant(LAST);
        self.gate.close();
        self.gate.await_written(PATIENCE);
        self.sluice.signal(SIGTERM);
        let own = self.senders.wait();
        assert!(own.cut.is_empty(), "requests written before the end have no answer: {:?}", own.cut);
        assert!(own.closed > 0, "no connection ended with `Connection: close`");
        heard.add(own);
        let (code, stop, log) = self.sluice.wait_with_log();
        assert_balanced(&stop);
        let is_clean = stop["lost"] + stop["unknown"] + stop["unread_bytes"] == 0;
        assert_eq!(code, i32::from(!is_clean), "{stop:?}");
        held_log.extend(log);
        for (name, number) in stop {
            *total.entry(name).or_default() += number;
        }
    }
}

#[test]
fn what_clients_were_told_is_true_whatever_fails() {
    let requests = std::env::var("HTTP_REQUESTS").map_or(60_000, |text| text.parse().expect("a number"));
    let part = |percent: u64| requests * percent / 100;
    let folder = tempfile::tempdir().unwrap();
    let (mut stop, mut heard, mut log) = (HashMap::new(), Heard::default(), Vec::new());
    let start = Instant::now();
    let kafka = RealKafka::own(NODES);
    let done = |what: &str| println!("{:6.1} s: {what}", start.elapsed().as_secs_f64());

    let life = Life::start(&kafka, folder.path(), 0);
    life.flood(part(25));
    done("sent with all brokers");
    kafka.kill(2);
    life.gate.pace(part(10), 2 * DELIVERY_TIMEOUT);
    kafka.restart(2);
    done("one broker was away");
    life.flood(part(15));
    kafka.kill_all(NODES);
    life.gate.pace(part(10), 2 * DELIVERY_TIMEOUT);
    kafka.restart_all(NODES);
    eventually(2 * PATIENCE, "readiness returns", || life.sluice.get("/ready").0 == 200);
    done("all brokers were away");
    life.flood(part(20));
    life.end(&mut stop, &mut heard, &mut log);
    done("a gateway has ended");

    let life = Life::start(&kafka, folder.path(), part(80) + LAST);
    // As many as can be under way while nothing is answered.
    let without_kafka = part(5).min(3_000);
    life.flood(part(20) - without_kafka);
    kafka.kill_all(NODES);
    life.gate.pace(without_kafka, DELIVERY_TIMEOUT / 2);
    life.end(&mut stop, &mut heard, &mut log);
    done("another has ended without Kafka");
    kafka.restart_all(NODES);

    done("Kafka is back");
    let mut account = Account::default();
    for (number, telling) in heard.tellings {
        account.add(number, telling);
    }
    let mut held = Held::read(kafka.bootstrap(), folder.path());
    held.read_log(&log);
    done("all was read back");
    println!(
        "{} requests ({} sent again), {} connections ended by `Connection: close`, {} requests behind it",
        heard.requests, heard.again, heard.closed, heard.behind
    );
    println!(
        "told: stored={} accepted={} not_stored={} rejected={} unknown={} unanswered={}",
        account.sum(|told| told.stored),
        account.sum(|told| told.accepted),
        account.sum(|told| told.not_stored),
        account.sum(|told| told.rejected),
        account.sum(|told| told.unknown),
        account.sum(|told| told.unanswered),
    );
    println!(
        "read back: letters in topic={} in folder={}, named lost={} unknown={}",
        held.in_topic.len(),
        held.in_folder.len(),
        held.lost.len(),
        held.unknown.len(),
    );
    println!("gateways: {stop:?}");
    let found = verdict::compare(&account, &held);
    println!("{found:?}");
    verdict::compare_with_ledger(&stop, &account, &held, &found);
    assert!(heard.requests >= requests && !held.in_folder.is_empty() && heard.again > 0);
    resend(&kafka, folder.path(), &held);
    done("the folder's letters were sent again");
}

/// The folder's letters go to the topics that they were for, each once, and leave nothing behind.
fn resend(kafka: &RealKafka, folder: &Path, held: &Held) {
    let dir = folder.to_str().unwrap();
    let arguments = ["dead-letters", "resend", "--brokers", kafka.bootstrap(), "--dir", dir];
    let output = command(&arguments, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0, "finished files are removed");
    let mut expected = held.stored.clone();
    for (number, count) in &held.in_folder {
        *expected.entry(*number).or_default() += count;
    }
    assert!(
        Held::stored_now(kafka.bootstrap()) == expected,
        "each letter of the folder is in its topic once more"
    );
}
