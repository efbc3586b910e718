//! Many keep-alive connections from a few threads. Each thread turns over its connections: writes requests, several
//! under way at a time, takes answers in whatever order the connections have them, notes what was told, and sends
//! requests with a key again until something certain is known.
//!
//! Requests that wait for delivery and those that do not go over connections of their own: an answer that takes the
//! length of an outage holds up those behind it.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::gate::{Gate, Turn};
use crate::mix::Plan;
use crate::support::Answer;
use crate::told::{self, Telling};

const THREADS: usize = 4;
/// Connections of a thread for each kind, and requests that one has under way at most.
const CONNECTIONS: usize = 16;
const DEPTH: usize = 16;
/// A thread looks for new requests at least this often while others are under way.
const LOOK: Duration = Duration::from_millis(2);
/// A request with a key is sent again after so long, and so often.
const PAUSE: Duration = Duration::from_millis(300);
const ATTEMPTS: u8 = 20;

/// What all senders have to tell.
#[derive(Default)]
pub struct Heard {
    /// One for each event and attempt.
    pub tellings: Vec<(u64, Telling)>,
    /// Requests written, those sent again included.
    pub requests: u64,
    pub again: u64,
    /// Requests that were written, whose sender stayed, and that have no answer.
    pub cut: Vec<u64>,
    /// Connections that ended with `Connection: close`, and requests that were written behind it.
    pub closed: u64,
    pub behind: u64,
}

impl Heard {
    pub fn add(&mut self, other: Heard) {
        self.tellings.extend(other.tellings);
        self.cut.extend(other.cut);
        self.requests += other.requests;
        self.again += other.again;
        self.closed += other.closed;
        self.behind += other.behind;
    }
}

pub struct Senders {
    threads: Vec<JoinHandle<Heard>>,
}

impl Senders {
    pub fn start(address: SocketAddr, gate: &Arc<Gate>) -> Senders {
        let spawn = |_| {
            let sender = Sender {
                address,
                gate: Arc::clone(gate),
                poll: Poll::new().expect("a poll"),
                connections: (0..2 * CONNECTIONS).map(|_| Connection::default()).collect(),
                under_way: 0,
                again: VecDeque::new(),
                heard: Heard::default(),
            };
            std::thread::spawn(move || sender.run())
        };
        Senders { threads: (0..THREADS).map(spawn).collect() }
    }

    /// Waits for the last answers; the gate has to be closed.
    pub fn wait(self) -> Heard {
        let mut all = Heard::default();
        self.threads.into_iter().for_each(|thread| all.add(thread.join().expect("a sender ends well")));
        all
    }
}

/// A request, and how often it was sent before.
#[derive(Clone, Copy)]
struct Attempt {
    plan: Plan,
    before: u8,
}

#[derive(Default)]
struct Connection {
    stream: Option<TcpStream>,
    out: Vec<u8>,
    read: Vec<u8>,
    /// Written or about to be, oldest first.
    under_way: VecDeque<Attempt>,
    /// Those of them that the gate granted and that are not written.
    unwritten: u64,
    /// It is closed, without reading on, once all is written.
    walks_away: bool,
}

struct Sender {
    address: SocketAddr,
    gate: Arc<Gate>,
    poll: Poll,
    /// Those for requests that wait first.
    connections: Vec<Connection>,
    under_way: usize,
    /// Those to be sent again, and when.
    again: VecDeque<(Instant, Attempt)>,
    heard: Heard,
}

impl Sender {
    fn run(mut self) -> Heard {
        let mut events = Events::with_capacity(2 * CONNECTIONS);
        loop {
            let is_over = self.take();
            if is_over && self.under_way == 0 {
                return self.heard;
            }
            (0..self.connections.len()).for_each(|place| self.write(place));
            if self.under_way > 0 {
                self.poll.poll(&mut events, Some(LOOK)).expect("poll works");
                events.iter().for_each(|event| self.read(event.token().0));
            }
        }
    }

    /// Takes new requests, and old ones that are due, as far as there is room for either kind; whether none will come.
    fn take(&mut self) -> bool {
        let room = |connections: &[Connection]| -> usize {
            connections.iter().map(|connection| DEPTH - connection.under_way.len()).sum()
        };
        let (waiting, others) = self.connections.split_at(CONNECTIONS);
        let mut room = room(waiting).min(room(others));
        let now = Instant::now();
        if self.gate.is_closed() {
            self.again.clear();
        }
        while room > 0 && self.again.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, attempt)) = self.again.pop_front() else { break };
            self.put(attempt, false);
            room -= 1;
        }
        // Only somebody who has nothing to do waits for more.
        let until = match self.again.front() {
            _ if self.under_way > 0 => Some(now),
            due => due.map(|(due, _)| *due),
        };
        match self.gate.take(room as u64, until) {
            Turn::Send(requests) => {
                requests.for_each(|request| self.put(Attempt { plan: Plan::of(request), before: 0 }, true));
                false
            }
            Turn::Wake => false,
            Turn::End => true,
        }
    }

    /// Gives a request to the least busy connection of its kind.
    fn put(&mut self, attempt: Attempt, is_new: bool) {
        let first = if attempt.plan.waits { 0 } else { CONNECTIONS };
        let places = first..first + CONNECTIONS;
        let place = places.min_by_key(|place| self.connections[*place].under_way.len()).expect("some");
        let connection = &mut self.connections[place];
        connection.out.extend(attempt.plan.bytes());
        connection.walks_away |= attempt.plan.walks_away && attempt.before == 0;
        connection.unwritten += u64::from(is_new);
        connection.under_way.push_back(attempt);
        self.under_way += 1;
        self.heard.requests += 1;
        self.heard.again += u64::from(!is_new);
    }

    fn write(&mut self, place: usize) {
        let connection = &mut self.connections[place];
        if connection.out.is_empty() {
            return;
        }
        if connection.stream.is_none() && !self.connect(place) {
            // Nobody listens any more: these were never sent.
            let unsent = self.reset(place).len() as u64;
            self.heard.requests -= unsent;
            return;
        }
        let connection = &mut self.connections[place];
        let Some(stream) = &mut connection.stream else { return };
        while !connection.out.is_empty() {
            match stream.write(&connection.out) {
                Ok(count) => drop(connection.out.drain(..count)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                // The gateway has closed: what it said before is still to be read.
                Err(_) => connection.out.clear(),
            }
        }
        self.gate.wrote(std::mem::take(&mut connection.unwritten));
        if connection.walks_away {
            self.end(place, true);
        }
    }

    fn connect(&mut self, place: usize) -> bool {
        let Ok(stream) = std::net::TcpStream::connect(self.address) else { return false };
        stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).expect("options of a socket");
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(place), interest).expect("a socket can be watched");
        self.connections[place].stream = Some(stream);
        true
    }

    fn read(&mut self, place: usize) {
        let connection = &mut self.connections[place];
        let Some(stream) = &mut connection.stream else { return };
        let mut area = [0; 64 << 10];
        let is_ended = loop {
            match stream.read(&mut area) {
                Ok(0) => break true,
                Ok(count) => connection.read.extend_from_slice(&area[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break false,
                Err(_) => break true,
            }
        };
        let mut answers = Vec::new();
        while let Some(answer) = Answer::take(&mut connection.read, true) {
            answers.push(answer);
        }
        for answer in answers {
            let attempt = self.connections[place].under_way.pop_front();
            let attempt = attempt.unwrap_or_else(|| panic!("an answer to nothing: {answer:?}"));
            self.under_way -= 1;
            self.note(attempt, &told::read(&attempt.plan, &answer));
            if answer.closes() {
                self.heard.closed += 1;
                return self.close(place);
            }
        }
        if is_ended {
            self.end(place, false);
        }
    }

    /// The gateway has said that nothing follows: what was written behind is not looked at (RFC 9112, 9.6).
    fn close(&mut self, place: usize) {
        for attempt in self.reset(place) {
            self.heard.behind += 1;
            self.note(attempt, &vec![Telling::NotStored; attempt.plan.events as usize]);
        }
    }

    /// The connection is gone, and nobody knows what became of what was under way.
    fn end(&mut self, place: usize, by_us: bool) {
        for attempt in self.reset(place) {
            if !by_us {
                self.heard.cut.push(attempt.plan.request);
            }
            self.note(attempt, &vec![Telling::Unanswered; attempt.plan.events as usize]);
        }
    }

    fn reset(&mut self, place: usize) -> VecDeque<Attempt> {
        let connection = std::mem::take(&mut self.connections[place]);
        assert!(
            connection.read.is_empty(),
            "an answer was cut short: {:?}",
            String::from_utf8_lossy(&connection.read)
        );
        self.gate.wrote(connection.unwritten);
        self.under_way -= connection.under_way.len();
        connection.under_way
    }

    fn note(&mut self, attempt: Attempt, tellings: &[Telling]) {
        self.heard.tellings.extend(attempt.plan.numbers().zip(tellings.iter().copied()));
        let is_open = |telling: &Telling| {
            matches!(telling, Telling::NotStored | Telling::Unknown | Telling::Unanswered)
        };
        if attempt.plan.is_keyed && attempt.before < ATTEMPTS && tellings.iter().any(is_open) {
            self.again.push_back((Instant::now() + PAUSE, Attempt { before: attempt.before + 1, ..attempt }));
        }
    }
}
