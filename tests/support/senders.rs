//! Senders that ask for answers: connections with `#ack` that push distinct messages, note what they were told, and
//! a comparison of that with what the topic holds.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use prost::Message as _;
use sluice::event::pb::ScoreUpdate;
use sluice::wire::ack::{self, Answer};

use super::{PATIENCE, Record, Sluice, eventually};

/// Lines are written in bursts, one every so often.
const TICK: Duration = Duration::from_millis(5);

/// Every connection of a test process has a number of its own, so that no two messages are alike.
static NUMBER: AtomicI64 = AtomicI64::new(0);

/// What a sender was told of one message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    Stored,
    /// Certainly not stored, with the code.
    Retry(String),
    /// Refused for good, with the code.
    Fix(String),
    /// Possibly stored, with the code.
    Unknown(String),
    /// Read by the gateway, never answered: allowed nowhere.
    Untold,
    /// Beyond the number that the gateway said it had read.
    Unread,
}

/// One message and its fate. No two have the same score.
#[derive(Clone, Debug)]
pub struct Sent {
    pub key: String,
    pub score: i64,
    pub fate: Fate,
}

/// Connections that push messages until they are told to finish.
pub struct Senders {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Vec<Sent>>>,
}

impl Senders {
    /// Each connection sends `a_second` messages over `keys` keys of its own.
    pub fn start(gateway: &Sluice, connections: u32, a_second: u32, keys: u64) -> Senders {
        Senders::with(gateway, connections, |sender| {
            sender.burst = (u128::from(a_second) * TICK.as_millis() / 1000).max(1) as u64;
            sender.keys = keys;
        })
    }

    /// Each connection sends `count` messages as fast as they are taken, and then waits for its last answers.
    pub fn flood(gateway: &Sluice, connections: u32, count: u64, keys: u64) -> Senders {
        Senders::with(gateway, connections, |sender| {
            (sender.burst, sender.limit, sender.tick) = (500, count, Duration::ZERO);
            sender.keys = keys;
        })
    }

    fn with(gateway: &Sluice, connections: u32, adjust: impl Fn(&mut Sender)) -> Senders {
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let threads = (0..connections).map(|_| {
            let mut sender = Sender {
                address: gateway.listen(),
                number: NUMBER.fetch_add(1, SeqCst),
                burst: 1,
                keys: 1,
                limit: u64::MAX,
                tick: TICK,
                stop: stop.clone(),
                sent: sent.clone(),
            };
            adjust(&mut sender);
            std::thread::spawn(move || sender.run())
        });
        Senders { threads: threads.collect(), stop, sent }
    }

    /// Messages written so far, by all together.
    pub fn sent(&self) -> u64 {
        self.sent.load(SeqCst)
    }

    /// Waits until `more` messages have been written from now on.
    pub fn await_sent(&self, more: u64) {
        let goal = self.sent() + more;
        eventually(PATIENCE, "the senders get on", || self.sent() >= goal);
    }

    /// Ends the sending, and waits for the last answer on every connection.
    pub fn finish(self) -> Vec<Sent> {
        self.stop.store(true, SeqCst);
        self.wait()
    }

    /// Waits until every connection has ended, by its limit or because the gateway closed it.
    pub fn wait(self) -> Vec<Sent> {
        self.threads.into_iter().flat_map(|thread| thread.join().expect("a sender ends well")).collect()
    }
}

struct Sender {
    address: SocketAddr,
    number: i64,
    burst: u64,
    keys: u64,
    limit: u64,
    tick: Duration,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
}

impl Sender {
    fn run(self) -> Vec<Sent> {
        let mut stream = TcpStream::connect(self.address).expect("the gateway accepts");
        stream.set_write_timeout(Some(2 * PATIENCE)).unwrap();
        stream.set_read_timeout(Some(3 * PATIENCE)).unwrap();
        let answers = stream.try_clone().unwrap();
        let reader = std::thread::spawn(move || Answers::read(answers));
        let mut messages = Vec::new();
        let mut text = String::from("#ack\n");
        while (messages.len() as u64) < self.limit && !self.stop.load(SeqCst) {
            let left = self.limit - messages.len() as u64;
            for _ in 0..self.burst.min(left) {
                let count = messages.len() as u64;
                let (key, score) =
                    (format!("k{}-{}", self.number, count % self.keys), self.number << 40 | count as i64);
                text.push_str(&format!("{{\"lb\":\"w\",\"player\":\"{key}\",\"score\":{score}}}\n"));
                messages.push(Sent { key, score, fate: Fate::Untold });
            }
            if stream.write_all(text.as_bytes()).is_err() {
                break; // The gateway has closed: its last answer says how far it read.
            }
            text.clear();
            self.sent.fetch_add(self.burst.min(left), SeqCst);
            std::thread::sleep(self.tick);
        }
        // Fails when the gateway has closed already.
        let _ = stream.shutdown(Shutdown::Write);
        let answers = reader.join().expect("answers are read");
        for (number, message) in (1..).zip(&mut messages) {
            message.fate = answers.fate(number);
        }
        messages
    }
}

/// Everything that one connection was told.
#[derive(Default)]
struct Answers {
    stored_to: u64,
    named: HashMap<u64, Fate>,
    closed: Option<u64>,
}

impl Answers {
    fn read(stream: TcpStream) -> Answers {
        let mut answers = Answers::default();
        for line in BufReader::new(stream).lines() {
            // A connection that is cut ends the answers; what was not told by then shows as untold.
            let Ok(line) = line else { break };
            assert_eq!(answers.closed, None, "{line:?} after the account was closed");
            match ack::parse(line.as_bytes()).unwrap_or_else(|_| panic!("not an answer: {line:?}")) {
                Answer::Stored(n) => answers.stored_to = n,
                Answer::Retry { n, code, .. } => answers.name(n, Fate::Retry(code.into())),
                Answer::Fix { n, code, .. } => answers.name(n, Fate::Fix(code.into())),
                Answer::Unknown { n, code } => answers.name(n, Fate::Unknown(code.into())),
                Answer::Closed(n) => answers.closed = Some(n),
            }
        }
        answers
    }

    fn name(&mut self, n: u64, fate: Fate) {
        assert!(n > self.stored_to, "message {n} was told stored before it was told {fate:?}");
        assert_eq!(self.named.insert(n, fate), None, "message {n} was told twice");
    }

    fn fate(&self, number: u64) -> Fate {
        match self.named.get(&number) {
            Some(fate) => fate.clone(),
            None if number <= self.stored_to => Fate::Stored,
            None if self.closed.is_some_and(|last| number > last) => Fate::Unread,
            None => Fate::Untold,
        }
    }
}

/// How many messages had each fate.
pub fn tally(told: &[Sent]) -> HashMap<Fate, usize> {
    let mut tally = HashMap::new();
    for message in told {
        *tally.entry(message.fate.clone()).or_default() += 1;
    }
    tally
}

/// Messages of one fate.
pub fn count(told: &[Sent], wanted: impl Fn(&Fate) -> bool) -> u64 {
    told.iter().filter(|message| wanted(&message.fate)).count() as u64
}

/// The score that a record carries.
///
/// # Panics
/// When the value is not a ScoreUpdate whose player is the record's key.
pub fn score_of(record: &Record) -> i64 {
    let update = ScoreUpdate::decode(&*record.value).expect("the value is a ScoreUpdate");
    assert_eq!(update.player_id.as_bytes(), record.key, "the key is the player");
    update.score
}

/// Holds what the senders were told against what the topic holds: nothing twice; everything told stored is there;
/// nothing told not stored or refused is; within a partition each key's messages are in the order in which they were
/// sent. Answers the number of records whose sender could not be told (unknown) and that are there.
pub fn compare(told: &[Sent], records: &[Record]) -> u64 {
    let mut held: HashMap<i64, &Record> = HashMap::new();
    for record in records {
        if let Some(first) = held.insert(score_of(record), record) {
            let fate = told.iter().find(|sent| sent.score == score_of(record)).map(|sent| &sent.fate);
            panic!("it is in the topic twice, {fate:?}: {first:?} and {record:?}; fates: {:?}", tally(told));
        }
    }
    let mut last: HashMap<(i32, &[u8]), i64> = HashMap::new();
    for record in records {
        let score = score_of(record);
        let before = last.insert((record.partition, &record.key), score);
        assert!(
            before.is_none_or(|before| before < score),
            "{record:?} is out of order after score {before:?}"
        );
    }
    let mut unknown_held = 0;
    for message in told {
        let is_held = held.remove(&message.score).is_some();
        match &message.fate {
            Fate::Stored => {
                assert!(is_held, "told stored, and it is not there: {message:?}; {:?}", tally(told))
            }
            Fate::Retry(_) | Fate::Fix(_) | Fate::Unread => assert!(!is_held, "it is there: {message:?}"),
            Fate::Unknown(_) => unknown_held += u64::from(is_held),
            Fate::Untold => panic!("never answered: {message:?}; fates: {:?}", tally(told)),
        }
    }
    assert!(held.is_empty(), "{} records that nobody sent", held.len());
    unknown_held
}

/// The numbers of a `gateway.stop` line add up: accepted = all outcomes.
pub fn assert_balanced(stop: &HashMap<String, u64>) {
    let outcomes = ["stored", "rejected", "not_stored", "dead_lettered", "dropped", "unknown"];
    let ended: u64 = outcomes.iter().map(|name| stop[*name]).sum();
    assert_eq!(stop["accepted"], ended, "the ledger does not balance: {stop:?}");
}
