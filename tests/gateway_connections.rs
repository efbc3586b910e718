//! Senders that behave badly, and many of them: slow, silent, rude, too many. The others never notice.

mod gateway;
mod support;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use gateway::acks::AckSender;
use gateway::{
    await_stored, cluster, connections, distinct_scores, line, lines, outcome, paused, serving, stop,
};
use rlimit::Resource;
use support::{PATIENCE, Sluice, eventually};

fn open_files(sluice: &Sluice) -> usize {
    fs::read_dir(format!("/proc/{}/fd", sluice.pid())).expect("it runs").count()
}

/// Pain 8, G6: one sender trickles its line byte by byte, one says nothing and never closes, one stops in mid-line;
/// another one's lines arrive meanwhile, and the trickled line in the end.
#[test]
fn slow_and_silent_senders_hold_nobody_up() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    let _silent = sluice.connect();
    let mut torn = sluice.connect();
    torn.write_all(&line("torn", 9).as_bytes()[..30]).unwrap();
    let mut trickling = sluice.connect();
    trickling.set_nodelay(true).unwrap();
    let text = format!("{}\n", line(&"t".repeat(120), 1_000_000));
    assert!(text.len() > 180, "about 200 bytes");
    let mut quick = AckSender::connect(&sluice);
    for (number, byte) in text.bytes().enumerate() {
        trickling.write_all(&[byte]).unwrap();
        quick.send(line("quick", number as u64) + "\n");
        quick.await_account("its answer", |account| account.plus > number as u64);
    }
    await_stored(&sluice, text.len() as u64 + 1);
    assert_eq!(connections(&sluice), 4);
    assert_eq!(quick.finish().stored(), text.len() as u64);
    let end = stop(sluice);
    assert_eq!(end.of("stored"), text.len() as u64 + 1);
    end.assert_balanced();
}

/// A sender that resets in mid-line: its whole lines are stored, the torn one is no message, its socket is gone.
#[test]
fn a_reset_in_mid_line_costs_only_that_line() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    for round in 0..20 {
        let mut sender = sluice.connect();
        sender.write_all(lines(10 * round..10 * (round + 1)).as_bytes()).unwrap();
        sender.write_all(&line("torn", 9).as_bytes()[..25]).unwrap();
        await_stored(&sluice, 10 * (round + 1));
        socket2::SockRef::from(&sender).set_linger(Some(Duration::ZERO)).unwrap();
        drop(sender); // with linger 0 this is a reset
    }
    eventually(PATIENCE, "the connections are gone", || connections(&sluice) == 0);
    assert_eq!(sluice.metric("gateway_records_received_total"), 200.0);
    stop(sluice).assert_clean(200);
    assert_eq!(distinct_scores(&broker), (0..200).collect());
}

/// A sender with answers that is gone before they come: its receipts miss harmlessly, the ledger balances, and the
/// next one in its slot gets its own answers only.
#[test]
fn receipts_for_a_sender_that_is_gone_reach_nobody_else() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[]);
    broker.command("slow all 500ms");
    for round in 0..3 {
        let mut gone = AckSender::connect(&sluice);
        gone.send(lines(100 * round..100 * round + 100));
        let read = (101 * round + 100) as f64;
        eventually(PATIENCE, "it is read", || sluice.metric("gateway_records_received_total") == read);
        socket2::SockRef::from(gone.stream()).set_linger(Some(Duration::ZERO)).unwrap();
        drop(gone);
        eventually(PATIENCE, "it is gone", || connections(&sluice) == 0);
        let mut next = AckSender::connect(&sluice);
        next.send("no json\n");
        let account = next.finish();
        assert_eq!((account.plus, account.named.len(), account.closed), (0, 1, Some(1)), "{account:?}");
    }
    await_stored(&sluice, 300);
    stop(sluice).assert_clean(300);
}

/// G4: an idle connection costs under 2 KiB of ours. 10,000 of them, or as many as this machine's file limit allows.
#[test]
fn ten_thousand_idle_connections_cost_under_2_kib_each() {
    let (_, hard) = Resource::NOFILE.get().unwrap();
    rlimit::increase_nofile_limit(hard).unwrap();
    let count = 10_000.min(hard.saturating_sub(400)) as usize;
    println!("{count} idle connections, hard limit of open files {hard}");
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    sluice.send_lines(&lines(0..100).lines().collect::<Vec<_>>());
    await_stored(&sluice, 100);
    let before = sluice.rss_kib();
    let idle: Vec<TcpStream> = (0..count).map(|_| TcpStream::connect(sluice.listen()).unwrap()).collect();
    eventually(PATIENCE, "all are taken", || connections(&sluice) == count as u64);
    let bytes = (sluice.rss_kib() - before) * 1024 / count as u64;
    println!("{bytes} bytes of resident memory a connection");
    assert!(bytes < 2048, "{bytes} bytes a connection");
    // They are connections as good as any.
    for (score, mut one) in idle.iter().step_by(count / 10).enumerate() {
        one.write_all((line("idle", 1000 + score as u64) + "\n").as_bytes()).unwrap();
    }
    await_stored(&sluice, 110);
    let start = Instant::now();
    let end = stop(sluice);
    end.assert_clean(110);
    assert!(start.elapsed() < Duration::from_secs(10), "it ended after {:?}", start.elapsed());
}

/// Pain 8: 1,000 connections that come and go within about a second, some with a line, leave nothing behind.
#[test]
fn a_thousand_connections_come_and_go() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    eventually(PATIENCE, "a calm start", || connections(&sluice) == 0);
    let before = open_files(&sluice);
    let start = Instant::now();
    for number in 0..1000 {
        let mut one = sluice.connect();
        if number % 10 == 0 {
            one.write_all(line("p", number).as_bytes()).unwrap();
        }
    }
    println!("1,000 connections in {:?}", start.elapsed());
    await_stored(&sluice, 100);
    let taken = || sluice.metric("gateway_connections_accepted_total{listener=\"tcp\"}");
    eventually(PATIENCE, "all were taken", || taken() == 1000.0);
    eventually(PATIENCE, "all are gone", || connections(&sluice) == 0);
    eventually(PATIENCE, "no descriptor is left behind", || open_files(&sluice) <= before);
    stop(sluice).assert_clean(100);
}

/// Descriptors exhausted: accepting pauses and says so, those connected go on, and once there are descriptors again
/// those who waited are taken in, with what they had sent.
#[test]
fn exhausted_descriptors_pause_the_door_only() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    let mut first = AckSender::connect(&sluice);
    eventually(PATIENCE, "it is connected", || connections(&sluice) == 1);
    let (pid, room) = (sluice.pid() as i32, 10);
    let (mut old_soft, mut old_hard) = (0, 0);
    rlimit::prlimit(pid, Resource::NOFILE, None, Some((&mut old_soft, &mut old_hard))).unwrap();
    let tight = (open_files(&sluice) + room) as u64;
    rlimit::prlimit(pid, Resource::NOFILE, Some((tight, old_hard)), None).unwrap();

    let mut crowd: Vec<TcpStream> = (0..50).map(|_| sluice.connect()).collect();
    for (score, one) in crowd.iter_mut().enumerate() {
        one.write_all((line("crowd", score as u64) + "\n").as_bytes()).unwrap();
    }
    let log = sluice.await_log("accept.paused");
    assert!(log.contains("[WARN]") && log.contains("MAX_CONNECTIONS"), "{log}");
    for number in 1..=20 {
        first.send(line("first", 1000 + number) + "\n");
        first.await_account("its answer while the door is shut", |account| account.plus >= number);
    }
    let busy = cpu_time(&sluice);
    let start = Instant::now();
    eventually(PATIENCE, "half a second passes", || start.elapsed() > Duration::from_millis(500));
    let spent = cpu_time(&sluice) - busy;
    assert!(spent < Duration::from_millis(200), "{spent:?} of CPU in half a second before a shut door");

    drop(crowd.drain(..25)); // those who were in leave their places to those who wait
    eventually(PATIENCE, "some of those who waited are in", || connections(&sluice) > 5);
    rlimit::prlimit(pid, Resource::NOFILE, Some((old_soft, old_hard)), None).unwrap();
    await_stored(&sluice, 70);
    assert!(sluice.metric("gateway_accept_errors_total{listener=\"tcp\"}") >= 1.0);
    assert_eq!(connections(&sluice), 26);
    drop((crowd, first));
    stop(sluice).assert_clean(70);
}

/// CPU time that the gateway has used so far.
fn cpu_time(sluice: &Sluice) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", sluice.pid())).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10) // USER_HZ is 100 wherever Linux runs
}

/// Pain 8: at MAX_CONNECTIONS the next ones wait in the kernel, without a permit held for the idle: as one leaves,
/// one is taken. The health listener answers all the while.
#[test]
fn connections_beyond_the_limit_wait_their_turn() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[("MAX_CONNECTIONS", "8")]);
    let mut crowd: Vec<TcpStream> = (0..12)
        .map(|score| {
            let mut one = sluice.connect();
            one.write_all((line("crowd", score) + "\n").as_bytes()).unwrap();
            one
        })
        .collect();
    await_stored(&sluice, 8);
    assert_eq!((connections(&sluice), sluice.get("/health").0), (8, 200));
    assert_eq!(outcome(&sluice, "stored"), 8);
    for more in 1..=4 {
        drop(crowd.remove(0));
        await_stored(&sluice, 8 + more);
        assert_eq!(connections(&sluice), 8);
    }
    drop(crowd);
    eventually(PATIENCE, "all are gone", || connections(&sluice) == 0);
    sluice.send_lines(&[line("p", 100)]);
    await_stored(&sluice, 13);
    stop(sluice).assert_clean(13);
}

/// G12, G4: a client that does not read its answers is paused, not buffered for ever; once it reads, it is told all.
#[test]
fn a_client_that_does_not_read_its_answers_is_paused() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    let mut deaf = AckSender::connect(&sluice);
    let before = sluice.rss_kib();
    deaf.stream().set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    // Each of these is answered at length; what does not go through any more is left to the kernel.
    let (bad, mut sent) = ("x\n".repeat(1000), 0);
    let blocked = loop {
        match deaf.stream().write(bad.as_bytes()) {
            Ok(count) => sent += count,
            Err(error) => break error.kind(),
        }
        assert!(sent < 100 << 20, "100 MiB went through with no answer read");
    };
    assert!(matches!(blocked, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{blocked}");
    assert_eq!(paused(&sluice, "answers"), 1);
    let (_, state) = sluice.get("/state");
    assert!(state.contains("reason=answers"), "{state}");
    let grown = sluice.rss_kib().saturating_sub(before);
    println!("{sent} bytes went through, {grown} KiB of memory more");
    assert!(grown < 4096, "{grown} KiB more for one client");

    let mut other = AckSender::connect(&sluice);
    other.send(lines(0..10));
    assert_eq!(other.finish().stored(), 10);

    deaf.stream().shutdown(Shutdown::Write).unwrap();
    let account = deaf.read_to_end();
    let messages = sent.div_ceil(2) as u64;
    assert_eq!((account.closed, account.named.len() as u64), (Some(messages), messages));
    assert_eq!(stop(sluice).of("rejected"), messages);
}

/// A client whose answers cannot come yet, and who sends more than may be outstanding, is paused without heat: the
/// gateway sleeps until there is something to say.
#[test]
fn answers_that_are_outstanding_cost_no_time() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[]);
    broker.command("down all");
    gateway::await_readiness(&sluice, 503);
    let mut asking = AckSender::connect(&sluice);
    asking.send(line("p", 1) + "\n");
    asking.send("x\n".repeat(140_000)); // more than may wait behind one open answer
    eventually(PATIENCE, "it is paused for its answers", || paused(&sluice, "answers") == 1);
    let (busy, start) = (cpu_time(&sluice), Instant::now());
    eventually(PATIENCE, "a second passes", || start.elapsed() > Duration::from_secs(1));
    let spent = cpu_time(&sluice) - busy;
    assert!(spent < Duration::from_millis(300), "{spent:?} of CPU in a second of waiting");
    broker.command("up all");
    let account = asking.finish();
    assert_eq!((account.plus, account.closed), (1, Some(140_001)));
    assert_eq!(account.named.len(), 140_000);
    stop(sluice).assert_clean(1);
}

/// S0-R1: a peer that has closed for reading, too, gets no chance to hurt: the gateway ends its side quietly.
#[test]
fn a_peer_that_closes_both_ways_is_no_trouble() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    for round in 0..50 {
        let mut asking = AckSender::connect(&sluice);
        asking.send(line("p", round) + "\nbad\n");
        let _ = asking.stream().shutdown(Shutdown::Both);
    }
    await_stored(&sluice, 50);
    eventually(PATIENCE, "all are gone", || connections(&sluice) == 0);
    let mut last = sluice.connect();
    last.write_all(b"#ack\n").unwrap();
    last.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    last.read_to_string(&mut said).unwrap();
    assert_eq!(said, ". 0\n");
    stop(sluice).assert_clean(50);
}
