//! Whole runs against a scripted gateway: lines and `#ack` on one port, /metrics on another, with faults by script.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::*;

/// What the scripted gateway does wrong.
#[derive(Clone, Copy, Default)]
struct Script {
    /// Reads nothing for this long.
    stall: Duration,
    /// Neither answers nor counts this message of each connection.
    forget: Option<u64>,
}

#[derive(Default)]
struct Counters {
    stored: AtomicU64,
    rejected: AtomicU64,
}

/// Starts the scripted gateway; its threads end with their connections. Returns the two addresses.
fn gateway(script: Script) -> (String, String) {
    let (lines, health) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let addrs = (lines.local_addr().unwrap().to_string(), health.local_addr().unwrap().to_string());
    let counters = Arc::new(Counters::default());
    let shared = counters.clone();
    std::thread::spawn(move || {
        for stream in lines.incoming().flatten() {
            let counters = shared.clone();
            std::thread::spawn(move || converse(stream, script, &counters));
        }
    });
    std::thread::spawn(move || {
        for mut stream in health.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let (stored, rejected) =
                (counters.stored.load(Ordering::SeqCst), counters.rejected.load(Ordering::SeqCst));
            let body = format!(
                "gateway_records_total{{outcome=\"stored\"}} {stored}\ngateway_records_total{{outcome=\"rejected\"}} {rejected}\n"
            );
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    addrs
}

fn converse(stream: TcpStream, script: Script, counters: &Counters) {
    std::thread::sleep(script.stall);
    let mut answers = stream.try_clone().unwrap();
    let (mut n, mut ack, mut plus_due) = (0, false, 0);
    for line in BufReader::new(stream).split(b'\n') {
        let Ok(line) = line else { return };
        if n == 0 && line == b"#ack" {
            ack = true;
            continue;
        }
        n += 1;
        if script.forget == Some(n) {
            return; // hangs up: what follows is lost without a word
        }
        let good = is_good(&line);
        if good { &counters.stored } else { &counters.rejected }.fetch_add(1, Ordering::SeqCst);
        plus_due += 1;
        if ack && !good {
            writeln!(answers, "- {n} fix code some detail").unwrap();
        }
        if ack && plus_due == 100 {
            writeln!(answers, "+ {n}").unwrap();
            plus_due = 0;
        }
    }
    if ack {
        if plus_due > 0 {
            writeln!(answers, "+ {n}").unwrap();
        }
        writeln!(answers, ". {n}").unwrap();
    }
}

/// S0-R3 as far as the lines of [`lines`] break it.
fn is_good(line: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(line) else { return false };
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else { return false };
    value["score"].is_u64()
        && value["player"].is_string()
        && value["lb"] != ""
        && text.matches("\"lb\"").count() == 1
}

/// Runs `sluice bench` with these options: whether all was accounted for, and its JSON report.
fn bench((addr, health): &(String, String), options: &[&str]) -> (bool, serde_json::Value) {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }
    let given = ["bench", "--addr", addr, "--health", health].into_iter().chain(options.iter().copied());
    let args = <Line as clap::Parser>::try_parse_from(given.chain(["--json"])).unwrap().args;
    let (report, is_complete) = execute(&args, &plan(&args).unwrap()).unwrap();
    (is_complete, serde_json::from_str(&report).unwrap())
}

#[test]
fn every_line_is_accounted_for_by_counters_and_answers() {
    let pid = std::process::id().to_string();
    let options = ["-c", "4", "-n", "20001", "--malformed", "5", "--ack", "--pid", &pid];
    let (is_complete, json) = bench(&gateway(Script::default()), &options);
    assert!(is_complete, "{json}");
    let malformed = json["sent_malformed"].as_u64().unwrap();
    assert!((990..=1010).contains(&malformed), "{malformed}");
    assert_eq!(
        (&json["sent"], &json["answers"]["accounts_closed"], &json["answers"]["strange"]),
        (&20001.into(), &4.into(), &0.into())
    );
    for part in ["outcomes", "answers"] {
        assert_eq!(json[part]["stored"], 20001 - malformed, "{json}");
    }
    assert_eq!(
        (&json["outcomes"]["rejected"], &json["answers"]["fix"]),
        (&malformed.into(), &malformed.into())
    );
    assert!(json["gateway"]["rss_peak_kib"].as_u64().unwrap() > 0);
}

#[test]
fn a_stalled_gateway_shows_in_open_loop_latency() {
    let stall = Duration::from_millis(300);
    let options = ["-c", "2", "-r", "2000", "-n", "1000", "--ack"];
    let (is_complete, json) = bench(&gateway(Script { stall, forget: None }), &options);
    assert!(is_complete, "{json}");
    let latency = &json["answers"]["latency_ms"];
    // Due evenly over 500 ms, the first 300 of them answered only after the stall.
    assert!(
        latency["max"].as_f64().unwrap() >= 250.0 && latency["p50"].as_f64().unwrap() >= 30.0,
        "{latency}"
    );
    assert!(json["enqueue"]["seconds"].as_f64().unwrap() >= 0.49, "the schedule was kept");
}

#[test]
fn lines_without_an_end_are_missed_within_the_settle_time() {
    let begun = Instant::now();
    let script = Script { stall: Duration::ZERO, forget: Some(40) };
    let (is_complete, json) =
        bench(&gateway(script), &["-c", "1", "-r", "2000", "-n", "50", "--settle", "300ms"]);
    assert!(!is_complete);
    assert!(json["unaccounted"].as_u64().unwrap() >= 1, "{json}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_run_by_time_ends_by_time_and_is_whole() {
    let (is_complete, json) =
        bench(&gateway(Script::default()), &["-c", "2", "-d", "200ms", "--per-write", "3"]);
    assert!(is_complete, "{json}");
    let seconds = json["enqueue"]["seconds"].as_f64().unwrap();
    assert!((0.15..3.0).contains(&seconds) && json["sent"].as_u64().unwrap() > 100, "{json}");
}
