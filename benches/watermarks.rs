//! Counts what arrived: the sum of a topic's high watermarks, asked with one request a broker.
//!
//! `watermarks BOOTSTRAP TOPIC` answers commands on standard input, one line each, so that a script can time arrivals
//! without starting a client for every look:
//! `count` -> `COUNT UNIX_MICROSECONDS`; `await N SECONDS` -> the same, as soon as COUNT >= N, or at the end of the time.

use std::io::BufRead;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [bootstrap, topic] = args.as_slice() else {
        println!("watermarks: a helper of scripts/bench.sh; usage: watermarks BOOTSTRAP TOPIC");
        return Ok(());
    };
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "sluice-bench-watermarks")
        .set("allow.auto.create.topics", "false")
        .set("reconnect.backoff.max.ms", "500")
        .create()?;
    for command in std::io::stdin().lock().lines() {
        let command = command?;
        let words: Vec<&str> = command.split_whitespace().collect();
        let (wanted, seconds) = match words.as_slice() {
            ["count"] => (0, 10),
            ["await", n, seconds] => (n.parse()?, seconds.parse()?),
            _ => return Err(format!("unknown command: {command}").into()),
        };
        let (count, at_us) = look(&consumer, topic, wanted, Duration::from_secs(seconds));
        println!("{count} {at_us}");
    }
    Ok(())
}

/// Looks until the topic holds `wanted` records or the time is over; 0 when no look succeeded.
fn look(consumer: &BaseConsumer, topic: &str, wanted: i64, patience: Duration) -> (i64, u128) {
    let deadline = Instant::now() + patience;
    let mut count = None;
    loop {
        count = total(consumer, topic).or(count);
        if count.is_some_and(|c| c >= wanted) || Instant::now() >= deadline {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            return (count.unwrap_or(0), now.as_micros());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Sum of the high watermarks; `None` while a broker does not answer.
fn total(consumer: &BaseConsumer, topic: &str) -> Option<i64> {
    let metadata = consumer.fetch_metadata(Some(topic), REQUEST_TIMEOUT).ok()?;
    let partitions = metadata.topics().first()?.partitions();
    let mut ends = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        ends.add_partition_offset(topic, partition.id(), Offset::End).ok()?;
    }
    // The timestamp -1, which is how `End` is written, asks for the offset after the last record.
    let ends = consumer.offsets_for_times(ends, REQUEST_TIMEOUT).ok()?;
    let offsets = ends.elements();
    offsets.iter().map(|e| if let Offset::Offset(n) = e.offset() { Some(n) } else { None }).sum()
}
