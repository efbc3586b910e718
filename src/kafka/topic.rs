//! Topics before their first record: described, created if absent, never altered, and seen by all (S0-R5, G16).
//!
//! Runs on a helper thread with a client of its own, because every question to a cluster may take its time; the
//! Kafka thread goes on collecting records meanwhile. Each topic's answer crosses by a channel, once; one that is
//! not found does not hold the others back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaResult;
use rdkafka::types::RDKafkaErrorCode;

use super::client;
use super::options::{Bootstrap, Creation, KafkaOptions};
use crate::event::quoted;
use crate::handoff::{TOPICS_MAX, TopicId};

/// One question to the cluster lasts at most this long, so that a shutdown never waits longer.
const QUESTION: Duration = Duration::from_millis(1000);
/// Pause between two questions that were answered, but not as hoped.
const PAUSE: Duration = Duration::from_millis(100);
/// Same complaint about the cluster at most once in so many attempts.
const COMPLAINT_EVERY: u32 = 10;
/// What the client library takes unless told otherwise (message.max.bytes).
const CLIENT_MAX_BYTES: usize = 1_000_000;
/// Record batch header, record header and varints: what a lone record costs on top of key and value.
const FRAMING_BYTES: usize = 128;

/// The topic as it was found or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicReady {
    pub id: TopicId,
    pub partitions: usize,
    /// Key and value together, in bytes.
    pub max_record_bytes: usize,
    /// Records that travel together, framing included, in bytes.
    pub max_batch_bytes: usize,
}

/// The helper thread at work. Dropped, it ends by itself after the question that it is asking.
pub struct TopicGate {
    answer: Receiver<TopicReady>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TopicGate {
    /// Starts looking. `wake` is called once an answer is there.
    pub fn start(
        options: KafkaOptions,
        servers: String,
        wake: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, answer) = bounded(TOPICS_MAX);
        let stop = Arc::new(AtomicBool::new(false));
        let asked_to_stop = stop.clone();
        let thread = thread::Builder::new().name("sluice-topic".into()).spawn(move || {
            let is_stopped = || asked_to_stop.load(SeqCst);
            look(&options, &servers, &is_stopped, |topic| {
                let _ = sender.send(topic);
                wake();
            });
        })?;
        Ok(Self { answer, stop, thread: Some(thread) })
    }

    /// The next topic that was found.
    pub fn answer(&self) -> Option<TopicReady> {
        self.answer.try_recv().ok()
    }
}

impl Drop for TopicGate {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        // One that is asking just now ends by itself, within the time of a question: nobody waits for it.
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            // A panic there was reported by its thread; nothing to add here.
            let _ = thread.join();
        }
    }
}

/// The search for one topic.
struct Search<'a> {
    /// Nothing for one that is only to be there.
    id: Option<TopicId>,
    name: &'a str,
    attempts: u32,
    created: bool,
    seen_before: Option<usize>,
}

fn look(
    options: &KafkaOptions,
    servers: &str,
    is_stopped: &dyn Fn() -> bool,
    mut found: impl FnMut(TopicReady),
) {
    let mut config = client::common(options, servers);
    config.set("allow.auto.create.topics", "false");
    let admin: AdminClient<DefaultClientContext> = match config.create() {
        Ok(admin) => admin,
        Err(error) => {
            log::error!(target: "kafka", "client.failed reason={}", quoted(&error));
            return;
        }
    };
    let written = options.topics.own().map(|(id, name)| (Some(id), name));
    let beside = options.beside().map(|name| (None, name));
    let search = |(id, name)| Search { id, name, attempts: 0, created: false, seen_before: None };
    let mut searches: Vec<Search<'_>> = written.chain(beside).map(search).collect();
    while !searches.is_empty() && !is_stopped() {
        // Each as far as it goes before the next: making one may take its time, and the others are not to wait for it.
        searches.retain_mut(|search| {
            while !is_stopped() {
                match search.step(&admin, options, servers) {
                    Step::Found(topic) => {
                        if let Some(topic) = topic {
                            found(topic);
                        }
                        return false;
                    }
                    Step::Again => {}
                    Step::Later => break,
                }
            }
            true
        });
        if !searches.is_empty() {
            thread::park_timeout(PAUSE);
        }
    }
}

enum Step {
    /// What there is to tell of it.
    Found(Option<TopicReady>),
    /// The next question may be the last.
    Again,
    Later,
}

impl Search<'_> {
    fn step(
        &mut self,
        admin: &AdminClient<DefaultClientContext>,
        options: &KafkaOptions,
        servers: &str,
    ) -> Step {
        let name = self.name;
        let seen_before = self.seen_before.take();
        match describe(admin, name) {
            // The same complete picture twice: every broker asked has heard of the topic.
            Ok(Found::Complete(partitions)) if seen_before == Some(partitions) => {
                let ready = self.id.map(|id| {
                    let max_batch_bytes = max_batch_bytes(admin, options, name);
                    let max_record_bytes = max_batch_bytes.saturating_sub(FRAMING_BYTES);
                    TopicReady { id, partitions, max_record_bytes, max_batch_bytes }
                });
                log::info!(target: "kafka", "topic.ready name={name} partitions={partitions} created={}", self.created);
                return Step::Found(ready);
            }
            Ok(Found::Complete(partitions)) => {
                self.seen_before = Some(partitions);
                return Step::Again;
            }
            Ok(Found::Leaderless(count)) => {
                complain(&mut self.attempts, || format!("topic.waiting name={name} leaderless={count}"));
            }
            Ok(Found::Absent) => match create(admin, options, name) {
                Ok(false) => {}
                Ok(true) => {
                    self.created = true;
                    let partitions = options.creation(name).partitions.unwrap_or_default();
                    log::info!(target: "kafka", "topic.created name={name} partitions={partitions}");
                }
                Err(reason) => complain(&mut self.attempts, || {
                    let reason = quoted(&reason);
                    format!(
                        "topic.absent name={name} reason={reason} hint=\"create it, or allow this client to\""
                    )
                }),
            },
            Err(error) => complain(&mut self.attempts, || {
                format!("kafka.waiting bootstrap={servers} reason={}", quoted(&error))
            }),
        }
        Step::Later
    }
}

fn complain(attempts: &mut u32, text: impl Fn() -> String) {
    if attempts.is_multiple_of(COMPLAINT_EVERY) {
        log::warn!(target: "kafka", "{}", text());
    }
    *attempts += 1;
}

enum Found {
    Complete(usize),
    Leaderless(usize),
    Absent,
}

fn describe(admin: &AdminClient<DefaultClientContext>, name: &str) -> KafkaResult<Found> {
    let metadata = admin.inner().fetch_metadata(Some(name), QUESTION)?;
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
        return Ok(Found::Absent);
    };
    if let Some(error) = topic.error() {
        let code = RDKafkaErrorCode::from(error);
        return match code {
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => Ok(Found::Absent),
            _ => Err(rdkafka::error::KafkaError::MetadataFetch(code)),
        };
    }
    let leaderless = topic.partitions().iter().filter(|partition| partition.leader() < 0).count();
    Ok(match (topic.partitions().len(), leaderless) {
        (0, _) => Found::Absent,
        (count, 0) => Found::Complete(count),
        (_, leaderless) => Found::Leaderless(leaderless),
    })
}

/// True: made by us. False: somebody else was quicker; it exists, that is all we want.
fn create(
    admin: &AdminClient<DefaultClientContext>,
    options: &KafkaOptions,
    name: &str,
) -> Result<bool, String> {
    let min_insync = options.min_insync_replicas.to_string();
    let Creation { partitions, retention, .. } = options.creation(name);
    let partitions = partitions.unwrap_or(options.partitions);
    let retention_ms = retention.map(|time| time.as_millis().to_string());
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(options.replication_factor))
        .set("cleanup.policy", "delete")
        .set("compression.type", "producer")
        .set("min.insync.replicas", &min_insync);
    if let Some(retention_ms) = &retention_ms {
        topic = topic.set("retention.ms", retention_ms);
    }
    let asked = AdminOptions::new().request_timeout(Some(5 * QUESTION)).operation_timeout(Some(5 * QUESTION));
    match pollster::block_on(admin.create_topics([&topic], &asked)) {
        Err(error) => Err(error.to_string()),
        Ok(results) => match results.into_iter().next() {
            Some(Ok(_)) => Ok(true),
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
            Some(Err((_, code))) => Err(code.to_string()),
            None => Err("no answer".into()),
        },
    }
}

/// The largest batch that topic and client both take; the client's limit where the topic's cannot be read.
fn max_batch_bytes(admin: &AdminClient<DefaultClientContext>, options: &KafkaOptions, name: &str) -> usize {
    let passed = options.passthrough.iter().find(|(property, _)| property == "message.max.bytes");
    let client = passed.and_then(|(_, value)| value.parse().ok()).unwrap_or(CLIENT_MAX_BYTES);
    let topic = match options.bootstrap {
        // The mock cluster has no admin interface: asking it would only take its time.
        Bootstrap::Embedded => None,
        Bootstrap::Servers(_) => topic_max_bytes(admin, name),
    };
    client.min(topic.unwrap_or(client))
}

fn topic_max_bytes(admin: &AdminClient<DefaultClientContext>, name: &str) -> Option<usize> {
    let asked = AdminOptions::new().request_timeout(Some(QUESTION));
    let results =
        pollster::block_on(admin.describe_configs([&ResourceSpecifier::Topic(name)], &asked)).ok()?;
    let resource = results.into_iter().next()?.ok()?;
    resource.get("max.message.bytes")?.value.as_ref()?.parse().ok()
}
