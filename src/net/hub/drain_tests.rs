//! A drain over streams whose bytes come at the worst moment.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;

use super::*;
use crate::handoff::{Bell, BufferOptions, Shared, crossing};
use crate::session::Web;

const LINE: &[u8] = b"{\"lb\":\"g\",\"player\":\"p\",\"score\":1}\n";
const NOW: Now = Now { us: 1, unix_ms: 1 };

/// A peer that sends what the test says, when the test says it, and ends when the test says so.
#[derive(Clone, Default)]
struct Wire(Rc<RefCell<VecDeque<u8>>>, Rc<Cell<bool>>);

impl Wire {
    fn send(&self, bytes: &[u8]) {
        self.0.borrow_mut().extend(bytes);
    }

    fn end(&self) {
        self.1.set(true);
    }
}

impl Stream for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.peek(into)?;
        self.0.borrow_mut().drain(..count);
        Ok(count)
    }
    fn peek(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.borrow();
        if bytes.is_empty() && !self.1.get() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = bytes.len().min(into.len());
        into.iter_mut().zip(bytes.iter()).for_each(|(to, from)| *to = *from);
        Ok(count)
    }
    fn discard(&mut self, count: usize) -> io::Result<()> {
        self.0.borrow_mut().drain(..count);
        Ok(())
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

/// A hub with one silent sender that has sent these bytes, which are read as far as `net` allows.
fn hub(net: NetOptions, bytes: &[u8]) -> (Hub<Wire>, Wire) {
    let shared = Shared::new(BufferOptions::default());
    let (end, _) = crossing(&shared, Bell::default(), Bell::default());
    let mut hub = Hub::new(
        &net,
        &TcpOptions::default(),
        Arc::default(),
        Web::default(),
        ValueFormat::Protobuf,
        None,
        false,
        end,
    );
    let wire = Wire::default();
    let mut generation = 0;
    let register = |_: &mut Wire, _, given| {
        generation = given;
        Ok::<(), ()>(())
    };
    let slot = hub.add_tcp(wire.clone(), NOW, register).unwrap();
    wire.send(bytes);
    hub.readable(slot, generation, false);
    hub.read_turn(NOW);
    hub.write_turn(NOW);
    (hub, wire)
}

fn accepted(hub: &Hub<Wire>) -> u64 {
    hub.end.shared.ledger.account().accepted
}

/// S0-NFR3: what comes between the last read and the close of a drain that still reads is taken, not cut off.
#[test]
fn late_bytes_are_read_while_the_drain_reads() {
    let (mut hub, wire) = hub(NetOptions::default(), LINE);
    hub.start_draining();
    hub.read_turn(NOW);
    wire.send(LINE);
    hub.write_turn(NOW);
    assert_eq!((hub.tcp_connections(), hub.is_read_out()), (1, false));
    hub.read_turn(NOW);
    hub.write_turn(NOW);
    assert_eq!((hub.tcp_connections(), accepted(&hub), hub.stats().unread_bytes), (0, 2, 0));
}

/// S0-NFR3: what comes once nothing is read any more is counted, up to the moment of the close.
#[test]
fn bytes_after_the_last_read_are_counted() {
    let (mut hub, wire) = hub(NetOptions::default(), LINE);
    hub.start_draining();
    wire.send(LINE);
    hub.stop_reading(NOW);
    wire.send(LINE);
    hub.write_turn(NOW);
    let unread = 2 * LINE.len() as u64;
    assert_eq!((hub.tcp_connections(), accepted(&hub), hub.stats().unread_bytes), (0, 1, unread));
}

/// A last line that its sender's end made whole after the last read is counted, wherever its start was kept.
#[test]
fn a_last_line_that_ends_after_the_last_read_is_counted() {
    for partial_bytes in [0, 16 << 20] {
        let (mut hub, wire) = hub(NetOptions { partial_bytes, ..NetOptions::default() }, b"a last line");
        hub.start_draining();
        hub.read_turn(NOW);
        hub.stop_reading(NOW);
        wire.end();
        hub.write_turn(NOW);
        let counted = (hub.tcp_connections(), accepted(&hub), hub.stats().unread_bytes);
        assert_eq!(counted, (0, 0, 11), "{partial_bytes}");
    }
}
