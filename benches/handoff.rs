//! The crossing and what it costs a record: `cargo bench --bench handoff`.

use divan::{Bencher, black_box, counter::ItemsCount};
use sluice::handoff::{
    Batch, Bell, BufferOptions, Shape, Shared, Token, TopicId, crossing, murmur2, partition_of,
};

/// As many as one read brings.
const RECORDS: usize = 800;
const KEY: &[u8] = b"player-000042";
const VALUE: [u8; 40] = [7; 40];

fn main() {
    divan::main();
}

fn fill(batch: &mut Batch) {
    for _ in 0..RECORDS {
        batch.arena().extend_from_slice(KEY);
        batch.arena().extend_from_slice(&VALUE);
        batch.commit(Token::nobody(1), Shape::keyed(TopicId(0), KEY.len() as u32, VALUE.len() as u32), 1);
    }
}

/// Java's hash of a key, then its partition.
#[divan::bench]
fn key_to_partition(bencher: Bencher) {
    bencher.counter(ItemsCount::new(1_usize)).bench(|| partition_of(murmur2(black_box(KEY)), black_box(12)));
}

/// Key and value into a recycled arena.
#[divan::bench]
fn batch_filled(bencher: Bencher) {
    let mut batch = Batch::default();
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        batch.clear();
        fill(&mut batch);
        batch.len()
    });
}

/// The same, over the channel, booked, taken, given back, and the empty batch on its way home.
#[divan::bench]
fn batch_there_and_back(bencher: Bencher) {
    let shared = Shared::new(BufferOptions::default());
    let (mut poll, mut kafka) = crossing(&shared, Bell::default(), Bell::default());
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        let (batch, tally) = poll.intake();
        fill(batch);
        let bytes = batch.records().iter().map(|record| record.accounted_bytes()).sum();
        tally.accepted += RECORDS as u64;
        tally.records += RECORDS;
        tally.bytes += bytes;
        poll.submit();
        poll.announce();
        if let Some(batch) = kafka.next_batch() {
            kafka.recycle(batch);
        }
        shared.budget.give_back(RECORDS, bytes);
    });
}
