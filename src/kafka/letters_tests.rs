//! What becomes a dead letter, where it goes, and that its room and its end are accounted for.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc;

use super::super::lanes::Layout;
use super::super::options::Topics;
use super::*;
use crate::handoff::{
    Address, Batch, Bell, BufferOptions, Clock, KEYED_SLOT, KEYED_TAKEN_SLOT, Report, Shared, crossing,
};

const SOURCE: TopicId = TopicId(1);

struct Bench {
    shared: std::sync::Arc<Shared>,
    accounts: Accounts,
    lanes: Lanes,
    wakes: mpsc::Receiver<()>,
    poll: crate::handoff::PollEnd,
}

impl Bench {
    /// `dlq`: whether there is a topic for dead letters; `dir`: their folder.
    fn new(dlq: bool, dir: Option<&std::path::Path>) -> Self {
        let mut options = KafkaOptions { topics: Topics::of("score_updates"), ..KafkaOptions::default() };
        options.topics.set(SOURCE, "events");
        if dlq {
            options.topics.set(DEAD_LETTERS, "events-dlq");
        }
        options.letters.sources = vec![SOURCE];
        options.letters.dir = dir.map(Into::into);
        let shared = Shared::new(BufferOptions { max_records: 100, max_bytes: 1 << 20 });
        let (poll, kafka) = crossing(&shared, Bell::default(), Bell::default());
        let mut accounts = Accounts::new(kafka, Clock::start());
        let (woken, wakes) = mpsc::channel();
        accounts.letters = Letters::new(&options, 100, move || woken.send(()).unwrap_or(()));
        let mut lanes = Lanes::new(4, 100, 60_000_000);
        lanes.apply(&layout(&[1]));
        Self { shared, accounts, lanes, wakes, poll }
    }

    fn fail(&mut self, topic: TopicId, token: Token, outcome: Outcome) -> bool {
        let mut batch = Batch::default();
        let value = br#"{"id":"e-1","n":1}"#;
        batch.arena().extend_from_slice(value);
        let shape =
            Shape { topic, key_len: None, value_len: value.len() as u32, headers_len: 0, patience: 0 };
        let record = batch.commit(token, shape, 1);
        self.shared.ledger.accept(1);
        self.shared.budget.take(1, record.accounted_bytes());
        let entry = Entry::of(&batch, &record);
        let failed = Failed::waiting(&entry, Stage::Wait);
        let is_letter = self.accounts.fail(&failed, outcome, Cause::TooLarge, 1);
        self.accounts.book();
        is_letter
    }

    fn post(&mut self, is_ending: bool, now_us: u64) {
        let mut letters = self.accounts.letters.take().unwrap();
        letters.post(&mut self.accounts, &mut self.lanes, is_ending, now_us);
        self.accounts.letters = Some(letters);
        self.accounts.book();
    }

    /// In flight, dead-lettered, not stored, lost; and that the buffer holds what is in flight.
    fn numbers(&self) -> [u64; 4] {
        let account = self.shared.ledger.account();
        assert_eq!(account.in_flight(), self.shared.budget.records() as u64);
        assert_eq!(account.in_flight() == 0, self.shared.budget.bytes() == 0);
        let [letters, not_stored] = [Outcome::DeadLettered, Outcome::NotStored].map(|it| account.of(it));
        [account.in_flight(), letters, not_stored, account.lost]
    }
}

fn layout(up: &[i32]) -> Layout {
    Layout { leaders: vec![vec![1], vec![1], vec![], vec![1]], up: up.to_vec() }
}

fn nobody() -> Token {
    Token::nobody(1)
}

#[test]
fn only_what_nobody_waits_for_and_is_certainly_not_stored() {
    let mut bench = Bench::new(true, None);
    let peer = Token::peer(Address { slot: 1, generation: 1, sequence: 1 });
    assert!(bench.fail(SOURCE, nobody(), Outcome::NotStored));
    assert!(bench.fail(SOURCE, nobody(), Outcome::Rejected));
    assert!(!bench.fail(SOURCE, nobody(), Outcome::Unknown));
    assert!(!bench.fail(SOURCE, peer, Outcome::NotStored));
    assert!(!bench.fail(TopicId(0), nobody(), Outcome::NotStored), "not a source");
    assert_eq!(bench.numbers(), [2, 0, 2, 1]);
    // Requests with an Idempotency-Key: one waits, one was told that its event is taken.
    let keyed = |slot| Token::peer(Address { slot, generation: 1, sequence: 1 });
    assert!(!bench.fail(SOURCE, keyed(KEYED_SLOT), Outcome::NotStored));
    assert!(bench.fail(SOURCE, keyed(KEYED_TAKEN_SLOT), Outcome::NotStored));
    assert_eq!(bench.numbers(), [3, 0, 3, 1]);
}

/// Nobody takes the letter: a retry that waits under the same key is told why its event failed.
#[test]
fn a_lost_letter_says_why_its_record_failed() {
    let mut bench = Bench::new(false, None);
    let to = Address { slot: KEYED_TAKEN_SLOT, generation: 1, sequence: 1 };
    assert!(bench.fail(SOURCE, Token::peer(to), Outcome::Rejected));
    bench.post(false, 1);
    bench.accounts.end.publish();
    let Some(Report::Receipts(receipts)) = bench.poll.next_report() else { panic!("a receipt") };
    let told: Vec<_> = receipts.iter().map(|receipt| (receipt.outcome, receipt.cause)).collect();
    assert_eq!(told, [(Outcome::NotStored, Cause::TooLarge)]);
}

/// The letter waits in the lanes of its topic with the record's own bytes and six headers, and ends there.
#[test]
fn a_letter_goes_to_the_topic() {
    let mut bench = Bench::new(true, None);
    bench.fail(SOURCE, nobody(), Outcome::Rejected);
    bench.post(false, 1);
    assert_eq!((bench.lanes.held(DEAD_LETTERS), bench.numbers()), (1, [1, 0, 0, 0]));
    let mut seen = Vec::new();
    bench.lanes.expire(u64::MAX, 1, |entry| {
        let record = entry.outgoing();
        assert_eq!((record.key, record.value), (None, &br#"{"id":"e-1","n":1}"#[..]));
        let text =
            |(name, value): (&str, &[u8])| (name.to_owned(), String::from_utf8(value.to_vec()).unwrap());
        seen = headers::iter(record.headers).map(text).collect();
        bench.accounts.note(
            entry.token,
            entry.shape.accounted_bytes(),
            Outcome::DeadLettered,
            Cause::Delivered,
        );
    });
    bench.accounts.book();
    assert_eq!(bench.numbers(), [0, 1, 0, 0]);
    let (time, rest) = seen.split_last().unwrap();
    assert!(time.0 == "dlq.time" && time.1.ends_with('Z'), "{time:?}");
    let expected = [
        ("dlq.reason", "larger than the topic or the broker allows"),
        ("dlq.code", "MSG_SIZE_TOO_LARGE"),
        ("dlq.stage", "wait"),
        ("dlq.source_topic", "events"),
        ("dlq.attempts", "0"),
    ];
    assert!(rest.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(expected), "{rest:?}");
}

/// No way to the topic: the file has it, and only then is it booked.
#[test]
fn a_letter_without_a_way_goes_to_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(true, Some(dir.path()));
    bench.lanes.mark_down(None);
    for _ in 0..3 {
        bench.fail(SOURCE, nobody(), Outcome::NotStored);
    }
    bench.post(false, 1);
    while !bench.accounts.letters.as_ref().unwrap().is_empty() {
        assert_eq!(bench.numbers()[1..], [0, 0, 0]);
        bench.wakes.recv_timeout(Duration::from_secs(30)).expect("the file is written");
        bench.post(false, 2);
    }
    assert_eq!((bench.lanes.held(DEAD_LETTERS), bench.numbers()), (0, [0, 3, 0, 0]));
    let segments = letters::segments(dir.path()).unwrap();
    let bytes = std::fs::read(&segments[0].path).unwrap();
    assert_eq!(letters::read(&bytes).count(), 3);
}

/// Neither topic nor file: lost and counted; with a topic that may come back, a quarter of the buffer waits for it.
#[test]
fn what_fits_nowhere_is_lost() {
    let mut bench = Bench::new(false, None);
    bench.fail(SOURCE, nobody(), Outcome::Rejected);
    bench.post(false, 1);
    assert_eq!(bench.numbers(), [0, 0, 1, 1]);

    let mut bench = Bench::new(true, None);
    bench.lanes.mark_down(None);
    for _ in 0..40 {
        bench.fail(SOURCE, nobody(), Outcome::NotStored);
    }
    bench.post(false, 1);
    assert_eq!((bench.lanes.held(DEAD_LETTERS), bench.numbers()), (25, [25, 0, 15, 15]));

    let mut bench = Bench::new(true, None);
    bench.fail(SOURCE, nobody(), Outcome::Rejected);
    bench.post(true, 1);
    assert_eq!(bench.numbers(), [0, 0, 1, 1], "the topic is closed at the end");
}

/// A topic that refuses letters is tried with one at a time; the others go to the file.
#[test]
fn a_topic_that_refuses_is_tried_with_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(true, Some(dir.path()));
    bench.lanes.suspect(DEAD_LETTERS);
    for _ in 0..5 {
        bench.fail(SOURCE, nobody(), Outcome::Rejected);
    }
    bench.post(false, 1);
    let letters = bench.accounts.letters.as_ref().unwrap();
    assert_eq!((bench.lanes.held(DEAD_LETTERS), letters.writing), (1, 4));
}

/// A disk that hangs: what it has not begun with is lost, new letters do not wait for it.
#[test]
fn a_disk_that_hangs_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(false, Some(dir.path()));
    bench.fail(SOURCE, nobody(), Outcome::Rejected);
    let letters = bench.accounts.letters.as_mut().unwrap();
    // One under way of which nothing is heard.
    (letters.writing, letters.progress_us) = (1, 1);
    bench.shared.ledger.accept(1);
    bench.shared.budget.take(1, 1);
    bench.post(false, 2 + STUCK_US);
    assert_eq!(bench.numbers(), [1, 0, 1, 1]);
    let letters = bench.accounts.letters.take().unwrap();
    letters.give_up(&mut bench.accounts);
    bench.accounts.book();
    assert_eq!(bench.shared.ledger.account().of(Outcome::Unknown), 1);
    assert!(!bench.shared.paused.load(SeqCst));
}

/// The bound that the worst-case sum reckons with, for every cause that there is.
#[test]
fn no_letter_grows_beyond_the_bound() {
    let mut bench = Bench::new(true, None);
    for cause in Cause::ALL {
        let failed = Failed {
            token: nobody(),
            topic: SOURCE,
            accounted_bytes: crate::handoff::accounted_bytes(1, 0),
            key: None,
            value: b"v",
            headers: b"",
            stage: Stage::Deliver,
        };
        let letters = bench.accounts.letters.as_mut().unwrap();
        let Taken::Longer(bytes) = letters.take(&failed, Outcome::NotStored, *cause, 1) else { panic!() };
        assert!(bytes <= GROWTH_BYTES + "events".len(), "{cause:?}: {bytes}");
    }
}

#[test]
fn events_have_names() {
    let mut given = Vec::new();
    headers::push(&mut given, "event_type", b"t");
    headers::push(&mut given, "ce_id", b"c-1");
    assert_eq!(id_of(&given, b"{}"), b"c-1");
    assert_eq!(id_of(b"", br#"{"a":[1],"id":"x\"y"}"#), b"x\"y");
    assert_eq!(id_of(b"", br#"{"id":7,"event_id":"e"}"#), b"e");
    assert_eq!(id_of(b"", br#"{"id":7}"#), b"7");
    assert_eq!(id_of(b"", b"\x08\x01"), b"");
}
