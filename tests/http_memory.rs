//! What HTTP peers can make the gateway hold, measured by an allocator that counts what is in use, against the worst
//! case that `sluice check-config` prints: thousands of connections that ask and never read, over the real hub.

#![cfg(feature = "http")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use sluice::config::memory::CONNECTION_BYTES;
use sluice::handoff::{Bell, BufferOptions, Cause, KafkaEnd, Receipt, Shared, Target, crossing};
use sluice::net::{Hub, NetOptions, Stream};
use sluice::pipeline::ValueFormat;
use sluice::session::{ANSWER_FREE_BYTES, HttpOptions, Now, TcpOptions, Web};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

fn grow(bytes: usize) {
    let live = LIVE.fetch_add(bytes, SeqCst) + bytes;
    PEAK.fetch_max(live, SeqCst);
}

// SAFETY: every call goes to the system's allocator with the arguments unchanged; counting touches atomics only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, memory: Layout) -> *mut u8 {
        grow(memory.size());
        // SAFETY: promised by the caller.
        unsafe { System.alloc(memory) }
    }

    unsafe fn dealloc(&self, place: *mut u8, memory: Layout) {
        LIVE.fetch_sub(memory.size(), SeqCst);
        // SAFETY: promised by the caller; `place` came from `System`.
        unsafe { System.dealloc(place, memory) }
    }

    unsafe fn realloc(&self, place: *mut u8, memory: Layout, size: usize) -> *mut u8 {
        // Both exist while one is copied.
        grow(size);
        // SAFETY: promised by the caller; `place` came from `System`.
        let moved = unsafe { System.realloc(place, memory, size) };
        LIVE.fetch_sub(memory.size(), SeqCst);
        moved
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A peer that sends the same requests for ever and never reads an answer.
struct Deaf {
    text: Rc<[u8]>,
    at: usize,
}

impl Stream for Deaf {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = into.len().min(self.text.len() - self.at);
        into[..count].copy_from_slice(&self.text[self.at..self.at + count]);
        self.at = (self.at + count) % self.text.len();
        Ok(count)
    }

    fn peek(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let at = self.at;
        let count = self.read(into)?;
        self.at = at;
        Ok(count)
    }

    fn discard(&mut self, count: usize) -> io::Result<()> {
        self.at = (self.at + count) % self.text.len();
        Ok(())
    }

    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn peer(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }
}

fn post(target: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

const CONNECTIONS: usize = 4000;
const STORE: usize = 4 << 20;
const PARTIAL: usize = 2 << 20;
const BODIES: usize = 1 << 20;
const BUFFER: BufferOptions = BufferOptions { max_records: 10_000, max_bytes: 4 << 20 };
/// Batches between the threads, the read scratch.
const OTHERS: usize = 3 << 20;

/// Ends whatever the gateway has taken as stored, or leaves it.
fn deliver(kafka: &mut KafkaEnd) {
    while let Some(batch) = kafka.next_batch() {
        for record in batch.records() {
            kafka.shared.ledger.credit(sluice::event::Outcome::Stored, 1);
            kafka.shared.budget.give_back(1, record.accounted_bytes());
            if let Target::Peer(to) = record.token.target() {
                kafka.tell(Receipt::new(to, sluice::event::Outcome::Stored, Cause::Delivered));
            }
        }
        kafka.recycle(batch);
    }
    kafka.publish();
}

/// The most that is in use while so many peers send this, and what the sum allows.
fn flood(text: &str, delivers: bool) -> (usize, usize) {
    let before = LIVE.load(SeqCst);
    PEAK.store(before, SeqCst);
    let shared = Shared::new(BUFFER);
    let (poll, mut kafka) = crossing(&shared, Bell::default(), Bell::default());
    let options =
        HttpOptions { answer_store_bytes: STORE, body_store_bytes: BODIES, ..HttpOptions::default() };
    let http = Arc::new(options.clone());
    let net = NetOptions { partial_bytes: PARTIAL, ..NetOptions::default() };
    let web = Web::new(&options, BUFFER.max_records, [7; 32]);
    let (tcp, format) = (TcpOptions::default(), ValueFormat::Protobuf);
    let mut hub = Hub::new(&net, &tcp, http, web, format, None, false, poll);
    let text: Rc<[u8]> = text.as_bytes().into();
    let mut now = Now { us: 1, unix_ms: 1 };
    for at in 0..CONNECTIONS {
        // Half of them begin somewhere in the middle, and are refused.
        let at = if at % 2 == 0 { 0 } else { at * 7919 % text.len() };
        hub.add_http(Deaf { text: text.clone(), at }, now, |_, _, _| Ok::<(), ()>(()))
            .expect("nothing refuses it");
    }
    for _ in 0..30 {
        now.us += 1000;
        for slot in 0..CONNECTIONS as u32 {
            hub.readable(slot, 1, false);
            hub.writable(slot, 1);
        }
        for _ in 0..CONNECTIONS / 100 {
            hub.take_reports(now);
            hub.http_turn(now);
            hub.clock_turn(now);
            hub.write_turn(now);
            if delivers {
                deliver(&mut kafka);
            }
        }
    }
    let peak = PEAK.load(SeqCst) - before;
    let fixed = PARTIAL + BODIES + BUFFER.max_bytes + OTHERS;
    let connections = CONNECTIONS * (CONNECTION_BYTES as usize + ANSWER_FREE_BYTES);
    (peak, connections + 2 * STORE + fixed)
}

/// One test, because the counter is the process's.
#[test]
fn peers_that_never_read_stay_within_the_worst_case() {
    let event = r#"{"a":1}"#;
    let many = |items: usize, item: &str| format!("[{}]", vec![item; items].join(","));
    let long_id = format!(r#"{{"id":"{}"}}"#, "\\\"".repeat(128));
    let cases = [
        ("one event a request, pipelined", post("/events", event).repeat(200), true),
        ("ids as long as can be", post("/events", &long_id).repeat(100), true),
        ("delivered, pipelined", post("/events?ack=delivered", event).repeat(200), true),
        ("delivered, never confirmed", post("/events?ack=delivered", event).repeat(200), false),
        ("batches", post("/events", &many(100, event)).repeat(5), true),
        ("batches in flight", post("/events?ack=delivered", &many(100, event)).repeat(5), false),
        ("large batches of nonsense", post("/events?ack=delivered", &many(10_000, "7")).repeat(2), true),
        (
            "nonsense behind one that waits",
            post("/events?ack=delivered", event) + &post("/events", &many(5000, "7")).repeat(60),
            false,
        ),
        ("refused heads", "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n".repeat(500), true),
    ];
    for (name, text, delivers) in cases {
        let (peak, bound) = flood(&text, delivers);
        println!("{name}: {} KiB of {} KiB", peak >> 10, bound >> 10);
        assert!(peak <= bound, "{name}: {peak} bytes in use, the sum allows {bound}");
    }
}
