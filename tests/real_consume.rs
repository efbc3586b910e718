//! `sluice consume` between real Kafka and real PostgreSQL: every row is compared with what the topic holds, whatever
//! happened on the way.
//!
//! CONSUME_EVENTS and CONSUME_KILLS make the test of kills larger.
#![cfg(feature = "consume")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use support::{
    Consumer, PATIENCE, RealKafka, RealPostgres, TestDatabase, command, end_offsets, eventually, produce,
    read_all,
};

const SIGSTOP: i32 = 19;
const SIGCONT: i32 = 18;

/// The least that Kafka's broker takes.
const SESSION: (&str, &str) = ("KAFKA_SESSION_TIMEOUT", "6s");

/// One cluster and one server for all tests of this file, one after the other. They end with this process.
struct Servers {
    kafka: RealKafka,
    postgres: RealPostgres,
}

fn servers() -> MutexGuard<'static, Servers> {
    static SERVERS: LazyLock<Mutex<Servers>> =
        LazyLock::new(|| Mutex::new(Servers { kafka: RealKafka::start(1), postgres: RealPostgres::own() }));
    SERVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Topics and a database of one test.
struct Place<'s> {
    servers: &'s Servers,
    database: TestDatabase,
    topic: String,
    letters: String,
}

impl<'s> Place<'s> {
    /// A migrated database, and a topic of three partitions; names that no other run uses.
    fn new(servers: &'s Servers, name: &str) -> Self {
        let database = servers.postgres.database(name);
        let migrated = command(&["migrate"], &[("DATABASE_URL", &database.url)]).output().unwrap();
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        let (topic, letters) =
            (format!("{name}-{}", std::process::id()), format!("{name}-dlq-{}", std::process::id()));
        servers.kafka.topic_create(&topic, 3, 1, &[]);
        servers.kafka.topic_create(&letters, 1, 1, &[]);
        Self { servers, database, topic, letters }
    }

    fn env(&self) -> Vec<(&str, &str)> {
        vec![
            ("KAFKA_BOOTSTRAP_SERVERS", self.servers.kafka.bootstrap()),
            ("DATABASE_URL", &self.database.url),
            ("PLAYER_EVENTS_TOPIC", &self.topic),
            ("USAGE_TOPIC", &self.topic),
            ("KAFKA_DLQ_TOPIC", &self.letters),
            SESSION,
        ]
    }

    fn start(&self, kind: &str, more: &[(&str, &str)]) -> Consumer {
        Consumer::start(kind, &[&self.env()[..], more].concat())
    }

    fn produce(&self, values: &[Vec<u8>]) {
        let keys: Vec<String> = (0..values.len()).map(|number| format!("player-{}", number % 97)).collect();
        let records = keys.iter().zip(values).map(|(key, value)| (key.as_bytes(), Some(&value[..])));
        produce(self.servers.kafka.bootstrap(), &self.topic, records);
    }

    fn rows(&self) -> i64 {
        self.database.number("SELECT count(*) FROM events")
    }

    /// How many records the table says are done.
    fn done(&self) -> i64 {
        self.database.number("SELECT sum(next_offset) FROM sluice_offsets")
    }

    /// Waits until the table's offsets have reached the topic's ends.
    #[track_caller]
    fn await_done(&self, patience: Duration) {
        let ends: i64 = end_offsets(self.servers.kafka.bootstrap(), &self.topic).iter().sum();
        eventually(patience, "the offsets reach the end", || self.done() == ends);
    }

    /// Compares every row with what the topic holds, and gives the number of rows.
    #[track_caller]
    fn compare(&self) -> usize {
        let records = read_all(self.servers.kafka.bootstrap(), &self.topic);
        let expected: BTreeSet<String> =
            records.iter().filter_map(|record| expected_row(&record.value)).collect();
        let columns = "event_id, event_type, player_id, game_id, extract(epoch FROM event_timestamp)::bigint, \
                       extract(epoch FROM ingested_at)::bigint, data->>'n'";
        let lines = self.database.lines(columns, "events");
        let found: BTreeSet<String> = lines.iter().cloned().collect();
        assert_eq!(lines.len(), found.len(), "a row twice");
        let missing: Vec<&String> = expected.difference(&found).take(3).collect();
        let strange: Vec<&String> = found.difference(&expected).take(3).collect();
        assert!(missing.is_empty() && strange.is_empty(), "missing {missing:?}, strange {strange:?}");
        assert_eq!(self.done(), records.len() as i64);
        found.len()
    }
}

fn event_id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

fn event(number: usize) -> Vec<u8> {
    format!(
        r#"{{"event_id":"{}","event_type":"player_score","player_id":"player-{}","game_id":"g{}","timestamp":"2024-01-01T12:00:00Z","ingested_at":"2024-01-01T12:00:01.5+01:00","data":{{"n":{number}}}}}"#,
        event_id(number),
        number % 97,
        number % 3
    )
    .into_bytes()
}

fn events(from: usize, to: usize) -> Vec<Vec<u8>> {
    (from..to).map(event).collect()
}

/// The row of a record that [`event`] made, reckoned apart from the program's own reading.
fn expected_row(value: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(value).ok()?;
    let number = value["data"]["n"].as_u64()?;
    let text = |name: &str| value[name].as_str().unwrap().to_owned();
    // 2024-01-01T12:00:00Z, and half past noon in a zone one hour ahead is 11:00:01.5Z, which rounds up.
    let columns = [text("event_id"), text("event_type"), text("player_id"), text("game_id")];
    Some(format!("{}|1704110400|1704106802|{number}", columns.join("|")))
}

/// Records that no table takes: (what, value).
fn poison() -> Vec<(&'static str, Vec<u8>)> {
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    let good = text(&event(usize::MAX >> 20));
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replace(from, to).replace("\"n\"", "\"m\"").into_bytes()
    };
    let long = "x".repeat(101);
    vec![
        ("not_json", b"not json".to_vec()),
        ("not_json", b"{\"a\":1".to_vec()),
        ("not_an_object", b"[1,2]".to_vec()),
        ("not_utf8", b"{\"a\":\"\xff\xfe\"}".to_vec()),
        ("missing", b"{}".to_vec()),
        ("missing", with("\"player_id\"", "\"player\"")),
        ("mistyped", with("\"player_score\"", "7")),
        ("not_a_uuid", with("\"00000000-0000-4000-8000", "\"0000")),
        ("invalid_time", with("2024-01-01T12:00:00Z", "yesterday")),
        ("time_out_of_range", with("2024-01-01T12:00:00Z", "2024-02-30T12:00:00Z")),
        ("too_long", with("\"player_score\"", &format!("\"{long}\""))),
        ("untranslatable_character", with("{\"n\":", "{\"x\":\"a\\u0000b\",\"n\":")),
        ("nul", with("\"player_score\"", "\"a\\u0000b\"")),
        ("out_of_range", with("{\"n\":", "{\"x\":1e999999,\"n\":")),
        ("invalid_text", with("{\"n\":", "{\"x\":\"\\ud800\",\"n\":")),
    ]
}

/// S4-R9, S4-R10, S4-R11, S4-R22, pain 17: good events are rows, duplicates are one, each record that cannot be a row
/// is one dead letter with its reason, and each dead letter is a row of its own.
#[test]
fn events_are_rows_once_and_poison_is_dead_letters() {
    let servers = servers();
    let place = Place::new(&servers, "poison");
    let mut values = events(0, 3000);
    let poison = poison();
    for round in 0..10 {
        for (index, (_, value)) in poison.iter().enumerate() {
            values.insert((round * 307 + index * 19) % values.len(), value.clone());
        }
    }
    values.extend(events(1000, 1500));
    values.extend(std::iter::repeat_n(event(1), 50));
    place.produce(&values);

    let health = [("HEALTH_PORT", "0"), ("HEALTH_LISTEN_ADDR", "127.0.0.1")];
    let mut consumer = place.start("event-log", &health);
    place.await_done(PATIENCE);
    assert_eq!(place.compare(), 3000);
    let line = consumer.await_log("consume.start");
    let (_, address) = line.split_once("health=").unwrap();
    let address = address.split(' ').next().unwrap();
    eventually(PATIENCE, "it is ready", || curl(address, "/ready").contains("\"ready\""));
    eventually(PATIENCE, "no lag", || {
        let metrics = curl(address, "/metrics");
        (0..3).all(|partition| {
            metrics.contains(&format!("consumer_lag_records{{partition=\"{partition}\"}} 0\n"))
        })
    });
    let metrics = curl(address, "/metrics");
    assert!(metrics.contains("consumer_records_total{outcome=\"stored\"} 3000\n"), "{metrics}");
    assert!(metrics.contains("consumer_records_total{outcome=\"duplicate\"} 550\n"), "{metrics}");
    assert!(metrics.contains("consumer_records_total{outcome=\"dead_lettered\"} 150\n"), "{metrics}");
    assert_eq!(consumer.stop(), 0);
    assert!(consumer.has_logged(
        "consume.stop consumer=event-log stored=3000 duplicate=550 dead_lettered=150 dropped=0 unstored=0"
    ));

    let letters = read_all(servers.kafka.bootstrap(), &place.letters);
    let mut by_code: BTreeMap<String, usize> = BTreeMap::new();
    for letter in &letters {
        let header = |name: &str| {
            letter
                .headers
                .iter()
                .find(|(known, _)| known == name)
                .unwrap_or_else(|| panic!("{name}"))
                .1
                .clone()
        };
        let envelope: serde_json::Value = serde_json::from_slice(&letter.value).expect("an envelope is JSON");
        assert_eq!(envelope["consumer_service"], "event-logger");
        assert!(envelope["error"].as_str().unwrap().starts_with(&header("dlq.code")), "{envelope}");
        assert_eq!(
            (header("dlq.stage").as_str(), header("dlq.source_topic")),
            ("consume", place.topic.clone())
        );
        assert!(letter.key.starts_with(b"player-"));
        *by_code.entry(header("dlq.code")).or_default() += 1;
    }
    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    poison.iter().for_each(|(code, _)| *expected.entry((*code).into()).or_default() += 10);
    assert_eq!(by_code, expected);

    // What the gateway and others put there: headers without an envelope, bytes that are no text, no value at all.
    let others: [(&[u8], Option<&[u8]>); 4] =
        [(b"k", Some(b"{\"a\":1}")), (b"k", Some(b"\xff\x00")), (b"k", None), (b"k", Some(b"\"\\u0000\""))];
    produce(servers.kafka.bootstrap(), &place.letters, others.into_iter());
    let mut consumer = place.start("dead-letters", &[]);
    eventually(PATIENCE, "all letters are rows", || {
        place.database.number("SELECT count(*) FROM dlq_events") == 154
    });
    assert_eq!(consumer.stop(), 0);
    let counts = place
        .database
        .lines("consumer_service, count(*)", "dlq_events GROUP BY consumer_service ORDER BY count(*)");
    assert_eq!(counts, ["4", "event-logger|150"]);
    let text = "original_event #>> '{}'";
    let rows = place.database.lines(text, "dlq_events WHERE consumer_service IS NULL ORDER BY id");
    assert_eq!(rows, ["{\"a\": 1}", "/wA=", "", "\"\\u0000\""]);
}

fn curl(address: &str, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).expect("the health listener accepts");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: h\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn size(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Pain 18: killed at random moments while events flow, and started again each time. With a static member the successor
/// need not wait for the session to end; each fourth time it does.
#[test]
fn killed_at_any_moment_nothing_is_lost_or_doubled() {
    let servers = servers();
    let place = Place::new(&servers, "kills");
    let (count, kills) = (size("CONSUME_EVENTS", 50_000), size("CONSUME_KILLS", 8));
    let mut random = fastrand::Rng::new();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for from in (0..count).step_by(1000) {
                place.produce(&events(from, (from + 1000).min(count)));
                if from % 5000 == 0 {
                    place.produce(&[b"poison".to_vec(), event(from)]);
                }
            }
            is_done.store(true, SeqCst);
        });
        let batches = [("CONSUME_BATCH_MAX", "500")];
        let member = [("KAFKA_CONF_GROUP_INSTANCE_ID", "one"), batches[0]];
        for kill in 0..kills {
            let consumer = if kill % 4 == 3 {
                place.start("event-log", &batches)
            } else {
                place.start("event-log", &member)
            };
            consumer.await_log("partition.begin");
            let moment = Duration::from_millis(random.u64(1..800));
            // Awaits nothing on purpose: the moment is to be any.
            std::thread::sleep(moment);
            consumer.kill();
        }
        let mut consumer = place.start("event-log", &member);
        eventually(4 * PATIENCE, "all events are in the topic", || is_done.load(SeqCst));
        place.await_done(4 * PATIENCE);
        assert_eq!(consumer.stop(), 0);
    });
    assert_eq!(place.compare(), count);
    let letters = read_all(servers.kafka.bootstrap(), &place.letters);
    let offsets: BTreeSet<_> = letters
        .iter()
        .map(|letter| {
            format!(
                "{:?}",
                letter.headers.iter().filter(|(name, _)| name.starts_with("dlq.source")).collect::<Vec<_>>()
            )
        })
        .collect();
    assert_eq!(offsets.len(), count.div_ceil(5000), "each poison has its letter, perhaps twice");
}

/// The server crashes, comes back, and cuts connections in the middle of transactions: all is waited out, and nothing
/// becomes a dead letter that a retry saves.
#[test]
fn a_database_that_goes_and_comes_is_waited_for() {
    let servers = servers();
    let place = Place::new(&servers, "outage");
    place.produce(&events(0, 2000));
    let mut consumer = place.start("event-log", &[("CONSUME_BATCH_MAX", "200")]);
    eventually(PATIENCE, "it stores", || place.rows() > 0);
    servers.postgres.kill();
    place.produce(&events(2000, 8000));
    consumer.await_log("store.waiting");
    // A member that joins while the database is away waits for it as well.
    let mut other = place.start("event-log", &[("CONSUME_BATCH_MAX", "200")]);
    other.await_log("claim.waiting");
    let before = consumer.rss_kib();
    servers.postgres.up();
    for _ in 0..20 {
        place.database.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sluice' \
             AND datname = current_database()",
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    place.await_done(2 * PATIENCE);
    assert_eq!(place.compare(), 8000);
    let after = consumer.rss_kib();
    assert!(after < 48 * 1024 && after < before + 16 * 1024, "{before} KiB, then {after}");
    assert_eq!((consumer.stop(), other.stop()), (0, 0));
    assert!(consumer.has_logged("store.resumed"));
    assert_eq!(end_offsets(servers.kafka.bootstrap(), &place.letters), [0], "no dead letters");
}

/// Members come and go in the middle of batches.
#[test]
fn partitions_are_passed_on_while_events_flow() {
    let servers = servers();
    let place = Place::new(&servers, "rebalance");
    let small = [("CONSUME_BATCH_MAX", "300")];
    std::thread::scope(|scope| {
        let flow =
            scope.spawn(|| (0..10).for_each(|part| place.produce(&events(part * 1000, part * 1000 + 1000))));
        let mut one = place.start("event-log", &small);
        eventually(PATIENCE, "one stores", || place.rows() > 500);
        let mut two = place.start("event-log", &small);
        two.await_log("partition.begin");
        assert!(one.has_logged("partitions.revoked"));
        let mut three = place.start("event-log", &small);
        three.await_log("partition.begin");
        assert_eq!(one.stop(), 0);
        flow.join().unwrap();
        place.await_done(2 * PATIENCE);
        assert_eq!((two.stop(), three.stop()), (0, 0));
    });
    assert_eq!(place.compare(), 10_000);
    let epochs = place.database.number("SELECT max(epoch) FROM sluice_offsets");
    assert!(epochs >= 2, "claims are counted");
}

/// A process that is stopped loses its partitions, wakes up in the middle of what it did, and stores nothing of it.
#[test]
fn a_stopped_owner_stores_nothing_after_it_wakes() {
    let servers = servers();
    let place = Place::new(&servers, "zombie");
    place.produce(&events(0, 30_000));
    let mut zombie = place.start("event-log", &[("CONSUME_BATCH_MAX", "100"), ("CONSUME_BATCH_MIN", "100")]);
    eventually(PATIENCE, "it stores", || place.rows() > 300);
    zombie.signal(SIGSTOP);
    let stored_before = place.rows();
    assert!(stored_before < 30_000, "it was stopped in the middle");
    let mut heir = place.start("event-log", &[]);
    place.await_done(2 * PATIENCE);
    zombie.signal(SIGCONT);
    eventually(PATIENCE, "it notices", || {
        zombie.has_logged("partitions.lost") || zombie.has_logged("partitions.revoked")
    });
    assert_eq!(place.compare(), 30_000);
    place.produce(&events(30_000, 31_000));
    place.await_done(2 * PATIENCE);
    assert_eq!(place.compare(), 31_000);
    assert_eq!((zombie.stop(), heir.stop()), (0, 0));
}

fn reset(place: &Place<'_>, to: &str) -> std::process::Output {
    command(&["consume", "event-log", "--reset", to], &place.env()).output().unwrap()
}

/// Runs it until it ends by itself; the line that says why.
fn misfit(place: &Place<'_>) -> String {
    let mut consumer = place.start("event-log", &[]);
    assert_eq!(consumer.wait(), 1);
    consumer.await_log("offsets.misfit")
}

/// Offsets that do not fit are told apart, and a person decides.
#[test]
fn offsets_that_do_not_fit_are_named() {
    let servers = servers();
    let place = Place::new(&servers, "misfit");
    place.produce(&events(0, 300));
    let mut consumer = place.start("event-log", &[]);
    place.await_done(PATIENCE);
    assert_eq!(consumer.stop(), 0);

    place.database.run("UPDATE sluice_offsets SET next_offset = next_offset + 1000 WHERE partition = 1");
    assert!(misfit(&place).contains("partition=1 code=beyond_end"));
    place.database.run("UPDATE sluice_offsets SET next_offset = next_offset - 1000 WHERE partition = 1");
    place.database.run("UPDATE sluice_offsets SET cluster_id = 'other' WHERE partition = 2");
    assert!(misfit(&place).contains("partition=2 code=other_cluster"));
    let written = reset(&place, "latest");
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let refused = reset(&place, "0:100000");
    assert_eq!(refused.status.code(), Some(1));

    // Under a consumer that reads: it ends by itself, as it does when it starts.
    let mut consumer = place.start("event-log", &[]);
    consumer.await_log("partition.begin");
    servers.kafka.topic_delete(&place.topic);
    servers.kafka.topic_create(&place.topic, 3, 1, &[]);
    assert_eq!(consumer.wait(), 1);
    let line = consumer.await_log("offsets.misfit");
    assert!(line.contains("code=topic_made_anew") || line.contains("code=beyond_end"), "{line}");
    place.produce(&events(300, 600));
    assert!(misfit(&place).contains("code=topic_made_anew"));
    assert!(reset(&place, "earliest").status.success());
    let mut consumer = place.start("event-log", &[]);
    eventually(PATIENCE, "the new topic is read from its start", || place.rows() == 600);
    assert_eq!(consumer.stop(), 0);

    servers.kafka.delete_records(&place.topic, 0, 40);
    place.database.run("UPDATE sluice_offsets SET next_offset = 10 WHERE partition = 0");
    assert!(misfit(&place).contains("30 are gone"));
}

/// A reset takes the claim from a consumer that reads, which goes on from where it was told.
#[test]
fn a_reset_reaches_a_consumer_that_runs() {
    let servers = servers();
    let place = Place::new(&servers, "reset");
    place.produce(&events(0, 500));
    let mut consumer = place.start("event-log", &[]);
    place.await_done(PATIENCE);
    place.database.run("DELETE FROM events");
    assert!(reset(&place, "earliest").status.success());
    place.produce(&events(500, 600));
    eventually(2 * PATIENCE, "all is read again", || place.rows() == 600);
    assert!(consumer.has_logged("partitions.lost"));
    assert_eq!(consumer.stop(), 0);
    place.await_done(PATIENCE);
    assert_eq!(place.compare(), 600);
}

fn migrate(database: &TestDatabase, arguments: &[&str]) -> (Option<i32>, String) {
    let output =
        command(&[&["migrate"], arguments].concat(), &[("DATABASE_URL", &database.url)]).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// S4-R20: twice at once is once; what is missing and what is unknown are named, and nothing runs on either.
#[test]
fn the_schema_is_made_once_and_checked() {
    let servers = servers();
    let database = servers.postgres.database("schema");
    let env =
        [("KAFKA_BOOTSTRAP_SERVERS", servers.kafka.bootstrap()), ("DATABASE_URL", database.url.as_str())];
    assert_eq!(migrate(&database, &["--check"]).0, Some(1));
    let mut consumer = Consumer::start("usage", &env);
    assert_eq!(consumer.wait(), 1);
    assert!(consumer.has_logged("run `sluice migrate`"));

    let start = || command(&["migrate"], &env).stdout(std::process::Stdio::null()).spawn().unwrap();
    let mut four: Vec<_> = (0..4).map(|_| start()).collect();
    assert!(four.iter_mut().all(|child| child.wait().unwrap().success()));
    assert_eq!(migrate(&database, &["--check"]).0, Some(0));
    let tables = "information_schema.tables WHERE table_schema = 'public' ORDER BY table_name";
    let expected = [
        "dlq_events",
        "events",
        "leaderboard_scores",
        "leaderboards",
        "player_statistics",
        "sluice_offsets",
        "sluice_schema",
        "usage_events",
        "usage_hourly",
    ];
    assert_eq!(database.lines("table_name", tables), expected);

    database.run("INSERT INTO sluice_schema (version, name) VALUES (99, 'later')");
    let (code, text) = migrate(&database, &["--check"]);
    assert!(code == Some(1) && text.contains("99 later"), "{text}");
    assert_eq!(migrate(&database, &[]).0, Some(1));
    let mut consumer = Consumer::start("usage", &env);
    assert_eq!(consumer.wait(), 1);
    assert!(consumer.has_logged("99 later"));
}

/// S2-R20, S2-R21: usage events once by id and time, and their hourly sums.
#[test]
fn usage_events_are_rows_and_hourly_sums() {
    let servers = servers();
    let place = Place::new(&servers, "usage");
    let usage = |number: usize, hour: usize| {
        format!(
            r#"{{"request_id":"{}","organization_id":"{}","api_key_id":"{}","endpoint":"/v1","method":"GET","status_code":200,"response_time_ms":{},"timestamp":"2026-01-26T{hour:02}:30:00Z","billable":{}}}"#,
            event_id(number), event_id(7), event_id(8), number % 10, !number.is_multiple_of(4)
        )
        .into_bytes()
    };
    let mut values: Vec<_> = (0..1000).map(|number| usage(number, number % 2)).collect();
    values.extend((0..100).map(|number| usage(number, number % 2)));
    values.push(usage(1, 0).replace_once(b"200", b"99999999999"));
    place.produce(&values);
    let mut consumer = place.start("usage", &[]);
    place.await_done(PATIENCE);
    assert_eq!(consumer.stop(), 0);
    let columns = "extract(hour FROM hour AT TIME ZONE 'UTC'), total_requests, billable_requests, avg_response_time::float";
    assert_eq!(place.database.lines(columns, "usage_hourly ORDER BY hour"), ["0|500|250|4", "1|500|500|5"]);
    assert_eq!(end_offsets(servers.kafka.bootstrap(), &place.letters), [1], "a status that is no status");
}

trait ReplaceOnce {
    fn replace_once(self, from: &[u8], to: &[u8]) -> Vec<u8>;
}

impl ReplaceOnce for Vec<u8> {
    fn replace_once(self, from: &[u8], to: &[u8]) -> Vec<u8> {
        let at = self.windows(from.len()).position(|window| window == from).expect("it is there");
        [&self[..at], to, &self[at + from.len()..]].concat()
    }
}

/// The database's password and a wrong environment: exit code 2, and no secret anywhere.
#[test]
fn a_wrong_environment_is_refused_without_secrets() {
    for env in [&[][..], &[("DATABASE_URL", "postgres://u:hunter2@h/d?sslmode=require")]] {
        let output: std::process::Output = command(&["consume", "event-log"], env).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("DATABASE_URL") && !text.contains("hunter2"), "{text}");
    }
    let unreachable = [("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/d")];
    let output = command(&["migrate"], &unreachable).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}
