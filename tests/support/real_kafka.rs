//! Real Apache Kafka for a test, through `scripts/kafka.sh`: started on free ports in a scratch folder, stopped with
//! the test. If the test process is killed, the script's watchdog ends the brokers and removes the folder.

use std::future::Future;
use std::io::Write;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication, TopicResult};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaResult;

use super::{PATIENCE, eventually};

pub struct RealKafka {
    dir: String,
    bootstrap: String,
}

impl RealKafka {
    /// A cluster of 1 or 3 nodes. With one node, a broker named by KAFKA_BOOTSTRAP_SERVERS is used instead, so topics
    /// need names of their own; a test that kills or restarts nodes takes [`RealKafka::own`].
    pub fn start(nodes: u32) -> RealKafka {
        if nodes == 1 { RealKafka::with(&["--nodes", "1"]) } else { RealKafka::own(nodes) }
    }

    /// A cluster that nobody else uses, whatever the environment says.
    pub fn own(nodes: u32) -> RealKafka {
        RealKafka::with(&["--own", "--nodes", &nodes.to_string()])
    }

    /// One node of our own that can refuse writes: see [`RealKafka::deny_writes`].
    pub fn with_authorizer() -> RealKafka {
        RealKafka::with(&["--authorizer"])
    }

    fn with(options: &[&str]) -> RealKafka {
        let owner = std::process::id().to_string();
        let printed = script(&[&["start", "--owner", &owner], options].concat());
        let named = |name: &str| printed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        RealKafka {
            dir: named("KAFKA_DIR").expect("kafka.sh names its folder").to_owned(),
            bootstrap: named("KAFKA_BOOTSTRAP_SERVERS").expect("kafka.sh names the brokers").to_owned(),
        }
    }

    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// SIGKILLs a node, counted from 1.
    pub fn kill(&self, node: u32) {
        self.script("kill", &[&node.to_string()]);
    }

    /// Starts a killed node again, on its port and with its data, and waits until it knows all live brokers.
    pub fn restart(&self, node: u32) {
        self.script("node-start", &[&node.to_string()]);
    }

    /// SIGKILLs all nodes, one right after the other.
    pub fn kill_all(&self, nodes: u32) {
        (1..=nodes).for_each(|node| self.kill(node));
    }

    /// The same as [`RealKafka::restart`] for all nodes of a cluster that is down.
    pub fn restart_all(&self, nodes: u32) {
        let nodes: Vec<String> = (1..=nodes).map(|node| node.to_string()).collect();
        self.script("node-start", &nodes.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Answers writes to `topic` with TOPIC_AUTHORIZATION_FAILED from now on.
    pub fn deny_writes(&self, topic: &str) {
        self.script("deny", &[topic]);
    }

    pub fn allow_writes(&self, topic: &str) {
        self.script("allow", &[topic]);
    }

    /// Makes a topic and waits until every partition has a leader. `config` are topic properties.
    pub fn topic_create(&self, topic: &str, partitions: i32, replication: i32, config: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replication));
        for (name, value) in config {
            new = new.set(name, value);
        }
        done(block_on(self.admin().create_topics([&new], &options())));
        self.await_leaders(topic, partitions);
    }

    /// Adds partitions until there are `partitions`.
    pub fn topic_grow(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        done(block_on(self.admin().create_partitions([&new], &options())));
        self.await_leaders(topic, i32::try_from(partitions).unwrap());
    }

    /// Sets a property of a topic, which brokers follow soon after.
    pub fn topic_config(&self, topic: &str, name: &str, value: &str) {
        self.script_topic("config", topic, &[&format!("{name}={value}")]);
    }

    pub fn topic_delete(&self, topic: &str) {
        done(block_on(self.admin().delete_topics(&[topic], &options())));
        eventually(PATIENCE, "the deleted topic is gone", || self.leaders(topic).is_empty());
    }

    /// Removes the records of a partition before `offset`, as retention would.
    pub fn delete_records(&self, topic: &str, partition: i32, offset: i64) {
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset(topic, partition, rdkafka::Offset::Offset(offset)).unwrap();
        block_on(self.admin().delete_records(&list, &options())).expect("the cluster does it");
    }

    /// The leader of each partition, -1 where there is none; empty when there is no such topic.
    pub fn leaders(&self, topic: &str) -> Vec<i32> {
        let admin = self.admin();
        let Ok(metadata) = admin.inner().fetch_metadata(Some(topic), PATIENCE) else { return Vec::new() };
        metadata.topics()[0].partitions().iter().map(|partition| partition.leader()).collect()
    }

    /// Writes with Kafka's own producer and its default partitioner. Neither key nor value may hold a tab or LF.
    pub fn produce_with_java<'a>(&self, topic: &str, records: impl Iterator<Item = (&'a str, &'a str)>) {
        let lines: String = records.map(|(key, value)| format!("{key}\t{value}\n")).collect();
        let mut child = kafka_sh(&["produce", &self.dir, topic]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "kafka.sh produce failed");
    }

    /// How many replicas of each partition are in sync, as the cluster sees it.
    pub fn in_sync(&self, topic: &str) -> Vec<usize> {
        let admin = self.admin();
        let Ok(metadata) = admin.inner().fetch_metadata(Some(topic), PATIENCE) else { return Vec::new() };
        metadata.topics()[0].partitions().iter().map(|partition| partition.isr().len()).collect()
    }

    fn await_leaders(&self, topic: &str, partitions: i32) {
        eventually(PATIENCE, "every partition has a leader", || {
            let leaders = self.leaders(topic);
            leaders.len() == partitions as usize && leaders.iter().all(|leader| *leader >= 0)
        });
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("allow.auto.create.topics", "false");
        config.create().expect("an admin client can be built")
    }

    fn script_topic(&self, what: &str, topic: &str, arguments: &[&str]) {
        script(&[&["topic", &self.dir, what, topic], arguments].concat());
    }

    fn script(&self, command: &str, arguments: &[&str]) -> String {
        script(&[&[command, &self.dir], arguments].concat())
    }
}

impl Drop for RealKafka {
    fn drop(&mut self) {
        let stopped = kafka_sh(&["stop", &self.dir]).status();
        if !std::thread::panicking() {
            assert!(stopped.is_ok_and(|status| status.success()), "kafka.sh stop failed");
        }
    }
}

fn kafka_sh(arguments: &[&str]) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kafka.sh"));
    command.args(arguments);
    command
}

fn script(arguments: &[&str]) -> String {
    let output = kafka_sh(arguments).output().expect("scripts/kafka.sh runs");
    let (said, complaints) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "kafka.sh {arguments:?} failed:\n{complaints}");
    said.into_owned()
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

/// One result for the one topic that was asked for.
fn done(results: KafkaResult<Vec<TopicResult>>) {
    for result in results.expect("the cluster answers") {
        result.expect("the cluster does it");
    }
}

/// Waits for a future on this thread: the admin client is the only thing of ours that has one.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
