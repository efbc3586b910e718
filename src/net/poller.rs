//! The poll thread: the only sleeper on sockets, one loop with written phases.
//!
//! A turn: poll, receipts, accept, read and submit, admin, write, housekeeping, shutdown. Each phase is bounded,
//! none blocks. Never calls the Kafka client and never looks anything up.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token, Waker};

use super::hub::{Hub, HubStats};
use super::listener::{Accepted, Listener};
use super::stream::Socket;
use crate::event::quoted;
use crate::handoff::{Address, Bell, Clock, MAX_SLOTS, Sleep, unix_ms};
use crate::metrics::Throttle;
use crate::session::{AdminView, Now};

const WAKER: Token = Token(usize::MAX);
const TCP: Token = Token(usize::MAX - 1);
const HEALTH: Token = Token(usize::MAX - 2);
const HTTP: Token = Token(usize::MAX - 3);
/// Health connections at once, the one silent for longest makes room for the next; they do not count against the senders' limit.
const MAX_HEALTH_CONNECTIONS: usize = 64;
/// Slots that no sender gets: health connections, slots at rest, the embedding host.
const SPARE_SLOTS: usize = 256;
/// The loop looks around at least this often, in microseconds.
const TICK_US: u64 = 1_000_000;
/// Share of the drain time that reading may use; the rest is for delivering.
const READING_SHARE: f64 = 0.5;

/// What others ask of the poll thread; set a field, then wake it.
#[derive(Debug, Default)]
pub struct Control {
    /// 0 = run, 1 = drain, 2 = now.
    stop: AtomicU8,
    dump: AtomicBool,
}

impl Control {
    /// Asks for a drain; asked again it means "now".
    pub fn stop(&self) {
        let _ = self.stop.fetch_update(SeqCst, SeqCst, |level| (level < 2).then_some(level + 1));
    }

    /// Asks for a drain once, however often it is called.
    pub fn drain(&self) {
        let _ = self.stop.compare_exchange(0, 1, SeqCst, SeqCst);
    }

    /// Asks for a state dump in the log.
    pub fn dump(&self) {
        self.dump.store(true, SeqCst);
    }

    pub fn level(&self) -> u8 {
        self.stop.load(SeqCst)
    }
}

/// What the loop needs from above, without knowing who answers.
pub trait Host {
    /// What the health listener shows at this moment.
    fn view<'a>(&'a self, stats: &'a HubStats, draining: bool) -> Box<dyn AdminView + 'a>;
    /// Called about once a second.
    fn tick(&mut self, stats: &dyn Fn() -> HubStats, now: Now);
    /// SIGUSR1.
    fn dump(&mut self, stats: &HubStats);
    /// Whether the Kafka thread has ended and everything it reported can be read.
    fn kafka_has_ended(&self) -> bool;
}

/// Where a shutdown stands; each phase knows its deadline (gateway's clock, microseconds).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Read every connection out.
    Reading {
        until_us: u64,
        deadline_us: u64,
    },
    /// Nothing is read any more; the last batch waits for room in the channel.
    HandingOver {
        deadline_us: u64,
    },
    /// The Kafka thread delivers.
    Delivering {
        deadline_us: u64,
    },
    /// Last answers go out.
    Farewell {
        until_us: u64,
    },
    Done,
}

/// Sockets, loop and phase.
pub struct Poller {
    poll: Poll,
    hub: Hub<Socket>,
    tcp: Option<Listener>,
    http: Option<Listener>,
    health: Option<Listener>,
    max_connections: usize,
    drain_timeout: Duration,
    control: Arc<Control>,
    clock: Clock,
    bell: Bell,
    phase: Phase,
    next_tick_us: u64,
    accept_complaints: Throttle,
    /// (accepted, errors) of the listeners, which a drain closes before the end.
    tcp_counts: (u64, u64),
    http_counts: (u64, u64),
    turns: u64,
    idle_turns: u64,
}

/// Wakes a poll thread from another one.
pub fn install_waker(poll: &Poll, bell: &Bell) -> io::Result<()> {
    let waker = Waker::new(poll.registry(), WAKER)?;
    bell.install(move || {
        // A full eventfd counter means that a wake is pending: nothing to do.
        let _ = waker.wake();
    });
    Ok(())
}

impl Poller {
    #[allow(clippy::too_many_arguments)] // everything the loop owns, handed over once
    pub fn new(
        poll: Poll,
        hub: Hub<Socket>,
        mut tcp: Option<Listener>,
        mut http: Option<Listener>,
        mut health: Option<Listener>,
        max_connections: usize,
        drain_timeout: Duration,
        control: Arc<Control>,
        clock: Clock,
        bell: Bell,
    ) -> io::Result<Self> {
        for (listener, token) in [(&mut tcp, TCP), (&mut http, HTTP), (&mut health, HEALTH)] {
            if let Some(listener) = listener {
                poll.registry().register(listener.source(), token, Interest::READABLE)?;
            }
        }
        Ok(Self {
            poll,
            hub,
            tcp,
            http,
            health,
            max_connections: max_connections.min(MAX_SLOTS - SPARE_SLOTS),
            drain_timeout,
            control,
            clock,
            bell,
            phase: Phase::Running,
            next_tick_us: 0,
            accept_complaints: Throttle::new(1),
            tcp_counts: (0, 0),
            http_counts: (0, 0),
            turns: 0,
            idle_turns: 0,
        })
    }

    /// Runs until the shutdown is complete; the connections' last statistics.
    pub fn run(mut self, host: &mut dyn Host) -> io::Result<HubStats> {
        let mut events = Events::with_capacity(1024);
        while self.phase != Phase::Done {
            let had_work = self.sleep(&mut events)?;
            let now = self.now();
            self.turns += 1;
            self.idle_turns += u64::from(!had_work && self.is_idle(&events, now));
            self.take_events(&events);
            self.hub.take_reports(now);
            self.accept_turn(now);
            self.hub.read_turn(now);
            self.hub.http_turn(now);
            if self.hub.wants_view() {
                let stats = self.stats();
                let view = host.view(&stats, self.phase != Phase::Running);
                self.hub.serve_admins(view.as_ref(), now);
            }
            self.hub.clock_turn(now);
            self.hub.write_turn(now);
            self.housekeeping(host, now);
            // A phase may be over as soon as it begins: go on until one stays.
            while self.advance(host, now) {}
        }
        self.hub.close_all(self.now());
        Ok(self.stats())
    }

    fn now(&self) -> Now {
        Now { us: self.clock.now_us(), unix_ms: unix_ms() }
    }

    /// Whether nothing woke this turn but the clock, or a bell without news.
    fn is_idle(&self, events: &Events, now: Now) -> bool {
        events.iter().all(|event| event.token() == WAKER)
            && !self.hub.has_reports()
            && !self.hub.has_turns()
            && self.hub.next_moment_us().is_none_or(|due_us| due_us > now.us)
    }

    /// Phase "poll". Whether there was work before.
    fn sleep(&mut self, events: &mut Events) -> io::Result<bool> {
        self.bell.announce(Sleep::Asleep);
        let had_work = self.has_work();
        let timeout = match had_work {
            true => Duration::ZERO,
            false => Duration::from_micros(self.next_deadline_us().saturating_sub(self.clock.now_us())),
        };
        let result = self.poll.poll(events, Some(timeout));
        self.bell.announce(Sleep::Awake);
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(had_work),
            result => result.map(|()| had_work),
        }
    }

    fn has_work(&self) -> bool {
        let now_us = self.clock.now_us();
        self.hub.has_turns()
            || self.hub.has_reports()
            || (self.may_accept()
                && [&self.tcp, &self.http].into_iter().flatten().any(|listener| listener.wants_turn(now_us)))
            || self.health.as_ref().is_some_and(|listener| listener.wants_turn(now_us))
    }

    fn next_deadline_us(&self) -> u64 {
        let listeners = [&self.tcp, &self.http, &self.health].into_iter().flatten();
        let pauses = listeners.filter_map(|listener| listener.paused_until_us());
        let phase = match self.phase {
            Phase::Running => None,
            Phase::Reading { until_us, .. } | Phase::Farewell { until_us } => Some(until_us),
            Phase::HandingOver { .. } | Phase::Delivering { .. } => Some(self.clock.now_us() + 10_000),
            Phase::Done => Some(0),
        };
        pauses.chain(phase).chain(self.hub.next_moment_us()).fold(self.next_tick_us, u64::min)
    }

    fn take_events(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                WAKER => {}
                TCP => self.tcp.iter_mut().for_each(|listener| listener.is_ready = true),
                HTTP => self.http.iter_mut().for_each(|listener| listener.is_ready = true),
                HEALTH => self.health.iter_mut().for_each(|listener| listener.is_ready = true),
                Token(bits) => {
                    let (slot, generation) = unpack(bits);
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        let half_closed = event.is_read_closed() || event.is_error();
                        if event.is_error() {
                            self.hub.broken(slot, generation);
                        }
                        self.hub.readable(slot, generation, half_closed);
                    }
                    if event.is_writable() {
                        self.hub.writable(slot, generation);
                    }
                }
            }
        }
    }

    fn may_accept(&self) -> bool {
        self.hub.tcp_connections() + self.hub.http_connections() < self.max_connections
    }

    /// Phase "accept".
    fn accept_turn(&mut self, now: Now) {
        for is_http in [false, true] {
            for _ in 0..Listener::turn_size() {
                let allowed = self.may_accept();
                let listener = if is_http { &mut self.http } else { &mut self.tcp };
                let Some(listener) = listener.as_mut().filter(|l| allowed && l.wants_turn(now.us)) else {
                    break;
                };
                match listener.accept(now.us) {
                    Accepted::Connection(socket) if !self.hub.lets_in(socket.peer, is_http, now) => {}
                    Accepted::Connection(socket) => {
                        let registry = self.poll.registry();
                        let register = |socket: &mut Socket, slot, generation| {
                            register(registry, socket, slot, generation)
                        };
                        let result = match is_http {
                            false => self.hub.add_tcp(socket, now, register),
                            true => self.hub.add_http(socket, now, register),
                        };
                        if let Err(error) = result {
                            log::warn!(target: "net", "connection.refused reason={}", quoted(&error));
                        }
                    }
                    Accepted::Nobody => break,
                    Accepted::Exhausted(error) => {
                        if self.accept_complaints.allow(0, now.us / 1000) {
                            log::warn!(target: "net", "accept.paused reason={} hint=\"raise the limit of open files or lower MAX_CONNECTIONS\"", quoted(&error));
                        }
                        break;
                    }
                }
            }
        }
        for _ in 0..MAX_HEALTH_CONNECTIONS {
            let Some(listener) = self.health.as_mut().filter(|l| l.wants_turn(now.us)) else { break };
            let Accepted::Connection(socket) = listener.accept(now.us) else { break };
            // Or a few silent connections would keep every probe out.
            if self.hub.admin_connections() >= MAX_HEALTH_CONNECTIONS {
                self.hub.drop_oldest_admin(now);
            }
            let registry = self.poll.registry();
            let result = self.hub.add_admin(socket, now, |socket, slot, generation| {
                register(registry, socket, slot, generation)
            });
            if let Err(error) = result {
                log::warn!(target: "health", "connection.refused reason={}", quoted(&error));
            }
        }
    }

    fn housekeeping(&mut self, host: &mut dyn Host, now: Now) {
        if self.control.dump.swap(false, SeqCst) {
            host.dump(&self.stats());
        }
        if now.us < self.next_tick_us {
            return;
        }
        self.next_tick_us = now.us + TICK_US;
        self.hub.housekeeping(now);
        host.tick(&|| self.stats(), now);
    }

    /// Phase "shutdown": where a drain goes on to its next step.
    /// True: a step was made.
    fn advance(&mut self, host: &mut dyn Host, now: Now) -> bool {
        let level = self.control.level();
        let next = match self.phase {
            Phase::Running if level == 0 => Phase::Running,
            Phase::Running => self.start_drain(now),
            Phase::Reading { until_us, deadline_us } => {
                if self.hub.is_read_out() || now.us >= until_us || level >= 2 {
                    self.stop_reading(now, if level >= 2 { now.us } else { deadline_us })
                } else {
                    Phase::Reading { until_us, deadline_us }
                }
            }
            Phase::HandingOver { deadline_us } => {
                self.hand_over(if level >= 2 { now.us } else { deadline_us })
            }
            Phase::Delivering { deadline_us } => {
                if host.kafka_has_ended() {
                    self.hub.take_reports(now);
                    self.hub.write_turn(now);
                    Phase::Farewell { until_us: deadline_us.max(now.us + 100_000) }
                } else {
                    if level >= 2 {
                        self.hub.end.shared.close(now.us);
                        self.hub.end.alarm();
                    }
                    Phase::Delivering { deadline_us }
                }
            }
            Phase::Farewell { until_us } => {
                match self.hub.tcp_connections() + self.hub.http_connections() == 0
                    || now.us >= until_us
                    || level >= 2
                {
                    true => Phase::Done,
                    false => Phase::Farewell { until_us },
                }
            }
            Phase::Done => Phase::Done,
        };
        std::mem::replace(&mut self.phase, next) != next
    }

    fn start_drain(&mut self, now: Now) -> Phase {
        log::info!(target: "gateway", "gateway.drain timeout_ms={} connections={}", self.drain_timeout.as_millis(), self.hub.tcp_connections() + self.hub.http_connections());
        // Those in the accept queue were acknowledged by our kernel: they are taken in before the door closes.
        let listeners = [&mut self.tcp, &mut self.http];
        listeners.into_iter().flatten().for_each(|listener| listener.is_ready = true);
        while self.may_accept()
            && [&self.tcp, &self.http].into_iter().flatten().any(|listener| listener.wants_turn(now.us))
        {
            self.accept_turn(now);
        }
        for (listener, counts) in
            [(&mut self.tcp, &mut self.tcp_counts), (&mut self.http, &mut self.http_counts)]
        {
            if let Some(mut listener) = listener.take() {
                *counts = (listener.accepted, listener.errors);
                let _ = self.poll.registry().deregister(listener.source());
            }
        }
        self.hub.start_draining();
        let total_us = self.drain_timeout.as_micros() as u64;
        let until_us = now.us + (total_us as f64 * READING_SHARE) as u64;
        Phase::Reading { until_us, deadline_us: now.us + total_us }
    }

    fn stop_reading(&mut self, now: Now, deadline_us: u64) -> Phase {
        self.hub.stop_reading(now);
        self.hand_over(deadline_us)
    }

    /// Only once the last batch is over may the Kafka thread hear that nothing follows.
    fn hand_over(&mut self, deadline_us: u64) -> Phase {
        if !self.hub.submit_rest() {
            return Phase::HandingOver { deadline_us };
        }
        self.hub.end.shared.close(deadline_us);
        self.hub.end.alarm();
        Phase::Delivering { deadline_us }
    }

    fn stats(&self) -> HubStats {
        let mut stats = self.hub.stats();
        let counts =
            |listener: &Option<Listener>, last| listener.as_ref().map_or(last, |l| (l.accepted, l.errors));
        let (tcp, http) = (counts(&self.tcp, self.tcp_counts), counts(&self.http, self.http_counts));
        (stats.accepted_connections, stats.http_accepted) = (tcp.0, http.0);
        stats.accept_errors = tcp.1 + http.1;
        stats.health_accepted = self.health.as_ref().map_or(0, |listener| listener.accepted);
        (stats.loop_turns, stats.loop_idle_turns) = (self.turns, self.idle_turns);
        stats
    }

    /// Addresses that were really bound: TCP, HTTP, health.
    pub fn addresses(&self) -> [Option<SocketAddr>; 3] {
        [&self.tcp, &self.http, &self.health].map(|listener| listener.as_ref().map(Listener::address))
    }
}

fn register(registry: &mio::Registry, socket: &mut Socket, slot: u32, generation: u16) -> io::Result<()> {
    registry.register(
        &mut socket.stream,
        Token(pack(slot, generation)),
        Interest::READABLE | Interest::WRITABLE,
    )
}

/// Slot and generation as an event's token. Below the fixed tokens: a slot has 20 bits.
fn pack(slot: u32, generation: u16) -> usize {
    (slot as usize) << 16 | usize::from(generation)
}

fn unpack(bits: usize) -> (u32, u16) {
    ((bits >> 16) as u32, (bits as u16) & (Address::GENERATION_MODULUS - 1) as u16)
}
