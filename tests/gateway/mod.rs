//! What the gateway tests share on top of `support`: a broker process and a gateway process wired together, lines to
//! send, the topic read back and decoded, the last line's account, and a sender that reads its answers.
//!
//! Nothing here expects anything of a particular test; every wait has a deadline.
#![allow(dead_code)] // each test target takes what it needs

pub mod acks;
pub mod flood;
pub mod web;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use prost::Message as _;
use signal_hook::consts::SIGTERM;
use sluice::event::pb;
use sluice::kafka::reader::{self, ReadRecord};

use crate::support::{Broker, PATIENCE, Sluice, eventually};

pub const TOPIC: &str = "scores";
/// Partitions of [`TOPIC`]; on three brokers each leads two.
pub const PARTITIONS: u32 = 6;

/// A cluster of its own for the test.
pub fn cluster(brokers: u32) -> Broker {
    Broker::start(brokers, PARTITIONS, TOPIC)
}

/// A gateway in front of `broker` that listens, and may not be ready yet.
pub fn listening(broker: &Broker, env: &[(&str, &str)]) -> Sluice {
    let own = [("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap()), ("KAFKA_TOPIC", TOPIC)];
    Sluice::start(&[&own, env].concat())
}

/// A gateway in front of `broker` that can store records.
pub fn serving(broker: &Broker, env: &[(&str, &str)]) -> Sluice {
    let sluice = listening(broker, env);
    sluice.await_ready();
    sluice
}

/// One good line without its end.
pub fn line(player: &str, score: u64) -> String {
    format!(r#"{{"lb":"global","player":"{player}","score":{score},"ts_ms":1730000000000}}"#)
}

/// Good lines with LF whose scores are `scores`, spread over 97 players.
pub fn lines(scores: std::ops::Range<u64>) -> String {
    scores.map(|score| line(&format!("p{}", score % 97), score) + "\n").collect()
}

/// A record of the topic with its value decoded.
#[derive(Clone, Debug)]
pub struct Stored {
    pub record: ReadRecord,
    pub update: pb::ScoreUpdate,
}

/// Everything that the topic holds now. The key of each record is checked: it is the player (S0-R4).
pub fn topic(broker: &Broker) -> Vec<Stored> {
    let records = reader::read_all(broker.bootstrap(), TOPIC, PATIENCE).expect("the topic can be read");
    let decode = |record: ReadRecord| {
        let update = pb::ScoreUpdate::decode(&record.value[..]).expect("a Protobuf ScoreUpdate");
        assert_eq!(record.key, update.player_id.as_bytes());
        Stored { record, update }
    };
    records.into_iter().map(decode).collect()
}

/// The scores in the topic, sorted, doubles included.
pub fn scores(broker: &Broker) -> Vec<i64> {
    let mut scores: Vec<i64> = topic(broker).iter().map(|stored| stored.update.score).collect();
    scores.sort_unstable();
    scores
}

/// The scores in the topic, each once: the mock cluster does not drop the repeats of an idempotent producer.
pub fn distinct_scores(broker: &Broker) -> HashSet<i64> {
    topic(broker).iter().map(|stored| stored.update.score).collect()
}

/// Whether every player's scores come in ascending order; repeats of earlier ones are left out.
#[track_caller]
pub fn assert_ordered_by_player(stored: &[Stored]) {
    let mut seen: HashMap<&str, HashSet<i64>> = HashMap::new();
    let mut highest: HashMap<&str, i64> = HashMap::new();
    for one in stored {
        let (player, score) = (one.update.player_id.as_str(), one.update.score);
        if seen.entry(player).or_default().insert(score) {
            let before = highest.insert(player, score).unwrap_or(-1);
            assert!(before < score, "{player}: {score} after {before}");
        }
    }
}

/// Waits until so many records have ended like this.
#[track_caller]
pub fn await_outcome(sluice: &Sluice, name: &str, records: u64) {
    eventually(PATIENCE, &format!("{records} records are {name}"), || outcome(sluice, name) == records);
}

/// How a gateway ended.
#[derive(Debug)]
pub struct End {
    pub code: i32,
    pub numbers: HashMap<String, u64>,
}

impl End {
    /// One number of the last line.
    #[track_caller]
    pub fn of(&self, name: &str) -> u64 {
        *self.numbers.get(name).unwrap_or_else(|| panic!("no {name} in the last line: {self:?}"))
    }

    /// accepted = the six outcomes: nothing is open at the end (G20).
    #[track_caller]
    pub fn assert_balanced(&self) {
        let outcomes = ["stored", "rejected", "not_stored", "dead_lettered", "dropped", "unknown"];
        let ended: u64 = outcomes.iter().map(|name| self.of(name)).sum();
        assert_eq!(self.of("accepted"), ended, "the ledger does not balance: {self:?}");
    }

    /// Exit 0, balanced, and so many messages stored.
    #[track_caller]
    pub fn assert_clean(&self, stored: u64) {
        self.assert_balanced();
        let open = ["not_stored", "dropped", "unknown", "unread_bytes", "lost"].map(|name| self.of(name));
        assert_eq!((self.code, self.of("stored"), open), (0, stored, [0; 5]), "{self:?}");
    }
}

/// Waits for the end.
pub fn ended(sluice: Sluice) -> End {
    let (code, numbers) = sluice.wait();
    End { code, numbers }
}

/// SIGTERM, and waits for the end; with all lines of the log.
pub fn stop_with_log(sluice: Sluice) -> (End, Vec<String>) {
    sluice.signal(SIGTERM);
    let (code, numbers, log) = sluice.wait_with_log();
    (End { code, numbers }, log)
}

/// SIGTERM, and waits for the end.
pub fn stop(sluice: Sluice) -> End {
    sluice.signal(SIGTERM);
    ended(sluice)
}

/// Records by outcome, as `/metrics` counts them.
pub fn outcome(sluice: &Sluice, name: &str) -> u64 {
    sluice.metric(&format!("gateway_records_total{{outcome=\"{name}\"}}")) as u64
}

/// Connections paused now for `reason`.
pub fn paused(sluice: &Sluice, reason: &str) -> u64 {
    sluice.metric(&format!("gateway_connections_paused{{reason=\"{reason}\"}}")) as u64
}

/// Senders connected now.
pub fn connections(sluice: &Sluice) -> u64 {
    sluice.metric("gateway_connections{listener=\"tcp\"}") as u64
}

/// Waits until so many records are stored.
#[track_caller]
pub fn await_stored(sluice: &Sluice, records: u64) {
    eventually(PATIENCE, &format!("{records} records are stored"), || outcome(sluice, "stored") >= records);
}

/// Waits until `/ready` answers `status`; how long it took.
#[track_caller]
pub fn await_readiness(sluice: &Sluice, status: u16) -> Duration {
    let start = std::time::Instant::now();
    eventually(PATIENCE, &format!("/ready answers {status}"), || sluice.get("/ready").0 == status);
    start.elapsed()
}

/// The exit code, and the numbers of stored, rejected, not_stored, dead_lettered and lost.
#[track_caller]
pub fn assert_ended(end: &End, code: i32, expected: [u64; 5]) {
    end.assert_balanced();
    let numbers = ["stored", "rejected", "not_stored", "dead_lettered", "lost"].map(|name| end.of(name));
    assert_eq!((end.code, numbers), (code, expected), "{end:?}");
}
