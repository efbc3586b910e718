//! Dead letters: an event that was answered 202 and that Kafka does not take goes to the topic for such, or to the
//! file, or is named in the log; the ledger says which, and `sluice dead-letters` sends it again.

mod gateway;
mod support;

use std::path::Path;

use gateway::{assert_ended, await_outcome, cluster, stop};
use support::{Broker, PATIENCE, Record, Sluice, command, eventually, read_all};

const ID: &str = "0b6f6a52-2a39-4b7c-9a5b-0d5f3c1e8a11";
const EVENT: &str = r#"{"event_id":"0b6f6a52-2a39-4b7c-9a5b-0d5f3c1e8a11","event_type":"level_up","player_id":"p-1","game_id":"g","timestamp":"2024-01-01T00:00:00Z"}"#;

/// A gateway that takes events over HTTP, in front of `broker`, and has found all its topics.
fn serving(broker: &Broker, env: &[(&str, &str)]) -> Sluice {
    let own = [
        ("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap()),
        ("KAFKA_TOPIC", gateway::TOPIC),
        ("HTTP_PORT", "0"),
    ];
    let sluice = Sluice::start(&[&own, env].concat());
    sluice.await_ready();
    let has_letters = !env.contains(&("KAFKA_DLQ_TOPIC", "off"));
    let partitions = f64::from(gateway::PARTITIONS + if has_letters { 6 } else { 4 });
    eventually(PATIENCE, "all topics have their leaders", || {
        let metrics = sluice.metrics();
        metrics["gateway_kafka_partitions"] == partitions && metrics["gateway_kafka_lanes_held"] == 0.0
    });
    sluice
}

/// All topics of a gateway, so that they are found at once: the mock has no admin interface to make them.
fn topics(broker: &mut Broker, letters: bool) {
    for topic in ["events", "player.events.raw"] {
        broker.command(&format!("topic {topic} 2"));
    }
    if letters {
        broker.command("topic events-dlq 2");
    }
}

/// Sends [`EVENT`] to the second route, whose records have keys and headers, and is told 202.
#[track_caller]
fn send(sluice: &Sluice) {
    send_as(sluice, ID);
}

/// The same event as another one: with the same id it would be a retry.
#[track_caller]
fn send_other(sluice: &Sluice, number: usize) {
    send_as(sluice, &format!("{}{number:04}", &ID[..32]));
}

#[track_caller]
fn send_as(sluice: &Sluice, id: &str) {
    let (status, body) = sluice.post("/api/v1/events?ack=queued", &EVENT.replace(ID, id));
    assert_eq!(status, 202, "{body}");
}

fn headers(record: &Record) -> Vec<(&str, &str)> {
    record.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// `sluice dead-letters` with these arguments: exit code and stdout.
fn letters(dir: &Path, arguments: &[&str]) -> (i32, String) {
    let dir = dir.to_str().unwrap();
    let output = command(&[&["dead-letters"], arguments, &["--dir", dir]].concat(), &[]).output().unwrap();
    eprint!("{}", String::from_utf8_lossy(&output.stderr)); // shown if the test fails
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// Refused for good, or for want of a right: the event is in the topic of dead letters as it would have been in its
/// own, and says why it is there.
#[test]
fn a_refused_event_goes_to_the_topic_of_dead_letters() {
    for code in ["MSG_SIZE_TOO_LARGE", "TOPIC_AUTHORIZATION_FAILED"] {
        let mut broker = cluster(1);
        topics(&mut broker, true);
        let sluice = serving(&broker, &[]);
        send_other(&sluice, 0);
        await_outcome(&sluice, "stored", 1);
        broker.command(&format!("refuse produce {code} 1"));
        send(&sluice);
        await_outcome(&sluice, "dead_lettered", 1);
        assert_ended(&stop(sluice), 0, [1, 0, 0, 1, 0]);

        let stored = read_all(broker.bootstrap(), "player.events.raw").remove(0);
        let letters = read_all(broker.bootstrap(), "events-dlq");
        let [letter] = &letters[..] else { panic!("{letters:?}") };
        assert_eq!(letter.key, stored.key);
        assert!(String::from_utf8_lossy(&letter.value).contains(ID));
        let (mut own, added) = (headers(&stored), headers(letter));
        own.iter_mut().filter(|(name, _)| *name == "event_id").for_each(|(_, id)| *id = ID);
        assert!(added.starts_with(&own) && !own.is_empty(), "{added:?}");
        let of = |name| added.iter().find(|(known, _)| *known == name).unwrap().1;
        let said = ["dlq.code", "dlq.stage", "dlq.source_topic", "dlq.attempts"].map(of);
        assert_eq!(said, [code, "deliver", "player.events.raw", "1"]);
        assert!(!of("dlq.reason").is_empty() && of("dlq.time").ends_with('Z'));
        assert_eq!(added.len(), own.len() + 6);
    }
}

/// A sender that gave a key was promised the same. The key is free again then: a retry is taken, with the letter's id.
#[test]
fn an_event_with_a_key_goes_there_as_well() {
    let mut broker = cluster(1);
    topics(&mut broker, true);
    let sluice = serving(&broker, &[]);
    let event = EVENT.replace(ID, "").replace(r#""event_id":"","#, "");
    let ask = |ack: &str| {
        let answer = sluice.http().ask("POST", ack, &["Idempotency-Key: k"], event.as_bytes());
        (answer.status, answer.json()["event_id"].as_str().unwrap().to_owned())
    };
    broker.command("refuse produce MSG_SIZE_TOO_LARGE 1");
    let (status, id) = ask("/api/v1/events?ack=queued");
    assert_eq!(status, 202);
    await_outcome(&sluice, "dead_lettered", 1);
    assert_eq!(ask("/api/v1/events?ack=delivered"), (200, id.clone()));
    assert_ended(&stop(sluice), 0, [1, 0, 0, 1, 0]);
    for topic in ["events-dlq", "player.events.raw"] {
        let records = read_all(broker.bootstrap(), topic);
        assert!(records.len() == 1 && headers(&records[0]).contains(&("event_id", &id)), "{records:?}");
    }
}

/// A sender that waited was told; nothing of it is dead-lettered.
#[test]
fn what_its_sender_was_told_is_no_dead_letter() {
    let mut broker = cluster(1);
    topics(&mut broker, true);
    let sluice = serving(&broker, &[]);
    broker.command("refuse produce TOPIC_AUTHORIZATION_FAILED 1");
    let (status, body) = sluice.post("/api/v1/events?ack=delivered", EVENT);
    assert_eq!(status, 503, "{body}");
    assert_ended(&stop(sluice), 0, [0, 0, 1, 0, 0]);
    assert!(read_all(broker.bootstrap(), "events-dlq").is_empty());
}

/// The topic of dead letters is refused too: the file has it, and from there it is sent again, once.
#[test]
fn what_the_topic_refuses_is_in_the_file_and_can_be_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("letters");
    let mut broker = cluster(1);
    topics(&mut broker, true);
    let sluice = serving(&broker, &[("DEAD_LETTER_DIR", dir.to_str().unwrap())]);
    broker.command("refuse produce MSG_SIZE_TOO_LARGE 2");
    send(&sluice);
    await_outcome(&sluice, "dead_lettered", 1);

    let (code, list) = letters(&dir, &["list"]);
    let fields: Vec<&str> = list.trim_end().split('\t').collect();
    assert_eq!((code, fields.len()), (0, 6), "{list}");
    assert_eq!((fields[0], &fields[2..5]), ("1", &["player.events.raw", "MSG_SIZE_TOO_LARGE", ID][..]));
    let (code, shown) = letters(&dir, &["show", "1", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert!(code == 0 && shown["value"].as_str().unwrap().contains(ID), "{shown}");
    assert_eq!(letters(&dir, &["show", "2"]).0, 1);

    // The gateway still holds the file: what was sent is marked, and not sent twice.
    let resend = ["resend", "--brokers", broker.bootstrap()];
    assert_eq!(letters(&dir, &resend), (0, "resent=1 failed=0 left=0 damaged_bytes=0\n".into()));
    assert_eq!(letters(&dir, &resend), (0, "resent=0 failed=0 left=0 damaged_bytes=0\n".into()));
    assert_eq!(letters(&dir, &["list"]), (0, String::new()));
    assert!(letters(&dir, &["list", "--all"]).1.ends_with(" sent\n"));
    let records = read_all(broker.bootstrap(), "player.events.raw");
    let [record] = &records[..] else { panic!("{records:?}") };
    assert!(headers(record).iter().all(|(name, _)| !name.starts_with("dlq.")), "{record:?}");
    assert!(headers(record).contains(&("event_id", ID)));

    assert_ended(&stop(sluice), 0, [0, 0, 0, 1, 0]);
    assert_eq!(letters(&dir, &resend).0, 0);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0, "a finished file is removed");
}

/// Neither topic nor file: named by its id, lost, exit 1. With a file that is full it is the same.
#[test]
fn what_fits_nowhere_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let taken = dir.path().join("file");
    std::fs::write(&taken, "no folder").unwrap();
    let below = taken.join("letters");
    for env in [&[][..], &[("DEAD_LETTER_DIR", below.to_str().unwrap())]] {
        let mut broker = cluster(1);
        topics(&mut broker, false);
        let sluice = serving(&broker, &[&[("KAFKA_DLQ_TOPIC", "off")], env].concat());
        broker.command("refuse produce MSG_SIZE_TOO_LARGE 1");
        send(&sluice);
        let line = sluice.await_log("event.lost");
        let fields = [ID, "key=\"", "topic=player.events.raw", "code=MSG_SIZE_TOO_LARGE"];
        assert!(fields.iter().all(|field| line.contains(field)), "{line}");
        send_other(&sluice, 0);
        await_outcome(&sluice, "stored", 1);
        assert_ended(&stop(sluice), 1, [1, 0, 1, 0, 1]);
    }
}

/// Kafka goes away and the gateway ends: what it had answered with 202 and not given away is in the file.
#[test]
fn a_shutdown_without_kafka_leaves_events_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = cluster(1);
    topics(&mut broker, true);
    let env = [("DEAD_LETTER_DIR", dir.path().to_str().unwrap()), ("DRAIN_TIMEOUT", "1s")];
    let sluice = serving(&broker, &env);
    broker.command("down all");
    eventually(PATIENCE, "the gateway has noticed", || sluice.get("/ready").0 == 503);
    // More than the file's thread is given at once.
    let events: Vec<String> = (0..3000).map(|number| format!(r#"{{"id":"e-{number}"}}"#)).collect();
    let (status, body) = sluice.post("/events", &format!("[{}]", events.join(",")));
    assert_eq!(status, 202, "{body}");
    assert_ended(&stop(sluice), 0, [0, 0, 0, 3000, 0]);
    let (code, list) = letters(dir.path(), &["list", "--json"]);
    assert_eq!((code, list.lines().count()), (0, 3000));
    assert!((0..3000).all(|number| list.contains(&format!("\"id\":\"e-{number}\""))));
    assert!(list.lines().all(|line| line.contains("\"code\":\"SHUTDOWN\"")), "{list}");
}

/// Expired: the partitions of the events' topic have no leader, those of dead letters have.
#[test]
fn an_event_that_expires_goes_to_the_topic_of_dead_letters() {
    let mut broker = cluster(1);
    topics(&mut broker, true);
    let sluice = serving(&broker, &[("KAFKA_DELIVERY_TIMEOUT_MS", "1500")]);
    for partition in 0..2 {
        broker.command(&format!("leader player.events.raw {partition} none"));
    }
    eventually(PATIENCE, "the leaders are gone", || sluice.metric("gateway_kafka_lanes_held") == 2.0);
    for number in 0..5 {
        send_other(&sluice, number);
    }
    await_outcome(&sluice, "dead_lettered", 5);
    assert_ended(&stop(sluice), 0, [0, 0, 0, 5, 0]);
    let found = read_all(broker.bootstrap(), "events-dlq");
    let codes: Vec<_> = found.iter().flat_map(headers).filter(|(name, _)| *name == "dlq.code").collect();
    assert_eq!(codes, [("dlq.code", "DEADLINE"); 5]);
}

/// TCP's records are dead-lettered only where that is asked for.
#[test]
fn lines_are_dead_lettered_where_asked_for() {
    let mut broker = cluster(1);
    broker.command("topic events-dlq 2");
    let env = [("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap()), ("KAFKA_TOPIC", gateway::TOPIC)];
    let sluice = Sluice::start(&[&env[..], &[("DEAD_LETTER_TCP", "true")]].concat());
    sluice.await_ready();
    eventually(PATIENCE, "both topics are found", || sluice.metric("gateway_kafka_partitions") == 8.0);
    broker.command("refuse produce MSG_SIZE_TOO_LARGE 1");
    sluice.send_lines(&[gateway::line("p", 1)]);
    await_outcome(&sluice, "dead_lettered", 1);
    assert_ended(&stop(sluice), 0, [0, 0, 0, 1, 0]);
}
