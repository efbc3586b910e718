//! The idempotent producer turns fatal: it is built anew, and every record in flight is answered.
//!
//! OUT_OF_ORDER_SEQUENCE_NUMBER for the oldest request in flight is what makes librdkafka give up on a producer: its
//! idea of the partition's sequence and the broker's differ, so nothing can be said of order or repetition any more.

mod gateway;
mod support;

use gateway::acks::{AckSender, Told};
use gateway::{
    assert_ordered_by_player, await_readiness, cluster, distinct_scores, line, lines, outcome, serving, stop,
    topic,
};
use sluice::kafka::embedded::REFUSALS_MAX;
use support::{PATIENCE, eventually};

const FATAL: &str = "refuse produce OUT_OF_ORDER_SEQUENCE_NUMBER";

/// One record in flight: it is unknown, the gateway is not ready until the new producer is, and what comes later is
/// stored.
#[test]
fn a_fatal_producer_is_built_anew() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[]);
    let mut asking = AckSender::connect(&sluice);
    asking.send(lines(0..10));
    asking.await_account("ten stored", |account| account.plus == 10);

    broker.command(&format!("{FATAL} 1"));
    asking.send(line("p", 50) + "\n");
    asking.await_account("its answer", |account| account.told() == 11);
    assert_eq!(asking.account.named[&11], Told::Unknown("PRODUCER_FATAL".into()), "it may have been stored");
    sluice.await_log("producer.rebuild");
    sluice.await_ready();
    let logs = sluice.logs();
    let rebuilt = logs.iter().position(|line| line.contains("producer.rebuild")).unwrap();
    let after: Vec<_> = logs[rebuilt..].iter().filter(|line| line.contains("ready")).collect();
    assert!(
        after[0].contains("kafka.not_ready") && after.last().unwrap().contains("kafka.ready"),
        "{after:?}"
    );
    assert_eq!(sluice.metric("gateway_kafka_producer_rebuilds_total"), 1.0);

    asking.send(lines(100..200));
    let account = asking.finish();
    assert_eq!((account.plus, account.named.len(), account.closed), (111, 1, Some(111)), "{account:?}");
    assert!(distinct_scores(&broker).is_superset(&(0..10).chain(100..200).collect()));
    let end = stop(sluice);
    end.assert_balanced();
    assert_eq!(["stored", "unknown", "not_stored", "lost"].map(|name| end.of(name)), [110, 1, 0, 0]);
    assert_eq!(end.code, 1, "an unknown record is no clean end");
}

/// A flood in flight over all partitions, and a broker that is slow to answer: everybody is told, and what was told
/// is true.
#[test]
fn what_is_in_flight_when_the_producer_turns_fatal_is_answered() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[]);
    broker.command("slow 1 200ms");
    let mut asking = AckSender::connect(&sluice);
    asking.send(lines(0..2000));
    eventually(PATIENCE, "records are stored", || outcome(&sluice, "stored") > 0);
    broker.command(&format!("{FATAL} 1"));
    asking.send(lines(2000..6000));
    sluice.await_log("producer.rebuild");
    broker.command("slow 1 0ms");
    asking.send(lines(6000..6100));
    let account = asking.finish();
    assert_eq!((account.told(), account.closed), (6100, Some(6100)), "everybody is told");
    assert!(account.count(|told| matches!(told, Told::Unknown(_))) > 0, "{:?}", account.named);
    let in_topic = distinct_scores(&broker);
    for number in 1..=6100 {
        let is_stored = in_topic.contains(&(number as i64 - 1));
        match account.named.get(&number) {
            None => assert!(is_stored, "{number} was told as stored"),
            Some(Told::Retry(code)) => assert!(!is_stored, "{number} was told as not stored: {code}"),
            Some(Told::Unknown(_)) => {}
            Some(Told::Fix(code)) => panic!("{number} was refused for good: {code}"),
        }
    }
    assert_ordered_by_player(&topic(&broker));
    let end = stop(sluice);
    end.assert_balanced();
    assert_eq!((end.of("accepted"), end.of("lost")), (6100, 0));
}

/// A broker that turns every producer fatal: records are answered each time, nothing piles up or spins, and a drain
/// in the midst of it ends in time and balanced.
#[test]
fn a_producer_that_turns_fatal_again_and_again() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[("DRAIN_TIMEOUT", "2s")]);
    broker.command(&format!("{FATAL} {}", REFUSALS_MAX.min(10_000)));
    let mut asking = AckSender::connect(&sluice);
    for round in 1..=3 {
        asking.send(line("p", round) + "\n");
        asking.await_account("its answer", |account| account.told() == round);
        await_readiness(&sluice, 200);
    }
    assert!(sluice.metric("gateway_kafka_producer_rebuilds_total") >= 2.0);
    asking.send(lines(100..200));
    let end = stop(sluice);
    asking.read_to_end();
    end.assert_balanced();
    assert_eq!((end.of("accepted"), end.of("stored"), end.of("lost"), end.code), (103, 0, 0, 1));
}
