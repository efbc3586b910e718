//! A pretended TCP connection: what the two kernels hold between a sender and the gateway.
//!
//! As strict as the real thing: an edge is owed only after `WouldBlock` or new bytes, a peek takes nothing, a
//! full send buffer refuses, a reset spoils both ways. Shared by the simulation, the conversations and the
//! allocation test.
#![allow(dead_code)] // each of the three uses its part

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;

use sluice::net::Stream;

/// What lies between the two ends.
#[derive(Debug)]
pub struct Wire {
    /// Bytes that our kernel has acknowledged and we have not taken.
    pub inbound: VecDeque<u8>,
    /// Bytes that we wrote and the sender has not read.
    pub outbound: VecDeque<u8>,
    /// Everything that we ever wrote.
    pub said: Vec<u8>,
    /// What our send buffer and the sender's receive buffer take together.
    pub out_limit: usize,
    /// The sender has finished sending; it lies behind `inbound`.
    pub fin: bool,
    /// We have seen that end.
    pub seen_fin: bool,
    pub reset: bool,
    /// We have finished writing.
    pub finished: bool,
    /// We have closed.
    pub dropped: bool,
    /// Bytes that we took.
    pub taken: usize,
    /// We have been told `WouldBlock` and wait for an edge.
    pub owes_readable: bool,
    pub owes_writable: bool,
    /// One call in so many is interrupted by a signal; 0 = never.
    pub interrupted_one_in: u32,
    /// One call in so many finds nothing, though bytes are just coming in; 0 = never.
    pub hiccup_one_in: u32,
    pub rng: fastrand::Rng,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
            said: Vec::new(),
            out_limit: usize::MAX,
            fin: false,
            seen_fin: false,
            reset: false,
            finished: false,
            dropped: false,
            taken: 0,
            owes_readable: false,
            owes_writable: false,
            interrupted_one_in: 0,
            hiccup_one_in: 0,
            rng: fastrand::Rng::with_seed(0),
        }
    }
}

impl Wire {
    fn one_in(&mut self, count: u32) -> bool {
        count > 0 && self.rng.u32(..count) == 0
    }

    /// What every call may meet.
    fn hindrance(&mut self) -> io::Result<()> {
        let one_in = self.interrupted_one_in;
        match self.one_in(one_in) {
            true => Err(ErrorKind::Interrupted.into()),
            false => Ok(()),
        }
    }

    fn look(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.hindrance()?;
        let one_in = self.hiccup_one_in;
        if self.inbound.is_empty() && self.reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if self.inbound.is_empty() && self.fin {
            self.seen_fin = true;
            return Ok(0);
        }
        if self.inbound.is_empty() || (!self.fin && !self.reset && self.one_in(one_in)) {
            self.owes_readable = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = into.len().min(self.inbound.len());
        let (first, second) = self.inbound.as_slices();
        let part = count.min(first.len());
        into[..part].copy_from_slice(&first[..part]);
        into[part..count].copy_from_slice(&second[..count - part]);
        Ok(count)
    }

    fn take(&mut self, count: usize) {
        self.inbound.drain(..count);
        self.taken += count;
    }
}

/// The gateway's end; the other one is whoever holds the wire as well.
#[derive(Debug, Default)]
pub struct Pipe(pub Rc<RefCell<Wire>>);

impl Stream for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        let count = wire.look(into)?;
        wire.take(count);
        Ok(count)
    }

    fn peek(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().look(into)
    }

    fn discard(&mut self, count: usize) -> io::Result<()> {
        let mut wire = self.0.borrow_mut();
        if wire.inbound.len() < count {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        wire.take(count);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        assert!(!wire.finished, "written after the end");
        wire.hindrance()?;
        if wire.reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let count = bytes.len().min(wire.out_limit.saturating_sub(wire.outbound.len()));
        if count == 0 {
            wire.owes_writable = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        wire.outbound.extend(&bytes[..count]);
        wire.said.extend(&bytes[..count]);
        Ok(count)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.borrow_mut().finished = true;
        Ok(())
    }

    fn peer(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.0.borrow_mut().dropped = true;
    }
}
