//! Our part of the Kafka thread, without the client library: `cargo bench --bench kafka`.

use divan::{Bencher, counter::ItemsCount};
use sluice::event::Outcome;
use sluice::handoff::{
    Batch, Bell, BufferOptions, Cause, Clock, PollEnd, Shape, Shared, Token, TopicId, crossing,
};
use sluice::kafka::accounts::Accounts;
use sluice::kafka::errors::Code;
use sluice::kafka::feeder::Feeder;
use sluice::kafka::lanes::{Lanes, Layout};
use sluice::kafka::producer::{Outgoing, Partition, Producer};

const RECORDS: usize = 800;
const PARTITIONS: usize = 12;
/// Key and value of each record, in bytes.
const RECORD_BYTES: usize = 53;

fn main() {
    divan::main();
}

/// Takes everything, looks at every byte's place as a copying client would, keeps nothing.
struct Swallow(usize);

impl Producer for Swallow {
    fn produce<'a>(
        &mut self,
        _: Partition,
        records: impl Iterator<Item = Outgoing<'a>>,
        _: impl FnMut(usize, Code),
    ) -> usize {
        let mut count = 0;
        for record in records {
            self.0 += record.key.map_or(0, <[u8]>::len) + record.value.len();
            count += 1;
        }
        count
    }
}

fn fill(batch: &mut Batch) {
    for number in 0..RECORDS {
        let key = format!("player-{:06}", number * 37 % 10_000);
        batch.arena().extend_from_slice(key.as_bytes());
        batch.arena().extend_from_slice(&[7; 40]);
        batch.commit(Token::nobody(1), Shape::keyed(TopicId(0), key.len() as u32, 40), 1);
    }
}

fn submit(poll: &mut PollEnd) {
    let (batch, tally) = poll.intake();
    fill(batch);
    tally.accepted += RECORDS as u64;
    tally.records += RECORDS;
    tally.bytes += batch.records().iter().map(|record| record.accounted_bytes()).sum::<usize>();
    poll.submit();
}

/// Gather, place, sort and hand over; the batch's filling is not timed. The channel holds 32 batches: no more inputs are made
/// ahead.
#[divan::bench(sample_size = 16)]
fn feed_sorted(bencher: Bencher) {
    let shared = Shared::new(BufferOptions { max_records: 10_000_000, max_bytes: usize::MAX / 4 });
    let (poll, kafka) = crossing(&shared, Bell::default(), Bell::default());
    let poll = std::cell::RefCell::new(poll);
    let mut accounts = Accounts::new(kafka, Clock::start());
    let mut lanes = Lanes::new(1, 10_000, 60_000_000);
    lanes.apply(&Layout { leaders: vec![vec![1; PARTITIONS]], up: vec![1] });
    let (mut feeder, mut producer) = (Feeder::default(), Swallow(0));
    bencher
        .counter(ItemsCount::new(RECORDS))
        .with_inputs(|| submit(&mut poll.borrow_mut()))
        .bench_local_refs(|()| feeder.feed(&mut accounts, &mut lanes, Some(&mut producer), 1));
}

/// A run of delivery reports: lane, ledger, buffer and histogram.
#[divan::bench]
fn reports_booked(bencher: Bencher) {
    let shared = Shared::new(BufferOptions::default());
    let (_poll, kafka) = crossing(&shared, Bell::default(), Bell::default());
    let mut accounts = Accounts::new(kafka, Clock::start());
    let mut lanes = Lanes::new(1, 10_000, 60_000_000);
    lanes.apply(&Layout { leaders: vec![vec![1; PARTITIONS]], up: vec![1] });
    bencher
        .counter(ItemsCount::new(RECORDS))
        .with_inputs(|| {
            shared.ledger.accept(RECORDS as u64);
            shared.budget.take(RECORDS, RECORDS * (RECORD_BYTES + 200));
        })
        .bench_local_refs(|()| {
            for number in 0..RECORDS {
                lanes.ended(TopicId(0), (number * PARTITIONS / RECORDS) as i32);
                accounts.note(Token::nobody(1), RECORD_BYTES, Outcome::Stored, Cause::Delivered);
            }
            accounts.book();
        });
}
