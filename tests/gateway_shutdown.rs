//! Every way to end: idle, during an outage, at full speed, in a hurry. The ledger balances, and the exit code tells.

mod gateway;
mod support;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use gateway::acks::{AckSender, Told};
use gateway::flood::{Flood, assert_each_ordered, first_score};
use gateway::{
    assert_ordered_by_player, await_readiness, await_stored, cluster, distinct_scores, ended, line, lines,
    paused, serving, stop, topic,
};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGSTOP, SIGTERM, SIGUSR1};
use support::{PATIENCE, eventually};

/// S0-NFR3, S0-E5: an idle gateway ends at once, by either signal, open connections or not; they see the end.
#[test]
fn an_idle_gateway_ends_at_once() {
    let broker = cluster(1);
    for signal in [SIGTERM, SIGINT] {
        let sluice = serving(&broker, &[]);
        let mut idle = sluice.connect();
        eventually(PATIENCE, "it is connected", || gateway::connections(&sluice) == 1);
        let start = Instant::now();
        sluice.signal(signal);
        let end = ended(sluice);
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        end.assert_clean(0);
        assert_eq!(idle.read(&mut [0; 8]).unwrap_or(0), 0);
    }
}

/// Pain 6, S0-R1: a drain reads what the kernel has acknowledged: SIGTERM comes while nothing of it has been read.
#[test]
fn what_waits_in_the_accept_queue_is_taken_in() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    sluice.signal(SIGSTOP);
    let mut open = Vec::new();
    for number in 0..50 {
        let mut sender = sluice.connect();
        sender.write_all(lines(10 * number..10 * (number + 1)).as_bytes()).unwrap();
        if number % 2 == 0 {
            open.push(sender); // half of them stay, the others have closed already
        }
    }
    sluice.signal(SIGTERM);
    sluice.signal(SIGCONT);
    ended(sluice).assert_clean(500);
    assert_eq!(distinct_scores(&broker).len(), 500);
    assert_ordered_by_player(&topic(&broker));
}

/// Pain 6, G12: a sender with answers gets its whole account at the drain, and the last line.
#[test]
fn a_drain_closes_every_account() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    let mut senders: Vec<AckSender> = (0..4).map(|_| AckSender::connect(&sluice)).collect();
    for (number, sender) in senders.iter_mut().enumerate() {
        sender.send(lines(1000 * number as u64..1000 * number as u64 + 500));
        sender.send("no json\n");
    }
    eventually(PATIENCE, "all is read", || sluice.metric("gateway_records_received_total") == 2004.0);
    sluice.signal(SIGTERM);
    for mut sender in senders {
        let account = sender.read_to_end();
        assert_eq!((account.plus, account.stored(), account.closed), (500, 500, Some(501)));
        assert_eq!(account.named[&501], Told::Fix("not_json".into()));
    }
    ended(sluice).assert_clean(2000);
}

/// Pains 4 and 6: SIGTERM during an outage: every record is answered or counted within the drain's time, exit 1 with
/// the number.
#[test]
fn sigterm_during_an_outage_answers_or_counts_every_record() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[("DRAIN_TIMEOUT", "1s")]);
    broker.command("down all");
    await_readiness(&sluice, 503);
    let mut asking = AckSender::connect(&sluice);
    asking.send(lines(0..20));
    sluice.send_lines(&lines(100..130).lines().collect::<Vec<_>>());
    eventually(PATIENCE, "all is read", || sluice.metric("gateway_queue_records") == 50.0);
    let start = Instant::now();
    sluice.signal(SIGTERM);
    let account = asking.read_to_end();
    assert_eq!(account.count(|told| *told == Told::Retry("SHUTDOWN".into())), 20, "{account:?}");
    assert_eq!(account.closed, Some(20));
    let end = ended(sluice);
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    end.assert_balanced();
    let numbers = ["accepted", "not_stored", "unknown", "lost"].map(|name| end.of(name));
    assert_eq!((end.code, numbers), (1, [50, 50, 0, 30]));
    broker.command("up all");
    assert_eq!(distinct_scores(&broker), HashSet::new());
}

/// Pain 4: records that were under way when the brokers fell silent are unknown at the end, or not stored, never gone.
#[test]
fn sigterm_with_requests_under_way_accounts_for_them() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[("DRAIN_TIMEOUT", "1s")]);
    broker.command("slow all 20s");
    let mut asking = AckSender::connect(&sluice);
    asking.send(lines(0..50));
    eventually(PATIENCE, "all is with the client", || sluice.metric("gateway_inflight_records") == 50.0);
    sluice.signal(SIGTERM);
    let account = asking.read_to_end();
    assert_eq!((account.named.len(), account.closed), (50, Some(50)), "{account:?}");
    let end = ended(sluice);
    end.assert_balanced();
    let told = |unknown: bool| account.count(|told| matches!(told, Told::Unknown(_)) == unknown);
    assert_eq!((end.code, end.of("unknown"), end.of("not_stored")), (1, told(true), told(false)));
    assert_eq!((end.of("stored"), end.of("lost")), (0, 0));
}

/// S0-NFR3: bytes that our kernel acknowledged and that found no room until the end are counted, to the byte: exit 1.
#[test]
fn unread_bytes_are_counted_exactly() {
    let mut broker = cluster(1);
    let env = [("DRAIN_TIMEOUT", "1s"), ("BUFFER_MAX_MSGS", "10"), ("TCP_RECV_BUFFER_BYTES", "256KiB")];
    let sluice = serving(&broker, &env);
    broker.command("down all");
    await_readiness(&sluice, 503);
    let one = line("p", 7) + "\n";
    let mut senders = [sluice.connect(), sluice.connect()];
    for sender in &mut senders {
        sender.write_all(one.repeat(1000).as_bytes()).unwrap(); // less than the receive buffer holds
    }
    eventually(PATIENCE, "both are paused", || paused(&sluice, "queue") == 2);
    let end = stop(sluice);
    end.assert_balanced();
    assert_eq!((end.code, end.of("accepted"), end.of("lost")), (1, 10, 10));
    assert_eq!(end.of("unread_bytes"), 1990 * one.len() as u64);
}

/// S0-NFR3, S0-AC6: SIGTERM while 16 senders push at full speed: what was read is stored, each sender's part without a
/// gap; what was not read is counted and makes exit 1.
#[test]
fn sigterm_at_full_speed_stores_what_was_read() {
    let broker = cluster(3);
    let sluice = serving(&broker, &[]);
    let floods: Vec<Flood> = (0..16).map(|number| Flood::start(&sluice, first_score(number))).collect();
    await_stored(&sluice, 50_000);
    let end = stop(sluice);
    end.assert_balanced();
    let clean = ["rejected", "not_stored", "unknown", "lost"].map(|name| end.of(name));
    assert_eq!(clean, [0; 4], "{end:?}");
    assert_eq!(end.code, i32::from(end.of("unread_bytes") > 0), "{end:?}");
    let stored = topic(&broker);
    assert_each_ordered(&stored, 16);
    let scores: HashSet<u64> = stored.iter().map(|one| one.update.score as u64).collect();
    assert_eq!(scores.len() as u64, end.of("stored"));
    for (number, flood) in floods.into_iter().enumerate() {
        let (first, sent) = (first_score(number), flood.finish());
        assert!(sent.cut_off, "the gateway has closed the connection");
        let arrived = scores.iter().filter(|score| *score >> 32 == number as u64).count() as u64;
        // The line that the cut went through may have arrived whole: the sender cannot know.
        assert!(arrived <= sent.scores.end - first + 1, "{arrived} of {sent:?}");
        assert!((first..first + arrived).all(|score| scores.contains(&score)), "sender {number} has a gap");
    }
}

/// A second signal means now: no drain is waited for, and everything is accounted for all the same.
#[test]
fn a_second_signal_ends_it_now() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[("DRAIN_TIMEOUT", "60s")]);
    broker.command("down all");
    await_readiness(&sluice, 503);
    sluice.send_lines(&lines(0..25).lines().collect::<Vec<_>>());
    eventually(PATIENCE, "all is read", || sluice.metric("gateway_queue_records") == 25.0);
    sluice.signal(SIGTERM);
    sluice.await_log("gateway.drain");
    assert_eq!(sluice.get("/ready").0, 503);
    let start = Instant::now();
    sluice.signal(SIGTERM);
    let end = ended(sluice);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    end.assert_balanced();
    assert_eq!((end.code, end.of("not_stored"), end.of("lost")), (1, 25, 25));
}

/// SIGHUP changes nothing, SIGUSR1 writes the state to the log, and the gateway serves on.
#[test]
fn hup_is_harmless_and_usr1_dumps_the_state() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    sluice.send_lines(&lines(0..5).lines().collect::<Vec<_>>());
    await_stored(&sluice, 5);
    sluice.signal(SIGHUP);
    sluice.await_log("signal.hup");
    sluice.signal(SIGUSR1);
    for part in
        ["phase=ready", "accepted=5 stored=5", "records=0/10000", "partitions=6 down=0", "paused_queue=0"]
    {
        sluice.await_log(part);
    }
    sluice.send_lines(&[line("p", 5)]);
    await_stored(&sluice, 6);
    stop(sluice).assert_clean(6);
}

/// S0-R8: a drain fails readiness first, while it is still alive and takes its time.
#[test]
fn a_drain_fails_readiness_first() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[("DRAIN_TIMEOUT", "20s")]);
    broker.command("slow all 2s");
    sluice.send_lines(&[line("p", 1)]);
    eventually(PATIENCE, "it is under way", || sluice.metric("gateway_inflight_records") == 1.0);
    sluice.signal(SIGTERM);
    sluice.await_log("gateway.drain");
    let (ready, body) = sluice.get("/ready");
    assert_eq!((ready, sluice.get("/health").0), (503, 200));
    assert!(body.contains("draining"), "{body}");
    ended(sluice).assert_clean(1);
}
