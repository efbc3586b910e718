//! `sluice consume` from start to the last line and the exit code.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::batch_loop::{Ended, Loop, Summary};
use super::board::Board;
use super::database::Database;
use super::health::{self, Pages};
use super::letters::{self, Letters};
use super::options::{ConsumeOptions, Kind};
use super::rows::dead_letters::DeadLetters;
use super::rows::event_log::EventLog;
use super::rows::usage::Usage;
use super::sink::{Sink, Source};
use super::table::TableSink;
use crate::event::quoted;
use crate::handoff::TopicId;
use crate::kafka::consumer::{GroupConsumer, GroupOptions, Identity};
use crate::kafka::resend::Resender;
use crate::kafka::{TopicGate, TopicReady};

const SOURCE: TopicId = TopicId(0);
const LETTERS: TopicId = TopicId(1);

/// How often a stop is looked for while a topic is awaited.
const LOOK: Duration = Duration::from_millis(100);

/// Exit codes as in the conventions: stopped in order, anything else, an address that cannot be bound.
const OK: i32 = 0;
const FAILED: i32 = 1;
const CANNOT_BIND: i32 = 3;

/// Runs until `stop` turns true or nothing can be stored any more.
pub fn run(options: &ConsumeOptions, stop: &Arc<AtomicBool>) -> i32 {
    let name = options.kind.name();
    let board = Arc::new(Board::default());
    board.turn();
    let health = match listen(options, &board) {
        Ok(health) => health,
        Err(why) => {
            log::error!(target: "consume", "consume.failed reason={}", quoted(&why));
            return CANNOT_BIND;
        }
    };
    log::info!(
        target: "consume",
        "consume.start consumer={name} group={} topic={} dead_letters={} kafka={} health={health} version={}",
        options.group,
        options.topic,
        options.dead_letter_topic.as_deref().unwrap_or("off"),
        options.servers,
        env!("CARGO_PKG_VERSION"),
    );
    let progress = Progress::start(options, &board);
    let code = match work(options, &board, stop) {
        Ok(summary) => {
            stopped(name, &summary);
            OK
        }
        Err(ended) => {
            complain(options, &ended);
            FAILED
        }
    };
    drop(progress);
    code
}

fn listen(options: &ConsumeOptions, board: &Arc<Board>) -> Result<String, String> {
    let Some(address) = options.health else { return Ok("off".into()) };
    let pages = Pages {
        consumer: options.kind.name(),
        metrics_path: options.metrics_path.clone(),
        board: Arc::clone(board),
    };
    let bound =
        health::listen(address, pages).map_err(|error| format!("health listener {address}: {error}"))?;
    Ok(bound.to_string())
}

fn work(options: &ConsumeOptions, board: &Arc<Board>, stop: &Arc<AtomicBool>) -> Result<Summary, Ended> {
    let Some(letter_bytes_max) = topics(options, board, stop)? else { return Ok(Summary::default()) };
    let letters = letters(options, letter_bytes_max).map_err(Ended::Failed)?;
    let database = Database::new(&options.database, options.session_timeout);
    let mut sink: Box<dyn Sink> = match options.kind {
        Kind::EventLog => Box::new(TableSink::new(EventLog, database, letters)),
        Kind::DeadLetters => Box::new(TableSink::new(DeadLetters, database, letters)),
        Kind::Usage => Box::new(TableSink::new(Usage, database, letters)),
    };
    let group = GroupOptions {
        servers: options.servers.clone(),
        topic: options.topic.clone(),
        group: options.group.clone(),
        session_timeout: options.session_timeout,
    };
    let member = GroupConsumer::join(&group, &options.kafka).map_err(Ended::Failed)?;
    let identity = Identity { cluster: String::new(), topic: String::new() };
    let source = Source { group: group.group, topic: group.topic, identity };
    let session = options.session_timeout;
    Loop::new(member, sink.as_mut(), source, options.batch, session, Arc::clone(board)).run(stop)
}

/// Waits until both topics are there; the longest letter that theirs takes. `None` if it was stopped meanwhile.
fn topics(
    options: &ConsumeOptions,
    board: &Arc<Board>,
    stop: &Arc<AtomicBool>,
) -> Result<Option<usize>, Ended> {
    let mut kafka = options.kafka.clone();
    kafka.topics = Default::default();
    kafka.topics.set(SOURCE, &options.topic);
    if let Some(topic) = &options.dead_letter_topic {
        kafka.topics.set(LETTERS, topic);
    }
    // Those beside them are the gateway's to make.
    kafka.creations.retain(|creation| kafka.topics.names().contains(&creation.name.as_str()));
    let wanted = kafka.topics.own().count();
    let (wake, woken) = mpsc::sync_channel(1);
    let gate = TopicGate::start(kafka, options.servers.clone(), move || {
        // Full: it is going to look anyway.
        let _ = wake.try_send(());
    })
    .map_err(|error| Ended::Failed(error.to_string()))?;
    let mut found: Vec<TopicReady> = Vec::new();
    while found.len() < wanted {
        if stop.load(Relaxed) {
            return Ok(None);
        }
        board.turn();
        found.extend(std::iter::from_fn(|| gate.answer()));
        if found.len() < wanted {
            // Disconnected: the helper ended, which it does only after it has found all, or cannot look at all.
            let _ = woken.recv_timeout(LOOK);
        }
    }
    let letters = found.iter().find(|topic| topic.id == LETTERS);
    Ok(Some(letters.map_or(0, |topic| topic.max_record_bytes)))
}

fn letters(options: &ConsumeOptions, record_bytes_max: usize) -> Result<Letters, String> {
    let Some(topic) = &options.dead_letter_topic else { return Ok(Letters::none()) };
    let producer = Resender::new(&options.kafka, &options.servers, letters::TIMEOUT)
        .map_err(|error| error.to_string())?;
    Ok(Letters::new(producer, topic, &options.topic, options.kind.service(), record_bytes_max))
}

fn stopped(name: &str, summary: &Summary) {
    let Summary { rows, doubles, dead, dropped, unstored } = *summary;
    log::info!(
        target: "consume",
        "consume.stop consumer={name} stored={rows} duplicate={doubles} dead_lettered={dead} dropped={dropped} unstored={unstored}"
    );
}

fn complain(options: &ConsumeOptions, ended: &Ended) {
    let name = options.kind.name();
    match ended {
        Ended::Failed(why) => {
            log::error!(target: "consume", "consume.failed consumer={name} reason={}", quoted(why));
        }
        Ended::Misfit { partition, misfit } => {
            let partition = partition.map_or_else(|| "all".into(), |partition| partition.to_string());
            log::error!(
                target: "consume",
                "offsets.misfit consumer={name} topic={} group={} partition={partition} code={} reason={} hint={}",
                options.topic,
                options.group,
                misfit.name(),
                quoted(misfit),
                quoted(&format!("decide with: sluice consume {name} --reset earliest|latest|OFFSETS")),
            );
        }
    }
}

/// Writes how far it got into the log now and then, until it is dropped.
struct Progress {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Progress {
    fn start(options: &ConsumeOptions, board: &Arc<Board>) -> Self {
        let (stop, stopped) = mpsc::channel();
        let (interval, name, board) = (options.metrics_interval, options.kind.name(), Arc::clone(board));
        let tell = move || {
            while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(interval) {
                let s = board.snapshot(name);
                let lag: i64 = s.lag.iter().map(|(_, records)| records).sum();
                log::info!(
                    target: "consume",
                    "METRICS consumer={name} state={} partitions={} lag={lag} stored={} duplicate={} dead_lettered={} \
                     dropped={} batches={} retries={}",
                    board.state(), s.partitions, s.rows, s.doubles, s.dead_lettered, s.dropped, s.batches, s.retries
                );
            }
        };
        // Without a thread there are no such lines, and nothing else is amiss.
        let thread = match interval.is_zero() {
            true => None,
            false => thread::Builder::new().name("sluice-progress".into()).spawn(tell).ok(),
        };
        Self { stop: Some(stop), thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by its thread; nothing to add here.
            let _ = thread.join();
        }
    }
}
