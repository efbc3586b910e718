//! What the client's statistics say: who leads which partition, which brokers answer, whether the producer id
//! is there. The only source for lanes and readiness that costs no request of its own.

use rdkafka::Statistics;

use super::lanes::Layout;
use super::options::Topics;
use crate::handoff::TOPICS_MAX;

/// One reading of the statistics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    pub layout: Layout,
    pub brokers_down: usize,
    /// The idempotent producer has its id (or none is needed).
    pub has_producer_id: bool,
    /// Records sent so far by this producer, those sent again counted again.
    pub sent: u64,
    /// (broker id, average round trip in microseconds).
    pub round_trips: Vec<(i32, u64)>,
}

/// Reads one statistics document; `None` if it is not one.
pub fn read(json: &str, topics: &Topics, idempotence: bool) -> Option<Reading> {
    let statistics: Statistics = serde_json::from_str(json).ok()?;
    let mut reading = Reading::default();
    for broker in statistics.brokers.values() {
        // Addresses that were configured stand beside the brokers that they turned out to be.
        if broker.nodeid < 0 {
            continue;
        }
        match broker.state.as_str() {
            "UP" | "UPDATE" => reading.layout.up.push(broker.nodeid),
            _ => reading.brokers_down += 1,
        }
        if let Some(rtt) = &broker.rtt {
            reading.round_trips.push((broker.nodeid, rtt.avg.max(0) as u64));
        }
    }
    reading.layout.up.sort_unstable();
    reading.round_trips.sort_unstable();
    reading.layout.leaders = vec![Vec::new(); TOPICS_MAX];
    for (id, name) in topics.own() {
        let Some(topic) = statistics.topics.get(name) else { continue };
        reading.sent += topic.partitions.values().map(|partition| partition.txmsgs).sum::<u64>();
        let known =
            topic.partitions.values().filter(|partition| partition.partition >= 0 && !partition.unknown);
        let mut leaders: Vec<(i32, i32)> = known.map(|p| (p.partition, p.leader)).collect();
        leaders.sort_unstable();
        reading.layout.leaders[usize::from(id.0)] = leaders.into_iter().map(|(_, leader)| leader).collect();
    }
    let state = statistics.eos.map(|eos| eos.idemp_state);
    reading.has_producer_id = !idempotence || state.is_some_and(|state| state == "Assigned");
    Some(reading)
}
