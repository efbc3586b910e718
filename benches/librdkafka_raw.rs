//! The floor under the whole job: librdkafka fed raw lines in sorted batches, nothing parsed, nothing checked.
//!
//! `librdkafka_raw BOOTSTRAP TOPIC stdin|PORT [PROPERTY=VALUE]...` takes lines from standard input, or from TCP
//! connections (0 = a free port; prints `LISTEN=127.0.0.1:PORT`), keys each by its `player`, and produces it as it is.
//! It knows `#ack` well enough (`+ N`, `. N`) that `sluice bench --ack` times it exactly as it times the gateway.
//! One thread reads and produces, one drains delivery reports: the same split, without parser, queue or account.

use std::collections::VecDeque;
use std::ffi::CString;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Thread;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer};
use rdkafka_sys as rdsys;

type Failure = Box<dyn std::error::Error>;

const LISTENER: Token = Token(usize::MAX);
const READ_BYTES: usize = 128 << 10;
/// Messages a call of librdkafka at most.
const BATCH: usize = 4096;
/// Bits of a token that hold the number of the message within its connection.
const NUMBER_BITS: u32 = 40;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [bootstrap, topic, source, properties @ ..] = args.as_slice() else {
        println!("librdkafka_raw: a helper of scripts/bench.sh; see its first lines for the usage");
        return Ok(());
    };
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("partitioner", "murmur2_random");
    for property in properties {
        let (name, value) = property.split_once('=').ok_or("a property is NAME=VALUE")?;
        config.set(name, value);
    }
    let producer: BaseProducer = config.create()?;
    let senders = Arc::new(Senders::default());
    let feed = Feed::new(&producer, topic)?;
    let reports = Reports { queue: feed.queue, senders: senders.clone(), producer: std::thread::current() };
    std::thread::Builder::new().name("reports".into()).spawn(move || reports.drain())?;
    match source.as_str() {
        "stdin" => from_stdin(feed, &senders),
        port => from_tcp(feed, &senders, port.parse()?),
    }
}

fn from_stdin(mut feed: Feed, senders: &Senders) -> Result<(), Failure> {
    let mut buffers = [Lines::default()];
    loop {
        let n = buffers[0].read(&mut std::io::stdin())?;
        feed.take_lines(&mut buffers[0], 0);
        feed.produce(&mut buffers)?;
        if n == 0 {
            break;
        }
    }
    while senders.delivered.load(Ordering::Acquire) < feed.produced {
        std::thread::park_timeout(Duration::from_millis(10));
    }
    Ok(())
}

fn from_tcp(mut feed: Feed, senders: &Senders, port: u16) -> Result<(), Failure> {
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    println!("LISTEN={}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (mut streams, mut buffers) = (Vec::<Option<TcpStream>>::new(), Vec::<Lines>::new());
    let (mut events, mut ready) = (Events::with_capacity(1024), VecDeque::new());
    loop {
        let wait = if ready.is_empty() { None } else { Some(Duration::ZERO) };
        match poll.poll(&mut events, wait) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            match event.token() {
                LISTENER => accept(&listener, &poll, &mut streams, &mut buffers, senders)?,
                Token(slot) => {
                    buffers[slot].ends |= event.is_read_closed();
                    ready.push_back(slot);
                }
            }
        }
        for _ in 0..ready.len() {
            let Some(slot) = ready.pop_front() else { break };
            if buffers[slot].taken > 0 {
                feed.produce(&mut buffers)?; // makes room, and a slot may be ready twice
            }
            let Some(stream) = streams[slot].as_mut() else { continue };
            match buffers[slot].read(stream) {
                Ok(0) => {
                    streams[slot] = None; // closing it ends the registration: the answers' half is not registered
                    senders.end(slot, buffers[slot].numbered);
                }
                Ok(_) => {
                    if buffers[slot].take_ack_request() {
                        senders.ask_for_answers(slot);
                    }
                    feed.take_lines(&mut buffers[slot], slot);
                    // After a short read the next edge still comes, but none after that of the end.
                    if buffers[slot].is_full() || buffers[slot].ends {
                        ready.push_back(slot);
                    }
                    if feed.records.len() >= BATCH / 2 {
                        feed.produce(&mut buffers)?;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => {
                    streams[slot] = None;
                    senders.end(slot, buffers[slot].numbered);
                }
            }
        }
        feed.produce(&mut buffers)?;
    }
}

fn accept(
    listener: &TcpListener,
    poll: &Poll,
    streams: &mut Vec<Option<TcpStream>>,
    buffers: &mut Vec<Lines>,
    senders: &Senders,
) -> Result<(), Failure> {
    loop {
        let (stream, _) = match listener.accept() {
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            other => other?,
        };
        let stream = std::net::TcpStream::from(stream); // stays non-blocking: mio made it so
        stream.set_nodelay(true)?;
        let answers = stream.try_clone()?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(streams.len()), Interest::READABLE)?;
        streams.push(Some(stream));
        buffers.push(Lines::default());
        lock(&senders.list).push(Sender {
            answers,
            asked: false,
            done: VecDeque::new(),
            settled: 0,
            ended: None,
        });
    }
}

/// Bytes of one connection, and how many of its lines have a number.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    filled: usize,
    taken: usize,
    numbered: u64,
    /// The peer has closed its half: read on until the end shows.
    ends: bool,
}

impl Lines {
    fn read<R: Read>(&mut self, from: &mut R) -> std::io::Result<usize> {
        self.bytes.resize(READ_BYTES, 0);
        let n = from.read(&mut self.bytes[self.filled..])?;
        self.filled += n;
        Ok(n)
    }

    fn is_full(&self) -> bool {
        self.filled == self.bytes.len()
    }

    fn take_ack_request(&mut self) -> bool {
        let asked = self.numbered == 0 && self.bytes[..self.filled].starts_with(b"#ack\n");
        if asked {
            self.taken = 5;
        }
        asked
    }

    fn forget_taken(&mut self) {
        self.bytes.copy_within(self.taken..self.filled, 0);
        self.filled -= self.taken;
        self.taken = 0;
    }
}

/// A line in a connection's buffer.
#[derive(Clone, Copy)]
struct Record {
    slot: usize,
    at: usize,
    len: usize,
    key_at: usize,
    key_len: usize,
    partition: u32,
    number: u64,
}

/// The producing side.
struct Feed {
    topic: *mut rdsys::rd_kafka_topic_t,
    queue: Queue,
    partitions: u32,
    player: memchr::memmem::Finder<'static>,
    records: Vec<Record>,
    messages: Vec<rdsys::rd_kafka_message_t>,
    touched: Vec<usize>,
    produced: u64,
}

impl Feed {
    fn new(producer: &BaseProducer<DefaultProducerContext>, topic: &str) -> Result<Self, Failure> {
        let metadata = producer.client().fetch_metadata(Some(topic), Duration::from_secs(10))?;
        let partitions = metadata.topics().first().map_or(0, |t| t.partitions().len());
        if partitions == 0 {
            return Err(format!("topic {topic} has no partitions").into());
        }
        let name = CString::new(topic)?;
        let client = producer.client().native_ptr();
        // SAFETY: `client` lives until the process ends, since `producer` is dropped by `main` alone, after both
        // sides stopped using it; `name` lives through the call, which copies it; a null configuration means defaults.
        let topic = unsafe { rdsys::rd_kafka_topic_new(client, name.as_ptr(), std::ptr::null_mut()) };
        // SAFETY: as above; the reference to the queue that this takes is never given back.
        let queue = Queue(unsafe { rdsys::rd_kafka_queue_get_main(client) });
        if topic.is_null() || queue.0.is_null() {
            return Err("librdkafka has no topic or queue handle".into());
        }
        Ok(Self {
            topic,
            queue,
            partitions: u32::try_from(partitions)?,
            player: memchr::memmem::Finder::new(b"\"player\":\""),
            records: Vec::with_capacity(BATCH),
            messages: Vec::with_capacity(BATCH),
            touched: Vec::new(),
            produced: 0,
        })
    }

    /// Notes the complete lines of a connection; the bytes stay where they are until [`Feed::produce`].
    fn take_lines(&mut self, lines: &mut Lines, slot: usize) {
        let mut at = lines.taken;
        for lf in memchr::memchr_iter(b'\n', &lines.bytes[lines.taken..lines.filled]) {
            let end = lines.taken + lf;
            let line = &lines.bytes[at..end];
            let (key_at, key_len) = self.player.find(line).map_or((0, 0), |found| {
                let from = found + 10;
                (at + from, memchr::memchr(b'"', &line[from..]).unwrap_or(0))
            });
            lines.numbered += 1;
            let partition = murmur2(&lines.bytes[key_at..key_at + key_len]) % self.partitions;
            self.records.push(Record {
                slot,
                at,
                len: end - at,
                key_at,
                key_len,
                partition,
                number: lines.numbered,
            });
            at = end + 1;
        }
        lines.taken = at;
        self.touched.push(slot);
    }

    /// Hands over all that was noted, sorted by partition, and waits for room as long as it takes.
    fn produce(&mut self, buffers: &mut [Lines]) -> Result<(), Failure> {
        let mut records = std::mem::take(&mut self.records);
        records.sort_by_key(|r| r.partition); // stable: the order within a partition is the order of arrival
        for run in records.chunk_by(|one, next| one.partition == next.partition) {
            self.messages.clear();
            for r in run {
                let bytes = &buffers[r.slot].bytes;
                let token = (r.slot as u64) << NUMBER_BITS | r.number;
                self.messages.push(rdsys::rd_kafka_message_t {
                    err: rdsys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
                    rkt: std::ptr::null_mut(),
                    partition: 0,
                    payload: bytes[r.at..].as_ptr().cast_mut().cast(),
                    len: r.len,
                    key: bytes[r.key_at..].as_ptr().cast_mut().cast(),
                    key_len: r.key_len,
                    offset: 0,
                    _private: token as usize as *mut _,
                });
            }
            self.hand_over(i32::try_from(run[0].partition)?)?;
        }
        self.produced += records.len() as u64;
        records.clear();
        self.records = records;
        self.touched.drain(..).for_each(|slot| buffers[slot].forget_taken());
        Ok(())
    }

    fn hand_over(&mut self, partition: i32) -> Result<(), Failure> {
        let (topic, flags) = (self.topic, rdsys::RD_KAFKA_MSG_F_COPY);
        let full = rdsys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__QUEUE_FULL;
        while !self.messages.is_empty() {
            let count = i32::try_from(self.messages.len())?;
            let list = self.messages.as_mut_ptr();
            // SAFETY: `list` points to `count` messages whose payloads and keys lie in buffers that nobody moves or
            // frees during the call; librdkafka copies them (MSG_F_COPY).
            let taken = unsafe { rdsys::rd_kafka_produce_batch(topic, partition, flags, list, count) };
            if taken == count {
                break;
            }
            let refused = |m: &rdsys::rd_kafka_message_t| {
                m.err != rdsys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            };
            if let Some(m) = self.messages.iter().find(|m| refused(m) && m.err != full) {
                return Err(format!("librdkafka refused a message: {:?}", m.err).into());
            }
            self.messages.retain(refused);
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// The producer's main queue.
#[derive(Clone, Copy)]
struct Queue(*mut rdsys::rd_kafka_queue_t);

// SAFETY: librdkafka's queues are safe to use from any thread; after `Feed::new` only `Reports` uses this one.
unsafe impl Send for Queue {}

/// The side that drains delivery reports and answers.
struct Reports {
    queue: Queue,
    senders: Arc<Senders>,
    producer: Thread,
}

impl Reports {
    fn drain(self) {
        let mut array = vec![std::ptr::null(); BATCH];
        loop {
            // SAFETY: the queue's reference is never given back, see `Feed::new`.
            let event = unsafe { rdsys::rd_kafka_queue_poll(self.queue.0, 1000) };
            if event.is_null() {
                continue;
            }
            // SAFETY: `event` is what the poll returned, not destroyed before the end of this turn.
            if unsafe { rdsys::rd_kafka_event_type(event) } == rdsys::RD_KAFKA_EVENT_DR {
                loop {
                    // SAFETY: `array` has room for its length; the messages live as long as the event.
                    let n = unsafe {
                        rdsys::rd_kafka_event_message_array(event, array.as_mut_ptr(), array.len())
                    };
                    if n == 0 {
                        break;
                    }
                    self.settle(&array[..n]);
                }
                self.producer.unpark();
            }
            // SAFETY: destroyed once; no message of it is used afterwards.
            unsafe { rdsys::rd_kafka_event_destroy(event) };
        }
    }

    fn settle(&self, messages: &[*const rdsys::rd_kafka_message_t]) {
        let mut list = lock(&self.senders.list);
        let mut told = Vec::new();
        for message in messages {
            // SAFETY: librdkafka filled the array with valid pointers, see `drain`.
            let message = unsafe { &**message };
            if message.err != rdsys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                eprintln!("librdkafka_raw: not delivered: {:?}", message.err);
                std::process::exit(1); // a comparison with lost messages is none
            }
            let token = message._private as usize as u64;
            let slot = (token >> NUMBER_BITS) as usize;
            if let Some(sender) = list.get_mut(slot).filter(|s| s.asked) {
                sender.note(token & ((1 << NUMBER_BITS) - 1));
                if told.last() != Some(&slot) {
                    told.push(slot);
                }
            }
        }
        told.sort_unstable();
        told.dedup();
        told.into_iter().for_each(|slot| list[slot].answer());
        self.senders.delivered.fetch_add(messages.len() as u64, Ordering::Release);
    }
}

/// What both sides know of the connections.
#[derive(Default)]
struct Senders {
    list: Mutex<Vec<Sender>>,
    delivered: AtomicU64,
}

struct Sender {
    answers: std::net::TcpStream,
    asked: bool,
    /// `done[i]`: whether message `settled + 1 + i` is delivered.
    done: VecDeque<bool>,
    settled: u64,
    ended: Option<u64>,
}

impl Senders {
    fn ask_for_answers(&self, slot: usize) {
        lock(&self.list)[slot].asked = true;
    }

    fn end(&self, slot: usize, last: u64) {
        let sender = &mut lock(&self.list)[slot];
        sender.ended = Some(last);
        sender.close_if_settled();
    }
}

impl Sender {
    fn note(&mut self, number: u64) {
        let at = (number - self.settled - 1) as usize;
        if at >= self.done.len() {
            self.done.resize(at + 1, false);
        }
        self.done[at] = true;
    }

    fn answer(&mut self) {
        let before = self.settled;
        while self.done.front() == Some(&true) {
            self.done.pop_front();
            self.settled += 1;
        }
        if self.settled > before {
            // A client that reads nothing misses it; the next answer covers this one.
            let _ = self.answers.write_all(format!("+ {}\n", self.settled).as_bytes());
        }
        self.close_if_settled();
    }

    fn close_if_settled(&mut self) {
        if !self.asked || self.ended != Some(self.settled) {
            return;
        }
        let _ = self.answers.write_all(format!(". {}\n", self.settled).as_bytes());
        let _ = self.answers.shutdown(std::net::Shutdown::Both);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Kafka's hash of a key, made positive, as the Java client computes it.
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ key.len() as u32;
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ (k ^ (k >> 24)).wrapping_mul(M);
    }
    let rest = words.remainder();
    for (i, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * i);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    (hash ^ (hash >> 15)) & 0x7fff_ffff
}
