//! Reads a topic back with a consumer of its own, so that what a test believes is what Kafka holds.

use std::time::Instant;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers as _;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::{PATIENCE, eventually_some};

/// One record as Kafka holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    /// Whether it has a key at all.
    pub has_key: bool,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, String)>,
}

/// The end offset of each partition, by partition.
pub fn end_offsets(bootstrap: &str, topic: &str) -> Vec<i64> {
    let consumer = consumer(bootstrap);
    (0..partitions(&consumer, topic)).map(|partition| bounds(&consumer, topic, partition).1).collect()
}

/// Everything in the topic up to its end offsets as they are now, partition by partition in offset order.
///
/// # Panics
/// When Kafka does not hand it all out in time.
pub fn read_all(bootstrap: &str, topic: &str) -> Vec<Record> {
    let mut records = Vec::new();
    read_each(bootstrap, topic, |record| records.push(record));
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

/// The same one by one, in offset order within each partition, for topics that hold many.
///
/// # Panics
/// When Kafka hands nothing out for long and something is missing.
pub fn read_each(bootstrap: &str, topic: &str, mut each: impl FnMut(Record)) {
    let consumer = consumer(bootstrap);
    let mut assignment = TopicPartitionList::new();
    let mut ends = Vec::new();
    for partition in 0..partitions(&consumer, topic) {
        let (low, end) = bounds(&consumer, topic, partition);
        assignment.add_partition_offset(topic, partition, Offset::Offset(low)).unwrap();
        ends.push((low, end));
    }
    consumer.assign(&assignment).unwrap();

    let mut missing: i64 = ends.iter().map(|(low, end)| end - low).sum();
    let mut progress = Instant::now();
    while missing > 0 {
        assert!(progress.elapsed() < PATIENCE, "{missing} records of {topic} not handed out");
        let Some(message) = consumer.poll(std::time::Duration::from_millis(100)) else { continue };
        let message = message.expect("the consumer reads");
        if message.offset() >= ends[message.partition() as usize].1 {
            continue; // came after we looked
        }
        missing -= 1;
        progress = Instant::now();
        each(Record {
            partition: message.partition(),
            offset: message.offset(),
            has_key: message.key().is_some(),
            key: message.key().unwrap_or_default().to_vec(),
            value: message.payload().unwrap_or_default().to_vec(),
            headers: message.headers().map_or_else(Vec::new, |headers| {
                let text =
                    |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
                headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
            }),
        });
    }
}

fn consumer(bootstrap: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "test").set("enable.auto.commit", "false");
    config.create().expect("a consumer can be built")
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> i32 {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
    let count = metadata.topics()[0].partitions().len();
    assert!(count > 0, "there is no topic {topic}");
    i32::try_from(count).unwrap()
}

fn bounds(consumer: &BaseConsumer, topic: &str, partition: i32) -> (i64, i64) {
    // A broker that has just come back refuses until it leads again.
    eventually_some(PATIENCE, "the partition's offsets", || {
        consumer.fetch_watermarks(topic, partition, PATIENCE).ok()
    })
}
