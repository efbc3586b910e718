//! Test only: the main rules of `promtool check metrics`, so that no installed tool is needed to keep them.
//! Rules: <https://github.com/prometheus/client_golang/tree/main/prometheus/testutil/promlint>

use std::collections::{HashMap, HashSet};

use super::*;

/// What is wrong with a page of metrics, one sentence a fault.
fn lint(page: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !page.ends_with('\n') {
        faults.push("the last line is not ended".to_owned());
    }
    let mut kinds: HashMap<&str, &str> = HashMap::new();
    let mut samples: HashSet<&str> = HashSet::new();
    let (mut helped, mut family, mut kind) = ("", "", "");
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap_or((help, ""));
            if text.trim().is_empty() {
                faults.push(format!("{name}: no help"));
            }
            helped = name;
        } else if let Some(head) = line.strip_prefix("# TYPE ") {
            (family, kind) = head.split_once(' ').unwrap_or((head, ""));
            if helped != family {
                faults.push(format!("{family}: HELP does not come right before TYPE"));
            }
            if kinds.insert(family, kind).is_some() {
                faults.push(format!("{family}: twice"));
            }
            faults.extend(lint_name(family, kind));
        } else {
            faults.extend(lint_sample(line, family, kind));
            if !samples.insert(line.rsplit_once(' ').map_or(line, |(name, _)| name)) {
                faults.push(format!("{line}: same sample twice"));
            }
        }
    }
    for (family, _) in kinds.iter().filter(|(_, kind)| **kind == "histogram") {
        for end in ["_bucket{le=\"+Inf\"}", "_sum", "_count"] {
            if !samples.contains(format!("{family}{end}").as_str()) {
                faults.push(format!("{family}: no {end}"));
            }
        }
    }
    faults
}

/// Rules about a family's name.
fn lint_name(name: &str, kind: &str) -> Vec<String> {
    const UNITS_NOT_BASE: [&str; 19] = [
        "milliseconds",
        "microseconds",
        "nanoseconds",
        "minutes",
        "hours",
        "days",
        "kilobytes",
        "megabytes",
        "gigabytes",
        "kibibytes",
        "mebibytes",
        "bits",
        "percent",
        "s",
        "ms",
        "us",
        "ns",
        "b",
        "kb",
    ];
    let mut faults = Vec::new();
    let mut fault = |what: &str| faults.push(format!("{name}: {what}"));
    if !matches!(kind, "counter" | "gauge" | "histogram") {
        fault("unknown type");
    }
    if (kind == "counter") != name.ends_with("_total") {
        fault("_total belongs to counters, and to them alone");
    }
    if ["_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end)) {
        fault("ends like a histogram's sample");
    }
    for word in name.split('_') {
        if word.is_empty() || !word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            fault("not snake_case");
        }
        if UNITS_NOT_BASE.contains(&word) {
            fault("not a base unit");
        }
        if ["counter", "gauge", "histogram", "summary"].contains(&word) {
            fault("names its type");
        }
    }
    faults
}

/// Rules about one sample: it belongs to the family above it, its labels are allowed, its value is a number.
fn lint_sample(line: &str, family: &str, kind: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let Some((key, value)) = line.rsplit_once(' ') else { return vec![format!("{line}: no value")] };
    if value.parse::<f64>().is_err() {
        faults.push(format!("{line}: no number"));
    }
    let (name, labels) =
        key.split_once('{').map_or((key, ""), |(name, rest)| (name, rest.trim_end_matches('}')));
    let ends: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
    if family.is_empty() || !ends.iter().any(|end| name.strip_prefix(family) == Some(end)) {
        faults.push(format!("{line}: not of the family {family}"));
    }
    for label in labels.split(',').filter_map(|pair| pair.split_once('=')).map(|(label, _)| label) {
        let allowed = ["listener", "outcome", "reason", "topic", "state", "status", "broker", "version"]
            .contains(&label)
            || (label == "le" && name.ends_with("_bucket"));
        if !allowed {
            faults.push(format!("{line}: label {label}"));
        }
    }
    faults
}

fn page(s: &Snapshot) -> String {
    let mut out = String::new();
    prometheus(s, &mut out);
    out
}

fn full() -> Snapshot {
    let mut s = Snapshot {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: 12.5,
        ready: true,
        records_received: 10,
        records: [1, 2, 3, 4, 5, 6],
        rejects: vec![("json_syntax", 2), ("score_missing", 0)],
        broker_rtt: vec![BrokerRtt { broker: 1, seconds: 0.0012 }, BrokerRtt { broker: 2, seconds: 0.0 }],
        last_delivery_unix_seconds: Some(1_730_000_000.25),
        process: ProcessSnapshot::read(),
        ..Snapshot::default()
    };
    s.record_ack.record_n(4_321, 10);
    s
}

#[test]
fn an_empty_and_a_full_snapshot_keep_the_rules() {
    for s in [Snapshot::default(), full()] {
        assert_eq!(lint(&page(&s)), Vec::<String>::new(), "{}", page(&s));
    }
}

/// The names that conventions promise, and the rule that counters are at 0 from the start.
#[test]
fn promised_names_are_there_from_the_start() {
    let page = page(&Snapshot { version: "1", ..Snapshot::default() });
    let mut promised = vec![
        "gateway_connections{listener=\"tcp\"} 0".to_owned(),
        "gateway_connection_paused_seconds_total{listener=\"tcp\"} 0".to_owned(),
        "gateway_kafka_brokers{state=\"up\"} 0".to_owned(),
        "gateway_build_info{version=\"1\"} 1".to_owned(),
        "gateway_record_ack_seconds_count 0".to_owned(),
        "# TYPE gateway_rejects_total counter".to_owned(),
    ];
    promised.extend(OUTCOMES.map(|o| format!("gateway_records_total{{outcome=\"{o}\"}} 0")));
    promised.extend(PAUSE_REASONS.map(|r| format!("gateway_connections_paused{{reason=\"{r}\"}} 0")));
    promised.extend(
        ["records_received_total", "queue_records", "queue_bytes", "queue_limit_bytes", "inflight_records"]
            .map(|name| format!("gateway_{name} 0")),
    );
    promised.push("gateway_memory_accounted_bytes 0".to_owned());
    for name in ["gateway_http_responses_total", "http_requests_total"] {
        promised.extend(STATUSES.map(|status| format!("{name}{{status=\"{status}\"}} 0")));
    }
    promised.extend(
        [
            "gateway_request_duration_seconds_count",
            "http_request_duration_seconds_count",
            "ingest_queue_size",
        ]
        .map(|name| format!("{name} 0")),
    );
    promised.extend(["received", "published", "failed"].map(|what| format!("events_{what}_total 0")));
    for line in promised {
        assert!(page.lines().any(|l| l == line), "{line} in\n{page}");
    }
    let full = self::page(&full());
    for line in [
        "gateway_rejects_total{reason=\"score_missing\"} 0",
        "gateway_kafka_request_rtt_seconds{broker=\"1\"} 0.0012",
        "gateway_last_delivery_timestamp_seconds 1730000000.25",
        "gateway_records_total{outcome=\"unknown\"} 6",
        // 21 ended: one stored, two refused at the door.
        "events_failed_total 18",
        "events_published_total 1",
    ] {
        assert!(full.lines().any(|l| l == line), "{line} in\n{full}");
    }
}

#[test]
fn the_lint_finds_what_it_is_for() {
    let head = |name: &str, kind: &str| format!("# HELP {name} X.\n# TYPE {name} {kind}\n");
    let bad = [
        ("# TYPE a_total counter\na_total 1\n".to_owned(), "no HELP"),
        ("# HELP a_total \n# TYPE a_total counter\na_total 1\n".to_owned(), "empty HELP"),
        (head("a", "counter") + "a 1\n", "counter without _total"),
        (head("a_total", "gauge") + "a_total 1\n", "gauge with _total"),
        (head("a_ms", "gauge") + "a_ms 1\n", "unit"),
        (head("aB", "gauge") + "aB 1\n", "camel case"),
        (head("a_count", "gauge") + "a_count 1\n", "reserved ending"),
        (head("a", "gauge") + "a{le=\"1\"} 1\n", "reserved label"),
        (head("a", "gauge") + "a{player=\"1\"} 1\n", "label of ours that is not allowed"),
        (head("a", "gauge") + "b 1\n", "stray sample"),
        (head("a", "gauge") + "a 1\na 1\n", "same sample twice"),
        (head("a", "gauge") + "a 1\n" + &head("a", "gauge") + "a{state=\"x\"} 1\n", "family twice"),
        (head("a", "histogram") + "a_sum 1\na_count 1\n", "no +Inf"),
        (head("a", "gauge") + "a x\n", "no number"),
        (head("a", "gauge") + "a 1", "no end of line"),
    ];
    for (page, what) in bad {
        assert!(!lint(&page).is_empty(), "{what}: not found in\n{page}");
    }
}
