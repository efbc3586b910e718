//! The hub over streams that exist in memory only: wake-ups, and whose turn it is.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use super::*;
use crate::event::Outcome;
use crate::handoff::{Address, BufferOptions, KafkaEnd, LaneView, RECORD_OVERHEAD_BYTES, Shared, crossing};
use crate::session::{AdminView, Web};

const NOW: Now = Now { us: 1_000, unix_ms: 1_000 };
const LINE: &str = "{\"lb\":\"g\",\"player\":\"p\",\"score\":1,\"ts_ms\":1}\n";

/// Both directions of a connection, as its peer sees them.
#[derive(Default)]
struct Wire {
    sent: VecDeque<u8>,
    ended: bool,
    got: Vec<u8>,
    /// Bytes that the peer's side still takes.
    takes: usize,
    /// 127.0.0.1 unless said otherwise.
    from: Option<SocketAddr>,
}

/// A stream whose peer is the test.
#[derive(Clone)]
struct Peer(Rc<RefCell<Wire>>);

impl Peer {
    fn new() -> Self {
        Self(Rc::new(RefCell::new(Wire { takes: usize::MAX, ..Wire::default() })))
    }

    fn send(&self, text: &str) {
        self.0.borrow_mut().sent.extend(text.as_bytes());
    }

    fn takes(&self, bytes: usize) {
        self.0.borrow_mut().takes = bytes;
    }

    fn got(&self) -> String {
        String::from_utf8(self.0.borrow().got.clone()).unwrap()
    }
}

impl Stream for Peer {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.peek(into)?;
        self.discard(count)?;
        Ok(count)
    }

    fn peek(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wire = self.0.borrow();
        if wire.sent.is_empty() && !wire.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = wire.sent.len().min(into.len());
        into.iter_mut().zip(&wire.sent).for_each(|(to, from)| *to = *from);
        Ok(count)
    }

    fn discard(&mut self, count: usize) -> io::Result<()> {
        self.0.borrow_mut().sent.drain(..count);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        let count = bytes.len().min(wire.takes);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        wire.takes -= count;
        wire.got.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn peer(&self) -> SocketAddr {
        self.0.borrow().from.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 1)))
    }
}

/// Answers every page with the same body.
struct Page(String);

impl AdminView for Page {
    fn health(&self, body: &mut String) -> bool {
        body.push_str(&self.0);
        true
    }
    fn ready(&self, body: &mut String) -> bool {
        self.health(body)
    }
    fn metrics(&self, body: &mut String) {
        body.push_str(&self.0);
    }
    fn state(&self, body: &mut String) {
        body.push_str(&self.0);
    }
    fn status(&self, body: &mut String) {
        body.push_str(&self.0);
    }
}

struct World {
    hub: Hub<Peer>,
    kafka: KafkaEnd,
}

impl World {
    fn new(max_records: usize, partial_bytes: usize) -> Self {
        Self::with(max_records, &NetOptions { partial_bytes, ..NetOptions::default() }, Arc::default())
    }

    fn with(max_records: usize, net: &NetOptions, http: Arc<HttpOptions>) -> Self {
        let shared = Shared::new(BufferOptions { max_records, max_bytes: 16 << 20 });
        let (poll, kafka) = crossing(&shared, Default::default(), Default::default());
        let hub = Hub::new(
            net,
            &TcpOptions::default(),
            http.clone(),
            Web::new(&http, max_records, [7; 32]),
            ValueFormat::default(),
            None,
            true,
            poll,
        );
        Self { hub, kafka }
    }

    fn connect(&mut self) -> (Peer, u32, u16) {
        let peer = Peer::new();
        let mut address = (0, 0);
        let register = |_: &mut Peer, slot, generation| {
            address = (slot, generation);
            Ok::<(), Infallible>(())
        };
        self.hub.add_tcp(peer.clone(), NOW, register).unwrap();
        (peer, address.0, address.1)
    }

    fn connect_admin(&mut self) -> (Peer, u32, u16) {
        let peer = Peer::new();
        let mut address = (0, 0);
        let register = |_: &mut Peer, slot, generation| {
            address = (slot, generation);
            Ok::<(), Infallible>(())
        };
        self.hub.add_admin(peer.clone(), NOW, register).unwrap();
        (peer, address.0, address.1)
    }

    fn turn(&mut self) {
        self.hub.take_reports(NOW);
        self.hub.read_turn(NOW);
        self.hub.serve_admins(&Page("x".repeat(10_000)), NOW);
        self.hub.write_turn(NOW);
    }

    /// What the Kafka thread does with a record that was stored: all that waits in the channel.
    fn store_all(&mut self) -> usize {
        let mut stored = 0;
        while let Some(batch) = self.kafka.next_batch() {
            let bytes = batch.records().iter().map(|record| record.accounted_bytes()).sum();
            assert!(bytes >= RECORD_OVERHEAD_BYTES * batch.len());
            self.kafka.shared.ledger.credit(Outcome::Stored, batch.len() as u64);
            self.kafka.shared.budget.give_back(batch.len(), bytes);
            stored += batch.len();
            self.kafka.recycle(batch);
        }
        self.kafka.publish();
        stored
    }

    fn lanes(&mut self, full: &[bool]) {
        self.kafka.show_lanes(Arc::new(LaneView::new(vec![full.to_vec()])));
        self.kafka.publish();
    }
}

/// The Kafka thread makes room while the poll thread is still in its turn: it rings for nobody then, so the poll
/// thread must see the room by itself before it sleeps.
#[test]
fn room_made_during_a_turn_is_seen_before_the_sleep() {
    let mut world = World::new(10, 16 << 20);
    let (peer, slot, generation) = world.connect();
    peer.send(&LINE.repeat(15));
    world.hub.readable(slot, generation, false);
    world.turn();
    assert!(!world.hub.has_turns(), "the buffer is full: nothing to do before there is room");
    assert_eq!(world.store_all(), 10);
    assert!(world.hub.has_turns(), "or the poll thread sleeps until its next tick");
    world.turn();
    assert_eq!(world.store_all(), 5);
}

/// Bytes are only looked at (tight), the record that was taken out of them waits for its lane, and nothing follows.
#[test]
fn a_parked_record_goes_on_although_its_sender_is_silent() {
    let mut world = World::new(100, 1);
    world.lanes(&[true]);
    let (peer, slot, generation) = world.connect();
    peer.send(LINE);
    world.hub.readable(slot, generation, false);
    world.turn();
    assert_eq!(world.store_all(), 0);
    world.lanes(&[false]);
    world.turn();
    assert_eq!(world.store_all(), 1);
    peer.send(LINE);
    world.hub.readable(slot, generation, false);
    world.turn();
    assert_eq!(world.store_all(), 1, "and the next bytes are read as ever");
}

/// Slots are used again: who waited in one for a lane must not wake whoever came after.
#[test]
fn a_lane_that_opens_wakes_only_those_who_wait_for_it() {
    let mut world = World::new(100, 16 << 20);
    world.lanes(&[true]);
    let (peer, slot, generation) = world.connect();
    peer.send(LINE);
    world.hub.readable(slot, generation, false);
    world.turn();
    world.hub.remove(slot, NOW);
    let successor = loop {
        let (peer, other, generation) = world.connect_admin();
        if other == slot {
            break (peer, other, generation);
        }
        world.hub.remove(other, NOW);
    };
    world.lanes(&[false]);
    successor.0.send("GET /state HTTP/1.1\r\nHost: a\r\n\r\n");
    world.turn();
    world.hub.readable(successor.1, successor.2, false);
    world.turn();
    assert!(successor.0.got().starts_with("HTTP/1.1 200"), "{:?}", successor.0.got());
}

/// More answers than are made at once: the requests that wait are served when the first answers are out.
#[test]
fn pipelined_requests_are_all_answered() {
    let mut world = World::new(100, 16 << 20);
    let (peer, slot, generation) = world.connect_admin();
    peer.send(&"GET /state HTTP/1.1\r\nHost: a\r\n\r\n".repeat(40));
    world.hub.readable(slot, generation, false);
    for _ in 0..100 {
        world.turn();
    }
    assert_eq!(peer.got().matches("HTTP/1.1 200").count(), 40);
}

/// The same with an end right behind the requests, and a peer that reads late.
#[test]
fn pipelined_requests_are_all_answered_before_the_end() {
    let mut world = World::new(100, 16 << 20);
    let (peer, slot, generation) = world.connect_admin();
    peer.send(&"GET /state HTTP/1.1\r\nHost: a\r\n\r\n".repeat(40));
    peer.0.borrow_mut().ended = true;
    peer.takes(0);
    world.hub.readable(slot, generation, true);
    for _ in 0..100 {
        world.turn();
        peer.takes(5_000);
        world.hub.writable(slot, generation);
    }
    assert_eq!(peer.got().matches("HTTP/1.1 200").count(), 40);
    assert_eq!(world.hub.admin_connections(), 0, "and then it is closed");
}

/// A connection that stops and goes on while nobody is read still has one turn, like all others.
#[test]
fn nobody_stands_in_line_twice() {
    let mut world = World::new(10, 16 << 20);
    let (peer, slot, generation) = world.connect();
    peer.send(&format!("#ack\n{}", LINE.repeat(30)));
    world.hub.readable(slot, generation, false);
    world.turn();
    for sequence in 1..=5 {
        // Answers come, writing them stops and goes on; the buffer stays full all the time.
        peer.takes(0);
        let to = Address { slot, generation, sequence };
        world.kafka.tell(Receipt::new(to, Outcome::Stored, Cause::Delivered));
        world.kafka.publish();
        world.turn();
        peer.takes(1_000);
        world.hub.writable(slot, generation);
        world.turn();
    }
    assert_eq!(peer.got(), "+ 1\n+ 2\n+ 3\n+ 4\n+ 5\n");
    assert_eq!(world.hub.ready.len(), 1);
}

/// Silent connections do not keep a probe out: the one that has been silent for longest goes.
#[test]
fn the_longest_silent_admin_connection_makes_room() {
    let mut world = World::new(10, 16 << 20);
    let connections: Vec<_> = (0..3).map(|_| world.connect_admin()).collect();
    for ((peer, slot, generation), us) in connections.iter().zip([3_000, 2_000, 4_000]) {
        peer.send("GET /he");
        world.hub.readable(*slot, *generation, false);
        world.hub.serve_admins(&Page(String::new()), Now { us, ..NOW });
    }
    world.hub.drop_oldest_admin(NOW);
    let left: Vec<_> =
        connections.iter().filter(|(_, slot, _)| world.hub.table.get(*slot).is_some()).collect();
    assert_eq!(
        left.iter().map(|(_, slot, _)| *slot).collect::<Vec<_>>(),
        [connections[0].1, connections[2].1]
    );
    assert_eq!(world.hub.admin_connections(), 2);
}

#[path = "web_tests.rs"]
mod web_tests;
