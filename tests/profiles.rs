//! PROFILE: each source's environment taken verbatim, its defaults, its routes, and what a record looks like there.
#![cfg(feature = "http")]

mod gateway;
mod support;

use std::time::Duration;

use gateway::web::{EVENTS, event, player_event, stored, web_cluster};
use gateway::{await_stored, stop};
use sluice::config::{self, Configuration, LogFormat, Origin, Profile};
use sluice::kafka::Creation;
use sluice::pipeline::events::Layout;
use sluice::session::Ack;
use support::Sluice;

fn load(vars: &[(&str, &str)]) -> Result<Configuration, config::Refusal> {
    config::load(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

#[track_caller]
fn good(vars: &[(&str, &str)]) -> Configuration {
    load(vars).unwrap_or_else(|refusal| panic!("{refusal}"))
}

fn warnings(configuration: &Configuration) -> String {
    configuration.warnings.iter().map(|warning| format!("{warning}\n")).collect()
}

/// S0-R9 verbatim: TCP and health alone, one topic, nothing of HTTP.
#[test]
fn scores_is_the_tcp_gateway() {
    let configuration = good(&[
        ("PROFILE", "scores"),
        ("GATEWAY_LISTEN_ADDR", "0.0.0.0"),
        ("GATEWAY_LISTEN_PORT", "7000"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:29092"),
        ("KAFKA_TOPIC", "score_updates"),
        ("KAFKA_PARTITIONS", "12"),
        ("ENABLE_IDEMPOTENCE", "true"),
        ("BUFFER_MAX_MSGS", "10000"),
    ]);
    assert_eq!(warnings(&configuration), "");
    let gateway = configuration.gateway;
    assert_eq!((gateway.net.http, gateway.net.tcp), (None, Some("0.0.0.0:7000".parse().unwrap())));
    assert_eq!(gateway.net.health, Some("0.0.0.0:7001".parse().unwrap()));
    assert_eq!((gateway.kafka.topics.to_string().as_str(), gateway.kafka.partitions), ("score_updates", 12));
    assert!(gateway.net.admission.limiter.is_none() && gateway.kafka.letters.sources.is_empty());
    assert_eq!(good(&[("PROFILE", "SCORES")]).gateway.buffer.max_records, 10_000);
}

/// S3's table verbatim, and the variables that only its code reads.
#[test]
fn ingest_is_the_http_ingestor() {
    let configuration = good(&[
        ("PROFILE", "ingest"),
        ("HTTP_PORT", "8080"),
        ("LOG_LEVEL", "INFO"),
        ("KAFKA_BROKERS", "localhost:9092"),
        ("KAFKA_TOPIC", "clicks"),
        ("KAFKA_DLQ_TOPIC", "clicks-dlq"),
        ("WORKER_POOL_SIZE", "10"),
        ("QUEUE_SIZE", "2000"),
        ("RATE_LIMIT_RPS", "500"),
        ("RATE_LIMIT_BURST", "50"),
        ("KAFKA_WRITE_TIMEOUT", "10s"),
        ("KAFKA_MAX_RETRIES", "3"),
        ("KAFKA_RETRY_BACKOFF", "100ms"),
    ]);
    let said = warnings(&configuration);
    for ignored in [
        "WORKER_POOL_SIZE: ignored: one producer",
        "KAFKA_MAX_RETRIES: ignored",
        "KAFKA_RETRY_BACKOFF: ignored",
    ] {
        assert!(said.contains(ignored), "{said}");
    }
    assert_eq!(configuration.warnings.len(), 3, "{said}");
    assert_eq!(configuration.log.format, LogFormat::Json);
    let gateway = configuration.gateway;
    assert_eq!((gateway.net.tcp, gateway.net.health), (None, None));
    assert_eq!(gateway.kafka.topics.to_string(), "clicks,clicks-dlq");
    assert_eq!(gateway.kafka.delivery_timeout, Duration::from_secs(10));
    assert_eq!(gateway.buffer.max_records, 2000);
    let limiter = gateway.net.admission.limiter.expect("the limiter is on");
    assert_eq!((limiter.per_second, limiter.burst), (500, 50));
    assert_eq!((gateway.http.events.is_on, gateway.http.player_events.is_on), (true, false));
    assert_eq!((gateway.http.events.rules.layout, gateway.http.events.ack), (Layout::Ingest, Ack::Queued));
    let defaults = good(&[("PROFILE", "ingest")]).gateway;
    assert_eq!(
        (defaults.kafka.topics.to_string().as_str(), defaults.buffer.max_records),
        ("events,events-dlq", 1000)
    );
    let limiter = defaults.net.admission.limiter.expect("the limiter is on");
    assert_eq!((limiter.per_second, limiter.burst), (1000, 100));
}

/// S4's environment verbatim (S4-R5, S4-R6, S4-R8): five topics, its login, its limits.
#[test]
fn games_is_the_event_service() {
    let vars = [
        ("PROFILE", "games"),
        ("PORT", "8080"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092"),
        ("KAFKA_TOPIC_PLAYER_EVENTS", "player.events.raw"),
        ("KAFKA_USERNAME", ""),
        ("KAFKA_PASSWORD", ""),
        ("KAFKA_SECURITY_PROTOCOL", ""),
        ("RATE_LIMIT_RPS", "10000"),
    ];
    let configuration = good(&vars);
    assert_eq!(warnings(&configuration), "");
    let shown = |name: &str| configuration.effective.iter().find(|one| one.name == name).expect("a row");
    assert_eq!(
        (shown("KAFKA_LINGER_MS").value.as_str(), &shown("KAFKA_LINGER_MS").origin),
        ("10", &Origin::Profile)
    );
    let gateway = configuration.gateway;
    assert_eq!((gateway.net.tcp, gateway.net.health), (None, None));
    assert_eq!(gateway.kafka.topics.to_string(), "player.events.raw,system.dlq");
    let days = |days: u64| Some(Duration::from_secs(days * 86_400));
    let creation = |name: &str| gateway.kafka.creation(name);
    let meant = |name: &str, partitions, retention| Creation {
        name: name.into(),
        partitions: Some(partitions),
        retention,
    };
    for (name, partitions, retention) in [
        ("player.events.raw", 3, days(7)),
        ("player.events.processed", 3, days(7)),
        ("player.statistics", 3, days(30)),
        ("game.leaderboards", 1, days(30)),
        ("system.dlq", 1, days(30)),
    ] {
        assert_eq!(creation(name), meant(name, partitions, retention));
    }
    let beside: Vec<&str> = gateway.kafka.beside().collect();
    assert_eq!(beside, ["player.events.processed", "player.statistics", "game.leaderboards"]);
    assert_eq!(gateway.kafka.linger, Duration::from_millis(10));
    assert_eq!((gateway.http.events.is_on, gateway.http.player_events.is_on), (false, true));
    assert_eq!(
        (gateway.http.player_events.ack, gateway.http.player_events.timeout),
        (Ack::Delivered, Duration::from_secs(5))
    );
    assert_eq!(gateway.net.admission.limiter.expect("the limiter is on").per_second, 10_000);
    let own = good(&[("PROFILE", "games"), ("KAFKA_TOPIC", "raw"), ("KAFKA_PARTITIONS", "6")]).gateway.kafka;
    assert_eq!(
        (own.topics.to_string().as_str(), own.creation("raw")),
        ("raw,system.dlq", meant("raw", 6, days(7)))
    );
    assert!(own.creations.iter().all(|creation| creation.name != "player.events.raw"), "{:?}", own.creations);
}

/// S4-R8: the login's mechanism is S4's, the protocol literal, and without one it is said that nothing is encrypted.
#[test]
fn the_login_of_s4_is_taken() {
    let login = [("PROFILE", "games"), ("KAFKA_USERNAME", "u"), ("KAFKA_PASSWORD", "hunter2")];
    if !cfg!(feature = "tls") {
        let refusal = load(&login).expect_err("SCRAM is not built in").to_string();
        assert!(refusal.contains("KAFKA_USERNAME=") && refusal.contains("feature `tls`"), "{refusal}");
        assert!(!refusal.contains("hunter2"), "{refusal}");
    }
    // What this build can do: PLAIN over TCP in clear.
    let plain = [&login[..], &[("KAFKA_CONF_SASL_MECHANISM", "PLAIN")]].concat();
    let configuration = good(&plain);
    assert!(
        warnings(&configuration).contains("SASL_PLAINTEXT, what is sent can be read"),
        "{}",
        warnings(&configuration)
    );
    let property = |configuration: &Configuration, name: &str| {
        let found = configuration.gateway.kafka.passthrough.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    };
    assert_eq!(property(&configuration, "security.protocol").as_deref(), Some("sasl_plaintext"));
    assert_eq!(property(&configuration, "sasl.password").as_deref(), Some("hunter2"));
    assert!(!format!("{:?}", configuration.effective).contains("hunter2"));
    let given = good(&[&plain[..], &[("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")]].concat());
    assert_eq!(warnings(&given), "");
    let twice = load(&[&plain[..], &[("KAFKA_CONF_SASL_USERNAME", "v")]].concat());
    assert!(twice.expect_err("two names").to_string().contains("only one of"));
}

/// A profile gives defaults: what is given wins, and names that contradict each other are a fault.
#[test]
fn what_is_given_wins_over_the_profile() {
    let gateway = good(&[
        ("PROFILE", "ingest"),
        ("GATEWAY_LISTEN_PORT", "7000"),
        ("KAFKA_TOPIC", "e"),
        ("PLAYER_EVENTS_TOPIC", "p"),
        ("RATE_LIMIT_ENABLED", "false"),
        ("EVENTS_LAYOUT", "plain"),
    ])
    .gateway;
    assert!(gateway.net.admission.limiter.is_none() && gateway.http.player_events.is_on);
    assert_eq!(gateway.kafka.topics.to_string(), "score_updates,e,p,events-dlq");
    assert_eq!(gateway.http.events.rules.layout, Layout::Plain);
    for (vars, name) in [
        ([("PROFILE", "ingest"), ("KAFKA_TOPIC", "a"), ("EVENTS_TOPIC", "b")], "KAFKA_TOPIC"),
        ([("PROFILE", "games"), ("KAFKA_TOPIC", "a"), ("PLAYER_EVENTS_TOPIC", "b")], "PLAYER_EVENTS_TOPIC"),
        ([("PROFILE", "game"), ("HTTP_PORT", "1"), ("KAFKA_TOPIC", "b")], "PROFILE"),
    ] {
        let faults = load(&vars).expect_err("a fault").faults;
        assert!(faults.len() == 1 && faults[0].variable == name, "{faults:?}");
    }
    // Under `all` a topic of TCP's own is no contradiction, and a route that is off has none.
    let gateway = good(&[("KAFKA_TOPIC", "a"), ("EVENTS_TOPIC", "off")]).gateway;
    assert_eq!(gateway.kafka.topics.to_string(), "a,player.events.raw,events-dlq");
    let gateway = good(&[("GATEWAY_LISTEN_PORT", "off")]).gateway;
    assert_eq!(gateway.kafka.topics.to_string(), "events,player.events.raw,events-dlq");
    assert_eq!(Profile::ALL.len(), Profile::NAMES.len());
}

/// A gateway in one of HTTP's profiles, as its user starts it but for free ports and a log that tests can read.
fn start(profile: &str, more: &[(&str, &str)]) -> Sluice {
    let own =
        [("PROFILE", profile), ("GATEWAY_LISTEN_PORT", "off"), ("HTTP_PORT", "0"), ("LOG_FORMAT", "text")];
    let sluice = Sluice::start(&[&own, more].concat());
    sluice.await_ready();
    sluice
}

/// S3-R1, S3-R16: /events alone, with the record that readers of the original know; its topic is the only one that
/// is waited for.
#[test]
fn ingest_serves_one_route_with_the_layout_of_its_original() {
    let broker = web_cluster();
    let sluice = start("ingest", &[("KAFKA_BROKERS", broker.bootstrap()), ("KAFKA_TOPIC", EVENTS)]);
    let mut http = sluice.http();
    let answer = http.post("/events", event("e-1"));
    assert_eq!((answer.status, answer.header("x-request-id")), (202, Some("e-1")));
    let answer = http.post("/api/v1/events", player_event("ann"));
    assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"));
    assert_eq!(http.ask("GET", "/health", &[], b"").status, 200);
    await_stored(&sluice, 1);
    stop(sluice).assert_clean(1);
    let records = stored(&broker, EVENTS);
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!(record.key, b"e-1");
    assert_eq!(record.headers, [("trace_id".to_owned(), "e-1".to_owned())]);
}

/// S3-R4, S1-R15: the limiter is on where the source has it on, and a burst beyond it is told so.
#[test]
fn ingest_limits_each_sender() {
    let broker = web_cluster();
    let topic = [("KAFKA_BROKERS", broker.bootstrap()), ("KAFKA_TOPIC", EVENTS)];
    let sluice =
        start("ingest", &[&topic[..], &[("RATE_LIMIT_RPS", "1"), ("RATE_LIMIT_BURST", "3")]].concat());
    let mut http = sluice.http();
    let statuses: Vec<u16> = (0..6).map(|n| http.post("/events", event(&n.to_string())).status).collect();
    assert_eq!(statuses[..3], [202; 3], "{statuses:?}");
    assert!(statuses[3..].contains(&429), "{statuses:?}");
    let taken = statuses.iter().filter(|status| **status == 202).count() as u64;
    await_stored(&sluice, taken);
    stop(sluice).assert_clean(taken);
}

/// S4-R1, S4-R3, S4-R4 under its own names, on the embedded broker, where its five topics are made as well.
#[test]
fn games_serves_its_route_with_its_topics() {
    let sluice = start("games", &[("KAFKA_BOOTSTRAP_SERVERS", "embedded")]);
    let log = sluice.await_log("broker.embedded");
    assert!(log.contains("topics=player.events.raw,system.dlq"), "{log}");
    let bootstrap =
        log.split("bootstrap=").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
    let bootstrap = bootstrap.to_owned();
    let mut http = sluice.http();
    let answer = http.post("/api/v1/events", player_event("ann"));
    let id = answer.json()["event_id"].as_str().expect("an id").to_owned();
    assert_eq!((answer.status, answer.body), (200, format!(r#"{{"status":"success","event_id":"{id}"}}"#)));
    assert_eq!(http.post("/events", "{}").status, 404);
    let records = support::read_all(&bootstrap, "player.events.raw");
    assert_eq!(records.len(), 1, "{records:?}");
    for (topic, partitions) in [
        ("player.events.processed", 3),
        ("player.statistics", 3),
        ("game.leaderboards", 1),
        ("system.dlq", 1),
    ] {
        assert_eq!(support::end_offsets(&bootstrap, topic), vec![0; partitions], "{topic}");
    }
    stop(sluice).assert_clean(1);
}
