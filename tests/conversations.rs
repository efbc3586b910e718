//! Conversations over TCP, scripted in bytes: what a sender says, what it hears (S0-R1, S0-R2b, G12).
//!
//! The real hub and session with a pretended connection. Each script runs whole, byte by byte and in random
//! cuts, and must end alike however the bytes came.

#[path = "simulation/stream.rs"]
mod stream;

use std::cell::RefCell;
use std::rc::Rc;

use sluice::event::Outcome;
use sluice::handoff::{
    Account, Bell, BufferOptions, Cause, KafkaEnd, RECORD_OVERHEAD_BYTES, Receipt, Shared, Target, crossing,
};
use sluice::net::{Hub, NetOptions};
use sluice::pipeline::ValueFormat;
use sluice::session::{Framing, Now, TcpOptions, Web};
use stream::{Pipe, Wire};

const MAX_LINE: usize = 100;
const MAX_FRAME: usize = 60;

/// A gateway with one connection and a Kafka side that the script plays.
struct Stage {
    hub: Hub<Pipe>,
    kafka: KafkaEnd,
    wire: Rc<RefCell<Wire>>,
    slot: u32,
    now: Now,
    /// Scores of the records in the order in which they were handed over.
    records: Vec<String>,
    waiting: Vec<Receipt>,
}

impl Stage {
    fn new(framing: Framing, partial_bytes: usize) -> Self {
        let buffer = BufferOptions { max_records: 1000, max_bytes: 1 << 20 };
        let tcp = TcpOptions { framing, max_line_bytes: MAX_LINE, max_frame_bytes: MAX_FRAME };
        let net = NetOptions { partial_bytes, ..NetOptions::default() };
        let shared = Shared::new(buffer);
        let (poll_end, kafka) = crossing(&shared, Bell::default(), Bell::default());
        let mut hub = Hub::new(
            &net,
            &tcp,
            std::sync::Arc::default(),
            Web::default(),
            ValueFormat::Json,
            None,
            false,
            poll_end,
        );
        let wire = Rc::new(RefCell::new(Wire::default()));
        let now = Now { us: 1, unix_ms: 5 };
        let added = hub.add_tcp(Pipe(wire.clone()), now, |_, _, _| Ok::<(), ()>(()));
        let slot = added.expect("nothing refuses it");
        Self { hub, kafka, wire, slot, now, records: Vec::new(), waiting: Vec::new() }
    }

    /// Bytes arrive; everything that follows from them happens.
    fn hears(&mut self, bytes: &[u8]) {
        self.wire.borrow_mut().inbound.extend(bytes);
        self.turn();
    }

    fn turn(&mut self) {
        let fin = self.wire.borrow().fin;
        self.hub.readable(self.slot, 1, fin);
        loop {
            self.hub.take_reports(self.now);
            self.hub.read_turn(self.now);
            self.hub.write_turn(self.now);
            self.take_records();
            if !self.hub.has_turns() && !self.hub.has_reports() {
                break;
            }
        }
    }

    /// What the feeder and the accounts would do, except that nobody is told yet.
    fn take_records(&mut self) {
        while let Some(batch) = self.kafka.next_batch() {
            for record in batch.records() {
                self.records.push(String::from_utf8(batch.value(record).to_vec()).expect("JSON is text"));
                let budget = &self.kafka.shared.budget;
                budget.give_back(
                    1,
                    batch.key(record).len() + batch.value(record).len() + RECORD_OVERHEAD_BYTES,
                );
                match record.token.target() {
                    Target::Nobody { .. } => self.kafka.shared.ledger.credit(Outcome::Stored, 1),
                    Target::Peer(to) => {
                        self.waiting.push(Receipt::new(to, Outcome::Stored, Cause::Delivered));
                    }
                }
            }
            self.kafka.recycle(batch);
        }
    }

    /// The broker's word on the `index`th record that nothing was said of yet.
    fn settles(&mut self, index: usize, outcome: Outcome, cause: Cause) {
        let receipt = Receipt { outcome, cause, ..self.waiting.remove(index) };
        self.kafka.shared.ledger.credit(outcome, 1);
        self.kafka.tell(receipt);
        self.kafka.publish();
        self.turn();
    }

    fn stores_all(&mut self) {
        while !self.waiting.is_empty() {
            self.settles(0, Outcome::Stored, Cause::Delivered);
        }
    }

    fn half_closes(&mut self) {
        self.wire.borrow_mut().fin = true;
        self.turn();
    }

    /// Everything written since the last look.
    fn says(&mut self) -> String {
        let bytes: Vec<u8> = self.wire.borrow_mut().outbound.drain(..).collect();
        String::from_utf8(bytes).expect("answers are text")
    }

    fn account(&self) -> Account {
        self.kafka.shared.ledger.account()
    }

    fn is_closed(&self) -> bool {
        let wire = self.wire.borrow();
        wire.finished && wire.dropped
    }
}

fn good(score: u32) -> String {
    format!("{{\"lb\":\"a\",\"player\":\"p\",\"score\":{score},\"ts_ms\":1}}")
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes(), body].concat()
}

/// `lb` "a", `player` "p", the score (below 128) and `ts_ms` 1.
fn good_frame(score: u8) -> Vec<u8> {
    frame(&[0x0a, 1, b'a', 0x12, 1, b'p', 0x18, score, 0x20, 1])
}

/// What is left of a conversation when all is said.
#[derive(Debug, PartialEq)]
struct End {
    records: Vec<String>,
    account: Account,
    said: String,
}

/// Plays the bytes in these pieces to a half-close; everything accepted is stored at the end.
fn play<'a>(framing: Framing, partial_bytes: usize, pieces: impl Iterator<Item = &'a [u8]>) -> End {
    let mut stage = Stage::new(framing, partial_bytes);
    for piece in pieces {
        stage.hears(piece);
    }
    stage.half_closes();
    stage.stores_all();
    assert!(stage.is_closed(), "the connection ends with the account");
    let said = stage.says();
    End { records: stage.records.clone(), account: stage.account(), said: shortened(&said) }
}

/// Answers as (what, number): `+` is cumulative, so how many there are depends on the cuts; the last one before
/// each other line says it all.
fn shortened(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    let covered = |(at, line): &(usize, &&str)| {
        line.starts_with('+') && lines.get(at + 1).is_some_and(|next| next.starts_with('+'))
    };
    let kept = lines.iter().enumerate().filter(|pair| !covered(pair));
    kept.map(|(_, line)| line.split(' ').take(4).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
}

/// Plays one script in every way and gives the end that all of them came to.
fn in_every_way(framing: Framing, script: &[u8]) -> End {
    let whole = play(framing, 16 << 20, [script].into_iter());
    assert_eq!(whole.account.in_flight(), 0);
    let mut rng = fastrand::Rng::with_seed(script.len() as u64);
    // With and without room for partial messages: without, bytes are only looked at until they are whole.
    for partial_bytes in [16 << 20, 0] {
        let shown = script.escape_ascii();
        assert_eq!(play(framing, partial_bytes, [script].into_iter()), whole, "whole: {shown}");
        assert_eq!(play(framing, partial_bytes, script.chunks(1)), whole, "byte by byte: {shown}");
        for _ in 0..20 {
            let mut rest = script;
            let cuts = std::iter::from_fn(|| {
                (!rest.is_empty()).then(|| {
                    let (piece, after) = rest.split_at(rng.usize(1..=rest.len()));
                    rest = after;
                    piece
                })
            });
            assert_eq!(play(framing, partial_bytes, cuts), whole, "cut: {shown}");
        }
    }
    whole
}

fn lines(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect()
}

fn scores(end: &End) -> Vec<u32> {
    let score = |record: &String| {
        let (_, rest) = record.split_once("\"score\":").expect("a record has a score");
        rest.split(',').next().and_then(|digits| digits.parse().ok()).expect("a number")
    };
    end.records.iter().map(score).collect()
}

/// S0-SM: `nc` hears nothing.
#[test]
fn silent_unless_asked() {
    let end = in_every_way(Framing::Auto, &lines(&[&good(1), "nonsense", &good(2)]));
    assert_eq!((scores(&end), end.said.as_str()), (vec![1, 2], ""));
    assert_eq!((end.account.accepted, end.account.of(Outcome::Rejected)), (3, 1));
}

/// G12: the first line, blank ones not counted, switches; messages count from 1, rejected ones included, blank
/// lines and `#ack` not.
#[test]
fn ack_is_the_first_line_after_blank_ones() {
    for request in ["#ack\n", "\n\r\n\n#ack\r\n"] {
        let script = [request.as_bytes(), &lines(&[&good(1), "", "nonsense", "\r", &good(3)])].concat();
        let end = in_every_way(Framing::Auto, &script);
        assert_eq!(end.said, "+ 1\n- 2 fix not_json\n+ 3\n. 3", "{request:?}");
        assert_eq!(end.account.accepted, 3);
    }
}

#[test]
fn ack_later_is_a_malformed_line() {
    let end = in_every_way(Framing::Auto, &lines(&[&good(1), "#ack", &good(2)]));
    assert_eq!((end.said.as_str(), end.account.of(Outcome::Rejected)), ("", 1));
    let end = in_every_way(Framing::Auto, &lines(&["nonsense", "#ack"]));
    assert_eq!((end.said.as_str(), end.account.of(Outcome::Rejected)), ("", 2));
    let end = in_every_way(Framing::Auto, &lines(&["#ack", "#ack", &good(2)]));
    assert_eq!(end.said, "- 1 fix not_json\n+ 2\n. 2");
    for almost in [" #ack", "#ack ", "#ACK", "#acknowledge"] {
        let end = in_every_way(Framing::Lines, &lines(&[almost, &good(1)]));
        assert_eq!((end.said.as_str(), end.account.of(Outcome::Rejected)), ("", 1), "{almost:?}");
    }
}

#[test]
fn nothing_said_is_an_account_of_nothing() {
    assert_eq!(in_every_way(Framing::Auto, b"#ack\n").said, ". 0");
    assert_eq!(in_every_way(Framing::Auto, b"#ack").said, ". 0", "the last line counts without LF");
    assert_eq!(in_every_way(Framing::Auto, b"").said, "");
    assert_eq!(in_every_way(Framing::Auto, b"\n\r\n").account.accepted, 0);
}

/// Frames never switch, whatever they hold.
#[test]
fn frames_never_switch() {
    let script = [frame(b"#ack"), good_frame(1)].concat();
    for framing in [Framing::Auto, Framing::Frames] {
        let end = in_every_way(framing, &script);
        assert_eq!((end.said.as_str(), scores(&end)), ("", vec![1]));
        assert_eq!(end.account.of(Outcome::Rejected), 1);
    }
}

/// S0-R1: the last line counts at the half-close, with or without LF.
#[test]
fn the_last_line_needs_no_lf() {
    let mut script = lines(&["#ack", &good(1)]);
    script.extend(good(2).as_bytes());
    let end = in_every_way(Framing::Auto, &script);
    assert_eq!((end.said.as_str(), scores(&end)), ("+ 2\n. 2", vec![1, 2]));
    script.push(b'x');
    assert_eq!(in_every_way(Framing::Auto, &script).said, "+ 1\n- 2 fix not_json\n. 2");
}

/// S0-R1, S0-R2b: rejected, skipped to its end, and the connection lives.
#[test]
fn overlong_messages_are_skipped() {
    let long = "x".repeat(MAX_LINE + 1);
    let far_too_long = "y".repeat(200_000);
    let end = in_every_way_but_slowly(&lines(&["#ack", &long, &good(2), &far_too_long, &good(4)]));
    assert_eq!(end.said, "- 1 fix line_too_long\n+ 2\n- 3 fix line_too_long\n+ 4\n. 4");
    let end = in_every_way(Framing::Auto, &lines(&["#ack", &long[1..], &good(2)]));
    assert_eq!(end.said, "- 1 fix not_json\n+ 2\n. 2", "a line of the limit is read");
    let script = [good_frame(1), frame(&[0; MAX_FRAME + 1]), frame(&[0; 70_000]), good_frame(2)].concat();
    let end = in_every_way_but_slowly(&script);
    assert_eq!((scores(&end), end.account.of(Outcome::Rejected)), (vec![1, 2], 2));
}

/// Long scripts: in pieces of some kilobytes instead of byte by byte.
fn in_every_way_but_slowly(script: &[u8]) -> End {
    let whole = play(Framing::Auto, 16 << 20, [script].into_iter());
    for partial_bytes in [16 << 20, 0] {
        for piece in [997, 4096, 65_536, 100_000] {
            assert_eq!(play(Framing::Auto, partial_bytes, script.chunks(piece)), whole, "pieces of {piece}");
        }
    }
    whole
}

/// S0-R2b: the first byte decides, and for good.
#[test]
fn auto_decides_by_the_first_byte() {
    let end = in_every_way(Framing::Auto, &[good_frame(1), good_frame(2)].concat());
    assert_eq!(scores(&end), [1, 2]);
    let mixed = [lines(&[&good(1)]), good_frame(2), lines(&["", &good(3)])].concat();
    let end = in_every_way(Framing::Auto, &mixed);
    assert_eq!(scores(&end), [1, 3], "a frame among lines is part of a bad line");
    let end = in_every_way(Framing::Lines, &good_frame(1));
    assert_eq!((scores(&end), end.account.of(Outcome::Rejected)), (vec![], 2), "its first tag is a LF");
    let end = in_every_way(Framing::Auto, &[0]);
    assert_eq!(end.account.of(Outcome::Rejected), 1, "a frame cut by the end is told");
}

/// G12: `+` is cumulative and never passes a number whose fate is open; each failure is named once.
#[test]
fn plus_never_passes_an_open_number() {
    let mut stage = Stage::new(Framing::Auto, 16 << 20);
    stage.hears(&lines(&["#ack", &good(1), &good(2), &good(3), "nonsense", &good(5)]));
    assert_eq!(stage.says(), "", "nothing is certain yet, and 4 waits for its turn");
    stage.settles(1, Outcome::Stored, Cause::Delivered);
    assert_eq!(stage.says(), "", "1 is open");
    stage.settles(0, Outcome::Stored, Cause::Delivered);
    assert_eq!(stage.says(), "+ 2\n");
    stage.settles(1, Outcome::Unknown, Cause::TimedOut);
    assert_eq!(stage.says(), "", "3 is open");
    stage.settles(0, Outcome::NotStored, Cause::NotEnoughReplicas);
    let said = stage.says();
    let expected = [
        format!("- 3 retry NOT_ENOUGH_REPLICAS {}", Cause::NotEnoughReplicas.detail()),
        "- 4 fix not_json the event must be exactly one valid JSON object".into(),
        "? 5 MSG_TIMED_OUT".into(),
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    stage.half_closes();
    assert_eq!(stage.says(), ". 5\n");
    assert!(stage.is_closed());
}

/// The last line waits for the last receipt, and the connection for the last line.
#[test]
fn the_account_is_closed_once_all_is_known() {
    let mut stage = Stage::new(Framing::Auto, 16 << 20);
    stage.hears(&lines(&["#ack", &good(1), &good(2)]));
    stage.half_closes();
    assert_eq!((stage.says().as_str(), stage.is_closed()), ("", false));
    stage.settles(0, Outcome::Stored, Cause::Delivered);
    assert_eq!((stage.says().as_str(), stage.is_closed()), ("+ 1\n", false));
    stage.settles(0, Outcome::Rejected, Cause::TooLarge);
    let said = stage.says();
    assert!(said.starts_with("- 2 fix MSG_SIZE_TOO_LARGE ") && said.ends_with("\n. 2\n"), "{said}");
    assert!(stage.is_closed());
}

/// A drain closes the account of a sender that has not finished; what it had not ended is no message.
#[test]
fn a_drain_closes_the_account() {
    for partial_bytes in [16 << 20, 0] {
        let mut stage = Stage::new(Framing::Auto, partial_bytes);
        stage.hears(&lines(&["#ack", &good(1)]));
        stage.hears(b"half a li");
        stage.hub.start_draining();
        stage.turn();
        assert!(stage.hub.is_read_out());
        assert_eq!((stage.says().as_str(), stage.is_closed()), ("", false));
        stage.stores_all();
        assert_eq!((stage.says().as_str(), stage.is_closed()), ("+ 1\n. 1\n", true));
        assert_eq!(stage.account().accepted, 1);
    }
}

/// What was acknowledged by our kernel and not taken is told as unread bytes, half lines before an end included.
#[test]
fn what_stays_unread_is_counted() {
    let mut stage = Stage::new(Framing::Auto, 16 << 20);
    stage.hears(b"half");
    stage.wire.borrow_mut().inbound.extend(b" a line");
    stage.hub.stop_reading(stage.now);
    assert_eq!(stage.hub.stats().unread_bytes, 11);

    let mut stage = Stage::new(Framing::Auto, 16 << 20);
    stage.hears(b"half a line");
    stage.wire.borrow_mut().fin = true;
    stage.hub.stop_reading(stage.now);
    assert_eq!(stage.hub.stats().unread_bytes, 11, "at its end it would have counted");

    let mut stage = Stage::new(Framing::Auto, 16 << 20);
    stage.hears(b"half a line");
    stage.hub.stop_reading(stage.now);
    assert_eq!(stage.hub.stats().unread_bytes, 0, "its end never came: no message");
}

/// A reset in the middle of a line: what was whole counts, the half line does not.
#[test]
fn a_reset_ends_no_line() {
    for partial_bytes in [16 << 20, 0] {
        let mut stage = Stage::new(Framing::Auto, partial_bytes);
        stage.hears(&lines(&[&good(1)]));
        {
            let mut wire = stage.wire.borrow_mut();
            wire.inbound.extend(lines(&[&good(2)]));
            wire.inbound.extend(b"half a line");
            wire.reset = true;
        }
        stage.hub.broken(stage.slot, 1);
        stage.hub.readable(stage.slot, 1, true);
        stage.turn();
        assert_eq!((stage.records.len(), stage.account().accepted), (2, 2), "store of {partial_bytes}");
        assert!(stage.wire.borrow().dropped);
    }
}

/// Who does not read its answers is not read either, and is not forgotten: nothing is buffered without end.
#[test]
fn a_sender_that_does_not_read_is_paused() {
    let mut stage = Stage::new(Framing::Auto, 16 << 20);
    stage.wire.borrow_mut().out_limit = 10;
    stage.hears(&lines(&["#ack", "nonsense"]));
    assert_eq!(stage.hub.stats().paused_answers, 1);
    stage.wire.borrow_mut().inbound.extend(lines(&[&good(2)]));
    stage.turn();
    assert_eq!(
        (stage.account().accepted, stage.records.len()),
        (1, 0),
        "the second line stays in the kernel"
    );
    let mut heard = stage.says();
    while stage.hub.stats().paused_answers > 0 {
        stage.hub.writable(stage.slot, 1);
        stage.turn();
        heard += &stage.says();
    }
    assert_eq!(heard, "- 1 fix not_json the event must be exactly one valid JSON object\n");
    assert_eq!(stage.account().accepted, 2);
    stage.stores_all();
    assert_eq!(stage.says(), "+ 2\n");
}
