//! A full buffer: reading pauses with the bytes left in the kernel, memory stays flat, and everything arrives later.

mod gateway;
mod support;

use std::io::Write;
use std::time::{Duration, Instant};

use gateway::flood::{Flood, assert_each_ordered, first_score};
use gateway::{
    assert_ordered_by_player, await_readiness, await_stored, cluster, distinct_scores, line, lines, outcome,
    paused, serving, stop, topic,
};
use support::{PATIENCE, Sluice, eventually, eventually_some};

/// What memory may grow by while brokers are away under a flood: the buffer's 2,000 records and the client's copies
/// are a fraction of it, what 8 senders can push in that time a multiple.
const GROWTH_KIB: u64 = 12 << 10;

/// Waits until nothing more goes through: the floods' bytes, once they have not changed for 300 ms.
fn stalled(floods: &[Flood]) -> u64 {
    let sum = || floods.iter().map(Flood::bytes).sum::<u64>();
    let (mut last, mut since) = (sum(), Instant::now());
    eventually_some(PATIENCE, "the senders are blocked", || {
        let now = sum();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (since.elapsed() > Duration::from_millis(300)).then_some(now)
    })
}

fn paused_seconds(sluice: &Sluice) -> f64 {
    sluice.metric("gateway_connection_paused_seconds_total{listener=\"tcp\"}")
}

/// Pains 1, 2, 3 and 7, S0-R7, S0-E4, G4, G7: brokers go away under a flood. The buffer stops at its mark, the bytes
/// beyond it stay in the kernel and block the senders, memory does not grow, everybody can see who is paused and why;
/// when the brokers are back everything arrives, in order.
#[test]
fn an_outage_under_a_flood_pauses_and_resumes() {
    let mut broker = cluster(3);
    let sluice = serving(&broker, &[("BUFFER_MAX_MSGS", "2000"), ("METRICS_INTERVAL", "1s")]);
    let floods: Vec<Flood> = (0..8).map(|number| Flood::start(&sluice, first_score(number))).collect();
    await_stored(&sluice, 20_000);
    broker.command("down all");
    let before = stalled(&floods);
    let calm_kib = sluice.rss_kib();
    eventually(PATIENCE, "all eight are paused", || paused(&sluice, "queue") == 8);

    let (status, state) = sluice.get("/state");
    assert_eq!((status, state.matches("reason=queue").count()), (200, 8), "{state}");
    sluice.await_log("paused=8");
    let seconds = paused_seconds(&sluice);
    eventually(PATIENCE, "paused time is counted", || paused_seconds(&sluice) > seconds + 4.0);
    let metrics = sluice.metrics();
    assert!(metrics["gateway_queue_records"] <= 2000.0, "{}", metrics["gateway_queue_records"]);
    let line_bytes = line("p0", 1 << 32).len() as f64;
    let read = metrics["gateway_records_received_total"] * line_bytes;
    assert!(before as f64 > read + 100_000.0, "{before} bytes were sent, {read} of them are in our hands");
    assert_eq!(stalled(&floods), before, "nothing more was read, nothing discarded");
    let grown = sluice.rss_kib().saturating_sub(calm_kib);
    assert!(grown < GROWTH_KIB, "{grown} KiB more during the outage");

    broker.command("up all");
    eventually(PATIENCE, "the senders go on", || {
        floods.iter().map(Flood::bytes).sum::<u64>() > before + 1_000_000
    });
    let sent: Vec<_> = floods.into_iter().map(Flood::finish).collect();
    assert!(sent.iter().all(|sent| !sent.cut_off), "{sent:?}");
    let total: u64 = sent.iter().map(|sent| sent.scores.end - sent.scores.start).sum();
    await_stored(&sluice, total);
    assert_eq!(paused(&sluice, "queue"), 0);
    stop(sluice).assert_clean(total);
    let stored = topic(&broker);
    assert_each_ordered(&stored, 8);
    let distinct = stored.iter().map(|one| one.update.score as u64).collect::<std::collections::HashSet<_>>();
    assert!(
        sent.iter().all(|sent| sent.scores.clone().all(|score| distinct.contains(&score))),
        "nothing is missing"
    );
    assert_eq!(distinct.len() as u64, total);
}

/// Pains 1 and 2: a small queue that is filled by outage after outage empties every time.
#[test]
fn the_queue_never_stays_full() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[("BUFFER_MAX_MSGS", "50")]);
    let mut sender = sluice.connect();
    for round in 0..3 {
        broker.command("down all");
        sender.write_all(lines(300 * round..300 * (round + 1)).as_bytes()).unwrap();
        eventually(PATIENCE, "the queue is full", || sluice.metric("gateway_queue_records") == 50.0);
        eventually(PATIENCE, "the sender is paused", || paused(&sluice, "queue") == 1);
        broker.command("up all");
        await_stored(&sluice, 300 * (round + 1));
        let metrics = sluice.metrics();
        let open = ["gateway_queue_records", "gateway_queue_bytes", "gateway_inflight_records"]
            .map(|name| metrics[name]);
        assert_eq!(open, [0.0; 3], "round {round}");
    }
    drop(sender);
    stop(sluice).assert_clean(900);
    assert_eq!(distinct_scores(&broker).len(), 900);
    assert_ordered_by_player(&topic(&broker));
}

/// S0-R7, G4: the byte mark pauses as well, long before the record mark.
#[test]
fn the_byte_mark_pauses_too() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[("BUFFER_MAX_BYTES", "64KiB")]);
    broker.command("down all");
    await_readiness(&sluice, 503);
    let player = "q".repeat(128);
    let text: String = (0..1000).map(|score| line(&player, score) + "\n").collect();
    let mut sender = sluice.connect();
    sender.write_all(text.as_bytes()).unwrap();
    eventually(PATIENCE, "the sender is paused", || paused(&sluice, "queue") == 1);
    let metrics = sluice.metrics();
    let (bytes, records) = (metrics["gateway_queue_bytes"], metrics["gateway_queue_records"]);
    let limit = metrics["gateway_queue_limit_bytes"];
    assert_eq!(limit, 65_536.0);
    assert!((limit..limit + 1000.0).contains(&bytes) && records < 200.0, "{bytes} bytes, {records} records");
    broker.command("up all");
    await_stored(&sluice, 1000);
    drop(sender);
    stop(sluice).assert_clean(1000);
    assert_eq!(distinct_scores(&broker).len(), 1000);
}

/// Pain 8, G6: one sender that floods does not starve one that says a line now and then.
#[test]
fn a_flood_does_not_starve_a_quiet_sender() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[("BUFFER_MAX_MSGS", "1000")]);
    let floods: Vec<Flood> = (0..4).map(|number| Flood::start(&sluice, first_score(number))).collect();
    await_stored(&sluice, 5_000);
    let mut quiet = gateway::acks::AckSender::connect(&sluice);
    let start = Instant::now();
    for number in 1..=20 {
        quiet.send(line("quiet", number) + "\n");
        quiet.await_account("its answer", |account| account.plus >= number);
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "20 round trips beside a flood took {took:?}");
    assert_eq!(quiet.finish().stored(), 20);
    let total: u64 =
        floods.into_iter().map(|flood| flood.finish().scores).map(|scores| scores.end - scores.start).sum();
    await_stored(&sluice, total + 20);
    assert_eq!(outcome(&sluice, "rejected"), 0);
    stop(sluice).assert_clean(total + 20);
}
