//! No allocation per record on the steady path: an allocator that counts, around the real hub, hand-over,
//! feeder, lanes and accounts, with a pretended stream on one side and a pretended producer on the other.
//!
//! Buffers that grow to their working size are warmed up first; what is counted then is a few batches' worth of
//! bookkeeping for thousands of records, or nothing.

use std::alloc::{GlobalAlloc, Layout as Memory, System};
use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use sluice::event::Outcome;
use sluice::handoff::{Bell, BufferOptions, Cause, Clock, Shared, Token, TopicId, accounted_bytes, crossing};
use sluice::kafka::accounts::Accounts;
use sluice::kafka::errors::Code;
use sluice::kafka::feeder::Feeder;
use sluice::kafka::lanes::{Lanes, Layout};
use sluice::kafka::producer::{Outgoing, Partition, Producer};
use sluice::net::{Hub, NetOptions, Stream};
use sluice::pipeline::ValueFormat;
use sluice::session::{Now, TcpOptions, Web};

/// Whose calls are counted at the moment.
const NOBODY: usize = 0;
const POLL: usize = 1;
const KAFKA: usize = 2;

static COUNTED: AtomicUsize = AtomicUsize::new(NOBODY);
static CALLS: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

struct Counting;

// SAFETY: every call goes to the system's allocator with the arguments unchanged; counting touches atomics only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, memory: Memory) -> *mut u8 {
        CALLS[COUNTED.load(SeqCst)].fetch_add(1, SeqCst);
        // SAFETY: promised by the caller.
        unsafe { System.alloc(memory) }
    }

    unsafe fn dealloc(&self, place: *mut u8, memory: Memory) {
        // SAFETY: promised by the caller; `place` came from `System`.
        unsafe { System.dealloc(place, memory) }
    }

    unsafe fn realloc(&self, place: *mut u8, memory: Memory, size: usize) -> *mut u8 {
        CALLS[COUNTED.load(SeqCst)].fetch_add(1, SeqCst);
        // SAFETY: promised by the caller; `place` came from `System`.
        unsafe { System.realloc(place, memory, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts while `work` runs. There is one test in this file, so nobody else's calls are seen.
fn counting<T>(whose: usize, work: impl FnOnce() -> T) -> T {
    COUNTED.store(whose, SeqCst);
    let result = work();
    COUNTED.store(NOBODY, SeqCst);
    result
}

/// A sender that repeats its lines as long as it is allowed to.
struct Repeating {
    text: Rc<[u8]>,
    at: usize,
    allowed: Rc<Cell<usize>>,
}

impl Stream for Repeating {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = into.len().min(self.allowed.get()).min(self.text.len() - self.at);
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        into[..count].copy_from_slice(&self.text[self.at..self.at + count]);
        self.at = (self.at + count) % self.text.len();
        self.allowed.set(self.allowed.get() - count);
        Ok(count)
    }

    fn peek(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("there is room for partial messages")
    }

    fn discard(&mut self, _: usize) -> io::Result<()> {
        panic!("there is room for partial messages")
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn peer(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }
}

/// Takes everything and keeps what a report needs.
#[derive(Default)]
struct Swallowing(Vec<(Token, usize)>);

impl Producer for Swallowing {
    fn produce<'a>(
        &mut self,
        _: Partition,
        records: impl Iterator<Item = Outgoing<'a>>,
        _: impl FnMut(usize, Code),
    ) -> usize {
        let before = self.0.len();
        self.0.extend(records.map(|record| {
            (record.token, accounted_bytes(record.key.map_or(0, <[u8]>::len) + record.value.len(), 0))
        }));
        self.0.len() - before
    }
}

/// Allocations per 1,000 records on either side, after a warm-up.
fn one_run(first_line: &str, connections: usize) -> (f64, f64) {
    const WARM_UP: u64 = 50_000;
    const RECORDS: u64 = 200_000;
    let shared = Shared::new(BufferOptions { max_records: 10_000, max_bytes: 16 << 20 });
    let (poll_end, kafka_end) = crossing(&shared, Bell::default(), Bell::default());
    let net = NetOptions::default();
    let mut hub = Hub::new(
        &net,
        &TcpOptions::default(),
        std::sync::Arc::default(),
        Web::default(),
        ValueFormat::Protobuf,
        None,
        false,
        poll_end,
    );
    let mut accounts = Accounts::new(kafka_end, Clock::start());
    let (mut feeder, mut lanes, mut producer) =
        (Feeder::default(), Lanes::new(1, 10_000, 60_000_000), Swallowing::default());
    lanes.apply(&Layout { leaders: vec![vec![1; 12]], up: vec![1] });

    let mut now = Now { us: 1, unix_ms: 1 };
    let allowed: Vec<_> = (0..connections).map(|_| Rc::new(Cell::new(0))).collect();
    for allowed in &allowed {
        let text: Rc<[u8]> = lines().into();
        let mut stream = Repeating { text, at: 0, allowed: allowed.clone() };
        if !first_line.is_empty() {
            stream.text = [first_line.as_bytes(), &stream.text].concat().into();
        }
        hub.add_tcp(stream, now, |_, _, _| Ok::<(), ()>(())).expect("nothing refuses it");
    }
    let mut counted_from = 0;
    loop {
        now.us += 100;
        // Uneven pieces: most turns end in the middle of a line.
        for (slot, allowed) in allowed.iter().enumerate() {
            allowed.set(40_001);
            hub.readable(slot as u32, 1, false);
        }
        counting(POLL, || {
            hub.take_reports(now);
            hub.read_turn(now);
            hub.write_turn(now);
        });
        counting(KAFKA, || {
            feeder.feed(&mut accounts, &mut lanes, Some(&mut producer), now.us);
            for (token, bytes) in producer.0.drain(..) {
                lanes.ended(TopicId(0), 0);
                accounts.note(token, bytes, Outcome::Stored, Cause::Delivered);
            }
            accounts.book();
            accounts.end.publish();
        });
        let stored = shared.ledger.account().of(Outcome::Stored);
        if counted_from == 0 && stored >= WARM_UP {
            counted_from = stored;
            CALLS.iter().for_each(|calls| calls.store(0, SeqCst));
        }
        if counted_from > 0 && stored - counted_from >= RECORDS {
            let per_1000 =
                |side: usize| CALLS[side].load(SeqCst) as f64 * 1000.0 / (stored - counted_from) as f64;
            return (per_1000(POLL), per_1000(KAFKA));
        }
    }
}

fn lines() -> Vec<u8> {
    let line = |number: u32| {
        format!("{{\"lb\":\"daily\",\"player\":\"player-{}\",\"score\":{number},\"ts_ms\":1}}\n", number % 97)
    };
    (0..1000).flat_map(|number| line(number).into_bytes()).collect()
}

/// One test, because the counter is the process's.
#[test]
fn nothing_is_allocated_per_record() {
    for connections in [1, 16] {
        let (poll, kafka) = one_run("", connections);
        println!(
            "silent, {connections} connections: {poll:.3} poll side, {kafka:.3} kafka side per 1,000 records"
        );
        assert!(poll < 2.0, "{poll} allocations per 1,000 records on the poll side");
        assert!(kafka < 2.0, "{kafka} allocations per 1,000 records on the Kafka side");

        // The `#ack` comes again with each round of the text and is then one malformed line in a thousand.
        let (poll, kafka) = one_run("#ack\n", connections);
        println!(
            "#ack, {connections} connections: {poll:.3} poll side, {kafka:.3} kafka side per 1,000 records"
        );
        assert!(poll < 30.0, "{poll} allocations per 1,000 answered records on the poll side");
        assert!(kafka < 30.0, "{kafka} allocations per 1,000 answered records on the Kafka side");
    }
}
