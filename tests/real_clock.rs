//! The clock jumps while records flow: an hour forward, two hours back.

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::UNIX_EPOCH;

use support::{
    Fate, PATIENCE, RealKafka, Senders, Sluice, assert_balanced, compare, eventually, read_all, tally,
};

use signal_hook::consts::{SIGTERM, SIGUSR1};

/// The library that gives a process a clock of its own.
fn faketime() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/faketime.sh");
    let output = Command::new(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Moves the clock of the process, in seconds against the real one.
fn jump(file: &Path, seconds: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, seconds).unwrap();
    std::fs::rename(&next, file).unwrap();
}

/// "The clock jumps": deadlines, latency and readiness go by the monotonic clock, so nothing expires, nothing is
/// stored twice and nobody waits; only the times in log and records follow the wall clock.
#[test]
fn the_clock_jumps_under_load() {
    let kafka = RealKafka::start(1);
    let topic = format!("clock-{}", std::process::id());
    let scratch = tempfile::tempdir().unwrap();
    let clock = scratch.path().join("clock");
    jump(&clock, "+0");
    let library = faketime();
    let env = [
        ("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap()),
        ("KAFKA_TOPIC", &topic),
        ("LD_PRELOAD", &library),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
        ("FAKETIME_CACHE_DURATION", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let sluice = Sluice::start(&env);
    sluice.await_ready();
    let senders = Senders::start(&sluice, 4, 1_000, 20);
    for seconds in ["+3600", "-3600", "+0"] {
        jump(&clock, seconds);
        eventually(PATIENCE, "the log shows the new time", || {
            sluice.signal(SIGUSR1);
            let logs = sluice.logs();
            is_at(logs.last().expect("there are lines"), seconds)
        });
        senders.await_sent(4_000);
        assert_eq!((sluice.get("/ready").0, sluice.get("/health").0), (200, 200), "after {seconds}");
    }
    let told = senders.finish();
    assert_eq!(tally(&told), HashMap::from([(Fate::Stored, told.len())]));
    assert_eq!(compare(&told, &read_all(kafka.bootstrap(), &topic)), 0);
    sluice.signal(SIGTERM);
    let (code, stop) = sluice.wait();
    assert_balanced(&stop);
    assert_eq!((code, stop["stored"]), (0, told.len() as u64), "{stop:?}");
}

/// Whether a log line was written at the real time moved by `seconds`, give or take a minute.
fn is_at(line: &str, seconds: &str) -> bool {
    let expected = sluice::handoff::unix_ms() / 1000 + seconds.parse::<i64>().unwrap();
    let time = line.split(' ').next().and_then(|word| humantime::parse_rfc3339(word).ok());
    let time = time.expect("a line begins with its time").duration_since(UNIX_EPOCH).unwrap();
    (time.as_secs() as i64 - expected).abs() < 60
}
