//! The embedded broker: librdkafka's mock cluster on a thread of its own, for trials and tests.
//!
//! It speaks Kafka's protocol on loopback, so every client can use it, this process's and others'. What it is
//! not: records live in memory only, the oldest go once a partition holds about 5 MiB; there is no Admin API
//! (calls time out; topics are made by [`EmbeddedBroker::create_topic`]), no look-up of offsets by time, no
//! partition growth or deletion, no choice of port, and a retried idempotent batch is stored twice.
//! It also creates any topic that a client's metadata request names, with 4 partitions, unless that client
//! forbids it (`allow.auto.create.topics=false`; a consumer's default): the mock has no switch of its own.
//!
//! Owns the cluster and its thread. The cluster handle is neither `Send` nor `Sync`, so it never leaves that
//! thread: work reaches it as closures over a channel, and the thread sleeps in between. Never touches a real
//! broker. Callers: `serve` with KAFKA_BOOTSTRAP_SERVERS=embedded, `sluice broker`, tests.

use std::fmt;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka_sys::RDKafkaRespErr;

mod fault;
pub use fault::{BrokerError, BrokerId, Request};

type Cluster = MockCluster<'static, DefaultProducerContext>;
type Job = Box<dyn FnOnce(&Cluster) + Send>;

/// Most refusals that one call may queue: they are kept in memory until requests use them up.
pub const REFUSALS_MAX: usize = 1_000_000;

/// A running mock cluster. Dropping it ends it, with every record in it.
pub struct EmbeddedBroker {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    bootstrap_servers: String,
}

impl EmbeddedBroker {
    /// Starts `brokers` brokers (ids from 1) on free loopback ports and creates `topic` in them.
    ///
    /// Errors: a count below 1, more replicas than brokers, a topic name that Kafka would refuse, no socket.
    pub fn start(
        brokers: i32,
        topic: &str,
        partitions: i32,
        replication: i32,
    ) -> Result<Self, EmbeddedError> {
        check_count("brokers", brokers, 128)?;
        check_count("replication", replication, brokers)?;
        check_topic(topic, partitions)?;
        let (jobs, queue) = mpsc::channel::<Job>();
        let (started, answer) = mpsc::sync_channel(1);
        let name = topic.to_owned();
        let thread = std::thread::Builder::new()
            .name("embedded-broker".into())
            .spawn(move || match open(brokers, &name, partitions, replication) {
                Ok(cluster) => {
                    if started.send(Ok(cluster.bootstrap_servers())).is_ok() {
                        queue.iter().for_each(|job| job(&cluster));
                    }
                }
                // The starter waits for this answer; if it is gone, nobody is left to tell.
                Err(error) => drop(started.send(Err(error))),
            })
            .map_err(|error| EmbeddedError::Start(error.to_string()))?;
        let bootstrap_servers = answer.recv().map_err(|_| EmbeddedError::Gone)??;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), bootstrap_servers })
    }

    /// The brokers' addresses, `127.0.0.1:port,...`: what a client's `bootstrap.servers` wants.
    pub fn bootstrap_servers(&self) -> String {
        self.bootstrap_servers.clone()
    }

    /// Creates one more topic. Leaders are spread over the brokers.
    pub fn create_topic(&self, topic: &str, partitions: i32, replication: i32) -> Result<(), EmbeddedError> {
        check_topic(topic, partitions)?;
        let topic = topic.to_owned();
        self.run(move |cluster| cluster.create_topic(&topic, partitions, replication))
    }

    /// Disconnects everybody from the broker and refuses connections. Its partitions keep it as leader.
    pub fn broker_down(&self, id: BrokerId) -> Result<(), EmbeddedError> {
        self.run(move |cluster| cluster.broker_down(id.raw()))
    }

    /// Lets the broker take connections again, on the same port.
    pub fn broker_up(&self, id: BrokerId) -> Result<(), EmbeddedError> {
        self.run(move |cluster| cluster.broker_up(id.raw()))
    }

    /// Delays each of the broker's answers (whole milliseconds; zero ends it).
    pub fn broker_slow(&self, id: BrokerId, delay: Duration) -> Result<(), EmbeddedError> {
        self.run(move |cluster| cluster.broker_round_trip_time(id.raw(), delay))
    }

    /// Moves a partition's leadership to a broker, or to nobody.
    pub fn partition_leader(
        &self,
        topic: &str,
        partition: i32,
        leader: Option<i32>,
    ) -> Result<(), EmbeddedError> {
        let topic = topic.to_owned();
        self.run(move |cluster| cluster.partition_leader(&topic, partition, leader))
    }

    /// Answers the next `count` requests of this kind with `error`, whoever sends them.
    /// `_TRANSPORT` cuts the connection instead.
    pub fn refuse(&self, request: Request, error: BrokerError, count: usize) -> Result<(), EmbeddedError> {
        if count > REFUSALS_MAX {
            return Err(EmbeddedError::Invalid(format!("count {count} is over {REFUSALS_MAX}")));
        }
        self.run(move |cluster| {
            cluster.request_errors(request.api_key(), &vec![error.0; count]);
            Ok(())
        })
    }

    /// Forgets the refusals queued for this kind of request.
    pub fn accept(&self, request: Request) -> Result<(), EmbeddedError> {
        self.run(move |cluster| {
            cluster.clear_request_errors(request.api_key());
            Ok(())
        })
    }

    /// Names `error` for the topic in every metadata answer from now on; `None` ends it.
    pub fn refuse_metadata(&self, topic: &str, error: Option<BrokerError>) -> Result<(), EmbeddedError> {
        let topic = topic.to_owned();
        let error = error.map_or(RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR, |error| error.0);
        self.run(move |cluster| cluster.topic_error(&topic, error))
    }

    fn run(
        &self,
        job: impl FnOnce(&Cluster) -> Result<(), KafkaError> + Send + 'static,
    ) -> Result<(), EmbeddedError> {
        let (done, answer) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |cluster| drop(done.send(job(cluster))));
        let jobs = self.jobs.as_ref().ok_or(EmbeddedError::Gone)?;
        jobs.send(job).map_err(|_| EmbeddedError::Gone)?;
        match answer.recv() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(EmbeddedError::Refused(error.to_string())),
            Err(_) => Err(EmbeddedError::Gone),
        }
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.jobs = None; // ends the thread's loop
        if let Some(thread) = self.thread.take() {
            // A panic there was printed when it happened; there is nothing left to clean here.
            drop(thread.join());
        }
    }
}

fn open(brokers: i32, topic: &str, partitions: i32, replication: i32) -> Result<Cluster, EmbeddedError> {
    let start = |error: KafkaError| EmbeddedError::Start(error.to_string());
    let cluster = MockCluster::new(brokers).map_err(start)?;
    cluster.create_topic(topic, partitions, replication).map_err(start)?;
    Ok(cluster)
}

fn check_count(what: &'static str, count: i32, max: i32) -> Result<(), EmbeddedError> {
    if (1..=max).contains(&count) {
        return Ok(());
    }
    Err(EmbeddedError::Invalid(format!("{what} must be 1 to {max}, not {count}")))
}

/// Kafka's own rule for names: 1 to 249 of `[a-zA-Z0-9._-]`, but not `.` or `..`.
fn check_topic(topic: &str, partitions: i32) -> Result<(), EmbeddedError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if topic.is_empty() || topic.len() > 249 || topic == "." || topic == ".." || !topic.bytes().all(legal) {
        return Err(EmbeddedError::Invalid(format!("`{}` is no topic name", topic.escape_debug())));
    }
    check_count("partitions", partitions, 10_000)
}

/// Why the embedded broker did not start, or did not do as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmbeddedError {
    /// An argument is out of its range.
    Invalid(String),
    /// The cluster could not be started.
    Start(String),
    /// The cluster said no: the broker or topic does not exist, or the topic exists already.
    Refused(String),
    /// Its thread is gone.
    Gone,
}

impl fmt::Display for EmbeddedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(what) => f.write_str(what),
            Self::Start(why) => write!(f, "the embedded broker did not start: {why}"),
            Self::Refused(why) => write!(f, "the embedded broker refused: {why}"),
            Self::Gone => f.write_str("the embedded broker is gone"),
        }
    }
}

impl std::error::Error for EmbeddedError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn arguments_out_of_range_are_named() {
        let start = |brokers, topic, partitions, replication| {
            EmbeddedBroker::start(brokers, topic, partitions, replication).err().map(|e| e.to_string())
        };
        assert_eq!(start(0, "t", 1, 1).as_deref(), Some("brokers must be 1 to 128, not 0"));
        assert_eq!(start(2, "t", 1, 3).as_deref(), Some("replication must be 1 to 2, not 3"));
        assert_eq!(start(1, "t", 0, 1).as_deref(), Some("partitions must be 1 to 10000, not 0"));
        assert_eq!(start(1, "a b", 1, 1).as_deref(), Some("`a b` is no topic name"));
    }

    #[test]
    fn a_broker_that_is_down_refuses_connections_until_it_is_up() {
        let broker = EmbeddedBroker::start(2, "t", 3, 2).unwrap();
        let addresses = broker.bootstrap_servers();
        let reaches = || addresses.split(',').map(|a| TcpStream::connect(a).is_ok()).collect::<Vec<_>>();
        assert_eq!(reaches(), [true, true]);
        broker.broker_down(BrokerId::One(2)).unwrap();
        assert_eq!(reaches(), [true, false]);
        broker.broker_down(BrokerId::All).unwrap();
        assert_eq!(reaches(), [false, false]);
        broker.broker_up(BrokerId::All).unwrap();
        assert_eq!(reaches(), [true, true]);
        drop(broker);
        assert_eq!(reaches(), [false, false]);
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        let broker = EmbeddedBroker::start(1, "t", 1, 1).unwrap();
        assert!(matches!(broker.broker_down(BrokerId::One(9)), Err(EmbeddedError::Refused(_))));
        assert!(matches!(broker.create_topic("t", 1, 1), Err(EmbeddedError::Refused(_))));
        assert_eq!(broker.create_topic("u", 1, 1), Ok(()));
        let error = "NOT_ENOUGH_REPLICAS".parse().unwrap();
        assert!(matches!(broker.refuse(Request::Produce, error, usize::MAX), Err(EmbeddedError::Invalid(_))));
    }
}
