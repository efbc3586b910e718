//! What really happened to every good message: who sent it, whether it lies in the topic, what the pretended
//! broker reported of it. The oracle holds everything that is told against this.

use std::collections::HashMap;

use prost::Message as _;
use sluice::event::Outcome;
use sluice::event::pb::ScoreUpdate;

#[derive(Clone, Copy, Debug)]
pub struct Good {
    pub conn: usize,
    pub key: u32,
    /// How often it is in the topic.
    pub in_log: u32,
    /// What the producer's report or refusal made of it.
    pub reported: Option<Outcome>,
}

#[derive(Debug, Default)]
pub struct Truth {
    pub goods: Vec<Good>,
    /// The last id in a partition of (partition, connection, key).
    last: HashMap<(usize, usize, u32), usize>,
    /// Reports by [`Outcome::index`].
    pub reports: [u64; Outcome::COUNT],
}

impl Truth {
    /// A sender is about to send a good message; its number.
    pub fn expect(&mut self, conn: usize, key: u32) -> usize {
        self.goods.push(Good { conn, key, in_log: 0, reported: None });
        self.goods.len() - 1
    }

    /// Which message a record is.
    pub fn id_of(&self, key: &[u8], value: &[u8]) -> usize {
        let update = ScoreUpdate::decode(value).expect("a value is a ScoreUpdate");
        let id = update.score as usize;
        let good = self.goods.get(id).unwrap_or_else(|| panic!("nobody sent {update:?}"));
        assert_eq!(
            update.leaderboard_id,
            crate::script::conn_name(good.conn),
            "another sender's record: {update:?}"
        );
        assert_eq!(update.player_id, format!("k{}", good.key), "another key: {update:?}");
        assert_eq!(update.player_id.as_bytes(), key, "the record's key is the player");
        id
    }

    /// The broker appends a record.
    pub fn append(&mut self, partition: usize, id: usize) {
        let good = &mut self.goods[id];
        good.in_log += 1;
        assert_eq!(good.in_log, 1, "message {id} of connection {} is in the topic twice", good.conn);
        let last = self.last.insert((partition, good.conn, good.key), id);
        assert!(
            last.is_none_or(|last| last < id),
            "message {id} overtaken by {last:?} in partition {partition}"
        );
    }

    /// A report or refusal of the producer.
    pub fn report(&mut self, id: usize, outcome: Outcome) {
        let good = &mut self.goods[id];
        assert!(good.reported.is_none(), "message {id} is reported twice");
        good.reported = Some(outcome);
        self.reports[outcome.index()] += 1;
    }
}
