//! A member of a consumer group that reads one topic, as the consume room needs it.
//!
//! Owns the group's membership: what is assigned arrives paused and at no offset of Kafka's choice, because the
//! caller's own table says where reading goes on; what is taken away is given up at once, and the caller is told before
//! it sees another record. Never stores an offset by itself, never skips: an offset that the topic does not have is
//! told, not reset. One thread; librdkafka's own threads keep the heartbeats going while the caller is busy.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Statistics, util::Timeout};

use super::options::KafkaOptions;
use super::{client, identity};
use crate::event::{headers, quoted};
use crate::handoff::lock;

/// Records fetched ahead over all partitions, in KiB.
const FETCHED_AHEAD_KIB: &str = "8192";

/// How long a question to the cluster may take.
const QUESTION: Duration = Duration::from_secs(5);

/// A partition of the topic.
pub type Partition = i32;

/// Who reads what.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// `host:port` list, comma separated.
    pub servers: String,
    pub topic: String,
    pub group: String,
    /// A member that was not heard of for so long loses its partitions.
    pub session_timeout: Duration,
}

/// What the group decided about this member since the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These are ours, paused until [`GroupConsumer::begin`].
    Assigned(Vec<Partition>),
    /// These are not ours any more.
    Revoked(Vec<Partition>),
}

/// What one call of [`GroupConsumer::poll`] brought.
pub enum Polled<'a> {
    Record(Message<'a>),
    /// Nothing within the given time, or a change in the group.
    Nothing,
    /// A partition was asked for an offset that it does not have, or not any more.
    OutOfRange,
    /// What librdkafka goes on from by itself, such as brokers that are away.
    Trouble(String),
    /// What no waiting mends: not allowed to read, or a client that has broken down.
    Fatal(String),
}

/// A record as the client library holds it, without a copy.
pub struct Message<'a>(BorrowedMessage<'a>);

impl Message<'_> {
    pub fn partition(&self) -> Partition {
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
    /// Appends the headers as `event::headers` writes them.
    pub fn push_headers(&self, out: &mut Vec<u8>) {
        for header in self.0.headers().into_iter().flat_map(|all| all.iter()) {
            headers::push(out, header.key, header.value.unwrap_or_default());
        }
    }
}

/// The cluster and the topic, so that one made anew under the old name is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: String,
    /// Empty where the cluster gives topics no ids.
    pub topic: String,
}

/// The callbacks' side: librdkafka calls it from within `poll`.
struct Membership {
    topic: String,
    changes: Mutex<VecDeque<Change>>,
    /// By partition, the offset that its next record will get.
    ends: Mutex<BTreeMap<Partition, i64>>,
}

impl ClientContext for Membership {
    fn stats(&self, statistics: Statistics) {
        let Some(topic) = statistics.topics.get(&self.topic) else { return };
        let known = topic.partitions.values().filter(|one| one.partition >= 0 && one.hi_offset >= 0);
        lock(&self.ends).extend(known.map(|one| (one.partition, one.hi_offset)));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log::debug!(target: "kafka", "client.error error={} reason={}", quoted(&error), quoted(&reason));
    }
}

impl ConsumerContext for Membership {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let numbers = partitions.elements().iter().map(|one| one.partition()).collect();
        let (change, done) = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                // Paused before anything is fetched: the offset is a placeholder until `begin`.
                let assigned = partitions
                    .set_all_offsets(Offset::Offset(0))
                    .and_then(|()| consumer.incremental_assign(partitions))
                    .and_then(|()| consumer.pause(partitions));
                (Change::Assigned(numbers), assigned)
            }
            _ => (Change::Revoked(numbers), consumer.incremental_unassign(partitions)),
        };
        if let Err(error) = done {
            log::error!(target: "kafka", "rebalance.failed reason={}", quoted(&error));
        }
        lock(&self.changes).push_back(change);
    }

    fn main_queue_min_poll_interval(&self) -> Timeout {
        Timeout::After(Duration::from_millis(100))
    }
}

/// See the module's text.
pub struct GroupConsumer {
    consumer: BaseConsumer<Membership>,
    topic: String,
}

impl GroupConsumer {
    /// Joins the group; `common` gives the client properties that are passed through.
    ///
    /// # Errors
    /// The client library does not take a property; its words, which may not quote a secret.
    pub fn join(options: &GroupOptions, common: &KafkaOptions) -> Result<Self, String> {
        let member = Self::outside(options, common)?;
        member.consumer.subscribe(&[&options.topic]).map_err(|error| error.to_string())?;
        Ok(member)
    }

    /// The same without joining: it may ask the cluster, and reads nothing.
    ///
    /// # Errors
    /// As [`GroupConsumer::join`].
    pub fn outside(options: &GroupOptions, common: &KafkaOptions) -> Result<Self, String> {
        let session_ms = options.session_timeout.as_millis();
        let mut config: ClientConfig = client::common(common, &options.servers);
        config
            .set("group.id", &options.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session_ms.to_string())
            .set("heartbeat.interval.ms", (session_ms / 10).clamp(100, 3000).to_string())
            .set("max.poll.interval.ms", session_ms.max(300_000).to_string())
            .set("allow.auto.create.topics", "false")
            .set("queued.max.messages.kbytes", FETCHED_AHEAD_KIB)
            // The default keeps a full local queue from being refilled for a second.
            .set("fetch.queue.backoff.ms", "5")
            .set("statistics.interval.ms", "1000")
            .set("topic.metadata.refresh.interval.ms", "10000");
        let membership =
            Membership { topic: options.topic.clone(), changes: Mutex::default(), ends: Mutex::default() };
        let consumer: BaseConsumer<Membership> =
            config.create_with_context(membership).map_err(|error| match error {
                // Without the value, which may be a secret.
                KafkaError::ClientConfig(_, words, property, _) => format!("{property}: {words}"),
                other => other.to_string(),
            })?;
        Ok(Self { consumer, topic: options.topic.clone() })
    }

    /// The next record of any partition that has begun; in order within each. Changes in the group happen in here:
    /// look at [`GroupConsumer::change`] after each call.
    pub fn poll(&self, timeout: Duration) -> Polled<'_> {
        let error = match self.consumer.poll(timeout) {
            None => return Polled::Nothing,
            Some(Ok(message)) => return Polled::Record(Message(message)),
            Some(Err(error)) => error,
        };
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                Polled::OutOfRange
            }
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::InconsistentGroupProtocol
                | RDKafkaErrorCode::FencedInstanceId
                | RDKafkaErrorCode::Fatal,
            ) => Polled::Fatal(error.to_string()),
            _ => Polled::Trouble(error.to_string()),
        }
    }

    /// The next change that was not looked at yet.
    pub fn change(&self) -> Option<Change> {
        lock(&self.consumer.context().changes).pop_front()
    }

    /// Reads on at these offsets.
    ///
    /// # Errors
    /// The client library is not that far yet, or the partition was taken away meanwhile: try again.
    pub fn begin(&self, offsets: &[(Partition, i64)]) -> Result<(), String> {
        let list = self.list(offsets)?;
        let done = self.consumer.seek_partitions(list, QUESTION).map_err(|error| error.to_string())?;
        for one in done.elements() {
            one.error().map_err(|error| format!("partition {}: {error}", one.partition()))?;
        }
        let numbers: Vec<Partition> = offsets.iter().map(|(partition, _)| *partition).collect();
        self.resume(&numbers)
    }

    /// Hands nothing out of these until [`GroupConsumer::resume`] or `begin`; the group does not notice.
    ///
    /// # Errors
    /// As `begin`.
    pub fn pause(&self, partitions: &[Partition]) -> Result<(), String> {
        self.consumer.pause(&self.bare(partitions)).map_err(|error| error.to_string())
    }

    /// # Errors
    /// As `begin`.
    pub fn resume(&self, partitions: &[Partition]) -> Result<(), String> {
        self.consumer.resume(&self.bare(partitions)).map_err(|error| error.to_string())
    }

    /// Tells the group where the reading stands, for those who watch its lag; we do not read it back.
    ///
    /// # Errors
    /// The cluster refuses it, or, where it is waited for, does not answer.
    pub fn tell(&self, next: &[(Partition, i64)], wait: bool) -> Result<(), String> {
        let mode = if wait { CommitMode::Sync } else { CommitMode::Async };
        self.consumer.commit(&self.list(next)?, mode).map_err(|error| error.to_string())
    }

    /// Offset of the oldest record that a partition keeps, and the one that its next record will get.
    ///
    /// # Errors
    /// The cluster does not answer in time.
    pub fn bounds(&self, partition: Partition) -> Result<(i64, i64), String> {
        self.consumer
            .fetch_watermarks(&self.topic, partition, QUESTION)
            .map_err(|error| format!("offsets of partition {partition}: {error}"))
    }

    /// # Errors
    /// The cluster does not answer in time, or has no such topic.
    pub fn identity(&self) -> Result<Identity, String> {
        let client = self.consumer.client();
        let cluster = client.fetch_cluster_id(QUESTION).ok_or("the cluster does not say its id")?;
        let topic = identity::topic_id(client, &self.topic, QUESTION)
            .map_err(|code| format!("topic {}: {code}", self.topic))?;
        Ok(Identity { cluster, topic })
    }

    /// The numbers of all partitions, in ascending order.
    ///
    /// # Errors
    /// As [`GroupConsumer::identity`].
    pub fn partitions(&self) -> Result<Vec<Partition>, String> {
        let metadata =
            self.consumer.fetch_metadata(Some(&self.topic), QUESTION).map_err(|error| error.to_string())?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let mut numbers: Vec<Partition> =
            topic.iter().flat_map(|topic| topic.partitions()).map(|one| one.id()).collect();
        numbers.sort_unstable();
        if numbers.is_empty() { Err(format!("there is no topic {}", self.topic)) } else { Ok(numbers) }
    }

    /// By partition, the offset that its next record will get, as last heard.
    pub fn ends(&self) -> BTreeMap<Partition, i64> {
        lock(&self.consumer.context().ends).clone()
    }

    fn bare(&self, partitions: &[Partition]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&self.topic, *partition);
        }
        list
    }

    fn list(&self, offsets: &[(Partition, i64)]) -> Result<TopicPartitionList, String> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, offset) in offsets {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset))
                .map_err(|error| error.to_string())?;
        }
        Ok(list)
    }
}
