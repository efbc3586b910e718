//! The producer's own troubles: leaders that move or vanish, no producer id, a producer that turned fatal.

mod gateway;
mod support;

use gateway::acks::{AckSender, Told};
use gateway::{
    PARTITIONS, TOPIC, assert_ordered_by_player, await_readiness, await_stored, cluster, distinct_scores,
    line, lines, listening, outcome, serving, stop, topic,
};
use support::{PATIENCE, eventually};

/// Leaders move from broker to broker while records flow: nothing is lost, and every player's order holds.
#[test]
fn leaders_that_move_lose_nothing() {
    let mut broker = cluster(3);
    let sluice = serving(&broker, &[]);
    let mut asking = AckSender::connect(&sluice);
    for round in 0..6u64 {
        asking.send(lines(500 * round..500 * (round + 1)));
        for partition in 0..PARTITIONS {
            broker.command(&format!("leader {TOPIC} {partition} {}", 1 + (u64::from(partition) + round) % 3));
        }
        asking.await_account("half of this round", |account| account.told() >= 500 * round + 250);
    }
    let account = asking.finish();
    assert_eq!((account.stored(), account.closed), (3000, Some(3000)), "{:?}", account.named);
    stop(sluice).assert_clean(3000);
    assert_eq!(distinct_scores(&broker).len(), 3000);
    assert_ordered_by_player(&topic(&broker));
}

/// Partitions without a leader hold their records back on our side; with a leader again they are stored.
#[test]
fn partitions_without_a_leader_wait() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[("KAFKA_CONF_TOPIC_METADATA_REFRESH_INTERVAL_MS", "200")]);
    for partition in 0..PARTITIONS / 2 {
        broker.command(&format!("leader {TOPIC} {partition} none"));
    }
    eventually(PATIENCE, "three lanes are held", || sluice.metric("gateway_kafka_lanes_held") == 3.0);
    assert_eq!(sluice.get("/ready").0, 200);
    sluice.send_lines(&lines(0..300).lines().collect::<Vec<_>>());
    eventually(PATIENCE, "the others are stored", || {
        let metrics = sluice.metrics();
        let (open, inside) = (metrics["gateway_queue_records"], metrics["gateway_inflight_records"]);
        metrics["gateway_records_received_total"] == 300.0 && open > 0.0 && open < 300.0 && inside == 0.0
    });
    for partition in 0..PARTITIONS / 2 {
        broker.command(&format!("leader {TOPIC} {partition} 1"));
    }
    await_stored(&sluice, 300);
    stop(sluice).assert_clean(300);
    assert_eq!(distinct_scores(&broker).len(), 300);
    assert_ordered_by_player(&topic(&broker));
}

/// G15: no producer id, not ready; what comes meanwhile waits, and is stored once there is one.
#[test]
fn it_is_not_ready_without_a_producer_id() {
    let mut broker = cluster(1);
    broker.command("refuse init_producer_id COORDINATOR_LOAD_IN_PROGRESS 1000000");
    let sluice = listening(&broker, &[]);
    sluice.await_log("reason=waiting_for_producer_id");
    assert_eq!((sluice.get("/health").0, sluice.get("/ready").0), (200, 503));
    sluice.send_lines(&[line("p", 1), line("p", 2)]);
    eventually(PATIENCE, "both are taken", || sluice.metric("gateway_queue_records") == 2.0);
    assert_eq!(outcome(&sluice, "stored"), 0);
    broker.command("accept init_producer_id");
    await_readiness(&sluice, 200);
    await_stored(&sluice, 2);
    stop(sluice).assert_clean(2);
    assert_eq!(distinct_scores(&broker), [1, 2].into());
}

/// An idempotent producer that the broker made fatal is built anew: what was inside is told, nothing hangs, and the
/// records behind it are stored.
#[test]
fn a_fatal_producer_is_built_anew() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[]);
    let mut asking = AckSender::connect(&sluice);
    asking.send(lines(0..100));
    asking.await_account("a calm start", |account| account.plus == 100);
    broker.command("refuse produce OUT_OF_ORDER_SEQUENCE_NUMBER 1");
    asking.send(lines(100..200));
    asking.await_account("the fate of the second hundred", |account| account.told() == 200);
    sluice.await_log("producer.rebuild");
    await_readiness(&sluice, 200);
    asking.send(lines(200..300));
    let account = asking.finish();
    assert_eq!((account.plus, account.closed), (300, Some(300)), "{:?}", account.named);
    let doubtful = account.count(|told| *told == Told::Unknown("PRODUCER_FATAL".into()));
    let retry = account.count(|told| *told == Told::Retry("PRODUCER_FATAL".into()));
    assert_eq!(account.named.len() as u64, doubtful + retry, "{:?}", account.named);
    assert_eq!(sluice.metric("gateway_kafka_producer_rebuilds_total"), 1.0);
    let end = stop(sluice);
    end.assert_balanced();
    assert_eq!(
        (end.of("stored"), end.of("unknown"), end.of("not_stored")),
        (300 - doubtful - retry, doubtful, retry)
    );
    assert_eq!((end.code, end.of("lost")), (i32::from(doubtful > 0), 0));
    // What was told as stored is there, and what was told as not stored is not.
    let stored = distinct_scores(&broker);
    for score in 0..300 {
        match account.named.get(&(score as u64 + 1)) {
            None => assert!(stored.contains(&score), "{score}"),
            Some(Told::Retry(_)) => assert!(!stored.contains(&score), "{score}"),
            Some(_) => {}
        }
    }
}
