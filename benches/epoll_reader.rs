//! The floor under one event a write: an epoll loop that accepts, reads and drops, and does nothing else.
//!
//! `epoll_reader` listens on a free port, prints `LISTEN=127.0.0.1:PORT`, ends when every connection that it had has
//! closed, and prints lines, bytes and CPU nanoseconds a line. One read a readiness, as the gateway does it: after a
//! short read the next edge still comes. The port, if a certain one is wanted, is the first argument.

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(usize::MAX);
const READ_BYTES: usize = 128 << 10;

fn main() -> std::io::Result<()> {
    // `cargo bench` passes --bench; anything that is not a number is not the port.
    let port = std::env::args().skip(1).find_map(|a| a.parse::<u16>().ok());
    let Some(port) = port else {
        println!("epoll_reader: a helper of scripts/bench.sh; usage: epoll_reader PORT (0 = a free one)");
        return Ok(());
    };
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    println!("LISTEN={}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut reader = Reader { streams: Vec::new(), open: 0, lines: 0, bytes: 0, buffer: vec![0; READ_BYTES] };
    let mut events = Events::with_capacity(1024);
    while reader.streams.is_empty() || reader.open > 0 {
        match poll.poll(&mut events, None) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            match event.token() {
                LISTENER => reader.accept(&listener, &poll)?,
                Token(slot) => reader.read(slot, event.is_read_closed(), &poll)?,
            }
        }
    }
    let cpu_ns = own_cpu_ns();
    let per_line = cpu_ns / reader.lines.max(1);
    println!("lines={} bytes={} cpu_ns={cpu_ns} cpu_ns_per_line={per_line}", reader.lines, reader.bytes);
    Ok(())
}

struct Reader {
    streams: Vec<Option<TcpStream>>,
    open: usize,
    lines: u64,
    bytes: u64,
    buffer: Vec<u8>,
}

impl Reader {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> std::io::Result<()> {
        loop {
            match listener.accept() {
                Ok((mut stream, _)) => {
                    poll.registry().register(&mut stream, Token(self.streams.len()), Interest::READABLE)?;
                    self.streams.push(Some(stream));
                    self.open += 1;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }

    /// Reads once, or to the end once the peer has closed: after that edge there is no other.
    fn read(&mut self, slot: usize, ends: bool, poll: &Poll) -> std::io::Result<()> {
        let Some(stream) = self.streams[slot].as_mut() else { return Ok(()) };
        loop {
            match stream.read(&mut self.buffer) {
                Ok(0) => {
                    poll.registry().deregister(stream)?;
                    self.streams[slot] = None;
                    self.open -= 1;
                    return Ok(());
                }
                Ok(n) => {
                    self.bytes += n as u64;
                    self.lines += memchr::memchr_iter(b'\n', &self.buffer[..n]).count() as u64;
                    if n < self.buffer.len() && !ends {
                        return Ok(());
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }
}

/// CPU of the only thread, in nanoseconds.
fn own_cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}
