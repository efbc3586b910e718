//! HTTP while Kafka or the peers are in trouble: what was told is true, and nothing grows.

mod gateway;
mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use gateway::web::{EVENTS, PLAYERS, distinct_ids, event, player_event, stored, web, web_cluster};
use gateway::{PARTITIONS, await_readiness, await_stored, ended, outcome, stop};
use signal_hook::consts::SIGTERM;
use support::{PATIENCE, eventually, request};

/// While Kafka is away, /events goes on queueing until the buffer is full, then 503 with Retry-After on a connection
/// that stays usable; every 202 is stored in the end, and no 503 is.
#[test]
fn an_outage_is_buffered_then_refused_and_every_202_is_stored() {
    let mut broker = web_cluster();
    let sluice = web(&broker, &[("BUFFER_MAX_MSGS", "200")]);
    broker.command("down all");
    await_readiness(&sluice, 503);
    let mut http = sluice.http();
    let (mut taken, mut refused) = (BTreeSet::new(), 0_u64);
    let before = sluice.rss_kib();
    for round in 0..20 {
        let mut bytes = Vec::new();
        for at in 0..50 {
            bytes.extend(request("POST", "/events", &[], event(&format!("{round}-{at}")).as_bytes()));
        }
        http.send(bytes);
        for at in 0..50 {
            let answer = http.answer();
            match answer.status {
                202 => assert!(taken.insert(format!("{round}-{at}"))),
                _ => {
                    assert_eq!((answer.status, answer.code()), (503, "overloaded".into()), "{answer:?}");
                    assert_eq!((answer.header("retry-after"), answer.closes()), (Some("5"), false));
                    assert_eq!(answer.json()["outcome"], "not_stored");
                    refused += 1;
                }
            }
        }
    }
    assert_eq!((taken.len(), refused), (200, 800));
    // A batch that cannot fit is refused as a whole, one that could never fit for good.
    let batch = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
    assert_eq!(http.post("/events", batch(2)).status, 503);
    assert_eq!(http.ask("GET", "/health", &[], b"").status, 200);
    assert!(sluice.rss_kib() < before + (8 << 10), "{} KiB, before {before}", sluice.rss_kib());

    broker.command("up all");
    await_readiness(&sluice, 200);
    await_stored(&sluice, 200);
    assert_eq!(http.post("/events", batch(201)).status, 413);
    let answer = http.post("/events?ack=delivered", event("after"));
    assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("stored")));
    taken.insert("after".into());
    let end = stop(sluice);
    end.assert_balanced();
    let numbers = ["stored", "unknown", "lost", "unread_bytes"].map(|name| end.of(name));
    assert_eq!((end.code, numbers), (0, [201, 0, 0, 0]), "{end:?}");
    assert_eq!(distinct_ids(&broker), taken);
}

/// A delivered request's deadline: what is still ours is taken out and answered `not_stored`.
#[test]
fn a_deadline_before_the_client_library_is_not_stored() {
    let mut broker = web_cluster();
    let sluice = web(&broker, &[]);
    broker.command("down all");
    await_readiness(&sluice, 503);
    let mut http = sluice.http();
    for path in ["/events?ack=delivered&timeout=300ms", "/api/v1/events?timeout=300ms"] {
        let start = Instant::now();
        let answer = http.post(path, player_event("p"));
        let took = start.elapsed();
        assert_eq!((answer.status, answer.code()), (503, "DEADLINE".into()), "{answer:?}");
        assert_eq!(
            (&answer.json()["outcome"], &answer.json()["retryable"]),
            (&"not_stored".into(), &true.into())
        );
        assert!(answer.header("retry-after").is_some() && answer.json()["event_id"].is_string());
        assert!(took >= Duration::from_millis(290) && took < Duration::from_millis(1500), "{took:?}");
    }
    // Items of a batch share their request's deadline.
    let answer = http.post("/events?ack=delivered&timeout=300ms", "[{},7,{}]");
    let told = answer.json();
    let statuses: Vec<_> = (0..3).map(|at| told["items"][at]["status"].as_u64().unwrap()).collect();
    assert_eq!((answer.status, statuses), (207, vec![503, 400, 503]), "{answer:?}");
    let wait: u32 = answer.header("retry-after").expect("how long to wait").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    broker.command("up all");
    await_readiness(&sluice, 200);
    assert_eq!(http.post("/api/v1/events", player_event("q")).status, 200);
    let end = stop(sluice);
    end.assert_balanced();
    let numbers = ["stored", "not_stored", "rejected", "unknown", "lost"].map(|name| end.of(name));
    assert_eq!((end.code, numbers), (0, [1, 4, 1, 0, 0]), "{end:?}");
    assert_eq!((stored(&broker, EVENTS).len(), stored(&broker, PLAYERS).len()), (0, 1));
}

/// A record that the client library has when the broker falls silent may be stored: 504 `unknown`. The idle time may
/// well be shorter than that wait.
#[test]
fn a_deadline_inside_the_client_library_is_unknown() {
    let mut broker = web_cluster();
    let sluice = web(&broker, &[("HTTP_IDLE_TIMEOUT", "200ms"), ("DRAIN_TIMEOUT", "500ms")]);
    assert_eq!(sluice.http().post("/events?ack=delivered", event("heard")).status, 200);
    broker.command("slow all 20s");
    let mut http = sluice.http();
    let start = Instant::now();
    let answer = http.post("/events?ack=delivered&timeout=400ms", event("silent"));
    let took = start.elapsed();
    assert_eq!((answer.status, &answer.json()["outcome"]), (504, &"unknown".into()), "{answer:?}");
    assert!(took >= Duration::from_millis(390) && took < Duration::from_millis(2000), "{took:?}");
    http.assert_ends();
    assert_eq!(sluice.get("/health").0, 200, "the loop goes on");
    let end = stop(sluice);
    end.assert_balanced();
    assert_eq!((end.code, end.of("unknown"), end.of("stored")), (1, 1, 1), "{end:?}");
}

/// SIGTERM with requests in flight: each is answered, the last answer of a connection says `close`; half a request is
/// refused, idle connections end, and the exit code is clean.
#[test]
fn sigterm_answers_what_is_in_flight() {
    let mut broker = web_cluster();
    let sluice = web(&broker, &[]);
    broker.command("slow all 700ms");
    let mut idle = sluice.http();
    assert_eq!(idle.ask("GET", "/health", &[], b"").status, 200);
    let mut half = sluice.http();
    half.send("POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{");
    let mut busy: Vec<_> = (0..4).map(|_| sluice.http()).collect();
    for (at, http) in busy.iter_mut().enumerate() {
        // Pipelined: only the last one may say that it is the last.
        for part in 0..=at {
            let id = format!("{at}-{part}");
            http.send(request("POST", "/events?ack=delivered", &[], event(&id).as_bytes()));
        }
    }
    eventually(PATIENCE, "all are in the buffer", || sluice.metric("gateway_queue_records") == 10.0);
    sluice.signal(SIGTERM);
    idle.assert_ends();
    let answer = half.answer();
    assert_eq!((answer.status, answer.code(), answer.closes()), (503, "draining".into(), true));
    half.assert_ends();
    for (at, http) in busy.iter_mut().enumerate() {
        for part in 0..=at {
            let answer = http.answer();
            assert_eq!((answer.status, answer.closes()), (200, part == at), "{at} {part}: {answer:?}");
        }
        http.assert_ends();
    }
    let end = ended(sluice);
    end.assert_clean(10);
    broker.command("slow all 0ms");
    assert_eq!(distinct_ids(&broker).len(), 10);
}

/// Slow heads and bodies are told so, idle connections are ended, and none of that harms the others.
#[test]
fn slow_peers_are_told_and_cut_off() {
    let broker = web_cluster();
    let times =
        [("HTTP_HEADER_TIMEOUT", "300ms"), ("HTTP_BODY_TIMEOUT", "600ms"), ("HTTP_IDLE_TIMEOUT", "400ms")];
    let sluice = web(&broker, &times);
    let start = Instant::now();
    let (mut idle, mut head, mut body) = (sluice.http(), sluice.http(), sluice.http());
    head.send("POST /eve");
    body.send("POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{");
    let mut later = sluice.http();
    assert_eq!(later.post("/events", event("1")).status, 202);
    later.send("P");
    let answer = head.answer();
    assert_eq!((answer.status, answer.code(), answer.closes()), (408, "head_too_slow".into(), true));
    assert!(start.elapsed() >= Duration::from_millis(290));
    head.assert_ends();
    idle.assert_ends();
    assert!(start.elapsed() >= Duration::from_millis(390));
    let answer = body.answer();
    assert_eq!((answer.status, answer.code(), answer.closes()), (408, "body_too_slow".into(), true));
    assert!(start.elapsed() >= Duration::from_millis(590));
    body.assert_ends();
    assert_eq!(later.answer().status, 408);
    later.assert_ends();
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    // One byte at a time earns no further time.
    let mut slow = sluice.http();
    let start = Instant::now();
    for byte in b"POST /events HTTP/1.1\r\nHost: abcdefghijklmnopqrstuvwxyz" {
        if !slow.try_send(&[*byte]) || start.elapsed() > Duration::from_millis(700) {
            break;
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    assert_eq!(slow.answer().status, 408);
    await_stored(&sluice, 1);
    stop(sluice).assert_clean(1);
}

/// One route's topic is stuck: its share of the buffer fills, then 503; the other route works all along.
#[test]
fn a_stuck_topic_leaves_the_other_route_working() {
    let mut broker = web_cluster();
    let soon = ("KAFKA_CONF_TOPIC_METADATA_REFRESH_INTERVAL_MS", "500");
    let sluice = web(&broker, &[("BUFFER_MAX_MSGS", "400"), soon]);
    let (mut stuck, mut other) = (sluice.http(), sluice.http());
    assert_eq!(stuck.post("/events?ack=delivered", event("before")).status, 200);
    assert_eq!(other.post("/api/v1/events", player_event("before")).status, 200);
    let held = || sluice.metric("gateway_kafka_lanes_held");
    eventually(PATIENCE, "all lanes are up", || held() == 0.0);
    for partition in 0..PARTITIONS {
        broker.command(&format!("leader {EVENTS} {partition} none"));
    }
    // Before that nothing may be sent: the mock cluster does not survive a record for a partition without a leader.
    eventually(PATIENCE, "its lanes are held", || held() == f64::from(PARTITIONS));
    let mut taken = BTreeSet::new();
    for at in 0..1000 {
        let answer = stuck.post("/events", event(&format!("{at}")));
        match answer.status {
            202 => assert!(taken.insert(format!("{at}"))),
            _ => assert_eq!((answer.status, answer.code()), (503, "overloaded".into()), "{answer:?}"),
        }
        if at % 20 == 0 {
            let answer = other.post("/api/v1/events", player_event(&format!("p{at}")));
            assert_eq!(answer.status, 200, "{at}: {answer:?}");
        }
    }
    assert!(!taken.is_empty() && taken.len() < 400, "{} of 1000 found room", taken.len());
    assert_eq!(outcome(&sluice, "stored"), 2 + 50);
    for partition in 0..PARTITIONS {
        broker.command(&format!("leader {EVENTS} {partition} 1"));
    }
    await_stored(&sluice, 2 + 50 + taken.len() as u64);
    taken.insert("before".to_owned());
    let end = stop(sluice);
    end.assert_balanced();
    assert_eq!((end.code, end.of("lost")), (0, 0), "{end:?}");
    assert_eq!(distinct_ids(&broker), taken);
    assert_eq!(stored(&broker, PLAYERS).len(), 1 + 50);
}
