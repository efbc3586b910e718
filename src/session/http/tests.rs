//! HTTP sessions without a socket: bytes, receipts and time are arguments.

use super::*;
use crate::admission::{AdmissionOptions, Door};
use crate::event::Outcome;
use crate::handoff::{Batch, Cause, LaneView, Room, Tally, Target};
use crate::pipeline::{Pipeline, ValueFormat};
use crate::session::{Rejects, Web};

pub(super) const STORE: usize = 4096;

/// What all sessions share.
pub(super) struct World {
    pub options: Arc<HttpOptions>,
    pub batch: Batch,
    pub tally: Tally,
    room: Room,
    lanes: LaneView,
    pipeline: Pipeline,
    rejects: Rejects,
    door: Door,
    pub web: Web,
    pub now_us: u64,
}

impl World {
    pub fn new() -> Self {
        let options =
            HttpOptions { max_body_bytes: STORE, body_store_bytes: STORE, ..HttpOptions::default() };
        Self {
            web: Web::new(&options, 10_000, [7; 32]),
            options: Arc::new(options),
            batch: Batch::default(),
            tally: Tally::default(),
            room: Room { records: 10_000, bytes: 16 << 20 },
            lanes: LaneView::default(),
            pipeline: Pipeline::new(ValueFormat::default()),
            rejects: Rejects::new(false),
            door: Door::new(&AdmissionOptions::default()),
            now_us: 1_000_000,
        }
    }

    fn now(&self) -> Now {
        Now { us: self.now_us, unix_ms: 1_700_000_000_000 }
    }

    pub fn peer(&self) -> Peer {
        Peer {
            session: HttpSession::new(self.options.clone(), None, self.web.responses.clone(), self.now()),
            kept: Vec::new(),
        }
    }

    /// Shows the peer's session what came, and keeps what it does not take.
    pub fn feed(&mut self, peer: &mut Peer, bytes: impl AsRef<[u8]>, eof: bool) -> Option<Stop> {
        peer.kept.extend_from_slice(bytes.as_ref());
        let now = self.now();
        let mut intake = Intake {
            batch: &mut self.batch,
            tally: &mut self.tally,
            room: &mut self.room,
            answers_room: &mut 0,
            lanes: &self.lanes,
            pipeline: &mut self.pipeline,
            rejects: &mut self.rejects,
            now,
            max_record_bytes: &[],
            web: &mut self.web,
            peer: ([127, 0, 0, 1], 1).into(),
            door: &mut self.door,
            component: "http",
        };
        let progress = peer.session.receive(&peer.kept, eof, (3, 5), &mut intake);
        peer.kept.drain(..progress.consumed);
        progress.stop
    }

    /// Addresses of the records that wait for somebody, in the order of acceptance; the batch is empty afterwards.
    pub fn addresses(&mut self) -> Vec<Address> {
        let targets = self.batch.records().iter().map(|record| record.token.target());
        let found = targets.filter_map(|target| match target {
            Target::Peer(address) => Some(address),
            Target::Nobody { .. } => None,
        });
        let found = found.collect();
        self.batch = Batch::default();
        found
    }

    pub fn on_time(&mut self, peer: &mut Peer) -> bool {
        peer.session.on_time(self.now_us, &mut self.web.body_room)
    }
}

pub(super) struct Peer {
    pub session: HttpSession,
    pub kept: Vec<u8>,
}

impl Peer {
    /// What may be written now.
    pub fn said(&mut self) -> String {
        let mut out = Vec::new();
        self.session.write_answers(&mut out);
        String::from_utf8(out).expect("text")
    }

    /// The statuses of the answers that may be written now.
    pub fn statuses(&mut self) -> Vec<u16> {
        statuses(&self.said())
    }

    pub fn settle(&mut self, to: Address, outcome: Outcome, now_us: u64) -> Option<u64> {
        let cause = match outcome {
            Outcome::Stored => Cause::Delivered,
            _ => Cause::DeadlinePassed,
        };
        self.session.settle(&Receipt::new(to, outcome, cause), now_us)
    }
}

pub(super) fn statuses(said: &str) -> Vec<u16> {
    // A page may speak of the protocol as well.
    said.match_indices("HTTP/1.1 ").filter_map(|(at, _)| said.get(at + 9..at + 12)?.parse().ok()).collect()
}

pub(super) fn post(target: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

pub(super) fn announce(length: usize) -> String {
    format!("POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
}

pub(super) const CHUNKS: &str = "POST /events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// However the receipts come, an answer is there once its own records have ended and all before it are answered.
#[test]
fn answers_come_in_the_order_of_requests() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut world, mut input) = (World::new(), String::new());
        let mut peer = world.peer();
        // Of each request: its status, and how many of its records are open.
        let mut requests: Vec<(u16, usize)> = Vec::new();
        for at in 0..random.usize(1..40) {
            let id = format!(r#"{{"id":"{at}"}}"#);
            let (text, status, open) = match random.u8(..5) {
                0 => (post("/events", &id), 202, 0),
                1 => (post("/nowhere", &id), 404, 0),
                2 => (post("/events?ack=delivered", &format!("[{id},7,{id}]")), 207, 2),
                _ => (post("/events?ack=delivered", &id), 200, 1),
            };
            input.push_str(&text);
            requests.push((status, open));
        }
        for piece in input.as_bytes().chunks(random.usize(1..2000)) {
            assert_eq!(world.feed(&mut peer, piece, false), None);
        }
        let mut owners: Vec<usize> = Vec::new();
        for (at, (_, open)) in requests.iter().enumerate() {
            owners.extend(std::iter::repeat_n(at, *open));
        }
        let mut receipts: Vec<_> = world.addresses().into_iter().zip(owners).collect();
        random.shuffle(&mut receipts);
        let mut told = peer.statuses();
        loop {
            let certain = requests.iter().take_while(|(_, open)| *open == 0).map(|(status, _)| *status);
            assert_eq!(told, certain.collect::<Vec<_>>(), "seed {seed}");
            let Some((address, owner)) = receipts.pop() else { break };
            assert_eq!(peer.settle(address, Outcome::Stored, world.now_us + 70), Some(70));
            assert_eq!(peer.settle(address, Outcome::NotStored, world.now_us), None, "once and no more");
            requests[owner].1 -= 1;
            told.extend(peer.statuses());
        }
        assert!(told.len() == requests.len() && peer.session.is_settled() && peer.session.held == 0);
    }
}

/// The Kafka thread has a grace after the deadline to say `not_stored`; only then is silence `unknown`.
#[test]
fn a_deadline_has_its_grace_and_its_last_word() {
    let mut world = World::new();
    let mut peer = world.peer();
    let deadline_us = world.now_us + 300_000;
    for _ in 0..2 {
        world.feed(&mut peer, post("/events?ack=delivered&timeout=300ms", "{}"), false);
    }
    let patience: Vec<_> = world.batch.records().iter().map(|record| record.shape.patience).collect();
    assert_eq!(patience, [30, 30], "what waits on our side is taken out after 300 ms");
    let addresses = world.addresses();
    assert_eq!(peer.session.due_us(), deadline_us + GRACE_US);
    world.now_us = deadline_us + GRACE_US - 1;
    assert!(!world.on_time(&mut peer) && peer.said().is_empty());
    peer.settle(addresses[0], Outcome::NotStored, world.now_us);
    let said = peer.said();
    assert!(said.starts_with("HTTP/1.1 503 ") && said.contains(r#""outcome":"not_stored""#), "{said}");
    world.now_us += 1;
    assert!(!world.on_time(&mut peer));
    let said = peer.said();
    assert!(said.starts_with("HTTP/1.1 504 ") && said.contains(r#""outcome":"unknown""#), "{said}");
    assert_eq!(peer.settle(addresses[1], Outcome::Stored, world.now_us), None);
    assert!(peer.said().is_empty(), "what was told stays told");
}

/// Whatever ends a wait, the next moment to look is in the future, or the loop would spin.
#[test]
fn an_idle_time_shorter_than_a_wait_begins_behind_it() {
    let mut world = World::new();
    let idle_us = 1_000;
    let idle_timeout = std::time::Duration::from_micros(idle_us);
    world.options = Arc::new(HttpOptions { idle_timeout, ..(*world.options).clone() });
    let mut peer = world.peer();
    for ends_by_receipt in [true, false] {
        world.feed(&mut peer, post("/events?ack=delivered&timeout=300ms", "{}"), false);
        let address = world.addresses()[0];
        world.now_us += 300_000 + GRACE_US;
        if ends_by_receipt {
            peer.settle(address, Outcome::Stored, world.now_us);
        }
        assert!(!world.on_time(&mut peer), "{ends_by_receipt}");
        assert_eq!(peer.session.due_us(), world.now_us + idle_us);
        assert_eq!(peer.statuses(), [if ends_by_receipt { 200 } else { 504 }]);
    }
    world.now_us += idle_us;
    assert!(world.on_time(&mut peer), "now it is closed");
}

/// Numbers of records wrap far beyond what may be open, and each receipt still finds its own.
#[test]
fn numbers_wrap() {
    for start in [Address::SEQUENCE_MODULUS - 3, 5 * Address::SEQUENCE_MODULUS - 1] {
        let mut world = World::new();
        let mut peer = world.peer();
        peer.session.next = start;
        for _ in 0..6 {
            world.feed(&mut peer, post("/events?ack=delivered", "[{},{}]"), false);
        }
        let mut addresses = world.addresses();
        assert!(addresses.iter().any(|address| address.sequence == 0), "{addresses:?}");
        addresses.reverse();
        for address in addresses {
            assert!(peer.settle(address, Outcome::Stored, world.now_us).is_some(), "{address:?}");
        }
        assert_eq!(peer.statuses(), [200; 6]);
        let stray = Address { slot: 3, generation: 5, sequence: 77 };
        assert_eq!(peer.settle(stray, Outcome::Stored, world.now_us), None);
    }
}

/// So many answers wait, and no further request is taken before the first of them is certain; refusals count.
#[test]
fn pipelining_has_a_limit() {
    let mut world = World::new();
    let mut peer = world.peer();
    let input: String = (0..200)
        .map(|at| post(if at % 2 == 0 { "/events?ack=delivered" } else { "/nowhere" }, "{}"))
        .collect();
    assert_eq!(world.feed(&mut peer, input, false), Some(Stop::Answers));
    assert_eq!(peer.session.answers.len(), WAITING_MAX);
    assert!(peer.session.is_answer_bound(0) && peer.said().is_empty());
    let mut told = Vec::new();
    while told.len() < 200 {
        let addresses = world.addresses();
        assert!(!addresses.is_empty(), "{told:?}");
        for address in addresses {
            peer.settle(address, Outcome::Stored, world.now_us);
        }
        told.extend(peer.statuses());
        let stop = world.feed(&mut peer, "", false);
        assert_eq!(stop.is_some(), peer.session.answers.len() == WAITING_MAX);
        told.extend(peer.statuses());
    }
    assert!(told.chunks(2).all(|pair| pair == [200, 404]), "{told:?}");
}

/// Large answers that wait count by their size.
#[test]
fn waiting_answers_are_bounded_in_bytes() {
    let mut world = World::new();
    let mut peer = world.peer();
    world.feed(&mut peer, post("/events?ack=delivered", "{}"), false);
    let refused = format!("[{}0]", "0,".repeat(1500));
    let stop = world.feed(&mut peer, post("/events?ack=delivered", &refused).repeat(60), false);
    assert_eq!(stop, Some(Stop::Answers));
    assert!(peer.session.answers.len() < 20, "{}", peer.session.answers.len());
    let most = 1500 * size_of::<Item>() * 2;
    assert!((HELD_BYTES_MAX..HELD_BYTES_MAX + most).contains(&peer.session.held), "{}", peer.session.held);
}

/// A page is not asked for again while so much of the last ones waits to be written, however large one of them is.
#[test]
fn pages_wait_for_their_connection() {
    let mut world = World::new();
    let mut peer = world.peer();
    let asked = "GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20);
    let mut stop = world.feed(&mut peer, asked, false);
    let mut told = 0;
    while stop.is_some() {
        if stop == Some(Stop::View) {
            peer.session.show(&Blind, world.web.answers_held);
        } else {
            assert_eq!(stop, Some(Stop::Answers));
            assert!(peer.session.ready.len() < OUT_BYTES_MAX + OPENAPI.len() + 1024);
            let said = peer.said();
            assert!(said.ends_with(OPENAPI));
            told += said.matches("HTTP/1.1 200 OK\r\n").count();
        }
        stop = world.feed(&mut peer, "", false);
    }
    assert_eq!(told + peer.said().matches("HTTP/1.1 200 OK\r\n").count(), 20);
}

/// The description is the same whatever there is to be seen.
struct Blind;

impl AdminView for Blind {
    fn health(&self, _: &mut String) -> bool {
        unreachable!("it is not asked for")
    }
    fn ready(&self, _: &mut String) -> bool {
        unreachable!("it is not asked for")
    }
    fn metrics(&self, _: &mut String) {}
    fn state(&self, _: &mut String) {}
    fn status(&self, _: &mut String) {}
}

/// A drain: the last answer of a connection says that it is the last, the ones before it do not.
#[test]
fn the_last_answer_of_a_drain_says_so() {
    let mut world = World::new();
    let mut peer = world.peer();
    for _ in 0..3 {
        world.feed(&mut peer, post("/events?ack=delivered", "{}"), false);
    }
    peer.session.drain();
    let addresses = world.addresses();
    for (at, address) in addresses.into_iter().enumerate() {
        peer.settle(address, Outcome::Stored, world.now_us);
        assert_eq!(peer.said().contains("Connection: close"), at == 2, "{at}");
    }
    assert!(peer.session.is_over() && peer.session.is_settled());
    world.feed(&mut peer, post("/events", "{}"), false);
    assert!(peer.said().is_empty() && world.batch.is_empty(), "nothing is taken behind it");
}

/// A request that comes while the drain reads is answered, and its answer is the last.
#[test]
fn a_drain_takes_one_more_request() {
    let mut world = World::new();
    let mut peer = world.peer();
    peer.session.drain();
    world.feed(&mut peer, post("/events", "{}").repeat(3), false);
    let said = peer.said();
    assert_eq!((statuses(&said), said.contains("Connection: close")), (vec![202], true));
    assert!(peer.session.is_over() && peer.kept.is_empty());
}

/// The room was there when the head came and is gone when the body is whole: nothing is taken beyond it.
#[test]
fn room_is_looked_at_again_when_a_body_is_whole() {
    for room in [Room { records: 0, bytes: 1000 }, Room { records: 1000, bytes: 0 }] {
        let mut world = World::new();
        let mut peer = world.peer();
        world.feed(&mut peer, announce(2), false);
        world.room = room;
        world.feed(&mut peer, "{}", false);
        assert_eq!((peer.statuses(), world.batch.is_empty()), (vec![503], true), "{room:?}");
        assert_eq!((world.tally.accepted, world.tally.turned_away), (1, 1));
    }
}

/// Who goes before being told `not_stored` has lost a record, and that is counted.
#[test]
fn what_was_never_told_is_counted() {
    let mut world = World::new();
    let mut peer = world.peer();
    for _ in 0..2 {
        world.feed(&mut peer, post("/events?ack=delivered", "{}"), false);
    }
    let addresses = world.addresses();
    peer.settle(addresses[1], Outcome::NotStored, world.now_us);
    assert_eq!(
        (peer.session.untold(0), peer.said().len()),
        (1, 0),
        "the first one's answer is not there yet"
    );
    peer.settle(addresses[0], Outcome::Stored, world.now_us);
    assert_eq!(peer.session.untold(0), 1, "it is made, and not written");
    let mut out = Vec::new();
    peer.session.write_answers(&mut out);
    assert_eq!([0, 1, out.len()].map(|unwritten| peer.session.untold(unwritten)), [0, 1, 1]);
    // The first bytes are out, and answers of another request come behind the rest.
    world.feed(&mut peer, post("/nowhere", "{}"), false);
    peer.session.write_answers(&mut out);
    let behind =
        out.len() - (out.windows(12).rposition(|bytes| bytes == b"HTTP/1.1 404").expect("its answer"));
    assert_eq!([behind, behind + 1].map(|unwritten| peer.session.untold(unwritten)), [0, 1]);
    peer.session.write_answers(&mut Vec::new());
    assert!(peer.session.telling.is_empty(), "nothing is kept of what is written");
}

/// A batch asks to come again if any of its events found no room, whatever became of the others.
#[test]
fn a_batch_says_when_to_come_again() {
    use Outcome::{NotStored, Stored, Unknown};
    for (ends, waits) in
        [([Stored, Stored], false), ([Stored, NotStored], true), ([NotStored, Unknown], true)]
    {
        let mut world = World::new();
        let mut peer = world.peer();
        world.feed(&mut peer, post("/events?ack=delivered", "[{},{}]"), false);
        for (address, outcome) in world.addresses().into_iter().zip(ends) {
            peer.settle(address, outcome, world.now_us);
        }
        assert_eq!(peer.said().contains("Retry-After: "), waits, "{ends:?}");
    }
}
