//! The topic before the first record, on real Apache Kafka: S0-R5, G16, and the sizes that a topic allows.

mod support;

use std::collections::HashMap;
use std::io::Write;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use support::{
    Fate, PATIENCE, RealKafka, Senders, Sluice, assert_balanced, compare, count, end_offsets, eventually,
    read_all, tally,
};

const SIGTERM: i32 = signal_hook::consts::SIGTERM;

/// One cluster for all tests of this file, one after the other. It ends with this process.
fn kafka() -> MutexGuard<'static, RealKafka> {
    static KAFKA: LazyLock<Mutex<RealKafka>> = LazyLock::new(|| Mutex::new(RealKafka::start(1)));
    KAFKA.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A topic name that no other run uses.
fn topic(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

fn admin(kafka: &RealKafka) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", kafka.bootstrap()).create().unwrap()
}

/// The topic's properties as Kafka describes them.
fn properties(kafka: &RealKafka, topic: &str) -> HashMap<String, String> {
    let asked = AdminOptions::new().request_timeout(Some(PATIENCE));
    let (admin, wanted) = (admin(kafka), ResourceSpecifier::Topic(topic));
    let resource = pollster::block_on(admin.describe_configs([&wanted], &asked)).unwrap().remove(0).unwrap();
    resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect()
}

fn set_property(kafka: &RealKafka, topic: &str, name: &str, value: &str) {
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
    let asked = AdminOptions::new().request_timeout(Some(PATIENCE));
    pollster::block_on(admin(kafka).alter_configs([&change], &asked)).unwrap().remove(0).unwrap();
}

fn gateway(kafka: &RealKafka, topic: &str, more: &[(&str, &str)]) -> Sluice {
    let env = [("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap()), ("KAFKA_TOPIC", topic)];
    Sluice::start(&[&env, more].concat())
}

fn line(player: &str, score: u64) -> String {
    format!("{{\"lb\":\"w\",\"player\":\"{player}\",\"score\":{score}}}")
}

/// S0-R5: made as the source says when it is absent, and said so. G16: what comes before that waits on our side and
/// is stored as soon as the topic is there.
#[test]
fn an_absent_topic_is_created_and_early_records_wait_for_it() {
    let kafka = kafka();
    let topic = topic("absent");
    assert!(kafka.leaders(&topic).is_empty(), "the broker makes no topics by itself");

    let sluice = gateway(&kafka, &topic, &[]);
    let early: Vec<String> = (0..500).map(|number| line(&format!("p{}", number % 7), number)).collect();
    sluice.send_lines(&early);
    let ready = sluice.await_log("topic.ready");
    assert!(ready.contains(&format!("name={topic} partitions=12 created=true")), "{ready}");
    eventually(PATIENCE, "all early records are stored", || {
        sluice.metric("gateway_records_total{outcome=\"stored\"}") == 500.0
    });
    sluice.signal(SIGTERM);
    let (code, stop) = sluice.wait();
    assert_eq!((code, stop["stored"]), (0, 500));

    assert_eq!(kafka.leaders(&topic).len(), 12);
    let properties = properties(&kafka, &topic);
    for (name, value) in
        [("cleanup.policy", "delete"), ("compression.type", "producer"), ("min.insync.replicas", "1")]
    {
        assert_eq!(properties[name], value, "{name}");
    }
    assert_eq!(read_all(kafka.bootstrap(), &topic).len(), 500);
}

/// S4-R6: the profile `games` makes the five topics of its source in their shapes, those that it never writes too.
#[cfg(feature = "http")]
#[test]
fn the_topics_of_games_have_their_sources_shapes() {
    let kafka = kafka();
    let env = [
        ("PROFILE", "games"),
        ("GATEWAY_LISTEN_PORT", "off"),
        ("HTTP_PORT", "0"),
        ("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap()),
    ];
    let sluice = Sluice::start(&env);
    sluice.await_ready();
    let day_ms = 86_400_000_u64;
    for (topic, partitions, days) in [
        ("player.events.raw", 3, 7),
        ("player.events.processed", 3, 7),
        ("player.statistics", 3, 30),
        ("game.leaderboards", 1, 30),
        ("system.dlq", 1, 30),
    ] {
        eventually(PATIENCE, topic, || kafka.leaders(topic).len() == partitions);
        let properties = properties(&kafka, topic);
        assert_eq!(properties["retention.ms"], (days * day_ms).to_string(), "{topic}");
        assert_eq!(properties["cleanup.policy"], "delete", "{topic}");
    }
    sluice.signal(SIGTERM);
    assert_eq!(sluice.wait().0, 0);
}

/// S0-R5: RF and partitions are ours to choose only when we create; a topic that exists stays as it is.
#[test]
fn an_existing_topic_is_never_altered() {
    let kafka = kafka();
    let topic = topic("existing");
    let given = [("cleanup.policy", "compact"), ("compression.type", "gzip"), ("retention.ms", "123456789")];
    kafka.topic_create(&topic, 3, 1, &given);
    let before = properties(&kafka, &topic);

    let sluice = gateway(&kafka, &topic, &[("KAFKA_PARTITIONS", "6"), ("KAFKA_COMPRESSION", "none")]);
    sluice.await_ready();
    let ready = sluice.await_log("topic.ready");
    assert!(ready.contains("partitions=3 created=false"), "{ready}");
    sluice.send_lines(&[line("a", 1)]);
    sluice.signal(SIGTERM);
    assert_eq!(sluice.wait().0, 0);

    assert_eq!(kafka.leaders(&topic).len(), 3);
    assert_eq!(properties(&kafka, &topic), before);
}

/// S0-R5: of gateways that start at once exactly one has created the topic, and all become ready.
#[test]
fn gateways_that_start_at_once_create_one_topic() {
    let kafka = kafka();
    let topic = topic("at-once");
    let created = std::thread::scope(|scope| {
        let start = || {
            let sluice = gateway(&kafka, &topic, &[]);
            sluice.await_ready();
            let ready = sluice.await_log("topic.ready");
            assert!(ready.contains("partitions=12"), "{ready}");
            ready.contains("created=true")
        };
        [(); 3].map(|()| scope.spawn(start)).map(|thread| thread.join().unwrap())
    });
    assert_eq!(created.iter().filter(|created| **created).count(), 1, "who says it: {created:?}");
    assert_eq!(kafka.leaders(&topic).len(), 12);
}

/// S0-R5, G15, G16: a topic that the cluster refuses to make leaves the gateway up, not ready, complaining, with the
/// records waiting; when somebody else makes it, all goes on.
#[test]
fn a_topic_that_cannot_be_made_is_waited_for() {
    let kafka = kafka();
    let topic = topic("three-copies");
    let sluice = gateway(&kafka, &topic, &[("KAFKA_REPLICATION_FACTOR", "3")]);
    let senders = Senders::flood(&sluice, 2, 100, 10);
    let complaint = sluice.await_log("topic.absent");
    assert!(complaint.contains(&topic) && complaint.to_lowercase().contains("replication"), "{complaint}");
    let (status, body) = sluice.get("/ready");
    assert_eq!((status, body.contains("waiting_for_topic")), (503, true), "{body}");
    assert_eq!(sluice.get("/health").0, 200);
    assert_eq!(sluice.metric("gateway_records_total{outcome=\"stored\"}"), 0.0);

    kafka.topic_create(&topic, 2, 1, &[]);
    sluice.await_ready();
    assert!(sluice.await_log("topic.ready").contains("partitions=2 created=false"));
    let told = senders.wait();
    assert_eq!(tally(&told), HashMap::from([(Fate::Stored, 200)]));
    compare(&told, &read_all(kafka.bootstrap(), &topic));
}

/// G1, exit codes: nothing of what waited for a topic that never came is silent at the end.
#[test]
fn sigterm_while_the_topic_is_missing_answers_everybody() {
    let kafka = kafka();
    let sluice =
        gateway(&kafka, &topic("never"), &[("KAFKA_REPLICATION_FACTOR", "3"), ("DRAIN_TIMEOUT", "1s")]);
    let senders = Senders::flood(&sluice, 2, 100, 10);
    sluice.connect().write_all(line("quiet", 1).as_bytes()).unwrap();
    eventually(PATIENCE, "all are accepted", || sluice.metric("gateway_records_received_total") == 201.0);
    sluice.signal(SIGTERM);
    let told = senders.wait();
    let (code, stop) = sluice.wait();
    assert_balanced(&stop);
    assert_eq!((code, stop["not_stored"], stop["lost"]), (1, 201, 1), "{stop:?}");
    assert_eq!(count(&told, |fate| *fate == Fate::Retry("SHUTDOWN".into())), 200);
}

/// MSG_SIZE_TOO_LARGE, at the door: the limit comes from the topic, and records below it are stored even when they
/// travel together.
#[test]
fn records_over_the_topics_limit_are_refused_at_the_door() {
    let kafka = kafka();
    let topic = topic("small");
    kafka.topic_create(&topic, 1, 1, &[("max.message.bytes", "400")]);
    let sluice = gateway(&kafka, &topic, &[("KAFKA_COMPRESSION", "none")]);
    sluice.await_ready();
    let senders = Senders::flood(&sluice, 1, 1000, 3);
    let told = senders.wait();
    assert_eq!(tally(&told), HashMap::from([(Fate::Stored, 1000)]));
    compare(&told, &read_all(kafka.bootstrap(), &topic));

    // Key and value of the first are 271 bytes, of the last 527; 400 less the framing lies between them.
    sluice.send_lines(&[line(&"x".repeat(128), 1), line(&"ü".repeat(128), 2)]);
    eventually(PATIENCE, "the long one is refused, the other stored", || {
        let metrics = sluice.metrics();
        metrics["gateway_rejects_total{reason=\"record_too_large\"}"] == 1.0
            && metrics["gateway_records_total{outcome=\"stored\"}"] == 1001.0
    });
    assert_eq!(end_offsets(kafka.bootstrap(), &topic), [1001]);
}

/// MSG_SIZE_TOO_LARGE, from the broker: a limit that shrinks while we run refuses for good, and says so.
#[test]
fn a_limit_that_shrinks_under_us_refuses_for_good() {
    let kafka = kafka();
    let topic = topic("shrinks");
    kafka.topic_create(&topic, 1, 1, &[]);
    let sluice = gateway(&kafka, &topic, &[("KAFKA_COMPRESSION", "none")]);
    sluice.await_ready();
    assert_eq!(tally(&Senders::flood(&sluice, 1, 10, 1).wait()), HashMap::from([(Fate::Stored, 10)]));
    set_property(&kafka, &topic, "max.message.bytes", "20");
    let told = Senders::flood(&sluice, 1, 10, 1).wait();
    assert_eq!(tally(&told), HashMap::from([(Fate::Fix("MSG_SIZE_TOO_LARGE".into()), 10)]));
    sluice.signal(SIGTERM);
    let (code, stop) = sluice.wait();
    assert_balanced(&stop);
    assert_eq!((code, stop["stored"], stop["rejected"]), (0, 10, 10));
    assert_eq!(read_all(kafka.bootstrap(), &topic).len(), 10);
}
