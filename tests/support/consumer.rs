//! A `sluice consume` process under test, and the events that it reads.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::lines::Lines;
use super::process::command;
use super::{PATIENCE, eventually_some};

pub struct Consumer {
    child: Child,
    log: Lines,
}

impl Consumer {
    /// Starts `sluice consume KIND` with this environment.
    pub fn start(kind: &str, env: &[(&str, &str)]) -> Consumer {
        let mut child = command(&["consume", kind], env)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary under test starts");
        let log = Lines::of(child.stderr.take().unwrap());
        Consumer { child, log }
    }

    /// Sends a signal by number, such as `signal_hook::consts::SIGTERM`.
    pub fn signal(&self, signal: i32) {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill} failed");
    }

    /// SIGKILL, and waits until the kernel has taken it down.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("our child");
    }

    /// Waits for its end; the exit code (128 + number after a signal).
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        let child = &mut self.child;
        let status =
            eventually_some(2 * PATIENCE, "sluice consume ends", || child.try_wait().expect("our child"));
        self.log.join();
        status.code().or_else(|| status.signal().map(|signal| 128 + signal)).expect("code or signal")
    }

    /// SIGTERM, and the exit code.
    #[track_caller]
    pub fn stop(&mut self) -> i32 {
        self.signal(signal_hook::consts::SIGTERM);
        self.wait()
    }

    pub fn logs(&self) -> Vec<String> {
        self.log.all()
    }

    pub fn has_logged(&self, needle: &str) -> bool {
        self.logs().iter().any(|line| line.contains(needle))
    }

    /// Waits for a log line that contains `needle`, and returns it.
    #[track_caller]
    pub fn await_log(&self, needle: &str) -> String {
        let found = self.log.find(0, PATIENCE, |line| line.contains(needle));
        found.unwrap_or_else(|| panic!("no {needle:?} in the log")).1
    }

    /// Resident memory in KiB, as the kernel counts it.
    pub fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel says VmRSS");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// A failing test shows what the consumer said; no process outlives its test.
impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.log.join();
        if std::thread::panicking() {
            let lines = self.log.all();
            eprintln!("the end of a consumer's log:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

/// Writes records and waits until Kafka has them all.
pub fn produce<'a>(
    bootstrap: &str,
    topic: &str,
    records: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("linger.ms", "2")
        .create()
        .expect("a producer can be built");
    for (key, value) in records {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).key(key);
        if let Some(value) = value {
            record = record.payload(value);
        }
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(
                error.rdkafka_error_code(),
                Some(rdkafka::types::RDKafkaErrorCode::QueueFull),
                "{error}"
            );
            record = back;
            producer.poll(Duration::from_millis(10));
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(PATIENCE).expect("Kafka has them all");
}
