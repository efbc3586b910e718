//! Dead letters on real Apache Kafka: what it refuses for good, what it refuses for want of a right, and a topic of
//! dead letters that is gone.

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use support::{PATIENCE, RealKafka, Record, Sluice, assert_balanced, command, eventually, read_all};

const SIGTERM: i32 = signal_hook::consts::SIGTERM;

/// One node for all tests of this file, one after the other; each has topics of its own. It ends with this process.
fn kafka() -> MutexGuard<'static, RealKafka> {
    static KAFKA: LazyLock<Mutex<RealKafka>> = LazyLock::new(|| Mutex::new(RealKafka::with_authorizer()));
    KAFKA.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A gateway whose topics begin with `name`; all of them are there.
fn gateway(kafka: &RealKafka, name: &str, more: &[(&str, &str)]) -> Sluice {
    let sluice = listening(kafka, name, more);
    await_lanes(&sluice, 8.0);
    sluice
}

fn listening(kafka: &RealKafka, name: &str, more: &[(&str, &str)]) -> Sluice {
    let topics = ["scores", "events", "players", "letters"].map(|topic| format!("{name}-{topic}"));
    let names = ["KAFKA_TOPIC", "EVENTS_TOPIC", "PLAYER_EVENTS_TOPIC", "KAFKA_DLQ_TOPIC"];
    let mut env = vec![
        ("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap()),
        ("KAFKA_PARTITIONS", "2"),
        ("KAFKA_DELIVERY_TIMEOUT_MS", "5000"),
        ("HTTP_PORT", "0"),
    ];
    env.extend(names.into_iter().zip(topics.iter().map(String::as_str)));
    env.extend(more);
    Sluice::start(&env)
}

/// Waits until so many partitions are known, and each has its leader.
#[track_caller]
fn await_lanes(sluice: &Sluice, partitions: f64) {
    sluice.await_ready();
    eventually(PATIENCE, "all topics have their leaders", || {
        let metrics = sluice.metrics();
        metrics["gateway_kafka_partitions"] == partitions && metrics["gateway_kafka_lanes_held"] == 0.0
    });
}

/// An event of so many bytes that no compression makes smaller.
fn event(number: u64, bytes: usize) -> String {
    let mut random = fastrand::Rng::with_seed(number);
    let noise: String = (0..bytes).map(|_| random.alphanumeric()).collect();
    format!(
        r#"{{"event_type":"login","player_id":"p-{number}","game_id":"g","timestamp":"2026-01-31T23:59:59Z","data":{{"noise":"{noise}"}}}}"#
    )
}

/// Sends an event that its sender does not wait for; its id.
#[track_caller]
fn send(sluice: &Sluice, event: &str) -> String {
    let answer = sluice.http().post("/api/v1/events?ack=queued", event);
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["event_id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn await_outcome(sluice: &Sluice, name: &str, records: u64) {
    let metric = format!("gateway_records_total{{outcome=\"{name}\"}}");
    eventually(PATIENCE, &format!("{records} records are {name}"), || {
        sluice.metric(&metric) == records as f64
    });
}

/// Ends it: exit code 0, so many stored, so many dead letters, and nothing else.
#[track_caller]
fn stop(sluice: Sluice, stored: u64, letters: u64) {
    sluice.signal(SIGTERM);
    let (code, stop) = sluice.wait();
    assert_balanced(&stop);
    let numbers = ["stored", "dead_lettered", "not_stored", "unknown", "lost"].map(|name| stop[name]);
    assert_eq!((code, numbers), (0, [stored, letters, 0, 0, 0]), "{stop:?}");
}

fn headers(record: &Record) -> HashMap<&str, &str> {
    record.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// A letter is the record as it would have been, and says why it is none.
#[track_caller]
fn check(letter: &Record, event: &str, id: &str, source: &str, code: &str) {
    let player = event.split('"').nth(7).unwrap();
    assert_eq!(letter.key, player.as_bytes(), "{letter:?}");
    assert!(letter.value.ends_with(&event.as_bytes()[1..]), "{letter:?}");
    let headers = headers(letter);
    let own = ["event_type", "event_id"].map(|name| headers[name]);
    assert_eq!((own, headers.len()), (["login", id], 2 + 6), "{headers:?}");
    let said = ["dlq.code", "dlq.stage", "dlq.source_topic", "dlq.attempts"].map(|name| headers[name]);
    assert_eq!(said, [code, "deliver", source, "1"], "{headers:?}");
    assert!(!headers["dlq.reason"].is_empty() && headers["dlq.time"].ends_with('Z'), "{headers:?}");
}

/// `sluice dead-letters` with these arguments: exit code and stdout.
fn letters(dir: &Path, arguments: &[&str]) -> (i32, String) {
    let dir = dir.to_str().unwrap();
    let output = command(&[&["dead-letters"], arguments, &["--dir", dir]].concat(), &[]).output().unwrap();
    eprint!("{}", String::from_utf8_lossy(&output.stderr)); // shown if the test fails
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// The topic takes less than it did when the gateway asked: Kafka refuses what is too large now, for good. What is
/// small enough goes on, and a sender that waits is told.
#[test]
fn a_topic_that_takes_less_than_it_did() {
    let kafka = kafka();
    let sluice = gateway(&kafka, "less", &[]);
    let (small, large) = (event(1, 100), event(2, 20_000));
    send(&sluice, &large);
    await_outcome(&sluice, "stored", 1);
    kafka.topic_config("less-players", "max.message.bytes", "2000");
    eventually(PATIENCE, "the broker follows", || {
        let answer = sluice.http().post("/api/v1/events", &large);
        assert!(matches!(answer.status, 200 | 413), "{answer:?}");
        answer.status == 413
    });
    let stored = sluice.metric("gateway_records_total{outcome=\"stored\"}") as u64;
    let id = send(&sluice, &large);
    await_outcome(&sluice, "dead_lettered", 1);
    send(&sluice, &small);
    await_outcome(&sluice, "stored", stored + 1);
    stop(sluice, stored + 1, 1);
    let found = read_all(kafka.bootstrap(), "less-letters");
    let [letter] = &found[..] else { panic!("{found:?}") };
    check(letter, &large, &id, "less-players", "MSG_SIZE_TOO_LARGE");
    assert_eq!(read_all(kafka.bootstrap(), "less-players").len() as u64, stored + 1);
}

/// The right to write is taken away while the gateway runs, and given again.
#[test]
fn a_topic_that_may_not_be_written_any_more() {
    let kafka = kafka();
    let sluice = gateway(&kafka, "denied", &[]);
    kafka.deny_writes("denied-players");
    let events: Vec<String> = (0..3).map(|number| event(number, 100)).collect();
    let ids: Vec<String> = events.iter().map(|event| send(&sluice, event)).collect();
    await_outcome(&sluice, "dead_lettered", 3);
    kafka.allow_writes("denied-players");
    eventually(PATIENCE, "writes are taken again", || {
        let answer = sluice.http().post("/api/v1/events", event(9, 100));
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
        answer.status == 200
    });
    sluice.signal(SIGTERM);
    let (code, stop) = sluice.wait();
    assert_balanced(&stop);
    assert_eq!((code, stop["dead_lettered"], stop["stored"], stop["lost"]), (0, 3, 1, 0), "{stop:?}");
    let found = read_all(kafka.bootstrap(), "denied-letters");
    assert_eq!(found.len(), 3, "{found:?}");
    for (event, id) in events.iter().zip(&ids) {
        let letter = found.iter().find(|letter| headers(letter)["event_id"] == id).expect("each one");
        let stage = headers(letter)["dlq.stage"];
        match stage {
            // The first one was refused; those after it may wait until they may try, and wait in vain.
            "wait" => assert_eq!(headers(letter)["dlq.code"], "DEADLINE"),
            _ => check(letter, event, id, "denied-players", "TOPIC_AUTHORIZATION_FAILED"),
        }
    }
}

/// There never was a topic of dead letters, and it cannot be made: events flow all the same. What Kafka refuses is in the
/// folder; without one it is named, once it has waited in vain.
#[test]
fn a_topic_of_dead_letters_that_cannot_be_made() {
    let kafka = kafka();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    for topic in ["scores", "events", "players"] {
        kafka.topic_create(&format!("never-{topic}"), 2, 1, &[]);
    }
    for more in [&[("DEAD_LETTER_DIR", dir)][..], &[]] {
        // More replicas than there are brokers.
        let sluice = listening(&kafka, "never", &[&[("KAFKA_REPLICATION_FACTOR", "3")], more].concat());
        sluice.await_log("topic.absent name=never-letters");
        await_lanes(&sluice, 6.0);
        kafka.deny_writes("never-players");
        let id = send(&sluice, &event(7, 100));
        let answer = sluice.http().post("/events?ack=delivered", "{}");
        assert_eq!(answer.status, 200, "{answer:?}");
        if more.is_empty() {
            sluice.await_log(&format!("event.lost id=\"{id}\""));
            sluice.signal(SIGTERM);
            let (code, stop) = sluice.wait();
            assert_balanced(&stop);
            let numbers = ["stored", "dead_lettered", "not_stored", "lost"].map(|name| stop[name]);
            assert_eq!((code, numbers), (1, [1, 0, 1, 1]), "{stop:?}");
        } else {
            await_outcome(&sluice, "dead_lettered", 1);
            let (code, list) = letters(folder.path(), &["list"]);
            assert!(code == 0 && list.lines().count() == 1 && list.contains(&id), "{list}");
            stop(sluice, 1, 1);
        }
        kafka.allow_writes("never-players");
    }
}

/// The topic of dead letters is deleted while the gateway runs, and nobody makes it anew: letters go to the folder.
/// From there they are sent again once their own topic takes them.
#[test]
fn a_topic_of_dead_letters_that_is_gone() {
    let kafka = kafka();
    let folder = tempfile::tempdir().unwrap();
    let sluice = gateway(&kafka, "gone", &[("DEAD_LETTER_DIR", folder.path().to_str().unwrap())]);
    let first = send(&sluice, &event(0, 100));
    await_outcome(&sluice, "stored", 1);
    kafka.deny_writes("gone-players");
    kafka.topic_delete("gone-letters");
    let mut ids: Vec<String> = (1..=20).map(|number| send(&sluice, &event(number, 100))).collect();
    await_outcome(&sluice, "dead_lettered", 20);
    // Nobody is held up by it.
    let answer = sluice.http().post("/events?ack=delivered", "{}");
    assert_eq!(answer.status, 200, "{answer:?}");
    stop(sluice, 2, 20);

    let (code, list) = letters(folder.path(), &["list"]);
    assert_eq!((code, list.lines().count()), (0, 20), "{list}");
    assert!(ids.iter().all(|id| list.contains(id.as_str())), "{list}");
    let resend = ["resend", "--brokers", kafka.bootstrap(), "--timeout", "3s"];
    let (code, said) = letters(folder.path(), &resend);
    assert_eq!((code, said.trim_end()), (1, "resent=0 failed=20 left=20 damaged_bytes=0"));
    kafka.allow_writes("gone-players");
    eventually(PATIENCE, "writes are taken again", || letters(folder.path(), &resend).0 == 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a finished file is removed");

    let records = read_all(kafka.bootstrap(), "gone-players");
    let mut stored: Vec<&str> = records.iter().map(|record| headers(record)["event_id"]).collect();
    ids.push(first);
    stored.sort_unstable();
    ids.sort_unstable();
    assert_eq!(stored, ids, "each is there, once");
    assert!(records.iter().all(|record| record.headers.len() == 2 && record.has_key), "{records:?}");
}
