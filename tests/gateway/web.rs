//! What the tests of the HTTP listener share: the routes' topics, bodies, and the ids that a topic holds.

use std::collections::BTreeSet;

use super::{PARTITIONS, cluster};
use crate::support::{Broker, Record, Sluice, read_all};

/// Where `POST /events` goes.
pub const EVENTS: &str = "events";
/// Where `POST /api/v1/events` goes.
pub const PLAYERS: &str = "players";

/// One broker with the topics of all routes.
pub fn web_cluster() -> Broker {
    let mut broker = cluster(1);
    for topic in [EVENTS, PLAYERS] {
        broker.command(&format!("topic {topic} {PARTITIONS}"));
    }
    broker
}

/// A gateway with HTTP that can store records.
pub fn web(broker: &Broker, env: &[(&str, &str)]) -> Sluice {
    let own = [("HTTP_PORT", "0"), ("EVENTS_TOPIC", EVENTS), ("PLAYER_EVENTS_TOPIC", PLAYERS)];
    super::serving(broker, &[&own, env].concat())
}

/// A body for `/events`.
pub fn event(id: &str) -> String {
    format!(r#"{{"id":"{id}","type":"t","payload":{{"n":12345678901234567890}}}}"#)
}

/// A body for `/api/v1/events`.
pub fn player_event(player: &str) -> String {
    format!(
        r#"{{"event_type":"login","player_id":"{player}","game_id":"g","timestamp":"2026-01-31T23:59:59.5+02:00"}}"#
    )
}

pub fn stored(broker: &Broker, topic: &str) -> Vec<Record> {
    read_all(broker.bootstrap(), topic)
}

/// The ids in [`EVENTS`], sorted, repeats included.
pub fn ids(broker: &Broker) -> Vec<String> {
    let mut ids: Vec<String> = stored(broker, EVENTS).iter().map(id_of).collect();
    ids.sort_unstable();
    ids
}

/// The ids in [`EVENTS`], each once: the mock cluster does not drop the repeats of an idempotent producer.
pub fn distinct_ids(broker: &Broker) -> BTreeSet<String> {
    ids(broker).into_iter().collect()
}

fn id_of(record: &Record) -> String {
    let value: serde_json::Value = serde_json::from_slice(&record.value).expect("a JSON value");
    value["id"].as_str().expect("an id").to_owned()
}
