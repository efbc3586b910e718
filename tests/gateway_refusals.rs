//! The broker says no: each class of error reaches the sender as what it is, and nothing is retried for ever.

mod gateway;
mod support;

use std::time::{Duration, Instant};

use gateway::acks::{Account, AckSender, Told};
use gateway::{
    End, assert_ordered_by_player, await_stored, cluster, distinct_scores, line, lines, outcome, serving,
    stop, topic,
};
use support::{Broker, PATIENCE, eventually};

/// Sends one record of a sender that asked for answers and one of a silent one, each into `refusal`; then, with the
/// refusal gone, records until one is stored again. What was told of the first one, and how the gateway ended.
fn refused(broker: &mut Broker, refusal: &str) -> (Told, Account, End) {
    let sluice = serving(broker, &[]);
    broker.command(refusal);
    let mut asking = AckSender::connect(&sluice);
    asking.send(line("p", 1) + "\n");
    let told = asking.await_account("its answer", |account| account.told() == 1).named[&1].clone();
    broker.command(refusal);
    sluice.send_lines(&[line("p", 2)]);
    let ended = ["stored", "rejected", "not_stored", "unknown"];
    eventually(PATIENCE, "the second one ends", || {
        ended.iter().map(|name| outcome(&sluice, name)).sum::<u64>() == 2
    });
    broker.command("accept produce");
    let mut number = 1;
    eventually(PATIENCE, "the gateway stores again", || {
        number += 1;
        asking.send(line("p", 100 + number) + "\n");
        asking.await_account("its answer", |account| account.told() == number).plus == number
    });
    let account = asking.finish();
    assert_eq!(account.closed, Some(number));
    (told, account, stop(sluice))
}

/// Pain 16, G14: too large for the broker is a permanent error: `fix`, counted as rejected, and not tried again.
#[test]
fn a_record_that_the_broker_finds_too_large_is_refused_for_good() {
    let mut broker = cluster(1);
    let (told, account, end) = refused(&mut broker, "refuse produce MSG_SIZE_TOO_LARGE 1");
    assert_eq!(told, Told::Fix("MSG_SIZE_TOO_LARGE".into()));
    assert_eq!((account.plus, account.named.len()), (2, 1), "the very next record is stored");
    end.assert_balanced();
    let numbers = ["stored", "rejected", "not_stored", "unknown", "lost"].map(|name| end.of(name));
    assert_eq!((end.code, numbers), (0, [1, 2, 0, 0, 0]));
    assert_eq!(distinct_scores(&broker), [102].into());
}

/// Pain 4: no right to write: not stored, told `retry`; a silent sender's record is lost, and counted as such. The
/// client goes on refusing by itself until it has asked the cluster again; after that, records are stored.
#[test]
fn a_missing_right_to_write_is_told_and_counted() {
    let mut broker = cluster(1);
    let (told, account, end) = refused(&mut broker, "refuse produce TOPIC_AUTHORIZATION_FAILED 1");
    let retry = Told::Retry("TOPIC_AUTHORIZATION_FAILED".into());
    assert_eq!(told, retry);
    assert!(account.named.values().all(|told| *told == retry), "{account:?}");
    end.assert_balanced();
    let numbers = ["stored", "rejected", "not_stored", "unknown", "lost"].map(|name| end.of(name));
    assert_eq!((end.code, numbers), (1, [1, 0, account.named.len() as u64 + 1, 0, 1]));
    assert_eq!(distinct_scores(&broker).len(), 1);
}

/// Pain 4: too few replicas is a passing trouble: the client tries again, and everything is stored.
#[test]
fn too_few_replicas_are_waited_for() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[]);
    broker.command("refuse produce NOT_ENOUGH_REPLICAS 3");
    let mut asking = AckSender::connect(&sluice);
    asking.send(lines(0..100));
    let account = asking.finish();
    assert_eq!((account.plus, account.named.len(), account.closed), (100, 0, Some(100)));
    stop(sluice).assert_clean(100);
    assert_eq!(distinct_scores(&broker).len(), 100);
    assert_ordered_by_player(&topic(&broker));
}

/// Pain 16: a broker that finds everything too large blocks nothing: each record is told soon, memory and queue are
/// free, and the first record after it is stored.
#[test]
fn permanent_errors_are_never_retried_for_ever() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[("BUFFER_MAX_MSGS", "100")]);
    broker.command("refuse produce MSG_SIZE_TOO_LARGE 100000");
    let start = Instant::now();
    let mut asking = AckSender::connect(&sluice);
    asking.send(lines(0..500));
    let account = asking.await_account("500 answers", |account| account.told() == 500).clone();
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert_eq!(account.count(|told| *told == Told::Fix("MSG_SIZE_TOO_LARGE".into())), 500);
    assert_eq!(sluice.metric("gateway_queue_records"), 0.0);
    assert_eq!(sluice.metric("gateway_kafka_retries_total"), 0.0);
    broker.command("accept produce");
    asking.send(line("p", 1000) + "\n");
    assert_eq!(asking.finish().plus, 501);
    stop(sluice).assert_clean(1);
    assert_eq!(distinct_scores(&broker), [1000].into());
}

/// Pain 16, G14: what the client's limit would refuse is refused at the door, before it takes any room.
#[test]
fn a_record_too_large_is_refused_at_the_door() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[("KAFKA_CONF_MESSAGE_MAX_BYTES", "1000")]);
    // 128 and 64 of the widest characters: within the rules of S0-R3, 512 bytes of key and 800 of value.
    let huge = format!(
        r#"{{"lb":"{}","player":"{}","score":1,"ts_ms":1}}"#,
        "\u{1f600}".repeat(64),
        "\u{1f601}".repeat(128)
    );
    let mut asking = AckSender::connect(&sluice);
    asking.send(format!("{}\n{huge}\n{}\n", line("p", 1), line("p", 2)));
    let account = asking.finish();
    assert_eq!(account.named.into_iter().collect::<Vec<_>>(), [(2, Told::Fix("record_too_large".into()))]);
    assert_eq!(sluice.metric("gateway_rejects_total{reason=\"record_too_large\"}"), 1.0);
    stop(sluice).assert_clean(2);
    assert_eq!(distinct_scores(&broker), [1, 2].into());
}

/// A broker that cuts the connection in the middle of requests: the client tries again, order and number hold.
#[test]
fn cut_connections_are_repaired_in_order() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[]);
    let mut asking = AckSender::connect(&sluice);
    for round in 0..5 {
        broker.command("refuse produce _TRANSPORT 1");
        asking.send(lines(200 * round..200 * (round + 1)));
        asking.await_account("this round's answers", |account| account.told() == 200 * (round + 1));
    }
    let account = asking.finish();
    assert_eq!((account.stored(), account.closed), (1000, Some(1000)));
    await_stored(&sluice, 1000);
    stop(sluice).assert_clean(1000);
    assert_eq!(distinct_scores(&broker).len(), 1000);
    assert_ordered_by_player(&topic(&broker));
}
