//! Brokers away: before the start, mid-run, one of three, for longer than the deadline.

mod gateway;
mod support;

use std::io::Write;
use std::time::{Duration, Instant};

use gateway::acks::{AckSender, Told};
use gateway::{
    assert_ordered_by_player, await_readiness, await_stored, cluster, distinct_scores, ended, line, lines,
    listening, outcome, paused, serving, stop, topic,
};
use signal_hook::consts::SIGTERM;
use sluice::handoff::{murmur2, partition_of};
use support::{PATIENCE, eventually};

/// How soon readiness follows the brokers (conventions: /ready), and what a busy machine may add.
const FOLLOWS: Duration = Duration::from_millis(3500);

/// By when records inside are told with a delivery timeout of 2.5 s, a busy machine included.
const TOLD: Duration = Duration::from_millis(4500);

/// Pain 12, G15, G16: without a broker it listens and takes records up to its buffer, healthy but not ready; once
/// the broker is there everything is stored.
#[test]
fn it_starts_during_an_outage_and_keeps_what_comes() {
    let mut broker = cluster(1);
    broker.command("down all");
    let sluice = listening(&broker, &[("BUFFER_MAX_MSGS", "100")]);
    assert_eq!((sluice.get("/health").0, sluice.get("/ready").0), (200, 503));
    let mut sender = sluice.connect();
    sender.write_all(lines(0..250).as_bytes()).unwrap();
    eventually(PATIENCE, "the buffer fills up to its mark", || {
        sluice.metric("gateway_queue_records") == 100.0
    });
    eventually(PATIENCE, "the sender is paused", || paused(&sluice, "queue") == 1);
    assert_eq!((sluice.get("/ready").0, outcome(&sluice, "stored")), (503, 0));

    broker.command("up all");
    await_readiness(&sluice, 200);
    await_stored(&sluice, 250);
    drop(sender);
    stop(sluice).assert_clean(250);
    assert_eq!(distinct_scores(&broker).len(), 250);
    assert_ordered_by_player(&topic(&broker));
}

/// A SIGTERM while it still looks for its first broker ends it soon, and what it took is accounted for.
#[test]
fn sigterm_before_the_first_broker_ends_it() {
    let mut broker = cluster(1);
    broker.command("down all");
    let sluice = listening(&broker, &[("DRAIN_TIMEOUT", "500ms")]);
    sluice.send_lines(&[line("p", 1), line("p", 2)]);
    eventually(PATIENCE, "both are taken", || sluice.metric("gateway_queue_records") == 2.0);
    let start = Instant::now();
    sluice.signal(SIGTERM);
    let end = ended(sluice);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    end.assert_balanced();
    assert_eq!((end.code, end.of("not_stored"), end.of("lost")), (1, 2, 2));
}

/// Pain 13, G15: ready falls within 3 s when all brokers go and returns within 3 s when they are back; alive all along.
#[test]
fn readiness_follows_the_brokers() {
    let mut broker = cluster(3);
    let sluice = serving(&broker, &[]);
    for _ in 0..2 {
        broker.command("down all");
        let fell = await_readiness(&sluice, 503);
        assert!(fell < FOLLOWS, "fell after {fell:?}");
        assert_eq!(sluice.get("/health").0, 200);
        broker.command("up all");
        let returned = await_readiness(&sluice, 200);
        assert!(returned < FOLLOWS, "returned after {returned:?}");
    }
    stop(sluice).assert_clean(0);
}

/// Pain 13: one broker of three away makes nobody unready; its lanes wait, the others go on, and nothing is lost.
#[test]
fn one_broker_of_three_away_keeps_it_ready() {
    let mut broker = cluster(3);
    let sluice = serving(&broker, &[]);
    broker.command("down 2");
    eventually(PATIENCE, "two lanes are held", || sluice.metric("gateway_kafka_lanes_held") == 2.0);
    sluice.send_lines(&lines(0..600).lines().collect::<Vec<_>>());
    eventually(PATIENCE, "all are taken", || sluice.metric("gateway_records_received_total") == 600.0);
    let held = eventually_settled(&sluice);
    assert!(held > 0 && held < 600, "{held} of 600 wait for the broker that is away");
    eventually(PATIENCE, "two brokers are up", || {
        sluice.metric("gateway_kafka_brokers{state=\"up\"}") == 2.0
    });
    assert_eq!(sluice.get("/ready").0, 200);
    broker.command("up 2");
    await_stored(&sluice, 600);
    stop(sluice).assert_clean(600);
    assert_eq!(distinct_scores(&broker).len(), 600);
    assert_ordered_by_player(&topic(&broker));
}

/// Records that are left once everything that can be stored is stored.
fn eventually_settled(sluice: &support::Sluice) -> u64 {
    let players =
        (0..97).map(|player| partition_of(murmur2(format!("p{player}").as_bytes()), gateway::PARTITIONS));
    let mut by_lane = [0u64; gateway::PARTITIONS as usize];
    for (player, lane) in players.enumerate() {
        by_lane[lane as usize] += (0..600).filter(|score| score % 97 == player).count() as u64;
    }
    // Two lanes of six are led by the broker that is away, whichever they are.
    let mut possible = Vec::new();
    for first in 0..by_lane.len() {
        possible.extend((first + 1..by_lane.len()).map(|second| by_lane[first] + by_lane[second]));
    }
    support::eventually_some(PATIENCE, "the lanes of live leaders are empty", || {
        let open = sluice.metric("gateway_queue_records") as u64;
        possible.contains(&open).then_some(open)
    })
}

/// Pains 4 and 5, G1: what waits on our side past the one deadline is told `retry` to those who asked, counted as lost
/// for those who did not, and logged; the next records are as good as ever. Exit 1 with the number.
#[test]
fn records_past_the_deadline_are_told_or_counted() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[("KAFKA_DELIVERY_TIMEOUT_MS", "2000")]);
    broker.command("down all");
    await_readiness(&sluice, 503);
    let mut asking = AckSender::connect(&sluice);
    asking.send(lines(0..20));
    sluice.send_lines(&lines(100..130).lines().collect::<Vec<_>>());
    let account = asking.await_account("20 answers", |account| account.told() == 20).clone();
    assert_eq!(account.count(|told| *told == Told::Retry("DEADLINE".into())), 20, "{account:?}");
    eventually(PATIENCE, "the silent ones are counted", || {
        sluice.metric("gateway_records_lost_total") == 30.0
    });
    assert_eq!(outcome(&sluice, "not_stored"), 50);
    let log = sluice.await_log("publish.error");
    assert!(log.contains("[ERROR]") && log.contains("DEADLINE"), "{log}");

    broker.command("up all");
    await_readiness(&sluice, 200);
    asking.send(lines(200..205));
    let account = asking.finish();
    assert_eq!((account.plus, account.closed), (25, Some(25)));
    let end = stop(sluice);
    end.assert_balanced();
    let numbers = ["stored", "not_stored", "unknown", "lost"].map(|name| end.of(name));
    assert_eq!((end.code, numbers), (1, [5, 50, 0, 30]));
    assert_eq!(distinct_scores(&broker), (200..205).collect());
}

/// Pains 4 and 5, G1: what was handed over when the brokers fell silent may be stored: such a sender is told `?`, never
/// nothing, and the number makes exit 1. What never left the client is `retry`.
#[test]
fn records_in_flight_past_the_deadline_are_unknown() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[("KAFKA_DELIVERY_TIMEOUT_MS", "2500")]);
    broker.command("slow all 20s");
    let mut asking = AckSender::connect(&sluice);
    let start = Instant::now();
    asking.send(lines(0..50));
    sluice.send_lines(&lines(100..110).lines().collect::<Vec<_>>());
    let account = asking.await_account("50 answers", |account| account.told() == 50).clone();
    let took = start.elapsed();
    assert!(took > Duration::from_millis(2500) && took < TOLD, "told after {took:?}");
    let unknown = account.count(|told| *told == Told::Unknown("MSG_TIMED_OUT".into()));
    let retry = account
        .count(|told| matches!(told, Told::Retry(code) if code == "MSG_TIMED_OUT" || code == "DEADLINE"));
    assert!(unknown > 0 && unknown + retry == 50, "{account:?}");
    eventually(PATIENCE, "all 60 have ended", || {
        outcome(&sluice, "unknown") + outcome(&sluice, "not_stored") == 60
    });
    drop(asking);
    let end = stop(sluice);
    end.assert_balanced();
    assert_eq!((end.code, end.of("stored")), (1, 0));
    assert!(end.of("unknown") >= unknown, "{end:?}");
    assert_eq!(end.of("lost"), end.of("not_stored") - retry, "told ones are not lost: {end:?}");
}

/// One broker of three falls silent: its records inside are told at their deadline. The records of the others are stored
/// all along, in order; the gateway is healthy, says why it is not ready for a moment, and keeps its producer.
#[test]
fn a_silent_broker_of_three_costs_the_others_a_moment() {
    let mut broker = cluster(3);
    let sluice = serving(&broker, &[("KAFKA_DELIVERY_TIMEOUT_MS", "2500")]);
    broker.command("slow 2 20s");
    let mut asking = AckSender::connect(&sluice);
    asking.send(lines(0..600));
    // Younger than the deadline when the silent broker's first ones pass it, and in lanes that go on.
    sluice.await_log("producer.let_go");
    asking.send(lines(600..1200));
    sluice.await_log("reason=deadline_passed");
    assert_eq!(sluice.get("/health").0, 200);
    broker.command("down 2");
    broker.command("slow 2 0ms");
    broker.command("up 2");
    let account = asking.finish();
    assert_eq!((account.told(), account.closed), (1200, Some(1200)));
    let in_topic = distinct_scores(&broker);
    for number in 1..=1200 {
        let is_stored = in_topic.contains(&(number as i64 - 1));
        match account.named.get(&number) {
            None => assert!(is_stored, "{number} was told as stored"),
            Some(Told::Retry(code)) => assert!(!is_stored, "{number} was told as not stored: {code}"),
            Some(Told::Unknown(code)) => assert_eq!(code, "MSG_TIMED_OUT", "{number}"),
            Some(Told::Fix(code)) => panic!("{number} was refused for good: {code}"),
        }
    }
    assert!(account.stored() >= 800, "two thirds at least: {:?}", account.named.len());
    assert!(account.count(|told| matches!(told, Told::Unknown(_))) > 0);
    assert_ordered_by_player(&topic(&broker));
    assert_eq!(sluice.metric("gateway_kafka_producer_rebuilds_total"), 0.0);
    stop(sluice).assert_balanced();
}

/// All brokers gone with records inside: nobody is waited for, the time inside counts from acceptance, and the very same
/// producer stores the next ones.
#[test]
fn records_inside_past_the_deadline_are_told_in_an_outage() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[("KAFKA_DELIVERY_TIMEOUT_MS", "2500"), ("KAFKA_LINGER_MS", "1000")]);
    let mut asking = AckSender::connect(&sluice);
    let start = Instant::now();
    asking.send(lines(0..50));
    eventually(PATIENCE, "all are inside", || sluice.metric("gateway_inflight_records") == 50.0);
    broker.command("down all");
    let account = asking.await_account("50 answers", |account| account.told() == 50).clone();
    let took = start.elapsed();
    assert!(took > Duration::from_millis(2500) && took < TOLD, "told after {took:?}");
    assert_eq!(account.count(|told| *told == Told::Retry("MSG_TIMED_OUT".into())), 50, "{account:?}");
    broker.command("up all");
    await_readiness(&sluice, 200);
    asking.send(lines(100..150));
    assert_eq!(asking.finish().stored(), 50);
    assert_eq!(sluice.metric("gateway_kafka_producer_rebuilds_total"), 0.0);
    assert_eq!(distinct_scores(&broker), (100..150).collect());
    stop(sluice).assert_balanced();
}
