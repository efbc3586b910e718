//! A `sluice broker` process: the mock cluster with faults on command, outside the gateway's process so that a topic
//! outlives the gateway and can be read back.

use std::io::Write;
use std::process::{Child, ChildStdin, Stdio};

use super::PATIENCE;
use super::lines::Lines;
use super::process::command;

pub struct Broker {
    child: Child,
    stdin: ChildStdin,
    answers: Lines,
    answers_read: usize,
    bootstrap: String,
}

impl Broker {
    /// Starts `brokers` mock brokers with one topic of `partitions` partitions.
    pub fn start(brokers: u32, partitions: u32, topic: &str) -> Broker {
        let (brokers, partitions) = (brokers.to_string(), partitions.to_string());
        let arguments = ["broker", "--brokers", &brokers, "--partitions", &partitions, "--topic", topic];
        let mut child = command(&arguments, &[])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary under test starts");
        let stdin = child.stdin.take().unwrap();
        let answers = Lines::of(child.stdout.take().unwrap());
        let mut broker = Broker { child, stdin, answers, answers_read: 0, bootstrap: String::new() };
        let first = broker.next_line();
        let bootstrap = first.strip_prefix("KAFKA_BOOTSTRAP_SERVERS=");
        broker.bootstrap =
            bootstrap.unwrap_or_else(|| panic!("sluice broker began with {first:?}")).to_owned();
        broker
    }

    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Gives one command, such as `down 1`, `up all`, `slow 1 300ms` or `refuse produce NOT_ENOUGH_REPLICAS 3`.
    ///
    /// # Panics
    /// When the broker does not answer `ok`.
    pub fn command(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").expect("sluice broker reads its stdin");
        let answer = self.next_line();
        assert!(answer.starts_with("ok"), "sluice broker answered {answer:?} to {command:?}");
    }

    fn next_line(&mut self) -> String {
        let found = self.answers.find(self.answers_read, PATIENCE, |_| true);
        let (index, line) = found.expect("sluice broker says a line");
        self.answers_read = index + 1;
        line
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
