//! Reads a topic back: what `sluice tail` prints and what tests compare with.
//!
//! Owns a consumer that is told its partitions and offsets and never commits, so that reading leaves no trace
//! in the cluster: the group id that librdkafka insists on is never joined. Never writes, never creates the
//! topic, never decodes a value. One thread; the caller chooses how long each call may wait.

use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

mod whole;
pub use whole::{ReadRecord, UntilEnd, read_all, watermark_sum};

/// What to read.
#[derive(Clone, Debug)]
pub struct ReaderOptions {
    /// `host:port` list, comma separated.
    pub bootstrap: String,
    pub topic: String,
    /// One partition, or all of them.
    pub partition: Option<i32>,
    pub start: Start,
    /// How long the look-ups before the first record may take altogether.
    pub timeout: Duration,
    /// Client properties passed through; they win over ours.
    pub passthrough: Vec<(String, String)>,
}

/// Where reading starts, in each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Beginning,
    /// Only what arrives from now on.
    End,
    /// This offset, or the nearest one that a partition still has.
    Offset(i64),
    /// The first record with this timestamp or a later one, in milliseconds since the Unix epoch.
    Time(i64),
}

/// One partition's part of the reading, as it was when the reader was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub partition: i32,
    /// Offset of the oldest record kept.
    pub low: i64,
    /// Offset that the next record will get.
    pub high: i64,
    /// Offset read first.
    pub start: i64,
}

/// A record as the consumer holds it, without a copy.
pub struct Record<'a>(BorrowedMessage<'a>);

impl Record<'_> {
    pub fn partition(&self) -> i32 {
        self.0.partition()
    }
    pub fn offset(&self) -> i64 {
        self.0.offset()
    }
    /// Milliseconds since the Unix epoch, if the broker keeps them.
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.0.timestamp().to_millis()
    }
    pub fn key(&self) -> Option<&[u8]> {
        self.0.key()
    }
    pub fn value(&self) -> Option<&[u8]> {
        self.0.payload()
    }
}

/// What one call of [`Reader::next`] brought.
pub enum Next<'a> {
    Record(Record<'a>),
    /// This partition has nothing more for now.
    EndOf(i32),
    /// Nothing within the given time.
    Nothing,
    /// Something that librdkafka goes on from by itself, such as brokers that are away.
    Trouble(String),
}

/// A topic being read.
pub struct Reader {
    consumer: BaseConsumer,
    spans: Vec<Span>,
}

impl Reader {
    /// Looks the topic up and starts fetching.
    ///
    /// Errors: no broker answers in time; no such topic or partition; a look-up by time on the embedded broker,
    /// which has none.
    pub fn open(options: &ReaderOptions) -> Result<Self, ReadError> {
        let deadline = Instant::now() + options.timeout;
        let consumer = consumer(options)?;
        let mut spans = Vec::new();
        for partition in partitions(&consumer, options, deadline)? {
            let (low, high) = consumer
                .fetch_watermarks(&options.topic, partition, left(deadline))
                .map_err(|e| ReadError::kafka(&format!("offsets of partition {partition}"), &e))?;
            spans.push(Span { partition, low, high, start: low });
        }
        match options.start {
            Start::Beginning => {}
            Start::End => spans.iter_mut().for_each(|span| span.start = span.high),
            Start::Offset(offset) => {
                spans.iter_mut().for_each(|span| span.start = offset.max(span.low).min(span.high))
            }
            Start::Time(ms) => start_at_time(&consumer, &options.topic, ms, &mut spans, deadline)?,
        }
        assign(&consumer, &options.topic, &spans)?;
        Ok(Self { consumer, spans })
    }

    /// The partitions being read, in ascending order.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The next record of any partition; in order within each.
    ///
    /// Errors: only what reading cannot go on from (topic gone, not allowed to read it).
    pub fn next(&self, timeout: Duration) -> Result<Next<'_>, ReadError> {
        match self.consumer.poll(timeout) {
            None => Ok(Next::Nothing),
            Some(Ok(message)) => Ok(Next::Record(Record(message))),
            Some(Err(KafkaError::PartitionEOF(partition))) => Ok(Next::EndOf(partition)),
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(
                    RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownTopic
                    | RDKafkaErrorCode::UnknownPartition
                    | RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::ClusterAuthorizationFailed
                    | RDKafkaErrorCode::SaslAuthenticationFailed
                    | RDKafkaErrorCode::Authentication
                    | RDKafkaErrorCode::Fatal,
                ) => Err(ReadError::kafka("reading", &error)),
                // We are no member of the group: that we may not be one is no news.
                Some(RDKafkaErrorCode::GroupAuthorizationFailed) => Ok(Next::Nothing),
                _ => Ok(Next::Trouble(error.to_string())),
            },
        }
    }
}

fn consumer(options: &ReaderOptions) -> Result<BaseConsumer, ReadError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.bootstrap)
        .set("client.id", "sluice-reader")
        .set("group.id", "sluice-reader") // assign() needs one; it is never joined or committed to
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest") // retention overtook us: go on with what is left
        .set("allow.auto.create.topics", "false")
        // The embedded broker sits out the whole wait before it sees a record that came meanwhile.
        .set("fetch.wait.max.ms", "100")
        // The default keeps a full local queue from being refilled for a second.
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.max.messages.kbytes", "16384")
        .set("reconnect.backoff.max.ms", "1000")
        .set_log_level(RDKafkaLogLevel::Emerg);
    for (property, value) in &options.passthrough {
        config.set(property, value);
    }
    config.create().map_err(|error| match error {
        // Without the value, which may be a secret.
        KafkaError::ClientConfig(_, words, property, _) => ReadError::Config(format!("{property}: {words}")),
        other => ReadError::Config(other.to_string()),
    })
}

fn partitions(
    consumer: &BaseConsumer,
    options: &ReaderOptions,
    deadline: Instant,
) -> Result<Vec<i32>, ReadError> {
    let metadata =
        consumer.fetch_metadata(Some(&options.topic), left(deadline)).map_err(|error| {
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::OperationTimedOut) => {
                    ReadError::Unreachable(options.bootstrap.clone())
                }
                _ => ReadError::kafka("metadata", &error),
            }
        })?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == options.topic);
    let topic = topic.ok_or_else(|| ReadError::NoSuchTopic(options.topic.clone()))?;
    if let Some(error) = topic.error() {
        let code = RDKafkaErrorCode::from(error);
        return Err(match code {
            RDKafkaErrorCode::UnknownTopicOrPartition => ReadError::NoSuchTopic(options.topic.clone()),
            _ => ReadError::Kafka(format!("topic {}: {code}", options.topic)),
        });
    }
    let mut all: Vec<i32> = topic.partitions().iter().map(|partition| partition.id()).collect();
    all.sort_unstable();
    let Some(wanted) = options.partition else { return Ok(all) };
    if !all.contains(&wanted) {
        return Err(ReadError::NoSuchPartition { partition: wanted, partitions: all.len() });
    }
    Ok(vec![wanted])
}

fn start_at_time(
    consumer: &BaseConsumer,
    topic: &str,
    ms: i64,
    spans: &mut [Span],
    deadline: Instant,
) -> Result<(), ReadError> {
    // librdkafka's mock answers "no such record" to every time, as if the topic ended before it.
    let cluster = consumer.client().fetch_cluster_id(left(deadline));
    if cluster.is_some_and(|id| id.starts_with("mockCluster")) {
        return Err(ReadError::NoTimeIndex);
    }
    let mut times = TopicPartitionList::with_capacity(spans.len());
    for span in spans.iter() {
        times
            .add_partition_offset(topic, span.partition, Offset::Offset(ms))
            .map_err(|error| ReadError::kafka("look-up by time", &error))?;
    }
    let found = consumer
        .offsets_for_times(times, left(deadline))
        .map_err(|error| ReadError::kafka("look-up by time", &error))?;
    for span in spans {
        let at = found.find_partition(topic, span.partition).map(|element| element.offset());
        span.start = match at {
            Some(Offset::Offset(offset)) => offset,
            _ => span.high, // nothing that young
        };
    }
    Ok(())
}

fn assign(consumer: &BaseConsumer, topic: &str, spans: &[Span]) -> Result<(), ReadError> {
    let mut list = TopicPartitionList::with_capacity(spans.len());
    for span in spans {
        list.add_partition_offset(topic, span.partition, Offset::Offset(span.start))
            .map_err(|error| ReadError::kafka("start offset", &error))?;
    }
    consumer.assign(&list).map_err(|error| ReadError::kafka("assignment", &error))
}

/// What is left until the deadline; at least 1 ms, because librdkafka takes 0 for "do not even ask".
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// Why a topic could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// A client property is wrong.
    Config(String),
    /// No broker answered in time.
    Unreachable(String),
    NoSuchTopic(String),
    NoSuchPartition {
        partition: i32,
        partitions: usize,
    },
    /// The embedded broker cannot look offsets up by time.
    NoTimeIndex,
    /// The end was not reached in time; so many records were.
    Timeout {
        read: usize,
    },
    /// Anything else that Kafka says.
    Kafka(String),
}

impl ReadError {
    fn kafka(what: &str, error: &KafkaError) -> Self {
        Self::Kafka(format!("{what}: {error}"))
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(why) => write!(f, "client settings: {why}"),
            Self::Unreachable(servers) => write!(f, "no broker answers at {servers}"),
            Self::NoSuchTopic(topic) => write!(f, "there is no topic `{}`", topic.escape_debug()),
            Self::NoSuchPartition { partition, partitions } => {
                write!(f, "there is no partition {partition}: the topic has {partitions}, counted from 0")
            }
            Self::NoTimeIndex => f.write_str(
                "the embedded broker (librdkafka's mock cluster) cannot look offsets up by time; \
                 start from `beginning`, `end` or an offset, or use real Kafka",
            ),
            Self::Timeout { read } => write!(f, "the end was not reached in time ({read} records read)"),
            Self::Kafka(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ReadError {}
