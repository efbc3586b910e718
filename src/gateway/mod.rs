//! Builds the rooms, starts and joins the threads, shuts down in order; the face for an embedding host.
//!
//! Owns the threads and the order of start and end. Never handles a message itself.

mod options;
mod recorder;
mod run;
mod status;
mod view;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use options::GatewayOptions;
pub use recorder::{Pending, RecordError, Recorder};
pub use run::run;

use crate::config::memory;
use crate::event::{Outcome, quoted};
use crate::handoff::{Account, Bell, Clock, Shared, TopicId, crossing, lock};
use crate::kafka::{self, Bootstrap, EmbeddedBroker, KafkaOptions};
use crate::net::{Control, Hub, HubStats, Listener, Poller, install_waker};
use crate::session::Web;
use view::Face;

/// Descriptors that the process needs beside its senders' sockets.
const SPARE_DESCRIPTORS: u64 = 128;

/// Why a gateway did not start.
#[derive(Debug)]
pub enum StartError {
    /// An address could not be bound: which one, and why.
    Bind(SocketAddr, io::Error),
    /// The embedded broker did not start.
    Embedded(String),
    /// A thread or the poller could not be made.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Embedded(reason) => write!(f, "the embedded broker did not start: {reason}"),
            Self::System(error) => write!(f, "cannot start: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// How a gateway ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub account: Account,
    /// Bytes that our kernel had acknowledged and that were not read.
    pub unread_bytes: u64,
    /// A second signal cut the drain short.
    pub cut_short: bool,
}

impl Summary {
    /// Balanced, and nothing lost, unknown or unread.
    pub fn is_clean(&self) -> bool {
        self.account.in_flight() == 0
            && self.account.lost == 0
            && self.account.of(Outcome::Unknown) == 0
            && self.unread_bytes == 0
            && !self.cut_short
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "accepted={}", self.account.accepted)?;
        for outcome in Outcome::ALL {
            write!(f, " {}={}", outcome.name(), self.account.of(outcome))?;
        }
        write!(f, " unread_bytes={} lost={}", self.unread_bytes, self.account.lost)
    }
}

/// A running gateway. Dropped without [`Gateway::close`], it drains as well.
pub struct Gateway {
    shared: Arc<Shared>,
    control: Arc<Control>,
    poll_bell: Bell,
    kafka_bell: Bell,
    clock: Clock,
    value_format: crate::pipeline::ValueFormat,
    addresses: [Option<SocketAddr>; 3],
    poll_thread: Option<JoinHandle<io::Result<HubStats>>>,
    /// Lives as long as anything may be sent to it.
    _embedded: Option<EmbeddedBroker>,
}

/// Asks a gateway for things from another thread (a signal handler's, for instance).
#[derive(Clone)]
pub struct Controller {
    control: Arc<Control>,
    poll_bell: Bell,
}

impl Controller {
    /// Drain; asked a second time: end now.
    pub fn stop(&self) {
        self.control.stop();
        self.poll_bell.ring_always();
    }

    /// Writes the state to the log.
    pub fn dump(&self) {
        self.control.dump();
        self.poll_bell.ring_always();
    }
}

impl Gateway {
    /// Listens, then looks for Kafka: senders may come at once, and wait if they must.
    pub fn start(mut options: GatewayOptions) -> Result<Self, StartError> {
        share_topics(&mut options);
        let clock = Clock::start();
        let max_connections = raise_file_limit(options.net.max_connections);
        let bind = |address: Option<SocketAddr>| match address {
            None => Ok(None),
            Some(address) => Listener::bind(address, options.net.recv_buffer_bytes)
                .map(Some)
                .map_err(|error| StartError::Bind(address, error)),
        };
        let (tcp, http, health) =
            (bind(options.net.tcp)?, bind(options.net.http)?, bind(options.net.health)?);
        let embedded = match &options.kafka.bootstrap {
            Bootstrap::Servers(_) => None,
            Bootstrap::Embedded => Some(embedded(&options.kafka)?),
        };
        let servers = match (&options.kafka.bootstrap, &embedded) {
            (Bootstrap::Servers(servers), _) => servers.clone(),
            (Bootstrap::Embedded, Some(broker)) => {
                let servers = broker.bootstrap_servers();
                log::info!(target: "kafka", "broker.embedded bootstrap={servers} topics={}", options.kafka.topics);
                servers
            }
            (Bootstrap::Embedded, None) => String::new(),
        };
        let shared = Shared::new(options.buffer.clone());
        let (poll_bell, kafka_bell) = (Bell::default(), Bell::default());
        let (poll_end, kafka_end) = crossing(&shared, poll_bell.clone(), kafka_bell.clone());
        let poll = mio::Poll::new().map_err(StartError::System)?;
        install_waker(&poll, &poll_bell).map_err(StartError::System)?;
        let control = Arc::new(Control::default());
        let metrics_path = options.metrics_path.as_deref().map(Arc::from);
        let web = web(&options)?;
        let mut hub = Hub::new(
            &options.net,
            &options.tcp,
            Arc::new(options.http.clone()),
            web,
            options.value_format,
            metrics_path,
            options.log_excerpts,
            poll_end,
        );
        if options.kafka.letters.rejects {
            let topics = &options.kafka.topics;
            hub.keep_rejected(
                (0..topics.count()).map(|id| topics.name(TopicId(id as u8)).to_owned()).collect(),
            );
        }
        let poller = Poller::new(
            poll,
            hub,
            tcp,
            http,
            health,
            max_connections,
            options.drain_timeout,
            control.clone(),
            clock,
            poll_bell.clone(),
        )
        .map_err(StartError::System)?;
        let addresses = poller.addresses();
        let kafka_thread =
            kafka::start(options.kafka.clone(), options.buffer.clone(), servers, kafka_end, clock)
                .map_err(StartError::System)?;
        let value_format = options.value_format;
        let mut face = Face {
            shared: shared.clone(),
            clock,
            memory_worst_case: memory::worst_case(&options).iter().map(|part| part.bytes).sum(),
            next_metrics_us: options.metrics_interval.as_micros() as u64,
            options,
            kafka_thread,
        };
        let poll_thread = thread::Builder::new()
            .name("sluice-poll".into())
            .spawn(move || poller.run(&mut face))
            .map_err(StartError::System)?;
        Ok(Self {
            shared,
            control,
            poll_bell,
            kafka_bell,
            clock,
            value_format,
            addresses,
            poll_thread: Some(poll_thread),
            _embedded: embedded,
        })
    }

    /// Where the TCP listener really is.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.addresses[0]
    }

    /// Where the HTTP listener really is.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.addresses[1]
    }

    /// Where the health listener really is.
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.addresses[2]
    }

    /// Whether a record can be stored now (G15).
    pub fn is_ready(&self) -> bool {
        self.shared.board.ready.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Why not, or "ready".
    pub fn phase(&self) -> &'static str {
        *lock(&self.shared.board.phase)
    }

    pub fn account(&self) -> Account {
        self.shared.ledger.account()
    }

    /// A handle for recording without a socket; clone it for every thread.
    pub fn recorder(&self) -> Recorder {
        Recorder::new(self.shared.clone(), self.kafka_bell.clone(), self.clock, self.value_format)
    }

    /// A handle for asking from elsewhere.
    pub fn controller(&self) -> Controller {
        Controller { control: self.control.clone(), poll_bell: self.poll_bell.clone() }
    }

    /// Waits until everything accepted so far has ended. False: not within `timeout`.
    pub fn flush(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        let goal = self.shared.ledger.account().accepted;
        loop {
            let ended: u64 = self.shared.ledger.account().outcomes.iter().sum();
            if ended >= goal {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            self.kafka_bell.ring(true);
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Drains and ends: the account of everything.
    pub fn close(mut self) -> Result<Summary, StartError> {
        self.control.drain();
        self.poll_bell.ring_always();
        self.wait()
    }

    /// Waits for the end that somebody else asked for.
    pub fn wait(&mut self) -> Result<Summary, StartError> {
        let Some(thread) = self.poll_thread.take() else {
            return Err(StartError::System(io::Error::other("the gateway has ended already")));
        };
        let stats = match thread.join() {
            Ok(result) => result.map_err(StartError::System)?,
            Err(_) => return Err(StartError::System(io::Error::other("the poll thread panicked"))),
        };
        Ok(Summary {
            account: self.shared.ledger.account(),
            unread_bytes: stats.unread_bytes,
            cut_short: self.control.level() >= 2,
        })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if self.poll_thread.is_some() {
            self.control.drain();
            self.poll_bell.ring_always();
            let _ = self.wait();
        }
    }
}

/// What the HTTP sessions share.
#[cfg(feature = "http")]
fn web(options: &GatewayOptions) -> Result<Web, StartError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| StartError::System(io::Error::other(error.to_string())))?;
    Ok(Web::new(&options.http, options.buffer.max_records, seed))
}

#[cfg(not(feature = "http"))]
fn web(_: &GatewayOptions) -> Result<Web, StartError> {
    Ok(Web::default())
}

/// Routes may share a topic: it is written under one id.
#[cfg(feature = "http")]
fn share_topics(options: &mut GatewayOptions) {
    for route in [&mut options.http.events, &mut options.http.player_events] {
        route.topic = options.kafka.topics.own_id(route.topic);
    }
}

#[cfg(not(feature = "http"))]
fn share_topics(_: &mut GatewayOptions) {}

/// The mock cluster with all topics: it has no Admin API to make them through.
fn embedded(options: &KafkaOptions) -> Result<EmbeddedBroker, StartError> {
    let failed = |error: kafka::EmbeddedError| StartError::Embedded(error.to_string());
    let names: Vec<&str> = options.topics.names().into_iter().chain(options.beside()).collect();
    let partitions = |name| options.creation(name).partitions.unwrap_or(options.partitions);
    let (first, others) = names.split_first().ok_or(StartError::Embedded("no topic".into()))?;
    let broker = EmbeddedBroker::start(1, first, partitions(first), 1).map_err(failed)?;
    for name in others {
        broker.create_topic(name, partitions(name), 1).map_err(failed)?;
    }
    Ok(broker)
}

/// Raises the soft limit of open files as far as needed and allowed; how many connections that permits.
fn raise_file_limit(wanted: usize) -> usize {
    match rlimit::increase_nofile_limit(wanted as u64 + SPARE_DESCRIPTORS) {
        Ok(limit) => {
            let allowed = wanted.min(limit.saturating_sub(SPARE_DESCRIPTORS).max(1) as usize);
            if allowed < wanted {
                log::warn!(target: "gateway", "connections.limited wanted={wanted} allowed={allowed} hint=\"raise the hard limit of open files\"");
            }
            allowed
        }
        Err(error) => {
            log::warn!(target: "gateway", "file_limit.unchanged reason={}", quoted(&error));
            wanted
        }
    }
}
