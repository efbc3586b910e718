//! The status page and its numbers, as a browser gets them: headers, and every member that the page reads.

mod gateway;
mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use gateway::{await_stored, cluster, line, serving, stop};
use serde_json::Value;
use support::{PATIENCE, Sluice};

/// Head and body of the answer to `GET path` from a browser.
fn browse(sluice: &Sluice, path: &str) -> (String, String) {
    let start = sluice.await_log("gateway.start");
    let health = start.split_whitespace().find_map(|word| word.strip_prefix("health=")).unwrap();
    let mut stream = TcpStream::connect(health).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {health}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
    (head.to_owned(), body.to_owned())
}

/// What stands behind each `marker` up to the quote that ends it.
fn quoted<'t>(text: &'t str, marker: &str) -> Vec<&'t str> {
    text.split(marker).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// Members that the page reads: those in its attributes and look-ups, and whatever else looks like a path.
fn paths_read(page: &str) -> BTreeSet<&str> {
    let markers = [
        r#"data-key=""#,
        r#"data-rate=""#,
        r#"data-rows=""#,
        r#"data-meter=""#,
        r#"data-max=""#,
        r#"data-bad-if=""#,
        r#"at(now, ""#,
        r#"at(before, ""#,
        r#"rate(""#,
    ];
    let mut paths: BTreeSet<_> = markers.into_iter().flat_map(|marker| quoted(page, marker)).collect();
    let (_, script) = page.split_once("<script>").unwrap();
    let is_path = |text: &&str| {
        text.contains('.')
            && text.split('.').all(|word| {
                word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            })
    };
    paths.extend(quoted(script, "\"").into_iter().filter(is_path));
    assert!(paths.len() > 30 && paths.contains("records.outcomes.stored"), "{paths:?}");
    paths
}

#[test]
fn every_number_of_the_page_is_served() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[]);
    sluice.send_lines(&[line("p", 1), line("p", 2), "bad".into()]);
    await_stored(&sluice, 2);

    let (head, page) = browse(&sluice, "/");
    assert!(head.contains("\r\nContent-Type: text/html; charset=utf-8\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Security-Policy: default-src 'none'; "), "{head}");
    assert!(head.contains("\r\nX-Content-Type-Options: nosniff"), "{head}");
    assert!(sluice.get("/").1.starts_with("/health "), "who is no browser gets the index");

    assert!(page.contains(r#"fetch("/status.json""#));
    let (head, body) = browse(&sluice, "/status.json");
    assert!(head.contains("\r\nContent-Type: application/json\r\n"), "{head}");
    assert!(head.contains("\r\nCache-Control: no-store\r\n"), "{head}");
    let status: Value = serde_json::from_str(&body).expect(&body);
    for path in paths_read(&page) {
        let found = status.pointer(&format!("/{}", path.replace('.', "/")));
        let found = found.unwrap_or_else(|| panic!("the page reads {path}, which is not in {status:#}"));
        assert!(!found.is_null() || path == "last_error", "{path} is known of a gateway that stores");
    }
    for rows in quoted(&page, r#"data-rows=""#) {
        let members = status.pointer(&format!("/{}", rows.replace('.', "/"))).and_then(Value::as_object);
        assert!(members.is_some_and(|rows| rows.values().all(Value::is_u64) && !rows.is_empty()), "{rows}");
    }

    let records = &status["records"];
    assert_eq!((&records["accepted"], &records["in_flight"]), (&3.into(), &0.into()));
    assert_eq!((&records["outcomes"]["stored"], &records["outcomes"]["rejected"]), (&2.into(), &1.into()));
    assert_eq!((&records["rejects"]["not_json"], &records["ack_count"]), (&1.into(), &2.into()));
    assert_eq!((&status["ready"], &status["phase"]), (&true.into(), &"ready".into()));
    assert_eq!((&status["lanes"]["count"], &status["kafka"]["brokers_up"]), (&6.into(), &1.into()));
    stop(sluice).assert_clean(2);
}

/// In an outage it says why, and shows the client's last error with its time.
#[test]
fn an_outage_is_seen() {
    let mut broker = cluster(1);
    let sluice = serving(&broker, &[]);
    let status = || serde_json::from_str::<Value>(&browse(&sluice, "/status.json").1).unwrap();
    assert_eq!(status()["last_error"], Value::Null);
    broker.command("down all");
    support::eventually(PATIENCE, "the outage shows", || {
        let now = status();
        now["ready"] == false && now["phase"] == "no_leader_up" && now["last_error"].is_object()
    });
    let outage = status();
    assert_eq!(outage["lanes"]["down"], 6);
    let error = &outage["last_error"];
    assert!(error["text"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
    let age = outage["unix_ms"].as_i64().unwrap() - error["unix_ms"].as_i64().unwrap();
    assert!((0..60_000).contains(&age), "{age} ms");
}
