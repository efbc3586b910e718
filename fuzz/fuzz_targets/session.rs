//! A whole conversation over TCP (S0-R1, S0-R2b, G12): the real hub and session between a pretended connection and
//! a Kafka side that stores, refuses and forgets in rotation. However the bytes are cut, however little room the
//! buffer and the store of partial messages have, the same messages are taken and told alike, and the ledger balances.
#![no_main]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use sluice::event::Outcome;
use sluice::handoff::{
    Bell, BufferOptions, Cause, KafkaEnd, RECORD_OVERHEAD_BYTES, Receipt, Shared, Target, crossing,
};
use sluice::net::{Hub, NetOptions, Stream};
use sluice::pipeline::ValueFormat;
use sluice::session::{Framing, Now, TcpOptions, Web};
use sluice::wire::ack::{self, Answer};

fuzz_target!(|data: &[u8]| {
    let [ways, room, cuts @ ..] = data else { return };
    let (cuts, input) = cuts.split_at(cuts.len().min(4));
    let framing = [Framing::Auto, Framing::Lines, Framing::Frames][usize::from(ways % 3)];
    let whole = converse(framing, input, &[], 1000, false);
    let records = usize::from(room % 8) + 1;
    assert_eq!(converse(framing, input, cuts, records, false), whole, "cut, {records} records of room");
    assert_eq!(converse(framing, input, cuts, records, true), whole, "looked at in the kernel");
    assert_eq!(converse(framing, input, &[0], 1000, ways & 0x80 > 0), whole, "byte by byte");
});

#[derive(Default)]
struct Wire {
    inbound: VecDeque<u8>,
    fin: bool,
    said: Vec<u8>,
    finished: bool,
}

struct Pipe(Rc<RefCell<Wire>>);

impl Stream for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.peek(into)?;
        self.discard(count)?;
        Ok(count)
    }

    fn peek(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wire = self.0.borrow();
        if wire.inbound.is_empty() && !wire.fin {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = into.len().min(wire.inbound.len());
        into.iter_mut().zip(&wire.inbound).for_each(|(to, byte)| *to = *byte);
        Ok(count)
    }

    fn discard(&mut self, count: usize) -> io::Result<()> {
        self.0.borrow_mut().inbound.drain(..count);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().said.extend(bytes);
        Ok(bytes.len())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.borrow_mut().finished = true;
        Ok(())
    }

    fn peer(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }
}

/// What a conversation came to.
#[derive(Debug, PartialEq)]
struct End {
    values: Vec<Vec<u8>>,
    outcomes: [u64; Outcome::COUNT],
    /// By number: `+`, `-` or `?`, and the code where there is one.
    told: Vec<(char, String)>,
    closed: Option<u64>,
}

const NOW: Now = Now { us: 1, unix_ms: 5 };

fn converse(framing: Framing, input: &[u8], cuts: &[u8], max_records: usize, is_tight: bool) -> End {
    let shared = Shared::new(BufferOptions { max_records, max_bytes: 1 << 20 });
    let (poll_end, mut kafka) = crossing(&shared, Bell::default(), Bell::default());
    let net = NetOptions { partial_bytes: if is_tight { 0 } else { 16 << 20 }, ..NetOptions::default() };
    let tcp = TcpOptions { framing, max_line_bytes: 80, max_frame_bytes: 40 };
    let mut hub = Hub::new(&net, &tcp, Arc::default(), Web::default(), ValueFormat::Protobuf, None, false, poll_end);
    let wire = Rc::new(RefCell::new(Wire::default()));
    let slot = hub.add_tcp(Pipe(wire.clone()), NOW, |_, _, _| Ok::<(), ()>(())).expect("nothing refuses it");
    let mut values = Vec::new();
    let (mut rest, mut turn) = (input, 0);
    loop {
        let piece = cuts.get(turn % cuts.len().max(1)).map_or(rest.len(), |cut| usize::from(*cut) + 1);
        turn += 1;
        let (piece, after) = rest.split_at(piece.min(rest.len()));
        wire.borrow_mut().inbound.extend(piece);
        // The end comes by itself, after the last byte.
        wire.borrow_mut().fin = piece.is_empty();
        hub.readable(slot, 1, piece.is_empty());
        rest = after;
        let mut turns = 0;
        while hub.has_turns() || hub.has_reports() || kafka.has_work() {
            hub.take_reports(NOW);
            hub.read_turn(NOW);
            hub.write_turn(NOW);
            end_records(&mut kafka, &mut values);
            turns += 1;
            assert!(turns < 100_000, "turns without end");
        }
        if piece.is_empty() {
            break;
        }
    }
    let account = shared.ledger.account();
    assert_eq!(account.in_flight(), 0);
    assert_eq!((shared.budget.records(), shared.budget.bytes()), (0, 0));
    assert_eq!((hub.tcp_connections(), hub.stats().held_bytes), (0, 0));
    let wire = wire.borrow();
    assert!(wire.finished && wire.inbound.is_empty());
    let (told, closed) = understood(&wire.said);
    assert!(closed.is_none_or(|n| n == account.accepted), "the last line counts every message");
    End { values, outcomes: account.outcomes, told, closed }
}

/// Every record ends at once: the first two of three are stored, or the third is refused, forgotten, too large.
fn end_records(kafka: &mut KafkaEnd, values: &mut Vec<Vec<u8>>) {
    while let Some(batch) = kafka.next_batch() {
        for record in batch.records() {
            let (outcome, cause) = match values.len() % 9 {
                2 => (Outcome::NotStored, Cause::NotEnoughReplicas),
                5 => (Outcome::Unknown, Cause::TimedOut),
                8 => (Outcome::Rejected, Cause::TooLarge),
                _ => (Outcome::Stored, Cause::Delivered),
            };
            values.push(batch.value(record).to_vec());
            let bytes = batch.key(record).len() + batch.value(record).len() + RECORD_OVERHEAD_BYTES;
            kafka.shared.ledger.credit(outcome, 1);
            kafka.shared.budget.give_back(1, bytes);
            if let Target::Peer(to) = record.token.target() {
                kafka.tell(Receipt::new(to, outcome, cause));
            }
        }
        kafka.recycle(batch);
    }
    kafka.publish();
}

/// The fate of each number, whichever way `+` was coalesced.
fn understood(said: &[u8]) -> (Vec<(char, String)>, Option<u64>) {
    let mut told = Vec::new();
    let mut closed = None;
    for line in said.split_inclusive(|byte| *byte == b'\n') {
        assert!(line.ends_with(b"\n") && closed.is_none());
        let answer = ack::parse(line).expect("an answer line");
        let (n, fate) = match answer {
            Answer::Stored(n) => (n, ('+', String::new())),
            Answer::Retry { n, code, .. } => (n, ('-', code.to_owned())),
            Answer::Fix { n, code, .. } => (n, ('-', code.to_owned())),
            Answer::Unknown { n, code } => (n, ('?', code.to_owned())),
            Answer::Closed(n) => {
                assert_eq!(n, told.len() as u64);
                closed = Some(n);
                continue;
            }
        };
        assert!(n > told.len() as u64, "{answer:?} was told before");
        assert!(fate.0 == '+' || n == told.len() as u64 + 1, "{answer:?} leaves a gap");
        told.resize(n as usize, fate);
    }
    (told, closed)
}
