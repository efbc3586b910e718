//! What lanes promise: order, shares, growth, deadlines.

use super::*;
use crate::handoff::{Shape, Token, murmur2};

const TIMEOUT_US: u64 = 60_000_000;

fn batch_of(keys: &[&str]) -> Batch {
    let mut batch = Batch::default();
    for (index, key) in keys.iter().enumerate() {
        batch.arena().extend_from_slice(key.as_bytes());
        let shape = Shape::keyed(TopicId(0), key.len() as u32, 0);
        batch.commit(Token::nobody(index as u64), shape, 100);
    }
    batch
}

fn layout(leaders: &[i32], up: &[i32]) -> Layout {
    Layout { leaders: vec![leaders.to_vec()], up: up.to_vec() }
}

/// Nothing goes to a lane whose leader is not up; what waited goes first once it is.
#[test]
fn holds_until_the_leader_is_up_and_keeps_order() {
    let mut lanes = Lanes::new(1, 100, TIMEOUT_US);
    let batch = batch_of(&["a", "a", "a"]);
    assert_eq!(lanes.place(&batch, &batch.records()[0], 0), Place::Hold, "no partition is known");
    lanes.apply(&layout(&[1], &[]));
    assert_eq!(lanes.place(&batch, &batch.records()[1], 0), Place::Hold, "the leader is down");
    lanes.apply(&layout(&[1], &[1]));
    assert_eq!(lanes.place(&batch, &batch.records()[2], 0), Place::Hold, "older records wait");
    let tokens: Vec<_> = lanes.waiting(0).iter().map(|entry| entry.token).collect();
    assert_eq!(tokens, [0, 1, 2].map(Token::nobody));
    lanes.released(0, 3, 3, 0);
    assert_eq!(lanes.place(&batch, &batch.records()[0], 0), Place::Go(0));
}

/// A topic that refuses writes gets one record at a time, until one is stored.
#[test]
fn on_trial_nothing_goes_by_itself() {
    let mut lanes = Lanes::new(1, 100, TIMEOUT_US);
    lanes.apply(&layout(&[1], &[1]));
    let batch = batch_of(&["a"]);
    lanes.suspect(TopicId(0));
    assert_eq!(lanes.place(&batch, &batch.records()[0], 0), Place::Hold);
    assert_eq!(lanes.next_release(0, true), Some(0));
    lanes.released(0, 1, 1, 0);
    lanes.trust(TopicId(0));
    assert_eq!(lanes.place(&batch, &batch.records()[0], 0), Place::Go(0));
}

/// A topic that grows: held records move to the lanes that are theirs now, in order.
#[test]
fn growth_moves_held_records() {
    let mut lanes = Lanes::new(1, 100, TIMEOUT_US);
    lanes.apply(&layout(&[1; 2], &[]));
    let keys = ["a", "b", "c", "d", "a", "b"];
    let batch = batch_of(&keys);
    for record in batch.records() {
        lanes.place(&batch, record, 0);
    }
    lanes.apply(&layout(&[1; 5], &[1]));
    assert_eq!(lanes.held_records(), keys.len());
    for index in 0..5 {
        let found: Vec<_> = lanes.waiting(index).iter().map(|entry| entry.key().to_vec()).collect();
        assert!(found.iter().all(|key| partition_of(murmur2(key), 5) == index), "{found:?}");
    }
}

/// G5 in small: one broker of two cannot take the whole buffer.
#[test]
fn a_slow_broker_fills_its_share_only() {
    let mut lanes = Lanes::new(1, 100, TIMEOUT_US);
    lanes.apply(&layout(&[1, 2], &[1, 2]));
    let key =
        ["a", "b", "c", "d"].into_iter().find(|key| partition_of(murmur2(key.as_bytes()), 2) == 0).unwrap();
    let batch = batch_of(&[key]);
    for _ in 0..75 {
        assert!(lanes.view().takes(&batch.records()[0]));
        lanes.place(&batch, &batch.records()[0], 0);
    }
    assert_eq!(lanes.view(), LaneView::new(vec![vec![true, false]]));
    for _ in 0..14 {
        lanes.ended(TopicId(0), 0);
    }
    assert_eq!(lanes.view(), LaneView::new(vec![vec![true, false]]), "80 % is not reached yet");
    lanes.ended(TopicId(0), 0);
    lanes.ended(TopicId(0), 0);
    assert_eq!(lanes.view(), LaneView::default());
}

/// A topic that grows under load: what was inside ends in the lanes where it was counted.
#[test]
fn growth_keeps_the_count_of_each_lane() {
    let mut lanes = Lanes::new(1, 100, TIMEOUT_US);
    lanes.apply(&layout(&[1, 2], &[1, 2]));
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let batch = batch_of(&keys);
    for record in batch.records() {
        lanes.place(&batch, record, 0);
    }
    lanes.apply(&layout(&[1, 2, 1, 2], &[1, 2]));
    for key in keys {
        lanes.ended(TopicId(0), partition_of(murmur2(key.as_bytes()), 2) as i32);
    }
    assert!(lanes.loads.iter().all(|load| load.records == 0), "{:?}", lanes.loads);
}

/// The client knew of a partition before us: its records end elsewhere than where they were counted.
#[test]
fn a_count_that_drifted_comes_down_under_load() {
    let mut lanes = Lanes::new(1, 100, TIMEOUT_US);
    lanes.apply(&layout(&[1, 2], &[1, 2]));
    let batch = batch_of(&["a", "b", "c", "d", "e", "f", "g", "h"]);
    for _ in 0..100 {
        for record in batch.records() {
            lanes.place(&batch, record, 0);
            lanes.ended(TopicId(0), 2);
        }
    }
    assert_eq!(lanes.view().full_lanes(), 2);
    lanes.adjust(4);
    assert_eq!(lanes.view(), LaneView::default());
}

/// A buffer of a few records: a share is never nothing, and a full lane opens again once it is empty.
#[test]
fn the_smallest_shares_open_again() {
    for max_records in 1..10 {
        let mut lanes = Lanes::new(1, max_records, TIMEOUT_US);
        lanes.apply(&layout(&[1, 2], &[1, 2]));
        let batch = batch_of(&["a"]);
        let record = batch.records()[0];
        let lane = partition_of(record.hash, 2) as i32;
        let mut inside = 0;
        while lanes.view().takes(&record) {
            lanes.place(&batch, &batch.records()[0], 0);
            inside += 1;
        }
        assert!((1..=max_records).contains(&inside), "{inside} of {max_records}");
        (0..inside).for_each(|_| lanes.ended(TopicId(0), lane));
        assert!(lanes.view().takes(&record), "{max_records}");
    }
}

#[test]
fn expires_by_age_and_at_the_end() {
    let mut lanes = Lanes::new(1, 100, TIMEOUT_US);
    let batch = batch_of(&["a", "b"]);
    lanes.place(&batch, &batch.records()[0], 0);
    lanes.apply(&layout(&[-1, -1, -1], &[]));
    lanes.place(&batch, &batch.records()[1], 0);
    let mut seen = Vec::new();
    for too_early in [0, 100] {
        lanes.expire(too_early, 0, |entry| seen.push(entry.token));
        assert!(seen.is_empty(), "nothing is older than the gateway, or than its acceptance");
    }
    lanes.expire(101, 0, |entry| seen.push(entry.token));
    assert_eq!((seen.len(), lanes.held_records()), (2, 0));
}

/// Records without a key keep each other company for as long as they linger; a lane that is down is passed over.
#[test]
fn records_without_a_key_stay_together_while_they_linger() {
    let mut lanes = Lanes::new(1, 100, TIMEOUT_US).lingering(5_000);
    lanes.apply(&layout(&[1, 2, 1, 1], &[1]));
    let mut batch = Batch::default();
    let shape = Shape { key_len: None, ..Shape::keyed(TopicId(0), 0, 0) };
    batch.commit(Token::nobody(1), shape, 100);
    let record = batch.records()[0];
    let places = [100, 5_000, 5_001, 10_001, 10_002, 15_003].map(|at| lanes.place(&batch, &record, at));
    assert_eq!(places, [0, 0, 2, 2, 2, 3].map(Place::Go));
}
