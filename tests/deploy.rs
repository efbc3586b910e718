//! What is under deploy/ against the program: dashboard and alerts read only metrics, labels and label values that
//! exist, and every alert has its section in the runbook.

#[path = "deploy/promql.rs"]
mod promql;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use promql::{Reads, Use};
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::Value;
use sluice::event::Rejection;
use sluice::gateway::GatewayOptions;
use sluice::metrics;

/// Labels that Prometheus puts on every series it scrapes.
const TARGET: [&str; 2] = ["job", "instance"];
/// Labels whose values only a running gateway knows.
const OPEN: [&str; 2] = ["broker", "version"];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(path: &str) -> Value {
    let text = read(path);
    let documents = Yaml::load_from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(documents.len(), 1, "{path}");
    value(&documents[0])
}

/// YAML as JSON, which is what all of deploy/ can be said in.
fn value(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(is)) => (*is).into(),
        Yaml::Value(Scalar::Integer(number)) => (*number).into(),
        Yaml::Value(Scalar::FloatingPoint(number)) => number.into_inner().into(),
        Yaml::Value(Scalar::String(text)) => (&**text).into(),
        Yaml::Sequence(items) => items.iter().map(value).collect(),
        Yaml::Mapping(members) => members
            .iter()
            .map(|(name, member)| (name.as_str().expect("a name").to_owned(), value(member)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => panic!("{other:?} is not JSON"),
    }
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or_else(|| panic!("{member} is no text in {value}"))
}

fn items<'v>(value: &'v Value, member: &str) -> &'v [Value] {
    value[member].as_array().unwrap_or_else(|| panic!("{member} is no list in {value}"))
}

/// A series name as `/metrics` shows it.
#[derive(Debug, Default)]
struct Series {
    is_counter: bool,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// Every series of a gateway on which everything is known, from the text that it would serve.
fn series() -> BTreeMap<String, Series> {
    let reasons: BTreeSet<_> = Rejection::all().map(|reason| reason.code()).collect();
    let full = metrics::Snapshot {
        rejects: reasons.into_iter().map(|reason| (reason, 0)).collect(),
        broker_rtt: vec![metrics::BrokerRtt { broker: 1, seconds: 0.001 }],
        last_delivery_unix_seconds: Some(1.0),
        process: metrics::ProcessSnapshot::read(),
        ..metrics::Snapshot::default()
    };
    let mut page = String::new();
    metrics::prometheus(&full, &mut page);
    let mut series: BTreeMap<String, Series> = BTreeMap::new();
    let mut kind = "";
    for line in page.lines() {
        if let Some(head) = line.strip_prefix("# TYPE ") {
            kind = head.rsplit(' ').next().unwrap();
        } else if !line.starts_with('#') {
            let (selector, _) = line.rsplit_once(' ').unwrap();
            let Reads { uses, .. } = promql::read(selector).unwrap();
            let [Use { metric, matchers, .. }] = &uses[..] else { panic!("{line}") };
            let one = series.entry(metric.clone()).or_default();
            one.is_counter = kind != "gauge";
            for matcher in matchers {
                one.labels.entry(matcher.label.clone()).or_default().insert(matcher.value.clone());
            }
        }
    }
    assert!(series.len() > 40 && series.contains_key("gateway_resume_seconds_bucket"), "{series:?}");
    series
}

/// What is wrong with an expression, one sentence a fault.
fn faults(expression: &str, series: &BTreeMap<String, Series>) -> Vec<String> {
    let reads = match promql::read(expression) {
        Ok(reads) => reads,
        Err(fault) => return vec![fault],
    };
    let mut faults = Vec::new();
    if reads.uses.is_empty() {
        faults.push("reads no metric".into());
    }
    let mut labels: BTreeSet<&str> = TARGET.into();
    for used in &reads.uses {
        let Some(known) = series.get(&used.metric) else {
            if used.metric != "up" {
                faults.push(format!("{} does not exist", used.metric));
            }
            continue;
        };
        labels.extend(known.labels.keys().map(String::as_str));
        faults.extend(misused(used, known));
        for matcher in &used.matchers {
            let (label, value) = (matcher.label.as_str(), matcher.value.as_str());
            if TARGET.contains(&label) {
                continue;
            }
            let Some(values) = known.labels.get(label) else {
                faults.push(format!("{} has no label {label}", used.metric));
                continue;
            };
            let alternatives = value.split('|').filter(|_| matcher.operator.contains('~'));
            let alternatives: Vec<_> = alternatives.collect();
            let wanted = if alternatives.is_empty() { vec![value] } else { alternatives };
            for wanted in wanted {
                if !OPEN.contains(&label) && !values.contains(wanted) {
                    faults.push(format!("{}: {label} is never {wanted:?}", used.metric));
                }
            }
        }
    }
    let unknown = reads.labels.iter().filter(|label| !labels.contains(label.as_str()));
    faults.extend(unknown.map(|label| format!("nothing here has a label {label}")));
    faults
}

/// Counters are read by their growth and gauges as they are; quantiles need all buckets.
fn misused(used: &Use, known: &Series) -> Option<String> {
    const OF_COUNTERS: [&str; 5] = ["rate", "irate", "increase", "resets", "changes"];
    const OF_GAUGES: [&str; 5] = ["changes", "delta", "avg_over_time", "max_over_time", "min_over_time"];
    let metric = &used.metric;
    let innermost = used.inside.last().map_or("", |(name, _)| name);
    if known.is_counter && !(used.has_range && OF_COUNTERS.contains(&innermost)) {
        return Some(format!("{metric} is a counter: it wants rate() or increase()"));
    }
    if !known.is_counter && used.has_range != OF_GAUGES.contains(&innermost) {
        return Some(format!("{metric} is a gauge: {innermost}() is not for it"));
    }
    let is_quantile = used.inside.iter().any(|(name, _)| name == "histogram_quantile");
    let keeps_le =
        used.inside.iter().any(|(name, kept)| name == "sum" && kept.iter().any(|label| label == "le"));
    (is_quantile != metric.ends_with("_bucket") || is_quantile != keeps_le)
        .then(|| format!("{metric}: a quantile is of buckets, summed by le"))
}

#[test]
fn the_check_finds_what_it_is_for() {
    let series = series();
    for good in [
        "gateway_ready == 0",
        r#"up{job="sluice"} == 0"#,
        r#"sum by (outcome) (rate(gateway_records_total{outcome=~"stored|rejected", job="x"}[5m]))"#,
        r#"gateway_kafka_request_rtt_seconds{broker="77"} > 1"#,
        "histogram_quantile(0.5, sum by (le, instance) (rate(gateway_record_ack_seconds_bucket[5m])))",
        "changes(process_start_time_seconds[1m])",
    ] {
        assert_eq!(faults(good, &series), Vec::<String>::new(), "{good}");
    }
    for bad in [
        "gateway_redy == 0",
        "gateway_record_ack_seconds > 1",
        r#"gateway_kafka_brokers{stat="down"}"#,
        r#"gateway_kafka_brokers{state="away"}"#,
        r#"rate(gateway_records_total{outcome=~"stored|refused"}[5m])"#,
        r#"rate(gateway_rejects_total{reason="ugly"}[5m])"#,
        "sum by (outcome) (rate(gateway_rejects_total[5m]))",
        "gateway_records_total",
        "rate(gateway_queue_records[5m])",
        "histogram_quantile(0.5, sum by (instance) (rate(gateway_record_ack_seconds_bucket[5m])))",
        "histogram_quantile(0.5, sum by (le) (rate(gateway_record_ack_seconds_sum[5m])))",
        "1 > 0",
    ] {
        assert!(!faults(bad, &series).is_empty(), "{bad}");
    }
}

fn rules() -> Vec<Value> {
    let file = yaml("deploy/prometheus/alerts.yml");
    let rules: Vec<_> =
        items(&file, "groups").iter().flat_map(|group| items(group, "rules")).cloned().collect();
    assert!(rules.len() > 10);
    rules
}

/// Names in `{{ $labels.name }}` or `{{name}}`.
fn template_labels(template: &str) -> Vec<&str> {
    let holes = template.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap().trim());
    holes.map(|hole| hole.trim_start_matches("$labels.")).filter(|hole| !hole.starts_with('$')).collect()
}

#[test]
fn alerts_read_what_exists() {
    let series = series();
    for rule in rules() {
        let (name, expression) = (text(&rule, "alert"), text(&rule, "expr"));
        assert_eq!(faults(expression, &series), Vec::<String>::new(), "{name}: {expression}");
        assert!(name.starts_with("Sluice"), "{name}");
        let hold = text(&rule, "for");
        assert!(hold.ends_with('m') && hold[..hold.len() - 1].parse::<u8>().is_ok(), "{name}: for {hold}");
        assert!(["critical", "warning"].contains(&text(&rule["labels"], "severity")), "{name}");
        for label in template_labels(text(&rule["annotations"], "summary")) {
            assert_eq!(label, "instance", "{name}: the one label that all of these have");
        }
    }
}

/// Each alert names the section that bears its name, and each such section has its alert.
#[test]
fn every_alert_has_its_section() {
    let operations = read("docs/operations.md");
    let sections: BTreeSet<_> =
        operations.lines().filter_map(|line| line.strip_prefix("### Sluice")).map(str::to_owned).collect();
    let mut alerts = BTreeSet::new();
    for rule in rules() {
        let name = text(&rule, "alert");
        let runbook = format!("docs/operations.md#{}", name.to_lowercase());
        assert_eq!(text(&rule["annotations"], "runbook"), runbook);
        assert!(alerts.insert(name.trim_start_matches("Sluice").to_owned()), "{name} twice");
    }
    assert_eq!(alerts, sections, "alerts, and the sections of docs/operations.md");
}

/// The scenarios that promtool plays feed series that exist, and the one in which all is wrong expects every alert.
#[test]
fn scenarios_of_alerts_are_of_this_program() {
    let series = series();
    let file = yaml("deploy/prometheus/alerts_test.yml");
    for scenario in items(&file, "tests") {
        for input in items(scenario, "input_series") {
            let selector = text(input, "series");
            let is_wrong = |fault: &String| !fault.contains("counter") && !fault.contains("quantile");
            let faults: Vec<_> = faults(selector, &series).into_iter().filter(is_wrong).collect();
            assert_eq!(faults, Vec::<String>::new(), "{selector}");
        }
    }
    let ill = items(&file, "tests").iter().find(|test| test["name"] == "ill").expect("the scenario `ill`");
    let expected = items(ill, "promql_expr_test").last().map(|last| &items(last, "exp_samples")[0]["value"]);
    assert_eq!(expected, Some(&rules().len().into()));
}

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/grafana/dashboards/sluice.json")).expect("JSON")
}

#[test]
fn the_dashboard_reads_what_exists() {
    let (series, dashboard) = (series(), dashboard());
    let mut checked = 0;
    let mut check = |expression: &str, place: &str| {
        assert_eq!(faults(expression, &series), Vec::<String>::new(), "{place}: {expression}");
        checked += 1;
    };
    for panel in items(&dashboard, "panels").iter().filter(|panel| panel["type"] != "row") {
        let title = text(panel, "title");
        assert!(!text(panel, "description").is_empty(), "{title} says what it shows");
        for target in items(panel, "targets") {
            let expression = text(target, "expr");
            check(expression, title);
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            let reads = promql::read(expression).unwrap();
            for used in &reads.uses {
                let chosen: Vec<_> = used.matchers.iter().take(2).map(|m| (&*m.label, &*m.value)).collect();
                assert_eq!(chosen, [("job", "$job"), ("instance", "$instance")], "{title}: {expression}");
            }
            let kept = used_labels(&reads, &series);
            for label in template_labels(text(target, "legendFormat")) {
                assert!(kept.contains(label), "{title}: {label} is not left in {expression}");
            }
        }
    }
    for variable in items(&dashboard["templating"], "list").iter().filter(|v| v["type"] == "query") {
        check(text(variable, "definition"), text(variable, "name"));
        assert_eq!(variable["query"]["query"], variable["definition"]);
    }
    for annotation in items(&dashboard["annotations"], "list") {
        check(text(annotation, "expr"), text(annotation, "name"));
    }
    assert!(checked > 30, "{checked} expressions");
}

/// Labels that the result has: those kept by an aggregation, else those of the series.
fn used_labels(reads: &Reads, series: &BTreeMap<String, Series>) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    for used in &reads.uses {
        match used.inside.iter().find(|(name, _)| name == "sum") {
            Some((_, kept)) => labels.extend(kept.iter().cloned()),
            None => {
                labels.extend(TARGET.map(str::to_owned));
                labels.extend(series[&used.metric].labels.keys().cloned());
            }
        }
    }
    labels
}

/// Panels have numbers of their own, lie within Grafana's 24 columns, and none lies on another.
#[test]
fn panels_have_their_place() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in items(&dashboard, "panels") {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{panel}");
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a number"));
        assert!(x + w <= 24 && w > 0 && h > 0, "{panel}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} lies on another", text(panel, "title"));
        }
    }
}

/// The examples fit together, and to the program's defaults.
#[test]
fn provisioning_fits_together() {
    let prometheus = yaml("deploy/prometheus/prometheus.yml");
    for file in items(&prometheus, "rule_files") {
        read(&format!("deploy/prometheus/{}", file.as_str().unwrap()));
    }
    let [scrape] = items(&prometheus, "scrape_configs") else { panic!("{prometheus}") };
    let defaults = GatewayOptions::default();
    assert_eq!(Some(text(scrape, "metrics_path")), defaults.metrics_path.as_deref());
    let port = defaults.net.health.expect("a health listener").port();
    assert_eq!(scrape["static_configs"][0]["targets"][0], format!("localhost:{port}"));
    assert_eq!(text(scrape, "job_name"), "sluice");
    for rule in rules() {
        for used in promql::read(text(&rule, "expr")).unwrap().uses {
            for matcher in used.matchers.iter().filter(|matcher| matcher.label == "job") {
                assert_eq!(matcher.value, "sluice", "the job's name in prometheus.yml");
            }
        }
    }
    let sources = yaml("deploy/grafana/provisioning/datasources/prometheus.yml");
    assert_eq!(sources["datasources"][0]["type"], "prometheus");
    let providers = yaml("deploy/grafana/provisioning/dashboards/sluice.yml");
    assert_eq!(providers["providers"][0]["type"], "file");
    assert!(text(&providers["providers"][0]["options"], "path").starts_with('/'));
}
