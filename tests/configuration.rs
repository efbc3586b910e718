//! The environment as a user sets it: defaults, aliases, faults all at once, relations, secrets, documentation.

use std::time::Duration;

use sluice::config::{self, Configuration, LogFormat, LogOptions, LogOutput, Origin, Refusal, memory};
use sluice::gateway::GatewayOptions;
use sluice::kafka::Bootstrap;
use sluice::pipeline::ValueFormat;
use sluice::session::{Framing, TCP_TOPIC};

fn load(vars: &[(&str, &str)]) -> Result<Configuration, Refusal> {
    config::load(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

#[track_caller]
fn good(vars: &[(&str, &str)]) -> Configuration {
    load(vars).unwrap_or_else(|refusal| panic!("{refusal}"))
}

#[track_caller]
fn faults(vars: &[(&str, &str)]) -> Vec<String> {
    load(vars).expect_err("no fault found").faults.iter().map(ToString::to_string).collect()
}

/// Exactly one fault, of this variable, whose sentence holds `right`.
#[track_caller]
fn one_fault(vars: &[(&str, &str)], variable: &str, right: &str) {
    let found = faults(vars);
    assert!(
        found.len() == 1 && found[0].starts_with(&format!("{variable}=")) && found[0].contains(right),
        "{vars:?}: {found:?}"
    );
}

#[track_caller]
fn warned(vars: &[(&str, &str)], text: &str) {
    let warnings = good(vars).warnings;
    assert!(warnings.iter().any(|warning| warning.to_string().contains(text)), "{vars:?}: {warnings:?}");
}

/// S0-R9, and the names of conventions.md: the table's defaults are those of the rooms.
#[test]
fn an_empty_environment_gives_the_defaults() {
    let configuration = good(&[]);
    assert_eq!(configuration.gateway, GatewayOptions::default());
    assert_eq!(configuration.log, LogOptions::default());
    assert_eq!(configuration.warnings, []);
    assert!(!configuration.effective.iter().any(|one| matches!(one.origin, Origin::Environment(_))));
}

#[test]
fn every_variable_reaches_its_option() {
    let Configuration { gateway, log, warnings, .. } = good(&[
        ("GATEWAY_LISTEN_ADDR", "127.0.0.1"),
        ("GATEWAY_LISTEN_PORT", "0"),
        ("HEALTH_LISTEN_ADDR", "::1"),
        ("HEALTH_PORT", "7101"),
        ("MAX_CONNECTIONS", "77"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:1,b:2"),
        ("KAFKA_TOPIC", "t"),
        ("HTTP_PORT", "off"),
        ("KAFKA_PARTITIONS", "3"),
        ("KAFKA_REPLICATION_FACTOR", "3"),
        ("KAFKA_MIN_INSYNC_REPLICAS", "2"),
        ("ENABLE_IDEMPOTENCE", "0"),
        ("KAFKA_REQUIRED_ACKS", "1"),
        ("KAFKA_LINGER_MS", "0"),
        ("KAFKA_COMPRESSION", "snappy"),
        ("KAFKA_DELIVERY_TIMEOUT_MS", "1000"),
        ("KAFKA_CONF_CLIENT_ID", "x"),
        ("BUFFER_MAX_MSGS", "500"),
        ("BUFFER_MAX_BYTES", "1MiB"),
        ("MEMORY_LIMIT", "1GiB"),
        ("TCP_FRAMING", "frames"),
        ("TCP_MAX_LINE_BYTES", "1000"),
        ("TCP_MAX_FRAME_BYTES", "2KiB"),
        ("TCP_RECV_BUFFER_BYTES", "8KiB"),
        ("TCP_PARTIAL_BYTES", "2MiB"),
        ("VALUE_FORMAT", "json"),
        ("KAFKA_DLQ_TOPIC", "dl"),
        ("DEAD_LETTER_DIR", "/d"),
        ("DEAD_LETTER_MAX_BYTES", "1MiB"),
        ("DEAD_LETTER_TCP", "1"),
        ("DRAIN_TIMEOUT", "1500ms"),
        ("LOG_LEVEL", "DEBUG"),
        ("LOG_FORMAT", "json"),
        ("LOG_OUTPUT", "/tmp/x.log"),
        ("LOG_EXCERPTS", "false"),
        ("METRICS_PATH", "/m"),
        ("METRICS_INTERVAL", "0"),
    ]);
    assert_eq!(gateway.net.tcp, Some("127.0.0.1:0".parse().unwrap()));
    assert_eq!(gateway.net.health, Some("[::1]:7101".parse().unwrap()));
    assert_eq!(gateway.net.max_connections, 77);
    assert_eq!((gateway.net.recv_buffer_bytes, gateway.net.partial_bytes), (8192, 2 << 20));
    assert_eq!(gateway.kafka.bootstrap, Bootstrap::Servers("a:1,b:2".into()));
    assert_eq!(gateway.kafka.topics.to_string(), "t,dl");
    let letters = &gateway.kafka.letters;
    assert_eq!((&letters.sources[..], letters.max_bytes), (&[TCP_TOPIC][..], 1 << 20));
    assert_eq!(letters.dir.as_deref(), Some("/d".as_ref()));
    let numbers =
        (gateway.kafka.partitions, gateway.kafka.replication_factor, gateway.kafka.min_insync_replicas);
    assert_eq!(numbers, (3, 3, 2));
    assert!(!gateway.kafka.idempotence);
    assert_eq!((gateway.kafka.acks.as_str(), gateway.kafka.compression.as_str()), ("1", "snappy"));
    assert_eq!(gateway.kafka.linger, Duration::ZERO);
    assert_eq!(gateway.kafka.delivery_timeout, Duration::from_secs(1));
    assert_eq!(gateway.kafka.passthrough, [("client.id".to_owned(), "x".to_owned())]);
    assert_eq!((gateway.buffer.max_records, gateway.buffer.max_bytes), (500, 1 << 20));
    assert_eq!(gateway.memory_limit, Some(1 << 30));
    assert_eq!(gateway.tcp.framing, Framing::Frames);
    assert_eq!((gateway.tcp.max_line_bytes, gateway.tcp.max_frame_bytes), (1000, 2048));
    assert_eq!(gateway.value_format, ValueFormat::Json);
    assert_eq!(gateway.drain_timeout, Duration::from_millis(1500));
    assert_eq!(gateway.metrics_path.as_deref(), Some("/m"));
    assert_eq!(gateway.metrics_interval, Duration::ZERO);
    assert!(!gateway.log_excerpts);
    assert_eq!((log.level, log.format), (log::LevelFilter::Debug, LogFormat::Json));
    assert_eq!(log.output, LogOutput::File("/tmp/x.log".into()));
    assert_eq!(warnings.len(), 1, "{warnings:?}"); // idempotence is off
}

#[test]
fn listeners_and_metrics_can_be_off() {
    let gateway = good(&[("HEALTH_PORT", "off"), ("METRICS_ENABLED", "false")]).gateway;
    assert_eq!((gateway.net.health, gateway.metrics_path), (None, None));
    warned(&[("GATEWAY_LISTEN_PORT", "off"), ("HTTP_PORT", "off")], "no listener takes events");
    let gateway = good(&[("GATEWAY_LISTEN_ADDR", "127.0.0.1")]).gateway;
    assert_eq!(
        gateway.net.health,
        Some("127.0.0.1:7001".parse().unwrap()),
        "health follows the gateway's address"
    );
}

#[test]
fn embedded_broker() {
    assert_eq!(good(&[("KAFKA_BROKERS", "embedded")]).gateway.kafka.bootstrap, Bootstrap::Embedded);
}

#[test]
fn aliases_are_the_same_variable() {
    assert_eq!(good(&[("KAFKA_NUM_PARTITIONS", "3")]).gateway.kafka.partitions, 3);
    for alias in ["BUFFER_MAX_MSGS", "QUEUE_SIZE", "KAFKA_BUFFER_SIZE"] {
        assert_eq!(good(&[(alias, "1234")]).gateway.buffer.max_records, 1234);
    }
    let same = [("KAFKA_BROKERS", "a:1"), ("KAFKA_BOOTSTRAP_SERVERS", "a:1")];
    assert_eq!(good(&same).gateway.kafka.bootstrap, Bootstrap::Servers("a:1".into()));
    let different = [("QUEUE_SIZE", "1000"), ("BUFFER_MAX_MSGS", "2000")];
    one_fault(&different, "QUEUE_SIZE", r#"the same value as BUFFER_MAX_MSGS="2000""#);
}

#[test]
fn all_faults_come_at_once_and_each_says_what_would_be_right() {
    let vars = [
        ("GATEWAY_LISTEN_PORT", "70000"),
        ("KAFKA_PARTITIONS", "many"),
        ("DRAIN_TIMEOUT", "5"),
        ("LOG_LEVEL", "loud"),
        ("KAFKA_TOPIC", "a topic"),
        ("KAFKA_REQUIRED_ACKS", "1"),
        ("TCP_MAX_LINE_BYTES", "32MiB"),
        ("KAFKA_TOPCI", "x"),
    ];
    let found = faults(&vars);
    for expected in [
        r#"GATEWAY_LISTEN_PORT="70000": expected a port from 0 to 65535, or off"#,
        r#"KAFKA_PARTITIONS="many": expected a whole number from 1 to 100000"#,
        r#"DRAIN_TIMEOUT="5": expected a duration with its unit such as 500ms, 10s or 2m, at most 1day; or 0"#,
        r#"LOG_LEVEL="loud": expected one of error, warn, info, debug, trace"#,
        r#"KAFKA_TOPIC="a topic": expected 1 to 249 of the characters"#,
        r#"KAFKA_REQUIRED_ACKS="1": expected all, or ENABLE_IDEMPOTENCE=false beside it"#,
        r#"BUFFER_MAX_BYTES="16MiB": expected at least 33554432, TCP_MAX_LINE_BYTES=33554432"#,
    ] {
        assert!(found.iter().any(|fault| fault.starts_with(expected)), "{expected}\n{found:#?}");
    }
    assert_eq!(found.len(), vars.len() - 1, "{found:#?}");
    let warnings = load(&vars).unwrap_err().warnings;
    assert_eq!(warnings[0].text, "unknown variable KAFKA_TOPCI, did you mean KAFKA_TOPIC?");
}

#[test]
fn one_typing_error_is_one_fault() {
    one_fault(
        &[("KAFKA_REPLICATION_FACTOR", "x"), ("KAFKA_MIN_INSYNC_REPLICAS", "2")],
        "KAFKA_REPLICATION_FACTOR",
        "",
    );
    one_fault(
        &[("TCP_MAX_LINE_BYTES", ""), ("MEMORY_LIMIT", "1MiB")],
        "TCP_MAX_LINE_BYTES",
        "bytes, bare or with",
    );
}

#[test]
fn relations() {
    one_fault(&[("HEALTH_PORT", "7000")], "HEALTH_PORT", "another port than GATEWAY_LISTEN_PORT=7000");
    good(&[("GATEWAY_LISTEN_PORT", "0"), ("HEALTH_PORT", "0")]);
    let apart =
        [("GATEWAY_LISTEN_ADDR", "127.0.0.2"), ("HEALTH_LISTEN_ADDR", "127.0.0.1"), ("HEALTH_PORT", "7000")];
    good(&apart);
    one_fault(&[("METRICS_PATH", "/ready")], "METRICS_PATH", "other than /, /health, /ready");
    one_fault(
        &[("KAFKA_MIN_INSYNC_REPLICAS", "2")],
        "KAFKA_MIN_INSYNC_REPLICAS",
        "at most KAFKA_REPLICATION_FACTOR=1",
    );
    one_fault(&[("KAFKA_REQUIRED_ACKS", "0")], "KAFKA_REQUIRED_ACKS", "all");
    one_fault(
        &[("KAFKA_DELIVERY_TIMEOUT_MS", "5")],
        "KAFKA_LINGER_MS",
        "less than KAFKA_DELIVERY_TIMEOUT_MS=5",
    );
    one_fault(&[("BUFFER_MAX_BYTES", "64000")], "BUFFER_MAX_BYTES", "at least 65536");
    one_fault(
        &[("TCP_RECV_BUFFER_BYTES", "128000")],
        "TCP_RECV_BUFFER_BYTES",
        "at least 131072, twice TCP_MAX_LINE_BYTES",
    );
    let frames = [("TCP_PARTIAL_BYTES", "70000"), ("TCP_MAX_FRAME_BYTES", "80000")];
    one_fault(&frames, "TCP_PARTIAL_BYTES", "at least 80000, TCP_MAX_FRAME_BYTES=80000");
    warned(&[("BUFFER_MAX_MSGS", "10")], "below 100 records");
    warned(&[("ENABLE_IDEMPOTENCE", "false")], "may double or reorder");
}

/// What was not given grows with what it must hold.
#[test]
fn receive_buffer_and_partial_bytes_follow_a_longer_message() {
    let vars = [("TCP_MAX_LINE_BYTES", "32MiB"), ("BUFFER_MAX_BYTES", "64MiB")];
    let configuration = good(&vars);
    assert_eq!(configuration.gateway.net.recv_buffer_bytes, 64 << 20);
    assert_eq!(configuration.gateway.net.partial_bytes, 32 << 20);
    let shown = configuration.effective.iter().find(|one| one.name == "TCP_RECV_BUFFER_BYTES").unwrap();
    assert_eq!((shown.value.as_str(), &shown.origin), ("64MiB", &Origin::Derived));
}

/// A letter in an event's own topic could not be told from an event; a route that is off has no letters.
#[test]
fn dead_letters_have_a_topic_of_their_own() {
    one_fault(&[("KAFKA_DLQ_TOPIC", "events")], "KAFKA_DLQ_TOPIC", "another topic");
    one_fault(
        &[("KAFKA_TOPIC", "x"), ("KAFKA_DLQ_TOPIC", "x"), ("DEAD_LETTER_TCP", "1")],
        "KAFKA_DLQ_TOPIC",
        "another topic",
    );
    assert_eq!(good(&[("HTTP_PORT", "off")]).gateway.kafka.topics.to_string(), "score_updates");
    let gateway = good(&[("KAFKA_DLQ_TOPIC", "off")]).gateway;
    assert_eq!(gateway.kafka.topics.to_string(), "score_updates,events,player.events.raw");
    assert_eq!((gateway.kafka.letters.sources.len(), gateway.kafka.letters.dir), (2, None));
}

/// G4: a limit below the worst case does not start, and the limit that the fault names does.
#[test]
fn memory_limit_is_held_against_the_sum() {
    let off = ("HTTP_PORT", "off");
    let total = memory::total(&memory::worst_case(&good(&[off]).gateway));
    one_fault(
        &[off, ("MEMORY_LIMIT", "10MiB")],
        "MEMORY_LIMIT",
        &format!("at least the worst case of {total} bytes"),
    );
    good(&[off, ("MEMORY_LIMIT", &total.to_string())]);
    one_fault(&[off, ("MEMORY_LIMIT", &(total - 1).to_string())], "MEMORY_LIMIT", "at least the worst case");
    assert!(total < 128 << 20, "the worst case of TCP alone is {total}");
}

#[test]
fn client_properties_go_through() {
    let passthrough = good(&[
        ("KAFKA_CONF_SECURITY_PROTOCOL", "plaintext"),
        ("KAFKA_CONF_BATCH_SIZE", "1000"),
        ("KAFKA_CONF_LOG_LEVEL", "7"),
    ])
    .gateway
    .kafka
    .passthrough;
    let expected = [("batch.size", "1000"), ("log_level", "7"), ("security.protocol", "plaintext")];
    assert_eq!(passthrough, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

/// A property that librdkafka does not take is found before anything starts; a secret is not quoted.
#[test]
fn client_properties_are_checked_by_the_client() {
    one_fault(&[("KAFKA_CONF_NO_SUCH", "1")], "KAFKA_CONF_NO_SUCH", "No such configuration property");
    one_fault(&[("KAFKA_CONF_BATCH_SIZE", "many")], "KAFKA_CONF_BATCH_SIZE", "batch.size");
    let found = faults(&[("KAFKA_CONF_NO_SUCH_PASSWORD", "hunter2"), ("KAFKA_CONF_SOCKET_TIMEOUT_MS", "-1")]);
    assert!(found.len() == 2 && !format!("{found:?}").contains("hunter2"), "{found:?}");
}

#[test]
fn a_variable_wins_over_its_client_property() {
    let both = [("KAFKA_LINGER_MS", "7"), ("KAFKA_CONF_LINGER_MS", "9")];
    warned(&both, r#"KAFKA_CONF_LINGER_MS: ignored, KAFKA_LINGER_MS="7" wins"#);
    let gateway = good(&both).gateway;
    assert_eq!((gateway.kafka.linger, gateway.kafka.passthrough), (Duration::from_millis(7), vec![]));
    let alone = good(&[("KAFKA_CONF_LINGER_MS", "9"), ("KAFKA_CONF_ACKS", "-1")]);
    assert_eq!(
        (alone.gateway.kafka.linger, alone.gateway.kafka.acks.as_str()),
        (Duration::from_millis(9), "all")
    );
    assert_eq!(alone.warnings, []);
    one_fault(&[("KAFKA_CONF_ACKS", "1")], "KAFKA_CONF_ACKS", "all, or ENABLE_IDEMPOTENCE=false");
    warned(&[("KAFKA_CONF_QUEUE_BUFFERING_MAX_MESSAGES", "5")], "ignored: derived from BUFFER_MAX_MSGS");
    one_fault(&[("KAFKA_CONF_PARTITIONER", "random")], "KAFKA_CONF_PARTITIONER", "not to be set");
}

/// S0-P1: one knob; both given and different is an error at start.
#[test]
fn the_two_names_of_the_delivery_deadline_agree() {
    let s0 = [("KAFKA_CONF_MESSAGE_TIMEOUT_MS", "60000"), ("KAFKA_CONF_DELIVERY_TIMEOUT_MS", "120000")];
    one_fault(
        &s0,
        "KAFKA_CONF_MESSAGE_TIMEOUT_MS",
        "one property with two names (use KAFKA_DELIVERY_TIMEOUT_MS)",
    );
    let knob = [("KAFKA_DELIVERY_TIMEOUT_MS", "60000"), ("KAFKA_CONF_MESSAGE_TIMEOUT_MS", "30000")];
    one_fault(&knob, "KAFKA_CONF_MESSAGE_TIMEOUT_MS", r#"KAFKA_DELIVERY_TIMEOUT_MS="60000""#);
    let same = [("KAFKA_DELIVERY_TIMEOUT_MS", "30s"), ("KAFKA_CONF_MESSAGE_TIMEOUT_MS", "30000")];
    assert_eq!(good(&same).gateway.kafka.delivery_timeout, Duration::from_secs(30));
    let alone = good(&[("KAFKA_CONF_MESSAGE_TIMEOUT_MS", "30000")]).gateway.kafka;
    assert_eq!((alone.delivery_timeout, alone.passthrough), (Duration::from_secs(30), vec![]));
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    std::fs::write(&path, "hunter2\n").unwrap();
    let path = path.to_str().unwrap();
    let configuration = good(&[("KAFKA_CONF_SASL_PASSWORD_FILE", path), ("KAFKA_CONF_SASL_USERNAME", "me")]);
    let passthrough = &configuration.gateway.kafka.passthrough;
    assert!(passthrough.contains(&("sasl.password".into(), "hunter2".into())), "{passthrough:?}");
    assert!(!format!("{:?}", configuration.effective).contains("hunter2"));

    let twice = [("KAFKA_CONF_SASL_PASSWORD_FILE", path), ("KAFKA_CONF_SASL_PASSWORD", "hunter3")];
    let found = faults(&twice);
    assert!(found.len() == 1 && !found[0].contains("hunter"), "{found:?}");
    let missing = [("KAFKA_CONF_SASL_PASSWORD_FILE", "/nonexistent/password")];
    one_fault(&missing, "KAFKA_CONF_SASL_PASSWORD_FILE", "a readable file");
}

#[test]
fn what_is_not_built_in_is_named() {
    let built_in = [("gzip", cfg!(feature = "gzip")), ("zstd", cfg!(feature = "zstd"))];
    for (compression, built_in) in built_in {
        let vars = [("KAFKA_COMPRESSION", compression)];
        if built_in {
            assert_eq!(good(&vars).gateway.kafka.compression, compression);
        } else {
            one_fault(&vars, "KAFKA_COMPRESSION", &format!("Cargo feature `{compression}`"));
        }
    }
    if !cfg!(feature = "tls") {
        let vars = [("KAFKA_CONF_SSL_KEY_PASSWORD", "hunter2")];
        one_fault(&vars, "KAFKA_CONF_SSL_KEY_PASSWORD", "not supported in this build");
        assert!(!faults(&vars)[0].contains("hunter2"));
        let vars = [("KAFKA_CONF_SECURITY_PROTOCOL", "SASL_SSL")];
        one_fault(&vars, "KAFKA_CONF_SECURITY_PROTOCOL", "Cargo feature `tls`");
    }
}

#[test]
fn a_kubernetes_service_link_is_recognised() {
    one_fault(&[("HEALTH_PORT", "tcp://10.0.0.1:7001")], "HEALTH_PORT", "service link of Kubernetes");
}

fn sluice(command: &str, vars: &[(&str, &str)]) -> std::process::Output {
    let mut process = std::process::Command::new(env!("CARGO_BIN_EXE_sluice"));
    process.arg(command).env_clear().envs(vars.iter().copied()).output().unwrap()
}

/// conventions.md: exit code 2, all faults on stderr, nothing on stdout; no secret anywhere.
#[test]
fn the_commands_refuse_a_wrong_environment() {
    let vars = [("KAFKA_PARTITIONS", "0"), ("LOG_FORMAT", "xml"), ("KAFKA_CONF_SASL_PASSWORD", "hunter2")];
    for command in ["check-config", "serve"] {
        let output = sluice(command, &vars);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), b"".as_slice()), "{stderr}");
        assert!(
            stderr.contains("2 faults")
                && stderr.contains("KAFKA_PARTITIONS=\"0\"")
                && stderr.contains("LOG_FORMAT")
        );
        assert!(!stderr.contains("hunter2"), "{stderr}");
    }
    let unwritable = sluice(
        "serve",
        &[("LOG_OUTPUT", "/nonexistent/x.log"), ("GATEWAY_LISTEN_PORT", "off"), ("HEALTH_PORT", "off")],
    );
    assert_eq!(unwritable.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unwritable.stderr).contains("LOG_OUTPUT=\"/nonexistent/x.log\""));
}

#[test]
fn check_config_prints_what_is_in_effect() {
    let output = sluice("check-config", &[("KAFKA_BROKERS", "b:1"), ("KAFKA_CONF_SASL_PASSWORD", "hunter2")]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stdout.contains("environment, as KAFKA_BROKERS") && stdout.contains("Worst-case memory"),
        "{stdout}"
    );
    assert!(!stdout.contains("hunter2"));
}

/// `sluice check-config --markdown > docs/configuration.md` brings it up to date.
#[test]
fn the_documentation_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let written = std::fs::read_to_string(path).unwrap();
    let message = "docs/configuration.md is stale: sluice check-config --markdown > docs/configuration.md";
    assert!(written == config::markdown::page(), "{message}");
}
