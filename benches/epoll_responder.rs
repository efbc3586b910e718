//! The floor under one request after another: an epoll loop that reads requests, answers each with the same 202, and
//! does nothing else.
//!
//! `epoll_responder` listens on a free port, prints `LISTEN=127.0.0.1:PORT`, ends when every connection that it had
//! has closed, and prints requests, bytes and CPU nanoseconds a request. A request ends where its Content-Length says,
//! which is all that is looked at. One read a readiness and one write for all the answers of a read, as the gateway
//! does it. The port, if a certain one is wanted, is the first argument.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(usize::MAX);
const READ_BYTES: usize = 64 << 10;
/// As long as the gateway's own.
const ANSWER: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 116\r\n\
    X-Request-Id: 00000000-0000-4000-8000-000000000000\r\n\r\n\
    {\"id\":\"00000000-0000-4000-8000-000000000000\",\"status\":\"accepted\",\
    \"event_id\":\"00000000-0000-4000-8000-000000000000\"}\n";

fn main() -> std::io::Result<()> {
    // `cargo bench` passes --bench; anything that is not a number is not the port.
    let port = std::env::args().skip(1).find_map(|a| a.parse::<u16>().ok());
    let Some(port) = port else {
        println!(
            "epoll_responder: a helper of scripts/bench.sh; usage: epoll_responder PORT (0 = a free one)"
        );
        return Ok(());
    };
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    println!("LISTEN={}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut responder =
        Responder { peers: Vec::new(), open: 0, requests: 0, bytes: 0, buffer: vec![0; READ_BYTES] };
    let mut events = Events::with_capacity(1024);
    while responder.peers.is_empty() || responder.open > 0 {
        match poll.poll(&mut events, None) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            match event.token() {
                LISTENER => responder.accept(&listener, &poll)?,
                Token(slot) => responder.serve(slot, event.is_read_closed(), &poll)?,
            }
        }
    }
    let cpu_ns = own_cpu_ns();
    let Responder { requests, bytes, .. } = responder;
    let each = cpu_ns / requests.max(1);
    println!("requests={requests} bytes={bytes} cpu_ns={cpu_ns} cpu_ns_per_request={each}");
    Ok(())
}

struct Peer {
    stream: TcpStream,
    /// The start of a request that is not complete.
    carry: Vec<u8>,
    out: Vec<u8>,
}

struct Responder {
    peers: Vec<Option<Peer>>,
    open: usize,
    requests: u64,
    bytes: u64,
    buffer: Vec<u8>,
}

impl Responder {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> std::io::Result<()> {
        loop {
            match listener.accept() {
                Ok((mut stream, _)) => {
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(self.peers.len()), interest)?;
                    stream.set_nodelay(true)?;
                    self.peers.push(Some(Peer { stream, carry: Vec::new(), out: Vec::new() }));
                    self.open += 1;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }

    /// Reads until a short read, or to the end once the peer has closed; answers, writes.
    fn serve(&mut self, slot: usize, is_last: bool, poll: &Poll) -> std::io::Result<()> {
        let Some(peer) = self.peers[slot].as_mut() else { return Ok(()) };
        let ends = loop {
            match peer.stream.read(&mut self.buffer) {
                Ok(0) => break true,
                Ok(n) => {
                    self.bytes += n as u64;
                    self.requests += peer.answer(&self.buffer[..n]);
                    if n < self.buffer.len() && !is_last {
                        break false;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break false,
                Err(e) if e.kind() == ErrorKind::ConnectionReset => break true,
                Err(e) => return Err(e),
            }
        };
        if ends {
            poll.registry().deregister(&mut peer.stream)?;
            self.peers[slot] = None;
            self.open -= 1;
            return Ok(());
        }
        while !peer.out.is_empty() {
            match peer.stream.write(&peer.out) {
                Ok(n) if n == peer.out.len() => peer.out.clear(),
                Ok(n) => drop(peer.out.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

impl Peer {
    /// Puts an answer to every whole request in the way; how many they were.
    fn answer(&mut self, input: &[u8]) -> u64 {
        let mut carried = std::mem::take(&mut self.carry);
        let bytes = if carried.is_empty() {
            input
        } else {
            carried.extend_from_slice(input);
            &carried
        };
        let (mut at, mut requests) = (0, 0);
        while let Some(length) = request_length(&bytes[at..]) {
            at += length;
            requests += 1;
            self.out.extend_from_slice(ANSWER);
        }
        self.carry = bytes[at..].to_vec();
        requests
    }
}

/// Bytes of the first request, if all of it is there.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let head = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
    let name = b"Content-Length: ";
    let value = memchr::memmem::find(&bytes[..head], name)? + name.len();
    let digits = bytes[value..head].iter().take_while(|byte| byte.is_ascii_digit());
    let length = head + digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    (bytes.len() >= length).then_some(length)
}

/// CPU of the only thread, in nanoseconds.
fn own_cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}
